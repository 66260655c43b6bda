//! The elements of a JSON array, one at a time while it arrives, so that a list of ten thousand
//! pipelines never is in memory as a whole; and what is too long to be read at all.

use serde::de::DeserializeOwned;

/// The longest element that is read. One of Feldera's has some KiB; what grows in it are the names in a diff.
const LONGEST: usize = 2 << 20;

/// How much of one that is too long is passed over. Whoever sends more of it comes to no end.
const MOST_PASSED_OVER: usize = 16 << 20;

/// How many bytes of room for an element are held on to.
const ROOM: usize = 64 << 10;

/// How many values an element may consist of. Each takes up to fifty times the memory of its text: `[0,0,0,…`.
const MOST_VALUES: usize = 50_000;

/// How many brackets may be open at once in what is read. What stands further down is read by calls within calls, for
/// which there is room only so many times; serde_json's own limit is 127.
pub const DEEPEST: usize = 120;

/// Cuts an array into its elements.
#[derive(Default)]
pub struct Elements {
    place: Place,
    /// The element that has begun and isn't complete.
    begun: Vec<u8>,
    /// How many brackets and braces are open in it.
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// How much was passed over of an element that is too long. 0: it isn't.
    passed_over: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before the array's bracket.
    #[default]
    Before,
    /// After it, where the first element or the end may come.
    Begin,
    /// Where an element must come.
    Next,
    Inside,
    /// After the array.
    After,
}

/// The text is no JSON array: why.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoArray(String);

impl Elements {
    /// Takes in a further piece of the text, and hands each element on that is complete by then. What
    /// is JSON but not a `T`, or too long, is handed on to nobody: one must not hide the others.
    ///
    /// # Errors
    /// When it can't become a JSON array any more.
    pub fn feed<T: DeserializeOwned>(
        &mut self,
        piece: &[u8],
        mut take: impl FnMut(T),
    ) -> Result<(), NoArray> {
        for &byte in piece {
            match self.place {
                Place::Inside => self.inside(byte, &mut take)?,
                _ if byte.is_ascii_whitespace() => {}
                Place::Before if byte == b'[' => self.place = Place::Begin,
                Place::Begin if byte == b']' => self.place = Place::After,
                Place::Begin | Place::Next if !matches!(byte, b',' | b']') => {
                    self.place = Place::Inside;
                    self.inside(byte, &mut take)?;
                }
                _ => {
                    let sign = char::from(byte).escape_default();
                    return Err(NoArray(format!("'{sign}' where a list has no such sign")));
                }
            }
        }
        Ok(())
    }

    /// How many bytes are held of the element that isn't complete.
    pub fn held(&self) -> usize {
        self.begun.len()
    }

    fn hold(&mut self, byte: u8) -> Result<(), NoArray> {
        if self.begun.len() >= LONGEST {
            self.passed_over = LONGEST;
            self.begun = vec![];
        }
        if self.passed_over == 0 {
            self.begun.push(byte);
        } else if self.passed_over < MOST_PASSED_OVER {
            self.passed_over += 1;
        } else {
            return Err(NoArray("one element comes to no end".into()));
        }
        Ok(())
    }

    /// The text is over.
    ///
    /// # Errors
    /// When it isn't a whole array.
    pub fn end(self) -> Result<(), NoArray> {
        if self.place == Place::After {
            Ok(())
        } else {
            Err(NoArray("it is no list, or not a whole one".into()))
        }
    }

    fn inside<T: DeserializeOwned>(
        &mut self,
        byte: u8,
        take: &mut impl FnMut(T),
    ) -> Result<(), NoArray> {
        if self.in_text {
            if self.escaped {
                self.escaped = false;
            } else if byte == b'\\' {
                self.escaped = true;
            } else if byte == b'"' {
                self.in_text = false;
            }
            return self.hold(byte);
        }
        match byte {
            b',' | b']' if self.depth == 0 => {
                self.place = if byte == b',' {
                    Place::Next
                } else {
                    Place::After
                };
                return self.complete(take);
            }
            b'{' | b'[' => self.depth += 1,
            // What closes the wrong one is found when the element is read.
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b'"' => self.in_text = true,
            _ => {}
        }
        self.hold(byte)
    }

    fn complete<T: DeserializeOwned>(&mut self, take: &mut impl FnMut(T)) -> Result<(), NoArray> {
        let is_passed_over = std::mem::take(&mut self.passed_over) > 0;
        let element = (!is_passed_over && values(&self.begun) <= MOST_VALUES)
            .then(|| serde_json::from_slice(&self.begun));
        let is_too_deep =
            element.as_ref().is_some_and(Result::is_err) && depth(&self.begun) > DEEPEST;
        self.begun.clear();
        // Most are short, and the room is used again.
        self.begun.shrink_to(ROOM);
        match element.unwrap_or_else(|| Err(serde::de::Error::custom("too long"))) {
            Ok(element) => take(element),
            Err(error) if error.is_data() => {}
            Err(_) if is_too_deep => {}
            Err(error) => return Err(NoArray(error.to_string())),
        }
        Ok(())
    }
}

