//! Clocks that jump.

use k8s_openapi::jiff::SignedDuration;

use super::model::World;
use crate::crd::ApprovalState;
use crate::decide::Act;
use crate::engine::PipelineError;

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn failed() -> World {
    let mut world = World::running("A");
    world.engine.deployment = None;
    world.engine.error = Some(PipelineError {
        message: "out of luck".into(),
        code: "Panic".into(),
    });
    world.reconcile();
    assert_eq!(
        world.status().failures.map(|failures| failures.count),
        Some(1)
    );
    world
}

#[test]
fn a_clock_that_is_set_back_a_day_keeps_nothing_waiting_for_a_day() {
    let mut world = failed();
    world.now -= DAY;
    for _ in 0..60 {
        world.settle_briefly();
    }
    assert_eq!(world.phase(), "Running", "{:?}", world.condition("Ready"));
}

#[test]
fn a_clock_that_jumps_ahead_starts_what_failed_and_no_more() {
    let mut world = failed();
    world.now += DAY;
    world.settle();
    assert_eq!(world.phase(), "Running");
}

#[test]
fn a6_an_approval_that_the_engine_forgot_is_told_again_whatever_the_clock_does() {
    for jump in [-DAY, DAY] {
        let mut world = World::waiting("A", "B");
        world.engine.forgets = 1;
        world.approve_by_annotation();
        world.reconcile();
        assert_eq!(world.approve_calls(), 1);
        world.now += jump;
        for _ in 0..4 {
            world.settle();
        }
        assert_eq!(world.approve_calls(), 2, "{jump:?}");
        assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    }
}

#[test]
fn no_jump_of_the_clock_approves_anything_or_stops_what_waits() {
    for jump in [-DAY, DAY] {
        let mut world = World::waiting("A", "B");
        let (id, acts) = (world.approval().change_id, world.acts.len());
        world.now += jump;
        world.settle();
        assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
        assert_eq!(world.approval().change_id, id);
        assert!(world.acts[acts..].iter().all(|act| *act == Act::Look));
        let since = world.status().waiting_since.expect("it waits");
        assert!(since.0 <= world.now, "{since:?}");
    }
}

/// A look that lies ahead would put off the next one, and so the question, until its day has come.
#[test]
fn a22_a_pipeline_is_missed_for_certain_also_if_the_clock_is_set_back() {
    let mut world = World::running("A");
    world.engine.lose();
    world.reconcile();
    assert!(world.status().lost.unwrap().last_look_at.is_some());
    world.now -= DAY;
    world.settle();
    assert_eq!(world.condition("Ready").unwrap().1, "PipelineLost");
}
