//! What a page shows and what is seen, compared.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Stands for anything that a page leaves out.
const LEFT_OUT: &str = "…";

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern")
}

/// A change id, whole or short.
static ID: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b([0-9a-f]{32}|[0-9a-f]{8})\b"));

/// What differs from run to run, and what stands for it. A uid isn't taken for two ids.
static DIFFERS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
        (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z| UTC)", "TIME"),
        (r"\w{3} \w{3} +\d+ \d\d:\d\d:\d\d \d{4}", "TIME"),
        (r"\b\d+(\.\d+)? s\b", "AGE"),
        // Shorter than an id: some look like an age.
        (r"\b\d{1,3}[smhd](\d{1,2}[smhd])?\b", "AGE"),
        (r"checkpoint \d+", "checkpoint N"),
        (r#""checkpoint_sequence_number":\d+"#, "N"),
        (r"\b[0-9a-f]{16}\b", "NAME"),
        (r"127\.0\.0\.1:\d+", "ADDRESS"),
        // How far it is when somebody looks isn't the same each time.
        (r"(?m)^(waiting until|approved|the engine has)[^\n]*…\n", ""),
        (r"is applied, and a checkpoint keeps it", "is applied"),
        // Columns are as wide as what stands in them.
        (r"  +", "  "),
        (r"(?m) +$", ""),
    ]
    .map(|(text, by)| (pattern(text), by))
    .into()
});

/// The text with what differs from run to run replaced, but for ids.
fn plain(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, by) in DIFFERS.iter() {
        text = pattern.replace_all(&text, *by).into_owned();
    }
    text
}

/// Which id of a page is which of this run, by their first 8 digits.
#[derive(Clone, Default)]
pub struct Comparison {
    seen_for: HashMap<String, String>,
    shown_for: HashMap<String, String>,
}

impl Comparison {
    /// Compares what a page shows with what is seen, and learns the ids.
    ///
    /// # Errors
    /// Says which line isn't seen.
    pub fn compare(&mut self, shown: &str, seen: &str) -> Result<(), String> {
        match self.clone().try_compare(&plain(shown), &plain(seen)) {
            Ok(learned) => {
                *self = learned;
                Ok(())
            }
            Err(line) => Err(format!(
                "the page shows: {line:?}\nAll that is seen:\n{seen}"
            )),
        }
    }

    fn try_compare(mut self, shown: &str, seen: &str) -> Result<Self, String> {
        let mut seen = seen.lines();
        let mut anything = false;
        for line in shown.lines() {
            if line == LEFT_OUT {
                anything = true;
                continue;
            }
            loop {
                let Some(next) = seen.next() else {
                    return Err(line.to_owned());
                };
                if self.same_line(line, next) {
                    break;
                }
                if !anything {
                    return Err(line.to_owned());
                }
            }
            anything = false;
        }
        match seen.next() {
            Some(_) if !anything => Err("nothing more".to_owned()),
            _ => Ok(self),
        }
    }

    /// Whether two lines are the same but for ids, and these stand for each other throughout.
    fn same_line(&mut self, shown: &str, seen: &str) -> bool {
        let seen = match shown.strip_suffix(LEFT_OUT) {
            Some(begin) => {
                let length = begin.chars().count();
                if seen.chars().count() < length {
                    return false;
                }
                seen.chars().take(length).collect::<String>() + LEFT_OUT
            }
            None => seen.to_owned(),
        };
        if ID.replace_all(shown, "") != ID.replace_all(&seen, "") {
            return false;
        }
        let pairs = ID.find_iter(shown).zip(ID.find_iter(&seen));
        let mut learned = self.clone();
        for (shown, seen) in pairs {
            if !learned.stands_for(shown.as_str(), seen.as_str()) {
                return false;
            }
        }
        *self = learned;
        true
    }

