//! Past the gate: how a pipeline got there, and who let it through.

use std::time::Duration;

use serde_json::Value;

use crate::crd::{
    Approval, ApprovalState, BootstrapPolicy, Decision, Door, Gate, PreviewOutcome, Verdict,
    annotation,
};
use crate::decide::record::Record;
use crate::decide::{EventReason, Seen};
use crate::engine::PipelineState;
use crate::{GateEvent, WentOn, canonical, change};

/// The engine has let go of the checkpoint and runs the new program in these. `Initializing` is
/// not among them: a process that comes back passes through it on its way to the gate.
pub(crate) const PAST_THE_GATE: [&str; 6] = [
    "Bootstrapping",
    "ConcurrentBootstrapping",
    "Synchronizing",
    "Replaying",
    "Running",
    "Paused",
];

impl Record<'_> {
    /// The run is past the gate, by the process's own word.
    pub(crate) fn note_past_the_gate(&mut self) {
        self.nothing_more_is_asked_where_nothing_is_kept();
        let now = self.input.now();
        if let Some(run) = &mut self.status.run {
            run.past_gate_since.get_or_insert(now);
        }
    }

    /// What the engine shows, with what is known better: its manager may say for some seconds that a
    /// pipeline waits that has left the gate.
    pub(crate) fn corrected(&mut self, seen: Seen) -> Seen {
        let state = seen.state();
        let run = self.status.run.as_ref();
        let this = run.filter(|run| run.deployment_id == state.deployment_id);
        let since = this.and_then(|run| run.past_gate_since.as_ref());
        let rest = since.map_or(Duration::ZERO, |since| {
            let resend_after = self.input.timing.resend_after;
            resend_after.saturating_sub(self.input.since(since))
        });
        if !state.awaits_approval() || rest.is_zero() {
            return seen;
        }
        // If it still waits then, it asks again.
        self.look_again_in(rest);
        seen.with_status("Bootstrapping")
    }

    /// The engine runs a change that is rejected. That is told once of each deployment.
    pub(crate) fn went_on(&mut self, state: &PipelineState) {
        let Some(approval) = &mut self.status.approval else {
            return;
        };
        let is_known = approval.failure.is_some() && approval.deployment_id == state.deployment_id;
        approval.deployment_id.clone_from(&state.deployment_id);
        let how = match approval.gate {
            _ if is_known => WentOn::Known,
            _ if approval.calls > 0 => WentOn::RejectedTooLate,
            Gate::Sluice => WentOn::StartedByOthers,
            Gate::Engine | Gate::Unknown => WentOn::ApprovedByOthers,
        };
        self.take(GateEvent::WentOn(how));
    }

    /// The engine runs the change.
    pub(crate) fn runs(&mut self, after_all: bool) {
        let is_kept = self.keeps_what_runs();
        self.take(GateEvent::Runs { after_all, is_kept });
    }

    /// The engine runs the change without a call of Sluice's. That somebody told the engine itself is said only where this
    /// deployment was seen to wait for that.
    pub(crate) fn runs_unasked(&mut self, state: &PipelineState) {
        let approval = self.status.approval.as_ref();
        let waited = approval.is_some_and(|approval| {
            approval.gate == Gate::Engine && approval.deployment_id == state.deployment_id
        });
        let decision = outside_decision(self.input.now());
        self.take(GateEvent::RunsUnasked { decision, waited });
    }

    /// Writes down once that the run is past the gate. If that never showed although the engine should
    /// have asked, somebody went round it.
    pub(crate) fn note_the_gate_is_passed(&mut self, state: &PipelineState) {
        let Some(run) = &self.status.run else { return };
        let is_this = run.deployment_id.is_some() && run.deployment_id == state.deployment_id;
        if !is_past_gate(state) || !is_this || run.past_gate_since.is_some() {
            return;
        }
        self.note_past_the_gate();
        self.notice_a_gate_that_never_showed(state);
    }

    /// Somebody has started the pipeline from a checkpoint so that the engine asks nobody, which isn't the spec's policy.
    pub(crate) fn notice_a_start_that_asks_nobody(&mut self, state: &PipelineState) {
        let asks_nobody = |policy| policy == BootstrapPolicy::Allow.as_str();
        if state.bootstrap_policy.as_deref().is_some_and(asks_nobody)
            && !asks_nobody(self.input.pipeline.spec.bootstrap_policy.as_str())
            && state.newest_checkpoint().is_some()
        {
            self.warn(EventReason::OutsideStart, "the pipeline was started with bootstrap policy allow, so the engine asks nobody about changes".into());
        }
    }

    /// A change that the engine said it would gate, or of which it couldn't be asked, runs, and its gate
    /// was never seen.
    pub(crate) fn notice_a_gate_that_never_showed(&mut self, state: &PipelineState) {
        let Some(run) = &self.status.run else { return };
        let at_the_gate = self.status.approval.as_ref();
        if at_the_gate.is_some_and(|approval| approval.change_id == run.change_id) {
            return;
        }
        let settled = self.status.settled.as_ref();
        // What it said of a change from something else says nothing of this one.
        let preview = self.preview_of(&run.target).filter(|preview| {
            let compared = preview.compared_with.as_ref();
            compared.is_none_or(|it| settled.is_some_and(|settled| settled.target == *it))
        });
        let outcome = preview.map(|preview| preview.outcome);
        // Where it isn't known what is settled, that is said already, and nothing is known to be a change from it.
        let is_change = run.base_checkpoint.is_some()
            && settled
                .is_some_and(|settled| settled.change_id != run.change_id && settled.is_known());
        // Without storage the engine reads no checkpoint, and so has nothing to ask about.
        let asks = run.bootstrap_policy == BootstrapPolicy::AwaitApproval.as_str()
            && !run.target.without_storage;
        if !is_change || !asks || outcome == Some(PreviewOutcome::NoChange) {
            return;
        }
        if outcome != Some(PreviewOutcome::Gated) {
            let message = format!(
                "change {} runs, and the engine asked nobody: either it found nothing to ask about, or somebody approved it at the engine itself",
                run.change_id
            );
            let id = run.change_id.clone();
            self.warn_of(&id, EventReason::UnaskedChange, message);
            return;
        }
        let (id, target, options) = (run.change_id.clone(), run.target.clone(), run.options);
        let summary = preview.and_then(|preview| preview.summary.clone());
        let summary = summary.unwrap_or_default();
        let now = self.input.now();
        self.status.waiting_since = None;
        self.status.approval = Some(Approval {
            state: ApprovalState::Applied,
            short_id: change::short(&id),
            parent: self.parent().to_owned(),
            changed: self.what_changes(&target),
            target,
            options,
            revision: 0,
            gate: Gate::Engine,
            since: now.clone(),
            deployment_id: state.deployment_id.clone(),
            summary,
            diff: None,
            diff_digest: canonical::digest(&Value::Null),
            at_stake: None,
            base: self.base_checkpoint(state),
            approve_command: self.input.command(annotation::APPROVE, &id),
            approved_field_counts: false,
            decision: Some(outside_decision(now)),
            votes: vec![],
            more_votes: 0,
            calls: 0,
            last_call_at: None,
            failure: None,
            change_id: id.clone(),
        });
        self.warn_of(&id, EventReason::OutsideApproval, format!("change {id} runs although the engine should have asked for it: somebody approved it at the engine itself before Sluice could publish it"));
    }
}

pub(crate) fn is_past_gate(state: &PipelineState) -> bool {
    PAST_THE_GATE.contains(&state.deployment_status.as_str())
}

pub(crate) fn outside_decision(
    at: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time,
) -> Decision {
    Decision {
        outcome: Verdict::Approved,
        by: "unknown".to_owned(),
        verified: false,
        via: Door::Outside,
        reason: None,
        at,
    }
}
