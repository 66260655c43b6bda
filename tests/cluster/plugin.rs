//! `kubectl sluice`, as a person and as a script run it.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use kube::Api;
use serde_json::json;
use sluice::crd::{Pipeline, PipelineApproval, VoteDecision};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OnceCell;

use sluice_test_support::cluster::{
    CHANGE, Cluster, Namespace, OPERATOR, PATIENCE, create, eventually, pipeline, said, workspace,
    write_approval,
};

const OTHER: &str = "fedcba9876543210fedcba9876543210";

/// A Pipeline of which a change waits, and alice, who may approve it.
struct Stage {
    cluster: &'static Cluster,
    namespace: Namespace,
}

impl Stage {
    async fn new() -> Self {
        let cluster = Cluster::shared().await;
        let namespace = cluster.namespace("plugin").await;
        cluster.grant(&namespace, "alice", "sluice-approver").await;
        cluster.grant(&namespace, "bob", "sluice-editor").await;
        let stage = Self { cluster, namespace };
        stage.add("orders", "Awaiting").await;
        for user in ["alice", "bob"] {
            eventually("the binding counts", || async {
                let output = stage.run(user, &["list"]).await;
                output.status.success().then_some(()).ok_or(said(&output))
            })
            .await;
        }
        stage
    }

    async fn add(&self, name: &str, state: &str) {
        let admin = self.cluster.admin().await;
        let api: Api<Pipeline> = Api::namespaced(admin.clone(), &self.namespace);
        let object = pipeline(name, json!({"program": {"sql": ""}}));
        create(&api, object).await.expect("a Pipeline");
        self.set(name, state).await;
    }

    async fn set(&self, name: &str, state: &str) {
        let operator = self.cluster.client_for(OPERATOR).await;
        write_approval(&operator, &self.namespace, name, state).await;
    }

    async fn votes(&self) -> Vec<PipelineApproval> {
        let api: Api<PipelineApproval> =
            Api::namespaced(self.cluster.admin().await, &self.namespace);
        api.list(&Default::default())
            .await
            .expect("the votes")
            .items
    }

    /// The command, in the test's namespace and without a terminal.
    async fn command(&self, user: &str, arguments: &[&str]) -> Command {
        // As kubectl's plugin, found on the PATH.
        let plugin = plugin().await;
        let folder = plugin.parent().expect("a folder");
        let mut path = std::ffi::OsString::from(folder);
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = self.cluster.plane().kubectl(user).expect("a known user");
        command
            .env("PATH", path)
            .arg("sluice")
            .args(arguments)
            .stdin(Stdio::null());
        if !arguments.contains(&"-A") && !arguments.contains(&"-n") {
            command.args(["-n", &self.namespace]);
        }
        command
    }

    async fn run(&self, user: &str, arguments: &[&str]) -> Output {
        let mut command = self.command(user, arguments).await;
        tokio::task::spawn_blocking(move || command.output().expect("kubectl can be started"))
            .await
            .expect("no panic")
    }

    /// Runs the command and says how it ended, with everything that it said.
    async fn ends(&self, user: &str, arguments: &[&str]) -> (i32, String) {
        let output = self.run(user, arguments).await;
        (output.status.code().expect("an exit status"), said(&output))
    }
}

/// The plugin's binary, built if it isn't yet.
pub async fn plugin() -> &'static PathBuf {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    BUILT
        .get_or_init(|| async {
            let build = || {
                let output = Command::new(env!("CARGO"))
                    .args([
                        "build",
                        "--quiet",
                        // The package alone has other features of what it depends on, and all of that is compiled again.
                        "--workspace",
                        "--bin",
                        "kubectl-sluice",
                    ])
                    .args(["--message-format", "json"])
                    .current_dir(workspace())
                    .output()
                    .expect("cargo can be started");
                assert!(output.status.success(), "{}", said(&output));
                String::from_utf8_lossy(&output.stdout)
                    .lines()
                    .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
                    .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
                    .next_back()
                    .expect("an executable")
            };
            tokio::task::spawn_blocking(build).await.expect("no panic")
        })
        .await
}

