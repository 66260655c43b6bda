//! Failures of a pipeline in its engine, counted in status.

use std::time::Duration;

use crate::crd::{ApprovalState, Failures, annotation};
use crate::decide::happened::words_of_failure;
use crate::decide::record::Record;
use crate::decide::{EventReason, Input};
use crate::engine::PipelineState;
use crate::{GateEvent, canonical};

/// For a command that only needs a value that wasn't there before.
pub(crate) const ANY_NEW_VALUE: &str = "\"$(date +%s)\"";

/// A pipeline that keeps failing is started again after 10 s, 20 s, … and at most this long.
pub(crate) const MAX_RESTART_BACKOFF: Duration = Duration::from_secs(900);

impl Input<'_> {
    /// The engine's error in words that say what is wrong and what to do.
    pub(crate) fn in_words(&self, code: &str, message: &str) -> String {
        words_of_failure::explain(code, message)
    }

    /// The pause grows with each failure; the jitter comes from the uid, so that pipelines that
    /// failed together don't start together, and the plan stays the same for the same input.
    pub(crate) fn restart_pause(&self, failures: i64) -> Duration {
        let pause = backoff(
            self.timing.restart_backoff,
            MAX_RESTART_BACKOFF,
            failures - 1,
        );
        let spread = canonical::digest(&(self.uid(), failures));
        let percent = u32::from_str_radix(&spread[..4], 16).unwrap_or(0) % 20;
        (pause + pause * percent / 100).min(MAX_RESTART_BACKOFF)
    }
}

impl Record<'_> {
    /// Counts a failure once per run.
    pub(crate) fn notice_a_failure(&mut self, state: &PipelineState) {
        let Some(error) = &state.deployment_error else {
            return;
        };
        let now = self.input.now();
        let Some(run) = &mut self.status.run else {
            return;
        };
        if run.failed {
            return;
        }
        run.failed = true;
        let came_up = run.past_gate_since.is_some();
        let change_id = run.change_id.clone();
        let permanent = words_of_failure::is_permanent(&error.code, &error.message);
        let message = self.input.in_words(&error.code, &error.message);
        let count = self
            .status
            .failures
            .as_ref()
            .map_or(0, |failures| failures.count)
            + 1;
        self.status.failures = Some(Failures {
            count,
            last_at: now,
            message: message.clone(),
            generation: self.input.pipeline.metadata.generation.unwrap_or_default(),
            permanent,
        });
        let lost = match (came_up, self.keeps_nothing(state)) {
            (false, _) => "",
            (true, false) => ". What came in since its last checkpoint may be dropped",
            (true, true) => {
                ". There is no checkpoint of it: its next start is one from nothing, so its state is lost, and sinks get everything again"
            }
        };
        self.warn(
            EventReason::PipelineFailed,
            format!("the pipeline failed in the engine: {message}{lost}"),
        );
        // Started again, it would be bootstrapped again, and sinks would get everything once more.
        if let Some(approval) = &self.status.approval
            && approval.change_id == change_id
            && approval.state.is_let_through()
            // Where nothing is kept that is final (rule A2): it is started again, from nothing, as ever.
            && (approval.state != ApprovalState::Applied || self.keeps_what_runs())
        {
            self.take(GateEvent::Failed(message));
        }
    }

    pub(crate) fn forget_failures_of_an_older_spec(&mut self) {
        let generation = self.input.pipeline.metadata.generation.unwrap_or_default();
        self.status
            .failures
            .take_if(|failures| failures.generation != generation);
    }

    pub(crate) fn forget_old_failures(&mut self) {
        let Some(last_at) = self.status.failures.as_ref().map(|f| f.last_at.clone()) else {
            return;
        };
        let after = self.input.timing.forget_failures_after;
        let waited = self.input.since(&last_at);
        if waited >= after {
            self.status.failures = None;
        } else {
            self.look_again_in(after - waited);
        }
    }

    /// Whether somebody asks, with a value that was not acted on yet, to try again.
    pub(crate) fn retry_is_new(&self) -> bool {
        let asked = self.input.pipeline.annotation(annotation::RETRY);
        let handled = self.status.handled_retry.as_deref();
        asked.is_some_and(|asked| !canonical::is_remembered(asked, handled))
    }

    /// The retry that stood there when the call was made is acted on. Says whether it was a new one. One that was written
    /// since is still to be acted on.
    pub(crate) fn take_the_retry_asked_for(&mut self) -> bool {
        let asked = self.input.asked.retry.as_deref();
        let handled = self.status.handled_retry.as_deref();
        let new = asked.filter(|asked| !canonical::is_remembered(asked, handled));
        let new = new.map(canonical::remembered);
        let is_new = new.is_some();
        if is_new {
            self.status.handled_retry = new;
        }
        is_new
    }

    pub(crate) fn take_retry(&mut self) {
        self.status.handled_retry = self
            .input
            .pipeline
            .annotation(annotation::RETRY)
            .map(canonical::remembered);
    }
}

/// A pause that doubles with each failure.
pub(crate) fn backoff(first: Duration, most: Duration, failures: i64) -> Duration {
    let doublings = u32::try_from(failures.clamp(0, 20)).unwrap_or(20);
    first
        .saturating_mul(2u32.saturating_pow(doublings))
        .min(most)
}
