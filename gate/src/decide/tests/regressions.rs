//! What once went wrong, told as stories.

use super::model::{Fault, World};
use crate::crd::{
    ApprovalState, BootstrapOptions, BootstrapPolicy, DesiredState, Door, StopKind, annotation,
};
use crate::decide::{Act, Step};

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

#[test]
fn a5_the_command_that_asks_anew_works_however_often_it_is_needed() {
    let mut world = World::waiting("A", "B");
    for other in ["C", "D"] {
        let id = world.approval().change_id;
        world.annotate(annotation::REJECT, &id);
        world.settle();
        assert_eq!(world.phase(), "Rejected");
        assert!(
            world
                .condition("Ready")
                .unwrap()
                .2
                .contains(&format!("retry={id}"))
        );
        world.annotate(annotation::RETRY, &id);
        world.settle();
        assert_eq!(world.phase(), "AwaitingApproval");
        assert_ne!(world.approval().change_id, id);
        world.edit(other);
        world.settle();
        world.edit("B");
        world.settle();
        assert_eq!(world.phase(), "AwaitingApproval", "after {other}");
    }
}

/// Editors can make as many changes as they like. None of them gets an old approval to count, or a
/// rejected change through under its old id.
#[test]
fn a2_a5_no_number_of_changes_brings_an_old_id_back() {
    for rejected in [false, true] {
        let mut world = World::waiting("A", "B");
        let id = world.approval().change_id;
        if rejected {
            world.annotate(annotation::REJECT, &id);
            world.settle();
        }
        for number in 0..130 {
            world.edit(&format!("E{number}"));
            world.settle_briefly();
        }
        assert!(world.status().turns.len() <= 100);
        world.pipeline.metadata.annotations = None;
        world.annotate(annotation::APPROVE, &id);
        world.edit("B");
        world.settle();
        assert_ne!(world.approval().change_id, id);
        assert_eq!(world.approve_calls(), 0);
    }
}

#[test]
fn a2_an_approval_of_a_change_to_the_old_program_never_counts_for_one_to_the_new() {
    let old_to_d = World::waiting("A", "D").approval().change_id;
    let mut world = World::waiting("A", "C");
    world.approve_by_annotation();
    while !world.engine.is_up() {
        world.reconcile();
        world.engine.tick();
        world.pass(1);
    }
    // The engine writes a checkpoint by itself, and the pipeline fails before anybody has seen it.
    world.engine.write_checkpoint();
    world.engine.fail("Panic");
    world.edit("D");
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
    world.annotate(annotation::APPROVE, &old_to_d);
    world.settle();
    assert_ne!(world.approval().change_id, old_to_d);
    assert_eq!(world.approve_calls(), 1, "only C was approved");
}

#[test]
fn a6_a_bootstrap_that_fails_in_whatever_way_is_not_begun_again_by_itself() {
    for code in ["InitializationError", "RuntimeError.WorkerPanic"] {
        let mut world = World::waiting("A", "B");
        world.approve_by_annotation();
        while !world.engine.has_left_the_gate() {
            world.reconcile();
            world.engine.tick();
            world.pass(1);
        }
        world.engine.fail(code);
        for _ in 0..2_000 {
            world.reconcile();
            world.engine.tick();
            world.pass(1);
        }
        assert_eq!(
            world.approval_state(),
            Some(ApprovalState::ApplyFailed),
            "{code}"
        );
        assert_eq!(world.approve_calls(), 1);
        assert_eq!(world.condition("Ready").unwrap().1, "ApplyFailed");
    }
}

#[test]
fn a7_an_approval_at_the_engine_is_noticed_although_the_change_was_made_while_it_was_stopped() {
    let mut world = World::running("A");
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    world.edit("B");
    world.settle();
    world.spec(|spec| spec.desired_state = DesiredState::Running);
    for _ in 0..40 {
        world.reconcile();
        world.engine.tick();
        world.engine.approve();
        world.pass(1);
    }
    assert_eq!(world.engine.bootstraps.len(), 1);
    assert_eq!(world.reported("OutsideApproval"), 1);
    let history = world.status().history;
    assert_eq!(history[0].decision.as_ref().unwrap().via, Door::Outside);
}

