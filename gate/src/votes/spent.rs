//! Which votes have done their work, and which of those may be deleted. Pure.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::crd::{
    ApprovalState, ClearAfter, PipelineApproval, PipelineApprovalStatus, PipelineStatus,
    VoteDecision,
};

/// The changes of a Pipeline that are over, and what became of each.
#[derive(Debug, Default)]
pub struct Over<'a> {
    /// The one that is at the gate, or was last, and the one that counts again if a lost pipeline is back.
    current: Vec<&'a str>,
    /// Those that are over.
    states: HashMap<&'a str, ApprovalState>,
}

impl<'a> Over<'a> {
    /// As far as a status remembers them.
    pub fn of(status: &'a PipelineStatus) -> Self {
        use ApprovalState::{Applied, Expired, Rejected, Sealed, Superseded};
        let mut states = HashMap::new();
        for turn in &status.turns {
            let state = turn.rejected.as_ref().map_or(Superseded, |_| Rejected);
            states.insert(turn.change_id.as_str(), state);
        }
        // The newest record of a change says how it ended.
        for record in status.history.iter().rev() {
            states.insert(record.change_id.as_str(), record.state);
        }
        // Without a checkpoint there is nothing to seal: that it was applied is its end.
        let settled = status.settled.as_ref().map(|settled| {
            let state = settled.checkpoint.as_ref().map_or(Applied, |_| Sealed);
            (settled.change_id.as_str(), state)
        });
        states.extend(settled);
        let set_apart = status.lost.as_ref();
        let set_apart = set_apart.and_then(|lost| lost.set_apart.as_deref());
        let current = status.approval.iter().chain(set_apart);
        let mut over = Self {
            current: vec![],
            states,
        };
        for approval in current {
            // What was decided may come round, unless its end is for good.
            let id = approval.change_id.as_str();
            match approval.state {
                // That it was rejected before another one took its place says more.
                Superseded => _ = over.states.entry(id).or_insert(Superseded),
                Sealed | Expired => _ = over.states.insert(id, approval.state),
                Applied if settled == Some((id, Applied)) => {}
                _ => _ = over.states.remove(id),
            }
            over.current.push(id);
        }
        over
    }

    /// What is to be written into a vote whose change is over; `None` if it isn't, if that isn't known, or if it stands
    /// there.
    pub fn mark(&self, vote: &PipelineApproval, now: Timestamp) -> Option<PipelineApprovalStatus> {
        if vote.spent_since().is_some() {
            return None;
        }
        let id = vote.spec.change_id.as_str();
        let state = self.states.get(id).copied();
        // The REST endpoint takes only votes on what waits: a change that isn't there any more had its turn.
        let is_forgotten = vote.spec.on_behalf_of.is_some() && !self.current.contains(&id);
        (state.is_some() || is_forgotten).then_some(PipelineApprovalStatus {
            spent_since: Some(Time(now)),
            change_state: state,
        })
    }

    /// Whether a vote can have something to do: its change is the current one, or isn't known to be over.
    pub fn concerns(&self, vote: &PipelineApproval) -> bool {
        vote.spent_since().is_none() || self.current.contains(&vote.spec.change_id.as_str())
    }
}

