//! Calls that change what a pipeline does.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, Uri};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::App;
use super::outer::Forget;
use super::query::{self, Refusal};
use crate::error::ApiError;
use crate::manager::Edition;
use crate::manager::actions::Stop;
use crate::process::gate::EXCLUSIVE;
use crate::process::status::{BootstrapConfig, Desired, Policy};

/// How long the engine holds an approval that takes effect.
const APPROVAL: Duration = Duration::from_millis(10);

fn accepted(text: &str) -> Response {
    (StatusCode::ACCEPTED, Json(text)).into_response()
}

#[derive(Debug, Deserialize)]
struct Start {
    initial: Option<String>,
    bootstrap_policy: Option<Policy>,
    #[serde(default)]
    silent_bootstrap: bool,
    #[serde(default)]
    concurrent_bootstrap: bool,
    dismiss_error: Option<bool>,
}

fn exclusive(silent: bool, concurrent: bool) -> Result<(), ApiError> {
    if silent && concurrent {
        return Err(ApiError::bad_request(
            "InvalidBootstrapConfig",
            format!("Invalid bootstrap configuration: {EXCLUSIVE}"),
        )
        .with_details(json!({"reason": EXCLUSIVE})));
    }
    Ok(())
}

/// `POST /start`
pub async fn start(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let start: Start = query::query(&uri)?;
    exclusive(start.silent_bootstrap, start.concurrent_bootstrap)?;
    let initial = start.initial.as_deref().unwrap_or("running");
    let initial = match initial {
        "running" => Desired::Running,
        "paused" => Desired::Paused,
        "standby" => Desired::Standby,
        other => {
            let action = format!("/start?initial={other}");
            let reason = format!("unknown initial runtime desired status: {other}");
            return Err(ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "UnsupportedPipelineAction",
                format!("Unsupported pipeline action '{action}': {reason}"),
                json!({"action": action, "reason": reason}),
            )
            .into());
        }
    };
    let config = BootstrapConfig {
        bootstrap_policy: Some(start.bootstrap_policy.unwrap_or(Policy::AwaitApproval)),
        silent_bootstrap: start.silent_bootstrap,
        concurrent_bootstrap: start.concurrent_bootstrap,
    };
    app.manager()
        .with(&name, Timestamp::now(), |pipeline, context| {
            pipeline.start(
                context,
                initial,
                config,
                start.dismiss_error.unwrap_or(true),
            )
        })?;
    Ok(accepted("Pipeline is starting"))
}

#[derive(Debug, Deserialize)]
struct StopQuery {
    #[serde(default)]
    force: bool,
}

/// `POST /stop`
pub async fn stop(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let StopQuery { force } = query::query(&uri)?;
    let stop = app
        .manager()
        .with(&name, Timestamp::now(), |pipeline, context| {
            pipeline.stop(context, force)
        })?;
    Ok(accepted(match stop {
        Stop::Forced => "Pipeline is forcefully stopping",
        Stop::Suspending => "Pipeline is suspending",
    }))
}

/// `POST /clear`
pub async fn clear(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    app.manager()
        .with(&name, Timestamp::now(), |pipeline, context| {
            pipeline.clear(context)
        })?;
    Ok(accepted("Pipeline storage is being cleared"))
}

/// `POST /dismiss_error`
pub async fn dismiss_error(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<&'static str>, Refusal> {
    app.manager().with(&name, Timestamp::now(), |pipeline, _| {
        pipeline.dismiss_error()
    })?;
    Ok(Json("Pipeline deployment error has been dismissed"))
}

fn transition(app: &App, name: &str, action: &str, target: Desired) -> Result<Response, Refusal> {
    let text = app
        .manager()
        .with(name, Timestamp::now(), |pipeline, context| {
            pipeline.interact(context, |process, world, now| {
                process.transition(world, action, target, now)
            })
        })?;
    Ok(accepted(&text))
}

/// `POST /pause`
pub async fn pause(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    transition(&app, &name, "pause", Desired::Paused)
}

/// `POST /resume`: the process calls it `start`.
pub async fn resume(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    transition(&app, &name, "start", Desired::Running)
}

#[derive(Debug, Deserialize)]
struct Approve {
    #[serde(default)]
    silent_bootstrap: bool,
    #[serde(default)]
    concurrent_bootstrap: bool,
}

/// `POST /approve`: 200 in every phase.
pub async fn approve(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    forget: Option<Extension<Forget>>,
    uri: Uri,
) -> Result<Json<&'static str>, Refusal> {
    let approve: Approve = query::query(&uri)?;
    exclusive(approve.silent_bootstrap, approve.concurrent_bootstrap)?;
    let waiting = app
        .manager()
        .with(&name, Timestamp::now(), |pipeline, context| {
            pipeline.interact(context, |process, world, now| {
                process.approve(
                    world,
                    approve.silent_bootstrap,
                    approve.concurrent_bootstrap,
                    forget.is_some(),
                    now,
                )
            })
        })?;
    if waiting {
        tokio::time::sleep(APPROVAL).await;
    }
    Ok(Json("Bootstrap approved"))
}

/// `POST /checkpoint`
pub async fn checkpoint(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let mut manager = app.manager();
    if manager.settings.edition == Edition::OpenSource {
        return Err(ApiError::enterprise_feature("checkpoint").into());
    }
    let answer = manager.with(&name, Timestamp::now(), |pipeline, context| {
        pipeline.interact(context, |process, world, now| {
            let sequence = process.request_checkpoint(world, now)?;
            Ok(json!({
                "checkpoint_sequence_number": sequence,
                "incarnation_uuid": process.incarnation,
            }))
        })
    })?;
    Ok(Json(answer))
}

#[derive(Debug, Deserialize)]
struct CheckpointQuery {
    incarnation_uuid: Option<Uuid>,
}

/// `GET /checkpoint_status`
pub async fn checkpoint_status(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Json<Value>, Refusal> {
    let CheckpointQuery { incarnation_uuid } = query::query(&uri)?;
    let answer = app.manager().with(&name, Timestamp::now(), |pipeline, _| {
        let process = pipeline.reachable()?;
        if let Some(expected) = incarnation_uuid
            && expected != process.incarnation
        {
            return Err(ApiError::bad_request(
                "IncarnationUuidMismatch",
                format!(
                    "The given incarnation UUID {expected} doesn't match the pipeline's present \
                     one, {}: the pipeline has restarted.",
                    process.incarnation
                ),
            )
            .with_details(json!({"expected": expected, "actual": process.incarnation})));
        }
        let failure = process.checkpoint_failure.as_ref().map(|(number, error, at)| {
            json!({"sequence_number": number, "error": error, "failed_at": at})
        });
        Ok(json!({"success": process.checkpoint_success, "failure": failure}))
    })?;
    Ok(Json(answer))
}

/// `GET /checkpoints`
pub async fn checkpoints(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let answer = app.manager().with(&name, Timestamp::now(), |pipeline, _| {
        pipeline.reachable()?;
        Ok(pipeline.storage.checkpoints_json())
    })?;
    Ok(Json(answer))
}
