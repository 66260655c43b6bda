//! Under which account Argo CD syncs, and what it may then: what the admission policies say to it.

use serde_json::{Value, json};
use sluice::crd::{ApprovalState, Door, Pipeline, Verdict};

use super::argo::{argo, careful_argo};
use super::scene::{Apply, Scene};
use sluice_test_support::cluster::{ADMIN, said, workspace};
use sluice_test_support::story::{ORDERS, PROGRAM, changed, changed_otherwise, id, is_at};

use libtest_mimic::Trial;

/// All stories.
pub fn all() -> Vec<Trial> {
    sluice_test_support::trials::trials![
        a1_approved_true_in_git_is_refused_and_approves_nothing,
        a1_what_a_person_approves_stays_and_what_git_has_approves_nothing,
        a1_what_a_person_approves_stays_under_server_side_apply,
        a13_an_account_that_may_only_edit_brings_changes_and_another_one_approvals,
    ]
}

/// What a sync that failed says.
async fn until_refused(scene: &Scene, words: &str) -> Value {
    scene
        .until(&format!("the sync is refused: {words}"), |app| {
            let operation = &app["status"]["operationState"];
            operation["phase"] != "Succeeded" && operation.to_string().contains(words)
        })
        .await
}

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
    scene.brings(&changed(), "Suspended").await;
    let syncs = scene.syncs().await;
    scene.story.patch(json!({"spec": {"approved": true}})).await;
    scene.story.until_sealed().await;
    let expected = (Verdict::Approved, Door::Field, ADMIN.to_owned());
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

async fn a1_what_a_person_approves_stays_and_what_git_has_approves_nothing() {
    a_persons_approved_true(Apply::ClientSide).await;
}

async fn a1_what_a_person_approves_stays_under_server_side_apply() {
    a_persons_approved_true(Apply::ServerSide).await;
}

/// Applies `examples/argo-cd/accounts.yaml`, with what is in it called as in this scene.
fn apply_accounts(scene: &Scene) {
    let example = workspace().join("examples/argo-cd/accounts.yaml");
    let text = std::fs::read_to_string(example).expect("the example");
    let url = scene.repository.url();
    let text = text
        .replace("https://git.example.com/shop-approvals.git", &url)
        .replace("https://git.example.com/shop.git", &url)
        .replace("shop", &scene.name())
        .replace(
            "namespace: argocd",
            &format!("namespace: {}", scene.argo.namespace),
        );
    let file = scene.repository.folder().join(".git/accounts.yaml");
    std::fs::write(&file, text).expect("a file");
    let file = file.to_str().expect("a path in UTF-8");
    let output = scene.argo.cluster.kubectl(ADMIN, &["apply", "-f", file]);
    assert!(output.status.success(), "{}", said(&output));
}

async fn a13_an_account_that_may_only_edit_brings_changes_and_another_one_approvals() {
    let mut scene = Scene::prepared(careful_argo().await, Apply::ClientSide).await;
    let (name, approvals) = (scene.name(), format!("{}-approvals", scene.name()));
    scene.repository.commit("approvals/readme.txt", "none yet");
    scene.commit(json!({})).await;
    apply_accounts(&scene);
    scene.story.until_settled_as("Running").await;
    scene.until_synced("Healthy").await;

    let waiting = scene.brings(&changed(), "Healthy").await;
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
    let by = format!("system:serviceaccount:{name}-approvals:approvals");
    assert_eq!(
        scene.decision().await,
        (Verdict::Approved, Door::Object, by)
    );
    // And it brings nothing else.
    let text = json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Pipeline",
        "metadata": {"name": "another"},
        "spec": {"engineRef": {"name": "engine"}, "program": {"sql": PROGRAM}},
    });
    scene
        .repository
        .commit("approvals/another.json", &text.to_string());
    scene.look(&approvals).await;
    scene
        .until_of(&approvals, "the approvals' project may not", |app| {
            let operation = &app["status"]["operationState"];
            operation["phase"] != "Succeeded" && operation.to_string().contains("is not permitted")
        })
        .await;
}