/// Somebody approves at the engine, and a moment later the program is edited. The manager still says
/// that the pipeline waits.
#[test]
fn a7_a17_an_edit_right_after_an_approval_at_the_engine_drops_no_input() {
    let mut world = World::waiting("A", "B");
    world.engine.polls_late = true;
    world.engine.approve();
    world.engine.tick();
    world.engine.tick();
    assert!(world.engine.is_up());
    world.edit("C");
    world.reconcile();
    world.settle();
    assert_eq!(world.engine.dropped_input, 0);
    assert_eq!(world.reported("OutsideApproval"), 1);
    assert_eq!(world.phase(), "AwaitingApproval");
    assert_eq!(world.engine.base(), Some("B"));
}

#[test]
fn a17_an_edit_right_after_sluices_own_approval_drops_no_input() {
    let mut world = World::waiting("A", "B");
    world.engine.polls_late = true;
    world.approve_by_annotation();
    world.reconcile();
    world.engine.tick();
    world.engine.tick();
    assert!(world.engine.is_up());
    world.edit("C");
    world.settle();
    assert_eq!((world.engine.dropped_input, world.approve_calls()), (0, 1));
    assert_eq!(world.engine.base(), Some("B"));
    assert_eq!(world.phase(), "AwaitingApproval");
}

#[test]
fn a6_after_a_crash_between_call_and_answer_a_stale_answer_makes_no_second_call() {
    let mut world = World::waiting("A", "B");
    world.engine.polls_late = true;
    world.approve_by_annotation();
    // The decision and that it is told; then the call.
    world.reconcile_until(2);
    assert_eq!(world.approve_calls(), 1);
    world.restart_operator();
    world.engine.tick();
    world.reconcile();
    assert_eq!(world.approve_calls(), 1);
    world.settle();
    assert_eq!(world.approve_calls(), 1);
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    assert_eq!(world.approval().calls, 1);
}

#[test]
fn a7_a_start_with_other_options_is_noticed_and_put_right() {
    let mut world = World::waiting("A", "B");
    world.engine.start(
        "await_approval",
        BootstrapOptions {
            silent: false,
            concurrent: true,
        },
    );
    world.settle();
    assert_eq!(world.reported("OutsideStart"), 1);
    assert_eq!(world.phase(), "AwaitingApproval");
    let deployment = world.engine.deployment.clone().unwrap();
    assert_eq!(deployment.options, BootstrapOptions::default());
}

#[test]
fn a4_an_approval_of_a_rejected_change_is_told_to_be_without_effect() {
    let mut world = World::waiting("A", "B");
    let id = world.approval().change_id;
    world.annotate(annotation::REJECT, &id);
    world.settle();
    assert_eq!(world.reported("StaleApproval"), 0);
    world.annotate(annotation::APPROVE, &id);
    world.settle();
    assert_eq!(world.reported("StaleApproval"), 1);
    assert_eq!(world.approve_calls(), 0);
}

#[test]
fn a7_the_policy_that_an_engine_without_checkpoints_is_started_with_is_no_foreign_one() {
    let mut world = World::new("A");
    world.engine.edition = "Open source";
    world.pipeline.spec.bootstrap_policy = BootstrapPolicy::Allow;
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.reported("OutsideStart"), 0);
}

/// What the engine says of a change depends on what it starts from.
#[test]
fn a_refusal_of_a_change_from_one_program_does_not_hold_for_one_from_another() {
    let mut world = World::running("A");
    world.edit("broken from A");
    world.settle();
    assert_eq!(world.condition("Ready").unwrap().1, "CompileFailed");
    world.edit("B");
    world.settle();
    world.approve_by_annotation();
    world.settle();
    let asked = count(&world, |act| matches!(act, Act::Preview(_)));
    world.edit("broken from A");
    world.settle();
    assert_eq!(
        count(&world, |act| matches!(act, Act::Preview(_))),
        asked + 1
    );
}

/// The process comes back and asks again, right after it was seen past the gate. Nothing else changes, so
/// nobody but the clock wakes the operator.
#[test]
fn a3_an_engine_that_asks_again_at_once_is_looked_at_again_by_the_clock() {
    let mut world = World::waiting("A", "B");
    world.approve_by_annotation();
    world.reconcile();
    world.engine.tick();
    world.reconcile();
    assert_eq!(world.phase(), "Bootstrapping");
    world.engine.kill_process(true);
    world.engine.tick();
    let plan = world.plan(None, false);
    assert!(plan.requeue.is_some(), "{plan:?}");
    world.settle();
    assert_eq!(world.approve_calls(), 2);
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
}

