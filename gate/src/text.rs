//! Foreign words: what people and engines write, made fit to be stored, sent on and shown.
//!
//! Whoever names a view, gives a reason or runs an engine chooses the letters of what others read before
//! they approve. So such words are cleaned and cut where they enter ([`foreign`], [`foreign_line`],
//! [`word`]), and once more where a text that was put together of them leaves: conditions, Events, log
//! lines, audit lines and answers of the REST endpoint.
//!
//! A program stays what it is, to the letter: it is digested and compared. Whatever shows it to people cleans it. Of an
//! engine's diff the names are cleaned where they enter ([`clean_value`]), since it is stored.

use std::fmt::Write as _;

use serde_json::Value;

/// How long a text may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So many bytes in UTF-8.
    Bytes(usize),
    /// So many characters.
    Characters(usize),
}

/// The note of an Event. Source: `NoteLengthLimit` in `pkg/apis/core/validation/events.go` of Kubernetes 1.37,
/// which it compares with the length in bytes.
pub const EVENT_NOTE: Limit = Limit::Bytes(1024);

/// An Event's reason, its action, and who reports it: `ReasonLengthLimit`, `ActionLengthLimit` and
/// `ReportingInstanceLengthLimit` there.
pub const EVENT_WORD: Limit = Limit::Bytes(128);

/// The name of an object: a DNS subdomain.
pub const OBJECT_NAME: Limit = Limit::Bytes(253);

/// The message of a condition. The API server takes 32,768 characters; no person reads as many.
pub const CONDITION: Limit = Limit::Characters(2_000);

/// What an engine says. It goes into several places of a status, which all together must fit into an
/// object; and what the compiler says last is rarely what helps.
pub const SAID: Limit = Limit::Bytes(8 * 1024);

/// A reason that somebody gives for a vote, or a summary. Reasons in annotations have no limit of their own.
pub const REASON: Limit = Limit::Characters(1024);

/// The name of a person.
pub const PERSON: Limit = Limit::Characters(256);

/// A status, a code, an id: what is one word by its nature, and could be anything.
pub const WORD: Limit = Limit::Characters(128);

/// What stands where something was cut off.
const CUT: char = '…';

impl Limit {
    /// Whether a text is within it.
    pub fn holds(self, text: &str) -> bool {
        match self {
            Self::Bytes(most) => text.len() <= most,
            Self::Characters(most) => text.len() <= most || text.chars().nth(most).is_none(),
        }
    }
}

/// The text, if it is within the limit; else as much of it as is, with a mark where it was cut. It is cut
/// between characters, and the mark counts.
pub fn cut(text: &str, limit: Limit) -> String {
    if limit.holds(text) {
        return text.to_owned();
    }
    let end = match limit {
        Limit::Bytes(most) => text.floor_char_boundary(most.saturating_sub(CUT.len_utf8())),
        Limit::Characters(most) => {
            let mut starts = text.char_indices();
            starts
                .nth(most.saturating_sub(1))
                .map_or(text.len(), |(start, _)| start)
        }
    };
    let mut short = text[..end].to_owned();
    short.push(CUT);
    short
}

/// The beginning of a text that is a name, so that nothing but its own characters may stand in it.
pub fn cut_name(name: &str, limit: Limit) -> &str {
    match limit {
        Limit::Bytes(most) => &name[..name.floor_char_boundary(most)],
        Limit::Characters(most) => {
            let end = name.char_indices().nth(most);
            end.map_or(name, |(end, _)| &name[..end])
        }
    }
}

/// Foreign words in several lines: cleaned, and cut to a limit.
pub fn foreign(text: &str, limit: Limit) -> String {
    cut(&clean(&start(text, limit)), limit)
}

/// Foreign words that are one line by their nature.
pub fn foreign_line(text: &str, limit: Limit) -> String {
    cut(&line(&start(text, limit)), limit)
}

/// What is one word by its nature: a status, a code, an id.
pub fn word(text: &str) -> String {
    foreign_line(text, WORD)
}

/// As much of a text as can matter: cleaning makes nothing shorter, but for a line's end of two characters.
fn start(text: &str, limit: Limit) -> String {
    match limit {
        Limit::Bytes(most) => cut(text, Limit::Bytes(most.saturating_mul(2))),
        Limit::Characters(most) => cut(text, Limit::Characters(most.saturating_mul(2))),
    }
}

/// Makes visible what would steer a terminal, forge a line or turn the direction of reading. Line breaks and
/// tabs stay: compilers write in lines.
pub fn clean(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    escaped(&text, |c| c != '\n' && c != '\t' && deceives(c))
}

/// The same on one line.
pub fn line(text: &str) -> String {
    escaped(text, deceives)
}

/// Each text in a value on one line, as [`line`] has it, also the keys. The API server reads what is applied as YAML, which has no
/// control characters, so that a status with one could never be written.
pub fn clean_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(line(&text)),
        Value::Array(list) => list.into_iter().map(clean_value).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (line(&key), clean_value(value)))
            .collect(),
        other => other,
    }
}

