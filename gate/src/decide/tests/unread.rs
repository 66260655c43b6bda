//! While what the spec refers to can't be read, what is owed goes on, and nothing else is begun.

use super::model::World;
use crate::crd::{ApprovalState, DesiredState, annotation};
use crate::decide::Act;
use serde_json::json;

fn unread(mut world: World) -> World {
    world.unread = Some("ConfigMap code can't be read: out of luck".to_owned());
    world
}

fn is_told(world: &World) {
    let (ready, reason, message) = world.condition("Ready").expect("a condition");
    assert_eq!((&*ready, &*reason), ("False", "ContentNotFound"));
    assert!(message.contains("out of luck"), "{message}");
}

#[test]
fn a3_a_vote_is_counted_and_seen_through_to_its_seal_although_the_content_cannot_be_read() {
    let mut world = unread(World::waiting("A", "B"));
    world.settle();
    is_told(&world);
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    assert_eq!(world.approve_calls(), 1);
    is_told(&world);
    assert_eq!(world.condition("StaleApproval"), None);
    world.unread = None;
    world.settle();
    assert_eq!(world.condition("Ready").expect("a condition").1, "Running");
}

#[test]
fn a5_a_rejection_counts_although_the_content_cannot_be_read() {
    let mut world = unread(World::waiting("A", "B"));
    let id = world.approval().change_id;
    world.annotate(annotation::REJECT, &id);
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Rejected));
    assert!(!world.engine.is_up());
}

#[test]
fn what_runs_goes_on_and_is_stopped_where_that_is_wished_and_nothing_is_started() {
    let mut world = unread(World::running("A"));
    let before = world.acts.len();
    world.edit("B");
    world.spec(|spec| {
        spec.restarted_at = serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time");
    });
    world.settle();
    is_told(&world);
    assert!(world.engine.is_up());
    // What is settled goes on to be said in the engine's pipeline.
    let is_done = |act: &&Act| !matches!(act, Act::Look | Act::Mark { .. });
    let done = |world: &World| {
        let acts = world.acts[before..].iter();
        acts.filter(is_done).cloned().collect::<Vec<_>>()
    };
    assert_eq!(done(&world), []);
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    assert_eq!(done(&world), [Act::Stop { force: false }]);
    world.spec(|spec| spec.desired_state = DesiredState::Running);
    world.settle();
    assert!(!world.engine.is_up());
    is_told(&world);
    world.unread = None;
    world.settle();
    assert!(world.engine.exists);
    assert_ne!(
        world.condition("Ready").expect("a condition").1,
        "ContentNotFound"
    );
}

#[test]
fn a_pipeline_that_is_not_there_yet_waits_for_its_content() {
    let mut world = unread(World::new("A"));
    world.settle();
    is_told(&world);
    assert_eq!(world.acts, []);
}
