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

use super::record::Record;
use super::shown::Shown;
use super::{Act, EngineCall, Guard, Input, Observation, Seen};
use crate::engine::{self, EngineInfo};

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
            shown: Shown::from_stored(&record.status),
            record,
            act: None,
        }
    }

    /// Chooses what is done with the pipeline: the first that has something to do, or a reason to do nothing, decides.
    pub(crate) fn choose(&mut self, info: &EngineInfo, seen: &Seen) {
        if self.input.pipeline.is_gate_only() {
            self.keep_the_gate(info, seen);
        } else if self.input.is_unread() {
            self.go_on_unread(info, seen);
        } else if !self.is_fought_over()
            && !self.clear_storage(seen.state())
            && !self.update(info, seen)
        {
            self.live(info, seen);
        }
        self.record
            .tell_what_is_held_up(seen.state(), &mut self.shown);
        if self.act.is_none() && !self.input.is_unread() {
            self.drop_build(seen);
        }
        if self.act.is_none() {
            self.keep_the_mark(seen.state());
        }
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

    /// The record as it is to be, and the call to make. Where one has failed, none is made but what has nothing to do with it.
    pub(crate) fn unless_held_back(
        mut self,
        failed: Option<(EngineCall, &engine::Error)>,
    ) -> (Record<'a>, Option<(Act, Guard)>) {
        if failed.is_some_and(|(call, _)| !call.is_beside_what_runs()) {
            self.act = None;
        }
        self.record.remember_spent_votes();
        self.record.show(self.shown, failed, self.act.is_some());
        (self.record, self.act)
    }
}
