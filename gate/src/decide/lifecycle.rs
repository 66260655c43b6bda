//! The life of a pipeline whose engine holds the right content: compile, start, run, pause, stop.

use std::time::Duration;

use super::conditions::Reason;
use super::{Act, Decider, EventReason, Guard, Seen};
use crate::GateEvent;
use crate::crd::{
    Approval, ApprovalState, BootstrapOptions, BootstrapPolicy, DesiredState, Gate, Phase, Run,
    StopKind, Target, annotation,
};
use crate::engine::{EngineInfo, PipelineState, StartOptions};

/// What waits for the engine to be done with a start or a bootstrap.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum HeldUp {
    /// It is to be stopped.
    Stop,
    /// It is to be given another content.
    Edit,
}

/// After what time a stop that writes its checkpoint is one that somebody may want to end at once.
const LONG_FOR_A_STOP: Duration = Duration::from_secs(30);

/// The statuses of a start before the engine compares what it runs with the checkpoint.
pub(super) const BEFORE_THE_GATE: &[&str] = &["Provisioning", "Initializing"];

impl Decider<'_> {
    /// Moves the pipeline to its desired state.
    pub(super) fn live(&mut self, info: &EngineInfo, seen: &Seen) {
        let state = seen.state();
        if state.is_stopped() {
            self.stopped(info, seen);
        } else if state.is_stopping() {
            if self.may_be_forced(state) {
                self.force_stop(state);
            } else {
                self.stopping();
                let is_to_stay = self.input.pipeline.spec.desired_state == DesiredState::Stopped;
                self.held_up = is_to_stay.then_some(HeldUp::Stop);
            }
        } else if self.input.pipeline.spec.desired_state == DesiredState::Stopped {
            // What is seen counts before what is wished: what runs is applied, also if it is to be stopped.
            if state.awaits_approval() || !self.past_the_gate(state) || self.act.is_none() {
                self.wind_down(info, state);
            }
        } else if state.awaits_approval() {
            self.at_the_gate(seen);
        } else if !self.past_the_gate(state) {
            self.deployed(info, state);
        }
    }

    /// Whoever waits for what becomes of a refused change has been told already, and isn't told anything else
    /// while the engine stops the pipeline for it.
    fn stopping(&mut self) {
        let stays_stopped = self.input.pipeline.spec.desired_state == DesiredState::Stopped;
        if !stays_stopped && self.holds_a_refused_change() {
            self.show_refused();
            return;
        }
        self.progressing(
            Phase::Stopping,
            Reason::Stopping,
            "the engine stops the pipeline".into(),
        );
    }

    fn stopped(&mut self, info: &EngineInfo, seen: &Seen) {
        let state = seen.state();
        if self.input.pipeline.spec.desired_state == DesiredState::Stopped {
            let gone = match self.status.emptied {
                Some(_) => {
                    ". The state that it had is gone from its engine: to begin from nothing is asked about once it is to run"
                }
                None => "",
            };
            self.ready(
                Phase::Stopped,
                Reason::Stopped,
                format!("the pipeline is stopped, as it should be{gone}"),
            );
        } else if self.refused_change_holds()
            || self.has_nothing_to_go_on_with()
            || !self.compiled(seen)
            || self.is_being_cleared(state)
        {
            // Phase and conditions say which.
        } else if !matches!(
            state.deployment_desired_status.as_str(),
            "Stopped" | "Suspended" | ""
        ) {
            self.progressing(
                Phase::Provisioning,
                Reason::Starting,
                "the engine starts the pipeline".into(),
            );
        } else if !self.must_wait_after_failure() && self.may_start(info, seen) {
            self.start(info, state);
        }
    }

    /// Whether the new content is held back, and what the engine has in its place is neither settled nor
    /// was it running last: nobody asks for that. It would come to the gate, and be stopped there again.
    fn has_nothing_to_go_on_with(&mut self) -> bool {
        let target = self.status.content.as_ref().map(|content| &content.target);
        let settled = self.status.settled.as_ref().map(|settled| &settled.target);
        let ran = self.status.run.as_ref();
        let ran = ran.filter(|run| run.past_gate_since.is_some());
        let goes_on = settled.is_none()
            || target == settled
            || ran.is_some_and(|run| Some(&run.target) == target);
        let Some(hold) = self.held.as_mut().filter(|_| !goes_on) else {
            return false;
        };
        let why = self.status.refusal.as_ref();
        let why = why.map_or(hold.message.as_str(), |refusal| &refusal.message);
        hold.message = format!(
            "nothing runs: what the engine holds is asked for by nobody any more, and the new content can't take its place ({why}). Put into the spec what the engine takes, such as what ran before"
        );
        self.phase(Phase::Stopped);
        true
    }

    /// Whether the change that would come up was rejected, or failed when it was applied.
    fn holds_a_refused_change(&self) -> bool {
        let held = self.status.content.as_ref().map(|held| &held.target);
        self.status
            .approval
            .as_ref()
            .is_some_and(|approval| approval.state.is_refused() && held == Some(&approval.target))
    }

    /// The same, unless somebody asks about it anew: only a new change or a retry that names it opens the gate
    /// again.
    fn refused_change_holds(&mut self) -> bool {
        if !self.holds_a_refused_change() || self.reopens() {
            return false;
        }
        self.show_refused();
        true
    }

    /// Whether somebody asks about a refused change anew; then the gate is open again.
    pub(super) fn reopens(&mut self) -> bool {
        let Some(id) = self.status.approval.as_ref().map(|a| a.change_id.clone()) else {
            return false;
        };
        if !self.retry_is_new() || self.input.pipeline.annotation(annotation::RETRY) != Some(&id) {
            return false;
        }
        self.take_retry();
        self.status.failures = None;
        // The votes that decided are still there, so the question must be a new one.
        self.had_its_turn(&id, None);
        self.take(GateEvent::GaveWay);
        self.report(
            EventReason::GateOpened,
            format!("change {id} is asked about anew"),
        );
        true
    }

    /// Says that the change was rejected, or that it failed, and how to go on.
    pub(super) fn show_refused(&mut self) {
        let Some(approval) = &self.status.approval else {
            return;
        };
        if approval.state == ApprovalState::Rejected {
            self.show_rejected();
            return;
        }
        let message = self.could_not_be_applied(approval);
        self.phase(Phase::Failed);
        self.stalled(Reason::ApplyFailed, message);
    }

    pub(super) fn could_not_be_applied(&self, approval: &Approval) -> String {
        let id = &approval.change_id;
        format!(
            "the approved change {id} could not be applied: {}. It is not tried again by itself: correct the program, or ask anew with: {}",
            approval.failure.as_deref().unwrap_or_default(),
            self.command(annotation::RETRY, id),
        )
    }

    /// Whether the engine still clears the storage; it starts nothing meanwhile.
    fn is_being_cleared(&mut self, state: &PipelineState) -> bool {
        let clearing = state.storage_status == "Clearing";
        if clearing {
            self.progressing(
                Phase::Stopped,
                Reason::ClearingStorage,
                "the engine clears the pipeline's storage".into(),
            );
        }
        clearing
    }

    /// Whether the program is compiled; phase and conditions say so if not.
    fn compiled(&mut self, seen: &Seen) -> bool {
        let state = seen.state();
        if state.is_compiled() {
            return true;
        }
        if !state.compile_failed() {
            self.progressing(
                Phase::Compiling,
                Reason::Compiling,
                format!("the engine compiles the program ({})", state.program_status),
            );
            return false;
        }
        let Some(full) = seen.full() else {
            self.act(Act::Look, Guard::default());
            return false;
        };
        if self.retry_is_new() && matches!(self.input.content, Ok(Some(_))) {
            self.progressing(
                Phase::Compiling,
                Reason::Compiling,
                "the program is compiled again".into(),
            );
            self.act(
                // As it is held: a PUT replaces also what the spec doesn't name.
                Act::Recompile(full.content.clone()),
                Guard {
                    status: &["Stopped"],
                    version: Some(state.version),
                    ..Guard::default()
                },
            );
            return false;
        }
        let error = full
            .compile_error
            .clone()
            .unwrap_or_else(|| state.program_status.clone());
        self.phase(Phase::CompileFailed);
        self.stalled(
            Reason::CompileFailed,
            format!("{}: {error}", state.program_status),
        );
        false
    }

    /// Writes down what the start will bring up, and under which terms; then starts.
    fn start(&mut self, info: &EngineInfo, state: &PipelineState) {
        let spec = &self.input.pipeline.spec;
        if state.deployment_error.is_some() {
            // It is in status by now. Left in the engine, it would be counted again.
            self.progressing(
                Phase::Provisioning,
                Reason::Starting,
                "the pipeline is started again".into(),
            );
            let guard = Guard {
                status: &["Stopped"],
                ..Guard::default()
            };
            self.act(Act::DismissError, guard);
            return;
        }
        let Some(target) = self.status.content.as_ref().map(|held| held.target.clone()) else {
            return;
        };
        self.no_vote_before_a_stop_without_checkpoint_counts(state, &target);
        let settled = self
            .status
            .settled
            .as_ref()
            .filter(|settled| settled.target == target);
        let change_id = match settled {
            Some(settled) => settled.change_id.clone(),
            None => self.change_id(&target, self.revision_of(&target)),
        };
        // Without checkpoints there is nothing to bootstrap from, and no gate. And what is refused is rejected at the gate, by
        // name and on record: told to reject by itself, the engine lets the pipeline fail.
        let policy = match spec.bootstrap_policy {
            BootstrapPolicy::Allow if info.has_checkpoints() => BootstrapPolicy::Allow,
            _ => BootstrapPolicy::AwaitApproval,
        };
        let last = self.status.run.as_ref();
        let this_start = last.filter(|run| run.deployment_id.is_none() && !run.failed);
        let run = Run {
            change_id,
            target,
            bootstrap_policy: policy.as_str().to_owned(),
            options: spec.bootstrap_options,
            deployment_id: None,
            base_checkpoint: state.newest_checkpoint().map(|c| c.uuid.clone()),
            resumes_all: match this_start {
                // This very start was written down before; the run before it is gone from status.
                Some(run) => run.resumes_all,
                None => last.is_some_and(|run| self.is_kept_whole(run, state)),
            },
            past_gate_since: None,
            stop: None,
            graceful_stop: None,
            stopped_since: state.stopped_since.clone(),
            failed: false,
            outside: false,
        };
        let (change_id, target) = (run.change_id.clone(), run.target.clone());
        self.status.run = Some(run);
        self.start_lets_through(state, &change_id, &target);
        self.status.seal = None;
        self.take_restart();
        self.progressing(
            Phase::Provisioning,
            Reason::Starting,
            "the pipeline is started".into(),
        );
        self.act(
            Act::Start(StartOptions {
                paused: spec.desired_state == DesiredState::Paused,
                bootstrap_policy: policy.as_str(),
                bootstrap: spec.bootstrap_options,
            }),
            Guard {
                status: &["Stopped"],
                version: Some(state.version),
                // What was asked about is a start from just that.
                resumes_from: Some(state.newest_checkpoint().map(|it| it.uuid.clone())),
                ..Guard::default()
            },
        );
    }

    /// Whether a run that is over has left no input behind that isn't in a checkpoint. That a stop with one was asked for isn't
    /// enough: the call may not have arrived, the stop may have been cut short at the engine, or have written none.
    pub(super) fn is_kept_whole(&self, run: &Run, state: &PipelineState) -> bool {
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
    fn no_vote_before_a_stop_without_checkpoint_counts(
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
        if !is_new || !is_asked || !is_broken || self.has_nothing_kept(state) {
            return;
        }
        self.had_its_turn(&id, None);
        self.warn(
            EventReason::StoppedWithoutCheckpoint,
            format!(
                "it isn't known that the pipeline was stopped with a checkpoint for change {id}: it is asked about under another id, since what came in since the last checkpoint is dropped. An approval that was given beforehand does nothing"
            ),
        );
    }

    /// Whether there is no checkpoint to start from.
    fn has_nothing_kept(&self, state: &PipelineState) -> bool {
        state.checkpoints.is_empty()
    }

    /// Whether a run that is over was stopped before it could leave the gate.
    fn never_left_the_gate(&self, run: &Run) -> bool {
        let approval = self.status.approval.as_ref();
        let is_told = approval
            .is_some_and(|approval| approval.change_id == run.change_id && approval.calls > 0);
        run.past_gate_since.is_none() && !is_told
    }

    fn wind_down(&mut self, info: &EngineInfo, state: &PipelineState) {
        let can_lose = self.input.pipeline.spec.allow_state_loss;
        if state.awaits_approval() {
            self.progressing(
                Phase::Stopping,
                Reason::Stopping,
                "the pipeline is stopped at the gate".into(),
            );
            self.stop(state, true);
        } else if self.is_before_the_gate(state) {
            self.progressing(
                Phase::Stopping,
                Reason::Stopping,
                "the pipeline is stopped before it comes to the gate".into(),
            );
            self.stop_before_the_gate(state);
        } else if !state.is_up() {
            if self.may_be_forced(state) {
                self.force_stop(state);
                return;
            }
            self.transitional(state);
            if !matches!(state.deployment_status.as_str(), "Suspended" | "Stopping") {
                self.held_up = Some(HeldUp::Stop);
            }
        } else if self.keeps_state(info) || can_lose {
            self.progressing(
                Phase::Stopping,
                Reason::Stopping,
                "the pipeline is stopped".into(),
            );
            self.stop(state, !self.keeps_state(info));
        } else {
            self.phase(phase_of(state));
            let message = self.state_loss("stopping the pipeline");
            self.stalled(Reason::StateLossNotAllowed, message);
        }
    }

    /// Whether this start has neither come to the gate nor passed it, so that nothing is lost if it ends.
    pub(super) fn is_before_the_gate(&self, state: &PipelineState) -> bool {
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
    pub(super) fn may_be_forced(&self, state: &PipelineState) -> bool {
        let asked = self.input.pipeline.annotation(annotation::FORCE_STOP);
        asked.is_some()
            && asked == state.deployment_id.as_deref()
            && asked != self.status.idle_force_stop.as_deref()
            && self.a_stop_waits(state)
    }

    /// Whether the spec wants a stop that couldn't be carried out yet.
    fn a_stop_waits(&self, state: &PipelineState) -> bool {
        let is_under_way = !state.is_up() && !state.is_stopped() && !state.is_stopping();
        let waits = is_under_way || self.status.held_up_since.is_some() || self.is_being_forced();
        self.input.pipeline.spec.desired_state == DesiredState::Stopped && waits
    }

    fn is_being_forced(&self) -> bool {
        let run = self.status.run.as_ref();
        run.is_some_and(|run| run.stop == Some(StopKind::Force))
    }

    /// What was written while nothing waited was meant for nothing that comes later: a deployment may live for weeks, and who
    /// has it stopped then need not have the right to lose what came in.
    pub(super) fn note_an_idle_force_stop(&mut self, state: &PipelineState) {
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

    pub(super) fn force_stop(&mut self, state: &PipelineState) {
        let run = self.status.run.as_ref();
        let is_news = run.is_some_and(|run| run.stop != Some(StopKind::Force));
        self.progressing(
            Phase::Stopping,
            Reason::Stopping,
            format!(
                "the pipeline is stopped at once, as the annotation {} says",
                annotation::FORCE_STOP
            ),
        );
        self.stop(state, true);
        if is_news {
            let asked_anew = self.ask_anew_what_promised_a_checkpoint();
            let asked_anew = asked_anew.map_or_else(String::new, |id| {
                format!(". Change {id} isn't made, and is asked about anew")
            });
            let bootstrap = match state.deployment_status.as_str() {
                "Bootstrapping" => {
                    ", and the bootstrap that was under way begins anew at the next start: sinks get everything once more"
                }
                _ => "",
            };
            self.warn(
                EventReason::ForcedStop,
                format!(
                    "the pipeline is stopped at once while the engine reports {}, as the annotation {} says: what came in since the last checkpoint may be lost{bootstrap}{asked_anew}",
                    state.deployment_status,
                    annotation::FORCE_STOP
                ),
            );
        }
    }

    /// What was approved at Sluice's own gate, before the stop, was approved as something that loses no input. Now the stop
    /// writes no checkpoint (rule A18). The change that is asked about anew for that.
    fn ask_anew_what_promised_a_checkpoint(&mut self) -> Option<String> {
        let approval = self.status.approval.as_ref()?;
        let is_promised =
            approval.gate == Gate::Sluice && approval.calls == 0 && approval.state.is_votable();
        is_promised.then(|| self.is_asked_anew()).flatten()
    }

    /// Says what waits for the engine to be done, since when, and how to wait no longer.
    pub(super) fn show_held_up(&mut self, state: &PipelineState) {
        let since = self.status.held_up_since.take();
        let is_unknown = self.says(Reason::EngineStatusUnknown);
        let Some(held_up) = self.held_up.take().filter(|_| !is_unknown) else {
            return;
        };
        let since = since.unwrap_or_else(|| self.now());
        // As status holds it: what is read again must be what was written.
        let asked_at = since.0.strftime("%Y-%m-%dT%H:%M:%SZ");
        let is_stop = held_up == HeldUp::Stop;
        let command = match &state.deployment_id {
            Some(id) if is_stop => {
                let command = self.command(annotation::FORCE_STOP, id);
                let bootstrap = match state.deployment_status.as_str() {
                    "Bootstrapping" => ", and has the bootstrap begin anew",
                    _ => "",
                };
                format!(
                    ". To stop it at once, which may lose what came in since the last checkpoint{bootstrap}: {command}"
                )
            }
            _ => String::new(),
        };
        let shown = &state.deployment_status;
        let (reason, message) = if state.is_stopping() {
            let rest = LONG_FOR_A_STOP.checked_sub(self.since(&since));
            if let Some(rest) = rest {
                // Most stops are over by then.
                self.status.held_up_since = Some(since);
                self.look_again_in(rest);
                return;
            }
            let message =
                format!("the engine stops the pipeline (asked for at {asked_at}){command}");
            (Reason::Stopping, message)
        } else if is_stop {
            let message = format!(
                "the engine reports {shown}; the pipeline is stopped, with a checkpoint, once that is over (asked for at {asked_at}){command}"
            );
            (Reason::Stopping, message)
        } else {
            let message = format!(
                "the engine reports {shown}; the new content is looked at once that is over (asked for at {asked_at})"
            );
            (Reason::Updating, message)
        };
        self.status.held_up_since = Some(since);
        let phase = self.phase_so_far();
        self.progressing(phase, reason, message);
    }

    pub(super) fn stop_before_the_gate(&mut self, state: &PipelineState) {
        if let Some(run) = &mut self.status.run {
            run.stop = Some(StopKind::Force);
        }
        self.act(
            Act::Stop { force: true },
            Guard {
                deployment_id: state.deployment_id.clone(),
                status: BEFORE_THE_GATE,
                ..Guard::default()
            },
        );
    }

    fn deployed(&mut self, info: &EngineInfo, state: &PipelineState) {
        if !state.is_up() {
            self.transitional(state);
            return;
        }
        self.adopt_run(state);
        if self.restart(info, state) {
            return;
        }
        self.up(state);
        let running = state.deployment_status == "Running";
        match (self.input.pipeline.spec.desired_state, running) {
            (DesiredState::Paused, true) => {
                self.notice_an_outside_switch("resumed");
                self.switch(state, Act::Pause);
            }
            (DesiredState::Running, false) => {
                self.notice_an_outside_switch("paused");
                self.switch(state, Act::Resume);
            }
            _ if self.keeps_state(info) => self.seal(),
            _ => {}
        }
    }

    /// Whether what runs can be stopped with a checkpoint: neither the edition nor a setting is in the way.
    pub(super) fn keeps_state(&self, info: &EngineInfo) -> bool {
        let held = self.status.content.as_ref();
        info.has_checkpoints() && !held.is_some_and(|held| held.target.without_storage)
    }

    /// The pipeline is up.
    pub(super) fn up(&mut self, state: &PipelineState) {
        let paused = state.deployment_status == "Paused";
        let reason = if paused {
            Reason::Paused
        } else {
            Reason::Running
        };
        let phase = phase_of(state);
        let held = self.status.content.as_ref();
        let names = held.map_or(&[][..], |held| &held.not_shown);
        let not_shown = match names {
            [] => String::new(),
            names => format!("; not in force: {}", names.join(", ")),
        };
        self.ready(
            phase,
            reason,
            format!(
                "the pipeline is {}{not_shown}",
                phase.as_str().to_lowercase()
            ),
        );
        self.forget_old_failures();
    }

    fn switch(&mut self, state: &PipelineState, act: Act) {
        // What is so by now isn't asked for again.
        let (wanted, from): (_, &'static [&'static str]) = if act == Act::Pause {
            ("paused", &["Running"])
        } else {
            ("resumed", &["Paused"])
        };
        let phase = phase_of(state);
        self.progressing(
            phase,
            Reason::Updating,
            format!("the pipeline is being {wanted}"),
        );
        self.act(
            act,
            Guard {
                deployment_id: state.deployment_id.clone(),
                status: from,
                ..Guard::default()
            },
        );
    }

    /// On its way from one state to another, or in one that nobody knows.
    pub(super) fn transitional(&mut self, state: &PipelineState) {
        let phase = phase_of(state);
        if phase == Phase::Unknown {
            let message = format!(
                "the engine calls the pipeline {:?}, which this version of Sluice doesn't know; it is left alone",
                state.deployment_status
            );
            self.waiting_for(phase, Reason::EngineStatusUnknown, message);
            return;
        }
        let reason = if phase == Phase::Bootstrapping {
            Reason::Bootstrapping
        } else {
            Reason::Starting
        };
        self.progressing(
            phase,
            reason,
            format!("the engine reports {}", state.deployment_status),
        );
    }

    /// A pipeline that was running before Sluice knew it has no start in status: this is the one.
    fn adopt_run(&mut self, state: &PipelineState) {
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
    pub(super) fn note_deployment(&mut self, info: &EngineInfo, state: &PipelineState) {
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
        if is_news && !is_to_be_down && !self.input.pipeline.is_guest() {
            let lost = match self.keeps_nothing(state) {
                false => "what came in since its last checkpoint may be dropped",
                true => "there was no checkpoint, so it has begun from nothing",
            };
            let message = format!(
                "somebody else stopped the pipeline at the engine and started it again: {lost}"
            );
            self.interfered(EventReason::OutsideStop, message);
        }
        if unasked && !is_news && !is_to_be_down && !self.input.pipeline.is_guest() {
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
    fn change_of(&self, target: &Target) -> String {
        let settled = self.status.settled.as_ref();
        match settled.filter(|settled| settled.target == *target) {
            Some(settled) => settled.change_id.clone(),
            None => self.change_id(target, self.revision_of(target)),
        }
    }

    /// Sluice has started nothing, and it was stopped when it was last looked at.
    pub(super) fn notice_a_start_of_what_had_ended(&mut self, state: &PipelineState) {
        let before = self.input.pipeline.status.as_ref();
        let before = before.and_then(|status| status.engine.as_ref());
        let was_stopped = before.is_some_and(|engine| {
            engine.pipeline_id.as_ref() == Some(&state.id)
                && engine.deployment_status.as_deref() == Some("Stopped")
        });
        let is_ours = self.status.run.is_some() || self.input.pipeline.is_guest();
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
    pub(super) fn note_what_runs(&mut self, state: &PipelineState) {
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
    pub(super) fn notice_a_foreign_start(&mut self, state: &PipelineState) {
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

/// What the engine's word for where a pipeline is comes to.
pub(super) fn phase_of(state: &PipelineState) -> Phase {
    match state.deployment_status.as_str() {
        "Stopped" => Phase::Stopped,
        "Provisioning" | "Unavailable" | "Coordination" | "Standby" => Phase::Provisioning,
        "Initializing" => Phase::Initializing,
        "AwaitingApproval" => Phase::AwaitingApproval,
        "Bootstrapping" | "ConcurrentBootstrapping" | "Synchronizing" => Phase::Bootstrapping,
        "Replaying" => Phase::Replaying,
        "Running" => Phase::Running,
        "Paused" => Phase::Paused,
        "Suspended" => Phase::Suspended,
        "Stopping" => Phase::Stopping,
        _ => Phase::Unknown,
    }
}
