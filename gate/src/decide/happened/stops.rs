//! How a run was stopped, what that left in a checkpoint, and which question is void because it left nothing.

use crate::crd::{
    ApprovalState, AtStake, BootstrapPolicy, DesiredState, Gate, Run, StopKind, Target, annotation,
};
use crate::decide::guard::BEFORE_THE_GATE;
use crate::decide::record::Record;
use crate::decide::{EventReason, Input};
use crate::engine::{Checkpoint, EngineInfo, PipelineState};

impl Input<'_> {
    /// Whether there is no checkpoint to start from.
    pub(crate) fn has_nothing_kept(&self, state: &PipelineState) -> bool {
        state.checkpoints.is_empty()
    }
}

impl Record<'_> {
    /// A change was asked about as one that drops no input, since what ran before was stopped with a checkpoint. If something has run
    /// since then that need not be in one, that isn't so any more (rule A18), unless the engine was told already.
    pub(crate) fn ask_anew_where_input_is_dropped_by_now(&mut self, target: &Target) {
        let id = self.change_id(target, self.revision_of(target));
        let run = self.status.run.as_ref();
        let resumes_all = run.is_none_or(|run| run.resumes_all);
        let approval = self.status.approval.as_ref();
        let is_broken = approval.is_some_and(|approval| {
            let stake = approval.at_stake.as_ref();
            approval.change_id == id
                && approval.gate == Gate::Engine
                && approval.calls == 0
                && approval.state.is_votable()
                && stake.is_some_and(AtStake::drops_no_input)
        });
        if resumes_all || !is_broken {
            return;
        }
        let Some(id) = self.is_asked_anew() else {
            return;
        };
        self.warn_of(
            &id,
            EventReason::StoppedWithoutCheckpoint,
            format!(
                "change {id} was asked about as one that drops no input, and it isn't known that nothing has come in since which is in no checkpoint: the change is asked about anew"
            ),
        );
    }

    /// A change was asked about as one that drops no input, since it would be stopped for with a checkpoint. Where it is
    /// stopped by now and none was written, that isn't so, and the change isn't made (rule A18). As long as it waits, and
    /// what runs is started again meanwhile, it still is.
    pub(crate) fn ask_anew_after_a_stop_without_checkpoint(&mut self, state: &PipelineState) {
        let is_kept = self
            .status
            .run
            .as_ref()
            .is_some_and(|run| self.is_kept_whole(run, state));
        // One that hasn't come up yet has taken nothing in.
        let has_come_up = self
            .status
            .run
            .as_ref()
            .is_some_and(|run| run.deployment_id.is_some());
        let stays_stopped = self.input.pipeline.spec.desired_state == DesiredState::Stopped;
        let approval = self.status.approval.as_ref();
        let broken = approval.filter(|approval| {
            let stake = approval.at_stake.as_ref();
            let would_be_made = match approval.state {
                ApprovalState::Approved => true,
                ApprovalState::Awaiting => stays_stopped || self.is_left_stopped(state),
                _ => false,
            };
            approval.gate == Gate::Sluice
                && would_be_made
                && has_come_up
                && stake.is_some_and(AtStake::drops_no_input)
        });
        if broken.is_none() || !state.is_stopped() || is_kept {
            return;
        }
        let Some(id) = self.is_asked_anew() else {
            return;
        };
        self.warn_of(
            &id,
            EventReason::StoppedWithoutCheckpoint,
            format!(
                "change {id} was asked about as one that drops no input, and it isn't known that the pipeline was stopped with a checkpoint: the change isn't made, and is asked about anew. What came in since the last checkpoint may be lost already. The old program is started again, unless the spec wants it stopped or something else is asked about; what is asked: kubectl sluice diff {} -n {}",
                self.input.name(),
                self.input.namespace(),
            ),
        );
    }

    /// Whether a run that is over has left no input behind that isn't in a checkpoint. That a stop with one was asked for isn't
    /// enough: the call may not have arrived, the stop may have been cut short at the engine, or have written none.
    pub(crate) fn is_kept_whole(&self, run: &Run, state: &PipelineState) -> bool {
        let newest = state.newest_checkpoint();
        let wrote_one = run.graceful_stop.as_ref().is_none_or(|stop| {
            let is_another =
                newest.is_some_and(|newest| Some(&newest.uuid) != stop.checkpoint_before.as_ref());
            let steps = newest.and_then(|newest| newest.steps);
            // What is shown may be older yet than the one before.
            let is_older =
                matches!((stop.steps_before, steps), (Some(then), Some(now)) if now < then);
            !stop.failed && is_another && !is_older
        });
        // What has failed may have left the gate between two looks.
        !run.failed
            && match run.stop {
                Some(StopKind::Checkpoint) => wrote_one,
                // Nothing comes in before the gate, nor at it.
                Some(StopKind::Force) => run.resumes_all && self.never_left_the_gate(run),
                Some(StopKind::Outside) | None => false,
            }
    }

    /// Who has approved a change beforehand was told that no input is dropped if the stop for it writes a checkpoint. Where it
    /// wrote none, the change is asked about under another id, with what is at stake by now (rule A18).
    pub(crate) fn no_vote_before_a_stop_without_checkpoint_counts(
        &mut self,
        state: &PipelineState,
        target: &crate::crd::Target,
    ) {
        let id = self.change_id(target, self.revision_of(target));
        let is_new = self.candidate().as_ref() == Some(&id)
            && self
                .status
                .approval
                .as_ref()
                .is_none_or(|it| it.change_id != id);
        let is_asked = self.input.pipeline.spec.bootstrap_policy == BootstrapPolicy::AwaitApproval;
        let is_broken = self.status.run.as_ref().is_some_and(|run| {
            run.deployment_id.is_some()
                && run.target != *target
                && run.stop == Some(StopKind::Checkpoint)
                && !self.is_kept_whole(run, state)
        });
        if !is_new || !is_asked || !is_broken || self.input.has_nothing_kept(state) {
            return;
        }
        self.had_its_turn(&id, None);
        self.warn_of(
            &id,
            EventReason::StoppedWithoutCheckpoint,
            format!(
                "it isn't known that the pipeline was stopped with a checkpoint for change {id}: it is asked about under another id, since what came in since the last checkpoint is dropped. An approval that was given beforehand does nothing"
            ),
        );
    }

    /// Whether a run that is over was stopped before it could leave the gate.
    pub(crate) fn never_left_the_gate(&self, run: &Run) -> bool {
        let approval = self.status.approval.as_ref();
        let is_told = approval
            .is_some_and(|approval| approval.change_id == run.change_id && approval.calls > 0);
        run.past_gate_since.is_none() && !is_told
    }

    /// Whether this start has neither come to the gate nor passed it, so that nothing is lost if it ends.
    pub(crate) fn is_before_the_gate(&self, state: &PipelineState) -> bool {
        let run = self.status.run.as_ref();
        let is_this = run.is_some_and(|run| {
            run.deployment_id.is_some()
                && run.deployment_id == state.deployment_id
                && run.past_gate_since.is_none()
        });
        // The engine may have been told of the approval, and be on its way.
        let told = self.status.approval.as_ref().is_some_and(|approval| {
            approval.deployment_id == state.deployment_id && approval.calls > 0
        });
        is_this && !told && BEFORE_THE_GATE.contains(&state.deployment_status.as_str())
    }

    /// Whether somebody who may says that just this deployment is to be stopped at once. It is done only for a stop that the
    /// spec asks for anyway and that waits. An edit is no reason: whether it may go in is asked when it can.
    pub(crate) fn may_be_forced(&self, state: &PipelineState) -> bool {
        let asked = self.input.pipeline.annotation(annotation::FORCE_STOP);
        asked.is_some()
            && asked == state.deployment_id.as_deref()
            && asked != self.status.idle_force_stop.as_deref()
            && self.a_stop_waits(state)
    }

    /// Whether the spec wants a stop that couldn't be carried out yet.
    pub(crate) fn a_stop_waits(&self, state: &PipelineState) -> bool {
        let is_under_way = !state.is_up() && !state.is_stopped() && !state.is_stopping();
        let waits = is_under_way || self.status.held_up_since.is_some() || self.is_being_forced();
        self.input.pipeline.spec.desired_state == DesiredState::Stopped && waits
    }

    pub(crate) fn is_being_forced(&self) -> bool {
        let run = self.status.run.as_ref();
        run.is_some_and(|run| run.stop == Some(StopKind::Force))
    }

    /// What was written while nothing waited was meant for nothing that comes later: a deployment may live for weeks, and who
    /// has it stopped then need not have the right to lose what came in.
    pub(crate) fn note_an_idle_force_stop(&mut self, state: &PipelineState) {
        let asked = self.input.pipeline.annotation(annotation::FORCE_STOP);
        let of_this = asked.filter(|asked| Some(*asked) == state.deployment_id.as_deref());
        let known = self.status.idle_force_stop.take();
        let Some(asked) = of_this else { return };
        let is_known = known.as_deref() == Some(asked);
        if !is_known && self.a_stop_waits(state) {
            return;
        }
        self.status.idle_force_stop = Some(asked.to_owned());
        if !is_known && !self.is_being_forced() && !state.is_stopped() {
            self.warn(
                EventReason::IdleForceStop,
                format!(
                    "the annotation {} names the deployment {asked}, and no stop of it waits: it does nothing, also later. Take it away; where a stop waits, set it then",
                    annotation::FORCE_STOP
                ),
            );
        }
    }

    /// What was approved at Sluice's own gate, before the stop, was approved as something that loses no input. Now the stop
    /// writes no checkpoint (rule A18). The change that is asked about anew for that.
    pub(crate) fn ask_anew_what_promised_a_checkpoint(&mut self) -> Option<String> {
        let approval = self.status.approval.as_ref()?;
        let is_promised =
            approval.gate == Gate::Sluice && approval.calls == 0 && approval.state.is_votable();
        is_promised.then(|| self.is_asked_anew()).flatten()
    }

    /// Whether what runs can be stopped with a checkpoint: neither the edition nor a setting is in the way.
    pub(crate) fn keeps_state(&self, info: &EngineInfo) -> bool {
        let held = self.status.content.as_ref();
        info.has_checkpoints() && !held.is_some_and(|held| held.target.without_storage)
    }

    /// Whether the engine was asked to stop this run with a checkpoint so lately that it may not show yet.
    pub(crate) fn has_just_asked_to_stop(&self) -> bool {
        let run = self.status.run.as_ref();
        let asked = run.and_then(|run| run.graceful_stop.as_ref());
        asked.is_some_and(|asked| {
            !asked.failed && self.input.since(&asked.at) <= self.input.timing.resend_after
        })
    }

    /// Nobody knows whether the engine has taken the stop that it was asked for.
    pub(crate) fn stop_has_failed(&mut self) {
        let run = self.status.run.as_mut();
        if let Some(stop) = run.and_then(|run| run.graceful_stop.as_mut()) {
            stop.failed = true;
        }
    }

    /// The newest checkpoint that anybody knows of. The manager's list may be older than what the pipeline itself has said.
    pub(crate) fn newest_checkpoint_that_is_known(
        &self,
        state: &PipelineState,
    ) -> Option<(Option<String>, Option<i64>)> {
        let shown = state.newest_checkpoint();
        let settled = self.status.settled.as_ref();
        let settled = settled.and_then(|settled| settled.checkpoint.as_ref());
        let steps = |of: Option<i64>| of.unwrap_or_default();
        let is_older = settled.is_some_and(|settled| {
            shown.is_none_or(|shown| steps(shown.steps) < steps(settled.steps))
        });
        match settled.filter(|_| is_older) {
            Some(settled) => Some((settled.uuid.clone(), settled.steps)),
            None => shown.map(|shown| (Some(shown.uuid.clone()), shown.steps)),
        }
    }

    /// The pipeline itself has said which checkpoint is its newest, just before it was asked to stop with another one. The
    /// manager's list may be older.
    pub(crate) fn is_stopping_after(&mut self, newest: Option<&Checkpoint>) {
        let run = self.status.run.as_mut();
        let stop = run.and_then(|run| run.graceful_stop.as_mut());
        if let (Some(stop), Some(newest)) = (stop, newest) {
            stop.checkpoint_before = Some(newest.uuid.clone());
            stop.steps_before = newest.steps;
        }
    }
}
