//! What people type: the very line that is printed is what a shell executes.

use std::process::{Command, Output, Stdio};

use super::error::Error;
use super::place::Place;
use crate::say;

/// Somebody at a shell.
pub struct Shell<'a> {
    place: &'a Place,
    person: &'static str,
}

/// How a command ended, and what it printed.
pub struct Printed {
    pub text: String,
    pub good: bool,
}

impl<'a> Shell<'a> {
    pub fn of(place: &'a Place, person: &'static str) -> Shell<'a> {
        Shell { place, person }
    }

    /// Types a command that has to succeed, and shows what it prints.
    ///
    /// # Errors
    /// When it fails.
    pub fn types(&self, command: &str) -> Result<String, Error> {
        self.typed(command, true)
    }

    /// Types a command that has to be refused, and shows with which words.
    ///
    /// # Errors
    /// When it succeeds.
    pub fn is_refused(&self, command: &str) -> Result<String, Error> {
        self.typed(command, false)
    }

    /// Types a command whose exit status says something else than whether it worked.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn types_somehow(&self, command: &str) -> Result<Printed, Error> {
        say::line(format!("\n  {}$ {command}", self.person));
        let printed = self.quietly(command)?;
        say::indented(&printed.text);
        Ok(printed)
    }

    fn typed(&self, command: &str, should_be_good: bool) -> Result<String, Error> {
        let printed = self.types_somehow(command)?;
        if printed.good == should_be_good {
            return Ok(printed.text);
        }
        let (expected, seen) = match should_be_good {
            true => ("succeeded", "failed"),
            false => ("been refused", "succeeded"),
        };
        Err(Error::Command {
            command: command.to_owned(),
            expected,
            seen: format!("{seen}: {}", printed.text.trim()),
        })
    }

    /// Runs a command without showing it.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn quietly(&self, command: &str) -> Result<Printed, Error> {
        let Output { status, stdout, .. } = Command::new("/bin/sh")
            .args(["-c", r#". "$0"; exec 2>&1; eval "$1""#])
            .arg(self.place.environment_of(self.person))
            .arg(command)
            .current_dir(&self.place.checkout)
            .stdin(Stdio::null())
            .output()
            .map_err(Error::io(format!("run `{command}`")))?;
        Ok(Printed {
            text: String::from_utf8_lossy(&stdout).into_owned(),
            good: status.success(),
        })
    }

    /// A command that goes on in the background until it is killed; its output is to be read.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn in_background(&self, command: &str) -> Result<std::process::Child, Error> {
        Command::new("/bin/sh")
            .args(["-c", r#". "$0"; eval "exec $1""#])
            .arg(self.place.environment_of(self.person))
            .arg(command)
            .current_dir(&self.place.checkout)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Error::io(format!("run `{command}`")))
    }
}
