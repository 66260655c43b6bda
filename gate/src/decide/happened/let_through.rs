//! What is let through without a vote: by the policy `allow`, by what the spec says beforehand, or by others at the engine.

use serde_json::Value;

use crate::GateEvent;
use crate::crd::{ApprovalState, BootstrapPolicy, Gate, PreviewOutcome, Target};
use crate::decide::happened::base::{Base, said_beforehand};
use crate::decide::happened::question::Question;
use crate::decide::record::Record;
use crate::decide::{Input, Observation};
use crate::engine::PipelineState;

impl Input<'_> {
    /// Whether `bootstrapPolicy: allow` lets through what isn't asked about by the engine. State is lost only where
    /// that, too, is allowed.
    pub(crate) fn is_allowed(&self, base: &Base, target: &Target) -> bool {
        self.is_said_beforehand(base, target).is_some()
    }

    /// What of the spec lets it through, and its value in words.
    pub(crate) fn is_said_beforehand(
        &self,
        base: &Base,
        target: &Target,
    ) -> Option<(&'static str, &'static str)> {
        let spec = &self.pipeline.spec;
        let allows = spec.bootstrap_policy == BootstrapPolicy::Allow;
        let policy = ("spec.bootstrapPolicy", "bootstrapPolicy is allow");
        let state_loss = ("spec.allowStateLoss", "allowStateLoss is true");
        match base {
            // That says nothing of another program than the one that ran.
            Base::Gone(_) if !base.had_run_with(target) => None,
            Base::Gone(_) if spec.bootstrap_policy == BootstrapPolicy::Reject => None,
            Base::Gone(_) if spec.allow_state_loss => Some(state_loss),
            Base::Gone(_) => allows.then_some(policy),
            _ => (allows && (spec.allow_state_loss || !base.is_lost_by(target))).then_some(policy),
        }
    }
}

impl Record<'_> {
    /// Whether `bootstrapPolicy: reject` keeps what isn't asked about by the engine out.
    pub(crate) fn policy_refuses(&self, target: &Target) -> bool {
        let Observation::Answered {
            info,
            pipeline: Some(seen),
            ..
        } = self.input.engine
        else {
            return false;
        };
        let (base, _) = self.base(seen.state());
        self.input.pipeline.spec.bootstrap_policy == BootstrapPolicy::Reject
            && info.has_checkpoints()
            && !base.had_run_with(target)
            && !self.unseen(&base, target).is_empty()
    }

    /// What was asked about at this gate and others have started at the engine goes on. Stopped, it isn't started by Sluice before
    /// somebody approves it here (rule A9).
    pub(crate) fn ask_anew_what_others_let_through(&mut self, state: &PipelineState) {
        let approval = self.status.approval.as_ref();
        let is_theirs = approval.is_some_and(|approval| {
            approval.gate == Gate::Sluice && approval.is_let_through_by_others()
        });
        if is_theirs && state.is_stopped() {
            self.is_asked_anew();
        }
    }

    /// What starts under the policy `allow` without having been asked about goes down in history and audit
    /// log all the same.
    pub(crate) fn note_what_allow_lets_through(
        &mut self,
        state: &PipelineState,
        change_id: &str,
        target: &Target,
    ) {
        let (base, _) = self.base(state);
        if matches!(base, Base::Nothing) || base.is(target) {
            return;
        }
        let allowed = self.input.pipeline.spec.bootstrap_policy == BootstrapPolicy::Allow
            || self.input.is_allowed(&base, target);
        let is_known =
            self.status.approval.as_ref().is_some_and(|approval| {
                approval.change_id == change_id && !approval.state.is_over()
            });
        let preview = self.preview_of(target);
        // Where the engine can't tell beforehand, it may be a change to it.
        let same_program = matches!(&base, Base::Known(base)
            if base.without_settings() == target.without_settings());
        let is_none_to_the_engine = same_program
            || matches!(base, Base::Gone(_))
            || target.without_storage
            || preview.is_some_and(|preview| preview.outcome == PreviewOutcome::NoChange);
        let unseen = self.unseen(&base, target);
        if !allowed || is_known || is_none_to_the_engine && unseen.is_empty() {
            return;
        }
        let diff = preview.and_then(|preview| preview.diff.clone());
        let approval = self.approval_of(Question {
            gate: if is_none_to_the_engine {
                Gate::Sluice
            } else {
                Gate::Engine
            },
            diff: diff.map_or(Value::Null, Value::Object),
            connectors: None,
            target: target.clone(),
            revision: self.revision_of(target),
            state,
        });
        if approval.change_id == change_id && approval.state == ApprovalState::Awaiting {
            self.status.approval = Some(approval);
        }
    }

    /// What is started is the change that was approved before the start, here or by the policy `allow`:
    /// that it comes up without a call of Sluice's is no approval from outside.
    pub(crate) fn start_lets_through(
        &mut self,
        state: &PipelineState,
        change_id: &str,
        target: &Target,
    ) {
        self.note_what_allow_lets_through(state, change_id, target);
        let (base, _) = self.base(state);
        let policy = ("spec.bootstrapPolicy", "bootstrapPolicy is allow");
        let is_policy = self.input.pipeline.spec.bootstrap_policy == BootstrapPolicy::Allow;
        let said = self.input.is_said_beforehand(&base, target);
        let said = said.or(is_policy.then_some(policy));
        let allowed = said.is_some();
        let at = self.input.now();
        let Some(approval) = &self.status.approval else {
            return;
        };
        let open = match approval.state {
            ApprovalState::Awaiting => allowed,
            ApprovalState::Approved => allowed || approval.gate == Gate::Sluice,
            _ => false,
        };
        if !open || approval.change_id != change_id {
            return;
        }
        if approval.state == ApprovalState::Awaiting {
            self.take(GateEvent::Approved(said_beforehand(
                said.unwrap_or(policy),
                at,
            )));
        }
        self.take(GateEvent::Started);
    }
}
