//! The ways of writing an object. What a policy refuses, it refuses in each of them.

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::Status;
use serde_json::{Value, json};

use super::scene::{Scene, annotations, both, refused, stamps};
use sluice_test_support::cluster::{
    ADMIN, CHANGE, OPERATOR, answer, create, eventually, pipeline, said, unobserved, write_approval,
};

/// What opens the gate, each as a merge patch, and what is said to somebody who may not.
fn what_opens_the_gate() -> [(Value, &'static str); 7] {
    [
        (
            json!({"spec": {"approved": true}}),
            "spec.approved: true needs the verb approve",
        ),
        (
            json!({"spec": {"approvedChange": CHANGE}}),
            "spec.approvedChange needs the verb approve",
        ),
        (
            annotations(json!({"approve": CHANGE})),
            "the annotation sluice.dev/approve needs the verb approve",
        ),
        (
            annotations(json!({"reject": CHANGE})),
            "the annotation sluice.dev/reject needs the verb approve",
        ),
        (
            annotations(json!({"retry": CHANGE})),
            "the annotation sluice.dev/retry needs the verb approve",
        ),
        (
            annotations(json!({"force-stop": "0199"})),
            "the annotation sluice.dev/force-stop needs the verb approve",
        ),
        (
            json!({"spec": {"bootstrapPolicy": "allow"}}),
            "spec.bootstrapPolicy: allow needs the verb approve",
        ),
    ]
}

/// Writes orders so that a patch is in it, as a user, in one of the ways.
type Way = for<'a> fn(
    &'a Scene,
    &'a str,
    Value,
) -> futures::future::BoxFuture<'a, Result<DynamicObject, Box<Status>>>;

/// An editor gets nothing that opens the gate through in this way, with or without names of others beside
/// it, and somebody who may approve votes in their own name.
async fn holds(way: Way) {
    for (patch, sentence) in what_opens_the_gate() {
        let scene = Scene::set().await;
        let forged = annotations(json!({"approve-by": "alice", "approved-change-by": "alice"}));
        for attempt in [patch.clone(), both(forged, patch.clone())] {
            let refused = way(&scene, "bob", attempt.clone()).await;
            let status = refused.expect_err(sentence);
            assert_eq!(status.code, 403, "{}", status.message);
            // If two policies refuse, one of them is named.
            let by_verb = status.message.contains(sentence);
            let by_name = status.message.contains("'sluice-names'");
            assert!(by_verb || by_name && attempt != patch, "{}", status.message);
        }
        assert_eq!(scene.stamps().await, json!({}));
        let written = way(&scene, "alice", patch).await;
        let names = stamps(&written.expect("alice may"));
        let mut names = names.as_object().expect("names").iter();
        assert!(
            names.all(|(key, name)| key == "approved-for" || name == "alice"),
            "{sentence}"
        );
    }
}

/// The manifest of orders with a patch in it.
fn manifest(patch: Value) -> Value {
    both(pipeline("orders", json!({"program": {"sql": ""}})), patch)
}

#[tokio::test]
async fn a13_a_merge_patch_opens_no_gate() {
    holds(|scene, user, patch| Box::pin(scene.patch(user, patch))).await;
}

#[tokio::test]
async fn a13_a_json_patch_opens_no_gate() {
    holds(|scene, user, patch| {
        Box::pin(async move {
            let mut steps = vec![];
            for (key, value) in patch["spec"].as_object().into_iter().flatten() {
                steps.push(json!({"op": "add", "path": format!("/spec/{key}"), "value": value}));
            }
            let annotations = &patch["metadata"]["annotations"];
            if annotations.is_object() {
                steps.push(
                    json!({"op": "add", "path": "/metadata/annotations", "value": annotations}),
                );
            }
            scene.json_patch(user, Value::Array(steps)).await
        })
    })
    .await;
}

