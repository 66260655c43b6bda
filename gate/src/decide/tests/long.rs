//! Whatever engines and people write, and however much, and whatever an older release has stored: a status stays one that the
//! API server takes, and says what it must not forget.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::model::World;
use crate::crd::{ApprovalState, Pipeline, PipelineApproval, PipelineStatus, annotation};
use crate::decide::bounds::keep_small;
use crate::decide::{CallOutcome, EngineCall, Step};
use crate::engine::{DiffAnswer, Error, diff};

/// What a status may take, and what etcd takes in one request.
const STATUS: usize = 400 * 1024;
const OBJECT: usize = 1536 * 1024;

fn size(value: &impl serde::Serialize) -> usize {
    serde_json::to_string(value).expect("JSON").len()
}

/// A text of any length, of letters that take one byte to four, or two in JSON.
fn text() -> impl Strategy<Value = String> {
    let letter = prop_oneof![
        Just("x"),
        Just("ü"),
        Just("🙂"),
        Just("\""),
        Just("\\"),
        Just("\n")
    ];
    let length = prop_oneof![3 => 0..40usize, 2 => 1_000..9_000usize, 1 => 50_000..120_000usize];
    (letter, length).prop_map(|(letter, length)| letter.repeat(length))
}

/// One that there may be hundreds of.
fn short_text() -> impl Strategy<Value = String> {
    let letter = prop_oneof![Just("x"), Just("🙂"), Just("\"")];
    (letter, 0..3_000usize).prop_map(|(letter, length)| letter.repeat(length))
}

fn merge(into: &mut Value, from: Value) {
    match from {
        Value::Object(fields) if into.is_object() => {
            for (key, value) in fields {
                merge(&mut into[&key], value);
            }
        }
        other => *into = other,
    }
}

fn names() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![
        Just(vec![]),
        (0..4_000usize).prop_map(|count| (0..count).map(|n| format!("name_{n}")).collect()),
        proptest::collection::vec(text(), 0..6),
    ]
}

/// A status with as much in it as anybody can have written or an engine have said.
fn stored() -> impl Strategy<Value = PipelineStatus> {
    let texts = proptest::collection::vec(text(), 12);
    let lists = proptest::collection::vec(names(), 6);
    let words = (short_text(), short_text());
    (texts, words, lists, 0..200usize, 0..30usize, 0..110usize, 0..110usize).prop_map(
        |(text, (by, reason), list, votes, records, turns, pending)| {
            let world = World::waiting("A", "B");
            let mut status = serde_json::to_value(world.status()).expect("JSON");
            let diff = json!({
                "program_diff": {"modified_views": list[0], "removed_tables": list[1]},
                "program_diff_error": null, "added_input_connectors": list[2],
            });
            let decision = json!({
                "outcome": "Rejected", "by": by, "verified": true, "via": "Object", "reason": reason,
                "at": "2026-01-01T00:00:00Z",
            });
            let mut vote = decision.clone();
            vote["object"] = json!("x".repeat(253));
            let at = status["approval"]["since"].clone();
            let target = status["approval"]["target"].clone();
            let mut long_target = target.clone();
            long_target["runtimeVersion"] = json!(text[2]);
            let patch = json!({
                "engine": {"deploymentStatus": text[3]},
                "preview": {
                    "target": long_target, "outcome": "Gated", "message": text[4], "summary": text[5], "diff": diff,
                },
                "build": {"target": long_target, "outcome": "Failed", "message": text[6]},
                "refusal": {"digest": "d", "message": text[7]},
                "interference": {"count": 1, "lastAt": at, "message": text[8]},
                "failures": {"count": 1, "lastAt": at, "message": text[9], "generation": 1},
                "handledRetry": text[10], "handledAdopt": text[11],
                "approval": {
                    "diff": diff, "summary": text[5], "failure": text[9], "votes": vec![vote; votes],
                    "atStake": {
                        "tablesLost": list[3], "tablesRefilled": list[4], "sinksRepeated": list[5],
                        "droppedInput": "unknown", "unknown": list[3],
                    },
                },
            });
            merge(&mut status, patch);
            let many: Vec<String> = (0..2_000).map(|n| format!("name_{n}")).collect();
            let small = json!({"program_diff": {"modified_views": many}});
            let record = json!({
                "changeId": "c", "state": "Rejected", "summary": text[5], "decision": decision, "at": at, "diff": small,
                "votes": vec![decision.clone(); votes.min(30)],
            });
            status["history"] = json!(vec![record; records]);
            let turn = json!({"changeId": "c".repeat(32), "rejected": decision});
            status["turns"] = json!(vec![turn; turns]);
            let entry = json!({
                "id": "i".repeat(32), "event": "Rejected", "changeId": "c".repeat(32), "at": at, "decision": decision,
            });
            status["auditPending"] = json!(vec![entry; pending]);
            serde_json::from_value(status).expect("a status")
        },
    )
}

