//! The engine's diff in words.

use serde_json::Value;

use crate::change;
use crate::crd::Target;
use crate::engine::diff;
use crate::text::{self, Limit};

/// The lists of a diff, and how a person would say what is in them: one, several.
const LISTS: [(&str, &str, &str, &str); 12] = [
    ("/program_diff/removed_tables", "removes", "table", "tables"),
    ("/program_diff/removed_views", "removes", "view", "views"),
    (
        "/program_diff/modified_tables",
        "modifies",
        "table",
        "tables",
    ),
    ("/program_diff/modified_views", "modifies", "view", "views"),
    ("/program_diff/added_tables", "adds", "table", "tables"),
    ("/program_diff/added_views", "adds", "view", "views"),
    (
        "/removed_input_connectors",
        "removes",
        "input connector",
        "input connectors",
    ),
    (
        "/modified_input_connectors",
        "modifies",
        "input connector",
        "input connectors",
    ),
    (
        "/added_input_connectors",
        "adds",
        "input connector",
        "input connectors",
    ),
    (
        "/removed_output_connectors",
        "removes",
        "output connector",
        "output connectors",
    ),
    (
        "/modified_output_connectors",
        "modifies",
        "output connector",
        "output connectors",
    ),
    (
        "/added_output_connectors",
        "adds",
        "output connector",
        "output connectors",
    ),
];

/// How many names of a list are said before the rest is counted.
const NAMES: usize = 5;

/// How long a name may be that is said. SQL has no limit of its own.
const NAME: Limit = Limit::Characters(100);

/// How much is said of why the engine can't compare two programs.
const WHY: Limit = Limit::Characters(500);

/// What is said of a diff of which a part was left out.
const TOO_LARGE: &str = "the diff is too large to be shown whole";

/// The diff on one line: `modifies view avg_grade; adds tables a, b`.
pub(crate) fn of(diff: &Value) -> String {
    let parts: Vec<String> = LISTS
        .iter()
        .filter_map(|(pointer, verb, one, several)| {
            let (names, left_out) = (names(diff, pointer), diff::left_out(diff, pointer));
            let count = names.len() + left_out;
            let noun = if count == 1 { one } else { several };
            (count > 0).then(|| format!("{verb} {noun} {}", enumerate(&names, left_out)))
        })
        .chain(diff::is_cut(diff).then(|| TOO_LARGE.to_owned()))
        .collect();
    let error = diff.get("program_diff_error").and_then(Value::as_str);
    let error = error.map(|error| text::foreign(error, WHY));
    match (error, parts.is_empty()) {
        (Some(error), true) => format!("unknown: the engine can't compare the programs ({error})"),
        (Some(error), false) => format!(
            "unknown: the engine can't compare the programs ({error}); {}",
            parts.join("; ")
        ),
        (None, false) => parts.join("; "),
        (None, true) if diff.is_object() => "the engine names no difference".to_owned(),
        (None, true) => "unknown: the engine gives no diff".to_owned(),
    }
}

/// What is said of a change from a checkpoint of unknown origin.
pub(crate) const UNKNOWN_ORIGIN: &str = "unknown: nobody recorded what the checkpoint was made from, so functions, runtime version and settings may be others";

/// What is said of a change that has the engine read no checkpoint any more.
pub(crate) const STORAGE_OFF: &str =
    "turns storage off: all that the pipeline has computed is lost, and it begins from nothing";

/// What is said of a change that has the engine read a checkpoint again, while something runs without.
pub(crate) const STORAGE_ON: &str = "turns storage on again: all that the pipeline has computed since it was turned off is lost, and it goes back to the last checkpoint of before";

/// What is said of a start from nothing of a pipeline that had a state: with what differs from what had run with it.
pub(crate) fn begins_from_nothing(ran: Option<&Target>, target: &Target) -> String {
    let with = match ran {
        None => ", and what had run with it isn't known".to_owned(),
        Some(ran) => match change::differences(ran, target)[..] {
            [] => String::new(),
            ref parts => format!(
                ", with what differs from what had run with it: {}",
                parts.join(", ")
            ),
        },
    };
    format!("the state that the pipeline had is gone from its engine: it begins from nothing{with}")
}

