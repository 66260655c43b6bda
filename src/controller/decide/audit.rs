//! What is to stand in the audit log. It is found by comparing the status that is stored with the next
//! one, so that whatever decides something, and wherever in the code, can't forget to say so; and it is
//! stored together with that one, so that nothing is told that wasn't stored, and nothing gets lost.

use std::collections::BTreeMap;

use super::history::{bare_name, short_decision};
use super::{Decider, Report};
use crate::crd::{
    Approval, ApprovalState, AuditEntry, Decision, DecisionRecord, Outcome, PipelineStatus,
};
use crate::gate::change;

/// How many entries may wait to be written. More than that only where the log can't be written for long.
const MOST_PENDING: usize = 100;

/// Reports of somebody going round the gate, which show in no state of a change.
const ROUND_THE_GATE: [&str; 3] = ["OutsideApproval", "OutsideStart", "UnaskedChange"];

impl Decider<'_> {
    /// Drops the entries that are written, and adds what has happened.
    pub(super) fn audit(&mut self) {
        let written = match self.input.audited {
            Some(written) => written,
            None => {
                self.status.audit_pending.clear();
                return;
            }
        };
        let pending = &mut self.status.audit_pending;
        pending.retain(|entry| !written.contains(&entry.id));
        let nothing = PipelineStatus::default();
        let stored = self.input.pipeline.status.as_ref().unwrap_or(&nothing);
        let at = self.now();
        for happened in happened(stored, &self.status, &self.reports) {
            let id = change::short_digest(&(self.uid(), happened.event, &happened.change_id, &at));
            // The same, told again within a second, is told once.
            if self.status.audit_pending.iter().any(|entry| entry.id == id) {
                continue;
            }
            self.status.audit_pending.push(AuditEntry {
                id,
                event: happened.event.to_owned(),
                change_id: happened.change_id,
                at: at.clone(),
                decision: happened.decision.as_ref().map(short_decision),
            });
        }
        let over = self.status.audit_pending.len().saturating_sub(MOST_PENDING);
        if over > 0 {
            self.status.audit_pending.drain(..over);
            let message = format!(
                "the audit log can't be written, and more than {MOST_PENDING} entries wait: the oldest {over} are lost"
            );
            self.warn("AuditLost", message);
        }
    }
}

/// Something that people answer for.
#[derive(Debug, PartialEq)]
struct Happened {
    event: &'static str,
    change_id: String,
    decision: Option<Decision>,
}

/// How a change stands.
#[derive(Clone, Copy, PartialEq)]
struct Standing<'a> {
    state: ApprovalState,
    decision: Option<&'a Decision>,
}

impl<'a> From<&'a Approval> for Standing<'a> {
    fn from(approval: &'a Approval) -> Self {
        Self {
            state: approval.state,
            decision: approval.decision.as_ref(),
        }
    }
}

impl<'a> From<&'a DecisionRecord> for Standing<'a> {
    fn from(record: &'a DecisionRecord) -> Self {
        Self {
            state: record.state,
            decision: record.decision.as_ref(),
        }
    }
}

/// How each change stands that a status knows of: by what is at the gate, else by the newest record.
fn standings(status: &PipelineStatus) -> BTreeMap<&str, Standing<'_>> {
    let records = status.history.iter().rev();
    let mut all: BTreeMap<&str, Standing> = records
        .map(|record| (record.change_id.as_str(), record.into()))
        .collect();
    // What is set apart while the pipeline is lost isn't told again when it comes back.
    let set_apart = status.lost.as_ref();
    let set_apart = set_apart.and_then(|lost| lost.set_apart.as_deref());
    let current = status.approval.as_ref();
    all.extend(set_apart.map(|approval| (approval.change_id.as_str(), approval.into())));
    all.extend(current.map(|approval| (approval.change_id.as_str(), approval.into())));
    all
}

/// What has happened between two statuses, oldest first.
fn happened(before: &PipelineStatus, after: &PipelineStatus, reports: &[Report]) -> Vec<Happened> {
    let quiet = !reports.iter().any(|it| ROUND_THE_GATE.contains(&it.reason));
    if quiet && before.approval == after.approval && before.history == after.history {
        return vec![];
    }
    let then = standings(before);
    let now = standings(after);
    let gone = before.approval.as_ref();
    let newer = after.history.iter().rev().map(|record| &record.change_id);
    let current = after.approval.as_ref().map(|approval| &approval.change_id);
    let mut ids: Vec<&String> = vec![];
    for id in gone
        .map(|approval| &approval.change_id)
        .into_iter()
        .chain(newer)
        .chain(current)
    {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let mut all = vec![];
    for id in ids {
        let (was, is) = (then.get(id.as_str()), now.get(id.as_str()));
        let mut add = |event, decision: Option<&Decision>| {
            all.push(Happened {
                event,
                change_id: id.clone(),
                decision: decision.cloned(),
            });
        };
        // What goes from the gate and leaves no record had one already, or was never decided.
        let decision = is.or(was).and_then(|standing| standing.decision);
        if let Some(made) = decision
            && !was
                .and_then(|was| was.decision)
                .is_some_and(|was| same(was, made))
            && let Some(event) = word(made)
        {
            add(event, Some(made));
        }
        let left = gone.is_some_and(|gone| gone.change_id == *id) && current != Some(id);
        let state = is
            .map(|is| is.state)
            .filter(|state| was.is_none_or(|was| was.state != *state));
        match state {
            Some(ApprovalState::Superseded) => add(superseded(id, was, after), decision),
            Some(ApprovalState::Applied) => add("Applied", decision),
            Some(ApprovalState::Sealed) => add("Sealed", decision),
            Some(ApprovalState::ApplyFailed) => add("ApplyFailed", decision),
            Some(ApprovalState::Expired) => add("Expired", decision),
            _ if left
                && was.is_some_and(|was| was.state.is_under_way() || was.state.is_refused())
                && state.is_none() =>
            {
                add(superseded(id, was, after), decision);
            }
            _ => {}
        }
    }
    let running = after.run.as_ref().map(|run| &run.change_id);
    for report in reports {
        let event = ROUND_THE_GATE.iter().find(|event| **event == report.reason);
        if let Some(event) = event {
            all.push(Happened {
                event,
                change_id: running.cloned().unwrap_or_default(),
                decision: None,
            });
        }
    }
    all
}

/// Whether it is one decision, however its reason and its name were cut.
fn same(one: &Decision, other: &Decision) -> bool {
    one.outcome == other.outcome && bare_name(&one.by) == bare_name(&other.by) && one.at == other.at
}

fn word(decision: &Decision) -> Option<&'static str> {
    match decision.outcome {
        Outcome::Approved => Some("Approved"),
        Outcome::Rejected => Some("Rejected"),
        _ => None,
    }
}

/// A rejection is withdrawn where somebody asks anew; otherwise another change took the place.
fn superseded(id: &str, was: Option<&Standing>, after: &PipelineStatus) -> &'static str {
    let rejected = was.is_some_and(|was| was.state == ApprovalState::Rejected);
    let mut turns = after.turns.iter();
    let asked_anew = turns.any(|turn| turn.change_id == id && turn.rejected.is_none());
    if rejected && asked_anew {
        "RejectionWithdrawn"
    } else {
        "Superseded"
    }
}
