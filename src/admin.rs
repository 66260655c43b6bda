//! `/livez`, `/readyz` and `/metrics`, for the cluster and not for people.

use std::fmt::Write;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::metrics::Metrics;

/// Serves until `stop`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    axum::serve(listener, router(health, metrics))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

fn router(health: Health, metrics: Arc<Metrics>) -> Router {
    let ready_health = health.clone();
    let ready = async move || match ready_health.readiness() {
        Ok(role) => (StatusCode::OK, format!("ok: {role}\n")),
        Err(waiting) => (StatusCode::SERVICE_UNAVAILABLE, format!("{waiting}\n")),
    };
    let live = async move || liveness(&health);
    let figures = async move || {
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        ([(header::CONTENT_TYPE, kind)], metrics.encode()).into_response()
    };
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(figures))
}

/// Each part with how long it has been silent; 503 if one is stuck.
fn liveness(health: &Health) -> (StatusCode, String) {
    let mut text = String::new();
    let mut status = StatusCode::OK;
    for pulse in health.report() {
        let word = if pulse.is_stuck() {
            status = StatusCode::SERVICE_UNAVAILABLE;
            "STUCK"
        } else {
            "ok"
        };
        // Writing into a String can't fail.
        let _ = writeln!(
            text,
            "{word}: {}, last heard of {:.1} s ago, expected within {} s",
            pulse.part,
            pulse.age.as_secs_f32(),
            pulse.within.as_secs(),
        );
    }
    if text.is_empty() {
        text.push_str("ok\n");
    }
    (status, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use std::time::Duration;
    use tower::ServiceExt;

    async fn answer(health: &Health, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let router = router(health.clone(), Arc::default());
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await;
        (status, String::from_utf8(body.unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn it_is_alive_while_it_waits_and_ready_only_afterwards() {
        let health = Health::default();
        assert_eq!(answer(&health, "/livez").await.0, StatusCode::OK);
        health.waits_for("the definitions");
        let unready = (
            StatusCode::SERVICE_UNAVAILABLE,
            "the definitions\n".to_owned(),
        );
        assert_eq!(answer(&health, "/readyz").await, unready);
        health.is_ready_as("leads");
        let ready = (StatusCode::OK, "ok: leads\n".to_owned());
        assert_eq!(answer(&health, "/readyz").await, ready);
        assert_eq!(answer(&health, "/metrics").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_part_that_is_silent_for_too_long_is_named() {
        let health = Health::default();
        health.beat("watch of pipelines", Duration::from_secs(60));
        assert_eq!(answer(&health, "/livez").await.0, StatusCode::OK);
        health.beat("poll of lab", Duration::ZERO);
        let (status, text) = answer(&health, "/livez").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(text.contains("STUCK: poll of lab") && text.contains("ok: watch of pipelines"));
    }
}
