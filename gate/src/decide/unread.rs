//! While the content that the spec refers to can't be read: a ConfigMap that isn't there, or that the API server doesn't give.
//!
//! What is owed regardless goes on: votes are counted, what was approved is seen through, a checkpoint of what runs is
//! asked for, and what is to be stopped is stopped. Nothing is started, updated or restarted: whether it is
//! still asked for isn't known.

use std::time::Duration;

use super::conditions::Reason;
use super::{Decider, Seen};
use crate::engine::{EngineInfo, PipelineState};

/// How soon it is tried again where nothing tells that it can be read by now.
const AGAIN: Duration = Duration::from_secs(30);

impl Decider<'_> {
    /// Whether the spec's content is unknown.
    pub(super) fn is_unread(&self) -> bool {
        self.input.content.is_err()
    }

    /// Whether the engine's pipeline is the one that this Pipeline had when its content was known.
    pub(super) fn is_the_one_of_before(&self, state: &PipelineState) -> bool {
        let known = self.status.engine.as_ref();
        known.is_some_and(|known| known.pipeline_id.as_ref() == Some(&state.id))
            && self.status.content.is_some()
            && super::is_owned(state, self.input.pipeline)
    }

    /// Says what is wrong, over whatever goes on.
    pub(super) fn show_unread(&mut self) {
        if let Err(message) = self.input.content {
            self.look_again_in(AGAIN);
            self.missing(Reason::ContentNotFound, message.clone());
        }
    }

    /// Does what is owed whatever the spec asks for by now.
    pub(super) fn go_on_unread(&mut self, info: &EngineInfo, seen: &Seen) {
        if self.is_fought_over() {
            return;
        }
        if !seen.state().is_stopped() {
            self.live(info, seen);
        }
        self.show_unread();
    }
}
