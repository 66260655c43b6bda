//! What happens when, told as stories.

use k8s_openapi::jiff::SignedDuration;

use super::model::{Fault, World};
use crate::change::{Change, Content};
use crate::crd::{
    ApprovalState, BootstrapOptions, BootstrapPolicy, DesiredState, Door, PipelineApproval,
    VoteDecision, annotation,
};
use crate::decide::{Act, Guard, Step};

#[test]
fn a_first_program_comes_up_without_a_gate_and_is_settled() {
    let world = World::running("A");
    assert_eq!(
        world.phases,
        [
            "Pending",
            "Compiling",
            "Provisioning",
            "Initializing",
            "Running"
        ]
    );
    assert_eq!(world.approve_calls(), 0);
    assert_eq!(world.condition("Ready").unwrap().0, "True");
    let settled = world.status().settled.unwrap();
    let target = Content {
        sql: "A".into(),
        ..Content::default()
    }
    .target();
    let change = Change {
        uid: "uid-1",
        parent: "root",
        target: &target,
        options: BootstrapOptions::default(),
        revision: 0,
    };
    assert_eq!(settled.change_id, change.id());
}

#[test]
fn a_change_waits_and_costs_nothing_until_it_is_approved() {
    let mut world = World::waiting("A", "B");
    let acts = world.acts.len();
    let status = world.status();
    world.settle();
    assert_eq!((world.acts.len(), world.status()), (acts, status));
    let (ready, reason, message) = world.condition("Ready").unwrap();
    assert_eq!(
        (ready.as_str(), reason.as_str()),
        ("False", "AwaitingApproval")
    );
    assert!(message.contains(&world.approval().change_id), "{message}");
    assert_eq!(world.condition("Reconciling"), None);
    assert_eq!(world.condition("Stalled"), None);
    assert_eq!(world.engine.bootstraps, []);
}

#[test]
fn an_approved_change_is_told_once_bootstraps_runs_and_is_sealed() {
    let mut world = World::waiting("A", "B");
    world.approve_by_annotation();
    world.phases.clear();
    world.settle();
    assert_eq!(world.approve_calls(), 1);
    assert_eq!(world.phases, ["Bootstrapping", "Running"]);
    assert_eq!(world.engine.bootstraps, [("A".into(), "B".into())]);
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    assert_eq!(
        world.status().settled.unwrap().change_id,
        world.approval().change_id
    );
    assert_eq!(
        world.status().history[0].decision.as_ref().unwrap().via,
        Door::Annotation
    );
    for reason in ["AwaitingApproval", "Approved", "Applied", "Sealed"] {
        assert_eq!(world.reported(reason), 1, "{reason}");
    }
}

#[test]
fn a1_approved_true_counts_only_if_it_turns_true_after_the_publication() {
    let mut world = World::running("A");
    world.spec(|spec| {
        spec.approved = Some(true);
        spec.program.get_or_insert_default().sql = Some("B".into());
    });
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
    assert!(
        world
            .condition("StaleApproval")
            .unwrap()
            .2
            .contains("spec.approved")
    );
    world.spec(|spec| spec.approved = None);
    world.settle();
    assert_eq!(world.approve_calls(), 0);
    world.spec(|spec| spec.approved = Some(true));
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    assert_eq!(
        world.status().history[0].decision.as_ref().unwrap().via,
        Door::Field
    );
    assert_eq!(world.condition("StaleApproval"), None);
}

#[test]
fn a1_an_approval_may_come_in_the_same_commit_as_its_change() {
    let mut world = World::running("A");
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
    world.spec(|spec| {
        spec.approved_change = Some(id);
        spec.program.get_or_insert_default().sql = Some("B".into());
    });
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    assert_eq!(world.reported("StaleApproval"), 0);
}

#[test]
fn a2_an_approval_that_stays_in_place_approves_nothing_further() {
    let mut world = World::waiting("A", "B");
    world.approve_by_annotation();
    world.settle();
    // A → B → A → B, with the approval of the first A → B left in place.
    for sql in ["A", "B"] {
        world.edit(sql);
        world.settle();
        assert_eq!(world.phase(), "AwaitingApproval", "{sql}");
        if sql == "A" {
            let id = world.approval().change_id;
            world.spec(|spec| spec.approved_change = Some(id));
            world.settle();
            assert_eq!(world.phase(), "Running");
        }
    }
    assert_eq!(world.approve_calls(), 2);
}

