//! The state of a pipeline is gone from its engine although the pipeline is there: somebody cleared its storage, or the engine
//! was restored from a backup of before it had any. To begin from nothing is asked about then, as where the whole
//! pipeline is lost (rule A22).

use crate::crd::{Emptied, StopKind, Target};
use crate::decide::EventReason;
use crate::decide::happened::base::Base;
use crate::decide::record::Record;
use crate::engine::PipelineState;
use crate::lineage;

impl Record<'_> {
    /// Whether a checkpoint was there, as far as is known, and nobody has asked Sluice to clear it away.
    pub(crate) fn had_checkpoint(&self) -> bool {
        let engine = self.status.engine.as_ref();
        let settled = self.status.settled.as_ref();
        engine.is_some_and(|engine| engine.had_checkpoint)
            || settled.is_some_and(|settled| settled.checkpoint.is_some())
    }

    /// Whether the next start is one from nothing, as far as is known. The engine's list may show late what the pipeline itself has
    /// said.
    pub(crate) fn keeps_nothing(&self, state: &PipelineState) -> bool {
        state.checkpoints.is_empty() && !self.had_checkpoint()
    }

    /// Whether it is this pipeline of the engine that the status knows.
    pub(crate) fn is_known_as(&self, state: &PipelineState) -> bool {
        let engine = self.status.engine.as_ref();
        engine.is_some_and(|engine| engine.pipeline_id.as_ref() == Some(&state.id))
    }

    /// The state is gone, and nobody has asked Sluice for that. No change of before counts any more.
    pub(crate) fn is_emptied(&mut self) {
        let ran = self.what_has_run();
        let base = Base::Gone(ran.clone());
        let wanted = self.wanted_target();
        let then = match wanted.is_some_and(|wanted| self.input.is_allowed(&base, &wanted)) {
            true => "It begins from nothing, as spec.allowStateLoss or bootstrapPolicy lets it",
            false => "Before it begins from nothing it is asked about",
        };
        self.begin_from_nothing();
        self.is_to_be_asked_about(ran);
        self.interfered(
            EventReason::OutsideClear,
            format!(
                "somebody else cleared the pipeline's storage at the engine, or the engine was restored from a backup of before it had any: what the pipeline has computed is lost. {then}"
            ),
        );
    }

    /// There was a checkpoint, by the engine's own list, and there is none any more, although something has been stored again: somebody
    /// cleared the storage and started the pipeline, while nobody here looked.
    pub(crate) fn notice_what_has_begun_anew(&mut self, state: &PipelineState) {
        let engine = self.status.engine.as_mut();
        let Some(engine) = engine.filter(|it| it.had_checkpoint) else {
            return;
        };
        let is_in_between = !state.is_stopped() && !state.is_up();
        if !state.checkpoints.is_empty() || state.storage_status != "InUse" || is_in_between {
            return;
        }
        if state.is_stopped() {
            self.is_emptied();
            return;
        }
        engine.had_checkpoint = false;
        self.has_begun_anew();
    }

    /// Others have cleared the storage and started the pipeline. It goes on; until there is a checkpoint, its next start is one
    /// from nothing again, and that is asked about.
    pub(crate) fn has_begun_anew(&mut self) {
        let ran = self.what_has_run();
        self.is_to_be_asked_about(ran);
        let how = "its storage was cleared there while nobody here looked, and what runs has begun from nothing";
        self.interfered(
            EventReason::OutsideClear,
            format!(
                "somebody else started the pipeline at the engine: {how}, and nobody here was asked"
            ),
        );
        self.what_is_kept_is_not_known(how);
    }

    /// To begin from nothing is a question from here on.
    pub(crate) fn is_to_be_asked_about(&mut self, ran: Option<Target>) {
        // Whoever makes it starts it as he likes.
        if !self.input.pipeline.is_gate_only() {
            let since = self.input.now();
            self.status.emptied = Some(Emptied { since, ran });
        }
    }

    /// There is a checkpoint. What has begun from nothing has written it, and can be lost again; or what was gone is back, and
    /// then what was asked about, to begin from nothing, isn't what a start would do.
    pub(crate) fn notice_that_there_is_a_checkpoint(&mut self, state: &PipelineState) {
        if state.checkpoints.is_empty() {
            return;
        }
        let made_anew = self.status.made_anew.take().is_some();
        let was_gone = self.status.emptied.take().is_some() || made_anew;
        // Where others stopped it, or it failed, it may have been started again since, by anybody.
        let has_begun_anew = self.status.run.as_ref().is_some_and(|run| {
            let goes_on = !state.is_stopped() && run.deployment_id == state.deployment_id;
            let was_kept = run.stop == Some(StopKind::Checkpoint);
            run.deployment_id.is_some() && !run.failed && (goes_on || was_kept)
        });
        if was_gone && !has_begun_anew {
            self.what_is_kept_is_not_known(
                "the state that was gone from the engine is there again, or another one",
            );
        }
    }

    /// Whether what the engine's pipeline holds leaves checkpoints behind.
    pub(crate) fn keeps_what_runs(&self) -> bool {
        let held = self.status.content.as_ref();
        lineage::writes_checkpoints(&self.status)
            && !held.is_some_and(|held| held.target.without_storage)
    }

    /// It runs. Until there is a checkpoint, its next start is one from nothing, which is good for what was approved and for
    /// nothing else. Where there never is one, that goes for each start, and is no question any more.
    pub(crate) fn nothing_more_is_asked_where_nothing_is_kept(&mut self) {
        if self.keeps_what_runs() {
            return;
        }
        if self.is_answered_for() {
            self.status.made_anew = None;
            self.status.emptied = None;
        }
    }

    /// Whether somebody has let what runs begin from nothing, or need not be asked. What others have started at the engine
    /// was let by nobody here.
    pub(crate) fn is_answered_for(&self) -> bool {
        let Some(run) = &self.status.run else {
            return true;
        };
        let emptied = self.status.emptied.as_ref();
        let ran = emptied.and_then(|emptied| emptied.ran.clone());
        let approval = self.status.approval.as_ref();
        let is_approved = approval.is_some_and(|approval| {
            approval.change_id == run.change_id
                && approval.state.is_approved()
                && !approval.is_let_through_by_others()
        });
        is_approved || self.input.is_allowed(&Base::Gone(ran), &run.target)
    }

    /// What a start would resume from, where what was there is gone.
    pub(crate) fn gone(&self, state: &PipelineState) -> Option<Base> {
        let is_nothing = state.checkpoints.is_empty() && !state.is_up();
        let ran = match &self.status.emptied {
            Some(emptied) => Some(emptied.ran.clone()),
            None => self.status.made_anew.as_ref().map(|_| None),
        };
        ran.filter(|_| is_nothing).map(Base::Gone)
    }

    /// What ran last, or was kept.
    pub(crate) fn what_has_run(&self) -> Option<Target> {
        lineage::what_has_run(&self.status).cloned()
    }
}
