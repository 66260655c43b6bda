//! Everyday work beyond edits: restarts, clearing, adoption, engines and Secrets that go, and pipelines
//! that others work on too.

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use sluice::crd::{ApprovalState, BuildOutcome, Door, Engine, Pipeline, StopKind, annotation};

use sluice_test_support::story::{
    ORDERS, PROGRAM, Story, approval, changed, changed_otherwise, edited, eventually, extended,
    has, has_type, id, is_at, is_current, is_in, message, status,
};

#[tokio::test]
async fn restarted_at_restarts_with_a_checkpoint_once_for_each_value() {
    let story = Story::begin().await;
    story.running().await;
    // Whatever the API server takes as a time, also what has no room in a type, and fractions.
    let times = [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.123456789012Z",
        "9999-12-31T23:59:59Z",
        "2026-01-01t00:00:00.5z",
        "2026-01-02T00:00:00.5+14:00",
        "0000-01-01T00:00:00Z",
    ];
    for (number, at) in (1..).zip(times) {
        story.patch(json!({"spec": {"restartedAt": at}})).await;
        story
            .until("it has restarted", |p| {
                let handled = status(p).handled_restart;
                is_current(p)
                    && has(p, "Ready", "True", "Running")
                    && handled.is_some_and(|handled| handled.0 == at)
            })
            .await;
        story.engine.ticks(2).await;
        let stops = story.engine.calls_to("/orders/stop");
        assert_eq!(stops.len(), number);
        assert!(stops.iter().all(|call| call.query == "force=false"));
        assert_eq!(story.engine.calls_to("/orders/start").len(), number + 1);
    }
    assert_eq!(story.engine.bootstraps().await, [Value::Null; 0]);
}

#[tokio::test]
async fn clear_storage_starts_from_nothing_once_and_ends_what_was_approved_before() {
    let story = Story::begin().await;
    let waiting = story.waiting().await;
    story
        .patch(json!({"spec": {"clearStorage": "first", "approvedChange": id(&waiting)}}))
        .await;
    let running = story.until_settled_as("Running").await;
    assert_eq!(status(&running).handled_clear.as_deref(), Some("first"));
    assert_eq!(story.engine.calls_to("/orders/clear").len(), 1);
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
    assert_eq!(story.engine.bootstraps().await, [Value::Null; 0]);
    assert!(
        story
            .until_event("StorageCleared")
            .await
            .contains("clearStorage")
    );
    let program = story.engine.pipeline(ORDERS).await;
    assert_eq!(program["program_code"], changed());

    // The chain went on: what was approved from the old state approves nothing now.
    story.change_to(PROGRAM).await;
    let back = story.until_waiting().await;
    assert_ne!(id(&back), id(&waiting));
    story.engine.ticks(2).await;
    assert_eq!(story.engine.calls_to("/orders/clear").len(), 1);
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
}

#[tokio::test]
async fn a_setting_that_cannot_change_is_refused_before_anything_is_stopped() {
    let story = Story::begin().await;
    story
        .running_with(json!({"runtimeConfig": {"workers": 2}}))
        .await;
    let begin = story.engine.done().len();
    story
        .patch(json!({"spec": {"runtimeConfig": {"workers": 4}}}))
        .await;
    let held = story.until_ready("False", "ImmutableSetting").await;
    let words = message(&held, "Ready");
    assert!(has_type(&held, "Stalled") && words.contains("workers can't change from 2 to 4"));
    assert!(words.contains("clearStorage"), "{words}");
    story.engine.ticks(3).await;
    assert_eq!(story.engine.done()[begin..], [""; 0]);
    // The way out that the message names.
    story
        .patch(json!({"spec": {"clearStorage": "for-workers"}}))
        .await;
    story
        .until("it runs with what it is to have", |p| {
            is_current(p)
                && has(p, "Ready", "True", "Running")
                && status(p).handled_clear.as_deref() == Some("for-workers")
        })
        .await;
    let engine = story.engine.pipeline(ORDERS).await;
    assert_eq!(engine["runtime_config"]["workers"], 4);
}

