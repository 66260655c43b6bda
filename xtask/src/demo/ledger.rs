//! What the engine was told, held against what was decided: one approve call for each approved change,
//! none before its approval, none for any other change.

use std::fs;

use jiff::Timestamp;
use serde_json::Value;

use super::error::Error;
use super::place::Place;
use super::shell::Shell;
use super::watch;
use crate::say;

/// What became of a change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Approved,
    /// Not approved, and why it wasn't.
    Not(&'static str),
}

/// A change that came to the gate in the course of the demo.
pub struct Change {
    pub pipeline: &'static str,
    pub id: String,
    /// When it was seen waiting.
    pub published: Timestamp,
    /// When the command that decided it was typed.
    pub decided: Option<Timestamp>,
    /// How: the door, or what else was done.
    pub how: &'static str,
    pub fate: Fate,
}

impl Change {
    /// A change that waits, from the Pipeline that says so.
    pub fn waiting(
        pipeline: &'static str,
        object: &Value,
        how: &'static str,
        fate: Fate,
    ) -> Change {
        Change {
            pipeline,
            id: watch::text(object, "/status/approval/changeId").to_owned(),
            published: Timestamp::now(),
            decided: None,
            how,
            fate,
        }
    }
}

/// When the engine was told to approve what waits on this pipeline.
///
/// # Errors
/// When the log can't be read.
pub fn approve_calls(place: &Place, pipeline: &str) -> Result<Vec<Timestamp>, Error> {
    let log =
        fs::read_to_string(place.calls()).map_err(Error::io("read the engine's log of calls"))?;
    let path = format!("/v0/pipelines/{pipeline}/approve");
    let calls = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(calls
        .filter(|call| call["method"] == "POST" && call["path"] == path.as_str())
        .filter_map(|call| watch::text(&call, "/time").parse().ok())
        .collect())
}

/// Shows the table, and checks it.
///
/// # Errors
/// When a call was made that shouldn't have been, or none where one should have.
pub fn check(place: &Place, changes: &[Change]) -> Result<(), Error> {
    let mut rows = vec![
        [
            "pipeline",
            "change",
            "how it was decided",
            "decided",
            "approve calls",
            "",
        ]
        .map(String::from)
        .to_vec(),
    ];
    let mut wrong = Vec::new();
    let mut accounted = 0;
    for (position, change) in changes.iter().enumerate() {
        let later = changes[position + 1..]
            .iter()
            .find(|later| later.pipeline == change.pipeline)
            .map(|later| later.published);
        let calls: Vec<Timestamp> = approve_calls(place, change.pipeline)?
            .into_iter()
            .filter(|call| *call >= change.published && later.is_none_or(|later| *call < later))
            .collect();
        accounted += calls.len();
        let verdict = judge(place, change, &calls)?;
        if let Err(problem) = &verdict {
            wrong.push(format!("{} {}: {problem}", change.pipeline, change.id));
        }
        rows.push(vec![
            change.pipeline.to_owned(),
            change.id.chars().take(8).collect(),
            change.how.to_owned(),
            change.decided.map(clock).unwrap_or_default(),
            match calls.is_empty() {
                true => "none".to_owned(),
                false => calls
                    .iter()
                    .copied()
                    .map(clock)
                    .collect::<Vec<_>>()
                    .join(", "),
            },
            verdict.unwrap_or_else(|problem| format!("WRONG: {problem}")),
        ]);
    }
    say::table(&rows);
    let mut pipelines: Vec<&str> = changes.iter().map(|change| change.pipeline).collect();
    pipelines.sort_unstable();
    pipelines.dedup();
    let mut all = 0;
    for pipeline in pipelines {
        all += approve_calls(place, pipeline)?.len();
    }
    if all != accounted {
        wrong.push(format!(
            "{all} approve calls in the log, of which {accounted} belong to a change that waited"
        ));
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Error::Unseen {
            expected: "one approve call for each approved change, after its approval, and no other"
                .into(),
            seen: wrong.join("; "),
        }),
    }
}

/// Why a change's calls are as they should be, or what is wrong with them.
fn judge(
    place: &Place,
    change: &Change,
    calls: &[Timestamp],
) -> Result<Result<String, String>, Error> {
    let early = calls
        .iter()
        .any(|call| change.decided.is_none_or(|decided| *call < decided));
    Ok(match (change.fate, calls.len()) {
        (Fate::Not(why), 0) => Ok(format!("none: {why}")),
        (Fate::Not(why), _) => Err(format!("there should be none: {why}")),
        (Fate::Approved, 0) => Err("there should be one".to_owned()),
        _ if early => Err("called before it was approved".to_owned()),
        (Fate::Approved, 1) => {
            let waited = change
                .decided
                .map(|decided| calls[0].duration_since(decided));
            let waited = waited.map_or(0.0, |waited| waited.as_secs_f64());
            Ok(format!("one, {waited:.1} s after the command"))
        }
        // Rule A6: an engine that still asks some polls later is told again, and that is said.
        (Fate::Approved, count) => match repeats(place, change)? {
            told if told + 1 >= count => Ok(format!(
                "{count}: repeated, as the engine still asked (rule A6)"
            )),
            _ => Err("called more than once, with no Event that says why".to_owned()),
        },
    })
}

/// How often an Event told that this change was sent again.
fn repeats(place: &Place, change: &Change) -> Result<usize, Error> {
    let events = Shell::of(place, "admin").quietly(
        "kubectl get events --field-selector reason=ApprovalRepeated -o jsonpath='{range .items[*]}{.message}{\"\\n\"}{end}'",
    )?;
    Ok(events
        .text
        .lines()
        .filter(|line| line.contains(&change.id))
        .count())
}

/// The time of day, in UTC.
fn clock(time: Timestamp) -> String {
    time.strftime("%H:%M:%S.%3f").to_string()
}
