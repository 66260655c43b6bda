//! What is approved as a change that drops no input (rule A18): what others do around the stop for it, and what is then told.

use serde_json::json;

use super::model::{Fault, World};
use crate::crd::{ApprovalState, AtStake, DesiredState, HeldSetting, HeldSettings, annotation};
use crate::decide::{CallOutcome, Step};

fn drops_none(world: &World) -> bool {
    let stake = world.approval().at_stake;
    stake.is_some_and(|stake: AtStake| stake.drops_no_input())
}

/// A change of settings waits at Sluice's gate while the old program runs.
fn waits_at_sluice_gate() -> World {
    let mut world = World::new("A");
    world.set(json!({"env": {"A": "1"}}));
    world.settle();
    world.set(json!({"env": {"A": "2"}}));
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
    assert!(drops_none(&world));
    world
}

/// Somebody starts the pipeline at the engine, lets it run, and stops it at once.
fn run_by_hand(world: &mut World) {
    world.engine.start_by_hand("allow");
    for _ in 0..4 {
        world.engine.tick();
    }
    world.engine.stop_by_hand();
    world.engine.tick();
}

#[test]
fn what_others_bring_there_that_is_asked_about_is_asked_about_anew() {
    let mut world = waits_at_sluice_gate();
    let id = world.approval().change_id;
    world.engine.stop_by_hand();
    world.engine.set_by_hand(&json!({"env": {"A": "2"}}));
    world.settle();
    assert_ne!(world.approval().change_id, id);
    assert!(!drops_none(&world));
    world.annotate(annotation::APPROVE, &id);
    let starts = world.engine.starts;
    world.settle();
    assert_eq!(
        world.engine.starts, starts,
        "that was an answer to another question"
    );
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.phase(), "Running");
}

#[test]
fn what_an_earlier_stop_has_written_proves_nothing_of_a_later_one() {
    let mut world = waits_at_sluice_gate();
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    let id = world.approval().change_id;
    assert!(drops_none(&world), "it was stopped with a checkpoint");
    // First seen when it is up.
    world.engine.start_by_hand("allow");
    for _ in 0..4 {
        world.engine.tick();
    }
    // The stop that Sluice asks for is cut short.
    world.engine.loses_checkpoints = 1;
    world.reconcile();
    world.engine.stop_by_hand();
    world.settle();
    assert!(world.approval().change_id != id && !drops_none(&world));
    world.spec(|spec| spec.desired_state = DesiredState::Running);
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.phase(), "Running");
}

/// The manager's list is older than what the pipeline has written.
#[test]
fn a_checkpoint_from_before_the_stop_that_shows_after_it_is_not_the_stops() {
    let mut world = waits_at_sluice_gate();
    let id = world.approve_by_annotation();
    world.engine.write_checkpoint();
    world.engine.hidden_checkpoints = 1;
    world.engine.loses_checkpoints = 1;
    for _ in 0..40 {
        world.reconcile();
        if world.engine.stopping {
            break;
        }
        world.engine.tick();
        world.pass(1);
    }
    assert!(world.engine.stopping, "it is stopped for the change");
    world.engine.has_unkept_input = true;
    world.engine.hidden_checkpoints = 0;
    world.settle();
    assert_eq!(world.reported("StoppedWithoutCheckpoint"), 1);
    assert_ne!(world.approval().change_id, id);
}

/// By then it shows only what was there before that.
#[test]
fn a_list_that_is_older_than_the_stop_proves_no_checkpoint() {
    let mut world = waits_at_sluice_gate();
    let id = world.approve_by_annotation();
    world.engine.write_checkpoint();
    world.engine.hidden_checkpoints = 1;
    world.engine.loses_checkpoints = 1;
    for _ in 0..40 {
        world.reconcile();
        if world.engine.stopping {
            break;
        }
        world.engine.tick();
        world.pass(1);
    }
    assert!(world.engine.stopping, "it is stopped for the change");
    world.settle();
    assert_eq!(world.reported("StoppedWithoutCheckpoint"), 1);
    assert_ne!(world.approval().change_id, id);
}

/// Within the time in which the first may not show yet.
#[test]
fn the_stop_of_another_deployment_is_written_down_anew() {
    let mut world = waits_at_sluice_gate();
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    for _ in 0..6 {
        world.reconcile();
        world.engine.tick();
        world.pass(1);
    }
    world.reconcile();
    assert!(world.engine.deployment.is_none(), "it is stopped");
    let newest = world
        .engine
        .checkpoints
        .last()
        .map(|(uuid, _)| uuid.clone());
    world.engine.start_by_hand("allow");
    for _ in 0..4 {
        world.engine.tick();
    }
    let starts = world.engine.starts;
    for _ in 0..4 {
        world.reconcile_until(1);
    }
    assert_eq!(world.engine.starts, starts);
    let stop = world.status().run.and_then(|run| run.graceful_stop);
    let before = stop.and_then(|stop| stop.checkpoint_before);
    assert_eq!(before, newest, "the first stop has written it");
}

