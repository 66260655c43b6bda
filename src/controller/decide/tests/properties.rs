//! Random histories: whatever happens in which order, nothing is bootstrapped that was not approved,
//! and nothing that was approved is lost.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::model::{Engine, World};
use crate::change::Content;
use crate::controller::decide::Step;
use crate::crd::{
    ApprovalState, BootstrapOptions, DesiredState, Gate, Moment, PipelineApproval, Target,
    VoteDecision, annotation,
};

/// What people, the engine and the operator can do.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Edit(u8),
    EditFunctions(u8),
    EditSettings(u8),
    /// The engine loses the pipeline, or has it again.
    Lose,
    FindAgain,
    /// The object is deleted and created again, and somebody who may takes the engine's pipeline over.
    MakeAgain,
    /// Somebody gives the stopped pipeline other functions at the engine itself.
    EditByHand(u8),
    ApproveByAnnotation,
    ApproveByField,
    ApproveTrue,
    ApproveNothing,
    Reject,
    ToggleStopped,
    ToggleSilent,
    KillProcess(bool),
    ForgetApproval,
    CrashAfter(usize),
    RestartOperator,
    /// The operator looks before it has heard of the engine.
    ReconcileUnasked,
    /// The manager's answers are as old as they can be.
    PollLate,
    /// Somebody approves at the engine itself.
    ApproveOutside,
    /// Somebody starts it at the engine itself, under this policy.
    StartOutside(bool),
    /// The engine writes a checkpoint by itself.
    Checkpoint,
    /// The pipeline fails, for good or not.
    Fail(bool),
    /// Somebody votes by an object.
    Vote(bool),
    Retry,
    Restart,
    /// The audit log can't be written, or can again.
    ToggleAudit,
    Reconcile,
    Tick,
    Pass(u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        3 => (0u8..3).prop_map(Edit),
        2 => (0u8..3).prop_map(EditFunctions),
        1 => (0u8..3).prop_map(EditSettings),
        1 => Just(MakeAgain),
        1 => Just(Lose),
        1 => Just(FindAgain),
        1 => (0u8..3).prop_map(EditByHand),
        3 => Just(ApproveByAnnotation),
        2 => Just(ApproveByField),
        2 => Just(ApproveTrue),
        1 => Just(ApproveNothing),
        1 => Just(Reject),
        1 => Just(ToggleStopped),
        1 => Just(ToggleSilent),
        1 => any::<bool>().prop_map(KillProcess),
        1 => Just(ForgetApproval),
        4 => (1usize..5).prop_map(CrashAfter),
        1 => Just(RestartOperator),
        2 => Just(ReconcileUnasked),
        3 => Just(PollLate),
        1 => Just(ApproveOutside),
        1 => any::<bool>().prop_map(StartOutside),
        1 => Just(Checkpoint),
        1 => any::<bool>().prop_map(Fail),
        2 => any::<bool>().prop_map(Vote),
        1 => Just(Retry),
        1 => Just(Restart),
        1 => Just(ToggleAudit),
        8 => Just(Reconcile),
        8 => Just(Tick),
        4 => (1u8..12).prop_map(Pass),
    ]
}

const PROGRAMS: [&str; 4] = ["A", "B", "C", "D"];
const FUNCTIONS: [&str; 3] = ["", "+f", "+g"];

/// Settings that don't change unasked.
fn settings(number: u8) -> Value {
    match number {
        0 => json!({}),
        1 => json!({"env": {"A": "1"}}),
        _ => json!({"storage": false}),
    }
}

/// Which programs people have approved from which, by having seen that very change published.
#[derive(Default)]
struct Approved {
    by_people: HashSet<(String, String)>,
    /// Those of them that were asked about before what runs was stopped.
    beforehand: HashSet<(String, String)>,
    /// Those that somebody let through at the engine itself.
    at_the_engine: HashSet<(String, String)>,
    /// The questions, said yes to, whether a lost pipeline is made anew.
    losses: HashSet<String>,
}

impl Approved {
    /// Somebody says yes to what status shows.
    fn note(&mut self, world: &World) {
        let Some(approval) = world.status().approval else {
            return;
        };
        let link = world.status().lost.and_then(|lost| lost.link);
        if link.as_ref() == Some(&approval.parent) {
            self.losses.insert(approval.change_id);
        } else if approval.gate == Gate::Sluice {
            // It says yes to what is shown, whatever the spec asks for by now.
            self.beforehand
                .insert((world.engine.kept(), label_of(&approval.target)));
        } else if approval.target == world.engine.content().target() {
            let change = (world.engine.kept(), world.engine.given());
            self.by_people.insert(change);
        }
    }

