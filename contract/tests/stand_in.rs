//! The suite as a program, against the stand-in: it holds there in both editions, and a wrong answer
//! is reported.

use std::collections::BTreeSet;
use std::process::{Output, Stdio};
use std::time::Duration;

use feldera_sim::config::Config;
use feldera_sim::server;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket};
use tokio::process::{Child, Command};

const QUICK: &[&str] = &[
    "feldera-sim",
    "--poll-interval=20ms",
    "--compile-time=20ms",
    "--provision-time=20ms",
    "--initialize-time=5ms",
    "--bootstrap-time=20ms",
    "--checkpoint-time=5ms",
    "--stop-time=10ms",
    "--restart-time=20ms",
];

/// How long a condition may take here. That an engine on a busy machine is slow is no difference.
const PATIENCE: &str = "30s";

/// A stand-in in this process. Gives its address.
async fn stand_in(arguments: &[&str]) -> String {
    let name = |argument: &str| argument.split('=').next().map(str::to_owned);
    // A flag given twice is an error: the test's own counts.
    let quick = QUICK
        .iter()
        .filter(|quick| arguments.iter().all(|own| name(own) != name(quick)));
    let config = <Config as clap::Parser>::parse_from(quick.chain(arguments));
    let app = server::app(&config).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, server::router(app)).await });
    format!("http://{address}")
}

fn suite(url: &str, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine-contract"));
    // Nothing of the caller's own settings shall count.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ENGINE_CONTRACT_") {
            command.env_remove(name);
        }
    }
    command
        .args(["--url", url, "--format", "json"])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn run(url: &str, arguments: &[&str]) -> Output {
    suite(url, arguments).wait_with_output().await.unwrap()
}

