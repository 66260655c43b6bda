//! Feldera's own Python SDK judges the stand-in: the one of the version that it stands for, and the
//! newest.
//!
//! Each is installed once, with pinned hashes, into a Python environment outside of the checkout:
//! `${XDG_CACHE_HOME:-$HOME/.cache}/sluice/`.

mod common;

use std::path::Path;
use std::process::Command;

use common::Running;
use control_plane::{Progress, tools};

const SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk");

fn judge(version: &str) {
    let requirements = Path::new(SDK).join(format!("feldera-{version}.txt"));
    let python = tools::python_environment(&requirements, &Progress::stderr())
        .unwrap_or_else(|error| panic!("{error}"));
    let sim = Running::start(&[
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
    ]);
    let mut command = Command::new(python);
    command.arg(Path::new(SDK).join("judge.py")).arg(&sim.url);
    // Nothing of the caller's own settings of the SDK shall count.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FELDERA_") {
            command.env_remove(name);
        }
    }
    let output = command.output().expect("the environment has a Python");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    let expected = format!("the SDK {version} is content");
    assert_eq!(text(&output.stdout).trim(), expected);
}

#[test]
fn the_sdk_of_its_version_creates_starts_modifies_awaits_and_approves() {
    judge("0.337.0");
}

#[test]
fn the_newest_sdk_creates_starts_modifies_awaits_and_approves() {
    judge("0.369.0");
}
