//! What became of a checkpoint that was asked for: it failed, or got lost with the process that was to write it.

use std::time::Duration;

use crate::decide::record::Record;
use crate::decide::{EventReason, Observation};

/// A checkpoint of which nothing is heard for so long got lost, with the process that was to write it.
pub(crate) const LOST_AFTER: Duration = Duration::from_secs(600);

/// A checkpoint that can't be written is asked for again after a minute, two, … and at most this.
pub(crate) const SEAL_BACKOFF: Duration = Duration::from_secs(60);
pub(crate) const MAX_SEAL_BACKOFF: Duration = Duration::from_secs(3600);

impl Record<'_> {
    pub(crate) fn give_up_a_lost_checkpoint(&mut self) {
        let Some(at) = self
            .status
            .seal
            .as_ref()
            .map(|seal| seal.requested_at.clone())
        else {
            return;
        };
        let lost = self.input.since(&at) >= LOST_AFTER;
        if let Some(seal) = &mut self.status.seal
            && lost
            && seal.failure.is_none()
        {
            seal.failure = Some("nothing was heard of it; it is asked for again".to_owned());
        }
    }

    pub(crate) fn take_in_checkpoint_failure(&mut self) {
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
    pub(crate) fn seal_failed(&mut self, error: &str) {
        let Some(seal) = &mut self.status.seal else {
            return;
        };
        seal.failure = Some(error.to_owned());
        let message = format!(
            "a checkpoint of change {} could not be written: {error}; until one exists a restart repeats the bootstrap",
            seal.change_id
        );
        let change_id = seal.change_id.clone();
        self.warn_of(&change_id, EventReason::SealFailed, message);
    }
}
