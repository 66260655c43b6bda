//! `cargo xtask test`: the tests, with one control plane for those that share one.
//!
//! 1. `programs` has cargo build the test programs.
//! 2. `selection` says which of them, and which of their tests, are asked for.
//! 3. What they need is found or built, and a control plane started.
//! 4. `side_by_side` runs them, and `outcome` says what took how long.

mod outcome;
mod programs;
mod selection;
mod side_by_side;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Instant;

use clap::Args;
use control_plane::releases::PREVIOUS;
use control_plane::{Binaries, ControlPlane, Options, Progress, TEST_CONTROL_PLANE};

use crate::say;
use programs::Program;
use selection::Share;
use side_by_side::Task;

#[derive(Args)]
pub struct Test {
    /// Everything there is, also what needs programs that take long to build, and what takes long itself
    #[arg(long)]
    all: bool,
    /// Only what is left out without `--all`
    #[arg(long, conflicts_with = "all")]
    rest: bool,
    /// Only these test programs, such as `cluster`
    programs: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    ControlPlane(#[from] control_plane::Error),
    #[error("cannot start cargo: {0}")]
    Cargo(std::io::Error),
    #[error("the tests don't compile ({0})")]
    Build(ExitStatus),
    #[error("there is no test program {0} in this run")]
    NoProgram(String),
    #[error("cannot start the test program {0}: {1}")]
    Program(String, std::io::Error),
    #[error("cannot write {0}: {1}")]
    Log(PathBuf, std::io::Error),
    #[error("cannot read the folder {0}: {1}")]
    Folder(&'static str, std::io::Error),
}

/// What proptest makes its cases from. The same ones each time, so that a run that fails says something of what was
/// changed; other ones are looked into by hand.
const PROPTEST_SEED: &str = "PROPTEST_RNG_SEED";

/// The stack of a test's thread, as `.cargo/config.toml` sets it for tests that cargo starts.
const STACK: (&str, &str) = ("RUST_MIN_STACK", "8388608");

/// Test programs that take long, those that take longest first: what begins last is to be short.
const LONG: [&str; 12] = [
    "crashes",
    "cluster",
    "argo_cd",
    "flux",
    "histories",
    "sluice_gate (lib)",
    "sluice (lib)",
    "upgrade",
    "lifecycle",
    "sdk",
    "stand_in",
    "http",
];

/// How many programs run at a time. Argo CD's and Flux' own programs have deadlines that nobody here sets: beside the crash
/// points, which keep all processors busy, a sync of theirs has been seen not to come in two minutes.
fn at_a_time(share: Share) -> usize {
    match share {
        Share::Short => 3,
        Share::All | Share::Rest => 1,
    }
}

/// What waits for most of its time goes on in more threads than there are processors.
const THREADS: (&str, &str) = ("cluster", "8");

/// Folders with files of requirements, one for each Python program that judges the stand-in or the REST
/// endpoint: the versions of Feldera's SDK, and schemathesis.
const JUDGES: [&str; 2] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/../simulator/tests/sdk"),
    concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/cluster/tools/schemathesis"
    ),
];