#[test]
fn a2_two_edits_with_the_same_diff_need_two_approvals() {
    let mut world = World::waiting("A", "B");
    let first = world.approve_by_annotation();
    world.edit("C");
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
    assert_ne!(world.approval().change_id, first);
    assert_eq!(world.approve_calls(), 0);
}

/// What was seen before a call says nothing of what came of it, however long that took.
#[test]
fn a6_an_approval_whose_answer_is_lost_after_a_long_time_is_not_called_repeated() {
    let mut world = World::waiting("A", "B");
    world.approve_by_annotation();
    world.engine.fault = Some(Fault::AnswerLost);
    world.reconcile_amid(usize::MAX, |world, _| {
        world.now += SignedDuration::from_secs(15)
    });
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    assert_eq!(world.approve_calls(), 1);
    assert_eq!(world.reported("ApprovalRepeated"), 0);
}

#[test]
fn a3_an_approved_change_stays_approved_when_the_engine_asks_again() {
    let mut world = World::waiting("A", "B");
    world.approve_by_annotation();
    world.engine.forgets = 1;
    world.settle();
    assert_eq!(world.approve_calls(), 2);
    assert_eq!(world.reported("ApprovalRepeated"), 1);
    assert_eq!(world.engine.bootstraps.len(), 1);
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
}

#[test]
fn a3_an_approved_change_stays_approved_through_stop_and_start() {
    let mut world = World::waiting("A", "B");
    world.approve_by_annotation();
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.approve_calls()),
        ("Stopped", 0)
    );
    world.spec(|spec| spec.desired_state = DesiredState::Running);
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    assert_eq!(world.approve_calls(), 1);
}

fn approve_by_object(world: &mut World) {
    let (id, pipeline) = (world.approval().change_id, &world.pipeline);
    let yes = VoteDecision::Approve;
    let mut vote = PipelineApproval::for_vote(pipeline, &id, "alice", yes, None, None);
    vote.metadata.creation_timestamp = Some(world.time());
    world.objects.push(vote);
}

/// An approvals folder in Git only grows, and what is written into a spec or an annotation once stays there.
#[test]
fn a4_approvals_of_what_is_settled_stay_where_they_are_however_many_changes_follow() {
    let mut world = World::waiting("A", "B");
    let first = world.approval().change_id;
    world.spec(|spec| spec.approved_change = Some(first.clone()));
    world.annotate(annotation::APPROVE, &first);
    approve_by_object(&mut world);
    world.settle();
    for change in 0..25 {
        world.edit(&format!("C{change}"));
        world.settle();
        assert_eq!(world.phase(), "AwaitingApproval");
        let held = world.condition("StaleApproval");
        assert_eq!(held, None, "change {change} waits");
        approve_by_object(&mut world);
        world.settle();
        assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
        assert_eq!(world.condition("StaleApproval"), None, "after {change}");
    }
    let status = world.status();
    assert!(
        status
            .history
            .iter()
            .all(|record| record.change_id != first)
    );
    assert_eq!(status.spent_votes.approved_change.as_ref(), Some(&first));
    assert_eq!(world.reported("StaleApproval"), 0);
    // What has never been about any change is told all the same.
    world.annotate(annotation::APPROVE, "0123456789abcdef0123456789abcdef");
    world.settle();
    assert_eq!(world.reported("StaleApproval"), 1);
    assert_eq!(world.status().spent_votes.approve, None);
}

#[test]
fn a4_an_approval_that_fits_nothing_is_told_once_and_does_nothing() {
    let mut world = World::running("A");
    let other = "0123456789abcdef0123456789abcdef";
    world.annotate(annotation::APPROVE, other);
    world.settle();
    assert_eq!(world.reported("StaleApproval"), 1);
    assert!(world.condition("StaleApproval").unwrap().2.contains(other));
    world.edit("B");
    world.settle();
    assert_eq!(world.approve_calls(), 0);
    let message = world.condition("StaleApproval").unwrap().2;
    assert!(
        message.contains(other) && message.contains(&world.approval().change_id),
        "{message}"
    );
    world.pipeline.metadata.annotations = None;
    world.settle();
    assert_eq!(world.condition("StaleApproval"), None);
}

