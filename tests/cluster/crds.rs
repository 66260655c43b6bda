//! The definitions on a real API server: what it refuses and in which words, what it fills in, what
//! it prints.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use sluice::crd::{Engine, Pipeline, PipelineApproval};

use sluice_test_support::cluster::{
    ADMIN, CHANGE, Cluster, OPERATOR, answer, create, eventually, pipeline, raw, said, unobserved,
    vote, workspace, write_approval,
};

fn program() -> Value {
    json!({"sql": "CREATE TABLE t (x INT);"})
}

fn config_map() -> Value {
    json!({"configMapKeyRef": {"name": "programs", "key": "orders.sql"}})
}

/// A spec with a program and these fields.
fn spec(fields: Value) -> Value {
    let mut spec = json!({"program": program()});
    for (key, value) in fields.as_object().expect("fields") {
        spec[key] = value.clone();
    }
    spec
}

fn merge(patch: Value) -> Patch<Value> {
    Patch::Merge(patch)
}

#[tokio::test]
async fn what_a_pipeline_may_not_say_is_refused_with_a_sentence() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("crds").await;
    let api = raw::<Pipeline>(&cluster.admin().await, &namespace);
    let long = |bytes: usize| "x".repeat(bytes);
    for (name, spec, sentence) in [
        (
            "only-the-gate-but-started",
            json!({"desiredState": "stopped"}),
            "without program, the pipeline is made, started and stopped elsewhere, and only its gate is Sluice's: remove runtimeConfig",
        ),
        (
            "only-the-gate-but-deleted",
            json!({"deletionPolicy": "Delete"}),
            "without program, the pipeline is made",
        ),
        (
            "only-the-gate-but-open",
            json!({"bootstrapPolicy": "allow"}),
            "set bootstrapPolicy to await_approval or reject",
        ),
        (
            "only-the-gate-but-cleared",
            json!({"clearStorage": "now"}),
            "without program, the pipeline is made",
        ),
        (
            "cleared-with-nothing",
            spec(json!({"clearStorage": ""})),
            "spec.clearStorage",
        ),
        (
            "restarted-some-day",
            spec(json!({"restartedAt": "tomorrow"})),
            "spec.restartedAt",
        ),
        (
            "no-sql",
            json!({"program": {}}),
            "program needs its SQL exactly once: set either program.sql, or program.sqlFrom to the key of a ConfigMap",
        ),
        (
            "sql-twice",
            json!({"program": {"sql": "", "sqlFrom": config_map()}}),
            "program needs its SQL exactly once",
        ),
        (
            "no-sql-but-null",
            json!({"program": {"sql": null}}),
            "program needs its SQL exactly once",
        ),
        (
            "rust-twice",
            json!({"program": {"sql": "", "udfRust": "", "udfRustFrom": config_map()}}),
            "set either program.udfRust or program.udfRustFrom, not both",
        ),
        (
            "toml-twice",
            json!({"program": {"sql": "", "udfToml": "", "udfTomlFrom": config_map()}}),
            "set either program.udfToml or program.udfTomlFrom, not both",
        ),
        (
            "sql-too-long",
            json!({"program": {"sql": long(256 * 1024 + 1)}}),
            "program.sql has more than 256 KiB: put it into a ConfigMap, and name that in program.sqlFrom",
        ),
        (
            // Two bytes each: bytes count, not letters.
            "sql-too-long-in-bytes",
            json!({"program": {"sql": "ä".repeat(128 * 1024 + 1)}}),
            "program.sql has more than 256 KiB",
        ),
        (
            "rust-too-long",
            json!({"program": {"sql": "", "udfRust": long(256 * 1024 + 1)}}),
            "program.udfRust has more than 256 KiB: put it into a ConfigMap, and name that in program.udfRustFrom",
        ),
        (
            "toml-too-long",
            json!({"program": {"sql": "", "udfToml": long(64 * 1024 + 1)}}),
            "program.udfToml has more than 64 KiB: put it into a ConfigMap, and name that in program.udfTomlFrom",
        ),
        (
            "silent-and-concurrent",
            spec(json!({"bootstrapOptions": {"silent": true, "concurrent": true}})),
            "silent and concurrent exclude each other: set one of them to false",
        ),
        (
            "dots.in.the.name",
            spec(json!({})),
            "the engine's pipeline names have no dots, and metadata.name has one: set spec.pipelineName",
        ),
        (
            "pipeline-name",
            spec(json!({"pipelineName": "a.b"})),
            "pipelineName must consist of letters, digits, '-' and '_'",
        ),
        (
            "pipeline-name-of-two-lines",
            spec(json!({"pipelineName": "a\nb"})),
            "pipelineName must consist of letters, digits, '-' and '_'",
        ),
        (
            "pipeline-name-too-long",
            spec(json!({"pipelineName": long(101)})),
            "may not be more than 100",
        ),
        (
            "short-id",
            spec(json!({"approvedChange": &CHANGE[..8]})),
            "approvedChange must be a whole change id, 32 hex digits: copy it from status.approval.changeId",
        ),
        (
            "two-ids",
            spec(json!({"approvedChange": format!("{CHANGE}\n{CHANGE}")})),
            "approvedChange must be a whole change id",
        ),
        (
            "desired-state",
            spec(json!({"desiredState": "Running"})),
            r#"Unsupported value: "Running": supported values: "running", "paused", "stopped""#,
        ),
        (
            "bootstrap-policy",
            spec(json!({"bootstrapPolicy": "ask"})),
            r#"supported values: "await_approval", "allow", "reject""#,
        ),
        (
            "deletion-policy",
            spec(json!({"deletionPolicy": "delete"})),
            r#"supported values: "Retain", "Delete""#,
        ),
        (
            "nameless-engine",
            spec(json!({"engineRef": {"name": ""}})),
            "spec.engineRef.name",
        ),
    ] {
        let refused = create(&api, pipeline(name, spec)).await.err();
        let refused = refused.unwrap_or_else(|| panic!("{name} was taken"));
        assert_eq!(refused.code, 422, "{name}: {}", refused.message);
        assert!(
            refused.message.contains(sentence),
            "{name}: {}",
            refused.message
        );
        assert!(refused.message.len() < 1000, "{name} is repeated whole");
    }
}

