//! What has to be read live before a step is taken, since what was heard of it lags behind.

use crate::crd::{FINALIZER, Outcome as Verdict, Pipeline, PipelineStatus};
use crate::decide::{Act, Input, Step};

/// What a step needs; and likewise what has been read live, and holds still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// How the admission policies stand: what they vouched for when they were looked at last isn't known to hold now.
    pub policies: bool,
    /// The votes: a rejection that the watch hasn't brought yet must still be heard.
    pub votes: bool,
    /// The object: nothing is called because of what somebody, or this process, has changed since.
    pub object: bool,
    /// The engine's pipeline, in the same moment as the votes.
    pub engine: bool,
    /// The finalizer on the object: what is made at the engine beside the pipeline must not be left behind.
    pub finalizer: bool,
}

impl Needs {
    /// What of this isn't in the other.
    #[must_use]
    pub fn beyond(self, fresh: Self) -> Self {
        Self {
            policies: self.policies && !fresh.policies,
            votes: self.votes && !fresh.votes,
            object: self.object && !fresh.object,
            engine: self.engine && !fresh.engine,
            finalizer: self.finalizer && !fresh.finalizer,
        }
    }

    /// What is in either.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            policies: self.policies || other.policies,
            votes: self.votes || other.votes,
            object: self.object || other.object,
            engine: self.engine || other.engine,
            finalizer: self.finalizer || other.finalizer,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl Needs {
    /// What a step needs to be read live before it is taken.
    pub(super) fn of(step: &Step, input: &Input) -> Needs {
        match step {
            Step::Wait | Step::Act(Act::Look, _) => Needs::default(),
            Step::Record(next) => Needs {
                policies: input.trust.matters() && approves(input.pipeline, next),
                ..Needs::default()
            },
            Step::Act(act, _) => {
                let tells = matches!(act, Act::Approve(_));
                Needs {
                    policies: matches!(act, Act::Adopt { .. }) && input.trust.required,
                    votes: tells,
                    object: true,
                    engine: tells,
                    finalizer: matches!(act, Act::Build { .. }) && !is_held(input.pipeline),
                }
            }
        }
    }
}

/// Whether the object stays until what is at the engine is removed.
fn is_held(pipeline: &Pipeline) -> bool {
    let mut finalizers = pipeline.metadata.finalizers.iter().flatten();
    finalizers.any(|name| name == FINALIZER)
}

/// Whether a status has an approval in it that isn't stored yet.
fn approves(pipeline: &Pipeline, next: &PipelineStatus) -> bool {
    fn approved(status: &PipelineStatus) -> Option<&str> {
        let approval = status.approval.as_ref()?;
        let decision = approval.decision.as_ref()?;
        (decision.outcome == Verdict::Approved).then_some(&approval.change_id)
    }
    let stored = pipeline.status.as_ref().and_then(approved);
    approved(next).is_some_and(|change| Some(change) != stored)
}
