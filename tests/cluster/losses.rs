//! Pipelines that are gone from their engine. Rule A22.

use std::process::Stdio;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use sluice::crd::{ApprovalState, Engine, Pipeline, annotation};

use super::plugin::plugin;
use sluice_test_support::cluster::said;
use sluice_test_support::stand_in::StandIn;
use sluice_test_support::story::{
    ORDERS, Story, approval, changed, eventually, has, id, is_at, is_in, message, status,
};

const FLEET: [&str; 3] = ["clicks", ORDERS, "refunds"];

/// The Engine leads somewhere else from now on.
async fn leads_to(story: &Story, url: &str) {
    let patch = json!({"spec": {"url": url}});
    story
        .api::<Engine>()
        .patch("engine", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .expect("the Engine is patched");
}

fn is_lost(pipeline: &Pipeline) -> bool {
    has(pipeline, "Stalled", "True", "PipelineLost") && is_at(pipeline, ApprovalState::Awaiting)
}

fn runs(pipeline: &Pipeline) -> bool {
    has(pipeline, "Ready", "True", "Running") && status(pipeline).settled.is_some()
}

/// What the Engine says of lost pipelines.
async fn said_by_the_engine(story: &Story) -> Option<String> {
    let engine = story.api::<Engine>().get("engine").await.expect("it");
    let conditions = engine.status.map(|status| status.conditions);
    let mut conditions = conditions.into_iter().flatten();
    conditions
        .find(|it| it.type_ == "PipelinesLost" && it.status == "True")
        .map(|it| it.message)
}

#[tokio::test]
async fn a22_a_fleet_whose_engine_leads_elsewhere_is_not_made_anew_unasked() {
    let story = Story::begin().await;
    for name in FLEET {
        story.create(name, json!({})).await;
        story.until_of(name, "it runs", runs).await;
    }
    let before = story.engine.done();
    let elsewhere = StandIn::start(&[]);
    leads_to(&story, &elsewhere.url).await;
    for name in FLEET {
        let lost = story.until_of(name, "it is lost", is_lost).await;
        assert!(is_in(&lost, "AwaitingApproval"));
        assert!(approval(&lost).at_stake.expect("it is said").state_lost);
    }
    eventually("the Engine says how many", || async {
        let said = said_by_the_engine(&story).await;
        let holds = said.as_ref().is_some_and(|it| it.contains("3 Pipelines"));
        holds.then_some(()).ok_or(said)
    })
    .await;
    elsewhere.ticks(3).await;
    assert_eq!(elsewhere.done(), [""; 0], "nothing is done there");
    // Back at the right one all of them go on by themselves, and nothing was done to them.
    let url = story.engine.url.clone();
    leads_to(&story, &url).await;
    for name in FLEET {
        story
            .until_of(name, "it goes on", |p| runs(p) && status(p).lost.is_none())
            .await;
    }
    story.until_event("PipelineFound").await;
    assert_eq!(story.engine.done(), before);
    assert_eq!(elsewhere.done(), [""; 0]);
    eventually("the Engine says nothing more of it", || async {
        let said = said_by_the_engine(&story).await;
        said.is_none().then_some(()).ok_or(said)
    })
    .await;

    // Now it is meant: one command for all of them.
    leads_to(&story, &elsewhere.url).await;
    for name in FLEET {
        story.until_of(name, "it is lost", is_lost).await;
    }
    let folder = plugin().await.parent().expect("a folder");
    let arguments = [
        "approve",
        "--lost",
        "--engine",
        "engine",
        "--yes",
        "--reason",
        "the old one is gone",
    ];
    let mut command = story.cluster().plane().kubectl("admin").expect("a user");
    command
        .env(
            "PATH",
            format!(
                "{}:{}",
                folder.display(),
                std::env::var("PATH").unwrap_or_default()
            ),
        )
        .arg("sluice")
        .args(arguments)
        .args(["-n", &story.namespace])
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().expect("it starts"))
        .await
        .expect("no panic");
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    for name in FLEET {
        assert!(text.contains(&format!("of Pipeline {name}")), "{text}");
        let anew = story
            .until_of(name, "it is made anew", |p| {
                runs(p) && is_at(p, ApprovalState::Sealed)
            })
            .await;
        let reason = approval(&anew)
            .decision
            .and_then(|decision| decision.reason);
        assert_eq!(reason.as_deref(), Some("the old one is gone"));
    }
    let mut names = elsewhere.names().await;
    names.sort();
    assert_eq!(names, FLEET);
}

