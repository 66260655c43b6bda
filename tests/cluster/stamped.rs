//! Beside a mutating admission policy of the cluster's own, that stamps a label and an annotation on whatever is
//! written, by whomever, and another value each time.

use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use sluice::crd::{FINALIZER, Pipeline, annotation};
use tokio::sync::OnceCell;

use sluice_test_support::cluster::{
    ADMIN, Cluster, OPERATOR, answer, eventually, pipeline, raw, said,
};
use sluice_test_support::story::{Story, changed, changed_otherwise, id, is_in};

const STAMP: &str = "example.com/written-by";

/// A policy as clusters have them: who wrote it last, and on top of what.
fn policy() -> [Value; 2] {
    let stamp = "(request.userInfo.username + ' on ' + (oldObject == null ? 'nothing' : oldObject.metadata.resourceVersion))";
    let key = "jsonpatch.escapeKey('example.com/written-by')";
    let expression = format!(
        "(has(object.metadata.annotations) ? [] : [JSONPatch{{op: 'add', path: '/metadata/annotations', value: {{}}}}])
        + (has(object.metadata.labels) ? [] : [JSONPatch{{op: 'add', path: '/metadata/labels', value: {{}}}}])
        + [JSONPatch{{op: 'add', path: '/metadata/annotations/' + {key}, value: {stamp}}},
        JSONPatch{{op: 'add', path: '/metadata/labels/' + {key}, value: 'on-' + (oldObject == null ? 'nothing' : oldObject.metadata.resourceVersion)}}]"
    );
    let resources = [
        "pipelines",
        "pipelines/status",
        "pipelineapprovals",
        "engines",
        "engines/status",
    ];
    let version = "admissionregistration.k8s.io/v1";
    [
        json!({
            "apiVersion": version, "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": "example-stamps"},
            "spec": {
                "failurePolicy": "Fail",
                "reinvocationPolicy": "IfNeeded",
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": ["sluice.dev"], "apiVersions": ["*"], "resources": resources,
                    "operations": ["CREATE", "UPDATE"],
                }]},
                "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
            },
        }),
        json!({
            "apiVersion": version, "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": "example-stamps"},
            "spec": {"policyName": "example-stamps"},
        }),
    ]
}

/// A cluster that stamps all that is written.
async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    let start = || async {
        let cluster = Cluster::own().await;
        let file = tempfile::NamedTempFile::with_suffix(".json").expect("a file");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": policy()});
        std::fs::write(file.path(), list.to_string()).expect("it can be written");
        let path = file.path().to_str().expect("a path in UTF-8");
        let output = cluster.kubectl(ADMIN, &["apply", "--server-side", "-f", path]);
        assert!(output.status.success(), "{}", said(&output));
        let pipelines = raw::<Pipeline>(&cluster.admin().await, "default");
        eventually("it stamps", || async {
            let object = pipeline("any", json!({"program": {"sql": ""}}));
            let object: DynamicObject = serde_json::from_value(object).expect("an object");
            let dry_run = PostParams {
                dry_run: true,
                ..PostParams::default()
            };
            let made = pipelines.create(&dry_run, &object).await;
            match &made {
                Ok(made) if made.annotations().contains_key(STAMP) => Ok(()),
                _ => Err(format!("{made:?}")),
            }
        })
        .await;
        cluster
    };
    CLUSTER.get_or_init(start).await
}

fn is_held(pipeline: &Pipeline) -> bool {
    pipeline.finalizers().iter().any(|name| name == FINALIZER)
}

#[tokio::test]
async fn beside_a_policy_that_stamps_every_write_changes_wait_are_approved_and_end() {
    let cluster = cluster().await;
    let story = Story::on(cluster, &["--require-policies", "true"]).await;
    story.running().await;
    // Compiled beforehand, for which the Pipeline is held, and approved by an object.
    story.change_to(&changed()).await;
    let waiting = story.until_waiting().await;
    story.vote("yes", &id(&waiting), "Approve").await;
    story.until_sealed().await;
    // By an annotation.
    story.change_to(&changed_otherwise()).await;
    let waiting = story.until_waiting().await;
    story.approve(&id(&waiting)).await;
    story.until_sealed().await;
    // All policies were seen to be in force.
    let metrics = format!("{}/metrics", story.admin_url().await);
    let metrics = reqwest::get(metrics).await.expect("an answer");
    let metrics = metrics.text().await.expect("a text");
    assert_eq!(metrics.matches("sluice_policy_in_force{").count(), 6);
    assert!(!metrics.contains("sluice_policy_in_force{policy=\"sluice-operator\"} 0"));
    // Held while the engine's pipeline goes with it, and let go.
    story
        .patch(json!({"spec": {"deletionPolicy": "Delete"}}))
        .await;
    let held = story
        .until("it is held, and stamped by the operator's own write", |p| {
            let stamp = p.annotation(STAMP).unwrap_or_default();
            is_held(p) && is_in(p, "Running") && stamp.starts_with(OPERATOR)
        })
        .await;
    assert!(held.labels().contains_key(STAMP));
    story.delete("orders").await;
    story.until_gone("orders").await;
    assert!(!story.engine.names().await.contains(&"orders".to_owned()));
}

