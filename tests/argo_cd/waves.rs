//! Syncs in several steps, by waves and hooks: a resource that is Suspended holds the next step up, and a
//! commit that would approve it stays out as long as the sync is open; one that is Healthy doesn't.

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use sluice::crd::{Door, Pipeline, Verdict};

use super::argo::{Argo, CONTROLLER, SERVER, argo, careful_argo};
use super::scene::{Apply, Scene, health_of, words};
use sluice_test_support::cluster::said;
use sluice_test_support::story::{changed, id, is_at};

use libtest_mimic::Trial;

/// All stories.
pub fn all() -> Vec<Trial> {
    sluice_test_support::trials::trials![
        a_commit_that_approves_is_kept_out_by_what_is_suspended_until_the_action_ends_the_sync,
        a_sync_that_is_stuck_is_ended_and_the_commit_that_approves_lands,
        a_rejection_ends_the_sync_as_failed,
        a_commit_that_approves_lands_where_the_pipeline_asks_to_be_healthy_while_it_waits,
        a_commit_that_approves_lands_where_all_that_waits_is_healthy,
    ]
}

/// What comes after the Pipeline: a ConfigMap of the next wave, and one that a hook makes.
fn followers(version: &str) -> String {
    let follower = |name: &str, annotation: Value| {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "annotations": annotation},
            "data": {"version": version},
        })
    };
    let next = follower("next", json!({"argocd.argoproj.io/sync-wave": "1"}));
    let hook = json!({
        "argocd.argoproj.io/hook": "PostSync",
        "argocd.argoproj.io/hook-delete-policy": "BeforeHookCreation",
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [next, follower("hook", hook)]}).to_string()
}

/// The version of a ConfigMap.
async fn version(scene: &Scene, name: &str) -> Option<String> {
    let config_maps = scene.story.api::<ConfigMap>();
    let found = config_maps.get_opt(name).await.expect("an answer")?;
    found.data?.get("version").cloned()
}

/// A Pipeline that runs, and with it what follows it.
async fn begin(argo: &'static Argo, further: Value) -> Scene {
    let mut scene = Scene::prepared(argo, Apply::ClientSide).await;
    scene
        .repository
        .commit("pipelines/followers.json", &followers("1"));
    scene.commit(further).await;
    scene.application(&scene.name(), "pipelines").await;
    scene.until_synced("Healthy").await;
    scene.story.until_settled_as("Running").await;
    assert_eq!(version(&scene, "hook").await.as_deref(), Some("1"));
    scene
}

/// The program is changed, and so is what follows, by one commit: Argo CD may look at any time.
async fn change(scene: &mut Scene) {
    scene
        .repository
        .write("pipelines/followers.json", &followers("2"));
    scene
        .commit(json!({"spec": {"program": {"sql": changed()}}}))
        .await;
}

/// The revision that is being synced, if one is.
fn open_sync(application: &Value) -> Option<&str> {
    let operation = &application["status"]["operationState"];
    (operation["phase"] == "Running")
        .then(|| operation["operation"]["sync"]["revision"].as_str())?
}

/// A change waits, and with it its sync; a commit that would approve it was seen, and isn't applied. Returns what
/// waits.
async fn kept_out() -> (Scene, Pipeline) {
    let mut scene = begin(argo().await, json!({})).await;
    change(&mut scene).await;
    let changing = scene.repository.head();
    let waiting = scene.until_waiting("Suspended").await;
    scene
        .until("the sync waits for the Pipeline", |app| {
            let said = &app["status"]["operationState"]["message"];
            open_sync(app) == Some(&changing)
                && said == "waiting for healthy state of sluice.dev/Pipeline/orders"
        })
        .await;
    let approving = scene
        .commit(json!({"spec": {"approvedChange": id(&waiting)}}))
        .await;
    scene
        .until("Argo CD has seen the commit", |app| {
            app["status"]["sync"]["revision"] == approving.as_str()
        })
        .await;
    scene.story.engine.ticks(3).await;
    let app = scene.now().await;
    assert_eq!(
        open_sync(&app),
        Some(changing.as_str()),
        "the old sync is still open"
    );
    assert_eq!(scene.story.now().await.spec.approved_change, None);
    assert_eq!(version(&scene, "next").await.as_deref(), Some("1"));
    assert_eq!(version(&scene, "hook").await.as_deref(), Some("1"));
    (scene, waiting)
}

