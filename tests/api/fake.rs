//! An API server that is made up: it knows tokens, rights, Pipelines, PipelineApprovals and the
//! Secret of API keys, writes down each call, and fails where it is told to.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{Router, body::Body};
use http::{Request, Response, StatusCode};
use k8s_openapi::ByteString;
use kube::Client;
use serde_json::{Value, json};
use sluice::api::{Config, State, router};
use tower::ServiceExt;

pub const NAMESPACE: &str = "team";
pub const CHANGE: &str = "11111111111111111111111111111111";
pub const OTHER_CHANGE: &str = "22222222222222222222222222222222";
pub const UID: &str = "0f6c1a7e-0000-4000-8000-000000000001";

/// The API server, and what the REST endpoint is told about it.
#[derive(Clone)]
pub struct Fake {
    world: Arc<Mutex<World>>,
    config: Config,
}

#[derive(Default)]
struct World {
    tokens: BTreeMap<String, Value>,
    rights: BTreeSet<(String, String, String)>,
    pipelines: BTreeMap<String, Value>,
    approvals: BTreeMap<String, Value>,
    api_keys: Option<Value>,
    page_size: usize,
    faults: Vec<(String, Fault)>,
    strangers: Option<Arc<tokio::sync::Semaphore>>,
    calls: Vec<Call>,
}

/// What goes wrong with a call.
#[derive(Clone)]
pub enum Fault {
    /// It is answered with this status and body.
    Answer(u16, Value),
    /// It is never answered.
    Silence,
    /// The connection breaks.
    Broken,
    /// It is carried out, but the answer is lost.
    AnswerLost,
    /// It waits until this may be acquired.
    Held(Arc<tokio::sync::Semaphore>),
}

/// A call that was made.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub query: String,
    pub body: Value,
}

impl Call {
    /// In short, as the tests compare it.
    fn words(&self) -> String {
        let Self {
            method, path, body, ..
        } = self;
        let last = |count: usize| {
            let parts: Vec<_> = path.rsplit('/').take(count).collect();
            parts.into_iter().rev().collect::<Vec<_>>().join("/")
        };
        if path.ends_with("/tokenreviews") {
            "who is it?".to_owned()
        } else if path.ends_with("/subjectaccessreviews") {
            let asked = &body["spec"]["resourceAttributes"];
            let (verb, name) = (&asked["verb"], &asked["name"]);
            let [verb, name] = [verb, name].map(|word| word.as_str().unwrap_or("?"));
            format!("may they {verb} {name}?")
        } else if path.ends_with("/pipelines") || path.ends_with("/pipelineapprovals") {
            format!("{method} {}", last(1))
        } else if path.contains("/pipelineapprovals/") {
            format!("{method} pipelineapproval")
        } else {
            format!("{method} {}", last(2))
        }
    }
}

impl Fake {
    /// Alice may approve, Bob may look, Mallory may nothing, and pipeline `orders` has a change
    /// that waits.
    pub fn with_a_change_that_waits() -> Self {
        let fake = Self::empty();
        fake.pipeline("orders", json!({}));
        fake
    }

    /// The same people, and no pipeline.
    pub fn empty() -> Self {
        let fake = Self {
            world: Arc::new(Mutex::new(World {
                page_size: 500,
                ..World::default()
            })),
            config: Config {
                default_namespace: Some(NAMESPACE.to_owned()),
                // Tests of what takes too long stop the clock.
                request_timeout: std::time::Duration::from_secs(60),
                read_timeout: std::time::Duration::from_secs(60),
                ..Config::default()
            },
        };
        for name in ["alice", "bob", "mallory"] {
            fake.token(&format!("{name}-token"), json!({"authenticated": true, "user": {
                "username": name, "uid": format!("uid-of-{name}"), "groups": ["people", "system:authenticated"],
                "extra": {"example.com/scope": ["a", "b"]},
            }}));
        }
        fake.allow("alice", "approve", "*");
        fake.allow("bob", "get", "*");
        fake
    }

