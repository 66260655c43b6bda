//! From what is seen to what is done next. Pure: no client, no clock, no I/O.
//!
//! A [`Plan`] either *records* (a new status; the caller writes it and asks again) or *acts* (one
//! engine call under a [`Guard`], a comparison with a read made just before), never both. So
//! whatever is done has its intent in status first, and after a crash the engine is looked at
//! before anything is repeated. Asked again with the same input and the recorded status, the
//! answer never is to record again.
//!
//! The steps stand in [`Decider::run`]; each has a file of its own.

mod audit;
mod ballot;
pub mod bounds;
mod build;
mod clock;
mod conditions;
pub mod deletion;
mod emptied;
mod engine_call;
mod event_reason;
mod failures;
mod gate;
mod gate_only;
pub mod history;
mod immutable;
mod input;
mod interference;
mod lifecycle;
mod lineage;
mod loss;
mod marking;
mod names;
mod needs;
mod notify_engine;
mod older_release;
mod outcome;
mod ownership;
mod past_gate;
mod plan;
mod restart;
mod seal;
mod sluice_gate;
mod unread;
mod update;
mod words_of_failure;

#[cfg(test)]
mod tests;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::GateEvent;
use crate::crd::{
    Approval, ApprovalState, EngineView, PipelineStatus, PoliciesSeen, StopKind, VoteDecision,
    annotation,
};
use crate::engine::{self, EngineInfo, PipelineState};
use crate::votes::{Effect, effect};

pub use audit::AuditEvent;
pub use build::{build_tag, is_build, is_of, is_own_build};
pub use conditions::{ApprovedReason, CONDITION_TYPES, Reason};
pub use engine_call::EngineCall;
pub use event_reason::EventReason;
pub use gate::AT_THE_GATE;
pub use input::{CheckpointStatusSeen, Input, Observation, Seen, Timing};
pub use needs::Needs;
pub use ownership::is_owned;
pub use plan::{Act, Asked, Guard, LastCall, Outcome, Plan, Report, Step, remembered};

/// How often a Pipeline looks whether the older one with the same claim is gone.
const RIVAL_INTERVAL: Duration = Duration::from_secs(30);

/// Decides.
pub fn decide(input: &Input) -> Plan {
    Decider::new(input).run()
}

/// The work sheet of one decision: the next status grows on it, step by step.
struct Decider<'a> {
    input: &'a Input<'a>,
    status: PipelineStatus,
    reports: Vec<Report>,
    act: Option<(Act, Guard)>,
    requeue: Option<Duration>,
    /// Why the spec's content isn't brought to the engine although it differs.
    held: Option<conditions::Hold>,
    /// Whether the spec's content is being compiled while the old one goes on.
    building: bool,
    /// What waits for the engine to be done with a start or a bootstrap.
    held_up: Option<lifecycle::HeldUp>,
    /// Whether the last call has failed, so that none is made now.
    call_failed: bool,
    /// What there is to say of Sluice's own gate.
    own_gate: Option<sluice_gate::Shown>,
    /// What is known of the policies; written along as soon as there is something to write.
    policies: Option<PoliciesSeen>,
}

impl<'a> Decider<'a> {
    fn new(input: &'a Input<'a>) -> Self {
        Self {
            input,
            status: bounds::taken_up(input.pipeline),
            reports: vec![],
            act: None,
            requeue: None,
            held: None,
            building: false,
            held_up: None,
            call_failed: false,
            own_gate: None,
            policies: None,
        }
    }

    /// The steps, in their order.
    fn run(mut self) -> Plan {
        self.status.observed_generation = self.input.pipeline.metadata.generation;
        self.status.pipeline_name = Some(self.input.pipeline.engine_pipeline_name().to_owned());
        self.forget_failures_of_an_older_spec();
        self.no_time_lies_ahead();
        self.tell_contents_apart();
        self.look_at_the_names();
        if self.input.pipeline.annotation(annotation::ADOPT).is_none() {
            self.status.handled_adopt = None;
        }
        let failed = self.absorb_outcome().or_else(|| self.held_back());
        self.call_failed = failed.is_some();
        if let Some((EngineCall::Stop, _)) = failed {
            self.stop_has_failed();
        }
        if let Some((info, seen)) = self.pipeline_to_work_on() {
            self.complete_old_targets();
            self.read_the_mark(seen.state());
            self.view(info, &seen);
            self.follow(info, seen.state());
            self.note_an_idle_force_stop(seen.state());
            let seen = self.corrected(seen);
            self.note_the_gate_is_passed(seen.state());
            self.settle(&seen);
            self.keep_program();
            self.supersede(seen.state());
            self.vote();
            if self.input.pipeline.is_guest() {
                self.guard(info, &seen);
            } else if self.is_unread() {
                self.go_on_unread(info, &seen);
            } else if !self.is_fought_over()
                && !self.clear_storage(seen.state())
                && !self.update(info, &seen)
            {
                self.live(info, &seen);
            }
            self.show_held_up(seen.state());
            if self.act.is_none() && !self.is_unread() {
                self.drop_build(&seen);
            }
            if self.act.is_none() {
                self.keep_the_mark(seen.state());
            }
        }
        self.remember_spent_votes();
        self.explain_stale_votes();
        self.show_own_gate();
        self.explain_unfounded_votes();
        self.show_missing_policies();
        self.show_settings_not_shown();
        self.show_held();
        self.show_building();
        if let Some((act, error)) = failed {
            self.show_failed_call(act, error);
        }
        self.finish()
    }

