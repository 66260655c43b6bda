//! Rights that Sluice's account has and the person hasn't: what it reads for somebody, that one has to be allowed
//! to read.

use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::Status;
use serde_json::{Value, json};
use sluice::crd::{Engine, Pipeline};

use super::scene::refused;
use sluice_test_support::cluster::{Cluster, Namespace, answer, create, eventually, pipeline, raw};

/// The Secret and the ConfigMap of somebody else.
const THEIRS: &str = "payments-db";

/// Lets a user get the one object of this name.
async fn let_get(cluster: &Cluster, namespace: &str, user: &str, resource: &str, name: &str) {
    let admin = cluster.admin().await;
    let roles: Api<Role> = Api::namespaced(admin.clone(), namespace);
    let role = format!("reads-{resource}-{name}");
    let rule = json!({"apiGroups": [""], "resources": [resource], "resourceNames": [name], "verbs": ["get"]});
    create(&roles, json!({"metadata": {"name": role}, "rules": [rule]}))
        .await
        .expect("the role");
    let bindings: Api<RoleBinding> = Api::namespaced(admin, namespace);
    let binding = json!({
        "metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    create(&bindings, binding).await.expect("the binding");
}

fn engine(spec: Value) -> Value {
    json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Engine",
        "metadata": {"name": "engine"},
        "spec": spec,
    })
}

fn reference(name: &str) -> Value {
    json!({"name": name, "key": "password"})
}

/// A namespace in which eve looks after engines, and may read no Secret.
struct Scene {
    cluster: &'static Cluster,
    namespace: Namespace,
    by_eve: Api<DynamicObject>,
    by_admin: Api<DynamicObject>,
}

impl Scene {
    async fn set() -> Self {
        let cluster = Cluster::shared().await;
        let namespace = cluster.namespace("borrowed").await;
        cluster
            .grant(&namespace, "eve", "sluice-engine-admin")
            .await;
        let by_eve = raw::<Engine>(&cluster.client_for("eve").await, &namespace);
        let by_admin = raw::<Engine>(&cluster.admin().await, &namespace);
        eventually("eve may make engines", || async {
            let probe = engine(json!({"url": "https://probe.example.com"}));
            create(&by_eve, probe).await
        })
        .await;
        answer(by_eve.delete("engine", &DeleteParams::default()).await).expect("it is deleted");
        Self {
            cluster,
            namespace,
            by_eve,
            by_admin,
        }
    }

    /// Patches the Engine as eve.
    async fn patch(&self, spec: Value) -> Result<DynamicObject, Box<Status>> {
        let patch = Patch::Merge(json!({"spec": spec}));
        answer(
            self.by_eve
                .patch("engine", &PatchParams::default(), &patch)
                .await,
        )
    }

    /// Applies the Engine by server-side apply, as eve, and takes over what is somebody else's.
    async fn apply(&self, spec: Value) -> Result<DynamicObject, Box<Status>> {
        let params = PatchParams::apply("eve").force();
        let object = engine(spec);
        answer(
            self.by_eve
                .patch("engine", &params, &Patch::Apply(&object))
                .await,
        )
    }
}

#[tokio::test]
async fn a13_whoever_has_an_engine_read_a_secret_may_read_it() {
    let scene = Scene::set().await;
    let url = "https://evil.example.com";
    let sentence = |field: &str| {
        let what = match field {
            "caSecretRef" => "spec.caSecretRef has Sluice read a Secret, so writing it".to_owned(),
            _ => "spec.credentialsSecretRef has Sluice read a Secret and send it to spec.url, so writing it, or url, tenant, caBundle or caSecretRef beside it,".to_owned(),
        };
        format!(
            "{what} needs the right to get Secret {THEIRS}, which eve doesn't have in namespace {}: ask somebody who may read it to write this, or an administrator to bind a Role with the verb get on that Secret to you there",
            &*scene.namespace
        )
    };
    let fields = ["credentialsSecretRef", "caSecretRef"];
    for field in fields {
        let spec = json!({"url": url, field: reference(THEIRS)});
        let made = create(&scene.by_eve, engine(spec.clone())).await;
        refused(made, &sentence(field));
        refused(scene.apply(spec).await, &sentence(field));
    }
    create(&scene.by_eve, engine(json!({"url": url})))
        .await
        .expect("without a Secret it is hers to make");
    for field in fields {
        let spec = json!({field: reference(THEIRS)});
        refused(scene.patch(spec).await, &sentence(field));
        let spec = json!({"url": url, field: reference(THEIRS)});
        refused(scene.apply(spec.clone()).await, &sentence(field));
        let mut whole = answer(scene.by_eve.get("engine").await).expect("the Engine");
        whole.data["spec"] = spec;
        let replaced = scene
            .by_eve
            .replace("engine", &Default::default(), &whole)
            .await;
        refused(answer(replaced), &sentence(field));
    }
    // The right to one Secret is the right to that one.
    let_get(
        scene.cluster,
        &scene.namespace,
        "eve",
        "secrets",
        "feldera-key",
    )
    .await;
    eventually("she may read her own", || {
        scene.patch(
            json!({"credentialsSecretRef": reference("feldera-key"), "caSecretRef": reference("feldera-key")}),
        )
    })
    .await;
    for field in fields {
        let spec = json!({field: reference(THEIRS)});
        refused(scene.patch(spec).await, &sentence(field));
    }
    scene
        .patch(json!({"tenant": "hers"}))
        .await
        .expect("whoever may read it says where it goes");
}