#[test]
fn a5_a_rejection_stops_at_once_and_the_old_program_comes_up_without_a_gate() {
    let mut world = World::waiting("A", "B");
    world.approve_by_annotation();
    let id = world.approval().change_id;
    world.annotate(annotation::REJECT, &id);
    world.annotate(annotation::REASON, "too expensive");
    world.settle();
    assert_eq!(world.phase(), "Rejected");
    assert!(
        world
            .condition("Ready")
            .unwrap()
            .2
            .contains("too expensive")
    );
    assert_eq!(world.acts.last(), Some(&Act::Stop { force: true }));
    assert_eq!(world.engine.base(), Some("A"));
    world.edit("A");
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.approve_calls()),
        ("Running", 0)
    );
    assert_eq!(world.engine.bootstraps, []);
}

/// What is shown from now on: of the engine, as phase, and whether it is stalled.
fn shown(world: &mut World) -> Vec<(String, String, bool)> {
    let mut all = vec![];
    for _ in 0..16 {
        world.reconcile();
        let engine = world.status().engine.unwrap();
        let status = engine.deployment_status.unwrap();
        let is_stalled = world.condition("Stalled").is_some();
        all.push((status, world.phase(), is_stalled));
        world.engine.tick();
        world.pass(1);
    }
    all.dedup();
    all
}

#[test]
fn a5_a_refused_change_is_shown_as_refused_also_while_the_engine_stops_it() {
    let stops = |phases: [&str; 2], is_stalled: bool| {
        let of = |engine: &str, phase: &str| (engine.to_owned(), phase.to_owned(), is_stalled);
        [of("Stopping", phases[0]), of("Stopped", phases[1])]
    };
    let rejected = || {
        let mut world = World::waiting("A", "B");
        let id = world.approval().change_id;
        world.annotate(annotation::REJECT, &id);
        world
    };
    assert_eq!(shown(&mut rejected()), stops(["Rejected"; 2], true));

    // Whoever has it stopped is told of that.
    let mut world = rejected();
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    assert_eq!(shown(&mut world), stops(["Stopping", "Stopped"], false));

    // What could not be applied is started by somebody, and comes to the gate again.
    let mut world = World::waiting("A", "B");
    world.engine.breaks = Some("B".into());
    world.approve_by_annotation();
    world.settle();
    world.engine.start_by_hand("await_approval");
    let failed = shown(&mut world);
    assert!(failed.ends_with(&stops(["Failed"; 2], true)), "{failed:?}");
}

#[test]
fn a5_a_retry_that_names_the_rejected_change_asks_a_new_question() {
    let mut world = World::waiting("A", "B");
    let id = world.approval().change_id;
    world.annotate(annotation::REJECT, &id);
    world.settle();
    world.annotate(annotation::RETRY, "something else");
    world.settle();
    assert_eq!(world.phase(), "Rejected");
    world.annotate(annotation::RETRY, &id);
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
    let anew = world.approval();
    assert_ne!(anew.change_id, id);
    assert_eq!(anew.revision, 1);
}

#[test]
fn a5_a_rejected_change_that_comes_round_again_is_still_rejected() {
    let mut world = World::waiting("A", "B");
    let id = world.approval().change_id;
    world.annotate(annotation::REJECT, &id);
    world.settle();
    world.pipeline.metadata.annotations = None;
    world.edit("C");
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
    world.edit("B");
    world.settle();
    assert_eq!(world.phase(), "Rejected");
    assert_eq!(world.approval().change_id, id);
}

#[test]
fn a6_another_diff_than_was_published_is_asked_about_anew() {
    let mut world = World::waiting("A", "B");
    let first = world.approval().change_id;
    let mut status = world.status();
    status.approval.as_mut().unwrap().diff_digest = "what people read".into();
    world.pipeline.status = Some(status);
    world.annotate(annotation::APPROVE, &first);
    world.settle();
    assert_eq!(world.approve_calls(), 0);
    assert_eq!(world.phase(), "AwaitingApproval");
    assert_ne!(world.approval().change_id, first);
    assert_eq!(world.reported("DiffChanged"), 1);
}

