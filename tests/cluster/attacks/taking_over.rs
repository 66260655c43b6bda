//! `sluice.dev/adopt`: who may take over what the engine already has. What comes of it is the operator's affair.

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::Status;
use serde_json::json;

use super::scene::{Scene, annotations, refused};
use sluice_test_support::cluster::{answer, create, eventually, pipeline};

/// Writes the annotation, as this user.
async fn adopt(scene: &Scene, user: &str, value: &str) -> Result<DynamicObject, Box<Status>> {
    scene
        .patch(user, annotations(json!({"adopt": value})))
        .await
}

#[tokio::test]
async fn a19_taking_over_from_one_that_is_gone_needs_the_verb_on_both() {
    let scene = Scene::set().await;
    let theirs = scene.cluster.namespace("attack").await;
    let theirs: &str = &theirs;
    let gone = format!("{theirs}/billing");
    // Alice approves here; frank there only.
    for (namespace, role) in [
        (&*scene.namespace, "sluice-editor"),
        (theirs, "sluice-approver"),
    ] {
        scene.cluster.grant(namespace, "frank", role).await;
    }
    let sentence = format!(
        "the annotation sluice.dev/adopt takes over what was Pipeline billing of namespace {theirs}, so it needs the verb approve on that one, too, which alice doesn't have: ask somebody who has it, or an administrator to bind the ClusterRole sluice-approver to you in that namespace, or, where it is gone as well, in all"
    );
    refused(adopt(&scene, "alice", &gone).await, &sentence);
    let labelled = json!({"metadata": {"labels": {"team": "a"}}});
    eventually("frank may edit", || scene.patch("frank", labelled.clone())).await;
    let here = "the annotation sluice.dev/adopt needs the verb approve on Pipeline orders, which frank doesn't have";
    refused(adopt(&scene, "frank", &gone).await, here);
    refused(adopt(&scene, "frank", "orders").await, here);
    // With the Pipeline itself it is the same.
    let mut object = pipeline("fresh", json!({"program": {"sql": ""}}));
    object["metadata"]["annotations"] = json!({"sluice.dev/adopt": gone});
    let made = create(&scene.pipelines("alice").await, object.clone()).await;
    refused(made, &sentence);
    // Another Pipeline of that namespace is another right.
    let role = json!({
        "metadata": {"name": "approves-ledger"},
        "rules": [{"apiGroups": ["sluice.dev"], "resources": ["pipelines"], "resourceNames": ["ledger"], "verbs": ["approve"]}],
    });
    let admin = scene.cluster.admin().await;
    let roles: kube::Api<k8s_openapi::api::rbac::v1::Role> =
        kube::Api::namespaced(admin.clone(), theirs);
    create(&roles, role).await.expect("the role");
    let binding = json!({
        "metadata": {"name": "approves-ledger"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "approves-ledger"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}],
    });
    let bindings: kube::Api<k8s_openapi::api::rbac::v1::RoleBinding> =
        kube::Api::namespaced(admin, theirs);
    create(&bindings, binding).await.expect("the binding");
    eventually("alice may take over ledger", || {
        let ledger = format!("{theirs}/ledger");
        let scene = &scene;
        async move { adopt(scene, "alice", &ledger).await }
    })
    .await;
    refused(adopt(&scene, "alice", &gone).await, &sentence);
    scene
        .cluster
        .grant(theirs, "alice", "sluice-approver")
        .await;
    eventually("alice approves in both", || adopt(&scene, "alice", &gone)).await;
    create(&scene.pipelines("alice").await, object)
        .await
        .expect("she has the verb on both");
    // What stands there is nobody's word anew, whoever applies it again.
    adopt(&scene, "bob", &gone).await.expect("nothing is new");
    let other = format!("{}/orders", &*scene.namespace);
    let why = refused(adopt(&scene, "bob", &other).await, "needs the verb approve");
    assert!(why.contains("sluice.dev/adopt"), "{why}");
    scene
        .patch("bob", annotations(json!({"adopt": null})))
        .await
        .expect("to take it away takes over nothing");
}

#[tokio::test]
async fn a19_what_adopt_cannot_mean_is_refused_with_what_to_write() {
    let scene = Scene::set().await;
    let sentence = "the annotation sluice.dev/adopt says which pipeline of the engine to take over: write there its name, such as orders, or, if it carries the mark of a Pipeline that is gone, the namespace and name of that one, such as shop/orders";
    for value in [
        "",
        "/",
        "/orders",
        "shop/",
        "shop/orders/",
        "a/b/c",
        "Shop/orders",
        "shop/Orders",
        "shop/.orders",
        "shop /orders",
        "two words",
        "orders\n",
        "*/orders",
        "shop/*",
    ] {
        let status = adopt(&scene, "alice", value).await.expect_err(value);
        // One whose first part names a namespace is refused for want of the right there, too: either may come first.
        let (code, says) = (status.code, &status.message);
        assert!(
            (code == 422 && says.ends_with(sentence))
                || (code == 403 && says.contains("sluice.dev/adopt")),
            "{value:?}: {code} {says}"
        );
        let object = json!({"metadata": {"annotations": {"sluice.dev/adopt": value}}});
        let admin = sluice_of(&scene).await;
        let patched = admin
            .patch("orders", &PatchParams::default(), &Patch::Merge(object))
            .await;
        let status = answer(patched).expect_err(value);
        assert_eq!(status.code, 422, "{value:?}: {}", status.message);
        assert!(status.message.ends_with(sentence), "{}", status.message);
    }
    for value in ["orders", "Orders_2-x"] {
        adopt(&scene, "alice", value).await.expect(value);
    }
}

/// Pipelines, as somebody who may do anything.
async fn sluice_of(scene: &Scene) -> kube::Api<DynamicObject> {
    scene.pipelines(sluice_test_support::cluster::ADMIN).await
}

/// Of a pipeline that is made elsewhere `reject` turns down whatever comes to its gate, and has it stopped: a vote in advance.
#[tokio::test]
async fn a13_a_guest_that_rejects_is_made_only_by_who_may() {
    let scene = Scene::without_pipeline().await;
    let guest = |policy: &str| {
        json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Pipeline", "metadata": {"name": format!("guest-{policy}").replace('_', "-")},
            "spec": {"bootstrapPolicy": policy},
        })
    };
    let bob = scene.pipelines("bob").await;
    let refused = create(&bob, guest("reject")).await.expect_err("a refusal");
    assert!(
        refused.message.contains("needs the verb approve"),
        "{refused:?}"
    );
    let made = create(&bob, guest("await_approval")).await;
    made.expect("it is made");
    let patch = json!({"spec": {"bootstrapPolicy": "reject"}});
    let changed = bob
        .patch(
            "guest-await-approval",
            &PatchParams::default(),
            &Patch::Merge(patch),
        )
        .await;
    assert!(changed.is_err());
    // With a program of its own it only keeps changes out.
    let mut own = guest("reject");
    own["metadata"]["name"] = json!("own");
    own["spec"]["program"] = json!({"sql": "SELECT 1"});
    create(&bob, own).await.expect("it is made");
    let alice = scene.pipelines("alice").await;
    create(&alice, guest("reject")).await.expect("it is made");
}
