//! Sluice's own gate, rule A9.

use super::model::{Fault, World};
use crate::crd::{ApprovalState, BootstrapPolicy, DesiredState, Door, Gate, StopKind, annotation};
use crate::decide::Act;

/// A world in which only the functions have changed, and that waits at Sluice's gate.
fn asked() -> World {
    let mut world = World::running("A");
    world.edit_functions("fn f() {}");
    world.settle();
    world
}

fn stops(world: &World) -> usize {
    let stops = world.acts.iter();
    stops.filter(|act| matches!(act, Act::Stop { .. })).count()
}

#[test]
fn a9_changed_functions_wait_while_the_old_program_goes_on() {
    let world = asked();
    let approval = world.approval();
    assert_eq!(approval.state, ApprovalState::Awaiting);
    assert_eq!(approval.gate, Gate::Sluice);
    assert_eq!(approval.summary, "changes user-defined functions (Rust)");
    assert_eq!(stops(&world), 0);
    assert!(world.engine.is_up());
    assert_eq!(world.engine.udf_rust, "");
    assert_eq!(world.phase(), "AwaitingApproval");
    let (ready, reason, message) = world.condition("Ready").unwrap();
    assert_eq!((&*ready, &*reason), ("True", "AwaitingApproval"));
    assert!(message.contains(&approval.approve_command), "{message}");
    assert_eq!(world.condition("Approved").unwrap().0, "False");
    assert!(world.condition("Reconciling").is_none());
    assert!(world.condition("Stalled").is_none());
    assert!(world.status().waiting_since.is_some());
    assert_eq!(world.reported("AwaitingApproval"), 1);
    let stake = approval.at_stake.unwrap();
    assert_eq!(stake.dropped_input, "none");
    assert!(
        stake.unknown.iter().any(|it| it.contains("side by side")),
        "{stake:?}"
    );
}

#[test]
fn a9_approved_functions_are_brought_up_sealed_and_nobody_from_outside_is_blamed() {
    let mut world = asked();
    let id = world.approve_by_annotation();
    world.settle();
    assert_eq!(world.engine.udf_rust, "fn f() {}");
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    assert_eq!(world.status().settled.unwrap().change_id, id);
    assert_eq!(world.approve_calls(), 0, "the engine doesn't ask");
    assert_eq!(world.reported("Applied"), 1);
    assert_eq!(world.reported("Sealed"), 1);
    for blamed in ["OutsideApproval", "UnaskedChange", "OutsideEdit"] {
        assert_eq!(world.reported(blamed), 0, "{blamed}");
    }
    assert_eq!(world.status().turns.len(), 0);
}

#[test]
fn a9_rejected_functions_never_stop_the_old_program() {
    let mut world = asked();
    let id = world.approval().change_id;
    world.annotate(annotation::REJECT, &id);
    world.annotate(annotation::REASON, "rounds wrongly");
    world.settle();
    assert_eq!(stops(&world), 0);
    assert_eq!(world.approval_state(), Some(ApprovalState::Rejected));
    let (ready, reason, message) = world.condition("Ready").unwrap();
    assert_eq!((&*ready, &*reason), ("False", "Rejected"));
    assert!(message.contains("rounds wrongly"), "{message}");
    assert!(world.engine.is_up());

    // Asked about anew, the old no and an old yes say nothing.
    world.annotate(annotation::RETRY, &id);
    world.annotate(annotation::APPROVE, &id);
    world.settle();
    let again = world.approval();
    assert_eq!(again.state, ApprovalState::Awaiting);
    assert_ne!(again.change_id, id);
    assert_eq!(stops(&world), 0);
}

#[test]
fn a9_the_policy_allow_opens_the_gate_and_reject_keeps_what_runs() {
    let mut world = World::running("A");
    world.spec(|spec| spec.bootstrap_policy = BootstrapPolicy::Allow);
    world.settle();
    world.edit_functions("fn f() {}");
    world.settle();
    assert_eq!(world.engine.udf_rust, "fn f() {}");
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    assert_eq!(world.approval().decision.unwrap().via, Door::Policy);

    let mut world = World::running("A");
    world.spec(|spec| spec.bootstrap_policy = BootstrapPolicy::Reject);
    world.settle();
    world.edit_functions("fn f() {}");
    world.settle();
    assert_eq!(world.engine.udf_rust, "");
    assert_eq!(stops(&world), 0);
    let (ready, reason, message) = world.condition("Ready").unwrap();
    assert_eq!((&*ready, &*reason), ("False", "ChangeRefused"));
    assert!(message.contains("user-defined functions"), "{message}");
}

