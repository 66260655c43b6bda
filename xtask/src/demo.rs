//! `cargo xtask demo`: the whole story on a real API server, told with real programs.
//!
//! 1. `stage` sets up a control plane, the stand-in engine and the operator, each a process of its own
//!    (`process`), with all files in one folder (`place`).
//! 2. `story` tells it: what people type is typed by them (`shell`), and what has to happen then is watched
//!    for at the API server (`watch`).
//! 3. `ledger` holds the engine's log of calls against what was decided.
//!
//! A step that isn't seen ends it with an error, and everything that was started is stopped. Otherwise it
//! is left running, to be played with, until `cargo xtask demo down`.

mod error;
mod ledger;
mod place;
mod process;
mod shell;
mod stage;
mod story;
mod watch;

use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Subcommand};

pub use error::Error;
use place::Place;
use stage::Stage;

use crate::say;

#[derive(Args)]
pub struct Demo {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// End what the demo left running, and remove its files; fine if there is nothing
    Down,
}

impl Demo {
    /// Does what was asked, and says with which code to end.
    pub fn run(self) -> Result<ExitCode, Error> {
        let place = Place::of_checkout();
        match self.command {
            None => perform(&place)?,
            Some(Command::Down) => match stage::down(&place)? {
                true => say::line("The demo is down, and its files are removed."),
                false => say::line(
                    "No demo was up. Files of an earlier one, if there were any, are removed.",
                ),
            },
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn perform(place: &Place) -> Result<(), Error> {
    process::say_so_when_interrupted()?;
    if stage::down(place)? {
        say::line("An earlier demo was still up: it is taken down first.");
    }
    let begin = Instant::now();
    say::heading("Setting the stage");
    let mut stage = Stage::set(place)?;
    let mut times = Vec::new();
    let outcome = stage.furnish().and_then(|()| {
        times.push(("Setting the stage", begin.elapsed()));
        story::tell(&stage, &mut times)
    });
    if let Err(error) = outcome {
        say::line(format!("\nFAILED: {error}\n"));
        stage.strike();
        say::line(format!(
            "Everything that the demo started is stopped. The logs are in {}.",
            place.shown(&place.logs())
        ));
        return Err(Error::NotSeen);
    }
    stage.leave()?;
    summary(place, &times, begin);
    Ok(())
}

fn summary(place: &Place, times: &[(&str, std::time::Duration)], begin: Instant) {
    say::heading("How long it took");
    let mut rows: Vec<Vec<String>> = times
        .iter()
        .map(|(what, time)| vec![format!("{:>6.1} s", time.as_secs_f64()), (*what).to_owned()])
        .collect();
    let all = begin.elapsed().as_secs_f64();
    rows.push(vec![format!("{all:>6.1} s"), "all".to_owned()]);
    say::table(&rows);

    say::heading("Now you");
    let person = |name| place.shown(&place.environment_of(name));
    say::line(format!(
        "\
Everything stays up. Be bob, who edits pipelines, in one shell, and alice, who approves, in another:

    . {bob}
    kubectl get pipelines
    kubectl apply -f examples/orders-v3.yaml
    kubectl get pipeline orders -w

    . {alice}
    kubectl sluice list
    kubectl sluice diff orders
    kubectl sluice approve orders --wait

What the engine was told: {calls}
What the operator says:   {log}

    make demo-down            ends it and removes its files",
        bob = person("bob"),
        alice = person("alice"),
        calls = place.shown(&place.calls()),
        log = place.shown(&place.logs().join("operator.log")),
    ));
}
