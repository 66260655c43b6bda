//! What kstatus, the library by which Flux and Helm wait, makes of everything that the operator writes: every
//! version of every object of many stories is held to what `docs/status.md` says of its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use control_plane::{Progress, tools};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use serde_json::{Value, json};
use sluice::crd::{Engine, Pipeline, annotation};

use sluice::crd::ApprovalState;
use sluice_test_support::cluster::workspace;
use sluice_test_support::story::{
    FUNCTIONS, ORDERS, OTHER_FUNCTIONS, PROGRAM, Recording, Story, changed, edited, has, id, is_at,
    is_in, with_functions,
};

/// How far an object is, in kstatus' words.
type Verdict = String;

/// What the page says of each reason of `Ready`.
type Page = BTreeMap<String, BTreeSet<Verdict>>;

/// Reasons that no story here brings about, and why.
const ELSEWHERE: [&str; 1] = [
    // Needs an engine that takes an update for wrong; the words are the engine's.
    "EngineRefused",
];

/// Everything that is written of a story's Pipelines and Engines.
struct Watch([Recording<DynamicObject>; 2]);

impl Watch {
    async fn of(story: &Story) -> Self {
        // As the API server has them: a type of ours could leave something out.
        let of = async |kind: ApiResource| {
            let client = story.client.clone();
            let api = Api::namespaced_with(client, &story.namespace, &kind);
            Recording::of(api, ListParams::default()).await
        };
        Self([
            of(ApiResource::erase::<Pipeline>(&())).await,
            of(ApiResource::erase::<Engine>(&())).await,
        ])
    }

    async fn all(self) -> Vec<Value> {
        let [pipelines, engines] = self.0;
        let mut all = pipelines.complete().await;
        all.extend(engines.complete().await);
        let json = |object| serde_json::to_value(object).expect("JSON");
        all.into_iter().map(json).collect()
    }
}

/// What kstatus says of objects.
fn judge(objects: &[Value]) -> Vec<Verdict> {
    let program = tools::kstatus(&Progress::stderr()).unwrap_or_else(|error| panic!("{error}"));
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kstatus can be started");
    let mut input = child.stdin.take().expect("its input is piped");
    let lines: String = objects.iter().map(|object| format!("{object}\n")).collect();
    let writing = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writing.join().expect("no panic").expect("it reads it all");
    assert!(output.status.success());
    let verdicts: Vec<Verdict> = String::from_utf8(output.stdout)
        .expect("UTF-8")
        .lines()
        .map(|line| {
            let verdict: Value = serde_json::from_str(line).expect("JSON");
            verdict["status"].as_str().expect("a status").to_owned()
        })
        .collect();
    assert_eq!(verdicts.len(), objects.len());
    verdicts
}

/// The table of `docs/status.md` that says what kstatus makes of each reason.
fn page() -> Page {
    let text = std::fs::read_to_string(workspace().join("docs/status.md")).expect("the page");
    let (_, section) = text
        .split_once("\n## Reasons of Ready\n")
        .expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let quoted = |cell: &str| -> Vec<String> {
        let words = cell.split('`').skip(1).step_by(2);
        words.map(str::to_owned).collect()
    };
    let mut page = Page::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = row.trim_start_matches("| ").split(" | ");
        let (reasons, verdicts) = (cells.next(), cells.next());
        let verdicts: BTreeSet<Verdict> = quoted(verdicts.expect("a cell")).into_iter().collect();
        assert!(!verdicts.is_empty(), "{row}");
        for reason in quoted(reasons.expect("a cell")) {
            page.insert(reason, verdicts.clone());
        }
    }
    page
}

/// The `Ready` condition of an object.
fn ready(object: &Value) -> Option<&Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|it| it["type"] == "Ready")
}

/// What an object should be for kstatus: one of these.
fn expected(object: &Value, page: &Page) -> BTreeSet<Verdict> {
    let one = |verdict: &str| BTreeSet::from([verdict.to_owned()]);
    if object["metadata"]["deletionTimestamp"].is_string() {
        return one("Terminating");
    }
    if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
        return one("InProgress");
    }
    let ready =
        ready(object).unwrap_or_else(|| panic!("it was looked at, and isn't judged: {object:#}"));
    let in_force = ready["status"] == "True";
    if object["kind"] == "Engine" {
        return one(if in_force { "Current" } else { "InProgress" });
    }
    let reason = ready["reason"].as_str().expect("a reason");
    let row = page.get(reason);
    let row = row.unwrap_or_else(|| panic!("docs/status.md says nothing of {reason}"));
    let mut row = row.clone();
    row.retain(|verdict| (verdict == "Current") == in_force);
    row
}

