//! What a decision comes to, and what comes of it.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::engine_call::EngineCall;
use super::event_reason::EventReason;
use super::needs::Needs;
use super::{AT_THE_GATE, BEFORE_THE_GATE};
use crate::change::Content;
use crate::crd::{BootstrapOptions, HeldSettings, Pipeline, PipelineStatus, Target, annotation};
use crate::engine::{self, Checkpoint, DiffAnswer, PipelineState, StartOptions, diff};

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The step itself.
    pub step: Step,
    /// What has to be read live before it is taken. It may be another step then.
    pub needs: Needs,
    /// What to tell people about, once the step is done.
    pub reports: Vec<Report>,
    /// When to look again even if nothing changes; `None` waits for a change.
    pub requeue: Option<Duration>,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Write this status; then decide again.
    Record(Box<PipelineStatus>),
    /// Call the engine; then decide again.
    Act(Act, Guard),
    /// There is nothing left to do.
    Wait,
}

/// One engine call.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Read the pipeline in full: what is known isn't enough to decide.
    Look,
    /// Create the pipeline, with tags that say whose it is.
    Create {
        /// The tags.
        tags: Vec<String>,
        /// What it consists of.
        content: Content,
    },
    /// Take over a pipeline that was there before, by its tags.
    Adopt {
        /// All tags that it is to have.
        tags: Vec<String>,
    },
    /// Have the pipeline say whose it is, and what is settled, by its tags.
    Mark {
        /// All tags that it is to have.
        tags: Vec<String>,
        /// The digest of those that are Sluice's.
        digest: String,
    },
    /// Ask what would change.
    Preview(Content),
    /// Replace the content of a stopped pipeline.
    Update(Content),
    /// Have the same program compiled again.
    Recompile(Content),
    /// Dismiss the error that the last run ended with.
    DismissError,
    /// Start.
    Start(StartOptions),
    /// Stop, with a checkpoint or at once.
    Stop {
        /// At once, without a checkpoint.
        force: bool,
    },
    /// Pause.
    Pause,
    /// Resume.
    Resume,
    /// Approve the change that waits.
    Approve(BootstrapOptions),
    /// Ask for a checkpoint.
    Checkpoint,
    /// Clear the storage of a stopped pipeline.
    Clear,
    /// Have a changed program compiled, as a pipeline of its own.
    Build {
        /// The name of that pipeline.
        name: String,
        /// The tag that says what it is for.
        tag: String,
        /// What is compiled.
        content: Content,
    },
    /// Read what the compiler says about it.
    LookAtBuild {
        /// The name of that pipeline.
        name: String,
        /// Its id.
        id: String,
        /// What is compiled.
        content: Content,
    },
    /// Remove that pipeline again.
    DropBuild {
        /// Its name.
        name: String,
        /// Its id, if that is known.
        id: Option<String>,
    },
}

impl Act {
    /// Which call it is.
    pub fn call(&self) -> EngineCall {
        match self {
            Self::Look => EngineCall::Look,
            Self::Create { .. } => EngineCall::Create,
            Self::Adopt { .. } => EngineCall::Adopt,
            Self::Mark { .. } => EngineCall::Mark,
            Self::Preview(_) => EngineCall::Diff,
            Self::Update(_) => EngineCall::Update,
            Self::Recompile(_) => EngineCall::Recompile,
            Self::DismissError => EngineCall::DismissError,
            Self::Start(_) => EngineCall::Start,
            Self::Stop { .. } => EngineCall::Stop,
            Self::Pause => EngineCall::Pause,
            Self::Resume => EngineCall::Resume,
            Self::Approve(_) => EngineCall::Approve,
            Self::Checkpoint => EngineCall::Checkpoint,
            Self::Clear => EngineCall::Clear,
            Self::Build { .. } => EngineCall::Build,
            Self::LookAtBuild { .. } => EngineCall::LookAtBuild,
            Self::DropBuild { .. } => EngineCall::DropBuild,
        }
    }
}

/// What must hold in a read made just before the call. An empty guard holds always.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Guard {
    /// The pipeline is absent.
    pub absent: bool,
    /// The engine's id of the pipeline is this one, and not that of another that has its name by now.
    pub pipeline_id: Option<String>,
    /// The deployment is this one.
    pub deployment_id: Option<String>,
    /// The deployment's status is one of these.
    pub status: &'static [&'static str],
    /// The engine's version of the pipeline's content is this one.
    pub version: Option<i64>,
    /// The digest of the diff that waits is this one.
    pub diff_digest: Option<String>,
    /// The tags are these.
    pub tags: Option<Vec<String>>,
    /// The newest checkpoint is this one, or there is none.
    pub resumes_from: Option<Option<String>>,
}

impl Guard {
    /// Whether it holds. What the engine says now decides, not what it said before.
    pub fn holds(&self, live: Option<&PipelineState>) -> bool {
        let Some(live) = live else {
            return self.absent;
        };
        !self.absent
            && self.pipeline_id.as_ref().is_none_or(|id| *id == live.id)
            && (self.deployment_id.is_none() || self.deployment_id == live.deployment_id)
            && (self.status.is_empty() || self.status.contains(&live.deployment_status.as_str()))
            && self.version.is_none_or(|version| version == live.version)
            && self.tags.as_ref().is_none_or(|tags| *tags == live.tags)
            && self.resumes_from.as_ref().is_none_or(|from| {
                let newest = live.newest_checkpoint();
                from.as_ref() == newest.map(|checkpoint| &checkpoint.uuid)
            })
            && self
                .diff_digest
                .as_ref()
                .is_none_or(|digest| *digest == diff::digest(&live.approval_diff))
    }

    /// Whether it names statuses of a pipeline that is at the gate, or before it. The manager may say so for some seconds of
    /// one that has left it.
    pub fn is_of_the_gate(&self) -> bool {
        [AT_THE_GATE, BEFORE_THE_GATE].contains(&self.status)
    }

    /// Whether the call needs a read before it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

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
pub fn remembered(before: Option<LastCall>, call: LastCall, outcome: &Outcome) -> Option<LastCall> {
    if outcome.is_to_be_tried_later() {
        return Some(call);
    }
    match outcome {
        Outcome::Failed { .. } | Outcome::GuardFailed | Outcome::LeftTheGate => return before,
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
pub enum Outcome {
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

impl Outcome {
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

/// Something that people should hear of: an Event, and a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether it needs attention.
    pub warning: bool,
    /// One of a short fixed list.
    pub reason: EventReason,
    /// What happened.
    pub message: String,
}
