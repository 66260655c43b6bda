//! The votes that there are, held against what is known: which count, which have done their work, and which fit nothing.

use crate::GateEvent;
use crate::crd::{ApprovalState, BootstrapPolicy, Decision, Door, PipelineStatus, Verdict};
use crate::decide::happened::question::policy_rejects;
use crate::decide::history;
use crate::decide::record::Record;
use crate::decision::{self, Ballot, KnownChanges};

impl Record<'_> {
    /// Turns votes into a decision, in status; nothing is told to the engine here.
    pub(crate) fn vote(&mut self) {
        let field_is_true = self.input.pipeline.spec.approved == Some(true);
        if let Some(approval) = &mut self.status.approval
            && approval.state == ApprovalState::Awaiting
        {
            approval.approved_field_counts |= !field_is_true;
        }
        let Some(state) = self.waiting().map(|waiting| waiting.state) else {
            return;
        };
        let mut votes = self.count_votes().votes;
        // What waits there already when a Pipeline comes is somebody else's, whom to reject needs the verb.
        let is_own = self.input.pipeline.is_gate_only() || self.status.run.is_some();
        // What the engine was told stays approved, whatever the policy is by then: to set it needs no right to reject.
        let approval = self.status.approval.as_ref();
        let is_told = approval.is_some_and(|approval| approval.calls > 0);
        if is_own
            && !is_told
            && self.input.pipeline.spec.bootstrap_policy == BootstrapPolicy::Reject
        {
            votes.insert(0, policy_rejects());
        }
        let decided = decision::decide(&votes).cloned();
        let now = self.input.now();
        let Some(approval) = &mut self.status.approval else {
            return;
        };
        // What is decided stays decided, unless somebody says no before the engine is told.
        let counts = decided
            .filter(|vote| state == ApprovalState::Awaiting || vote.outcome == Verdict::Rejected);
        if state == ApprovalState::Awaiting || counts.is_some() {
            approval.votes = votes;
            approval.more_votes = 0;
        }
        let Some(vote) = counts else { return };
        let decision = Decision {
            outcome: vote.outcome,
            by: vote.by,
            verified: vote.verified,
            via: vote.via,
            reason: vote.reason,
            at: now,
        };
        if vote.outcome == Verdict::Rejected {
            self.take(GateEvent::Rejected(decision));
        } else {
            self.take(GateEvent::Approved(decision));
        }
    }

    /// Remembers which of the votes that the Pipeline itself carries have done their work: they may stand there for longer
    /// than the history goes back.
    pub(crate) fn remember_spent_votes(&mut self) {
        if self.input.is_unread() {
            return;
        }
        let pipeline = self.input.pipeline;
        self.status.spent_votes =
            self.with_register(|register| decision::spent_votes(pipeline, register));
    }

    /// The votes of all doors.
    pub(crate) fn count_votes(&self) -> Ballot {
        let (pipeline, objects) = (self.input.pipeline, self.input.objects);
        let mut ballot =
            self.with_register(|register| decision::count(pipeline, objects, register));
        // Annotations hold up to 256 KiB, and the status repeats what they say.
        history::shorten(&mut ballot.votes);
        ballot
    }

    /// What is known of changes, where votes are counted.
    pub(crate) fn with_register<T>(&self, look: impl FnOnce(&KnownChanges) -> T) -> T {
        let status = &self.status;
        let waiting = self.waiting();
        let candidate = self.candidate();
        look(&KnownChanges {
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
pub(crate) fn settled(status: &PipelineStatus) -> Vec<&str> {
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
pub(crate) fn under_way(status: &PipelineStatus, another_waits: bool) -> Vec<&str> {
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
pub(crate) fn known(status: &PipelineStatus) -> Vec<&str> {
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
pub(crate) fn field_is_spent(status: &PipelineStatus) -> bool {
    let last = status.approval.as_ref();
    let last = last.filter(|approval| approval.state != ApprovalState::Superseded);
    let decision = last.and_then(|approval| approval.decision.as_ref());
    decision.is_some_and(|it| it.via == Door::Field && it.outcome == Verdict::Approved)
}
