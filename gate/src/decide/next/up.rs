//! What is up: it runs or is paused as the spec says, and is asked for its checkpoint.

use crate::crd::{DesiredState, Phase};
use crate::decide::next::Next;
use crate::decide::next::live::phase_of;
use crate::decide::{Act, Guard, Reason};
use crate::engine::{EngineInfo, PipelineState};

impl Next<'_> {
    pub(crate) fn deployed(&mut self, info: &EngineInfo, state: &PipelineState) {
        if !state.is_up() {
            self.transitional(state);
            return;
        }
        self.record.adopt_run(state);
        if self.restart(info, state) {
            return;
        }
        self.up(state);
        let running = state.deployment_status == "Running";
        match (self.input.pipeline.spec.desired_state, running) {
            (DesiredState::Paused, true) => {
                self.record.notice_an_outside_switch("resumed");
                self.switch(state, Act::Pause);
            }
            (DesiredState::Running, false) => {
                self.record.notice_an_outside_switch("paused");
                self.switch(state, Act::Resume);
            }
            _ if self.record.keeps_state(info) => self.seal(),
            _ => {}
        }
    }

    /// The pipeline is up.
    pub(crate) fn up(&mut self, state: &PipelineState) {
        let paused = state.deployment_status == "Paused";
        let reason = if paused {
            Reason::Paused
        } else {
            Reason::Running
        };
        let phase = phase_of(state);
        let held = self.record.status.content.as_ref();
        let names = held.map_or(&[][..], |held| &held.not_shown);
        let not_shown = match names {
            [] => String::new(),
            names => format!("; not in force: {}", names.join(", ")),
        };
        self.shown.ready(
            phase,
            reason,
            format!(
                "the pipeline is {}{not_shown}",
                phase.as_str().to_lowercase()
            ),
        );
        self.record.forget_old_failures();
    }

    pub(crate) fn switch(&mut self, state: &PipelineState, act: Act) {
        // What is so by now isn't asked for again.
        let (wanted, from): (_, &'static [&'static str]) = if act == Act::Pause {
            ("paused", &["Running"])
        } else {
            ("resumed", &["Paused"])
        };
        let phase = phase_of(state);
        self.shown.progressing(
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
    pub(crate) fn transitional(&mut self, state: &PipelineState) {
        let phase = phase_of(state);
        if phase == Phase::Unknown {
            let message = format!(
                "the engine calls the pipeline {:?}, which this version of Sluice doesn't know; it is left alone",
                state.deployment_status
            );
            self.shown
                .waiting_for(phase, Reason::EngineStatusUnknown, message);
            return;
        }
        let reason = if phase == Phase::Bootstrapping {
            Reason::Bootstrapping
        } else {
            Reason::Starting
        };
        self.shown.progressing(
            phase,
            reason,
            format!("the engine reports {}", state.deployment_status),
        );
    }
}