#[tokio::test]
async fn list_shows_what_waits() {
    let stage = Stage::new().await;
    stage.add("settled", "Sealed").await;
    let (status, text) = stage.ends("alice", &["list"]).await;
    assert_eq!(status, 0, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["NAMESPACE", "PIPELINE", "CHANGE", "WAITING", "SUMMARY"]
    );
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[1].starts_with(&*stage.namespace), "{text}");
    assert!(lines[1].contains("orders     01234567"), "{text}");
    assert!(lines[1].ends_with("1 view added"), "{text}");

    let (_, json) = stage.ends("alice", &["list", "-o", "json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json[0]["changeId"], CHANGE);

    stage.set("orders", "Sealed").await;
    let (status, text) = stage.ends("alice", &["list"]).await;
    assert_eq!(status, 0);
    let expected = format!(
        "Nothing waits for a decision in namespace {}.\n",
        &*stage.namespace
    );
    assert_eq!(text, expected);

    // Somebody who may not look everywhere is told so.
    let (status, text) = stage.ends("alice", &["list", "-A"]).await;
    assert_eq!(status, 1);
    assert!(
        text.contains("cannot list resource \"pipelines\""),
        "{text}"
    );
}

#[tokio::test]
async fn diff_prints_the_command_that_approves() {
    let stage = Stage::new().await;
    let (status, text) = stage.ends("bob", &["diff", "orders"]).await;
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("+ view best_customers"), "{text}");
    let approve = format!(
        "kubectl sluice approve orders -n {} --change {CHANGE}",
        &*stage.namespace
    );
    assert!(text.contains(&approve), "{text}");

    stage.set("orders", "Sealed").await;
    let (status, text) = stage.ends("bob", &["diff", "orders"]).await;
    assert_eq!(status, 0, "{text}");
    assert!(
        text.contains("No change of Pipeline orders waits for a decision"),
        "{text}"
    );

    let (status, text) = stage.ends("bob", &["diff", "nothing"]).await;
    assert_eq!(status, 1);
    assert!(text.contains("there is no Pipeline \"nothing\""), "{text}");
    assert!(text.contains("kubectl sluice list -A"), "{text}");
}

#[tokio::test]
async fn a_script_has_to_name_what_it_approves() {
    let stage = Stage::new().await;
    for arguments in [
        &["approve", "orders"][..],
        &["approve", "orders", "--yes"],
        &["reject", "orders", "--reason", "no"],
    ] {
        let (status, text) = stage.ends("alice", arguments).await;
        assert_eq!(status, 2, "{text}");
        assert!(
            text.contains("the change has to be named: add --change ID"),
            "{text}"
        );
    }
    // The wrong use of a command ends like any other.
    for arguments in [
        &["approve", "orders", "--change", &CHANGE[..8]][..],
        &["reject", "orders", "--change", CHANGE],
        &["approve"],
        &["frobnicate"],
    ] {
        let (status, text) = stage.ends("alice", arguments).await;
        assert_eq!(status, 2, "{text}");
    }
    assert_eq!(stage.votes().await, []);
}

#[tokio::test]
async fn an_approval_is_stored_once_and_names_its_change() {
    let stage = Stage::new().await;
    let approve = [
        "approve",
        "orders",
        "--change",
        CHANGE,
        "--reason",
        "looked at it",
    ];
    let (status, text) = stage.ends("alice", &approve).await;
    assert_eq!(status, 0, "{text}");
    assert!(
        text.contains(&format!(
            "alice approved change {CHANGE} of Pipeline orders"
        )),
        "{text}"
    );
    let (status, text) = stage.ends("alice", &approve).await;
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("alice had already approved"), "{text}");

    let votes = stage.votes().await;
    assert_eq!(votes.len(), 1, "{votes:?}");
    assert_eq!(votes[0].spec.change_id, CHANGE);
    assert_eq!(votes[0].spec.decision, VoteDecision::Approve);
    assert_eq!(votes[0].spec.voter.as_deref(), Some("alice"));
    assert_eq!(votes[0].spec.reason.as_deref(), Some("looked at it"));
    assert_eq!(votes[0].spec.diff_digest, Some("0".repeat(64)));
    let owners = votes[0]
        .metadata
        .owner_references
        .clone()
        .unwrap_or_default();
    assert_eq!(owners[0].name, "orders");

    // A rejection of the same change is another vote.
    let reject = ["reject", "orders", "--change", CHANGE, "--reason", "no"];
    let (status, text) = stage.ends("alice", &reject).await;
    assert_eq!(status, 0, "{text}");
    assert_eq!(stage.votes().await.len(), 2);

    // Decided so already, which is fine; decided otherwise, which isn't.
    stage.set("orders", "Applied").await;
    let (status, text) = stage.ends("alice", &approve).await;
    assert_eq!(status, 0, "{text}");
    let (status, text) = stage.ends("alice", &reject).await;
    assert_eq!(status, 1, "{text}");
    assert!(
        text.contains("no change of Pipeline \"orders\" waits"),
        "{text}"
    );
}

#[tokio::test]
async fn another_change_than_the_named_one_is_not_approved() {
    let stage = Stage::new().await;
    let (status, text) = stage
        .ends("alice", &["approve", "orders", "--change", OTHER])
        .await;
    assert_eq!(status, 1, "{text}");
    assert!(text.contains(&format!("named:   {OTHER}")), "{text}");
    assert!(text.contains(&format!("waiting: {CHANGE}")), "{text}");
    assert_eq!(stage.votes().await, []);
}

