//! Every answer, as a table of what stands in status against what is asked for.

use serde_json::{Value, json};

use super::*;

const CHANGE: &str = "11111111111111111111111111111111";
const OTHER: &str = "22222222222222222222222222222222";

/// A Pipeline with a change that waits at the engine's gate, and what is different in this case.
fn pipeline(patch: Value) -> Pipeline {
    let mut pipeline = json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Pipeline",
        "metadata": {"name": "orders", "namespace": "team", "uid": "u1"},
        "spec": {"program": {"sql": "CREATE TABLE t (i INT);"}},
        "status": {
            "engine": {"deploymentId": "d1", "deploymentStatus": "AwaitingApproval"},
            "approval": {
                "state": "Awaiting",
                "changeId": CHANGE,
                "shortId": "11111111",
                "parent": "root",
                "target": {"sql": "a", "udfRust": "b", "udfToml": "c", "config": "d"},
                "options": {"silent": true, "concurrent": false},
                "revision": 0,
                "since": "2026-01-01T00:00:00Z",
                "deploymentId": "d1",
                "summary": "one view changed",
                "diffDigest": "x",
                "base": {"sequenceNumber": 7},
                "approveCommand": "kubectl …",
                "approvedFieldCounts": false,
            },
        },
    });
    merge(&mut pipeline, patch);
    serde_json::from_value(pipeline).unwrap()
}

/// A merge patch (RFC 7386).
fn merge(target: &mut Value, patch: Value) {
    match patch {
        Value::Object(patch) => {
            if !target.is_object() {
                *target = json!({});
            }
            for (key, value) in patch {
                if value.is_null() {
                    target.as_object_mut().unwrap().remove(&key);
                } else {
                    merge(&mut target[&key], value);
                }
            }
        }
        value => *target = value,
    }
}

fn in_state(state: &str) -> Value {
    json!({"status": {
        "engine": {"deploymentStatus": "Running"},
        "approval": {"state": state},
    }})
}

fn asked(query: &str) -> Query {
    Query::parse(query).unwrap()
}

fn answer(patch: Value, query: &str) -> Answer {
    decide(&pipeline(patch), &asked(query), "alice")
}

/// The answer's kind, and the code of its error.
fn word(answer: &Answer) -> String {
    match answer {
        Answer::Store { number, .. } => format!("store {number}"),
        Answer::Stored { number, .. } => format!("stored {number}"),
        Answer::Repeat {
            number, otherwise, ..
        } => format!("repeat {number} or {}", otherwise.code()),
        Answer::Refuse(error) => error.code().to_owned(),
    }
}

#[test]
fn a_change_that_waits_is_voted_on() {
    let the_change = format!("change_id={CHANGE}");
    for query in [
        "",
        &the_change,
        "silent_bootstrap=true",
        "silent_bootstrap=true&concurrent_bootstrap=false",
    ] {
        assert_eq!(
            answer(json!({}), query),
            Answer::Store {
                change_id: CHANGE.to_owned(),
                number: 7
            },
            "{query}"
        );
    }
}

#[test]
fn another_change_than_the_named_one_is_not_voted_on() {
    assert_eq!(
        answer(json!({}), &format!("change_id={OTHER}")),
        Answer::Refuse(Error::OtherChangeAwaitingApproval {
            pipeline_name: "orders".to_owned(),
            change_id: OTHER.to_owned(),
            waiting_change_id: CHANGE.to_owned(),
        })
    );
}

#[test]
fn other_options_than_the_published_ones_are_not_voted_on() {
    for query in [
        "silent_bootstrap=false",
        "concurrent_bootstrap=true",
        "silent_bootstrap=false&concurrent_bootstrap=true",
    ] {
        let answer = answer(json!({}), query);
        let Answer::Refuse(error) = answer else {
            panic!("{query}: {answer:?}")
        };
        assert_eq!(error.code(), "OtherBootstrapOptions", "{query}");
        let published = &error.body().details["published"];
        assert_eq!(
            *published,
            json!({"silent_bootstrap": true, "concurrent_bootstrap": false})
        );
    }
}

#[test]
fn what_is_not_at_the_gate_is_not_voted_on() {
    for (case, patch, expected) in [
        (
            "no status yet",
            json!({"status": null}),
            "PipelineInteractionNotDeployed",
        ),
        (
            "no change yet, and stopped",
            json!({"status": {"approval": null, "engine": {"deploymentId": null, "deploymentStatus": "Stopped"}}}),
            "PipelineInteractionNotDeployed",
        ),
        (
            "no change yet, and running",
            json!({"status": {"approval": null, "engine": {"deploymentStatus": "Running"}}}),
            "NoChangeAwaitingApproval",
        ),
        (
            "waiting, but stopped meanwhile",
            json!({"status": {"engine": {"deploymentId": null, "deploymentStatus": "Stopped"}}}),
            "repeat 7 or PipelineInteractionNotDeployed",
        ),
        (
            "waiting, but started anew",
            json!({"status": {"engine": {"deploymentId": "d2"}}}),
            "repeat 7 or PipelineInteractionNotDeployed",
        ),
        (
            "waiting, but not there yet",
            json!({"status": {"engine": {"deploymentStatus": "Initializing"}}}),
            "repeat 7 or PipelineInteractionNotDeployed",
        ),
        (
            "waiting for no deployment",
            json!({"status": {"engine": {"deploymentId": null}, "approval": {"deploymentId": null}}}),
            "repeat 7 or PipelineInteractionNotDeployed",
        ),
        (
            "being deleted",
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
            "repeat 7 or NoChangeAwaitingApproval",
        ),
    ] {
        assert_eq!(word(&answer(patch, "")), expected, "{case}");
    }
}

