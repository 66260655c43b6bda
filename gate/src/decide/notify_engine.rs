//! Sees an approved change through: tells the engine, once, and again only if it asks again.

use std::time::Duration;

use super::gate::AT_THE_GATE;
use super::{Act, Decider, EventReason, Guard};
use crate::GateEvent;
use crate::crd::ApprovalState;
use crate::engine::PipelineState;

impl Decider<'_> {
    /// The published change is the one that waits, with the diff that was published.
    pub(super) fn see_through(&mut self, state: &PipelineState) {
        let now = self.now();
        let just_told = self.was_just_told(state);
        let Some(approval) = &mut self.status.approval else {
            return;
        };
        let other_deployment = approval.deployment_id != state.deployment_id;
        approval.deployment_id = state.deployment_id.clone();
        let id = approval.change_id.clone();
        match approval.state {
            ApprovalState::Awaiting => {
                self.status.waiting_since.get_or_insert(now);
                self.show_waiting();
            }
            ApprovalState::Approved => self.tell(state),
            // It was approved before the start, and now the engine asks as well.
            ApprovalState::Applying if approval.calls == 0 => self.tell(state),
            // It is written down that the engine is told, and it wasn't yet.
            ApprovalState::Applying if self.input.about_to_tell => {
                self.call(state);
            }
            // Approved changes stay approved until they are settled, also if the engine asks again.
            ApprovalState::Applying | ApprovalState::Applied if just_told => {
                self.show_applying();
                self.look_again_in(self.rest_of_being_told());
            }
            ApprovalState::Applying | ApprovalState::Applied => {
                // A rejection is heard before it is told again.
                self.take(GateEvent::AskedAgain);
                self.warn(
                    EventReason::ApprovalRepeated,
                    format!(
                        "the engine {} change {id}, which is approved; it is told again",
                        if other_deployment {
                            "was started anew and asks again for"
                        } else {
                            "still asks for"
                        },
                    ),
                );
                self.show_applying();
            }
            _ => {}
        }
    }

    /// Whether the engine was told, or somebody was about to tell it, so lately that its manager may
    /// not show yet what came of it.
    pub(super) fn was_just_told(&self, state: &PipelineState) -> bool {
        let Some(approval) = &self.status.approval else {
            return false;
        };
        approval.calls > 0
            && !self.input.about_to_tell
            && approval.deployment_id == state.deployment_id
            && !self.rest_of_being_told().is_zero()
    }

    pub(super) fn rest_of_being_told(&self) -> Duration {
        let approval = self.status.approval.as_ref();
        let at = approval.and_then(|approval| approval.last_call_at.as_ref());
        let waited = at.map(|at| self.since(at));
        let resend_after = self.input.timing.resend_after;
        // Status holds whole seconds: it may have been up to one later than is written there.
        waited.map_or(Duration::ZERO, |waited| {
            resend_after.saturating_sub(waited.saturating_sub(Duration::from_secs(1)))
        })
    }

    /// Writes down that the engine is told. The call comes next, if this process gets to it: another
    /// one can't know whether it was made, and waits until it would show.
    fn tell(&mut self, state: &PipelineState) {
        self.take(GateEvent::Told { at: self.now() });
        self.call(state);
    }

    /// Tells the engine, if what it shows now is still what was approved.
    fn call(&mut self, state: &PipelineState) {
        self.show_applying();
        let Some(approval) = &self.status.approval else {
            return;
        };
        let guard = Guard {
            deployment_id: state.deployment_id.clone(),
            status: AT_THE_GATE,
            version: self.status.content.as_ref().map(|held| held.version),
            diff_digest: Some(approval.diff_digest.clone()),
            ..Guard::default()
        };
        // The options that come with an approval replace those of the start.
        self.act(Act::Approve(approval.options), guard);
    }

    /// The engine has certainly not taken the approval.
    pub(super) fn was_not_told(&mut self) {
        if let Some(approval) = &mut self.status.approval
            && approval.state == ApprovalState::Applying
        {
            approval.take(GateEvent::AskedAgain);
        }
    }
}
