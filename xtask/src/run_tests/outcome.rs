//! What became of a test program, and the table of all.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What became of a test program.
#[derive(Debug)]
pub struct Outcome {
    pub name: String,
    pub passed: bool,
    pub took: Duration,
    pub log: PathBuf,
    counts: Counts,
}

/// How many tests, as the harness says in its last line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    /// Of all results in an output: documentation examples have one for each library.
    fn in_output(output: &str) -> Counts {
        let results = output
            .lines()
            .filter_map(|line| line.strip_prefix("test result: "));
        let mut counts = Counts::default();
        for result in results {
            let of = |what: &str| -> u64 {
                let words = result.split(&[' ', ';'][..]).collect::<Vec<_>>();
                let at = words.iter().position(|word| *word == what);
                let number = at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok());
                number.unwrap_or_default()
            };
            counts.passed += of("passed");
            counts.failed += of("failed");
            counts.ignored += of("ignored");
        }
        counts
    }
}

impl Outcome {
    pub fn of(name: String, passed: bool, output: &str, took: Duration, log: PathBuf) -> Outcome {
        Outcome {
            name,
            passed,
            took,
            log,
            counts: Counts::in_output(output),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            passed,
            failed,
            ignored,
        } = self.counts;
        let good = if self.passed { "" } else { " FAILED:" };
        write!(f, "{}:{good} {passed} passed", self.name)?;
        if failed > 0 {
            write!(f, ", {failed} failed")?;
        }
        if ignored > 0 {
            write!(f, ", {ignored} ignored")?;
        }
        write!(f, ", {} s", self.took.as_secs())
    }
}

/// A table of what took how long, the longest first. Programs without a test aren't in it.
pub fn table(mut outcomes: Vec<Outcome>) -> Vec<Vec<String>> {
    outcomes.retain(|outcome| outcome.counts != Counts::default() || !outcome.passed);
    outcomes.sort_by_key(|outcome| std::cmp::Reverse(outcome.took));
    let row = |outcome: &Outcome| {
        vec![
            format!("{:>6.1} s", outcome.took.as_secs_f64()),
            format!("{:>4}", outcome.counts.passed),
            outcome.name.clone(),
            (if outcome.passed { "" } else { "FAILED" }).to_owned(),
        ]
    };
    let head = ["    time", "tests", "program"].map(str::to_owned).to_vec();
    [head].into_iter().chain(outcomes.iter().map(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &str, output: &str, seconds: u64) -> Outcome {
        let took = Duration::from_secs(seconds);
        let passed = !output.contains("FAILED");
        Outcome::of(name.to_owned(), passed, output, took, PathBuf::new())
    }

    #[test]
    fn results_are_counted() {
        let output = "running 3 tests\ntest result: ok. 12 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out\n\ntest result: ok. 1 passed; 0 failed; 0 ignored\n";
        assert_eq!(
            outcome("api", output, 7).to_string(),
            "api: 13 passed, 2 ignored, 7 s"
        );
        let output = "test result: FAILED. 1 passed; 2 failed; 0 ignored";
        assert_eq!(
            outcome("api", output, 7).to_string(),
            "api: FAILED: 1 passed, 2 failed, 7 s"
        );
    }

    #[test]
    fn the_longest_comes_first_and_a_program_without_tests_not_at_all() {
        let passed = "test result: ok. 1 passed; 0 failed";
        let all = vec![
            outcome("short", passed, 1),
            outcome("empty", "test result: ok. 0 passed; 0 failed", 1),
            outcome("long", passed, 9),
            outcome("broken", "FAILED to start", 0),
        ];
        let names: Vec<String> = table(all).into_iter().map(|row| row[2].clone()).collect();
        assert_eq!(names, ["program", "long", "short", "broken"]);
    }
}
