//! `cargo xtask bench`: builds the operator, the stand-in and the benchmarks as they are shipped, and
//! measures. In a debug build the operator, and what it is compared with, would be other programs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Args;

use crate::say;

/// The benchmarks, in the order in which all of them run.
const ALL: [&str; 7] = [
    "approval-latency",
    "fairness",
    "rest",
    "memory",
    "downtime",
    "votes",
    "scale",
];

/// What is built. The stand-in is by itself, because its libraries ask for features of others (numbers
/// of JSON kept as text, above all) that the operator isn't shipped with, and that cost it time and
/// memory.
const PACKAGES: [&[&str]; 2] = [&["-p", "sluice", "-p", "bench"], &["-p", "feldera-sim"]];

#[derive(Args)]
pub struct Bench {
    /// Which: approval-latency, fairness, rest, memory, downtime, votes, scale, with flags of its own (NAME --help
    /// shows them); all of them without any
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot start {0}: {1}")]
    Start(&'static str, std::io::Error),
    #[error("the programs that are measured could not be built")]
    Build,
}

impl Bench {
    /// Builds, measures, and says with which code to end.
    pub fn run(self) -> Result<ExitCode, Error> {
        let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        say::line("Building what is measured, in release mode, where it has changed.");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        for packages in PACKAGES {
            let built = Command::new(&cargo)
                .args(["build", "--release", "--locked"])
                .args(packages)
                .current_dir(workspace)
                .status()
                .map_err(|error| Error::Start("cargo", error))?;
            if !built.success() {
                return Err(Error::Build);
            }
        }
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| PathBuf::from(workspace).join("target"), PathBuf::from);
        let program = target.join("release/sluice-bench");
        let runs = if self.arguments.is_empty() {
            ALL.iter().map(|name| vec![OsString::from(name)]).collect()
        } else {
            vec![self.arguments]
        };
        let mut code = ExitCode::SUCCESS;
        for arguments in runs {
            let status = Command::new(&program)
                .args(arguments)
                .status()
                .map_err(|error| Error::Start("sluice-bench", error))?;
            if !status.success() {
                code = ExitCode::FAILURE;
            }
        }
        Ok(code)
    }
}
