//! What a checkpoint was made from: recorded, found again, or unknown. Rules A8 and A9.

use super::model::World;
use crate::crd::{ApprovalState, DesiredState, Gate, Moment, annotation};
use crate::decide::Act;

/// SQL and functions are edited together, and wait at the engine's gate; then the Pipeline is deleted and created
/// again, and only the SQL put back.
fn washed(mut world: World) -> World {
    world.edit("B");
    world.edit_functions("+f");
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
    world.make_again();
    if !world.engine.keeps_tags {
        world.annotate(annotation::ADOPT, "orders");
    }
    world.settle();
    world
}

#[test]
fn a9_delete_and_create_washes_no_functions_through() {
    let mut world = washed(World::running("A"));
    // The question that waits in between names all of it.
    let approval = world.approval();
    assert_eq!(approval.gate, Gate::Engine);
    assert_eq!(
        approval.summary,
        "changes user-defined functions (Rust); modifies view v"
    );
    world.edit("A");
    world.settle();
    assert!(world.engine.bootstraps.is_empty());
    let approval = world.approval();
    assert_eq!(
        (approval.gate, approval.state, approval.summary.as_str()),
        (
            Gate::Sluice,
            ApprovalState::Awaiting,
            "changes user-defined functions (Rust)"
        )
    );
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
}

#[test]
fn a8_where_nothing_says_what_a_checkpoint_was_made_from_it_is_asked_as_unknown() {
    let mut world = World::new("A");
    world.engine.keeps_tags = false;
    world.settle();
    let mut world = washed(world);
    let approval = world.approval();
    assert_eq!(approval.gate, Gate::Engine);
    assert!(approval.summary.starts_with("unknown: "), "{approval:?}");
    world.edit("A");
    world.settle();
    assert!(world.engine.bootstraps.is_empty());
    let approval = world.approval();
    assert_eq!(
        (approval.gate, approval.state),
        (Gate::Sluice, ApprovalState::Awaiting)
    );
    assert!(approval.summary.starts_with("unknown: "), "{approval:?}");
    assert!(approval.changed.is_empty());
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    assert_eq!(world.engine.given(), "A+f");
}

#[test]
fn a9_nobody_is_asked_about_a_pipeline_that_is_made_again_as_it_was() {
    for stopped in [true, false] {
        let mut world = World::running("A");
        world.spec(|spec| {
            spec.desired_state = if stopped {
                DesiredState::Stopped
            } else {
                DesiredState::Running
            };
        });
        world.settle();
        let settled = world.status().settled.unwrap();
        world.make_again();
        world.spec(|spec| spec.desired_state = DesiredState::Running);
        world.settle();
        assert_eq!(world.phase(), "Running", "{stopped}");
        assert_eq!(world.status().approval, None);
        assert_eq!(world.status().settled.unwrap().target, settled.target);
        // And the next change starts from there, under a name that no approval of before has.
        world.edit_functions("+f");
        world.settle();
        let approval = world.approval();
        assert_eq!(approval.parent, settled.change_id);
        assert_eq!(approval.summary, "changes user-defined functions (Rust)");
    }
}

#[test]
fn a9_a_checkpoint_that_nobody_saw_being_written_is_of_unknown_origin() {
    // Somebody runs other functions at the engine, keeps that, and puts the old ones back, while nobody looks.
    let by_hand = |world: &mut World| {
        world.edit_functions_by_hand("+x");
        world.engine.start_by_hand("allow");
        for _ in 0..5 {
            world.engine.tick();
        }
        world.engine.write_checkpoint();
        world.edit_functions_by_hand("");
    };
    for made_again in [true, false] {
        let mut world = World::running("A");
        by_hand(&mut world);
        if made_again {
            world.make_again();
        }
        world.settle();
        assert!(!world.engine.is_up(), "{made_again}");
        assert_eq!(world.reported("OriginUnknown"), 1);
        let approval = world.approval();
        assert_eq!(
            (approval.gate, approval.state),
            (Gate::Sluice, ApprovalState::Awaiting)
        );
        assert!(approval.summary.starts_with("unknown: "), "{approval:?}");
        world.approve_by_annotation();
        world.settle();
        assert_eq!(world.phase(), "Running");
        assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
        assert_eq!(world.reported("OriginUnknown"), 1);
    }
}