    /// What the engine shows, in its own words, and what it is known to consist of.
    fn view(&mut self, info: &EngineInfo, seen: &Seen) {
        let state = seen.state();
        let had_state =
            self.status.engine.as_ref().is_some_and(|known| {
                known.had_state && known.pipeline_id.as_ref() == Some(&state.id)
            });
        let has_state = !matches!(state.storage_status.as_str(), "" | "Cleared");
        // What the pipeline itself has said of one, the engine's list may not show yet.
        let known = self.status.engine.as_ref();
        let had_checkpoint =
            known.is_some_and(|known| known.had_checkpoint) && self.is_known_as(state);
        self.status.engine = Some(EngineView {
            had_state: had_state || has_state || !state.checkpoints.is_empty(),
            had_checkpoint: had_checkpoint || !state.checkpoints.is_empty(),
            pipeline_id: Some(state.id.clone()),
            deployment_id: state.deployment_id.clone(),
            deployment_status: Some(state.deployment_status.clone()),
            program_status: Some(state.program_status.clone()),
            program_version: Some(state.program_version),
            edition: Some(info.edition.clone()),
            version: Some(info.version.clone()),
        });
        if let Some(full) = seen.full()
            && !self.is_unread()
        {
            self.note_content(full);
        }
    }

    /// Which deployment there is, who made it, and how it ended.
    fn follow(&mut self, info: &EngineInfo, state: &PipelineState) {
        // That it was to be stopped counts only if it is: whoever asks for it now says so again. What was asked for a
        // moment ago may show yet, whatever is wished by now.
        let asked = self
            .status
            .run
            .as_ref()
            .and_then(|run| run.graceful_stop.as_ref());
        let resend_after = self.input.timing.resend_after;
        let call_failed = self.call_failed;
        let may_stop_yet = asked.is_some_and(|asked| {
            self.since(&asked.at) <= resend_after || asked.failed && call_failed
        });
        if let Some(run) = &mut self.status.run
            && run.deployment_id == state.deployment_id
            && !state.is_stopped()
            && !state.is_stopping()
        {
            if run.stop == Some(StopKind::Checkpoint) && may_stop_yet {
                self.look_again_in(self.input.timing.resend_after);
            } else {
                run.stop = None;
                run.graceful_stop = None;
            }
        }
        if self.input.pipeline.is_guest() {
            self.follow_a_guest(state);
        } else {
            self.note_deployment(info, state);
            self.note_what_runs(state);
            self.notice_a_foreign_start(state);
            self.notice_a_start_of_what_had_ended(state);
        }
        self.notice_an_outside_stop(state);
        self.notice_a_run_that_nobody_saw(state);
        // Before what is kept may turn out to be unknown, and what ran with it.
        if state.is_stopped() {
            self.notice_a_failure(state);
        }
        self.notice_an_outside_clear(state);
    }

    /// The change that can still be decided: it waits, or it is approved and the engine has certainly
    /// not been told yet.
    fn waiting(&self) -> Option<&Approval> {
        self.status
            .approval
            .as_ref()
            .filter(|approval| match approval.state {
                ApprovalState::Applying => self.input.about_to_tell,
                state => effect(state, VoteDecision::Reject) == Effect::Counts,
            })
    }

