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
use crate::decide::record::Record;
use crate::decide::shown::Shown;
use crate::decide::{Act, EngineCall, Guard, Input, Needs, Observation, Plan, Step};

/// What is to be done, after what has happened is written down, and what is said of it.
pub(crate) struct Next<'a> {
    pub(crate) input: &'a Input<'a>,
    pub(crate) record: Record<'a>,
    pub(crate) act: Option<(Act, Guard)>,
    pub(crate) shown: Shown,
}

impl<'a> Next<'a> {
    pub(crate) fn after(record: Record<'a>) -> Self {
        Self {
            input: record.input,
            shown: Shown::before(&record.status),
            record,
            act: None,
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
            self.record
                .tell_what_is_held_up(seen.state(), &mut self.shown);
            if self.act.is_none() && !self.input.is_unread() {
                self.drop_build(&seen);
            }
            if self.act.is_none() {
                self.keep_the_mark(seen.state());
            }
        }
        self.record.remember_spent_votes();
        if failed.is_some_and(|(call, _)| !call.is_beside_what_runs()) {
            self.act = None;
        }
        self.record.show(self.shown, failed, self.act.is_some());
        finish(self.record, self.act)
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
}

/// Whether all that there is to record is that lines of the audit log are written, and something
/// more urgent is to be done. It is recorded with what comes of that.
fn can_wait(record: &Record, act: Option<&(Act, Guard)>, stored: &PipelineStatus) -> bool {
    let urgent = act;
    let urgent = urgent.filter(|(act, guard)| record.input.must_show_first(act, guard).is_none());
    urgent.is_some()
        && record.status.audit_pending.len() < stored.audit_pending.len()
        && PipelineStatus {
            audit_pending: stored.audit_pending.clone(),
            ..record.status.clone()
        } == *stored
}

/// Recording comes before acting, so that every act has its intent in status.
fn finish(mut record: Record, act: Option<(Act, Guard)>) -> Plan {
    record.audit();
    bounds::keep_small(&mut record.status, record.input.pipeline);
    let stored = record.input.pipeline.status.clone().unwrap_or_default();
    record.note_the_policies(&stored);
    let looks = matches!(act, Some((Act::Look, _)));
    let (step, reports) = if looks && record.input.outcome.is_none() {
        // To look changes nothing, so nothing is recorded before: what is known afterwards may be
        // what is stored, and two records that undo each other would never end.
        (Step::Act(Act::Look, Guard::default()), vec![])
    } else if record.status != stored && !can_wait(&record, act.as_ref(), &stored) {
        (Step::Record(Box::new(record.status)), record.reports)
    } else if let Some((act, guard)) = act {
        match record.input.must_show_first(&act, &guard) {
            Some(pause) => {
                record.look_again_in(pause);
                (Step::Wait, vec![])
            }
            None => (Step::Act(act, guard), vec![]),
        }
    } else {
        (Step::Wait, vec![])
    };
    Plan {
        needs: Needs::of(&step, record.input),
        step,
        reports,
        requeue: record.requeue,
    }
}
