//! The stand-in as a program: state that survives `kill -9`, the log of calls, hanging calls.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{Running, eventually};
use serde_json::{Value, json};

const OLD: &str = "CREATE TABLE t (id INT) WITH ('materialized' = 'true'); CREATE VIEW v WITH ('connectors' = '[{\"name\": \"sink\", \"transport\": {\"name\": \"null_output\"}}]') AS SELECT id FROM t;";

const QUICK: &[&str] = &[
    "--poll-interval=20ms",
    "--compile-time=20ms",
    "--provision-time=20ms",
    "--stop-time=10ms",
    "--bootstrap-time=20ms",
    "--restart-time=20ms",
];

fn start(arguments: &[&str]) -> Running {
    let name = |argument: &str| argument.split('=').next().map(str::to_owned);
    // A flag given twice is an error: the test's own counts.
    let quick = QUICK
        .iter()
        .filter(|quick| arguments.iter().all(|own| name(own) != name(quick)));
    let all: Vec<&str> = quick.chain(arguments).copied().collect();
    Running::start(&all)
}

fn create(sim: &Running, name: &str, program: &str) {
    let body = json!({"name": name, "program_code": program}).to_string();
    let (status, body) = sim.call("POST /v0/pipelines", &body);
    assert_eq!(status, 201, "{body}");
    sim.until(name, "program_status", "Success");
}

fn accepted(sim: &Running, line: &str) {
    let (status, body) = sim.call(line, "");
    assert!((200..300).contains(&status), "{line}: {status} {body}");
}

fn calls(path: &Path) -> Vec<Value> {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn state_survives_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let state = format!("--state-dir={}", directory.path().display());
    let sim = start(&[&state]);
    create(&sim, "p", OLD);
    accepted(&sim, "POST /v0/pipelines/p/start");
    sim.until("p", "deployment_status", "Running");
    let body = json!({"table": "t", "rows": 7}).to_string();
    assert_eq!(sim.call("POST /sim/pipelines/p/ingress", &body).0, 204);
    accepted(&sim, "POST /v0/pipelines/p/checkpoint");
    eventually("a checkpoint", || {
        (sim.json("GET /v0/pipelines/p/checkpoints") != json!([])).then_some(())
    });
    let before = sim.json("GET /sim/pipelines/p/counters");
    let id = sim.json("GET /v0/pipelines/p?selector=status")["deployment_id"].clone();
    sim.kill();

    // The pipeline ran on while there was no manager.
    let sim = start(&[&state]);
    let get = sim.until("p", "deployment_status", "Running");
    assert_eq!(get["deployment_id"], id);
    assert_eq!(sim.json("GET /sim/pipelines/p/counters"), before);
    accepted(&sim, "POST /v0/pipelines/p/stop?force=true");
    sim.until("p", "deployment_status", "Stopped");
    let patch = json!({"program_code": OLD.replace("SELECT id", "SELECT id + 1")}).to_string();
    assert_eq!(sim.call("PATCH /v0/pipelines/p", &patch).0, 200);
    // Killed while it compiles: it goes on.
    sim.kill();
    let sim = start(&[&state]);
    accepted(&sim, "POST /v0/pipelines/p/start");
    let waiting = sim.until("p", "deployment_status", "AwaitingApproval");
    sim.kill();
    let sim = start(&[&state]);
    let again = sim.until("p", "deployment_status", "AwaitingApproval");
    for field in [
        "deployment_id",
        "deployment_runtime_status_details",
        "version",
    ] {
        assert_eq!(again[field], waiting[field], "{field}");
    }
    accepted(&sim, "POST /v0/pipelines/p/approve");
    sim.kill();
    let sim = start(&[&state]);
    sim.until("p", "deployment_status", "Running");
    let bootstraps = sim.json("GET /sim/bootstraps");
    assert_eq!(bootstraps.as_array().unwrap().len(), 1, "{bootstraps:#}");
    let counters = sim.json("GET /sim/pipelines/p/counters");
    assert_eq!(
        (&counters["sinks"], &counters["tables"]),
        (&json!({"v.sink": 14}), &json!({"t": 7}))
    );
    // Deleted is deleted.
    create(&sim, "q", OLD);
    accepted(&sim, "DELETE /v0/pipelines/q");
    sim.kill();
    let sim = start(&[&state]);
    let names = sim.json("GET /v0/pipelines?selector=status");
    assert_eq!(names.as_array().unwrap().len(), 1);
}

