//! Leaves a pipeline alone that somebody else keeps changing.

use crate::crd::annotation;
use crate::decide::happened::failures::ANY_NEW_VALUE;
use crate::decide::happened::interference::{TOLERATED, WINDOW};
use crate::decide::next::Next;
use crate::decide::next::live::phase_of;
use crate::decide::{Observation, Reason};

impl Next<'_> {
    /// Whether it was put right often enough; phase and conditions say so, and how to go on.
    pub(crate) fn is_fought_over(&mut self) -> bool {
        let Some(known) = self.record.recent_interference().cloned() else {
            return false;
        };
        if known.count <= TOLERATED {
            return false;
        }
        if self.record.retry_is_new() {
            self.record.take_retry();
            self.record.status.interference = None;
            return false;
        }
        self.record
            .look_again_in(WINDOW.saturating_sub(self.input.since(&known.last_at)));
        let message = format!(
            "somebody else keeps changing the pipeline at the engine, {} times lately; the last: {}. It is left as it is: find out who, and go on with: {}",
            known.count,
            known.message,
            self.input.command(annotation::RETRY, ANY_NEW_VALUE),
        );
        if let Observation::Answered {
            pipeline: Some(seen),
            ..
        } = self.input.engine
        {
            self.shown.phase(phase_of(seen.state()));
        }
        self.shown.stalled(Reason::FoughtOver, message);
        true
    }
}
