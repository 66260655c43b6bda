//! Feldera's command-line client judges the stand-in. It reads answers with types generated from the
//! engine's own description of its API: a field that is missing, or a word that it doesn't know, is an
//! error.
//!
//! It is built once, in one version, outside of the checkout: `${XDG_CACHE_HOME:-$HOME/.cache}/sluice/`.

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use common::Running;
use control_plane::{Progress, tools};
use serde_json::{Value, json};

const OLD: &str =
    "CREATE TABLE t (id INT) WITH ('materialized' = 'true');\nCREATE VIEW v AS SELECT id FROM t;\n";

const QUICK: &[&str] = &[
    "--poll-interval=50ms",
    "--compile-time=50ms",
    "--provision-time=50ms",
    "--bootstrap-time=50ms",
    "--stop-time=20ms",
];

/// The client, set to one engine.
struct Fda {
    program: PathBuf,
    url: String,
    files: tempfile::TempDir,
}

impl Fda {
    fn of(sim: &Running) -> Self {
        Self {
            program: tools::fda(&Progress::stderr()).unwrap_or_else(|error| panic!("{error}")),
            url: sim.url.clone(),
            files: tempfile::tempdir().expect("a folder for programs"),
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        // Nothing of the caller's own settings shall count.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FELDERA_") {
                command.env_remove(name);
            }
        }
        command
            // No key: it sends none but over https.
            .args(["--host", &self.url])
            // Never again what failed: that it fails is what a test wants to see.
            .args(["--retries", "0", "--timeout", "20"])
            .args(arguments)
            .output()
            .expect("it was built")
    }

    /// What it prints, if it succeeds.
    fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "fda {arguments:?}: {}\n{}\n{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// What it says against it, if it fails.
    fn bad(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "fda {arguments:?} succeeds");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn status(&self) -> Value {
        let text = self.good(&["--format", "json", "status", "p"]);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// A file with a program.
    fn file(&self, program: &str) -> String {
        let path = self.files.path().join("program.sql");
        fs::write(&path, program).expect("it can be written");
        path.display().to_string()
    }

    /// Stopped with a checkpoint, and with another program.
    fn changed(&self) {
        self.good(&["create", "p", &self.file(OLD), "--tag", "judged"]);
        let said = self.good(&["start", "p"]);
        assert!(said.contains("started successfully"), "{said}");
        self.good(&["checkpoint", "p"]);
        self.good(&["stop", "--checkpoint", "p"]);
        let new = OLD.replace("SELECT id", "SELECT id + 1");
        self.good(&["program", "set", "p", &self.file(&new)]);
    }
}

#[test]
fn fda_creates_starts_changes_awaits_approves_stops_and_deletes() {
    let sim = Running::start(QUICK);
    let fda = Fda::of(&sim);
    fda.changed();

    let said = fda.good(&["start", "p"]);
    assert!(
        said.contains("awaiting approval") && said.contains("\"v\""),
        "{said}"
    );
    let status = fda.status();
    assert_eq!(status["deployment_status"], "AwaitingApproval");
    assert_eq!(
        status["deployment_runtime_status_details"]["approval_diff"]["program_diff"]["modified_views"],
        json!(["v"])
    );
    let preview = fda.good(&["--format", "json", "diff", "p", &fda.file(OLD)]);
    let preview: Value = serde_json::from_str(&preview).expect("JSON");
    assert_eq!(preview["program_diff"]["modified_views"], json!(["v"]));

    let said = fda.good(&["approve", "p"]);
    assert!(said.contains("approved successfully"), "{said}");
    fda.good(&["pause", "p"]);
    fda.good(&["resume", "p"]);
    let stats = fda.good(&["--format", "json", "stats", "p"]);
    assert!(stats.contains("global_metrics"), "{stats}");
    fda.good(&["checkpoint", "p"]);
    assert!(fda.good(&["pipelines"]).contains("Running"));
    fda.good(&["logs", "p"]);

    let refused = fda.bad(&["delete", "p"]);
    assert!(refused.contains("not fully stopped"), "{refused}");
    fda.good(&["stop", "p"]);
    fda.good(&["clear", "p"]);
    fda.good(&["delete", "p"]);
    let gone = fda.bad(&["status", "p"]);
    assert!(gone.contains("Unknown pipeline name 'p'"), "{gone}");
    assert_eq!(
        sim.json("GET /sim/bootstraps").as_array().map(Vec::len),
        Some(1)
    );
}

#[test]
fn fda_is_strict_so_its_consent_means_something() {
    let sim = Running::start(QUICK);
    let fda = Fda::of(&sim);
    fda.changed();
    for (fault, call) in [
        // An object where a string should be.
        (json!({"nonsense": "1@/approve"}), ["approve", "p"]),
        // A word that isn't one of the engine's.
        (
            json!({"lie": "deployment_status=Levitating"}),
            ["status", "p"],
        ),
        (json!({"lie": "version=null"}), ["status", "p"]),
    ] {
        let (status, body) = sim.call("POST /sim/faults", &fault.to_string());
        assert_eq!(status, 200, "{body}");
        fda.bad(&call);
        assert_eq!(sim.call("DELETE /sim/faults", "").0, 204);
        fda.status();
    }
}
