//! Sees an approved change through: tells the engine, once, and again only if it asks again.

use crate::crd::ApprovalState;
use crate::decide::next::Next;
use crate::decide::{AT_THE_GATE, Act, Guard};
use crate::engine::PipelineState;
use crate::{AskedAgain, GateEvent};

impl Next<'_> {
    /// The published change is the one that waits, with the diff that was published.
    pub(crate) fn see_through(&mut self, state: &PipelineState) {
        let now = self.input.now();
        let just_told = self.record.was_just_told(state);
        let Some(approval) = &mut self.record.status.approval else {
            return;
        };
        let other_deployment = approval.deployment_id != state.deployment_id;
        approval.deployment_id = state.deployment_id.clone();
        match approval.state {
            ApprovalState::Awaiting => {
                self.record.status.waiting_since.get_or_insert(now);
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
                self.record.look_again_in(self.record.rest_of_being_told());
            }
            // What is seen may be older than the call, of which it isn't known whether it has arrived.
            ApprovalState::Applying | ApprovalState::Applied if self.record.call_failed => {
                self.show_applying();
            }
            ApprovalState::Applying | ApprovalState::Applied => {
                // A rejection is heard before it is told again.
                let why = match other_deployment {
                    true => AskedAgain::StartedAnew,
                    false => AskedAgain::StillAsks,
                };
                self.record.take(GateEvent::AskedAgain(why));
                self.show_applying();
            }
            _ => {}
        }
    }

    /// Writes down that the engine is told. The call comes next, if this process gets to it: another
    /// one can't know whether it was made, and waits until it would show.
    pub(crate) fn tell(&mut self, state: &PipelineState) {
        self.record.take(GateEvent::Told {
            at: self.input.now(),
        });
        self.call(state);
    }

    /// Tells the engine, if what it shows now is still what was approved.
    pub(crate) fn call(&mut self, state: &PipelineState) {
        self.show_applying();
        let Some(approval) = &self.record.status.approval else {
            return;
        };
        let guard = Guard {
            deployment_id: state.deployment_id.clone(),
            status: AT_THE_GATE,
            version: self.record.status.content.as_ref().map(|held| held.version),
            diff_digest: Some(approval.diff_digest.clone()),
            ..Guard::default()
        };
        // The options that come with an approval replace those of the start.
        self.act(Act::Approve(approval.options), guard);
    }
}
