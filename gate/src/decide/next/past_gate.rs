//! A deployment that has left the engine's gate, or came by it: which change runs now, and who let it out.

use crate::crd::{ApprovalState, DesiredState, Phase};
use crate::decide::Reason;
use crate::decide::happened::past_gate::is_past_gate;
use crate::decide::next::Next;
use crate::engine::PipelineState;

impl Next<'_> {
    /// A deployment that is not at the gate: was it there, and who let it out?
    /// Returns whether this has set phase and conditions.
    pub(crate) fn past_the_gate(&mut self, state: &PipelineState) -> bool {
        let beyond = is_past_gate(state);
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
                    self.record.runs(false);
                    self.up(state);
                }
                true
            }
            ApprovalState::Applying if beyond => {
                self.record.runs(false);
                false
            }
            // Sluice had told it, and it looked as if that were lost.
            ApprovalState::Approved | ApprovalState::Superseded if beyond && approval.calls > 0 => {
                self.record.runs(true);
                false
            }
            // Sluice hasn't told it: that would be written down.
            ApprovalState::Awaiting | ApprovalState::Approved if beyond => {
                self.record.runs_unasked(state);
                false
            }
            // It was taken back, but somebody was faster at the engine.
            ApprovalState::Superseded if beyond => {
                self.record.runs_unasked(state);
                false
            }
            ApprovalState::Rejected if beyond => {
                self.record.went_on(state);
                self.stop_at_the_gate(state);
                true
            }
            _ => false,
        }
    }
}
