//! `spec.restartedAt` and `spec.clearStorage`: done once for each new value.

use super::conditions::{Hold, Reason};
use super::{Act, Decider, EventReason, Guard};
use crate::GateEvent;
use crate::crd::{Phase, Settled, StopKind};
use crate::engine::{EngineInfo, PipelineState};

impl Decider<'_> {
    /// Whether a restart is asked for that no start has fulfilled yet.
    pub(super) fn restart_is_due(&self) -> bool {
        let handled = self.status.handled_restart.as_ref();
        let asked = self.input.pipeline.spec.restarted_at.as_ref();
        let is_new = asked.is_some_and(|asked| handled.is_none_or(|it| !asked.is_same(it)));
        // What is stopped while the content can't be read isn't started again.
        is_new && !self.is_unread()
    }

    /// Every start fulfils what was asked for until then.
    pub(super) fn take_restart(&mut self) {
        self.status.handled_restart = self.input.pipeline.spec.restarted_at.clone();
    }

    /// Stops what is up, to be started again. Returns whether that is under way.
    pub(super) fn restart(&mut self, info: &EngineInfo, state: &PipelineState) -> bool {
        if !self.restart_is_due() {
            return false;
        }
        if !self.keeps_state(info) && !self.input.pipeline.spec.allow_state_loss {
            self.held = Some(Hold {
                reason: Reason::StateLossNotAllowed,
                message: self.state_loss("restarting the pipeline"),
            });
            return false;
        }
        self.progressing(
            Phase::Stopping,
            Reason::Restarting,
            "the pipeline stops for the restart that spec.restartedAt asks for".into(),
        );
        self.stop(state, !self.keeps_state(info));
        true
    }

    /// Stops, clears and starts from nothing, where a new value asks for it. Returns whether that
    /// is under way.
    pub(super) fn clear_storage(&mut self, state: &PipelineState) -> bool {
        let asked = self.input.pipeline.spec.clear_storage.clone();
        if asked.is_none() || asked == self.status.handled_clear {
            return false;
        }
        if state.storage_status == "Cleared" && state.is_stopped() {
            self.status.handled_clear = asked;
            self.storage_is_cleared();
            return false;
        }
        self.progressing(
            Phase::Stopping,
            Reason::ClearingStorage,
            "the pipeline is stopped and its storage cleared, as spec.clearStorage asks".into(),
        );
        if state.is_stopped() && state.storage_status != "Clearing" {
            self.status.clearing = asked;
            let guard = Guard {
                status: &["Stopped"],
                ..Guard::default()
            };
            self.act(Act::Clear, guard);
        } else if !state.is_stopped() {
            // Also over a stop that writes a checkpoint, which can hang: what it has computed is to be thrown away, so
            // none is needed.
            let run = self.status.run.as_ref();
            let is_news = run.is_some_and(|run| run.stop != Some(StopKind::Force));
            self.stop(state, true);
            if is_news {
                self.warn(
                    EventReason::ForcedStop,
                    "the pipeline is stopped at once, without a checkpoint, since spec.clearStorage asks for its storage to be cleared: what came in since the last checkpoint is lost, also if that is withdrawn now".into(),
                );
            }
        }
        true
    }

    /// It was asked for, by the spec as it is or as it was.
    pub(super) fn storage_is_cleared(&mut self) {
        self.status.clearing = None;
        self.status.emptied = None;
        self.status.made_anew = None;
        self.begin_from_nothing();
        self.report(
            EventReason::StorageCleared,
            "the pipeline's storage is cleared, as spec.clearStorage asks; it starts from nothing"
                .into(),
        );
    }

    /// The engine's checkpoints are gone. What waited is void, and what comes is a new link of the
    /// chain, so that no approval of before counts again.
    pub(super) fn begin_from_nothing(&mut self) {
        self.status.run = None;
        self.status.seal = None;
        self.status.preview = None;
        self.status.failures = None;
        if let Some(engine) = &mut self.status.engine {
            engine.had_checkpoint = false;
        }
        let open = self
            .status
            .approval
            .as_ref()
            .is_some_and(|approval| !approval.state.is_over());
        if open {
            self.take(GateEvent::GaveWay);
            self.remember();
        }
        if let Some(settled) = &mut self.status.settled {
            *settled = Settled::unknown(std::mem::take(&mut settled.change_id));
        }
        self.link_anew();
    }

    /// What is lost when a pipeline is stopped that can write no checkpoint, and what permits it.
    pub(super) fn state_loss(&self, doing: &str) -> String {
        let held = self.status.content.as_ref();
        let why = match held.is_some_and(|held| held.target.without_storage) {
            true => "without storage no checkpoints are written",
            false => "this engine writes no checkpoints",
        };
        format!(
            "{why}, so {doing} would lose its state: all tables and views are emptied, tables without a connector stay empty, the others are read again from what their connectors still have, and sinks get everything again. Set spec.allowStateLoss: true to do it all the same"
        )
    }
}
