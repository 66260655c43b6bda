//! Scenarios of the driver against an API server and an engine that are made up: what happens when
//! a write is refused, comes too late, or finds nothing.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use wiremock::matchers::{method, path, path_regex};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use super::*;
use crate::crd::{ApprovalState, PipelineStatus};
use crate::engine::feldera::Address;
use crate::gate::decide::{EventReason, Report};

const PIPELINE: &str = "/apis/sluice.dev/v1alpha1/namespaces/shop/pipelines/orders";
const STATUS: &str = "/apis/sluice.dev/v1alpha1/namespaces/shop/pipelines/orders/status";

/// An engine at whose gate a change waits until it is approved.
struct Engine {
    server: MockServer,
}

impl Engine {
    async fn with_a_change_that_waits() -> Self {
        let server = MockServer::start().await;
        let config = json!({"edition": "Enterprise", "version": "0.337.0"});
        for (verb, route, body) in [
            ("GET", "/v0/config", config),
            (
                "GET",
                "/v0/pipelines",
                json!([pipeline_in_engine("AwaitingApproval")]),
            ),
            (
                "POST",
                "/v0/pipelines/orders/approve",
                json!("Bootstrap approved"),
            ),
        ] {
            Mock::given(method(verb))
                .and(path(route))
                .respond_with(ResponseTemplate::new(200).set_body_json(body))
                .mount(&server)
                .await;
        }
        Mock::given(method("GET"))
            .and(path("/v0/pipelines/orders"))
            .respond_with(
                ResponseTemplate::new(200).set_body_json(pipeline_in_engine("AwaitingApproval")),
            )
            .mount(&server)
            .await;
        Self { server }
    }

    async fn approve_calls(&self) -> usize {
        let requests = self.server.received_requests().await.unwrap();
        requests
            .iter()
            .filter(|request| request.url.path().ends_with("/approve"))
            .count()
    }
}

fn pipeline_in_engine(status: &str) -> Value {
    json!({
        "id": "p", "name": "orders", "version": 2, "program_version": 2, "tags": ["sluice:uid-1"],
        "program_status": "Success", "storage_status": "InUse", "program_code": "B",
        "udf_rust": "", "udf_toml": "",
        "deployment_id": "d-1", "deployment_status": status, "deployment_desired_status": "Running",
        "bootstrap_policy": "await_approval",
        "deployment_runtime_status_details": {"approval_diff": {"program_diff": {"modified_views": ["v"]}, "program_diff_error": null}},
        "program_info": {"input_connectors": {}, "output_connectors": {}},
        "storage_status_details": {"checkpoints": [{"uuid": "c-1", "steps": 4}]},
    })
}

/// The API server's answers to status writes, in their order; the last one goes on.
struct StatusAnswers {
    answers: Vec<u16>,
    written: AtomicUsize,
    stored: Stored,
}

/// The Pipeline as it is stored.
#[derive(Clone)]
struct Stored(Arc<Mutex<Value>>);

impl Respond for Stored {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        ResponseTemplate::new(200).set_body_json(&*self.0.lock().unwrap())
    }
}

impl Respond for StatusAnswers {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let nth = self
            .written
            .fetch_add(1, Ordering::SeqCst)
            .min(self.answers.len() - 1);
        let code = self.answers[nth];
        if code != 200 {
            let status = json!({"kind": "Status", "status": "Failure", "message": "no", "reason": "x", "code": code});
            return ResponseTemplate::new(code).set_body_json(status);
        }
        let written: Value = request.body_json().unwrap();
        let stored = object(written["status"].clone(), "100");
        self.stored.0.lock().unwrap().clone_from(&stored);
        ResponseTemplate::new(200).set_body_json(stored)
    }
}

fn object(status: Value, resource_version: &str) -> Value {
    json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Pipeline",
        "metadata": {
            "name": "orders", "namespace": "shop", "uid": "uid-1", "generation": 2,
            "resourceVersion": resource_version,
            "annotations": {},
        },
        "spec": {"program": {"sql": "B"}},
        "status": status,
    })
}

