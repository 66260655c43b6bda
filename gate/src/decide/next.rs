//! What is done next, and what is shown meanwhile.

pub(crate) mod back_off;
pub(crate) mod build;
pub(crate) mod engine_gate;
pub(crate) mod gate_only;
pub(crate) mod interference;
pub(crate) mod live;
pub(crate) mod loss;
pub(crate) mod mark;
pub(crate) mod notify_engine;
pub(crate) mod ownership;
pub(crate) mod past_gate;
pub(crate) mod restart;
pub(crate) mod seal;
pub(crate) mod sluice_gate;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod unread;
pub(crate) mod up;
pub(crate) mod update;

use crate::crd::{PipelineStatus, annotation};
use crate::decide::bounds;
use crate::decide::happened::base::Shown;
use crate::decide::next::live::HeldUp;
use crate::decide::record::Record;
use crate::decide::shown::conditions::Hold;
use crate::decide::{Act, EngineCall, Guard, Input, Needs, Observation, Plan, Step};

/// What is to be done, after what has happened is written down.
pub(crate) struct Next<'a> {
    pub(crate) input: &'a Input<'a>,
    pub(crate) record: Record<'a>,
    pub(crate) act: Option<(Act, Guard)>,
    /// Why the spec's content isn't brought to the engine although it differs.
    pub(crate) held: Option<Hold>,
    /// Whether the spec's content is being compiled while the old one goes on.
    pub(crate) building: bool,
    /// What waits for the engine to be done with a start or a bootstrap.
    pub(crate) held_up: Option<HeldUp>,
    /// What there is to say of Sluice's own gate.
    pub(crate) own_gate: Option<Shown>,
}

impl<'a> Next<'a> {
    pub(crate) fn after(record: Record<'a>) -> Self {
        Self {
            input: record.input,
            record,
            act: None,
            held: None,
            building: false,
            held_up: None,
            own_gate: None,
        }
    }

    /// The steps, in their order.
    pub(crate) fn run(mut self) -> Plan {
        self.record.status.observed_generation = self.input.pipeline.metadata.generation;
        self.record.status.pipeline_name =
            Some(self.input.pipeline.engine_pipeline_name().to_owned());
        self.record.forget_failures_of_an_older_spec();
        self.record.no_time_lies_ahead();
        self.record.tell_contents_apart();
        self.record.look_at_the_names();
        if self.input.pipeline.annotation(annotation::ADOPT).is_none() {
            self.record.status.handled_adopt = None;
        }
        let failed = self
            .record
            .absorb_outcome()
            .or_else(|| self.input.held_back());
        self.record.call_failed = failed.is_some();
        if let Some((EngineCall::Stop, _)) = failed {
            self.record.stop_has_failed();
        }
        if let Some((info, seen)) = self.pipeline_to_work_on() {
            self.record.complete_old_targets();
            self.record.read_the_mark(seen.state());
            self.record.view(info, &seen);
            self.record.follow(info, seen.state());
            self.record.note_an_idle_force_stop(seen.state());
            let seen = self.record.corrected(seen);
            self.record.note_the_gate_is_passed(seen.state());
            self.record.settle(&seen);
            self.record.keep_program();
            self.record.supersede(seen.state());
            self.record.vote();
            if self.input.pipeline.is_guest() {
                self.guard(info, &seen);
            } else if self.input.is_unread() {
                self.go_on_unread(info, &seen);
            } else if !self.is_fought_over()
                && !self.clear_storage(seen.state())
                && !self.update(info, &seen)
            {
                self.live(info, &seen);
            }
            self.show_held_up(seen.state());
            if self.act.is_none() && !self.input.is_unread() {
                self.drop_build(&seen);
            }
            if self.act.is_none() {
                self.keep_the_mark(seen.state());
            }
        }
        self.record.remember_spent_votes();
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

    /// Sets what is called next, unless that has just failed. What is called for a pipeline that was seen is for that one.
    pub(crate) fn act(&mut self, act: Act, mut guard: Guard) {
        if let Observation::Answered {
            pipeline: Some(seen),
            ..
        } = self.input.engine
            && !guard.is_empty()
        {
            guard.pipeline_id = Some(seen.state().id.clone());
        }
        if !self.input.is_held_back(&act) {
            self.act = Some((act, guard));
        }
    }

    /// Whether all that there is to record is that lines of the audit log are written, and something
    /// more urgent is to be done. It is recorded with what comes of that.
    pub(crate) fn can_wait(&self, stored: &PipelineStatus) -> bool {
        let urgent = self.act.as_ref();
        let urgent = urgent.filter(|(act, guard)| self.input.must_show_first(act, guard).is_none());
        urgent.is_some()
            && self.record.status.audit_pending.len() < stored.audit_pending.len()
            && PipelineStatus {
                audit_pending: stored.audit_pending.clone(),
                ..self.record.status.clone()
            } == *stored
    }

    /// Recording comes before acting, so that every act has its intent in status.
    pub(crate) fn finish(mut self) -> Plan {
        self.approved_condition();
        self.audit();
        self.record
            .status
            .conditions
            .sort_by(|a, b| a.type_.cmp(&b.type_));
        bounds::keep_small(&mut self.record.status, self.input.pipeline);
        let stored = self.input.pipeline.status.clone().unwrap_or_default();
        self.note_the_policies(&stored);
        let looks = matches!(self.act, Some((Act::Look, _)));
        let (step, reports) = if looks && self.input.outcome.is_none() {
            // To look changes nothing, so nothing is recorded before: what is known afterwards may be
            // what is stored, and two records that undo each other would never end.
            (Step::Act(Act::Look, Guard::default()), vec![])
        } else if self.record.status != stored && !self.can_wait(&stored) {
            (
                Step::Record(Box::new(self.record.status)),
                self.record.reports,
            )
        } else if let Some((act, guard)) = self.act.take() {
            match self.input.must_show_first(&act, &guard) {
                Some(pause) => {
                    self.record.look_again_in(pause);
                    (Step::Wait, vec![])
                }
                None => (Step::Act(act, guard), vec![]),
            }
        } else {
            (Step::Wait, vec![])
        };
        Plan {
            needs: Needs::of(&step, self.input),
            step,
            reports,
            requeue: self.record.requeue,
        }
    }
}
