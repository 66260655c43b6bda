//! What is owed regardless of an edit, what is wished while something else goes on, and whose answer an answer is.

use super::model::World;
use crate::crd::{ApprovalState, DesiredState, Moment, annotation};
use crate::decide::Act;

fn calls(world: &World, of: impl Fn(&Act) -> bool) -> usize {
    world.acts.iter().filter(|act| of(act)).count()
}

/// What an edit waits for can't be had: the compiler's word on it, or its compilation.
fn with_an_edit_that_waits(builds: bool) -> World {
    let mut world = World::running("A");
    match builds {
        true => world.engine.builds_fail = true,
        false => world.engine.compiler_is_down = true,
    }
    world.edit("B");
    world.settle();
    assert_eq!(world.condition("Ready").unwrap().1, "EngineUnreachable");
    assert_eq!(world.engine.sql, "A");
    world
}

#[test]
fn an_edit_that_waits_for_the_compiler_keeps_nothing_else_from_being_done() {
    for builds in [true, false] {
        let mut world = with_an_edit_that_waits(builds);
        world.spec(|spec| spec.desired_state = DesiredState::Paused);
        world.settle();
        assert_eq!(calls(&world, |act| *act == Act::Pause), 1, "{builds}");
        world.spec(|spec| spec.desired_state = DesiredState::Running);
        world.settle();
        assert_eq!(calls(&world, |act| *act == Act::Resume), 1, "{builds}");
        let stops = |world: &World| calls(world, |act| *act == Act::Stop { force: false });
        let now = Moment(world.now.to_string());
        world.spec(|spec| spec.restarted_at = Some(now));
        world.settle();
        assert_eq!(stops(&world), 1, "{builds}");
        if builds {
            // The stop lets the new program in, which comes to the gate.
            assert_eq!(world.phase(), "AwaitingApproval");
            continue;
        }
        assert!(world.engine.is_up());
        world.spec(|spec| spec.desired_state = DesiredState::Stopped);
        world.settle();
        assert_eq!(stops(&world), 2, "{builds}");
        assert!(world.engine.deployment.is_none(), "{builds}");
    }
}

#[test]
fn an_edit_that_waits_for_the_compiler_keeps_no_approved_change_from_being_sealed() {
    let mut world = World::waiting("A", "B");
    world.approve_by_annotation();
    world.engine.loses_checkpoints = 1;
    world.settle_briefly();
    assert_eq!(world.approval_state(), Some(ApprovalState::Applied));
    world.engine.compiler_is_down = true;
    world.edit("C");
    for _ in 0..20 {
        world.settle();
    }
    assert_eq!(
        world.status().settled.unwrap().target,
        world.engine.content().target()
    );
    assert_eq!(world.engine.base(), Some("B"));
}

/// It is asked again, and not all the time.
#[test]
fn a_compiler_that_does_not_answer_is_asked_again_after_a_pause() {
    let mut world = World::running("A");
    world.engine.compiler_is_down = true;
    world.edit("B");
    let asked = |world: &World| calls(world, |act| matches!(act, Act::Preview(_)));
    for _ in 0..4 {
        world.reconcile();
    }
    assert_eq!(asked(&world), 1);
    world.pass(6);
    world.reconcile();
    assert_eq!(asked(&world), 2);
    world.engine.compiler_is_down = false;
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
}

#[test]
fn a2_what_is_approved_and_runs_is_applied_and_sealed_also_if_it_is_to_be_stopped() {
    for ticks in 0..8 {
        let mut world = World::waiting("A", "B");
        let id = world.approve_by_annotation();
        world.reconcile();
        for _ in 0..ticks {
            world.engine.tick();
        }
        world.spec(|spec| spec.desired_state = DesiredState::Stopped);
        world.settle();
        assert_eq!(world.phase(), "Stopped");
        world.spec(|spec| spec.desired_state = DesiredState::Running);
        world.settle();
        // Whenever the wish came, the change that was approved is told to its end.
        assert_eq!(
            world.approval_state(),
            Some(ApprovalState::Sealed),
            "{ticks}"
        );
        assert_eq!(world.approval().change_id, id);
        assert_eq!(world.reported("Applied"), 1, "{ticks}");
        world.edit("C");
        world.settle();
        assert_eq!(world.reported("Superseded"), 0, "{ticks}");
        assert_eq!(world.engine.dropped_input, 0, "{ticks}");
    }
}

