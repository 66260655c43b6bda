//! What is wished for while the engine starts or bootstraps: it is shown at once, and done when that is over.

use super::model::World;
use crate::crd::{ApprovalState, BootstrapPolicy, DesiredState, annotation};
use crate::decide::Act;

fn forced(world: &World) -> usize {
    let acts = world.acts.iter();
    acts.filter(|act| **act == Act::Stop { force: true })
        .count()
}

/// A world in which an approved change is bootstrapped.
fn bootstrapping() -> World {
    let mut world = World::waiting("A", "B");
    world.approve_by_annotation();
    world.reconcile();
    world.engine.tick();
    world.reconcile();
    assert_eq!(world.phase(), "Bootstrapping");
    world.acts.clear();
    world
}

fn deployment(world: &World) -> String {
    world.status().engine.unwrap().deployment_id.unwrap()
}

fn wish(world: &mut World, stop: bool) -> &'static str {
    if stop {
        world.spec(|spec| spec.desired_state = DesiredState::Stopped);
        return "Stopping";
    }
    world.edit("C");
    "Updating"
}

#[test]
fn a_stop_or_an_edit_during_a_bootstrap_is_shown_with_reason_and_since_when() {
    for stop in [true, false] {
        let mut world = bootstrapping();
        let reason = wish(&mut world, stop);
        let asked_at = world.now;
        world.reconcile();
        let shown = world.condition("Ready").unwrap();
        assert_eq!((shown.0.as_str(), shown.1.as_str()), ("False", reason));
        let time = asked_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        for part in ["Bootstrapping", &time] {
            assert!(shown.2.contains(part), "{part}: {}", shown.2);
        }
        // Whether an edit may go in is asked when it can, so nothing is ended for it.
        assert_eq!(shown.2.contains(&deployment(&world)), stop, "{}", shown.2);
        // It says so for as long as it lasts, and begins no new wait.
        world.pass(300);
        world.reconcile();
        assert_eq!(world.condition("Ready").unwrap(), shown);
        let since = world.status().held_up_since.unwrap().0;
        // Stored in whole seconds.
        assert_eq!(since.as_second(), asked_at.as_second());
        assert_eq!(world.acts, []);
        world.settle();
        assert_eq!(world.status().held_up_since, None);
        assert_eq!(world.engine.dropped_input, 0);
        assert_eq!(world.reported("Applied"), 1);
        assert_eq!(
            world.phase(),
            if stop { "Stopped" } else { "AwaitingApproval" }
        );
    }
}

#[test]
fn a_wish_that_is_taken_back_during_a_bootstrap_is_shown_no_more() {
    let mut world = bootstrapping();
    wish(&mut world, true);
    world.reconcile();
    assert!(world.status().held_up_since.is_some());
    world.spec(|spec| spec.desired_state = DesiredState::Running);
    world.reconcile();
    assert_eq!(world.status().held_up_since, None);
    assert_eq!(world.condition("Ready").unwrap().1, "Bootstrapping");
}

/// A stopped pipeline that is started, so many ticks ago.
fn starting(ticks: usize) -> World {
    let mut world = World::running("A");
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    world.acts.clear();
    world.spec(|spec| spec.desired_state = DesiredState::Running);
    world.reconcile();
    for _ in 0..ticks {
        world.engine.tick();
    }
    world
}

#[test]
fn settings_that_change_before_the_gate_are_brought_there_at_once_and_nothing_is_lost() {
    for ticks in 0..2 {
        let mut world = starting(ticks);
        world.set(serde_json::json!({"max_rss_mb": 100}));
        world.reconcile();
        assert_eq!(forced(&world), 1, "{ticks}");
        world.settle();
        assert_eq!(world.phase(), "Running");
        assert_eq!(world.engine.dropped_input, 0);
        assert_eq!(
            world.engine.runtime_config,
            world.pipeline.spec.runtime_config
        );
    }
}

/// It is compiled first, or a program that doesn't compile would stop one that does.
#[test]
fn a_program_that_changes_before_the_gate_is_asked_about_and_compiled_before_the_start_is_given_up()
{
    for ticks in 0..2 {
        let mut world = starting(ticks);
        world.edit("B");
        world.reconcile();
        let acts = world.acts.iter();
        let names: Vec<&str> = acts.map(|act| act.call().as_str()).collect();
        assert_eq!(names, ["start", "diff", "build"], "{ticks}");
        world.settle();
        assert_eq!(world.engine.dropped_input, 0);
        assert_eq!(world.phase(), "AwaitingApproval");
    }
}

#[test]
fn a_broken_edit_before_the_gate_does_not_stop_the_start() {
    let mut world = starting(1);
    world.edit("broken");
    world.settle();
    assert_eq!(forced(&world), 0);
    let acts = world.acts.iter();
    let names: Vec<&str> = acts.map(|act| act.call().as_str()).collect();
    assert_eq!(names, ["start", "diff"]);
    assert!(world.engine.is_up());
    assert_eq!(world.condition("Ready").unwrap().1, "CompileFailed");
}

#[test]
fn force_stop_ends_a_bootstrap_only_where_a_stop_waits_for_it() {
    for (stop, edit) in [(false, false), (true, false), (false, true)] {
        let mut world = bootstrapping();
        if stop || edit {
            wish(&mut world, stop);
        }
        let id = deployment(&world);
        world.annotate(annotation::FORCE_STOP, &id);
        world.reconcile();
        let is_due = usize::from(stop);
        assert_eq!(forced(&world), is_due, "{stop} {edit}");
        assert_eq!(world.reported("ForcedStop"), is_due);
        world.reconcile();
        assert_eq!(world.reported("ForcedStop"), is_due, "told once");
        world.settle();
        assert_eq!(world.reported("IdleForceStop"), 1 - is_due);
        let approved_state = world.approval_state();
        assert_ne!(
            approved_state,
            Some(ApprovalState::Superseded),
            "{stop} {edit}"
        );
    }
}

