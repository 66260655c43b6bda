//! `cargo xtask test`: all tests, with one control plane for those that share one.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::Args;
use control_plane::releases::PREVIOUS;
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
    #[error("cannot read the folder {0}: {1}")]
    Folder(&'static str, std::io::Error),
}

/// What proptest makes its cases from. The same ones each time, so that a run that fails says something of what was
/// changed; other ones are looked into by hand.
const PROPTEST_SEED: &str = "PROPTEST_RNG_SEED";

/// Folders with files of requirements, one for each Python program that judges the stand-in or the REST
/// endpoint: the versions of Feldera's SDK, and schemathesis.
const JUDGES: [&str; 2] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/../simulator/tests/sdk"),
    concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/cluster/rest/schemathesis"
    ),
];

/// Has everything made that judges. Cargo hides what a test says until it is over, and
/// minutes without a word look like a test that hangs.
fn prepare_judges(progress: &Progress) -> Result<Vec<PathBuf>, Error> {
    use control_plane::tools;
    let mut judges = vec![
        tools::fda(progress)?,
        tools::kubeconform(progress)?,
        tools::kube_score(progress)?,
        tools::promtool(progress)?,
        tools::prometheus(progress)?,
        tools::argo_cd(progress)?.program,
        tools::redis(progress)?,
        tools::kstatus(progress)?,
        tools::kustomize_controller(progress)?.program,
        tools::source_controller(progress)?.program,
    ];
    match PREVIOUS.missing() {
        None => judges.push(PREVIOUS.build(progress)?.sluice),
        Some(missing) => say::line(format!("Upgrades from it aren't tried: {missing}.")),
    }
    for folder in JUDGES {
        let failed = |error| Error::Folder(folder, error);
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "txt") {
                judges.push(tools::python_environment(&path, progress)?);
            }
        }
    }
    Ok(judges)
}

impl Test {
    /// Runs them, and says with which code to end.
    pub fn run(self) -> Result<ExitCode, Error> {
        let begin = Instant::now();
        say::heading(
            "Programs that the tests need: etcd, Kubernetes, Helm, Argo CD, Flux, Prometheus, checkers of manifests, Feldera's clients, and the last release",
        );
        let progress = Progress::stderr();
        let binaries = Binaries::prepare(&progress)?;
        let helm = control_plane::tools::helm(&progress)?;
        let judges = prepare_judges(&progress)?;
        for program in [
            &binaries.etcd,
            &binaries.kube_apiserver,
            &binaries.kubectl,
            &helm,
        ]
        .into_iter()
        .chain(&judges)
        {
            say::line(program.to_string_lossy());
        }
        say::heading("A control plane that the tests share");
        // It ends with this process, however that ends.
        let plane = ControlPlane::start_with(&binaries, Options::default())?;
        say::line(format!("It runs at {}.", plane.url()));

        say::heading("Tests");
        let seed = std::env::var_os(PROPTEST_SEED).unwrap_or_else(|| "1".into());
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["test", "--workspace", "--locked", "--no-fail-fast"])
            .args(&self.arguments)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .env(TEST_CONTROL_PLANE, plane.dir())
            .env(PROPTEST_SEED, seed)
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