#[tokio::test]
async fn what_a_pipeline_may_say_is_taken() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("crds").await;
    let api = raw::<Pipeline>(&cluster.admin().await, &namespace);
    for (name, spec) in [
        ("smallest", json!({"program": {"sql": ""}})),
        ("config-map", json!({"program": {"sqlFrom": config_map()}})),
        // Templates write null for what they leave out.
        (
            "nulls",
            json!({
                "program": {"sql": null, "sqlFrom": config_map(), "udfRust": null, "config": null},
                "engineRef": null, "pipelineName": null, "runtimeConfig": null, "approved": null,
                "approvedChange": null, "bootstrapOptions": null, "desiredState": null,
            }),
        ),
        (
            "largest",
            json!({"program": {"sql": "x".repeat(256 * 1024)}}),
        ),
        (
            "dots.in.the.name",
            spec(json!({"pipelineName": "Dots_in-1"})),
        ),
        (
            "whatever-feldera-takes",
            spec(json!({
                "runtimeConfig": {"workers": 8, "storage": {"backend": {"name": "file"}}, "later": [1, {"a": null}]},
            })),
        ),
        (
            "everything",
            spec(json!({
                "engineRef": {"name": "production"}, "pipelineName": "p", "desiredState": "paused",
                "bootstrapPolicy": "reject", "bootstrapOptions": {"silent": true, "concurrent": false},
                "approved": true, "approvedChange": CHANGE, "deletionPolicy": "Delete",
            })),
        ),
    ] {
        let taken = create(&api, pipeline(name, spec)).await;
        let taken = taken.unwrap_or_else(|status| panic!("{name}: {}", status.message));
        // What the types write and read is what the schema takes.
        let read: Result<Pipeline, _> = serde_json::from_value(json!(taken));
        read.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test]