    fn uid(&self) -> &'a str {
        self.input
            .pipeline
            .metadata
            .uid
            .as_deref()
            .unwrap_or_default()
    }

    fn now(&self) -> Time {
        Time(self.input.now)
    }

    /// How long ago something was. The past never lies ahead, whatever the clocks say.
    fn since(&self, then: &Time) -> Duration {
        Duration::try_from(self.input.now.duration_since(then.0)).unwrap_or_default()
    }

    /// Sets what is called next, unless that has just failed. What is called for a pipeline that was seen is for that one.
    fn act(&mut self, act: Act, mut guard: Guard) {
        if let Observation::Answered {
            pipeline: Some(seen),
            ..
        } = self.input.engine
            && !guard.is_empty()
        {
            guard.pipeline_id = Some(seen.state().id.clone());
        }
        if !self.is_held_back(&act) {
            self.act = Some((act, guard));
        }
    }

    /// The call that failed a while ago, and is known to have.
    fn held_back(&self) -> Option<(EngineCall, &'a engine::Error)> {
        match self.input.held_back? {
            Outcome::Failed { act, error } => Some((*act, error)),
            _ => None,
        }
    }

    fn is_held_back(&self, act: &Act) -> bool {
        let call = act.call();
        let last = self.input.outcome.into_iter().chain(self.input.held_back);
        let mut failed = last.filter(|it| it.holds_back_only_itself());
        failed.any(|it| matches!(it, Outcome::Failed { act, .. } if *act == call))
    }

    fn look_again_in(&mut self, pause: Duration) {
        self.requeue = Some(self.requeue.map_or(pause, |other| other.min(pause)));
    }

    fn report(&mut self, reason: EventReason, message: String) {
        self.reports.push(Report {
            warning: false,
            reason,
            message,
        });
    }

    fn warn(&mut self, reason: EventReason, message: String) {
        self.reports.push(Report {
            warning: true,
            reason,
            message,
        });
    }

    /// Has something happen to the change at the gate.
    fn take(&mut self, event: GateEvent) {
        let Some(approval) = &mut self.status.approval else {
            return;
        };
        let before = approval.state;
        let could = approval.take(event.clone());
        debug_assert!(could, "{event:?} in state {before:?}");
        self.status.waiting_since = None;
    }

    /// Whether whatever was called last shows in the engine's answers by now.
    fn last_call_shows(&self) -> bool {
        let last = self.input.last_call.map(|last| Time(last.at));
        last.is_none_or(|at| self.since(&at) > self.input.timing.resend_after)
    }

    /// How long the same call, just made, is given to show in the engine's answers.
    fn must_show_first(&self, act: &Act, guard: &Guard) -> Option<Duration> {
        let last = self.input.last_call?;
        let repeated = last.act == *act && last.guard == *guard && *act != Act::Look;
        if self.lies_ahead(&Time(last.at)) {
            return None;
        }
        let waited = self.since(&Time(last.at));
        let pause = self.input.timing.resend_after.checked_sub(waited)?;
        repeated.then_some(pause)
    }

    /// Whether all that there is to record is that lines of the audit log are written, and something
    /// more urgent is to be done. It is recorded with what comes of that.
    fn can_wait(&self, stored: &PipelineStatus) -> bool {
        let urgent = self.act.as_ref();
        let urgent = urgent.filter(|(act, guard)| self.must_show_first(act, guard).is_none());
        urgent.is_some()
            && self.status.audit_pending.len() < stored.audit_pending.len()
            && PipelineStatus {
                audit_pending: stored.audit_pending.clone(),
                ..self.status.clone()
            } == *stored
    }

    /// Recording comes before acting, so that every act has its intent in status.
    fn finish(mut self) -> Plan {
        self.approved_condition();
        self.audit();
        self.status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        bounds::keep_small(&mut self.status, self.input.pipeline);
        let stored = self.input.pipeline.status.clone().unwrap_or_default();
        self.note_the_policies(&stored);
        let looks = matches!(self.act, Some((Act::Look, _)));
        let (step, reports) = if looks && self.input.outcome.is_none() {
            // To look changes nothing, so nothing is recorded before: what is known afterwards may be
            // what is stored, and two records that undo each other would never end.
            (Step::Act(Act::Look, Guard::default()), vec![])
        } else if self.status != stored && !self.can_wait(&stored) {
            (Step::Record(Box::new(self.status)), self.reports)
        } else if let Some((act, guard)) = self.act.take() {
            match self.must_show_first(&act, &guard) {
                Some(pause) => {
                    self.look_again_in(pause);
                    (Step::Wait, vec![])
                }
                None => (Step::Act(act, guard), vec![]),
            }
        } else {
            (Step::Wait, vec![])
        };
        Plan {
            needs: Self::needs(&step, self.input),
            step,
            reports,
            requeue: self.requeue,
        }
    }
}