    pub fn configured(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// What the token review says of a token.
    pub fn token(&self, token: &str, status: Value) {
        self.world().tokens.insert(token.to_owned(), status);
    }

    pub fn allow(&self, user: &str, verb: &str, pipeline: &str) {
        let right = [user, verb, pipeline].map(str::to_owned).into();
        self.world().rights.insert(right);
    }

    /// A Pipeline with a change that waits, and what is different about it.
    pub fn pipeline(&self, name: &str, patch: Value) {
        let mut pipeline = json!({
            "apiVersion": "sluice.dev/v1alpha1",
            "kind": "Pipeline",
            "metadata": {
                "name": name, "namespace": NAMESPACE, "uid": UID,
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"program": {"sql": "CREATE TABLE t (i INT);"}},
            "status": {
                "engine": {"deploymentId": "d1", "deploymentStatus": "AwaitingApproval"},
                "approval": {
                    "state": "Awaiting", "changeId": CHANGE, "shortId": "11111111", "parent": "root",
                    "target": {"sql": "a", "udfRust": "b", "udfToml": "c", "config": "d"},
                    "options": {"silent": false, "concurrent": false},
                    "revision": 0, "since": "2026-01-01T00:00:00Z", "deploymentId": "d1",
                    "summary": "one view changed", "diffDigest": "x", "base": {"sequenceNumber": 7},
                    "approveCommand": "kubectl …", "approvedFieldCounts": false,
                },
            },
        });
        json_patch(&mut pipeline, patch);
        self.world().pipelines.insert(name.to_owned(), pipeline);
    }

    /// What the Secret of API keys holds; its version is told apart by the content.
    pub fn api_keys(&self, entries: &[(&str, &str)]) {
        let encoded = |text: &str| serde_json::to_value(ByteString(text.into())).unwrap();
        let data: BTreeMap<_, _> = entries
            .iter()
            .map(|(name, value)| (name, encoded(value)))
            .collect();
        let version = json!(data).to_string().len();
        self.world().api_keys = Some(json!({
            "apiVersion": "v1", "kind": "Secret", "data": data,
            "metadata": {"name": "keys", "namespace": "the-clients-own", "uid": UID, "resourceVersion": version.to_string()},
        }));
    }

    /// Changes a Pipeline with a merge patch.
    pub fn patch(&self, name: &str, patch: Value) {
        json_patch(self.world().pipelines.get_mut(name).unwrap(), patch);
    }

    /// Lists have pages of this many objects.
    pub fn pages_of(&self, size: usize) {
        self.world().page_size = size;
    }

    /// The next call whose words contain these goes wrong, once for each time that this is said.
    pub fn fault(&self, words: &str, fault: Fault) {
        self.world().faults.push((words.to_owned(), fault));
    }

    /// From now on reviews of tokens that nobody has wait until this may be acquired, each for itself.
    pub fn reviews_of_strangers_wait_for(&self, gate: Arc<tokio::sync::Semaphore>) {
        self.world().strangers = Some(gate);
    }

    /// The PipelineApprovals that are stored.
    pub fn approvals(&self) -> Vec<Value> {
        self.world().approvals.values().cloned().collect()
    }

    /// Changes all PipelineApprovals with a merge patch.
    pub fn patch_approvals(&self, patch: Value) {
        for approval in self.world().approvals.values_mut() {
            json_patch(approval, patch.clone());
        }
    }

    pub fn delete_approvals(&self) {
        self.world().approvals.clear();
    }

    /// The calls that were made, in short.
    pub fn calls(&self) -> Vec<String> {
        self.world().calls.iter().map(Call::words).collect()
    }

    /// The calls whose words contain these.
    pub fn calls_like(&self, words: &str) -> Vec<Call> {
        let mut calls = self.world().calls.clone();
        calls.retain(|call| call.words().contains(words));
        calls
    }

    pub fn client(&self) -> Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let fake = fake.clone();
            async move { fake.serve(request).await }
        });
        Client::new(service, "the-clients-own")
    }

    pub fn router(&self) -> Router {
        router(State::new(&self.config, self.client()).unwrap())
    }

    /// Sends a request to a REST endpoint that is made for it.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        Answer::of(self.router(), request).await
    }

    /// Approves, as the user with this token.
    pub async fn approve(&self, path_and_query: &str, token: &str) -> Answer {
        self.send(approval(path_and_query, token)).await
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    async fn serve(
        &self,
        request: Request<kube::client::Body>,
    ) -> Result<Response<Body>, Box<dyn std::error::Error + Send + Sync>> {
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(Body::new(body), usize::MAX).await?;
        let call = Call {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
        };
        let stranger = call.body["spec"]["token"].as_str();
        let (fault, gate) = {
            let mut world = self.world();
            let stranger = stranger.is_some_and(|token| !world.tokens.contains_key(token));
            let gate = world.strangers.clone().filter(|_| stranger);
            world.calls.push(call.clone());
            let words = call.words();
            let found = world
                .faults
                .iter()
                .position(|(like, _)| words.contains(like));
            let fault = found.map(|index| world.faults.remove(index).1);
            (fault, gate)
        };
        if let Some(gate) = gate {
            gate.acquire().await?.forget();
        }
        match fault {
            None => {}
            Some(Fault::Answer(status, body)) => return Ok(answer(status, body)),
            Some(Fault::Silence) => return std::future::pending().await,
            Some(Fault::Broken) => return Err("connection refused".into()),
            Some(Fault::AnswerLost) => {
                self.world().answer(&call);
                return std::future::pending().await;
            }
            Some(Fault::Held(gate)) => drop(gate.acquire().await?),
        }
        let (status, body) = self.world().answer(&call);
        Ok(answer(status, body))
    }
}