/// Alice votes in Argo CD.
async fn votes(scene: &Scene, action: &str) {
    let name = scene.name();
    scene
        .argo
        .cluster
        .grant(&name, SERVER, "sluice-approver")
        .await;
    scene.argo.logs_in("alice").await;
    let action = ["app", "actions", "run", &name, action, "--kind", "Pipeline"];
    sluice_test_support::story::eventually("the action is taken", || async {
        let output = scene.argo.argocd("alice", &action);
        output.status.success().then_some(()).ok_or(said(&output))
    })
    .await;
}

/// The commit has come in, and with it what follows.
async fn has_landed(scene: &Scene, waiting: &Pipeline) {
    scene.until_synced("Healthy").await;
    let approved = scene.story.now().await.spec.approved_change;
    assert_eq!(approved, Some(id(waiting)));
    assert_eq!(version(scene, "next").await.as_deref(), Some("2"));
    assert_eq!(version(scene, "hook").await.as_deref(), Some("2"));
    scene.rests().await;
    assert_eq!(scene.story.engine.calls_to("/orders/approve").len(), 1);
}

async fn a_commit_that_approves_is_kept_out_by_what_is_suspended_until_the_action_ends_the_sync() {
    let (scene, waiting) = kept_out().await;
    votes(&scene, "approve").await;
    has_landed(&scene, &waiting).await;
    let expected = (Verdict::Approved, Door::Object, SERVER.to_owned());
    assert_eq!(scene.decision().await, expected);
}

async fn a_sync_that_is_stuck_is_ended_and_the_commit_that_approves_lands() {
    let (scene, waiting) = kept_out().await;
    let ended = scene
        .argo
        .argocd("admin", &["app", "terminate-op", &scene.name()]);
    assert!(ended.status.success(), "{}", said(&ended));
    has_landed(&scene, &waiting).await;
    let expected = (Verdict::Approved, Door::Field, CONTROLLER.to_owned());
    assert_eq!(scene.decision().await, expected);
}

async fn a_rejection_ends_the_sync_as_failed() {
    let (scene, _) = kept_out().await;
    votes(&scene, "reject").await;
    scene.story.until_rejected().await;
    scene
        .until("the sync has failed", |app| {
            let operation = &app["status"]["operationState"];
            let results = operation["syncResult"]["resources"].to_string();
            operation["phase"] != "Succeeded" && results.contains("was rejected")
        })
        .await;
    assert_eq!(version(&scene, "next").await.as_deref(), Some("1"));
    assert_eq!(scene.story.engine.calls_to("/orders/approve"), []);
}

/// A change waits, is told, and holds nothing up; a commit approves it.
async fn lands(mut scene: Scene) {
    change(&mut scene).await;
    let waiting = scene.until_waiting("Healthy").await;
    let app = scene.until_synced("Healthy").await;
    let told = words(&health_of(&app));
    assert!(told.contains("waits for approval"), "{told}");
    assert_eq!(version(&scene, "next").await.as_deref(), Some("2"));
    assert_eq!(version(&scene, "hook").await.as_deref(), Some("2"));
    let is_waiting = |pipeline: &Pipeline| is_at(pipeline, sluice::crd::ApprovalState::Awaiting);
    assert!(is_waiting(&scene.story.now().await));

    scene
        .commit(json!({"spec": {"approvedChange": id(&waiting)}}))
        .await;
    scene.story.until_sealed().await;
    let (outcome, door, by) = scene.decision().await;
    assert_eq!((outcome, door), (Verdict::Approved, Door::Field));
    assert_eq!(by, controller_of(&scene));
    scene.until_synced("Healthy").await;
    scene.rests().await;
    assert_eq!(scene.story.engine.calls_to("/orders/approve").len(), 1);
}

fn controller_of(scene: &Scene) -> String {
    CONTROLLER.replace(":argocd:", &format!(":{}:", scene.argo.namespace))
}

async fn a_commit_that_approves_lands_where_the_pipeline_asks_to_be_healthy_while_it_waits() {
    let annotations = json!({"sluice.dev/argocd-waits-as": "Healthy"});
    lands(
        begin(
            argo().await,
            json!({"metadata": {"annotations": annotations}}),
        )
        .await,
    )
    .await;
}

async fn a_commit_that_approves_lands_where_all_that_waits_is_healthy() {
    lands(begin(careful_argo().await, json!({})).await).await;
}