#[test]
fn a6_a_bootstrap_that_fails_is_not_approved_again_by_itself() {
    let mut world = World::waiting("A", "B");
    world.engine.breaks = Some("B".into());
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::ApplyFailed));
    assert_eq!(world.approve_calls(), 1);
    assert_eq!(world.condition("Ready").unwrap().1, "ApplyFailed");
    world.engine.breaks = None;
    let id = world.approval().change_id;
    world.annotate(annotation::RETRY, &id);
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.approve_calls()),
        ("AwaitingApproval", 1)
    );
}

#[test]
fn a6_the_operator_may_crash_after_any_write_and_any_call() {
    for crash_after in 1..12 {
        let mut world = World::waiting("A", "B");
        world.approve_by_annotation();
        world.reconcile_until(crash_after.min(4));
        world.restart_operator();
        for _ in 0..crash_after {
            world.engine.tick();
        }
        world.settle();
        assert_eq!(
            world.approval_state(),
            Some(ApprovalState::Sealed),
            "{crash_after}"
        );
        assert_eq!(world.engine.bootstraps.len(), 1, "{crash_after}");
        assert_eq!(world.reported("OutsideApproval"), 0, "{crash_after}");
    }
}

#[test]
fn a7_an_approval_at_the_engine_before_anybody_could_see_the_change_is_noticed() {
    let mut world = World::running("A");
    world.edit("B");
    for _ in 0..20 {
        world.reconcile();
        if world.engine.sql == "B" && world.engine.deployment.is_some() {
            break;
        }
        world.engine.tick();
    }
    world.engine.approve();
    for _ in 0..3 {
        world.engine.tick();
    }
    world.settle();
    assert_eq!(world.reported("OutsideApproval"), 1);
    assert_eq!(world.approval().decision.unwrap().via, Door::Outside);
    assert_eq!(
        (world.phase().as_str(), world.engine.base()),
        ("Running", Some("B"))
    );
}

#[test]
fn on_an_engine_that_keeps_no_tags_a_pipeline_is_known_by_its_id() {
    let mut world = World::new("A");
    world.engine.keeps_tags = false;
    world.settle();
    assert_eq!(world.phase(), "Running");
    let mut other = World::new("A");
    other.engine = world.engine;
    other.pipeline.metadata.uid = Some("uid-2".into());
    other.settle();
    // Nobody knows whose it is, so it is left alone, whatever its content, until somebody says that it is taken over.
    assert_eq!(other.phase(), "NameTaken");
    other.annotate(annotation::ADOPT, "orders");
    other.settle();
    assert_eq!(other.phase(), "Running");
    let mut stranger = World::new("C");
    stranger.engine = other.engine;
    stranger.settle();
    assert_eq!(stranger.condition("Stalled").unwrap().1, "NameTaken");
    assert_eq!(stranger.acts, []);
}

#[test]
fn a7_an_approval_at_the_engine_itself_is_recorded_as_one_from_outside() {
    let mut world = World::waiting("A", "B");
    world.engine.approve();
    world.settle();
    assert_eq!(world.reported("OutsideApproval"), 1);
    assert_eq!(world.approval().decision.unwrap().via, Door::Outside);
    assert_eq!(world.approve_calls(), 0);
}

#[test]
fn a7_a_start_under_another_policy_is_noticed() {
    let mut world = World::running("A");
    world.engine.deployment = None;
    world.engine.start_by_hand("allow");
    world.settle();
    assert_eq!(world.reported("OutsideStart"), 1);
}

#[test]
fn a_broken_program_never_stops_what_runs() {
    let mut world = World::running("A");
    world.edit("broken");
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.condition("Stalled").unwrap().1, "CompileFailed");
    assert!(!world.acts.iter().any(|act| matches!(act, Act::Stop { .. })));
    // It even comes back if it fails meanwhile.
    world.engine.deployment = None;
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.engine.sql.as_str()),
        ("Running", "A")
    );
    world.edit("B");
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
}

