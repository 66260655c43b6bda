//! A pipeline that is gone from its engine. Rule A22.

use super::model::World;
use crate::crd::{ApprovalState, BootstrapPolicy, DesiredState, Door, annotation};
use crate::decide::{Act, Step};

/// How often a pipeline was made.
fn made(world: &World) -> usize {
    let acts = world.acts.iter();
    acts.filter(|act| matches!(act, Act::Create { .. })).count()
}

/// A world whose pipeline is lost, and asked about.
fn lost() -> World {
    let mut world = World::running("A");
    world.engine.lose();
    world.settle();
    world
}

fn assert_lost(world: &World) {
    assert_eq!(made(world), 1, "nothing is made anew unasked");
    let (ready, reason, message) = world.condition("Ready").unwrap();
    assert_eq!((ready.as_str(), reason.as_str()), ("False", "PipelineLost"));
    assert!(message.contains("p-1"), "{message}");
    assert_eq!(world.condition("Stalled").unwrap().1, "PipelineLost");
    assert_eq!(world.reported("PipelineLost"), 1);
}

#[test]
fn a22_a_pipeline_that_is_gone_is_asked_about_and_made_anew_once_that_is_approved() {
    for edition in ["Enterprise", "Open source"] {
        let mut world = World::new("A");
        world.engine.edition = edition;
        world.settle();
        world.engine.lose();
        world.settle();
        assert_lost(&world);
        assert_eq!(world.phase(), "AwaitingApproval");
        assert!(world.approval().at_stake.unwrap().state_lost);
        let id = world.approve_by_annotation();
        world.settle();
        assert_eq!((made(&world), world.phase().as_str()), (2, "Running"));
        assert_eq!(world.status().lost, None);
        assert_eq!(world.reported("Recreated"), 1);
        // The change is told to its end.
        let approval = world.approval();
        assert_eq!(approval.change_id, id);
        let end = match edition {
            "Enterprise" => ApprovalState::Sealed,
            _ => ApprovalState::Applied,
        };
        assert_eq!(approval.state, end, "{edition}");
        // It is spent.
        world.engine.lose();
        world.settle();
        assert_eq!(made(&world), 2);
        assert_ne!(world.approval().change_id, id);
    }
}

#[test]
fn a22_a_pipeline_is_lost_only_after_the_engine_has_said_so_three_times() {
    let mut world = World::running("A");
    world.engine.lose();
    world.reconcile();
    assert_eq!(world.status().lost.unwrap().looks, 1);
    assert_eq!(world.condition("Ready").unwrap().1, "PipelineNotFound");
    // However often it is looked at, time has to pass.
    for _ in 0..10 {
        world.reconcile();
    }
    assert_eq!(world.status().lost.unwrap().looks, 1);
    world.pass(4);
    world.reconcile();
    assert_eq!(world.status().lost.unwrap().looks, 2);
    assert_eq!(world.status().lost.unwrap().link, None);
    assert_eq!(world.reported("PipelineLost"), 0);
    // An engine that can't be asked says nothing, so it is counted anew.
    world.engine_answers = false;
    world.reconcile();
    world.engine_answers = true;
    assert_eq!(world.status().lost, None);
    world.engine.find_again();
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!((made(&world), world.reported("PipelineLost")), (1, 0));
}

#[test]
fn a22_it_goes_on_by_itself_if_the_pipeline_is_back() {
    let mut world = lost();
    assert_lost(&world);
    let id = world.approval().change_id;
    let settled = world.status().settled;
    world.engine.find_again();
    world.settle();
    assert_eq!((made(&world), world.phase().as_str()), (1, "Running"));
    assert_eq!(world.status().settled, settled);
    assert_eq!(world.reported("PipelineFound"), 1);
    assert_eq!(world.condition("Stalled"), None);
    // An approval of the loss approves nothing further.
    world.annotate(annotation::APPROVE, &id);
    world.engine.lose();
    world.settle();
    assert_ne!(world.approval().change_id, id);
    assert_eq!(made(&world), 1);
}

#[test]
fn a22_no_approval_that_was_given_before_counts_for_the_loss() {
    let mut world = World::waiting("A", "B");
    let before = world.approve_by_annotation();
    world.engine.lose();
    world.settle();
    assert_lost(&world);
    assert_ne!(world.approval().change_id, before);
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
}

