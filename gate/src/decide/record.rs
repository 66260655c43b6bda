//! The next status, and what is told of how it came about. What has happened is written into it first; whoever chooses what is
//! done next adds what is intended.

use std::time::Duration;

use crate::GateEvent;
use crate::crd::{Approval, ApprovalState, PipelineStatus, PoliciesSeen, VoteDecision};
use crate::decide::{EventReason, Input, Report, bounds, history, news};
use crate::votes::{Effect, effect};

/// The status as it is to be, and what is told of how it came about.
pub(crate) struct Record<'a> {
    pub(crate) input: &'a Input<'a>,
    pub(crate) status: PipelineStatus,
    pub(crate) reports: Vec<Report>,
    /// When to look again.
    pub(crate) requeue: Option<Duration>,
    /// What is known of the policies; written along as soon as there is something to write.
    pub(crate) policies: Option<PoliciesSeen>,
    /// Whether the last call has failed, so that none is made now.
    pub(crate) call_failed: bool,
}

impl<'a> Record<'a> {
    /// Begins with what is stored.
    pub(crate) fn taken_up(input: &'a Input<'a>) -> Self {
        Self {
            input,
            status: bounds::taken_up(input.pipeline),
            reports: vec![],
            requeue: None,
            call_failed: false,
            policies: None,
        }
    }

    /// The change that can still be decided: it waits, or it is approved and the engine has certainly
    /// not been told yet.
    pub(crate) fn waiting(&self) -> Option<&Approval> {
        self.status
            .approval
            .as_ref()
            .filter(|approval| match approval.state {
                ApprovalState::Applying => self.input.about_to_tell,
                state => effect(state, VoteDecision::Reject) == Effect::Counts,
            })
    }

    pub(crate) fn look_again_in(&mut self, pause: Duration) {
        self.requeue = Some(self.requeue.map_or(pause, |other| other.min(pause)));
    }

    pub(crate) fn report(&mut self, reason: EventReason, message: String) {
        self.tell(false, None, reason, message);
    }

    pub(crate) fn warn(&mut self, reason: EventReason, message: String) {
        self.tell(true, None, reason, message);
    }

    /// Something else that is told of a change.
    pub(crate) fn report_of(&mut self, change_id: &str, reason: EventReason, message: String) {
        self.tell(false, Some(change_id), reason, message);
    }

    /// The same, as a warning.
    pub(crate) fn warn_of(&mut self, change_id: &str, reason: EventReason, message: String) {
        self.tell(true, Some(change_id), reason, message);
    }

    fn tell(
        &mut self,
        warning: bool,
        change_id: Option<&str>,
        reason: EventReason,
        message: String,
    ) {
        self.reports.push(Report {
            warning,
            reason,
            change_id: change_id.map(str::to_owned),
            message,
        });
    }

    /// Has something happen to the change at the gate, puts it into the history where that ends it, and tells people.
    pub(crate) fn take(&mut self, event: GateEvent) {
        let Some(approval) = &mut self.status.approval else {
            return;
        };
        let before = approval.state;
        let could = approval.take(event.clone());
        debug_assert!(could, "{event:?} in state {before:?}");
        if !could {
            return;
        }
        self.reports.extend(news::of_event(&event, approval));
        self.status.waiting_since = None;
        if event.is_remembered(before) {
            self.remember();
        }
    }

    /// Puts the change that was at the gate into the history.
    pub(crate) fn remember(&mut self) {
        let Some(approval) = self.status.approval.clone() else {
            return;
        };
        self.remember_as_it_was(&approval);
    }

    /// Puts a change into the history that was set apart, as it stood then.
    pub(crate) fn remember_as_it_was(&mut self, approval: &Approval) {
        let record = history::record(approval, self.input.now());
        self.status.history.insert(0, record);
        history::bound(&mut self.status.history);
    }
}