impl World {
    fn answer(&mut self, call: &Call) -> (u16, Value) {
        let body = &call.body;
        let approvals =
            format!("/apis/sluice.dev/v1alpha1/namespaces/{NAMESPACE}/pipelineapprovals");
        let pipelines = format!("/apis/sluice.dev/v1alpha1/namespaces/{NAMESPACE}/pipelines");
        match (call.method.as_str(), call.path.as_str()) {
            ("POST", "/apis/authentication.k8s.io/v1/tokenreviews") => {
                let token = body["spec"]["token"].as_str().unwrap_or_default();
                let unknown =
                    json!({"authenticated": false, "error": "invalid bearer token", "user": {}});
                let mut review = body.clone();
                review["status"] = self.tokens.get(token).cloned().unwrap_or(unknown);
                (201, review)
            }
            ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews") => {
                let asked = &body["spec"]["resourceAttributes"];
                let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let (user, verb, name) = (
                    word(&body["spec"]["user"]),
                    word(&asked["verb"]),
                    word(&asked["name"]),
                );
                let about_pipelines =
                    asked["group"] == "sluice.dev" && asked["resource"] == "pipelines";
                let allowed = about_pipelines
                    && asked["namespace"] == NAMESPACE
                    && [name, "*".to_owned()]
                        .into_iter()
                        .any(|name| self.rights.contains(&(user.clone(), verb.clone(), name)));
                let mut review = body.clone();
                review["status"] = json!({"allowed": allowed});
                (201, review)
            }
            ("GET", path) if path.ends_with("/pipelines") && path != pipelines => (
                200,
                json!({"apiVersion": "sluice.dev/v1alpha1", "kind": "PipelineList", "metadata": {}, "items": []}),
            ),
            ("GET", path) if path == pipelines => {
                let query: BTreeMap<_, _> = url::form_urlencoded::parse(call.query.as_bytes())
                    .into_owned()
                    .collect();
                let start: usize = query
                    .get("continue")
                    .map_or(0, |token| token.parse().unwrap());
                let selected = query
                    .get("fieldSelector")
                    .map(|selector| selector.strip_prefix("spec.pipelineName=").unwrap());
                let selected: Vec<_> = self
                    .pipelines
                    .values()
                    .filter(|it| selected.is_none_or(|name| it["spec"]["pipelineName"] == name))
                    .cloned()
                    .collect();
                if query
                    .get("resourceVersion")
                    .is_some_and(|version| version == "0")
                {
                    // As long as real ones.
                    let row = || json!({"cells": ["x".repeat(1_000)]});
                    let rows: Vec<_> = selected.iter().map(|_| row()).collect();
                    let table =
                        json!({"apiVersion": "meta.k8s.io/v1", "kind": "Table", "rows": rows});
                    return (200, table);
                }
                let page: Vec<_> = selected
                    .iter()
                    .skip(start)
                    .take(self.page_size)
                    .cloned()
                    .collect();
                let next = start + page.len();
                let next = if next < selected.len() {
                    next.to_string()
                } else {
                    String::new()
                };
                let list = json!({
                    "apiVersion": "sluice.dev/v1alpha1", "kind": "PipelineList",
                    "metadata": {"resourceVersion": "1", "continue": next}, "items": page,
                });
                (200, list)
            }
            ("GET", path) if path == approvals => {
                let list = json!({
                    "apiVersion": "sluice.dev/v1alpha1", "kind": "PipelineApprovalList", "metadata": {},
                    "items": self.approvals.values().collect::<Vec<_>>(),
                });
                (200, list)
            }
            ("POST", path) if path == approvals => {
                let mut body = body.clone();
                let number = self.approvals.len();
                if let Some(start) = body["metadata"]["generateName"].as_str() {
                    body["metadata"]["name"] = json!(format!("{start}{number:05}"));
                }
                body["metadata"]["uid"] = json!(format!("uid-{number}"));
                let name = body["metadata"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                if self.approvals.contains_key(&name) {
                    return status(409, "AlreadyExists", "already exists");
                }
                self.approvals.insert(name, body.clone());
                (201, body)
            }
            ("GET", "/api/v1/namespaces/the-clients-own/secrets/keys") => match &self.api_keys {
                Some(secret) => (200, secret.clone()),
                None => status(404, "NotFound", "not found"),
            },
            ("GET", path) => {
                let found = path
                    .strip_prefix(&format!("{pipelines}/"))
                    .and_then(|name| self.pipelines.get(name))
                    .or_else(|| {
                        path.strip_prefix(&format!("{approvals}/"))
                            .and_then(|name| self.approvals.get(name))
                    });
                match found {
                    Some(object) => (200, object.clone()),
                    None => status(404, "NotFound", "not found"),
                }
            }
            (method, path) => status(405, "MethodNotAllowed", &format!("{method} {path}")),
        }
    }
}

