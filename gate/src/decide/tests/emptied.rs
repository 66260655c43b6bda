//! The state of a pipeline is gone from its engine, and nobody has asked Sluice for that.

use serde_json::json;

use super::model::World;
use crate::crd::{ApprovalState, AtStake, BootstrapPolicy, DesiredState, annotation};

/// Somebody stops the pipeline at the engine, and clears its storage.
fn clear_by_hand(world: &mut World) {
    world.engine.stop_by_hand();
    world.engine.clear_by_hand();
    world.settle();
}

#[test]
fn a22_what_was_cleared_by_others_begins_from_nothing_only_once_that_is_approved() {
    let mut world = World::running("A");
    let starts = world.engine.starts;
    clear_by_hand(&mut world);
    assert_eq!(world.reported("OutsideClear"), 1);
    assert_eq!(world.engine.starts, starts, "nothing is started unasked");
    let asked = world.approval();
    assert_eq!(asked.state, ApprovalState::Awaiting);
    assert!(
        asked.summary.contains("begins from nothing"),
        "{}",
        asked.summary
    );
    assert!(
        asked
            .at_stake
            .is_some_and(|stake| stake.state_lost && !stake.drops_no_input())
    );
    let (ready, reason, message) = world.condition("Ready").unwrap();
    assert_eq!(
        (ready.as_str(), reason.as_str()),
        ("False", "AwaitingApproval")
    );
    assert!(message.contains("nothing runs"), "{message}");
    world.approve_by_annotation();
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.engine.given()),
        ("Running", "A".to_owned())
    );
    assert_eq!(world.status().emptied, None);
    // What it then has can be lost again; who does that often is told of in another way.
    world.pass(3_700);
    clear_by_hand(&mut world);
    assert_eq!(world.phase(), "AwaitingApproval");
}

/// Each of them was asked about before, or refused, as a change from what is gone.
#[test]
fn a5_what_was_rejected_refused_or_waits_is_not_applied_because_the_storage_is_cleared() {
    type Way = fn(&mut World);
    let ways: [(&str, Way); 5] = [
        ("settings, rejected", |world| {
            world.set(json!({"env": {"X": "1"}}));
            world.settle();
            let id = world.approval().change_id;
            world.annotate(annotation::REJECT, &id);
        }),
        ("settings, waiting", |world| {
            world.set(json!({"env": {"X": "1"}}))
        }),
        ("a program, rejected", |world| {
            world.edit("B");
            world.settle();
            let id = world.approval().change_id;
            world.annotate(annotation::REJECT, &id);
        }),
        ("refused by the policy", |world| {
            world.spec(|spec| spec.bootstrap_policy = BootstrapPolicy::Reject);
            world.edit_functions("+f");
        }),
        ("somebody's own, waiting", |world| {
            world.spec(|spec| spec.desired_state = DesiredState::Stopped);
            world.settle();
            world.engine.set_by_hand(&json!({"dev_tweaks": {"x": 1}}));
            world.settle();
            world.spec(|spec| spec.desired_state = DesiredState::Running);
        }),
    ];
    for (what, way) in ways {
        let mut world = World::running("A");
        way(&mut world);
        world.settle();
        let starts = world.engine.starts;
        clear_by_hand(&mut world);
        assert_eq!(world.engine.starts, starts, "{what}");
        assert_eq!(world.engine.losses, [""; 0], "{what}");
        assert_ne!(world.condition("Ready").unwrap().0, "True", "{what}");
    }
}

#[test]
fn what_had_run_begins_from_nothing_unasked_where_the_spec_lets_it_and_nothing_else_does() {
    for (allow, policy, edit, runs) in [
        (true, BootstrapPolicy::AwaitApproval, false, true),
        (false, BootstrapPolicy::Allow, false, true),
        (true, BootstrapPolicy::Reject, false, false),
        (false, BootstrapPolicy::AwaitApproval, false, false),
        (true, BootstrapPolicy::AwaitApproval, true, false),
        (false, BootstrapPolicy::Allow, true, false),
    ] {
        let mut world = World::running("A");
        world.spec(|spec| {
            spec.allow_state_loss = allow;
            spec.bootstrap_policy = policy;
        });
        world.settle();
        world.engine.stop_by_hand();
        if edit {
            world.edit_functions("+f");
        }
        world.engine.clear_by_hand();
        world.settle();
        let is_up = world.engine.deployment.is_some();
        assert_eq!(is_up, runs, "{allow} {policy:?} {edit}");
        if policy == BootstrapPolicy::Reject {
            // What had run is no change that could be refused.
            assert_eq!(world.phase(), "AwaitingApproval");
            world.approve_by_annotation();
            world.settle();
            assert_eq!(world.phase(), "Running");
        }
        if runs {
            let decision = world
                .status()
                .history
                .into_iter()
                .find_map(|it| it.decision);
            let by = decision.map(|it| it.by).unwrap_or_default();
            assert!(by.starts_with("spec."), "it is on record: {by}");
        }
    }
}

#[test]
fn a_checkpoint_that_is_back_needs_no_answer_about_what_was_gone() {
    let mut world = World::running("A");
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    let kept = world.engine.checkpoints.clone();
    world.engine.clear_by_hand();
    world.settle();
    assert!(world.status().emptied.is_some());
    world.engine.checkpoints = kept;
    world.engine.cleared = false;
    world.settle();
    assert_eq!(world.status().emptied, None);
}

