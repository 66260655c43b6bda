//! Runs test programs, some at a time, each with its output in a file.
//!
//! Most of them wait for much of the time: for a control plane to start, for a controller that looks every few seconds.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::Error;
use super::outcome::Outcome;
use crate::say;

/// A program that is to be run.
pub struct Task {
    pub name: String,
    pub command: Command,
}

/// Runs all of them, so many at a time, those that come first before others, and says what became of each as it ends. The output of one
/// that failed is shown.
///
/// # Errors
/// When one can't be started, or its output can't be written.
pub fn run(tasks: Vec<Task>, at_a_time: usize, logs: &Path) -> Result<Vec<Outcome>, Error> {
    std::fs::create_dir_all(logs).map_err(|error| Error::Log(logs.to_owned(), error))?;
    let waiting = Mutex::new(VecDeque::from(tasks));
    let begin = Instant::now();
    let next = || waiting.lock().ok()?.pop_front();
    let worker = || {
        let mut outcomes = Vec::new();
        while let Some(task) = next() {
            say::line(format!("{:>5} s  {} begins", seconds(begin), task.name));
            let outcome = run_one(task, logs)?;
            say::line(format!("{:>5} s  {outcome}", seconds(begin)));
            if !outcome.passed {
                let output = std::fs::read_to_string(&outcome.log).unwrap_or_default();
                say::heading(&format!("What {} said", outcome.name));
                say::line(output);
                say::heading("");
            }
            outcomes.push(outcome);
        }
        Ok::<_, Error>(outcomes)
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..at_a_time).map(|_| scope.spawn(worker)).collect();
        let mut all = Vec::new();
        for worker in workers {
            match worker.join() {
                Ok(outcomes) => all.extend(outcomes?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(all)
    })
}

fn seconds(since: Instant) -> u64 {
    since.elapsed().as_secs()
}

fn run_one(mut task: Task, logs: &Path) -> Result<Outcome, Error> {
    let log = log_of(&task.name, logs);
    let unwritten = |error| Error::Log(log.clone(), error);
    let file = File::create(&log).map_err(unwritten)?;
    let errors = file.try_clone().map_err(unwritten)?;
    let begin = Instant::now();
    let status = task
        .command
        .stdin(std::process::Stdio::null())
        .stdout(file)
        .stderr(errors)
        .status()
        .map_err(|error| Error::Program(task.name.clone(), error))?;
    let took: Duration = begin.elapsed();
    let output = std::fs::read(&log).map_err(unwritten)?;
    let output = String::from_utf8_lossy(&output);
    Ok(Outcome::of(task.name, status.success(), &output, took, log))
}

fn log_of(name: &str, logs: &Path) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = name.chars().map(plain).collect();
    logs.join(format!("{name}.log"))
}
