//! The engine waits at its gate: publishes what it asks, and sees through what is decided.

use crate::crd::{ApprovalState, BootstrapPolicy, Gate, Phase, annotation};
use crate::decide::happened::question::{Question, reason_of};
use crate::decide::next::Next;
use crate::decide::{Act, EventReason, Guard, Reason, Seen};
use crate::engine::{PipelineState, diff};
use crate::{GateEvent, GaveWay};

impl Next<'_> {
    /// The engine waits at its gate.
    pub(crate) fn at_the_gate(&mut self, seen: &Seen) {
        let state = seen.state();
        if !self.input.pipeline.is_gate_only() && self.restart_for_other_terms(state) {
            return;
        }
        if state.deployment_desired_status == "Suspended" {
            self.record.warn(EventReason::Parked, "somebody stopped the pipeline gracefully while it waits, which parks it for ever; it is stopped at once, so that it can be started again".into());
            self.stop(state, true);
            return;
        }
        let Some(target) = self
            .record
            .status
            .content
            .as_ref()
            .map(|held| held.target.clone())
        else {
            self.act(Act::Look, Guard::default());
            return;
        };
        let digest = diff::digest(&state.approval_diff);
        self.record.ask_anew_where_input_is_dropped_by_now(&target);
        let revision = self.record.revision_of(&target);
        let id = self.record.change_id(&target, revision);
        self.record.note_what_waits(state, &id);
        let known = self
            .record
            .status
            .approval
            .as_ref()
            .filter(|approval| approval.change_id == id)
            .map(|approval| (approval.state, approval.diff_digest == digest));
        let is_new = known.is_none_or(|(state, _)| state.is_over());
        let is_other = known.is_some_and(|(state, same)| {
            !same && !state.is_refused() && state != ApprovalState::Unknown
        });
        let Some(full) = seen.full() else {
            if is_new || is_other {
                self.act(Act::Look, Guard::default());
                return;
            }
            return self.known_change(state, known.map(|(state, _)| state));
        };
        if !is_new && !is_other {
            return self.known_change(state, known.map(|(state, _)| state));
        }
        let mut question = Question {
            gate: Gate::Engine,
            diff: full.state.approval_diff.clone(),
            connectors: full.connectors.as_ref(),
            state: &full.state,
            target,
            revision,
        };
        if is_other {
            // The question has changed since it was asked, so it is asked anew.
            // What was decided on the old question stays on record, and never counts again.
            self.record.had_its_turn(&id, None);
            if !is_new {
                self.record.take(GateEvent::GaveWay(GaveWay::DiffChanged));
            }
            question.revision += 1;
            let asked_anew = self.record.change_id(&question.target, question.revision);
            self.record.note_what_waits(state, &asked_anew);
        }
        match self.record.publish(question) {
            ApprovalState::Rejected => self.show_rejected(),
            _ => self.show_waiting(),
        }
    }

    /// A change that was published before, with the diff that it was published with.
    pub(crate) fn known_change(&mut self, state: &PipelineState, approval: Option<ApprovalState>) {
        match approval {
            Some(ApprovalState::Rejected | ApprovalState::ApplyFailed) => {
                self.stop_at_the_gate(state)
            }
            Some(ApprovalState::Unknown) => {
                self.shown.waiting_for(Phase::AwaitingApproval, Reason::AwaitingApproval, "the change is in a state that this version of Sluice doesn't know; it is left alone".into());
            }
            _ => self.see_through(state),
        }
    }

    /// The terms of the start are no longer those of the spec: start again under the new ones.
    pub(crate) fn restart_for_other_terms(&mut self, state: &PipelineState) -> bool {
        let spec = &self.input.pipeline.spec;
        let Some(run) = &self.record.status.run else {
            return false;
        };
        let to_allow =
            spec.bootstrap_policy == BootstrapPolicy::Allow && run.bootstrap_policy != "allow";
        if !to_allow && run.options == spec.bootstrap_options {
            return false;
        }
        self.stop_at_the_gate(state);
        self.shown.progressing(
            Phase::Stopping,
            Reason::Updating,
            "bootstrapPolicy or bootstrapOptions have changed; the pipeline starts again with them"
                .into(),
        );
        true
    }

    pub(crate) fn show_waiting(&mut self) {
        let Some(approval) = &self.record.status.approval else {
            return;
        };
        let message = format!(
            "change {} waits for approval: {}. To approve it: {}",
            approval.change_id, approval.summary, approval.approve_command
        );
        self.shown
            .waiting_for(Phase::AwaitingApproval, Reason::AwaitingApproval, message);
    }

    pub(crate) fn show_applying(&mut self) {
        let Some(approval) = &self.record.status.approval else {
            return;
        };
        let message = format!(
            "change {} is approved; the engine is being told",
            approval.change_id
        );
        self.shown
            .progressing(Phase::AwaitingApproval, Reason::Applying, message);
    }

    pub(crate) fn show_rejected(&mut self) {
        let Some(approval) = &self.record.status.approval else {
            return;
        };
        let reason = reason_of(approval);
        let then = self.record.way_back().unwrap_or_else(|| {
            "Nothing was changed; put the old program back and it comes up as it was".to_owned()
        });
        let message = format!(
            "change {id} ({}) was rejected{reason}. {then}, or open the gate again with: {}",
            approval.summary,
            self.input.command(annotation::RETRY, &approval.change_id),
            id = approval.change_id,
        );
        self.shown
            .decided_against(Phase::Rejected, Reason::Rejected, message);
    }
}
