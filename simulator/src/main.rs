//! The stand-in as a program.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use feldera_sim::config::Config;
use feldera_sim::server;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(EnvFilter::from_default_env())
        .init();
    let config = Config::parse();
    let ready = |address| {
        // Nobody may be reading; that is no reason to end.
        let _ = writeln!(
            std::io::stdout(),
            "feldera-sim listening on http://{address}"
        );
    };
    match server::serve(&config, ready).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("feldera-sim: {error}");
            ExitCode::FAILURE
        }
    }
}
