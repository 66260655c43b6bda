//! What people and engines write, as it is shown; what changes between a decision and what comes of it; and
//! storms of wishes.

use serde_json::{Value, json};
use sluice::crd::{ApprovalState, Pipeline, annotation};
use sluice::text::deceives;

use sluice_test_support::cluster::create;
use sluice_test_support::story::{
    FUNCTIONS, ORDERS, OTHER_FUNCTIONS, PROGRAM, Story, approval, changed, eventually, has, id,
    is_at, is_in, message, status, with_functions,
};

/// What would clear a line, forge another, and turn the direction of reading.
const EVIL: &str =
    "\u{1b}[2K\r2026-01-01T00:00:00Z  INFO sluice: approved by \u{202e}ecila\u{9b}2J";

/// Whether a text shows only what it says. Compilers write in lines.
fn is_plain(text: &str) -> bool {
    !text.contains(|c| c != '\n' && c != '\t' && deceives(c))
}

/// All texts in a value, but for those under a key of these: data that stays what it is.
fn texts(value: &Value, data: &[&str]) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(list) => list.iter().flat_map(|value| texts(value, data)).collect(),
        Value::Object(map) => map
            .iter()
            .filter(|(key, _)| !data.contains(&key.as_str()))
            .flat_map(|(_, value)| texts(value, data))
            .collect(),
        _ => vec![],
    }
}

/// Nothing in status, Events and log steers a terminal, and each line of the log is one that the operator wrote.
async fn is_shown_plainly(story: &Story, now: &Pipeline) {
    is_shown_plainly_but(story, now, &["diff", "atStake"]).await;
}

async fn is_shown_plainly_but(story: &Story, now: &Pipeline, data: &[&str]) {
    let shown = serde_json::to_value(&now.status).expect("a status");
    for text in texts(&shown, data) {
        assert!(is_plain(&text), "{text:?}");
    }
    let events = story
        .api::<k8s_openapi::api::events::v1::Event>()
        .list(&Default::default())
        .await
        .expect("the Events");
    for note in events.items.iter().filter_map(|event| event.note.as_ref()) {
        assert!(is_plain(note) && note.len() <= 1024, "{note:?}");
    }
    let log = std::fs::read_to_string(story.log()).expect("the log");
    let namespace: &str = &story.namespace;
    for line in log.lines().filter(|line| line.contains(namespace)) {
        assert!(!line.contains(deceives), "{line:?}");
    }
    let is_its_own = |line: &str| {
        let (time, rest) = line.split_once(' ').unwrap_or_default();
        time.parse::<k8s_openapi::jiff::Timestamp>().is_ok()
            && !rest.starts_with(" INFO sluice: approved")
    };
    for line in log.lines() {
        assert!(
            is_its_own(line) || !line.contains("approved by"),
            "{line:?}"
        );
    }
}

#[tokio::test]
async fn an_event_is_written_whatever_script_its_words_are_in_and_however_long_the_names_are() {
    let story = Story::begin().await;
    let name = "ü".repeat(900);
    let sql = format!("CREATE VIEW v AS SELECT * FROM \"{name}\";");
    story.create(ORDERS, json!({"program": {"sql": sql}})).await;
    let note = story.until_event("CompileFailed").await;
    assert!(note.len() <= 1024 && note.len() > 1000, "{}", note.len());
    assert!(note.contains("üüü") && note.ends_with('…'), "{note}");

    // The name of an Event begins with the object's, and may be no longer than that.
    let long = format!(
        "a.{}",
        [
            "b".repeat(60),
            "c".repeat(60),
            "d".repeat(60),
            "e".repeat(60)
        ]
        .join(".")
    );
    let spec = json!({"pipelineName": "long", "program": {"sql": sql}});
    story.create(&long, spec).await;
    eventually("there is an Event of it, too", || async {
        let all = story.api::<k8s_openapi::api::events::v1::Event>();
        let all = all.list(&Default::default()).await.expect("the Events");
        let mut names = all
            .items
            .iter()
            .filter_map(|event| event.regarding.as_ref()?.name.as_ref());
        names.any(|name| *name == long).then_some(()).ok_or("none")
    })
    .await;
}

