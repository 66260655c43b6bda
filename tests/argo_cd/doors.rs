//! Each way to approve and to reject, under both ways to apply. What it came to is read from the Pipeline and
//! the engine's log of calls; that Argo CD has nothing more to do, from the Application.

use kube::ResourceExt;
use serde_json::json;
use sluice::crd::{Door, Verdict, annotation};

use super::argo::{CONTROLLER, SERVER, argo};
use super::scene::{Apply, Scene, health_of, words};
use sluice_test_support::cluster::{ADMIN, said};
use sluice_test_support::story::{
    ORDERS, PROGRAM, changed, changed_otherwise, has_type, id, id_of_change_to,
};

use libtest_mimic::Trial;

/// All stories.
pub fn all() -> Vec<Trial> {
    sluice_test_support::trials::trials![
        a_change_is_approved_by_the_action,
        a_change_is_approved_by_the_action_under_server_side_apply,
        a_change_is_approved_by_an_annotation_that_self_heal_leaves_alone,
        a_change_is_approved_by_an_annotation_that_self_heal_leaves_alone_under_server_side_apply,
        a_change_is_approved_by_a_commit,
        a_change_is_approved_by_a_commit_under_server_side_apply,
        a_change_and_its_approval_come_in_one_commit,
        a_change_is_approved_by_an_object_of_another_application,
        a_change_is_approved_by_an_object_of_another_application_under_server_side_apply,
        a_change_is_rejected_by_the_action_and_taken_back_by_a_commit,
        a_change_is_rejected_by_the_action_under_server_side_apply,
    ]
}

/// The change was applied once, as decided, and Argo CD sees nothing to do.
async fn was_approved_once(scene: &Scene, door: Door, by: &str) {
    scene.story.until_sealed().await;
    let expected = (Verdict::Approved, door, by.to_owned());
    assert_eq!(scene.decision().await, expected);
    scene.until_synced("Healthy").await;
    scene.rests().await;
    assert_eq!(scene.story.engine.calls_to("/orders/approve").len(), 1);
    assert_eq!(scene.story.engine.bootstraps().await.len(), 1);
}

async fn by_the_action(apply: Apply) {
    let mut scene = Scene::begin(argo().await, apply).await;
    let name = scene.name();
    scene
        .commit(json!({"spec": {"program": {"sql": changed()}}}))
        .await;
    let waiting = scene.until_waiting("Suspended").await;
    let app = scene.until_synced("Suspended").await;
    let told = words(&health_of(&app));
    for part in ["modifies view totals", "the action approve", &id(&waiting)] {
        assert!(told.contains(part), "{part} isn't in {told}");
    }
    let syncs = scene.syncs().await;
    scene.rests().await;

    let approve = |user: &'static str| {
        let action = [
            "app", "actions", "run", &name, "approve", "--kind", "Pipeline",
        ];
        scene.argo.argocd(user, &action)
    };
    // By Argo CD's own rights bob may not; by Kubernetes' rights its server may not until it is let.
    scene.argo.logs_in("bob").await;
    let refused = said(&approve("bob"));
    assert!(refused.contains("permission denied"), "{refused}");
    scene.argo.logs_in("alice").await;
    let refused = said(&approve("alice"));
    assert!(refused.contains("cannot create resource"), "{refused}");
    scene
        .argo
        .cluster
        .grant(&name, SERVER, "sluice-approver")
        .await;
    sluice_test_support::story::eventually("the action is taken", || async {
        let output = approve("alice");
        output.status.success().then_some(()).ok_or(said(&output))
    })
    .await;

    was_approved_once(&scene, Door::Object, SERVER).await;
    assert_eq!(scene.syncs().await, syncs, "nothing was synced for it");
    assert!(!scene.actions().await.is_empty(), "Argo CD says who ran it");
    let refused = said(&approve("alice"));
    assert!(
        refused.contains("no change waits for a decision"),
        "{refused}"
    );
}

async fn a_change_is_approved_by_the_action() {
    by_the_action(Apply::ClientSide).await;
}

async fn a_change_is_approved_by_the_action_under_server_side_apply() {
    by_the_action(Apply::ServerSide).await;
}

/// By hand: `kubectl annotate`. The annotation isn't in Git, and stays.
async fn by_an_annotation(apply: Apply) {
    let mut scene = Scene::begin(argo().await, apply).await;
    let waiting = scene.brings(&changed(), "Suspended").await;
    let syncs = scene.syncs().await;
    scene.story.approve(&id(&waiting)).await;
    was_approved_once(&scene, Door::Annotation, ADMIN).await;
    assert_eq!(scene.syncs().await, syncs, "nothing was synced for it");
    let now = scene.story.now().await;
    assert_eq!(now.annotations()[annotation::APPROVE], id(&waiting));
}

async fn a_change_is_approved_by_an_annotation_that_self_heal_leaves_alone() {
    by_an_annotation(Apply::ClientSide).await;
}

