//! Nobody is blamed for what Sluice did itself, or for what the engine doesn't say.

use super::model::World;
use crate::controller::decide::Act;
use crate::crd::{BootstrapOptions, BootstrapPolicy};

/// The operator goes on until it makes a call, and ends right after it, before anything is written down.
fn until_it_dies_after(world: &mut World, call: &str) {
    for _ in 0..60 {
        // What is to be called is written down first; an answer that is never written down is asked for again.
        world.reconcile_until(2);
        if world.acts.last().is_some_and(|act| act.name() == call) {
            world.restart_operator();
            return;
        }
        world.engine.tick();
    }
    panic!("no {call}: {:?}", world.acts);
}

#[test]
fn a_crash_after_an_update_that_is_taken_back_by_then_is_nobodys_edit() {
    for back in ["A", "B", "C"] {
        let mut world = World::running("A");
        world.spec(|spec| spec.bootstrap_policy = BootstrapPolicy::Allow);
        world.edit("B");
        until_it_dies_after(&mut world, "update");
        assert_eq!(world.engine.sql, "B");
        world.edit(back);
        world.settle();
        assert_eq!(world.reported("OutsideEdit"), 0, "{back}");
        assert_eq!(world.status().interference, None, "{back}");
        assert_eq!(
            (world.phase().as_str(), world.engine.sql.as_str()),
            ("Running", back)
        );
        assert_eq!(world.status().content.unwrap().sending, None);
    }
}

#[test]
fn an_edit_at_the_engine_is_told_also_right_after_an_update_was_written_down() {
    let mut world = World::running("A");
    world.spec(|spec| spec.bootstrap_policy = BootstrapPolicy::Allow);
    world.edit("B");
    // It is written down, and comes to nothing.
    for _ in 0..40 {
        let is_down = world.engine.deployment.is_none();
        if world.status().content.unwrap().sending.is_some() {
            break;
        }
        world.reconcile_until(if is_down { 1 } else { 2 });
        world.engine.tick();
    }
    assert!(world.status().content.unwrap().sending.is_some());
    assert_eq!(world.engine.sql, "A");
    world.restart_operator();
    world.engine.version += 1;
    world.engine.sql = "X".into();
    world.settle();
    assert_eq!(world.reported("OutsideEdit"), 1);
    assert_eq!(world.engine.sql, "B");
}

#[test]
fn a_storage_that_the_spec_had_cleared_is_cleared_by_nobody_else() {
    for wish in [None, Some("later".to_owned())] {
        let mut world = World::running("A");
        world.spec(|spec| spec.clear_storage = Some("now".into()));
        until_it_dies_after(&mut world, "clear");
        world.spec(|spec| {
            spec.clear_storage = wish.clone();
            spec.desired_state = crate::crd::DesiredState::Stopped;
        });
        world.settle();
        assert_eq!(world.reported("OutsideClear"), 0, "{wish:?}");
        assert_eq!(world.reported("StorageCleared"), 1, "{wish:?}");
        assert_eq!(world.status().interference, None);
        assert_eq!(world.status().clearing, None);
    }
}

#[test]
fn a_storage_that_was_to_be_cleared_and_was_not_can_be_cleared_by_others() {
    let mut world = World::running("A");
    world.spec(|spec| spec.clear_storage = Some("now".into()));
    for _ in 0..40 {
        if world.status().clearing.is_some() {
            break;
        }
        world.reconcile_until(1);
        world.engine.tick();
    }
    assert!(world.status().clearing.is_some() && !world.engine.cleared);
    world.restart_operator();
    world.spec(|spec| spec.clear_storage = None);
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.status().clearing),
        ("Running", None)
    );
    world.spec(|spec| spec.desired_state = crate::crd::DesiredState::Stopped);
    world.settle();
    world.engine.checkpoints.clear();
    world.engine.cleared = true;
    world.settle();
    assert_eq!(world.reported("OutsideClear"), 1);
}

/// An option that the engine doesn't know is no start by somebody else, and no reason to start again and again.
#[test]
fn an_option_that_the_engine_does_not_show_is_told_once_and_not_acted_on() {
    let mut world = World::running("A");
    world.engine.knows_no_concurrent_bootstrap = true;
    world.spec(|spec| {
        spec.bootstrap_options = BootstrapOptions {
            silent: false,
            concurrent: true,
        };
    });
    world.edit("B");
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
    let starts = |world: &World| {
        let acts = world.acts.iter();
        acts.filter(|act| matches!(act, Act::Start(_))).count()
    };
    let before = starts(&world);
    world.settle();
    assert_eq!(starts(&world), before);
    assert_eq!(world.reported("OutsideStart"), 0);
    assert_eq!(world.reported("OptionNotShown"), 1);
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.reported("OptionNotShown"), 1);
    assert_eq!(world.reported("OutsideStart"), 0);
}
