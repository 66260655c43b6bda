//! Feldera's own Python SDK judges the stand-in.
//!
//! The SDK is installed once, with pinned hashes, into a virtual environment outside of the
//! checkout: see `control_plane::python`.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::Running;
use control_plane::{Progress, python};

const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk/requirements.txt");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk/judge.py");

fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn judge(python: &Path, arguments: &[&str]) {
    let sim = Running::start(arguments);
    // Nothing of the caller's own settings of the SDK shall count.
    let output = run(Command::new(python)
        .arg(SCRIPT)
        .arg(&sim.url)
        .env_remove("FELDERA_HOST")
        .env_remove("FELDERA_API_KEY")
        .env_remove("FELDERA_TENANT")
        .env_remove("FELDERA_RUNTIME_VERSION"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("the SDK is content"));
}

#[test]
fn the_sdk_creates_starts_modifies_awaits_and_approves() {
    let python = python::environment("sdk", Path::new(REQUIREMENTS), &Progress::stderr())
        .unwrap_or_else(|error| panic!("{error}"));
    judge(
        &python,
        &[
            "--poll-interval",
            "50ms",
            "--compile-time",
            "50ms",
            "--provision-time",
            "50ms",
            "--bootstrap-time",
            "50ms",
            "--stop-time",
            "20ms",
            "--api-key",
            "sdk-key",
        ],
    );
}