async fn defaults_are_filled_in_and_none_for_approving() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("crds").await;
    let api = raw::<Pipeline>(&cluster.admin().await, &namespace);
    let stored = create(&api, pipeline("orders", spec(json!({})))).await;
    let stored = stored.expect("a Pipeline").data;
    // Nothing else, so that server-side apply shows no owner for what nobody wrote.
    let expected = spec(json!({
        "desiredState": "running",
        "bootstrapPolicy": "await_approval",
        "deletionPolicy": "Retain",
    }));
    assert_eq!(stored["spec"], expected);
}

#[tokio::test]
async fn engine_and_name_of_a_pipeline_never_change() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("crds").await;
    let api = raw::<Pipeline>(&cluster.admin().await, &namespace);
    let engine = "engineRef can't change: a pipeline's state stays on its engine. Create another Pipeline with the new engineRef instead";
    let name = "pipelineName can't change: the engine's pipeline keeps its name. Create another Pipeline with the new name instead";
    let with = spec(json!({"engineRef": {"name": "one"}, "pipelineName": "one"}));
    create(&api, pipeline("with", with))
        .await
        .expect("a Pipeline");
    create(&api, pipeline("without", spec(json!({}))))
        .await
        .expect("a Pipeline");
    create(&api, pipeline("guest", json!({})))
        .await
        .expect("a Pipeline");
    let program_stays = "program can't be added or removed";
    for (object, change, sentence) in [
        ("with", json!({"program": null}), program_stays),
        ("guest", spec(json!({})), program_stays),
        ("with", json!({"engineRef": {"name": "two"}}), engine),
        // Removing it first, so as to set another afterwards, is refused as well.
        ("with", json!({"engineRef": null}), engine),
        ("without", json!({"engineRef": {"name": "one"}}), engine),
        ("with", json!({"pipelineName": "two"}), name),
        ("with", json!({"pipelineName": null}), name),
        ("without", json!({"pipelineName": "without"}), name),
    ] {
        let patch = merge(json!({"spec": change}));
        let refused = answer(api.patch(object, &PatchParams::default(), &patch).await).err();
        let refused = refused.unwrap_or_else(|| panic!("{object} took {patch:?}"));
        assert_eq!(refused.code, 422);
        assert!(refused.message.contains(sentence), "{}", refused.message);
    }
    // The same by a whole new object, in which null stands for nothing.
    let mut whole = api.get("with").await.expect("the Pipeline");
    whole.data["spec"]["engineRef"] = Value::Null;
    let refused = answer(api.replace("with", &Default::default(), &whole).await).err();
    assert!(refused.expect("a refusal").message.contains(engine));
    // Anything else may change.
    let patch = merge(json!({"spec": {"program": {"sql": "-- other"}, "desiredState": "stopped"}}));
    answer(api.patch("with", &PatchParams::default(), &patch).await).expect("the change");
}

/// Pipelines whose names in the engine are kept, by either of the names.
fn reserved() -> [Value; 2] {
    let name = "sluice-build-0f6c1a7e-01234567";
    [
        json!({"metadata": {"name": name}, "spec": spec(json!({}))}),
        json!({"metadata": {"name": "mine"}, "spec": spec(json!({"pipelineName": name}))}),
    ]
}

