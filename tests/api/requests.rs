//! Requests that are odd: paths, methods, bodies.

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};

use crate::fake::{Fake, approval};

const ALICE: &str = "alice-token";

#[tokio::test]
async fn a_path_that_does_not_exist_is_answered_in_the_engine_s_shape() {
    let fake = Fake::with_a_change_that_waits();
    for path in [
        "/",
        "/v0",
        "/v0/pipelines",
        "/v0/pipelines/orders",
        "/v0/pipelines/orders/approve/",
        "/v0/pipelines/orders/start",
        "/v1/pipelines/orders/approve",
        "/v0/pipelines/a/b/approve",
        "//v0/pipelines/orders/approve",
        "/v0/openapi.json",
    ] {
        for method in [Method::GET, Method::POST] {
            let request = Request::builder().method(method).uri(path);
            let answer = fake.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status, 404, "{path}");
            answer.is_error(404, "UnknownPath");
        }
    }
    assert_eq!(fake.calls(), [] as [&str; 0]);
}

#[tokio::test]
async fn a_method_that_a_path_does_not_take_is_answered_with_those_that_it_takes() {
    let fake = Fake::with_a_change_that_waits();
    for (path, methods, allowed) in [
        (
            "/v0/pipelines/orders/approve",
            ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"],
            "POST",
        ),
        (
            "/openapi.json",
            ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"],
            "GET,HEAD",
        ),
    ] {
        for method in methods {
            let request = Request::builder().method(method).uri(path);
            let request = request.header("authorization", "Bearer alice-token");
            let answer = fake.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.headers["allow"], allowed, "{method} {path}");
            if method != "HEAD" {
                answer.is_error(405, "MethodNotAllowed");
                assert_eq!(*answer.details(), json!({"method": method}));
            }
        }
    }
    assert_eq!(fake.approvals(), [] as [Value; 0]);
}

#[tokio::test]
async fn a_name_that_no_pipeline_can_have_is_unknown_and_reaches_no_url() {
    let fake = Fake::with_a_change_that_waits();
    let long = "a".repeat(20_000);
    for (path, name) in [
        ("", ""),
        ("..", ".."),
        (".", "."),
        ("%2e%2e", ".."),
        ("a%2Fb", "a/b"),
        ("orders%2F..%2Forders", "orders/../orders"),
        ("orders%00", "orders\0"),
        ("orders%0a", "orders\n"),
        ("orders%3Fx", "orders?x"),
        ("orders%23", "orders#"),
        ("orders%20", "orders "),
        // Decoded once, so this is a percent sign.
        ("orders%252F", "orders%2F"),
        ("%C3%B6rders", "örders"),
        (&*long, &*long),
    ] {
        let answer = fake.approve(path, ALICE).await;
        answer.is_error(404, "UnknownPipelineName");
        assert_eq!(*answer.details(), json!({"pipeline_name": name}), "{path}");
    }
    assert_eq!(fake.calls_like("GET").len(), 0);
    let answer = fake.approve("%ff%fe", ALICE).await;
    answer.is_error(400, "InvalidNameParam");
}

#[tokio::test]
async fn names_that_only_the_engine_can_have_are_looked_for_but_not_read() {
    let fake = Fake::with_a_change_that_waits();
    fake.approve("ORDERS", ALICE)
        .await
        .is_error(404, "UnknownPipelineName");
    assert_eq!(fake.calls_like("GET pipelines/").len(), 0);
    assert_eq!(fake.calls_like("GET pipelines").len(), 1);
}

#[tokio::test]
async fn a_body_is_ignored_whatever_it_is() {
    for body in ["", "{}", "not json", "\u{0}"] {
        let fake = Fake::with_a_change_that_waits();
        let mut request = approval("orders", ALICE);
        *request.body_mut() = Body::from(body);
        fake.send(request).await.is_accepted(7);
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let fake = Fake::with_a_change_that_waits();
    let whole = Body::from(vec![b'x'; 64 * 1024 + 1]);
    let chunks = (0..65).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1024]));
    let chunked = Body::from_stream(futures::stream::iter(chunks));
    for body in [whole, chunked] {
        let mut request = approval("orders", ALICE);
        *request.body_mut() = body;
        fake.send(request).await.is_error(413, "BodyTooLarge");
    }
    assert_eq!(fake.calls(), [] as [&str; 0]);
    let mut request = approval("orders", ALICE);
    *request.body_mut() = Body::from(vec![b'x'; 64 * 1024]);
    fake.send(request).await.is_accepted(7);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_or_never_comes_is_refused() {
    let fake = Fake::with_a_change_that_waits();
    let mut request = approval("orders", ALICE);
    let broken = futures::stream::once(async { Err::<Vec<u8>, _>(std::io::Error::other("reset")) });
    *request.body_mut() = Body::from_stream(broken);
    fake.send(request).await.is_error(400, "InvalidBody");

    let mut request = approval("orders", ALICE);
    let never = futures::stream::pending::<std::io::Result<Vec<u8>>>();
    *request.body_mut() = Body::from_stream(never);
    fake.send(request).await.is_error(408, "BodyTimeout");
    assert_eq!(fake.approvals(), [] as [Value; 0]);
}

#[tokio::test]
async fn a_tenant_that_stands_for_two_namespaces_is_refused_at_the_start() {
    let fake = Fake::empty().configured(|config| {
        config.tenants = ["a=one", "a=two"].map(|text| text.parse().unwrap()).into();
    });
    assert!(sluice::api::State::new(&fake.config(), fake.client()).is_err());
}

#[tokio::test]
async fn feldera_s_clients_are_told_who_answers_if_their_token_is_good() {
    let fake = Fake::empty();
    let ask = async |token: &str| {
        let request = Request::get("/v0/config").header("authorization", format!("Bearer {token}"));
        fake.send(request.body(Body::empty()).unwrap()).await
    };
    let answer = ask(ALICE).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["edition"], "Open source");
    ask("made-up").await.is_error(401, "AuthenticationFailed");
    assert_eq!(fake.calls(), ["who is it?", "who is it?"]);
}
