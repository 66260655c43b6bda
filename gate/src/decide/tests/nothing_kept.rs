//! A pipeline whose state is gone, and what is there until it has a checkpoint again: what was answered is good for what was
//! asked about, and for nothing else.

use serde_json::json;

use super::model::World;
use crate::crd::{ApprovalState, DesiredState, annotation};

/// Others have cleared the storage, and it was approved that the program begins from nothing. It runs, and has no checkpoint.
fn begun_from_nothing(sql: &str) -> World {
    let mut world = World::running(sql);
    world.engine.stop_by_hand();
    world.engine.clear_by_hand();
    world.settle();
    run_unsealed(&mut world);
    world
}

/// What is asked about is approved, and comes up, and no checkpoint of it can be written.
fn run_unsealed(world: &mut World) {
    world.engine.loses_checkpoints = 99;
    world.approve_by_annotation();
    for _ in 0..12 {
        world.reconcile();
        world.engine.tick();
    }
    assert!(world.engine.is_up() && world.engine.checkpoints.is_empty());
    world.engine.emptied = true;
}

/// The same of a pipeline that was lost.
fn made_anew(sql: &str) -> World {
    let mut world = World::running(sql);
    world.engine.lose();
    world.settle();
    world.pass(60);
    world.settle();
    run_unsealed(&mut world);
    world
}

/// Others start what the engine holds, and Sluice sees it come up.
fn others_start(world: &mut World) {
    world.engine.start_by_hand("allow");
    for _ in 0..6 {
        world.engine.tick();
        world.reconcile();
    }
}

/// Whatever Sluice does from here on, it starts nothing, and asks.
fn is_asked_about_and_not_started(mut world: World) {
    let starts = world.engine.starts;
    world.settle();
    assert_eq!(world.engine.starts, starts);
    assert_eq!(world.phase(), "AwaitingApproval");
}

type Begun = fn(&str) -> World;
const BEGUN: [Begun; 2] = [begun_from_nothing, made_anew];

#[test]
fn a22_an_edit_after_the_approved_start_failed_is_asked_about() {
    for begun in BEGUN {
        let mut world = begun("A");
        world.engine.fail("Panic");
        world.engine.loses_checkpoints = 0;
        world.settle();
        let starts = world.engine.starts;
        world.edit("B");
        world.settle();
        assert_eq!(world.engine.starts, starts);
        assert_eq!(world.phase(), "AwaitingApproval");
        world.approve_by_annotation();
        world.settle();
        assert_eq!(
            (world.phase().as_str(), world.engine.given()),
            ("Running", "B".into())
        );
    }
}

#[test]
fn a22_an_edit_after_others_stopped_it_at_once_is_asked_about_and_what_was_approved_is_not() {
    for begun in BEGUN {
        for edits in [false, true] {
            let mut world = begun("A");
            world.engine.stop_by_hand();
            world.engine.loses_checkpoints = 0;
            let starts = world.engine.starts;
            if edits {
                world.edit("B");
            }
            world.settle();
            assert_eq!(world.engine.starts > starts, !edits);
            let phase = if edits { "AwaitingApproval" } else { "Running" };
            assert_eq!(world.phase(), phase);
        }
    }
}

/// The stop for it keeps what runs, so it doesn't begin from nothing.
#[test]
fn an_edit_of_what_runs_waits_for_the_first_checkpoint_and_is_asked_about_as_a_change_from_that() {
    for begun in BEGUN {
        let mut world = begun("A");
        let asked = world.reported("AwaitingApproval");
        world.edit_functions("+f");
        for _ in 0..8 {
            world.reconcile();
            world.engine.tick();
        }
        assert_eq!(world.reported("AwaitingApproval"), asked);
        world.engine.loses_checkpoints = 0;
        world.pass(600);
        world.settle();
        let change = world.approval();
        assert!(
            !change.summary.contains("begins from nothing"),
            "{}",
            change.summary
        );
        assert_eq!(change.at_stake.map(|stake| stake.state_lost), Some(false));
    }
}

