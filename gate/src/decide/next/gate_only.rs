//! A pipeline that is made and looked after elsewhere: only its gate is kept.

use crate::crd::{Phase, annotation};
use crate::decide::next::Next;
use crate::decide::{Act, Guard, Reason, Seen};
use crate::engine::{EngineInfo, PipelineState};

impl Next<'_> {
    /// Keeps the gate, and says what there is.
    pub(crate) fn keep_the_gate(&mut self, info: &EngineInfo, seen: &Seen) {
        let state = seen.state();
        if self.record.held_target(state).is_none() {
            self.act(Act::Look, Guard::default());
        } else if state.is_stopped() {
            self.gate_only_stopped(state);
        } else if state.is_stopping() {
            self.shown.progressing(
                Phase::Stopping,
                Reason::Stopping,
                "the engine stops the pipeline".into(),
            );
        } else if state.awaits_approval() {
            self.at_the_gate(seen);
        } else if !self.past_the_gate(state) {
            if !state.is_up() {
                self.transitional(state);
                return;
            }
            self.up(state);
            if info.has_checkpoints() {
                self.seal();
            }
        }
    }

    pub(crate) fn gate_only_stopped(&mut self, state: &PipelineState) {
        let held = self.record.status.content.as_ref().map(|held| &held.target);
        let refused = self
            .record
            .status
            .approval
            .as_ref()
            .is_some_and(|approval| approval.state.is_refused() && held == Some(&approval.target));
        if refused {
            self.reopen_or_show_refused();
        } else if let Some(error) = &state.deployment_error {
            let message = format!(
                "{}; it is started by whoever looks after it",
                self.input.in_words(&error.code, &error.message)
            );
            self.shown.phase(Phase::Failed);
            self.shown.stalled(Reason::Failed, message);
        } else {
            self.shown.ready(
                Phase::Stopped,
                Reason::Stopped,
                "the pipeline is stopped, by whoever looks after it".into(),
            );
        }
    }

    /// A refused change stays refused until somebody asks anew, and then waits for whoever
    /// starts it.
    pub(crate) fn reopen_or_show_refused(&mut self) {
        if self.record.reopens() {
            self.shown.waiting_for(
                Phase::Stopped,
                Reason::Stopped,
                format!(
                    "the gate is open again ({}); the change is asked about when the pipeline is started",
                    annotation::RETRY
                ),
            );
        } else {
            self.show_refused();
        }
    }
}
