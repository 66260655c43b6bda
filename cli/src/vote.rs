//! `kubectl sluice approve` and `kubectl sluice reject`: one vote on one change.

use sluice_gate::crd::{
    Approval, ApprovalState, ClearAfter, Pipeline, PipelineApproval, VoteDecision,
};

use crate::choose::{Choice, choose};
use crate::cluster::Cluster;
use crate::confirm::{can_ask, confirm};
use crate::diff;
use crate::error::Error;
use crate::output::{print, tell};
use sluice_gate::printable::printable;

/// What was asked for on the command line.
pub struct Ballot<'a> {
    pub decision: VoteDecision,
    pub pipeline: &'a str,
    pub change: Option<&'a str>,
    pub reason: Option<&'a str>,
    pub yes: bool,
}

/// Votes on the change that waits as it is read now. Returns its id.
pub async fn cast(cluster: &Cluster, ballot: &Ballot<'_>) -> Result<String, Error> {
    let asks = can_ask();
    if !asks && ballot.change.is_none() {
        return Err(Error::NotNamed {
            pipeline: ballot.pipeline.to_owned(),
            namespace: cluster.namespace.clone(),
        });
    }
    let pipeline = cluster.pipeline(ballot.pipeline).await?;
    let change = match choose(&pipeline, ballot.change, ballot.decision)? {
        Choice::Waits(change) => change,
        Choice::Already(change) => {
            print(&format!("{}\n", already(change, ballot.decision)));
            return Ok(change.change_id.clone());
        }
    };
    if asks && !ballot.yes {
        let program = diff::program_of(cluster, &pipeline, change).await;
        let in_full = diff::in_full(&pipeline, change, &program);
        tell(&format!("{}\n\n", in_full.trim_end()));
        confirm(&format!(
            "{} change {} of Pipeline {}?",
            verb(ballot.decision),
            printable(&change.change_id),
            ballot.pipeline
        ))?;
    }
    let voter = cluster.whoami().await?;
    store(cluster, &pipeline, change, ballot, &voter).await?;
    if change.state == ApprovalState::Approved {
        print(&format!(
            "It was approved before; whether this came in time, before the engine was told, is what its state says: kubectl get fpl {} -n {}\n",
            ballot.pipeline, cluster.namespace
        ));
    }
    Ok(change.change_id.clone())
}

/// Stores the vote, and says so.
pub async fn store(
    cluster: &Cluster,
    pipeline: &Pipeline,
    change: &Approval,
    ballot: &Ballot<'_>,
    voter: &str,
) -> Result<(), Error> {
    let vote = vote(pipeline, change, ballot, voter);
    let (name, stored) = cluster.store(&vote, has_unfounded_votes(pipeline)).await?;
    print(&format!(
        "{} {}{} change {} of Pipeline {} (PipelineApproval {}).\n",
        printable(voter),
        if stored { "" } else { "had already " },
        done(ballot.decision),
        change.change_id,
        ballot.pipeline,
        printable(&name),
    ));
    Ok(())
}

/// What a condition says while it holds.
pub fn held(pipeline: &Pipeline, type_: &str) -> Option<String> {
    let mut conditions = pipeline.status.iter().flat_map(|status| &status.conditions);
    let condition = conditions.find(|it| it.type_ == type_ && it.status == "True")?;
    Some(condition.message.clone())
}

/// Whether the operator says that an approval fits the change and doesn't count. It may be one by this voter,
/// from before the policies of today. While there are none, no other one would count either.
fn has_unfounded_votes(pipeline: &Pipeline) -> bool {
    held(pipeline, "UnfoundedApproval").is_some() && held(pipeline, "PoliciesNotInForce").is_none()
}

/// The vote as an object. It is tied to the diff that was shown, too.
fn vote(
    pipeline: &Pipeline,
    change: &Approval,
    ballot: &Ballot<'_>,
    voter: &str,
) -> PipelineApproval {
    let mut vote = PipelineApproval::for_vote(
        pipeline,
        &change.change_id,
        voter,
        ballot.decision,
        ballot.reason.map(str::to_owned),
        None,
    );
    // An engine that gave no diff leaves nothing to tie it to.
    vote.spec.diff_digest = Some(change.diff_digest.clone()).filter(|digest| digest.len() == 64);
    // Nobody keeps it anywhere else, so that it may go some time after its change is settled. A rejection stays.
    vote.spec.clear_after =
        (ballot.decision == VoteDecision::Approve).then_some(ClearAfter::Settled);
    vote
}

fn verb(decision: VoteDecision) -> &'static str {
    match decision {
        VoteDecision::Approve => "Approve",
        VoteDecision::Reject => "Reject",
    }
}

fn done(decision: VoteDecision) -> &'static str {
    match decision {
        VoteDecision::Approve => "approved",
        VoteDecision::Reject => "rejected",
    }
}

/// That a change needs no further vote, and whose decision that was.
fn already(change: &Approval, decision: VoteDecision) -> String {
    let by = match &change.decision {
        Some(decision) => format!(", by {}", printable(&decision.by)),
        None => String::new(),
    };
    format!(
        "Change {} is already {}{by}; it is {:?} now.",
        change.change_id,
        done(decision),
        change.state
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choose::tests::{CHANGE, pipeline};
    use crate::choose::waiting;
    use kube::ResourceExt;

    fn ballot(decision: VoteDecision) -> Ballot<'static> {
        Ballot {
            decision,
            pipeline: "orders",
            change: None,
            reason: Some("looked at it"),
            yes: false,
        }
    }

    #[test]
    fn a_vote_names_the_change_and_the_diff_that_was_shown() {
        let pipeline = pipeline("Awaiting");
        let change = waiting(&pipeline).unwrap();
        let vote = vote(&pipeline, change, &ballot(VoteDecision::Reject), "alice");
        assert_eq!(vote.spec.change_id, CHANGE);
        assert_eq!(vote.spec.decision, VoteDecision::Reject);
        assert_eq!(vote.spec.reason.as_deref(), Some("looked at it"));
        assert_eq!(
            vote.spec.diff_digest.as_deref(),
            Some("0".repeat(64).as_str())
        );
        assert_eq!(vote.spec.on_behalf_of, None);
        assert_eq!(vote.spec.clear_after, None, "a rejection stays");
        let yes = super::vote(&pipeline, change, &ballot(VoteDecision::Approve), "alice");
        assert_eq!(yes.spec.clear_after, Some(ClearAfter::Settled));
        assert_eq!(vote.metadata.namespace.as_deref(), Some("shop"));
        // The same person's same vote meets its own object; another person's doesn't.
        let name =
            |voter| super::vote(&pipeline, change, &ballot(VoteDecision::Reject), voter).name_any();
        assert_eq!(name("alice"), vote.name_any());
        assert_ne!(name("bob"), vote.name_any());
    }

    #[test]
    fn without_a_diff_there_is_no_digest_to_name() {
        let mut pipeline = pipeline("Awaiting");
        pipeline
            .status
            .as_mut()
            .unwrap()
            .approval
            .as_mut()
            .unwrap()
            .diff_digest = String::new();
        let change = waiting(&pipeline).unwrap();
        let vote = vote(&pipeline, change, &ballot(VoteDecision::Approve), "alice");
        assert_eq!(vote.spec.diff_digest, None);
    }

    #[test]
    fn a_decided_change_says_by_whom() {
        let pipeline = pipeline("Sealed");
        let change = pipeline.status.unwrap().approval.unwrap();
        assert_eq!(
            already(&change, VoteDecision::Approve),
            format!("Change {CHANGE} is already approved; it is Sealed now.")
        );
    }
}
