//! The plugin as a program, with an output that is closed or full: whoever reads it may have enough of it, as in
//! `kubectl sluice approve --lost --yes | head -5`. That stops nothing half-way, and nothing panics.
//!
//! The API server is a stand-in: all that matters here is which calls come.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// One whose change was rejected before.
const REJECTED: &str = "f";

/// Pipelines that wait to be made anew, whose votes it takes.
struct Server {
    address: String,
    voted: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn begin() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let voted = Arc::new(Mutex::new(vec![]));
        let votes = voted.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let votes = votes.clone();
                thread::spawn(move || serve(connection, &votes));
            }
        });
        Self { address, voted }
    }

    fn voted(&self) -> Vec<String> {
        self.voted.lock().expect("no panic").clone()
    }

    /// The plugin, as somebody types it.
    fn sluice(&self, arguments: &[&str]) -> Command {
        let folder = env!("CARGO_TARGET_TMPDIR");
        let port = self.address.rsplit(':').next().unwrap_or_default();
        let file = format!("{folder}/kubeconfig-{port}");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", self.address)}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
            "users": [{"name": "u", "user": {}}],
        });
        std::fs::write(&file, config.to_string()).expect("it can be written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-sluice"));
        command
            .env_clear()
            .args(arguments)
            .args(["--kubeconfig", &file])
            .stdin(Stdio::null());
        command
    }
}

fn serve(connection: TcpStream, votes: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(connection);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).expect("a header");
            let header = header.trim().to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if header.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("the body");
        let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
        let answer = answer(&first, sent, votes).to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        let written = reader.get_mut().write_all((head + &answer).as_bytes());
        if written.is_err() {
            return;
        }
    }
}

fn answer(request: &str, sent: Value, votes: &Mutex<Vec<String>>) -> Value {
    if request.contains("selfsubjectreviews") {
        return json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview",
            "metadata": {}, "status": {"userInfo": {"username": "alice"}},
        });
    }
    if request.contains("pipelineapprovals") {
        let name = sent["spec"]["pipelineRef"]["name"].as_str();
        let mut votes = votes.lock().expect("no panic");
        votes.push(name.unwrap_or_default().to_owned());
        return sent;
    }
    let items: Vec<Value> = NAMES.into_iter().map(lost).collect();
    json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "PipelineList",
        "metadata": {"resourceVersion": "1"}, "items": items,
    })
}

fn lost(name: &str) -> Value {
    let mut pipeline = json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Pipeline",
        "metadata": {"name": name, "namespace": "shop", "uid": name},
        "spec": {"program": {"sql": ""}},
        "status": {
            "lost": {"pipelineId": "p", "since": "2026-01-01T00:00:00Z", "looks": 3, "link": "link"},
            "approval": {
                "state": "Awaiting", "changeId": "0".repeat(32), "shortId": "00000000", "parent": "link",
                "target": {"sql": "a", "udfRust": "b", "udfToml": "c", "config": "d"},
                "options": {"silent": false, "concurrent": false}, "revision": 0,
                "since": "2026-01-01T00:00:00Z", "summary": "it is made anew", "diffDigest": "",
                "approveCommand": "", "approvedFieldCounts": true,
            },
        },
    });
    if name == REJECTED {
        let mut before = pipeline["status"]["approval"].clone();
        before["state"] = json!("Rejected");
        pipeline["status"]["lost"]["setApart"] = before;
    }
    pipeline
}

/// An end of a pipe that nobody reads from.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    Stdio::from(writer)
}

const ALL_LOST: [&str; 3] = ["approve", "--lost", "--yes"];

fn votes_of(prepare: impl FnOnce(&mut Command)) -> (ExitStatus, Vec<String>) {
    let server = Server::begin();
    let mut command = server.sluice(&ALL_LOST);
    prepare(&mut command);
    (command.status().expect("it starts"), server.voted())
}

#[test]
fn all_votes_are_stored_also_if_nobody_reads_what_is_said_of_them() {
    let (status, voted) = votes_of(|command| {
        command.stdout(closed()).stderr(Stdio::null());
    });
    assert_eq!(voted, NAMES);
    assert_eq!(status.code(), Some(0));
    // As `2>&1 | head`.
    let (status, voted) = votes_of(|command| {
        command.stdout(closed()).stderr(closed());
    });
    assert_eq!(voted, NAMES);
    assert_eq!(status.code(), Some(0));
}

#[test]
fn all_votes_are_stored_on_a_full_disk_and_that_it_is_full_is_said() {
    let full = File::create("/dev/full").expect("this is Linux");
    let server = Server::begin();
    let mut command = server.sluice(&ALL_LOST);
    let output = command.stdout(full).output().expect("it starts");
    assert_eq!(server.voted(), NAMES);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("error: cannot read or write"), "{said}");
}

#[test]
fn that_one_of_many_was_rejected_before_is_said_also_where_nobody_is_asked() {
    let server = Server::begin();
    let output = server.sluice(&ALL_LOST).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    let expected = "1 of these 8 was rejected before.";
    assert!(said.contains(expected), "{said}");
    assert_eq!(server.voted(), NAMES);
}

#[test]
fn what_only_reads_ends_well_where_nobody_reads_it() {
    let server = Server::begin();
    let (no_file, script) = (
        vec!["plan", "-f", "/nonexistent"],
        vec!["completion", "bash"],
    );
    for (arguments, code) in [
        (vec!["list"], 0),
        (vec!["list", "-o", "yaml"], 0),
        (script, 0),
        // What can't be said on standard error has its status all the same.
        (no_file, 1),
    ] {
        let mut command = server.sluice(&arguments);
        command.stdout(closed()).stderr(closed());
        let status = command.status().expect("it starts");
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}