/// Of how many values a JSON text consists, or one or two more.
pub fn values(text: &[u8]) -> usize {
    let (mut count, mut in_text, mut escaped) = (1, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b',' | b':' | b'[' | b'{' if !in_text => count += 1,
            _ => {}
        }
    }
    count
}

/// How many brackets are open at once where the most are.
pub fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[test]
    fn one_that_is_too_deep_does_not_hide_the_others() {
        #[derive(Debug, Deserialize)]
        struct Any {
            name: serde_json::Value,
        }
        let deep = format!("{}{}", "[".repeat(150), "]".repeat(150));
        let text = format!(r#"[{{"name": {deep}}}, {{"name": "a"}}]"#);
        let mut elements = Elements::default();
        let mut names = vec![];
        elements
            .feed(text.as_bytes(), |any: Any| names.push(any.name))
            .unwrap();
        elements.end().unwrap();
        assert_eq!(names, ["a"]);
    }

    #[test]
    fn brackets_are_counted_outside_of_texts_only() {
        assert_eq!(depth(br#"[{"a": "[[["[", "b": [0]}, []]"#), 3);
        assert_eq!(depth(b"]]0"), 0);
    }

    #[test]
    fn one_that_is_too_long_is_passed_over_and_is_not_held() {
        let long = "x".repeat(LONGEST);
        let many = "0,".repeat(MOST_VALUES);
        for bad in [
            format!(r#"{{"name": "{long}"}}"#),
            format!(r#"{{"name": "m", "x": [{many} 0]}}"#),
        ] {
            let text = format!(r#"[{{"name": "a"}}, {bad}, {{"name": "b"}}]"#);
            let mut elements = Elements::default();
            let mut names = vec![];
            for piece in text.as_bytes().chunks(1_000) {
                elements
                    .feed(piece, |named: Named| names.push(named.name))
                    .unwrap();
                assert!(elements.held() <= LONGEST);
            }
            assert_eq!(names, ["a", "b"]);
        }
    }

    #[test]
    fn one_without_an_end_is_given_up() {
        for endless in ["[", "[\"x"] {
            let mut elements = Elements::default();
            let fed = std::iter::repeat_n(endless, 20)
                .flat_map(|text| [text.to_owned(), "[".repeat(1 << 20)])
                .try_for_each(|piece| {
                    let fed = elements.feed(piece.as_bytes(), |_: Named| {});
                    assert!(elements.held() <= LONGEST);
                    fed
                });
            assert!(fed.is_err());
        }
    }

    #[test]
    fn values_are_counted_outside_of_texts_only() {
        assert_eq!(values(b"[0,0,0]"), 4);
        assert_eq!(values(br#"{"a,b": "[\"{,"}"#), 3);
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Named {
        name: String,
    }

    fn read(text: &str, piece: usize) -> Result<Vec<String>, NoArray> {
        let mut elements = Elements::default();
        let mut names = vec![];
        for piece in text.as_bytes().chunks(piece) {
            elements.feed(piece, |named: Named| names.push(named.name))?;
        }
        elements.end().map(|()| names)
    }

    #[test]
    fn elements_come_whole_however_the_text_is_cut() {
        let text = r#" [ {"name": "a", "x": [1, {"y": "]}"}]} ,{"name":"\"b,]"}, {"name": "ü"}] "#;
        for piece in 1..text.len() {
            assert_eq!(read(text, piece).unwrap(), ["a", "\"b,]", "ü"], "{piece}");
        }
        assert_eq!(read("[]", 1).unwrap(), [""; 0]);
        assert_eq!(read(" [ \n] ", 2).unwrap(), [""; 0]);
    }

    #[test]
    fn one_that_is_of_another_kind_does_not_hide_the_others() {
        let text = r#"[1, "word", null, {"name": 1}, [{"name": "no"}], {"name": "a"}]"#;
        assert_eq!(read(text, 7).unwrap(), ["a"]);
    }

    #[test]
    fn what_is_no_list_is_an_error() {
        for text in [
            "",
            "null",
            r#"{"name": "a"}"#,
            r#"[{"name": "a"}"#,
            r#"[{"name": "a"},]"#,
            r#"[,{"name": "a"}]"#,
            r#"[{"name": "a"}] x"#,
            r#"[{"name": "a"]]"#,
            r#"[{"name": "a" "b"}]"#,
            r#"[{"name": "a}]"#,
            "[}]",
            "[word]",
            "[[]",
            "<html>",
        ] {
            assert!(read(text, 3).is_err(), "{text}");
        }
    }
}
