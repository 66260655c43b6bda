//! Deletion. `Retain` needs no finalizer and no engine. `Delete` keeps the object until the
//! engine's pipeline is stopped, its storage cleared, and it is gone.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use serde_json::json;
use tracing::info;

use super::decide::is_owned;
use super::engines::Lookup;
use super::{Context, Error};
use crate::crd::{DeletionPolicy, FINALIZER, Pipeline, annotation};
use crate::engine::PipelineState;

/// How soon a deletion that waits for the engine is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What a deletion does next with the engine's pipeline.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Stop,
    Clear,
    Delete,
    Wait,
    LetGo,
}

/// Puts the finalizer there with `Delete`, and takes it away with `Retain`.
pub(super) async fn keep_finalizer(pipeline: &Pipeline, context: &Context) -> Result<(), Error> {
    let there = pipeline.finalizers().iter().any(|name| name == FINALIZER);
    let wanted = pipeline.spec.deletion_policy == DeletionPolicy::Delete;
    if there == wanted {
        return Ok(());
    }
    set_finalizer(pipeline, wanted, context).await
}

/// Deletes the engine's pipeline, if that is what the Pipeline asks for, and lets go.
pub(super) async fn delete(pipeline: &Pipeline, context: &Context) -> Result<Action, Error> {
    if !pipeline.finalizers().iter().any(|name| name == FINALIZER) {
        return Ok(Action::await_change());
    }
    let forced = pipeline.annotation(annotation::FORCE_DELETE) == Some("true");
    let engine_pipeline_is_gone = match context.engines.of(pipeline) {
        _ if forced || pipeline.spec.deletion_policy == DeletionPolicy::Retain => true,
        Lookup::Found(engine) => {
            let name = pipeline.engine_pipeline_name();
            let found = engine.client().get(name).await?;
            let client = engine.client();
            if !context.leadership.holds() {
                return Err(Error::NotLeading);
            }
            match next(found.as_ref().map(|full| &full.state), pipeline) {
                Next::Stop => client.stop(name, true).await?,
                Next::Clear => client.clear(name).await?,
                Next::Delete => client.delete(name).await?,
                Next::Wait | Next::LetGo => {}
            }
            next(found.as_ref().map(|full| &full.state), pipeline) == Next::LetGo
        }
        Lookup::NotYet => false,
        Lookup::Missing(why) => {
            info!(%why, "the engine's pipeline can't be deleted; annotate the Pipeline with {}=true to let it go", annotation::FORCE_DELETE);
            return Ok(Action::requeue(LOOK_AGAIN * 30));
        }
    };
    if engine_pipeline_is_gone {
        set_finalizer(pipeline, false, context).await?;
        return Ok(Action::await_change());
    }
    Ok(Action::requeue(LOOK_AGAIN))
}

/// What is next. A pipeline that isn't this object's is none of its business.
fn next(found: Option<&PipelineState>, pipeline: &Pipeline) -> Next {
    let Some(state) = found.filter(|state| is_owned(state, pipeline)) else {
        return Next::LetGo;
    };
    match (state.is_stopped(), state.storage_status.as_str()) {
        (false, _) if state.deployment_desired_status == "Stopped" => Next::Wait,
        (false, _) => Next::Stop,
        (true, "Cleared") => Next::Delete,
        (true, "Clearing") => Next::Wait,
        (true, _) => Next::Clear,
    }
}

async fn set_finalizer(pipeline: &Pipeline, there: bool, context: &Context) -> Result<(), Error> {
    let api = Api::<Pipeline>::namespaced(
        context.client.clone(),
        &pipeline.namespace().unwrap_or_default(),
    );
    let mut finalizers: Vec<String> = pipeline
        .finalizers()
        .iter()
        .filter(|name| *name != FINALIZER)
        .cloned()
        .collect();
    if there {
        finalizers.push(FINALIZER.to_owned());
    }
    // The list is written as a whole, so only if nobody has changed it meanwhile.
    let patch = json!({"metadata": {
        "resourceVersion": pipeline.metadata.resource_version,
        "finalizers": finalizers,
    }});
    match api
        .patch(
            &pipeline.name_any(),
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await
    {
        Err(kube::Error::Api(response)) if response.code == 404 => Ok(()),
        result => Ok(result.map(drop)?),
    }
}

#[cfg(test)]
mod tests {
    use super::super::decide::owner_tag;
    use super::*;

    #[test]
    fn a_deletion_stops_then_clears_then_deletes_and_touches_nothing_of_others() {
        let mut pipeline = Pipeline::new(
            "p",
            serde_json::from_value(json!({"program": {"sql": ""}})).unwrap(),
        );
        pipeline.metadata.uid = Some("u".into());
        let state = |status: &str, desired: &str, storage: &str| PipelineState {
            tags: vec![owner_tag("u")],
            deployment_status: status.into(),
            deployment_desired_status: desired.into(),
            storage_status: storage.into(),
            ..PipelineState::default()
        };
        for (state, expected) in [
            (state("Running", "Running", "InUse"), Next::Stop),
            (state("AwaitingApproval", "Running", "InUse"), Next::Stop),
            (state("Stopping", "Stopped", "InUse"), Next::Wait),
            (state("Stopped", "Stopped", "InUse"), Next::Clear),
            (state("Stopped", "Stopped", "Clearing"), Next::Wait),
            (state("Stopped", "Stopped", "Cleared"), Next::Delete),
        ] {
            assert_eq!(next(Some(&state), &pipeline), expected);
            let foreign = PipelineState {
                tags: vec![owner_tag("another")],
                ..state
            };
            assert_eq!(next(Some(&foreign), &pipeline), Next::LetGo);
        }
        assert_eq!(next(None, &pipeline), Next::LetGo);
    }
}