#[tokio::test]
async fn a_program_whose_rust_does_not_compile_never_stops_what_runs() {
    let story = Story::begin().await;
    story.running().await;
    let begin = story.engine.calls().len();
    let sql = format!("CREATE FUNCTION twice(x INT) RETURNS INT;\n{}", changed());
    story
        .patch(json!({"spec": {"program": {"sql": sql, "udfRust": "fn other() {}"}}}))
        .await;
    let held = story.until_ready("False", "CompileFailed").await;
    assert!(has_type(&held, "Stalled") && message(&held, "Ready").contains("twice"));
    story
        .until("the compilation is removed", |p| {
            let build = status(p).build;
            build.is_some_and(|build| {
                build.pipeline.is_none() && build.outcome == Some(BuildOutcome::Failed)
            })
        })
        .await;
    let calls = story.engine.calls().split_off(begin);
    let touched = |call: &&sluice_test_support::stand_in::Call| {
        call.changes() && call.path.starts_with(&format!("/pipelines/{ORDERS}"))
    };
    assert_eq!(calls.iter().filter(touched).count(), 0, "{calls:?}");
    let running = story.engine.pipeline(ORDERS).await;
    assert_eq!(running["deployment_status"], "Running");
    assert_eq!(story.engine.names().await, [ORDERS]);

    let good = "use feldera_sqllib::*;\npub fn twice(x: Option<i32>) -> Result<Option<i32>, Box<dyn std::error::Error>> { Ok(x.map(|x| 2 * x)) }";
    story
        .patch(json!({"spec": {"program": {"udfRust": good}}}))
        .await;
    story.until_waiting().await;
}

#[tokio::test]
async fn what_a_program_was_compiled_as_beforehand_is_removed_and_never_started() {
    let story = Story::begin().await;
    story.running().await;
    let begin = story.engine.calls().len();
    story.change_to(&changed()).await;
    story.until_waiting().await;
    eventually("only the pipeline itself is left", || async {
        let names = story.engine.names().await;
        (names == [ORDERS]).then_some(()).ok_or(names)
    })
    .await;
    let calls = story.engine.calls().split_off(begin);
    let built = calls
        .iter()
        .find(|call| call.path == "/pipelines" && call.method == "POST");
    let name = built.expect("it was compiled").body["name"].clone();
    let name = name.as_str().expect("a name");
    assert!(name.starts_with("sluice-build-"), "{name}");
    let started = format!("/pipelines/{name}/start");
    assert!(calls.iter().all(|call| call.path != started));
    // First compiled, then stopped.
    let stopped = calls
        .iter()
        .position(|call| call.path.ends_with("/orders/stop"));
    let compiled = calls
        .iter()
        .position(|call| call.path == "/pipelines" && call.method == "POST");
    assert!(compiled < stopped, "{calls:?}");
}

#[tokio::test]
async fn a20_somebodys_pipeline_under_the_name_of_a_compilation_is_neither_asked_nor_removed() {
    let story = Story::begin().await;
    let running = story.running().await;
    // As everybody may foresee who can read the change.
    let mut spec = running.spec.clone();
    spec.program.as_mut().expect("a program").sql = Some(changed());
    let content = sluice::gate::content::resolve(&spec, &Default::default());
    let target = content.expect("no references").expect("a program").target();
    let uid: String = uid_digits(&running);
    let name = format!(
        "sluice-build-{uid}-{}",
        &sluice::gate::canonical::digest(&target)[..8]
    );
    let sql = format!("CREATE FUNCTION twice(x INT) RETURNS INT;\n{}", changed());
    let theirs = json!({"name": name, "program_code": sql, "udf_rust": "fn other() {}"});
    story.engine.by_hand("POST", "/pipelines", theirs).await;
    eventually("it doesn't compile", || async {
        let status = story.engine.pipeline(&name).await["program_status"].clone();
        (status == "RustError").then_some(()).ok_or(status)
    })
    .await;
    story.change_to(&changed()).await;
    let waiting = story.until_waiting().await;
    assert!(
        status(&waiting)
            .build
            .is_none_or(|build| build.outcome != Some(BuildOutcome::Failed))
    );
    eventually("what was compiled is removed, and nothing else", || async {
        let mut names = story.engine.names().await;
        names.sort();
        (names == [ORDERS, name.as_str()])
            .then_some(())
            .ok_or(names)
    })
    .await;
    let posted = story.engine.calls();
    let mut posted = posted
        .iter()
        .filter(|call| call.path == "/pipelines" && call.method == "POST")
        .filter_map(|call| call.body["name"].as_str())
        .filter(|posted| posted.starts_with("sluice-build-") && *posted != name);
    assert!(
        posted.next().is_some(),
        "it was compiled under another name"
    );
}

