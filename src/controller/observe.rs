//! Gathers what is known of the engine's pipeline: from the poller's last answer, which costs
//! nothing, or by asking.

use std::time::Instant;

use super::Context;
use super::engines::{Lookup, Use};
use super::work::Turn;
use crate::crd::{Pipeline, Seal};
use crate::engine::poller::State;
use crate::engine::{self, EngineInfo, FullPipeline, PipelineState};
use crate::gate::decide::{CheckpointStatusSeen, Observation, Seen};

/// What a reconcile sees of the engine. It is renewed whenever the engine is asked.
#[derive(Clone)]
pub(super) struct View {
    pub(super) engine: Option<Use>,
    pub(super) observation: Observation,
    /// The pipeline as which a changed program is compiled beforehand.
    pub(super) build: Option<PipelineState>,
}

impl View {
    fn nothing(observation: Observation) -> Self {
        Self {
            engine: None,
            observation,
            build: None,
        }
    }

    /// The state of the engine's pipeline, if there is one.
    pub(super) fn state(&self) -> Option<&PipelineState> {
        match &self.observation {
            Observation::Answered { pipeline, .. } => pipeline.as_ref().map(Seen::state),
            _ => None,
        }
    }
}

/// The first look: what the poller saw last, and the fate of a checkpoint that was asked for.
pub(super) async fn begin(pipeline: &Pipeline, context: &Context, turn: &Turn) -> View {
    let engine = match context.engines.of(pipeline, turn) {
        Lookup::Found(engine) => engine,
        Lookup::NotYet => {
            return View::nothing(Observation::NotYet);
        }
        Lookup::Missing(why) => {
            return View::nothing(Observation::NotConfigured(why));
        }
    };
    let name = pipeline.engine_pipeline_name();
    let observation = match engine.poller.health() {
        State::NotYet => Observation::NotYet,
        State::Bad(error) => no_answer(&error),
        State::Good(info) => {
            let state = engine.poller.pipeline(name);
            let checkpoints = match awaited_checkpoint(pipeline) {
                Some(seal) if state.is_some() => checkpoint(&engine, name, seal).await,
                _ => None,
            };
            Observation::Answered {
                info,
                pipeline: state.map(Seen::Brief),
                unknown_name: false,
                checkpoints,
            }
        }
    };
    let build = name_of_build(pipeline).and_then(|name| engine.poller.pipeline(&name));
    View {
        engine: Some(engine),
        observation,
        build,
    }
}

fn name_of_build(pipeline: &Pipeline) -> Option<String> {
    pipeline.status.as_ref()?.build.as_ref()?.pipeline.clone()
}

/// Asks the engine for the pipeline, and takes the answer into view and poller.
pub(super) async fn look(
    name: &str,
    view: &mut View,
) -> Result<Option<FullPipeline>, engine::Error> {
    let Some(engine) = &view.engine else {
        return Err(engine::Error::Unreachable(
            "there is no engine to ask".into(),
        ));
    };
    let asked_at = Instant::now();
    let answer = engine.ask(|client| client.get(name)).await;
    match &answer {
        Ok(pipeline) => {
            let state = pipeline.as_ref().map(|full| full.state.clone());
            engine.poller.put(name, state, asked_at);
            let (info, checkpoints) = known(&view.observation);
            view.observation = Observation::Answered {
                info,
                checkpoints,
                unknown_name: pipeline.is_none(),
                pipeline: pipeline.clone().map(|full| Seen::Full(Box::new(full))),
            };
        }
        Err(error) => view.observation = no_answer(error),
    }
    answer
}

/// Asks the engine for the pipeline as which a program is compiled, and tells the poller.
pub(super) async fn look_at_build(name: &str, engine: &Use) -> Option<PipelineState> {
    let asked_at = Instant::now();
    let answer = engine.ask(|client| client.get(name)).await.ok()?;
    let state = answer.map(|full| full.state);
    engine.poller.put(name, state.clone(), asked_at);
    state
}

fn known(observation: &Observation) -> (EngineInfo, Option<CheckpointStatusSeen>) {
    match observation {
        Observation::Answered {
            info, checkpoints, ..
        } => (info.clone(), checkpoints.clone()),
        _ => (EngineInfo::default(), None),
    }
}

fn no_answer(error: &engine::Error) -> Observation {
    Observation::NoAnswer {
        kind: error.kind(),
        message: error.to_string(),
    }
}

/// The checkpoint that was asked for and isn't known to be there.
fn awaited_checkpoint(pipeline: &Pipeline) -> Option<&Seal> {
    let seal = pipeline.status.as_ref()?.seal.as_ref()?;
    (seal.sequence_number.is_some() && seal.failure.is_none()).then_some(seal)
}

/// What became of a checkpoint. Not knowing only means to ask again.
async fn checkpoint(engine: &Use, name: &str, seal: &Seal) -> Option<CheckpointStatusSeen> {
    let number = seal.sequence_number?;
    let incarnation = seal.incarnation.as_deref();
    let asked = (number, seal.incarnation.clone());
    let status = engine
        .ask(|client| client.checkpoint_status(name, incarnation))
        .await;
    let status = match status {
        Ok(status) => status,
        Err(engine::Error::Refused { code, .. }) if code == "IncarnationUuidMismatch" => {
            return Some(CheckpointStatusSeen {
                asked,
                failure: Some((
                    number,
                    "the process that was to write it is gone".to_owned(),
                )),
                ..CheckpointStatusSeen::default()
            });
        }
        Err(_) => return None,
    };
    let done = status.success.is_some_and(|success| success >= number);
    let newest = if done {
        let checkpoints = engine.ask(|client| client.checkpoints(name)).await;
        checkpoints.ok()?.pop()
    } else {
        None
    };
    Some(CheckpointStatusSeen {
        asked,
        success: status.success,
        failure: status
            .failure
            .map(|failure| (failure.sequence_number, failure.error)),
        newest,
    })
}
