//! Under which account Argo CD syncs, and what it may then: what the admission policies say to it.

use serde_json::{Value, json};
use sluice::crd::{ApprovalState, Door, Outcome, Pipeline};

use super::argo::{argo, careful_argo};
use super::scene::{Apply, Scene};
use super::story::{ORDERS, PROGRAM, changed, changed_otherwise, id, is_at};
use super::support::{ADMIN, create};

/// What a sync that failed says.
async fn until_refused(scene: &Scene, words: &str) -> Value {
    scene
        .until(&format!("the sync is refused: {words}"), |app| {
            let operation = &app["status"]["operationState"];
            operation["phase"] != "Succeeded" && operation.to_string().contains(words)
        })
        .await
}

#[tokio::test]
async fn a1_approved_true_in_git_is_refused_and_approves_nothing() {
    let mut scene = Scene::begin(argo().await, Apply::ClientSide).await;
    let both = json!({"program": {"sql": changed()}, "approved": true});
    scene.commit(json!({ "spec": both })).await;
    let words = "spec.approved: true names no change, so it is for people";
    until_refused(&scene, words).await;
    // With it nothing else of the commit came to the cluster.
    let now = scene.story.now().await;
    assert_eq!(now.spec.approved, None);
    assert_eq!(scene.story.engine.calls_to("/orders/approve"), []);

    scene.commit(json!({"spec": {"approved": null}})).await;
    scene.until_waiting("Suspended").await;
    scene.until_synced("Suspended").await;
    assert_eq!(scene.story.engine.calls_to("/orders/approve"), []);
}

/// What a person approves by `approved: true` stays, and self-heal, which puts back what Git has of the field,
/// approves nothing by it.
async fn a_persons_approved_true(apply: Apply) {
    let mut scene = Scene::begin(argo().await, apply).await;
    scene
        .commit(json!({"spec": {"program": {"sql": changed()}}}))
        .await;
    scene.until_waiting("Suspended").await;
    scene.until_synced("Suspended").await;
    let syncs = scene.syncs().await;
    scene.story.patch(json!({"spec": {"approved": true}})).await;
    scene.story.until_sealed().await;
    let expected = (Outcome::Approved, Door::Field, ADMIN.to_owned());
    assert_eq!(scene.decision().await, expected);
    scene.until_synced("Healthy").await;
    scene.rests().await;
    assert_eq!(scene.syncs().await, syncs, "nothing was synced for it");

    // The next change waits, although it still stands there.
    scene
        .commit(json!({"spec": {"program": {"sql": changed_otherwise()}}}))
        .await;
    scene.until_waiting("Suspended").await;
    assert_eq!(scene.story.now().await.spec.approved, Some(true));
    // False in Git takes it away; and when a person sets it again, self-heal does.
    scene.commit(json!({"spec": {"approved": false}})).await;
    scene.until_synced("Suspended").await;
    assert_eq!(scene.story.now().await.spec.approved, Some(false));
    scene.story.engine.ticks(2).await;
    assert_eq!(scene.story.engine.calls_to("/orders/approve").len(), 1);
}

#[tokio::test]
async fn a1_what_a_person_approves_stays_and_what_git_has_approves_nothing() {
    a_persons_approved_true(Apply::ClientSide).await;
}

#[tokio::test]
async fn a1_what_a_person_approves_stays_under_server_side_apply() {
    a_persons_approved_true(Apply::ServerSide).await;
}

/// An account of the scene's namespace, bound to a role there.
async fn account(scene: &Scene, name: &str, role: &str) {
    let accounts = scene
        .story
        .api::<k8s_openapi::api::core::v1::ServiceAccount>();
    let made = create(&accounts, json!({"metadata": {"name": name}})).await;
    made.expect("the account");
    let user = format!("system:serviceaccount:{}:{name}", scene.name());
    scene.argo.cluster.grant(&scene.name(), &user, role).await;
}

#[tokio::test]
async fn a13_an_account_that_may_only_edit_brings_changes_and_another_one_approvals() {
    let mut scene = Scene::prepared(careful_argo().await, Apply::ClientSide).await;
    let (name, approvals) = (scene.name(), format!("{}-approvals", scene.name()));
    account(&scene, "pipelines", "sluice-editor").await;
    account(&scene, "approvals", "sluice-approver").await;
    scene.project(&name, "pipelines").await;
    scene.project(&approvals, "approvals").await;
    scene.repository.commit("approvals/readme.txt", "none yet");
    scene.commit(json!({})).await;
    scene.application(&name, &name, "pipelines").await;
    scene.application(&approvals, &approvals, "approvals").await;
    scene.story.until_settled_as("Running").await;
    scene.until_synced("Healthy").await;

    scene
        .commit(json!({"spec": {"program": {"sql": changed()}}}))
        .await;
    let waiting = scene.until_waiting("Healthy").await;
    scene.until_synced("Healthy").await;
    scene
        .commit(json!({"spec": {"approvedChange": id(&waiting)}}))
        .await;
    let words = format!(
        "spec.approvedChange needs the verb approve on Pipeline orders, which system:serviceaccount:{name}:pipelines doesn't have"
    );
    until_refused(&scene, &words).await;
    let awaits = |pipeline: &Pipeline| is_at(pipeline, ApprovalState::Awaiting);
    assert!(awaits(&scene.story.now().await));
    scene
        .commit(json!({"spec": {"approvedChange": null}}))
        .await;
    scene.until_synced("Healthy").await;

    let vote = json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "PipelineApproval",
        "metadata": {"name": "orders-1"},
        "spec": {
            "pipelineRef": {"name": ORDERS},
            "changeId": id(&waiting),
            "decision": "Approve",
        },
    });
    scene
        .repository
        .commit("approvals/orders-1.json", &vote.to_string());
    scene.look(&approvals).await;
    scene.look(&name).await;
    scene.story.until_sealed().await;
    let by = format!("system:serviceaccount:{name}:approvals");
    assert_eq!(
        scene.decision().await,
        (Outcome::Approved, Door::Object, by)
    );
    // And it may edit nothing.
    let text = json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Pipeline",
        "metadata": {"name": ORDERS},
        "spec": {"engineRef": {"name": "engine"}, "program": {"sql": PROGRAM}},
    });
    scene
        .repository
        .commit("approvals/orders.json", &text.to_string());
    scene.look(&approvals).await;
    scene
        .until_of(&approvals, "the approvals' account may not edit", |app| {
            let operation = &app["status"]["operationState"];
            operation["phase"] != "Succeeded"
                && operation.to_string().contains("cannot patch resource")
        })
        .await;
}
