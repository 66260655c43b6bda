//! How often one may call.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::Router;
use serde_json::json;
use sluice::api::{Limit, Peer};
use tokio::{io::AsyncWriteExt, net::TcpSocket, sync::Semaphore, task::JoinSet};

use crate::{
    connections::{rest, serve},
    fake::{Answer, Fake, Fault, approval},
};

/// The SHA-256 of the API key `apikey:good`.
const GOOD_KEY: &str = "496e84bf9f3b886d7969dd367717e5cb4e2449ce8a99178908710fb64f2e78bc";

/// Approves, coming from an address.
async fn from(endpoint: &Router, address: &str, token: &str) -> Answer {
    let mut request = approval("orders", token);
    let address: IpAddr = address.parse().unwrap();
    request.extensions_mut().insert(Peer(address));
    Answer::of(endpoint.clone(), request).await
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_one_bad_token_is_no_flood_of_reviews_and_is_told_when_to_come_again() {
    let fake = Fake::with_a_change_that_waits()
        .configured(|config| config.failure_limit = Limit::per_minute(3));
    let endpoint = fake.router();
    for _ in 0..3 {
        let answer = from(&endpoint, "192.0.2.1", "made-up").await;
        answer.is_error(401, "AuthenticationFailed");
    }
    for _ in 0..50 {
        let answer = from(&endpoint, "192.0.2.1", "made-up").await;
        answer.is_error(429, "TooManyFailedAuthentications");
        assert_eq!(answer.headers["retry-after"], "10");
        assert_eq!(*answer.details(), json!({"retry_after_seconds": 10}));
    }
    assert_eq!(fake.calls_like("who is it?").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a20_a_good_token_that_was_never_seen_passes_whatever_others_send_from_its_address() {
    let fake = Fake::with_a_change_that_waits()
        .configured(|config| config.failure_limit = Limit::per_minute(3));
    let endpoint = fake.router();
    for round in 0..50 {
        let answer = from(&endpoint, "192.0.2.1", &format!("made-up-{round}")).await;
        answer.is_error(401, "AuthenticationFailed");
    }
    from(&endpoint, "192.0.2.1", "alice-token")
        .await
        .is_accepted(7);
}

#[tokio::test(start_paused = true)]
async fn a20_of_a_flood_of_tokens_few_are_reviewed_at_a_time_and_other_addresses_do_not_wait() {
    let fake = Fake::with_a_change_that_waits()
        .configured(|config| config.failure_limit = Limit::per_minute(3));
    let endpoint = fake.router();
    for round in 0..3 {
        from(&endpoint, "192.0.2.1", &format!("made-up-{round}")).await;
    }
    // The API server answers no review of the flood for now.
    let held = Arc::new(Semaphore::new(0));
    for _ in 0..100 {
        fake.fault("who is it?", Fault::Held(held.clone()));
    }
    let mut flood = JoinSet::new();
    for round in 0..100 {
        let endpoint = endpoint.clone();
        let token = format!("another-{round}");
        flood.spawn(async move { from(&endpoint, "192.0.2.1", &token).await.status });
    }
    // As long as there is anything to do for anybody, for the clock stands still.
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(fake.calls_like("who is it?").len(), 3 + 4, "four at a time");
    let colleague = {
        let endpoint = endpoint.clone();
        tokio::spawn(async move { from(&endpoint, "192.0.2.1", "alice-token").await })
    };
    held.add_permits(200);
    from(&endpoint, "192.0.2.2", "alice-token")
        .await
        .is_accepted(7);
    colleague.await.unwrap().is_accepted(7);
    for status in flood.join_all().await {
        assert_eq!(status, 401);
    }
}

#[tokio::test(start_paused = true)]
async fn a20_who_waited_in_vain_for_a_turn_is_told_that_and_not_that_the_api_server_is_away() {
    let fake = Fake::with_a_change_that_waits()
        .configured(|config| config.failure_limit = Limit::per_minute(1));
    let endpoint = fake.router();
    from(&endpoint, "192.0.2.1", "made-up").await;
    let gate = Arc::new(Semaphore::new(0));
    fake.reviews_of_strangers_wait_for(gate.clone());
    let spawn = |token: String| {
        let endpoint = endpoint.clone();
        tokio::spawn(async move { from(&endpoint, "192.0.2.1", &token).await })
    };
    let reviewed: Vec<_> = (0..4).map(|i| spawn(format!("first-{i}"))).collect();
    while fake.calls_like("who is it?").len() < 1 + 4 {
        tokio::task::yield_now().await;
    }
    let waits: Vec<_> = (0..100).map(|i| spawn(format!("next-{i}"))).collect();
    // Most of the time that there is for a request goes by, until one of those before is done.
    tokio::time::advance(Duration::from_millis(1)).await;
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
    let too_many = from(&endpoint, "192.0.2.1", "alice-token").await;
    tokio::time::advance(Duration::from_secs(50)).await;
    gate.add_permits(1);
    for waited in waits {
        let answer = waited.await.unwrap();
        answer.is_error(429, "TooManyFailedAuthentications");
        assert!(answer.message().contains("has not been looked at"));
        assert_eq!(answer.headers["retry-after"], "2");
    }
    assert_eq!(
        too_many.body["message"],
        "Your token has not been looked at: too many others that were sent from your address wait for that. Try again in 2 s"
    );
    // Those that the API server doesn't answer are told that.
    let mut statuses = vec![];
    for review in reviewed {
        statuses.push(review.await.unwrap().status.as_u16());
    }
    assert_eq!(statuses, [401, 503, 503, 503]);
}

#[tokio::test]
async fn a20_a_good_api_key_passes_whatever_others_send_from_its_address() {
    let fake = Fake::with_a_change_that_waits().configured(|config| {
        config.failure_limit = Limit::per_minute(3);
        config.api_keys_secret = Some("keys".to_owned());
    });
    fake.api_keys(&[("alice-1", &format!("{{hash: '{GOOD_KEY}', user: alice}}"))]);
    let endpoint = fake.router();
    for round in 0..10 {
        from(&endpoint, "192.0.2.1", &format!("apikey:made-up-{round}")).await;
        from(&endpoint, "192.0.2.1", "apikey:always-the-same").await;
    }
    // What is the same all the time is looked for once.
    assert_eq!(fake.calls_like("GET secrets").len(), 11);
    from(&endpoint, "192.0.2.1", "apikey:good")
        .await
        .is_accepted(7);
}

#[tokio::test]
async fn who_was_let_in_is_not_held_up_by_others_behind_the_same_proxy() {
    let fake = Fake::with_a_change_that_waits()
        .configured(|config| config.failure_limit = Limit::per_minute(1));
    let endpoint = fake.router();
    from(&endpoint, "192.0.2.1", "alice-token")
        .await
        .is_accepted(7);
    from(&endpoint, "192.0.2.1", "made-up").await;
    from(&endpoint, "192.0.2.1", "made-up")
        .await
        .is_error(429, "TooManyFailedAuthentications");
    from(&endpoint, "192.0.2.1", "alice-token")
        .await
        .is_accepted(7);
    // It was reviewed each time.
    assert_eq!(fake.calls_like("who is it?").len(), 3);
}

#[tokio::test]
async fn an_outage_of_the_api_server_is_nobody_s_failure() {
    let fake = Fake::with_a_change_that_waits()
        .configured(|config| config.failure_limit = Limit::per_minute(1));
    let endpoint = fake.router();
    for _ in 0..3 {
        fake.fault("who is it?", Fault::Broken);
        from(&endpoint, "192.0.2.1", "alice-token")
            .await
            .is_error(503, "ApiServerUnreachable");
    }
    from(&endpoint, "192.0.2.1", "alice-token")
        .await
        .is_accepted(7);
}

#[tokio::test(start_paused = true)]
async fn each_user_has_a_limit_of_their_own_wherever_they_call_from() {
    let fake = Fake::with_a_change_that_waits()
        .configured(|config| config.user_limit = Limit::per_minute(2));
    let endpoint = fake.router();
    for address in ["192.0.2.1", "192.0.2.2"] {
        from(&endpoint, address, "alice-token").await.is_accepted(7);
    }
    let answer = from(&endpoint, "192.0.2.3", "alice-token").await;
    answer.is_error(429, "TooManyRequests");
    assert_eq!(answer.headers["retry-after"], "30");
    from(&endpoint, "192.0.2.1", "bob-token")
        .await
        .is_error(403, "InsufficientPermissions");
    // What is refused asks for no pipeline.
    assert_eq!(fake.calls_like("GET pipelines/orders").len(), 3);
}

#[tokio::test]
async fn limits_can_be_switched_off() {
    let fake = Fake::with_a_change_that_waits().configured(|config| {
        config.user_limit = Limit::Off;
        config.failure_limit = Limit::Off;
    });
    let endpoint = fake.router();
    for _ in 0..700 {
        let answer = from(&endpoint, "192.0.2.1", "made-up").await;
        assert_eq!(answer.status, 401);
    }
    for _ in 0..700 {
        let answer = from(&endpoint, "192.0.2.1", "alice-token").await;
        assert_eq!(answer.status, 202);
    }
}

#[tokio::test]
async fn the_address_is_the_one_that_the_connection_comes_from() {
    let fake = Fake::with_a_change_that_waits()
        .configured(|config| config.failure_limit = Limit::per_minute(1));
    let server = serve(&fake).await;
    for (address, token, expected) in [
        ("127.0.0.2", "made-up", " 401 "),
        ("127.0.0.2", "made-up", " 429 "),
        ("127.0.0.3", "alice-token", " 202 "),
    ] {
        let socket = TcpSocket::new_v4().unwrap();
        socket
            .bind(format!("{address}:0").parse().unwrap())
            .unwrap();
        let mut stream = socket.connect(server.address).await.unwrap();
        let text = format!(
            "POST /v0/pipelines/orders/approve HTTP/1.1\r\nHost: sluice\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.contains(expected), "{address}: {answer}");
    }
}
