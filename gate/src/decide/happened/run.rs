//! Which deployment there is, how it began, and by whom.

use crate::crd::{BootstrapOptions, DesiredState, Run, StopKind, Target};
use crate::decide::EventReason;
use crate::decide::record::Record;
use crate::engine::{EngineInfo, PipelineState};

impl Record<'_> {
    /// Which deployment there is, who made it, and how it ended.
    pub(crate) fn follow(&mut self, info: &EngineInfo, state: &PipelineState) {
        // That it was to be stopped counts only if it is: whoever asks for it now says so again. What was asked for a
        // moment ago may show yet, whatever is wished by now.
        let asked = self
            .status
            .run
            .as_ref()
            .and_then(|run| run.graceful_stop.as_ref());
        let resend_after = self.input.timing.resend_after;
        let call_failed = self.call_failed;
        let may_stop_yet = asked.is_some_and(|asked| {
            self.input.since(&asked.at) <= resend_after || asked.failed && call_failed
        });
        if let Some(run) = &mut self.status.run
            && run.deployment_id == state.deployment_id
            && !state.is_stopped()
            && !state.is_stopping()
        {
            if run.stop == Some(StopKind::Checkpoint) && may_stop_yet {
                self.look_again_in(self.input.timing.resend_after);
            } else {
                run.stop = None;
                run.graceful_stop = None;
            }
        }
        if self.input.pipeline.is_gate_only() {
            self.follow_gate_only(state);
        } else {
            self.note_deployment(info, state);
            self.note_what_runs(state);
            self.notice_a_foreign_start(state);
            self.notice_a_start_of_what_had_ended(state);
        }
        self.notice_an_outside_stop(state);
        self.notice_a_run_that_nobody_saw(state);
        // Before what is kept may turn out to be unknown, and what ran with it.
        if state.is_stopped() {
            self.notice_a_failure(state);
        }
        self.notice_an_outside_clear(state);
    }

    /// A pipeline that was running before Sluice knew it has no start in status: this is the one.
    pub(crate) fn adopt_run(&mut self, state: &PipelineState) {
        if self.status.run.is_some() {
            return;
        }
        let Some(target) = self.status.content.as_ref().map(|held| held.target.clone()) else {
            return;
        };
        let settled = self.status.settled.as_ref();
        let change_id = match settled.filter(|settled| settled.target == target) {
            Some(settled) => settled.change_id.clone(),
            None => self.change_id(&target, self.revision_of(&target)),
        };
        self.status.run = Some(Run {
            change_id,
            target,
            bootstrap_policy: state.bootstrap_policy.clone().unwrap_or_default(),
            options: state.options.beside(BootstrapOptions::default()),
            deployment_id: state.deployment_id.clone(),
            base_checkpoint: state.newest_checkpoint().map(|c| c.uuid.clone()),
            resumes_all: false,
            past_gate_since: None,
            stop: None,
            graceful_stop: None,
            stopped_since: None,
            failed: false,
            outside: self.status.settled.is_some(),
        });
        // Whoever takes a pipeline over has had no gate to go round.
        if self.status.settled.is_some() {
            self.notice_a_start_that_asks_nobody(state);
        }
        // It was started before anybody asked.
        self.take_restart();
    }

    /// Writes down which deployment the start made. One that Sluice didn't ask for takes its place:
    /// nothing is known of how the one before ended.
    pub(crate) fn note_deployment(&mut self, info: &EngineInfo, state: &PipelineState) {
        // Of what is asked about by now, which others may have started.
        let held = self.held_target(state);
        let change_id = held.map(|held| self.change_of(&held));
        let Some(run) = &mut self.status.run else {
            return;
        };
        if state.is_stopped()
            || state.deployment_id.is_none()
            || run.deployment_id == state.deployment_id
        {
            return;
        }
        let unasked = run.deployment_id.is_some();
        // A stop that was seen is told of by itself.
        let is_news = unasked && run.stop.is_none() && !run.failed;
        if unasked {
            run.resumes_all = false;
            run.past_gate_since = None;
            run.stop = None;
            // What is known of an earlier stop proves nothing of a later one.
            run.graceful_stop = None;
            run.failed = false;
            run.outside = true;
        }
        run.deployment_id = state.deployment_id.clone();
        run.stopped_since = None;
        if unasked && let Some(change_id) = change_id {
            run.change_id = change_id;
        }
        let missing = state.options.missing(run.options);
        // Where it doesn't show the policy, either, it shows none of what a start was asked for.
        let is_known = !missing.is_empty() && state.bootstrap_policy.is_some() && !unasked;
        if is_known {
            self.warn(
                EventReason::OptionNotShown,
                format!(
                    "the engine doesn't show {} of this start, so it may not know it, and may bootstrap without: its version is {}",
                    missing.join(" and "),
                    info.version
                ),
            );
        }
        let is_to_be_down = self.input.pipeline.spec.desired_state == DesiredState::Stopped;
        if is_news && !is_to_be_down && !self.input.pipeline.is_gate_only() {
            let lost = match self.keeps_nothing(state) {
                false => "what came in since its last checkpoint may be dropped",
                true => "there was no checkpoint, so it has begun from nothing",
            };
            let message = format!(
                "somebody else stopped the pipeline at the engine and started it again: {lost}"
            );
            self.interfered(EventReason::OutsideStop, message);
        }
        if unasked && !is_news && !is_to_be_down && !self.input.pipeline.is_gate_only() {
            self.warn(
                EventReason::OutsideStart,
                "somebody else started the pipeline at the engine, and nobody here was asked"
                    .into(),
            );
        }
        if unasked && is_to_be_down {
            let message =
                "somebody else started the pipeline at the engine, which should be stopped";
            self.interfered(EventReason::UnwantedStart, message.into());
        }
    }

    /// The change that brings a target up, or brought it.
    pub(crate) fn change_of(&self, target: &Target) -> String {
        let settled = self.status.settled.as_ref();
        match settled.filter(|settled| settled.target == *target) {
            Some(settled) => settled.change_id.clone(),
            None => self.change_id(target, self.revision_of(target)),
        }
    }

    /// Sluice has started nothing, and it was stopped when it was last looked at.
    pub(crate) fn notice_a_start_of_what_had_ended(&mut self, state: &PipelineState) {
        let before = self.input.pipeline.status.as_ref();
        let before = before.and_then(|status| status.engine.as_ref());
        let was_stopped = before.is_some_and(|engine| {
            engine.pipeline_id.as_ref() == Some(&state.id)
                && engine.deployment_status.as_deref() == Some("Stopped")
        });
        let is_ours = self.status.run.is_some() || self.input.pipeline.is_gate_only();
        if !was_stopped || is_ours || state.is_stopped() {
            return;
        }
        let from = match state.newest_checkpoint() {
            Some(_) => "",
            None => ", from nothing",
        };
        if self.input.pipeline.spec.desired_state == DesiredState::Stopped {
            self.interfered(
                EventReason::UnwantedStart,
                format!(
                    "somebody else started the pipeline at the engine{from}, which should be stopped"
                ),
            );
        } else {
            self.warn(
                EventReason::OutsideStart,
                format!(
                    "somebody else started the pipeline at the engine{from}, and nobody here was asked"
                ),
            );
        }
    }

    /// What somebody else started is what the engine holds then, and that need not be what Sluice gave it.
    pub(crate) fn note_what_runs(&mut self, state: &PipelineState) {
        let Some(held) = self.held_target(state) else {
            return;
        };
        let change_id = self.change_of(&held);
        let Some(run) = &mut self.status.run else {
            return;
        };
        let is_this = run.deployment_id.is_some() && run.deployment_id == state.deployment_id;
        if !is_this || state.is_stopped() || state.is_stopping() || run.target == held {
            return;
        }
        run.change_id = change_id;
        run.target = held;
        run.past_gate_since = None;
        // Whether a checkpoint that is there by now is one of it isn't known.
        run.base_checkpoint = state.newest_checkpoint().map(|c| c.uuid.clone());
    }

    /// A start under other terms than Sluice's went round the gate.
    pub(crate) fn notice_a_foreign_start(&mut self, state: &PipelineState) {
        let (Some(actual), Some(run)) = (&state.bootstrap_policy, &mut self.status.run) else {
            return;
        };
        let options = state.options.beside(run.options);
        if state.is_stopped() || run.bootstrap_policy == *actual && run.options == options {
            return;
        }
        let terms = |policy: &str, options: BootstrapOptions| {
            format!(
                "bootstrap policy {policy}, silent {}, concurrent {}",
                options.silent, options.concurrent
            )
        };
        let asked = terms(&run.bootstrap_policy, run.options);
        run.bootstrap_policy.clone_from(actual);
        run.options = options;
        self.warn(
            EventReason::OutsideStart,
            format!(
                "the pipeline was started with {} by somebody else; Sluice asked for {asked}",
                terms(actual, options)
            ),
        );
    }
}