/// It waits for the same person for two reasons, who must hear of both.
#[test]
fn why_a_pipeline_is_not_stopped_is_said_beside_why_its_new_program_is_held() {
    let mut world = World::new("A");
    world.engine.edition = "Open source";
    world.settle();
    world.edit("broken");
    world.settle();
    assert_eq!(world.condition("Stalled").unwrap().1, "CompileFailed");
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    let (_, reason, message) = world.condition("Stalled").unwrap();
    assert_eq!(reason, "CompileFailed");
    assert!(message.contains("doesn't compile"), "{message}");
    assert!(message.contains("stopping the pipeline"), "{message}");
}

#[test]
fn an_engine_without_checkpoints_is_not_stopped_unless_state_may_be_lost() {
    let mut world = World::new("A");
    world.engine.edition = "Open source";
    world.settle();
    assert_eq!(world.phase(), "Running");
    world.edit("B");
    world.settle();
    assert_eq!(world.condition("Stalled").unwrap().1, "StateLossNotAllowed");
    assert_eq!(world.engine.sql, "A");
    world.spec(|spec| spec.allow_state_loss = true);
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.engine.sql.as_str()),
        ("Running", "B")
    );
}

#[test]
fn the_policy_allow_goes_on_unasked_and_settles_what_came_of_it() {
    let mut world = World::running("A");
    world.spec(|spec| {
        spec.bootstrap_policy = BootstrapPolicy::Allow;
        spec.program.get_or_insert_default().sql = Some("B".into());
    });
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.approve_calls()),
        ("Running", 0)
    );
    assert_eq!(world.engine.bootstraps.len(), 1);
    let target = Content {
        sql: "B".into(),
        ..Content::default()
    }
    .target();
    assert_eq!(world.status().settled.unwrap().target, target);
}

#[test]
fn what_the_policy_allow_lets_through_unasked_stands_in_the_history_and_in_the_audit_log() {
    let mut world = World::running("A");
    world.spec(|spec| {
        spec.bootstrap_policy = BootstrapPolicy::Allow;
        spec.program.get_or_insert_default().sql = Some("B".into());
    });
    world.settle();
    let record = &world.status().history[0];
    assert_eq!(record.state, ApprovalState::Sealed);
    assert_eq!(record.summary, "modifies view v");
    let decision = record.decision.as_ref().unwrap();
    assert_eq!(
        (decision.via, decision.by.as_str()),
        (Door::Policy, "spec.bootstrapPolicy")
    );
    let events: Vec<&str> = world.audited().iter().map(|(event, _)| *event).collect();
    assert_eq!(events, ["Approved", "Applied", "Sealed"]);
    assert_eq!(
        (world.reported("AwaitingApproval"), world.approve_calls()),
        (0, 0)
    );

    // A change of functions, which the engine doesn't see, as well; one of a comment isn't one.
    world.edit_functions("fn f() {}");
    world.settle();
    assert_eq!(world.status().history.len(), 2);
}

#[test]
fn the_policy_reject_keeps_what_runs() {
    let mut world = World::running("A");
    world.spec(|spec| {
        spec.bootstrap_policy = BootstrapPolicy::Reject;
        spec.program.get_or_insert_default().sql = Some("B".into());
    });
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.engine.sql.as_str()),
        ("Running", "A")
    );
    assert_eq!(world.condition("Stalled").unwrap().1, "ChangeRefused");
}

#[test]
fn options_that_change_while_a_change_waits_make_it_another_change() {
    let mut world = World::waiting("A", "B");
    let id = world.approve_by_annotation();
    world.spec(|spec| spec.bootstrap_options.silent = true);
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
    assert_ne!(world.approval().change_id, id);
    assert!(world.engine.deployment.as_ref().unwrap().options.silent);
    world.approve_by_annotation();
    world.settle();
    assert!(world.acts.contains(&Act::Approve(BootstrapOptions {
        silent: true,
        concurrent: false
    })));
}