#[tokio::test]
async fn a20_names_that_sluice_gives_itself_are_no_new_pipelines() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("reserved").await;
    let api: Api<Pipeline> = Api::namespaced(cluster.admin().await, &namespace);
    for object in reserved() {
        let refused = create(&api, object).await.expect_err("it is refused");
        let says = "set spec.pipelineName to another name, or choose another metadata.name";
        assert!(refused.message.contains(says), "{refused:?}");
    }
    // What only looks like it isn't meant, nor is an object's name that isn't the engine's.
    for (name, fields) in [
        ("sluice-builds", json!({})),
        ("sluice-build-mine", json!({"pipelineName": "mine"})),
    ] {
        let object = json!({"metadata": {"name": name}, "spec": spec(fields)});
        create(&api, object).await.expect("it is taken");
    }
}

#[tokio::test]
async fn pipelines_from_before_names_were_kept_stay_and_can_be_edited() {
    let cluster = Cluster::own().await;
    cluster.apply().await;
    let admin = cluster.admin().await;
    let namespace = cluster.namespace("before").await;
    let definitions: Api<CustomResourceDefinition> = Api::all(admin.clone());
    let name = "pipelines.sluice.dev";
    let now = definitions.get(name).await.expect("a definition");
    let mut before = serde_json::to_value(&now).expect("JSON");
    let rules = "/spec/versions/0/schema/openAPIV3Schema/x-kubernetes-validations";
    let rules = before.pointer_mut(rules).and_then(Value::as_array_mut);
    rules
        .expect("rules")
        .retain(|rule| !rule["rule"].to_string().contains("sluice-build-"));
    let before = serde_json::from_value(before).expect("a definition");
    let params = PostParams::default();
    let replaced = definitions.replace(name, &params, &before).await;
    replaced.expect("it is taken");
    let api: Api<Pipeline> = Api::namespaced(admin, &namespace);
    for object in reserved() {
        eventually("the old definition takes it", || {
            create(&api, object.clone())
        })
        .await;
    }
    cluster.apply().await;
    eventually("the new definition refuses it", || async {
        let mut another = reserved()[1].clone();
        another["metadata"]["name"] = json!("another");
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let another: Pipeline = serde_json::from_value(another).expect("a Pipeline");
        match api.create(&params, &another).await {
            Err(refused) => Ok(refused),
            Ok(taken) => Err(taken),
        }
    })
    .await;
    for object in reserved() {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let edit = merge(json!({"spec": {"desiredState": "paused"}}));
        let edited = api.patch(name, &PatchParams::default(), &edit).await;
        edited.expect("it can be edited");
    }
}

#[tokio::test]
async fn a_vote_says_all_and_never_changes() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("crds").await;
    let api = raw::<PipelineApproval>(&cluster.admin().await, &namespace);
    for (name, change, sentence) in [
        (
            "short-id",
            json!({"changeId": &CHANGE[..8]}),
            "changeId must be a whole change id, 32 hex digits: copy it from the Pipeline's status.approval.changeId",
        ),
        (
            "capital-id",
            json!({"changeId": CHANGE.to_uppercase()}),
            "changeId must be a whole change id",
        ),
        ("no-id", json!({"changeId": null}), "spec.changeId"),
        (
            "digest",
            json!({"diffDigest": "abc"}),
            "diffDigest must be 64 hex digits: copy it from the Pipeline's status.approval.diffDigest, or leave it out",
        ),
        (
            "decision",
            json!({"decision": "approve"}),
            r#"supported values: "Approve", "Reject""#,
        ),
        (
            "reason",
            json!({"reason": "x".repeat(1025)}),
            "may not be more than 1024",
        ),
    ] {
        let mut object = vote("orders", name);
        for (key, value) in change.as_object().expect("fields") {
            object["spec"][key] = value.clone();
        }
        let refused = create(&api, object).await.err();
        let refused = refused.unwrap_or_else(|| panic!("{name} was taken"));
        assert_eq!(refused.code, 422, "{name}: {}", refused.message);
        assert!(
            refused.message.contains(sentence),
            "{name}: {}",
            refused.message
        );
    }
    create(&api, vote("orders", "vote")).await.expect("a vote");
    for change in [
        json!({"decision": "Reject"}),
        json!({"changeId": "f".repeat(32)}),
        json!({"pipelineRef": {"name": "other"}}),
        json!({"reason": "an afterthought"}),
    ] {
        let patch = merge(json!({"spec": change}));
        let refused = answer(api.patch("vote", &PatchParams::default(), &patch).await).err();
        let refused = refused.unwrap_or_else(|| panic!("{patch:?} was taken"));
        let sentence = "a PipelineApproval can't be edited: delete it and create another one";
        assert!(refused.message.contains(sentence), "{}", refused.message);
    }
    // The garbage collector edits metadata, and has to be able to.
    let patch = merge(json!({"metadata": {"labels": {"seen": "yes"}}}));
    answer(api.patch("vote", &PatchParams::default(), &patch).await).expect("the label");
}