/// What alters results although the engine's gate doesn't ask about it, on one line; empty if nothing
/// of that kind differs.
/// `settings` are the names of those settings that differ, as far as they are known.
pub(crate) fn unseen_by_the_engine(from: &Target, to: &Target, settings: &[String]) -> String {
    let named = |version: &str| match version {
        "" => "the engine's own".to_owned(),
        version => text::foreign_line(version, NAME),
    };
    let words = |part| match part {
        "udfRust" => "changes user-defined functions (Rust)".to_owned(),
        "udfToml" => "changes what user-defined functions depend on (TOML)".to_owned(),
        "settings" if settings.is_empty() => "changes runtime settings".to_owned(),
        "settings" => {
            let names: Vec<&str> = settings.iter().map(String::as_str).collect();
            format!("changes the runtime settings {}", enumerate(&names, 0))
        }
        _ => format!(
            "changes the runtime version from {} to {}",
            named(&from.runtime_version),
            named(&to.runtime_version)
        ),
    };
    let parts = change::differences(from, to).into_iter();
    let unseen = parts.filter(|part| change::UNSEEN_BY_THE_ENGINE.contains(part));
    unseen.map(words).collect::<Vec<_>>().join("; ")
}

/// The whole change on one line: what the engine doesn't ask about, and its diff.
pub(crate) fn with_unseen(unseen: &str, diff: &Value) -> String {
    match (unseen.is_empty(), is_empty(diff)) {
        (true, _) => of(diff),
        (false, true) => unseen.to_owned(),
        (false, false) => format!("{unseen}; {}", of(diff)),
    }
}

/// Whether the diff is known, and says that nothing changes.
pub(crate) fn is_empty(diff: &Value) -> bool {
    crate::engine::PipelineState::diff_is_known(diff)
        && !diff::is_cut(diff)
        && LISTS
            .iter()
            .all(|(pointer, ..)| names(diff, pointer).is_empty())
}

/// The names in one of the diff's lists.
pub(crate) fn names<'a>(diff: &'a Value, pointer: &str) -> Vec<&'a str> {
    diff.pointer(pointer)
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

/// The first of these names, and how many there are beside them and those that were left out.
pub(crate) fn enumerate(names: &[&str], left_out: usize) -> String {
    let said = names.len().min(NAMES);
    let shown = names[..said]
        .iter()
        .map(|name| text::foreign_line(name, NAME));
    let listed = shown.collect::<Vec<_>>().join(", ");
    match names.len() - said + left_out {
        0 => listed,
        all if said == 0 => format!("({all}, none of which is shown)"),
        rest => format!("{listed} and {rest} more"),
    }
}

/// That the engine doesn't show settings that it was given.
pub(crate) fn settings_not_shown(names: &[String]) -> String {
    format!(
        "the engine took the content and doesn't show these settings of it, so they aren't in force: {}. This version of it may not know them, or by another name",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_diff_reads_as_a_sentence() {
        let cases = [
            (
                json!({"program_diff": {"modified_views": ["v1", "v2"], "added_tables": ["t"]}, "added_output_connectors": ["v1.sink"]}),
                "modifies views v1, v2; adds table t; adds output connector v1.sink",
            ),
            (
                json!({"program_diff": {"removed_views": ["a", "b", "c", "d", "e", "f", "g"]}}),
                "removes views a, b, c, d, e and 2 more",
            ),
            (
                json!({"program_diff": {}}),
                "the engine names no difference",
            ),
            (json!(null), "unknown: the engine gives no diff"),
            (
                json!({"program_diff": null, "program_diff_error": "no IR"}),
                "unknown: the engine can't compare the programs (no IR)",
            ),
        ];
        for (diff, words) in cases {
            assert_eq!(of(&diff), words);
        }
    }

    #[test]
    fn a_name_in_a_sentence_cannot_pass_for_another_or_go_on_without_end() {
        let names = ["a\u{202e}b", "c\nadds table d", &"x".repeat(300)];
        let words = of(&json!({"program_diff": {"added_views": names}}));
        let expected = format!(
            "adds views a\\u{{202e}}b, c\\nadds table d, {}…",
            "x".repeat(99)
        );
        assert_eq!(words, expected);
    }

    #[test]
    fn a_diff_that_is_not_known_is_not_empty() {
        assert!(is_empty(
            &json!({"program_diff": {}, "program_diff_error": null})
        ));
        assert!(!is_empty(
            &json!({"program_diff": null, "program_diff_error": "x"})
        ));
        assert!(!is_empty(&json!(null)));
    }
}