#[tokio::test]
async fn a22_a_pipeline_that_somebody_deletes_at_the_engine_is_asked_about_on_both_editions() {
    for edition in ["enterprise", "open-source"] {
        let story = Story::with(&["--edition", edition]).await;
        story.create(ORDERS, json!({})).await;
        story
            .until("it runs", |p| has(p, "Ready", "True", "Running"))
            .await;
        story
            .patch(json!({"spec": {"desiredState": "stopped", "allowStateLoss": true}}))
            .await;
        story.until_ready("True", "Stopped").await;
        story
            .patch(json!({"spec": {"allowStateLoss": false}}))
            .await;
        let clear = format!("/pipelines/{ORDERS}/clear");
        story.engine.by_hand("POST", &clear, Value::Null).await;
        eventually("it is cleared", || async {
            let storage = story.engine.pipeline(ORDERS).await["storage_status"].clone();
            (storage == "Cleared").then_some(()).ok_or(storage)
        })
        .await;
        let it = format!("/pipelines/{ORDERS}");
        story.engine.by_hand("DELETE", &it, Value::Null).await;
        story
            .patch(json!({"spec": {"desiredState": "running"}}))
            .await;
        let lost = story.until("it is lost", is_lost).await;
        assert!(message(&lost, "Stalled").contains("Engine"), "{edition}");
        story.engine.ticks(3).await;
        assert_eq!(story.engine.names().await, [""; 0], "{edition}");
        story.approve(&id(&lost)).await;
        story
            .until("it is made anew", |p| has(p, "Ready", "True", "Running"))
            .await;
        assert_eq!(story.engine.calls_to("/pipelines").len(), 2, "{edition}");
    }
}

/// A proxy's answers are no word of the engine's.
#[tokio::test]
async fn a22_a_404_that_is_not_the_engines_own_loses_nothing() {
    let story = Story::begin().await;
    story.running().await;
    let before = story.engine.done();
    story.engine.fault("error", json!("404")).await;
    story
        .until("it is told", |p| {
            has(p, "Ready", "False", "EngineUnreachable")
        })
        .await;
    story.engine.is_asked_again().await;
    story.engine.is_asked_again().await;
    assert_eq!(status(&story.now().await).lost, None);
    story.engine.no_faults().await;
    story.until_ready("True", "Running").await;
    assert_eq!(story.engine.done(), before);
}

/// What was approved for the pipeline that is lost counts for nothing that comes after.
#[tokio::test]
async fn a22_an_approval_of_before_does_not_count_for_the_loss() {
    let story = Story::begin().await;
    let waiting = story.waiting().await;
    let elsewhere = StandIn::start(&[]);
    leads_to(&story, &elsewhere.url).await;
    let lost = story.until("it is lost", is_lost).await;
    assert_ne!(id(&lost), id(&waiting));
    story.annotate(annotation::APPROVE, &id(&waiting)).await;
    story.until_event("StaleApproval").await;
    elsewhere.ticks(3).await;
    assert_eq!(elsewhere.done(), [""; 0]);
    let program = story.now().await.spec.program.expect("a program");
    assert_eq!(program.sql.as_deref(), Some(changed().as_str()));
}