/// The exit status and the document of a run.
async fn report(url: &str, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = run(url, arguments).await;
    let document = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
    (output.status.code(), document)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The names of cases with a verdict.
fn with(report: &Value, verdict: &str) -> BTreeSet<String> {
    let cases = report["cases"].as_array().unwrap();
    cases
        .iter()
        .filter(|case| case["verdict"] == verdict)
        .map(|case| case["case"].as_str().unwrap().to_owned())
        .collect()
}

async fn get(url: &str, path: &str) -> Value {
    let answer = reqwest::get(format!("{url}{path}")).await.unwrap();
    answer.json().await.unwrap()
}

async fn post(url: &str, path: &str, body: &Value) {
    let client = reqwest::Client::new();
    let answer = client.post(format!("{url}{path}")).json(body).send().await;
    let answer = answer.unwrap();
    assert!(answer.status().is_success(), "{path}: {answer:?}");
}

/// reqwest wants one for the whole process, also where there is no TLS.
fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[tokio::test]
async fn every_case_holds_on_the_stand_in_with_a_gate() {
    install_tls();
    let url = stand_in(&["--edition=enterprise", "--api-key=a-key"]).await;
    let (code, report) = report(&url, &["--api-key=a-key", "--patience", PATIENCE]).await;
    assert_eq!(
        (code, &report["holds"]),
        (Some(0), &json!(true)),
        "{report:#}"
    );
    let skipped = [
        "life/no-checkpoint",
        "life/no-gate",
        "life/no-graceful-stop",
    ];
    assert_eq!(with(&report, "skipped"), skipped.map(str::to_owned).into());
    assert!(with(&report, "holds").len() > 70, "{report:#}");
}

#[tokio::test]
async fn every_case_holds_on_the_stand_in_without_a_gate_and_others_pipelines_are_left_alone() {
    install_tls();
    let url = stand_in(&["--edition=open-source"]).await;
    let theirs = json!({"name": "theirs", "program_code": ""});
    post(&url, "/v0/pipelines", &theirs).await;
    let before = get(&url, "/v0/pipelines/theirs?selector=all").await;
    let (code, report) = report(&url, &["--patience", PATIENCE]).await;
    assert_eq!(
        (code, &report["holds"]),
        (Some(0), &json!(true)),
        "{report:#}"
    );
    for case in with(&report, "skipped") {
        assert!(
            case.starts_with("gate/") || case == "platform/wrong-key",
            "{case}"
        );
    }
    assert!(
        with(&report, "holds").contains("life/no-gate"),
        "{report:#}"
    );
    let left = get(&url, "/v0/pipelines?selector=status").await;
    assert_eq!(left.as_array().map(Vec::len), Some(1), "{left:#}");
    let after = get(&url, "/v0/pipelines/theirs?selector=all").await;
    for field in ["id", "version", "program_code", "tags", "storage_status"] {
        assert_eq!(after[field], before[field], "{field}");
    }
}

#[tokio::test]
async fn an_older_engine_isnt_asked_for_what_it_hasnt() {
    install_tls();
    let url = stand_in(&["--version-reported=0.305.0", "--edition=open-source"]).await;
    let (code, report) = report(&url, &["--patience", PATIENCE]).await;
    assert_eq!(code, Some(0), "{report:#}");
    let skipped = with(&report, "skipped");
    for case in ["program/diff", "program/patch-tags", "life/both-options"] {
        assert!(skipped.contains(case), "{case}");
    }
    let why = report["cases"].as_array().unwrap().iter();
    let why = why
        .clone()
        .find(|case| case["case"] == "program/diff")
        .unwrap();
    assert_eq!(why["seen"], "since 0.324; this one is 0.305.0");
}

#[tokio::test]
async fn every_wrong_answer_is_a_difference_and_what_needs_it_isnt_tried() {
    install_tls();
    // Each is for one case: an error, a lie, silence, and nonsense.
    let faults = [
        "--fault=lie=program_status=Success@-broken",
        "--fault=lie=tags=null@-program",
        "--fault=error=500:1@-life/pause",
        "--fault=hang=1@-life/dismiss_error",
        "--fault=nonsense=1@-gate/checkpoint",
    ];
    let url = stand_in(&faults).await;
    // What is never answered is waited for as long as this.
    let (code, report) = report(&url, &["--patience", PATIENCE]).await;
    assert_eq!(
        (code, &report["holds"]),
        (Some(1), &json!(false)),
        "{report:#}"
    );
    let differs = [
        "broken/sql-error",
        "program/patch-tags",
        "life/pause",
        "life/dismiss-error",
        "gate/checkpoint",
    ];
    assert_eq!(with(&report, "differs"), differs.map(str::to_owned).into());
    let not_tried = with(&report, "not-tried");
    for case in ["broken/line-and-column", "gate/waits", "gate/allowed"] {
        assert!(not_tried.contains(case), "{case}: {not_tried:?}");
    }
    assert!(with(&report, "holds").contains("life/delete"), "{report:#}");
    let left = get(&url, "/v0/pipelines").await;
    assert_eq!(left, json!([]), "it cleans up all the same");
}

#[tokio::test]
async fn an_approval_that_is_forgotten_is_a_difference() {
    install_tls();
    // The first approval is the one with both options, which is refused.
    let url = stand_in(&["--fault=approve-forgotten=2@-gate/approve"]).await;
    let (code, report) = report(&url, &["--patience", PATIENCE]).await;
    assert_eq!(code, Some(1), "{report:#}");
    assert_eq!(with(&report, "differs"), ["gate/applied".to_owned()].into());
}

#[tokio::test]
async fn without_an_engine_or_with_wrong_use_nothing_is_run() {
    install_tls();
    let url = stand_in(&["--api-key=a-key"]).await;
    let prefix = ["--api-key=a-key", "--prefix=taken"];
    let taken = json!({"name": "taken-life", "program_code": ""});
    let client = reqwest::Client::new();
    let made = client.post(format!("{url}/v0/pipelines")).json(&taken);
    let made = made.bearer_auth("a-key").send().await.unwrap();
    assert_eq!(made.status(), 201);
    // Bound, so that nobody else listens there.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let unused = format!("http://{}", nobody.local_addr().unwrap());
    for (url, arguments, expected) in [
        (unused.as_str(), &[][..], "no engine is there"),
        (&url, &[], "ENGINE_CONTRACT_API_KEY"),
        (&url, &prefix, "already has a pipeline 'taken-life'"),
        (&url, &["--patience=soon"], "isn't a duration"),
        (&url, &["--ca=/nonexistent"], "--ca /nonexistent"),
    ] {
        let output = run(url, arguments).await;
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{expected}: {said}");
        assert!(said.contains(expected), "{expected}: {said}");
        assert_eq!(text(&output.stdout), "", "{expected}");
    }
}

#[tokio::test]
async fn told_to_end_it_removes_what_it_made() {
    install_tls();
    let url = stand_in(&["--compile-time=1h"]).await;
    let child = suite(&url, &["--patience=1h"]);
    let begin = std::time::Instant::now();
    while get(&url, "/v0/pipelines").await == json!([]) {
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "no pipeline is made"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let pid = child.id().unwrap().to_string();
    let told = Command::new("kill").args(["-TERM", &pid]).status().await;
    assert!(told.unwrap().success());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert_eq!(get(&url, "/v0/pipelines").await, json!([]));
}