/// The digits that names of compilations have of a Pipeline's uid.
fn uid_digits(pipeline: &Pipeline) -> String {
    let uid = pipeline.metadata.uid.clone().unwrap_or_default();
    uid.chars()
        .filter(char::is_ascii_hexdigit)
        .take(8)
        .collect()
}

#[tokio::test]
async fn a_pipeline_that_is_deleted_while_it_compiles_leaves_nothing_behind() {
    let story = Story::with(&["--compile-time", "20s"]).await;
    story.running().await;
    story.change_to(&changed()).await;
    story
        .until("it compiles", |p| {
            has(p, "Ready", "False", "CompilingBeforehand")
        })
        .await;
    eventually("the engine compiles it", || async {
        let names = story.engine.names().await;
        (names.len() == 2).then_some(()).ok_or(names)
    })
    .await;
    story.delete(ORDERS).await;
    story.until_gone(ORDERS).await;
    assert_eq!(story.engine.names().await, [ORDERS]);
}

#[tokio::test]
async fn a19_somebodys_pipeline_is_taken_over_when_its_name_is_annotated() {
    let story = Story::begin().await;
    let theirs = json!({"name": ORDERS, "program_code": changed(), "tags": ["mine"]});
    story.engine.by_hand("POST", "/pipelines", theirs).await;
    story.create(ORDERS, json!({})).await;
    let taken = story.until_ready("False", "NameTaken").await;
    assert!(message(&taken, "Ready").contains("sluice.dev/adopt=orders"));
    story.annotate(annotation::ADOPT, "another").await;
    story.engine.ticks(2).await;
    assert_eq!(story.engine.pipeline(ORDERS).await["version"], 1);
    story.annotate(annotation::ADOPT, ORDERS).await;
    let running = story.until_settled_as("Running").await;
    let engine = story.engine.pipeline(ORDERS).await;
    let tags = tags(&engine);
    assert_eq!(tags[0], "mine");
    assert!(tags.contains(&format!("sluice:{}", running.uid().expect("a uid"))));
    assert_eq!(engine["program_code"], PROGRAM);
}

/// A mark that nobody knows the owner of, as 0.1.0 has written it.
#[tokio::test]
async fn a19_a_mark_without_a_name_is_released_by_who_may_edit_the_engine() {
    let story = Story::without_engine().await;
    story.engine_object(json!({})).await;
    let theirs = json!({"name": ORDERS, "program_code": PROGRAM, "tags": ["sluice:somebody-else"]});
    story.engine.by_hand("POST", "/pipelines", theirs).await;
    story.create(ORDERS, json!({})).await;
    let taken = story.until_ready("False", "NameTaken").await;
    assert!(message(&taken, "Ready").contains("sluice.dev/release=orders"));
    story.annotate(annotation::ADOPT, ORDERS).await;
    story.engine.ticks(2).await;
    assert_eq!(
        tags(&story.engine.pipeline(ORDERS).await),
        ["sluice:somebody-else"]
    );
    let engines = story.api::<Engine>();
    let name = engines
        .list(&Default::default())
        .await
        .expect("Engines")
        .items[0]
        .name_any();
    let released = json!({"metadata": {"annotations": {annotation::RELEASE: "another, orders"}}});
    engines
        .patch(
            &name,
            &Default::default(),
            &kube::api::Patch::Merge(released),
        )
        .await
        .expect("the Engine");
    let running = story.until_settled_as("Running").await;
    let tag = format!("sluice:{}", running.uid().expect("a uid"));
    let tags = tags(&story.engine.pipeline(ORDERS).await);
    assert!(tags.contains(&tag) && !tags.contains(&"sluice:somebody-else".to_owned()));
}