#[test]
fn a9_what_the_engine_says_and_the_status_does_not_is_believed_by_neither() {
    // The status comes from an older backup.
    let mut world = World::running("A");
    let old = world.status();
    world.edit_functions("+f");
    world.settle();
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.engine.kept(), "A+f");
    world.store(old);
    world.edit_functions("");
    world.settle();
    // By the status nothing would change.
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    world.spec(|spec| spec.desired_state = DesiredState::Running);
    world.settle();
    assert!(
        !world
            .engine
            .bootstraps
            .contains(&("A+f".to_owned(), "A".to_owned())),
        "{:?}",
        world.engine.bootstraps
    );
    assert_eq!(world.reported("OriginUnknown"), 1);
}

#[test]
fn a9_an_approval_of_before_does_not_count_once_the_origin_is_unknown() {
    let mut world = World::running("A");
    world.edit_functions("+f");
    world.settle();
    let id = world.approval().change_id;
    world.engine.write_checkpoint();
    world.engine.stop_by_hand();
    world.engine.version += 2;
    world.annotate(annotation::APPROVE, &id);
    world.settle();
    assert_ne!(world.approval().change_id, id);
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
    assert!(world.engine.bootstraps.is_empty());
}

#[test]
fn a9_the_mark_is_written_before_something_else_is_brought_to_the_engine() {
    let mut world = World::running("A");
    world.edit_functions("+f");
    world.settle();
    world.approve_by_annotation();
    world.acts.clear();
    world.settle();
    let at = |is_it: fn(&Act) -> bool| world.acts.iter().position(is_it);
    let stop = at(|act| matches!(act, Act::Stop { .. })).unwrap();
    let mark = at(|act| matches!(act, Act::Mark { .. })).unwrap();
    let update = at(|act| matches!(act, Act::Update(_))).unwrap();
    // The stop has written a checkpoint, which the mark names from then on.
    assert!(stop < mark && mark < update, "{:?}", world.acts);
}

#[test]
fn a9_an_engine_that_takes_no_more_tags_is_told_once_and_holds_nothing_up() {
    let mut world = World::new("A");
    world.engine.refuses_tags = true;
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert!(world.status().settled.is_some());
    world.edit("B");
    world.settle();
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    // Once for each mark that couldn't be written.
    assert!(world.reported("MarkNotKept") <= 3, "{:?}", world.reports);
    let marks = world.acts.iter();
    let marks = marks.filter(|act| matches!(act, Act::Mark { .. })).count();
    assert_eq!(marks, world.reported("MarkNotKept"));
}

#[test]
fn tags_of_others_stay() {
    let mut world = World::new("A");
    world.settle();
    world.engine.tags.push("team:billing".into());
    world.edit("B");
    world.settle();
    world.approve_by_annotation();
    world.settle();
    assert!(world.engine.tags.contains(&"team:billing".to_owned()));
}

/// A status as 0.1.0 left it: no version, no mark, targets without settings.
#[test]
fn a_status_of_the_last_release_is_completed_and_asks_nobody() {
    let mut world = World::new("A");
    world.set(serde_json::json!({"env": {"A": "1"}}));
    world.settle();
    let mut old = serde_json::to_value(world.status()).unwrap();
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(object) => {
                for key in ["settings", "mark"] {
                    object.remove(key);
                }
                object.values_mut().for_each(strip);
            }
            serde_json::Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut old);
    old["settled"].as_object_mut().unwrap().remove("version");
    world.engine.tags = vec!["sluice:uid-1".into()];
    world.store(serde_json::from_value(old).unwrap());
    let acts = world.acts.len();
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.status().approval, None);
    assert!(
        matches!(world.acts[acts..], [Act::Mark { .. }]),
        "{:?}",
        &world.acts[acts..]
    );
    world.spec(|spec| spec.restarted_at = Some(Moment("2026-01-01T00:00:00.25Z".into())));
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.status().approval, None);
    world.set(serde_json::json!({"env": {"A": "2"}}));
    world.settle();
    assert_eq!(world.approval().summary, "changes the runtime settings env");
}
