//! A Pipeline with `deletionPolicy: Delete` on its way out: the engine's pipeline is stopped, its storage
//! cleared, and it is deleted; then the object may go. Pure, as everything beside it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::input::Observation;
use super::is_owned;
use super::reason::{READY, RECONCILING, Reason, STALLED, shortened};
use crate::crd::{DeletionPolicy, Phase, Pipeline, PipelineStatus, annotation};
use crate::engine::PipelineState;

/// What is done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// The engine stops the pipeline, at once.
    Stop,
    /// It clears its storage.
    Clear,
    /// It deletes it.
    Delete,
    /// The engine is at it, or can't be asked: why, and whether somebody has to act.
    Wait {
        /// In words.
        message: String,
        /// Whether it goes on only if somebody acts.
        stalled: bool,
    },
    /// The object may go.
    LetGo,
}

/// What is next on the way out of a Pipeline.
pub fn next(pipeline: &Pipeline, engine: &Observation) -> Next {
    let forced = pipeline.annotation(annotation::FORCE_DELETE) == Some("true");
    if forced || pipeline.spec.deletion_policy == DeletionPolicy::Retain {
        return Next::LetGo;
    }
    let stuck = |why: &str| Next::Wait {
        message: format!(
            "{why}. The pipeline can't be deleted from it; to let the Pipeline go all the same, and leave there what there is: kubectl annotate pipeline {} -n {} {}=true",
            pipeline.metadata.name.as_deref().unwrap_or_default(),
            pipeline.metadata.namespace.as_deref().unwrap_or_default(),
            annotation::FORCE_DELETE,
        ),
        stalled: true,
    };
    match engine {
        Observation::NotYet => Next::Wait {
            message: "the engine was not asked yet".into(),
            stalled: false,
        },
        Observation::NotConfigured(why) => stuck(why),
        Observation::NoAnswer { message, .. } => stuck(message),
        Observation::Answered { pipeline: seen, .. } => {
            of_state(pipeline, seen.as_ref().map(|seen| seen.state()))
        }
    }
}

fn of_state(pipeline: &Pipeline, found: Option<&PipelineState>) -> Next {
    // A pipeline that isn't this object's is none of its business, nor is another one that bears its mark.
    let status = pipeline.status.as_ref();
    let known = status.and_then(|status| status.engine.as_ref()?.pipeline_id.as_ref());
    let is_it = |state: &&PipelineState| {
        is_owned(state, pipeline) && known.is_none_or(|known| *known == state.id)
    };
    let Some(state) = found.filter(is_it) else {
        return Next::LetGo;
    };
    let wait = |message: &str| Next::Wait {
        message: message.to_owned(),
        stalled: false,
    };
    match (state.is_stopped(), state.storage_status.as_str()) {
        (false, _) if state.deployment_desired_status == "Stopped" => {
            wait("the engine stops the pipeline")
        }
        (false, _) => Next::Stop,
        (true, "Cleared") => Next::Delete,
        (true, "Clearing") => wait("the engine clears the pipeline's storage"),
        (true, _) => Next::Clear,
    }
}