#[tokio::test]
async fn a_changed_url_does_not_take_the_old_credential_along() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("crds").await;
    let api = raw::<Engine>(&cluster.admin().await, &namespace);
    let engine = |name: &str, spec: Value| json!({"apiVersion": "sluice.dev/v1alpha1", "kind": "Engine", "metadata": {"name": name}, "spec": spec});
    let not_plain = "url must be a plain http or https URL without user, query or fragment, such as https://feldera.example.com";
    for (name, spec, sentence) in [
        ("no-url", json!({}), "spec.url: Required value"),
        ("scheme", json!({"url": "ftp://a.example.com"}), not_plain),
        ("no-scheme", json!({"url": "a.example.com"}), not_plain),
        (
            "password",
            json!({"url": "https://u:p@a.example.com"}),
            not_plain,
        ),
        (
            "query",
            json!({"url": "https://a.example.com/?x=1"}),
            not_plain,
        ),
        (
            "fragment",
            json!({"url": "https://a.example.com/#x"}),
            not_plain,
        ),
        (
            "ca-twice",
            json!({"url": "https://a.example.com", "caBundle": "x", "caSecretRef": {"name": "a", "key": "b"}}),
            "set either caBundle or caSecretRef, not both",
        ),
    ] {
        let refused = create(&api, engine(name, spec)).await.err();
        let refused = refused.unwrap_or_else(|| panic!("{name} was taken"));
        assert!(
            refused.message.contains(sentence),
            "{name}: {}",
            refused.message
        );
    }

    let secret = |name: &str| json!({"name": name, "key": "api-key"});
    let with = json!({"url": "https://a.example.com", "credentialsSecretRef": secret("a")});
    create(&api, engine("with", with)).await.expect("an Engine");
    let change = |spec: Value| {
        let api = api.clone();
        async move {
            let patch = merge(json!({"spec": spec}));
            answer(api.patch("with", &PatchParams::default(), &patch).await)
        }
    };
    let refused = change(json!({"url": "https://b.example.com"})).await.err();
    let sentence = "a changed url doesn't take the old credential along: name another Secret in credentialsSecretRef, or remove it, in the same change";
    assert!(refused.expect("a refusal").message.contains(sentence));
    let both = json!({"url": "https://b.example.com", "credentialsSecretRef": secret("b")});
    change(both).await.expect("another credential");
    change(json!({"tenant": "t"}))
        .await
        .expect("another tenant");
    let none = json!({"url": "https://c.example.com", "credentialsSecretRef": null});
    change(none).await.expect("no credential");
    change(json!({"url": "https://d.example.com"}))
        .await
        .expect("another url");
}