fn workers(number: i64) -> Option<serde_json::Map<String, serde_json::Value>> {
    let config = serde_json::json!({"workers": number});
    config.as_object().cloned()
}

/// Each write wakes the operator: what writes one thing and then another never comes to rest.
#[test]
fn a_setting_that_cannot_change_is_asked_about_once_and_then_left_alone() {
    let mut world = World::new("A");
    world.pipeline.spec.runtime_config = workers(2);
    world.settle();
    world.spec(|spec| spec.runtime_config = workers(8));
    world.reconcile();
    assert_eq!(world.condition("Ready").unwrap().1, "ImmutableSetting");
    for full in [false, true] {
        assert_eq!(world.plan(None, full).step, Step::Wait);
    }
    world.spec(|spec| spec.clear_storage = Some("1".into()));
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.engine.runtime_config, workers(8));
}

#[test]
fn what_somebody_pauses_at_the_engine_is_resumed_a_few_times_and_then_left_alone() {
    let mut world = World::running("A");
    for time in 1..=6 {
        let deployment = world.engine.deployment.as_mut().unwrap();
        deployment.paused = true;
        deployment.status = "Paused";
        world.settle();
        assert_eq!(world.reported("OutsideSwitch"), time.min(4));
    }
    assert_eq!(world.condition("Ready").unwrap().1, "FoughtOver");
    // What people do by the spec is no interference.
    let mut world = World::running("A");
    for _ in 0..6 {
        for desired in [DesiredState::Paused, DesiredState::Running] {
            world.spec(|spec| spec.desired_state = desired);
            world.settle();
        }
    }
    assert_eq!(world.reported("OutsideSwitch"), 0);
    assert_eq!(world.condition("Ready").unwrap().0, "True");
}

#[test]
fn a_storage_that_somebody_cleared_is_noticed_and_ends_what_was_approved_from_it() {
    let mut world = World::waiting("A", "B");
    let id = world.approval().change_id;
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    world.engine.checkpoints.clear();
    world.engine.cleared = true;
    world.settle();
    assert_eq!(world.reported("OutsideClear"), 1);
    world.annotate(annotation::APPROVE, &id);
    world.spec(|spec| spec.desired_state = DesiredState::Running);
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.engine.starts),
        ("AwaitingApproval", 2),
        "it counts for a change from what is gone"
    );
    world.approve_by_annotation();
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.approve_calls()),
        ("Running", 0)
    );
    world.edit("A");
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
}

/// What is left in whichever state: another look finds nothing to record, whether it is a brief one or
/// a whole one.
fn rests(world: &mut World) {
    for full in [false, true] {
        let step = world.plan(None, full).step;
        assert!(!matches!(step, Step::Record(_)), "{step:?}");
    }
    let before = world.status();
    for _ in 0..5 {
        world.reconcile();
    }
    assert_eq!(world.status(), before);
}

#[test]
fn while_a_program_is_compiled_beforehand_nothing_is_written() {
    let mut world = World::running("A");
    world.engine.compiles_for_long = true;
    world.edit("B");
    world.settle();
    assert_eq!(world.condition("Ready").unwrap().1, "CompilingBeforehand");
    rests(&mut world);
    world.engine.compiles_for_long = false;
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
}

#[test]
fn a20_a_name_that_others_have_taken_at_the_engine_is_left_alone_and_another_is_compiled_under() {
    let mut world = World::running("A");
    world.engine.build_names_taken = 2;
    world.edit("B");
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
    let mut names = vec![];
    for act in &world.acts {
        match act {
            Act::Build { name, .. } => names.push(name.clone()),
            Act::DropBuild { name, id } => {
                assert_eq!(*id, Some(format!("id of {name}")), "that alone is removed");
                assert_eq!(names.last(), Some(name));
            }
            _ => {}
        }
    }
    assert_eq!(names.len(), 3);
    assert!(names.iter().all(|name| super::super::is_build(name)));
    let differ: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(differ.len(), 3);
    assert_eq!(world.reported("BuildNameTaken"), 0);
}

#[test]
fn a20_a_program_all_of_whose_names_others_have_taken_is_applied_uncompiled_and_that_is_said() {
    let mut world = World::running("A");
    world.engine.build_names_taken = usize::MAX;
    world.edit("B");
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
    assert_eq!(world.reported("BuildNameTaken"), 1);
    let built = count(&world, |act| matches!(act, Act::Build { .. }));
    let dropped = count(&world, |act| matches!(act, Act::DropBuild { .. }));
    assert_eq!((built, dropped), (3, 0));
    rests(&mut world);
    // The next one is tried anew.
    world.engine.build_names_taken = 0;
    world.edit("C");
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
    assert_eq!(world.reported("BuildNameTaken"), 1);
}