/// The engine's database is as it was some changes ago.
#[tokio::test]
async fn a22_an_engine_that_was_restored_from_an_older_backup_is_noticed() {
    let mut story = Story::begin().await;
    story.running().await;
    story
        .patch(json!({"spec": {"desiredState": "stopped"}}))
        .await;
    story.until_ready("True", "Stopped").await;
    story.engine.goes_down();
    let backup = story.engine.backup();
    story.engine.comes_back();
    story
        .patch(json!({"spec": {"desiredState": "running"}}))
        .await;
    story.until_settled_as("Running").await;
    story.change_to(&changed()).await;
    let waiting = story.until_waiting().await;
    story.approve(&id(&waiting)).await;
    story.until_sealed().await;
    story.engine.goes_down();
    story.engine.restore(&backup);
    story.engine.comes_back();
    let told = story.until_event("EngineRestored").await;
    assert!(told.contains("backup"), "{told}");
    // The new program isn't brought to the old state unasked.
    let bootstraps = story.engine.bootstraps().await.len();
    story
        .until("it is asked about", |p| is_at(p, ApprovalState::Awaiting))
        .await;
    assert_eq!(story.engine.bootstraps().await.len(), bootstraps);
}

/// Somebody says yes at the wrong engine, and then the Engine leads to the right one again.
#[tokio::test]
async fn a22_what_carries_this_pipelines_mark_under_another_id_is_left_alone_until_it_is_adopted() {
    let story = Story::begin().await;
    story.running().await;
    story.rests().await;
    let before = story.engine.done();
    let elsewhere = StandIn::start(&[]);
    leads_to(&story, &elsewhere.url).await;
    let lost = story.until("it is lost", is_lost).await;
    story.approve(&id(&lost)).await;
    story
        .until("it is made anew", |p| {
            runs(p) && is_at(p, ApprovalState::Sealed)
        })
        .await;
    let url = story.engine.url.clone();
    leads_to(&story, &url).await;
    let found = story
        .until("another id is found", |p| {
            has(p, "Stalled", "True", "PipelineLost")
        })
        .await;
    let adopt = format!("{}={}/{ORDERS}", annotation::ADOPT, &*story.namespace);
    assert!(message(&found, "Stalled").contains(&adopt));
    story.engine.ticks(3).await;
    assert_eq!(story.engine.done(), before, "nothing was done to it");
    let owner = format!("{}/{ORDERS}", &*story.namespace);
    story.annotate(annotation::ADOPT, &owner).await;
    story.until("it goes on", runs).await;
    assert_eq!(story.engine.done(), before, "it ran all the time");
    assert_eq!(status(&story.now().await).lost, None);
}

/// What is approved is that one program is made anew.
#[tokio::test]
async fn a22_an_edit_after_the_approval_of_a_loss_waits() {
    let story = Story::begin().await;
    story.running().await;
    let elsewhere = StandIn::start(&["--compile-time", "3s"]);
    leads_to(&story, &elsewhere.url).await;
    let lost = story.until("it is lost", is_lost).await;
    story.approve(&id(&lost)).await;
    story.until_event("Recreated").await;
    story.change_to(&changed()).await;
    let waiting = story
        .until("the edit waits", |p| {
            is_at(p, ApprovalState::Awaiting) && id(p) != id(&lost)
        })
        .await;
    elsewhere.ticks(3).await;
    assert_eq!(elsewhere.calls_to("/orders/start"), []);
    story.approve(&id(&waiting)).await;
    story.until_sealed().await;
    let held = elsewhere.pipeline(ORDERS).await;
    assert_eq!(held["program_code"], changed());
}

