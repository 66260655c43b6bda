//! Calls that read or feed a pipeline, and those about the platform.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{StatusCode, Uri};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::query::{self, Refusal};
use crate::error::ApiError;
use crate::manager::Edition;
use crate::manager::pipeline::Pipeline;
use crate::process::{Phase, Process};

/// `GET /config`
pub async fn config(State(app): State<Arc<App>>) -> Json<Value> {
    let manager = app.manager();
    let version = &manager.settings.version;
    let edition = match manager.settings.edition {
        Edition::Enterprise => "Enterprise",
        Edition::OpenSource => "Open source",
    };
    Json(json!({
        "posthog": "",
        "conceptualhq": "",
        "product_fruits": "",
        "edition": edition,
        "version": version,
        "revision": "feldera-sim",
        "runtime_revision": "feldera-sim",
        "unstable_features": null,
        "changelog_url": "https://docs.feldera.com/changelog/",
        "license_validity": null,
        "update_info": null,
        "build_info": {
            "build_timestamp": "",
            "build_cpu": "",
            "build_os": "",
            "cargo_dependencies": "",
            "cargo_features": "",
            "cargo_debug": "",
            "cargo_opt_level": "",
            "cargo_target_triple": "",
            "rustc_version": "",
        },
        "build_source": "source",
    }))
}

/// `GET /config/authentication`
pub async fn authentication() -> Json<Value> {
    Json(json!({}))
}

/// `GET /config/session`
pub async fn session() -> Json<Value> {
    Json(json!({
        "tenant_id": "00000000-0000-0000-0000-000000000000",
        "tenant_name": "default",
        "role": "admin",
        "memberships": [],
    }))
}

/// `GET /healthz`
pub async fn healthz() -> Json<Value> {
    Json(json!({"status": "healthy"}))
}

/// `GET /stats`
pub async fn stats(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let stats = app
        .manager()
        .with(&name, Timestamp::now(), |pipeline, context| {
            let process = pipeline.reachable()?;
            process.ready()?;
            Ok(render_stats(pipeline, process, context.now))
        })?;
    Ok(Json(stats))
}

