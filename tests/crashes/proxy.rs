//! Stands between the operator and what it speaks to, knows its writes, and kills it at one of them.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use sluice_test_support::operator::{Operator, operators_kubeconfig};
use sluice_test_support::story::Story;

/// Whether the operator dies before a write is passed on, or before it learns of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Position {
    Before,
    After,
}

/// Where the operator is killed: at which of its writes since the story began.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    pub number: usize,
    pub position: Position,
}

/// A write of the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    to: &'static str,
    method: Method,
    path: String,
}

impl Write {
    /// Whether it tells the engine to go on.
    pub fn is_approve(&self) -> bool {
        self.path.ends_with("/approve")
    }

    /// What kind of write it is, without names.
    pub fn kind(&self) -> String {
        let last = self.path.rsplit('/').next().unwrap_or_default();
        let last = match last {
            "pipelines" | "status" | "pipelineapprovals" => last,
            _ if self.path.contains("sluice-build-") => "compilation beforehand",
            _ if self.path.ends_with("/orders") => "pipeline",
            last => last,
        };
        format!("{} {} {last}", self.to, self.method)
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.to, self.method, self.path)
    }
}

/// The proxy, and the operator behind it. Both end with this, however the story does: hundreds of stories are told
/// in one process.
pub struct Proxy {
    /// Where the engine seems to be.
    pub engine_url: String,
    audit: PathBuf,
    start: Start,
    shared: Arc<Shared>,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// How the operator is started.
#[derive(Clone)]
struct Start {
    kubeconfig: PathBuf,
    flags: Vec<String>,
    log: PathBuf,
}

struct Shared {
    http: reqwest::Client,
    api_server: String,
    engine: String,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The writes since the story began; `None` before.
    writes: Option<Vec<Write>>,
    crash: Option<Crash>,
    operator: Option<Operator>,
    /// It was killed, and nothing that it may still send is passed on.
    is_dead: bool,
}

impl Proxy {
    pub async fn start(story: &Story) -> Self {
        let config = story.cluster().config("admin").await;
        let ca = config.root_cert.clone().unwrap_or_default();
        let ca = ca
            .iter()
            .map(|der| reqwest::Certificate::from_der(der).expect("a certificate"));
        // By these alone: to read those of the machine takes long.
        let http = reqwest::Client::builder().tls_certs_only(ca);
        let shared = Arc::new(Shared {
            http: http.build().expect("a client"),
            api_server: config
                .cluster_url
                .to_string()
                .trim_end_matches('/')
                .to_owned(),
            engine: story.engine.url.clone(),
            inner: Mutex::default(),
        });
        let (api_url, for_api) = serve("API server", &shared).await;
        let (engine_url, for_engine) = serve("engine", &shared).await;
        let kubeconfig = operators_kubeconfig(story.cluster(), Some(&api_url)).await;
        let namespace = story.namespace.to_string();
        let audit = story.log().with_extension("audit");
        let _ = std::fs::remove_file(&audit);
        let flags = vec![
            "--audit-log".to_owned(),
            audit.display().to_string(),
            "--watch-namespace".to_owned(),
            namespace.clone(),
            "--api-namespace".to_owned(),
            namespace,
        ];
        Self {
            engine_url,
            audit,
            start: Start {
                kubeconfig,
                flags,
                log: story.log().to_owned(),
            },
            shared,
            tasks: Mutex::new(vec![for_api, for_engine]),
        }
    }