#[test]
fn a_start_is_stopped_at_once_before_the_gate_and_with_a_checkpoint_after_it() {
    for ticks in 0..4 {
        let mut world = World::running("A");
        world.spec(|spec| spec.desired_state = DesiredState::Stopped);
        world.settle();
        world.acts.clear();
        world.spec(|spec| spec.desired_state = DesiredState::Running);
        world.reconcile();
        for _ in 0..ticks {
            world.engine.tick();
        }
        let before = ["Provisioning", "Initializing"]
            .contains(&world.engine.deployment.as_ref().unwrap().status);
        world.spec(|spec| spec.desired_state = DesiredState::Stopped);
        world.reconcile();
        let stops: Vec<_> = world
            .acts
            .iter()
            .filter(|act| matches!(act, Act::Stop { .. }))
            .collect();
        assert_eq!(stops, [&Act::Stop { force: before }], "{ticks}");
        world.settle();
        assert_eq!(world.phase(), "Stopped");
        assert_eq!(world.engine.dropped_input, 0);
    }
}

#[test]
fn an_approved_bootstrap_is_not_stopped_at_once_and_the_wish_is_shown() {
    let mut world = World::waiting("A", "B");
    world.approve_by_annotation();
    world.reconcile();
    world.engine.tick();
    assert_eq!(
        world.engine.deployment.as_ref().unwrap().status,
        "Bootstrapping"
    );
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.reconcile();
    let (_, reason, message) = world.condition("Reconciling").unwrap();
    assert_eq!(reason, "Stopping");
    assert!(
        message.contains("Bootstrapping") && message.contains("checkpoint"),
        "{message}"
    );
    assert_eq!(calls(&world, |act| *act == Act::Stop { force: true }), 0);
}

/// The state is to be thrown away, so nobody waits for a checkpoint of it.
#[test]
fn to_clear_the_storage_takes_a_stop_over_that_hangs() {
    let mut world = World::running("A");
    world.engine.stops_hang = true;
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    assert_eq!(world.engine.deployment.as_ref().unwrap().status, "Stopping");
    world.spec(|spec| spec.clear_storage = Some("now".into()));
    world.settle();
    assert_eq!(world.phase(), "Stopped");
    assert!(world.engine.cleared);
}

#[test]
fn a_refusal_is_of_what_was_sent_and_the_corrected_content_is_tried() {
    let mut world = World::waiting("A", "B");
    world.approve_by_annotation();
    world.settle();
    // While the engine is given C, which it refuses, somebody corrects it to D.
    world.spec(|spec| spec.bootstrap_policy = crate::crd::BootstrapPolicy::Allow);
    world.engine.refuses_updates = Some("InvalidRuntimeConfig");
    world.edit_after_update = Some(|world| {
        world.engine.refuses_updates = None;
        world.edit("D");
    });
    world.edit("C");
    world.settle();
    assert_eq!(world.engine.sql, "D");
    assert_eq!(world.phase(), "Running");
}

#[test]
fn a_retry_that_is_written_while_something_is_asked_is_still_acted_on() {
    let mut world = World::running("A");
    world.edit_after_call = Some(|world| world.annotate(annotation::RETRY, "now"));
    world.edit("broken");
    world.reconcile();
    assert_eq!(world.condition("Ready").unwrap().1, "CompileFailed");
    let asked = |world: &World| calls(world, |act| matches!(act, Act::Preview(_)));
    world.settle();
    assert_eq!(asked(&world), 2, "the answer came to a question of before");
    assert_eq!(world.status().handled_retry.as_deref(), Some("now"));
}
