//! What waits for the engine to be done with a start, a bootstrap or a stop: since when, and how to wait no longer.

use std::time::Duration;

use super::Shown;
use crate::crd::annotation;
use crate::decide::Reason;
use crate::decide::record::Record;
use crate::engine::PipelineState;

/// What waits for the engine to be done with a start or a bootstrap.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeldUp {
    /// It is to be stopped.
    Stop,
    /// It is to be given another content.
    Edit,
}

/// After what time a stop that writes its checkpoint is one that somebody may want to end at once.
pub(crate) const LONG_FOR_A_STOP: Duration = Duration::from_secs(30);

impl Record<'_> {
    /// Says what waits for the engine to be done, since when, and how to wait no longer.
    pub(crate) fn tell_what_is_held_up(&mut self, state: &PipelineState, shown: &mut Shown) {
        let since = self.status.held_up_since.take();
        let is_unknown = shown.says(Reason::EngineStatusUnknown, self);
        let Some(held_up) = shown.held_up.take().filter(|_| !is_unknown) else {
            return;
        };
        let since = since.unwrap_or_else(|| self.input.now());
        // As status holds it: what is read again must be what was written.
        let asked_at = since.0.strftime("%Y-%m-%dT%H:%M:%SZ");
        let is_stop = held_up == HeldUp::Stop;
        let command = match &state.deployment_id {
            Some(id) if is_stop => {
                let command = self.input.command(annotation::FORCE_STOP, id);
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
        let there = &state.deployment_status;
        let (reason, message) = if state.is_stopping() {
            let rest = LONG_FOR_A_STOP.checked_sub(self.input.since(&since));
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
                "the engine reports {there}; the pipeline is stopped, with a checkpoint, once that is over (asked for at {asked_at}){command}"
            );
            (Reason::Stopping, message)
        } else {
            let message = format!(
                "the engine reports {there}; the new content is looked at once that is over (asked for at {asked_at})"
            );
            (Reason::Updating, message)
        };
        self.status.held_up_since = Some(since);
        let phase = shown.phase_so_far();
        shown.progressing(phase, reason, message);
    }
}
