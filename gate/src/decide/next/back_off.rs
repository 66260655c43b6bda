//! Leaves a pipeline that failed alone for a while, or until somebody acts.

use crate::crd::{Phase, annotation};
use crate::decide::Reason;
use crate::decide::happened::failures::ANY_NEW_VALUE;
use crate::decide::next::Next;

impl Next<'_> {
    /// Whether a failed pipeline is left alone for now; phase and conditions say so.
    pub(crate) fn must_wait_after_failure(&mut self) -> bool {
        let Some(failures) = self.record.status.failures.clone() else {
            return false;
        };
        if failures.permanent {
            if self.record.retry_is_new() {
                self.record.take_retry();
                self.record.status.failures = None;
                return false;
            }
            self.shown.phase(Phase::Failed);
            self.shown.stalled(
                Reason::Failed,
                format!(
                    "{} It is not started again by itself: correct the spec, or try again with: {}",
                    failures.message,
                    self.input.command(annotation::RETRY, ANY_NEW_VALUE)
                ),
            );
            return true;
        }
        let pause = self.input.restart_pause(failures.count);
        let waited = self.input.since(&failures.last_at);
        if self.record.retry_is_new() {
            self.record.take_retry();
            return false;
        }
        if waited >= pause {
            return false;
        }
        self.shown.waiting_for(
            Phase::Failed,
            Reason::BackingOff,
            format!(
                "{} (failure {} in a row; started again after a pause of {} s)",
                failures.message,
                failures.count,
                pause.as_secs()
            ),
        );
        self.record.look_again_in(pause - waited);
        true
    }
}
