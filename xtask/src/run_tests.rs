//! `cargo xtask test`: all tests, with one control plane for those that share one.

use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::Args;
use control_plane::{Binaries, ControlPlane, Options, Progress, TEST_CONTROL_PLANE};

use crate::say;

#[derive(Args)]
pub struct Test {
    /// For `cargo test`, such as the name of a test
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    ControlPlane(#[from] control_plane::Error),
    #[error("cannot start cargo: {0}")]
    Cargo(std::io::Error),
}

impl Test {
    /// Runs them, and says with which code to end.
    pub fn run(self) -> Result<ExitCode, Error> {
        let begin = Instant::now();
        say::heading("Programs that the tests need: etcd, Kubernetes, Helm");
        let progress = Progress::stderr();
        let binaries = Binaries::prepare(&progress)?;
        let helm = control_plane::tools::helm(&progress)?;
        for program in [
            &binaries.etcd,
            &binaries.kube_apiserver,
            &binaries.kubectl,
            &helm,
        ] {
            say::line(program.to_string_lossy());
        }
        say::heading("A control plane that the tests share");
        // It ends with this process, however that ends.
        let plane = ControlPlane::start_with(&binaries, Options::default())?;
        say::line(format!("It runs at {}.", plane.url()));

        say::heading("Tests");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["test", "--workspace", "--locked", "--no-fail-fast"])
            .args(&self.arguments)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .env(TEST_CONTROL_PLANE, plane.dir())
            .status()
            .map_err(Error::Cargo)?;
        plane.stop()?;
        let seconds = begin.elapsed().as_secs();
        if status.success() {
            say::line(format!(
                "\nAll tests passed, in {seconds} s. What they started is stopped."
            ));
            Ok(ExitCode::SUCCESS)
        } else {
            say::line(format!(
                "\nTests FAILED ({status}), after {seconds} s. What they started is stopped."
            ));
            Ok(ExitCode::FAILURE)
        }
    }
}