#[test]
fn a9_a_policy_that_turns_to_allow_lets_through_what_waits_and_blames_nobody() {
    let mut at_sluice = asked();
    let mut at_the_engine = World::waiting("A", "B");
    for world in [&mut at_sluice, &mut at_the_engine] {
        world.spec(|spec| spec.bootstrap_policy = BootstrapPolicy::Allow);
        world.settle();
        assert_eq!(world.phase(), "Running");
        assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
        let decision = world.approval().decision.unwrap();
        assert_eq!(decision.via, Door::Policy);
        assert_eq!(world.reported("OutsideApproval"), 0);
    }
}

#[test]
fn a9_a_policy_that_turns_to_reject_refuses_what_waits() {
    let mut world = asked();
    world.spec(|spec| spec.bootstrap_policy = BootstrapPolicy::Reject);
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Rejected));
    assert_eq!(stops(&world), 0);
    assert_eq!(world.engine.udf_rust, "");
}

#[test]
fn a9_where_the_engine_asks_anyway_there_is_one_question() {
    let mut world = World::running("A");
    world.edit("B");
    world.edit_functions("fn f() {}");
    world.settle();
    let approval = world.approval();
    assert_eq!(approval.gate, Gate::Engine);
    assert_eq!(
        approval.summary,
        "changes user-defined functions (Rust); modifies view v"
    );
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.approve_calls(), 1);
}

#[test]
fn a9_functions_that_are_taken_back_leave_no_question() {
    let mut world = asked();
    let id = world.approval().change_id;
    world.edit_functions("");
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Superseded));
    assert_eq!(world.phase(), "Running");
    assert_eq!(stops(&world), 0);
    // The same edit made again is another change.
    world.annotate(annotation::APPROVE, &id);
    world.edit_functions("fn f() {}");
    world.settle();
    assert_ne!(world.approval().change_id, id);
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
}

#[test]
fn a9_another_edit_ends_the_approval_of_the_one_before() {
    let mut world = asked();
    world.approve_by_annotation();
    world.edit_functions("fn g() {}");
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
    assert_eq!(world.engine.udf_rust, "");
}

#[test]
fn a3_functions_that_were_approved_stay_approved_through_a_stop_and_a_crash() {
    let mut world = asked();
    world.approve_by_annotation();
    world.settle_briefly();
    world.engine.stop_by_hand();
    world.restart_operator();
    world.settle();
    world.settle();
    assert_eq!(world.engine.udf_rust, "fn f() {}");
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    assert_eq!(world.reported("OutsideApproval"), 0);
}

#[test]
fn a9_a_pipeline_that_is_stopped_is_asked_about_as_well() {
    let mut world = World::running("A");
    world.spec(|spec| spec.desired_state = crate::crd::DesiredState::Stopped);
    world.settle();
    world.edit_functions("fn f() {}");
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
    assert_eq!(world.engine.udf_rust, "");
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.engine.udf_rust, "fn f() {}");
    world.spec(|spec| spec.desired_state = crate::crd::DesiredState::Running);
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    assert_eq!(world.reported("OutsideApproval"), 0);
}

#[test]
fn a9_what_was_refused_is_not_started_while_other_functions_are_asked_about() {
    let mut world = World::waiting("A", "B");
    let refused = world.approval().change_id;
    world.annotate(annotation::REJECT, &refused);
    world.settle();
    let starts = |world: &World| {
        let starts = world.acts.iter();
        starts.filter(|act| matches!(act, Act::Start(_))).count()
    };
    let before = starts(&world);
    world.edit("A");
    world.edit_functions("+f");
    world.settle();
    let asked = world.approval();
    assert_eq!(
        (asked.gate, asked.state),
        (Gate::Sluice, ApprovalState::Awaiting)
    );
    assert_eq!(starts(&world), before);
    let (ready, reason, _) = world.condition("Ready").unwrap();
    assert_eq!((&*ready, &*reason), ("False", "AwaitingApproval"));
    world.annotate(annotation::APPROVE, &asked.change_id);
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.engine.given(), "A+f");
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
}

#[test]
fn a9_the_operator_may_crash_after_any_write_and_any_call() {
    for effects in 0..40 {
        let mut world = asked();
        world.approve_by_annotation();
        let mut left = effects;
        for _ in 0..60 {
            let before = world.acts.len() + world.phases.len();
            world.reconcile_until(left.clamp(1, 3));
            left = left.saturating_sub(1);
            if left == 0 || world.acts.len() + world.phases.len() == before {
                world.restart_operator();
            }
            world.engine.tick();
            world.pass(1);
        }
        world.settle();
        assert_eq!(world.engine.udf_rust, "fn f() {}", "{effects}");
        assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
        assert_eq!(world.reported("OutsideApproval"), 0);
    }
}

