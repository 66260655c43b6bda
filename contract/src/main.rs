//! The suite as a program.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use engine_contract::arguments::{Arguments, Format};
use engine_contract::engine::Address;
use engine_contract::report::{self, Report};
use engine_contract::run::Run;

/// Nothing could be run: wrong use, or no engine.
const NOT_RUN: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(report) if report.interrupted => ExitCode::from(NOT_RUN),
        Ok(report) if report.holds() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("engine-contract: {error}");
            ExitCode::from(NOT_RUN)
        }
    }
}

async fn run(arguments: &Arguments) -> Result<Report, Box<dyn std::error::Error>> {
    let ca = match &arguments.ca {
        Some(path) => {
            Some(std::fs::read(path).map_err(|error| format!("--ca {}: {error}", path.display()))?)
        }
        None => None,
    };
    let address = Address {
        url: arguments.url.clone(),
        api_key: arguments.api_key.clone(),
        tenant: arguments.tenant.clone(),
        ca,
    };
    let run = Run::prepare(&address, arguments.patience, &arguments.prefix()).await?;
    let table = arguments.format == Format::Table;
    if table {
        say(&report::head());
    }
    let mut cases = Vec::new();
    let tell = |finding: &engine_contract::case::Finding| {
        let line = report::line(finding);
        // With JSON the lines only show that something goes on.
        if table {
            say(&line);
        } else {
            eprintln!("{line}");
        }
        cases.push(finding.clone());
    };
    let finished = run.all(tell, told_to_end()).await;
    let report = Report {
        url: arguments.url.clone(),
        engine: run.info.clone(),
        cases,
        interrupted: !finished,
    };
    say(&if table {
        format!("\n{}", report.summary())
    } else {
        report.json()?
    });
    Ok(report)
}

/// Nobody may be reading; that is no reason to leave pipelines behind.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Ready with SIGTERM or SIGINT.
async fn told_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