/// The status of a Pipeline whose change was published and then approved by annotation.
async fn approved(engine: &Engine) -> (Pipeline, Arc<Context>, MockServer) {
    let api_server = MockServer::start().await;
    let context = context(&api_server, engine).await;
    // Publish for real, to have a status that fits what the engine shows.
    answer_status_writes(&api_server, &[200]).await;
    let mut pipeline: Pipeline = serde_json::from_value(object(json!({}), "1")).unwrap();
    reconcile(&pipeline, &context, &Turn::alone())
        .await
        .unwrap();
    let requests = api_server.received_requests().await.unwrap();
    let published: Value = requests.last().unwrap().body_json().unwrap();
    let status: PipelineStatus = serde_json::from_value(published["status"].clone()).unwrap();
    let approval = status.approval.clone().unwrap();
    assert_eq!(approval.state, ApprovalState::Awaiting);
    pipeline.status = Some(status);
    let annotations = pipeline.metadata.annotations.get_or_insert_default();
    annotations.insert(crate::crd::annotation::APPROVE.into(), approval.change_id);
    api_server.reset().await;
    no_votes(&api_server).await;
    (pipeline, context, api_server)
}

async fn context(api_server: &MockServer, engine: &Engine) -> Arc<Context> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::try_from(kube::Config::new(api_server.uri().parse().unwrap())).unwrap();
    let settings = Settings {
        poll_interval: Duration::from_secs(60),
        timing: Timing::default(),
        namespace: None,
        compile_beforehand: true,
        vote_retention: Duration::from_secs(24 * 3600),
        audit_log: None,
        default_engine: Some(DefaultEngine {
            address: Address {
                url: engine.server.uri(),
                ..Address::default()
            },
            credential_file: None,
            namespaces: None,
        }),
    };
    let metrics = Arc::new(Metrics::default());
    let guard = Arc::new(PolicyGuard::new(
        client.clone(),
        false,
        Arc::clone(&metrics),
    ));
    let (wakes, mut woken) = tokio::sync::mpsc::unbounded_channel();
    let (reporter, _) = report::Reporter::start(client.clone(), Arc::clone(&metrics));
    let unfit = Arc::new(unfit::Unfit::new(reporter.clone()));
    let engines = engines::Engines::new(
        client.clone(),
        settings.clone(),
        wakes,
        reflector::store().0,
        crate::health::Health::default(),
        Arc::clone(&unfit),
    );
    engines.are_all_known();
    woken.recv().await.expect("the engine is asked");
    Arc::new(Context {
        previews: previews::Previews::new(mpsc::unbounded_channel().0),
        leadership: crate::lease::Leadership::unelected(),
        reporter,
        unfit,
        audit: audit::Audit::new(None, Arc::clone(&metrics)),
        claims: pipeline_owners::Claims::default(),
        // So long that no test waits for its end, however busy the machine is.
        memories: memories::Memories::new(Duration::from_secs(10))
            .with_first_pause(crate::gate::memory::LONGEST_PAUSE),
        client,
        engines,
        pipelines: reflector::store().0,
        votes: Arc::default(),
        references: Arc::default(),
        metrics,
        trust: guard.trust(),
        guard,
        notes: trust::Notes::default(),
        settings,
    })
}

async fn no_votes(api_server: &MockServer) {
    votes(api_server, json!([])).await;
}

async fn votes(api_server: &MockServer, items: Value) {
    let list = json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "PipelineApprovalList",
        "metadata": {"resourceVersion": "1"}, "items": items,
    });
    Mock::given(method("GET"))
        .and(path(
            "/apis/sluice.dev/v1alpha1/namespaces/shop/pipelineapprovals",
        ))
        .respond_with(ResponseTemplate::new(200).set_body_json(list))
        .mount(api_server)
        .await;
}

async fn status_writes(api_server: &MockServer) -> Vec<Value> {
    let requests = api_server.received_requests().await.unwrap();
    requests
        .iter()
        .filter(|request| request.url.path() == STATUS)
        .map(|request| request.body_json().unwrap())
        .collect()
}