#[tokio::test]
async fn a13_server_side_apply_with_force_conflicts_opens_no_gate() {
    holds(|scene, user, patch| {
        Box::pin(async move {
            let api = scene.pipelines(user).await;
            let params = PatchParams::apply("anything").force();
            let patch = Patch::Apply(manifest(patch));
            answer(api.patch("orders", &params, &patch).await)
        })
    })
    .await;
}

#[tokio::test]
async fn a13_replacing_the_whole_object_opens_no_gate() {
    holds(|scene, user, patch| {
        Box::pin(async move {
            let api = scene.pipelines(user).await;
            let live = scene.orders().await;
            let live = serde_json::to_value(live).expect("an object");
            let whole = serde_json::from_value(both(live, patch)).expect("an object");
            answer(api.replace("orders", &PostParams::default(), &whole).await)
        })
    })
    .await;
}

/// Opens orders in an editor that writes another file over it, as a user who has a kubeconfig.
fn kubectl_edit(scene: &Scene, user: &str, wanted: &Value) -> std::process::Output {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wanted.json");
    std::fs::write(&file, wanted.to_string()).expect("a file");
    let namespace: &str = &scene.namespace;
    scene
        .cluster
        .plane()
        .kubectl(user)
        .expect("a known user")
        .env("KUBE_EDITOR", format!("cp {}", file.display()))
        .args(["edit", "pipeline", "orders", "-o", "json", "-n", namespace])
        .output()
        .expect("kubectl can be started")
}

#[tokio::test]
async fn a13_kubectl_edit_opens_no_gate() {
    let scene = Scene::set().await;
    let live = serde_json::to_value(scene.orders().await).expect("an object");
    let by_bob = both(live, json!({"spec": {"approved": true}}));
    let output = kubectl_edit(&scene, "bob", &by_bob);
    assert!(!output.status.success());
    assert!(
        said(&output).contains("spec.approved: true needs the verb approve"),
        "{}",
        said(&output)
    );
    assert_eq!(scene.stamps().await, json!({}));
    let output = kubectl_edit(&scene, "alice", &by_bob);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(
        scene.stamps().await,
        json!({"approved-by": "alice", "approved-for": CHANGE})
    );
}

#[tokio::test]
async fn a13_applying_an_old_manifest_brings_no_approval_back() {
    let scene = Scene::set().await;
    // It was approved once, and somebody has kept the object as it was.
    for vote in [
        json!({"spec": {"approved": true, "approvedChange": CHANGE}}),
        annotations(json!({"approve": CHANGE})),
    ] {
        scene.patch("alice", vote).await.expect("a vote");
    }
    let mut old = serde_json::to_value(scene.orders().await).expect("an object");
    for field in [
        "resourceVersion",
        "uid",
        "managedFields",
        "creationTimestamp",
    ] {
        old["metadata"]
            .as_object_mut()
            .expect("metadata")
            .remove(field);
    }
    let withdrawn = both(
        annotations(json!({"approve": null})),
        json!({"spec": {"approved": null, "approvedChange": null}}),
    );
    scene.patch("alice", withdrawn).await.expect("a withdrawal");
    let api = scene.pipelines("bob").await;
    let params = PatchParams::apply("kubectl").force();
    let applied = answer(api.patch("orders", &params, &Patch::Apply(&old)).await);
    assert_eq!(applied.expect_err("not his to approve").code, 403);
    // By somebody who may approve it is a new vote in their own name, if they don't claim another's.
    let api = scene.pipelines("dave").await;
    let applied = answer(api.patch("orders", &params, &Patch::Apply(&old)).await);
    refused(applied, "write there who you are");
    // And the other way round: an old manifest without the rejection doesn't take that away.
    let no = annotations(json!({"reject": CHANGE}));
    let before = scene.orders().await;
    scene.patch("alice", no).await.expect("a vote");
    let mut whole = before;
    whole.metadata.resource_version = scene.orders().await.metadata.resource_version;
    let api = scene.pipelines("bob").await;
    let replaced = api.replace("orders", &PostParams::default(), &whole).await;
    refused(
        answer(replaced),
        "removing the annotation sluice.dev/reject needs the verb approve",
    );
}

