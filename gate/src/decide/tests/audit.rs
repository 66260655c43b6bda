//! What is written down for those who ask later: the audit log, the history, the program that is kept.

use serde_json::json;

use super::model::World;
use crate::change;
use crate::crd::{ApprovalState, Door, PipelineApproval, VoteDecision, annotation};
use crate::snapshot::{self, Part};

#[test]
fn each_decision_and_what_became_of_it_is_audited_once() {
    let mut world = World::waiting("A", "B");
    assert_eq!(world.audited(), [], "nothing is decided yet");
    let id = world.approve_by_annotation();
    world.settle();
    let id = id.as_str();
    assert_eq!(
        world.audited(),
        [("Approved", id), ("Applied", id), ("Sealed", id)]
    );
    assert_eq!(world.audit.len(), 3, "no line is written twice");
    let decision = world.audit[0].decision.as_ref().expect("a decision");
    assert_eq!((decision.via, decision.verified), (Door::Annotation, false));
    assert_eq!(world.status().audit_pending, [], "all of it is written");
}

#[test]
fn what_is_stored_but_not_yet_written_is_written_after_a_crash() {
    let mut world = World::waiting("A", "B");
    world.approve_by_annotation();
    // The decision is stored, and the process ends.
    world.reconcile_until(1);
    assert_eq!(world.approval_state(), Some(ApprovalState::Applying));
    assert_eq!(world.audited(), []);
    world.restart_operator();
    world.settle();
    let events: Vec<&str> = world
        .audited()
        .into_iter()
        .map(|(event, _)| event)
        .collect();
    assert_eq!(events, ["Approved", "Applied", "Sealed"]);
    // It is written, and the process ends before that is stored: it comes again under the same id.
    let mut world = World::waiting("A", "B");
    world.approve_by_annotation();
    world.reconcile_until(1);
    world.reconcile_until(0);
    world.write_audit();
    world.restart_operator();
    world.settle();
    assert_eq!(world.audited().len(), 3);
    assert_eq!(world.audit.len(), 4);
    assert_eq!(world.audit[0], world.audit[1]);
}

#[test]
fn what_cannot_be_written_waits_and_holds_nothing_up() {
    let mut world = World::waiting("A", "B");
    world.audit_is_stuck = true;
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    assert_eq!(world.status().audit_pending.len(), 3);
    world.audit_is_stuck = false;
    world.settle();
    assert_eq!(world.audited().len(), 3);
    assert_eq!(world.status().audit_pending, []);
    // Not without end.
    world.audit_is_stuck = true;
    for number in 0..200 {
        world.edit(&format!("program {number}"));
        world.settle_briefly();
    }
    assert_eq!(world.status().audit_pending.len(), 100);
    assert!(world.reported("AuditLost") > 0);
}

#[test]
fn a_rejection_and_its_withdrawal_are_audited() {
    let mut world = World::waiting("A", "B");
    let id = world.approval().change_id;
    world.annotate(annotation::REJECT, &id);
    world.settle();
    assert_eq!(world.audited(), [("Rejected", id.as_str())]);
    world.annotate(annotation::RETRY, &id);
    world.settle();
    assert_eq!(
        world.audited(),
        [
            ("Rejected", id.as_str()),
            ("RejectionWithdrawn", id.as_str())
        ]
    );
    // The new question is taken back by another edit.
    let second = world.approval().change_id;
    world.edit("C");
    world.settle();
    assert_eq!(world.audited()[2..], [("Superseded", second.as_str())]);
}

#[test]
fn a_rejected_change_whose_place_another_takes_is_audited_as_superseded() {
    let mut world = World::waiting("A", "B");
    let id = world.approval().change_id;
    world.annotate(annotation::REJECT, &id);
    world.settle();
    world.edit("C");
    world.settle();
    assert_eq!(
        world.audited(),
        [("Rejected", id.as_str()), ("Superseded", id.as_str())]
    );
}

