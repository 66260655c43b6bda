//! Text of others, made safe to show.

use std::fmt::Write as _;

/// Makes visible what would steer a terminal or turn the direction of reading. What people approve
/// is named by whoever wrote the SQL, and must not be able to disguise itself.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || !deceives(c) {
            shown.push(c);
        } else {
            // Writing to a String can't fail.
            let _ = write!(shown, "{}", c.escape_unicode());
        }
    }
    shown
}

/// Like [`printable`], on one line.
pub fn one_line(text: &str) -> String {
    printable(text).replace('\n', " ")
}

fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
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
        assert_eq!(printable("a\nb"), "a\nb");
        assert_eq!(one_line("a\nb"), "a b");
    }
}