    /// Somebody goes round the gate.
    fn outside(&mut self, world: &World) {
        let change = (world.engine.kept(), world.engine.given());
        self.at_the_engine.insert(change);
    }

    /// Whether somebody has let a program begin from nothing, from whichever checkpoint.
    fn lets_lose(&self, given: &str) -> bool {
        let all = [&self.by_people, &self.beforehand, &self.at_the_engine];
        all.iter()
            .any(|some| some.iter().any(|(_, to)| to == given))
    }

    fn covers(&self, change: &(String, String)) -> bool {
        self.by_people.contains(change)
            || self.beforehand.contains(change)
            || self.at_the_engine.contains(change)
    }
}

/// The program, its functions and its settings, in one word, of a target.
fn label_of(target: &Target) -> String {
    let all = PROGRAMS
        .into_iter()
        .flat_map(|sql| FUNCTIONS.map(|udf_rust| (sql, udf_rust)));
    let mut of_it = all.filter(|(sql, udf_rust)| {
        let content = Content {
            sql: (*sql).to_owned(),
            udf_rust: (*udf_rust).to_owned(),
            ..Content::default()
        };
        content.target() == target.without_settings()
    });
    let (sql, functions) = of_it.next().expect("one of those that there are");
    Engine::label(sql, functions, &target.runtime_version, &target.settings)
}