/// The status that says so; `None` if it says so already.
pub fn status(pipeline: &Pipeline, next: &Next, now: Timestamp) -> Option<PipelineStatus> {
    let (message, stalled) = match next {
        Next::Wait { message, stalled } => (message.clone(), *stalled),
        Next::Stop => ("the pipeline is stopped in the engine".to_owned(), false),
        Next::Clear => ("the pipeline's storage is cleared".to_owned(), false),
        Next::Delete | Next::LetGo => ("the pipeline is deleted in the engine".to_owned(), false),
    };
    let before = pipeline.status.clone().unwrap_or_default();
    let mut status = before.clone();
    status.observed_generation = pipeline.metadata.generation;
    status.phase = Some(Phase::Deleting.as_str().to_owned());
    status.waiting_since = None;
    let reason = if stalled {
        Reason::EngineNotReached
    } else {
        Reason::Deleting
    };
    let at_work = if stalled { STALLED } else { RECONCILING };
    status
        .conditions
        .retain(|c| !matches!(c.type_.as_str(), READY | RECONCILING | STALLED));
    for (type_, value) in [(READY, "False"), (at_work, "True")] {
        let since = before
            .conditions
            .iter()
            .find(|c| c.type_ == type_ && c.status == value)
            .map_or(Time(now), |c| c.last_transition_time.clone());
        status.conditions.push(Condition {
            type_: type_.to_owned(),
            status: value.to_owned(),
            reason: reason.as_str().to_owned(),
            message: shortened(message.clone()),
            observed_generation: pipeline.metadata.generation,
            last_transition_time: since,
        });
    }
    status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    (status != before).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::super::Seen;
    use super::*;
    use crate::engine::EngineInfo;
    use crate::mark::owner_tag;
    use serde_json::json;

    fn pipeline() -> Pipeline {
        let spec = json!({"program": {"sql": ""}, "deletionPolicy": "Delete"});
        let mut pipeline = Pipeline::new("p", serde_json::from_value(spec).unwrap());
        pipeline.metadata.uid = Some("u".into());
        pipeline
    }

    fn answered(state: Option<PipelineState>) -> Observation {
        Observation::Answered {
            info: EngineInfo::default(),
            pipeline: state.map(Seen::Brief),
            unknown_name: false,
            checkpoints: None,
        }
    }

    #[test]
    fn a_deletion_stops_then_clears_then_deletes_and_touches_nothing_of_others() {
        let pipeline = pipeline();
        let state = |status: &str, desired: &str, storage: &str| PipelineState {
            tags: vec![owner_tag("u")],
            deployment_status: status.into(),
            deployment_desired_status: desired.into(),
            storage_status: storage.into(),
            ..PipelineState::default()
        };
        let waits = |next: &Next| matches!(next, Next::Wait { stalled: false, .. });
        for (state, expected) in [
            (state("Running", "Running", "InUse"), Some(Next::Stop)),
            (
                state("AwaitingApproval", "Running", "InUse"),
                Some(Next::Stop),
            ),
            (state("Stopping", "Stopped", "InUse"), None),
            (state("Stopped", "Stopped", "InUse"), Some(Next::Clear)),
            (state("Stopped", "Stopped", "Clearing"), None),
            (state("Stopped", "Stopped", "Cleared"), Some(Next::Delete)),
        ] {
            let found = next(&pipeline, &answered(Some(state.clone())));
            match expected {
                Some(expected) => assert_eq!(found, expected),
                None => assert!(waits(&found), "{found:?}"),
            }
            let foreign = PipelineState {
                tags: vec![owner_tag("another")],
                ..state
            };
            assert_eq!(next(&pipeline, &answered(Some(foreign))), Next::LetGo);
        }
        assert_eq!(next(&pipeline, &answered(None)), Next::LetGo);
    }

    #[test]
    fn an_engine_that_cannot_be_asked_is_shown_with_the_way_out_until_somebody_takes_it() {
        let mut pipeline = pipeline();
        for engine in [
            Observation::NotConfigured("there is no Engine".into()),
            Observation::NoAnswer {
                kind: crate::engine::ErrorKind::Unreachable,
                message: "the engine can't be reached".into(),
            },
        ] {
            let stuck = next(&pipeline, &engine);
            let shown = status(&pipeline, &stuck, Timestamp::UNIX_EPOCH).unwrap();
            assert_eq!(shown.phase.as_deref(), Some("Deleting"));
            let stalled = shown
                .conditions
                .iter()
                .find(|c| c.type_ == STALLED)
                .unwrap();
            assert!(stalled.message.contains("sluice.dev/force-delete=true"));
            pipeline.status = Some(shown);
            assert_eq!(status(&pipeline, &stuck, Timestamp::now()), None);
            let annotations = pipeline.metadata.annotations.get_or_insert_default();
            annotations.insert(annotation::FORCE_DELETE.into(), "true".into());
            assert_eq!(next(&pipeline, &engine), Next::LetGo);
            pipeline.metadata.annotations = None;
        }
    }
}