/// What was approved of the pipeline stays approved if the pipeline is back (A3).
#[test]
fn a22_what_was_decided_before_holds_if_the_pipeline_is_back() {
    let mut world = World::waiting("A", "B");
    let id = world.approve_by_annotation();
    // The engine has been told, and the change isn't sealed yet.
    world.engine.loses_checkpoints = 10;
    world.settle_briefly();
    assert_eq!(world.approval_state(), Some(ApprovalState::Applied));
    world.engine.lose();
    world.settle();
    assert_lost(&world);
    world.pipeline.metadata.annotations = None;
    world.engine.find_again();
    world.settle();
    assert_eq!(world.approval().change_id, id);
    world.engine.loses_checkpoints = 0;
    for _ in 0..20 {
        world.settle();
    }
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    let approved = |(event, of): &(&str, &str)| *event == "Approved" && *of == id;
    assert_eq!(world.audited().into_iter().filter(approved).count(), 1);
}

#[test]
fn a22_a_rejected_loss_stays_lost_until_somebody_asks_anew() {
    let mut world = lost();
    let id = world.approval().change_id;
    world.annotate(annotation::REJECT, &id);
    world.settle();
    assert_eq!(world.phase(), "Rejected");
    assert_eq!(made(&world), 1);
    // Another program is another question, and going back is the same one, which was rejected.
    world.edit("B");
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
    world.edit("A");
    world.settle();
    assert_eq!(world.phase(), "Rejected");
    assert_eq!(world.approval().change_id, id);
    world.annotate(annotation::RETRY, &id);
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
    assert_ne!(world.approval().change_id, id);
    world.pipeline.metadata.annotations = None;
    world.approve_by_annotation();
    world.settle();
    assert_eq!((made(&world), world.phase().as_str()), (2, "Running"));
}

#[test]
fn a22_who_allows_it_beforehand_is_not_asked_and_who_refuses_gets_nothing() {
    for (allow_loss, policy, anew) in [
        (true, BootstrapPolicy::AwaitApproval, true),
        (false, BootstrapPolicy::Allow, true),
        (false, BootstrapPolicy::Reject, false),
        (true, BootstrapPolicy::Reject, false),
    ] {
        let mut world = World::running("A");
        world.spec(|spec| {
            spec.allow_state_loss = allow_loss;
            spec.bootstrap_policy = policy;
        });
        world.settle();
        world.engine.lose();
        world.settle();
        let is_anew = made(&world) == 2;
        assert_eq!(is_anew, anew, "{allow_loss} {policy:?}");
        // It is told all the same, and stands in the history.
        assert_eq!(world.reported("PipelineLost"), 1);
        if anew {
            let decision = world.approval().decision.unwrap();
            assert_eq!(decision.via, Door::Policy);
            assert_eq!(world.phase(), "Running");
        } else {
            assert_eq!(world.phase(), "Rejected");
        }
    }
}

#[test]
fn a22_another_pipeline_under_the_name_is_not_taken_for_the_one_that_ran() {
    // One that carries this Pipeline's mark, as of a script that made it again.
    let mut world = World::running("A");
    let tags = world.engine.tags.clone();
    let version = world.engine.version;
    world.engine.lose();
    world.engine.exists = true;
    world.engine.number = 2;
    world.engine.version = version;
    world.engine.sql = "Z".into();
    world.engine.tags = tags;
    world.settle();
    assert_lost(&world);
    assert!(world.condition("Ready").unwrap().2.contains("p-2"));
    // It isn't said to be in force, although its version is the same.
    assert!(world.engine.deployment.is_none());
    // It can't be made anew in the place of what is there, so that isn't asked.
    assert_eq!(world.phase(), "NameTaken");
    assert!(
        world
            .condition("Ready")
            .unwrap()
            .2
            .contains("sluice.dev/adopt=shop/orders")
    );
    world.annotate(annotation::ADOPT, "shop/orders");
    world.settle();
    // It is taken for what it is: nothing of the old one is remembered.
    assert_eq!((made(&world), world.engine.sql.as_str()), (1, "A"));
    assert_eq!(world.phase(), "Running");

    // One of somebody else.
    let mut world = lost();
    world.engine.exists = true;
    world.engine.number = 2;
    world.engine.version = 1;
    world.engine.sql = "A".into();
    world.settle();
    assert_lost(&world);
    assert_eq!(world.phase(), "NameTaken");
    assert_eq!(world.approval_state(), Some(ApprovalState::Superseded));
    world.annotate(annotation::ADOPT, "orders");
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.status().lost, None);
    assert_eq!(made(&world), 1);
}

#[test]
fn a22_what_never_ran_is_made_anew_unasked() {
    let mut world = World::new("A");
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    world.engine.lose();
    world.settle();
    assert_eq!((made(&world), world.phase().as_str()), (2, "Stopped"));
}

