//! The elements of a JSON array, one at a time while it arrives, so that a list of ten thousand
//! pipelines never is in memory as a whole.

use serde::de::DeserializeOwned;

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
    /// is JSON but not a `T` is handed on to nobody.
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
            self.begun.push(byte);
            return Ok(());
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
        self.begun.push(byte);
        Ok(())
    }

    fn complete<T: DeserializeOwned>(&mut self, take: &mut impl FnMut(T)) -> Result<(), NoArray> {
        let element = serde_json::from_slice(&self.begun);
        self.begun.clear();
        match element {
            Ok(element) => take(element),
            Err(error) if error.is_data() => {}
            Err(error) => return Err(NoArray(error.to_string())),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

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
