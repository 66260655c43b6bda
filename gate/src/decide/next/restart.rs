//! Restarts, and clears the storage, where the spec asks for it.

use crate::crd::{Phase, StopKind};
use crate::decide::holds::Hold;
use crate::decide::next::Next;
use crate::decide::{Act, EventReason, Guard, Reason};
use crate::engine::{EngineInfo, PipelineState};

impl Next<'_> {
    /// Stops what is up, to be started again. Returns whether that is under way.
    pub(crate) fn restart(&mut self, info: &EngineInfo, state: &PipelineState) -> bool {
        if !self.record.restart_is_due() {
            return false;
        }
        if !self.record.keeps_state(info) && !self.input.pipeline.spec.allow_state_loss {
            self.shown.held = Some(Hold {
                reason: Reason::StateLossNotAllowed,
                message: self.record.state_loss("restarting the pipeline"),
            });
            return false;
        }
        self.shown.progressing(
            Phase::Stopping,
            Reason::Restarting,
            "the pipeline stops for the restart that spec.restartedAt asks for".into(),
        );
        self.stop(state, !self.record.keeps_state(info));
        true
    }

    /// Stops, clears and starts from nothing, where a new value asks for it. Returns whether that
    /// is under way.
    pub(crate) fn clear_storage(&mut self, state: &PipelineState) -> bool {
        let asked = self.input.pipeline.spec.clear_storage.clone();
        if asked.is_none() || asked == self.record.status.handled_clear {
            return false;
        }
        if state.storage_status == "Cleared" && state.is_stopped() {
            self.record.status.handled_clear = asked;
            self.record.storage_is_cleared();
            return false;
        }
        self.shown.progressing(
            Phase::Stopping,
            Reason::ClearingStorage,
            "the pipeline is stopped and its storage cleared, as spec.clearStorage asks".into(),
        );
        if state.is_stopped() && state.storage_status != "Clearing" {
            self.record.status.clearing = asked;
            let guard = Guard {
                status: &["Stopped"],
                ..Guard::default()
            };
            self.act(Act::Clear, guard);
        } else if !state.is_stopped() {
            // Also over a stop that writes a checkpoint, which can hang: what it has computed is to be thrown away, so
            // none is needed.
            let run = self.record.status.run.as_ref();
            let is_news = run.is_some_and(|run| run.stop != Some(StopKind::Force));
            self.stop(state, true);
            if is_news {
                self.record.warn(
                    EventReason::ForcedStop,
                    "the pipeline is stopped at once, without a checkpoint, since spec.clearStorage asks for its storage to be cleared: what came in since the last checkpoint is lost, also if that is withdrawn now".into(),
                );
            }
        }
        true
    }
}
