//! The life of a Pipeline apart from the gate.

use k8s_openapi::jiff::SignedDuration;
use serde_json::{Value, json};
use sluice::crd::{ApprovalState, Pipeline, StopKind, annotation};

use sluice_test_support::story::{
    ORDERS, PROGRAM, Story, changed, edited, extended, has, has_type, id, is_current, is_in,
    message, status,
};

#[tokio::test]
async fn a_new_pipeline_compiles_starts_and_is_settled() {
    let story = Story::begin().await;
    let compiles = json!("program_status=CompilingRust");
    story.engine.fault("lie", compiles).await;
    story
        .create(ORDERS, json!({"runtimeConfig": {"workers": 2}}))
        .await;
    story.until_phase("Compiling").await;
    story.engine.no_faults().await;
    let running = story.until_settled_as("Running").await;
    assert!(has(&running, "Ready", "True", "Running"));
    assert!(!has_type(&running, "Reconciling") && !has_type(&running, "Stalled"));
    assert_eq!(story.engine.calls_to("/pipelines").len(), 1);
    assert_eq!(story.engine.calls_to("/orders/start").len(), 1);
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
    let engine = story.engine.pipeline(ORDERS).await;
    assert_eq!(engine["runtime_config"]["workers"], 2);
}

#[tokio::test]
async fn a_program_that_does_not_compile_is_shown_with_its_place_and_can_be_corrected() {
    let story = Story::begin().await;
    story.create(ORDERS, json!({"program": {"sql": "CREATE TABLE t (id INT);\nCREATE VIEW v AS SELECT id FROM nowhere;"}})).await;
    let failed = story.until_ready("False", "CompileFailed").await;
    assert!(is_in(&failed, "CompileFailed") && has_type(&failed, "Stalled"));
    assert!(
        message(&failed, "Ready").contains("line 2, column"),
        "{}",
        message(&failed, "Ready")
    );
    story.change_to(PROGRAM).await;
    story.until_settled_as("Running").await;
}

#[tokio::test]
async fn rust_that_does_not_compile_is_shown() {
    let story = Story::begin().await;
    let program = json!({"sql": format!("CREATE FUNCTION twice(x INT) RETURNS INT;\n{PROGRAM}"), "udfRust": "fn other() {}"});
    story.create(ORDERS, json!({"program": program})).await;
    let failed = story.until_ready("False", "CompileFailed").await;
    assert!(
        message(&failed, "Ready").contains("twice"),
        "{}",
        message(&failed, "Ready")
    );
}

#[tokio::test]
async fn it_pauses_resumes_stops_and_starts() {
    let story = Story::begin().await;
    story.running().await;
    for (desired, ready) in [
        ("paused", "Paused"),
        ("running", "Running"),
        ("stopped", "Stopped"),
        ("running", "Running"),
        ("stopped", "Stopped"),
        ("paused", "Paused"),
    ] {
        story
            .patch(json!({"spec": {"desiredState": desired}}))
            .await;
        story.until_ready("True", ready).await;
    }
    assert_eq!(story.engine.calls_to("/orders/pause").len(), 1);
    assert_eq!(story.engine.calls_to("/orders/resume").len(), 1);
    let stops = story.engine.calls_to("/orders/stop");
    assert!(
        stops.iter().all(|call| call.query == "force=false"),
        "{stops:?}"
    );
    let starts = story.engine.calls_to("/orders/start");
    assert!(
        starts
            .last()
            .expect("a start")
            .query
            .starts_with("initial=paused")
    );
    assert_eq!(story.engine.bootstraps().await.len(), 0);
}

#[tokio::test]
async fn another_runtime_config_restarts_it_without_a_gate() {
    let story = Story::begin().await;
    story
        .running_with(json!({"runtimeConfig": {"min_batch_size_records": 1}}))
        .await;
    story
        .patch(json!({"spec": {"runtimeConfig": {"min_batch_size_records": 2}}}))
        .await;
    let running = story.until_ready("True", "Running").await;
    assert_eq!(status(&running).run.expect("a run").stop, None::<StopKind>);
    let engine = story.engine.pipeline(ORDERS).await;
    assert_eq!(engine["runtime_config"]["min_batch_size_records"], 2);
    assert_eq!(story.engine.calls_to("/orders/start").len(), 2);
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
}

