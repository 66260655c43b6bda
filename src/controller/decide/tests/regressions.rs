//! What once went wrong, told as stories.

use super::model::World;
use crate::controller::decide::Act;
use crate::crd::{ApprovalState, annotation};

fn count(world: &World, what: fn(&Act) -> bool) -> usize {
    world.acts.iter().filter(|a| what(a)).count()
}

#[test]
fn a17_going_back_from_a_foreign_edit_is_applied_and_sealed() {
    let mut world = World::running("A");
    world.engine.sql = "X".into();
    world.engine.version += 1;
    world.engine.write_checkpoint();
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.approve_calls(), 1);
    assert_eq!(world.engine.base(), Some("A"));
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
}

#[test]
fn a7_an_approval_of_going_back_at_the_engine_itself_is_noticed() {
    let mut world = World::running("A");
    world.engine.sql = "X".into();
    world.engine.version += 1;
    world.engine.write_checkpoint();
    world.settle();
    world.engine.approve();
    world.settle();
    assert_eq!(world.reported("OutsideApproval"), 1);
}

#[test]
fn a17_a_program_that_only_the_engine_changed_is_applied_and_sealed() {
    let mut world = World::running("A");
    // The checkpoint was made with other plans, so the same program is gated.
    world.engine.checkpoints.last_mut().unwrap().1 = "A compiled by an older engine".into();
    world.engine.deployment = None;
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
}

#[test]
fn a6_what_was_asked_about_anew_and_approved_is_sealed() {
    let mut world = World::waiting("A", "B");
    world.engine.other_plans = true;
    world.settle();
    assert_eq!(world.reported("DiffChanged"), 1);
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.approve_calls(), 1);
    assert_eq!(world.engine.base(), Some("B"));
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
}

#[test]
fn retry_asks_about_a_refused_program_again() {
    let mut world = World::running("A");
    world.edit("broken");
    world.settle();
    let asked = count(&world, |a| matches!(a, Act::Preview(_)));
    world.annotate(annotation::RETRY, "1");
    world.settle();
    assert_eq!(count(&world, |a| matches!(a, Act::Preview(_))), asked + 1);
}

#[test]
fn retry_ends_a_backoff() {
    use crate::engine::PipelineError;
    let mut world = World::running("A");
    for _ in 0..6 {
        world.engine.deployment = None;
        world.engine.error = Some(PipelineError {
            message: "boom".into(),
            code: "x".into(),
        });
        world.reconcile();
        world.pass(1000);
        world.settle();
    }
    world.engine.deployment = None;
    world.engine.error = Some(PipelineError {
        message: "boom".into(),
        code: "x".into(),
    });
    world.reconcile();
    let starts = count(&world, |a| matches!(a, Act::Start(_)));
    world.annotate(annotation::RETRY, "1");
    world.settle();
    assert_eq!(
        count(&world, |a| matches!(a, Act::Start(_))),
        starts + 1,
        "{:?} {:?}",
        world.phase(),
        world.condition("Ready")
    );
}

#[test]
fn a3_an_approval_of_what_was_superseded_does_nothing_later() {
    let mut world = World::waiting("A", "B");
    let id = world.approval().change_id;
    world.edit("C");
    world.settle();
    world.annotate(annotation::APPROVE, &id); // stale: told so
    world.settle();
    assert_eq!(world.reported("StaleApproval"), 1);
    world.edit("B");
    world.settle();
    assert_eq!(world.approve_calls(), 0);
}

#[test]
fn a6_an_approval_of_one_diff_never_counts_for_another() {
    let mut world = World::waiting("A", "B");
    world.approve_by_annotation(); // of the diff without tables
    world.engine.other_plans = true;
    world.settle();
    assert_eq!(
        (world.approve_calls(), world.reported("DiffChanged")),
        (0, 1)
    );
    world.edit("C");
    world.settle();
    world.edit("B");
    world.settle();
    assert_eq!(world.approve_calls(), 0);
}

#[test]
fn a6_nor_after_the_options_went_there_and_back() {
    let mut world = World::waiting("A", "B");
    world.approve_by_annotation();
    world.engine.other_plans = true;
    world.settle();
    world.spec(|s| s.bootstrap_options.silent = true);
    world.settle();
    world.spec(|s| s.bootstrap_options.silent = false);
    world.settle();
    assert_eq!(world.approve_calls(), 0);
}

#[test]
fn a6_what_failed_is_not_approved_again_by_a_leftover() {
    let mut world = World::waiting("A", "B");
    world.engine.breaks = Some("B".into());
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::ApplyFailed));
    world.edit("C");
    world.settle();
    world.edit("B");
    world.settle();
    assert_eq!(world.approve_calls(), 1);
}

#[test]
fn a17_a_late_checkpoint_of_the_old_program_seals_nothing() {
    let mut world = World::running("A");
    world.engine.write_checkpoint(); // by the engine, shortly before it fails
    world.engine.hidden_checkpoints = 1;
    world.engine.deployment = None;
    world.edit("B");
    for _ in 0..40 {
        world.reconcile();
        world.engine.tick();
        world.pass(1);
        if world.engine.deployment.is_some() {
            break;
        }
    }
    world.engine.hidden_checkpoints = 0;
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
    world.approve_by_annotation();
    world.settle();
    assert_eq!(
        (world.approval_state(), world.engine.base()),
        (Some(ApprovalState::Sealed), Some("B"))
    );
}

#[test]
fn a5_a_rejection_while_the_engine_asks_again_is_heard() {
    let mut world = World::waiting("A", "B");
    world.engine.forgets = 1;
    let id = world.approve_by_annotation();
    world.reconcile();
    assert_eq!(world.approve_calls(), 1);
    world.annotate(annotation::REJECT, &id);
    world.settle();
    assert_eq!(world.engine.bootstraps.len(), 0);
}
