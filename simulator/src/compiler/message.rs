//! Messages of the SQL compiler, in the engine's form (`program_error.sql_compilation`).

use serde::{Deserialize, Serialize};
use sqlparser::tokenizer::{Location, Span};

/// One error or warning, with its place in the program (lines and columns count from 1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlMessage {
    /// First line.
    pub start_line_number: u64,
    /// First column.
    pub start_column: u64,
    /// Last line.
    pub end_line_number: u64,
    /// Last column.
    pub end_column: u64,
    /// A warning doesn't fail the compilation.
    pub warning: bool,
    /// Its class, as the engine words it: `Error parsing SQL`, `Compilation error`, …
    pub error_type: String,
    /// What is wrong.
    pub message: String,
    /// The line, with marks below the place.
    pub snippet: Option<String>,
}

impl SqlMessage {
    /// The program can't be read.
    pub fn syntax(at: Location, message: impl Into<String>) -> Self {
        Self::at(Span::new(at, at), "Error parsing SQL", message)
    }

    /// The program can be read but makes no sense.
    pub fn semantic(span: Span, message: impl Into<String>) -> Self {
        Self::at(span, "Compilation error", message)
    }

    /// A connector can't be made from a table's or view's `connectors` property.
    pub fn connector(span: Span, message: impl Into<String>) -> Self {
        Self::at(span, "ConnectorGenerationError", message)
    }

    fn at(span: Span, error_type: &str, message: impl Into<String>) -> Self {
        // An unknown place is 0:0 in `sqlparser`; the engine counts from 1.
        let start = span.start;
        // The end of a span is behind it, that of a message inside.
        let mut end = start;
        if span.end > start {
            end = span.end;
            end.column = end.column.saturating_sub(1);
        }
        Self {
            start_line_number: start.line.max(1),
            start_column: start.column.max(1),
            end_line_number: end.line.max(1),
            end_column: end.column.max(1),
            warning: false,
            error_type: error_type.to_owned(),
            message: message.into(),
            snippet: None,
        }
    }

    /// Adds the line it is about, as the engine's compiler shows it.
    pub fn with_snippet(mut self, sql: &str) -> Self {
        let line_index = usize::try_from(self.start_line_number).unwrap_or(1).max(1) - 1;
        if let Some(line) = sql.lines().nth(line_index) {
            let start = usize::try_from(self.start_column).unwrap_or(1).max(1);
            let end = if self.end_line_number == self.start_line_number {
                usize::try_from(self.end_column).unwrap_or(start).max(start)
            } else {
                line.chars().count().max(start)
            };
            let marks = "^".repeat(end - start + 1);
            let number = self.start_line_number;
            self.snippet = Some(format!(
                "{number:>5}|{line}\n{:>pad$}{marks}\n",
                "",
                pad = 5 + start
            ));
        }
        self
    }

    /// Splits `sqlparser`'s "… at Line: 3, Column: 7" into message and place.
    pub fn from_parser(message: &str, fallback: Location) -> Self {
        let Some((text, place)) = message.rsplit_once(" at Line: ") else {
            return Self::syntax(fallback, message);
        };
        let place = place
            .split_once(", Column: ")
            .and_then(|(line, column)| Some((line.parse().ok()?, column.parse().ok()?)));
        match place {
            Some((line, column)) => Self::syntax(Location::new(line, column), text),
            None => Self::syntax(fallback, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_in_a_parsers_message_becomes_numbers() {
        let cases = [
            (
                "Expected: a, found: b at Line: 3, Column: 7",
                3,
                7,
                "Expected: a, found: b",
            ),
            ("no place", 9, 9, "no place"),
            (
                "odd at Line: x, Column: 7",
                9,
                9,
                "odd at Line: x, Column: 7",
            ),
        ];
        for (text, line, column, message) in cases {
            let found = SqlMessage::from_parser(text, Location::new(9, 9));
            assert_eq!(
                (found.start_line_number, found.start_column),
                (line, column),
                "{text}"
            );
            assert_eq!(found.message, message);
        }
    }

    #[test]
    fn a_snippet_marks_the_place() {
        let message =
            SqlMessage::semantic(Span::new(Location::new(2, 3), Location::new(2, 6)), "bad")
                .with_snippet("first\n  bad one\n");
        assert_eq!(
            message.snippet.as_deref(),
            Some("    2|  bad one\n        ^^^\n")
        );
    }
}
