//! The life of a pipeline whose engine holds the right content: compile, start, run, pause, stop.

use crate::crd::{ApprovalState, DesiredState, Phase};
use crate::decide::next::Next;
use crate::decide::shown::held_up::HeldUp;
use crate::decide::{Act, Guard, Reason, Seen};
use crate::engine::{EngineInfo, PipelineState};

/// Whether something keeps a stopped pipeline from being started. It says so, or sets what has to be done first.
type KeepsFromStarting = fn(&mut Next, &EngineInfo, &Seen) -> bool;

/// What can, in the order in which it is looked at.
const BEFORE_A_START: [KeepsFromStarting; 7] = [
    |next, _, _| next.refused_change_holds(),
    |next, _, _| next.has_nothing_to_go_on_with(),
    |next, _, seen| !next.compiled(seen),
    |next, _, seen| next.is_being_cleared(seen.state()),
    |next, _, seen| next.is_being_started(seen.state()),
    |next, _, _| next.must_wait_after_failure(),
    |next, info, seen| !next.may_start(info, seen),
];

impl Next<'_> {
    /// Moves the pipeline to its desired state.
    pub(crate) fn live(&mut self, info: &EngineInfo, seen: &Seen) {
        let state = seen.state();
        if state.is_stopped() {
            self.stopped(info, seen);
        } else if state.is_stopping() {
            if self.record.may_be_forced(state) {
                self.force_stop(state);
            } else {
                self.stopping();
                let is_to_stay = self.input.pipeline.spec.desired_state == DesiredState::Stopped;
                self.shown.held_up = is_to_stay.then_some(HeldUp::Stop);
            }
        } else if self.input.pipeline.spec.desired_state == DesiredState::Stopped {
            // What is seen counts before what is wished: what runs is applied, also if it is to be stopped.
            if state.awaits_approval() || !self.past_the_gate(state) || self.act.is_none() {
                self.wind_down(info, state);
            }
        } else if state.awaits_approval() {
            self.at_the_gate(seen);
        } else if !self.past_the_gate(state) {
            self.deployed(info, state);
        }
    }

    /// Whoever waits for what becomes of a refused change has been told already, and isn't told anything else
    /// while the engine stops the pipeline for it.
    pub(crate) fn stopping(&mut self) {
        let stays_stopped = self.input.pipeline.spec.desired_state == DesiredState::Stopped;
        if !stays_stopped && self.record.holds_a_refused_change() {
            self.show_refused();
            return;
        }
        self.shown.progressing(
            Phase::Stopping,
            Reason::Stopping,
            "the engine stops the pipeline".into(),
        );
    }

    pub(crate) fn stopped(&mut self, info: &EngineInfo, seen: &Seen) {
        let state = seen.state();
        if self.input.pipeline.spec.desired_state == DesiredState::Stopped {
            let gone = match self.record.status.emptied {
                Some(_) => {
                    ". The state that it had is gone from its engine: to begin from nothing is asked about once it is to run"
                }
                None => "",
            };
            self.shown.ready(
                Phase::Stopped,
                Reason::Stopped,
                format!("the pipeline is stopped, as it should be{gone}"),
            );
            return;
        }
        if !BEFORE_A_START.iter().any(|holds| holds(self, info, seen)) {
            self.start(info, state);
        }
    }

    /// Whether the engine is to start the pipeline by now; somebody has asked for it.
    fn is_being_started(&mut self, state: &PipelineState) -> bool {
        let asked = !matches!(
            state.deployment_desired_status.as_str(),
            "Stopped" | "Suspended" | ""
        );
        if asked {
            self.shown.progressing(
                Phase::Provisioning,
                Reason::Starting,
                "the engine starts the pipeline".into(),
            );
        }
        asked
    }

    /// Whether the new content is held back, and what the engine has in its place is neither settled nor
    /// was it running last: nobody asks for that. It would come to the gate, and be stopped there again.
    pub(crate) fn has_nothing_to_go_on_with(&mut self) -> bool {
        let target = self
            .record
            .status
            .content
            .as_ref()
            .map(|content| &content.target);
        let settled = self
            .record
            .status
            .settled
            .as_ref()
            .map(|settled| &settled.target);
        let ran = self.record.status.run.as_ref();
        let ran = ran.filter(|run| run.past_gate_since.is_some());
        let goes_on = settled.is_none()
            || target == settled
            || ran.is_some_and(|run| Some(&run.target) == target);
        let Some(hold) = self.shown.held.as_mut().filter(|_| !goes_on) else {
            return false;
        };
        let why = self.record.status.refusal.as_ref();
        let why = why.map_or(hold.message.as_str(), |refusal| &refusal.message);
        hold.message = format!(
            "nothing runs: what the engine holds is asked for by nobody any more, and the new content can't take its place ({why}). Put into the spec what the engine takes, such as what ran before"
        );
        self.shown.phase(Phase::Stopped);
        true
    }

    /// Whether a change that was rejected, or that failed, would come up, and nobody asks about it anew: only a new change
    /// or a retry that names it opens the gate again.
    pub(crate) fn refused_change_holds(&mut self) -> bool {
        if !self.record.holds_a_refused_change() || self.record.reopens() {
            return false;
        }
        self.show_refused();
        true
    }

    /// Says that the change was rejected, or that it failed, and how to go on.
    pub(crate) fn show_refused(&mut self) {
        let Some(approval) = &self.record.status.approval else {
            return;
        };
        if approval.state == ApprovalState::Rejected {
            self.show_rejected();
            return;
        }
        let message = self.input.could_not_be_applied(approval);
        self.shown.phase(Phase::Failed);
        self.shown.stalled(Reason::ApplyFailed, message);
    }

    /// Whether the engine still clears the storage; it starts nothing meanwhile.
    pub(crate) fn is_being_cleared(&mut self, state: &PipelineState) -> bool {
        let clearing = state.storage_status == "Clearing";
        if clearing {
            self.shown.progressing(
                Phase::Stopped,
                Reason::ClearingStorage,
                "the engine clears the pipeline's storage".into(),
            );
        }
        clearing
    }

    /// Whether the program is compiled; phase and conditions say so if not.
    pub(crate) fn compiled(&mut self, seen: &Seen) -> bool {
        let state = seen.state();
        if state.is_compiled() {
            return true;
        }
        if !state.compile_failed() {
            self.shown.progressing(
                Phase::Compiling,
                Reason::Compiling,
                format!("the engine compiles the program ({})", state.program_status),
            );
            return false;
        }
        let Some(full) = seen.full() else {
            self.act(Act::Look, Guard::default());
            return false;
        };
        if self.record.retry_is_new() && matches!(self.input.content, Ok(Some(_))) {
            self.shown.progressing(
                Phase::Compiling,
                Reason::Compiling,
                "the program is compiled again".into(),
            );
            self.act(
                // As it is held: a PUT replaces also what the spec doesn't name.
                Act::Recompile(full.content.clone()),
                Guard {
                    status: &["Stopped"],
                    version: Some(state.version),
                    ..Guard::default()
                },
            );
            return false;
        }
        let error = full
            .compile_error
            .clone()
            .unwrap_or_else(|| state.program_status.clone());
        self.shown.phase(Phase::CompileFailed);
        self.shown.stalled(
            Reason::CompileFailed,
            format!("{}: {error}", state.program_status),
        );
        false
    }
}

/// What the engine's word for where a pipeline is comes to.
pub(crate) fn phase_of(state: &PipelineState) -> Phase {
    match state.deployment_status.as_str() {
        "Stopped" => Phase::Stopped,
        "Provisioning" | "Unavailable" | "Coordination" | "Standby" => Phase::Provisioning,
        "Initializing" => Phase::Initializing,
        "AwaitingApproval" => Phase::AwaitingApproval,
        "Bootstrapping" | "ConcurrentBootstrapping" | "Synchronizing" => Phase::Bootstrapping,
        "Replaying" => Phase::Replaying,
        "Running" => Phase::Running,
        "Paused" => Phase::Paused,
        "Suspended" => Phase::Suspended,
        "Stopping" => Phase::Stopping,
        _ => Phase::Unknown,
    }
}