async fn answer_status_writes(api_server: &MockServer, answers: &[u16]) {
    let stored = Stored(Arc::new(Mutex::new(object(json!({}), "1"))));
    Mock::given(method("GET"))
        .and(path(PIPELINE))
        .respond_with(stored.clone())
        .mount(api_server)
        .await;
    Mock::given(method("PATCH"))
        .and(path(STATUS))
        .respond_with(StatusAnswers {
            answers: answers.to_vec(),
            written: AtomicUsize::new(0),
            stored,
        })
        .mount(api_server)
        .await;
}

#[tokio::test]
async fn a6_the_engine_is_not_told_before_the_decision_is_stored() {
    let engine = Engine::with_a_change_that_waits().await;
    let (pipeline, context, api_server) = approved(&engine).await;
    answer_status_writes(&api_server, &[403]).await;
    reconcile(&pipeline, &context, &Turn::alone())
        .await
        .unwrap_err();
    assert_eq!(engine.approve_calls().await, 0);
}

#[tokio::test]
async fn a6_decision_and_call_are_written_down_before_the_call_and_no_other_process_repeats_it() {
    let engine = Engine::with_a_change_that_waits().await;
    let (pipeline, context, api_server) = approved(&engine).await;
    answer_status_writes(&api_server, &[200]).await;
    reconcile(&pipeline, &context, &Turn::alone())
        .await
        .unwrap();
    assert_eq!(engine.approve_calls().await, 1);
    let writes = status_writes(&api_server).await;
    assert_eq!(writes.len(), 1);
    let written = &writes[0]["status"]["approval"];
    assert_eq!(written["state"], "Applying");
    assert_eq!(written["calls"], 1);
    assert_eq!(written["decision"]["outcome"], "Approved");

    // The operator crashes, and the engine still shows that it waits: its answer may be old.
    let another = self::context(&api_server, &engine).await;
    let stored = object(writes[0]["status"].clone(), "100");
    let stored: Pipeline = serde_json::from_value(stored).unwrap();
    let next = reconcile(&stored, &another, &Turn::alone()).await.unwrap();
    assert_eq!(engine.approve_calls().await, 1);
    assert_ne!(next, Action::await_change(), "it looks again by itself");
}

#[tokio::test]
async fn a6_a_call_whose_answer_is_lost_is_not_repeated_at_once() {
    let engine = Engine::with_a_change_that_waits().await;
    let (pipeline, context, api_server) = approved(&engine).await;
    answer_status_writes(&api_server, &[200]).await;
    let lost = ResponseTemplate::new(503).set_body_json(json!({
        "message": "no answer", "error_code": "PipelineInteractionUnreachable", "details": null,
    }));
    Mock::given(method("POST"))
        .and(path("/v0/pipelines/orders/approve"))
        .respond_with(lost)
        .with_priority(1)
        .mount(&engine.server)
        .await;
    reconcile(&pipeline, &context, &Turn::alone())
        .await
        .unwrap();
    assert_eq!(engine.approve_calls().await, 1);
    let writes = status_writes(&api_server).await;
    let stored = object(writes.last().unwrap()["status"].clone(), "100");
    let stored: Pipeline = serde_json::from_value(stored).unwrap();
    context.memories.of(&stored, Memory::forget_failures);
    reconcile(&stored, &context, &Turn::alone()).await.unwrap();
    assert_eq!(engine.approve_calls().await, 1);
}

#[tokio::test]
async fn a1_every_status_write_holds_only_for_the_object_that_was_decided_on() {
    let engine = Engine::with_a_change_that_waits().await;
    let (pipeline, context, api_server) = approved(&engine).await;
    answer_status_writes(&api_server, &[200]).await;
    reconcile(&pipeline, &context, &Turn::alone())
        .await
        .unwrap();
    let writes = status_writes(&api_server).await;
    let versions: Vec<_> = writes
        .iter()
        .map(|write| &write["metadata"]["resourceVersion"])
        .collect();
    assert_eq!(versions, ["1"]);
}