#[test]
fn a9_the_first_functions_of_a_pipeline_are_not_asked_about() {
    let mut world = World::new("A");
    world.edit_functions("fn f() {}");
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert!(world.status().approval.is_none());
}

#[test]
fn a5_no_policy_overrules_a_rejection_and_the_old_program_goes_on() {
    let mut world = asked();
    let id = world.approval().change_id;
    world.annotate(annotation::REJECT, &id);
    world.settle();
    world.spec(|spec| spec.bootstrap_policy = BootstrapPolicy::Allow);
    world.settle();
    assert_eq!(stops(&world), 0);
    assert!(world.engine.is_up());
    assert_eq!(world.approval_state(), Some(ApprovalState::Rejected));
}

#[test]
fn a5_what_was_rejected_stays_so_under_allow_also_after_another_change_had_its_turn() {
    for edit in [World::edit_functions, World::edit] {
        let mut world = World::running("A");
        edit(&mut world, "B");
        world.settle();
        let id = world.approval().change_id;
        world.annotate(annotation::REJECT, &id);
        world.settle();
        edit(&mut world, "C");
        world.settle();
        edit(&mut world, "B");
        world.spec(|spec| spec.bootstrap_policy = BootstrapPolicy::Allow);
        world.settle();
        assert_eq!(world.approval().change_id, id);
        assert_eq!(world.approval_state(), Some(ApprovalState::Rejected));
        assert!(world.engine.bootstraps.is_empty());
        // Who says so by its name gets it.
        world.annotate(annotation::RETRY, &id);
        world.settle();
        assert_eq!(world.phase(), "Running");
        assert_eq!(world.engine.bootstraps.len(), 1);
    }
}

#[test]
fn a9_what_was_brought_under_allow_is_asked_about_if_it_starts_under_another_policy() {
    let mut world = World::running("A");
    world.spec(|spec| {
        spec.desired_state = DesiredState::Stopped;
        spec.bootstrap_policy = BootstrapPolicy::Allow;
    });
    world.settle();
    world.edit_functions("+f");
    world.settle();
    assert_eq!(world.engine.given(), "A+f");
    world.spec(|spec| {
        spec.desired_state = DesiredState::Running;
        spec.bootstrap_policy = BootstrapPolicy::AwaitApproval;
    });
    world.settle();
    assert!(!world.engine.is_up());
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
    let (ready, reason, _) = world.condition("Ready").unwrap();
    assert_eq!((&*ready, &*reason), ("False", "AwaitingApproval"));
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    assert_eq!(world.reported("OutsideApproval"), 0);
}

#[test]
fn a9_functions_that_somebody_put_into_the_engine_are_not_started_unasked() {
    let mut world = asked();
    world.edit_functions_by_hand("fn f() {}");
    world.settle();
    assert!(!world.engine.is_up());
    assert!(world.engine.bootstraps.is_empty());
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    assert_eq!(world.reported("OutsideApproval"), 0);
}

#[test]
fn a7_functions_that_somebody_started_at_the_engine_are_told_without_blaming_an_approval() {
    let mut world = asked();
    world.edit_functions_by_hand("fn f() {}");
    world.engine.start_by_hand("await_approval");
    world.settle();
    // The engine has never asked, so nobody can have approved it there.
    assert_eq!(world.reported("OutsideApproval"), 0);
    assert_eq!(world.reported("UnaskedChange"), 1);
    assert_eq!(world.approval().decision.unwrap().via, Door::Outside);
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
}

#[test]
fn a9_what_somebody_started_at_the_engine_holds_no_later_change_up() {
    let mut world = World::running("A");
    world.edit_functions_by_hand("+x");
    world.engine.start_by_hand("await_approval");
    for _ in 0..5 {
        world.engine.tick();
        world.pass(1);
    }
    world.edit_functions("+f");
    world.settle();
    assert_eq!(world.reported("UnaskedChange"), 1);
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
    assert_eq!(world.engine.given(), "A+x");
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.engine.given(), "A+f");
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
}

