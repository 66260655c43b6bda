//! Sluice's own gate, for changes that the engine's gate lets through although they alter results or lose state.
//!
//! The engine compares SQL and connectors. A user-defined function with another body, another
//! version of the runtime, or another setting, it takes up as if nothing had changed (rule A9; source: `ProgramDiff` of
//! Feldera at 0.337). So that is asked about here, while the old program goes on, before anything is
//! stopped for it. Where the engine says beforehand that it will ask, it is left to that: one change,
//! one question. Not so with settings: they work from the start on, so before the engine would ask.
//!
//! What they are compared with is what the checkpoint was made from. Where nobody recorded that, it is unknown, and
//! asked about as such (rule A8).

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use super::conditions::{Hold, Reason};
use super::gate::{Question, reason_of};
use super::input::Observation;
use super::{Act, Decider, EventReason, Guard, Seen};
use crate::GateEvent;
use crate::crd::{
    ApprovalState, AtStake, BootstrapPolicy, Decision, DesiredState, Door, Gate, Outcome, Phase,
    PreviewOutcome, Settled, Target, annotation,
};
use crate::engine::{EngineInfo, PipelineState};
use crate::summary;
use crate::{differing_settings, held_settings};

/// Whether an update may be brought to the engine.
#[derive(PartialEq)]
pub(super) enum Passage {
    /// Yes.
    Open,
    /// Not now. What goes on meanwhile is looked after as before.
    Shut,
    /// Not now, and nothing goes on: what the engine holds, stopped, is not the program that was kept.
    Blocked,
}

/// What there is to say of this gate.
pub(super) enum Shown {
    /// A change is asked about. The old program goes on, and is in order.
    Asks(String),
    /// A change is asked about, and nothing runs meanwhile.
    AsksStopped(String),
    /// The change was rejected.
    Rejected(String),
}

/// What a start would resume from.
pub(super) enum Base {
    /// Nothing: there is no checkpoint that anything could be mixed with.
    Nothing,
    /// A checkpoint of this.
    Known(Target),
    /// A checkpoint, and nobody knows what it was made from.
    Unknown,
    /// The checkpoint that was there when storage was turned off. What runs since then leaves nothing behind.
    Before,
    /// Nothing, though there was something, and nobody has asked for that. With it this has run, if that is known.
    Gone(Option<Target>),
}

impl Base {
    /// Whether nothing is known to differ between it and a target.
    fn is(&self, target: &Target) -> bool {
        matches!(self, Self::Known(base) if base == target)
    }

    /// Whether starting a target from it gives everything away that was computed: without storage no checkpoint is
    /// read.
    pub(super) fn is_lost_by(&self, target: &Target) -> bool {
        match self {
            Self::Nothing => false,
            Self::Known(base) => target.without_storage && !base.without_storage,
            Self::Unknown => target.without_storage,
            Self::Before | Self::Gone(_) => true,
        }
    }

    /// Whether a target is what had run with the state that is gone.
    fn had_run_with(&self, target: &Target) -> bool {
        matches!(self, Self::Gone(Some(ran)) if ran == target)
    }

    /// Whether the engine would compare a target's program with the same one.
    pub(super) fn has_the_program_of(&self, target: &Target) -> bool {
        matches!(self, Self::Known(base) if base.sql == target.sql
            && base.config == target.config
            && base.runtime_version == target.runtime_version)
    }

    /// Whether a target may have other settings.
    fn has_other_settings_than(&self, target: &Target) -> bool {
        match self {
            Self::Nothing => false,
            Self::Known(base) => {
                base.settings != target.settings || base.without_storage != target.without_storage
            }
            Self::Unknown | Self::Before | Self::Gone(_) => true,
        }
    }
}