#[tokio::test]
async fn a_change_that_changes_nothing_passes_without_a_gate() {
    let story = Story::begin().await;
    story.running().await;
    story
        .change_to(&format!("-- A comment.\n\n{PROGRAM}"))
        .await;
    story.until_ready("True", "Running").await;
    story.until_settled_as("Running").await;
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
    assert_eq!(story.engine.bootstraps().await.len(), 0);
    assert_eq!(status(&story.now().await).approval, None);
}

#[tokio::test]
async fn a_program_that_does_not_compile_never_stops_what_runs() {
    let story = Story::begin().await;
    story.running().await;
    let begin = story.engine.done().len();
    story
        .change_to("CREATE TABLE t (id INT);\nCREATE VIEW v AS SELECT id FROM nowhere;")
        .await;
    let held = story.until_ready("False", "CompileFailed").await;
    assert!(has_type(&held, "Stalled") && message(&held, "Ready").contains("line 2"));
    story.engine.ticks(3).await;
    assert_eq!(story.engine.done()[begin..], [""; 0]);
    assert_eq!(
        story.engine.pipeline(ORDERS).await["deployment_status"],
        "Running"
    );
    story.change_to(&extended()).await;
    story.until_waiting().await;
}

#[tokio::test]
async fn a_program_that_could_not_be_bootstrapped_never_stops_what_runs() {
    let late = edited("notes (id INT)", "notes (id INT LATENESS 5)");
    let story = Story::begin().await;
    story.running_with(json!({"program": {"sql": late}})).await;
    let begin = story.engine.done().len();
    story
        .change_to(&late.replace("SELECT id, amount FROM", "SELECT id FROM"))
        .await;
    let held = story.until_ready("False", "BootstrapRefused").await;
    assert!(has_type(&held, "Stalled"));
    story.engine.ticks(3).await;
    assert_eq!(story.engine.done()[begin..], [""; 0]);
    assert_eq!(
        story.engine.pipeline(ORDERS).await["deployment_status"],
        "Running"
    );
}

#[tokio::test]
async fn policy_allow_bootstraps_unasked_and_policy_reject_keeps_what_runs() {
    let story = Story::begin().await;
    story
        .running_with(json!({"bootstrapPolicy": "reject"}))
        .await;
    let begin = story.engine.done().len();
    story.change_to(&changed()).await;
    story.until_ready("False", "ChangeRefused").await;
    story.engine.ticks(2).await;
    assert_eq!(story.engine.done()[begin..], [""; 0]);
    story
        .patch(json!({"spec": {"bootstrapPolicy": "allow"}}))
        .await;
    story.until_ready("True", "Running").await;
    story.until_settled_as("Running").await;
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
    assert_eq!(story.engine.bootstraps().await.len(), 1);
}

#[tokio::test]
async fn a_pipeline_that_can_not_initialize_waits_for_a_new_spec_or_a_retry() {
    let story = Story::begin().await;
    let broken = edited(
        "AS SELECT id FROM notes",
        "WITH ('connectors' = '[{\"name\": \"file\", \"transport\": {\"name\": \"file_output\", \"config\": {\"path\": \"/nonexistent/x\"}}, \"format\": {\"name\": \"csv\"}}]') AS SELECT id FROM notes",
    );
    story
        .create(ORDERS, json!({"program": {"sql": broken}}))
        .await;
    let failed = story.until_ready("False", "Failed").await;
    assert!(message(&failed, "Ready").contains("/nonexistent/x") && is_in(&failed, "Failed"));
    story.engine.ticks(3).await;
    assert_eq!(story.engine.calls_to("/orders/start").len(), 1);
    story.annotate(annotation::RETRY, "1").await;
    story
        .until("the retry has failed", |p| {
            status(p).handled_retry.is_some() && has(p, "Ready", "False", "Failed")
        })
        .await;
    story.engine.ticks(3).await;
    assert_eq!(story.engine.calls_to("/orders/start").len(), 2);
    story.change_to(PROGRAM).await;
    story.until_settled_as("Running").await;
}

