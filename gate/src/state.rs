//! The states of a change, the sets of them that have a name, and the one function that leads from one to the next.
//!
//! Nothing else writes `status.approval.state`, or what is written with it: the decision, the count of calls, the failure. A
//! state that is added must be sorted into each set, or this file doesn't compile.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::crd::{Approval, ApprovalState, Decision, Door};

use ApprovalState::{
    Applied, ApplyFailed, Applying, Approved, Awaiting, Expired, Rejected, Sealed, Superseded,
    Unknown,
};

/// What can happen to a change that was published.
#[derive(Clone, Debug, PartialEq)]
pub enum GateEvent {
    /// Votes or a policy have approved it.
    Approved(Decision),
    /// Votes or a policy have rejected it. The engine was about to be told, perhaps, and isn't.
    Rejected(Decision),
    /// It is written down that the engine is told to leave its gate. The call follows.
    Told {
        /// When.
        at: Time,
    },
    /// It is written down that the change is started, or that a lost pipeline is made anew: there is no gate on the way.
    Started,
    /// The engine has certainly not taken what it was told, or asks again.
    AskedAgain(AskedAgain),
    /// The engine has left the gate and runs the change.
    Runs {
        /// It had taken an approval that seemed lost, or that was taken back too late.
        after_all: bool,
        /// A checkpoint of it is taken next.
        is_kept: bool,
    },
    /// The same, without a call of Sluice's.
    RunsUnasked {
        /// As which it is recorded, where nobody has decided it.
        decision: Decision,
        /// This deployment was seen to wait at the engine's gate.
        waited: bool,
    },
    /// A checkpoint of it exists.
    Sealed,
    /// It failed after it was let through.
    Failed(String),
    /// The engine runs it although it is rejected; it is stopped.
    WentOn(WentOn),
    /// Another change has taken its place, it is asked about anew, or nobody can answer it any more.
    GaveWay(GaveWay),
}

/// Why the engine is told again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedAgain {
    /// The call has certainly not arrived.
    NotTold,
    /// The same deployment still asks.
    StillAsks,
    /// It was started anew, and asks again.
    StartedAnew,
}

/// How a rejected change came to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WentOn {
    /// That is known of this deployment already.
    Known,
    /// It was rejected after the engine had been told that it is approved.
    RejectedTooLate,
    /// Somebody else started the pipeline at the engine, whose gate doesn't ask about such changes.
    StartedByOthers,
    /// Somebody else approved it at the engine's gate.
    ApprovedByOthers,
}

/// Why a change isn't asked about any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GaveWay {
    /// The spec doesn't ask for it any more.
    TakenBack {
        /// It was taken back before, and that was told.
        again: bool,
    },
    /// Somebody asks about it anew, after it was refused.
    Reopened,
    /// The engine's diff is another one than was published.
    DiffChanged,
    /// What it was asked about isn't so any more, or nobody can answer it. What happened instead is told by itself.
    Void,
}

impl GateEvent {
    /// Whether the change is put into the history with it, in the state that it leads to from another one. A refused change
    /// is there already when it gives way.
    pub(crate) fn is_remembered(&self, from: ApprovalState) -> bool {
        match self {
            Self::Rejected(_) | Self::Sealed | Self::Failed(_) => true,
            Self::GaveWay(_) => !from.is_refused(),
            Self::Approved(_)
            | Self::Told { .. }
            | Self::Started
            | Self::AskedAgain(_)
            | Self::Runs { .. }
            | Self::RunsUnasked { .. }
            | Self::WentOn(_) => false,
        }
    }
}

impl ApprovalState {
    /// Nothing was decided yet, or something was and the engine hasn't been told: a vote can still count.
    pub fn is_votable(self) -> bool {
        match self {
            Awaiting | Approved => true,
            Applying | Applied | Sealed | ApplyFailed | Rejected | Expired | Superseded
            | Unknown => false,
        }
    }

    /// Somebody is yet to decide it, or it is decided and not carried out.
    pub fn is_under_way(self) -> bool {
        match self {
            Awaiting | Approved | Applying => true,
            Applied | Sealed | ApplyFailed | Rejected | Expired | Superseded | Unknown => false,
        }
    }

    /// It was approved, and isn't settled: it stays approved through restarts (rule A3).
    pub fn is_approved(self) -> bool {
        match self {
            Approved | Applying | Applied => true,
            Awaiting | Sealed | ApplyFailed | Rejected | Expired | Superseded | Unknown => false,
        }
    }