#[test]
fn a20_what_others_put_in_the_place_of_a_compilation_is_no_answer_to_it() {
    let mut world = World::running("A");
    world.engine.compiles_for_long = true;
    world.edit("B");
    world.settle();
    let build = world.status().build.expect("it compiles");
    assert_eq!(build.outcome, None);
    // Somebody has removed it, and another program of that name doesn't compile.
    world.engine.foreign_build = true;
    world.engine.build = Some((build.pipeline.clone().unwrap(), "bad rust".into(), true));
    world.settle();
    let beside = world.status().build.expect("it compiles");
    assert_ne!(beside.pipeline, build.pipeline);
    world.engine.compiles_for_long = false;
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
    let looked = count(&world, |act| matches!(act, Act::LookAtBuild { .. }));
    assert_eq!(looked, 0);
}

#[test]
fn while_an_update_would_lose_the_state_nothing_is_written() {
    let mut world = World::new("A");
    world.engine.edition = "Open source";
    world.settle();
    world.edit("B");
    world.settle();
    assert_eq!(world.condition("Ready").unwrap().1, "StateLossNotAllowed");
    rests(&mut world);
}

#[test]
fn a_retry_of_an_update_that_the_engine_refuses_is_one_try_and_the_old_content_goes_on() {
    let mut world = World::running("A");
    world.annotate(annotation::RETRY, "left over from before");
    world.engine.refuses_updates = Some("InvalidRuntimeConfig");
    let config = serde_json::json!({"min_batch_size_records": 7});
    world.spec(|spec| spec.runtime_config = config.as_object().cloned());
    world.settle();
    assert_eq!(world.condition("Ready").unwrap().1, "EngineRefused");
    assert!(world.engine.is_up(), "the old content goes on");
    let tried = count(&world, |act| matches!(act, Act::Update(_)));
    world.annotate(annotation::RETRY, "once more");
    world.settle();
    assert!(world.engine.is_up());
    assert_eq!(
        count(&world, |act| matches!(act, Act::Update(_))),
        tried + 1
    );
    rests(&mut world);
}

#[test]
fn a_program_that_is_refused_in_the_place_of_one_that_waits_starts_nothing_over_and_over() {
    let mut world = World::waiting("A", "B");
    world.engine.refuses_updates = Some("InvalidRuntimeConfig");
    world.edit("C");
    world.settle();
    let (ready, reason, message) = world.condition("Ready").unwrap();
    assert_eq!((&*ready, &*reason), ("False", "EngineRefused"));
    assert!(message.contains("nothing runs"), "{message}");
    assert_eq!(world.phase(), "Stopped");
    let starts = count(&world, |act| matches!(act, Act::Start(_)));
    rests(&mut world);
    assert_eq!(count(&world, |act| matches!(act, Act::Start(_))), starts);

    world.engine.refuses_updates = None;
    world.edit("A");
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.engine.sql.as_str()),
        ("Running", "A")
    );
}

/// Found on a real API server: somebody started the pipeline between the look and the call.
#[test]
fn an_update_that_came_while_somebody_started_the_pipeline_is_no_refusal_of_what_it_brings() {
    let mut world = World::running("A");
    world.engine.refuses_updates = Some("UpdateRestrictedToStopped");
    world.edit("B");
    world.settle();
    assert_eq!(world.status().refusal, None);
    assert_eq!(world.condition("Ready").unwrap().1, "Updating");
    let tried = count(&world, |act| matches!(act, Act::Update(_)));
    assert!(
        tried <= 6,
        "it is tried every 10 s, not at each look: {tried}"
    );
    world.engine.refuses_updates = None;
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
}

/// The same manifest is applied anew, as another object, by a tool that moves or restores it.
#[test]
fn what_was_asked_of_an_older_object_is_not_done_to_the_pipeline_that_a_new_one_takes_over() {
    let mut world = World::running("A");
    world.spec(|spec| spec.clear_storage = Some("once".into()));
    world.settle();
    assert_eq!(count(&world, |act| matches!(act, Act::Clear)), 1);
    world.pipeline.metadata.uid = Some("uid-2".into());
    world.pipeline.status = None;
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(count(&world, |act| matches!(act, Act::Clear)), 1);
    assert_eq!(count(&world, |act| matches!(act, Act::Stop { .. })), 1);
}

