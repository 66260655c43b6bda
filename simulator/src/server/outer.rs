//! What surrounds every call of the engine's API: API keys, faults, the log of calls.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use jiff::Timestamp;
use serde_json::json;

use super::App;
use crate::call_log::Call;
use crate::error::ApiError;
use crate::faults::Effect;

/// Bytes of a request's body.
const BODY_LIMIT: usize = 256 << 20;

/// Marks a call of `/approve` whose effect is to be forgotten.
#[derive(Debug, Clone, Copy)]
pub struct Forget;

/// The control paths are exempt from all of this.
pub async fn outer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if request.uri().path().starts_with("/sim/") {
        return next.run(request).await;
    }
    let time = Timestamp::now();
    let (parts, body) = request.into_parts();
    let method = parts.method.clone();
    let uri = parts.uri.clone();
    let (body, too_long) = match to_bytes(body, BODY_LIMIT).await {
        Ok(body) => (body, false),
        Err(_) => (Bytes::new(), true),
    };
    let log = |status: Option<u16>| {
        let Some(call_log) = &app.call_log else {
            return;
        };
        let call = Call {
            time,
            method: method.as_str(),
            path: uri.path(),
            query: uri.query(),
            body: &body,
            status,
        };
        if let Err(e) = call_log.write(&call) {
            tracing::error!("the log of calls can't be written: {e}");
        }
    };
    let mut request = Request::from_parts(parts, Body::from(body.clone()));
    let mut hang_after = false;
    let mut answer = None;
    if too_long {
        answer = Some(StatusCode::PAYLOAD_TOO_LARGE.into_response());
    } else if !authorized(&app.api_keys, request.headers()) {
        answer = Some(unauthorized());
    } else {
        let effects = app.faults().take(uri.path());
        for effect in effects {
            match effect {
                Effect::Latency(latency) => tokio::time::sleep(latency).await,
                Effect::ApproveForgotten => {
                    request.extensions_mut().insert(Forget);
                }
                Effect::Error(status) => answer = Some(fault(status)),
                Effect::Hang => {
                    log(None);
                    return hang().await;
                }
                Effect::HangAfter => hang_after = true,
                Effect::Restart(polls) => app.manager().restart(polls, Timestamp::now()),
                // These are about the answer.
                Effect::Stale | Effect::Lie { .. } => {}
                Effect::Nonsense => {
                    answer = Some(axum::Json(json!({"nonsense": [1, 2, 3]})).into_response());
                }
            }
        }
    }
    let answer = match answer {
        Some(answer) => answer,
        None => next.run(request).await,
    };
    if hang_after {
        log(None);
        return hang().await;
    }
    let answer = if app.faults().change_answers() {
        changed(&app, &method, &uri, answer).await
    } else {
        answer
    };
    log(Some(answer.status().as_u16()));
    answer
}

/// What faults make of an answer. Only good ones in JSON are changed.
async fn changed(app: &App, method: &Method, uri: &Uri, answer: Response) -> Response {
    let json = answer
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !json || !answer.status().is_success() {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let query = uri.query().unwrap_or_default();
    let body = app
        .faults()
        .change_answer(method == Method::GET, uri.path(), query, body);
    // It may be longer or shorter now; the server writes a new one.
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(body))
}

async fn hang() -> Response {
    // Longer than any client waits; a client that goes away ends it.
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    StatusCode::GATEWAY_TIMEOUT.into_response()
}

fn fault(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut error = ApiError::new(
        status,
        "SimulatedFault",
        format!("A fault switch of the stand-in answers {status}"),
        serde_json::Value::Null,
    );
    error.retry_after = status == StatusCode::SERVICE_UNAVAILABLE;
    error.into_response()
}

fn authorized(keys: &[String], headers: &HeaderMap) -> bool {
    if keys.is_empty() {
        return true;
    }
    headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token)
        })
        .is_some_and(|token| keys.iter().any(|key| key == token))
}

fn unauthorized() -> Response {
    let mut answer = ApiError::unauthorized().into_response();
    answer
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}