/// What the REST endpoint answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub body: Value,
}

impl Answer {
    /// What this REST endpoint answers to a request.
    pub async fn of(router: Router, request: Request<Body>) -> Self {
        let response = router.oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Self {
            status: head.status,
            headers: head.headers,
            body: serde_json::from_slice(&body)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned())),
        }
    }

    /// It is an error, and one in the engine's shape.
    #[track_caller]
    pub fn is_error(&self, status: u16, code: &str) -> &Self {
        assert_eq!(
            (self.status.as_u16(), &self.body["error_code"]),
            (status, &json!(code)),
            "{self:?}"
        );
        let keys: Vec<_> = self.body.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["details", "error_code", "message"], "{self:?}");
        assert!(self.body["details"].is_object(), "{self:?}");
        assert!(
            self.body["message"]
                .as_str()
                .is_some_and(|text| text.len() > 10),
            "{self:?}"
        );
        assert_eq!(self.headers["content-type"], "application/json");
        self
    }

    #[track_caller]
    pub fn is_accepted(&self, number: i64) -> &Self {
        assert_eq!(self.status, 202, "{self:?}");
        assert_eq!(self.body, json!({"checkpoint_sequence_number": number}));
        self
    }

    pub fn details(&self) -> &Value {
        &self.body["details"]
    }

    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

/// `POST /v0/pipelines/{path_and_query}` with `/approve` put in before the query.
pub fn approval(path_and_query: &str, token: &str) -> Request<Body> {
    let (name, query) = path_and_query
        .split_once('?')
        .unwrap_or((path_and_query, ""));
    Request::post(format!("/v0/pipelines/{name}/approve?{query}"))
        .header("authorization", format!("Bearer {token}"))
        .body(Body::empty())
        .unwrap()
}

/// A `Status` of the API server.
pub fn status(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "code": code, "reason": reason, "message": message,
    });
    (code, status)
}

fn answer(status: u16, body: Value) -> Response<Body> {
    let body = serde_json::to_vec(&body).unwrap();
    let response = Response::builder().status(status).body(Body::from(body));
    response.unwrap()
}

/// A merge patch (RFC 7386).
fn json_patch(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        match value {
            Value::Null => drop(target.as_object_mut().unwrap().remove(&key)),
            value => json_patch(&mut target[&key], value),
        }
    }
}