#[test]
fn a19_a_pipeline_that_another_operator_has_marked_is_not_taken_back_by_itself() {
    let mut world = World::running("A");
    let own = world.engine.tags.clone();
    world.engine.tags = vec!["sluice:somebody-else".into()];
    world.settle();
    assert_eq!(world.condition("Ready").unwrap().1, "NameTaken");
    assert_eq!(world.engine.tags, ["sluice:somebody-else"]);
    rests(&mut world);
    // Nobody knows whose mark that is: an engine's admin has to say that it doesn't count.
    world.annotate(annotation::ADOPT, "orders");
    world.settle();
    assert_eq!(world.engine.tags, ["sluice:somebody-else"]);
    world.mark_is_released = true;
    // Somebody decides: once for each time that it is said.
    world.annotate(annotation::ADOPT, "orders");
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert!(world.engine.tags.contains(&own[0]));
    world.engine.tags = vec!["sluice:somebody-else".into()];
    world.settle();
    assert_eq!(world.condition("Ready").unwrap().1, "NameTaken");
    world.pipeline.metadata.annotations = None;
    world.settle();
    world.annotate(annotation::ADOPT, "orders");
    world.settle();
    assert!(world.engine.tags.contains(&own[0]));
}

#[test]
fn a_guest_whose_pipeline_carries_the_mark_of_one_that_is_gone_is_told_how_to_remove_it() {
    let mut world = World::running("A");
    world.pipeline.metadata.uid = Some("uid-2".into());
    world.pipeline.status = None;
    world.pipeline.spec.program = None;
    world.settle();
    assert_eq!(world.condition("Ready").unwrap().1, "NameTaken");
    assert!(
        world
            .condition("Ready")
            .unwrap()
            .2
            .contains("sluice.dev/adopt=shop/orders")
    );
    world.annotate(annotation::ADOPT, "shop/orders");
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(crate::mark::uids(&world.engine.tags).next(), None);
}

/// A stop was written down and never made, since the edit that it was for was taken back. Much later
/// somebody else stops the pipeline, at once.
#[test]
fn a18_a_stop_that_was_never_made_says_nothing_of_one_by_somebody_else() {
    let mut world = World::running("A");
    let status = world.pipeline.status.as_mut().unwrap();
    status.run.as_mut().unwrap().stop = Some(StopKind::Checkpoint);
    world.settle();
    assert_eq!(world.status().run.unwrap().stop, None);
    world.engine.stop_by_hand();
    world.settle();
    assert_eq!(world.reported("OutsideStop"), 1);
    assert!(!world.status().run.unwrap().resumes_all);
}

/// The engine's manager shows a pipeline as stopped and refuses an update because it isn't.
#[test]
fn an_update_that_is_refused_because_of_what_the_engine_does_not_show_is_sent_once_in_ten_seconds()
{
    let mut world = World::running("A");
    world.engine.refuses_updates = Some("UpdateRestrictedToStopped");
    world.edit("B");
    let updates = |world: &World| count(world, |act| matches!(act, Act::Update(_)));
    for _ in 0..60 {
        world.reconcile();
        world.engine.tick();
        world.pass(1);
    }
    assert!((3..=6).contains(&updates(&world)), "{}", updates(&world));
    world.engine.refuses_updates = None;
    world.settle();
    assert_eq!(world.engine.sql, "B");
}

#[test]
fn an_update_that_the_engine_refuses_while_nothing_runs_is_not_sent_again() {
    let mut world = World::running("A");
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    world.engine.refuses_updates = Some("Broken");
    world.edit_functions("+f");
    world.settle();
    world.approve_by_annotation();
    world.settle();
    assert_eq!(count(&world, |act| matches!(act, Act::Update(_))), 1);
    assert!(world.status().refusal.is_some());
}

#[test]
fn a3_an_approval_that_the_engine_refuses_to_hear_is_told_again_later() {
    let mut world = World::waiting("A", "B");
    world.engine.fault = Some(Fault::Refused);
    world.approve_by_annotation();
    world.reconcile();
    assert_eq!(world.approve_calls(), 1);
    world.settle();
    assert_eq!((world.approve_calls(), world.approval().calls), (2, 2));
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
}
