//! The operator's command line.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    version,
    about = "A Kubernetes operator for Feldera pipelines with a bootstrap approval gate"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator and its REST endpoint
    Run(Box<sluice::config::Args>),
    /// Print the custom resource definitions as a YAML stream
    Crds,
    /// Make an API key for the REST endpoint: it goes to standard output, and a script that stores
    /// its hash to standard error
    ApiKey(sluice::api::MakeApiKey),
    /// Print the OpenAPI document of the REST endpoint
    Openapi,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run(*args),
        Command::Crds => crds(),
        Command::ApiKey(make) => api_key(make),
        Command::Openapi => openapi(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluice: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: sluice::config::Args) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(sluice::run::run(args))?)
}

fn crds() -> Result<(), Box<dyn std::error::Error>> {
    let mut text = String::new();
    for crd in sluice::crd::all() {
        text += &format!("---\n{}\n", serde_saphyr::to_string(&crd)?);
    }
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn api_key(make: sluice::api::MakeApiKey) -> Result<(), Box<dyn std::error::Error>> {
    let made = make.make()?;
    std::io::stderr().write_all(made.script.as_bytes())?;
    Ok(writeln!(std::io::stdout(), "{}", made.key)?)
}

fn openapi() -> Result<(), Box<dyn std::error::Error>> {
    println!("{}", serde_json::to_string_pretty(&sluice::api::openapi())?);
    Ok(())
}
