//! Feldera's own Python SDK judges the stand-in.
//!
//! The SDK is installed once, with pinned hashes, into a virtual environment outside of the
//! checkout: `${XDG_CACHE_HOME:-$HOME/.cache}/sluice/`.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::Running;

const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk/requirements.txt");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk/judge.py");

fn cache() -> PathBuf {
    let set = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .expect("XDG_CACHE_HOME or HOME says where to cache the SDK")
        .join("sluice")
}

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

/// The Python of the virtual environment, which is made if it isn't there. It is made beside its
/// place and moved there at the end, so that it is there whole or not at all.
fn python() -> PathBuf {
    let requirements = fs::read(REQUIREMENTS).expect("the requirements are in the checkout");
    let digest = feldera_sim::digest(&requirements);
    let place = cache().join(format!("sdk-{}", &digest[..16]));
    let python = place.join("bin/python");
    if python.exists() {
        return python;
    }
    eprintln!(
        "the Feldera SDK isn't cached yet: installing it into {} (this takes a minute)",
        place.display()
    );
    fs::create_dir_all(cache()).expect("the cache can be made");
    let temporary = tempfile::tempdir_in(cache()).expect("the cache can be written");
    let fresh = temporary.path().join("venv");
    run(Command::new("python3").args(["-m", "venv"]).arg(&fresh));
    run(Command::new(fresh.join("bin/python"))
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--require-hashes",
            "-r",
        ])
        .arg(REQUIREMENTS));
    // Somebody else may have been faster; theirs is as good.
    if fs::rename(&fresh, &place).is_err() {
        assert!(python.exists(), "{} can't be made", place.display());
    }
    python
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
    let python = python();
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
