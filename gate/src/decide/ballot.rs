//! The votes that there are, held against what is known: which count, which have done their work, and which fit nothing.

use super::{Decider, history};
use crate::crd::{ApprovalState, Door, Outcome, PipelineStatus};
use crate::decision::{self, Ballot, Register};

impl Decider<'_> {
    /// Remembers which of the votes that the Pipeline itself carries have done their work: they may stand there for longer
    /// than the history goes back.
    pub(super) fn remember_spent_votes(&mut self) {
        if self.is_unread() {
            return;
        }
        let pipeline = self.input.pipeline;
        self.status.spent_votes =
            self.with_register(|register| decision::spent_votes(pipeline, register));
    }

    /// Tells people about votes that do nothing.
    pub(super) fn explain_stale_votes(&mut self) {
        // It may be one of the change that the spec is about to bring.
        if self.is_unread() {
            return;
        }
        let ballot = self.count_votes();
        let waiting = self.waiting();
        let message = ballot
            .stale
            .iter()
            .map(|stale| stale.explain(waiting))
            .collect::<Vec<_>>()
            .join("; ");
        self.stale_approval(&message);
    }

    /// The votes of all doors.
    pub(super) fn count_votes(&self) -> Ballot {
        let (pipeline, objects) = (self.input.pipeline, self.input.objects);
        let mut ballot =
            self.with_register(|register| decision::count(pipeline, objects, register));
        // Annotations hold up to 256 KiB, and the status repeats what they say.
        history::shorten(&mut ballot.votes);
        ballot
    }

    /// What is known of changes, where votes are counted.
    fn with_register<T>(&self, look: impl FnOnce(&Register) -> T) -> T {
        let status = &self.status;
        let waiting = self.waiting();
        let candidate = self.candidate();
        look(&Register {
            waiting,
            candidate: candidate.as_deref(),
            settled: &settled(status),
            under_way: &under_way(status, waiting.is_some()),
            known: &known(status),
            known_since: history::goes_back_to(&status.history),
            spent_votes: &status.spent_votes,
            field_is_spent: field_is_spent(status),
            names: self.names(),
        })
    }
}

/// The changes that were applied and kept. An approval of one may lie around for ever, as Git keeps it.
fn settled(status: &PipelineStatus) -> Vec<&str> {
    let records = status.history.iter();
    let sealed = records.filter(|record| record.state == ApprovalState::Sealed);
    let last = status.settled.as_ref();
    sealed
        .map(|record| record.change_id.as_str())
        .chain(last.map(|settled| settled.change_id.as_str()))
        .collect()
}

/// The change that is decided and not at its end: while nothing else waits its approval has nothing to do either. And the
/// one that counts again if a lost pipeline is back.
fn under_way(status: &PipelineStatus, another_waits: bool) -> Vec<&str> {
    use ApprovalState::{Expired, Rejected, Superseded};
    let current = status.approval.as_ref();
    let current =
        current.filter(|it| !another_waits && !matches!(it.state, Rejected | Superseded | Expired));
    let set_apart = status.lost.as_ref();
    let set_apart = set_apart.and_then(|lost| lost.set_apart.as_deref());
    let both = current.into_iter().chain(set_apart);
    both.map(|approval| approval.change_id.as_str()).collect()
}

/// The changes that had their turn, however it ended, as far as that is remembered.
fn known(status: &PipelineStatus) -> Vec<&str> {
    let records = status.history.iter();
    let turns = status.turns.iter();
    let current = status.approval.iter();
    records
        .map(|record| record.change_id.as_str())
        .chain(turns.map(|turn| turn.change_id.as_str()))
        .chain(current.map(|approval| approval.change_id.as_str()))
        .collect()
}

/// Whether `spec.approved: true` has done its work on the last change.
fn field_is_spent(status: &PipelineStatus) -> bool {
    let last = status.approval.as_ref();
    let last = last.filter(|approval| approval.state != ApprovalState::Superseded);
    let decision = last.and_then(|approval| approval.decision.as_ref());
    decision.is_some_and(|it| it.via == Door::Field && it.outcome == Outcome::Approved)
}
