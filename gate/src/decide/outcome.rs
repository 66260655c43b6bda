//! What comes of a call, what it was made for, and what is remembered of it.

use k8s_openapi::jiff::Timestamp;

use super::{Act, EngineCall, Guard};
use crate::change::Content;
use crate::crd::{HeldSettings, Pipeline, Target, annotation};
use crate::engine::{self, Checkpoint, DiffAnswer};

/// A call that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct LastCall {
    /// What was called.
    pub act: Act,
    /// Under which guard.
    pub guard: Guard,
    /// When.
    pub at: Timestamp,
}

/// What is remembered of the calls that were made for a Pipeline, once there is another one: the last that may take a
/// while to show in the engine's answers, or that the engine refused because of what it doesn't show yet.
pub fn remembered(
    before: Option<LastCall>,
    call: LastCall,
    outcome: &CallOutcome,
) -> Option<LastCall> {
    if outcome.is_to_be_tried_later() {
        return Some(call);
    }
    match outcome {
        CallOutcome::Failed { .. } | CallOutcome::GuardFailed | CallOutcome::LeftTheGate => {
            return before;
        }
        _ => {}
    }
    match call.act {
        // It isn't remembered itself, and takes nothing of what is.
        Act::Look | Act::Mark { .. } => before,
        Act::DismissError
        | Act::Start(_)
        | Act::Stop { .. }
        | Act::Pause
        | Act::Resume
        | Act::Clear
        | Act::Approve(_) => Some(call),
        // Likewise, and what was called before may still not show.
        Act::Preview(_)
        | Act::Build { .. }
        | Act::LookAtBuild { .. }
        | Act::DropBuild { .. }
        | Act::Checkpoint => before,
        // What the engine answers with its result needs no memory.
        Act::Create { .. } | Act::Adopt { .. } | Act::Update(_) | Act::Recompile(_) => None,
    }
}

/// What a call was made for. The Pipeline may ask for something else by the time it is answered, and an answer belongs to
/// its question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// The content that was sent, if any was.
    pub content: Option<Content>,
    /// The annotation `sluice.dev/retry`.
    pub retry: Option<String>,
    /// The annotation `sluice.dev/adopt`.
    pub adopt: Option<String>,
}

impl Asked {
    /// What a call that is about to be made is for.
    pub fn by(pipeline: &Pipeline, act: &Act) -> Self {
        let annotation = |key| pipeline.annotation(key).map(str::to_owned);
        let content = match act {
            Act::Create { content, .. }
            | Act::Preview(content)
            | Act::Update(content)
            | Act::Recompile(content)
            | Act::Build { content, .. }
            | Act::LookAtBuild { content, .. } => Some(content.clone()),
            _ => None,
        };
        Self {
            content,
            retry: annotation(annotation::RETRY),
            adopt: annotation(annotation::ADOPT),
        }
    }
}

/// What came of an act.
#[derive(Clone, Debug, PartialEq)]
pub enum CallOutcome {
    /// The engine took the call, and there is nothing to remember of it.
    Done(EngineCall),
    /// The engine's pipeline with this id is this Pipeline's now.
    Owned(String),
    /// The engine's pipeline carries the mark with this digest.
    Marked(String),
    /// The guard didn't hold, so nothing was called. The fresh read is in the observation.
    GuardFailed,
    /// The engine holds the content that was asked for.
    Updated {
        /// Its id of the pipeline.
        id: String,
        /// Its version of it.
        version: i64,
        /// What it consists of.
        content: Content,
        /// The settings in it that the engine's answer doesn't show.
        not_shown: Vec<String>,
        /// The runtime settings that it has now and that don't change unasked.
        settings: Option<HeldSettings>,
    },
    /// The engine's word on a program.
    Previewed {
        /// The target that was asked about.
        target: Target,
        /// The answer.
        answer: DiffAnswer,
    },
    /// The engine's approve was called, and answered 2xx, which proves nothing.
    ApproveCalled,
    /// The pipeline was asked to stop with a checkpoint. Just before, this was its newest one by its own word, if it said so.
    Stopping {
        /// That one.
        newest: Option<Checkpoint>,
    },
    /// A checkpoint was asked for.
    CheckpointRequested {
        /// Its number.
        number: i64,
        /// The process that counts so.
        incarnation: Option<String>,
    },
    /// The pipeline is past the gate by the process's own word, although the manager doesn't say so
    /// yet; so it wasn't stopped.
    LeftTheGate,
    /// The pipeline as which a program is compiled is there, with this id.
    BuildIsThere(String),
    /// The name that it would have is that of another pipeline, with this id.
    BuildNameTaken(String),
    /// What the compiler says about a program that it couldn't compile beforehand. `None` if the
    /// compiler itself failed.
    BuildFailed(Option<String>),
    /// The call failed.
    Failed {
        /// Which.
        act: EngineCall,
        /// Why.
        error: engine::Error,
    },
}

impl CallOutcome {
    /// Whether the call failed, so that it isn't made again for a while. What was refused for good, and a checkpoint
    /// that can't be had, are written down, and that decides when it is tried again.
    pub fn holds_back(&self) -> bool {
        let Self::Failed { act, error } = self else {
            return false;
        };
        let is_refused = matches!(error, engine::Error::Refused { .. });
        // What of it is written down is known to be refused.
        let is_written_down = is_refused
            && match act {
                EngineCall::Build
                | EngineCall::DropBuild
                | EngineCall::Mark
                | EngineCall::Update => true,
                EngineCall::Look
                | EngineCall::Create
                | EngineCall::Adopt
                | EngineCall::Diff
                | EngineCall::Recompile
                | EngineCall::DismissError
                | EngineCall::Start
                | EngineCall::Stop
                | EngineCall::Pause
                | EngineCall::Resume
                | EngineCall::Approve
                | EngineCall::Checkpoint
                | EngineCall::Clear
                | EngineCall::Delete
                | EngineCall::LookAtBuild => false,
            };
        *act != EngineCall::Checkpoint && !is_written_down
    }

    /// Whether only what was called for can't go on: the engine's compiler, or what is compiled beforehand, can't be had. What
    /// runs is looked after as before.
    pub fn holds_back_only_itself(&self) -> bool {
        // What is refused of what is compiled beforehand is no failure: it is done without.
        let Self::Failed { act, error } = self else {
            return false;
        };
        let is_refused = matches!(error, engine::Error::Refused { .. });
        let is_done_without = matches!(act, EngineCall::Build | EngineCall::DropBuild);
        act.is_beside_what_runs() && !(is_refused && is_done_without)
    }

    /// Whether the engine refused a call because of a state that it doesn't show: somebody started the pipeline between
    /// the look and the call, or its answers are old. That says nothing of what was to be brought there, and at
    /// once it would be refused again.
    pub fn is_to_be_tried_later(&self) -> bool {
        matches!(self, Self::Failed { act: EngineCall::Update, error }
            if error.code() == Some("UpdateRestrictedToStopped"))
    }
}
