//! A Pipeline without a program: the engine's pipeline is made, changed, started and stopped
//! elsewhere, and only its gate is kept here.

use crate::crd::{BootstrapOptions, Run};
use crate::decide::record::Record;
use crate::engine::PipelineState;

impl Record<'_> {
    /// The options under which a change would be bootstrapped: the spec's, or, where only the gate is kept, those that
    /// it was started with, since an approval's options replace them.
    pub(crate) fn options(&self) -> BootstrapOptions {
        let run = self.status.run.as_ref();
        match run.filter(|_| self.input.pipeline.is_gate_only()) {
            Some(run) => run.options,
            None => self.input.pipeline.spec.bootstrap_options,
        }
    }

    /// Writes down what somebody has started.
    pub(crate) fn follow_gate_only(&mut self, state: &PipelineState) {
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
    pub(crate) fn held_target(&self, state: &PipelineState) -> Option<crate::crd::Target> {
        let held = self.status.content.as_ref()?;
        (held.version == state.version).then(|| held.target.clone())
    }
}