#[tokio::test]
async fn kubectl_shows_what_people_look_for() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("crds").await;
    let operator = cluster.client_for(OPERATOR).await;
    let admin = cluster.admin().await;
    let api = raw::<Pipeline>(&admin, &namespace);
    let with_engine = spec(json!({"engineRef": {"name": "production"}}));
    create(&api, pipeline("orders", with_engine))
        .await
        .expect("a Pipeline");
    write_approval(&operator, &namespace, "orders", "Awaiting").await;
    let votes = raw::<PipelineApproval>(&admin, &namespace);
    create(&votes, vote("orders", "yes")).await.expect("a vote");
    let engines = raw::<Engine>(&admin, &namespace);
    create(&engines, json!({"apiVersion": "sluice.dev/v1alpha1", "kind": "Engine", "metadata": {"name": "production"}, "spec": {"url": "https://a.example.com"}}))
        .await
        .expect("an Engine");

    let get = |arguments: &[&str]| {
        let all = [&["get", "-n", &namespace][..], arguments].concat();
        let output = cluster.kubectl(ADMIN, &all);
        assert!(output.status.success(), "{}", said(&output));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines()
            .map(|line| {
                line.split("  ")
                    .map(str::trim)
                    .filter(|cell| !cell.is_empty())
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
    };
    let rows = get(&["fpl"]);
    assert_eq!(
        rows[0],
        [
            "NAME", "PHASE", "ENGINE", "CHANGE", "APPROVAL", "WAITING", "AGE"
        ]
    );
    assert_eq!(
        rows[1][..5],
        [
            "orders",
            "AwaitingApproval",
            "production",
            "01234567",
            "Awaiting"
        ]
    );
    // A time, not a timestamp.
    assert!(
        rows[1][5].ends_with('d') || rows[1][5].ends_with('h'),
        "{:?}",
        rows[1]
    );
    let wide = get(&["pipelines", "-o", "wide"]);
    assert_eq!(wide[0].last().map(String::as_str), Some("SUMMARY"));
    assert_eq!(wide[1].last().map(String::as_str), Some("1 view added"));
    let rows = get(&["fpa"]);
    assert_eq!(
        rows[0],
        [
            "NAME",
            "PIPELINE",
            "DECISION",
            "CHANGE",
            "VOTER",
            "ON BEHALF OF",
            "OUTCOME",
            "AGE"
        ]
    );
    assert_eq!(rows[1][..4], ["yes", "orders", "Approve", CHANGE]);
    let rows = get(&["engines"]);
    assert_eq!(
        rows[0],
        [
            "NAME", "URL", "READY", "REASON", "EDITION", "VERSION", "AGE"
        ]
    );
    // One word for all of them.
    let names: Vec<String> = get(&["sluice", "-o", "name"]).concat();
    assert_eq!(
        names,
        [
            "engine.sluice.dev/production",
            "pipelineapproval.sluice.dev/yes",
            "pipeline.sluice.dev/orders"
        ]
    );
}

/// The definition of Pipelines under another name, in another group, with or without the form that names of objects have.
fn definition(with_names: bool) -> CustomResourceDefinition {
    fn without_patterns(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|key, value| key != "pattern" || !value.is_string());
                fields.values_mut().for_each(without_patterns);
            }
            Value::Array(all) => all.iter_mut().for_each(without_patterns),
            _ => {}
        }
    }
    let mut definition = serde_json::to_value(&sluice::crd::all()[0]).expect("JSON");
    definition["metadata"]["name"] = json!("referrers.names.example.com");
    definition["spec"]["group"] = json!("names.example.com");
    // Whoever asks for Pipelines by a short name doesn't mean these.
    let names = json!({"plural": "referrers", "singular": "referrer", "kind": "Referrer"});
    definition["spec"]["names"] = names;
    if !with_names {
        without_patterns(&mut definition);
    }
    serde_json::from_value(definition).expect("a definition")
}

