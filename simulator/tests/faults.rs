//! Every fault, by flag and at run time, as a client sees it over HTTP.

mod common;

use std::time::{Duration, Instant};

use common::Running;
use serde_json::{Value, json};

const OLD: &str =
    "CREATE TABLE t (id INT) WITH ('materialized' = 'true'); CREATE VIEW v AS SELECT id FROM t;";

const QUICK: &[&str] = &[
    "--poll-interval=20ms",
    "--compile-time=0",
    "--provision-time=0",
    "--bootstrap-time=0",
    "--stop-time=0",
    "--restart-time=0",
];

/// The stand-in with a fault that is switched on by flag, or at run time.
fn with_fault(arguments: &[&str], fault: &str, by_flag: bool) -> Running {
    let flag = format!("--fault={fault}");
    let arguments = [QUICK, arguments].concat();
    if by_flag {
        return Running::start(&[arguments.as_slice(), &[&flag]].concat());
    }
    let sim = Running::start(&arguments);
    switch_on(&sim, fault);
    sim
}

fn switch_on(sim: &Running, fault: &str) {
    let (name, value) = fault.split_once('=').unwrap();
    let (status, body) = sim.call("POST /sim/faults", &json!({name: value}).to_string());
    assert_eq!(status, 200, "{body}");
}

fn create(sim: &Running, name: &str) {
    let body = json!({"name": name, "program_code": OLD}).to_string();
    let (status, body) = sim.call("POST /v0/pipelines", &body);
    assert_eq!(status, 201, "{body}");
}

fn post(sim: &Running, rest: &str) {
    let (status, body) = sim.call(&format!("POST /v0/pipelines/p{rest}"), "");
    assert!((200..300).contains(&status), "{rest}: {status} {body}");
}

fn status(sim: &Running) -> Value {
    sim.json("GET /v0/pipelines/p?selector=status")
}

/// Creates a pipeline that waits at the gate.
fn at_the_gate(sim: &Running) {
    create(sim, "p");
    post(sim, "/start");
    sim.until("p", "deployment_status", "Running");
    post(sim, "/checkpoint");
    common::eventually("a checkpoint", || {
        (sim.json("GET /v0/pipelines/p/checkpoints") != json!([])).then_some(())
    });
    post(sim, "/stop?force=true");
    sim.until("p", "deployment_status", "Stopped");
    let patch = json!({"program_code": OLD.replace("SELECT id", "SELECT id + 1")});
    assert_eq!(sim.call("PATCH /v0/pipelines/p", &patch.to_string()).0, 200);
    post(sim, "/start");
    sim.until("p", "deployment_status", "AwaitingApproval");
}

/// In both ways in which it can be switched on.
fn both(test: impl Fn(bool)) {
    test(true);
    test(false);
}

#[test]
fn latency_makes_answers_late() {
    both(|by_flag| {
        let sim = with_fault(&[], "latency=150ms@/config", by_flag);
        let begin = Instant::now();
        assert_eq!(sim.call("GET /v0/config", "").0, 200);
        assert!(begin.elapsed() >= Duration::from_millis(150));
    });
}

#[test]
fn an_error_is_in_the_engines_form_and_nothing_is_done() {
    both(|by_flag| {
        let sim = with_fault(&[], "error=502:1@/pipelines", by_flag);
        let body = json!({"name": "p", "program_code": OLD}).to_string();
        let (status, answer) = sim.call("POST /v0/pipelines", &body);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(
            (status, &answer["error_code"]),
            (502, &json!("SimulatedFault"))
        );
        assert_eq!(sim.json("GET /v0/pipelines"), json!([]));
    });
}

#[test]
fn a_call_that_hangs_isnt_carried_out_and_one_that_hangs_after_is() {
    both(|by_flag| {
        let short = Duration::from_millis(500);
        let body = json!({"name": "p", "program_code": OLD}).to_string();
        for (fault, done) in [("hang=1@/pipelines", 404), ("hang-after=1@/pipelines", 200)] {
            let sim = with_fault(&[], fault, by_flag);
            assert_eq!(sim.try_call("POST /v0/pipelines", None, &body, short), None);
            // By another path, which isn't hit.
            common::eventually(fault, || {
                let (status, _) = sim.call("GET /v0/pipelines/p", "");
                (status == done).then_some(())
            });
        }
    });
}

#[test]
fn nonsense_is_good_json_that_means_nothing_and_nothing_is_done() {
    both(|by_flag| {
        let sim = with_fault(&[], "nonsense=1@/pipelines", by_flag);
        let body = json!({"name": "p", "program_code": OLD}).to_string();
        let (status, answer) = sim.call("POST /v0/pipelines", &body);
        assert_eq!(status, 200);
        assert!(
            serde_json::from_str::<Value>(&answer)
                .unwrap()
                .get("name")
                .is_none()
        );
        assert_eq!(sim.json("GET /v0/pipelines"), json!([]));
    });
}