#[test]
fn a_run_that_nobody_saw_after_a_start_that_did_not_arrive_is_noticed() {
    let mut world = World::running("A");
    world.edit("B");
    // It is stopped, and the start is written down and gets lost.
    let is_to_start = |world: &World| {
        world
            .status()
            .run
            .is_some_and(|run| run.deployment_id.is_none())
    };
    for _ in 0..40 {
        world.reconcile_amid(usize::MAX, |world, _| {
            if is_to_start(world) {
                world.engine.fault = Some(Fault::NotTaken);
            }
        });
        if is_to_start(&world) {
            break;
        }
        world.engine.tick();
        world.pass(1);
    }
    assert!(is_to_start(&world) && world.engine.deployment.is_none());
    run_by_hand(&mut world);
    world.restart_operator();
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
    assert!(!drops_none(&world), "what came in meanwhile may be dropped");
    assert!(world.reported("UnseenRun") > 0);
}

#[test]
fn what_ran_while_a_change_waits_at_the_engines_gate_has_it_asked_about_anew() {
    let mut world = World::waiting("A", "B");
    assert!(drops_none(&world));
    let id = world.approval().change_id;
    world.engine.stop_by_hand();
    world.engine.sql = "A".into();
    world.engine.version += 1;
    world.engine.tick();
    run_by_hand(&mut world);
    world.engine.sql = "B".into();
    world.engine.version += 1;
    world.engine.tick();
    world.restart_operator();
    world.settle();
    let asked = world.approval();
    assert_eq!(
        (world.phase().as_str(), asked.state),
        ("AwaitingApproval", ApprovalState::Awaiting)
    );
    assert_ne!(asked.change_id, id);
    assert!(!drops_none(&world));
}

#[test]
fn who_approves_beforehand_approves_nothing_where_the_stop_writes_no_checkpoint() {
    let mut world = World::running("A");
    // The id is planned, and committed together with the change.
    let mut planned = World::running("A");
    planned.edit("B");
    planned.settle();
    let id = planned.approval().change_id;
    world.engine.loses_checkpoints = 1;
    world.spec(|spec| {
        spec.program.get_or_insert_default().sql = Some("B".into());
        spec.approved_change = Some(id.clone());
    });
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
    assert_ne!(world.approval().change_id, id);
    assert!(!drops_none(&world));
    assert_eq!(world.reported("StoppedWithoutCheckpoint"), 1);
}

#[test]
fn an_update_that_is_refused_after_its_stop_is_no_stop_without_a_checkpoint() {
    let mut world = waits_at_sluice_gate();
    world.engine.refuses_updates = Some("Broken");
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.reported("StoppedWithoutCheckpoint"), 0);
    assert!(
        world.engine.deployment.is_some(),
        "the old program runs again"
    );
}

/// An update that gives no settings leaves in force what somebody has set there a moment ago.
#[test]
fn a9_what_is_set_between_the_look_and_the_update_is_told_and_asked_about() {
    let mut world = World::running("A");
    let starts = world.engine.starts;
    world.engine.set_amid_update = Some(json!({"env": {"EVIL": "1"}}));
    world.configure(Some(json!({"profile": "dev"})));
    world.settle();
    assert_eq!(world.reported("OutsideEdit"), 1);
    assert_eq!(world.engine.starts, starts, "it isn't started with that");
    assert_eq!(world.phase(), "AwaitingApproval");
    assert!(
        world.approval().summary.contains("env"),
        "{}",
        world.approval().summary
    );
}

#[test]
fn a22_an_update_that_is_answered_by_another_pipeline_makes_that_nobodys() {
    let mut world = World::running("A");
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    world.edit("B");
    let before = world.status();
    let content = before.content.clone().expect("a content");
    for (id, version, is_it) in [
        ("p-1", content.version + 1, true),
        ("p-1", content.version, true),
        ("p-1", content.version + 2, false),
        ("p-2", content.version + 1, false),
    ] {
        let outcome = CallOutcome::Updated {
            id: id.to_owned(),
            version,
            content: world.wanted(),
            not_shown: vec![],
            settings: None,
        };
        let plan = world.plan(Some(&outcome), false);
        let Step::Record(next) = plan.step else {
            assert!(!is_it, "{id} {version}");
            continue;
        };
        assert_eq!(
            next.engine.and_then(|it| it.pipeline_id).as_deref(),
            Some("p-1")
        );
        let held = next.content.expect("a content").target;
        assert_eq!(held != content.target, is_it, "{id} {version}");
    }
}