fn tags(engine: &serde_json::Value) -> Vec<String> {
    serde_json::from_value(engine["tags"].clone()).expect("tags")
}

#[tokio::test]
async fn a19_two_spellings_of_one_url_are_one_engine() {
    let story = Story::begin().await;
    let port = story
        .engine
        .url
        .rsplit(':')
        .next()
        .expect("a port")
        .to_owned();
    let spelled = json!({"metadata": {"name": "same"}, "spec": {"url": format!("HTTP://127.0.0.1:{port}//")}});
    sluice_test_support::cluster::create(&story.api::<Engine>(), spelled)
        .await
        .expect("the Engine");
    story.running().await;
    let begin = story.engine.done().len();
    story
        .create(
            "second",
            json!({"pipelineName": ORDERS, "engineRef": {"name": "same"}, "program": {"sql": changed()}}),
        )
        .await;
    let stalled = story
        .until_of("second", "it is stalled", |p| {
            has(p, "Stalled", "True", "NameTaken")
        })
        .await;
    assert!(
        message(&stalled, "Ready").contains("/orders"),
        "{}",
        message(&stalled, "Ready")
    );
    story.engine.ticks(2).await;
    assert_eq!(story.engine.done()[begin..], [""; 0]);
}

#[tokio::test]
async fn a19_of_two_that_keep_the_gate_of_one_pipeline_by_two_keys_the_older_one_does() {
    let story = Story::by_two_keys().await;
    story.guest().await;
    let second = json!({"program": null, "pipelineName": ORDERS, "engineRef": {"name": "other"}});
    // Ages are whole seconds; within one the uid decides.
    let first = story.now().await.creation_timestamp().expect("an age").0;
    eventually("a second has passed", || async {
        let passed = k8s_openapi::jiff::Timestamp::now().duration_since(first);
        (passed.as_secs() > 1).then_some(()).ok_or(passed)
    })
    .await;
    story.create("second", second).await;
    let stalled = story
        .until_of("second", "it is stalled", |p| {
            has(p, "Stalled", "True", "NameTaken")
        })
        .await;
    assert!(message(&stalled, "Ready").contains("/orders"));
    story.theirs_changes_to(&changed(), "await_approval").await;
    let waiting = story.until_waiting().await;
    story.approve(&id(&waiting)).await;
    story.until_sealed().await;
    assert_eq!(story.engine.calls_to("/orders/approve").len(), 1);
}

#[tokio::test]
async fn a_pipeline_that_is_made_elsewhere_has_its_gate_kept_and_nothing_else_done_to_it() {
    let story = Story::begin().await;
    let running = story.guest().await;
    assert!(has(&running, "Ready", "True", "Running"));
    assert_eq!(story.engine.pipeline(ORDERS).await["tags"], json!([]));
    let begin = story.engine.done().len();
    story.theirs_changes_to(&changed(), "await_approval").await;
    let waiting = story.until_waiting().await;
    story.engine.ticks(2).await;
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
    story.approve(&id(&waiting)).await;
    let sealed = story.until_sealed().await;
    assert_eq!(id(&sealed), id(&waiting));
    let done = &story.engine.done()[begin..];
    let expected = [
        "POST /pipelines/orders/stop?force=false",
        "PATCH /pipelines/orders?",
        "POST /pipelines/orders/start?bootstrap_policy=await_approval",
        "POST /pipelines/orders/approve?silent_bootstrap=false&concurrent_bootstrap=false",
        "POST /pipelines/orders/checkpoint?",
    ];
    assert_eq!(done, expected);

    // Stopped by whoever made it, it stays stopped.
    let stop = format!("/pipelines/{ORDERS}/stop?force=false");
    story.engine.by_hand("POST", &stop, Value::Null).await;
    story.until_ready("True", "Stopped").await;
    story.engine.ticks(3).await;
    assert_eq!(
        story.engine.pipeline(ORDERS).await["deployment_status"],
        "Stopped"
    );
}