#[tokio::test]
async fn a13_a_credential_goes_elsewhere_neither_in_one_patch_nor_in_two() {
    let scene = Scene::set().await;
    let theirs =
        json!({"url": "https://feldera.example.com", "credentialsSecretRef": reference(THEIRS)});
    create(&scene.by_admin, engine(theirs.clone()))
        .await
        .expect("an Engine");
    let words = "needs the right to get Secret payments-db, which eve doesn't have";
    let evil = "https://evil.example.com";
    for change in [
        json!({"url": evil, "credentialsSecretRef": {"name": THEIRS, "key": "another"}}),
        json!({"credentialsSecretRef": {"name": THEIRS, "key": "another"}}),
        json!({"tenant": "another"}),
        json!({"caBundle": "-----BEGIN CERTIFICATE-----"}),
        json!({"caSecretRef": reference("another")}),
    ] {
        let patched = scene.patch(change.clone()).await;
        let status = patched.expect_err("it takes the credential elsewhere");
        assert!(
            status.message.contains(words) || change.get("caSecretRef").is_some(),
            "{}",
            status.message
        );
        assert_eq!(status.code, 403, "{}", status.message);
    }
    // In two: the reference goes, the url changes, and the reference comes back.
    scene
        .patch(json!({"credentialsSecretRef": null}))
        .await
        .expect("to take it away leaks nothing");
    scene
        .patch(json!({"url": evil}))
        .await
        .expect("no Secret goes there");
    let back = json!({"credentialsSecretRef": reference(THEIRS)});
    refused(scene.patch(back).await, words);
    // Or the Engine is made anew.
    answer(
        scene
            .by_eve
            .delete("engine", &DeleteParams::default())
            .await,
    )
    .expect("hers to delete");
    let spec = json!({"url": evil, "credentialsSecretRef": reference(THEIRS)});
    refused(create(&scene.by_eve, engine(spec)).await, words);
    // As it was it may not come back either: whoever may read the Secret puts it there.
    refused(create(&scene.by_eve, engine(theirs)).await, words);
}

#[tokio::test]
async fn a13_who_applies_the_same_engine_again_needs_no_right_to_its_secret() {
    let scene = Scene::set().await;
    let spec = json!({
        "url": "https://feldera.example.com", "tenant": "t",
        "credentialsSecretRef": reference(THEIRS), "caSecretRef": reference(THEIRS),
    });
    create(&scene.by_admin, engine(spec.clone()))
        .await
        .expect("an Engine");
    scene.apply(spec.clone()).await.expect("nothing is new");
    scene.patch(spec.clone()).await.expect("nothing is new");
    let labelled = Patch::Merge(json!({"metadata": {"labels": {"team": "a"}}}));
    let params = PatchParams::default();
    let labelled = scene.by_eve.patch("engine", &params, &labelled).await;
    answer(labelled).expect("a label sends no Secret anywhere");
    let without = json!({"tenant": null, "credentialsSecretRef": null, "caSecretRef": null});
    scene.patch(without).await.expect("less is read, not more");
    refused(
        scene.apply(spec).await,
        "needs the right to get Secret payments-db",
    );
}

#[tokio::test]
async fn a13_whoever_takes_a_program_from_a_config_map_may_read_it() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("borrowed").await;
    cluster.grant(&namespace, "bob", "sluice-editor").await;
    // Kubernetes' own role includes both.
    cluster.grant(&namespace, "ed", "edit").await;
    let by_bob = raw::<Pipeline>(&cluster.client_for("bob").await, &namespace);
    let by_ed = raw::<Pipeline>(&cluster.client_for("ed").await, &namespace);
    let by_admin = raw::<Pipeline>(&cluster.admin().await, &namespace);
    let from = |name: &str| json!({"configMapKeyRef": {"name": name, "key": "key"}});
    let edit = async |name: &str, program: Value| {
        let patch = Patch::Merge(json!({"spec": {"program": program}}));
        answer(by_bob.patch(name, &PatchParams::default(), &patch).await)
    };
    create(&by_admin, pipeline("mine", json!({"program": {"sql": ""}})))
        .await
        .expect("a Pipeline");
    let theirs = json!({"program": {"sqlFrom": from(THEIRS), "udfRustFrom": from(THEIRS), "udfTomlFrom": from(THEIRS)}});
    create(&by_admin, pipeline("theirs", theirs.clone()))
        .await
        .expect("a Pipeline");
    eventually("bob may edit", || edit("mine", json!({"sql": "-- a"}))).await;
    for (field, program) in [
        ("sqlFrom", json!({"sql": null, "sqlFrom": from(THEIRS)})),
        ("udfRustFrom", json!({"udfRustFrom": from(THEIRS)})),
        ("udfTomlFrom", json!({"udfTomlFrom": from(THEIRS)})),
    ] {
        let sentence = format!(
            "spec.program.{field} has Sluice read a ConfigMap, so writing it needs the right to get ConfigMap {THEIRS}, which bob doesn't have in namespace {}: ask somebody who may read it to write this, or an administrator to bind a Role with the verb get on that ConfigMap to you there",
            &*namespace
        );
        refused(edit("mine", program.clone()).await, &sentence);
        let mut program = program;
        program.as_object_mut().expect("fields").remove("sql");
        if field != "sqlFrom" {
            program["sql"] = json!("");
        }
        let made = create(&by_bob, pipeline("fresh", json!({"program": program}))).await;
        refused(made, &sentence);
        // Another key of one that is read already is newly read.
        let another = json!({field: {"configMapKeyRef": {"key": "another"}}});
        refused(edit("theirs", another).await, &sentence);
    }
    edit("theirs", theirs["program"].clone())
        .await
        .expect("nothing is new");
    let_get(cluster, &namespace, "bob", "configmaps", "mine").await;
    eventually("he may read his own", || {
        edit("mine", json!({"sql": null, "sqlFrom": from("mine")}))
    })
    .await;
    eventually("ed may read them all", || async {
        create(&by_ed, pipeline("eds", theirs.clone())).await
    })
    .await;
}