#[test]
fn a22_an_engine_that_was_restored_from_an_older_backup_is_told_by_what_only_grows() {
    let mut world = World::running("A");
    world.edit("B");
    world.settle();
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    let (settled, checkpoints) = (
        world.engine.base().map(str::to_owned),
        world.engine.checkpoints.len(),
    );
    assert_eq!((settled.as_deref(), checkpoints > 1), (Some("B"), true));
    // As it was before the change.
    world.engine.stop_by_hand();
    world.engine.version -= 1;
    world.engine.sql = "A".into();
    world.engine.checkpoints.truncate(1);
    world.settle();
    assert_eq!(world.reported("EngineRestored"), 1);
    assert!(!world.status().settled.unwrap().is_known());
    assert_eq!(world.reported("OutsideEdit"), 0, "nobody edited it");
    let plan = world.plan(None, true);
    assert!(!matches!(plan.step, Step::Record(_)));
}

/// What is approved is that one program is made anew, and no other: as long as it hasn't run, another is another question.
#[test]
fn a22_an_edit_after_the_approval_of_a_loss_is_asked_about() {
    for edited_after in 0..6 {
        let mut world = lost();
        let id = world.approve_by_annotation();
        for _ in 0..edited_after {
            world.reconcile_until(1);
        }
        if world.engine.deployment.is_some() {
            continue;
        }
        world.edit("Z");
        world.settle();
        assert_ne!(world.engine.sql, "Z", "{edited_after}");
        assert!(world.engine.deployment.is_none(), "{edited_after}");
        assert_eq!(
            world.approval_state(),
            Some(ApprovalState::Awaiting),
            "{edited_after}"
        );
        assert_ne!(world.approval().change_id, id);
        world.approve_by_annotation();
        world.settle();
        assert_eq!(
            (world.engine.sql.as_str(), world.phase().as_str()),
            ("Z", "Running"),
            "{edited_after}"
        );
        assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    }
}

/// Approved was that it begins from nothing.
#[test]
fn a22_a_pipeline_that_is_back_before_it_is_made_anew_goes_on_and_ends_the_approval() {
    let mut world = lost();
    world.edit("Z");
    world.settle();
    let id = world.approve_by_annotation();
    // It is written down, and not done.
    world.reconcile_until(1);
    world.engine.find_again();
    world.engine.tags.clear();
    world.settle();
    assert_eq!(made(&world), 1);
    assert_eq!(world.phase(), "AwaitingApproval");
    assert_ne!(world.approval().change_id, id);
    assert_eq!(world.engine.bootstraps, []);
}

#[test]
fn a22_what_is_said_beforehand_says_nothing_of_another_program() {
    for edited in [false, true] {
        let mut world = World::waiting("A", "B");
        let id = world.approval().change_id;
        world.annotate(annotation::REJECT, &id);
        world.settle();
        world.spec(|spec| spec.allow_state_loss = true);
        if edited {
            world.edit("C");
        }
        world.engine.lose();
        world.settle();
        assert_eq!(made(&world), 1, "{edited}");
        let asked = world.approval();
        assert_eq!(asked.changed, ["sql"]);
        assert!(asked.summary.contains("sql"), "{}", asked.summary);
        assert_eq!(asked.summary.contains("rejected before"), !edited);
    }
}

#[test]
fn a22_what_was_approved_of_a_guests_pipeline_says_nothing_of_another_one() {
    let mut world = World::running("A");
    world.engine.udf_rust = "other".into();
    world.pipeline.spec.program = None;
    world.make_again();
    world.engine.tags.clear();
    world.settle();
    let parent = world.status().settled.map(|it| it.change_id);
    world.engine.number = 2;
    world.settle();
    assert_ne!(world.status().settled.map(|it| it.change_id), parent);
    assert_eq!(
        world.status().engine.unwrap().pipeline_id.as_deref(),
        Some("p-2")
    );
}

/// It ran before this Pipeline came.
#[test]
fn a22_an_adopted_pipeline_with_a_state_is_asked_about() {
    let mut world = World::running("A");
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    world.make_again();
    world.engine.tags.clear();
    world.adopt();
    world.settle();
    assert_eq!(world.phase(), "Stopped");
    world.engine.lose();
    world.settle();
    assert_lost(&world);
}

#[test]
fn a22_a_crash_right_after_it_is_made_anew_is_no_other_pipeline() {
    let mut world = lost();
    world.approve_by_annotation();
    for effects in 1..4 {
        world.reconcile_until(effects);
        world.restart_operator();
    }
    world.settle();
    assert_eq!((made(&world), world.phase().as_str()), (2, "Running"));
}