#[test]
fn a_retry_that_says_that_it_is_asked_about_anew_asks() {
    for begun in BEGUN {
        let mut world = begun("A");
        world.engine.fail("Panic");
        world.settle();
        assert_eq!(world.approval_state(), Some(ApprovalState::ApplyFailed));
        let starts = world.engine.starts;
        let id = world.approval().change_id;
        world.annotate(annotation::RETRY, &id);
        world.settle();
        assert_eq!(world.engine.starts, starts);
        assert_eq!(world.phase(), "AwaitingApproval");
        assert_ne!(world.approval().change_id, id);
    }
}

#[test]
fn a5_what_was_rejected_does_not_come_because_nothing_is_left_to_lose() {
    for is_lost in [false, true] {
        for fails in [false, true] {
            let mut world = World::running("A");
            world.engine.stop_by_hand();
            match is_lost {
                true => world.engine.lose(),
                false => world.engine.clear_by_hand(),
            }
            world.edit("B");
            world.settle();
            world.pass(60);
            world.settle();
            let rejected = world.approval().change_id;
            world.annotate(annotation::REJECT, &rejected);
            world.settle();
            world.edit("A");
            world.settle();
            run_unsealed(&mut world);
            match fails {
                true => world.engine.fail("Panic"),
                false => world.engine.stop_by_hand(),
            }
            world.settle();
            world.edit("B");
            world.settle();
            world.pass(600);
            world.settle();
            assert_ne!(world.engine.given(), "B", "{is_lost} {fails}");
            assert_eq!(
                world.approval_state(),
                Some(ApprovalState::Rejected),
                "{is_lost} {fails}"
            );
        }
    }
}

/// Without checkpoints each start is one from nothing, and only what was lost is asked about.
#[test]
fn a5_what_was_rejected_does_not_come_where_nothing_is_ever_kept_either() {
    let mut world = World::new("A");
    world.engine.edition = "Open source";
    world.settle();
    world.engine.lose();
    world.edit("B");
    world.settle();
    world.pass(60);
    world.settle();
    let rejected = world.approval().change_id;
    world.annotate(annotation::REJECT, &rejected);
    world.settle();
    world.edit("A");
    world.settle();
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.phase(), "Running");
    world.spec(|spec| spec.allow_state_loss = true);
    world.edit("B");
    world.settle();
    assert_eq!(world.engine.given(), "A");
    assert_eq!(world.approval_state(), Some(ApprovalState::Rejected));
}

/// The question was whether it begins from nothing, and that isn't what a start would do.
#[test]
fn a8_a_checkpoint_of_others_is_no_nothing() {
    for answered in [false, true] {
        let mut world = World::running("A");
        let kept = world.engine.checkpoints.clone();
        world.spec(|spec| spec.desired_state = DesiredState::Stopped);
        world.settle();
        world.engine.clear_by_hand();
        world.settle();
        world.set(json!({"env": {"X": "1"}}));
        if !answered {
            world.spec(|spec| spec.desired_state = DesiredState::Running);
        }
        world.settle();
        let id = match answered {
            true => {
                world.spec(|spec| spec.desired_state = DesiredState::Running);
                world.settle();
                let id = world.approval().change_id;
                world.spec(|spec| spec.desired_state = DesiredState::Stopped);
                world.annotate(annotation::APPROVE, &id);
                world.settle();
                id
            }
            false => world.approval().change_id,
        };
        // Somebody restores it, or runs something there.
        world.engine.checkpoints = kept;
        world.engine.cleared = false;
        world.engine.emptied = false;
        let starts = world.engine.starts;
        world.annotate(annotation::APPROVE, &id);
        world.spec(|spec| spec.desired_state = DesiredState::Running);
        world.settle();
        assert_eq!(world.engine.starts, starts, "{answered}");
        assert_eq!(world.phase(), "AwaitingApproval", "{answered}");
        let asked = world.approval();
        assert_ne!(asked.change_id, id, "{answered}");
        assert!(asked.summary.contains("unknown"), "{}", asked.summary);
        assert_eq!(world.reported("OriginUnknown"), 1, "{answered}");
    }
}

