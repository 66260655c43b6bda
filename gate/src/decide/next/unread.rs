//! While the content that the spec refers to can't be read: a ConfigMap that isn't there, or that the API server doesn't give.
//!
//! What is owed regardless goes on: votes are counted, what was approved is seen through, a checkpoint of what runs is
//! asked for, and what is to be stopped is stopped. Nothing is started, updated or restarted: whether it is
//! still asked for isn't known.

use std::time::Duration;

use crate::decide::next::Next;
use crate::decide::{Reason, Seen};
use crate::engine::EngineInfo;

/// How soon it is tried again where nothing tells that it can be read by now.
pub(crate) const AGAIN: Duration = Duration::from_secs(30);

impl Next<'_> {
    /// Says what is wrong, over whatever goes on.
    pub(crate) fn show_unread(&mut self) {
        if let Err(message) = self.input.content {
            self.record.look_again_in(AGAIN);
            self.shown.missing(Reason::ContentNotFound, message.clone());
        }
    }

    /// Does what is owed whatever the spec asks for by now.
    pub(crate) fn go_on_unread(&mut self, info: &EngineInfo, seen: &Seen) {
        if self.is_fought_over() {
            return;
        }
        if !seen.state().is_stopped() {
            self.live(info, seen);
        }
        self.show_unread();
    }
}