#[tokio::test]
async fn a_name_that_no_object_can_have_is_refused_where_it_is_new_and_stays_writable_where_it_is_stored()
 {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("crds").await;
    let admin = cluster.admin().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(admin.clone());
    let define = |definition: CustomResourceDefinition| {
        let definitions = definitions.clone();
        async move {
            let name = definition.metadata.name.clone().expect("a name");
            let mut definition = serde_json::to_value(&definition).expect("JSON");
            definition["apiVersion"] = json!("apiextensions.k8s.io/v1");
            definition["kind"] = json!("CustomResourceDefinition");
            let params = PatchParams::apply("test").force();
            definitions
                .patch(&name, &params, &Patch::Apply(&definition))
                .await
                .expect("the definition");
        }
    };
    let kind = kube::api::ApiResource {
        group: "names.example.com".into(),
        version: "v1alpha1".into(),
        api_version: "names.example.com/v1alpha1".into(),
        kind: "Referrer".into(),
        plural: "referrers".into(),
    };
    let api: Api<kube::api::DynamicObject> = Api::namespaced_with(admin.clone(), &namespace, &kind);
    let with = |name: &str, map: &str| {
        let mut object = pipeline(
            name,
            json!({"program": {"sqlFrom": {"configMapKeyRef": {"name": map, "key": "orders.sql"}}}}),
        );
        object["apiVersion"] = json!(kind.api_version);
        object["kind"] = json!(kind.kind);
        object
    };
    define(definition(false)).await;
    eventually("the kind is served, and takes any name", || async {
        create(&api, with("old", "a name"))
            .await
            .map_err(|status| status.message)
    })
    .await;
    define(definition(true)).await;
    for name in ["a name", "../secrets", "Code", "code-", "ä"] {
        eventually("the definition counts", || async {
            match create(&api, with("new", name)).await {
                Err(refused) if refused.message.contains("configMapKeyRef.name") => Ok(()),
                Err(other) => Err(other.message.clone()),
                Ok(_) => {
                    let _ = api.delete("new", &Default::default()).await;
                    Err("it is taken".to_owned())
                }
            }
        })
        .await;
    }
    for patch in [
        json!({"spec": {"desiredState": "stopped"}}),
        json!({"metadata": {"annotations": {"a": "b"}}}),
        json!({"spec": {"program": {"sqlFrom": {"configMapKeyRef": {"key": "other.sql"}}}}}),
    ] {
        api.patch("old", &PatchParams::default(), &merge(patch))
            .await
            .expect("what is stored stays writable");
    }
    let status = json!({"status": {"phase": "Pending"}});
    api.patch_status("old", &PatchParams::default(), &merge(status))
        .await
        .expect("so does its status");
    let worse =
        json!({"spec": {"program": {"sqlFrom": {"configMapKeyRef": {"name": "another name"}}}}});
    let worse = api
        .patch("old", &PatchParams::default(), &merge(worse))
        .await;
    assert!(worse.is_err(), "a new name is held against the schema");
    create(&api, with("new", "kube-root-ca.crt"))
        .await
        .expect("a name");
    definitions
        .delete("referrers.names.example.com", &Default::default())
        .await
        .expect("it is removed");
}

#[tokio::test]
async fn status_is_written_apart_from_the_spec() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("crds").await;
    let operator = cluster.client_for(OPERATOR).await;
    let admin = cluster.admin().await;
    let api: Api<Pipeline> = Api::namespaced(admin.clone(), &namespace);
    let mut object = pipeline("orders", spec(json!({})));
    // A status that comes with the object is dropped: nobody writes himself a decision that way.
    object["status"] = json!({"phase": "Running"});
    let created = create(&api, object).await.expect("a Pipeline");
    let dropped = |pipeline: Pipeline| serde_json::to_value(pipeline.status).expect("JSON");
    assert_eq!(created.metadata.generation, Some(1));
    assert_eq!(dropped(created), unobserved());
    let patch = merge(json!({"status": {"phase": "Running"}}));
    let patched = api.patch("orders", &PatchParams::default(), &patch).await;
    assert_eq!(dropped(patched.expect("an answer")), unobserved());

    let written = write_approval(&operator, &namespace, "orders", "Awaiting").await;
    assert_eq!(written.metadata.generation, Some(1));
    let patch = merge(json!({"spec": {"desiredState": "stopped"}, "status": {"phase": "Failed"}}));
    let ours: Api<Pipeline> = Api::namespaced(operator, &namespace);
    let written = ours
        .patch_status("orders", &PatchParams::default(), &patch)
        .await;
    let written = written.expect("the status");
    assert_eq!(written.metadata.generation, Some(1));
    assert_eq!(written.spec.desired_state, Default::default());
    assert_eq!(
        written.status.expect("a status").phase.as_deref(),
        Some("Failed")
    );
}

