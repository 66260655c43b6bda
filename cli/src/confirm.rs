//! A question on the terminal.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::error::Error;

/// Whether a person can be asked: both ends of the conversation are a terminal.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks on standard error, so that standard output stays usable. Only a plain yes is one.
pub fn confirm(question: &str) -> Result<(), Error> {
    let terminal = |error: io::Error| Error::Terminal(error.to_string());
    let mut stderr = io::stderr();
    write!(stderr, "{question} [y/N] ").map_err(terminal)?;
    stderr.flush().map_err(terminal)?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(terminal)?;
    match is_yes(&answer) {
        true => Ok(()),
        false => Err(Error::NotConfirmed),
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_yes_is_one() {
        for yes in ["y\n", "Y\n", "yes\n", " YES \r\n"] {
            assert!(is_yes(yes), "{yes:?}");
        }
        for no in ["", "\n", "n\n", "no\n", "yy\n", "ja\n", "y?\n"] {
            assert!(!is_yes(no), "{no:?}");
        }
    }
}