/// Holds all versions of all objects to the page; returns the reasons that there were.
fn check(objects: &[Value]) -> BTreeSet<String> {
    let page = page();
    for (object, verdict) in objects.iter().zip(judge(objects)) {
        let expected = expected(object, &page);
        assert!(
            expected.contains(&verdict),
            "kstatus says {verdict}, and not {expected:?}, of {object:#}"
        );
    }
    let reasons = objects.iter().filter(|it| it["kind"] == "Pipeline");
    reasons
        .filter_map(ready)
        .filter_map(|ready| ready["reason"].as_str().map(str::to_owned))
        .collect()
}

/// One Pipeline through its life.
async fn a_life() -> Vec<Value> {
    let story = Story::begin().await;
    let watch = Watch::of(&story).await;
    story.create(ORDERS, json!({})).await;
    story.until_settled_as("Running").await;
    let desire = |state: &str| json!({"spec": {"desiredState": state}});
    story.patch(desire("paused")).await;
    story.until_ready("True", "Paused").await;
    story.patch(desire("running")).await;
    story.until_ready("True", "Running").await;
    story.change_to(&changed()).await;
    let waiting = story.until_waiting().await;
    story.approve(&id(&waiting)).await;
    story.until_sealed().await;
    story
        .patch(json!({"spec": {"restartedAt": "2026-01-01T00:00:00Z"}}))
        .await;
    story.until_ready("True", "Running").await;
    story
        .patch(json!({"spec": {"runtimeConfig": {"workers": 2}}}))
        .await;
    story.until_ready("False", "ImmutableSetting").await;
    story.patch(json!({"spec": {"clearStorage": "a"}})).await;
    story.until_ready("True", "Running").await;
    story.patch(desire("stopped")).await;
    story.until_ready("True", "Stopped").await;
    story
        .patch(json!({"spec": {"deletionPolicy": "Delete"}}))
        .await;
    story.rests().await;
    story.delete(ORDERS).await;
    story.until_gone(ORDERS).await;
    watch.all().await
}

/// The engine can't bootstrap the new program from what runs.
async fn lateness() -> Vec<Value> {
    let story = Story::begin().await;
    let watch = Watch::of(&story).await;
    let late = edited("notes (id INT)", "notes (id INT LATENESS 5)");
    story.running_with(json!({"program": {"sql": late}})).await;
    story
        .change_to(&late.replace("SELECT id, amount FROM", "SELECT id FROM"))
        .await;
    story.until_ready("False", "BootstrapRefused").await;
    watch.all().await
}

/// The compiler, the policy, or somebody refuses the change.
async fn refusals() -> Vec<Value> {
    let story = Story::begin().await;
    let watch = Watch::of(&story).await;
    story.running().await;
    story
        .change_to("CREATE VIEW v AS SELECT id FROM nowhere;")
        .await;
    story.until_ready("False", "CompileFailed").await;
    let other = json!({"bootstrapPolicy": "reject", "program": {"sql": changed()}});
    story.patch(json!({"spec": other})).await;
    story.until_ready("False", "ChangeRefused").await;
    story
        .patch(json!({"spec": {"bootstrapPolicy": "await_approval"}}))
        .await;
    let waiting = story.until_waiting().await;
    story.annotate(annotation::REJECT, &id(&waiting)).await;
    story.until_rejected().await;
    watch.all().await
}

/// A change at Sluice's own gate, beside a program that goes on.
async fn functions() -> Vec<Value> {
    let story = Story::begin().await;
    let watch = Watch::of(&story).await;
    story.running_with_functions().await;
    let other = json!({"sql": with_functions(), "udfRust": OTHER_FUNCTIONS});
    story.patch(json!({"spec": {"program": other}})).await;
    let waiting = story.until_waiting().await;
    assert!(has(&waiting, "Ready", "True", "AwaitingApproval"));
    story.annotate(annotation::REJECT, &id(&waiting)).await;
    story.until_ready("False", "Rejected").await;
    let back = json!({"sql": with_functions(), "udfRust": FUNCTIONS});
    story.patch(json!({"spec": {"program": back}})).await;
    story.until_ready("True", "Running").await;
    watch.all().await
}

