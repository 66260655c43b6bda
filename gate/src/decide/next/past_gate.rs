//! TODO

use crate::GateEvent;
use crate::crd::{ApprovalState, DesiredState, Gate, Phase};
use crate::decide::happened::past_gate::is_beyond;
use crate::decide::next::Next;
use crate::decide::{EventReason, Reason};
use crate::engine::PipelineState;

impl Next<'_> {
    /// A deployment that is not at the gate: was it there, and who let it out?
    /// Returns whether this has set phase and conditions.
    pub(crate) fn past_the_gate(&mut self, state: &PipelineState) -> bool {
        let beyond = is_beyond(state);
        let approval = self.record.status.approval.as_ref().filter(|approval| {
            self.record
                .status
                .run
                .as_ref()
                .is_some_and(|run| run.change_id == approval.change_id)
        });
        let Some(approval) = approval else {
            return false;
        };
        let same_deployment = approval.deployment_id == state.deployment_id;
        let id = approval.change_id.clone();
        match approval.state {
            ApprovalState::Applying if same_deployment => {
                // The bootstrap may be too short to see; whoever watches sees it all the same.
                let is_shown = self.shown.phase_so_far() == Phase::Bootstrapping
                    || self.input.pipeline.spec.desired_state == DesiredState::Stopped;
                if !is_shown || !state.is_up() {
                    self.shown.progressing(
                        Phase::Bootstrapping,
                        Reason::Bootstrapping,
                        format!("change {id} is approved and the engine has left the gate"),
                    );
                } else {
                    self.record.take(GateEvent::Runs);
                    self.record.report(
                        EventReason::Applied,
                        format!("change {id} runs{}", self.record.taken_next()),
                    );
                    self.up(state);
                }
                true
            }
            ApprovalState::Applying if beyond => {
                self.record.take(GateEvent::Runs);
                self.record.report(
                    EventReason::Applied,
                    format!("change {id} runs{}", self.record.taken_next()),
                );
                false
            }
            // Sluice had told it, and it looked as if that were lost.
            ApprovalState::Approved | ApprovalState::Superseded if beyond && approval.calls > 0 => {
                self.record.take(GateEvent::Runs);
                self.record.report(
                    EventReason::Applied,
                    format!(
                        "change {id} runs: the engine had taken its approval after all{}",
                        self.record.taken_next()
                    ),
                );
                false
            }
            // Sluice hasn't told it: that would be written down.
            ApprovalState::Awaiting | ApprovalState::Approved if beyond => {
                self.record.outside(&id, state);
                false
            }
            // It was taken back, but somebody was faster at the engine.
            ApprovalState::Superseded if beyond => {
                self.record.outside(&id, state);
                false
            }
            ApprovalState::Rejected if beyond => {
                let told = approval.calls > 0;
                let at_own_gate = approval.gate == Gate::Sluice;
                let is_news = !self.record.is_noted_as_going_on(state);
                if is_news && told {
                    self.record.warn(EventReason::RejectedTooLate, format!("change {id} was rejected after the engine had been told that it is approved, and it went on; it is stopped"));
                } else if is_news && at_own_gate {
                    self.record.warn(EventReason::UnaskedChange, format!("change {id} runs although it is rejected: somebody else started the pipeline at the engine; it is stopped"));
                } else if is_news {
                    self.record.warn(EventReason::OutsideApproval, format!("the engine went on with change {id} although it is rejected; it is stopped"));
                }
                self.stop_at_the_gate(state);
                true
            }
            _ => false,
        }
    }
}
