//! The stand-in as a process of its own, for tests.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a condition may take.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A running stand-in; it ends with the value.
pub struct Running {
    child: Child,
    /// `http://127.0.0.1:…`
    pub url: String,
}

impl Running {
    /// Starts it on a free port.
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_feldera-sim"))
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the stand-in can be started");
        let stdout = child.stdout.take().expect("its output is piped");
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("its output can be read");
        let url = line
            .trim()
            .strip_prefix("feldera-sim listening on ")
            .unwrap_or_else(|| panic!("it says where it listens, not {line:?}"))
            .to_owned();
        Self { child, url }
    }

    /// Ends it as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().expect("it is running");
        self.child.wait().expect("it can be waited for");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer: status and body.
pub type Answer = (u16, String);

impl Running {
    /// Makes a call; `None` if there is no answer within `patience`.
    pub fn try_call(
        &self,
        line: &str,
        key: Option<&str>,
        body: &str,
        patience: Duration,
    ) -> Option<Answer> {
        let (method, path) = line.split_once(' ').expect("METHOD PATH");
        let address = self.url.strip_prefix("http://").expect("an address");
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream
            .set_read_timeout(Some(patience))
            .expect("a timeout can be set");
        let key = key.map_or(String::new(), |k| format!("Authorization: Bearer {k}\r\n"));
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{key}\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    /// Makes a call that is answered.
    pub fn call(&self, line: &str, body: &str) -> Answer {
        self.try_call(line, None, body, DEADLINE)
            .unwrap_or_else(|| panic!("{line} isn't answered"))
    }

    /// Makes a call that succeeds and gives JSON.
    pub fn json(&self, line: &str) -> serde_json::Value {
        let (status, body) = self.call(line, "");
        assert_eq!(status, 200, "{line}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// Waits until a pipeline has a status.
    pub fn until(&self, name: &str, field: &str, value: &str) -> serde_json::Value {
        eventually(&format!("{field} = {value}"), || {
            let get = self.json(&format!("GET /v0/pipelines/{name}?selector=status"));
            (get[field] == value).then_some(get)
        })
    }
}

/// Waits until `condition` gives something.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(
            begin.elapsed() < DEADLINE,
            "after {DEADLINE:?} still not: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
