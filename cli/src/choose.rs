//! Which change is voted on.

use kube::ResourceExt;
use sluice::crd::{Approval, ApprovalState, Pipeline, VoteDecision};

use crate::error::Error;
use crate::printable::one_line;

/// What a vote would be about.
#[derive(Debug, PartialEq)]
pub enum Choice<'a> {
    /// This change waits for it.
    Waits(&'a Approval),
    /// The named change was decided in just this way before.
    Already(&'a Approval),
}

/// The change that waits, if one does.
pub fn waiting(pipeline: &Pipeline) -> Option<&Approval> {
    let approval = pipeline.status.as_ref()?.approval.as_ref()?;
    (approval.state == ApprovalState::Awaiting).then_some(approval)
}

/// The change that a vote is about: the one that waits, which must be the one that was named, if one
/// was. Ids are compared whole.
pub fn choose<'a>(
    pipeline: &'a Pipeline,
    named: Option<&str>,
    decision: VoteDecision,
) -> Result<Choice<'a>, Error> {
    match (waiting(pipeline), named) {
        (Some(waits), None) => Ok(Choice::Waits(waits)),
        (Some(waits), Some(named)) if waits.change_id == named => Ok(Choice::Waits(waits)),
        (Some(waits), Some(named)) => Err(Error::AnotherWaits {
            pipeline: pipeline.name_any(),
            namespace: pipeline.namespace().unwrap_or_default(),
            named: named.to_owned(),
            waiting: one_line(&waits.change_id),
        }),
        (None, named) => match last(pipeline) {
            Some(last) if named == Some(&last.change_id) && decided(last, decision) => {
                Ok(Choice::Already(last))
            }
            _ => Err(Error::NothingWaits {
                pipeline: pipeline.name_any(),
                state: state(pipeline),
            }),
        },
    }
}

fn last(pipeline: &Pipeline) -> Option<&Approval> {
    pipeline.status.as_ref()?.approval.as_ref()
}

/// Whether a change was decided in this way, so that the same vote again has nothing to add.
fn decided(approval: &Approval, decision: VoteDecision) -> bool {
    use ApprovalState::{Applied, Applying, Approved, Rejected, Sealed};
    match decision {
        VoteDecision::Approve => {
            matches!(approval.state, Approved | Applying | Applied | Sealed)
        }
        VoteDecision::Reject => approval.state == Rejected,
    }
}

/// What the pipeline does instead of waiting.
pub fn state(pipeline: &Pipeline) -> String {
    let Some(status) = &pipeline.status else {
        return "Sluice has not looked at it yet".into();
    };
    let phase = match &status.phase {
        Some(phase) => format!("it is {}", one_line(phase)),
        None => "its phase is unknown".into(),
    };
    match &status.approval {
        Some(last) => format!(
            "{phase}, and its last change {} is {:?}",
            one_line(&last.change_id),
            last.state
        ),
        None => phase,
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::json;

    pub const CHANGE: &str = "0123456789abcdef0123456789abcdef";
    pub const OTHER: &str = "fedcba9876543210fedcba9876543210";

    /// A Pipeline whose last change is in this state.
    pub fn pipeline(state: &str) -> Pipeline {
        let target = json!({"sql": "a", "udfRust": "b", "udfToml": "c", "config": "d"});
        serde_json::from_value(json!({
            "apiVersion": "sluice.dev/v1alpha1",
            "kind": "Pipeline",
            "metadata": {"name": "orders", "namespace": "shop", "uid": "u"},
            "spec": {"program": {"sql": ""}},
            "status": {
                "phase": "AwaitingApproval",
                "approval": {
                    "state": state,
                    "changeId": CHANGE,
                    "shortId": "01234567",
                    "parent": "root",
                    "target": target,
                    "options": {"silent": false, "concurrent": false},
                    "revision": 0,
                    "since": "2026-01-01T00:00:00Z",
                    "summary": "1 view added",
                    "diffDigest": "0".repeat(64),
                    "approveCommand": "",
                    "approvedFieldCounts": true,
                },
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_vote_is_about_the_change_that_waits() {
        let pipeline = pipeline("Awaiting");
        for named in [None, Some(CHANGE)] {
            let choice = choose(&pipeline, named, VoteDecision::Approve).unwrap();
            assert!(matches!(choice, Choice::Waits(change) if change.change_id == CHANGE));
        }
    }

    #[test]
    fn another_change_than_the_named_one_is_never_voted_on() {
        for decision in [VoteDecision::Approve, VoteDecision::Reject] {
            let error = choose(&pipeline("Awaiting"), Some(OTHER), decision).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(OTHER) && text.contains(CHANGE), "{text}");
            // Neither is a prefix the id.
            assert!(choose(&pipeline("Awaiting"), Some(&CHANGE[..8]), decision).is_err());
        }
    }

    #[test]
    fn a_named_change_that_was_decided_so_is_fine() {
        for (state, decision, fine) in [
            ("Approved", VoteDecision::Approve, true),
            ("Applying", VoteDecision::Approve, true),
            ("Applied", VoteDecision::Approve, true),
            ("Sealed", VoteDecision::Approve, true),
            ("ApplyFailed", VoteDecision::Approve, false),
            ("Rejected", VoteDecision::Approve, false),
            ("Expired", VoteDecision::Approve, false),
            ("Superseded", VoteDecision::Approve, false),
            ("SomethingNew", VoteDecision::Approve, false),
            ("Rejected", VoteDecision::Reject, true),
            ("Applied", VoteDecision::Reject, false),
        ] {
            let pipeline = pipeline(state);
            let named = choose(&pipeline, Some(CHANGE), decision);
            assert_eq!(matches!(named, Ok(Choice::Already(_))), fine, "{state}");
            // Without a name there is nothing to vote on.
            assert!(choose(&pipeline, None, decision).is_err(), "{state}");
            assert!(choose(&pipeline, Some(OTHER), decision).is_err(), "{state}");
        }
    }

    #[test]
    fn what_happens_instead_is_said() {
        let error = choose(&pipeline("Sealed"), None, VoteDecision::Approve).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "no change of Pipeline \"orders\" waits for a decision; it is AwaitingApproval, and its last change {CHANGE} is Sealed"
            )
        );
        let mut fresh = pipeline("Sealed");
        fresh.status = None;
        assert_eq!(state(&fresh), "Sluice has not looked at it yet");
    }
}