/// Whatever takes the place of a change that failed, and however often.
#[test]
fn that_a_change_could_not_be_applied_is_audited_once() {
    type Then = fn(&mut World, &str);
    let ways: [(&str, Then); 3] = [
        ("the storage is cleared", |world, _| {
            world.spec(|spec| spec.clear_storage = Some("once".into()));
        }),
        ("it is taken back", |world, _| world.edit("A")),
        ("it is asked about anew", |world, id| {
            world.annotate(annotation::RETRY, id);
        }),
    ];
    for (what, then) in ways {
        let mut world = World::waiting("A", "B");
        let id = world.approve_by_annotation();
        world.engine.breaks = Some("B".into());
        world.settle();
        assert_eq!(world.approval_state(), Some(ApprovalState::ApplyFailed));
        world.engine.breaks = None;
        then(&mut world, &id);
        world.settle();
        for program in ["C", "D"] {
            world.edit(program);
            world.settle();
        }
        let failures = world.audited().into_iter();
        let failures = failures.filter(|(event, of)| *event == "ApplyFailed" && *of == id);
        assert_eq!(failures.count(), 1, "{what}: {:?}", world.audited());
    }
}

#[test]
fn a7_what_goes_round_the_gate_is_audited() {
    let mut world = World::waiting("A", "B");
    let id = world.approval().change_id;
    world.engine.approve();
    world.settle();
    let id = id.as_str();
    assert_eq!(
        world.audited(),
        [
            ("Approved", id),
            ("Applied", id),
            ("OutsideApproval", id),
            ("Sealed", id)
        ]
    );
    let decision = world.audit[0].decision.as_ref().expect("a decision");
    assert_eq!(decision.via, Door::Outside);
}

#[test]
fn the_history_says_what_the_change_was_and_who_voted() {
    let mut world = World::waiting("A", "B");
    let (id, diff) = (world.approval().change_id, world.approval().diff);
    let vote = |voter, decision| {
        PipelineApproval::for_vote(&world.pipeline, &id, voter, decision, None, None)
    };
    let votes = [
        vote("alice", VoteDecision::Approve),
        vote("bob", VoteDecision::Approve),
    ];
    world.objects.extend(votes);
    world.settle();
    let history = world.status().history;
    let record = &history[0];
    assert_eq!(
        (record.state, &record.change_id),
        (ApprovalState::Sealed, &id)
    );
    assert_eq!(record.changed, ["sql"]);
    let kept = record.diff.as_ref().expect("a diff").to_map();
    let shown = |diff: &serde_json::Map<String, serde_json::Value>| {
        diff["program_diff"]["modified_views"].clone()
    };
    assert_eq!(shown(&kept), shown(&diff.expect("a diff")));
    assert_eq!(record.votes.len(), 2, "{:?}", record.votes);
    assert!(record.since.is_some() && record.parent.is_some());
}

#[test]
fn a_reason_without_end_does_not_make_a_status_without_end() {
    let mut world = World::waiting("A", "B");
    let id = world.approval().change_id;
    world.annotate(annotation::REASON, &"no ".repeat(80_000));
    world.annotate(annotation::REJECT, &id);
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Rejected));
    let size = serde_json::to_string(&world.status()).unwrap().len();
    assert!(size < 16 * 1024, "{size}");
}

#[test]
fn the_program_of_what_is_settled_is_kept() {
    let kept = |world: &World| {
        let settled = world.status().settled.expect("something is settled");
        settled
            .program
            .map(|program| snapshot::text(&program, Part::Sql))
    };
    let mut world = World::waiting("A", "B");
    assert_eq!(
        kept(&world),
        Some(Ok("A".to_owned())),
        "what waits isn't it"
    );
    world.approve_by_annotation();
    world.settle();
    assert_eq!(kept(&world), Some(Ok("B".to_owned())));
    // It goes with the storage.
    world.spec(|spec| spec.clear_storage = Some("once".into()));
    world.reconcile();
    world.settle();
    assert_eq!(kept(&world), Some(Ok("B".to_owned())));
}

#[test]
fn a_status_of_before_programs_were_kept_is_completed_once() {
    let mut world = World::running("A");
    let mut status = world.status();
    status.settled.as_mut().expect("settled").program = None;
    world.store(status);
    world.settle();
    let settled = world.status().settled.expect("settled");
    assert!(settled.program.is_some());
}

#[test]
fn the_parts_that_change_are_named() {
    let mut before = crate::crd::Target::default();
    let after = before.clone();
    assert_eq!(change::differences(&before, &after), Vec::<&str>::new());
    before = serde_json::from_value(json!({
        "sql": "1", "udfRust": "2", "udfToml": "3", "config": "4", "runtimeVersion": "5",
    }))
    .unwrap();
    assert_eq!(
        change::differences(&before, &after),
        ["sql", "udfRust", "udfToml", "config", "runtimeVersion"]
    );
}