#[test]
fn a_pipeline_that_is_made_again_meanwhile_washes_nothing() {
    for is_seen_before in [false, true] {
        let mut world = World::running("A");
        world.engine.stop_by_hand();
        if is_seen_before {
            world.engine.clear_by_hand();
            world.settle();
            world.make_again();
        } else {
            world.make_again();
            world.engine.clear_by_hand();
        }
        world.adopt();
        let starts = world.engine.starts;
        world.settle();
        assert_eq!(world.engine.starts, starts, "{is_seen_before}");
        assert_eq!(world.phase(), "AwaitingApproval", "{is_seen_before}");
    }
}

#[test]
fn where_the_spec_asks_for_it_to_be_cleared_nobody_is_asked() {
    let mut world = World::running("A");
    clear_by_hand(&mut world);
    assert_eq!(world.phase(), "AwaitingApproval");
    world.spec(|spec| spec.clear_storage = Some("now".into()));
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.status().emptied),
        ("Running", None)
    );
}

#[test]
fn a18_what_is_made_anew_and_changed_before_it_runs_is_said_to_begin_from_nothing() {
    let mut world = World::running("A");
    world.engine.lose();
    world.settle();
    world.pass(60);
    world.settle();
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    world.approve_by_annotation();
    world.settle();
    assert!(world.status().made_anew.is_some());
    world.set(json!({"env": {"X": "1"}}));
    world.spec(|spec| spec.desired_state = DesiredState::Running);
    world.settle();
    let asked = world.approval();
    assert_eq!(asked.state, ApprovalState::Awaiting);
    assert!(
        asked.summary.contains("begins from nothing"),
        "{}",
        asked.summary
    );
    assert_eq!(
        asked.at_stake.map(|stake: AtStake| stake.state_lost),
        Some(true)
    );
}

#[test]
fn a22_what_was_cleared_started_and_stopped_by_others_between_two_looks_is_noticed() {
    for is_stopped_by_spec in [false, true] {
        let mut world = World::running("A");
        if is_stopped_by_spec {
            world.spec(|spec| spec.desired_state = DesiredState::Stopped);
            world.settle();
        }
        world.engine.stop_by_hand();
        world.engine.clear_by_hand();
        world.engine.start_by_hand("allow");
        for _ in 0..4 {
            world.engine.tick();
        }
        world.engine.stop_by_hand();
        world.engine.tick();
        let starts = world.engine.starts;
        world.edit("B");
        world.spec(|spec| spec.desired_state = DesiredState::Running);
        world.settle();
        assert_eq!(world.engine.starts, starts, "{is_stopped_by_spec}");
        assert_eq!(world.phase(), "AwaitingApproval", "{is_stopped_by_spec}");
        assert_eq!(world.reported("OutsideClear"), 1, "{is_stopped_by_spec}");
    }
}

#[test]
fn a7_what_was_cleared_and_runs_from_nothing_by_others_is_told_once_and_goes_on() {
    let mut world = World::running("A");
    world.engine.stop_by_hand();
    world.engine.clear_by_hand();
    world.engine.start_by_hand("allow");
    for _ in 0..4 {
        world.engine.tick();
    }
    world.settle();
    assert_eq!(world.reported("OutsideClear"), 1);
    assert_eq!(world.phase(), "Running");
}

/// Nobody was asked about it, so nobody has said that it may begin from nothing once more.
#[test]
fn a22_what_others_began_from_nothing_and_failed_before_its_first_checkpoint_is_asked_about() {
    for is_asked_before in [false, true] {
        let mut world = World::running("A");
        world.engine.stop_by_hand();
        world.engine.clear_by_hand();
        world.edit("B");
        if is_asked_before {
            world.settle();
            assert_eq!(world.phase(), "AwaitingApproval");
        }
        world.engine.start_by_hand("allow");
        for _ in 0..4 {
            world.engine.tick();
        }
        world.engine.loses_checkpoints = 99;
        world.reconcile();
        world.engine.fail("Panic");
        let starts = world.engine.starts;
        world.engine.loses_checkpoints = 0;
        world.settle();
        world.pass(600);
        world.settle();
        assert_eq!(world.engine.starts, starts, "{is_asked_before}");
        assert_eq!(world.phase(), "AwaitingApproval", "{is_asked_before}");
        world.approve_by_annotation();
        world.settle();
        assert_eq!(world.phase(), "Running", "{is_asked_before}");
        assert_eq!(world.engine.given(), "B", "{is_asked_before}");
        assert_eq!(world.status().emptied, None, "{is_asked_before}");
    }
}

/// What runs is of a version that nobody could look at.
#[test]
fn what_others_run_while_the_content_cannot_be_read_has_no_checkpoint_asked_for_in_vain() {
    let mut world = World::running("A");
    world.engine.stop_by_hand();
    world.engine.clear_by_hand();
    world.unread = Some("there is no ConfigMap".into());
    world.engine.version += 1;
    world.engine.start_by_hand("await_approval");
    for _ in 0..4 {
        world.engine.tick();
    }
    world.settle();
    world.unread = None;
    world.settle();
    assert!(world.engine.checkpoints.len() == 1 && world.phase() == "Running");
}
