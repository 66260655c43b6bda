//! What becomes of votes when policies come, go and come again.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::model::World;
use crate::change::{Change, Content};
use crate::crd::{ApprovalState, BootstrapOptions, annotation};
use crate::decide::Step;
use crate::policy_status::{Standing, Trust};

fn in_force(epoch: &str) -> Standing {
    Standing::InForce {
        epoch: epoch.to_owned(),
        since: Timestamp::from_second(1_000_000_000).unwrap(),
    }
}

fn trust(standing: Standing) -> Trust {
    Trust {
        required: true,
        pipelines: standing.clone(),
        votes: standing,
    }
}

fn absent() -> Trust {
    trust(Standing::Absent("there is no policy".into()))
}

/// A world whose Pipeline is younger than the policies that are in force and required, in which a change
/// waits.
fn waiting() -> World {
    let mut world = World::new("A");
    world.trust = trust(in_force("first"));
    let made = Timestamp::from_second(1_600_000_000).unwrap();
    world.pipeline.metadata.creation_timestamp = Some(Time(made));
    world.settle();
    world.edit("B");
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
    world
}

/// Alice approves, by annotation.
fn approve(world: &mut World) {
    world.approve_by_annotation();
    world.annotate(annotation::APPROVE_BY, "alice");
}

fn withdraw(world: &mut World) {
    let annotations = world.pipeline.metadata.annotations.as_mut().unwrap();
    annotations.clear();
}

fn unfounded(world: &World) -> usize {
    let seen = world.status().policies.unwrap_or_default();
    seen.unfounded.len()
}

#[test]
fn a12_a_vote_with_a_name_counts_while_the_policies_are_in_force() {
    let mut world = waiting();
    approve(&mut world);
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    let decision = world.approval().decision.unwrap();
    assert_eq!((decision.by.as_str(), decision.verified), ("alice", true));
    assert_eq!(world.condition("UnfoundedApproval"), None);
    assert_eq!(world.condition("PoliciesNotInForce"), None);
}

#[test]
fn a13_without_policies_no_approval_counts_and_that_is_told_once() {
    let mut world = waiting();
    world.trust = absent();
    world.settle();
    let (_, _, message) = world.condition("PoliciesNotInForce").unwrap();
    assert!(message.contains("there is no policy"), "{message}");
    approve(&mut world);
    world.settle();
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
    let (_, _, message) = world.condition("UnfoundedApproval").unwrap();
    assert!(
        message.contains("annotation sluice.dev/approve"),
        "{message}"
    );
    assert_eq!(world.reported("PoliciesNotInForce"), 1);
    assert_eq!(world.reported("UnfoundedApproval"), 1);
}

#[test]
fn a12_a_vote_that_stood_while_the_policies_were_gone_counts_only_once_it_is_given_again() {
    let mut world = waiting();
    world.trust = absent();
    approve(&mut world);
    world.settle();
    assert_eq!(unfounded(&world), 1);
    // Put back as they were: nothing about them shows that they were gone.
    world.trust = trust(in_force("first"));
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
    assert_eq!(world.condition("PoliciesNotInForce"), None);
    let (_, _, message) = world.condition("UnfoundedApproval").unwrap();
    assert!(message.contains("take it away"), "{message}");
    withdraw(&mut world);
    world.settle();
    assert_eq!(unfounded(&world), 0);
    assert_eq!(world.condition("UnfoundedApproval"), None);
    approve(&mut world);
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
}

#[test]
fn a12_a_vote_that_may_have_been_written_between_two_sets_of_policies_does_not_count() {
    // Nobody looked meanwhile: the operator was down.
    let mut world = waiting();
    approve(&mut world);
    world.trust = trust(in_force("second"));
    world.restart_operator();
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
    assert_eq!(unfounded(&world), 1);
    // What is given from then on counts.
    withdraw(&mut world);
    world.settle();
    approve(&mut world);
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
}

#[test]
fn a12_a_vote_that_is_given_after_the_policies_were_replaced_counts() {
    let mut world = waiting();
    world.trust = trust(in_force("second"));
    world.settle();
    approve(&mut world);
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
}

#[test]
fn a12_a_vote_on_an_object_older_than_the_policies_that_nobody_saw_them_on_does_not_count() {
    let mut world = waiting();
    world.pipeline.status.as_mut().unwrap().policies = None;
    let made = Timestamp::from_second(900_000_000).unwrap();
    world.pipeline.metadata.creation_timestamp = Some(Time(made));
    approve(&mut world);
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
    assert_eq!(unfounded(&world), 1);
}

#[test]
fn a_vote_waits_while_it_is_not_known_whether_the_policies_are_in_force() {
    let mut world = waiting();
    world.trust = trust(Standing::Unknown("they are being looked at".into()));
    approve(&mut world);
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
    assert_eq!(unfounded(&world), 0, "not knowing leaves no trace");
    assert_eq!(world.condition("PoliciesNotInForce"), None);
    let (_, _, message) = world.condition("UnfoundedApproval").unwrap();
    assert!(message.contains("they are being looked at"), "{message}");
    assert_eq!(
        world.reported("UnfoundedApproval"),
        0,
        "it may pass at once"
    );
    world.trust = trust(in_force("first"));
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    assert_eq!(world.condition("UnfoundedApproval"), None);
}

#[test]
fn replaced_policies_cost_no_write_where_no_vote_stands_and_none_is_waited_for() {
    let mut world = World::new("A");
    world.trust = trust(in_force("first"));
    world.settle();
    for standing in [in_force("second"), Standing::Absent("gone".into())] {
        world.trust = trust(standing);
        assert!(
            !matches!(world.plan(None, false).step, Step::Record(_)),
            "{:?}",
            world.trust
        );
    }
    // When it is its turn, it is written down, so that a vote that comes together with its change counts.
    world.trust = trust(in_force("second"));
    assert!(world.plan(None, false).requeue.is_some());
    world.may_note_policies = true;
    world.settle();
    world.may_note_policies = false;
    assert_eq!(world.plan(None, false).requeue, None);
    let target = Content {
        sql: "B".into(),
        ..Content::default()
    }
    .target();
    let id = Change {
        uid: "uid-1",
        parent: &world.status().settled.unwrap().change_id,
        target: &target,
        options: BootstrapOptions::default(),
        revision: 0,
    }
    .id();
    world.edit("B");
    world.annotate(annotation::APPROVE, &id);
    world.annotate(annotation::APPROVE_BY, "alice");
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
}

/// As an upgrade from a version finds it that knew no names.
#[test]
fn a3_what_was_approved_before_names_were_required_needs_no_further_approval() {
    let mut world = waiting();
    world.trust = Trust {
        required: false,
        ..absent()
    };
    world.approve_by_annotation();
    // The old version dies before it tells the engine.
    world.reconcile_until(1);
    assert_eq!(world.approval_state(), Some(ApprovalState::Applying));
    world.restart_operator();
    world.trust = trust(in_force("second"));
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    assert!(!world.approval().decision.unwrap().verified);
    assert_eq!(world.reported("UnfoundedApproval"), 0);
    assert_eq!(world.approve_calls(), 1);
}
