//! `spec.restartedAt` and `spec.clearStorage`: done once for each new value.

use crate::crd::Settled;
use crate::decide::EventReason;
use crate::decide::record::Record;
use crate::{GateEvent, GaveWay};

impl Record<'_> {
    /// Whether a restart is asked for that no start has fulfilled yet.
    pub(crate) fn restart_is_due(&self) -> bool {
        let handled = self.status.handled_restart.as_ref();
        let asked = self.input.pipeline.spec.restarted_at.as_ref();
        let is_new = asked.is_some_and(|asked| handled.is_none_or(|it| !asked.is_same(it)));
        // What is stopped while the content can't be read isn't started again.
        is_new && !self.input.is_unread()
    }

    /// Every start fulfils what was asked for until then.
    pub(crate) fn take_restart(&mut self) {
        self.status.handled_restart = self.input.pipeline.spec.restarted_at.clone();
    }

    /// It was asked for, by the spec as it is or as it was.
    pub(crate) fn storage_is_cleared(&mut self) {
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
    pub(crate) fn begin_from_nothing(&mut self) {
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
            self.take(GateEvent::GaveWay(GaveWay::Void));
        }
        if let Some(settled) = &mut self.status.settled {
            *settled = Settled::unknown(std::mem::take(&mut settled.change_id));
        }
        self.link_anew();
    }

    /// What is lost when a pipeline is stopped that can write no checkpoint, and what permits it.
    pub(crate) fn state_loss(&self, doing: &str) -> String {
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
