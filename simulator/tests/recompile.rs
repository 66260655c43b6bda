//! A program that was compiled before is compiled sooner, whichever pipeline it was for.

use std::time::Duration;

use feldera_sim::manager::edit::{Patch, PostPut};
use feldera_sim::manager::{Manager, Settings};
use feldera_sim::store::Store;
use jiff::Timestamp;
use serde_json::{Value, json};

const OLD: &str = "CREATE TABLE t (id INT); CREATE VIEW v AS SELECT id FROM t;";
const NEW: &str = "CREATE TABLE t (id INT); CREATE VIEW v AS SELECT id + 1 AS id FROM t;";

struct Lab {
    manager: Manager,
    now: Timestamp,
}

impl Lab {
    fn new(store: Option<Store>) -> Self {
        let settings = Settings {
            compile: Duration::from_secs(20),
            recompile: Duration::from_secs(5),
            ..Settings::default()
        };
        Self {
            manager: Manager::open(settings, store).unwrap(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
        }
    }

    fn create(&mut self, name: &str, further: Value) {
        let mut body = json!({"name": name, "program_code": OLD});
        for (key, value) in further.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        let body: PostPut = serde_json::from_value(body).unwrap();
        self.manager.create(body, self.now).unwrap();
    }

    fn change(&mut self, name: &str, sql: &str) {
        let patch = Patch {
            program_code: Some(sql.to_owned()),
            ..Patch::default()
        };
        self.manager.patch(name, patch, false, self.now).unwrap();
    }

    /// How many seconds pass until it is compiled.
    fn seconds(&mut self, name: &str) -> u64 {
        for seconds in 0..60 {
            let compiled = self
                .manager
                .with(name, self.now, |p, _| Ok(p.is_compiled()));
            if compiled.unwrap() {
                return seconds;
            }
            self.now += Duration::from_secs(1);
        }
        panic!("it isn't compiled after a minute");
    }
}

#[test]
fn only_the_first_to_need_a_program_waits_for_all_of_its_crates() {
    let mut lab = Lab::new(None);
    lab.create("first", json!({}));
    assert_eq!(lab.seconds("first"), 20);
    lab.create("second", json!({}));
    assert_eq!(lab.seconds("second"), 5);
    // Another program, first for one pipeline, then for the other.
    lab.change("first", NEW);
    assert_eq!(lab.seconds("first"), 20);
    lab.change("second", NEW);
    assert_eq!(lab.seconds("second"), 5);
    // And back.
    lab.change("second", OLD);
    assert_eq!(lab.seconds("second"), 5);
}

#[test]
fn what_is_part_of_the_program_is_part_of_its_crates() {
    for further in [
        json!({"program_code": NEW}),
        json!({"udf_rust": "// Another body."}),
        json!({"udf_toml": "# Another dependency."}),
        json!({"program_config": {"profile": "dev"}}),
        json!({"program_config": {"runtime_version": "v0.336.0"}}),
    ] {
        let mut lab = Lab::new(None);
        lab.create("first", json!({}));
        lab.seconds("first");
        lab.create("second", further.clone());
        assert_eq!(lab.seconds("second"), 20, "{further}");
    }
    let mut lab = Lab::new(None);
    lab.create("first", json!({}));
    lab.seconds("first");
    lab.create("second", json!({"runtime_config": {"workers": 3}}));
    assert_eq!(lab.seconds("second"), 5);
}

#[test]
fn what_is_still_being_compiled_helps_nobody_yet() {
    let mut lab = Lab::new(None);
    lab.create("first", json!({}));
    lab.create("second", json!({}));
    assert_eq!(lab.seconds("second"), 20);
}

#[test]
fn the_target_folder_outlives_the_manager() {
    let directory = tempfile::tempdir().unwrap();
    let mut lab = Lab::new(Some(Store::open(directory.path()).unwrap()));
    lab.create("first", json!({}));
    assert_eq!(lab.seconds("first"), 20);
    let mut lab = Lab::new(Some(Store::open(directory.path()).unwrap()));
    lab.create("second", json!({}));
    assert_eq!(lab.seconds("second"), 5);
}
