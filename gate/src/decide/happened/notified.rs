//! Whether the engine was told of an approval so lately that its answers needn't show it.

use std::time::Duration;

use crate::crd::ApprovalState;
use crate::decide::record::Record;
use crate::engine::PipelineState;
use crate::{AskedAgain, GateEvent};

impl Record<'_> {
    /// Whether the engine was told, or somebody was about to tell it, so lately that its manager may
    /// not show yet what came of it.
    pub(crate) fn was_just_told(&self, state: &PipelineState) -> bool {
        let Some(approval) = &self.status.approval else {
            return false;
        };
        approval.calls > 0
            && !self.input.about_to_tell
            && approval.deployment_id == state.deployment_id
            && !self.rest_of_being_told().is_zero()
    }

    pub(crate) fn rest_of_being_told(&self) -> Duration {
        let approval = self.status.approval.as_ref();
        let at = approval.and_then(|approval| approval.last_call_at.as_ref());
        let waited = at.map(|at| self.input.since(at));
        let resend_after = self.input.timing.resend_after;
        // Status holds whole seconds: it may have been up to one later than is written there.
        waited.map_or(Duration::ZERO, |waited| {
            resend_after.saturating_sub(waited.saturating_sub(Duration::from_secs(1)))
        })
    }

    /// The engine has certainly not taken the approval.
    pub(crate) fn was_not_told(&mut self) {
        let approval = self.status.approval.as_ref();
        if approval.is_some_and(|approval| approval.state == ApprovalState::Applying) {
            self.take(GateEvent::AskedAgain(AskedAgain::NotTold));
        }
    }
}