#[test]
fn a8_a_checkpoint_of_others_in_what_was_made_anew_is_asked_about() {
    let mut world = World::running("A");
    let kept = world.engine.checkpoints.clone();
    world.engine.lose();
    world.settle();
    world.pass(60);
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    world.approve_by_annotation();
    world.settle();
    assert!(world.status().made_anew.is_some());
    world.engine.checkpoints = kept;
    world.engine.cleared = false;
    let starts = world.engine.starts;
    world.spec(|spec| spec.desired_state = DesiredState::Running);
    world.settle();
    assert_eq!(world.engine.starts, starts);
    assert_eq!(world.phase(), "AwaitingApproval");
}

/// Somebody restores it just before the approved start, at whatever moment.
#[test]
fn a8_an_approved_start_from_nothing_is_not_made_from_a_checkpoint_that_is_back_by_then() {
    let mut caught = 0;
    for at in 0..12 {
        let mut world = World::running("A");
        let kept = world.engine.checkpoints.clone();
        world.engine.stop_by_hand();
        world.engine.clear_by_hand();
        world.settle();
        world.approve_by_annotation();
        let starts = world.engine.starts;
        let mut is_back = false;
        world.reconcile_amid(usize::MAX, |world, step| {
            if step == at && world.engine.deployment.is_none() {
                world.engine.checkpoints = kept.clone();
                world.engine.cleared = false;
                world.engine.emptied = false;
                is_back = true;
            }
        });
        if is_back {
            caught += 1;
            world.settle();
            assert_eq!(world.engine.starts, starts, "{at}");
            assert_eq!(world.phase(), "AwaitingApproval", "{at}");
        }
    }
    assert!(caught > 1, "{caught}");
}

/// Others change it, run it until there is a checkpoint, and put it back, while nobody here looks.
fn others_run_another_one(world: &mut World) {
    world.engine.stop_by_hand();
    world.engine.loses_checkpoints = 0;
    let before = world.engine.content().runtime_config;
    world.engine.set_by_hand(&json!({"dev_tweaks": {"x": 1}}));
    world.engine.start_by_hand("allow");
    for _ in 0..4 {
        world.engine.tick();
    }
    world.engine.write_checkpoint();
    world.engine.stop_by_hand();
    let before = before.map_or(json!({}), serde_json::Value::Object);
    world.engine.set_by_hand(&before);
}

#[test]
fn a8_what_others_ran_meanwhile_is_unknown_also_after_a_run_that_failed_or_has_no_checkpoint() {
    type Way = fn() -> World;
    let ways: [(&str, Way); 4] = [
        ("failed, asked anew", || {
            let mut world = begun_from_nothing("A");
            world.engine.fail("Panic");
            world.settle();
            let id = world.approval().change_id;
            world.annotate(annotation::RETRY, &id);
            world.settle();
            assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
            world
        }),
        ("made anew, failed, asked anew", || {
            let mut world = made_anew("A");
            world.engine.fail("Panic");
            world.settle();
            let id = world.approval().change_id;
            world.annotate(annotation::RETRY, &id);
            world.settle();
            world
        }),
        ("approved, and runs", || begun_from_nothing("A")),
        ("the first run", || {
            let mut world = World::new("A");
            world.engine.loses_checkpoints = 99;
            for _ in 0..12 {
                world.reconcile();
                world.engine.tick();
            }
            assert!(world.engine.is_up());
            world
        }),
    ];
    for (what, way) in ways {
        let mut world = way();
        // What others did before is forgotten.
        world.pass(3_700);
        let starts = world.engine.starts;
        others_run_another_one(&mut world);
        world.settle();
        assert_eq!(world.engine.starts, starts + 1, "{what}: theirs");
        assert_eq!(world.reported("OriginUnknown"), 1, "{what}");
        assert_eq!(world.phase(), "AwaitingApproval", "{what}");
    }
}

#[test]
fn a7_a_start_by_others_of_what_has_failed_is_told_and_is_no_question_any_more() {
    let mut world = begun_from_nothing("A");
    world.engine.fail("Panic");
    world.settle();
    let id = world.approval().change_id;
    world.annotate(annotation::RETRY, &id);
    world.settle();
    let asked = world.approval();
    assert_eq!(asked.state, ApprovalState::Awaiting);
    world.engine.loses_checkpoints = 0;
    world.engine.start_by_hand("await_approval");
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.reported("OutsideStart"), 1);
    let now = world.approval();
    assert_eq!(
        (now.change_id, now.state),
        (asked.change_id, ApprovalState::Sealed)
    );
}