    /// Starts the operator; from now on it is started again whenever it was killed.
    pub fn run_operator(&self) {
        self.shared.start_operator(&self.start);
        let (start, shared) = (self.start.clone(), Arc::clone(&self.shared));
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                let dead = shared.inner.lock().expect("no panic").is_dead;
                if dead {
                    shared.start_operator(&start);
                }
            }
        });
        let mut tasks = self.tasks.lock().expect("no panic");
        tasks.push(task.abort_handle());
    }

    /// Where the REST endpoint of the operator listens that runs now, if one does.
    pub fn rest_url(&self) -> Option<String> {
        let inner = self.shared.inner.lock().expect("no panic");
        inner.operator.as_ref()?.listens_at("api")
    }

    /// What stands in the audit log, as a collector has it that drops what comes again.
    pub fn audited(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.audit).unwrap_or_default();
        // A process that is killed may leave a torn line.
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let mut seen = std::collections::HashSet::new();
        lines
            .filter(|line: &serde_json::Value| seen.insert(line["id"].to_string()))
            .map(|line| line["event"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// The story begins: writes are counted from now on, and the operator dies at one of them.
    pub fn arm(&self, crash: Option<Crash>) {
        let mut inner = self.shared.inner.lock().expect("no panic");
        inner.writes = Some(vec![]);
        inner.crash = crash;
    }

    /// The writes since the story began.
    pub fn writes(&self) -> Vec<Write> {
        let inner = self.shared.inner.lock().expect("no panic");
        inner.writes.clone().unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for task in self.tasks.get_mut().expect("no panic") {
            task.abort();
        }
        let mut inner = self.shared.inner.lock().expect("no panic");
        inner.operator = None;
        inner.is_dead = true;
    }
}

async fn serve(to: &'static str, shared: &Arc<Shared>) -> (String, AbortHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = Router::new()
        .fallback(pass_on)
        .with_state((to, Arc::clone(shared)));
    let task = tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), task.abort_handle())
}

async fn pass_on(
    State((to, shared)): State<(&'static str, Arc<Shared>)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let write = Write {
        to,
        method: method.clone(),
        path: uri.path().to_owned(),
    };
    let crash = shared.count(&write);
    if crash == Some(Position::Before) {
        shared.kill();
    }
    if shared.inner.lock().expect("no panic").is_dead {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let base = if to == "engine" {
        &shared.engine
    } else {
        &shared.api_server
    };
    let url = format!(
        "{base}{}",
        uri.path_and_query().map_or("/", |path| path.as_str())
    );
    let mut forwarded = headers;
    for hop in ["host", "connection", "content-length", "transfer-encoding"] {
        forwarded.remove(hop);
    }
    let answer = shared
        .http
        .request(method, url)
        .headers(forwarded)
        .body(body);
    let answer = match answer.send().await {
        Ok(answer) => answer,
        Err(_) => return StatusCode::BAD_GATEWAY.into_response(),
    };
    if crash == Some(Position::After) {
        shared.kill();
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let mut response = Response::builder().status(answer.status());
    for name in ["content-type", "retry-after"] {
        if let Some(value) = answer.headers().get(name) {
            response = response.header(name, value);
        }
    }
    let body: reqwest::Body = answer.into();
    response.body(Body::new(body)).expect("a response")
}

impl Shared {
    /// Counts a write; returns whether the operator is to die at it.
    fn count(&self, write: &Write) -> Option<Position> {
        // What it asks, and what it tells people, changes nothing.
        let asks = write.method == Method::GET
            || ["/diff", "tokenreviews", "subjectaccessreviews"]
                .iter()
                .any(|asking| write.path.ends_with(asking))
            || write.path.contains("/events");
        let mut inner = self.inner.lock().expect("no panic");
        if asks || inner.is_dead || inner.writes.is_none() {
            return None;
        }
        let writes = inner.writes.get_or_insert_default();
        writes.push(write.clone());
        let number = writes.len() - 1;
        let crash = inner.crash?;
        (crash.number == number).then(|| {
            inner.crash = None;
            crash.position
        })
    }

    fn start_operator(&self, start: &Start) {
        let flags: Vec<&str> = start.flags.iter().map(String::as_str).collect();
        let operator = Operator::start_with(&start.kubeconfig, &start.log, &flags);
        let mut inner = self.inner.lock().expect("no panic");
        inner.operator = Some(operator);
        inner.is_dead = false;
    }

    fn kill(&self) {
        let mut inner = self.inner.lock().expect("no panic");
        if let Some(operator) = inner.operator.take() {
            operator.signal("KILL");
        }
        inner.is_dead = true;
    }
}
