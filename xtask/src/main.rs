//! Chores of this repository: `cargo xtask --help`.

mod bench;
mod compatibility;
mod control_plane_commands;
mod demo;
mod generate;
mod image;
mod licences;
mod run_tests;
mod say;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// A Kubernetes control plane on this machine, with no container engine
    #[command(subcommand)]
    ControlPlane(control_plane_commands::Command),
    /// Write the files that are derived from others: CRDs and plain manifests
    Generate(generate::Generate),
    /// The whole story, told with real programs on a real API server; what `make demo` runs
    Demo(demo::Demo),
    /// The tests, with one control plane for those that share one; what `make test` and, with `--all`, `make test-all` run
    Test(run_tests::Test),
    /// Figures of the operator, each beside something measured in the same run; what `make bench` runs
    Bench(bench::Bench),
    /// The operator's image, with no container engine; what `make image` makes
    Image(image::Image),
    /// Check that what people rely on of the last release is still there: definitions, chart values, flags, metrics,
    /// reasons
    Compatibility,
    /// Check the licences of everything that is linked into the programs
    Licences,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().chore {
        Chore::ControlPlane(command) => command.run().map_err(|error| error.to_string()),
        Chore::Generate(generate) => generate.run().map_err(|error| error.to_string()),
        Chore::Demo(demo) => demo.run().map_err(|error| error.to_string()),
        Chore::Test(test) => test.run().map_err(|error| error.to_string()),
        Chore::Bench(bench) => bench.run().map_err(|error| error.to_string()),
        Chore::Image(image) => image.run().map_err(|error| error.to_string()),
        Chore::Compatibility => compatibility::check().map_err(|error| error.to_string()),
        Chore::Licences => licences::check().map_err(|error| error.to_string()),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