/// JSON on one line in which nothing is left that could steer a terminal. It says the same.
pub fn json_line(json: &str) -> String {
    json_with(json, deceives)
}

/// JSON in lines, likewise.
pub fn json(json: &str) -> String {
    json_with(json, |c| c != '\n' && deceives(c))
}

/// JSON that can also be read as YAML, which has no control characters, as the API server reads what is applied.
/// It says the same.
pub fn yaml(json: &str) -> String {
    // Further up YAML has everything, and no escape of JSON's for it.
    json_with(json, |c| c < '\u{10000}' && deceives(c))
}

fn json_with(json: &str, is_escaped: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        if is_escaped(c) {
            // Such a character stands in strings only, since JSON knows no other place for it.
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String can't fail.
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A text with the characters for which that is asked shown as their codes.
pub fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_escaped(c) {
            // Writing to a String can't fail.
            let _ = match c {
                '\n' => write!(shown, "\\n"),
                c => write!(shown, "{}", c.escape_unicode()),
            };
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Whether a character does something else than to be seen: steers a terminal, ends a line, turns the
/// direction of reading, or can't be seen at all.
pub fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
            | '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_steers_a_terminal_or_turns_the_reading_is_shown_as_its_code() {
        assert_eq!(clean("größe 価格 🙂"), "größe 価格 🙂");
        assert_eq!(
            clean("a\u{1b}[2Kb\rc\u{9b}2Jd"),
            "a\\u{1b}[2Kb\\u{d}c\\u{9b}2Jd"
        );
        assert_eq!(
            clean("a\u{202e}b\u{200b}c\u{feff}"),
            "a\\u{202e}b\\u{200b}c\\u{feff}"
        );
        assert_eq!(
            line("ok\n2026-01-01 INFO approved"),
            "ok\\n2026-01-01 INFO approved"
        );
    }

    #[test]
    fn an_error_in_several_lines_stays_readable() {
        let error = "line 3, column 7: no such column\r\n    3| SELECT\tx\n            ^";
        assert_eq!(
            foreign(error, SAID),
            "line 3, column 7: no such column\n    3| SELECT\tx\n            ^"
        );
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let umlauts = "ü".repeat(900);
        let note = cut(&umlauts, EVENT_NOTE);
        assert_eq!(note.len(), 1023, "510 of two bytes, and the mark of three");
        assert!(note.ends_with("ü…"));
        assert_eq!(cut(&umlauts, Limit::Characters(900)), umlauts);
        assert_eq!(cut(&umlauts, Limit::Characters(899)).chars().count(), 899);
        assert_eq!(cut_name("価格", Limit::Bytes(4)), "価");
    }

    fn limits() -> impl Strategy<Value = Limit> {
        prop_oneof![
            (3..300usize).prop_map(Limit::Bytes),
            (1..300usize).prop_map(Limit::Characters),
        ]
    }

    proptest! {
        #[test]
        fn whatever_is_written_the_limit_holds_and_what_fits_is_whole(
            text in proptest::collection::vec(any::<char>(), 0..400), limit in limits(),
        ) {
            let text: String = text.into_iter().collect();
            let short = cut(&text, limit);
            prop_assert!(limit.holds(&short), "{short:?}");
            prop_assert_eq!(limit.holds(&text), short == text);
            prop_assert!(text.starts_with(short.trim_end_matches(CUT)));
            prop_assert!(limit.holds(cut_name(&text, limit)) && text.starts_with(cut_name(&text, limit)));
        }

        #[test]
        fn whatever_is_written_it_is_cleaned_once_and_for_all(
            text in proptest::collection::vec(any::<char>(), 0..400), limit in limits(),
        ) {
            let text: String = text.into_iter().collect();
            let shown = foreign(&text, limit);
            prop_assert!(!shown.contains(|c| c != '\n' && c != '\t' && deceives(c)));
            prop_assert!(limit.holds(&shown));
            prop_assert_eq!(&foreign(&shown, limit), &shown, "a stored text doesn't change again");
            let shown = foreign_line(&text, limit);
            prop_assert!(!shown.contains(deceives) && limit.holds(&shown));
            prop_assert_eq!(&foreign_line(&shown, limit), &shown);
        }

        #[test]
        fn json_says_the_same_when_nothing_in_it_steers(
            text in proptest::collection::vec(any::<char>(), 0..40),
        ) {
            let value = serde_json::json!({"text": text.into_iter().collect::<String>()});
            let applied = yaml(&value.to_string());
            let is_yaml = |c: char| matches!(c, ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..);
            prop_assert!(applied.chars().all(is_yaml), "{applied:?}");
            prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&applied).unwrap(), &value);
            let shown = json_line(&value.to_string());
            prop_assert!(!shown.contains(deceives));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
    }
}