/// What fails.
async fn failures() -> Vec<Value> {
    let story = Story::begin().await;
    let watch = Watch::of(&story).await;
    story.running().await;
    let fail = format!("/pipelines/{ORDERS}/fail");
    story
        .engine
        .sim("POST", &fail, json!({"message": "panic"}))
        .await;
    story
        .until("it backs off", |p| has(p, "Ready", "False", "BackingOff"))
        .await;
    story.annotate(annotation::RETRY, "now").await;
    story.until_ready("True", "Running").await;
    let broken = edited(
        "AS SELECT id FROM notes",
        "WITH ('connectors' = '[{\"name\": \"file\", \"transport\": {\"name\": \"file_output\", \"config\": {\"path\": \"/nonexistent/x\"}}, \"format\": {\"name\": \"csv\"}}]') AS SELECT id FROM notes",
    );
    story.change_to(&broken).await;
    let waiting = story.until_waiting().await;
    story.approve(&id(&waiting)).await;
    story
        .until("applying it fails", |p| {
            is_at(p, ApprovalState::ApplyFailed)
        })
        .await;
    story.until_ready("False", "ApplyFailed").await;
    watch.all().await
}

/// What can't be initialized isn't started again by itself.
async fn no_first_start() -> Vec<Value> {
    let story = Story::begin().await;
    let watch = Watch::of(&story).await;
    let broken = edited(
        "AS SELECT id FROM notes",
        "WITH ('connectors' = '[{\"name\": \"file\", \"transport\": {\"name\": \"file_output\", \"config\": {\"path\": \"/nonexistent/x\"}}, \"format\": {\"name\": \"csv\"}}]') AS SELECT id FROM notes",
    );
    // Until somebody has seen that it compiles.
    let compiles = json!("program_status=CompilingRust");
    story.engine.fault("lie", compiles).await;
    story
        .create(ORDERS, json!({"program": {"sql": broken}}))
        .await;
    story.until_phase("Compiling").await;
    story.engine.no_faults().await;
    story.until_ready("False", "Failed").await;
    watch.all().await
}

/// The engine can't be reached, doesn't know the key, or says what nobody knows; then it is gone.
async fn engines() -> Vec<Value> {
    let mut story = Story::begin().await;
    let watch = Watch::of(&story).await;
    story
        .running_with(json!({"deletionPolicy": "Delete"}))
        .await;
    story.engine.fault("error", json!("401")).await;
    story.until_ready("False", "EngineUnauthorized").await;
    story.engine.no_faults().await;
    story.until_ready("True", "Running").await;
    story
        .engine
        .fault("lie", json!("deployment_status=Odd"))
        .await;
    story.until_ready("False", "EngineStatusUnknown").await;
    story.engine.no_faults().await;
    story.until_ready("True", "Running").await;
    story.engine.goes_down();
    story.until_ready("False", "EngineUnreachable").await;
    story.delete(ORDERS).await;
    story
        .until("it can't go", |p| {
            is_in(p, "Deleting") && has(p, "Ready", "False", "EngineNotReached")
        })
        .await;
    story.engine.comes_back();
    story.until_gone(ORDERS).await;
    watch.all().await
}

/// What it names isn't there yet, or somebody else's.
async fn strangers() -> Vec<Value> {
    let story = Story::without_engine().await;
    let watch = Watch::of(&story).await;
    let from =
        json!({"sql": null, "sqlFrom": {"configMapKeyRef": {"name": "program", "key": "sql"}}});
    story.create(ORDERS, json!({"program": from})).await;
    story.until_ready("False", "EngineNotFound").await;
    story.engine_object(json!({})).await;
    story.until_ready("False", "ContentNotFound").await;
    story.config_map("program", json!({"sql": PROGRAM})).await;
    story.until_settled_as("Running").await;
    story
        .create("second", json!({"pipelineName": ORDERS}))
        .await;
    story
        .until_of("second", "it is somebody else's", |p| {
            has(p, "Ready", "False", "NameTaken")
        })
        .await;
    story.create("guest", json!({"program": null})).await;
    story
        .until_of("guest", "it isn't there", |p| {
            has(p, "Ready", "False", "PipelineNotFound")
        })
        .await;
    let theirs = json!({"name": "legacy", "program_code": PROGRAM});
    story.engine.by_hand("POST", "/pipelines", theirs).await;
    story.create("legacy", json!({})).await;
    story
        .until_of("legacy", "it is left alone", |p| {
            has(p, "Ready", "False", "NameTaken")
        })
        .await;
    let adopt = json!({"metadata": {"annotations": {annotation::ADOPT: "legacy"}}});
    story.patch_of("legacy", adopt).await;
    story
        .until_of("legacy", "it is taken over", |p| {
            has(p, "Ready", "True", "Running")
        })
        .await;
    watch.all().await
}

