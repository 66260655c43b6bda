//! `kubectl sluice`: what waits at the approval gate, and votes on it.
//!
//! - [`arguments`] says what can be typed.
//! - [`connect`] and [`cluster`] are all that speaks with the API server.
//! - [`list`], [`diff`] and [`vote`] are the commands; [`wait`] follows an approved change.
//! - [`choose`] decides which change is voted on; [`describe`], [`table`], [`age`] and [`printable`]
//!   put things into words. These know neither the network nor the clock.

mod age;
mod arguments;
mod choose;
mod cluster;
mod confirm;
mod connect;
mod describe;
mod diff;
mod error;
mod list;
mod printable;
mod table;
mod vote;
mod wait;

use std::process::ExitCode;

use clap::Parser;
use sluice::crd::VoteDecision;

use arguments::{Arguments, Command};
use error::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // Wrong use ends here, with status 2.
    let arguments = Arguments::parse();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            error.exit_code()
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Error> {
    let cluster = connect::connect(&arguments.connection).await?;
    let output = match arguments.command {
        Command::List(list) => list::run(&cluster, &list).await?,
        Command::Diff(diff) => diff::run(&cluster, &diff).await?,
        Command::Approve(approve) => {
            let ballot = vote::Ballot {
                decision: VoteDecision::Approve,
                pipeline: &approve.pipeline,
                change: approve.change.as_deref(),
                reason: approve.reason.as_deref(),
                yes: approve.yes,
            };
            let change = vote::cast(&cluster, &ballot).await?;
            if approve.wait {
                wait::until_applied(&cluster, &approve.pipeline, &change, approve.timeout).await?;
            }
            return Ok(());
        }
        Command::Reject(reject) => {
            let ballot = vote::Ballot {
                decision: VoteDecision::Reject,
                pipeline: &reject.pipeline,
                change: reject.change.as_deref(),
                reason: Some(&reject.reason),
                yes: reject.yes,
            };
            vote::cast(&cluster, &ballot).await?;
            return Ok(());
        }
    };
    print!("{output}");
    Ok(())
}
