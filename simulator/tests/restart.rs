//! A manager that restarts and has forgotten its last polls, with a clock of the test's own.

use std::time::Duration;

use feldera_sim::manager::edit::{Patch, PostPut};
use feldera_sim::manager::{Manager, Settings};
use feldera_sim::process::status::{BootstrapConfig, Desired, Policy};
use jiff::Timestamp;
use serde_json::Value;

const OLD: &str =
    "CREATE TABLE t (id INT) WITH ('materialized' = 'true'); CREATE VIEW v AS SELECT id FROM t;";

struct Lab {
    manager: Manager,
    now: Timestamp,
}

impl Lab {
    fn get(&mut self) -> Value {
        let text = self.manager.with("p", self.now, |p, _| Ok(p.status()));
        serde_json::from_str(&text.unwrap()).unwrap()
    }

    fn status(&mut self) -> String {
        self.get()["deployment_status"].as_str().unwrap().to_owned()
    }

    fn until(&mut self, field: &str, value: &str) {
        for _ in 0..100_000 {
            if self.get()[field] == value {
                return;
            }
            self.now += Duration::from_millis(1);
        }
        panic!("not {field} = {value}: {:#}", self.get());
    }

    fn start(&mut self) {
        let config = BootstrapConfig {
            bootstrap_policy: Some(Policy::AwaitApproval),
            ..BootstrapConfig::default()
        };
        self.manager
            .with("p", self.now, |p, c| {
                p.start(c, Desired::Running, config, true)
            })
            .unwrap();
    }

    /// A pipeline that was approved, with the manager knowing that it runs.
    fn approved() -> Self {
        let mut lab = Self {
            manager: Manager::open(Settings::default(), None).unwrap(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
        };
        let body = serde_json::json!({"name": "p", "program_code": OLD});
        let body: PostPut = serde_json::from_value(body).unwrap();
        lab.manager.create(body, lab.now).unwrap();
        lab.until("program_status", "Success");
        lab.start();
        lab.until("deployment_status", "Running");
        // With a checkpoint.
        lab.manager
            .with("p", lab.now, |p, c| p.stop(c, false))
            .unwrap();
        lab.until("deployment_status", "Stopped");
        let patch = Patch {
            program_code: Some(OLD.replace("SELECT id", "SELECT id + 1")),
            ..Patch::default()
        };
        lab.manager.patch("p", patch, false, lab.now).unwrap();
        lab.until("program_status", "Success");
        lab.start();
        lab.until("deployment_status", "AwaitingApproval");
        lab.manager
            .with("p", lab.now, |p, c| {
                p.interact(c, |process, world, now| {
                    process.approve(world, false, false, false, now)
                })
            })
            .unwrap();
        lab.until("deployment_status", "Running");
        lab
    }
}

#[test]
fn it_shows_again_what_waited_with_its_diff_until_a_whole_interval_is_over() {
    let mut lab = Lab::approved();
    let interval = lab.manager.settings.poll;
    // Just before the next poll, which the restart puts off.
    lab.now += interval - Duration::from_millis(1);
    lab.manager.restart(1, lab.now);
    let forgotten = lab.get();
    assert_eq!(forgotten["deployment_status"], "AwaitingApproval");
    let diff = &forgotten["deployment_runtime_status_details"]["approval_diff"];
    assert_eq!(diff["program_diff"]["modified_views"][0], "v");
    lab.now += interval - Duration::from_millis(1);
    assert_eq!(lab.status(), "AwaitingApproval");
    lab.now += Duration::from_millis(1);
    assert_eq!(lab.status(), "Running");
    assert_eq!(lab.manager.bootstraps(lab.now).len(), 1);
}

#[test]
fn it_forgets_no_more_than_this_deployment_and_as_many_polls_as_asked() {
    let mut lab = Lab::approved();
    let id = lab.get()["deployment_id"].clone();
    lab.manager.restart(0, lab.now);
    assert_eq!(lab.status(), "Running");
    lab.manager.restart(100, lab.now);
    assert_eq!(lab.status(), "Initializing", "the first that was known");
    assert_eq!(lab.get()["deployment_id"], id);
    // What the manager did itself, it knows.
    lab.manager
        .with("p", lab.now, |p, c| p.stop(c, true))
        .unwrap();
    lab.until("deployment_status", "Stopped");
    lab.manager.restart(100, lab.now);
    assert_eq!(lab.status(), "Stopped");
}