#[test]
fn a22_others_who_run_without_storage_answer_nothing() {
    let mut world = made_anew("A");
    world.engine.fail("Panic");
    world.edit("B");
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
    world.engine.set_by_hand(&json!({"storage": null}));
    others_start(&mut world);
    world.engine.stop_by_hand();
    let starts = world.engine.starts;
    world.settle();
    assert_eq!(world.engine.starts, starts);
    assert_ne!(world.engine.given(), "B");
}

#[test]
fn a_clear_that_the_spec_asks_for_answers_also_for_what_was_made_anew() {
    for begun in BEGUN {
        let mut world = begun("A");
        world.engine.loses_checkpoints = 0;
        world.spec(|spec| spec.clear_storage = Some("now".into()));
        world.settle();
        assert_eq!(world.phase(), "Running");
        assert_eq!(world.reported("StorageCleared"), 1);
    }
}

#[test]
fn a9_storage_that_others_turned_off_is_asked_about_at_the_next_start() {
    let mut world = World::running("A");
    world.engine.stop_by_hand();
    world.engine.set_by_hand(&json!({"storage": null}));
    world.engine.start_by_hand("allow");
    for _ in 0..4 {
        world.engine.tick();
    }
    world.settle();
    assert_eq!(world.phase(), "Running");
    world.engine.stop_by_hand();
    is_asked_about_and_not_started(world);
}

#[test]
fn a22_a_start_by_others_is_no_answer() {
    let mut world = World::running("A");
    world.engine.stop_by_hand();
    world.engine.clear_by_hand();
    world.settle();
    world.engine.loses_checkpoints = 99;
    others_start(&mut world);
    assert_eq!(world.reported("OutsideStart"), 1);
    world.engine.stop_by_hand();
    is_asked_about_and_not_started(world);
}

#[test]
fn a9_what_waits_and_is_started_and_stopped_by_others_is_not_started_by_sluice() {
    let mut world = World::running("A");
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    world.engine.set_by_hand(&json!({"dev_tweaks": {"x": 1}}));
    world.settle();
    world.spec(|spec| spec.desired_state = DesiredState::Running);
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
    world.engine.loses_checkpoints = 99;
    others_start(&mut world);
    world.engine.stop_by_hand();
    is_asked_about_and_not_started(world);
}

#[test]
fn a22_what_is_taken_over_while_it_runs_from_nothing_is_asked_about_once_it_is_down() {
    let mut world = World::running("A");
    world.make_again();
    world.engine.stop_by_hand();
    world.engine.clear_by_hand();
    world.engine.start_by_hand("allow");
    for _ in 0..4 {
        world.engine.tick();
    }
    world.engine.loses_checkpoints = 99;
    world.adopt();
    world.settle();
    world.engine.stop_by_hand();
    is_asked_about_and_not_started(world);
}

#[test]
fn a9_what_others_ran_is_not_what_allow_state_loss_lets_begin_from_nothing() {
    let mut world = World::running("A");
    world.spec(|spec| {
        spec.allow_state_loss = true;
        spec.desired_state = DesiredState::Stopped;
    });
    world.settle();
    world.engine.set_by_hand(&json!({"dev_tweaks": {"x": 1}}));
    world.settle();
    world.spec(|spec| spec.desired_state = DesiredState::Running);
    world.settle();
    world.engine.loses_checkpoints = 99;
    others_start(&mut world);
    world.engine.stop_by_hand();
    world.engine.clear_by_hand();
    let starts = world.engine.starts;
    world.settle();
    assert_eq!(world.engine.starts, starts);
}

#[test]
fn a7_a_start_by_others_of_what_is_to_be_stopped_is_told_also_after_a_clear() {
    let mut world = World::running("A");
    world.spec(|spec| {
        spec.desired_state = DesiredState::Stopped;
        spec.clear_storage = Some("now".into());
    });
    world.settle();
    world.engine.start_by_hand("allow");
    world.settle();
    assert_eq!(world.reported("UnwantedStart"), 1);
}