fn render_stats(pipeline: &Pipeline, process: &Process, now: Timestamp) -> Value {
    let bootstrapping = matches!(process.phase, Phase::Bootstrapping { .. });
    let phase = match process.phase {
        Phase::ConcurrentBootstrapping { .. } => "ConcurrentBootstrapping",
        Phase::Synchronizing { .. } => "Synchronizing",
        _ => "Inactive",
    };
    let program = process.program.get();
    let inputs: Vec<Value> = program
        .tables
        .iter()
        .flat_map(|(table, t)| t.inputs.iter().map(move |input| (table, input)))
        .map(|(table, input)| {
            let read = process.data.read.contains(&input.name);
            json!({
                "endpoint_name": input.name,
                "config": {"stream": table},
                "metrics": {
                    "total_bytes": 0,
                    "total_records": if read { input.rows } else { 0 },
                    "buffered_records": 0,
                    "buffered_bytes": 0,
                    "num_transport_errors": 0,
                    "num_parse_errors": 0,
                    "end_of_input": read,
                },
                "fatal_error": null,
                "health": null,
                "paused": false,
                "barrier": false,
                "completed_frontier": null,
            })
        })
        .collect();
    let outputs: Vec<Value> = program
        .views
        .iter()
        .flat_map(|(view, v)| v.outputs.iter().map(move |output| (view, output)))
        .map(|(view, output)| {
            json!({
                "endpoint_name": output.name,
                "config": {"stream": view},
                "metrics": {
                    "transmitted_records": pipeline.counters.sinks.get(&output.name).unwrap_or(&0),
                    "transmitted_bytes": 0,
                    "queued_records": 0,
                    "queued_batches": 0,
                    "buffered_records": 0,
                    "buffered_batches": 0,
                    "num_encode_errors": 0,
                    "num_transport_errors": 0,
                    "total_processed_input_records": process.data.processed,
                    "total_processed_steps": process.data.steps,
                    "memory": 0,
                },
                "fatal_error": null,
                "health": null,
            })
        })
        .collect();
    let processed = process.data.processed;
    json!({
        "global_metrics": {
            "state": process.desired.as_str(),
            "bootstrap_in_progress": bootstrapping,
            "transaction_status": "NoTransaction",
            "transaction_id": 0,
            "transaction_msecs": null,
            "transaction_records": null,
            "commit_progress": null,
            "transaction_initiators": {
                "transaction_id": null,
                "initiated_by_api": null,
                "initiated_by_connectors": {},
            },
            "concurrent_bootstrap_phase": phase,
            "concurrent_bootstrap_progress": null,
            "rss_bytes": 100_000_000,
            "memory_pressure": "low",
            "memory_pressure_epoch": 0,
            "cpu_msecs": 0,
            "uptime_msecs": now.duration_since(process.started_at).as_millis().max(0),
            "start_time": process.started_at.as_second(),
            "incarnation_uuid": process.incarnation,
            "initial_start_time": process.started_at.as_second(),
            "storage_bytes": 0,
            "storage_mb_secs": 0,
            "runtime_elapsed_msecs": 0,
            "buffered_input_records": 0,
            "buffered_input_bytes": 0,
            "total_input_records": processed,
            "total_input_bytes": 0,
            "total_processed_records": processed,
            "total_processed_bytes": 0,
            "total_completed_records": processed,
            "output_stall_msecs": 0,
            "total_initiated_steps": process.data.steps,
            "total_completed_steps": process.data.steps,
            "pipeline_complete": !bootstrapping,
        },
        "suspend_error": if bootstrapping { json!({"Temporary": ["Bootstrapping"]}) } else { Value::Null },
        "checkpoint_activity": {"status": "idle"},
        "permanent_checkpoint_errors": null,
        "inputs": inputs,
        "outputs": outputs,
    })
}

/// `GET /metrics`: a few of them.
pub async fn metrics(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let text = app.manager().with(&name, Timestamp::now(), |pipeline, _| {
        let process = pipeline.reachable()?;
        process.ready()?;
        Ok(format!(
            "# HELP records_processed_total Records that were processed.\n\
             # TYPE records_processed_total counter\n\
             records_processed_total{{pipeline=\"{}\",pipeline_name=\"{}\"}} {}\n",
            pipeline.id, pipeline.name, process.data.processed
        ))
    })?;
    Ok(([(CONTENT_TYPE, "text/plain")], text).into_response())
}

/// `GET /logs`: what there is; unlike the engine's, the stream then ends.
pub async fn logs(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let text = app.manager().with(&name, Timestamp::now(), |pipeline, _| {
        let lines: Vec<&str> = pipeline.log.iter().map(String::as_str).collect();
        Ok(lines.join("\n") + "\n")
    })?;
    Ok(([(CONTENT_TYPE, "text/plain")], text).into_response())
}

#[derive(Debug, Deserialize)]
struct QueryQuery {
    sql: String,
    #[serde(default)]
    format: String,
}