#[test]
fn a_forgotten_approval_is_asked_for_again() {
    both(|by_flag| {
        let sim = with_fault(&[], "approve-forgotten=1", by_flag);
        at_the_gate(&sim);
        let before = status(&sim)["deployment_id"].clone();
        post(&sim, "/approve");
        common::eventually("the process is another one", || {
            let counters = sim.json("GET /sim/pipelines/p/counters");
            (counters["process_starts"] == 3).then_some(())
        });
        let again = sim.until("p", "deployment_status", "AwaitingApproval");
        assert_eq!(again["deployment_id"], before);
        assert_eq!(sim.json("GET /sim/bootstraps"), json!([]));
        post(&sim, "/approve");
        sim.until("p", "deployment_status", "Running");
    });
}

#[test]
fn a_lie_changes_a_field_of_so_many_answers_and_nothing_else() {
    both(|by_flag| {
        let sim = with_fault(&[], "lie=deployment_status=Running:3", by_flag);
        create(&sim, "p"); // This answer has the field, too.
        let one = status(&sim);
        assert_eq!(one["deployment_status"], "Running");
        assert_eq!(one["deployment_resources_status"], "Stopped");
        let list = sim.json("GET /v0/pipelines?selector=status");
        assert_eq!(list[0]["deployment_status"], "Running");
        assert_eq!(
            status(&sim)["deployment_status"],
            "Stopped",
            "the truth again"
        );
    });
    let sim = with_fault(&[], "lie=version=null@/p", true);
    create(&sim, "p");
    for _ in 0..3 {
        assert_eq!(
            status(&sim)["version"],
            Value::Null,
            "without a number: for ever"
        );
    }
    let list = sim.json("GET /v0/pipelines");
    assert_eq!(list[0]["version"], 1, "another path");
}

#[test]
fn a_stale_answer_is_the_one_of_the_first_call() {
    both(|by_flag| {
        let sim = with_fault(&[], "stale=2@/p", by_flag);
        create(&sim, "p");
        let first = status(&sim);
        let tags = json!({"tags": ["new"]}).to_string();
        assert_eq!(sim.call("PATCH /v0/pipelines/p", &tags).0, 200);
        assert_eq!(
            sim.json("GET /v0/pipelines/p")["tags"],
            json!(["new"]),
            "another query was never answered before"
        );
        for _ in 0..2 {
            assert_eq!(status(&sim), first);
        }
        assert_eq!(status(&sim)["tags"], json!(["new"]));
    });
}

#[test]
fn a_restart_forgets_what_the_last_polls_told() {
    both(|by_flag| {
        // Long enough that the test's calls lie between two polls.
        let arguments = ["--poll-interval=2s", "--initialize-time=0"];
        let arguments: Vec<&str> = QUICK[1..].iter().chain(&arguments).copied().collect();
        let fault = "restart=1:1@/p";
        let flag = format!("--fault={fault}");
        let sim = if by_flag {
            // It counts calls of this path, so the first is the one below.
            Running::start(&[arguments.as_slice(), &[flag.as_str()]].concat())
        } else {
            let sim = Running::start(&arguments);
            switch_on(&sim, fault);
            sim
        };
        create(&sim, "p");
        post(&sim, "/start");
        // Through the list: its path isn't hit.
        let listed = || sim.json("GET /v0/pipelines?selector=status")[0].clone();
        common::eventually("Running", || {
            (listed()["deployment_status"] == "Running").then_some(())
        });
        let running = listed();
        let asked = std::time::Instant::now();
        let forgotten = status(&sim);
        assert_eq!(forgotten["deployment_status"], "Initializing");
        assert_eq!(forgotten["deployment_id"], running["deployment_id"]);
        assert_eq!(
            forgotten["deployment_resources_status"], "Provisioned",
            "what the manager did itself isn't forgotten"
        );
        // Until the next poll, which may have come by now.
        let still = listed()["deployment_status"].clone();
        assert!(
            still == "Initializing" || asked.elapsed() > Duration::from_secs(2),
            "{still}"
        );
        // The process is as it was, whatever the manager believes.
        assert_eq!(sim.call("GET /v0/pipelines/p/stats", "").0, 200);
        let again = sim.until("p", "deployment_status", "Running");
        assert_eq!(again["deployment_id"], running["deployment_id"]);
    });
}

#[test]
fn an_approved_change_seems_to_wait_again_after_a_restart() {
    let arguments: Vec<&str> = QUICK[1..].to_vec();
    let sim = Running::start(&[arguments.as_slice(), &["--poll-interval=2s"]].concat());
    at_the_gate(&sim);
    let waiting = status(&sim);
    post(&sim, "/approve");
    sim.until("p", "deployment_status", "Running");
    switch_on(&sim, "restart=1:8");
    let forgotten = status(&sim);
    assert_eq!(forgotten["deployment_id"], waiting["deployment_id"]);
    assert_ne!(forgotten["deployment_status"], "Running");
    sim.until("p", "deployment_status", "Running");
    let bootstraps = sim.json("GET /sim/bootstraps");
    assert_eq!(
        bootstraps.as_array().map(Vec::len),
        Some(1),
        "{bootstraps:#}"
    );
}
