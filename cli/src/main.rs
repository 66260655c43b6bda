//! `kubectl sluice`: what waits at the approval gate, and votes on it.
//!
//! - [`arguments`] says what can be typed.
//! - [`connect`] and [`cluster`] are all that speaks with the API server.
//! - [`list`], [`diff`], [`vote`], [`lost`], [`history`], [`plan`] and [`complete`] are the commands; [`wait`]
//!   follows an approved change.
//! - [`choose`] decides which change is voted on; [`files`] reads what is to be planned; [`differing`] says which settings
//!   a change alters, and which of them others have set; [`program`], [`describe`], [`table`], [`age`] and
//!   [`printable`] put things into words, and [`output`] prints them. But for that, these know neither the network nor the clock.

#![deny(clippy::disallowed_methods, clippy::disallowed_macros)]

mod arguments;
mod choose;
mod cluster;
mod complete;
mod confirm;
mod connect;
mod diff;
mod differing;
mod error;
mod files;
mod history;
mod list;
mod lost;
mod output;
mod plan;
mod program;
mod table;
mod vote;
mod wait;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use sluice_gate::crd::VoteDecision;

use arguments::{Arguments, Command};
use error::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut typed = std::env::args_os();
    if complete::is_asked_by_kubectl(typed.next().as_ref()) {
        output::print(&complete::for_kubectl(typed.collect()));
        return ExitCode::SUCCESS;
    }
    // Wrong use ends here, with status 2.
    let arguments = Arguments::parse();
    let ended = run(arguments).await;
    match ended.and_then(|code| output::outcome().map(|()| code)) {
        Ok(code) => code,
        Err(error) => {
            output::tell(&format!("error: {error}\n"));
            error.exit_code()
        }
    }
}

async fn run(arguments: Arguments) -> Result<ExitCode, Error> {
    if let Command::Completion(completion) = &arguments.command {
        let mut command = Arguments::command();
        let mut script = Vec::new();
        clap_complete::generate(
            completion.shell,
            &mut command,
            "kubectl-sluice",
            &mut script,
        );
        output::print(&String::from_utf8_lossy(&script));
        return Ok(ExitCode::SUCCESS);
    }
    let cluster = connect::connect(&arguments.connection).await?;
    let text = match arguments.command {
        Command::List(list) => list::run(&cluster, &list).await?,
        Command::Diff(diff) => diff::run(&cluster, &diff).await?,
        Command::History(history) => history::run(&cluster, &history).await?,
        Command::Plan(plan) => {
            let planned = plan::run(&cluster, &plan).await?;
            output::print(&planned.text);
            return Ok(planned.exit_code);
        }
        Command::Approve(approve) if approve.lost => {
            lost::approve(&cluster, &approve).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Approve(approve) => {
            // One of both is there.
            let pipeline = approve.pipeline.as_deref().unwrap_or_default();
            let ballot = vote::Ballot {
                decision: VoteDecision::Approve,
                pipeline,
                change: approve.change.as_deref(),
                reason: approve.reason.as_deref(),
                yes: approve.yes,
            };
            let change = vote::cast(&cluster, &ballot).await?;
            if approve.wait {
                wait::until_applied(&cluster, pipeline, &change, approve.timeout).await?;
            }
            return Ok(ExitCode::SUCCESS);
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
            return Ok(ExitCode::SUCCESS);
        }
        Command::Completion(_) => unreachable!("it needs no cluster"),
    };
    output::print(&text);
    Ok(ExitCode::SUCCESS)
}
