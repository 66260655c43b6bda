//! `docs/values.md`: what the charts can be told, from the comments in their `values.yaml`.
//!
//! Helm has no place for comments but the file itself, so it is read line by line: a comment belongs to
//! the key below it, and two blanks are one step in.

use std::fmt::Write as _;

use super::markdown::{cell, header};

/// A value of a chart, or a group of them.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    /// From the root, as `--set` takes it.
    path: String,
    /// What it is if nobody says anything; `None` for a group.
    default: Option<String>,
    /// What the comment above it says.
    comment: String,
}

/// The whole document, from the texts of both files.
pub fn document(operator: &str, pipelines: &str) -> String {
    let mut text = header("the charts' values.yaml");
    text += "# Values of the charts\n\nHelm refuses what doesn't stand here, and values of the wrong form. How to install: \
        [install.md](install.md).\n";
    for (chart, values) in [("sluice", operator), ("sluice-pipelines", pipelines)] {
        let _ = write!(
            text,
            "\n## {chart}\n\n| value | default | |\n| --- | --- | --- |\n"
        );
        for row in rows(values) {
            let default = row.default.map(|default| format!("`{default}`"));
            let _ = writeln!(
                text,
                "| `{}` | {} | {} |",
                row.path,
                cell(&default.unwrap_or_default()),
                cell(&row.comment)
            );
        }
    }
    text
}

fn rows(values: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = vec![];
    let mut above: Vec<&str> = vec![];
    let mut comment: Vec<&str> = vec![];
    let mut lines = values.lines().peekable();
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        if let Some(words) = trimmed.strip_prefix('#') {
            comment.push(words.trim());
            continue;
        }
        let Some((key, value)) = trimmed.split_once(':') else {
            // A comment that stands by itself is about the file.
            comment.clear();
            continue;
        };
        let depth = (line.len() - trimmed.len()) / 2;
        above.truncate(depth);
        above.push(key);
        let is_group = value.trim().is_empty();
        let row = Row {
            path: above.join("."),
            default: (!is_group).then(|| value.trim().to_owned()),
            comment: std::mem::take(&mut comment).join(" "),
        };
        // A group with nothing to say is only a heading for what is in it.
        if row.default.is_some() || !row.comment.is_empty() {
            rows.push(row);
        }
        // An example that is commented out, right below.
        while lines.peek().is_some_and(|line| line.starts_with("#  ")) {
            lines.next();
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_belongs_to_the_key_below_it() {
        let values = "# About all.\n\n# A group.\na:\n  # One,\n  # and two.\n  b: 2s\n  c: \"\"\n# Last.\nd: {}\n#  x:\n#    y: 1\n";
        let row = |path: &str, default: Option<&str>, comment: &str| Row {
            path: path.into(),
            default: default.map(str::to_owned),
            comment: comment.into(),
        };
        assert_eq!(
            rows(values),
            [
                row("a", None, "A group."),
                row("a.b", Some("2s"), "One, and two."),
                row("a.c", Some("\"\""), ""),
                row("d", Some("{}"), "Last."),
            ]
        );
    }
}