#[tokio::test]
async fn a_status_of_a_later_version_is_stored_and_read() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("crds").await;
    let operator = cluster.client_for(OPERATOR).await;
    let admin = cluster.admin().await;
    let api: Api<Pipeline> = Api::namespaced(admin.clone(), &namespace);
    create(&api, pipeline("orders", spec(json!({}))))
        .await
        .expect("a Pipeline");
    let written = write_approval(&operator, &namespace, "orders", "HalfApproved").await;
    let approval = written.status.and_then(|status| status.approval);
    let state = approval.expect("the approval").state;
    assert_eq!(state, sluice::crd::ApprovalState::Unknown);
    let raw = raw::<Pipeline>(&admin, &namespace)
        .get("orders")
        .await
        .expect("the Pipeline");
    assert_eq!(raw.data["status"]["approval"]["state"], "HalfApproved");
}

#[tokio::test]
async fn conditions_of_several_writers_live_side_by_side() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("crds").await;
    let api: Api<Pipeline> = Api::namespaced(cluster.admin().await, &namespace);
    create(&api, pipeline("orders", spec(json!({}))))
        .await
        .expect("a Pipeline");
    let ours: Api<Pipeline> = Api::namespaced(cluster.client_for(OPERATOR).await, &namespace);
    for (api, manager, kind) in [
        (&ours, "sluice", "Ready"),
        (&api, "somebody", "Backup"),
        (&ours, "sluice", "Ready"),
    ] {
        let status = json!({
            "apiVersion": "sluice.dev/v1alpha1",
            "kind": "Pipeline",
            "status": {"conditions": [{
                "type": kind, "status": "True", "reason": "Fine", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]},
        });
        api.patch_status(
            "orders",
            &PatchParams::apply(manager),
            &Patch::Apply(status),
        )
        .await
        .expect("the status");
    }
    let status = api.get("orders").await.expect("the Pipeline").status;
    let mut kinds: Vec<String> = status
        .expect("a status")
        .conditions
        .into_iter()
        .map(|condition| condition.type_)
        .collect();
    kinds.sort();
    assert_eq!(kinds, ["Backup", "Ready"]);
}

#[tokio::test]
async fn the_examples_are_taken() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("crds").await;
    let examples = workspace().join("examples");
    let mut tried = 0;
    for entry in std::fs::read_dir(&examples).expect("the examples") {
        let path = entry.expect("an entry").path();
        let flag = match path.extension().and_then(|it| it.to_str()) {
            Some("yaml") => "-f",
            None if path.join("kustomization.yaml").is_file() => "-k",
            _ => continue,
        };
        let path = path.to_str().expect("a path in UTF-8");
        let output = cluster.kubectl(
            ADMIN,
            &["create", "--dry-run=server", "-n", &namespace, flag, path],
        );
        assert!(output.status.success(), "{path}: {}", said(&output));
        tried += 1;
    }
    assert!(tried >= 5, "only {tried} examples were found");
}

#[test]
fn the_committed_definitions_are_those_of_the_types() {
    for definition in sluice::crd::all() {
        let name = format!("{}.yaml", definition.spec.names.plural);
        for folder in ["crds", "charts/sluice/files/crds"] {
            let path = workspace().join(folder).join(&name);
            let text = std::fs::read_to_string(&path).expect("the file");
            let committed: CustomResourceDefinition =
                serde_saphyr::from_str(&text).expect("a definition");
            assert!(
                committed == definition,
                "{} differs: run `cargo xtask generate`",
                path.display()
            );
        }
    }
}
