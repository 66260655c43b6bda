//! Stops a pipeline: with a checkpoint where there is something to keep, at once at the gate, or where somebody who may
//! says so.

use crate::crd::{ApprovalState, GracefulStop, Phase, StopKind, annotation};
use crate::decide::guard::BEFORE_THE_GATE;
use crate::decide::next::Next;
use crate::decide::next::live::phase_of;
use crate::decide::shown::held_up::HeldUp;
use crate::decide::{AT_THE_GATE, Act, EventReason, Guard, Reason};
use crate::engine::{EngineInfo, PipelineState};

impl Next<'_> {
    /// Stops a pipeline that waits, or should have waited, at the gate. Always at once: a graceful
    /// stop while awaiting approval would park it for ever.
    pub(crate) fn stop_at_the_gate(&mut self, state: &PipelineState) {
        let rejected =
            self.record.status.approval.as_ref().map(|a| a.state) == Some(ApprovalState::Rejected);
        if rejected {
            self.show_rejected();
        }
        self.stop(state, true);
    }

    pub(crate) fn wind_down(&mut self, info: &EngineInfo, state: &PipelineState) {
        let can_lose = self.input.pipeline.spec.allow_state_loss;
        if state.awaits_approval() {
            self.shown.progressing(
                Phase::Stopping,
                Reason::Stopping,
                "the pipeline is stopped at the gate".into(),
            );
            self.stop(state, true);
        } else if self.record.is_before_the_gate(state) {
            self.shown.progressing(
                Phase::Stopping,
                Reason::Stopping,
                "the pipeline is stopped before it comes to the gate".into(),
            );
            self.stop_before_the_gate(state);
        } else if !state.is_up() {
            if self.record.may_be_forced(state) {
                self.force_stop(state);
                return;
            }
            self.transitional(state);
            if !matches!(state.deployment_status.as_str(), "Suspended" | "Stopping") {
                self.shown.held_up = Some(HeldUp::Stop);
            }
        } else if self.record.keeps_state(info) || can_lose {
            self.shown.progressing(
                Phase::Stopping,
                Reason::Stopping,
                "the pipeline is stopped".into(),
            );
            self.stop(state, !self.record.keeps_state(info));
        } else {
            self.shown.phase(phase_of(state));
            let message = self.record.state_loss("stopping the pipeline");
            self.shown.stalled(Reason::StateLossNotAllowed, message);
        }
    }

    pub(crate) fn force_stop(&mut self, state: &PipelineState) {
        let run = self.record.status.run.as_ref();
        let is_news = run.is_some_and(|run| run.stop != Some(StopKind::Force));
        self.shown.progressing(
            Phase::Stopping,
            Reason::Stopping,
            format!(
                "the pipeline is stopped at once, as the annotation {} says",
                annotation::FORCE_STOP
            ),
        );
        self.stop(state, true);
        if is_news {
            let asked_anew = self.record.ask_anew_what_promised_a_checkpoint();
            let asked_anew = asked_anew.map_or_else(String::new, |id| {
                format!(". Change {id} isn't made, and is asked about anew")
            });
            let bootstrap = match state.deployment_status.as_str() {
                "Bootstrapping" => {
                    ", and the bootstrap that was under way begins anew at the next start: sinks get everything once more"
                }
                _ => "",
            };
            self.record.warn(
                EventReason::ForcedStop,
                format!(
                    "the pipeline is stopped at once while the engine reports {}, as the annotation {} says: what came in since the last checkpoint may be lost{bootstrap}{asked_anew}",
                    state.deployment_status,
                    annotation::FORCE_STOP
                ),
            );
        }
    }

    pub(crate) fn stop_before_the_gate(&mut self, state: &PipelineState) {
        if let Some(run) = &mut self.record.status.run {
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

    /// Stops the pipeline, having written down how.
    pub(crate) fn stop(&mut self, state: &PipelineState, force: bool) {
        let (checkpoint_before, steps_before) =
            self.record.newest_checkpoint_that_is_known(state).unzip();
        let asked = GracefulStop {
            at: self.input.now(),
            checkpoint_before: checkpoint_before.flatten(),
            steps_before: steps_before.flatten(),
            failed: false,
        };
        // What the engine shows by now may be the checkpoint that this stop has written. And while no call is made, it is the
        // one that has failed.
        let is_asked = self.record.has_just_asked_to_stop() || self.record.call_failed;
        if let Some(run) = &mut self.record.status.run {
            run.stop = Some(if force {
                StopKind::Force
            } else {
                StopKind::Checkpoint
            });
            if force {
                run.graceful_stop = None;
            } else if !is_asked || run.graceful_stop.is_none() {
                run.graceful_stop = Some(asked);
            }
        }
        let guard = Guard {
            deployment_id: state.deployment_id.clone(),
            // A graceful stop at the gate would park the pipeline for ever, and a forced one of what has
            // left it would lose input.
            status: match force {
                true if state.awaits_approval() => AT_THE_GATE,
                true => &[],
                false => &["Running", "Paused"],
            },
            ..Guard::default()
        };
        self.act(Act::Stop { force }, guard);
    }
}
