//! Benchmarks of the operator: `cargo xtask bench NAME`, `make bench BENCH=NAME`.
//!
//! Each sets a stage of its own (`stage`): a control plane, what `deploy/` puts on it, the stand-in
//! engine, and the operator under its own account. Each prints figures, and beside them the same
//! measured bare in the same run, because a machine's own figures say little on another one. None of
//! them fails because of a figure: whether one is good is for people to say (`docs/benchmarks.md`).

mod approval_latency;
mod approvals;
mod audit;
mod downtime;
mod error;
mod fairness;
mod figures;
mod memory;
mod pipelines;
mod process;
mod rest;
mod scale;
mod stage;
mod votes;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::Error;

/// Benchmarks of the operator, each on a control plane of its own.
#[derive(Parser)]
#[command(name = "sluice-bench")]
struct Arguments {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// How long it takes from an approval to the engine's hearing of it
    ApprovalLatency(approval_latency::ApprovalLatency),
    /// What many Pipelines cost that nothing happens to, and how long the operator takes to start
    Scale(scale::Scale),
    /// What one namespace's slow engine costs another namespace's approvals
    Fairness(fairness::Fairness),
    /// The most memory that the operator holds beside large Pipelines, and while many call that have no rights
    Memory(memory::Memory),
    /// How many approvals the REST endpoint takes in a second
    Rest(rest::Rest),
    /// How long a pipeline is down for a changed program, compiled beforehand and not
    Downtime(downtime::Downtime),
    /// What the votes of years cost approvals, and the start of the operator
    Votes(votes::Votes),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().benchmark {
        Benchmark::ApprovalLatency(benchmark) => benchmark.run().await,
        Benchmark::Scale(benchmark) => benchmark.run().await,
        Benchmark::Fairness(benchmark) => benchmark.run().await,
        Benchmark::Memory(benchmark) => benchmark.run().await,
        Benchmark::Rest(benchmark) => benchmark.run().await,
        Benchmark::Downtime(benchmark) => benchmark.run().await,
        Benchmark::Votes(benchmark) => benchmark.run().await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
