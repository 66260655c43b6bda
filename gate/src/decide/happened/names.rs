//! Whether the names beside votes can be believed: what is known of the policies now, and of the time in which
//! nobody looked.

use std::time::Duration;

use crate::crd::PoliciesSeen;
use crate::decide::record::Record;
use crate::decision::{self, Names};
use crate::policy_status::{Standing, vouched_from};

/// How soon a Pipeline asks again whether it is its turn.
pub(crate) const NOTED_LATER: Duration = Duration::from_secs(60);

impl Record<'_> {
    /// Remembers votes that stand while no policy vouches for the names beside them, or that may have stood
    /// in such a time: if other policies are in force than were before, there may have been none in
    /// between. Such a vote stays in doubt until it is withdrawn.
    pub(crate) fn look_at_the_names(&mut self) {
        let stored = self.status.policies.clone().unwrap_or_default();
        let mut standing = decision::marks(self.input.pipeline);
        standing.extend(decision::adoption(self.input.pipeline));
        let in_doubt = match &self.input.trust.pipelines {
            Standing::Unknown(_) => false,
            Standing::Absent(_) => true,
            Standing::InForce { epoch, since } => match &stored.epoch {
                Some(before) => before != epoch,
                // An object that is younger than the policies, and than the time they take, was never without them.
                None => {
                    let made = self.input.pipeline.metadata.creation_timestamp.as_ref();
                    made.is_none_or(|made| made.0 < vouched_from(*since))
                }
            },
        };
        let mut seen = PoliciesSeen {
            epoch: match &self.input.trust.pipelines {
                Standing::InForce { epoch, .. } => Some(epoch.clone()),
                _ => stored.epoch,
            },
            unfounded: stored.unfounded,
        };
        seen.unfounded.retain(|mark| standing.contains(mark));
        if in_doubt {
            for mark in standing {
                if !seen.unfounded.contains(&mark) {
                    seen.unfounded.push(mark);
                }
            }
        }
        self.policies = (seen != PoliciesSeen::default()).then_some(seen);
    }

    pub(crate) fn names(&self) -> Names<'_> {
        let trust = self.input.trust;
        let unguarded = self.policies.as_ref().map(|seen| seen.unfounded.as_slice());
        Names {
            required: trust.required,
            of_pipelines: trust.pipelines.since().is_some(),
            of_objects_since: trust.votes.since(),
            unguarded: unguarded.unwrap_or_default(),
        }
    }
}