/// It was stopped with a checkpoint, so that what it is of isn't known; that is no reason to say nothing of what runs now.
#[test]
fn a7_what_others_edit_start_and_approve_while_nobody_looks_is_told() {
    let mut world = World::running("A");
    world.engine.write_checkpoint();
    world.engine.stop_by_hand();
    world.engine.sql = "C".into();
    world.engine.version += 1;
    world.engine.tick();
    world.engine.start_by_hand("await_approval");
    for _ in 0..3 {
        world.engine.tick();
    }
    world.engine.approve();
    for _ in 0..3 {
        world.engine.tick();
    }
    world.settle();
    assert_eq!(world.reported("UnaskedChange"), 1);
}

#[test]
fn what_others_add_is_said_to_be_asked_about_only_where_it_is() {
    for (runs, cleared, said) in [
        (false, false, "a start of it is asked about"),
        (true, false, "in force already"),
    ] {
        let mut world = World::running("A");
        world.spec(|spec| spec.desired_state = DesiredState::Stopped);
        world.settle();
        if cleared {
            world.engine.clear_by_hand();
        }
        world.engine.set_by_hand(&json!({"dev_tweaks": {"x": 1}}));
        if runs {
            world.spec(|spec| spec.desired_state = DesiredState::Running);
            world.engine.start_by_hand("await_approval");
            for _ in 0..4 {
                world.engine.tick();
            }
        }
        world.settle();
        let told = world.note_of("OutsideEdit").unwrap_or_default();
        assert!(told.contains(said), "{runs}: {told}");
    }
}

#[test]
fn a_stop_and_a_start_by_others_between_two_looks_are_told() {
    let mut world = World::running("A");
    world.engine.stop_by_hand();
    world.engine.start_by_hand("await_approval");
    world.engine.tick();
    world.settle();
    assert_eq!(
        (world.reported("OutsideStop"), world.phase().as_str()),
        (1, "Running")
    );
    // Nobody else does what Sluice does.
    world.spec(|spec| spec.restarted_at = Some(crate::crd::Moment("now".into())));
    world.settle();
    assert_eq!(world.reported("OutsideStop"), 1);
}

/// A process that dies between the stop and its record asks for it once more, and what is the newest checkpoint by then is the
/// one that the first has written.
#[test]
fn a_stop_that_is_asked_for_twice_is_one_stop() {
    for effects in 1..12 {
        let mut world = waits_at_sluice_gate();
        let id = world.approve_by_annotation();
        for _ in 0..30 {
            world.reconcile_until(effects);
            if world.engine.stopping {
                // The manager still shows that it runs.
                world.restart_operator();
                world.reconcile();
                break;
            }
            world.engine.tick();
            world.engine.polls_late = true;
            world.pass(1);
        }
        world.engine.polls_late = false;
        world.settle();
        assert_eq!(world.reported("StoppedWithoutCheckpoint"), 0, "{effects}");
        assert_eq!(world.approval().change_id, id, "{effects}");
        let env = world.engine.content().runtime_config.expect("settings");
        assert_eq!(env["env"], json!({"A": "2"}), "{effects}");
    }
}

/// What somebody brings there is what Sluice would, and something beside it.
#[test]
fn a9_the_same_program_with_a_setting_beside_it_is_not_what_was_sent() {
    let mut world = World::running("A");
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    world.edit("B");
    let before = world.status().content.expect("a content");
    let settings = [false, true].map(|is_there| {
        let digest = "0".repeat(32);
        let held = HeldSetting {
            digest: String::new(),
            shown: Some(digest),
        };
        let all = is_there.then(|| ("env".to_owned(), held));
        all.into_iter().collect::<HeldSettings>()
    });
    for (settings, is_it) in settings.into_iter().zip([true, false]) {
        let outcome = CallOutcome::Updated {
            id: "p-1".to_owned(),
            version: before.version + 1,
            content: world.wanted_beside_what_is_held(),
            not_shown: vec![],
            settings: Some(settings),
        };
        let plan = world.plan(Some(&outcome), false);
        let taken = match plan.step {
            Step::Record(next) => next.content.is_some_and(|it| it.target != before.target),
            _ => false,
        };
        assert_eq!(taken, is_it);
    }
}