#[tokio::test]
async fn a13_nobody_but_sluice_writes_what_is_remembered_in_status() {
    let scene = Scene::set().await;
    // A namespace's administrator can be given anything of ours by a role of somebody's own making.
    let admin = scene.cluster.admin().await;
    let roles = kube::Api::<k8s_openapi::api::rbac::v1::ClusterRole>::all(admin);
    let role = json!({
        "metadata": {"name": "test-writes-statuses"},
        "rules": [{"apiGroups": ["sluice.dev"], "resources": ["pipelines/status"], "verbs": ["update", "patch"]}],
    });
    let _ = create(&roles, role).await;
    let grant = |user: &'static str| {
        scene
            .cluster
            .grant(&scene.namespace, user, "test-writes-statuses")
    };
    for user in ["bob", "alice"] {
        grant(user).await;
    }
    let decision = json!({"state": "Approved", "decision": {
        "outcome": "Approved", "by": "alice", "verified": true, "via": "Object", "at": "2026-01-01T00:00:00Z",
    }});
    for user in [ADMIN, "alice", "bob"] {
        let api = scene.pipelines(user).await;
        for (patch, field) in [
            (json!({"approval": decision}), "approval"),
            (json!({"phase": "Running"}), "phase"),
            (
                json!({"settled": {"changeId": CHANGE, "target": {"sql": "", "udfRust": "", "udfToml": "", "config": ""}}}),
                "settled",
            ),
            (json!({"turns": [{"changeId": CHANGE}]}), "turns"),
            (json!({"policies": {"epoch": "x"}}), "policies"),
            (json!({"waitingSince": null}), "waitingSince"),
            (json!({"history": []}), "history"),
        ] {
            let refusal = eventually("the binding counts", || async {
                let patch = Patch::Merge(json!({"status": patch}));
                let params = PatchParams::default();
                match answer(api.patch_status("orders", &params, &patch).await) {
                    Err(status) if status.message.contains("cannot patch") => Err(status),
                    other => Ok(other),
                }
            })
            .await;
            if field == "history" {
                // There is none; an empty list says the same to Sluice, and isn't the same.
                assert!(refusal.is_err());
                continue;
            }
            refused(
                refusal,
                &format!("status.{field} is written by Sluice's own account and nobody else"),
            );
        }
        // An approval in a request to /status goes nowhere.
        let patch = Patch::Merge(both(
            json!({"spec": {"approved": true}}),
            annotations(json!({"approve": CHANGE, "approve-by": "alice"})),
        ));
        let sent = api
            .patch_status("orders", &PatchParams::default(), &patch)
            .await;
        drop(answer(sent));
        let orders = scene.orders().await;
        assert_eq!(orders.data["spec"]["approved"], Value::Null);
        assert_eq!(stamps(&orders), json!({}));
        assert_eq!(orders.metadata.annotations, None);
    }
}

#[tokio::test]
async fn a2_an_object_that_is_made_again_under_the_same_name_carries_no_approval_over() {
    let scene = Scene::set().await;
    scene
        .patch(
            "alice",
            json!({"spec": {"approved": true, "approvedChange": CHANGE}}),
        )
        .await
        .expect("a vote");
    let before = scene.orders().await;
    let api = scene.pipelines("bob").await;
    answer(api.delete("orders", &DeleteParams::default()).await).expect("bob may delete");
    let with_the_vote = manifest(json!({"spec": {"approvedChange": CHANGE}}));
    refused(
        create(&api, with_the_vote.clone()).await,
        "needs the verb approve",
    );
    let again = create(&scene.pipelines("alice").await, with_the_vote).await;
    let again = again.expect("alice may");
    // Another uid makes another id of every change, so the vote fits none.
    assert_ne!(again.metadata.uid, before.metadata.uid);
    assert_eq!(again.data["status"], unobserved());
    let ours = scene.cluster.client_for(OPERATOR).await;
    write_approval(&ours, &scene.namespace, "orders", "Awaiting").await;
    assert_eq!(scene.stamps().await, json!({"approved-change-by": "alice"}));
}
