//! Everything that a decision depends on.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::outcome::{Asked, CallOutcome, LastCall};
use crate::change::Content;
use crate::crd::{Pipeline, PipelineApproval};
use crate::engine::{Checkpoint, EngineInfo, ErrorKind, FullPipeline, PipelineState};
use crate::policy_status::Trust;

/// Everything that a decision depends on.
pub struct Input<'a> {
    /// The Pipeline, with the status that is known to be stored.
    pub pipeline: &'a Pipeline,
    /// What the spec asks for, with its references resolved; or what is wrong with them. `None` if the
    /// pipeline is made elsewhere.
    pub content: &'a Result<Option<Content>, String>,
    /// All PipelineApprovals of the Pipeline's namespace that name it.
    pub objects: &'a [PipelineApproval],
    /// What is known of the engine.
    pub engine: &'a Observation,
    /// The engine's pipeline as which a changed program is compiled beforehand, if it is there.
    pub build: Option<&'a PipelineState>,
    /// What is known of the admission policies that vouch for voters' names.
    pub trust: &'a Trust,
    /// Whether it may be written down which policies are in force although nothing else is to be written.
    pub may_note_policies: bool,
    /// Whether changed programs are compiled beforehand.
    pub compile_beforehand: bool,
    /// The Pipeline that holds the same pipeline of the same engine, because it is older or because the
    /// engine's pipeline carries its mark, if there is one.
    pub rival: Option<&'a str>,
    /// Whether whoever may edit the Engine says that marks of Pipelines that are gone don't count.
    pub mark_is_released: bool,
    /// What came of the last act of this reconcile, until that is written down.
    pub outcome: Option<&'a CallOutcome>,
    /// What that act was made for.
    pub asked: &'a Asked,
    /// A call that failed, is known to have failed, and isn't made again yet: nothing is done meanwhile, or all else,
    /// if it is one that is beside what runs.
    pub held_back: Option<&'a CallOutcome>,
    /// Whether this process has written down that it tells the engine of the approval, and hasn't done
    /// so yet. No other process can know that.
    pub about_to_tell: bool,
    /// The last call that this process made for the Pipeline.
    pub last_call: Option<&'a LastCall>,
    /// Which entries for the audit log are written by now; `None` if there is no such log.
    pub audited: Option<&'a [String]>,
    /// Now.
    pub now: Timestamp,
    /// How long things take.
    pub timing: Timing,
}

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a call may take to show in the engine's answers before it is made again: the
    /// engine's manager looks at its pipelines every 2.5 s, so its answers can be that old.
    pub resend_after: Duration,
    /// The first of the growing pauses between restarts of a pipeline that fails.
    pub restart_backoff: Duration,
    /// How long a pipeline must run until its failures are forgotten.
    pub forget_failures_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            resend_after: Duration::from_secs(10),
            restart_backoff: Duration::from_secs(10),
            forget_failures_after: Duration::from_secs(300),
        }
    }
}

/// What is known of the engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// There is no engine to ask: why.
    NotConfigured(String),
    /// It was not asked yet.
    NotYet,
    /// It gave no good answer: the error's kind and words.
    NoAnswer {
        /// A short word.
        kind: ErrorKind,
        /// What happened.
        message: String,
    },
    /// It answered.
    Answered {
        /// What it says of itself.
        info: EngineInfo,
        /// The pipeline; `None` if it has none of that name.
        pipeline: Option<Seen>,
        /// Whether it was asked for by its name, and has none of that name by its own word. A list may lack it, too.
        unknown_name: bool,
        /// What became of the checkpoints, if one was asked for.
        checkpoints: Option<CheckpointStatusSeen>,
    },
}

/// What the engine says of the checkpoints that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointStatusSeen {
    /// The number of the one that was asked about, and the process that counts so.
    pub asked: (i64, Option<String>),
    /// The newest that was completed.
    pub success: Option<i64>,
    /// The last that failed, and why.
    pub failure: Option<(i64, String)>,
    /// The newest checkpoint, by the pipeline's own word.
    pub newest: Option<Checkpoint>,
}

/// A pipeline as the engine showed it, in brief or in full.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// From the list of all pipelines.
    Brief(PipelineState),
    /// From a request for this one.
    Full(Box<FullPipeline>),
}

impl Seen {
    /// The state, which both have.
    pub fn state(&self) -> &PipelineState {
        match self {
            Self::Brief(state) => state,
            Self::Full(full) => &full.state,
        }
    }

    /// The same, with another deployment status.
    pub(super) fn with_status(self, status: &str) -> Self {
        match self {
            Self::Brief(state) => Self::Brief(PipelineState {
                deployment_status: status.to_owned(),
                ..state
            }),
            Self::Full(mut full) => {
                status.clone_into(&mut full.state.deployment_status);
                Self::Full(full)
            }
        }
    }

    pub(super) fn full(&self) -> Option<&FullPipeline> {
        match self {
            Self::Brief(_) => None,
            Self::Full(full) => Some(full),
        }
    }
}