#[test]
fn a9_functions_are_asked_about_also_of_a_pipeline_that_was_taken_over() {
    for stopped in [true, false] {
        let mut world = World::new("A");
        world.engine.exists = true;
        world.engine.version = 1;
        world.engine.sql = "A".into();
        world.engine.tick();
        world.engine.write_checkpoint();
        world.annotate(annotation::ADOPT, "orders");
        if stopped {
            world.spec(|spec| spec.desired_state = DesiredState::Stopped);
            world.settle();
        } else {
            world.engine.start_by_hand("await_approval");
            for _ in 0..5 {
                world.engine.tick();
            }
        }
        world.edit_functions("+f");
        world.settle();
        world.spec(|spec| spec.desired_state = DesiredState::Running);
        world.settle();
        assert_eq!(world.engine.given(), "A", "{stopped}");
        // What the checkpoint of a stopped one was made from, nobody knows: not even the old program is started from it.
        assert_eq!(world.engine.is_up(), !stopped);
        let approval = world.approval();
        assert_eq!(
            (approval.gate, approval.state),
            (Gate::Sluice, ApprovalState::Awaiting)
        );
        world.approve_by_annotation();
        world.settle();
        assert_eq!(world.engine.given(), "A+f");
        assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    }
}

#[test]
fn a9_functions_that_are_taken_back_before_they_are_kept_stop_nothing() {
    let mut world = asked();
    world.approve_by_annotation();
    while world.engine.udf_rust.is_empty() {
        world.reconcile();
        world.engine.tick();
    }
    world.engine.loses_checkpoints = 1;
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Applied));
    let before = stops(&world);
    world.edit_functions("");
    world.settle();
    assert_eq!(stops(&world), before);
    let (ready, _, message) = world.condition("Ready").unwrap();
    assert_eq!(ready, "True");
    assert!(message.contains("until a checkpoint"), "{message}");
}

/// It would stay at the engine for as long as nobody does anything about the change.
#[test]
fn what_is_decided_against_is_not_left_compiled_at_the_engine() {
    let rejected = |world: &mut World| {
        let id = world.approval().change_id;
        world.annotate(annotation::REJECT, &id);
    };
    let refused = |world: &mut World| {
        world.spec(|spec| spec.bootstrap_policy = BootstrapPolicy::Reject);
    };
    for decide in [&rejected as &dyn Fn(&mut World), &refused] {
        let mut world = asked();
        assert!(world.engine.build.is_some(), "it waits for its approval");
        decide(&mut world);
        world.settle();
        assert_eq!(world.engine.build, None);
        assert_eq!(world.status().build, None);
        let acts = world.acts.len();
        world.settle();
        assert_eq!(world.acts[acts..], [], "nor is it compiled again");
        assert_eq!(stops(&world), 0);
    }
    // One that is refused from the start isn't compiled at all.
    let mut world = World::running("A");
    refused(&mut world);
    world.settle();
    world.edit_functions("fn f() {}");
    world.settle();
    let compiled = |act: &Act| matches!(act, Act::Build { .. });
    assert!(!world.acts.iter().any(compiled));
    // Asked about anew, it is.
    let mut world = asked();
    rejected(&mut world);
    world.settle();
    let id = world.approval().change_id;
    world.annotate(annotation::RETRY, &id);
    world.settle();
    assert!(world.engine.build.is_some());
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
}

/// It was approved as what drops no input, and only a checkpoint makes that true. How the stop went wrong doesn't matter.
#[test]
fn a18_a_change_that_was_to_drop_no_input_is_not_made_after_a_stop_without_a_checkpoint() {
    type Stop = fn(&mut World);
    let ways: [(&str, Stop); 5] = [
        ("no checkpoint is written, and nobody says so", |world| {
            world.engine.loses_checkpoints = 1;
        }),
        ("it is stopped at once at the engine", |world| {
            world.engine.stop_by_hand();
        }),
        ("it fails", |world| world.engine.fail("Panic")),
        (
            "its stop never arrives, a checkpoint comes by itself, and it is stopped at once",
            |world| {
                world.reconcile_until(1);
                world.engine.fault = Some(Fault::NotTaken);
                world.reconcile();
                world.engine.tick();
                world.engine.write_checkpoint();
                world.engine.tick();
                world.engine.stop_by_hand();
            },
        ),
        ("its stop is cut short at the engine", |world| {
            let asked = stops(world);
            world.engine.loses_checkpoints = 1;
            while stops(world) == asked {
                world.reconcile();
            }
            world.engine.stop_by_hand();
        }),
    ];
    for (way, stop) in ways {
        let mut world = asked();
        assert!(world.approval().at_stake.unwrap().drops_no_input());
        let first = world.approve_by_annotation();
        stop(&mut world);
        world.settle();
        assert_eq!(world.engine.udf_rust, "", "{way}");
        assert_eq!(world.reported("StoppedWithoutCheckpoint"), 1, "{way}");
        let approval = world.approval();
        assert_ne!(approval.change_id, first, "{way}");
        assert_eq!(approval.state, ApprovalState::Awaiting, "{way}");
        assert!(!approval.at_stake.unwrap().drops_no_input(), "{way}");
        assert!(world.engine.is_up(), "{way}: the old program goes on");
        // Whoever says yes to that has it.
        world.approve_by_annotation();
        world.settle();
        assert_ne!(world.engine.udf_rust, "", "{way}");
        assert_eq!(world.phase(), "Running", "{way}");
    }
}