/// A deployment may live for weeks, and whoever has it stopped then need not have the right to lose what came in.
#[test]
fn a13_a_force_stop_that_was_left_there_makes_no_later_stop_a_forced_one() {
    let stop: fn(&mut World) = |world| {
        world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    };
    let restart: fn(&mut World) = |world| {
        let now = world.now.to_string();
        world.spec(|spec| spec.restarted_at = Some(crate::crd::Moment(now)));
    };
    let edit: fn(&mut World) = |world| {
        world.set(serde_json::json!({"clock_resolution_usecs": 1}));
        world.settle();
        world.approve_by_annotation();
    };
    for later in [stop, restart, edit] {
        let mut world = World::running("A");
        let id = deployment(&world);
        world.annotate(annotation::FORCE_STOP, &id);
        world.settle();
        assert_eq!(world.reported("IdleForceStop"), 1);
        world.acts.clear();
        later(&mut world);
        world.settle();
        assert_eq!(forced(&world), 0);
        assert!(world.acts.contains(&Act::Stop { force: false }));
        assert_eq!(world.engine.dropped_input, 0);
    }
}

/// It was approved as something that loses no input.
#[test]
fn a18_what_was_approved_before_a_forced_stop_is_asked_about_anew() {
    let mut world = World::running("A");
    world.set(serde_json::json!({"env": {"A": "1"}}));
    world.settle();
    let asked = world.approve_by_annotation();
    world.engine.stops_hang = true;
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    let id = deployment(&world);
    world.annotate(annotation::FORCE_STOP, &id);
    world.settle();
    assert!(world.engine.deployment.is_none());
    world.spec(|spec| spec.desired_state = DesiredState::Running);
    world.settle();
    assert_ne!(world.approval().change_id, asked);
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
}

/// Whoever may set the policy need not have the right to reject.
#[test]
fn a3_the_policy_reject_takes_back_nothing_that_the_engine_was_told() {
    let mut world = bootstrapping();
    world.spec(|spec| spec.bootstrap_policy = BootstrapPolicy::Reject);
    world.engine.stop_by_hand();
    world.engine.tick();
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    assert_eq!(world.reported("Rejected"), 0);
    assert_eq!(world.engine.sql, "B");
}

#[test]
fn force_stop_means_one_deployment_and_no_other() {
    let mut world = bootstrapping();
    world.annotate(annotation::FORCE_STOP, "another");
    wish(&mut world, true);
    world.reconcile();
    assert_eq!(forced(&world), 0);
    let id = deployment(&world);
    world.annotate(annotation::FORCE_STOP, &id);
    world.settle();
    assert_eq!((world.phase().as_str(), forced(&world)), ("Stopped", 1));
    // Started again, the change that was approved goes on as such, and what lies around stops nothing.
    world.spec(|spec| spec.desired_state = DesiredState::Running);
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    assert_eq!(world.engine.sql, "B");
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    assert_eq!((world.phase().as_str(), forced(&world)), ("Stopped", 1));
}

#[test]
fn force_stop_takes_a_stop_over_that_hangs() {
    let mut world = World::running("A");
    world.engine.stops_hang = true;
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    assert_eq!(world.phase(), "Stopping");
    assert_eq!(forced(&world), 0);
    let id = deployment(&world);
    world.annotate(annotation::FORCE_STOP, &id);
    world.settle();
    assert_eq!(world.phase(), "Stopped");
    assert_eq!(world.reported("ForcedStop"), 1);
}

/// Whatever is seen first: the policy that refuses a change, or the change.
#[test]
fn the_policy_reject_ends_no_pipeline_as_failed_whenever_it_comes() {
    for effects in 0..16 {
        for ticks in 0..3 {
            let mut world = World::running("A");
            world.edit("B");
            for _ in 0..effects {
                world.reconcile_until(2);
                world.engine.tick();
            }
            for _ in 0..ticks {
                world.engine.tick();
            }
            let is_old = world.engine.sql == "A";
            world.spec(|spec| spec.bootstrap_policy = BootstrapPolicy::Reject);
            world.settle();
            let at = format!("{effects} {ticks} {:?}", world.condition("Ready"));
            assert_eq!(world.status().failures, None, "{at}");
            if is_old {
                assert!(world.engine.is_up() && world.engine.sql == "A", "{at}");
            } else {
                assert_eq!(world.phase(), "Rejected", "{at}");
                assert_eq!(world.reported("Rejected"), 1, "{at}");
            }
            // And the old program is as it was.
            world.edit("A");
            world.settle();
            assert!(world.engine.is_up() && world.engine.sql == "A", "{at}");
            assert!(world.engine.bootstraps.is_empty(), "{at}");
        }
    }
}

#[test]
fn the_policy_reject_keeps_what_runs_where_the_engine_cannot_tell_beforehand() {
    let mut world = World::running("A");
    world.engine.cannot_tell = true;
    world.spec(|spec| {
        spec.bootstrap_policy = BootstrapPolicy::Reject;
        spec.program.get_or_insert_default().sql = Some("B".into());
    });
    world.settle();
    assert!(world.engine.is_up());
    assert_eq!(world.engine.sql, "A");
    assert_eq!(world.condition("Stalled").unwrap().1, "ChangeRefused");
    // Where it may be asked about, it is.
    world.spec(|spec| spec.bootstrap_policy = BootstrapPolicy::AwaitApproval);
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
}
