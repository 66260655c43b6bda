//! What is printed: a table, line by line as cases end, or one JSON document.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::case::{Case, Finding, Info, Verdict};
use crate::chapters::CHAPTERS;

/// All that came of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The engine's address.
    pub url: String,
    /// What it says of itself.
    pub engine: Info,
    /// The cases, in order.
    pub cases: Vec<Finding>,
    /// Whether it was told to end before all were run.
    pub interrupted: bool,
}

impl Report {
    /// How many cases have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.cases
            .iter()
            .filter(|finding| finding.verdict == verdict)
            .count()
    }

    /// Whether all that is about this engine holds.
    pub fn holds(&self) -> bool {
        !self.interrupted
            && self.count(Verdict::Holds) > 0
            && self.count(Verdict::Differs) + self.count(Verdict::NotTried) == 0
    }

    /// The last line of the table.
    pub fn summary(&self) -> String {
        let took: Duration = self.cases.iter().map(|finding| finding.took).sum();
        let counts: Vec<String> = [
            Verdict::Holds,
            Verdict::Differs,
            Verdict::Skipped,
            Verdict::NotTried,
        ]
        .into_iter()
        .map(|verdict| format!("{} {}", self.count(verdict), verdict.word().to_lowercase()))
        .collect();
        let end = if self.interrupted {
            "; interrupted"
        } else {
            ""
        };
        format!(
            "{} {}: {}, in {:.1} s{end}",
            self.engine.edition,
            self.engine.version,
            counts.join(", "),
            took.as_secs_f64()
        )
    }

    /// The document.
    ///
    /// # Errors
    /// It can't be written as JSON.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        let mut document = serde_json::to_value(self)?;
        document["holds"] = Value::Bool(self.holds());
        serde_json::to_string_pretty(&document)
    }
}

fn cases() -> impl Iterator<Item = &'static Case> {
    CHAPTERS.iter().flat_map(|chapter| chapter.cases)
}

fn width(text: impl Fn(&'static Case) -> &'static str) -> usize {
    cases().map(|case| text(case).len()).max().unwrap_or(0)
}

fn row(verdict: &str, case: &str, expected: &str, seen: &str) -> String {
    let (names, expectations) = (width(|case| case.name), width(|case| case.expected));
    format!("{verdict:9}  {case:names$}  {expected:expectations$}  {seen}")
}

/// The first line of the table.
pub fn head() -> String {
    row("VERDICT", "CASE", "EXPECTED", "SEEN")
}

/// The line of a case.
pub fn line(finding: &Finding) -> String {
    // A line break in what was seen would break the table.
    let seen = finding
        .seen
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    row(
        finding.verdict.word(),
        finding.case,
        finding.expected,
        &seen,
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn report(verdicts: &[Verdict]) -> Report {
        Report {
            url: "http://127.0.0.1:1".to_owned(),
            engine: Info {
                edition: "Enterprise".to_owned(),
                version: "0.337.0".to_owned(),
            },
            cases: verdicts
                .iter()
                .map(|verdict| Finding {
                    case: "a/b",
                    expected: "this",
                    seen: "that\nand more".to_owned(),
                    verdict: *verdict,
                    took: Duration::from_millis(1500),
                })
                .collect(),
            interrupted: false,
        }
    }

    #[test]
    fn it_holds_only_if_something_does_and_nothing_differs_or_was_left_out() {
        use Verdict as V;
        assert!(report(&[V::Holds, V::Skipped]).holds());
        for verdicts in [
            &[][..],
            &[V::Skipped],
            &[V::Holds, V::Differs],
            &[V::Holds, V::NotTried],
        ] {
            assert!(!report(verdicts).holds(), "{verdicts:?}");
        }
        let mut interrupted = report(&[V::Holds]);
        interrupted.interrupted = true;
        assert!(!interrupted.holds());
    }

    #[test]
    fn a_report_is_readable_and_machine_readable() {
        let report = report(&[Verdict::Holds, Verdict::Differs]);
        assert_eq!(
            report.summary(),
            "Enterprise 0.337.0: 1 holds, 1 differs, 0 skipped, 0 not tried, in 3.0 s"
        );
        let text = line(&report.cases[1]);
        assert!(
            text.starts_with("DIFFERS    a/b ") && text.ends_with("  that and more"),
            "{text}"
        );
        let json: Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(json["holds"], false);
        assert_eq!(json["cases"][1]["verdict"], "differs");
        assert_eq!(json["cases"][1]["took"], 1.5);
    }

    #[test]
    fn cases_have_names_of_their_own_in_their_chapter() {
        let names: BTreeSet<&str> = cases().map(|case| case.name).collect();
        assert_eq!(names.len(), cases().count());
        for chapter in &CHAPTERS {
            for case in chapter.cases {
                let own = case.name.strip_prefix(chapter.name);
                assert!(
                    own.is_some_and(|rest| rest.starts_with('/')),
                    "{}",
                    case.name
                );
            }
        }
    }
}