/// Others undo what the spec says.
async fn a_fight() -> Vec<Value> {
    let story = Story::begin().await;
    let watch = Watch::of(&story).await;
    story.running().await;
    let stop = format!("/pipelines/{ORDERS}/stop?force=false");
    for time in 1..=4 {
        story.engine.by_hand("POST", &stop, Value::Null).await;
        story
            .until("it is put right, or left", |p| {
                let count = sluice_test_support::story::status(p).interference;
                let count = count.map_or(0, |known| known.count);
                has(p, "Ready", "False", "FoughtOver")
                    || has(p, "Ready", "True", "Running") && count == time
            })
            .await;
    }
    story.until_ready("False", "FoughtOver").await;
    watch.all().await
}

/// The pipeline is gone from its engine, and comes back.
async fn a_loss() -> Vec<Value> {
    let mut story = Story::begin().await;
    let watch = Watch::of(&story).await;
    story.running().await;
    story.engine.goes_down();
    let backup = story.engine.backup();
    story.engine.restore(&tempfile::tempdir().expect("nothing"));
    story.engine.comes_back();
    story.until_ready("False", "PipelineLost").await;
    story.engine.goes_down();
    story.engine.restore(&backup);
    story.engine.comes_back();
    story.until_ready("True", "Running").await;
    watch.all().await
}

/// An engine without checkpoints.
async fn open_source() -> Vec<Value> {
    let story = Story::with(&["--edition", "open-source"]).await;
    let watch = Watch::of(&story).await;
    story.create(ORDERS, json!({})).await;
    story.until_ready("True", "Running").await;
    story.change_to(&changed()).await;
    story.until_ready("False", "StateLossNotAllowed").await;
    watch.all().await
}

/// It is made, and later edited, while no operator looks.
async fn nobody_looks() -> Vec<Value> {
    let mut story = Story::without_operator(&[]).await;
    let watch = Watch::of(&story).await;
    story.engine_object(json!({})).await;
    let fresh = story.create(ORDERS, json!({})).await;
    let fresh = sluice_test_support::story::status(&fresh).observed_generation;
    assert_eq!(
        fresh,
        Some(-1),
        "the API server says that nobody has looked"
    );
    story.start_operator().await;
    story.until_settled_as("Running").await;
    story.kill_operator();
    story.change_to(&changed()).await;
    story.start_operator().await;
    story.until_waiting().await;
    watch.all().await
}

#[tokio::test]
async fn kstatus_says_of_everything_that_is_written_what_the_page_says() {
    let seen: Vec<Vec<Value>> =
        futures::future::join_all::<Vec<futures::future::BoxFuture<_>>>(vec![
            Box::pin(a_life()),
            Box::pin(lateness()),
            Box::pin(refusals()),
            Box::pin(functions()),
            Box::pin(failures()),
            Box::pin(no_first_start()),
            Box::pin(engines()),
            Box::pin(strangers()),
            Box::pin(a_fight()),
            Box::pin(a_loss()),
            Box::pin(open_source()),
            Box::pin(nobody_looks()),
        ])
        .await;
    let seen: Vec<Value> = seen.into_iter().flatten().collect();
    let reasons = check(&seen);
    let known: BTreeSet<String> = page().into_keys().collect();
    let missed: Vec<&String> = known
        .difference(&reasons)
        .filter(|reason| !ELSEWHERE.contains(&reason.as_str()))
        .collect();
    assert!(missed.is_empty(), "no story brings about {missed:?}");
    assert!(seen.len() > 100, "{}", seen.len());
}
