//! Whether the names beside votes can be believed: what is known of the policies now, and of the time in which
//! nobody looked.

use std::time::Duration;

use super::Decider;
use crate::crd::{Approval, ApprovalState, PipelineStatus, PoliciesSeen};
use crate::decision::{self, Names};
use crate::policy_status::Standing;
use crate::votes::ONLY_IN_FIELDS;

/// How soon a Pipeline asks again whether it is its turn.
const NOTED_LATER: Duration = Duration::from_secs(60);

impl Decider<'_> {
    /// Remembers votes that stand while no policy vouches for the names beside them, or that may have stood
    /// in such a time: if other policies are in force than were before, there may have been none in
    /// between. Such a vote stays in doubt until it is withdrawn.
    pub(super) fn look_at_the_names(&mut self) {
        let stored = self.status.policies.clone().unwrap_or_default();
        let mut standing = decision::marks(self.input.pipeline);
        standing.extend(decision::adoption(self.input.pipeline));
        let in_doubt = match &self.input.trust.pipelines {
            Standing::Unknown(_) => false,
            Standing::Absent(_) => true,
            Standing::InForce { epoch, since } => match &stored.epoch {
                Some(before) => before != epoch,
                // An object that is younger than the policies was never without them.
                None => {
                    let made = self.input.pipeline.metadata.creation_timestamp.as_ref();
                    made.is_none_or(|made| made.0 < *since)
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

    /// Thousands of Pipelines need no write at once because the policies were replaced: only where a vote
    /// stands or is waited for must that be known. Elsewhere it goes along with the next write, or is
    /// written when it is this Pipeline's turn.
    pub(super) fn note_the_policies(&mut self, stored: &PipelineStatus) {
        let waits = self
            .status
            .approval
            .as_ref()
            .is_some_and(|approval| approval.state.is_votable());
        let matters = waits || decision::relies_on_policies(self.input.pipeline);
        if matters || self.input.may_note_policies || self.status != *stored {
            self.status.policies = self.policies.take();
        } else if self.status.policies != self.policies {
            self.look_again_in(NOTED_LATER);
        }
    }

    pub(super) fn names(&self) -> Names<'_> {
        let trust = self.input.trust;
        let unguarded = self.policies.as_ref().map(|seen| seen.unfounded.as_slice());
        Names {
            required: trust.required,
            of_pipelines: trust.pipelines.since().is_some(),
            of_objects_since: trust.votes.since(),
            unguarded: unguarded.unwrap_or_default(),
        }
    }

    /// Tells people about approvals that don't count because nobody vouches for their names.
    pub(super) fn explain_unfounded_votes(&mut self) {
        let trust = self.input.trust;
        let other_way = format!(
            "kubectl sluice approve {} -n {}",
            self.name(),
            self.namespace()
        );
        let mut is_sure = true;
        // What is approved already needs no further approval.
        let waits = |waiting: &Approval| waiting.state == ApprovalState::Awaiting;
        let unfounded = match self.waiting().is_some_and(waits) {
            true => self.count_votes().unfounded,
            false => vec![],
        };
        let message = unfounded
            .iter()
            .map(|unfounded| {
                let standing = match unfounded.place.starts_with("PipelineApproval") {
                    true => &trust.votes,
                    false => &trust.pipelines,
                };
                is_sure &= !matches!(standing, Standing::Unknown(_));
                unfounded.explain(standing.why_not(), &other_way)
            })
            .collect::<Vec<_>>()
            .join("; ");
        self.unfounded_approval(message, is_sure);
    }

    /// Says that approvals can't count for now, where one is waited for or stands.
    pub(super) fn show_missing_policies(&mut self) {
        let trust = self.input.trust;
        let concerned = self.waiting().is_some() || decision::carries_votes(self.input.pipeline);
        let mut missing: Vec<String> = vec![];
        for (standing, doors) in [
            (&trust.pipelines, "approvals by field and annotation"),
            (&trust.votes, "approvals by PipelineApproval and REST"),
        ] {
            if let Standing::Absent(why) = standing {
                missing.push(format!("{doors} don't count: {why}"));
            }
        }
        let known = |standing: &Standing| !matches!(standing, Standing::Unknown(_));
        if concerned && trust.required && !(known(&trust.pipelines) && known(&trust.votes)) {
            // What was said stays until it is known whether it still holds.
            return;
        }
        if !concerned || !trust.required {
            missing.clear();
        }
        let mut message = missing.join("; ");
        if !message.is_empty() {
            message.push_str(". Install the admission policies of this version of Sluice again");
        }
        let reason = match &trust.votes {
            Standing::Absent(_) => "NamesCannotBeTrusted",
            _ => ONLY_IN_FIELDS,
        };
        self.policies_not_in_force(reason, message);
    }
}
