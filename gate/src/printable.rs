//! Text of others, made safe to show.

use crate::text::{self, deceives};

/// Makes visible what would steer a terminal or turn the direction of reading. What people approve
/// is named by whoever wrote the SQL, and must not be able to disguise itself.
pub fn printable(text: &str) -> String {
    text::escaped(text, |c| c != '\n' && deceives(c))
}

/// Like [`printable`], on one line.
pub fn one_line(text: &str) -> String {
    printable(text).replace('\n', " ")
}

/// A line of a program: as [`printable`], but for tabs, which only indent.
pub fn code(line: &str) -> String {
    text::escaped(line, |c| c != '\t' && deceives(c))
}

/// JSON in which nothing is left that could steer a terminal. It says the same.
pub fn printable_json(json: &str) -> String {
    text::json(json)
}

/// Whether a text may be shown as it is.
pub fn is_printable(text: &str) -> bool {
    !text.contains(|c| c != '\n' && deceives(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_the_terminal_is_shown_as_its_code() {
        assert_eq!(printable("orders"), "orders");
        assert_eq!(printable("größe 価格"), "größe 価格");
        assert_eq!(printable("a\u{1b}[2Kb"), "a\\u{1b}[2Kb");
        assert_eq!(printable("a\rb"), "a\\u{d}b");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(printable("a\u{9b}2Jb"), "a\\u{9b}2Jb");
        assert_eq!(printable("a\nb"), "a\nb");
        assert_eq!(one_line("a\nb"), "a b");
        assert_eq!(code("\ta\u{1b}b"), "\ta\\u{1b}b");
    }

    #[test]
    fn json_says_the_same_without_steering() {
        let value = serde_json::json!({"a\u{9b}": "x\u{1b}[2J\u{202e}\u{e0041}\u{7f}ü"});
        let shown = printable_json(&value.to_string());
        assert!(is_printable(&shown), "{shown:?}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
            value
        );
    }
}
