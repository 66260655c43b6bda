//! Starts a pipeline, having written down what that brings up, and under which terms.

use crate::crd::{BootstrapPolicy, DesiredState, Phase, Run};
use crate::decide::next::Next;
use crate::decide::{Act, Guard, Reason};
use crate::engine::{EngineInfo, PipelineState, StartOptions};

impl Next<'_> {
    /// Writes down what the start will bring up, and under which terms; then starts.
    pub(crate) fn start(&mut self, info: &EngineInfo, state: &PipelineState) {
        let spec = &self.input.pipeline.spec;
        if state.deployment_error.is_some() {
            // It is in status by now. Left in the engine, it would be counted again.
            self.shown.progressing(
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
        let Some(target) = self
            .record
            .status
            .content
            .as_ref()
            .map(|held| held.target.clone())
        else {
            return;
        };
        self.record
            .no_vote_before_a_stop_without_checkpoint_counts(state, &target);
        let settled = self
            .record
            .status
            .settled
            .as_ref()
            .filter(|settled| settled.target == target);
        let change_id = match settled {
            Some(settled) => settled.change_id.clone(),
            None => self
                .record
                .change_id(&target, self.record.revision_of(&target)),
        };
        // Without checkpoints there is nothing to bootstrap from, and no gate. And what is refused is rejected at the gate, by
        // name and on record: told to reject by itself, the engine lets the pipeline fail.
        let policy = match spec.bootstrap_policy {
            BootstrapPolicy::Allow if info.has_checkpoints() => BootstrapPolicy::Allow,
            _ => BootstrapPolicy::AwaitApproval,
        };
        let last = self.record.status.run.as_ref();
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
                None => last.is_some_and(|run| self.record.is_kept_whole(run, state)),
            },
            past_gate_since: None,
            stop: None,
            graceful_stop: None,
            stopped_since: state.stopped_since.clone(),
            failed: false,
            outside: false,
        };
        let (change_id, target) = (run.change_id.clone(), run.target.clone());
        self.record.status.run = Some(run);
        self.record.start_lets_through(state, &change_id, &target);
        self.record.status.seal = None;
        self.record.take_restart();
        self.shown.progressing(
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
}
