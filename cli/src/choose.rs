//! Which change is voted on.

use kube::ResourceExt;
use sluice_gate::crd::{Approval, ApprovalState, Pipeline, VoteDecision, annotation};
use sluice_gate::votes::{Effect, Hindrance, effect, hindrance};

use crate::error::Error;
use sluice_gate::printable::one_line;

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

/// The change that a vote is about: the one that can be voted on so, which must be the one that was named, if one
/// was. Ids are compared whole.
pub fn choose<'a>(
    pipeline: &'a Pipeline,
    named: Option<&str>,
    decision: VoteDecision,
) -> Result<Choice<'a>, Error> {
    let nothing_waits = |last: Option<&Approval>| Error::NothingWaits {
        pipeline: pipeline.name_any(),
        state: state(pipeline) + &last.map(|last| instead(pipeline, last)).unwrap_or_default(),
    };
    let Some(last) = last(pipeline) else {
        return Err(nothing_waits(None));
    };
    let is_meant = named.is_none_or(|named| last.change_id == named);
    match effect(last.state, decision) {
        Effect::Counts if is_meant => match hindrance(pipeline, decision) {
            None => Ok(Choice::Waits(last)),
            Some(Hindrance::Policies(why)) => Err(Error::WouldNotCount(why)),
            Some(Hindrance::Deletion) => Err(Error::NothingWaits {
                pipeline: pipeline.name_any(),
                state: "it is being deleted".to_owned(),
            }),
        },
        Effect::Counts if waiting(pipeline).is_some() => Err(Error::AnotherWaits {
            pipeline: pipeline.name_any(),
            namespace: pipeline.namespace().unwrap_or_default(),
            named: named.unwrap_or_default().to_owned(),
            waiting: one_line(&last.change_id),
        }),
        Effect::Holds if is_meant && named.is_some() => Ok(Choice::Already(last)),
        Effect::Nothing if is_meant => Err(nothing_waits(Some(last))),
        _ => Err(nothing_waits(None)),
    }
}

fn last(pipeline: &Pipeline) -> Option<&Approval> {
    pipeline.status.as_ref()?.approval.as_ref()
}

/// What to do instead of a vote that would do nothing.
fn instead(pipeline: &Pipeline, last: &Approval) -> String {
    use ApprovalState::{Applied, ApplyFailed, Applying, Rejected, Sealed};
    match last.state {
        ApplyFailed | Rejected => format!(
            "\nCorrect the program, or have it asked about anew: kubectl annotate pipeline {} -n {} {}={} --overwrite",
            pipeline.name_any(),
            pipeline.namespace().unwrap_or_default(),
            annotation::RETRY,
            one_line(&last.change_id),
        ),
        Applying | Applied | Sealed => {
            "\nIt is past the gate. To take it back, put the old program into the spec: that is a change of its own"
                .into()
        }
        _ => String::new(),
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
            ("Applying", VoteDecision::Reject, false),
            ("Applied", VoteDecision::Reject, false),
            ("Sealed", VoteDecision::Reject, false),
            ("ApplyFailed", VoteDecision::Reject, false),
        ] {
            let pipeline = pipeline(state);
            let named = choose(&pipeline, Some(CHANGE), decision);
            assert_eq!(matches!(named, Ok(Choice::Already(_))), fine, "{state}");
            // Without a name there is nothing to vote on.
            assert!(choose(&pipeline, None, decision).is_err(), "{state}");
            assert!(choose(&pipeline, Some(OTHER), decision).is_err(), "{state}");
        }
    }

    /// The plugin knows the states and conditions that the rule knows, and no others.
    #[test]
    fn a_vote_is_taken_in_each_state_and_condition_as_it_would_count() {
        use sluice_gate::votes::doors::{Condition, comes_to, put};
        for state in ApprovalState::ALL {
            for condition in Condition::ALL {
                for decision in [VoteDecision::Approve, VoteDecision::Reject] {
                    let mut pipeline = pipeline(&format!("{state:?}"));
                    put(&mut pipeline, condition);
                    let expected = comes_to(state, condition, decision);
                    let found = match choose(&pipeline, Some(CHANGE), decision) {
                        Ok(Choice::Waits(_)) => Effect::Counts,
                        Ok(Choice::Already(_)) => Effect::Holds,
                        Err(_) => Effect::Nothing,
                    };
                    assert_eq!(found, expected, "{state:?}, {condition:?}, {decision:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_approved_and_not_told_to_the_engine_yet_can_still_be_rejected() {
        let pipeline = pipeline("Approved");
        for named in [None, Some(CHANGE)] {
            let choice = choose(&pipeline, named, VoteDecision::Reject).unwrap();
            assert!(matches!(choice, Choice::Waits(change) if change.change_id == CHANGE));
        }
        let other = choose(&pipeline, Some(OTHER), VoteDecision::Reject);
        assert!(matches!(other, Err(Error::NothingWaits { .. })));
    }

    #[test]
    fn a_vote_that_would_do_nothing_is_told_what_to_do_instead() {
        for (state, decision, said) in [
            (
                "ApplyFailed",
                VoteDecision::Approve,
                format!("sluice.dev/retry={CHANGE}"),
            ),
            (
                "ApplyFailed",
                VoteDecision::Reject,
                format!("sluice.dev/retry={CHANGE}"),
            ),
            (
                "Rejected",
                VoteDecision::Approve,
                format!("sluice.dev/retry={CHANGE}"),
            ),
            (
                "Applied",
                VoteDecision::Reject,
                "put the old program".to_owned(),
            ),
        ] {
            let error = choose(&pipeline(state), Some(CHANGE), decision).unwrap_err();
            assert!(error.to_string().contains(&said), "{state}: {error}");
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
