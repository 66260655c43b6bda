//! One trace from the door to the engine: what a caller asks for, and what the engine is told because
//! of it.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;

use sluice_test_support::cluster::token;
use sluice_test_support::story::{ORDERS, Story, eventually, id};

type Spans = Arc<Mutex<Vec<Span>>>;

/// A collector, as far as the operator can tell.
async fn collector() -> (String, Spans) {
    let spans = Spans::default();
    let take = async |State(spans): State<Spans>, body: Bytes| {
        let request = ExportTraceServiceRequest::decode(body).expect("a batch of spans");
        let all = request
            .resource_spans
            .into_iter()
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans);
        spans.lock().expect("no panic").extend(all);
    };
    let router = axum::Router::new()
        .route("/v1/traces", post(take))
        .with_state(Arc::clone(&spans));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), spans)
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == key)?;
    match found.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

#[tokio::test]
async fn a_callers_trace_goes_on_to_the_call_that_the_engine_gets() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let (url, spans) = collector().await;
    let story = Story::with_own_rest(&["--otlp-endpoint", &url, "--log-format", "json"]).await;
    let waiting = story.waiting().await;
    // What is under way when the vote comes could take it along, outside of the caller's trace.
    story.rests().await;
    let namespace: &str = &story.namespace;
    let who = format!("system:serviceaccount:{namespace}:default");
    story
        .cluster()
        .grant(namespace, &who, "sluice-approver")
        .await;
    let token = token(&story.client, namespace, "default").await;
    let approve = format!(
        "{}/v0/pipelines/{ORDERS}/approve?change_id={}",
        story.rest_url().await,
        id(&waiting)
    );
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let headers = [("traceparent", parent.as_str())];
    story.rest_takes(&approve, &token, &headers).await;
    story.until_sealed().await;

    eventually("the spans arrive", || async {
        let spans = spans.lock().expect("no panic");
        let of_trace: Vec<&Span> = spans
            .iter()
            .filter(|span| hex(&span.trace_id) == trace)
            .collect();
        let request = of_trace.iter().find(|span| span.name == "request");
        let call = of_trace.iter().find(|span| {
            span.name == "engine_call" && attribute(span, "call").as_deref() == Some("approve")
        });
        let names: Vec<&str> = of_trace.iter().map(|span| span.name.as_str()).collect();
        (request.is_some() && call.is_some())
            .then_some(())
            .ok_or(format!("{names:?}"))
    })
    .await;

    // And the lines of the log tell which trace they belong to.
    let log = std::fs::read_to_string(story.log()).expect("a log");
    let told = log
        .lines()
        .filter(|line| line.contains("telling the engine to go on"))
        .collect::<Vec<_>>();
    assert!(told.iter().any(|line| line.contains(trace)), "{told:?}");
    let line: serde_json::Value = serde_json::from_str(told[0]).expect("a line of JSON");
    assert_eq!(line["spans"][0]["trace_id"], trace);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