fn happen(world: &mut World, approved: &mut Approved, what: Happening) {
    let waiting = world
        .status()
        .approval
        .filter(|approval| approval.state == ApprovalState::Awaiting);
    match what {
        Happening::EditFunctions(functions) => {
            world.edit_functions(FUNCTIONS[usize::from(functions)]);
        }
        Happening::EditSettings(number) => world.set(settings(number)),
        Happening::Lose => world.engine.lose(),
        Happening::FindAgain => world.engine.find_again(),
        Happening::MakeAgain => {
            if world.engine.exists {
                world.make_again();
                world.adopt();
            }
        }
        Happening::EditByHand(functions) => {
            if world.engine.deployment.is_none() {
                world.engine.version += 1;
                FUNCTIONS[usize::from(functions)].clone_into(&mut world.engine.udf_rust);
            }
        }
        Happening::Edit(program) => world.edit(PROGRAMS[usize::from(program)]),
        Happening::ApproveByAnnotation => {
            if let Some(approval) = waiting {
                approved.note(world);
                world.annotate(annotation::APPROVE, &approval.change_id);
            }
        }
        Happening::ApproveByField => {
            if let Some(approval) = waiting {
                approved.note(world);
                world.spec(|spec| spec.approved_change = Some(approval.change_id));
            }
        }
        Happening::ApproveTrue => {
            // Taking it away is seen before it is set again, or it is no new answer.
            if world.pipeline.spec.approved == Some(true) {
                world.spec(|spec| spec.approved = None);
            } else {
                if waiting.is_some() {
                    approved.note(world);
                }
                world.spec(|spec| spec.approved = Some(true));
            }
        }
        Happening::ApproveNothing => world.annotate(annotation::APPROVE, "true"),
        Happening::Reject => {
            if let Some(approval) = waiting {
                world.annotate(annotation::REJECT, &approval.change_id);
            }
        }
        Happening::ToggleStopped => world.spec(|spec| {
            spec.desired_state = match spec.desired_state {
                DesiredState::Stopped => DesiredState::Running,
                _ => DesiredState::Stopped,
            }
        }),
        Happening::ToggleSilent => world.spec(|spec| {
            spec.bootstrap_options = BootstrapOptions {
                silent: !spec.bootstrap_options.silent,
                concurrent: false,
            }
        }),
        Happening::PollLate => world.engine.polls_late = true,
        Happening::ApproveOutside => {
            if world.engine.deployment.is_some() {
                approved.outside(world);
                world.engine.approve();
            }
        }
        Happening::StartOutside(allowed) => {
            if world.engine.deployment.is_none() && world.engine.compiled {
                // Of other functions or settings the engine asks nobody, nor without storage.
                let asks = world.engine.base() != Some(world.engine.sql.as_str())
                    && !world.engine.reads_no_checkpoint();
                if allowed || !asks {
                    approved.outside(world);
                }
                let policy = if allowed { "allow" } else { "await_approval" };
                world.engine.start(policy, BootstrapOptions::default());
            }
        }
        Happening::Checkpoint => {
            if world.engine.is_up() {
                world.engine.write_checkpoint();
            }
        }
        Happening::Fail(for_good) => world.engine.fail(if for_good {
            "InitializationError"
        } else {
            "Panic"
        }),
        Happening::Vote(approves) => {
            if let Some(approval) = waiting {
                if approves {
                    approved.note(world);
                }
                let decision = if approves {
                    VoteDecision::Approve
                } else {
                    VoteDecision::Reject
                };
                let (id, pipeline) = (&approval.change_id, &world.pipeline);
                let vote = PipelineApproval::for_vote(pipeline, id, "alice", decision, None, None);
                world.objects.push(vote);
            }
        }
        Happening::Retry => {
            if let Some(approval) = world.status().approval {
                world.annotate(annotation::RETRY, &approval.change_id);
            }
        }
        Happening::Restart => {
            let now = world.now;
            world.spec(|spec| spec.restarted_at = Some(Moment(now.to_string())));
        }
        Happening::KillProcess(forgets) => world.engine.kill_process(forgets),
        Happening::ForgetApproval => world.engine.forgets = 1,
        Happening::CrashAfter(effects) => {
            world.reconcile_until(effects);
            world.restart_operator();
        }
        Happening::RestartOperator => world.restart_operator(),
        Happening::ReconcileUnasked => {
            world.engine_is_unasked = true;
            world.reconcile();
            world.engine_is_unasked = false;
        }
        Happening::ToggleAudit => world.audit_is_stuck = !world.audit_is_stuck,
        Happening::Reconcile => world.reconcile(),
        Happening::Tick => world.engine.tick(),
        Happening::Pass(seconds) => world.pass(seconds.into()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_bootstrapped_that_was_not_approved(
        history in prop::collection::vec(happening(), 1..120),
    ) {
        let mut world = World::running("A");
        let mut approved = Approved::default();
        for what in history {
            happen(&mut world, &mut approved, what);
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
            happen(&mut world, &mut approved, what);
            for change in &world.engine.bootstraps[seen..] {
                prop_assert!(approved.covers(change), "{change:?} was bootstrapped unapproved");
            }
            seen = world.engine.bootstraps.len();
            // Which are lost and found again is no matter of what was approved.
            let moves = matches!(what, Happening::Lose | Happening::FindAgain);
            if world.engine.checkpoints.len() != before && !moves {
                // What was asked about beforehand is stopped for with a checkpoint of the same program.
                let kept = world.engine.kept();
                approved.beforehand.retain(|(base, _)| *base == kept);
                approved = Approved {
                    beforehand: approved.beforehand,
                    ..Approved::default()
                };
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
            happen(&mut world, &mut approved, what);
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
            happen(&mut world, &mut approved, what);
        }
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
        });
        // A program that nobody has rejected.
        world.edit("D");
        world.edit_functions("");
        // What runs without storage can only be stopped with the loss of all.
        world.spec(|spec| {
            spec.runtime_config = None;
            spec.allow_state_loss = true;
        });
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
        let target = world.engine.content().target();
        prop_assert_eq!(world.status().settled.map(|settled| settled.target), Some(target));
    }

    #[test]
    fn once_there_is_nothing_left_to_do_nothing_is_recorded(
        history in prop::collection::vec(happening(), 1..80),
    ) {
        let mut world = World::running("A");
        let mut approved = Approved::default();
        for what in history {
            happen(&mut world, &mut approved, what);
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
            happen(&mut world, &mut approved, what);
        }
        world.audit_is_stuck = false;
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
        let outside = history.iter().filter(|what| {
            matches!(what, Happening::ApproveOutside | Happening::StartOutside(_))
        }).count();
        for what in history {
            happen(&mut world, &mut approved, what);
        }
        world.settle();
        let mut told = HashSet::new();
        let once = ["AwaitingApproval", "Approved", "Rejected", "Sealed", "Superseded", "GateOpened", "DiffChanged"];
        for report in world.reports.iter().filter(|report| once.contains(&report.reason)) {
            prop_assert!(told.insert((report.reason, &report.message)), "told twice: {report:?}");
        }
        // What others do at the engine can happen again, and is told no more often than it does.
        prop_assert!(world.reported("OutsideApproval") <= outside, "{:?}", world.reports);
        prop_assert!(world.reported("OutsideStart") <= outside, "{:?}", world.reports);
        prop_assert!(world.reported("ApprovalRepeated") <= world.approve_calls(), "{:?}", world.reports);
    }
}