#[test]
fn a2_without_checkpoints_an_approved_change_that_ran_does_not_fail_to_be_applied() {
    let mut world = World::new("A");
    world.engine.edition = "Open source";
    world.spec(|spec| spec.allow_state_loss = true);
    world.settle();
    world.engine.lose();
    world.spec(|spec| spec.allow_state_loss = false);
    world.settle();
    world.pass(60);
    world.settle();
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.phase(), "Running");
    world.engine.fail("Panic");
    world.settle();
    let told = world.note_of("PipelineFailed").unwrap_or_default();
    assert!(told.contains("from nothing"), "{told}");
    world.pass(600);
    world.settle();
    assert_eq!(world.phase(), "Running");
}

#[test]
fn a21_the_question_of_a_loss_names_what_differs_from_what_ran_where_nothing_is_settled() {
    let mut world = World::new("A");
    world.engine.edition = "Open source";
    world.settle();
    assert!(world.status().settled.is_none());
    world.edit("B");
    world.settle();
    world.engine.lose();
    world.settle();
    world.pass(60);
    world.settle();
    let asked = world.approval();
    assert_eq!(asked.changed, ["sql"]);
    assert!(asked.summary.contains("sql"), "{}", asked.summary);
}

#[test]
fn what_is_found_again_shows_no_question_about_its_loss() {
    let mut world = World::running("A");
    world.engine.lose();
    world.settle();
    world.pass(60);
    world.settle();
    assert!(world.approval().summary.contains("gone"));
    world.engine.find_again();
    world.settle();
    assert_eq!(world.phase(), "Running");
    let shown = world.status().approval;
    assert!(shown.is_none_or(|it| !it.summary.contains("gone")));
}

#[test]
fn what_is_stopped_and_has_lost_its_state_says_so() {
    let mut world = World::running("A");
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    world.engine.clear_by_hand();
    world.settle();
    let (_, _, message) = world.condition("Ready").unwrap();
    assert!(message.contains("is gone from its engine"), "{message}");
}

#[test]
fn a_stop_at_once_for_a_clear_is_told() {
    let mut world = World::running("A");
    world.spec(|spec| spec.clear_storage = Some("now".into()));
    world.settle();
    assert_eq!(world.reported("ForcedStop"), 1);
    assert_eq!(world.reported("StorageCleared"), 1);
}

/// The engine has no gate on the way of other functions, so what ran wasn't seen to.
#[test]
fn a9_a_checkpoint_of_a_run_that_failed_before_anybody_looked_is_unknown() {
    let mut world = World::running("A");
    world.edit_functions("+f");
    world.settle();
    world.approve_by_annotation();
    let starts = world.engine.starts;
    while world.engine.starts == starts {
        world.reconcile();
        if world.engine.starts == starts {
            world.engine.tick();
        }
    }
    // Nobody looks from here on.
    for _ in 0..6 {
        world.engine.tick();
    }
    world.engine.write_checkpoint();
    world.engine.fail("InitializationError");
    world.settle();
    assert_eq!(world.reported("PipelineFailed"), 1);
    assert_eq!(world.reported("OriginUnknown"), 1);
    let starts = world.engine.starts;
    world.edit_functions("");
    world.settle();
    world.pass(600);
    world.settle();
    assert_eq!(world.engine.starts, starts);
    assert_eq!(world.phase(), "AwaitingApproval");
}

/// That nobody knows of what the checkpoint is was there before, and is no news.
#[test]
fn a_lost_answer_of_an_update_is_not_taken_for_somebodys_edit_where_nothing_is_settled() {
    let mut world = World::new("A");
    world.engine.keeps_tags = false;
    world.settle();
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    world.make_again();
    world.adopt();
    world.settle();
    assert!(world.status().settled.is_none());
    world.edit_functions("+f");
    world.spec(|spec| spec.desired_state = DesiredState::Running);
    world.settle();
    let asked = world.approval();
    assert!(asked.summary.contains("unknown"), "{}", asked.summary);
    world.engine.fault_of_update = Some(super::model::Fault::AnswerLost);
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.reported("OriginUnknown"), 0);
    assert_eq!(world.approval().change_id, asked.change_id);
    assert_eq!(world.phase(), "Running");
}