/// After what time Sluice may delete a vote; `None` if it may not, as far as is known now. It deletes approvals that are spent for
/// longer than the retention, if it wrote them itself, through its REST endpoint, or they say so. Never a rejection: the
/// same change may come once more.
pub fn may_be_cleared_in(
    vote: &PipelineApproval,
    now: Timestamp,
    retention: Duration,
) -> Option<Duration> {
    let is_ours = vote.spec.on_behalf_of.is_some();
    let says_so = vote.spec.clear_after == Some(ClearAfter::Settled);
    if !(is_ours || says_so) || vote.spec.decision != VoteDecision::Approve {
        return None;
    }
    // A clock that was set back makes nothing old.
    let spent_for = now.duration_since(vote.spent_since()?.0);
    let spent_for = Duration::try_from(spent_for).unwrap_or_default();
    Some(retention.saturating_sub(spent_for))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NOW: &str = "2026-02-01T00:00:00Z";

    fn vote(change: &str, spec: Value) -> PipelineApproval {
        let mut whole =
            json!({"pipelineRef": {"name": "orders"}, "changeId": change, "decision": "Approve"});
        let fields = whole.as_object_mut().unwrap();
        fields.extend(spec.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "PipelineApproval",
            "metadata": {"name": "v"}, "spec": whole,
        }))
        .unwrap()
    }

    fn approval(change: &str, state: &str) -> Value {
        json!({
            "state": state, "changeId": change, "shortId": "", "parent": "root",
            "target": {"sql": "", "udfRust": "", "udfToml": "", "config": ""},
            "options": {"silent": false, "concurrent": false}, "revision": 0, "calls": 0,
            "since": NOW, "summary": "", "diffDigest": "", "approveCommand": "",
            "approvedFieldCounts": false,
        })
    }

    fn record(change: &str, state: &str) -> Value {
        json!({"changeId": change, "state": state, "summary": "", "at": NOW})
    }

    fn status(fields: Value) -> PipelineStatus {
        serde_json::from_value(fields).unwrap()
    }

    #[test]
    fn a_vote_is_spent_once_its_change_is_over_and_says_what_became_of_it() {
        use ApprovalState::*;
        let now: Timestamp = NOW.parse().unwrap();
        for (at, expected) in [
            (json!({}), None),
            (json!({"approval": approval("c", "Awaiting")}), None),
            (json!({"approval": approval("c", "Approved")}), None),
            (json!({"approval": approval("c", "Applying")}), None),
            (json!({"approval": approval("c", "Applied")}), None),
            // These may be asked about again, under the same id.
            (json!({"approval": approval("c", "Rejected")}), None),
            (json!({"approval": approval("c", "ApplyFailed")}), None),
            (json!({"approval": approval("c", "Sealed")}), Some(Sealed)),
            (json!({"approval": approval("c", "Expired")}), Some(Expired)),
            (
                json!({"approval": approval("c", "Superseded")}),
                Some(Superseded),
            ),
            (json!({"approval": approval("d", "Awaiting")}), None),
            (json!({"history": [record("c", "Sealed")]}), Some(Sealed)),
            (
                json!({"history": [record("c", "Sealed"), record("c", "Applied")]}),
                Some(Sealed),
            ),
            (
                json!({"history": [record("c", "Rejected")], "approval": approval("c", "Awaiting")}),
                None,
            ),
            (
                json!({"history": [record("c", "Rejected")], "approval": approval("d", "Awaiting")}),
                Some(Rejected),
            ),
            (
                json!({"history": [record("c", "Rejected")], "approval": approval("c", "Superseded")}),
                Some(Rejected),
            ),
            (json!({"turns": [{"changeId": "c"}]}), Some(Superseded)),
            (
                json!({"settled": {"changeId": "c", "target": {"sql": "", "udfRust": "", "udfToml": "", "config": ""}, "checkpoint": {"uuid": "u"}}}),
                Some(Sealed),
            ),
            (
                json!({
                    "approval": approval("c", "Applied"), "history": [record("c", "Applied")],
                    "settled": {"changeId": "c", "target": {"sql": "", "udfRust": "", "udfToml": "", "config": ""}},
                }),
                Some(Applied),
            ),
            (
                json!({
                    "history": [record("c", "Applied")],
                    "lost": {"pipelineId": "p", "since": NOW, "looks": 3, "setApart": approval("c", "Applied")},
                }),
                None,
            ),
        ] {
            let status = status(at.clone());
            let over = Over::of(&status);
            let mark = over.mark(&vote("c", json!({})), now);
            assert_eq!(mark.and_then(|it| it.change_state), expected, "{at}");
        }
    }

    #[test]
    fn what_rest_wrote_on_a_change_that_is_forgotten_is_spent_and_what_others_wrote_may_be_ahead() {
        let now: Timestamp = NOW.parse().unwrap();
        let rest = json!({"onBehalfOf": {"username": "bob"}});
        for (spec, at, spent) in [
            (&rest, json!({"approval": approval("d", "Awaiting")}), true),
            (&rest, json!({"approval": approval("c", "Awaiting")}), false),
            (
                &json!({}),
                json!({"approval": approval("d", "Awaiting")}),
                false,
            ),
            (
                &json!({"clearAfter": "Settled"}),
                json!({"approval": approval("d", "Awaiting")}),
                false,
            ),
        ] {
            let status = status(at);
            let mark = Over::of(&status).mark(&vote("c", spec.clone()), now);
            assert_eq!(mark.is_some(), spent, "{spec} {:?}", status.approval);
        }
    }

    #[test]
    fn what_is_spent_concerns_nobody_unless_its_change_is_the_current_one() {
        let status = status(json!({"approval": approval("c", "Awaiting")}));
        let over = Over::of(&status);
        for (change, spent, concerns) in [
            ("c", true, true),
            ("c", false, true),
            ("d", false, true),
            ("d", true, false),
        ] {
            let mut vote = vote(change, json!({}));
            vote.status = spent.then(|| PipelineApprovalStatus {
                spent_since: serde_json::from_value(json!(NOW)).unwrap(),
                change_state: None,
            });
            assert_eq!(over.concerns(&vote), concerns, "{change} {spent}");
        }
    }

    #[test]
    fn a11_only_spent_approvals_that_say_so_or_that_rest_wrote_may_be_deleted_and_no_rejection() {
        let day = Duration::from_secs(24 * 3600);
        let rest = json!({"onBehalfOf": {"username": "bob"}});
        let says_so = json!({"clearAfter": "Settled"});
        let in_git = json!({});
        let rest_no = json!({"onBehalfOf": {"username": "bob"}, "decision": "Reject"});
        // A definition of this version refuses it.
        let no = json!({"clearAfter": "Settled", "decision": "Reject"});
        let since = Some("2026-01-01T00:00:00Z");
        let at_once = Some(Duration::ZERO);
        for (spec, since, now, expected) in [
            (&rest, since, "2026-01-02T00:00:00Z", at_once),
            (&rest, since, "2026-01-01T23:00:00Z", Some(day / 24)),
            (&rest, since, "2025-12-01T00:00:00Z", Some(day)),
            (&rest, None, NOW, None),
            (&says_so, since, NOW, at_once),
            (&says_so, None, NOW, None),
            (&in_git, since, NOW, None),
            (&rest_no, since, NOW, None),
            (&no, since, NOW, None),
        ] {
            let mut vote = vote("c", spec.clone());
            vote.status = since.map(|since| PipelineApprovalStatus {
                spent_since: serde_json::from_value(json!(since)).unwrap(),
                change_state: None,
            });
            let pause = may_be_cleared_in(&vote, now.parse().unwrap(), day);
            assert_eq!(pause, expected, "{spec} {since:?} {now}");
        }
    }
}
