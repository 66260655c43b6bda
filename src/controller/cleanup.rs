//! Deletion, carried out: what comes next is decided in [`decide::deletion`]. `Retain` needs no finalizer
//! and no engine, unless something is being compiled beforehand.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use tracing::info;

use super::observe::{self, View};
use super::work::{Action, Turn};
use super::{Context, Error, act, finalizers, status};
use crate::crd::{DeletionPolicy, FINALIZER, Pipeline};
use crate::engine;
use crate::gate::decide::deletion::{self, Next};
use crate::gate::decide::{Act, EngineCall, Guard};

/// How soon a deletion that waits for the engine is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How soon one is that goes on only if somebody acts. What they do is seen at once where it is done to
/// the Pipeline or its Engine.
const LOOK_AGAIN_WHEN_STUCK: Duration = Duration::from_secs(30);

/// Puts the finalizer there where something has to be removed from the engine, and takes it away
/// otherwise. Returns the object as it is then, if it was changed.
pub(super) async fn keep_finalizer(
    pipeline: &Pipeline,
    context: &Context,
) -> Result<Option<Pipeline>, Error> {
    let there = pipeline.finalizers().iter().any(|name| name == FINALIZER);
    let wanted =
        pipeline.spec.deletion_policy == DeletionPolicy::Delete || build_of(pipeline).is_some();
    if there == wanted {
        return Ok(None);
    }
    finalizers::write(pipeline, FINALIZER, wanted, &context.client).await
}

/// Takes the next step of a deletion.
pub(super) async fn delete(
    pipeline: &Pipeline,
    context: &Context,
    turn: &Turn,
) -> Result<Action, Error> {
    if !pipeline.finalizers().iter().any(|name| name == FINALIZER) {
        return Ok(Action::await_change());
    }
    let mut view = observe::begin(pipeline, context, turn).await;
    drop_build(pipeline, &mut view, context).await?;
    let name = pipeline.engine_pipeline_name();
    if pipeline.spec.deletion_policy == DeletionPolicy::Delete && view.engine.is_some() {
        // An error is in view then.
        let _ = observe::look(name, &mut view).await;
    }
    let next = deletion::next(pipeline, &view.observation);
    if next != Next::LetGo
        && let Some(shown) = deletion::status(pipeline, &next, Timestamp::now())
    {
        status::write(pipeline, shown, context).await?;
    }
    if !context.leadership.holds() {
        return Err(Error::NotLeading);
    }
    match (&next, &view.engine) {
        (Next::LetGo, _) => {
            finalizers::write(pipeline, FINALIZER, false, &context.client).await?;
            return Ok(Action::await_change());
        }
        (Next::Wait { stalled: true, .. }, _) => {
            return Ok(Action::requeue(LOOK_AGAIN_WHEN_STUCK));
        }
        (Next::Stop, Some(engine)) => {
            let result = engine.ask(|client| client.stop(name, true)).await;
            called(EngineCall::Stop, result, context)?;
        }
        (Next::Clear, Some(engine)) => {
            let result = engine.ask(|client| client.clear(name)).await;
            called(EngineCall::Clear, result, context)?;
        }
        (Next::Delete, Some(engine)) => {
            let result = engine.ask(|client| client.delete(name)).await;
            called(EngineCall::Delete, result, context)?;
        }
        _ => {}
    }
    Ok(Action::requeue(LOOK_AGAIN))
}

fn called(
    call: EngineCall,
    result: Result<(), engine::Error>,
    context: &Context,
) -> Result<(), Error> {
    context
        .metrics
        .engine_call(call.as_str(), result.as_ref().err());
    Ok(result?)
}

/// Removes what is being compiled beforehand, if the engine answers. It was never started, so that it
/// stays is no harm worth keeping the object for.
async fn drop_build(pipeline: &Pipeline, view: &mut View, context: &Context) -> Result<(), Error> {
    let Some((name, id)) = build_of(pipeline) else {
        return Ok(());
    };
    let drop = Act::DropBuild { name, id };
    let outcome = act::perform(&drop, &Guard::default(), false, pipeline, view, context).await?;
    info!(?outcome, "removed what was compiled beforehand");
    Ok(())
}

/// Name and id of what is being compiled beforehand.
fn build_of(pipeline: &Pipeline) -> Option<(String, Option<String>)> {
    let build = pipeline.status.as_ref()?.build.as_ref()?;
    Some((build.pipeline.clone()?, build.pipeline_id.clone()))
}