/// Has everything made that the short run does without. What a test says is hidden until it is over, and
/// minutes without a word look like a test that hangs.
fn prepare_tools(progress: &Progress) -> Result<Vec<PathBuf>, Error> {
    use control_plane::tools;
    let mut judges = vec![
        tools::helm(progress)?,
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
        let share = match (self.all, self.rest) {
            (true, _) => Share::All,
            (_, true) => Share::Rest,
            _ => Share::Short,
        };
        say::heading("The test programs");
        let tasks = self.tasks(programs::build()?, share)?;
        say::line(format!("{} of them are run.", tasks.len()));
        let binaries = prepare(share)?;

        say::heading("A control plane that the tests share");
        // It ends with this process, however that ends.
        let plane = ControlPlane::start_with(&binaries, Options::default())?;
        say::line(format!("It runs at {}.", plane.url()));

        say::heading("Tests");
        let logs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-logs");
        let tasks = tasks.into_iter().map(|mut task| {
            task.command.env(TEST_CONTROL_PLANE, plane.dir());
            task
        });
        let outcomes = side_by_side::run(tasks.collect(), at_a_time(share), &logs)?;
        plane.stop()?;

        say::heading("How long it took");
        let failed: Vec<String> = outcomes
            .iter()
            .filter(|outcome| !outcome.passed)
            .map(|outcome| outcome.name.clone())
            .collect();
        say::table(&outcome::table(outcomes));
        if share == Share::Short && self.programs.is_empty() {
            say::line("\nLeft out; `make test-all` runs it too:\n");
            say::table(&selection::left_out());
        }
        let seconds = begin.elapsed().as_secs();
        if failed.is_empty() {
            say::line(format!(
                "\nAll these tests passed, in {seconds} s. What they started is stopped; what they said is in target/test-logs."
            ));
            Ok(ExitCode::SUCCESS)
        } else {
            say::line(format!(
                "\nTests FAILED ({}), after {seconds} s. What they started is stopped; what they said is in target/test-logs.",
                failed.join(", ")
            ));
            Ok(ExitCode::FAILURE)
        }
    }

    /// What is to be run, in which order.
    fn tasks(&self, programs: Vec<Program>, share: Share) -> Result<Vec<Task>, Error> {
        let asked =
            |name: &str| self.programs.is_empty() || self.programs.iter().any(|p| p == name);
        let mut tasks: Vec<Task> = programs
            .into_iter()
            .filter(|program| asked(&program.name()))
            .filter_map(|program| task(&program, share))
            .collect();
        if asked(EXAMPLES) && share != Share::Rest {
            tasks.push(examples());
        }
        let missing = |name: &&String| tasks.iter().all(|task| task.name != **name);
        if let Some(missing) = self.programs.iter().find(missing) {
            return Err(Error::NoProgram(missing.clone()));
        }
        tasks.sort_by_key(|task| {
            let at = LONG.iter().position(|long| *long == task.name);
            at.unwrap_or(LONG.len())
        });
        Ok(tasks)
    }
}

/// What says how much it tried, also if all is well.
const WITH_FIGURES: [&str; 2] = ["crashes", "histories"];

fn task(program: &Program, share: Share) -> Option<Task> {
    let run = selection::run_of(program, share)?;
    let mut command = Command::new(&program.executable);
    command
        .args(run.arguments)
        .envs(run.environment)
        .current_dir(&program.folder);
    if program.is_integration() && program.target == THREADS.0 {
        command.args(["--test-threads", THREADS.1]);
    }
    if WITH_FIGURES.contains(&program.target.as_str()) {
        command.arg("--show-output");
    }
    Some(Task {
        name: program.name(),
        command: in_surroundings(command),
    })
}

/// The examples in the documentation of the code.
const EXAMPLES: &str = "examples";

fn examples() -> Task {
    let mut command = programs::cargo();
    command.args(["test", "--workspace", "--locked", "--doc"]);
    Task {
        name: EXAMPLES.to_owned(),
        command: in_surroundings(command),
    }
}

/// What every test finds in its environment.
fn in_surroundings(mut command: Command) -> Command {
    for (name, value) in [(PROPTEST_SEED, "1"), STACK] {
        command.env(name, std::env::var_os(name).unwrap_or_else(|| value.into()));
    }
    command
}

/// Finds or builds what this share of the tests needs; returns the programs of the control plane.
fn prepare(share: Share) -> Result<Binaries, Error> {
    say::heading(match share {
        Share::Short => "Programs that the tests need: etcd and Kubernetes",
        _ => {
            "Programs that the tests need: etcd, Kubernetes, Helm, Argo CD, Flux, Prometheus, checkers of manifests, Feldera's clients, and the last release"
        }
    });
    let progress = Progress::stderr();
    let binaries = Binaries::prepare(&progress)?;
    let tools = match share {
        Share::Short => Vec::new(),
        _ => prepare_tools(&progress)?,
    };
    let own = [&binaries.etcd, &binaries.kube_apiserver, &binaries.kubectl];
    for program in own.into_iter().chain(&tools) {
        say::line(program.to_string_lossy());
    }
    Ok(binaries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_is_that_of_tests_that_cargo_starts() {
        let (name, value) = STACK;
        let config = include_str!("../../.cargo/config.toml");
        assert!(config.contains(&format!("{name} = \"{value}\"")));
    }
}
