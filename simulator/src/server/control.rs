//! Control at run time, under `/sim`, which the real engine doesn't have.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::App;
use super::query::Refusal;
use crate::config::parse_duration;
use crate::error::ApiError;

/// An absent body is `{}`; the content type doesn't matter.
fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, ApiError> {
    let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(bytes)
        .map_err(|e| ApiError::bad_request("InvalidBody", format!("the body isn't valid: {e}")))
}

/// `GET /sim/healthz`
pub async fn healthz() -> Json<Value> {
    Json(json!({"status": "healthy"}))
}

/// `GET /sim/faults`
pub async fn faults(State(app): State<Arc<App>>) -> Json<Value> {
    Json(app.faults().to_json())
}

/// `POST /sim/faults`
pub async fn add_faults(State(app): State<Arc<App>>, bytes: Bytes) -> Result<Json<Value>, Refusal> {
    let body: Value = body(&bytes)?;
    let mut faults = app.faults();
    faults
        .add(&body)
        .map_err(|e| ApiError::bad_request("InvalidFault", e))?;
    Ok(Json(faults.to_json()))
}

/// `DELETE /sim/faults`
pub async fn clear_faults(State(app): State<Arc<App>>) -> StatusCode {
    app.faults().clear();
    StatusCode::NO_CONTENT
}

/// `GET /sim/bootstraps`
pub async fn bootstraps(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!(app.manager().bootstraps(Timestamp::now())))
}

#[derive(Debug, Deserialize)]
struct Kill {
    program_code: Option<String>,
    restart_time: Option<String>,
}

/// `POST /sim/pipelines/{name}/kill`
pub async fn kill(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Result<StatusCode, Refusal> {
    let body: Kill = body(&bytes)?;
    let restart = body
        .restart_time
        .map(|text| parse_duration(&text))
        .transpose()
        .map_err(|e| ApiError::bad_request("InvalidBody", e))?;
    app.manager()
        .with(&name, Timestamp::now(), |pipeline, context| {
            pipeline.kill(context, body.program_code.as_deref(), restart)
        })?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
struct Fail {
    message: Option<String>,
}

/// `POST /sim/pipelines/{name}/fail`
pub async fn fail(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Result<StatusCode, Refusal> {
    let body: Fail = body(&bytes)?;
    let message = body
        .message
        .unwrap_or_else(|| "A failure that a test asked for.".to_owned());
    app.manager()
        .with(&name, Timestamp::now(), |pipeline, context| {
            pipeline.fail(context, &message)
        })?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /sim/pipelines/{name}/counters`
pub async fn counters(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let counters = app.manager().with(&name, Timestamp::now(), |pipeline, _| {
        // Without a process there is what the last checkpoint holds.
        let empty = BTreeMap::new();
        let tables = match (&pipeline.process, pipeline.storage.checkpoints.last()) {
            (Some(process), _) => &process.data.rows,
            (None, Some(checkpoint)) => &checkpoint.data.rows,
            (None, None) => &empty,
        };
        let mut out = json!(pipeline.counters);
        out["tables"] = json!(tables);
        out["checkpoints_kept"] = json!(pipeline.storage.checkpoints.len());
        Ok(out)
    })?;
    Ok(Json(counters))
}

#[derive(Debug, Deserialize)]
struct Ingress {
    table: String,
    rows: u64,
}

/// `POST /sim/pipelines/{name}/ingress`
pub async fn ingress(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Result<StatusCode, Refusal> {
    let body: Ingress = body(&bytes)?;
    app.manager()
        .with(&name, Timestamp::now(), |pipeline, context| {
            pipeline.interact(context, |process, world, _| {
                process.ingest(world, &body.table, body.rows)
            })
        })?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /sim/pipelines/{name}/forget_description`: the checkpoints are from now on as written
/// by a version that stored no program description.
pub async fn forget_description(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    app.manager().with(&name, Timestamp::now(), |pipeline, _| {
        for checkpoint in &mut pipeline.storage.checkpoints {
            checkpoint.without_description = true;
        }
        pipeline.touch();
        Ok(())
    })?;
    Ok(StatusCode::NO_CONTENT)
}