    /// The engine was told of it, or it was started.
    pub fn is_let_through(self) -> bool {
        match self {
            Applying | Applied => true,
            Awaiting | Approved | Sealed | ApplyFailed | Rejected | Expired | Superseded
            | Unknown => false,
        }
    }

    /// It doesn't come up until somebody asks about it anew (rule A5).
    pub fn is_refused(self) -> bool {
        match self {
            Rejected | ApplyFailed => true,
            Awaiting | Approved | Applying | Applied | Sealed | Expired | Superseded | Unknown => {
                false
            }
        }
    }

    /// Nothing becomes of it any more. The same edit made again is another change.
    pub fn is_over(self) -> bool {
        match self {
            Sealed | Expired | Superseded => true,
            Awaiting | Approved | Applying | Applied | ApplyFailed | Rejected | Unknown => false,
        }
    }

    /// What comes of an event in this state; `None` where it can't happen. A state that isn't known is never acted on: it
    /// only gives way.
    pub fn after(self, event: &GateEvent) -> Option<Self> {
        match (event, self) {
            (GateEvent::Approved(_), Awaiting) => Some(Approved),
            (GateEvent::Rejected(_), Awaiting | Approved | Applying) => Some(Rejected),
            // It was approved before the start, and the engine asks as well.
            (GateEvent::Told { .. }, Approved | Applying)
            // A lost pipeline may have to be made twice, if the first call failed.
            | (GateEvent::Started, Approved | Applying) => Some(Applying),
            (GateEvent::AskedAgain(_), Applying | Applied) => Some(Approved),
            // The engine had taken an approval after all that seemed lost, or that was taken back too late.
            (GateEvent::Runs { .. }, Approved | Applying | Superseded)
            | (GateEvent::RunsUnasked { .. }, Awaiting | Approved | Superseded) => Some(Applied),
            (GateEvent::Sealed, Applied | ApplyFailed) => Some(Sealed),
            (GateEvent::Failed(_), Applying | Applied) => Some(ApplyFailed),
            (GateEvent::WentOn(_), Rejected) => Some(Rejected),
            (
                GateEvent::GaveWay(_),
                Awaiting | Approved | Applying | Applied | ApplyFailed | Rejected | Unknown,
            ) => Some(Superseded),
            (
                GateEvent::Approved(_)
                | GateEvent::Rejected(_)
                | GateEvent::Told { .. }
                | GateEvent::Started
                | GateEvent::AskedAgain(_)
                | GateEvent::Runs { .. }
                | GateEvent::RunsUnasked { .. }
                | GateEvent::Sealed
                | GateEvent::Failed(_)
                | GateEvent::WentOn(_)
                | GateEvent::GaveWay(_),
                _,
            ) => None,
        }
    }
}

impl Approval {
    /// Whether it runs, or ran, because somebody went round the gate, and nobody has approved it here.
    pub fn is_let_through_by_others(&self) -> bool {
        let decision = self.decision.as_ref();
        self.state.is_let_through() && decision.is_some_and(|it| it.via == Door::Outside)
    }

    /// Has something happen to the change. Says whether it could: otherwise nothing is changed.
    pub fn take(&mut self, event: GateEvent) -> bool {
        let Some(next) = self.state.after(&event) else {
            return false;
        };
        match event {
            GateEvent::Approved(decision) => self.decision = Some(decision),
            GateEvent::Rejected(decision) => {
                if self.state == Applying && self.calls > 0 {
                    // It was about to be told.
                    self.calls -= 1;
                }
                self.decision = Some(decision);
            }
            GateEvent::Told { at } => {
                self.calls += 1;
                self.last_call_at = Some(at);
            }
            GateEvent::RunsUnasked { decision, .. } => {
                // Whoever decided before, it wasn't Sluice who told the engine.
                self.decision.get_or_insert(decision);
            }
            GateEvent::Failed(why) => self.failure = Some(why),
            GateEvent::WentOn(_) => {
                self.failure = Some("it ran although it is rejected".to_owned())
            }
            GateEvent::Started
            | GateEvent::AskedAgain(_)
            | GateEvent::Runs { .. }
            | GateEvent::Sealed
            | GateEvent::GaveWay(_) => {}
        }
        self.state = next;
        true
    }
}

#[cfg(test)]
mod tests;