#[test]
fn a_process_killed_by_a_test_comes_back_with_the_same_deployment() {
    // Longer than the manager's next poll takes to come.
    let sim = start(&["--restart-time=200ms"]);
    create(&sim, "p", OLD);
    accepted(&sim, "POST /v0/pipelines/p/start");
    let id = sim.until("p", "deployment_status", "Running")["deployment_id"].clone();
    accepted(&sim, "POST /sim/pipelines/p/kill");
    // In its log, for it may be over before anybody asks.
    eventually("it was unavailable", || {
        let (_, log) = sim.call("GET /v0/pipelines/p/logs", "");
        log.contains("Runtime transition: -> Unavailable")
            .then_some(())
    });
    assert_eq!(
        sim.until("p", "deployment_status", "Running")["deployment_id"],
        id
    );
    assert_eq!(
        sim.json("GET /sim/pipelines/p/counters")["process_starts"],
        2
    );
    let (status, _) = sim.call("POST /sim/pipelines/nosuch/kill", "");
    assert_eq!(status, 404);
}

#[test]
fn every_call_is_logged_once_and_before_its_answer() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("calls.jsonl");
    let flag = format!("--call-log={}", log.display());
    let sim = start(&[&flag, "--api-key=a-secret-key"]);
    let patience = Duration::from_secs(20);
    let body = json!({"name": "p", "program_code": OLD}).to_string();
    for (line, key, body, status) in [
        (
            "POST /v0/pipelines",
            Some("a-secret-key"),
            body.as_str(),
            201,
        ),
        (
            "GET /v0/pipelines/p?selector=status",
            Some("a-secret-key"),
            "",
            200,
        ),
        ("GET /v0/pipelines/p", Some("wrong-secret"), "", 401),
        ("GET /v0/pipelines/p", None, "", 401),
        ("GET /v0/pipelines/q", Some("a-secret-key"), "", 404),
        ("POST /v0/pipelines", Some("a-secret-key"), "no json", 400),
    ] {
        let number = calls_or_none(&log);
        let answer = sim.try_call(line, key, body, patience).unwrap();
        assert_eq!(answer.0, status, "{line}: {}", answer.1);
        let calls = calls(&log);
        assert_eq!(
            calls.len(),
            number + 1,
            "one line, there when the answer is"
        );
        let call = calls.last().unwrap();
        let (method, path) = line.split_once(' ').unwrap();
        let (path, query) = path
            .split_once('?')
            .map_or((path, None), |(p, q)| (p, Some(q)));
        assert_eq!(
            (
                &call["method"],
                &call["path"],
                &call["query"],
                &call["status"]
            ),
            (&json!(method), &json!(path), &json!(query), &json!(status))
        );
        let expected = serde_json::from_str(body).unwrap_or_else(|_| match body {
            "" => Value::Null,
            text => json!(text),
        });
        assert_eq!(call["body"], expected);
        let time = call["time"].as_str().unwrap();
        assert!(
            time.parse::<jiff::Timestamp>().is_ok() && time.len() == 27,
            "{time}"
        );
    }
    assert_eq!(sim.call("GET /sim/healthz", "").0, 200);
    assert_eq!(calls_or_none(&log), 6, "control isn't logged");
    assert!(!fs::read_to_string(&log).unwrap().contains("secret"));
}

fn calls_or_none(path: &Path) -> usize {
    if path.exists() { calls(path).len() } else { 0 }
}

#[test]
fn a_hanging_call_isnt_answered_and_the_others_are() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("calls.jsonl");
    let flag = format!("--call-log={}", log.display());
    let sim = start(&[&flag, "--fault=hang=1"]);
    let short = Duration::from_millis(200);
    assert_eq!(sim.try_call("GET /v0/config", None, "", short), None);
    let first = eventually("it is logged", || {
        log.exists().then(|| calls(&log).first().cloned())?
    });
    assert_eq!(first["status"], Value::Null);
    assert_eq!(sim.call("GET /v0/config", "").0, 200);
    // Carried out, but never answered.
    create(&sim, "p", OLD);
    let fault = json!({"hang-after": "1@/start"}).to_string();
    assert_eq!(sim.call("POST /sim/faults", &fault).0, 200);
    assert_eq!(
        sim.try_call("POST /v0/pipelines/p/start", None, "", short),
        None
    );
    sim.until("p", "deployment_status", "Running");
}

#[test]
fn bad_arguments_are_explained() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let file = file.display().to_string();
    let below = format!("{file}/x");
    for (arguments, code, expected) in [
        (
            ["--poll-interval", "fast"],
            2,
            "isn't a duration, such as 50ms",
        ),
        (["--fault", "slow=1"], 2, "there is no fault 'slow'"),
        (["--edition", "free"], 2, "open-source"),
        (["--state-dir", &file], 1, "--state-dir"),
        (["--call-log", &below], 1, "--call-log"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_feldera-sim"))
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    let sim = start(&[]);
    let address = sim.url.strip_prefix("http://").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_feldera-sim"))
        .args(["--listen", address])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("port 0 for any free one"), "{error}");
}
