//! What others do to the pipeline at the engine, against what the spec says: it is put right, said,
//! and after a few times left alone, since two that put each other right would never end.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::crd::{DesiredState, Interference, StopKind};
use crate::decide::record::Record;
use crate::decide::{Act, EventReason, Input};
use crate::engine::PipelineState;

/// How often it is put right.
pub(crate) const TOLERATED: i64 = 3;

/// Within this time of each other. After it, all is forgotten.
pub(crate) const WINDOW: Duration = Duration::from_secs(3600);

/// How long an engine is given to clear a storage, from the call on. Longer than the client waits for an answer.
pub(crate) const LONG_FOR_A_CLEAR: Duration = Duration::from_secs(60);

impl Input<'_> {
    /// Whether the engine may be at a clear of Sluice's, of which it hasn't answered.
    pub(crate) fn may_still_be_cleared(&self) -> bool {
        let last = self.last_call;
        let clear = last.filter(|last| last.act == Act::Clear);
        clear.is_some_and(|last| self.since(&Time(last.at)) < LONG_FOR_A_CLEAR)
    }
}

impl Record<'_> {
    /// Counts something that somebody else did, and tells people.
    pub(crate) fn interfered(&mut self, reason: EventReason, message: String) {
        let recent = self.recent_interference();
        self.status.interference = Some(Interference {
            count: recent.map_or(0, |recent| recent.count) + 1,
            last_at: self.input.now(),
            message: message.clone(),
        });
        self.warn(reason, message);
    }

    pub(crate) fn recent_interference(&self) -> Option<&Interference> {
        let known = self.status.interference.as_ref()?;
        (self.input.since(&known.last_at) < WINDOW).then_some(known)
    }

    /// Somebody else has paused or resumed it: what the spec says was in force already.
    pub(crate) fn notice_an_outside_switch(&mut self, what: &str) {
        if self.input.was_in_force() {
            let message = format!("somebody else {what} the pipeline at the engine");
            self.interfered(EventReason::OutsideSwitch, message);
        }
    }

    /// Somebody else has cleared the storage: what was settled is gone, and the next start is from
    /// nothing, and asked about.
    pub(crate) fn notice_an_outside_clear(&mut self, state: &PipelineState) {
        self.notice_that_there_is_a_checkpoint(state);
        let asked = &self.input.pipeline.spec.clear_storage;
        // It was never cleared, or has begun anew since; or the engine didn't take the call, and nobody asks for it any more.
        let is_over = !state.is_stopped()
            || self.status.clearing != *asked && !self.input.may_still_be_cleared();
        if state.storage_status == "InUse" && is_over {
            self.status.clearing = None;
        }
        let ours = asked.is_some() && *asked != self.status.handled_clear;
        if ours {
            return;
        }
        if state.storage_status != "Cleared" {
            self.notice_what_has_begun_anew(state);
            return;
        }
        if !state.is_stopped() {
            return;
        }
        if let Some(asked) = self.status.clearing.take() {
            // The spec doesn't ask for it any more, but it did when the engine was asked.
            self.status.handled_clear = Some(asked);
            self.storage_is_cleared();
            return;
        }
        if self.had_checkpoint() && state.checkpoints.is_empty() {
            self.is_emptied();
        }
    }

    /// Somebody has started the pipeline and stopped it again while nobody here looked: what came in meanwhile need not be in
    /// any checkpoint.
    pub(crate) fn notice_a_run_that_nobody_saw(&mut self, state: &PipelineState) {
        let Some(run) = &mut self.status.run else {
            return;
        };
        // What has failed on its way up was seen to fail.
        let is_over = state.is_stopped() && state.deployment_error.is_none();
        let Some(since) = state.stopped_since.as_ref().filter(|_| is_over) else {
            return;
        };
        let known = run.stopped_since.replace(since.clone());
        if known.is_none_or(|known| known == *since) {
            return;
        }
        run.stop = Some(StopKind::Outside);
        run.resumes_all = false;
        // Whoever makes it starts and stops it as he likes.
        if self.input.pipeline.is_gate_only() {
            return;
        }
        self.warn(
            EventReason::UnseenRun,
            "the pipeline was started and stopped again at the engine while it wasn't looked at: what came in meanwhile may not be in its checkpoint".into(),
        );
    }

    /// Somebody else has stopped what should be deployed: nothing failed, and Sluice didn't ask.
    pub(crate) fn notice_an_outside_stop(&mut self, state: &PipelineState) {
        let wanted = self.input.pipeline.spec.desired_state != DesiredState::Stopped;
        let keeps = self.keeps_what_runs() && !self.keeps_nothing(state);
        let Some(run) = &mut self.status.run else {
            return;
        };
        let unasked = run.deployment_id.is_some() && run.stop.is_none() && !run.failed;
        if !state.is_stopped() || !unasked || state.deployment_error.is_some() {
            return;
        }
        run.stop = Some(StopKind::Outside);
        if wanted && !self.input.pipeline.is_gate_only() {
            let message = match keeps {
                true => "somebody else stopped the pipeline at the engine",
                false => {
                    "somebody else stopped the pipeline at the engine: nothing of its state is kept, and its next start is one from nothing"
                }
            };
            self.interfered(EventReason::OutsideStop, message.into());
        }
    }
}
