use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::crd::VoteDecision;
use crate::votes::{Effect, effect};

const STATUS: &str = include_str!("../../../docs/status.md");

fn decision(by: &str) -> Decision {
    serde_json::from_value(json!({
        "outcome": "Approved", "by": by, "verified": true, "via": "Annotation",
        "at": "2026-01-01T00:00:00Z",
    }))
    .expect("a decision")
}

fn runs() -> GateEvent {
    GateEvent::Runs {
        after_all: false,
        is_kept: true,
    }
}

fn unasked() -> GateEvent {
    GateEvent::RunsUnasked {
        decision: decision("unknown"),
        waited: true,
    }
}

/// Each event, as the page about statuses calls it.
fn events() -> [(&'static str, GateEvent); 11] {
    let at = decision("").at;
    [
        (
            "votes or a policy approve it",
            GateEvent::Approved(decision("ann")),
        ),
        (
            "votes or a policy reject it",
            GateEvent::Rejected(decision("bob")),
        ),
        ("the engine is told", GateEvent::Told { at }),
        (
            "it is started, with no gate of the engine's on the way",
            GateEvent::Started,
        ),
        (
            "the engine hasn't taken it, or asks again",
            GateEvent::AskedAgain(AskedAgain::StillAsks),
        ),
        ("the engine runs it", runs()),
        ("the engine runs it, and Sluice hasn't told it", unasked()),
        ("a checkpoint of it exists", GateEvent::Sealed),
        ("it fails", GateEvent::Failed("no".into())),
        (
            "the engine runs it although it is rejected; it is stopped",
            GateEvent::WentOn(WentOn::RejectedTooLate),
        ),
        (
            "another change takes its place, it is taken back, or it is asked about anew",
            GateEvent::GaveWay(GaveWay::Void),
        ),
    ]
}

/// What leads where, as a table.
fn table() -> String {
    let mut table = String::from("| what happens | in | then |\n| --- | --- | --- |\n");
    for (words, event) in events() {
        let mut from: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for state in ApprovalState::ALL {
            if let Some(next) = state.after(&event) {
                let from = from.entry(format!("`{next:?}`")).or_default();
                from.push(format!("`{state:?}`"));
            }
        }
        for (next, from) in from {
            table += &format!("| {words} | {} | {next} |\n", from.join(", "));
        }
    }
    table
}

/// The page was written by hand, so that a slip here shows.
#[test]
fn what_leads_from_state_to_state_is_what_the_docs_say() {
    assert!(
        STATUS.contains(&table()),
        "docs/status.md lacks:\n{}",
        table()
    );
}

#[test]
fn each_state_is_in_one_of_the_sets_that_share_all_of_them_out() {
    for state in ApprovalState::ALL {
        let sets = [
            state.is_under_way(),
            state == Applied,
            state.is_refused(),
            state.is_over(),
            state == Unknown,
        ];
        assert_eq!(sets.iter().filter(|is| **is).count(), 1, "{state:?}");
        assert!(!state.is_votable() || state.is_under_way(), "{state:?}");
        assert!(!state.is_let_through() || state.is_approved(), "{state:?}");
    }
}

#[test]
fn a_change_can_be_rejected_by_a_vote_just_where_one_still_counts() {
    for state in ApprovalState::ALL {
        let counts = effect(state, VoteDecision::Reject) == Effect::Counts;
        assert_eq!(counts, state.is_votable(), "{state:?}");
        let approves = effect(state, VoteDecision::Approve) == Effect::Counts;
        let event = GateEvent::Approved(decision("ann"));
        assert_eq!(approves, state.after(&event).is_some(), "{state:?}");
    }
}

#[test]
fn what_is_over_stays_over_unless_the_engine_runs_it_all_the_same() {
    for state in ApprovalState::ALL.into_iter().filter(|it| it.is_over()) {
        for (words, event) in events() {
            let next = state.after(&event);
            let runs = matches!(
                event,
                GateEvent::Runs { .. } | GateEvent::RunsUnasked { .. }
            );
            let may = runs && state == Superseded;
            assert_eq!(next.is_some(), may, "{state:?}: {words}");
        }
    }
}

fn approval(state: ApprovalState) -> Approval {
    serde_json::from_value(json!({
        "state": state, "changeId": "c", "shortId": "c", "parent": "root",
        "target": {"sql": "s", "udfRust": "", "udfToml": "", "config": ""}, "options": {},
        "revision": 0, "since": "2026-01-01T00:00:00Z", "summary": "", "diffDigest": "d",
        "approveCommand": "", "approvedFieldCounts": false,
    }))
    .expect("a change")
}

#[test]
fn what_happens_is_written_down_with_the_state() {
    let mut change = approval(Awaiting);
    assert!(change.take(GateEvent::Approved(decision("ann"))));
    assert_eq!(change.decision.as_ref().unwrap().by, "ann");
    assert!(change.take(GateEvent::Told {
        at: decision("").at
    }));
    assert_eq!((change.calls, change.last_call_at.is_some()), (1, true));
    // A no that comes before the call is made takes it back.
    let mut rejected = change.clone();
    assert!(rejected.take(GateEvent::Rejected(decision("bob"))));
    assert_eq!((rejected.state, rejected.calls), (Rejected, 0));
    assert_eq!(rejected.decision.as_ref().unwrap().by, "bob");
    assert!(rejected.take(GateEvent::WentOn(WentOn::Known)));
    assert!(rejected.failure.is_some());
    // Asked again, it is told again; who approved stays.
    assert!(change.take(GateEvent::AskedAgain(AskedAgain::StillAsks)));
    assert!(change.take(unasked()));
    assert_eq!(change.decision.as_ref().unwrap().by, "ann");
    assert!(change.take(GateEvent::Failed("no".into())));
    assert_eq!(change.failure.as_deref(), Some("no"));
    assert!(change.take(GateEvent::Sealed));
    assert_eq!(change.state, Sealed);
    // Where nobody decided, it was somebody else.
    let mut outside = approval(Awaiting);
    assert!(outside.take(unasked()));
    assert_eq!(outside.decision.unwrap().by, "unknown");
}

#[test]
fn what_cannot_happen_changes_nothing() {
    for state in ApprovalState::ALL {
        for (words, event) in events() {
            let mut change = approval(state);
            let before = change.clone();
            let could = change.take(event.clone());
            assert_eq!(could, state.after(&event).is_some(), "{state:?}: {words}");
            if !could {
                assert_eq!(change, before, "{state:?}: {words}");
            }
        }
    }
}
