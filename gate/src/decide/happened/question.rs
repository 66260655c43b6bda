//! Publishes a change: what is asked, of which diff, and what is at stake. From then on it can be decided.

use serde_json::{Value, json};

use crate::crd::{
    Approval, ApprovalState, BaseCheckpoint, Door, Gate, Target, Verdict, Vote, annotation,
};
use crate::decide::happened::base::Base;
use crate::decide::news;
use crate::decide::record::Record;
use crate::engine::{Connectors, PipelineState, diff};
use crate::{change, impact, summary};

/// What is asked about a change.
pub(crate) struct Question<'a> {
    /// Where it waits.
    pub(crate) gate: Gate,
    /// The engine's diff, as far as it gives one.
    pub(crate) diff: Value,
    /// The connectors of the program that the engine holds.
    pub(crate) connectors: Option<&'a Connectors>,
    /// What would run.
    pub(crate) target: Target,
    /// How often it was asked about anew.
    pub(crate) revision: i64,
    /// What the engine shows.
    pub(crate) state: &'a PipelineState,
}

impl Record<'_> {
    /// What runs is what waits, also where the start could not know that the engine would ask, as for
    /// a program that is going back to what was settled. And a checkpoint that shows while it waits
    /// was written before: none is written at the gate.
    pub(crate) fn note_what_waits(&mut self, state: &PipelineState, id: &str) {
        if let Some(run) = &mut self.status.run {
            run.change_id = id.to_owned();
            run.past_gate_since = None;
            if let Some(newest) = state.newest_checkpoint() {
                run.base_checkpoint = Some(newest.uuid.clone());
            }
        }
    }

    /// Publishes a change: from here on it can be approved, unless it was rejected before. Returns which.
    pub(crate) fn publish(&mut self, question: Question) -> ApprovalState {
        let approval = self.approval_of(question);
        let state = approval.state;
        let waits = state == ApprovalState::Awaiting;
        let published = news::of_publication(&approval);
        self.status.waiting_since = waits.then(|| self.input.now());
        // One without a checkpoint is never sealed, and what became of it would be forgotten here.
        let before = self.status.approval.as_ref();
        let is_untold = before.is_some_and(|before| {
            before.state == ApprovalState::Applied && before.change_id != approval.change_id
        });
        if is_untold {
            self.remember();
        }
        self.status.approval = Some(approval);
        if waits {
            self.reports.push(published);
        }
        state
    }

    /// A change as it is asked about, or as it was refused before.
    pub(crate) fn approval_of(&self, question: Question) -> Approval {
        let Question {
            gate,
            diff,
            connectors,
            target,
            revision,
            state,
        } = question;
        let spec = &self.input.pipeline.spec;
        let id = self.change_id(&target, revision);
        let (base, _) = self.base(state);
        let unseen = self.unseen(&base, &target);
        let loses_state = base.is_lost_by(&target);
        // Nobody need be asked for a diff of a program that stays as it is.
        let is_gone = matches!(base, Base::Gone(_));
        let shown = if diff.is_null() && (is_gone || base.has_the_program_of(&target)) {
            json!({"program_diff": {}})
        } else {
            diff.clone()
        };
        let summary = summary::with_unseen(&unseen, &shown);
        // What is asked about before anything is stopped will be stopped with a checkpoint.
        let resumes_all = match gate {
            Gate::Engine => self.status.run.as_ref().is_some_and(|run| run.resumes_all),
            _ if state.is_stopped() => {
                let run = self.status.run.as_ref();
                run.is_some_and(|run| self.is_kept_whole(run, state))
            }
            _ => {
                let held = self.status.content.as_ref();
                state.is_up() && !held.is_some_and(|held| held.target.without_storage)
            }
        };
        let mut at_stake = impact::at_stake(&shown, connectors, self.options(), resumes_all);
        if loses_state {
            at_stake = match base {
                Base::Before if !target.without_storage => impact::everything_since_a_checkpoint(),
                _ => impact::everything(),
            };
        } else if !unseen.is_empty() {
            at_stake.unknown.push(impact::MIXED_RESULTS.to_owned());
        }
        // A rejection is final for its change, also if that comes round again.
        let rejected = self
            .status
            .turns
            .iter()
            .find(|turn| turn.change_id == id)
            .and_then(|turn| turn.rejected.clone());
        Approval {
            state: if rejected.is_some() {
                ApprovalState::Rejected
            } else {
                ApprovalState::Awaiting
            },
            short_id: change::short(&id),
            parent: self.parent().to_owned(),
            changed: self.what_changes(&target),
            target,
            options: self.options(),
            revision,
            gate,
            since: self.input.now(),
            deployment_id: state.deployment_id.clone(),
            summary,
            diff_digest: diff::digest(&diff),
            diff: diff.as_object().cloned(),
            at_stake: Some(at_stake),
            base: self.base_checkpoint(state),
            approve_command: self.input.command(annotation::APPROVE, &id),
            approved_field_counts: spec.approved != Some(true),
            decision: rejected,
            votes: vec![],
            more_votes: 0,
            calls: 0,
            last_call_at: None,
            failure: None,
            change_id: id,
        }
    }

    /// The checkpoint that the pipeline resumes from, and the number that it goes by.
    pub(crate) fn base_checkpoint(&self, state: &PipelineState) -> Option<BaseCheckpoint> {
        let newest = state.newest_checkpoint()?;
        let ours = self
            .status
            .settled
            .as_ref()
            .and_then(|settled| settled.checkpoint.as_ref())
            .filter(|checkpoint| checkpoint.uuid.as_ref() == Some(&newest.uuid));
        Some(ours.cloned().unwrap_or_else(|| BaseCheckpoint {
            uuid: Some(newest.uuid.clone()),
            sequence_number: newest.steps,
            steps: newest.steps,
        }))
    }
}

/// The reason that was given for a decision, after a colon.
pub(crate) fn reason_of(approval: &Approval) -> String {
    let decision = approval.decision.as_ref();
    let reason = decision.and_then(|decision| decision.reason.as_ref());
    reason
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default()
}

pub(crate) fn policy_rejects() -> Vote {
    Vote {
        outcome: Verdict::Rejected,
        by: "spec.bootstrapPolicy".to_owned(),
        verified: false,
        via: Door::Policy,
        object: None,
        reason: Some("bootstrapPolicy is reject".to_owned()),
    }
}