#[tokio::test]
async fn a_rejected_change_of_a_pipeline_that_is_made_elsewhere_is_stopped_each_time_it_is_started()
{
    let story = Story::begin().await;
    story.guest().await;
    story.theirs_changes_to(&changed(), "await_approval").await;
    let waiting = story.until_waiting().await;
    story.annotate(annotation::REJECT, &id(&waiting)).await;
    story.until_rejected().await;
    story.theirs_starts("await_approval").await;
    eventually("it is stopped again", || async {
        let stops = story.engine.calls_to("/orders/stop");
        let forced = stops
            .iter()
            .filter(|call| call.query == "force=true")
            .count();
        (forced == 2).then_some(()).ok_or(stops)
    })
    .await;
    story.until_rejected().await;
    // The old program comes up as it was.
    let path = format!("/pipelines/{ORDERS}");
    story
        .engine
        .by_hand("PATCH", &path, json!({"program_code": PROGRAM}))
        .await;
    story.theirs_starts("await_approval").await;
    story.until_ready("True", "Running").await;
    assert_eq!(story.engine.bootstraps().await, [Value::Null; 0]);
}

#[tokio::test]
async fn a7_a_pipeline_that_is_made_elsewhere_and_started_round_its_gate_is_noticed() {
    let story = Story::begin().await;
    story.guest().await;
    story.theirs_changes_to(&changed(), "allow").await;
    let note = story.until_event("OutsideStart").await;
    assert!(note.contains("allow"), "{note}");
}

#[tokio::test]
async fn a_pipeline_that_is_to_be_made_elsewhere_is_waited_for() {
    let story = Story::begin().await;
    story.create(ORDERS, json!({"program": null})).await;
    let waits = story.until_ready("False", "PipelineNotFound").await;
    assert!(!has_type(&waits, "Stalled"));
    story.engine.ticks(2).await;
    assert_eq!(story.engine.done(), [""; 0]);
}

#[tokio::test]
async fn what_others_do_is_put_right_and_said_and_after_a_few_times_left_alone() {
    let story = Story::begin().await;
    story.running().await;
    let stop = format!("/pipelines/{ORDERS}/stop?force=false");
    for time in 1..=3 {
        story.engine.by_hand("POST", &stop, Value::Null).await;
        story
            .until("it was put right", |p| {
                has(p, "Ready", "True", "Running")
                    && status(p)
                        .interference
                        .is_some_and(|known| known.count == time)
                    && status(p).run.is_some_and(|run| run.stop.is_none())
            })
            .await;
    }
    assert_eq!(story.engine.calls_to("/orders/start").len(), 4);
    story.engine.by_hand("POST", &stop, Value::Null).await;
    let left = story.until_ready("False", "FoughtOver").await;
    assert!(has_type(&left, "Stalled"));
    assert!(message(&left, "Ready").contains(annotation::RETRY));
    assert_eq!(
        status(&left).run.expect("a run").stop,
        Some(StopKind::Outside)
    );
    story.engine.ticks(3).await;
    assert_eq!(story.engine.calls_to("/orders/start").len(), 4);
    story.annotate(annotation::RETRY, "they have stopped").await;
    story.until_ready("True", "Running").await;
    assert!(
        story
            .until_event("OutsideStop")
            .await
            .contains("somebody else")
    );
}

