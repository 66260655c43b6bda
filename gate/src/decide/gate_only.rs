//! A Pipeline without a program: the engine's pipeline is made, changed, started and stopped
//! elsewhere, and only its gate is kept here.

use super::conditions::Reason;
use super::{Act, Decider, Guard, Seen};
use crate::crd::{BootstrapOptions, Phase, Run, annotation};
use crate::engine::{EngineInfo, PipelineState};

impl Decider<'_> {
    /// The options under which a change would be bootstrapped: the spec's, or, of a guest, those that
    /// it was started with, since an approval's options replace them.
    pub(super) fn options(&self) -> BootstrapOptions {
        let run = self.status.run.as_ref();
        match run.filter(|_| self.input.pipeline.is_guest()) {
            Some(run) => run.options,
            None => self.input.pipeline.spec.bootstrap_options,
        }
    }

    /// Writes down what somebody has started.
    pub(super) fn follow_a_guest(&mut self, state: &PipelineState) {
        let known = self.status.run.as_ref();
        let is_new = known.is_none_or(|run| run.deployment_id != state.deployment_id);
        if state.is_stopped() || state.deployment_id.is_none() || !is_new {
            return;
        }
        let Some(target) = self.held_target(state) else {
            return;
        };
        self.status.run = Some(Run {
            change_id: String::new(),
            target: target.clone(),
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
            outside: false,
        });
        self.status.seal = None;
        let settled = self.status.settled.as_ref();
        let change_id = match settled.filter(|settled| settled.target == target) {
            Some(settled) => settled.change_id.clone(),
            None => self.change_id(&target, self.revision_of(&target)),
        };
        if let Some(run) = &mut self.status.run {
            run.change_id = change_id;
        }
        self.notice_a_start_that_asks_nobody(state);
    }

    /// What the engine's pipeline consists of, if that is known of its present version.
    pub(super) fn held_target(&self, state: &PipelineState) -> Option<crate::crd::Target> {
        let held = self.status.content.as_ref()?;
        (held.version == state.version).then(|| held.target.clone())
    }

    /// Keeps the gate, and says what there is.
    pub(super) fn guard(&mut self, info: &EngineInfo, seen: &Seen) {
        let state = seen.state();
        if self.held_target(state).is_none() {
            self.act(Act::Look, Guard::default());
        } else if state.is_stopped() {
            self.guest_stopped(state);
        } else if state.is_stopping() {
            self.progressing(
                Phase::Stopping,
                Reason::Stopping,
                "the engine stops the pipeline".into(),
            );
        } else if state.awaits_approval() {
            self.at_the_gate(seen);
        } else if !self.past_the_gate(state) {
            if !state.is_up() {
                self.transitional(state);
                return;
            }
            self.up(state);
            if info.has_checkpoints() {
                self.seal();
            }
        }
    }

    fn guest_stopped(&mut self, state: &PipelineState) {
        let held = self.status.content.as_ref().map(|held| &held.target);
        let refused =
            self.status.approval.as_ref().is_some_and(|approval| {
                approval.state.is_refused() && held == Some(&approval.target)
            });
        if refused {
            self.reopen_or_show_refused();
        } else if let Some(error) = &state.deployment_error {
            let message = format!(
                "{}; it is started by whoever looks after it",
                self.in_words(&error.code, &error.message)
            );
            self.phase(Phase::Failed);
            self.stalled(Reason::Failed, message);
        } else {
            self.ready(
                Phase::Stopped,
                Reason::Stopped,
                "the pipeline is stopped, by whoever looks after it".into(),
            );
        }
    }

    /// A refused change of a guest stays refused until somebody asks anew, and then waits for whoever
    /// starts it.
    fn reopen_or_show_refused(&mut self) {
        if self.reopens() {
            self.waiting_for(
                Phase::Stopped,
                Reason::Stopped,
                format!(
                    "the gate is open again ({}); the change is asked about when the pipeline is started",
                    annotation::RETRY
                ),
            );
        } else {
            self.show_refused();
        }
    }
}