#[tokio::test]
async fn a5_a_rejection_that_the_watch_has_not_brought_yet_is_heard_before_the_call() {
    let engine = Engine::with_a_change_that_waits().await;
    let (pipeline, context, api_server) = approved(&engine).await;
    api_server.reset().await;
    let id = pipeline.status.clone().unwrap().approval.unwrap().change_id;
    let reject = crate::crd::VoteDecision::Reject;
    let vote = crate::crd::PipelineApproval::for_vote(&pipeline, &id, "bob", reject, None, None);
    votes(&api_server, json!([vote])).await;
    answer_status_writes(&api_server, &[200]).await;
    let stopped = ResponseTemplate::new(202).set_body_json(json!("stopping"));
    Mock::given(method("POST"))
        .and(path("/v0/pipelines/orders/stop"))
        .respond_with(stopped)
        .mount(&engine.server)
        .await;
    reconcile(&pipeline, &context, &Turn::alone())
        .await
        .unwrap();
    assert_eq!(engine.approve_calls().await, 0);
    let writes = status_writes(&api_server).await;
    assert_eq!(
        writes.last().unwrap()["status"]["approval"]["state"],
        "Rejected"
    );
}

/// Answers what [`PolicyGuard::confirm`] reads: each policy is still the one that was looked at.
async fn policies_stay(api_server: &MockServer) {
    let metadata = json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"name": "it", "uid": "u", "resourceVersion": "1"},
    });
    Mock::given(method("GET"))
        .and(path_regex("^/apis/admissionregistration.k8s.io/v1/.*"))
        .respond_with(ResponseTemplate::new(200).set_body_json(metadata))
        .mount(api_server)
        .await;
}

/// What was asked of the API server and written to it, in the order in which that came in.
async fn calls(api_server: &MockServer) -> Vec<&'static str> {
    let requests = api_server.received_requests().await.unwrap();
    let word = |request: &Request| match request.url.path() {
        STATUS => "status",
        PIPELINE => "object",
        path if path.contains("/pipelineapprovals") => "votes",
        path if path.contains("/admissionregistration") => "policy",
        path if path.ends_with("/events") => {
            let event: Value = request.body_json().unwrap();
            match event["reason"] == "Approved" {
                true => "event",
                false => "other",
            }
        }
        _ => "other",
    };
    requests.iter().map(word).collect()
}

#[tokio::test]
async fn a3_the_policies_are_looked_at_once_for_a_decision_and_again_for_what_somebody_else_wrote_meanwhile()
 {
    let engine = Engine::with_a_change_that_waits().await;
    let (mut pipeline, context, api_server) = approved(&engine).await;
    context.guard.has_found_all_in_force().await;
    policies_stay(&api_server).await;
    // It is younger than the policies, so that nobody has approved it without them.
    let made = "2026-01-01T00:00:00Z".parse().unwrap();
    pipeline.metadata.creation_timestamp = Some(Time(made));
    let annotations = pipeline.metadata.annotations.get_or_insert_default();
    annotations.insert(crate::crd::annotation::APPROVE_BY.into(), "alice".into());
    let mut edited = pipeline.clone();
    edited.metadata.resource_version = Some("2".into());
    Mock::given(method("GET"))
        .and(path(PIPELINE))
        .respond_with(ResponseTemplate::new(200).set_body_json(edited))
        .up_to_n_times(1)
        .with_priority(1)
        .mount(&api_server)
        .await;
    answer_status_writes(&api_server, &[409, 200]).await;
    reconcile(&pipeline, &context, &Turn::alone())
        .await
        .unwrap();
    assert_eq!(engine.approve_calls().await, 1);
    let mut calls = calls(&api_server).await;
    // Events of what was recorded before are written whenever there is time.
    calls.retain(|call| *call != "other" && *call != "event");
    // Four policies, and a binding of each.
    let look = ["policy"; 8];
    let expected = [&look[..], &["status", "object"], &look, &["status"]].concat();
    assert_eq!(calls[..expected.len()], expected);
    assert!(!calls[expected.len()..].contains(&"policy"), "{calls:?}");
}

