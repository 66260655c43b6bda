//! Random histories: whatever happens in which order, nothing is bootstrapped that was not approved,
//! and nothing that was approved is lost.

mod at_rest;
mod happening;
mod long_lives;

use std::collections::HashSet;

use proptest::prelude::*;

use super::model::World;
use crate::crd::{BootstrapPolicy, DesiredState};
use crate::decide::Step;
use happening::{Approved, Happening, happen, happening};

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_bootstrapped_that_was_not_approved(
        history in prop::collection::vec(happening(), 1..120),
    ) {
        let mut world = World::running("A");
        let mut approved = Approved::default();
        for what in history {
            happen(&mut world, &mut approved, &what);
            for change in &world.engine.bootstraps {
                prop_assert!(approved.covers(change), "{change:?} was bootstrapped unapproved");
            }
            for lost in &world.engine.losses {
                prop_assert!(approved.lets_lose(lost), "the state was lost to {lost} unapproved");
            }
            prop_assert!(world.replaced <= approved.losses.len(), "made anew unapproved");
        }
    }

    /// An approval is good for one change, until that is kept. Of what was approved from one
    /// checkpoint nothing is left once there is another.
    #[test]
    fn an_approval_counts_only_for_the_state_that_it_was_given_for(
        history in prop::collection::vec(happening(), 1..120),
    ) {
        let mut world = World::running("A");
        let mut approved = Approved::default();
        let mut seen = 0;
        for what in history {
            let before = world.engine.checkpoints.len();
            happen(&mut world, &mut approved, &what);
            for change in &world.engine.bootstraps[seen..] {
                prop_assert!(approved.covers(change), "{change:?} was bootstrapped unapproved");
            }
            seen = world.engine.bootstraps.len();
            // Which are lost and found again is no matter of what was approved.
            let moves = matches!(what, Happening::Lose | Happening::FindAgain);
            if world.engine.checkpoints.len() != before && !moves {
                // What was asked about beforehand is stopped for with a checkpoint of the same program.
                approved.keep_only_what_was_asked_beforehand(&world.engine.kept());
            }
        }
    }

    /// What has left the gate is stopped with a checkpoint, however old the manager's answers are.
    #[test]
    fn no_input_is_dropped_by_a_stop_at_once(
        history in prop::collection::vec(happening(), 1..120),
    ) {
        let mut world = World::running("A");
        let mut approved = Approved::default();
        for what in history {
            happen(&mut world, &mut approved, &what);
            // Somebody went on with what was rejected: that is stopped at once, and said.
            let rejected = world.reported("OutsideApproval") + world.reported("RejectedTooLate");
            prop_assert!(world.engine.dropped_input <= rejected);
        }
    }

    #[test]
    fn whatever_happened_an_approval_brings_the_wanted_program_up(
        history in prop::collection::vec(happening(), 1..80),
    ) {
        let mut world = World::running("A");
        let mut approved = Approved::default();
        for what in history {
            happen(&mut world, &mut approved, &what);
        }
        world.end_of_faults();
        world.pipeline.metadata.annotations = None;
        world.objects.clear();
        // An adoption that was acted on before counts again once it is written again.
        world.reconcile();
        world.adopt();
        // Whoever fights with Sluice at the engine has stopped doing so.
        world.pass(3_700);
        world.spec(|spec| {
            spec.desired_state = DesiredState::Running;
            spec.approved = None;
            spec.approved_change = None;
            spec.bootstrap_policy = BootstrapPolicy::AwaitApproval;
        });
        // A program that nobody has rejected.
        world.edit("D");
        world.edit_functions("");
        world.configure(None);
        // What runs without storage can only be stopped with the loss of all. And an empty object leaves nothing of what
        // was adopted, which may be that.
        world.set(serde_json::json!({}));
        world.spec(|spec| spec.allow_state_loss = true);
        world.settle();
        // Twice where the functions are others too, and the engine couldn't be asked beforehand whether it
        // would ask.
        for _ in 0..2 {
            if world.phase() == "AwaitingApproval" {
                world.approve_by_annotation();
                world.settle();
            }
        }
        prop_assert_eq!(world.phase(), "Running");
        prop_assert_eq!(world.engine.sql.as_str(), "D");
        prop_assert_eq!(world.engine.base(), Some("D"));
        let settled = world.status().settled.map(|settled| settled.target);
        prop_assert!(settled.is_some_and(|settled| world.engine.holds(&settled)));
    }

    #[test]
    fn once_there_is_nothing_left_to_do_nothing_is_recorded(
        history in prop::collection::vec(happening(), 1..80),
    ) {
        let mut world = World::running("A");
        let mut approved = Approved::default();
        for what in history {
            happen(&mut world, &mut approved, &what);
        }
        world.settle();
        for full in [false, true] {
            let plan = world.plan(None, full);
            prop_assert!(!matches!(plan.step, Step::Record(_)), "{:?}", plan.step);
        }
    }

    /// Whatever crashes, each decision that was stored stands in the audit log, and no other.
    #[test]
    fn the_audit_log_holds_just_the_decisions_that_were_stored(
        history in prop::collection::vec(happening(), 1..120),
    ) {
        let mut world = World::running("A");
        let mut approved = Approved::default();
        for what in history {
            happen(&mut world, &mut approved, &what);
        }
        world.end_of_faults();
        world.settle();
        let lines: Vec<(String, String)> = world.audit.iter()
            .filter(|entry| ["Approved", "Rejected"].contains(&entry.event.as_str()))
            .map(|entry| {
                let decision = entry.decision.as_ref().expect("a decision");
                (entry.change_id.clone(), format!("{:?} {}", decision.outcome, decision.at.0))
            })
            .collect();
        for decision in &world.decided {
            prop_assert!(lines.contains(decision), "{decision:?} isn't in {lines:?}");
        }
        for line in &lines {
            prop_assert!(world.decided.contains(line), "{line:?} was never stored");
        }
    }

    /// An Event is sent once for each time that something happens, not for each look at it.
    #[test]
    fn each_turn_of_a_change_is_told_once(
        history in prop::collection::vec(happening(), 1..120),
    ) {
        let mut world = World::running("A");
        let mut approved = Approved::default();
        let is_outside = |what: &Happening| {
            matches!(what, Happening::ApproveOutside | Happening::StartOutside(_))
        };
        let outside = history.iter().filter(|what| match what {
            Happening::Amid(_, what) => is_outside(what),
            what => is_outside(what),
        }).count();
        for what in history {
            happen(&mut world, &mut approved, &what);
        }
        world.settle();
        let mut told = HashSet::new();
        let once = ["AwaitingApproval", "Approved", "Rejected", "Sealed", "Superseded", "GateOpened", "DiffChanged"];
        for report in world.reports.iter().filter(|report| once.contains(&report.reason.as_str())) {
            prop_assert!(told.insert((report.reason.as_str(), &report.message)), "told twice: {report:?}");
        }
        // What others do at the engine can happen again, and is told no more often than it does.
        prop_assert!(world.reported("OutsideApproval") <= outside, "{:?}", world.reports);
        prop_assert!(world.reported("OutsideStart") <= outside, "{:?}", world.reports);
        prop_assert!(world.reported("ApprovalRepeated") <= world.approve_calls(), "{:?}", world.reports);
    }
}