/// What was rejected, or is still asked about, isn't applied because there is nothing to resume from any more.
#[tokio::test]
async fn a22_a_storage_that_is_cleared_at_the_engine_has_nothing_begin_from_nothing_unasked() {
    let story = Story::begin().await;
    story.running().await;
    story
        .patch(json!({"spec": {"runtimeConfig": {"env": {"A": "1"}}}}))
        .await;
    let waiting = story
        .until("the setting waits", |p| is_at(p, ApprovalState::Awaiting))
        .await;
    story.annotate(annotation::REJECT, &id(&waiting)).await;
    story
        .until("it is rejected", |p| is_at(p, ApprovalState::Rejected))
        .await;
    let starts = story.engine.calls_to("/start").len();
    let it = format!("/pipelines/{ORDERS}");
    let stop = format!("{it}/stop?force=true");
    story.engine.by_hand("POST", &stop, Value::Null).await;
    eventually("it is cleared", || async {
        let pipeline = story.engine.pipeline(ORDERS).await;
        if pipeline["deployment_status"] == "Stopped" && pipeline["storage_status"] == "InUse" {
            let clear = format!("{it}/clear");
            story.engine.by_hand("POST", &clear, Value::Null).await;
        }
        let storage = story.engine.pipeline(ORDERS).await["storage_status"].clone();
        (storage == "Cleared").then_some(()).ok_or(storage)
    })
    .await;
    let told = story.until_event("OutsideClear").await;
    assert!(told.contains("is asked about"), "{told}");
    let asked = story
        .until("it is asked about", |p| {
            is_at(p, ApprovalState::Awaiting) && id(p) != id(&waiting)
        })
        .await;
    assert!(approval(&asked).at_stake.expect("it is said").state_lost);
    assert!(has(&asked, "Ready", "False", "AwaitingApproval"));
    story.engine.ticks(3).await;
    let now = story.engine.calls_to("/start").len();
    assert!(now <= starts + 1, "what was rejected isn't started");
    assert_eq!(
        story.engine.pipeline(ORDERS).await["runtime_config"]["env"],
        json!({})
    );
    story.approve(&id(&asked)).await;
    story.until_sealed().await;
    assert_eq!(status(&story.now().await).emptied, None);
}

/// It is good for what was asked about, and its next start is one from nothing again.
#[tokio::test]
async fn a22_after_an_approved_start_from_nothing_that_failed_before_a_checkpoint_an_edit_is_asked_about()
 {
    let story = Story::begin().await;
    story.running().await;
    let it = format!("/pipelines/{ORDERS}");
    story
        .patch(json!({"spec": {"desiredState": "stopped"}}))
        .await;
    story.until("it is stopped", |p| is_in(p, "Stopped")).await;
    let clear = format!("{it}/clear");
    story.engine.by_hand("POST", &clear, Value::Null).await;
    let stopped = |p: &Pipeline| message(p, "Ready").contains("is gone from its engine");
    story.until("it says what is gone", stopped).await;
    story
        .patch(json!({"spec": {"desiredState": "running"}}))
        .await;
    let asked = story.until_waiting().await;
    story
        .engine
        .fault("error", format!("503@/{ORDERS}/checkpoint"))
        .await;
    story.approve(&id(&asked)).await;
    story.until("it runs", |p| is_in(p, "Running")).await;
    let fail = format!("/pipelines/{ORDERS}/fail");
    story.engine.sim("POST", &fail, json!({})).await;
    story
        .until("it has failed", |p| is_at(p, ApprovalState::ApplyFailed))
        .await;
    let starts = story.engine.calls_to("/start").len();
    story
        .patch(json!({"spec": {"program": {"sql": "CREATE TABLE other (x INT);"}}}))
        .await;
    let anew = story
        .until("the edit is asked about", |p| {
            is_at(p, ApprovalState::Awaiting) && id(p) != id(&asked)
        })
        .await;
    assert!(approval(&anew).at_stake.expect("it is said").state_lost);
    story.engine.ticks(3).await;
    assert_eq!(story.engine.calls_to("/start").len(), starts);
}

/// The backup is of before anything had run.
#[tokio::test]
async fn a22_an_engine_that_was_restored_to_before_the_first_checkpoint_starts_nothing_unasked() {
    let mut story = Story::begin().await;
    story
        .create(ORDERS, json!({"desiredState": "stopped"}))
        .await;
    story.until_ready("True", "Stopped").await;
    story.engine.goes_down();
    let backup = story.engine.backup();
    story.engine.comes_back();
    story
        .patch(json!({"spec": {"desiredState": "running"}}))
        .await;
    story.until_settled_as("Running").await;
    story.engine.goes_down();
    story.engine.restore(&backup);
    story.engine.comes_back();
    story.until_event("OutsideClear").await;
    let asked = story
        .until("it is asked about", |p| is_at(p, ApprovalState::Awaiting))
        .await;
    assert!(approval(&asked).summary.contains("begins from nothing"));
    let starts = story.engine.calls_to("/start").len();
    story.engine.ticks(3).await;
    assert_eq!(story.engine.calls_to("/start").len(), starts);
    story.approve(&id(&asked)).await;
    story.until_settled_as("Running").await;
}