/// What the engine shows may be older than the call that it has taken.
#[test]
fn an_edit_right_after_a_stop_leaves_that_to_be_the_operators_own() {
    let mut world = asked();
    world.approve_by_annotation();
    let asked = stops(&world);
    while stops(&world) == asked {
        world.reconcile_until(1);
    }
    let shown = world.engine.deployment.as_mut().map(|it| &mut it.status);
    let status = shown.map(|status| std::mem::replace(status, "Running"));
    world.edit_functions("fn another() {}");
    world.reconcile();
    if let (Some(status), Some(deployment)) = (status, &mut world.engine.deployment) {
        deployment.status = status;
    }
    world.settle();
    assert_eq!(world.reported("OutsideStop"), 0);
    assert_eq!(world.reported("StoppedWithoutCheckpoint"), 0);
    assert!(world.approval().at_stake.unwrap().drops_no_input());
}

#[test]
fn a18_a_start_that_is_ended_before_the_gate_drops_nothing() {
    let mut world = World::running("A");
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    world.engine.starts_hang = true;
    world.spec(|spec| spec.desired_state = DesiredState::Running);
    world.edit_functions("fn f() {}");
    world.settle();
    let id = world.approve_by_annotation();
    assert!(world.approval().at_stake.unwrap().drops_no_input());
    world.settle();
    world.engine.starts_hang = false;
    world.settle();
    assert_eq!(world.approval().change_id, id);
    assert_eq!(world.reported("StoppedWithoutCheckpoint"), 0);
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
}

/// While no operator looks, somebody starts what is stopped, and stops it again at once.
#[test]
fn a18_a_run_that_nobody_saw_keeps_nothing() {
    let mut world = World::running("A");
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    world.edit_functions("fn f() {}");
    world.settle();
    let id = world.approve_by_annotation();
    assert!(world.approval().at_stake.unwrap().drops_no_input());
    world.engine.start_by_hand("await_approval");
    for _ in 0..4 {
        world.engine.tick();
    }
    assert!(world.engine.is_up());
    world.engine.stop_by_hand();
    world.spec(|spec| spec.desired_state = DesiredState::Running);
    world.settle();
    assert_eq!(world.reported("UnseenRun"), 1);
    assert_ne!(world.approval().change_id, id);
    assert!(!world.approval().at_stake.unwrap().drops_no_input());
}

/// The manager shows the checkpoint that settled the first program only once its stop is cut short.
#[test]
fn a18_a_checkpoint_that_shows_late_is_none_that_the_stop_wrote() {
    let mut world = asked();
    world.approve_by_annotation();
    // The manager's list has never shown it.
    world.engine.hidden_checkpoints = world.engine.checkpoints.len();
    let mut status = world.status();
    if let Some(engine) = &mut status.engine {
        engine.had_checkpoint = false;
    }
    world.store(status);
    let before = stops(&world);
    world.engine.loses_checkpoints = 1;
    while stops(&world) == before {
        world.reconcile_until(1);
    }
    world.engine.stop_by_hand();
    world.engine.hidden_checkpoints = 0;
    world.settle();
    assert_eq!(world.reported("StoppedWithoutCheckpoint"), 1);
    assert_eq!(world.engine.udf_rust, "");
}

/// Whoever makes it starts and stops it as he likes.
#[test]
fn of_a_pipeline_that_is_made_elsewhere_no_run_is_told_that_nobody_saw() {
    let mut world = World::running("A");
    world.make_again();
    world.engine.tags.clear();
    world.spec(|spec| spec.program = None);
    world.settle();
    world.engine.stop_by_hand();
    world.settle();
    world.engine.start_by_hand("await_approval");
    for _ in 0..4 {
        world.engine.tick();
    }
    world.engine.stop_by_hand();
    world.settle();
    assert_eq!(world.reported("UnseenRun"), 0);
    // It is known all the same.
    let run = world.status().run.unwrap();
    assert_eq!(run.stop, Some(StopKind::Outside));
    assert!(!run.resumes_all);
}
