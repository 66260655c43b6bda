//! The stand-in for the engine, whose log of calls says what was really done to it.

use std::path::Path;
use std::process::Stdio;
use std::sync::LazyLock;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::port::Port;
use crate::programs::program;
use crate::story::eventually;
use crate::tied::Tied;

/// How often the stand-in is fresh: often enough that its own delays don't show.
const QUICK: [&str; 16] = [
    "--poll-interval",
    "50ms",
    "--details-interval",
    "50ms",
    "--compile-time",
    "50ms",
    "--provision-time",
    "50ms",
    "--initialize-time",
    "20ms",
    "--restart-time",
    "100ms",
    "--bootstrap-time",
    "100ms",
    "--stop-time",
    "50ms",
];

/// What speaks to all of them: to make a client takes longer than most calls, since it reads the certificates of the machine.
static HTTP: LazyLock<reqwest::Client> = LazyLock::new(|| {
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Connections end with the runtime of the test that made them, or with the process at their other end.
    let client = reqwest::Client::builder().pool_max_idle_per_host(0);
    client.build().expect("a client")
});

/// A call to the engine, as it has logged it.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// When it came in.
    pub time: Timestamp,
    /// `POST`, …
    pub method: String,
    /// Without `/v0`.
    pub path: String,
    /// The query as it came.
    pub query: String,
    /// The body.
    pub body: Value,
    /// What was answered.
    pub status: Option<u16>,
}

impl Call {
    /// Whether it asks for the list of all pipelines: the operator's tick.
    pub fn is_tick(&self) -> bool {
        self.method == "GET" && self.path == "/pipelines"
    }

    /// Whether it could change something of what runs. Tags don't.
    pub fn changes(&self) -> bool {
        let only_tags = self.method == "PATCH"
            && self
                .body
                .as_object()
                .is_some_and(|body| body.keys().eq(["tags"]));
        self.method != "GET" && !self.path.ends_with("/diff") && !only_tags
    }
}

/// A stand-in for the engine.
pub struct StandIn {
    process: Option<Tied>,
    /// Its own, also while it is down.
    port: Port,
    /// `http://127.0.0.1:…`
    pub url: String,
    arguments: Vec<String>,
    directory: tempfile::TempDir,
    http: reqwest::Client,
}

impl StandIn {
    /// Starts one with these flags.
    pub fn start(flags: &[&str]) -> Self {
        let mut stand_in = Self {
            process: None,
            port: Port::held(),
            url: String::new(),
            arguments: QUICK
                .chunks(2)
                .filter(|pair| !flags.contains(&pair[0]))
                .flatten()
                .chain(flags)
                .map(|&flag| flag.to_owned())
                .collect(),
            directory: tempfile::tempdir().expect("a temporary folder"),
            http: HTTP.clone(),
        };
        stand_in.listen();
        stand_in
    }