#[test]
fn a_pipeline_is_paused_and_resumed_without_a_restart() {
    let mut world = World::running("A");
    let deployment = world.engine.deployment.clone().unwrap().id;
    world.spec(|spec| spec.desired_state = DesiredState::Paused);
    world.settle();
    assert_eq!(world.phase(), "Paused");
    world.spec(|spec| spec.desired_state = DesiredState::Running);
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.engine.deployment.unwrap().id, deployment);
}

#[test]
fn what_is_paused_or_resumed_by_now_is_not_asked_for_again() {
    let mut world = World::running("A");
    for (desired, from) in [
        (DesiredState::Paused, "Running"),
        (DesiredState::Running, "Paused"),
    ] {
        world.spec(|spec| spec.desired_state = desired);
        let step = loop {
            match world.plan(None, false).step {
                Step::Record(status) => world.store(*status),
                other => break other,
            }
        };
        // What the engine shows at the very last decides: only what isn't so yet is asked for.
        assert!(
            matches!(&step, Step::Act(Act::Pause | Act::Resume, guard) if guard.status == [from]),
            "{step:?}"
        );
        world.settle();
    }
}

#[test]
fn a_pipeline_that_fails_is_started_again_after_growing_pauses() {
    let mut world = World::running("A");
    for failure in 1..=3 {
        world.engine.error = Some(crate::engine::PipelineError {
            message: "out of memory".into(),
            code: "RuntimeError".into(),
        });
        world.engine.deployment = None;
        world.reconcile();
        assert_eq!(world.status().failures.unwrap().count, failure);
        assert_eq!(world.condition("Ready").unwrap().1, "BackingOff");
        let starts = |world: &World| {
            world
                .acts
                .iter()
                .filter(|act| matches!(act, Act::Start(_)))
                .count()
        };
        let before = starts(&world);
        world.pass(5 << failure);
        world.reconcile();
        assert_eq!(
            starts(&world),
            before,
            "failure {failure}: started too early"
        );
        world.settle();
        world.settle();
        assert_eq!(world.phase(), "Running");
    }
    assert_eq!(world.reported("PipelineFailed"), 3);
    world.pass(1_000);
    world.reconcile();
    assert_eq!(world.status().failures, None);
}

#[test]
fn a_vote_object_counts_and_a_rejection_by_another_beats_it() {
    for (decisions, expected) in [
        (vec![VoteDecision::Approve], ApprovalState::Sealed),
        (
            vec![VoteDecision::Approve, VoteDecision::Reject],
            ApprovalState::Rejected,
        ),
    ] {
        let mut world = World::waiting("A", "B");
        let id = world.approval().change_id;
        for (n, decision) in decisions.into_iter().enumerate() {
            let voter = format!("voter-{n}");
            let vote =
                PipelineApproval::for_vote(&world.pipeline, &id, &voter, decision, None, None);
            world.objects.push(vote);
        }
        world.settle();
        assert_eq!(world.approval_state(), Some(expected));
    }
}

#[test]
fn a17_a_checkpoint_follows_the_bootstrap_and_ends_repeated_ones() {
    let mut world = World::waiting("A", "B");
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.engine.base(), Some("B"));
    let mut calls = world.acts.iter().rev();
    let last = calls.find(|act| !matches!(act, Act::Mark { .. }));
    assert_eq!(last, Some(&Act::Checkpoint));
    world.engine.kill_process(true);
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.engine.bootstraps.len()),
        ("Running", 1)
    );
}

#[test]
fn a18_a_change_that_replaces_one_at_the_gate_drops_no_input_either() {
    let mut world = World::waiting("A", "B");
    let dropped = |world: &World| world.approval().at_stake.unwrap().dropped_input;
    assert_eq!(dropped(&world), "none");
    world.edit("C");
    world.settle();
    assert_eq!(
        (world.phase().as_str(), dropped(&world).as_str()),
        ("AwaitingApproval", "none")
    );
    // Somebody else has stopped it: who knows what came in before.
    world.edit("A");
    world.settle();
    world.engine.deployment = None;
    world.edit("B");
    world.settle();
    assert_eq!(
        (world.phase().as_str(), dropped(&world).as_str()),
        ("AwaitingApproval", "unknown")
    );
}