fn with_spec_of(kib: usize) -> Pipeline {
    let mut pipeline = World::waiting("A", "B").pipeline;
    if let Some(program) = &mut pipeline.spec.program {
        program.sql = Some("s".repeat(kib * 1024));
    }
    pipeline
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn whatever_was_written_the_status_fits_and_nothing_that_decides_is_lost(
        status in stored(), kib in 0..1100usize,
    ) {
        let pipeline = with_spec_of(kib);
        let before = status.approval.clone().expect("a change");
        let mut kept = status;
        keep_small(&mut kept, &pipeline);
        let room = size(&kept);
        prop_assert!(room < STATUS, "{room}");
        prop_assert!(room + size(&pipeline.spec) < OBJECT, "{room}");
        let mut again = kept.clone();
        keep_small(&mut again, &pipeline);
        prop_assert_eq!(&again, &kept, "what fits stays as it is");
        let after = kept.approval.expect("a change");
        prop_assert_eq!(&after.change_id, &before.change_id);
        prop_assert_eq!(&after.diff_digest, &before.diff_digest);
        let digest = |diff: &Option<serde_json::Map<String, Value>>| {
            diff::digest(&Value::Object(diff.clone().expect("a diff")))
        };
        prop_assert_eq!(digest(&after.diff), digest(&before.diff), "the whole diff is still known by its digest");
        let all = before.votes.len() as i64;
        prop_assert_eq!(after.votes.len() as i64 + after.more_votes, all);
        // A18: what is cut isn't none, and says that it is cut.
        let (was, is) = (before.at_stake.expect("what is at stake"), after.at_stake.expect("what is at stake"));
        let is_said = is.unknown.iter().any(|why| why.ends_with("for which there is no room"));
        for (was, is) in [
            (was.tables_lost, is.tables_lost),
            (was.tables_refilled, is.tables_refilled),
            (was.sinks_repeated, is.sinks_repeated),
        ] {
            let was = was.unwrap_or_default().len();
            let is = is.map(|names| names.len());
            prop_assert!(is == Some(was) || is != Some(0) && is_said, "{was} {is:?}");
        }
    }

}

proptest! {
    // Each of them takes dozens of writes of as much as there can be.
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn whatever_is_there_it_comes_to_rest_and_can_still_be_decided(status in stored(), votes in 0..100usize) {
        let mut world = World::waiting("A", "B");
        let change = world.approval().change_id;
        let diff_digest = world.approval().diff_digest;
        let mut status = status;
        if let Some(approval) = &mut status.approval {
            // The engine still shows what was published.
            approval.diff_digest = diff_digest;
            approval.target = world.approval().target;
        }
        status.turns.clear();
        status.history.clear();
        status.audit_pending.clear();
        status.failures = None;
        status.interference = None;
        world.store(status);
        for number in 0..votes {
            let name = world.pipeline.metadata.name.clone().expect("a name");
            world.objects.push(a_vote(number, &name, &change));
        }
        world.settle();
        prop_assert!(size(&world.status()) < STATUS);
        world.annotate(annotation::REJECT, &change);
        world.settle();
        prop_assert!(size(&world.status()) < STATUS);
        prop_assert_eq!(world.approval_state(), Some(ApprovalState::Rejected));
    }

    #[test]
    fn whatever_an_engine_answers_it_is_written_down(text in text(), names in names()) {
        let world = World::waiting("A", "B");
        let target = world.approval().target;
        let big = diff::taken_in(json!({"program_diff": {"removed_tables": names}}));
        let refused = |act| CallOutcome::Failed {
            act,
            error: Error::Refused { status: 400, code: "X".into(), message: text.clone() },
        };
        for outcome in [
            CallOutcome::Previewed { target: target.clone(), answer: DiffAnswer::CompileError(text.clone()) },
            CallOutcome::Previewed { target: target.clone(), answer: DiffAnswer::Refused(text.clone()) },
            CallOutcome::Previewed { target: target.clone(), answer: DiffAnswer::CantTell(text.clone()) },
            CallOutcome::Previewed { target, answer: DiffAnswer::Diff(big) },
            CallOutcome::BuildFailed(Some(text.clone())),
            refused(EngineCall::Update),
            refused(EngineCall::Checkpoint),
            refused(EngineCall::Mark),
        ] {
            let plan = world.plan(Some(&outcome), true);
            if let Step::Record(next) = plan.step {
                prop_assert!(size(&next) < STATUS, "{outcome:.200?}");
            }
        }
    }
}

fn a_vote(number: usize, pipeline: &str, change: &str) -> PipelineApproval {
    serde_json::from_value(json!({
        "metadata": {"name": format!("vote-{number}"), "uid": format!("{number}")},
        "spec": {
            "pipelineRef": {"name": pipeline}, "changeId": change, "decision": "Reject",
            "voter": "ü".repeat(600), "reason": "🙂".repeat(2_000),
        },
    }))
    .expect("a vote")
}

#[test]
fn a6_two_diffs_that_differ_only_in_what_is_not_shown_are_two_questions() {
    let mut world = World::waiting("A", "B");
    let names = |last: &str| {
        let mut names: Vec<String> = (0..9_000).map(|n| format!("view_number_{n}")).collect();
        names.push(last.to_owned());
        json!({"program_diff": {"modified_views": names}, "program_diff_error": null})
    };
    world.engine.shows = Some(diff::taken_in(names("one")));
    world.settle();
    let asked = world.approval();
    let shown = Value::Object(asked.diff.clone().expect("a diff"));
    assert!(diff::is_cut(&shown));
    assert_eq!(asked.diff_digest, crate::canonical::digest(&names("one")));
    assert!(
        asked.summary.contains("more") && asked.summary.contains("too large"),
        "{}",
        asked.summary
    );
    let stake = asked.at_stake.expect("what is at stake");
    assert!(
        stake.unknown.iter().any(|why| why.contains("too large")),
        "{:?}",
        stake.unknown
    );
    assert_eq!(stake.tables_lost, None, "none of what is shown isn't none");
    world.engine.shows = Some(diff::taken_in(names("other")));
    world.settle();
    let anew = world.approval();
    assert_ne!(anew.change_id, asked.change_id);
    assert_eq!(anew.diff_digest, crate::canonical::digest(&names("other")));
}
