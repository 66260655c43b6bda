//! An engine's diff, kept as far as it fits into a status.
//!
//! A program may have thousands of tables with names of any length, and a status holds the diff twice. So one that is
//! too large is cut where it enters, and carries from then on what it was: the digest of the whole, by which it is
//! compared and approved, and how many names were left out of which list. Nothing that is cut is taken for whole, and
//! two diffs that differ only in what was left out are still two.

use crate::canonical;
use serde_json::{Map, Value, json};

use crate::text::{self, Limit};

/// How many bytes of JSON a diff may take.
pub const MOST: usize = 32 * 1024;

/// What a diff is kept to where room is short.
pub const LEAST: usize = 8 * 1024;

/// The key under which a cut diff says what it was. An engine has no say in it.
pub const CUT: &str = "sluiceCut";

/// How much is kept of a text in it, such as why it isn't known.
const TEXT: Limit = Limit::Bytes(512);

/// The longest name that is kept of a diff that is too large. Names are compared, so they are never cut.
const NAME: usize = 256;

/// How many lists of a diff are kept, and how long their keys may be: Feldera's has twelve.
const LISTS: usize = 16;
const KEY: usize = 50;

/// How many bytes of a cut diff are no names: keys, digest, counts, an error.
const FRAME: usize = 4 * 1024;

/// Where it is counted what else was left out.
const OTHER: &str = "other";

/// A diff as an engine gave it: made fit to be stored and shown, and cut if it is too large.
pub fn taken_in(diff: Value) -> Value {
    let mut diff = text::clean_value(diff);
    if let Some(diff) = diff.as_object_mut() {
        diff.remove(CUT);
    }
    cut(diff, MOST)
}

/// A diff that takes no more than so many bytes. One that was cut before may be cut further.
pub fn cut(diff: Value, most: usize) -> Value {
    if size(&diff) <= most {
        return diff;
    }
    let digest = digest(&diff);
    let mut left_out = Map::new();
    for path in paths(&diff) {
        let before = left_out_at(&diff, &path);
        if before > 0 {
            left_out.insert(path, json!(before));
        }
    }
    let mut kept = Map::new();
    let mut room = most.saturating_sub(FRAME);
    let (mut all, mut other) = lists(&diff);
    let beyond = all.split_off(all.len().min(LISTS));
    other += beyond.iter().map(|(_, names)| names.len()).sum::<usize>();
    if other > 0 {
        let sum = other + left_out_at(&diff, OTHER);
        left_out.insert(OTHER.into(), json!(sum));
    }
    let mut rest = all.len();
    for (path, names) in all {
        // What a list doesn't need is there for those after it.
        let share = room / rest.max(1);
        rest = rest.saturating_sub(1);
        let mut used = 0;
        let mut shown: Vec<Value> = vec![];
        for name in names {
            let length = size(name) + 1;
            if length > NAME || used + length > share {
                break;
            }
            used += length;
            shown.push(name.clone());
        }
        room -= used;
        let missing = names.len() - shown.len();
        if missing > 0 {
            let sum = missing as u64 + left_out.get(&path).and_then(Value::as_u64).unwrap_or(0);
            left_out.insert(path.clone(), json!(sum));
        }
        put(&mut kept, &path, Value::Array(shown));
    }
    if let Some(program) = diff.get("program_diff") {
        match program {
            Value::Object(_) => {
                kept.entry("program_diff").or_insert_with(|| json!({}));
            }
            // Whatever it is, it isn't a diff that is known.
            _ => {
                kept.insert("program_diff".into(), Value::Null);
            }
        }
    }
    if let Some(error) = diff.get("program_diff_error").filter(|it| !it.is_null()) {
        let error = match error {
            Value::String(error) => error.clone(),
            other => other.to_string(),
        };
        kept.insert(
            "program_diff_error".into(),
            json!(text::foreign(&error, TEXT)),
        );
    }
    kept.insert(CUT.into(), json!({"digest": digest, "leftOut": left_out}));
    Value::Object(kept)
}

/// SHA-256 over the canonical form of the whole diff, 64 hex digits, however much of it is kept.
pub fn digest(diff: &Value) -> String {
    let known = diff.get(CUT).and_then(|cut| cut.get("digest"));
    match known.and_then(Value::as_str) {
        Some(digest) => digest.to_owned(),
        None => canonical::digest(diff),
    }
}

/// Whether it is only a part of what the engine gave.
pub fn is_cut(diff: &Value) -> bool {
    diff.get(CUT).is_some()
}

/// The same of a diff as a status has it.
pub fn is_cut_map(diff: &Map<String, Value>) -> bool {
    diff.contains_key(CUT)
}

/// How many names of a list were left out, by the list's pointer.
pub fn left_out(diff: &Value, pointer: &str) -> usize {
    left_out_at(diff, &pointer.trim_start_matches('/').replace('/', "."))
}

/// How many names of all lists were left out, with the path of each.
pub fn all_left_out(diff: &Map<String, Value>) -> Vec<(String, usize)> {
    let cut = diff.get(CUT).and_then(|cut| cut.get("leftOut"));
    let counts = cut.and_then(Value::as_object).into_iter().flatten();
    counts
        .map(|(path, count)| (path.clone(), as_count(count)))
        .collect()
}

fn left_out_at(diff: &Value, path: &str) -> usize {
    let counts = diff.get(CUT).and_then(|cut| cut.get("leftOut"));
    counts.and_then(|it| it.get(path)).map_or(0, as_count)
}

