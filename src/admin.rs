//! `/livez`, `/readyz` and `/metrics`, for the cluster and not for people.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// What the operator still waits for before it does its work.
#[derive(Clone)]
pub struct Readiness(Arc<Mutex<Option<String>>>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some("starting".to_owned()))))
    }
}

impl Readiness {
    /// It does its work.
    pub fn ready(&self) {
        self.set(None);
    }

    /// It waits for something.
    pub fn waits_for(&self, what: &str) {
        self.set(Some(what.to_owned()));
    }

    fn set(&self, waiting: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = waiting;
    }

    fn get(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Serves until `stop`.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    axum::serve(listener, router(readiness, metrics))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

fn router(readiness: Readiness, metrics: Arc<Metrics>) -> Router {
    let ready = move |State(readiness): State<Readiness>| async move {
        match readiness.get() {
            None => (StatusCode::OK, "ok\n".to_owned()),
            Some(waiting) => (StatusCode::SERVICE_UNAVAILABLE, format!("{waiting}\n")),
        }
    };
    let figures = move || async move {
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        ([(header::CONTENT_TYPE, kind)], metrics.encode()).into_response()
    };
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(figures))
        .with_state(readiness)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt;

    async fn status(router: Router, path: &str) -> StatusCode {
        let request = Request::get(path).body(Body::empty()).unwrap();
        router.oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn it_is_alive_while_it_waits_and_ready_only_afterwards() {
        let readiness = Readiness::default();
        let router = router(readiness.clone(), Arc::default());
        assert_eq!(status(router.clone(), "/livez").await, StatusCode::OK);
        assert_eq!(
            status(router.clone(), "/readyz").await,
            StatusCode::SERVICE_UNAVAILABLE
        );
        readiness.ready();
        assert_eq!(status(router.clone(), "/readyz").await, StatusCode::OK);
        assert_eq!(status(router, "/metrics").await, StatusCode::OK);
    }
}
