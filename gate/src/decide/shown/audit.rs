//! What is to stand in the audit log. It is found by comparing the status that is stored with the next
//! one, so that whatever decides something, and wherever in the code, can't forget to say so; and it is
//! stored together with that one, so that nothing is told that wasn't stored, and nothing gets lost.

use std::collections::BTreeMap;

use crate::canonical;
use crate::crd::{
    Approval, ApprovalState, AuditEntry, Decision, DecisionRecord, PipelineStatus, Verdict,
};
use crate::decide::history::{bare_name, short_decision};
use crate::decide::record::Record;
use crate::decide::{EventReason, Report};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// How many entries may wait to be written. More than that only where the log can't be written for long.
pub(crate) const MOST_PENDING: usize = 100;

/// What an entry of the audit log is about: a short fixed list, which `docs/audit.md` explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
pub enum AuditEvent {
    /// A change is approved.
    Approved,
    /// A change is rejected.
    Rejected,
    /// Somebody asks anew about a change that was rejected.
    RejectionWithdrawn,
    /// A change runs.
    Applied,
    /// A checkpoint of it exists.
    Sealed,
    /// It couldn't be brought up.
    ApplyFailed,
    /// Nobody has decided it in time.
    Expired,
    /// Another change has taken its place.
    Superseded,
    /// The engine left the gate without Sluice's call.
    OutsideApproval,
    /// Somebody started the pipeline with another bootstrap policy or other options.
    OutsideStart,
    /// A changed program runs, and nobody was asked.
    UnaskedChange,
}

impl AuditEvent {
    /// As the log has it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// What a report is of somebody going round the gate, which shows in no state of a change.
    fn round_the_gate(report: &Report) -> Option<Self> {
        match report.reason {
            EventReason::OutsideApproval => Some(Self::OutsideApproval),
            EventReason::OutsideStart => Some(Self::OutsideStart),
            EventReason::UnaskedChange => Some(Self::UnaskedChange),
            _ => None,
        }
    }
}

/// Something that people answer for.
#[derive(Debug, PartialEq)]
pub(crate) struct Happened {
    event: AuditEvent,
    change_id: String,
    decision: Option<Decision>,
}

/// How a change stands.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct ChangeState<'a> {
    state: ApprovalState,
    decision: Option<&'a Decision>,
}

impl<'a> From<&'a Approval> for ChangeState<'a> {
    fn from(approval: &'a Approval) -> Self {
        Self {
            state: approval.state,
            decision: approval.decision.as_ref(),
        }
    }
}

impl<'a> From<&'a DecisionRecord> for ChangeState<'a> {
    fn from(record: &'a DecisionRecord) -> Self {
        Self {
            state: record.state,
            decision: record.decision.as_ref(),
        }
    }
}

impl Record<'_> {
    /// Drops the entries that are written, and adds what has happened.
    pub(crate) fn audit(&mut self) {
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
        let at = self.input.now();
        for happened in happened(stored, &self.status, &self.reports) {
            let id = canonical::short_digest(&(
                self.input.uid(),
                happened.event.as_str(),
                &happened.change_id,
                &at,
            ));
            // The same, told again within a second, is told once.
            if self.status.audit_pending.iter().any(|entry| entry.id == id) {
                continue;
            }
            self.status.audit_pending.push(AuditEntry {
                id,
                event: happened.event.as_str().to_owned(),
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
            self.warn(EventReason::AuditLost, message);
        }
    }
}

/// How each change stands that a status knows of: by what is at the gate, else by the newest record.
pub(crate) fn standings(status: &PipelineStatus) -> BTreeMap<&str, ChangeState<'_>> {
    let records = status.history.iter().rev();
    let mut all: BTreeMap<&str, ChangeState> = records
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
pub(crate) fn happened(
    before: &PipelineStatus,
    after: &PipelineStatus,
    reports: &[Report],
) -> Vec<Happened> {
    let quiet = !reports
        .iter()
        .any(|it| AuditEvent::round_the_gate(it).is_some());
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
        // What is known of it by an old record only says how it stood then.
        let is_news = !left_before(id, before, after);
        let state = is
            .map(|is| is.state)
            .filter(|state| is_news && was.is_none_or(|was| was.state != *state));
        match state {
            Some(ApprovalState::Superseded) => add(superseded(id, was, after), decision),
            Some(ApprovalState::Applied) => add(AuditEvent::Applied, decision),
            Some(ApprovalState::Sealed) => add(AuditEvent::Sealed, decision),
            Some(ApprovalState::ApplyFailed) => add(AuditEvent::ApplyFailed, decision),
            Some(ApprovalState::Expired) => add(AuditEvent::Expired, decision),
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
        if let Some(event) = AuditEvent::round_the_gate(report) {
            all.push(Happened {
                event,
                change_id: running.cloned().unwrap_or_default(),
                decision: None,
            });
        }
    }
    all
}

/// Whether a change is at the gate no more, and has no record that is newer.
fn left_before(id: &str, before: &PipelineStatus, after: &PipelineStatus) -> bool {
    fn newest<'a>(id: &str, status: &'a PipelineStatus) -> Option<(ApprovalState, &'a Time)> {
        let mut records = status.history.iter();
        let record = records.find(|record| record.change_id == id)?;
        Some((record.state, &record.at))
    }
    let current = after.approval.as_ref();
    current.is_none_or(|current| current.change_id != id) && newest(id, before) == newest(id, after)
}

/// Whether it is one decision, however its reason and its name were cut.
pub(crate) fn same(one: &Decision, other: &Decision) -> bool {
    one.outcome == other.outcome && bare_name(&one.by) == bare_name(&other.by) && one.at == other.at
}

pub(crate) fn word(decision: &Decision) -> Option<AuditEvent> {
    match decision.outcome {
        Verdict::Approved => Some(AuditEvent::Approved),
        Verdict::Rejected => Some(AuditEvent::Rejected),
        _ => None,
    }
}

/// A rejection is withdrawn where somebody asks anew; otherwise another change took the place.
pub(crate) fn superseded(
    id: &str,
    was: Option<&ChangeState>,
    after: &PipelineStatus,
) -> AuditEvent {
    let rejected = was.is_some_and(|was| was.state == ApprovalState::Rejected);
    let mut turns = after.turns.iter();
    let asked_anew = turns.any(|turn| turn.change_id == id && turn.rejected.is_none());
    if rejected && asked_anew {
        AuditEvent::RejectionWithdrawn
    } else {
        AuditEvent::Superseded
    }
}
