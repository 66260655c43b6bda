//! The log of calls: one JSON line for each, written before the answer is sent. Headers are
//! never in it, so no credentials are.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

/// Bytes of a body that are logged; of a longer one only the length is.
pub const BODY_LIMIT: usize = 64 << 10;

/// A call.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// When it arrived.
    pub time: Timestamp,
    /// `GET`, …
    pub method: &'a str,
    /// Without the query.
    pub path: &'a str,
    /// The query as it came.
    pub query: Option<&'a str>,
    /// The body as it came.
    pub body: &'a [u8],
    /// The answer's status; `None` if there is no answer.
    pub status: Option<u16>,
}

impl Call<'_> {
    fn to_json(&self) -> Value {
        let body = if self.body.is_empty() {
            Value::Null
        } else if self.body.len() > BODY_LIMIT {
            json!(format!("({} bytes)", self.body.len()))
        } else {
            serde_json::from_slice(self.body)
                .unwrap_or_else(|_| json!(String::from_utf8_lossy(self.body)))
        };
        json!({
            "time": format!("{:.6}", self.time),
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "body": body,
            "status": self.status,
        })
    }
}

/// Where calls are logged.
#[derive(Debug)]
pub struct CallLog(Mutex<File>);

impl CallLog {
    /// Adds to the file; makes it if it isn't there.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self(Mutex::new(file)))
    }

    /// Writes a line.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, call: &Call<'_>) -> io::Result<()> {
        let line = format!("{}\n", call.to_json());
        // A file has no state that a panic elsewhere could have broken.
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_the_call() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("calls");
        let log = CallLog::open(&path).unwrap();
        let call = Call {
            time: "2026-01-02T03:04:05.678901Z".parse().unwrap(),
            method: "POST",
            path: "/v0/pipelines",
            query: Some("a=b"),
            body: br#"{"name":"p"}"#,
            status: Some(201),
        };
        log.write(&call).unwrap();
        let long = vec![b'x'; BODY_LIMIT + 1];
        log.write(&Call {
            body: &long,
            query: None,
            status: None,
            ..call.clone()
        })
        .unwrap();
        log.write(&Call {
            body: b"no json",
            ..call
        })
        .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            lines[0],
            json!({"time": "2026-01-02T03:04:05.678901Z", "method": "POST",
                   "path": "/v0/pipelines", "query": "a=b", "body": {"name": "p"}, "status": 201})
        );
        assert_eq!(lines[1]["body"], format!("({} bytes)", BODY_LIMIT + 1));
        assert_eq!(lines[1]["status"], Value::Null);
        assert_eq!(lines[2]["body"], "no json");
    }
}
