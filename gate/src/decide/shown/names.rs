//! Votes that don't count because nobody vouches for the name beside them, and policies that aren't in force.

use crate::crd::{Approval, ApprovalState, PipelineStatus};
use crate::decide::happened::names::NOTED_LATER;
use crate::decide::record::Record;
use crate::decision;
use crate::policy_status::Standing;
use crate::votes::ONLY_IN_FIELDS;

impl Record<'_> {
    /// Thousands of Pipelines need no write at once because the policies were replaced: only where a vote
    /// stands or is waited for must that be known. Elsewhere it goes along with the next write, or is
    /// written when it is this Pipeline's turn.
    pub(crate) fn note_the_policies(&mut self, stored: &PipelineStatus) {
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

    /// Tells people about approvals that don't count because nobody vouches for their names.
    pub(crate) fn explain_unfounded_votes(&mut self) {
        let trust = self.input.trust;
        let other_way = format!(
            "kubectl sluice approve {} -n {}",
            self.input.name(),
            self.input.namespace()
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
    pub(crate) fn show_missing_policies(&mut self) {
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
