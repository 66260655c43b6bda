//! What has happened: what came of the last call, and what the engine's pipeline shows. It is written down before anything
//! is decided, so that no decision rests on what isn't in the next status.

pub(crate) mod base;
pub(crate) mod build;
pub(crate) mod call;
pub(crate) mod checkpoint;
pub(crate) mod clock;
pub(crate) mod content;
pub(crate) mod emptied;
pub(crate) mod failures;
pub(crate) mod gate_only;
pub(crate) mod interference;
pub(crate) mod let_through;
pub(crate) mod loss;
pub(crate) mod mark;
pub(crate) mod names;
pub(crate) mod notified;
pub(crate) mod older_release;
pub(crate) mod ownership;
pub(crate) mod past_gate;
pub(crate) mod question;
pub(crate) mod refused;
pub(crate) mod restart;
pub(crate) mod run;
pub(crate) mod sent;
pub(crate) mod settled;
pub(crate) mod stops;
pub(crate) mod view;
pub(crate) mod votes;
pub(crate) mod words_of_failure;

use super::record::Record;
use super::{EngineCall, Seen};
use crate::crd::annotation;
use crate::engine::{self, EngineInfo};

impl<'a> Record<'a> {
    /// What there is to know without the engine's pipeline, and what came of the last call. Returns the call that has failed,
    /// if it isn't made again yet.
    pub(crate) fn take_in_the_last_call(&mut self) -> Option<(EngineCall, &'a engine::Error)> {
        self.status.observed_generation = self.input.pipeline.metadata.generation;
        self.status.pipeline_name = Some(self.input.pipeline.engine_pipeline_name().to_owned());
        self.forget_failures_of_an_older_spec();
        self.no_time_lies_ahead();
        self.tell_contents_apart();
        self.look_at_the_names();
        if self.input.pipeline.annotation(annotation::ADOPT).is_none() {
            self.status.handled_adopt = None;
        }
        let failed = self.take_in_outcome().or_else(|| self.input.held_back());
        self.call_failed = failed.is_some();
        if let Some((EngineCall::Stop, _)) = failed {
            self.stop_has_failed();
        }
        failed
    }

    /// What the engine's pipeline shows: what runs, since when and by whom, what is kept, and what was decided about the
    /// change that waits. Returns the pipeline as it is, where its manager is known to lag behind.
    pub(crate) fn take_in_the_pipeline(&mut self, info: &EngineInfo, seen: Seen) -> Seen {
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
        seen
    }
}
