//! What each call answers, over HTTP and in each phase, as the engine (0.337) does. Durations of
//! zero and of an hour hold pipelines in the phase that a test wants.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use clap::Parser;
use feldera_sim::config::Config;
use feldera_sim::server::{self, App};
use http::{HeaderMap, Request};
use serde_json::{Value, json};
use tower::ServiceExt;

const TABLE: &str = "CREATE TABLE t (id INT) WITH ('materialized' = 'true');";
const OLD: &str =
    "CREATE TABLE t (id INT) WITH ('materialized' = 'true'); CREATE VIEW v AS SELECT id FROM t;";
const NEW: &str = "CREATE TABLE t (id INT) WITH ('materialized' = 'true'); CREATE VIEW v AS SELECT id + 1 FROM t;";
/// Everything is immediate.
const QUICK: &[&str] = &[
    "--poll-interval=0",
    "--compile-time=0",
    "--provision-time=0",
    "--initialize-time=0",
    "--bootstrap-time=0",
    "--checkpoint-time=0",
    "--stop-time=0",
    "--restart-time=0",
    "--durable-time=0",
];

struct Client {
    router: Router,
    key: Option<&'static str>,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {:?}", self.text))
    }

    fn code(&self) -> String {
        self.json()["error_code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

impl Client {
    fn new(arguments: &[&str]) -> Self {
        let arguments = ["feldera-sim"].iter().chain(QUICK).chain(arguments);
        // A flag given twice is an error: the later one shall count.
        let mut seen: Vec<&str> = Vec::new();
        for argument in arguments {
            let name = argument.split('=').next().unwrap();
            seen.retain(|a| !argument.contains('=') || a.split('=').next() != Some(name));
            seen.push(argument);
        }
        let app: Arc<App> = server::app(&Config::parse_from(seen)).unwrap();
        Self {
            router: server::router(app),
            key: None,
        }
    }

    async fn send(&self, method: &str, path: &str, body: Option<(&str, String)>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(key) = self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let body = match body {
            Some((kind, body)) => {
                request = request.header("content-type", kind);
                Body::from(body)
            }
            None => Body::empty(),
        };
        let answer = self
            .router
            .clone()
            .oneshot(request.body(body).unwrap())
            .await
            .unwrap();
        let (parts, body) = answer.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    async fn call(&self, line: &str) -> Answer {
        let (method, path) = line.split_once(' ').unwrap();
        self.send(method, path, None).await
    }

    async fn json(&self, line: &str, body: Value) -> Answer {
        let (method, path) = line.split_once(' ').unwrap();
        self.send(method, path, Some(("application/json", body.to_string())))
            .await
    }

    async fn ok(&self, line: &str) -> Answer {
        let answer = self.call(line).await;
        assert!(
            answer.status < 300,
            "{line}: {} {}",
            answer.status,
            answer.text
        );
        answer
    }

    async fn create(&self, program: &str) {
        let body = json!({"name": "p", "program_code": program});
        let answer = self.json("POST /v0/pipelines", body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
    }

    async fn get(&self) -> Value {
        self.ok("GET /v0/pipelines/p?selector=status").await.json()
    }

    async fn patch(&self, body: Value) -> Answer {
        self.json("PATCH /v0/pipelines/p", body).await
    }

    /// Stopped with a checkpoint, and changed.
    async fn changed(&self) {
        self.create(OLD).await;
        self.ok("POST /v0/pipelines/p/start").await;
        self.ok("POST /v0/pipelines/p/checkpoint").await;
        self.ok("POST /v0/pipelines/p/stop?force=true").await;
        let answer = self.patch(json!({"program_code": NEW})).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    /// Waits for a status, which is reached at once but for the manager's noticing.
    async fn is(&self, status: &str) {
        let begin = std::time::Instant::now();
        loop {
            let get = self.get().await;
            if get["deployment_status"] == status {
                return;
            }
            assert!(begin.elapsed().as_secs() < 10, "not {status}: {get:#}");
            tokio::task::yield_now().await;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum In {
    Stopped,
    Provisioning,
    Initializing,
    AwaitingApproval,
    Bootstrapping,
    ConcurrentBootstrapping,
    Running,
    Paused,
    Dead,
}

async fn held_in(phase: In) -> Client {
    let hold = match phase {
        In::Provisioning => "--provision-time=1h",
        In::Initializing => "--initialize-time=1h",
        In::Bootstrapping | In::ConcurrentBootstrapping => "--bootstrap-time=1h",
        In::Dead => "--restart-time=1h",
        _ => "--poll-interval=0",
    };
    let client = Client::new(&[hold]);
    match phase {
        In::Stopped | In::Provisioning | In::Initializing | In::Running | In::Paused | In::Dead => {
            client.create(OLD).await;
            if phase != In::Stopped {
                let initial = if phase == In::Paused {
                    "paused"
                } else {
                    "running"
                };
                client
                    .ok(&format!("POST /v0/pipelines/p/start?initial={initial}"))
                    .await;
            }
            if phase == In::Dead {
                client.ok("POST /sim/pipelines/p/kill").await;
            }
        }
        In::AwaitingApproval => {
            client.changed().await;
            client.ok("POST /v0/pipelines/p/start").await;
        }
        In::Bootstrapping | In::ConcurrentBootstrapping => {
            client.changed().await;
            let concurrent = phase == In::ConcurrentBootstrapping;
            client
                .ok(&format!("POST /v0/pipelines/p/start?bootstrap_policy=allow&concurrent_bootstrap={concurrent}"))
                .await;
        }
    }
    let shown = if phase == In::Dead {
        "Unavailable".to_owned()
    } else {
        format!("{phase:?}")
    };
    client.is(&shown).await;
    client
}

#[tokio::test]
async fn each_call_in_each_phase() {
    use In::{
        AwaitingApproval as A, Bootstrapping as B, ConcurrentBootstrapping as C, Dead as D,
        Initializing as I, Paused as Q, Provisioning as P, Running as R, Stopped as S,
    };
    const NOT_DEPLOYED: &str = "PipelineInteractionNotDeployed";
    // Call, phases, status, and the error code or a part of the answer.
    let table: &[(&str, &[In], u16, &str)] = &[
        (
            "POST approve",
            &[I, A, B, C, R, Q],
            200,
            "\"Bootstrap approved\"",
        ),
        ("POST approve", &[S, P], 503, NOT_DEPLOYED),
        ("POST approve", &[D], 503, "PipelineUnavailable"),
        (
            "POST approve?silent_bootstrap=true&concurrent_bootstrap=true",
            &[S, A, R],
            400,
            "InvalidBootstrapConfig",
        ),
        (
            "POST approve?silent_bootstrap=maybe",
            &[A],
            400,
            "Query deserialize error: provided string was not `true` or `false`",
        ),
        ("GET approve", &[A, R], 404, ""),
        ("POST pause", &[I, A, B, C, R, Q], 202, "to Paused\""),
        ("POST pause", &[S, P], 503, NOT_DEPLOYED),
        ("POST resume", &[I, A, B, C, R, Q], 202, "to Running\""),
        ("POST checkpoint", &[I, A], 503, "Initializing"),
        (
            "POST checkpoint",
            &[B, C, R, Q],
            200,
            "checkpoint_sequence_number",
        ),
        ("POST checkpoint", &[S, P], 503, NOT_DEPLOYED),
        ("GET checkpoint_status", &[A, R], 200, "\"success\":null"),
        (
            "GET checkpoint_status?incarnation_uuid=01a20afc-de42-70b1-81eb-65ca8b8204f2",
            &[R],
            400,
            "IncarnationUuidMismatch",
        ),
        ("GET checkpoints", &[A], 200, "\"fingerprint\""),
        ("GET checkpoints", &[R], 200, "[]"),
        ("GET stats", &[I, A], 503, "Initializing"),
        ("GET stats", &[B, C, R, Q], 200, "\"global_metrics\""),
        ("GET stats", &[S], 503, NOT_DEPLOYED),
        ("GET metrics", &[A], 503, "Initializing"),
        ("GET metrics", &[R], 200, "records_processed_total"),
        ("GET logs", &[S, A, R], 200, ""),
        (
            "GET query?sql=select%20count(*)%20from%20v&format=json",
            &[I, A, B],
            503,
            "Initializing",
        ),
        (
            "GET query?sql=select%20count(*)%20from%20v&format=json",
            &[C, R, Q],
            200,
            "{\"count(*)\":0}",
        ),
        ("GET query?sql=select%201", &[R], 400, "AdHocQueryError"),
        (
            "GET query?sql=select%20count(*)%20from%20x",
            &[R],
            400,
            "AdHocQueryError",
        ),
        ("POST ingress/t?format=json", &[I, A], 503, "Initializing"),
        (
            "POST ingress/nosuch?format=json",
            &[R],
            404,
            "UnknownInputStream",
        ),
        ("POST egress/v", &[A], 503, "Initializing"),
        ("POST egress/v", &[R], 200, ""),
        (
            "POST start",
            &[S, P, I, A, R],
            202,
            "\"Pipeline is starting\"",
        ),
        (
            "POST start?initial=paused",
            &[P, A, R],
            400,
            "InitialImmutableUnlessStopped",
        ),
        (
            "POST start?bootstrap_policy=allow",
            &[P, A, R],
            400,
            "BootstrapPolicyImmutableUnlessStopped",
        ),
        (
            "POST start?silent_bootstrap=true",
            &[A, R],
            400,
            "BootstrapPolicyImmutableUnlessStopped",
        ),
        (
            "POST start?silent_bootstrap=true&concurrent_bootstrap=true",
            &[S],
            400,
            "InvalidBootstrapConfig",
        ),
        (
            "POST start?initial=standby",
            &[S],
            400,
            "InitialStandbyNotAllowed",
        ),
        (
            "POST start?initial=sideways",
            &[S],
            405,
            "UnsupportedPipelineAction",
        ),
        (
            "POST start?bootstrap_policy=maybe",
            &[S],
            400,
            "Query deserialize error",
        ),
        (
            "POST stop?force=true",
            &[S, P, I, A, B, R, D],
            202,
            "\"Pipeline is forcefully stopping\"",
        ),
        (
            "POST stop",
            &[S, P],
            202,
            "\"Pipeline is forcefully stopping\"",
        ),
        (
            "POST stop",
            &[I, A, B, R, Q],
            202,
            "\"Pipeline is suspending\"",
        ),
        ("POST stop", &[D], 503, "PipelineUnavailable"),
        (
            "POST clear",
            &[S],
            202,
            "\"Pipeline storage is being cleared\"",
        ),
        (
            "POST clear",
            &[P, A, R],
            400,
            "StorageStatusImmutableUnlessStopped",
        ),
        ("POST dismiss_error", &[S, A, R], 200, "dismissed"),
        ("DELETE ", &[P, A, R], 400, "DeleteRestrictedToFullyStopped"),
        ("DELETE ", &[S], 200, ""),
        ("POST reject", &[A], 404, ""),
        ("PUT approve", &[A], 404, ""),
    ];
    for (call, phases, status, expected) in table {
        for phase in *phases {
            let client = held_in(*phase).await;
            let (method, call) = call.split_once(' ').unwrap();
            let path = format!("/v0/pipelines/p/{call}");
            let answer = client.send(method, path.trim_end_matches('/'), None).await;
            let context = format!(
                "{method} {call} in {phase:?}: {} {}",
                answer.status, answer.text
            );
            assert_eq!(answer.status, *status, "{context}");
            assert!(answer.text.contains(expected), "{context}");
            let own = ["PipelineInteractionNotDeployed", "PipelineUnavailable"].contains(expected);
            let retry = answer
                .headers
                .get("retry-after")
                .map(|v| v.to_str().unwrap());
            assert_eq!(
                retry,
                own.then_some("5"),
                "only the manager's own 503s: {context}"
            );
            if answer.text.is_empty() {
                continue;
            }
            if answer.status >= 400 && !expected.contains("deserialize") {
                let body = answer.json();
                let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
                assert_eq!(keys, ["details", "error_code", "message"], "{context}");
            }
        }
    }
}

#[tokio::test]
async fn errors_have_the_engines_bodies() {
    let client = held_in(In::AwaitingApproval).await;
    let initializing = json!({
        "message": "Operation failed because the pipeline has not finished initializing.",
        "error_code": "Initializing",
        "details": null,
    });
    assert_eq!(
        client.call("GET /v0/pipelines/p/stats").await.json(),
        initializing
    );
    let unknown = client.call("GET /v0/pipelines/nosuch").await;
    assert_eq!(
        (unknown.status, unknown.json()),
        (
            404,
            json!({
                "message": "Unknown pipeline name 'nosuch'",
                "error_code": "UnknownPipelineName",
                "details": {"pipeline_name": "nosuch"},
            })
        )
    );
    for call in [
        "approve",
        "start",
        "stop?force=true",
        "pause",
        "checkpoint",
        "clear",
    ] {
        let answer = client
            .call(&format!("POST /v0/pipelines/nosuch/{call}"))
            .await;
        assert_eq!(
            (answer.status, answer.code()),
            (404, "UnknownPipelineName".into()),
            "{call}"
        );
    }
    for line in [
        "GET /v0/nosuch",
        "GET /nosuch",
        "PUT /v0/pipelines",
        "POST /v0/config",
    ] {
        let answer = client.call(line).await;
        assert_eq!((answer.status, answer.text.as_str()), (404, ""), "{line}");
    }
    let stopped = held_in(In::Stopped).await;
    let details = stopped.call("POST /v0/pipelines/p/approve").await.json()["details"].clone();
    assert_eq!(
        details,
        json!({"pipeline_name": "p", "status": "Stopped", "desired_status": "Stopped"})
    );
}

#[tokio::test]
async fn bodies_are_checked() {
    let client = Client::new(&[]);
    let kind = "application/json";
    let post = async |kind: &str, body: &str| {
        client
            .send("POST", "/v0/pipelines", Some((kind, body.to_owned())))
            .await
    };
    for (kind, body, expected) in [
        ("text/plain", "{}", "Content type error"),
        (kind, "{", "Json deserialize error: "),
        (kind, r#"{"name": "p"}"#, "missing field `program_code`"),
        (kind, r#"{"name": 1, "program_code": ""}"#, "invalid type"),
    ] {
        let answer = post(kind, body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.text.contains(expected), "{body}: {}", answer.text);
    }
    for (field, value, code) in [
        ("name", json!(""), "EmptyName"),
        ("name", json!("a".repeat(64)), "TooLongName"),
        ("name", json!("a b"), "NameDoesNotMatchPattern"),
        ("name", json!("-a"), "NameDoesNotMatchPattern"),
        ("description", json!("x".repeat(301)), "TooLongDescription"),
        ("tags", json!([""]), "InvalidTag"),
        ("tags", json!(["ä"]), "InvalidTag"),
        ("tags", json!(vec!["x"; 51]), "TooManyTags"),
        (
            "runtime_config",
            json!({"workers": "many"}),
            "InvalidRuntimeConfig",
        ),
        (
            "program_config",
            json!({"profile": "fastest"}),
            "InvalidProgramConfig",
        ),
        (
            "program_config",
            json!({"runtime_version": "latest"}),
            "InvalidProgramConfig",
        ),
    ] {
        let mut body = json!({"name": "p", "program_code": ""});
        body[field] = value;
        let answer = client.json("POST /v0/pipelines", body).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, code.into()),
            "{field}"
        );
    }
    client.create(TABLE).await;
    let again = client
        .json(
            "POST /v0/pipelines",
            json!({"name": "p", "program_code": ""}),
        )
        .await;
    assert_eq!((again.status, again.code()), (409, "DuplicateName".into()));
}

#[tokio::test]
async fn patches_follow_the_restrictions() {
    let client = Client::new(&[]);
    client.create(OLD).await;
    let version = async || client.get().await["version"].as_u64().unwrap();
    // The same content is no change, also while it runs.
    client.ok("POST /v0/pipelines/p/start").await;
    let same = json!({"program_code": OLD, "udf_rust": "", "runtime_config": {}, "program_config": {}, "name": "p", "tags": null});
    assert_eq!(client.patch(same).await.status, 200);
    assert_eq!(version().await, 1);
    // Description and tags may change while it runs, and change no version.
    let metadata = json!({"description": "d", "tags": ["b", "a"]});
    let answer = client.patch(metadata).await.json();
    assert_eq!(
        (&answer["description"], &answer["tags"], &answer["version"]),
        (&json!("d"), &json!(["b", "a"]), &json!(1))
    );
    for body in [
        json!({"program_code": NEW}),
        json!({"runtime_config": {"workers": 2}}),
        json!({"udf_rust": "// x"}),
        json!({"program_config": {"profile": "dev"}}),
        json!({"name": "q"}),
    ] {
        let answer = client.patch(body.clone()).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "UpdateRestrictedToStopped".into()),
            "{body}"
        );
    }
    client.ok("POST /v0/pipelines/p/stop?force=true").await;
    // With storage some can't change.
    for (body, field) in [
        (json!({"name": "q"}), "`name`"),
        (
            json!({"runtime_config": {"workers": 2}}),
            "`runtime_config.workers`",
        ),
        (
            json!({"runtime_config": {"hosts": 2}}),
            "`runtime_config.hosts`",
        ),
        (
            json!({"runtime_config": {"fault_tolerance": {"model": "exactly_once"}}}),
            "`runtime_config.fault_tolerance`",
        ),
        (
            json!({"runtime_config": {"resources": {"storage_mb_max": 5}}}),
            "`runtime_config.resources.storage_mb_max`",
        ),
        (
            json!({"runtime_config": {"resources": {"storage_class": "x"}}}),
            "`runtime_config.resources.storage_class`",
        ),
        (
            json!({"runtime_config": {"resources": {"namespace": "x"}}}),
            "`runtime_config.resources.namespace`",
        ),
    ] {
        let answer = client.patch(body.clone()).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "EditRestrictedToClearedStorage".into()),
            "{body}"
        );
        assert_eq!(
            answer.json()["details"],
            json!({"not_allowed": [field]}),
            "{body}"
        );
    }
    // Others can; top-level fields are replaced whole.
    let answer = client
        .patch(json!({"runtime_config": {"max_buffering_delay_usecs": 7}}))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(
        (
            version().await,
            client.get().await["program_version"].as_u64()
        ),
        (2, Some(1))
    );
    assert_eq!(client.patch(json!({"program_code": NEW})).await.status, 200);
    assert_eq!(
        (
            version().await,
            client.get().await["program_version"].as_u64()
        ),
        (3, Some(2))
    );
    client.ok("POST /v0/pipelines/p/clear").await;
    assert_eq!(
        client
            .patch(json!({"name": "q", "runtime_config": {"workers": 2}}))
            .await
            .status,
        200
    );
    assert_eq!(client.call("GET /v0/pipelines/p").await.status, 404);
    client.ok("DELETE /v0/pipelines/q").await;
}

#[tokio::test]
async fn put_makes_replaces_and_raises_the_platform_version() {
    let directory = tempfile::tempdir().unwrap();
    let state = format!("--state-dir={}", directory.path().display());
    let client = Client::new(&[&state, "--version-reported=0.336.0"]);
    let body = json!({"name": "p", "program_code": OLD});
    let other = client.json("PUT /v0/pipelines/q", body.clone()).await;
    assert_eq!(
        (other.status, other.code()),
        (400, "CannotRenameNonExistingPipeline".into())
    );
    assert_eq!(
        client
            .json("PUT /v0/pipelines/p", body.clone())
            .await
            .status,
        201
    );
    let same = client.json("PUT /v0/pipelines/p", body.clone()).await;
    assert_eq!(
        (same.status, same.json()["version"].as_u64()),
        (200, Some(1))
    );
    drop(client);
    let client = Client::new(&[&state]);
    assert_eq!(client.get().await["platform_version"], "0.336.0");
    // PATCH leaves it, PUT raises it, and so the program is compiled again.
    assert_eq!(client.patch(body.clone()).await.json()["version"], 1);
    let put = client.json("PUT /v0/pipelines/p", body).await.json();
    assert_eq!(
        (
            &put["version"],
            &put["program_version"],
            &put["platform_version"],
            &put["program_status"]
        ),
        (&json!(2), &json!(2), &json!("0.337.0"), &json!("Pending"))
    );
}

#[tokio::test]
async fn compilations_pass_their_phases_or_fail() {
    for (time, status) in [("1h", "Pending"), ("0", "Success")] {
        let client = Client::new(&[&format!("--compile-time={time}")]);
        client.create(OLD).await;
        assert_eq!(client.get().await["program_status"], status);
        let diff = client.json("POST /v0/pipelines/p/diff", json!({})).await;
        let expected = if status == "Success" { 200 } else { 404 };
        assert_eq!(diff.status, expected, "{}", diff.text);
    }
    let client = Client::new(&[]);
    client
        .create("CREATE VIEW v AS\n  SELECT * FROM nosuch;")
        .await;
    let all = client.ok("GET /v0/pipelines/p").await.json();
    assert_eq!(all["program_status"], "SqlError");
    assert_eq!(
        all["program_error"],
        json!({
            "sql_compilation": {"exit_code": 1, "messages": [{
                "start_line_number": 2, "start_column": 17, "end_line_number": 2, "end_column": 22,
                "warning": false, "error_type": "Compilation error",
                "message": "Object 'nosuch' not found",
                "snippet": "    2|  SELECT * FROM nosuch;\n                      ^^^^^^\n",
            }]},
            "rust_compilation": null,
            "system_error": null,
        })
    );
    assert_eq!(
        client.call("POST /v0/pipelines/p/start").await.code(),
        "CannotStartWithCompilationError"
    );
    let udf = "CREATE FUNCTION f(x INT) RETURNS INT; CREATE VIEW v AS SELECT f(1);";
    client
        .patch(json!({"program_code": udf, "udf_rust": "pub fn f() {"}))
        .await;
    let all = client.ok("GET /v0/pipelines/p").await.json();
    assert_eq!(all["program_status"], "RustError");
    let stderr = all["program_error"]["rust_compilation"]["stderr"]
        .as_str()
        .unwrap();
    assert!(stderr.contains("unclosed delimiter"), "{stderr}");
    client.patch(json!({"udf_rust": "pub fn f() {}"})).await;
    assert_eq!(client.get().await["program_status"], "Success");
    // A start while it compiles begins when that is done, and fails with it. There is time enough to call it.
    let client = Client::new(&["--compile-time=5s"]);
    client
        .create("CREATE VIEW v AS SELECT * FROM nosuch;")
        .await;
    client.ok("POST /v0/pipelines/p/start").await;
    while client.get().await["program_status"] != "SqlError" {
        tokio::task::yield_now().await;
    }
    let get = client.get().await;
    assert_eq!(
        get["deployment_error"]["error_code"],
        "StartFailedDueToFailedCompilation"
    );
    assert_eq!(get["deployment_desired_status"], "Stopped");
    let again = client
        .call("POST /v0/pipelines/p/start?dismiss_error=false")
        .await;
    assert_eq!(again.code(), "CannotStartWithUndismissedError");
}

#[tokio::test]
async fn a_preview_shows_the_diff_that_the_gate_will_show() {
    let client = Client::new(&[]);
    client.create(OLD).await;
    let preview = client
        .json("POST /v0/pipelines/p/diff", json!({"program_code": NEW}))
        .await;
    assert_eq!(
        preview.json()["program_diff"]["modified_views"],
        json!(["v"])
    );
    let wrong = client
        .json(
            "POST /v0/pipelines/p/diff",
            json!({"program_code": "CREATE VIEW"}),
        )
        .await;
    assert_eq!(
        (wrong.status, wrong.code()),
        (400, "InvalidNewProgramSql".into())
    );
    let late = OLD.replace("id INT", "id INT LATENESS 1");
    let late = client
        .json("POST /v0/pipelines/p/diff", json!({"program_code": late}))
        .await;
    assert_eq!(
        (late.status, late.code()),
        (400, "BootstrapNotAllowed".into())
    );
    client.ok("POST /v0/pipelines/p/start").await;
    client.ok("POST /v0/pipelines/p/checkpoint").await;
    client.ok("POST /v0/pipelines/p/stop?force=true").await;
    client.patch(json!({"program_code": NEW})).await;
    client.ok("POST /v0/pipelines/p/start").await;
    let shown = client.get().await["deployment_runtime_status_details"]["approval_diff"].clone();
    assert_eq!(shown, preview.json());
}

#[tokio::test]
async fn selections_have_the_engines_fields() {
    let client = held_in(In::Running).await;
    let keys = async |line: &str| -> Vec<String> {
        let value = client.ok(line).await.json();
        value.as_object().unwrap().keys().cloned().collect()
    };
    let status = keys("GET /v0/pipelines/p?selector=status").await;
    assert_eq!(status.len(), 33, "{status:?}");
    let only_all = [
        "deployment_resources_status_details",
        "program_code",
        "program_error",
        "program_info",
        "runtime_config",
        "udf_rust",
        "udf_toml",
    ];
    let all = keys("GET /v0/pipelines/p").await;
    let difference: Vec<&String> = all.iter().filter(|k| !status.contains(k)).collect();
    assert_eq!(difference, only_all);
    let connectors = keys("GET /v0/pipelines/p?selector=status_with_connectors").await;
    let difference: Vec<&String> = connectors.iter().filter(|k| !status.contains(k)).collect();
    assert_eq!(difference, ["connectors"]);
    assert_eq!(
        client.call("GET /v0/pipelines?selector=some").await.status,
        400
    );
    let list = client.ok("GET /v0/pipelines?selector=status").await.json();
    assert_eq!(list, json!([client.get().await]));
    let config = client.ok("GET /v0/config").await.json();
    assert_eq!(
        (&config["edition"], &config["version"]),
        (&json!("Enterprise"), &json!("0.337.0"))
    );
    // Numbers of 64 bits stay whole.
    client.ok("POST /v0/pipelines/p/checkpoint").await;
    let text = client.ok("GET /v0/pipelines/p/checkpoints").await.text;
    let fingerprint = text
        .split("\"fingerprint\":")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap();
    let number: u64 = fingerprint.parse().unwrap();
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    let rounded = number as f64 as u64;
    assert_ne!(number, rounded, "a float couldn't hold it");
}

#[tokio::test]
async fn the_open_source_edition_has_no_checkpoints_and_so_no_gate() {
    let client = Client::new(&["--edition=open-source"]);
    assert_eq!(
        client.ok("GET /v0/config").await.json()["edition"],
        "Open source"
    );
    client.create(OLD).await;
    client.ok("POST /v0/pipelines/p/start").await;
    for call in [
        "POST /v0/pipelines/p/checkpoint",
        "POST /v0/pipelines/p/stop",
        "POST /v0/pipelines/p/stop?force=false",
    ] {
        let answer = client.call(call).await;
        assert_eq!(
            (answer.status, answer.code()),
            (501, "EnterpriseFeature".into()),
            "{call}"
        );
    }
    client.ok("POST /v0/pipelines/p/stop?force=true").await;
    client.patch(json!({"program_code": NEW})).await;
    client.ok("POST /v0/pipelines/p/start").await;
    client.is("Running").await;
    let fault_tolerant = json!({"name": "q", "program_code": "", "runtime_config": {"fault_tolerance": {"model": "exactly_once"}}});
    let answer = client.json("POST /v0/pipelines", fault_tolerant).await;
    assert_eq!(
        (answer.status, answer.code()),
        (400, "InvalidRuntimeConfig".into())
    );
}

#[tokio::test]
async fn keys_are_asked_for_if_there_are_any() {
    let mut client = Client::new(&["--api-key=one,two"]);
    for key in [None, Some("three"), Some(""), Some("one,two")] {
        client.key = key;
        let answer = client.call("GET /v0/config").await;
        assert_eq!(
            (answer.status, answer.code()),
            (401, "AuthenticationFailed".into()),
            "{key:?}"
        );
        assert_eq!(
            client.call("GET /sim/healthz").await.status,
            200,
            "control is exempt"
        );
    }
    for key in ["one", "two"] {
        client.key = Some(key);
        client.ok("GET /v0/config").await;
    }
}

#[tokio::test]
async fn faults_hit_calls_and_run_out() {
    let client = held_in(In::AwaitingApproval).await;
    client
        .json(
            "POST /sim/faults",
            json!({"error": "503:1@/approve", "nonsense": 1}),
        )
        .await;
    let answer = client.call("POST /v0/pipelines/p/approve").await;
    assert_eq!(
        (
            answer.status,
            answer.headers["retry-after"].to_str().unwrap()
        ),
        (503, "5")
    );
    let answer = client.call("GET /v0/pipelines/p").await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"nonsense": [1, 2, 3]}))
    );
    client.is("AwaitingApproval").await;
    client
        .json(
            "POST /sim/faults",
            json!({"approve-forgotten": 2, "latency": "1ms"}),
        )
        .await;
    assert_eq!(
        client
            .ok("GET /sim/faults")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        2
    );
    for _ in 0..2 {
        client.ok("POST /v0/pipelines/p/approve").await;
        client.is("AwaitingApproval").await;
    }
    client.ok("POST /v0/pipelines/p/approve").await;
    client.is("Running").await;
    let counters = client.ok("GET /sim/pipelines/p/counters").await.json();
    assert_eq!(
        (
            &counters["approvals_taken"],
            &counters["approvals_forgotten"],
            &counters["bootstraps"]
        ),
        (&json!(3), &json!(2), &json!(1))
    );
    assert_eq!(
        client
            .ok("GET /sim/bootstraps")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let wrong = client.json("POST /sim/faults", json!({"slow": 1})).await;
    assert_eq!((wrong.status, wrong.code()), (400, "InvalidFault".into()));
    assert_eq!(client.call("DELETE /sim/faults").await.status, 204);
    client
        .json("POST /sim/pipelines/p/fail", json!({"message": "boom"}))
        .await;
    let get = client.get().await;
    assert_eq!(
        (
            &get["deployment_status"],
            &get["deployment_error"]["message"]
        ),
        (&json!("Stopped"), &json!("boom"))
    );
}

#[tokio::test]
async fn rows_come_in_and_are_counted() {
    let client = held_in(In::Running).await;
    for (query, body, rows) in [
        ("format=json&array=true", "[{\"id\": 1},\n {\"id\": 2}]", 2),
        ("format=json", "{\"id\": 1}\n{\"id\": 2}{\"id\": 3}", 5),
        ("format=csv", "1\n2\n\n", 7),
    ] {
        let path = format!("/v0/pipelines/p/ingress/t?{query}");
        let answer = client
            .send("POST", &path, Some(("application/json", body.to_owned())))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(answer.json()["token"].is_string());
        let counted = client
            .ok("GET /v0/pipelines/p/query?sql=SELECT%20COUNT(*)%20AS%20c%20FROM%20t&format=json")
            .await;
        assert_eq!(counted.json(), json!({"c": rows}));
    }
    client
        .json(
            "POST /sim/pipelines/p/ingress",
            json!({"table": "t", "rows": 3}),
        )
        .await;
    assert_eq!(
        client.ok("GET /sim/pipelines/p/counters").await.json()["tables"],
        json!({"t": 10})
    );
    let wrong = client
        .send(
            "POST",
            "/v0/pipelines/p/ingress/t?format=json",
            Some(("application/json", "{".into())),
        )
        .await;
    assert_eq!((wrong.status, wrong.code()), (400, "ParseErrors".into()));
}