fn as_count(count: &Value) -> usize {
    count
        .as_u64()
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or(0)
}

/// The paths of which something was left out before.
fn paths(diff: &Value) -> Vec<String> {
    let counts = diff.get(CUT).and_then(|cut| cut.get("leftOut"));
    let counts = counts.and_then(Value::as_object);
    counts.map_or_else(Vec::new, |it| it.keys().cloned().collect())
}

/// The lists of a diff, those of the program first; and how much there is beside them, but for what is treated by itself.
fn lists(diff: &Value) -> (Vec<(String, &Vec<Value>)>, usize) {
    let mut all = vec![];
    let mut other = 0;
    for (prefix, object) in [
        ("program_diff.", diff.get("program_diff")),
        ("", Some(diff)),
    ] {
        for (key, value) in object.and_then(Value::as_object).into_iter().flatten() {
            let by_itself = prefix.is_empty()
                && matches!(key.as_str(), CUT | "program_diff" | "program_diff_error");
            match value {
                _ if by_itself => {}
                Value::Array(list) if size(&json!(key)) <= KEY => {
                    all.push((format!("{prefix}{key}"), list));
                }
                Value::Array(list) => other += list.len(),
                Value::Null => {}
                _ => other += 1,
            }
        }
    }
    (all, other)
}

fn put(kept: &mut Map<String, Value>, path: &str, list: Value) {
    match path.strip_prefix("program_diff.") {
        Some(key) => {
            let program = kept.entry("program_diff").or_insert_with(|| json!({}));
            program[key] = list;
        }
        None => {
            kept.insert(path.to_owned(), list);
        }
    }
}

fn size(value: &Value) -> usize {
    // JSON values always serialize.
    serde_json::to_string(value).map_or(0, |text| text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::PipelineState;
    use proptest::prelude::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("view_number_{n}")).collect()
    }

    #[test]
    fn a_diff_that_fits_stays_as_it_is_and_its_digest_is_what_it_always_was() {
        let diff = json!({"program_diff": {"added_views": names(100)}, "program_diff_error": null});
        assert_eq!(taken_in(diff.clone()), diff);
        assert_eq!(digest(&diff), canonical::digest(&diff));
        assert_eq!(digest(&Value::Null), canonical::digest(&Value::Null));
    }

    #[test]
    fn a8_of_a_diff_that_is_too_large_it_is_known_what_is_missing_and_which_one_it_was() {
        let mut all = names(9_000);
        let diff = json!({"program_diff": {"modified_views": all, "removed_tables": ["t"]},
            "added_input_connectors": ["x".repeat(300)], "program_diff_error": null});
        let kept = taken_in(diff.clone());
        assert!(is_cut(&kept) && !is_cut(&diff));
        assert_eq!(digest(&kept), canonical::digest(&diff));
        assert!(PipelineState::diff_is_known(&kept));
        assert_eq!(kept["program_diff"]["removed_tables"], json!(["t"]));
        let shown = kept["program_diff"]["modified_views"].as_array().unwrap();
        assert!(shown.len() > 100);
        let missing = left_out(&kept, "/program_diff/modified_views");
        assert_eq!(shown.len() + missing, 9_000);
        assert_eq!(left_out(&kept, "/added_input_connectors"), 1);
        assert_eq!(left_out(&kept, "/program_diff/removed_tables"), 0);
        // Another one, which differs only in what isn't kept.
        if let Some(last) = all.last_mut() {
            last.push('x');
        }
        let other = json!({"program_diff": {"modified_views": all, "removed_tables": ["t"]},
            "added_input_connectors": ["x".repeat(300)], "program_diff_error": null});
        assert_ne!(digest(&taken_in(other)), digest(&kept));
    }

    #[test]
    fn a8_a_diff_that_is_not_known_does_not_become_known_by_being_cut() {
        let long = "x".repeat(100_000);
        for diff in [
            json!({"program_diff": null, "program_diff_error": long}),
            json!({"program_diff": {}, "program_diff_error": {"why": long}}),
            json!({"program_diff": long}),
            json!([long]),
            json!(long),
            json!({"odd": long}),
        ] {
            let kept = taken_in(diff.clone());
            assert!(size(&kept) <= MOST);
            assert!(!PipelineState::diff_is_known(&kept), "{kept}");
            assert_eq!(digest(&kept), canonical::digest(&diff));
        }
    }

    #[test]
    fn an_engine_cannot_say_that_a_diff_is_another_one() {
        let forged =
            json!({"program_diff": {"added_views": ["v"]}, CUT: {"digest": "0", "leftOut": {}}});
        let plain = json!({"program_diff": {"added_views": ["v"]}});
        assert_eq!(taken_in(forged), plain);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn a_cut_diff_fits_and_cut_again_it_says_the_same(
            lists in proptest::collection::btree_map(".{0,100}", proptest::collection::vec(".{0,300}", 0..90), 0..40),
            outer in proptest::collection::btree_map(".{0,100}", proptest::collection::vec("[a-z]{0,40}", 0..300), 0..40),
        ) {
            let mut diff = json!({"program_diff": lists});
            for (key, list) in outer {
                diff[key.as_str()] = json!(list);
            }
            let clean = text::clean_value(diff.clone());
            let mut kept = taken_in(diff);
            for most in [MOST, LEAST] {
                kept = cut(kept, most);
                prop_assert!(size(&kept) <= most, "{}", size(&kept));
                prop_assert_eq!(&cut(kept.clone(), most), &kept);
                prop_assert_eq!(digest(&kept), canonical::digest(&clean));
            }
        }
    }
}