#[tokio::test]
async fn a_program_that_somebody_edits_at_the_engine_is_put_back() {
    let story = Story::begin().await;
    let stopped = json!({"desiredState": "stopped"});
    story.running().await;
    story.patch(json!({"spec": stopped})).await;
    story.until_phase("Stopped").await;
    let path = format!("/pipelines/{ORDERS}");
    let edit = json!({"program_code": extended()});
    story.engine.by_hand("PATCH", &path, edit).await;
    let note = story.until_event("OutsideEdit").await;
    assert!(note.contains("what the spec says is put back"), "{note}");
    eventually("the spec's program is back", || async {
        let program = story.engine.pipeline(ORDERS).await["program_code"].clone();
        (program == PROGRAM).then_some(()).ok_or(program)
    })
    .await;
    let spec = json!({"desiredState": "running"});
    story.patch(json!({"spec": spec})).await;
    story.until_ready("True", "Running").await;
    assert_eq!(story.engine.bootstraps().await, [Value::Null; 0]);
}

/// Between the edit and the checkpoint that nobody here saw being written the other program may have run.
#[tokio::test]
async fn a9_a_program_that_somebody_edits_and_runs_at_the_engine_is_put_back_once_that_is_approved()
{
    let story = Story::begin().await;
    story.running().await;
    // Sluice would start at once what is stopped; it sees nothing meanwhile.
    story.engine.fault("error", "500@/pipelines").await;
    story.until_phase("Unknown").await;
    story.theirs_changes_to(&extended(), "await_approval").await;
    story.engine.no_faults().await;
    let note = story.until_event("OutsideEdit").await;
    assert!(note.contains("asked about"), "{note}");
    let waiting = story.until_waiting().await;
    assert!(message(&waiting, "Ready").contains("unknown"));
    story.approve(&id(&waiting)).await;
    eventually("the spec's program is back", || async {
        let program = story.engine.pipeline(ORDERS).await["program_code"].clone();
        (program == PROGRAM).then_some(()).ok_or(program)
    })
    .await;
    story.until_ready("True", "Running").await;
    assert_eq!(story.engine.bootstraps().await, [Value::Null; 0]);
}

#[tokio::test]
async fn deletion_shows_what_it_waits_for_when_engine_and_secret_are_gone() {
    let mut story = Story::keyed("the-key").await;
    story.secret("key", json!({"token": "the-key"})).await;
    story
        .engine_object(json!({"credentialsSecretRef": {"name": "key", "key": "token"}}))
        .await;
    story
        .running_with(json!({"deletionPolicy": "Delete"}))
        .await;
    story.engine.goes_down();
    story.until_engine("False", "Unreachable").await;
    story.delete(ORDERS).await;
    let stuck = story
        .until("it says so", |p| {
            is_in(p, "Deleting") && has(p, "Stalled", "True", "EngineNotReached")
        })
        .await;
    assert!(message(&stuck, "Stalled").contains("sluice.dev/force-delete=true"));
    story.engine.comes_back();
    story.until_gone(ORDERS).await;
    assert_eq!(story.engine.names().await, [""; 0]);
}

#[tokio::test]
async fn an_engine_in_use_stays_until_its_pipelines_are_gone_and_works_without_its_secret() {
    let story = Story::keyed("the-key").await;
    story.secret("key", json!({"token": "the-key"})).await;
    story
        .engine_object(json!({"credentialsSecretRef": {"name": "key", "key": "token"}}))
        .await;
    story
        .running_with(json!({"deletionPolicy": "Delete"}))
        .await;
    let engines = story.api::<Engine>();
    eventually("the Engine is held", || async {
        let engine = engines.get("engine").await.expect("the Engine");
        let held = engine
            .finalizers()
            .iter()
            .any(|name| name == "sluice.dev/in-use");
        held.then_some(()).ok_or(engine.finalizers().to_vec())
    })
    .await;
    // As when a namespace goes: everything at once.
    let secrets = story.api::<Secret>();
    let all = DeleteParams::default();
    secrets.delete("key", &all).await.expect("it is deleted");
    engines.delete("engine", &all).await.expect("it is deleted");
    let engine = engines.get("engine").await.expect("it is still there");
    assert!(engine.metadata.deletion_timestamp.is_some());
    // The operator has looked for the Secret by then, which it does each second.
    story.engine.ticks(10).await;
    story.delete(ORDERS).await;
    story.until_gone(ORDERS).await;
    assert_eq!(story.engine.names().await, [""; 0]);
    eventually("the Engine is gone", || async {
        let engine = engines.get_opt("engine").await.expect("an answer");
        engine.is_none().then_some(()).ok_or("it is there")
    })
    .await;
}