#[tokio::test]
async fn nothing_that_somebody_names_says_or_answers_steers_a_terminal_or_forges_a_line() {
    let story = Story::with_own_operator(&[]).await;
    story.running().await;
    let sql = format!("{PROGRAM}CREATE VIEW \"v{EVIL}\" AS SELECT id FROM orders;\n");
    let waiting = story.change_to(&sql).await;
    drop(waiting);
    let waiting = story.until_waiting().await;
    assert!(
        approval(&waiting).summary.contains("\\u{202e}ecila"),
        "{:?}",
        approval(&waiting).summary
    );
    is_shown_plainly(&story, &waiting).await;

    let votes = story.api::<sluice::crd::PipelineApproval>();
    let no = json!({
        "metadata": {"name": "no"},
        "spec": {
            "pipelineRef": {"name": ORDERS}, "changeId": id(&waiting), "decision": "Reject",
            "reason": format!("first line\nsecond{EVIL}"),
        },
    });
    create(&votes, no).await.expect("the vote");
    let rejected = story.until_rejected().await;
    let reason = approval(&rejected)
        .decision
        .and_then(|decision| decision.reason);
    let reason = reason.expect("a reason");
    assert!(
        reason.starts_with("first line\nsecond\\u{1b}[2K"),
        "{reason:?}"
    );
    is_shown_plainly(&story, &rejected).await;

    // An error in several lines, in a program of somebody's.
    let broken = format!("CREATE VIEW v AS\nSELECT * FROM \"t{EVIL}\";");
    story.change_to(&broken).await;
    let failed = story
        .until("it doesn't compile", |p| {
            has(p, "Ready", "False", "CompileFailed")
        })
        .await;
    assert!(
        message(&failed, "Ready").contains("line 2"),
        "{}",
        message(&failed, "Ready")
    );
    is_shown_plainly(&story, &failed).await;

    // An engine that says anything, of a pipeline that is to run.
    story.change_to(PROGRAM).await;
    story.until_ready("True", "Running").await;
    let odd = format!("Levitating{EVIL}");
    story
        .engine
        .fault("lie", format!("deployment_status={}", json!(odd)))
        .await;
    let unknown = story
        .until("it says what it doesn't know", |p| {
            has(p, "Ready", "False", "EngineStatusUnknown")
        })
        .await;
    is_shown_plainly(&story, &unknown).await;
}

/// A pipeline with functions from a ConfigMap, of which others wait at Sluice's own gate.
async fn functions_from_a_config_map_wait(story: &Story) -> Pipeline {
    story
        .config_map("functions", json!({"rust": FUNCTIONS}))
        .await;
    let program = json!({
        "sql": with_functions(),
        "udfRustFrom": {"configMapKeyRef": {"name": "functions", "key": "rust"}},
    });
    story.create(ORDERS, json!({"program": program})).await;
    story.until_settled_as("Running").await;
    story
        .config_map("functions", json!({"rust": OTHER_FUNCTIONS}))
        .await;
    story.until_waiting().await
}

/// A body that nobody has approved.
const UNREVIEWED: &str = "pub fn twice(_: Option<i32>) -> Result<Option<i32>, Box<dyn std::error::Error>> { Ok(Some(666)) }";

#[tokio::test]
async fn a6_a_config_map_that_changes_after_the_decision_brings_nothing_that_nobody_approved() {
    // What is done next, when it is edited.
    for moment in ["decided", "/orders/stop", "/orders", "/orders/start"] {
        let story = Story::begin().await;
        let waiting = functions_from_a_config_map_wait(&story).await;
        let before = story.engine.calls().len();
        // Each call takes its time, so that there is a moment.
        story.engine.fault("latency", "300ms").await;
        story.approve(&id(&waiting)).await;
        eventually(&format!("it is at {moment}"), || async {
            let calls = story.engine.calls().split_off(before);
            let mut calls = calls.iter().filter(|call| call.method != "GET");
            let reached = if moment == "decided" {
                !is_at(&story.now().await, ApprovalState::Awaiting)
            } else {
                calls.any(|call| call.path.ends_with(moment))
            };
            reached.then_some(()).ok_or("not yet")
        })
        .await;
        story
            .config_map("functions", json!({"rust": UNREVIEWED}))
            .await;
        story.engine.no_faults().await;
        let asked = story
            .until("the other one is asked about", |p| {
                is_at(p, ApprovalState::Awaiting) && id(p) != id(&waiting)
            })
            .await;
        story.engine.ticks(3).await;
        let given = |body: &str| {
            let mut calls = story.engine.calls().into_iter();
            calls.any(|call| {
                call.method != "GET"
                    && call.path.ends_with("/orders")
                    && call.body["udf_rust"] == body
            })
        };
        assert!(!given(UNREVIEWED), "{moment}");
        let engine = story.engine.pipeline(ORDERS).await;
        assert_ne!(engine["udf_rust"], UNREVIEWED, "{moment}");
        // And with its own approval it comes.
        story.approve(&id(&asked)).await;
        let sealed = story.until_sealed().await;
        assert_eq!(id(&sealed), id(&asked));
        assert_eq!(story.engine.pipeline(ORDERS).await["udf_rust"], UNREVIEWED);
    }
}

#[tokio::test]
async fn a_storm_of_restarts_ends_with_the_last_one_and_loses_nothing() {
    let story = Story::with_own_operator(&[]).await;
    story.running().await;
    let wish = |n: usize| format!("2026-01-01T00:{:02}:{:02}Z", n / 60, n % 60);
    for n in 0..100 {
        story.patch(json!({"spec": {"restartedAt": wish(n)}})).await;
    }
    let last = wish(99);
    story
        .until("the last one is fulfilled", |p| {
            let handled = status(p).handled_restart;
            is_in(p, "Running") && handled.is_some_and(|handled| handled.0 == last)
        })
        .await;
    let stops = story.engine.calls_to("/orders/stop");
    assert!((1..=100).contains(&stops.len()));
    assert!(stops.iter().all(|stop| stop.query == "force=false"));
    assert_eq!(story.engine.bootstraps().await, [] as [Value; 0]);
    let log = std::fs::read_to_string(story.log()).expect("the log");
    assert!(!log.contains("took more than"), "{log}");
}

