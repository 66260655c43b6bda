//! Asks for a checkpoint of what runs, so that the engine keeps it.

use std::time::Duration;

use super::failures::backoff;
use super::input::Observation;
use super::plan::{Act, Guard};
use super::{Decider, EventReason};
use crate::crd::Seal;

/// A checkpoint of which nothing is heard for so long got lost, with the process that was to write it.
const LOST_AFTER: Duration = Duration::from_secs(600);

/// A checkpoint that can't be written is asked for again after a minute, two, … and at most this.
const SEAL_BACKOFF: Duration = Duration::from_secs(60);
const MAX_SEAL_BACKOFF: Duration = Duration::from_secs(3600);

impl Decider<'_> {
    /// Asks for a checkpoint of what runs, so that the engine keeps it: until one exists every
    /// restart repeats the bootstrap and sends everything to the sinks again.
    pub(super) fn seal(&mut self) {
        let Some(run) = &self.status.run else { return };
        let id = run.change_id.clone();
        if self
            .status
            .settled
            .as_ref()
            .is_some_and(|settled| settled.change_id == id)
        {
            return;
        }
        // A checkpoint of what nobody knows says nothing. While the spec's content can't be read, nothing is looked at for it.
        let held = self.status.content.as_ref().map(|held| held.version);
        if let Observation::Answered {
            pipeline: Some(seen),
            ..
        } = self.input.engine
            && held.is_some_and(|held| held != seen.state().version)
        {
            return;
        }
        self.take_in_checkpoint_failure();
        self.give_up_a_lost_checkpoint();
        let now = self.now();
        let last = self
            .status
            .seal
            .as_ref()
            .filter(|seal| seal.change_id == id);
        let attempts = last.map_or(0, |seal| seal.attempts);
        let waited = last.map(|seal| self.since(&seal.requested_at));
        let pause = backoff(SEAL_BACKOFF, MAX_SEAL_BACKOFF, attempts);
        match (last, waited) {
            (Some(seal), Some(waited)) if seal.failure.is_some() && waited < pause => {
                self.look_again_in(pause - waited);
            }
            (Some(seal), _) if seal.failure.is_none() => {
                if seal.sequence_number.is_none() {
                    self.act(
                        Act::Checkpoint,
                        Guard {
                            status: &["Running", "Paused"],
                            version: self.status.content.as_ref().map(|held| held.version),
                            ..Guard::default()
                        },
                    );
                } else {
                    self.look_again_in(Duration::from_secs(1));
                }
            }
            _ => {
                self.status.seal = Some(Seal {
                    change_id: id,
                    sequence_number: None,
                    incarnation: None,
                    requested_at: now,
                    attempts: attempts + 1,
                    failure: None,
                });
            }
        }
    }

    fn give_up_a_lost_checkpoint(&mut self) {
        let Some(at) = self
            .status
            .seal
            .as_ref()
            .map(|seal| seal.requested_at.clone())
        else {
            return;
        };
        let lost = self.since(&at) >= LOST_AFTER;
        if let Some(seal) = &mut self.status.seal
            && lost
            && seal.failure.is_none()
        {
            seal.failure = Some("nothing was heard of it; it is asked for again".to_owned());
        }
    }

    fn take_in_checkpoint_failure(&mut self) {
        let Observation::Answered {
            checkpoints: Some(seen),
            ..
        } = self.input.engine
        else {
            return;
        };
        let Some(seal) = &mut self.status.seal else {
            return;
        };
        // Numbers of another process mean nothing, and what was heard of the last one says nothing of the next.
        let (asked, incarnation) = &seen.asked;
        if let (Some(number), Some((failed, error))) = (seal.sequence_number, &seen.failure)
            && number == *asked
            && seal.incarnation == *incarnation
            && *failed >= number
            && seen.success.is_none_or(|success| success < number)
            && seal.failure.is_none()
        {
            let error = error.clone();
            self.seal_failed(&error);
        }
    }

    /// Writes down, and tells, that the checkpoint that was asked for isn't written.
    pub(super) fn seal_failed(&mut self, error: &str) {
        let Some(seal) = &mut self.status.seal else {
            return;
        };
        seal.failure = Some(error.to_owned());
        let message = format!(
            "a checkpoint of change {} could not be written: {error}; until one exists a restart repeats the bootstrap",
            seal.change_id
        );
        self.warn(EventReason::SealFailed, message);
    }
}
