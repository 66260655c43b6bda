//! A pipeline that is gone from its engine. Rule A22.

use super::model::World;
use crate::controller::decide::{Act, Step};
use crate::crd::{ApprovalState, BootstrapPolicy, DesiredState, Door, annotation};

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
    world.approve_by_annotation();
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
