//! The names that the reference pages list: flags, metrics, reasons. Those pages are made from the code, or held to
//! it by tests, so what is gone from them is gone.

use std::collections::BTreeMap;

use regex::Regex;

/// The tables that are compared: what stands over their first column, in which column the names are, and which
/// columns stay as they are. What isn't here explains, and may be said in other words.
const KEPT: [(&str, usize, &[usize]); 8] = [
    // Its form, its variable, its default.
    ("flag", 0, &[0, 1, 2]),
    // Its kind, its labels.
    ("metric", 0, &[1, 2]),
    ("phase", 0, &[]),
    ("type", 0, &[]),
    ("reason", 0, &[]),
    // The reasons of `Approved`.
    ("status", 1, &[0]),
    ("Event", 0, &[]),
    // Annotations.
    ("name", 0, &[]),
];

/// A row: over what its first column stands, below which heading, and its name.
type Key = (String, String, String);

/// What a page no longer lists, or lists otherwise.
pub fn breaks_between(before: &str, now: &str) -> Vec<String> {
    let now = rows(now);
    let mut breaks = vec![];
    for (key, cells) in rows(before) {
        let (table, heading, name) = &key;
        let place = format!("{heading}: {table} {name}");
        match now.get(&key) {
            None => breaks.push(format!("{place} is gone")),
            Some(now) if *now != cells => {
                breaks.push(format!("{place} was {cells:?} and is {now:?}"));
            }
            Some(_) => {}
        }
    }
    breaks
}

fn rows(page: &str) -> BTreeMap<Key, Vec<String>> {
    // `--flag VALUE` is known by what stands before the space.
    let name = Regex::new("`([^` ]+)[^`]*`").expect("an expression");
    let mut rows = BTreeMap::new();
    let (mut heading, mut table) = (String::new(), None);
    for line in page.lines() {
        if let Some(text) = line.strip_prefix("## ") {
            heading = text.to_owned();
        }
        let Some(line) = line.strip_prefix("| ") else {
            table = None;
            continue;
        };
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Some(known) = table else {
            table = Some(KEPT.iter().find(|(first, ..)| *first == cells[0]));
            continue;
        };
        let Some((first, names, kept)) = known else {
            continue;
        };
        for found in name.captures_iter(cells.get(*names).copied().unwrap_or_default()) {
            let key = ((*first).to_owned(), heading.clone(), found[1].to_owned());
            let cell = |column: &usize| cells.get(*column).copied().unwrap_or_default().to_owned();
            rows.insert(key, kept.iter().map(cell).collect());
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "## Run

| flag | environment | default | |
| --- | --- | --- | --- |
| `--url URL` | `URL` | none | where |
| `--every DURATION` | `EVERY` | `2s` | how often |

| reason | means |
| --- | --- |
| `Here`, `There` | it is somewhere |

| label | |
| --- | --- |
| `call` | any |
";

    #[test]
    fn other_words_and_further_rows_break_nothing() {
        let now = PAGE
            .replace("how often", "how often it is asked")
            .replace("| `Here`", "| `Elsewhere` | it is not |\n| `Here`")
            .replace("| `call` | any |\n", "");
        assert_eq!(breaks_between(PAGE, &now), Vec::<String>::new());
    }

    #[test]
    fn what_is_gone_and_what_is_another_is_told_with_its_place() {
        for (from, to, told) in [
            ("`--url URL`", "`--uri URL`", "Run: flag --url is gone"),
            ("`Here`, ", "", "Run: reason Here is gone"),
            (
                "`2s`",
                "`3s`",
                "Run: flag --every was [\"`--every DURATION`\", \"`EVERY`\", \"`2s`\"] and is [\"`--every DURATION`\", \"`EVERY`\", \"`3s`\"]",
            ),
        ] {
            assert_eq!(breaks_between(PAGE, &PAGE.replace(from, to)), [told]);
        }
    }
}
