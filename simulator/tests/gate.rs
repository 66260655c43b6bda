//! The gate, rule by rule, as it was seen on a real pipeline process of Feldera 0.337. Time is
//! simulated: nothing here waits.

use std::time::Duration;

use feldera_sim::error::ApiError;
use feldera_sim::manager::edit::{Patch, PostPut};
use feldera_sim::manager::pipeline::Pipeline;
use feldera_sim::manager::{Context, Manager, Settings};
use feldera_sim::process::BootstrapRecord;
use feldera_sim::process::status::{BootstrapConfig, Desired, Policy};
use jiff::Timestamp;
use serde_json::{Value, json};

const T1: &str = "CREATE TABLE t1 (id INT NOT NULL PRIMARY KEY) WITH ('connectors' = '[{\"name\": \"gen\", \"transport\": {\"name\": \"datagen\", \"config\": {\"plan\": [{\"limit\": 50}]}}}]');\n";
const T2: &str = "CREATE TABLE t2 (id INT) WITH ('materialized' = 'true');\n";
const T3: &str = "CREATE TABLE t3 (id INT);\n";
const V1: &str = "CREATE VIEW v1 WITH ('connectors' = '[{\"name\": \"sink\", \"transport\": {\"name\": \"null_output\"}}]') AS SELECT id FROM t1;\n";
const V2: &str = "CREATE VIEW v2 WITH ('connectors' = '[{\"name\": \"null\", \"transport\": {\"name\": \"null_output\"}}]') AS SELECT id FROM t2;\n";
const V3: &str = "CREATE VIEW v3 AS SELECT id FROM t3;\n";

fn base() -> String {
    [T1, T2, T3, V1, V2, V3].concat()
}

fn edited(from: &str, to: &str) -> String {
    let base = base();
    assert!(base.contains(from), "{from}");
    base.replacen(from, to, 1)
}

/// A changed `v2`.
fn changed() -> String {
    edited("SELECT id FROM t2", "SELECT id + 1 FROM t2")
}

const AWAIT: BootstrapConfig = config(Policy::AwaitApproval, false, false);

const fn config(policy: Policy, silent: bool, concurrent: bool) -> BootstrapConfig {
    BootstrapConfig {
        bootstrap_policy: Some(policy),
        silent_bootstrap: silent,
        concurrent_bootstrap: concurrent,
    }
}

/// A manager with one pipeline, `p`, and a clock.
struct Lab {
    manager: Manager,
    now: Timestamp,
}