#[test]
fn a_foreign_start_of_an_edited_program_is_noticed() {
    let mut world = World::running("A");
    world.engine.deployment = None;
    world.engine.sql = "X".into();
    world.engine.version += 1;
    world.engine.start_by_hand("allow");
    world.settle();
    assert_eq!(world.reported("OutsideStart"), 1);
}

#[test]
fn a_checkpoint_of_which_nothing_is_heard_is_asked_for_again() {
    let mut world = World::new("A");
    world.engine.loses_checkpoints = 1;
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.status().settled),
        ("Running", None)
    );
    world.pass(3_600);
    world.settle();
    world.pass(3_600);
    world.settle();
    assert!(world.status().settled.is_some());
}

#[test]
fn a_gate_that_somebody_parked_by_a_graceful_stop_is_freed() {
    let mut world = World::waiting("A", "B");
    world.engine.deployment.as_mut().unwrap().parked = true;
    world.settle();
    assert!(world.acts.contains(&Act::Stop { force: true }));
    assert_eq!(world.phase(), "AwaitingApproval");
    assert!(!world.engine.deployment.as_ref().unwrap().parked);
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
}

#[test]
fn a2_a_change_that_was_taken_back_is_another_one_when_it_is_made_again() {
    let mut world = World::waiting("A", "B");
    let id = world.approval().change_id;
    world.edit("A");
    world.settle();
    assert_eq!(world.phase(), "Running");
    world.annotate(annotation::APPROVE, &id);
    world.edit("B");
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.approve_calls()),
        ("AwaitingApproval", 0)
    );
    assert_ne!(world.approval().change_id, id);
}

#[test]
fn a6_the_call_is_made_only_if_the_engine_shows_what_was_approved() {
    let mut world = World::waiting("A", "B");
    world.approve_by_annotation();
    let Step::Record(status) = world.plan(None, false).step else {
        panic!("the decision is recorded before anything is called");
    };
    world.store(*status);
    let Step::Act(Act::Approve(_), guard) = world.plan(None, false).step else {
        panic!("the decision is recorded, so the engine is told");
    };
    let live = world.engine.state().unwrap();
    let expected = Guard {
        pipeline_id: world.engine.state().map(|it| it.id),
        absent: false,
        deployment_id: live.deployment_id.clone(),
        status: &["AwaitingApproval"],
        version: Some(live.version),
        diff_digest: Some(crate::canonical::digest(&live.approval_diff)),
        tags: None,
        resumes_from: None,
    };
    assert_eq!(guard, expected);
}

#[test]
fn a_change_taken_back_before_its_decision_brings_the_old_program_up_unasked() {
    let mut world = World::waiting("A", "B");
    world.edit("A");
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.engine.bootstraps.len()),
        ("Running", 0)
    );
    assert_eq!(world.approval_state(), Some(ApprovalState::Superseded));
}

#[test]
fn what_was_said_of_an_older_spec_is_not_said_of_the_one_that_is_there() {
    let mut world = World::new("A");
    world.engine_is_unasked = true;
    world.reconcile();
    assert_eq!(world.condition("Ready").unwrap().0, "False");
    assert!(world.condition("Reconciling").is_some());
    world.engine_is_unasked = false;
    world.settle();
    // An operator that is started anew says of what it has looked at before what was said.
    world.engine_is_unasked = true;
    world.reconcile();
    assert_eq!(world.condition("Ready").unwrap().0, "True");
    world.edit("B");
    world.reconcile();
    assert_eq!(world.condition("Ready").unwrap().0, "False");
    assert!(world.condition("Reconciling").is_some());
}

#[test]
fn a_rejected_change_goes_on_only_if_somebody_acts() {
    let mut world = World::waiting("A", "B");
    assert_eq!(world.condition("Stalled"), None, "waiting is no failure");
    let id = world.approval().change_id;
    world.annotate(annotation::REJECT, &id);
    world.settle();
    assert_eq!(world.condition("Stalled").unwrap().1, "Rejected");
    assert_eq!(world.reported("Rejected"), 1);
    world.annotate(annotation::RETRY, &id);
    world.settle();
    assert_eq!(world.condition("Stalled"), None);
}
