//! API keys: whom they stand for, and when they stop to.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    fake::{CHANGE, Fake, Fault, status},
    log::Log,
};

const KEY: &str = "apikey:k1";
const OTHER: &str = "apikey:k2";

fn hash(key: &str) -> String {
    let digest = Sha256::digest(key);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn entry(key: &str, user: &str) -> String {
    json!({"hash": hash(key), "user": user, "groups": ["approvers"]}).to_string()
}

fn with_keys(entries: &[(&str, &str)]) -> Fake {
    let fake = Fake::with_a_change_that_waits()
        .configured(|config| config.api_keys_secret = Some("keys".to_owned()));
    fake.api_keys(entries);
    fake
}

#[tokio::test]
async fn an_api_key_approves_for_the_user_that_it_stands_for_and_leaves_its_name() {
    let fake = with_keys(&[("ci", &entry(KEY, "alice")), ("x", &entry(OTHER, "bob"))]);
    fake.approve("orders", KEY).await.is_accepted(7);
    assert_eq!(
        fake.calls(),
        [
            "GET secrets/keys",
            "GET pipelines",
            "may they approve orders?",
            "GET pipelines/orders",
            "POST pipelineapprovals"
        ]
    );
    assert_eq!(
        fake.approvals()[0]["spec"],
        json!({
            "pipelineRef": {"name": "orders"},
            "changeId": CHANGE,
            "decision": "Approve",
            "onBehalfOf": {"username": "alice", "groups": ["approvers"], "apiKey": "ci"},
        })
    );
}

#[tokio::test]
async fn the_right_of_a_key_s_user_is_asked_for_as_that_of_any_other() {
    let fake = with_keys(&[("ci", &entry(KEY, "bob"))]);
    fake.approve("orders", KEY)
        .await
        .is_error(403, "InsufficientPermissions");
    let review = &fake.calls_like("may they approve")[0].body["spec"];
    assert_eq!(
        (&review["user"], &review["groups"]),
        (&json!("bob"), &json!(["approvers"]))
    );
}

#[tokio::test]
async fn the_same_user_s_key_and_token_are_one_vote() {
    let fake = with_keys(&[("ci", &entry(KEY, "alice"))]);
    fake.approve("orders", KEY).await.is_accepted(7);
    fake.approve("orders", "alice-token").await.is_accepted(7);
    assert_eq!(fake.approvals().len(), 1);
}

#[tokio::test]
async fn a_key_that_is_taken_out_or_replaced_stops_at_once() {
    let fake = with_keys(&[("ci", &entry(KEY, "alice"))]);
    let endpoint = fake.router();
    let status = async |key: &str| {
        let request = crate::fake::approval("orders", key);
        crate::fake::Answer::of(endpoint.clone(), request)
            .await
            .status
            .as_u16()
    };
    assert_eq!((status(KEY).await, status(OTHER).await), (202, 401));
    fake.api_keys(&[("ci-2", &entry(OTHER, "alice"))]);
    assert_eq!((status(KEY).await, status(OTHER).await), (401, 202));
    fake.api_keys(&[]);
    assert_eq!(status(OTHER).await, 401);
}

#[tokio::test]
async fn an_expired_key_is_none() {
    for (expires, expected) in [("2020-01-01T00:00:00Z", 401), ("2999-01-01T00:00:00Z", 202)] {
        let entry = json!({"hash": hash(KEY), "user": "alice", "expires": expires}).to_string();
        let fake = with_keys(&[("ci", &entry)]);
        let answer = fake.approve("orders", KEY).await;
        assert_eq!(answer.status, expected, "{expires}");
    }
}

#[tokio::test]
async fn what_looks_like_a_key_never_reaches_the_token_review() {
    let none = Fake::with_a_change_that_waits();
    // Even if the API server would know it.
    for fake in [none, with_keys(&[("ci", &entry(OTHER, "alice"))])] {
        fake.token(
            KEY,
            json!({"authenticated": true, "user": {"username": "alice"}}),
        );
        let answer = fake.approve("orders", KEY).await;
        answer.is_error(401, "AuthenticationFailed");
        assert_eq!(
            answer.headers["www-authenticate"],
            r#"Bearer error="invalid_token""#
        );
        assert_eq!(fake.calls_like("who is it?").len(), 0);
    }
}

#[tokio::test]
async fn without_the_secret_there_are_no_keys_and_tokens_work() {
    let fake = Fake::with_a_change_that_waits()
        .configured(|config| config.api_keys_secret = Some("keys".to_owned()));
    let (log, _guard) = Log::begin();
    fake.approve("orders", KEY)
        .await
        .is_error(401, "AuthenticationFailed");
    assert!(log.text().contains("there is no such Secret"));
    fake.approve("orders", "alice-token").await.is_accepted(7);
    assert_eq!(fake.calls_like("GET secrets").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_can_not_be_read_is_nobody_s_failed_authentication() {
    let unavailable = status(503, "ServiceUnavailable", "starting up");
    let forbidden = status(403, "Forbidden", "no right");
    for (fault, code, name) in [
        (Fault::Broken, 503, "ApiServerUnreachable"),
        (Fault::Silence, 503, "ApiServerUnreachable"),
        (
            Fault::Answer(unavailable.0, unavailable.1),
            503,
            "ApiServerUnreachable",
        ),
        (
            Fault::Answer(forbidden.0, forbidden.1),
            500,
            "MissingPermission",
        ),
        (Fault::Answer(200, json!({"data": 7})), 500, "InternalError"),
    ] {
        let fake = with_keys(&[("ci", &entry(KEY, "alice"))]);
        fake.fault("GET secrets", fault);
        let answer = fake.approve("orders", KEY).await;
        answer.is_error(code, name);
        assert_eq!(fake.approvals(), [] as [Value; 0]);
    }
}

#[tokio::test]
async fn a_bad_entry_is_named_in_the_log_once_per_version_and_breaks_no_other() {
    let reserved = json!({"hash": hash(OTHER), "user": "system:admin"}).to_string();
    let group = json!({"hash": hash(OTHER), "user": "x", "groups": ["system:masters"]}).to_string();
    let fake = with_keys(&[
        ("pasted", "apikey:s3cr3t"),
        ("reserved", &reserved),
        ("group", &group),
        ("ci", &entry(KEY, "alice")),
    ]);
    let endpoint = fake.router();
    let (log, _guard) = Log::begin();
    for key in [KEY, OTHER, KEY] {
        let request = crate::fake::approval("orders", key);
        let answer = crate::fake::Answer::of(endpoint.clone(), request).await;
        assert_eq!(answer.status, if key == KEY { 202 } else { 401 });
    }
    let log = log.text();
    let said: Vec<_> = log
        .lines()
        .filter(|line| line.contains(" ERROR "))
        .collect();
    assert_eq!(said.len(), 3, "{said:#?}");
    for name in ["pasted", "reserved", "group"] {
        assert!(said.iter().any(|line| line.contains(name)), "{said:#?}");
    }
}

#[tokio::test]
async fn neither_key_nor_hash_stands_in_an_answer_or_a_log() {
    let (log, _guard) = Log::begin();
    let key = "apikey:s3cr3t-k3y";
    let mut answers = Vec::new();
    let echo = json!({"kind": "Secret", "data": key, "message": hash(key)});
    for fault in [
        None,
        Some(Fault::Answer(200, echo.clone())),
        Some(Fault::Answer(200, json!(hash(key)))),
        Some(Fault::Broken),
    ] {
        let fake = with_keys(&[
            ("ci", &entry(key, "alice")),
            ("bad", key),
            ("worse", &hash(key)),
        ]);
        if let Some(fault) = fault {
            fake.fault("GET secrets", fault);
        }
        answers.push(fake.approve("orders", key).await);
    }
    let statuses: Vec<_> = answers.iter().map(|a| a.status.as_u16()).collect();
    assert_eq!(statuses, [202, 500, 500, 503]);
    let all = log.text() + &format!("{answers:?}");
    // Who it was and by which key is told.
    assert!(
        all.contains("an approval is stored") && all.contains(r#"api_key="ci""#),
        "{all}"
    );
    for secret in ["s3cr3t-k3y", &hash(key)] {
        assert!(!all.contains(secret), "{all}");
    }
}