async fn a_change_is_approved_by_an_annotation_that_self_heal_leaves_alone_under_server_side_apply()
{
    by_an_annotation(Apply::ServerSide).await;
}

async fn by_a_commit(apply: Apply) {
    let mut scene = Scene::begin(argo().await, apply).await;
    let waiting = scene.brings(&changed(), "Suspended").await;
    scene
        .commit(json!({"spec": {"approvedChange": id(&waiting)}}))
        .await;
    was_approved_once(&scene, Door::Field, CONTROLLER).await;

    // What stays in Git approves nothing more.
    scene
        .commit(json!({"spec": {"program": {"sql": changed_otherwise()}}}))
        .await;
    let next = scene.until_waiting("Suspended").await;
    assert_ne!(id(&next), id(&waiting));
    assert!(
        !has_type(&next, "StaleApproval"),
        "nor does it alarm anybody"
    );
    scene.until_synced("Suspended").await;
    scene.rests().await;
    assert_eq!(scene.story.engine.calls_to("/orders/approve").len(), 1);
}

async fn a_change_is_approved_by_a_commit() {
    by_a_commit(Apply::ClientSide).await;
}

async fn a_change_is_approved_by_a_commit_under_server_side_apply() {
    by_a_commit(Apply::ServerSide).await;
}

async fn a_change_and_its_approval_come_in_one_commit() {
    let mut scene = Scene::begin(argo().await, Apply::ClientSide).await;
    let expected = id_of_change_to(&scene.story.now().await, &changed());
    let both = json!({"program": {"sql": changed()}, "approvedChange": expected});
    scene.commit(json!({ "spec": both })).await;
    was_approved_once(&scene, Door::Field, CONTROLLER).await;
}

async fn by_an_object(apply: Apply) {
    let mut scene = Scene::begin(argo().await, apply).await;
    let approvals = format!("{}-approvals", scene.name());
    scene.repository.commit("approvals/readme.txt", "none yet");
    scene.application(&approvals, "approvals").await;
    scene
        .commit(json!({"spec": {"program": {"sql": changed()}}}))
        .await;
    let waiting = scene.until_waiting("Suspended").await;
    let vote = json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "PipelineApproval",
        "metadata": {"name": "orders-1"},
        "spec": {
            "pipelineRef": {"name": ORDERS},
            "changeId": id(&waiting),
            "decision": "Approve",
            "reason": "read by two of us",
        },
    });
    scene
        .repository
        .commit("approvals/orders-1.json", &vote.to_string());
    scene.look(&approvals).await;
    scene.look(&scene.name()).await;
    was_approved_once(&scene, Door::Object, CONTROLLER).await;
    let head = scene.repository.head();
    let app = scene
        .until_of(&approvals, "the approvals are synced", |app| {
            let status = &app["status"];
            status["sync"]["status"] == "Synced" && status["sync"]["revision"] == head.as_str()
        })
        .await;
    // Nothing is set up for its health, and nothing needs to be.
    assert_eq!(app["status"]["health"]["status"], "Healthy");
}

async fn a_change_is_approved_by_an_object_of_another_application() {
    by_an_object(Apply::ClientSide).await;
}

async fn a_change_is_approved_by_an_object_of_another_application_under_server_side_apply() {
    by_an_object(Apply::ServerSide).await;
}

async fn rejected_by_the_action(apply: Apply) {
    let mut scene = Scene::begin(argo().await, apply).await;
    let name = scene.name();
    scene
        .argo
        .cluster
        .grant(&name, SERVER, "sluice-approver")
        .await;
    scene.brings(&changed(), "Suspended").await;
    scene.argo.logs_in("alice").await;
    let reject = [
        "app", "actions", "run", &name, "reject", "--kind", "Pipeline",
    ];
    sluice_test_support::story::eventually("the action is taken", || async {
        let output = scene.argo.argocd("alice", &reject);
        output.status.success().then_some(()).ok_or(said(&output))
    })
    .await;
    scene.story.until_rejected().await;
    let expected = (Verdict::Rejected, Door::Object, SERVER.to_owned());
    assert_eq!(scene.decision().await, expected);
    let app = scene.until_synced("Degraded").await;
    let told = words(&health_of(&app));
    assert!(told.contains("was rejected"), "{told}");
    scene.rests().await;
    assert_eq!(scene.story.engine.calls_to("/orders/approve"), []);

    // The way back is a commit, too.
    scene
        .commit(json!({"spec": {"program": {"sql": PROGRAM}}}))
        .await;
    scene.story.until_settled_as("Running").await;
    scene.until_synced("Healthy").await;
    assert_eq!(scene.story.engine.bootstraps().await.len(), 0);
}

async fn a_change_is_rejected_by_the_action_and_taken_back_by_a_commit() {
    rejected_by_the_action(Apply::ClientSide).await;
}

async fn a_change_is_rejected_by_the_action_under_server_side_apply() {
    rejected_by_the_action(Apply::ServerSide).await;
}