#[tokio::test]
async fn a_storm_of_retries_approves_nothing_and_takes_no_rejection_away_but_its_own() {
    let story = Story::with_own_operator(&[]).await;
    let waiting = story.waiting().await;
    for n in 0..100 {
        story.annotate(annotation::RETRY, &format!("{n}")).await;
    }
    story.engine.ticks(3).await;
    let now = story.now().await;
    assert_eq!(id(&now), id(&waiting));
    assert!(is_at(&now, ApprovalState::Awaiting));
    story.annotate(annotation::REJECT, &id(&waiting)).await;
    story.until_rejected().await;
    for n in 0..100 {
        story
            .annotate(annotation::RETRY, &format!("again {n}"))
            .await;
    }
    story.engine.ticks(3).await;
    let now = story.now().await;
    assert!(
        is_at(&now, ApprovalState::Rejected) && id(&now) == id(&waiting),
        "no retry names the change"
    );
    assert_eq!(story.engine.bootstraps().await, [] as [Value; 0]);
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
    assert_eq!(
        story.engine.pipeline(ORDERS).await["program_code"],
        changed()
    );
}

#[tokio::test]
async fn a_status_is_written_whatever_characters_stand_in_what_it_remembers() {
    let story = Story::begin().await;
    story.running().await;
    // YAML, as which the API server reads what is applied, has none of these; a status repeats the version.
    let version = "v0.338.0\u{7f}\u{9b}\u{feff}\u{ffff}🙂";
    let config = json!({"runtime_version": version});
    story
        .patch(json!({"spec": {"program": {"config": config}}}))
        .await;
    let waiting = story.until_waiting().await;
    assert_eq!(approval(&waiting).target.runtime_version, version);
    is_shown_plainly_but(&story, &waiting, &["target"]).await;
}

/// What a whole object may take in etcd.
const MOST: usize = 1_500_000;

fn size(pipeline: &Pipeline) -> usize {
    serde_json::to_string(pipeline).expect("JSON").len()
}

#[tokio::test]
async fn a_text_of_megabytes_freezes_no_pipeline_whoever_wrote_it() {
    let story = Story::begin().await;
    story.running().await;
    // The compiler's, which repeats a name of the program that is to run next.
    let name = "x".repeat(900_000);
    let sql = format!("CREATE VIEW v AS SELECT * FROM \"{name}\";");
    story.config_map("long", json!({"sql": sql})).await;
    let from = json!({"configMapKeyRef": {"name": "long", "key": "sql"}});
    story
        .patch(json!({"spec": {"program": {"sql": null, "sqlFrom": from}}}))
        .await;
    let fails = |p: &Pipeline| has(p, "Ready", "False", "CompileFailed");
    let held = story.until("it doesn't compile", fails).await;
    assert!(size(&held) < 100_000, "{}", size(&held));
    // People's, in an annotation that is remembered.
    story
        .annotate(annotation::RETRY, &"again ".repeat(20_000))
        .await;
    story
        .until("it is acted on", |p| {
            let handled = status(p).handled_retry.unwrap_or_default();
            handled.starts_with("sha256:")
        })
        .await;
    // The engine's, of what waits: more tables than a status can name.
    let names: Vec<String> = (0..20_000).map(|n| format!("table_number_{n}")).collect();
    let details = json!({"approval_diff": {
        "program_diff": {"removed_tables": names}, "program_diff_error": null,
    }});
    let lie = format!("deployment_runtime_status_details={details}");
    story.engine.fault("lie", lie).await;
    story
        .patch(json!({"spec": {"program": {"sql": changed(), "sqlFrom": null}}}))
        .await;
    let waiting = story.until_waiting().await;
    let asked = approval(&waiting);
    assert!(size(&waiting) < 400_000, "{}", size(&waiting));
    let whole = sluice::gate::canonical::digest(&details["approval_diff"]);
    assert_eq!(asked.diff_digest, whole, "{}", asked.summary);
    assert!(asked.summary.contains("more"), "{}", asked.summary);
    // And people's, beside a vote.
    story
        .annotate(annotation::REASON, &"why ".repeat(20_000))
        .await;
    story.approve(&id(&waiting)).await;
    let sealed = story.until_sealed().await;
    assert!(size(&sealed) < MOST);
    story.engine.no_faults().await;
    // What the engine says of a pipeline that has failed.
    let long = "no such thing. ".repeat(110_000);
    let error = json!({"message": long, "error_code": "RuntimeError.WorkerPanic", "details": null});
    story
        .engine
        .fault("lie", format!("deployment_error={error}"))
        .await;
    story
        .patch(json!({"spec": {"desiredState": "stopped"}}))
        .await;
    let stopped = story
        .until("it is stopped", |p| {
            is_in(p, "Stopped") || is_in(p, "Failed")
        })
        .await;
    assert!(size(&stopped) < MOST);
}