    fn stands_for(&mut self, shown: &str, seen: &str) -> bool {
        if shown.len() != seen.len() {
            return false;
        }
        let (short, seen_short) = (shown[..8].to_owned(), seen[..8].to_owned());
        let known = self
            .seen_for
            .entry(short.clone())
            .or_insert_with(|| seen.to_owned());
        if known[..8] != seen_short {
            return false;
        }
        if seen.len() > known.len() {
            *known = seen.to_owned();
        }
        *self.shown_for.entry(seen_short).or_insert(short.clone()) == short
    }

    /// A text of the page with the ids of this run.
    pub fn as_seen(&self, text: &str) -> String {
        let replaced = |found: &Captures| {
            let id = &found[1];
            let seen = self.seen_for.get(&id[..8]);
            seen.and_then(|seen| seen.get(..id.len()))
                .unwrap_or(id)
                .to_owned()
        };
        ID.replace_all(text, replaced).into_owned()
    }

    /// Learns ids from what a page shows no longer, by their order: so that a page that is written anew can
    /// go on with commands that name them.
    pub fn learn_by_order(&mut self, shown: &str, seen: &str) {
        let (shown, seen) = (plain(shown), plain(seen));
        let distinct = |text: &str| {
            let mut ids: Vec<String> = vec![];
            for id in ID.find_iter(text) {
                if !ids.iter().any(|known| known[..8] == id.as_str()[..8]) {
                    ids.push(id.as_str().to_owned());
                }
            }
            ids
        };
        for (shown, seen) in distinct(&shown).iter().zip(distinct(&seen)) {
            self.stands_for(shown, &seen);
        }
    }

    /// The lines that a page shows, as they were seen, in that order and with anything in between.
    pub fn found_in(shown: &str, seen: &str) -> Option<String> {
        let mut comparison = Self::default();
        let mut seen = seen.lines();
        let mut found = String::new();
        for line in shown.lines() {
            let line = plain(line);
            let next = seen.find(|seen| comparison.same_line(&line, &plain(seen)))?;
            found += &format!("{next}\n");
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    const A: &str = "0123456789abcdef0123456789abcdef";
    const B: &str = "fedcba9876543210fedcba9876543210";

    #[test]
    fn ids_are_compared_by_which_is_which() {
        let mut comparison = super::Comparison::default();
        assert_eq!(
            comparison.compare("change 01234567\n", "change fedcba98\n"),
            Ok(())
        );
        assert_eq!(comparison.compare(A, B), Ok(()));
        assert!(
            comparison
                .compare("change 01234567", "change 01234567")
                .is_err()
        );
        assert!(
            comparison
                .compare("change 11111111", "change fedcba98")
                .is_err()
        );
        assert_eq!(
            comparison.as_seen(&format!("approve {A}")),
            format!("approve {B}")
        );
    }

    #[test]
    fn an_id_that_looks_like_an_age_is_an_id() {
        for seen in ["12s 0725d15d", "12s 1234567d"] {
            let compared = super::Comparison::default().compare("2m30s 01234567", seen);
            assert_eq!(compared, Ok(()));
        }
    }

    #[test]
    fn what_is_left_out_may_be_anything_and_nothing_else_may() {
        let compare =
            |shown: &str, seen: &str| super::Comparison::default().compare(shown, seen).is_ok();
        assert!(compare("a\n…\nd\n", "a\nb\nc\nd\n"));
        assert!(compare("a\n…\n", "a\n"));
        assert!(compare("a long…\n", "a long line\n"));
        assert!(!compare("a\n…\nd\n", "a\nb\nc\n"));
        assert!(!compare("a\n", "a\nb\n"));
        assert!(!compare("a\nb\n", "a\n"));
        assert!(compare(
            "x   12s   2026-01-01 00:00:00 UTC",
            "x  3m10s  2027-01-01 00:00:00 UTC"
        ));
    }

    #[test]
    fn what_a_watch_shows_is_looked_for_in_its_order() {
        let found = |shown: &str| super::Comparison::found_in(shown, "a\nb  1s\nc\nd\n");
        assert_eq!(found("a\nb  2s\nd\n"), Some("a\nb  1s\nd\n".to_owned()));
        assert_eq!(found("c\na\n"), None);
    }
}
