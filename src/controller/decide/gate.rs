//! The approval gate: publish the change that waits, count the votes, and see an approved change
//! through until the engine has left the gate.

use std::time::Duration;

use serde_json::Value;

use super::conditions::Reason;
use super::{Act, Decider, Guard, Seen, stake, words};
use crate::approval;
use crate::change;
use crate::crd::{
    Approval, ApprovalState, BaseCheckpoint, BootstrapPolicy, Decision, Door, Outcome,
    PreviewOutcome, Target, Vote, annotation,
};
use crate::engine::{FullPipeline, PipelineState};

/// The status of a deployment that waits at the engine's gate.
pub const AT_THE_GATE: &[&str] = &["AwaitingApproval"];

/// The engine has let go of the checkpoint and runs the new program in these. `Initializing` is
/// not among them: a process that comes back passes through it on its way to the gate.
const BEYOND: [&str; 6] = [
    "Bootstrapping",
    "ConcurrentBootstrapping",
    "Synchronizing",
    "Replaying",
    "Running",
    "Paused",
];

impl Decider<'_> {
    /// Turns votes into a decision, in status; nothing is told to the engine here.
    pub(super) fn vote(&mut self) {
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
        if self.input.pipeline.spec.bootstrap_policy == BootstrapPolicy::Reject {
            votes.insert(0, policy_rejects());
        }
        let decided = approval::decide(&votes).cloned();
        let now = self.now();
        let Some(approval) = &mut self.status.approval else {
            return;
        };
        // What is decided stays decided, unless somebody says no before the engine is told.
        let counts = decided
            .filter(|vote| state == ApprovalState::Awaiting || vote.outcome == Outcome::Rejected);
        if state == ApprovalState::Awaiting || counts.is_some() {
            approval.votes = votes;
        }
        let Some(vote) = counts else { return };
        let change_id = approval.change_id.clone();
        let message = format!(
            "change {change_id} ({}) is {} by {}{} via {:?}",
            approval.summary,
            if vote.outcome == Outcome::Rejected {
                "rejected"
            } else {
                "approved"
            },
            vote.by,
            if vote.verified {
                ""
            } else {
                " (name not verified)"
            },
            vote.via,
        );
        approval.decision = Some(Decision {
            outcome: vote.outcome,
            by: vote.by,
            verified: vote.verified,
            via: vote.via,
            reason: vote.reason,
            at: now,
        });
        if vote.outcome == Outcome::Rejected {
            if state == ApprovalState::Applying {
                // It was about to be told, and isn't.
                approval.calls -= 1;
            }
            self.set_approval_state(ApprovalState::Rejected);
            self.remember();
            self.warn("Rejected", message);
        } else {
            self.set_approval_state(ApprovalState::Approved);
            self.report("Approved", message);
        }
    }

    /// The engine waits at its gate.
    pub(super) fn at_the_gate(&mut self, seen: &Seen) {
        let state = seen.state();
        if !self.input.pipeline.is_guest() && self.restart_for_other_terms(state) {
            return;
        }
        if state.deployment_desired_status == "Suspended" {
            self.warn("Parked", "somebody stopped the pipeline gracefully while it waits, which parks it for ever; it is stopped at once and started again".into());
            self.stop(state, true);
            return;
        }
        let Some(target) = self.status.content.as_ref().map(|held| held.target.clone()) else {
            self.act(Act::Look, Guard::default());
            return;
        };
        let digest = change::digest(&state.approval_diff);
        let revision = self.revision_of(&target);
        let id = self.change_id(&target, revision);
        self.note_what_waits(state, &id);
        let known = self
            .status
            .approval
            .as_ref()
            .filter(|approval| approval.change_id == id)
            .map(|approval| (approval.state, approval.diff_digest == digest));
        use ApprovalState::{ApplyFailed, Expired, Rejected, Sealed, Superseded, Unknown};
        let is_new = matches!(known, None | Some((Superseded | Expired | Sealed, _)));
        let is_other = matches!(known, Some((state, false)) if !matches!(state, Rejected | ApplyFailed | Unknown));
        let Some(full) = seen.full() else {
            if is_new || is_other {
                self.act(Act::Look, Guard::default());
                return;
            }
            return self.known_change(state, known.map(|(state, _)| state));
        };
        match known {
            _ if is_new => self.publish(full, target, digest, revision),
            // The question has changed since it was asked, so it is asked anew.
            _ if is_other => {
                self.warn("DiffChanged", format!("the engine's diff for change {id} is another one than was published; it is asked about anew"));
                // What was decided on the old question stays on record, and never counts again.
                self.had_its_turn(&id, None);
                self.set_approval_state(Superseded);
                self.remember();
                self.publish(full, target, digest, revision + 1);
            }
            _ => self.known_change(state, known.map(|(state, _)| state)),
        }
    }

    /// What runs is what waits, also where the start could not know that the engine would ask, as for
    /// a program that is going back to what was settled. And a checkpoint that shows while it waits
    /// was written before: none is written at the gate.
    fn note_what_waits(&mut self, state: &PipelineState, id: &str) {
        if let Some(run) = &mut self.status.run {
            run.change_id = id.to_owned();
            run.past_gate_since = None;
            if let Some(newest) = state.newest_checkpoint() {
                run.base_checkpoint = Some(newest.uuid.clone());
            }
        }
    }

    /// A change that was published before, with the diff that it was published with.
    fn known_change(&mut self, state: &PipelineState, approval: Option<ApprovalState>) {
        match approval {
            Some(ApprovalState::Rejected | ApprovalState::ApplyFailed) => {
                self.stop_at_the_gate(state)
            }
            Some(ApprovalState::Unknown) => {
                self.waiting_for("AwaitingApproval", Reason::AwaitingApproval, "the change is in a state that this version of Sluice doesn't know; it is left alone".into());
            }
            _ => self.see_through(state),
        }
    }

    /// Publishes a change: from here on it can be approved.
    fn publish(&mut self, full: &FullPipeline, target: Target, digest: String, revision: i64) {
        let spec = &self.input.pipeline.spec;
        let id = self.change_id(&target, revision);
        self.note_what_waits(&full.state, &id);
        let summary = words::summary(&full.state.approval_diff);
        let resumes_all = self.status.run.as_ref().is_some_and(|run| run.resumes_all);
        // A rejection is final for its change, also if that comes round again.
        let rejected = self
            .status
            .turns
            .iter()
            .find(|turn| turn.change_id == id)
            .and_then(|turn| turn.rejected.clone());
        let approval = Approval {
            state: if rejected.is_some() {
                ApprovalState::Rejected
            } else {
                ApprovalState::Awaiting
            },
            short_id: change::short(&id),
            parent: self.parent().to_owned(),
            target,
            options: self.options(),
            revision,
            since: self.now(),
            deployment_id: full.state.deployment_id.clone(),
            summary: summary.clone(),
            diff: full.state.approval_diff.as_object().cloned(),
            diff_digest: digest,
            at_stake: Some(stake::at_stake(
                &full.state.approval_diff,
                full.connectors.as_ref(),
                self.options(),
                resumes_all,
            )),
            base: self.base_checkpoint(&full.state),
            approve_command: self.approve_command(&id),
            approved_field_counts: spec.approved != Some(true),
            decision: rejected,
            votes: vec![],
            calls: 0,
            last_call_at: None,
            failure: None,
            change_id: id.clone(),
        };
        let waits = approval.state == ApprovalState::Awaiting;
        let command = approval.approve_command.clone();
        self.status.waiting_since = waits.then(|| self.now());
        self.status.approval = Some(approval);
        if waits {
            self.report(
                "AwaitingApproval",
                format!("change {id} waits for approval: {summary}. To approve it: {command}"),
            );
            self.show_waiting();
        } else {
            self.show_rejected();
        }
    }

    /// The published change is the one that waits, with the diff that was published.
    fn see_through(&mut self, state: &PipelineState) {
        let now = self.now();
        let just_told = self.was_just_told(state);
        let Some(approval) = &mut self.status.approval else {
            return;
        };
        let other_deployment = approval.deployment_id != state.deployment_id;
        approval.deployment_id = state.deployment_id.clone();
        let id = approval.change_id.clone();
        match approval.state {
            ApprovalState::Awaiting => {
                self.status.waiting_since.get_or_insert(now);
                self.show_waiting();
            }
            ApprovalState::Approved => self.tell(state),
            // It is written down that the engine is told, and it wasn't yet.
            ApprovalState::Applying if self.input.about_to_tell => {
                self.call(state);
            }
            // Approved changes stay approved until they are settled, also if the engine asks again.
            ApprovalState::Applying | ApprovalState::Applied if just_told => {
                self.show_applying();
                self.look_again_in(self.rest_of_being_told());
            }
            ApprovalState::Applying | ApprovalState::Applied => {
                // A rejection is heard before it is told again.
                self.set_approval_state(ApprovalState::Approved);
                self.warn(
                    "ApprovalRepeated",
                    format!(
                        "the engine {} change {id}, which is approved; it is told again",
                        if other_deployment {
                            "was started anew and asks again for"
                        } else {
                            "still asks for"
                        },
                    ),
                );
                self.show_applying();
            }
            _ => {}
        }
    }

    /// Whether the engine was told, or somebody was about to tell it, so lately that its manager may
    /// not show yet what came of it.
    pub(super) fn was_just_told(&self, state: &PipelineState) -> bool {
        let Some(approval) = &self.status.approval else {
            return false;
        };
        approval.calls > 0
            && !self.input.about_to_tell
            && approval.deployment_id == state.deployment_id
            && !self.rest_of_being_told().is_zero()
    }

    pub(super) fn rest_of_being_told(&self) -> Duration {
        let approval = self.status.approval.as_ref();
        let at = approval.and_then(|approval| approval.last_call_at.as_ref());
        let waited = at.map(|at| self.since(at));
        let resend_after = self.input.timing.resend_after;
        // Status holds whole seconds: it may have been up to one later than is written there.
        waited.map_or(Duration::ZERO, |waited| {
            resend_after.saturating_sub(waited.saturating_sub(Duration::from_secs(1)))
        })
    }

    /// Writes down that the engine is told. The call comes next, if this process gets to it: another
    /// one can't know whether it was made, and waits until it would show.
    fn tell(&mut self, state: &PipelineState) {
        let now = self.now();
        if let Some(approval) = &mut self.status.approval {
            approval.calls += 1;
            approval.last_call_at = Some(now);
        }
        self.set_approval_state(ApprovalState::Applying);
        self.call(state);
    }

    /// Tells the engine, if what it shows now is still what was approved.
    fn call(&mut self, state: &PipelineState) {
        self.show_applying();
        let Some(approval) = &self.status.approval else {
            return;
        };
        let guard = Guard {
            deployment_id: state.deployment_id.clone(),
            status: AT_THE_GATE,
            version: self.status.content.as_ref().map(|held| held.version),
            diff_digest: Some(approval.diff_digest.clone()),
            ..Guard::default()
        };
        // The options that come with an approval replace those of the start.
        self.act(Act::Approve(approval.options), guard);
    }

    /// The engine has certainly not taken the approval.
    pub(super) fn was_not_told(&mut self) {
        if let Some(approval) = &mut self.status.approval
            && approval.state == ApprovalState::Applying
        {
            approval.state = ApprovalState::Approved;
        }
    }

    /// The run is past the gate, by the process's own word.
    pub(super) fn is_past_the_gate(&mut self) {
        let now = self.now();
        if let Some(run) = &mut self.status.run {
            run.past_gate_since.get_or_insert(now);
        }
    }

    /// What the engine shows, with what is known better: its manager may say for some seconds that a
    /// pipeline waits that has left the gate.
    pub(super) fn corrected(&mut self, seen: Seen) -> Seen {
        let state = seen.state();
        let run = self.status.run.as_ref();
        let this = run.filter(|run| run.deployment_id == state.deployment_id);
        let since = this.and_then(|run| run.past_gate_since.as_ref());
        let rest = since.map_or(Duration::ZERO, |since| {
            let resend_after = self.input.timing.resend_after;
            resend_after.saturating_sub(self.since(since))
        });
        if !state.awaits_approval() || rest.is_zero() {
            return seen;
        }
        // If it still waits then, it asks again.
        self.look_again_in(rest);
        seen.with_status("Bootstrapping")
    }

    /// A deployment that is not at the gate: was it there, and who let it out?
    /// Returns whether this has set phase and conditions.
    pub(super) fn past_the_gate(&mut self, state: &PipelineState) -> bool {
        let beyond = is_beyond(state);
        let approval = self.status.approval.as_ref().filter(|approval| {
            self.status
                .run
                .as_ref()
                .is_some_and(|run| run.change_id == approval.change_id)
        });
        let Some(approval) = approval else {
            return false;
        };
        let same_deployment = approval.deployment_id == state.deployment_id;
        let id = approval.change_id.clone();
        match approval.state {
            ApprovalState::Applying if same_deployment => {
                // The bootstrap may be too short to see; whoever watches sees it all the same.
                if self.status.phase.as_deref() != Some("Bootstrapping") || !state.is_up() {
                    self.progressing(
                        "Bootstrapping",
                        Reason::Bootstrapping,
                        format!("change {id} is approved and the engine has left the gate"),
                    );
                } else {
                    self.set_approval_state(ApprovalState::Applied);
                    self.report(
                        "Applied",
                        format!("change {id} runs; a checkpoint of it is taken next"),
                    );
                    self.up(state);
                }
                true
            }
            ApprovalState::Applying if beyond => {
                self.set_approval_state(ApprovalState::Applied);
                false
            }
            // Sluice hasn't told it: that would be written down.
            ApprovalState::Awaiting | ApprovalState::Approved if beyond => {
                self.outside(&id);
                false
            }
            // It was taken back, but somebody was faster at the engine.
            ApprovalState::Superseded if beyond => {
                self.outside(&id);
                false
            }
            ApprovalState::Rejected if beyond => {
                self.warn(
                    "OutsideApproval",
                    format!(
                        "the engine went on with change {id} although it is rejected; it is stopped"
                    ),
                );
                self.stop_at_the_gate(state);
                true
            }
            _ => false,
        }
    }

    /// The engine left the gate without a call of Sluice's: somebody told the engine itself.
    fn outside(&mut self, id: &str) {
        let at = self.now();
        if let Some(approval) = &mut self.status.approval {
            // Whoever decided before, it was somebody else who told the engine.
            approval.decision.get_or_insert(outside_decision(at));
        }
        self.set_approval_state(ApprovalState::Applied);
        self.warn("OutsideApproval", format!("the engine went on with change {id} without a call of Sluice's: somebody approved it at the engine itself"));
    }

    /// Writes down once that the run is past the gate. If that never showed although the engine should
    /// have asked, somebody went round it.
    pub(super) fn note_the_gate_is_passed(&mut self, state: &PipelineState) {
        let Some(run) = &self.status.run else { return };
        let is_this = run.deployment_id.is_some() && run.deployment_id == state.deployment_id;
        if !is_beyond(state) || !is_this || run.past_gate_since.is_some() {
            return;
        }
        self.is_past_the_gate();
        self.notice_a_gate_that_never_showed(state);
    }

    /// A change that the engine said it would gate, or of which it couldn't be asked, runs, and its gate
    /// was never seen.
    fn notice_a_gate_that_never_showed(&mut self, state: &PipelineState) {
        let Some(run) = &self.status.run else { return };
        let at_the_gate = self.status.approval.as_ref();
        if at_the_gate.is_some_and(|approval| approval.change_id == run.change_id) {
            return;
        }
        let preview = self.preview_of(&run.target);
        let outcome = preview.map(|preview| preview.outcome);
        let settled = self.status.settled.as_ref();
        let is_change = run.base_checkpoint.is_some()
            && settled.is_some_and(|settled| settled.change_id != run.change_id);
        let asks = run.bootstrap_policy == BootstrapPolicy::AwaitApproval.as_str();
        if !is_change || !asks || outcome == Some(PreviewOutcome::NoChange) {
            return;
        }
        if outcome != Some(PreviewOutcome::Gated) {
            let message = format!(
                "change {} runs, and the engine asked nobody: either it found nothing to ask about, or somebody approved it at the engine itself",
                run.change_id
            );
            self.warn("UnaskedChange", message);
            return;
        }
        let (id, target, options) = (run.change_id.clone(), run.target.clone(), run.options);
        let summary = preview.and_then(|preview| preview.summary.clone());
        let summary = summary.unwrap_or_default();
        let now = self.now();
        self.status.approval = Some(Approval {
            state: ApprovalState::Applied,
            short_id: change::short(&id),
            parent: self.parent().to_owned(),
            target,
            options,
            revision: 0,
            since: now.clone(),
            deployment_id: state.deployment_id.clone(),
            summary,
            diff: None,
            diff_digest: change::digest(&Value::Null),
            at_stake: None,
            base: self.base_checkpoint(state),
            approve_command: self.approve_command(&id),
            approved_field_counts: false,
            decision: Some(outside_decision(now)),
            votes: vec![],
            calls: 0,
            last_call_at: None,
            failure: None,
            change_id: id.clone(),
        });
        self.warn("OutsideApproval", format!("change {id} runs although the engine should have asked for it: somebody approved it at the engine itself before Sluice could publish it"));
    }

    /// The terms of the start are no longer those of the spec: start again under the new ones.
    fn restart_for_other_terms(&mut self, state: &PipelineState) -> bool {
        let spec = &self.input.pipeline.spec;
        let Some(run) = &self.status.run else {
            return false;
        };
        let to_allow =
            spec.bootstrap_policy == BootstrapPolicy::Allow && run.bootstrap_policy != "allow";
        if !to_allow && run.options == spec.bootstrap_options {
            return false;
        }
        self.stop_at_the_gate(state);
        self.progressing(
            "Stopping",
            Reason::Updating,
            "bootstrapPolicy or bootstrapOptions have changed; the pipeline starts again with them"
                .into(),
        );
        true
    }

    /// Stops a pipeline that waits, or should have waited, at the gate. Always at once: a graceful
    /// stop while awaiting approval would park it for ever.
    fn stop_at_the_gate(&mut self, state: &PipelineState) {
        let rejected =
            self.status.approval.as_ref().map(|a| a.state) == Some(ApprovalState::Rejected);
        if rejected {
            self.show_rejected();
        }
        self.stop(state, true);
    }

    fn show_waiting(&mut self) {
        let Some(approval) = &self.status.approval else {
            return;
        };
        let message = format!(
            "change {} waits for approval: {}. To approve it: {}",
            approval.change_id, approval.summary, approval.approve_command
        );
        self.waiting_for("AwaitingApproval", Reason::AwaitingApproval, message);
    }

    fn show_applying(&mut self) {
        let Some(approval) = &self.status.approval else {
            return;
        };
        let message = format!(
            "change {} is approved; the engine is being told",
            approval.change_id
        );
        self.progressing("AwaitingApproval", Reason::Applying, message);
    }

    pub(super) fn show_rejected(&mut self) {
        let Some(approval) = &self.status.approval else {
            return;
        };
        let reason = approval
            .decision
            .as_ref()
            .and_then(|decision| decision.reason.as_ref())
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        let message = format!(
            "change {id} ({}) was rejected{reason}. Nothing was changed; put the old program back and it comes up as it was, or open the gate again with: kubectl annotate pipeline {} -n {} {}={id} --overwrite",
            approval.summary,
            self.name(),
            self.namespace(),
            annotation::RETRY,
            id = approval.change_id,
        );
        self.waiting_for("Rejected", Reason::Rejected, message);
    }

    fn approve_command(&self, id: &str) -> String {
        format!(
            "kubectl annotate pipeline {} -n {} {}={id} --overwrite",
            self.name(),
            self.namespace(),
            annotation::APPROVE,
        )
    }

    /// The checkpoint that the pipeline resumes from, and the number that it goes by.
    fn base_checkpoint(&self, state: &PipelineState) -> Option<BaseCheckpoint> {
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
        }))
    }

    pub(super) fn name(&self) -> &str {
        self.input
            .pipeline
            .metadata
            .name
            .as_deref()
            .unwrap_or_default()
    }

    pub(super) fn namespace(&self) -> &str {
        self.input
            .pipeline
            .metadata
            .namespace
            .as_deref()
            .unwrap_or_default()
    }
}

fn is_beyond(state: &PipelineState) -> bool {
    BEYOND.contains(&state.deployment_status.as_str())
}

fn policy_rejects() -> Vote {
    Vote {
        outcome: Outcome::Rejected,
        by: "spec.bootstrapPolicy".to_owned(),
        verified: false,
        via: Door::Policy,
        object: None,
        reason: Some("bootstrapPolicy is reject".to_owned()),
    }
}

fn outside_decision(at: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time) -> Decision {
    Decision {
        outcome: Outcome::Approved,
        by: "unknown".to_owned(),
        verified: false,
        via: Door::Outside,
        reason: None,
        at,
    }
}
