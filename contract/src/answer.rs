//! An answer of the engine, and what can be asked of it.

use std::fmt;

use serde_json::Value;

/// The longest text of an answer that is shown.
const SHOWN: usize = 160;

/// What was seen in place of what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference(pub String);

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Fails with what was seen if something doesn't hold.
///
/// # Errors
/// It doesn't.
pub fn ensure(holds: bool, seen: impl FnOnce() -> String) -> Result<(), Difference> {
    if holds {
        Ok(())
    } else {
        Err(Difference(seen()))
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The call, such as `POST /v0/pipelines`.
    pub call: String,
    /// The HTTP status.
    pub status: u16,
    /// The header `Retry-After`.
    pub retry_after: Option<String>,
    /// The body if it is JSON.
    pub json: Option<Value>,
    /// The body as it came.
    pub text: String,
}

impl Answer {
    /// In a few words: the status, and the error's code or the beginning of the body.
    pub fn seen(&self) -> String {
        let code = self.json.as_ref().and_then(|json| json.get("error_code"));
        let body = match code.and_then(Value::as_str) {
            Some(code) => code.to_owned(),
            None => shortened(self.text.trim()),
        };
        format!("{} {body}", self.status).trim_end().to_owned()
    }

    fn differs(&self, why: &str) -> Difference {
        Difference(format!("{} answers {}{why}", self.call, self.seen()))
    }

    /// It must have this status.
    ///
    /// # Errors
    /// It has another one.
    pub fn is(&self, status: u16) -> Result<&Self, Difference> {
        if self.status == status {
            Ok(self)
        } else {
            Err(self.differs(""))
        }
    }

    /// It must be one of success.
    ///
    /// # Errors
    /// It isn't.
    pub fn is_good(&self) -> Result<&Self, Difference> {
        if (200..300).contains(&self.status) {
            Ok(self)
        } else {
            Err(self.differs(""))
        }
    }

    /// It must be an error in the engine's form, with this status and code.
    ///
    /// # Errors
    /// It isn't.
    pub fn is_error(&self, status: u16, code: &str) -> Result<&Self, Difference> {
        self.is(status)?;
        let json = self.json()?;
        if json["error_code"] != code {
            return Err(self.differs(""));
        }
        if json["message"].as_str().is_none_or(str::is_empty) || json.get("details").is_none() {
            return Err(self.differs(", but without message and details"));
        }
        Ok(self)
    }

    /// Its body, which must be JSON.
    ///
    /// # Errors
    /// It isn't.
    pub fn json(&self) -> Result<&Value, Difference> {
        self.json
            .as_ref()
            .ok_or_else(|| self.differs(", which isn't JSON"))
    }

    /// A value in its body, by JSON pointer; null if there is none.
    pub fn at(&self, pointer: &str) -> &Value {
        const NULL: &Value = &Value::Null;
        self.json
            .as_ref()
            .and_then(|json| json.pointer(pointer))
            .unwrap_or(NULL)
    }
}

/// A text that is cut if it is long.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, text: &str) -> Answer {
        Answer {
            call: "GET /v0/x".to_owned(),
            status,
            retry_after: None,
            json: serde_json::from_str(text).ok(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn an_error_needs_status_code_message_and_details() {
        let good = r#"{"message": "no", "error_code": "Nope", "details": null}"#;
        assert!(answer(404, good).is_error(404, "Nope").is_ok());
        for (status, text) in [
            (400, good),
            (
                404,
                r#"{"message": "no", "error_code": "Other", "details": null}"#,
            ),
            (
                404,
                r#"{"message": "", "error_code": "Nope", "details": null}"#,
            ),
            (404, r#"{"message": "no", "error_code": "Nope"}"#),
            (404, "not found"),
        ] {
            let seen = answer(status, text).is_error(404, "Nope").unwrap_err();
            assert!(seen.0.starts_with("GET /v0/x answers "), "{seen}");
        }
    }

    #[test]
    fn what_was_seen_is_short() {
        assert_eq!(answer(200, "\"ok\"").seen(), "200 \"ok\"");
        assert_eq!(answer(204, "").seen(), "204");
        assert!(answer(200, &"é".repeat(5000)).seen().chars().count() < 200);
    }
}