#[test]
fn only_an_approval_that_did_its_work_can_be_repeated() {
    for (state, expected) in [
        ("Approved", "repeat 7 or NoChangeAwaitingApproval"),
        ("Applying", "repeat 7 or NoChangeAwaitingApproval"),
        ("Applied", "repeat 7 or NoChangeAwaitingApproval"),
        ("Sealed", "repeat 7 or NoChangeAwaitingApproval"),
        // Accepted, it would never be applied: it is asked about anew first.
        ("ApplyFailed", "NoChangeAwaitingApproval"),
        ("Rejected", "NoChangeAwaitingApproval"),
        ("Expired", "NoChangeAwaitingApproval"),
        ("Superseded", "NoChangeAwaitingApproval"),
        ("SomethingOfTomorrow", "NoChangeAwaitingApproval"),
    ] {
        assert_eq!(word(&answer(in_state(state), "")), expected, "{state}");
        let named = format!("change_id={CHANGE}");
        assert_eq!(word(&answer(in_state(state), &named)), expected, "{state}");
        for other_call in [
            format!("change_id={OTHER}"),
            "silent_bootstrap=false".to_owned(),
        ] {
            assert_eq!(
                word(&answer(in_state(state), &other_call)),
                "NoChangeAwaitingApproval",
                "{state} {other_call}"
            );
        }
    }
}

#[test]
fn an_approval_of_what_could_not_be_applied_is_spent_also_for_who_gave_it() {
    let mut failed = in_state("ApplyFailed");
    failed["status"]["approval"]["votes"] =
        json!([{"outcome": "Approved", "by": "alice", "via": "Rest", "verified": true}]);
    let Answer::Refuse(error) = answer(failed, "") else {
        panic!("it is not refused")
    };
    assert_eq!(error.body().details["last_change_state"], "ApplyFailed");
    let message = error.body().message;
    let instead = format!("sluice.dev/retry: {CHANGE}");
    assert!(message.contains(&instead), "{message}");
}

#[test]
fn a_rejection_is_told_also_when_the_pipeline_is_stopped_for_it() {
    let mut rejected = in_state("Rejected");
    merge(
        &mut rejected,
        json!({"status": {"engine": {"deploymentId": null, "deploymentStatus": "Stopped"}}}),
    );
    let Answer::Refuse(error) = answer(rejected, "") else {
        panic!("it is not refused")
    };
    let body = error.body();
    assert_eq!(body.error_code, "NoChangeAwaitingApproval");
    assert_eq!(body.details["last_change_id"], CHANGE);
    assert_eq!(body.details["last_change_state"], "Rejected");
    assert!(body.message.contains("Rejected"), "{}", body.message);
}

#[test]
fn a_vote_that_was_counted_needs_no_object_any_more() {
    let vote = |by: &str, via: &str, outcome: &str| {
        let mut patch = in_state("Sealed");
        patch["status"]["approval"]["votes"] =
            json!([{"outcome": outcome, "by": by, "via": via, "verified": true}]);
        word(&answer(patch, ""))
    };
    assert_eq!(vote("alice", "Rest", "Approved"), "stored 7");
    let not_this_one = "repeat 7 or NoChangeAwaitingApproval";
    assert_eq!(vote("bob", "Rest", "Approved"), not_this_one);
    assert_eq!(vote("alice", "Annotation", "Approved"), not_this_one);
    assert_eq!(vote("alice", "Rest", "Rejected"), not_this_one);
}

#[test]
fn without_a_checkpoint_there_is_no_number_and_no_vote() {
    for base in [
        json!({"status": {"approval": {"base": null}}}),
        json!({"status": {"approval": {"base": {"sequenceNumber": null, "uuid": "c"}}}}),
    ] {
        assert_eq!(word(&answer(base, "")), "CheckpointUnknown");
    }
    // The other reasons come first: they say what to do.
    let mut applied = in_state("Applied");
    applied["status"]["approval"]["base"] = Value::Null;
    assert_eq!(word(&answer(applied, "")), "NoChangeAwaitingApproval");
}

#[test]
fn the_name_in_the_answers_is_the_resolved_one() {
    let renamed = json!({"spec": {"pipelineName": "Orders_2"}});
    let Answer::Refuse(error) = answer(renamed, &format!("change_id={OTHER}")) else {
        panic!("it is not refused")
    };
    assert_eq!(error.body().details["pipeline_name"], "Orders_2");
}

/// This door knows the states and conditions that the rule knows, and no others. What is known of the policies is looked at
/// before anything is stored (`PoliciesNotInForce`), rather than what a condition says of them.
#[test]
fn a_vote_is_stored_in_each_state_and_condition_in_which_it_would_count() {
    use crate::gate::votes::doors::{Condition, comes_to, put};
    for state in ApprovalState::ALL {
        for condition in Condition::ALL {
            if condition == Condition::NoPoliciesForObjects {
                continue;
            }
            let mut pipeline = pipeline(json!({"status": {"approval": {"state": state}}}));
            put(&mut pipeline, condition);
            let is_stored = matches!(decide(&pipeline, &asked(""), "alice"), Answer::Store { .. });
            let counts = comes_to(state, condition, VoteDecision::Approve) == Effect::Counts;
            assert_eq!(is_stored, counts, "{state:?}, {condition:?}");
        }
    }
}