#[tokio::test]
async fn a13_beside_such_a_policy_too_the_operators_account_edits_no_spec_and_no_word_of_people() {
    let cluster = cluster().await;
    let story = Story::prepared_on(cluster, &[]).await;
    let object = json!({"metadata": {"name": "orders", "annotations": {
        "sluice.dev/reason": "theirs", "kubectl.kubernetes.io/last-applied-configuration": "{}",
    }}, "spec": {"program": {"sql": ""}}});
    let pipelines: Api<Pipeline> = Api::namespaced(story.client.clone(), &story.namespace);
    sluice_test_support::cluster::create(&pipelines, object)
        .await
        .expect("a Pipeline");
    let ours: Api<Pipeline> = Api::namespaced(cluster.client_for(OPERATOR).await, &story.namespace);
    let write = async |patch: Value| {
        let patch = Patch::Merge(patch);
        answer(ours.patch("orders", &PatchParams::default(), &patch).await)
    };
    let annotate = |key: &str, value: Value| json!({"metadata": {"annotations": {key: value}}});
    for refused in [
        json!({"spec": {"desiredState": "paused"}}),
        json!({"spec": {"approved": true}}),
        annotate(annotation::APPROVE, json!("0".repeat(32))),
        annotate(annotation::RETRY, json!("x")),
        annotate(annotation::FORCE_DELETE, json!("true")),
        annotate(annotation::REASON, json!("other words")),
        annotate(annotation::REASON, Value::Null),
        annotate("sluice.dev/of-a-later-version", json!("x")),
        // By it kubectl tells what to remove.
        annotate(
            "kubectl.kubernetes.io/last-applied-configuration",
            json!("{\"spec\":{\"approved\":true}}"),
        ),
        annotate(
            "kubectl.kubernetes.io/last-applied-configuration",
            Value::Null,
        ),
    ] {
        let error = write(refused.clone()).await.expect_err("it is refused");
        let why = &error.message;
        // Another one may have seen it first.
        let by_ours = why.contains("ValidatingAdmissionPolicy 'sluice-");
        assert!(by_ours, "{refused}: {why}");
    }
    // Drift is what a tool wants otherwise, and not what it was stamped with.
    let file = tempfile::NamedTempFile::with_suffix(".json").expect("a file");
    let wanted = json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Pipeline",
        "metadata": {"name": "orders"}, "spec": {"program": {"sql": ""}},
    });
    std::fs::write(file.path(), wanted.to_string()).expect("it can be written");
    let path = file.path().to_str().expect("a path in UTF-8");
    let namespace: &str = &story.namespace;
    let output = cluster.kubectl(
        ADMIN,
        &[
            "diff",
            "--server-side",
            "--force-conflicts",
            "-n",
            namespace,
            "-f",
            path,
        ],
    );
    let told = said(&output);
    let differs = |line: &&str| {
        line.starts_with(['+', '-']) && !line.starts_with("+++") && !line.starts_with("---")
    };
    let lines: Vec<&str> = told.lines().filter(differs).collect();
    assert!(!lines.is_empty(), "{told}");
    // What was put into kubectl's own notes above it would put right.
    let is_no_drift = |line: &&str| {
        line.contains(STAMP) || line.contains("last-applied") || line.contains("\"apiVersion\":")
    };
    assert!(lines.iter().all(is_no_drift), "{told}");
    for taken in [
        json!({"metadata": {"finalizers": [FINALIZER]}}),
        json!({"metadata": {"finalizers": null}}),
    ] {
        write(taken).await.expect("it is taken");
    }
}