#[tokio::test]
async fn a_pipeline_that_fails_is_started_again_after_a_pause() {
    let story = Story::begin().await;
    story.running().await;
    story
        .engine
        .sim(
            "POST",
            "/pipelines/orders/fail",
            json!({"message": "out of luck"}),
        )
        .await;
    let failed = story
        .until("it backs off", |p| has(p, "Ready", "False", "BackingOff"))
        .await;
    let failures = status(&failed).failures.expect("failures");
    assert_eq!(failures.count, 1);
    assert!(message(&failed, "Ready").contains("out of luck"));
    assert!(
        story
            .until_event("PipelineFailed")
            .await
            .contains("out of luck")
    );
    story.until_ready("True", "Running").await;
    let starts = story.engine.calls_to("/orders/start");
    assert_eq!(starts.len(), 2);
    let pause = starts[1].time.duration_since(failures.last_at.0);
    assert!(pause >= SignedDuration::from_secs(10), "{pause}");
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
}

#[tokio::test]
async fn sql_comes_from_a_config_map_and_follows_it() {
    let story = Story::begin().await;
    let from = json!({"sql": null, "sqlFrom": {"configMapKeyRef": {"name": "program", "key": "program.sql"}}});
    story.create(ORDERS, json!({"program": from})).await;
    let missing = story.until_ready("False", "ContentNotFound").await;
    assert!(
        !has_type(&missing, "Stalled") && message(&missing, "Ready").contains("ConfigMap program")
    );
    story
        .config_map("program", json!({"other.sql": PROGRAM}))
        .await;
    story
        .until("the key is missing", |p| {
            message(p, "Ready").contains("program.sql")
        })
        .await;
    story
        .config_map("program", json!({"program.sql": PROGRAM}))
        .await;
    story.until_settled_as("Running").await;
    story
        .config_map("program", json!({"program.sql": changed()}))
        .await;
    story.until_waiting().await;
    assert_eq!(
        story.engine.pipeline(ORDERS).await["program_code"],
        changed()
    );
}

#[tokio::test]
async fn a3_votes_and_seals_go_on_while_a_config_map_is_gone() {
    let story = Story::begin().await;
    let from = json!({"sql": null, "sqlFrom": {"configMapKeyRef": {"name": "program", "key": "program.sql"}}});
    story
        .config_map("program", json!({"program.sql": PROGRAM}))
        .await;
    story.create(ORDERS, json!({"program": from})).await;
    story.until_settled_as("Running").await;
    story
        .config_map("program", json!({"program.sql": changed()}))
        .await;
    let waiting = story.until_waiting().await;
    let maps = story.api::<k8s_openapi::api::core::v1::ConfigMap>();
    maps.delete("program", &Default::default())
        .await
        .expect("it is deleted");
    story.until_ready("False", "ContentNotFound").await;
    story.approve(&id(&waiting)).await;
    let sealed = story.until_state(ApprovalState::Sealed).await;
    assert_eq!(id(&sealed), id(&waiting));
    let still = story.until_ready("False", "ContentNotFound").await;
    assert!(message(&still, "Ready").contains("ConfigMap program"));
    assert_eq!(story.engine.calls_to("/orders/approve").len(), 1);
    story
        .config_map("program", json!({"program.sql": changed()}))
        .await;
    story.until_ready("True", "Running").await;
}

#[tokio::test]
async fn deletion_with_retain_leaves_the_engine_alone() {
    let story = Story::begin().await;
    story.running().await;
    let begin = story.engine.done().len();
    story.delete(ORDERS).await;
    story.until_gone(ORDERS).await;
    story.engine.ticks(2).await;
    assert_eq!(story.engine.done()[begin..], [""; 0]);
    assert_eq!(
        story.engine.pipeline(ORDERS).await["deployment_status"],
        "Running"
    );
}

#[tokio::test]
async fn deletion_with_delete_stops_clears_and_deletes() {
    let story = Story::begin().await;
    story
        .running_with(json!({"deletionPolicy": "Delete"}))
        .await;
    let begin = story.engine.done().len();
    story.delete(ORDERS).await;
    story.until_gone(ORDERS).await;
    let done = &story.engine.done()[begin..];
    assert_eq!(
        done,
        [
            "POST /pipelines/orders/stop?force=true",
            "POST /pipelines/orders/clear?",
            "DELETE /pipelines/orders?"
        ]
    );
}