impl Decider<'_> {
    /// Whether an update to a target may be made, as far as this gate is concerned.
    pub(super) fn own_gate(&mut self, info: &EngineInfo, seen: &Seen, target: &Target) -> Passage {
        let passage = self.passage(info, seen, target);
        let wanted = self.input.pipeline.spec.desired_state != DesiredState::Stopped;
        if passage == Passage::Shut && wanted && self.is_left_stopped(seen.state()) {
            self.nothing_goes_on(target);
            return Passage::Blocked;
        }
        passage
    }

    /// Whether what the engine holds, stopped, isn't what was kept: what was taken back or refused must not be started in
    /// the place of what is asked about.
    fn is_left_stopped(&self, state: &PipelineState) -> bool {
        let held = self.status.content.as_ref().map(|held| &held.target);
        let is_another = match self.base(state).0 {
            Base::Nothing => false,
            Base::Known(settled) => held != Some(&settled),
            Base::Unknown | Base::Before | Base::Gone(_) => true,
        };
        state.is_stopped() && is_another
    }

    /// Whether what the engine holds may be started. It can be there without having been asked about: by
    /// somebody's hand at the engine, or because `bootstrapPolicy` was `allow` when it was brought there.
    pub(super) fn may_start(&mut self, info: &EngineInfo, seen: &Seen) -> bool {
        let held = self.status.content.as_ref();
        let Some(target) = held.map(|held| held.target.clone()) else {
            return true;
        };
        if self.passage(info, seen, &target) == Passage::Open {
            return true;
        }
        self.nothing_goes_on(&target);
        false
    }

    fn nothing_goes_on(&mut self, target: &Target) {
        let theirs = self.fields_that_others_set(target);
        self.own_gate = self.own_gate.take().map(|shown| match shown {
            Shown::Asks(message) => Shown::AsksStopped(match theirs {
                Some(fields) => format!(
                    "nothing runs: somebody changed this at the engine (to undo it, write what is right into {fields}, or put it back there); {message}"
                ),
                None => format!("nothing runs: {message}"),
            }),
            other => other,
        });
    }

    /// What is settled, if there is a checkpoint of it that new functions could be mixed with.
    fn kept_settled(&self) -> Option<&Settled> {
        let settled = self.status.settled.as_ref();
        settled.filter(|settled| settled.checkpoint.is_some())
    }

    /// What the next start resumes from; and whether a change from that can be named yet.
    pub(super) fn base(&self, state: &PipelineState) -> (Base, bool) {
        if let Some(gone) = self.gone(state) {
            return (gone, true);
        }
        if state.storage_status == "Cleared" {
            return (Base::Nothing, true);
        }
        let held = self.status.content.as_ref().map(|held| &held.target);
        if let Some(settled) = self.kept_settled().map(|settled| &settled.target) {
            // What is up becomes what is settled, once it is stopped for the change.
            return match held.filter(|held| *held != settled && state.is_up()) {
                Some(held) => (Base::Known(held.clone()), held.without_storage),
                None => (Base::Known(settled.clone()), true),
            };
        }
        match held.filter(|_| state.is_up()) {
            // It is kept by the stop for the change, at the latest.
            Some(held) if state.newest_checkpoint().is_none() && !held.without_storage => {
                (Base::Known(held.clone()), false)
            }
            _ if state.newest_checkpoint().is_none() => (Base::Nothing, true),
            // Another program's checkpoint may be there, and this one writes none.
            Some(held) if held.without_storage => (Base::Before, true),
            Some(held) => (Base::Known(held.clone()), false),
            // It is from before this Pipeline, or from a run that nobody saw.
            None => (Base::Unknown, true),
        }
    }

    /// What a change to a target alters or loses that the engine doesn't ask about, on one line; empty if nothing of that
    /// kind is known to differ.
    pub(super) fn unseen(&self, base: &Base, target: &Target) -> String {
        let is_lost = base.is_lost_by(target);
        let beside = match base {
            Base::Gone(ran) => return summary::begins_from_nothing(ran.as_ref(), target),
            Base::Nothing => String::new(),
            Base::Known(base) => {
                let mut base = base.clone();
                let paths = self.settings_that_change(target);
                let mut settings = paths.as_ref().map(held_settings::keys);
                // It is said already.
                if is_lost {
                    base.without_storage = target.without_storage;
                    if let Some(settings) = &mut settings {
                        settings.retain(|name| name != "storage");
                        if settings.is_empty() {
                            base.settings.clone_from(&target.settings);
                        }
                    }
                }
                summary::unseen_by_the_engine(&base, target, &settings.unwrap_or_default())
            }
            Base::Unknown | Base::Before => summary::UNKNOWN_ORIGIN.to_owned(),
        };
        let storage = match base {
            Base::Before if !target.without_storage => summary::STORAGE_ON,
            _ if is_lost => summary::STORAGE_OFF,
            _ => "",
        };
        let both = [storage, &beside].into_iter().filter(|it| !it.is_empty());
        both.collect::<Vec<_>>().join("; ")
    }

    /// The paths of the settings in which a target differs from what is settled, where both are known.
    pub(super) fn settings_that_change(&self, target: &Target) -> Option<BTreeSet<String>> {
        differing_settings::paths(&self.status, self.wanted().as_ref(), target)
    }

    /// Whether `bootstrapPolicy: allow` lets through what isn't asked about by the engine. State is lost only where
    /// that, too, is allowed.
    pub(super) fn is_allowed(&self, base: &Base, target: &Target) -> bool {
        self.is_said_beforehand(base, target).is_some()
    }

    /// What of the spec lets it through, and its value in words.
    fn is_said_beforehand(
        &self,
        base: &Base,
        target: &Target,
    ) -> Option<(&'static str, &'static str)> {
        let spec = &self.input.pipeline.spec;
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

    fn passage(&mut self, info: &EngineInfo, seen: &Seen, target: &Target) -> Passage {
        let state = seen.state();
        let runs_without =
            self.status.settled.as_ref().is_some_and(|settled| {
                settled.checkpoint.is_none() && settled.target.without_storage
            });
        // What is up is kept by the stop for a change.
        if self.status.made_anew.is_some() && !state.is_up() {
            return self.passage_of_what_is_made_anew(seen, target);
        }
        let (base, is_settled) = self.base(state);
        let is_asked_nothing = !info.has_checkpoints()
            || matches!(base, Base::Nothing)
            // Each of its starts is one from nothing, and it runs like that already.
            || target.without_storage && runs_without;
        if !is_asked_nothing {
            self.ask_anew_after_a_stop_without_checkpoint(seen.state());
            self.ask_anew_what_others_let_through(seen.state());
        }
        let id = self.change_id(target, self.revision_of(target));
        let known = self.status.approval.as_ref();
        let known = known.filter(|approval| approval.change_id == id);
        let known = known.map(|approval| (approval.gate, approval.state));
        let unseen = self.unseen(&base, target);
        let policy = self.input.pipeline.spec.bootstrap_policy;
        let refused_before = known.is_none() && !base.is(target) && self.was_rejected(&id);
        // No policy overrules a no, and neither does it that there is nothing left to lose (rule A5).
        if refused_before
            && (policy == BootstrapPolicy::Allow || !unseen.is_empty() || is_asked_nothing)
        {
            return self.publish_at_own_gate(seen, target);
        }
        if known == Some((Gate::Sluice, ApprovalState::Rejected)) {
            self.show_kept_out();
            return Passage::Shut;
        }
        if is_asked_nothing {
            return Passage::Open;
        }
        let outcome = self.preview_of(target).map(|preview| preview.outcome);
        // It has to have said so of a change from just what the start resumes from.
        let of_this = self.preview_of(target).is_some_and(|preview| {
            let compared = preview.compared_with.as_ref();
            compared.is_some_and(|it| base.has_the_program_of(it))
        });
        let engine_asks = outcome == Some(PreviewOutcome::Gated)
            && of_this
            && !base.has_other_settings_than(target);
        if unseen.is_empty() || engine_asks || self.is_allowed(&base, target) {
            return Passage::Open;
        }
        if !is_settled {
            // What runs becomes the parent of the change, and so part of its name, once it is kept.
            let failure = self
                .status
                .seal
                .as_ref()
                .and_then(|seal| seal.failure.as_ref());
            let failure = failure.map(|why| format!(" (the last one could not be written: {why})"));
            self.own_gate = Some(Shown::Asks(format!(
                "the old program goes on until a checkpoint of it exists{}: only then can the change be named and asked about",
                failure.unwrap_or_default()
            )));
            return Passage::Shut;
        }
        match known.map(|(_, state)| state) {
            Some(ApprovalState::Approved | ApprovalState::Applying | ApprovalState::Applied) => {
                return Passage::Open;
            }
            Some(ApprovalState::Awaiting) => {}
            Some(ApprovalState::Rejected | ApprovalState::ApplyFailed) => {
                self.show_kept_out();
                return Passage::Shut;
            }
            Some(ApprovalState::Unknown) => return Passage::Shut,
            // What had run is no change, and whether it begins from nothing is for people to say.
            _ if policy == BootstrapPolicy::Reject && !base.had_run_with(target) => {
                self.held = Some(Hold {
                    reason: Reason::ChangeRefused,
                    message: format!(
                        "bootstrapPolicy is reject, and nothing is changed; refused: {unseen}"
                    ),
                });
                return Passage::Shut;
            }
            _ => return self.publish_at_own_gate(seen, target),
        }
        self.ask_at_own_gate();
        Passage::Shut
    }

    /// Whether `bootstrapPolicy: reject` keeps what isn't asked about by the engine out.
    pub(super) fn policy_refuses(&self, target: &Target) -> bool {
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

    /// Whether a target may be brought to a pipeline, or started, that was made in the place of a lost one and hasn't run yet:
    /// only the one that was approved (rule A22).
    fn passage_of_what_is_made_anew(&mut self, seen: &Seen, target: &Target) -> Passage {
        let id = self.change_id(target, self.revision_of(target));
        let known = self.status.approval.as_ref();
        let known = known.filter(|approval| approval.change_id == id);
        match known.map(|approval| approval.state) {
            Some(ApprovalState::Approved | ApprovalState::Applying | ApprovalState::Applied) => {
                return Passage::Open;
            }
            Some(ApprovalState::Awaiting) => self.ask_at_own_gate(),
            Some(ApprovalState::Rejected | ApprovalState::ApplyFailed) => self.show_kept_out(),
            Some(ApprovalState::Unknown) => {}
            // What isn't asked for any more isn't asked about.
            _ if self.wanted_target().as_ref() != Some(target) => {}
            _ => return self.publish_at_own_gate(seen, target),
        }
        Passage::Shut
    }

    /// What was asked about at this gate and others have started at the engine goes on. Stopped, it isn't started by Sluice before
    /// somebody approves it here (rule A9).
    fn ask_anew_what_others_let_through(&mut self, state: &PipelineState) {
        let approval = self.status.approval.as_ref();
        let is_theirs = approval.is_some_and(|approval| {
            approval.gate == Gate::Sluice && approval.is_let_through_by_others()
        });
        if is_theirs && state.is_stopped() {
            self.is_asked_anew();
        }
    }

    /// A change was asked about as one that drops no input, since it would be stopped for with a checkpoint. Where it is
    /// stopped by now and none was written, that isn't so, and the change isn't made (rule A18). As long as it waits, and
    /// what runs is started again meanwhile, it still is.
    fn ask_anew_after_a_stop_without_checkpoint(&mut self, state: &PipelineState) {
        let is_kept = self
            .status
            .run
            .as_ref()
            .is_some_and(|run| self.is_kept_whole(run, state));
        // One that hasn't come up yet has taken nothing in.
        let has_come_up = self
            .status
            .run
            .as_ref()
            .is_some_and(|run| run.deployment_id.is_some());
        let stays_stopped = self.input.pipeline.spec.desired_state == DesiredState::Stopped;
        let approval = self.status.approval.as_ref();
        let broken = approval.filter(|approval| {
            let stake = approval.at_stake.as_ref();
            let would_be_made = match approval.state {
                ApprovalState::Approved => true,
                ApprovalState::Awaiting => stays_stopped || self.is_left_stopped(state),
                _ => false,
            };
            approval.gate == Gate::Sluice
                && would_be_made
                && has_come_up
                && stake.is_some_and(AtStake::drops_no_input)
        });
        if broken.is_none() || !state.is_stopped() || is_kept {
            return;
        }
        let Some(id) = self.is_asked_anew() else {
            return;
        };
        self.warn(
            EventReason::StoppedWithoutCheckpoint,
            format!(
                "change {id} was asked about as one that drops no input, and it isn't known that the pipeline was stopped with a checkpoint: the change isn't made, and is asked about anew. What came in since the last checkpoint may be lost already. The old program is started again, unless the spec wants it stopped or something else is asked about; what is asked: kubectl sluice diff {} -n {}",
                self.name(),
                self.namespace(),
            ),
        );
    }

    /// Whether a change was rejected that another one has taken the place of since.
    fn was_rejected(&self, id: &str) -> bool {
        let mut turns = self.status.turns.iter();
        turns.any(|turn| turn.change_id == id && turn.rejected.is_some())
    }

    fn publish_at_own_gate(&mut self, seen: &Seen, target: &Target) -> Passage {
        let Some(full) = seen.full() else {
            self.act(Act::Look, Guard::default());
            return Passage::Shut;
        };
        let preview = self.preview_of(target);
        let diff = preview.and_then(|preview| preview.diff.clone());
        let published = self.publish(Question {
            gate: Gate::Sluice,
            diff: diff.map_or(Value::Null, Value::Object),
            connectors: full.connectors.as_ref(),
            target: target.clone(),
            revision: self.revision_of(target),
            state: seen.state(),
        });
        match published {
            ApprovalState::Rejected => self.show_kept_out(),
            _ => self.ask_at_own_gate(),
        }
        Passage::Shut
    }

    /// Opens the gate for a change that was refused here, if somebody asks about it anew. It comes before
    /// the engine is asked again, which takes any retry for its own.
    pub(super) fn reopen_own_gate(&mut self, target: &Target) {
        let refused = self.status.approval.as_ref().is_some_and(|approval| {
            approval.gate == Gate::Sluice
                && approval.target == *target
                && approval.state.is_refused()
        });
        if refused {
            self.reopens();
        }
    }

    /// Says what is asked, over what is said of the program that goes on.
    fn ask_at_own_gate(&mut self) {
        let Some(approval) = &self.status.approval else {
            return;
        };
        self.own_gate = Some(Shown::Asks(format!(
            "change {} waits for approval before anything is changed: {}. To approve it: {}",
            approval.change_id, approval.summary, approval.approve_command
        )));
    }

    /// Says that the change was rejected, or failed before, and what goes on without it.
    fn show_kept_out(&mut self) {
        let Some(approval) = &self.status.approval else {
            return;
        };
        if approval.state == ApprovalState::Rejected {
            let meanwhile = match self.input.engine {
                Observation::Answered {
                    pipeline: Some(seen),
                    ..
                } if seen.state().is_stopped() => "Nothing runs",
                _ => "What runs goes on",
            };
            let then = self
                .way_back()
                .unwrap_or_else(|| "Put the old program back into the spec".to_owned());
            let then = format!("{meanwhile}, and nothing was changed. {then}");
            let message = format!(
                "change {} ({}) was rejected{}. {then}, or open the gate again with: {}",
                approval.change_id,
                approval.summary,
                reason_of(approval),
                self.command(annotation::RETRY, &approval.change_id),
            );
            self.own_gate = Some(Shown::Rejected(message));
            return;
        }
        self.held = Some(Hold {
            reason: Reason::ApplyFailed,
            message: self.could_not_be_applied(approval),
        });
    }

    /// Shows what there is to say of this gate, over what is said of the program that goes on.
    pub(super) fn show_own_gate(&mut self) {
        match self.own_gate.take() {
            Some(Shown::Asks(message)) => self.also_waits(message),
            Some(Shown::AsksStopped(message)) => {
                self.waiting_for(Phase::AwaitingApproval, Reason::AwaitingApproval, message);
            }
            Some(Shown::Rejected(message)) => {
                self.decided_against(Phase::Rejected, Reason::Rejected, message);
            }
            None => {}
        }
    }

    /// What starts under the policy `allow` without having been asked about goes down in history and audit
    /// log all the same.
    fn note_what_allow_lets_through(
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
            || self.is_allowed(&base, target);
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
    pub(super) fn start_lets_through(
        &mut self,
        state: &PipelineState,
        change_id: &str,
        target: &Target,
    ) {
        self.note_what_allow_lets_through(state, change_id, target);
        let (base, _) = self.base(state);
        let policy = ("spec.bootstrapPolicy", "bootstrapPolicy is allow");
        let is_policy = self.input.pipeline.spec.bootstrap_policy == BootstrapPolicy::Allow;
        let said = self.is_said_beforehand(&base, target);
        let said = said.or(is_policy.then_some(policy));
        let allowed = said.is_some();
        let at = self.now();
        let Some(approval) = &mut self.status.approval else {
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
            approval.take(GateEvent::Approved(said_beforehand(
                said.unwrap_or(policy),
                at,
            )));
        }
        self.take(GateEvent::Started);
    }
}

fn said_beforehand((field, why): (&str, &str), at: Time) -> Decision {
    Decision {
        outcome: Outcome::Approved,
        by: field.to_owned(),
        verified: false,
        via: Door::Policy,
        reason: Some(why.to_owned()),
        at,
    }
}
