//! Pipelines: list, make, change, remove.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode, Uri};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::query::{self, Refusal};
use crate::compiler::compile;
use crate::manager::edit::{Patch, PostPut};

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Selector {
    #[default]
    All,
    Status,
    StatusWithConnectors,
}

#[derive(Debug, Deserialize)]
struct Selection {
    #[serde(default)]
    selector: Selector,
}

fn text(json: String) -> Response {
    ([(CONTENT_TYPE, "application/json")], json).into_response()
}

/// `GET /pipelines`
pub async fn list(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Refusal> {
    let Selection { selector } = query::query(&uri)?;
    let mut manager = app.manager();
    let list = manager.list(selector == Selector::All, Timestamp::now())?;
    Ok(text(list))
}

/// `GET /pipelines/{name}`
pub async fn get(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let Selection { selector } = query::query(&uri)?;
    let found = app.manager().with(&name, Timestamp::now(), |pipeline, _| {
        Ok(match selector {
            Selector::All => pipeline.all().to_string(),
            Selector::Status => pipeline.status().to_string(),
            Selector::StatusWithConnectors => pipeline.status_with_connectors().to_string(),
        })
    })?;
    Ok(text(found))
}

/// `POST /pipelines`
pub async fn create(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let body: PostPut = query::json(&headers, &body)?;
    let made = app.manager().create(body, Timestamp::now())?;
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

/// `PUT /pipelines/{name}`
pub async fn put(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let body: PostPut = query::json(&headers, &body)?;
    let (new, pipeline) = app.manager().put(&name, body, Timestamp::now())?;
    let status = if new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(pipeline)).into_response())
}

/// `PATCH /pipelines/{name}`
pub async fn patch(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let body: Patch = query::json(&headers, &body)?;
    Ok(Json(app.manager().patch(
        &name,
        body,
        false,
        Timestamp::now(),
    )?))
}

/// `POST /pipelines/{name}/update_runtime`
pub async fn update_runtime(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let patched = app
        .manager()
        .patch(&name, Patch::default(), true, Timestamp::now())?;
    Ok(Json(patched))
}

/// `DELETE /pipelines/{name}`
pub async fn remove(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    app.manager().delete(&name, Timestamp::now())?;
    Ok(StatusCode::OK)
}

#[derive(Debug, Deserialize)]
struct DiffBody {
    program_code: Option<String>,
    /// Taken and ignored: there is only one compiler here.
    #[serde(rename = "runtime_version")]
    _runtime_version: Option<String>,
}

/// `POST /pipelines/{name}/diff`
pub async fn diff(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let body: DiffBody = query::json(&headers, &body)?;
    let diff = app.manager().with(&name, Timestamp::now(), |pipeline, _| {
        pipeline.preview(body.program_code.as_deref())
    })?;
    Ok(Json(diff))
}

#[derive(Debug, Deserialize)]
struct ValidateBody {
    program_code: String,
}

/// `POST /validate_program`
pub async fn validate(headers: HeaderMap, body: Bytes) -> Result<Json<Value>, Refusal> {
    let body: ValidateBody = query::json(&headers, &body)?;
    let compiled = compile(&body.program_code);
    Ok(Json(match compiled.program {
        Ok(program) => json!({"Success": {"program_info": {
            "schema": program.schema,
            "udf_stubs": "",
            "input_connectors": program.info.inputs,
            "output_connectors": program.info.outputs,
        }}}),
        Err(messages) => json!({"SqlError": {"info": {"exit_code": 1, "messages": messages}}}),
    }))
}
