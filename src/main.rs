//! The operator's command line.

use std::io::Write;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    version = VERSION.as_str(),
    about = "A Kubernetes operator for Feldera pipelines with a bootstrap approval gate"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The version, and the commit that it was built from where whoever built it said so.
static VERSION: LazyLock<String> = LazyLock::new(|| match option_env!("SLUICE_COMMIT") {
    Some(commit) if !commit.is_empty() => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
    _ => env!("CARGO_PKG_VERSION").to_owned(),
});

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
    /// See whether an installation does its work: its definitions, who acts, its admission policy, and
    /// the REST endpoint
    Check(sluice::check::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run(*args),
        Command::Crds => crds(),
        Command::ApiKey(make) => api_key(make),
        Command::Openapi => openapi(),
        Command::Check(args) => check(args),
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
        .thread_stack_size(sluice::run::STACK)
        .build()?;
    Ok(runtime.block_on(sluice::run::run(args))?)
}

fn check(args: sluice::check::Args) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(sluice::check::check(args))?)
}

fn crds() -> Result<(), Box<dyn std::error::Error>> {
    let mut text = String::new();
    for crd in sluice::crd::all() {
        text += &format!("---\n{}\n", sluice::crd::manifest(&crd)?);
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
