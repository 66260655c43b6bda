//! Keeps Sluice's own gate: what may be brought to the engine, and started, and what is asked about first (rule A9).

use serde_json::Value;

use crate::crd::{
    ApprovalState, BootstrapPolicy, DesiredState, Gate, PreviewOutcome, Target, annotation,
};
use crate::decide::happened::base::{Base, Passage};
use crate::decide::happened::question::{Question, reason_of};
use crate::decide::holds::Hold;
use crate::decide::next::Next;
use crate::decide::shown::SluiceGate;
use crate::decide::{Act, Guard, Observation, Reason, Seen};
use crate::engine::EngineInfo;

impl Next<'_> {
    /// Whether an update to a target may be made, as far as this gate is concerned.
    pub(crate) fn sluice_gate(
        &mut self,
        info: &EngineInfo,
        seen: &Seen,
        target: &Target,
    ) -> Passage {
        let passage = self.passage(info, seen, target);
        let wanted = self.input.pipeline.spec.desired_state != DesiredState::Stopped;
        if passage == Passage::Shut && wanted && self.record.is_left_stopped(seen.state()) {
            self.nothing_goes_on(target);
            return Passage::Blocked;
        }
        passage
    }

    /// Whether what the engine holds may be started. It can be there without having been asked about: by
    /// somebody's hand at the engine, or because `bootstrapPolicy` was `allow` when it was brought there.
    pub(crate) fn may_start(&mut self, info: &EngineInfo, seen: &Seen) -> bool {
        let held = self.record.status.content.as_ref();
        let Some(target) = held.map(|held| held.target.clone()) else {
            return true;
        };
        if self.passage(info, seen, &target) == Passage::Open {
            return true;
        }
        self.nothing_goes_on(&target);
        false
    }

    pub(crate) fn nothing_goes_on(&mut self, target: &Target) {
        let theirs = self.record.fields_that_others_set(target);
        self.shown.sluice_gate = self.shown.sluice_gate.take().map(|shown| match shown {
            SluiceGate::Asks(message) => SluiceGate::AsksStopped(match theirs {
                Some(fields) => format!(
                    "nothing runs: somebody changed this at the engine (to undo it, write what is right into {fields}, or put it back there); {message}"
                ),
                None => format!("nothing runs: {message}"),
            }),
            other => other,
        });
    }

    pub(crate) fn passage(&mut self, info: &EngineInfo, seen: &Seen, target: &Target) -> Passage {
        let state = seen.state();
        let runs_without =
            self.record.status.settled.as_ref().is_some_and(|settled| {
                settled.checkpoint.is_none() && settled.target.without_storage
            });
        // What is up is kept by the stop for a change.
        if self.record.status.made_anew.is_some() && !state.is_up() {
            return self.passage_of_what_is_made_anew(seen, target);
        }
        let (base, is_settled) = self.record.base(state);
        let is_asked_nothing = !info.has_checkpoints()
            || matches!(base, Base::Nothing)
            // Each of its starts is one from nothing, and it runs like that already.
            || target.without_storage && runs_without;
        if !is_asked_nothing {
            self.record
                .ask_anew_after_a_stop_without_checkpoint(seen.state());
            self.record.ask_anew_what_others_let_through(seen.state());
        }
        let id = self
            .record
            .change_id(target, self.record.revision_of(target));
        let known = self.record.status.approval.as_ref();
        let known = known.filter(|approval| approval.change_id == id);
        let known = known.map(|approval| (approval.gate, approval.state));
        let unseen = self.record.unseen(&base, target);
        let policy = self.input.pipeline.spec.bootstrap_policy;
        let refused_before = known.is_none() && !base.is(target) && self.record.was_rejected(&id);
        // No policy overrules a no, and neither does it that there is nothing left to lose (rule A5).
        if refused_before
            && (policy == BootstrapPolicy::Allow || !unseen.is_empty() || is_asked_nothing)
        {
            return self.publish_at_sluice_gate(seen, target);
        }
        if known == Some((Gate::Sluice, ApprovalState::Rejected)) {
            self.show_kept_out();
            return Passage::Shut;
        }
        if is_asked_nothing {
            return Passage::Open;
        }
        let outcome = self
            .record
            .preview_of(target)
            .map(|preview| preview.outcome);
        // It has to have said so of a change from just what the start resumes from.
        let of_this = self.record.preview_of(target).is_some_and(|preview| {
            let compared = preview.compared_with.as_ref();
            compared.is_some_and(|it| base.has_the_program_of(it))
        });
        let engine_asks = outcome == Some(PreviewOutcome::Gated)
            && of_this
            && !base.has_other_settings_than(target);
        if unseen.is_empty() || engine_asks || self.input.is_allowed(&base, target) {
            return Passage::Open;
        }
        if !is_settled {
            // What runs becomes the parent of the change, and so part of its name, once it is kept.
            let failure = self
                .record
                .status
                .seal
                .as_ref()
                .and_then(|seal| seal.failure.as_ref());
            let failure = failure.map(|why| format!(" (the last one could not be written: {why})"));
            self.shown.sluice_gate = Some(SluiceGate::Asks(format!(
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
                self.shown.held = Some(Hold {
                    reason: Reason::ChangeRefused,
                    message: format!(
                        "bootstrapPolicy is reject, and nothing is changed; refused: {unseen}"
                    ),
                });
                return Passage::Shut;
            }
            _ => return self.publish_at_sluice_gate(seen, target),
        }
        self.ask_at_sluice_gate();
        Passage::Shut
    }

    /// Whether a target may be brought to a pipeline, or started, that was made in the place of a lost one and hasn't run yet:
    /// only the one that was approved (rule A22).
    pub(crate) fn passage_of_what_is_made_anew(&mut self, seen: &Seen, target: &Target) -> Passage {
        let id = self
            .record
            .change_id(target, self.record.revision_of(target));
        let known = self.record.status.approval.as_ref();
        let known = known.filter(|approval| approval.change_id == id);
        match known.map(|approval| approval.state) {
            Some(ApprovalState::Approved | ApprovalState::Applying | ApprovalState::Applied) => {
                return Passage::Open;
            }
            Some(ApprovalState::Awaiting) => self.ask_at_sluice_gate(),
            Some(ApprovalState::Rejected | ApprovalState::ApplyFailed) => self.show_kept_out(),
            Some(ApprovalState::Unknown) => {}
            // What isn't asked for any more isn't asked about.
            _ if self.record.wanted_target().as_ref() != Some(target) => {}
            _ => return self.publish_at_sluice_gate(seen, target),
        }
        Passage::Shut
    }

    pub(crate) fn publish_at_sluice_gate(&mut self, seen: &Seen, target: &Target) -> Passage {
        let Some(full) = seen.full() else {
            self.act(Act::Look, Guard::default());
            return Passage::Shut;
        };
        let preview = self.record.preview_of(target);
        let diff = preview.and_then(|preview| preview.diff.clone());
        let published = self.record.publish(Question {
            gate: Gate::Sluice,
            diff: diff.map_or(Value::Null, Value::Object),
            connectors: full.connectors.as_ref(),
            target: target.clone(),
            revision: self.record.revision_of(target),
            state: seen.state(),
        });
        match published {
            ApprovalState::Rejected => self.show_kept_out(),
            _ => self.ask_at_sluice_gate(),
        }
        Passage::Shut
    }

    /// Says what is asked, over what is said of the program that goes on.
    pub(crate) fn ask_at_sluice_gate(&mut self) {
        let Some(approval) = &self.record.status.approval else {
            return;
        };
        self.shown.sluice_gate = Some(SluiceGate::Asks(format!(
            "change {} waits for approval before anything is changed: {}. To approve it: {}",
            approval.change_id, approval.summary, approval.approve_command
        )));
    }

    /// Says that the change was rejected, or failed before, and what goes on without it.
    pub(crate) fn show_kept_out(&mut self) {
        let Some(approval) = &self.record.status.approval else {
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
                .record
                .way_back()
                .unwrap_or_else(|| "Put the old program back into the spec".to_owned());
            let then = format!("{meanwhile}, and nothing was changed. {then}");
            let message = format!(
                "change {} ({}) was rejected{}. {then}, or open the gate again with: {}",
                approval.change_id,
                approval.summary,
                reason_of(approval),
                self.input.command(annotation::RETRY, &approval.change_id),
            );
            self.shown.sluice_gate = Some(SluiceGate::Rejected(message));
            return;
        }
        self.shown.held = Some(Hold {
            reason: Reason::ApplyFailed,
            message: self.input.could_not_be_applied(approval),
        });
    }
}