#[tokio::test]
async fn what_was_told_before_the_operator_ends_is_written_before_it_does() {
    let engine = Engine::with_a_change_that_waits().await;
    let (pipeline, context, api_server) = approved(&engine).await;
    let client = context.client.clone();
    let (reporter, events) = report::Reporter::start(client, Arc::clone(&context.metrics));
    let report = |number: usize| Report {
        warning: false,
        reason: EventReason::Approved,
        change_id: None,
        message: format!("number {number}"),
    };
    reporter.report(&pipeline, (0..20).map(report).collect());
    events.finish().await;
    let calls = calls(&api_server).await.into_iter();
    assert_eq!(calls.filter(|call| *call == "event").count(), 20);
}

/// An operator that has no room for one more call within a call ends, and every Pipeline with it.
#[test]
fn a_conflict_takes_no_more_stack_than_half_of_what_a_thread_has() {
    let thread = std::thread::Builder::new().stack_size(crate::run::STACK / 2);
    let conflict = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let engine = Engine::with_a_change_that_waits().await;
            let (pipeline, context, api_server) = approved(&engine).await;
            answer_status_writes(&api_server, &[409, 200]).await;
            reconcile(&pipeline, &context, &Turn::alone())
                .await
                .unwrap();
            assert!(status_writes(&api_server).await.len() > 1);
        });
    };
    thread.spawn(conflict).unwrap().join().unwrap();
}

#[tokio::test]
async fn a_pipeline_that_is_gone_is_let_go_and_nothing_is_called() {
    let engine = Engine::with_a_change_that_waits().await;
    let (pipeline, context, api_server) = approved(&engine).await;
    answer_status_writes(&api_server, &[404]).await;
    reconcile(&pipeline, &context, &Turn::alone())
        .await
        .unwrap();
    assert_eq!(engine.approve_calls().await, 0);
}

#[tokio::test]
async fn a_call_that_failed_is_not_repeated_because_its_report_came_back_as_a_change() {
    let engine = Engine {
        server: MockServer::start().await,
    };
    let mut body = pipeline_in_engine("Stopped");
    body["deployment_desired_status"] = json!("Stopped");
    body["storage_status_details"] = json!({"checkpoints": []});
    for (verb, route, body) in [
        (
            "GET",
            "/v0/config",
            json!({"edition": "Enterprise", "version": "0.337.0"}),
        ),
        ("GET", "/v0/pipelines", json!([body])),
        ("GET", "/v0/pipelines/orders", body.clone()),
    ] {
        Mock::given(method(verb))
            .and(path(route))
            .respond_with(ResponseTemplate::new(200).set_body_json(body))
            .mount(&engine.server)
            .await;
    }
    Mock::given(method("POST"))
        .and(path("/v0/pipelines/orders/start"))
        .respond_with(
            ResponseTemplate::new(400)
                .set_body_json(json!({"message":"no","error_code":"X","details":null})),
        )
        .mount(&engine.server)
        .await;
    let api_server = MockServer::start().await;
    let context = context(&api_server, &engine).await;
    answer_status_writes(&api_server, &[200]).await;
    let mut pipeline: Pipeline = serde_json::from_value(object(json!({}), "100")).unwrap();
    for _ in 0..6 {
        let object = Arc::new(crate::guarded::Guarded(Ok(pipeline.clone())));
        look(object, Turn::alone(), Arc::clone(&context)).await;
        let writes = status_writes(&api_server).await;
        let last = writes.last().unwrap()["status"].clone();
        pipeline.status = serde_json::from_value(last).unwrap();
    }
    let requests = engine.server.received_requests().await.unwrap();
    let starts = requests.iter().filter(|r| r.url.path().ends_with("/start"));
    assert_eq!(starts.count(), 1);
    assert_eq!(status_writes(&api_server).await.len(), 2);
}