impl Lab {
    fn with(settings: Settings, runtime_config: Value) -> Self {
        let mut lab = Self {
            manager: Manager::open(settings, None).unwrap(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
        };
        let body: PostPut = serde_json::from_value(json!({
            "name": "p", "program_code": base(), "runtime_config": runtime_config,
        }))
        .unwrap();
        lab.manager.create(body, lab.now).unwrap();
        lab.until_compiled();
        lab
    }

    fn new() -> Self {
        Self::with(settings(), json!({}))
    }

    /// Runs, with 20,000 rows in `t2` and a checkpoint.
    fn checkpointed() -> Self {
        let mut lab = Self::new();
        lab.start(AWAIT);
        lab.until("Running");
        lab.ingest("t2", 20_000).unwrap();
        lab.checkpoint();
        lab
    }

    /// As [`Self::checkpointed`], stopped, changed to `program`, and started so.
    fn restarted(program: &str, start: BootstrapConfig) -> Self {
        let mut lab = Self::checkpointed();
        lab.change(program);
        lab.start(start);
        lab
    }

    fn call<T>(
        &mut self,
        f: impl FnOnce(&mut Pipeline, &mut Context<'_>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        self.manager.with("p", self.now, f)
    }

    fn get(&mut self) -> Value {
        let text = self.call(|p, _| Ok(p.status())).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn status(&mut self) -> String {
        self.get()["deployment_status"].as_str().unwrap().to_owned()
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }

    fn until_true(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        for _ in 0..20_000 {
            if condition(self) {
                return;
            }
            self.pass(1);
        }
        panic!("after 20 s still not: {what}; {:#}", self.get());
    }

    fn until(&mut self, status: &str) {
        self.until_true(status, |lab| lab.status() == status);
    }

    fn until_compiled(&mut self) {
        self.until_true("compiled", |lab| lab.get()["program_status"] == "Success");
    }

    fn start(&mut self, config: BootstrapConfig) {
        self.start_as(Desired::Running, config);
    }

    fn start_as(&mut self, initial: Desired, config: BootstrapConfig) {
        self.call(|p, c| p.start(c, initial, config, true)).unwrap();
    }

    fn stop(&mut self) {
        self.call(|p, c| p.stop(c, true)).unwrap();
        self.until("Stopped");
    }

    fn change(&mut self, program: &str) {
        self.edit(program, None);
    }

    fn edit(&mut self, program: &str, runtime_config: Option<Value>) {
        self.stop();
        let patch = Patch {
            program_code: Some(program.to_owned()),
            runtime_config,
            ..Patch::default()
        };
        self.manager.patch("p", patch, false, self.now).unwrap();
        self.until_compiled();
    }

    fn ingest(&mut self, table: &str, rows: u64) -> Result<(), ApiError> {
        self.call(|p, c| p.interact(c, |process, world, _| process.ingest(world, table, rows)))
    }

    fn checkpoint(&mut self) {
        let before = self.checkpoints();
        self.call(|p, c| {
            p.interact(c, |process, world, now| {
                process.request_checkpoint(world, now)
            })
        })
        .unwrap();
        self.until_true("a checkpoint", |lab| lab.checkpoints() > before);
    }

    fn checkpoints(&mut self) -> u64 {
        self.call(|p, _| Ok(p.counters.checkpoints)).unwrap()
    }

    fn approve_with(&mut self, silent: bool, concurrent: bool) {
        self.call(|p, c| {
            p.interact(c, |process, world, now| {
                process.approve(world, silent, concurrent, false, now)
            })
        })
        .unwrap();
    }

    fn approve(&mut self) {
        self.approve_with(false, false);
    }

    fn kill(&mut self, program: Option<&str>) {
        self.call(|p, c| p.kill(c, program, None)).unwrap();
    }

    fn sent(&mut self, sink: &str) -> u64 {
        self.call(|p, _| Ok(p.counters.sinks.get(sink).copied().unwrap_or(0)))
            .unwrap()
    }

    fn rows(&mut self, table: &str) -> u64 {
        self.call(|p, _| Ok(p.process.as_ref().unwrap().data.rows[table]))
            .unwrap()
    }

    fn bootstraps(&mut self) -> Vec<BootstrapRecord> {
        self.manager.bootstraps(self.now).to_vec()
    }

    fn error(&mut self) -> Value {
        self.until_true("a deployment error", |lab| {
            lab.status() == "Stopped" && !lab.get()["deployment_error"].is_null()
        });
        self.get()["deployment_error"].clone()
    }
}

fn settings() -> Settings {
    // Quick polls; what depends on slow ones says so.
    Settings {
        poll: Duration::from_millis(2),
        details: Duration::from_millis(2),
        ..Settings::default()
    }
}

fn reason(error: &Value) -> &str {
    assert_eq!(error["error_code"], "InitializationError", "{error:#}");
    error["message"].as_str().unwrap()
}

#[test]
fn without_a_checkpoint_or_a_change_nothing_is_asked() {
    for policy in [Policy::AwaitApproval, Policy::Reject, Policy::Allow] {
        let mut lab = Lab::new();
        lab.start(config(policy, false, false));
        lab.until("Running");
        // Killed before any checkpoint, and changed: still none.
        lab.change(&changed());
        lab.start(config(policy, false, false));
        lab.until("Running");
        assert_eq!(lab.bootstraps().len(), 0, "{policy:?}");

        let mut lab = Lab::restarted(&base(), config(policy, false, false));
        lab.until("Running");
        assert_eq!(lab.bootstraps().len(), 0, "{policy:?}");
        assert_eq!(lab.rows("t2"), 20_000);
        assert_eq!(lab.sent("v2.null"), 20_000, "nothing is sent again");
    }
}

/// By its sources the engine opens a checkpoint only where storage is configured (`controller.rs` of Feldera's adapters at
/// 0.337).
#[test]
fn without_storage_no_checkpoint_is_read_so_nothing_is_asked_and_the_state_is_gone() {
    for storage in [json!(false), json!(null)] {
        let mut lab = Lab::checkpointed();
        lab.edit(&changed(), Some(json!({"storage": storage})));
        lab.start(AWAIT);
        lab.until("Running");
        assert_eq!(lab.bootstraps().len(), 0, "{storage}");
        assert_eq!(lab.rows("t2"), 0, "{storage}");
        // What is stored stays, and is read again once there is storage.
        lab.edit(&base(), Some(json!({})));
        lab.start(AWAIT);
        lab.until("Running");
        assert_eq!(lab.rows("t2"), 20_000, "{storage}");
    }
}

#[test]
fn a_change_waits_is_rejected_or_goes_through_by_policy() {
    let mut lab = Lab::restarted(&changed(), AWAIT);
    lab.until("AwaitingApproval");
    let details = lab.get()["deployment_runtime_status_details"].clone();
    assert_eq!(
        details["approval_diff"]["program_diff"]["modified_views"],
        json!(["v2"])
    );
    // It waits without end.
    lab.pass(3_600_000);
    assert_eq!(lab.status(), "AwaitingApproval");
    assert_eq!(lab.bootstraps().len(), 0);

    let mut lab = Lab::restarted(&changed(), config(Policy::Reject, false, false));
    let error = lab.error();
    assert_eq!(
        error,
        json!({
            "message": "Operation failed because the pipeline failed to initialize. Error details: Bootstrapping of the modified pipeline was rejected by the user..",
            "error_code": "InitializationError",
            "details": {"error": null},
        })
    );
    assert_eq!(
        lab.get()["storage_status_details"]["checkpoints"]
            .as_array()
            .unwrap()
            .len(),
        1,
        "the checkpoint is kept"
    );
    assert_eq!(lab.get()["deployment_desired_status"], "Stopped");

    let mut lab = Lab::restarted(&changed(), config(Policy::Allow, false, false));
    lab.until("Running");
    let bootstraps = lab.bootstraps();
    assert_eq!(bootstraps.len(), 1);
    assert_eq!(bootstraps[0].because, "allow");
}

#[test]
fn an_approved_change_is_bootstrapped_and_floods_its_sinks() {
    let mut lab = Lab::restarted(&changed(), AWAIT);
    lab.until("AwaitingApproval");
    assert_eq!(lab.sent("v2.null"), 20_000);
    lab.approve();
    lab.until("Bootstrapping");
    lab.until("Running");
    assert_eq!(
        lab.sent("v2.null"),
        40_000,
        "everything again, without retractions"
    );
    assert_eq!(lab.sent("v1.sink"), 50, "an unchanged view sends nothing");
    assert_eq!(lab.rows("t2"), 20_000);
    let bootstraps = lab.bootstraps();
    assert_eq!(bootstraps.len(), 1);
    assert_eq!(bootstraps[0].because, "approve");
    assert_eq!(lab.checkpoints(), 1, "a bootstrap writes no checkpoint");
}

#[test]
fn silent_counts_as_the_approval_says_and_concurrent_as_the_start_said() {
    // Silent and concurrent at start, then on approval; silent then, phase then.
    let cases = [
        ((false, false), (true, false), true, "Bootstrapping"),
        ((true, false), (false, false), false, "Bootstrapping"),
        ((true, false), (true, false), true, "Bootstrapping"),
        (
            (false, true),
            (false, false),
            false,
            "ConcurrentBootstrapping",
        ),
        (
            (false, true),
            (true, false),
            false,
            "ConcurrentBootstrapping",
        ),
        ((false, false), (false, true), false, "Bootstrapping"),
    ];
    for (start, approval, silent, phase) in cases {
        let mut lab = Lab::restarted(&changed(), config(Policy::AwaitApproval, start.0, start.1));
        lab.until("AwaitingApproval");
        lab.approve_with(approval.0, approval.1);
        lab.until(phase);
        if phase == "ConcurrentBootstrapping" {
            lab.until("Synchronizing");
        }
        lab.until("Running");
        let expected = if silent { 20_000 } else { 40_000 };
        assert_eq!(lab.sent("v2.null"), expected, "{start:?} {approval:?}");
        let get = lab.get();
        assert_eq!(
            (
                get["silent_bootstrap"].as_bool(),
                get["concurrent_bootstrap"].as_bool()
            ),
            (Some(start.0), Some(start.1)),
            "what a GET shows stays that of the start"
        );
    }
    let mut lab = Lab::restarted(&changed(), config(Policy::Allow, true, false));
    lab.until("Running");
    assert_eq!(
        lab.sent("v2.null"),
        20_000,
        "with allow, start's silent counts"
    );
}

#[test]
fn a_bootstrap_is_repeated_until_a_checkpoint() {
    let mut lab = Lab::restarted(&changed(), AWAIT);
    lab.until("AwaitingApproval");
    lab.approve();
    lab.until("Running");
    for n in 2..4 {
        lab.kill(None);
        lab.until("Bootstrapping");
        lab.until("Running");
        assert_eq!(lab.bootstraps().len(), n);
        assert_eq!(lab.bootstraps()[n - 1].because, "stored");
        assert_eq!(lab.sent("v2.null"), 20_000 * (n as u64 + 1));
    }
    // Stopped and started anew it asks again.
    lab.stop();
    lab.start(AWAIT);
    lab.until("AwaitingApproval");
    lab.approve();
    lab.until("Running");
    lab.checkpoint();
    let (bootstraps, sent) = (lab.bootstraps().len(), lab.sent("v2.null"));
    lab.kill(None);
    lab.pass(2_000);
    assert_eq!(lab.status(), "Running");
    lab.stop();
    lab.start(AWAIT);
    lab.until("Running");
    assert_eq!(
        (lab.bootstraps().len(), lab.sent("v2.null")),
        (bootstraps, sent)
    );
}

#[test]
fn the_old_program_comes_back_without_a_gate_until_a_checkpoint() {
    let mut lab = Lab::restarted(&edited("t2 (id INT)", "t2 (id BIGINT)"), AWAIT);
    lab.until("AwaitingApproval");
    lab.approve();
    lab.until("Running");
    assert_eq!(lab.rows("t2"), 0);
    lab.change(&base());
    lab.start(AWAIT);
    lab.until("Running");
    assert_eq!(lab.rows("t2"), 20_000, "its data is restored");

    let mut lab = Lab::restarted(&edited("t2 (id INT)", "t2 (id BIGINT)"), AWAIT);
    lab.until("AwaitingApproval");
    lab.approve();
    lab.until("Running");
    lab.checkpoint();
    lab.change(&base());
    lab.start(AWAIT);
    lab.until("AwaitingApproval");
    lab.approve();
    lab.until("Running");
    assert_eq!(lab.rows("t2"), 0, "after it the rows are gone");
}

#[test]
fn modified_tables_are_emptied_and_read_again_from_connectors_only() {
    let program = base().replacen("t1 (id INT", "t1 (id BIGINT", 1).replacen(
        "t2 (id INT)",
        "t2 (id BIGINT)",
        1,
    );
    let mut lab = Lab::restarted(&program, AWAIT);
    lab.until("AwaitingApproval");
    let diff =
        lab.get()["deployment_runtime_status_details"]["approval_diff"]["program_diff"].clone();
    assert_eq!(diff["modified_tables"], json!(["t1", "t2"]));
    assert_eq!(diff["modified_views"], json!(["v1", "v2"]));
    lab.approve();
    lab.until("Running");
    assert_eq!(lab.rows("t1"), 50, "read again");
    assert_eq!(lab.rows("t2"), 0, "no connector fills it");
}

#[test]
fn connectors_alone_show_no_bootstrap_and_send_nothing() {
    let sink = edited(
        "CREATE VIEW v3 AS",
        "CREATE VIEW v3 WITH ('connectors' = '[{\"name\": \"null\", \"transport\": {\"name\": \"null_output\"}}]') AS",
    );
    let source = edited(
        "t2 (id INT) WITH (",
        "t2 (id INT) WITH ('connectors' = '[{\"name\": \"extra\", \"transport\": {\"name\": \"datagen\", \"config\": {\"plan\": [{\"limit\": 7}]}}}]', ",
    );
    let removed = edited(V3, "");
    for (program, rows) in [(sink, 20_000), (source, 20_007), (removed, 20_000)] {
        let mut lab = Lab::restarted(&program, AWAIT);
        lab.until("AwaitingApproval");
        lab.approve();
        let mut seen = Vec::new();
        lab.until_true("Running", |lab| {
            let status = lab.status();
            if seen.last() != Some(&status) {
                seen.push(status.clone());
            }
            status == "Running"
        });
        assert!(!seen.contains(&"Bootstrapping".to_owned()), "{seen:?}");
        assert_eq!(lab.rows("t2"), rows);
        assert_eq!(lab.sent("v3.null"), 0);
        assert_eq!(lab.sent("v2.null"), rows, "new rows only");
        assert_eq!(
            lab.bootstraps().len(),
            1,
            "let through and counted all the same"
        );
    }
}

#[test]
fn an_approval_is_answered_in_every_phase_and_counts_when_it_can() {
    // While it initializes: the gate never shows.
    let slow = Settings {
        process: feldera_sim::process::Durations {
            initialize: Duration::from_millis(50),
            ..settings().process
        },
        ..settings()
    };
    let mut lab = Lab::with(slow, json!({}));
    lab.start(AWAIT);
    lab.until("Running");
    lab.checkpoint();
    lab.change(&changed());
    lab.start(AWAIT);
    lab.until("Initializing");
    lab.approve();
    let mut seen = Vec::new();
    lab.until_true("Running", |lab| {
        seen.push(lab.status());
        lab.status() == "Running"
    });
    assert!(!seen.contains(&"AwaitingApproval".to_owned()));
    assert_eq!(lab.bootstraps().len(), 1);

    // While it runs, and when it has failed: nothing happens, but it is taken.
    let mut lab = Lab::checkpointed();
    lab.approve();
    assert_eq!(lab.status(), "Running");
    assert_eq!(lab.call(|p, _| Ok(p.counters.approvals_taken)).unwrap(), 1);
}

#[test]
fn an_approval_sticks_to_the_deployment_and_not_to_the_change() {
    let mut lab = Lab::restarted(&changed(), AWAIT);
    lab.until("AwaitingApproval");
    lab.approve();
    lab.until("Running");
    let third = edited("SELECT id FROM t1", "SELECT id + 3 FROM t1");
    lab.kill(Some(&third));
    lab.until("Bootstrapping");
    lab.until("Running");
    let bootstraps = lab.bootstraps();
    assert_eq!(bootstraps.len(), 2);
    assert_eq!(bootstraps[1].because, "stored");
    assert_ne!(bootstraps[0].program_digest, bootstraps[1].program_digest);
    assert_eq!(bootstraps[0].deployment_id, bootstraps[1].deployment_id);
}

#[test]
fn an_approval_is_forgotten_by_a_crash_right_after_it() {
    // Within the time until it reaches the disk.
    let mut lab = Lab::restarted(&changed(), AWAIT);
    lab.until("AwaitingApproval");
    let id = lab.get()["deployment_id"].clone();
    lab.approve();
    lab.kill(None);
    lab.until("Unavailable");
    lab.until("AwaitingApproval");
    assert_eq!(
        lab.get()["deployment_id"],
        id,
        "the same deployment asks again"
    );
    assert_eq!(lab.bootstraps().len(), 0);
    // After it.
    lab.approve();
    lab.pass(2);
    lab.kill(None);
    lab.until("Bootstrapping");
    lab.until("Running");
    // By the fault switch.
    let mut lab = Lab::restarted(&changed(), AWAIT);
    lab.until("AwaitingApproval");
    let waiting = lab
        .call(|p, c| {
            p.interact(c, |process, world, now| {
                process.approve(world, false, false, true, now)
            })
        })
        .unwrap();
    assert!(waiting);
    lab.until("Unavailable");
    lab.until("AwaitingApproval");
    assert_eq!(
        lab.call(|p, _| Ok(p.counters.approvals_forgotten)).unwrap(),
        1
    );
}

#[test]
fn the_same_deployment_waits_again_whatever_policy() {
    let mut lab = Lab::restarted(&changed(), AWAIT);
    lab.until("AwaitingApproval");
    lab.kill(None);
    lab.until("Unavailable");
    lab.until("AwaitingApproval");
    // A concurrent start, approved plainly, goes on stop-the-world after a crash.
    let mut lab = Lab::restarted(&changed(), config(Policy::AwaitApproval, false, true));
    lab.until("AwaitingApproval");
    lab.approve();
    lab.until("ConcurrentBootstrapping");
    lab.kill(None);
    lab.until("Bootstrapping");
}

#[test]
fn suspending_at_the_gate_parks_the_pipeline() {
    let mut lab = Lab::restarted(&changed(), AWAIT);
    lab.until("AwaitingApproval");
    lab.call(|p, c| p.stop(c, false)).unwrap();
    lab.pass(60_000);
    assert_eq!(lab.status(), "AwaitingApproval");
    assert_eq!(lab.get()["deployment_desired_status"], "Suspended");
    for (action, target) in [("start", Desired::Running), ("pause", Desired::Paused)] {
        let error = lab
            .call(|p, c| {
                p.interact(c, |process, world, now| {
                    process.transition(world, action, target, now)
                })
            })
            .unwrap_err();
        assert_eq!(
            (error.status, error.body()),
            (
                400,
                json!({
                    "message": format!("Cannot execute {action} transition starting from Suspended"),
                    "error_code": "InvalidTransition",
                    "details": [action, "Suspended"],
                })
            )
        );
    }
    lab.approve();
    let before = lab.checkpoints();
    lab.until("Bootstrapping");
    lab.until("Stopped");
    assert_eq!(lab.get()["deployment_error"], Value::Null);
    assert_eq!(lab.checkpoints(), before + 1, "of the new program");
    lab.start(AWAIT);
    lab.until("Running");

    // Killed instead, it can't start under the same id any more.
    let mut lab = Lab::restarted(&changed(), AWAIT);
    lab.until("AwaitingApproval");
    lab.call(|p, c| p.stop(c, false)).unwrap();
    lab.pass(5);
    lab.kill(None);
    let error = lab.error();
    assert_eq!(
        reason(&error),
        "Operation failed because the pipeline failed to initialize. Error details: Invalid \
         initial status Suspended provided on command line or read from storage (only \
         coordination, running, paused, and standby are valid)."
    );
    assert_eq!(error["details"], json!({"error": "Suspended"}));
}

#[test]
fn pausing_at_the_gate_changes_only_what_comes_after() {
    let mut lab = Lab::restarted(&changed(), AWAIT);
    lab.until("AwaitingApproval");
    let text = lab
        .call(|p, c| {
            p.interact(c, |process, world, now| {
                process.transition(world, "pause", Desired::Paused, now)
            })
        })
        .unwrap();
    assert_eq!(text, "Pipeline transitioning from Running to Paused");
    lab.pass(100);
    assert_eq!(lab.status(), "AwaitingApproval");
    assert_eq!(lab.get()["deployment_desired_status"], "Paused");
    lab.approve();
    lab.until("Paused");
}

#[test]
fn some_changes_are_refused_under_every_policy() {
    let late = edited("t2 (id INT)", "t2 (id INT LATENESS 5)");
    let unmaterialized = edited("SELECT id FROM t3", "SELECT id + 1 FROM t3");
    for policy in [Policy::Allow, Policy::AwaitApproval, Policy::Reject] {
        let mut lab = Lab::restarted(&late, config(policy, false, false));
        let error = lab.error();
        assert_eq!(
            reason(&error),
            "Operation failed because the pipeline failed to initialize. Error details: The \
             pipeline has been modified since the last checkpoint; however it cannot be \
             bootstrapped due to the following reasons:\n- The new version of the program has \
             relations with lateness: t2\n."
        );
        assert_eq!(
            error["details"]["error"]["error"],
            "- The new version of the program has relations with lateness: t2\n"
        );
        let mut lab = Lab::restarted(&unmaterialized, config(policy, false, false));
        let error = lab.error();
        assert!(
            reason(&error).ends_with(
                "- The following tables are not materialized, but some of the views that depend \
                 on these tables require bootstrapping: 't3'. We recommend materializing all \
                 tables in the program to avoid such errors in the future."
            ),
            "{error:#}"
        );
        assert_eq!(lab.bootstraps().len(), 0);
    }
    // With a concurrent bootstrap that shows only after the approval.
    let mut lab = Lab::restarted(&unmaterialized, config(Policy::AwaitApproval, false, true));
    lab.until("AwaitingApproval");
    lab.approve();
    let error = lab.error();
    assert!(
        reason(&error).contains("cannot be bootstrapped concurrently"),
        "{error:#}"
    );
}

#[test]
fn both_options_and_impossible_starts_fail() {
    let mut lab = Lab::restarted(&changed(), config(Policy::AwaitApproval, true, true));
    let error = lab.error();
    assert!(reason(&error).contains("mutually exclusive"), "{error:#}");
    // A pipeline that ran can't be started as a standby.
    let storage = json!({"storage": {"backend": {"name": "file", "config": {"sync": {"bucket": "b", "provider": "x"}}}}});
    let mut lab = Lab::with(settings(), storage);
    lab.start(AWAIT);
    lab.until("Running");
    lab.stop();
    lab.start_as(Desired::Standby, AWAIT);
    let error = lab.error();
    assert_eq!(
        (reason(&error), &error["details"]),
        (
            "Operation failed because the pipeline failed to initialize. Error details: Invalid \
             pipeline startup transition from Running to Standby.",
            &json!({"error": {"from": "Running", "to": "Standby"}}),
        )
    );
}

#[test]
fn a_new_connector_that_can_not_be_opened_passes_the_gate_and_fails() {
    let program = edited(
        "CREATE VIEW v3 AS",
        "CREATE VIEW v3 WITH ('connectors' = '[{\"name\": \"bad\", \"transport\": {\"name\": \"file_output\", \"config\": {\"path\": \"/nonexistent/x\"}}, \"format\": {\"name\": \"csv\"}}]') AS",
    );
    let mut lab = Lab::restarted(&program, AWAIT);
    lab.until("AwaitingApproval");
    lab.approve();
    let error = lab.error();
    assert!(reason(&error).contains("v3.bad"), "{error:#}");
    assert_eq!(lab.bootstraps().len(), 1);
}

#[test]
fn a_checkpoint_without_description_asks_and_computes_nothing() {
    let mut lab = Lab::checkpointed();
    lab.stop();
    lab.call(|p, _| {
        for checkpoint in &mut p.storage.checkpoints {
            checkpoint.without_description = true;
        }
        Ok(())
    })
    .unwrap();
    lab.start(AWAIT);
    lab.until("AwaitingApproval");
    let diff = lab.get()["deployment_runtime_status_details"]["approval_diff"].clone();
    assert_eq!(diff["program_diff"], Value::Null);
    assert!(
        diff["program_diff_error"]
            .as_str()
            .unwrap()
            .contains("does not contain program information")
    );
    lab.approve();
    lab.until("Running");
    assert_eq!(lab.sent("v2.null"), 20_000);
}

#[test]
fn input_since_the_checkpoint_is_replayed_but_dropped_by_any_approved_change() {
    let exactly_once =
        json!({"fault_tolerance": {"model": "exactly_once", "checkpoint_interval_secs": null}});
    let lab = |program: &str| {
        let mut lab = Lab::with(settings(), exactly_once.clone());
        lab.start(AWAIT);
        lab.until("Running");
        lab.checkpoint();
        lab.ingest("t2", 10_000).unwrap();
        lab.change(program);
        lab.start(AWAIT);
        lab
    };
    let mut same = lab(&base());
    same.until("Replaying");
    same.until("Running");
    assert_eq!(same.rows("t2"), 10_000);

    let sink = edited(
        "CREATE VIEW v3 AS",
        "CREATE VIEW v3 WITH ('connectors' = '[{\"name\": \"null\", \"transport\": {\"name\": \"null_output\"}}]') AS",
    );
    // Not approving keeps it.
    let mut kept = lab(&sink);
    kept.until("AwaitingApproval");
    kept.change(&base());
    kept.start(AWAIT);
    kept.until("Running");
    assert_eq!(kept.rows("t2"), 10_000);
    // Approving even one more sink drops it.
    let mut dropped = lab(&sink);
    dropped.until("AwaitingApproval");
    dropped.approve();
    dropped.until("Running");
    assert_eq!(dropped.rows("t2"), 0);
    // For good: going back doesn't bring it back either.
    dropped.change(&base());
    dropped.start(AWAIT);
    dropped.until("Running");
    assert_eq!(dropped.rows("t2"), 0);
}

#[test]
fn checkpoints_wait_for_a_bootstrap_and_periodic_ones_are_taken() {
    let mut lab = Lab::restarted(&changed(), AWAIT);
    lab.until("AwaitingApproval");
    lab.approve();
    lab.until("Bootstrapping");
    let before = lab.checkpoints();
    lab.call(|p, c| {
        p.interact(c, |process, world, now| {
            process.request_checkpoint(world, now)
        })
    })
    .unwrap();
    lab.until_true("Running", |lab| {
        let running = lab.status() == "Running";
        assert!(
            running || lab.checkpoints() == before,
            "it completes after the bootstrap"
        );
        running
    });
    lab.until_true("the checkpoint", |lab| lab.checkpoints() > before);

    let mut lab = Lab::with(
        settings(),
        json!({"fault_tolerance": {"model": "at_least_once", "checkpoint_interval_secs": 60}}),
    );
    lab.start(AWAIT);
    lab.until("Running");
    lab.pass(61_000);
    assert_eq!(lab.checkpoints(), 1);
    lab.pass(600_000);
    assert_eq!(lab.checkpoints(), 11);
}

#[test]
fn the_managers_view_is_as_old_as_a_poll_and_details_are_older() {
    let slow = Settings {
        poll: Duration::from_millis(2500),
        details: Duration::from_millis(10_000),
        ..settings()
    };
    let mut lab = Lab::with(slow, json!({}));
    lab.start(AWAIT);
    lab.until("Running");
    lab.ingest("t2", 100).unwrap();
    let polled = lab.now;
    lab.checkpoint();
    assert_eq!(
        lab.get()["storage_status_details"]["checkpoints"],
        json!([])
    );
    lab.until_true("the checkpoint shows", |lab| {
        lab.get()["storage_status_details"]["checkpoints"] != json!([])
    });
    let waited = lab.now.duration_since(polled).as_millis();
    assert!((7_500..=10_000).contains(&waited), "{waited}");
    lab.change(&changed());
    lab.start(AWAIT);
    lab.until("AwaitingApproval");
    lab.approve();
    let approved = lab.now;
    assert_eq!(lab.status(), "AwaitingApproval", "stale");
    lab.until("Running");
    let waited = lab.now.duration_since(approved).as_millis();
    assert!((2_400..=2_500).contains(&waited), "{waited}");
    assert_eq!(lab.bootstraps().len(), 1);
}

#[test]
fn an_idle_pipeline_costs_nothing() {
    let mut lab = Lab::with(
        Settings {
            poll: Duration::from_millis(1),
            ..settings()
        },
        json!({}),
    );
    lab.start(AWAIT);
    lab.until("Running");
    let begin = std::time::Instant::now();
    lab.pass(365 * 24 * 3_600_000);
    assert_eq!(lab.status(), "Running");
    // Thirty thousand million polls are skipped, not made.
    assert!(begin.elapsed() < Duration::from_secs(60));
}