/// `GET /query`: only `select count(*) [as name] from relation`.
pub async fn query(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let QueryQuery { sql, format } = query::query(&uri)?;
    let (column, rows) = app.manager().with(&name, Timestamp::now(), |pipeline, _| {
        let process = pipeline.reachable()?;
        process.ready()?;
        if matches!(process.phase, Phase::Bootstrapping { .. }) {
            return Err(crate::process::gate::initializing());
        }
        let Some((column, relation)) = count_query(&sql) else {
            return Err(ApiError::bad_request(
                "AdHocQueryError",
                "The stand-in answers only: select count(*) [as name] from relation",
            ));
        };
        let program = process.program.get();
        let rows = match (program.tables.get(&relation), program.views.get(&relation)) {
            (Some(_), _) => process.data.rows.get(&relation).copied().unwrap_or(0),
            (None, Some(view)) => process.data.view_rows(view),
            (None, None) => {
                return Err(ApiError::bad_request(
                    "AdHocQueryError",
                    format!("Error during planning: table '{relation}' not found"),
                ));
            }
        };
        Ok((column, rows))
    })?;
    Ok(match format.as_str() {
        "json" => {
            let line = format!("{}\n", json!({column: rows}));
            ([(CONTENT_TYPE, "application/json")], line).into_response()
        }
        _ => {
            let table = format!("{column}\n{rows}\n");
            ([(CONTENT_TYPE, "text/plain")], table).into_response()
        }
    })
}

/// The column's name and the relation of `select count(*) [as name] from relation`.
fn count_query(sql: &str) -> Option<(String, String)> {
    let text = sql.trim().trim_end_matches(';').to_lowercase();
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        ["select", "count(*)", "from", relation] => {
            Some(("count(*)".to_owned(), (*relation).to_owned()))
        }
        ["select", "count(*)", "as", column, "from", relation] => {
            Some(((*column).to_owned(), (*relation).to_owned()))
        }
        _ => None,
    }
}

#[derive(Debug, Deserialize)]
struct IngressQuery {
    #[serde(default)]
    array: bool,
    #[serde(default)]
    format: String,
}

/// `POST /ingress/{table}`: rows are counted, not read.
pub async fn ingress(
    State(app): State<Arc<App>>,
    Path((name, table)): Path<(String, String)>,
    uri: Uri,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let query: IngressQuery = query::query(&uri)?;
    let rows = count_rows(&body, &query)?;
    let token = app
        .manager()
        .with(&name, Timestamp::now(), |pipeline, context| {
            pipeline.interact(context, |process, world, _| {
                process.ingest(world, &table.to_lowercase(), rows)?;
                Ok(process.incarnation)
            })
        })?;
    Ok(Json(json!({"token": token})))
}

/// JSON values one after the other, or arrays of them; of any other format the lines.
fn count_rows(body: &Bytes, query: &IngressQuery) -> Result<u64, ApiError> {
    let mut rows = 0;
    if query.format == "json" {
        for value in serde_json::Deserializer::from_slice(body).into_iter::<Value>() {
            let value = value.map_err(|e| {
                ApiError::bad_request("ParseErrors", format!("the body isn't JSON: {e}"))
            })?;
            rows += match (query.array, value) {
                (true, Value::Array(rows)) => rows.len(),
                (true, _) => {
                    return Err(ApiError::bad_request(
                        "ParseErrors",
                        "with array=true the body must be arrays of rows",
                    ));
                }
                (false, _) => 1,
            };
        }
    } else {
        rows = body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.trim_ascii().is_empty())
            .count();
    }
    Ok(u64::try_from(rows).unwrap_or(u64::MAX))
}

/// `POST /egress/{view}`: an empty stream.
pub async fn egress(
    State(app): State<Arc<App>>,
    Path((name, view)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    app.manager().with(&name, Timestamp::now(), |pipeline, _| {
        let process = pipeline.reachable()?;
        process.ready()?;
        if process
            .program
            .get()
            .views
            .contains_key(&view.to_lowercase())
        {
            return Ok(());
        }
        Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "UnknownOutputStream",
            format!("Unknown output table or view '{view}'."),
            json!({"stream_name": view}),
        ))
    })?;
    Ok(StatusCode::OK)
}

/// `GET /completion_status`: all that was accepted is processed.
pub async fn completion_status(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let step = app.manager().with(&name, Timestamp::now(), |pipeline, _| {
        let process = pipeline.reachable()?;
        process.ready()?;
        Ok(process.data.steps)
    })?;
    Ok(Json(json!({"status": "complete", "step": step})))
}