/// The stand-in as slow as a real manager: its answers are up to 2.5 s old.
async fn with_old_answers() -> Story {
    let mut story = Story::without_operator(&["--poll-interval", "2500ms"]).await;
    story.engine_object(json!({})).await;
    story.start_operator_with(&["--resend-after", "10s"]).await;
    story
}

#[tokio::test]
async fn a6_a_crash_right_after_the_call_makes_no_second_one_however_old_the_answers_are() {
    let mut story = with_old_answers().await;
    let waiting = story.waiting().await;
    story.engine.fault("hang-after", "1@/approve").await;
    story.approve(&id(&waiting)).await;
    eventually("the engine is called", || async {
        let calls = story.engine.calls_to("/orders/approve");
        (calls.len() == 1).then_some(()).ok_or(calls)
    })
    .await;
    story.kill_operator();
    story.start_operator_with(&["--resend-after", "10s"]).await;
    let sealed = story.until_sealed().await;
    assert_eq!(story.engine.calls_to("/orders/approve").len(), 1);
    assert_eq!(approval(&sealed).calls, 1);
    assert_eq!(story.engine.bootstraps().await.len(), 1);
}

#[tokio::test]
async fn a17_an_edit_right_after_an_approval_drops_no_input_however_old_the_answers_are() {
    let story = with_old_answers().await;
    let waiting = story.waiting().await;
    story.approve(&id(&waiting)).await;
    eventually("the change is bootstrapped", || async {
        let done = story.engine.bootstraps().await.len();
        (done == 1).then_some(()).ok_or(done)
    })
    .await;
    story.change_to(&changed_otherwise()).await;
    let next = story.until_waiting().await;
    assert_ne!(id(&next), id(&waiting));
    assert_eq!(approval(&next).parent, id(&waiting));
    let stops = story.engine.calls_to("/orders/stop");
    assert!(
        stops.iter().all(|call| call.query == "force=false"),
        "{stops:?}"
    );
}

#[tokio::test]
async fn a7_an_edit_right_after_an_approval_at_the_engine_drops_no_input_and_tells_of_it() {
    let story = with_old_answers().await;
    let waiting = story.waiting().await;
    let approve = format!("/pipelines/{ORDERS}/approve");
    story.engine.by_hand("POST", &approve, Value::Null).await;
    eventually("the change is bootstrapped", || async {
        let done = story.engine.bootstraps().await.len();
        (done == 1).then_some(()).ok_or(done)
    })
    .await;
    story
        .change_to(&edited(
            "SELECT id FROM notes",
            "SELECT id + 1 AS id FROM notes",
        ))
        .await;
    let next = story.until_waiting().await;
    assert_ne!(id(&next), id(&waiting));
    let stops = story.engine.calls_to("/orders/stop");
    assert!(
        stops.iter().all(|call| call.query == "force=false"),
        "{stops:?}"
    );
    assert!(
        story
            .until_event("OutsideApproval")
            .await
            .contains(&id(&waiting))
    );
    let first = status(&next).history;
    let via = |record: &sluice::crd::DecisionRecord| {
        record.decision.as_ref().map(|decision| decision.via)
    };
    assert!(
        first
            .iter()
            .any(|record| via(record) == Some(Door::Outside)),
        "{first:?}"
    );
    assert!(is_at(&next, ApprovalState::Awaiting));
}
