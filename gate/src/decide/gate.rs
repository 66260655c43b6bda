//! The approval gate: publish the change that waits, and count the votes. What follows an approval stands
//! in `telling`, and what is past the gate in `beyond`.

use serde_json::{Value, json};

use super::conditions::Reason;
use super::sluice_gate::Base;
use super::{Act, Decider, EventReason, Guard, Seen};
use crate::GateEvent;
use crate::change;
use crate::crd::{
    Approval, ApprovalState, AtStake, BaseCheckpoint, BootstrapPolicy, Decision, Door, Gate,
    Outcome, Phase, Target, Vote, annotation,
};
use crate::decision;
use crate::engine::{Connectors, PipelineState, diff};
use crate::held_settings;
use crate::{impact, summary};

/// The status of a deployment that waits at the engine's gate.
pub const AT_THE_GATE: &[&str] = &["AwaitingApproval"];

/// What is asked about a change.
pub(super) struct Question<'a> {
    /// Where it waits.
    pub(super) gate: Gate,
    /// The engine's diff, as far as it gives one.
    pub(super) diff: Value,
    /// The connectors of the program that the engine holds.
    pub(super) connectors: Option<&'a Connectors>,
    /// What would run.
    pub(super) target: Target,
    /// How often it was asked about anew.
    pub(super) revision: i64,
    /// What the engine shows.
    pub(super) state: &'a PipelineState,
}

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
        // What waits there already when a Pipeline comes is somebody else's, whom to reject needs the verb.
        let is_own = self.input.pipeline.is_guest() || self.status.run.is_some();
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
        let now = self.now();
        let Some(approval) = &mut self.status.approval else {
            return;
        };
        // What is decided stays decided, unless somebody says no before the engine is told.
        let counts = decided
            .filter(|vote| state == ApprovalState::Awaiting || vote.outcome == Outcome::Rejected);
        if state == ApprovalState::Awaiting || counts.is_some() {
            approval.votes = votes;
            approval.more_votes = 0;
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
        let decision = Decision {
            outcome: vote.outcome,
            by: vote.by,
            verified: vote.verified,
            via: vote.via,
            reason: vote.reason,
            at: now,
        };
        if vote.outcome == Outcome::Rejected {
            self.take(GateEvent::Rejected(decision));
            self.remember();
            self.warn(EventReason::Rejected, message);
        } else {
            self.take(GateEvent::Approved(decision));
            self.report(EventReason::Approved, message);
        }
    }

    /// The engine waits at its gate.
    pub(super) fn at_the_gate(&mut self, seen: &Seen) {
        let state = seen.state();
        if !self.input.pipeline.is_guest() && self.restart_for_other_terms(state) {
            return;
        }
        if state.deployment_desired_status == "Suspended" {
            self.warn(EventReason::Parked, "somebody stopped the pipeline gracefully while it waits, which parks it for ever; it is stopped at once, so that it can be started again".into());
            self.stop(state, true);
            return;
        }
        let Some(target) = self.status.content.as_ref().map(|held| held.target.clone()) else {
            self.act(Act::Look, Guard::default());
            return;
        };
        let digest = diff::digest(&state.approval_diff);
        self.ask_anew_where_input_is_dropped_by_now(&target);
        let revision = self.revision_of(&target);
        let id = self.change_id(&target, revision);
        self.note_what_waits(state, &id);
        let known = self
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
            self.warn(EventReason::DiffChanged, format!("the engine's diff for change {id} is another one than was published; it is asked about anew"));
            // What was decided on the old question stays on record, and never counts again.
            self.had_its_turn(&id, None);
            if !is_new {
                self.take(GateEvent::GaveWay);
            }
            self.remember();
            question.revision += 1;
            let asked_anew = self.change_id(&question.target, question.revision);
            self.note_what_waits(state, &asked_anew);
        }
        match self.publish(question) {
            ApprovalState::Rejected => self.show_rejected(),
            _ => self.show_waiting(),
        }
    }

    /// A change was asked about as one that drops no input, since what ran before was stopped with a checkpoint. If something has run
    /// since then that need not be in one, that isn't so any more (rule A18), unless the engine was told already.
    fn ask_anew_where_input_is_dropped_by_now(&mut self, target: &Target) {
        let id = self.change_id(target, self.revision_of(target));
        let run = self.status.run.as_ref();
        let resumes_all = run.is_none_or(|run| run.resumes_all);
        let approval = self.status.approval.as_ref();
        let is_broken = approval.is_some_and(|approval| {
            let stake = approval.at_stake.as_ref();
            approval.change_id == id
                && approval.gate == Gate::Engine
                && approval.calls == 0
                && approval.state.is_votable()
                && stake.is_some_and(AtStake::drops_no_input)
        });
        if resumes_all || !is_broken {
            return;
        }
        let Some(id) = self.is_asked_anew() else {
            return;
        };
        self.warn(
            EventReason::StoppedWithoutCheckpoint,
            format!(
                "change {id} was asked about as one that drops no input, and it isn't known that nothing has come in since which is in no checkpoint: the change is asked about anew"
            ),
        );
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
                self.waiting_for(Phase::AwaitingApproval, Reason::AwaitingApproval, "the change is in a state that this version of Sluice doesn't know; it is left alone".into());
            }
            _ => self.see_through(state),
        }
    }

    /// Publishes a change: from here on it can be approved, unless it was rejected before. Returns which.
    pub(super) fn publish(&mut self, question: Question) -> ApprovalState {
        let approval = self.approval_of(question);
        let state = approval.state;
        let waits = state == ApprovalState::Awaiting;
        let message = format!(
            "change {} waits for approval: {}. To approve it: {}",
            approval.change_id, approval.summary, approval.approve_command
        );
        self.status.waiting_since = waits.then(|| self.now());
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
            self.report(EventReason::AwaitingApproval, message);
        }
        state
    }

    /// A change as it is asked about, or as it was refused before.
    pub(super) fn approval_of(&self, question: Question) -> Approval {
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
            since: self.now(),
            deployment_id: state.deployment_id.clone(),
            summary,
            diff_digest: diff::digest(&diff),
            diff: diff.as_object().cloned(),
            at_stake: Some(at_stake),
            base: self.base_checkpoint(state),
            approve_command: self.command(annotation::APPROVE, &id),
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
            Phase::Stopping,
            Reason::Updating,
            "bootstrapPolicy or bootstrapOptions have changed; the pipeline starts again with them"
                .into(),
        );
        true
    }

    /// Stops a pipeline that waits, or should have waited, at the gate. Always at once: a graceful
    /// stop while awaiting approval would park it for ever.
    pub(super) fn stop_at_the_gate(&mut self, state: &PipelineState) {
        let rejected =
            self.status.approval.as_ref().map(|a| a.state) == Some(ApprovalState::Rejected);
        if rejected {
            self.show_rejected();
        }
        self.stop(state, true);
    }

    pub(super) fn show_waiting(&mut self) {
        let Some(approval) = &self.status.approval else {
            return;
        };
        let message = format!(
            "change {} waits for approval: {}. To approve it: {}",
            approval.change_id, approval.summary, approval.approve_command
        );
        self.waiting_for(Phase::AwaitingApproval, Reason::AwaitingApproval, message);
    }

    pub(super) fn show_applying(&mut self) {
        let Some(approval) = &self.status.approval else {
            return;
        };
        let message = format!(
            "change {} is approved; the engine is being told",
            approval.change_id
        );
        self.progressing(Phase::AwaitingApproval, Reason::Applying, message);
    }

    pub(super) fn show_rejected(&mut self) {
        let Some(approval) = &self.status.approval else {
            return;
        };
        let reason = reason_of(approval);
        let then = self.way_back().unwrap_or_else(|| {
            "Nothing was changed; put the old program back and it comes up as it was".to_owned()
        });
        let message = format!(
            "change {id} ({}) was rejected{reason}. {then}, or open the gate again with: {}",
            approval.summary,
            self.command(annotation::RETRY, &approval.change_id),
            id = approval.change_id,
        );
        self.decided_against(Phase::Rejected, Reason::Rejected, message);
    }

    /// What brings the pipeline up again after a rejection, where that isn't the old program: the spec may have it already.
    pub(super) fn way_back(&self) -> Option<String> {
        let settled = self.status.settled.as_ref()?;
        if !settled.is_known() {
            return Some("What the engine holds stays as it is, and starts only once that is approved: put the program that is to run into the spec".to_owned());
        }
        let rejected = &self.status.approval.as_ref()?.target;
        let fields = self.fields_that_others_set(rejected)?;
        Some(format!(
            "Somebody changed that at the engine, and the spec says nothing of it: write what is right into {fields}, or put it back there, and the pipeline comes up as it was"
        ))
    }

    /// The fields of the spec that would say what others have changed at the engine, if this target differs by nothing else
    /// from what is settled.
    pub(super) fn fields_that_others_set(&self, target: &Target) -> Option<String> {
        let settled = &self.status.settled.as_ref()?.target;
        let held = self.status.content.as_ref().map(|held| &held.target);
        let wanted = self.wanted()?;
        let run = self.status.run.as_ref().map(|run| &run.target);
        // What has run, Sluice has brought there, or people have let it through. And what isn't there nobody has put there, but for
        // settings that stay.
        let is_of_others =
            held == Some(target) || settled.without_settings() == target.without_settings();
        if !is_of_others || run == Some(target) || wanted.target() != *target {
            return None;
        }
        let kept = &wanted.kept;
        let keeps_the_config = wanted.program_config.is_none() && kept.program_config.is_some();
        let mut fields = vec![];
        for part in change::differences(settled, target) {
            match part {
                "settings" => {
                    let paths = self.settings_that_change(target).unwrap_or_default();
                    if paths.iter().any(|path| wanted.names_the_setting(path)) {
                        return None;
                    }
                    let keys = held_settings::keys(&paths);
                    if keys.is_empty() {
                        fields.push("spec.runtimeConfig".to_owned());
                    }
                    fields.extend(keys.iter().map(|key| format!("spec.runtimeConfig.{key}")));
                }
                "runtimeVersion" if keeps_the_config || kept.runtime_version.is_some() => {
                    fields.push("spec.program.config.runtime_version".to_owned());
                }
                "config" if keeps_the_config => fields.push("spec.program.config".to_owned()),
                _ => return None,
            }
        }
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        (!fields.is_empty()).then(|| summary::enumerate(&fields, 0))
    }

    /// A command that sets an annotation of the Pipeline.
    pub(super) fn command(&self, annotation: &str, value: &str) -> String {
        format!(
            "kubectl annotate pipeline {} -n {} {annotation}={value} --overwrite",
            self.name(),
            self.namespace(),
        )
    }

    /// The checkpoint that the pipeline resumes from, and the number that it goes by.
    pub(super) fn base_checkpoint(&self, state: &PipelineState) -> Option<BaseCheckpoint> {
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

/// The reason that was given for a decision, after a colon.
pub(super) fn reason_of(approval: &Approval) -> String {
    let decision = approval.decision.as_ref();
    let reason = decision.and_then(|decision| decision.reason.as_ref());
    reason
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default()
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
