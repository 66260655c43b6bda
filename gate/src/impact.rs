//! What approving a change destroys or repeats.
//!
//! Source: measured on Feldera 0.337. A modified table is emptied and read again from its
//! connectors; without one it stays empty. Sinks get all of a modified view again, unless the
//! bootstrap is silent. Input received since the checkpoint is dropped by any approval.

use serde_json::Value;

use crate::crd::{AtStake, BootstrapOptions};
use crate::engine::{Connectors, PipelineState, diff};
use crate::summary::names;

/// What nobody can foretell where functions or the runtime change: the engine computes nothing anew for it.
pub(crate) const MIXED_RESULTS: &str = "results: what is already computed stays as it is, so old and new results stand side by side until their input changes";

/// What is at stake. `resumes_all` says whether the pipeline was stopped with the checkpoint that
/// it resumes from, so that no input came in since.
pub(crate) fn at_stake(
    diff: &Value,
    connectors: Option<&Connectors>,
    options: BootstrapOptions,
    resumes_all: bool,
) -> AtStake {
    let dropped_input = match resumes_all {
        true => AtStake::NO_INPUT.to_owned(),
        false => "unknown".to_owned(),
    };
    if !PipelineState::diff_is_known(diff) {
        return AtStake {
            dropped_input,
            unknown: vec!["tables and sinks: the engine gives no whole diff".to_owned()],
            ..AtStake::default()
        };
    }
    let modified_tables = names(diff, "/program_diff/modified_tables");
    let removed_tables = names(diff, "/program_diff/removed_tables");
    let modified_views = names(diff, "/program_diff/modified_views");
    let mut unknown = vec![];
    if !resumes_all {
        unknown.push(
            "dropped input: it isn't known that nothing came in since the checkpoint".to_owned(),
        );
    }
    let modified = names(diff, "/modified_input_connectors");
    if !modified.is_empty() {
        unknown.push(format!(
            "what the modified input connectors {} read again, and whether anything arrives twice",
            modified.join(", ")
        ));
    }
    let is_cut = diff::is_cut(diff);
    if is_cut {
        unknown.push(
            "further tables and sinks: the diff is too large to be kept whole, and what it names beyond that may be emptied, removed or repeated as well"
                .to_owned(),
        );
    }
    // None of what is shown isn't none of all.
    let known = |names: Vec<String>| (!is_cut || !names.is_empty()).then_some(names);
    let Some(connectors) = connectors else {
        unknown
            .push("tables and sinks: the engine doesn't show the program's connectors".to_owned());
        return AtStake {
            dropped_input,
            unknown,
            ..AtStake::default()
        };
    };
    let fed = |table: &str| connectors.inputs.iter().any(|(_, of)| same_name(of, table));
    let (refilled, lost): (Vec<&str>, Vec<&str>) =
        modified_tables.iter().partition(|table| fed(table));
    let repeated = |relation: &str| {
        !options.silent
            && modified_views
                .iter()
                .chain(&modified_tables)
                .any(|changed| same_name(changed, relation))
    };
    AtStake {
        tables_refilled: known(owned(&refilled)),
        tables_lost: known(owned(&[lost, removed_tables].concat())),
        sinks_repeated: known(
            connectors
                .outputs
                .iter()
                .filter(|(_, of)| repeated(of))
                .map(|(name, _)| name.clone())
                .collect(),
        ),
        dropped_input,
        state_lost: false,
        unknown,
    }
}

/// What is at stake where the pipeline begins from nothing.
pub(crate) fn everything() -> AtStake {
    AtStake {
        state_lost: true,
        dropped_input: "unknown".to_owned(),
        unknown: vec![
            "which tables nothing fills again, what connectors still have, and what sinks make of everything once more"
                .to_owned(),
        ],
        ..AtStake::default()
    }
}

/// What is at stake where the pipeline is gone from its engine and is made anew: nobody knows whether the old one runs on.
pub(crate) fn everything_of_a_lost_one() -> AtStake {
    let mut at_stake = everything();
    at_stake.unknown.push(
        "whether the old pipeline still runs somewhere: then the same input is read twice, and sinks get everything twice"
            .to_owned(),
    );
    at_stake
}

/// What is at stake where what runs leaves nothing behind, and the pipeline resumes from a checkpoint of before.
pub(crate) fn everything_since_a_checkpoint() -> AtStake {
    AtStake {
        state_lost: true,
        dropped_input: "unknown".to_owned(),
        unknown: vec![
            "all that was computed since storage was turned off is lost, also rows that people inserted: the pipeline goes back to a checkpoint of before that, and what its connectors read again from there, and whether it arrives twice, isn't known"
                .to_owned(),
            MIXED_RESULTS.to_owned(),
        ],
        ..AtStake::default()
    }
}

/// SQL names are compared without regard to case unless quoted; the engine isn't consistent about
/// which form it shows.
fn same_name(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn connectors() -> Connectors {
        Connectors {
            inputs: vec![("fed.kafka".into(), "fed".into())],
            outputs: vec![("v.sink".into(), "v".into()), ("w.sink".into(), "w".into())],
        }
    }

    fn diff() -> Value {
        json!({"program_diff": {
            "modified_tables": ["fed", "by_hand"], "removed_tables": ["gone"], "modified_views": ["v"],
        }})
    }

    #[test]
    fn a18_emptied_tables_are_told_apart_by_whether_a_connector_fills_them_again() {
        let stake = at_stake(
            &diff(),
            Some(&connectors()),
            BootstrapOptions::default(),
            true,
        );
        assert_eq!(stake.tables_refilled.unwrap(), ["fed"]);
        assert_eq!(stake.tables_lost.unwrap(), ["by_hand", "gone"]);
        assert_eq!(stake.dropped_input, "none");
        assert_eq!(stake.unknown, [""; 0]);
    }

    #[test]
    fn a18_sinks_of_changed_views_get_everything_again_unless_the_bootstrap_is_silent() {
        for (silent, sinks) in [(false, vec!["v.sink"]), (true, vec![])] {
            let options = BootstrapOptions {
                silent,
                concurrent: false,
            };
            let stake = at_stake(&diff(), Some(&connectors()), options, true);
            assert_eq!(stake.sinks_repeated.unwrap(), sinks);
        }
    }

    #[test]
    fn a18_what_cannot_be_known_is_unknown_and_never_none() {
        let broken = json!({"program_diff": null, "program_diff_error": "x"});
        for (diff, connectors) in [(broken, Some(connectors())), (diff(), None)] {
            let stake = at_stake(
                &diff,
                connectors.as_ref(),
                BootstrapOptions::default(),
                false,
            );
            assert_eq!(stake.tables_lost, None);
            assert_eq!(stake.sinks_repeated, None);
            assert_eq!(stake.dropped_input, "unknown");
            assert!(!stake.unknown.is_empty());
        }
    }
}
