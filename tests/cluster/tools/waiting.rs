//! What those see who wait for a Pipeline at the command line: `kubectl wait`, and Helm's `--wait`, with the
//! real programs.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use control_plane::{Progress, tools};
use serde_json::json;
use sluice::crd::{ApprovalState, Pipeline};

use sluice_test_support::cluster::{ADMIN, said, workspace};
use sluice_test_support::story::{
    ORDERS, PROGRAM, Story, changed, changed_otherwise, id, is_at, is_current, is_in, status,
};

/// Types `kubectl wait` for the Pipeline.
async fn kubectl_wait(story: &Story, what: &str, timeout: &str) -> Output {
    let cluster = story.cluster();
    let namespace = story.namespace.to_string();
    let (what, timeout) = (format!("--for={what}"), format!("--timeout={timeout}"));
    // It blocks, and the story goes on meanwhile.
    tokio::task::spawn_blocking(move || {
        let typed = ["wait", "pipeline/orders", "-n", &namespace, &what, &timeout];
        cluster.kubectl(ADMIN, &typed)
    })
    .await
    .expect("kubectl ends")
}

async fn is_met(story: &Story, what: &str) {
    let output = kubectl_wait(story, what, "2m").await;
    assert!(output.status.success(), "{what}: {}", said(&output));
}

async fn is_not_met(story: &Story, what: &str) {
    let output = kubectl_wait(story, what, "2s").await;
    let words = said(&output);
    assert!(
        words.contains("timed out waiting for the condition"),
        "{what}: {words}"
    );
}

#[tokio::test]
async fn kubectl_waits_for_what_is_in_force_and_not_for_what_was() {
    let mut story = Story::without_operator(&[]).await;
    story.engine_object(json!({})).await;
    story.create(ORDERS, json!({})).await;
    is_not_met(&story, "condition=Ready").await;
    story.start_operator().await;
    is_met(&story, "condition=Ready").await;
    assert!(is_in(&story.now().await, "Running"));
    story.until_settled_as("Running").await;

    // What was ready isn't any more, although nobody has looked yet. What is written of the phase is.
    story.kill_operator();
    story.change_to(&changed()).await;
    is_not_met(&story, "condition=Ready").await;
    is_met(&story, "jsonpath={.status.phase}=Running").await;
    story.start_operator().await;
    is_met(&story, "jsonpath={.status.phase}=AwaitingApproval").await;
    is_met(&story, "jsonpath={.status.approval.state}=Awaiting").await;
    is_met(&story, "condition=Ready=False").await;
    is_not_met(&story, "condition=Ready").await;
    is_not_met(&story, "condition=Stalled").await;

    let waiting = story.until_waiting().await;
    let change = id(&waiting);
    tokio::join!(is_met(&story, "condition=Ready"), story.approve(&change));
    is_met(&story, "jsonpath={.status.approval.state}=Sealed").await;
    story
        .change_to("CREATE VIEW v AS SELECT id FROM nowhere;")
        .await;
    is_met(&story, "condition=Stalled").await;
    let failed = story.until_ready("False", "CompileFailed").await;
    assert!(is_in(&failed, "Running"), "the old one goes on");
}

/// A release of `charts/sluice-pipelines`, with the engine of a story.
struct Release {
    story: Story,
    helm: PathBuf,
    files: tempfile::TempDir,
}

impl Release {
    async fn begin() -> Self {
        let story = Story::without_engine().await;
        let helm = tokio::task::spawn_blocking(|| tools::helm(&Progress::stderr()));
        let helm = helm.await.expect("it is made");
        Self {
            story,
            helm: helm.unwrap_or_else(|error| panic!("{error}")),
            files: tempfile::tempdir().expect("a folder"),
        }
    }

    fn values(&self, sql: &str) -> PathBuf {
        let values = json!({
            "engines": {"engine": {"url": self.story.engine.url}},
            "pipelines": {ORDERS: {"engineRef": {"name": "engine"}, "program": {"sql": sql}}},
        });
        let path = self.files.path().join("values.yaml");
        // JSON is YAML.
        std::fs::write(&path, values.to_string()).expect("a file");
        path
    }

    /// Types a command of Helm's with this program in the values.
    async fn helm(&self, command: &str, sql: &str, flags: &str) -> Output {
        let values = self.values(sql);
        let namespace: &str = &self.story.namespace;
        let chart = workspace().join("charts/sluice-pipelines");
        tokio::process::Command::new(&self.helm)
            .args([Path::new(command), Path::new("shop"), &chart])
            .args([
                Path::new("-n"),
                Path::new(namespace),
                Path::new("-f"),
                &values,
            ])
            .args(flags.split_whitespace())
            .envs(self.story.cluster().plane().environment())
            .stdin(Stdio::null())
            .output()
            .await
            .expect("helm can be started")
    }