#[tokio::test]
async fn deletion_can_be_forced_when_the_engine_is_gone() {
    let mut story = Story::begin().await;
    story
        .running_with(json!({"deletionPolicy": "Delete"}))
        .await;
    story.engine.goes_down();
    story.delete(ORDERS).await;
    story.until_engine("False", "Unreachable").await;
    assert!(
        story.now().await.metadata.deletion_timestamp.is_some(),
        "it waits for the engine"
    );
    story.annotate(annotation::FORCE_DELETE, "true").await;
    story.until_gone(ORDERS).await;
}

#[tokio::test]
async fn a19_somebodys_pipeline_of_that_name_is_left_untouched() {
    let story = Story::begin().await;
    let theirs = json!({"name": ORDERS, "program_code": changed()});
    story.engine.by_hand("POST", "/pipelines", theirs).await;
    let begin = story.engine.done().len();
    story
        .create(ORDERS, json!({"deletionPolicy": "Delete"}))
        .await;
    let taken = story.until_ready("False", "NameTaken").await;
    assert!(has_type(&taken, "Stalled"));
    story.engine.ticks(2).await;
    story.delete(ORDERS).await;
    story.until_gone(ORDERS).await;
    story.engine.ticks(2).await;
    assert_eq!(story.engine.done()[begin..], [""; 0]);
}

#[tokio::test]
async fn a19_an_equal_pipeline_is_left_alone_until_somebody_says_that_it_is_taken_over() {
    let story = Story::begin().await;
    let theirs = json!({"name": ORDERS, "program_code": PROGRAM, "tags": ["mine"]});
    story.engine.by_hand("POST", "/pipelines", theirs).await;
    story.create(ORDERS, json!({})).await;
    let taken = story.until_ready("False", "NameTaken").await;
    assert!(message(&taken, "Ready").contains("with the same program"));
    story.engine.ticks(2).await;
    assert_eq!(story.engine.pipeline(ORDERS).await["tags"], json!(["mine"]));
    story.annotate(annotation::ADOPT, ORDERS).await;
    let running = story.until_settled_as("Running").await;
    let engine = story.engine.pipeline(ORDERS).await;
    let tags: Vec<String> = serde_json::from_value(engine["tags"].clone()).expect("tags");
    let tag = format!("sluice:{}", running.metadata.uid.expect("a uid"));
    assert!(tags[0] == "mine" && tags.contains(&tag), "{tags:?}");
    assert_eq!(engine["version"], 1);
}

#[tokio::test]
async fn a19_a_second_pipeline_of_the_same_name_waits_for_the_older_one() {
    let story = Story::begin().await;
    story.running().await;
    let begin = story.engine.done().len();
    story
        .create(
            "second",
            json!({"pipelineName": ORDERS, "program": {"sql": changed()}}),
        )
        .await;
    let stalled = story
        .until_of("second", "it is stalled", |p| {
            has(p, "Stalled", "True", "NameTaken")
        })
        .await;
    assert!(message(&stalled, "Ready").contains("/orders"));
    story.engine.ticks(2).await;
    assert_eq!(story.engine.done()[begin..], [""; 0]);
    let first = story
        .api::<Pipeline>()
        .get(ORDERS)
        .await
        .expect("the older one");
    assert!(has(&first, "Ready", "True", "Running"));
}

#[tokio::test]
async fn on_the_open_source_edition_state_is_lost_only_where_that_is_allowed() {
    let story = Story::with(&["--edition", "open-source"]).await;
    story.create(ORDERS, json!({})).await;
    story.until_ready("True", "Running").await;
    let begin = story.engine.done().len();
    story.change_to(&changed()).await;
    story.until_ready("False", "StateLossNotAllowed").await;
    story.engine.ticks(2).await;
    assert_eq!(story.engine.done()[begin..], [""; 0]);
    story.patch(json!({"spec": {"allowStateLoss": true}})).await;
    story
        .until("it runs the new one", |p| {
            is_current(p) && has(p, "Ready", "True", "Running")
        })
        .await;
    assert_eq!(
        story.engine.pipeline(ORDERS).await["program_code"],
        Value::String(changed())
    );
    let stops = story.engine.calls_to("/orders/stop");
    assert_eq!(stops.len(), 1);
    assert_eq!(stops[0].query, "force=true");
}