#[tokio::test]
async fn who_may_not_approve_is_told_what_to_do() {
    let stage = Stage::new().await;
    let approve = ["approve", "orders", "--change", CHANGE];
    let (status, text) = stage.ends("bob", &approve).await;
    assert_eq!(status, 1, "{text}");
    assert!(
        text.contains("\"bob\" cannot create resource \"pipelineapprovals\""),
        "{text}"
    );
    // Given the right, he can.
    stage
        .cluster
        .grant(&stage.namespace, "bob", "cluster-admin")
        .await;
    eventually("bob may approve", || async {
        let (status, text) = stage.ends("bob", &approve).await;
        (status == 0).then_some(()).ok_or(text)
    })
    .await;
}

#[tokio::test]
async fn waiting_ends_with_the_change() {
    let stage = Stage::new().await;
    for (name, then, status, sentence) in [
        ("applied", "Applied", 0, "is applied"),
        ("failed", "ApplyFailed", 1, "applying it failed"),
        ("rejected", "Rejected", 1, "is rejected"),
    ] {
        stage.add(name, "Awaiting").await;
        let arguments = [
            "approve",
            name,
            "--change",
            CHANGE,
            "--wait",
            "--timeout",
            "5m",
        ];
        let mut command = stage.command("alice", &arguments).await;
        let waiting = tokio::task::spawn_blocking(move || command.output().expect("kubectl"));
        // Once its vote is there, the operator would go on.
        eventually("the vote is there", || async {
            let votes = stage.votes().await;
            votes
                .iter()
                .any(|vote| vote.spec.pipeline_ref.name == name)
                .then_some(())
                .ok_or(votes)
        })
        .await;
        stage.set(name, "Applying").await;
        stage.set(name, then).await;
        let output = waiting.await.expect("no panic");
        let text = said(&output);
        assert_eq!(output.status.code(), Some(status), "{text}");
        assert!(text.contains(sentence), "{text}");
    }
    let arguments = [
        "approve",
        "orders",
        "--change",
        CHANGE,
        "--wait",
        "--timeout",
        "1s",
    ];
    let (status, text) = stage.ends("alice", &arguments).await;
    assert_eq!(status, 1, "{text}");
    assert!(
        text.contains("was not applied within 1 s; the approval stands"),
        "{text}"
    );
}

/// util-linux's `script` makes a terminal; where it is missing there is none to try this on.
#[tokio::test]
async fn on_a_terminal_a_person_is_shown_the_diff_and_asked() {
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("left out: there is no `script` on this machine");
        return;
    }
    let stage = Stage::new().await;
    let plugin = plugin().await.display().to_string();
    let kubeconfig = stage
        .cluster
        .plane()
        .kubeconfig_path_for("alice")
        .expect("alice");
    for (answer, arguments, votes) in [
        ("n\n", "approve orders", 0),
        ("\n", "reject orders --reason no", 0),
        ("y\n", "approve orders", 1),
    ] {
        let line = format!("'{plugin}' {arguments} -n {}", &*stage.namespace);
        let mut command = tokio::process::Command::new("script");
        command
            .kill_on_drop(true)
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env("KUBECONFIG", &kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let run = async {
            let mut child = command.spawn().expect("script can be started");
            let mut stdin = child.stdin.take().expect("a pipe");
            let mut stdout = child.stdout.take().expect("a pipe");
            let mut text = vec![];
            let mut answered = false;
            let mut byte = [0];
            // Answered once it is asked: the terminal shows what is typed, whatever it cuts in two.
            while stdout.read(&mut byte).await.expect("what it says") > 0 {
                text.push(byte[0]);
                if !answered && text.ends_with(b"[y/N]") {
                    let answer = stdin.write_all(answer.as_bytes()).await;
                    answer.expect("an answer");
                    answered = true;
                }
            }
            // Closed only at the end: for `script` that would be the end of the terminal.
            drop(stdin);
            let status = child.wait().await.expect("an end");
            (status, String::from_utf8_lossy(&text).into_owned())
        };
        let ended = tokio::time::timeout(PATIENCE, run).await;
        let (status, text) = ended.expect("it asks, takes the answer and ends");
        assert!(text.contains("+ view best_customers"), "{text}");
        assert!(
            text.contains(&format!("change {CHANGE} of Pipeline orders? [y/N]")),
            "{text}"
        );
        assert_eq!(status.success(), votes > 0, "{text}");
        assert_eq!(stage.votes().await.len(), votes, "{text}");
    }
}