    /// The same where it has to succeed.
    async fn works(&self, command: &str, sql: &str, flags: &str) -> Pipeline {
        let output = self.helm(command, sql, flags).await;
        assert!(output.status.success(), "{command}: {}", said(&output));
        self.story.now().await
    }

    /// Waits until a change to this program waits for approval.
    async fn until_waits(&self, sql: &str) -> Pipeline {
        let asks = |pipeline: &Pipeline| pipeline.spec.program.as_ref()?.sql.clone();
        self.story
            .until("the change waits", |p| {
                asks(p).as_deref() == Some(sql)
                    && is_current(p)
                    && is_at(p, ApprovalState::Awaiting)
            })
            .await
    }

    /// The same where it has to fail, sooner than its time is over; returns what it said.
    async fn fails_at_once(&self, sql: &str, flags: &str) -> String {
        let begin = Instant::now();
        let output = self
            .helm("upgrade", sql, &format!("{flags} --timeout=5m"))
            .await;
        assert!(!output.status.success(), "{}", said(&output));
        assert!(
            begin.elapsed() < Duration::from_secs(200),
            "{}",
            said(&output)
        );
        said(&output)
    }
}

#[tokio::test]
async fn helm_waits_for_a_first_installation_until_it_runs() {
    let release = Release::begin().await;
    let pipeline = release
        .works("install", PROGRAM, "--wait --timeout=2m")
        .await;
    assert!(is_in(&pipeline, "Running"), "{:#?}", status(&pipeline));
    // Other than by kstatus, Helm knows nothing of other people's kinds.
    release.story.until_settled_as("Running").await;
    release
        .works("upgrade", &changed(), "--wait=legacy --timeout=2m")
        .await;
    release.story.until_waiting().await;
}

#[tokio::test]
async fn helm_waits_for_the_decision_and_says_what_waits() {
    let release = Release::begin().await;
    release
        .works("install", PROGRAM, "--wait --timeout=2m")
        .await;
    release.story.until_settled_as("Running").await;
    release.works("upgrade", &changed(), "").await;
    let waiting = release.story.until_waiting().await;
    let late = release
        .helm("upgrade", &changed(), "--wait --timeout=8s")
        .await;
    let words = said(&late);
    assert!(!late.status.success(), "{words}");
    for part in [
        "status: InProgress",
        "waits for approval",
        &format!("sluice.dev/approve={}", id(&waiting)),
    ] {
        assert!(words.contains(part), "{part} isn't in {words}");
    }

    // Approved while Helm waits, it is over.
    let sql = changed_otherwise();
    let approves = async {
        let next = release.until_waits(&sql).await;
        release.story.vote("yes", &id(&next), "Approve").await;
    };
    let upgrade = release.works("upgrade", &sql, "--wait --timeout=2m");
    let (pipeline, ()) = tokio::join!(upgrade, approves);
    assert!(is_in(&pipeline, "Running"), "{:#?}", status(&pipeline));
}

#[tokio::test]
async fn helm_is_told_at_once_what_goes_on_only_if_somebody_acts() {
    let release = Release::begin().await;
    release
        .works("install", PROGRAM, "--wait --timeout=2m")
        .await;
    release.story.until_settled_as("Running").await;
    let words = release
        .fails_at_once("CREATE VIEW v AS SELECT id FROM nowhere;", "--wait")
        .await;
    assert!(
        words.contains("status: Failed") && words.contains("nowhere"),
        "{words}"
    );

    let sql = changed();
    let rejects = async {
        let waiting = release.until_waits(&sql).await;
        release.story.vote("no", &id(&waiting), "Reject").await;
    };
    let (words, ()) = tokio::join!(release.fails_at_once(&sql, "--wait"), rejects);
    assert!(
        words.contains("status: Failed") && words.contains("was rejected: because"),
        "{words}"
    );

    // Back to what runs, by Helm itself. The last good release is the first one.
    let sql = changed_otherwise();
    let rejects = async {
        let waiting = release.until_waits(&sql).await;
        release.story.vote("never", &id(&waiting), "Reject").await;
    };
    let upgrade = release.fails_at_once(&sql, "--rollback-on-failure");
    let (_, ()) = tokio::join!(upgrade, rejects);
    let back = release.story.until_settled_as("Running").await;
    let program = back.spec.program.and_then(|program| program.sql);
    assert_eq!(program.as_deref(), Some(PROGRAM));
}
