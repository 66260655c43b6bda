//! Has a checkpoint written of what runs, so that the engine keeps it (rule A17).

use std::time::Duration;

use crate::crd::Seal;
use crate::decide::happened::checkpoint::{MAX_SEAL_BACKOFF, SEAL_BACKOFF};
use crate::decide::happened::failures::backoff;
use crate::decide::next::Next;
use crate::decide::{Act, Guard, Observation};

impl Next<'_> {
    /// Asks for a checkpoint of what runs, so that the engine keeps it: until one exists every
    /// restart repeats the bootstrap and sends everything to the sinks again.
    pub(crate) fn seal(&mut self) {
        let Some(run) = &self.record.status.run else {
            return;
        };
        let id = run.change_id.clone();
        if self
            .record
            .status
            .settled
            .as_ref()
            .is_some_and(|settled| settled.change_id == id)
        {
            return;
        }
        // A checkpoint of what nobody knows says nothing. While the spec's content can't be read, nothing is looked at for it.
        let held = self.record.status.content.as_ref().map(|held| held.version);
        if let Observation::Answered {
            pipeline: Some(seen),
            ..
        } = self.input.engine
            && held.is_some_and(|held| held != seen.state().version)
        {
            return;
        }
        self.record.take_in_checkpoint_failure();
        self.record.give_up_a_lost_checkpoint();
        let now = self.input.now();
        let last = self
            .record
            .status
            .seal
            .as_ref()
            .filter(|seal| seal.change_id == id);
        let attempts = last.map_or(0, |seal| seal.attempts);
        let waited = last.map(|seal| self.input.since(&seal.requested_at));
        let pause = backoff(SEAL_BACKOFF, MAX_SEAL_BACKOFF, attempts);
        match (last, waited) {
            (Some(seal), Some(waited)) if seal.failure.is_some() && waited < pause => {
                self.record.look_again_in(pause - waited);
            }
            (Some(seal), _) if seal.failure.is_none() => {
                if seal.sequence_number.is_none() {
                    self.act(
                        Act::Checkpoint,
                        Guard {
                            status: &["Running", "Paused"],
                            version: self.record.status.content.as_ref().map(|held| held.version),
                            ..Guard::default()
                        },
                    );
                } else {
                    self.record.look_again_in(Duration::from_secs(1));
                }
            }
            _ => {
                self.record.status.seal = Some(Seal {
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
}
