//! What decides is a chain: each part knows only those before it. Methods can't be called against the direction, since each
//! step owns the one before; this holds what they import to it as well.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The parts of `decide`, in their order.
const LAYERS: [&str; 21] = [
    "engine_call",
    "act",
    "guard",
    "outcome",
    "input",
    "reason",
    "facts",
    "event_reason",
    "report",
    "news",
    "history",
    "bounds",
    "record",
    "happened",
    "deletion",
    "holds",
    "shown",
    "next",
    "needs",
    "plan",
    "tests",
];

/// Names that `decide` re-exports of a part, as far as they are of one of the later ones.
const RE_EXPORTED: [(&str, &str); 6] = [
    ("AuditEvent", "shown"),
    ("Needs", "needs"),
    ("Plan", "plan"),
    ("Step", "plan"),
    ("is_owned", "happened"),
    ("build_tag", "happened"),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/decide")
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![];
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(sources(&path));
        } else {
            all.push(path);
        }
    }
    all
}

/// The first names of what follows `crate::decide::`, of one or of several in braces.
fn named_after(rest: &str) -> Vec<&str> {
    let word = |text: &str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        end.unwrap_or(text.len())
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![&rest[..word(rest)]];
    };
    let mut depth = 0;
    let mut names = vec![];
    let mut at_start = true;
    for (index, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            c if at_start && !c.is_whitespace() => {
                names.push(&group[index..index + word(&group[index..])]);
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

fn layer(name: &str) -> Option<usize> {
    let part = RE_EXPORTED.iter().find(|(known, _)| *known == name);
    let part = part.map_or(name, |(_, part)| part);
    LAYERS.iter().position(|layer| *layer == part)
}

/// What a source imports of `decide`.
fn imported(source: &str, is_at_the_top: bool) -> BTreeSet<&str> {
    let mut prefixes = vec!["crate::decide::"];
    if is_at_the_top {
        prefixes.push("super::");
    }
    prefixes
        .into_iter()
        .flat_map(|prefix| source.split(prefix).skip(1).flat_map(named_after))
        .collect()
}

#[test]
fn no_part_of_the_decision_knows_a_later_one() {
    let folder = folder();
    let mut seen = BTreeSet::new();
    let mut against = vec![];
    for path in sources(&folder) {
        let inner = path.strip_prefix(&folder).expect("inside");
        let first = inner.components().next().expect("a name");
        let part = Path::new(first.as_os_str()).with_extension("");
        let part = part.to_string_lossy().into_owned();
        let own = layer(&part).unwrap_or_else(|| panic!("{part} has no place in the order"));
        seen.insert(own);
        let text = std::fs::read_to_string(&path).expect("a source");
        // Tests may use all.
        let source = text.split("#[cfg(test)]").next().unwrap_or_default();
        let is_at_the_top = inner.components().count() == 1;
        for name in imported(source, is_at_the_top) {
            if layer(name).is_some_and(|other| other > own) {
                against.push(format!("{} uses {name}", inner.display()));
            }
        }
    }
    assert_eq!(seen.len(), LAYERS.len(), "a part is gone: {seen:?}");
    assert!(against.is_empty(), "{against:#?}");
}

#[test]
fn what_is_imported_is_found_in_each_form() {
    let source =
        "use crate::decide::{plan::{self, Plan}, Seen};\nuse super::next;\ncrate::decide::holds::X";
    let all: Vec<&str> = imported(source, true).into_iter().collect();
    assert_eq!(all, ["Seen", "holds", "next", "plan"]);
    assert_eq!(named_after("{a::{b, c}, d as e}"), ["a", "d"]);
}