    fn listen(&mut self) {
        let program = program("feldera-sim");
        assert!(
            program.exists(),
            "{} isn't built: cargo build -p feldera-sim",
            program.display()
        );
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        let mut arguments = self.arguments.clone();
        for (flag, value) in [
            ("--listen", self.port.address.to_string()),
            ("--call-log", path("calls")),
            ("--state-dir", path("state")),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        let mut process = Tied::start(&program, &arguments, &[], Stdio::inherit());
        let line = process.first_line();
        let url = line.strip_prefix("feldera-sim listening on ");
        self.url = url.unwrap_or_else(|| panic!("it says {line:?}")).to_owned();
        self.process = Some(process);
    }

    /// The engine's manager is killed; its state stays.
    pub fn goes_down(&mut self) {
        self.process = None;
    }

    /// It comes back at the same address.
    pub fn comes_back(&mut self) {
        self.listen();
    }

    /// The state of an engine that is down, as a backup keeps it.
    pub fn backup(&self) -> tempfile::TempDir {
        let backup = tempfile::tempdir().expect("a temporary folder");
        copy(&self.directory.path().join("state"), backup.path());
        backup
    }

    /// The engine, while it is down, has the state of a backup again.
    pub fn restore(&self, backup: &tempfile::TempDir) {
        let state = self.directory.path().join("state");
        std::fs::remove_dir_all(&state).expect("it is there");
        std::fs::create_dir(&state).expect("a folder");
        copy(backup.path(), &state);
    }

    /// A call to the engine itself, by somebody else than Sluice. The log doesn't tell who called.
    pub async fn by_hand(&self, method: &str, path: &str, body: Value) -> Value {
        self.request(method, &format!("/v0{path}"), body).await
    }

    /// A call to the stand-in's own controls, which are in no log.
    pub async fn sim(&self, method: &str, path: &str, body: Value) -> Value {
        self.request(method, &format!("/sim{path}"), body).await
    }

    /// Switches a fault on.
    pub async fn fault(&self, name: &str, value: impl Into<Value>) {
        self.sim("POST", "/faults", json!({name: value.into()}))
            .await;
    }

    /// Switches all faults off.
    pub async fn no_faults(&self) {
        self.sim("DELETE", "/faults", Value::Null).await;
    }

    /// The bootstraps that were begun: what was really applied.
    pub async fn bootstraps(&self) -> Vec<Value> {
        let all = self.sim("GET", "/bootstraps", Value::Null).await;
        all.as_array().cloned().unwrap_or_default()
    }

    /// What a pipeline has done.
    pub async fn counters(&self, pipeline: &str) -> Value {
        self.sim(
            "GET",
            &format!("/pipelines/{pipeline}/counters"),
            Value::Null,
        )
        .await
    }

    /// The engine's own view of a pipeline.
    pub async fn pipeline(&self, name: &str) -> Value {
        self.by_hand(
            "GET",
            &format!("/pipelines/{name}?selector=all"),
            Value::Null,
        )
        .await
    }

    async fn request(&self, method: &str, path: &str, body: Value) -> Value {
        let method = method.parse().expect("a method");
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(key) = self.arguments.iter().position(|flag| flag == "--api-key") {
            request = request.bearer_auth(&self.arguments[key + 1]);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.expect("the stand-in answers");
        let status = response.status();
        let text = response.text().await.expect("a whole answer");
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// The names of all pipelines.
    pub async fn names(&self) -> Vec<String> {
        let all = self.by_hand("GET", "/pipelines", Value::Null).await;
        let names = all.as_array().into_iter().flatten();
        names
            .map(|pipeline| pipeline["name"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        let text = std::fs::read_to_string(self.directory.path().join("calls")).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .map(|line| Call {
                time: line["time"]
                    .as_str()
                    .expect("a time")
                    .parse()
                    .expect("a time"),
                method: line["method"].as_str().unwrap_or_default().to_owned(),
                path: line["path"]
                    .as_str()
                    .unwrap_or_default()
                    .trim_start_matches("/v0")
                    .to_owned(),
                query: line["query"].as_str().unwrap_or_default().to_owned(),
                body: line["body"].clone(),
                status: line["status"]
                    .as_u64()
                    .and_then(|status| status.try_into().ok()),
            })
            .collect()
    }

    /// The calls so far whose path ends so, such as `/orders/approve`.
    pub fn calls_to(&self, suffix: &str) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|call| call.method != "GET" && call.path.ends_with(suffix));
        calls
    }

    /// What was done so far, in short: `POST /pipelines/orders/start?…`.
    pub fn done(&self) -> Vec<String> {
        let calls = self.calls().into_iter().filter(Call::changes);
        calls
            .map(|call| format!("{} {}?{}", call.method, call.path, call.query))
            .collect()
    }

    /// Waits until anything is asked again, in vain maybe.
    pub async fn is_asked_again(&self) {
        let begin = self.calls().len();
        eventually("the operator asks the engine again", || async move {
            (self.calls().len() > begin).then_some(()).ok_or("not yet")
        })
        .await;
    }

    /// Waits until the operator has asked so many times more for everything, so that whatever it
    /// would do because of what it sees is done.
    pub async fn ticks(&self, number: usize) {
        let begin = self.calls().len();
        eventually("the operator asks the engine again", || async move {
            let ticks = self.calls()[begin..]
                .iter()
                .filter(|call| call.is_tick())
                .count();
            (ticks >= number).then_some(()).ok_or(ticks)
        })
        .await;
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&to).expect("a folder");
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("a copy");
        }
    }
}
