//! What can happen in a history, and who has said yes to what.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::model::{Engine, Fault as Wrong, World};
use crate::change::Content;
use crate::crd::{
    ApprovalState, BootstrapOptions, BootstrapPolicy, DesiredState, Gate, Moment, PipelineApproval,
    Target, VoteDecision, annotation,
};

/// What people, the engine and the operator can do.
#[derive(Clone, Debug)]
pub enum Happening {
    Edit(u8),
    EditFunctions(u8),
    EditSettings(u8),
    EditConfig(u8),
    /// Something comes between what the operator reads and what it writes or calls, at this step of a reconcile.
    Amid(usize, Box<Happening>),
    /// The next call to the engine goes wrong.
    Fault(Wrong),
    /// The same of the next update, and meanwhile somebody edits what was asked for.
    UpdateMeets(Option<Wrong>, usize),
    /// Somebody sets settings by hand between the operator's look and the next update.
    SetAmidUpdate(u8),
    /// The next checkpoint that is asked for can't be written, or isn't and nobody says so.
    CheckpointFails,
    CheckpointGetsLost,
    /// The engine doesn't answer, or does again; only its compiler; or nothing can be compiled beforehand.
    ToggleEngine,
    ToggleCompiler,
    ToggleBuilds,
    /// What is compiled beforehand takes long, or doesn't any more.
    ToggleSlowBuilds,
    /// The engine's plans are others.
    OtherPlans,
    /// What the spec refers to isn't there, or is again.
    ToggleContent,
    /// Somebody else has the same pipeline, or is gone.
    ToggleRival,
    ToggleRefusePolicy,
    TogglePaused,
    ClearStorage,
    /// The engine loses the pipeline, or has it again.
    Lose,
    FindAgain,
    /// The object is deleted and created again, and somebody who may takes the engine's pipeline over.
    MakeAgain,
    /// Somebody stops it at once at the engine itself.
    StopOutside,
    /// The same, and clears its storage.
    ClearByHand,
    /// Somebody deletes it at the engine, and makes another one of its name.
    ReplaceByHand(u8),
    /// Somebody gives the stopped pipeline other functions at the engine itself.
    EditByHand(u8),
    /// The same of settings.
    SetByHand(u8),
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
    /// The operator hears of the Pipeline as it was so many happenings ago.
    ReconcileLate(usize),
    /// What the operator hears of votes by objects stays as it is, or doesn't any more.
    ToggleLateVotes,
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
    /// Somebody asks for another try of whatever didn't work.
    AskForATry,
    /// Somebody who may has the engine's pipeline taken over.
    Adopt,
    Restart,
    /// The audit log can't be written, or can again.
    ToggleAudit,
    Reconcile,
    Tick,
    Pass(u8),
    /// Engine and operator go on for a while.
    GoOn,
}

/// What happens in a history.
pub fn happening() -> impl Strategy<Value = Happening> {
    let amid =
        (0usize..7, by_others()).prop_map(|(step, what)| Happening::Amid(step, Box::new(what)));
    prop_oneof![5 => by_others(), 3 => of_the_operator(), 1 => amid]
}

/// What the operator does.
fn of_the_operator() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        4 => (1usize..5).prop_map(CrashAfter),
        1 => Just(RestartOperator),
        2 => (1usize..6).prop_map(ReconcileLate),
        1 => Just(ToggleLateVotes),
        2 => Just(ReconcileUnasked),
        8 => Just(Reconcile),
        8 => Just(Tick),
        4 => (1u8..12).prop_map(Pass),
    ]
}

/// What anybody else does.
fn by_others() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        3 => (0u8..3).prop_map(Edit),
        1 => (4u8..6).prop_map(Edit),
        1 => (0u8..3).prop_map(EditConfig),
        2 => fault().prop_map(Fault),
        2 => update_meets(),
        1 => Just(CheckpointFails),
        1 => Just(CheckpointGetsLost),
        1 => Just(ToggleEngine),
        1 => Just(ToggleCompiler),
        1 => Just(ToggleBuilds),
        1 => Just(ToggleSlowBuilds),
        1 => Just(OtherPlans),
        1 => Just(ToggleContent),
        1 => Just(ToggleRival),
        1 => Just(ToggleRefusePolicy),
        1 => Just(TogglePaused),
        1 => Just(ClearStorage),
        2 => (0u8..3).prop_map(EditFunctions),
        1 => (0..SETTINGS).prop_map(EditSettings),
        1 => Just(MakeAgain),
        1 => Just(Lose),
        1 => Just(FindAgain),
        1 => (0u8..3).prop_map(EditByHand),
        1 => (0..SETTINGS).prop_map(SetByHand),
        1 => (2..SETTINGS).prop_map(SetAmidUpdate),
        1 => (0u8..3).prop_map(ReplaceByHand),
        1 => Just(StopOutside),
        1 => Just(ClearByHand),
        3 => Just(ApproveByAnnotation),
        2 => Just(ApproveByField),
        2 => Just(ApproveTrue),
        1 => Just(ApproveNothing),
        1 => Just(Reject),
        1 => Just(ToggleStopped),
        1 => Just(ToggleSilent),
        1 => any::<bool>().prop_map(KillProcess),
        1 => Just(ForgetApproval),
        3 => Just(PollLate),
        1 => Just(ApproveOutside),
        1 => any::<bool>().prop_map(StartOutside),
        1 => Just(Checkpoint),
        1 => any::<bool>().prop_map(Fail),
        2 => any::<bool>().prop_map(Vote),
        1 => Just(Retry),
        1 => Just(Restart),
        1 => Just(ToggleAudit),
    ]
}

fn fault() -> impl Strategy<Value = Wrong> + Clone {
    prop_oneof![
        Just(Wrong::NotTaken),
        Just(Wrong::AnswerLost),
        Just(Wrong::Refused),
    ]
}

fn update_meets() -> impl Strategy<Value = Happening> {
    (prop::option::of(fault()), 0..MEANWHILE.len())
        .prop_map(|(fault, edit)| Happening::UpdateMeets(fault, edit))
}

/// Only what has to do with one answer of the engine after another, so that it happens often together.
pub fn about_answers() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        2 => (0u8..3).prop_map(Edit),
        1 => (0u8..3).prop_map(EditFunctions),
        3 => update_meets(),
        2 => Just(AskForATry),
        3 => Just(ApproveByAnnotation),
        4 => Just(GoOn),
        1 => Just(Reconcile),
    ]
}

/// The same of which pipeline of the engine is whose.
pub fn about_other_pipelines() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        2 => (0u8..3).prop_map(ReplaceByHand),
        1 => Just(Lose),
        1 => Just(FindAgain),
        1 => Just(MakeAgain),
        2 => Just(Adopt),
        1 => (0u8..3).prop_map(Edit),
        1 => Just(Checkpoint),
        1 => any::<bool>().prop_map(StartOutside),
        3 => Just(ApproveByAnnotation),
        4 => Just(GoOn),
        1 => (10u8..60).prop_map(Pass),
    ]
}

/// The same of what is wished while something else goes on.
pub fn about_wishes() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        2 => (0u8..3).prop_map(Edit),
        3 => Just(ApproveByAnnotation),
        2 => Just(ToggleStopped),
        1 => Just(TogglePaused),
        1 => Just(Restart),
        4 => Just(Tick),
        3 => Just(Reconcile),
        1 => Just(GoOn),
    ]
}

/// The same of what watches bring late.
pub fn about_late_watches() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        2 => (0u8..3).prop_map(Edit),
        1 => (0u8..3).prop_map(EditFunctions),
        2 => Just(ToggleLateVotes),
        2 => Just(Vote(false)),
        1 => Just(Vote(true)),
        3 => Just(ApproveByAnnotation),
        1 => Just(ToggleStopped),
        1 => Just(TogglePaused),
        3 => (1usize..6).prop_map(ReconcileLate),
        3 => (1usize..3).prop_map(CrashAfter),
        1 => fault().prop_map(Fault),
        2 => Just(Reconcile),
        3 => Just(GoOn),
    ]
}

/// The same of settings, by the spec and by others.
pub fn about_settings() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        3 => (0..SETTINGS).prop_map(EditSettings),
        3 => (0..SETTINGS).prop_map(SetByHand),
        1 => (2..SETTINGS).prop_map(SetAmidUpdate),
        1 => Just(StopOutside),
        1 => (0u8..3).prop_map(Edit),
        1 => (0u8..3).prop_map(EditFunctions),
        1 => update_meets(),
        1 => Just(MakeAgain),
        1 => Just(Adopt),
        1 => Just(RestartOperator),
        3 => Just(ApproveByAnnotation),
        1 => Just(Reject),
        4 => Just(GoOn),
        1 => Just(Reconcile),
    ]
}

/// The last two can't be compiled. Of the one the engine says so when it is asked what would change, of the other only its
/// compiler.
const PROGRAMS: [&str; 6] = ["A", "B", "C", "D", "broken", "bad rust"];
const FUNCTIONS: [&str; 3] = ["", "+f", "+g"];

/// How many [`settings`] there are.
const SETTINGS: u8 = 6;

/// Settings that don't change unasked, and beside them some that do. The first are none, and then those that leave
/// nothing of what is there.
fn settings(number: u8) -> Value {
    match number {
        0 => json!(null),
        1 => json!({}),
        2 => json!({"env": {"A": "1"}}),
        3 => json!({"storage": false}),
        4 => json!({"dev_tweaks": {"x": 1}, "max_rss_mb": 4}),
        _ => json!({"resources": {"service_account_name": "n", "cpu_cores_max": 2}}),
    }
}

/// Configurations of the program. The engine's gate doesn't look at the version of the runtime.
fn config(number: u8) -> Option<Value> {
    match number {
        0 => None,
        1 => Some(json!({"profile": "dev"})),
        _ => Some(json!({"runtime_version": "v1"})),
    }
}

/// Which programs people have approved from which, by having seen that very change published.
#[derive(Default)]
pub struct Approved {
    by_people: HashSet<(String, String)>,
    /// Those of them that were asked about before what runs was stopped.
    beforehand: HashSet<(String, String)>,
    /// Those that somebody let through at the engine itself.
    at_the_engine: HashSet<(String, String)>,
    /// The questions, said yes to, whether a lost pipeline is made anew.
    pub losses: HashSet<String>,
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
        } else if world.engine.holds(&approval.target) {
            let change = (world.engine.kept(), world.engine.given());
            self.by_people.insert(change);
        }
    }

    /// Somebody goes round the gate.
    fn outside(&mut self, world: &World) {
        let change = (world.engine.kept(), world.engine.given());
        self.at_the_engine.insert(change);
    }

    /// There is another checkpoint: what was approved from another program than it holds is spent.
    pub fn keep_only_what_was_asked_beforehand(&mut self, kept: &str) {
        self.by_people.clear();
        self.at_the_engine.clear();
        self.losses.clear();
        self.beforehand.retain(|(base, _)| base == kept);
    }

    /// Whether somebody has let a program begin from nothing, from whichever checkpoint.
    pub fn lets_lose(&self, given: &str) -> bool {
        let all = [&self.by_people, &self.beforehand];
        let mut to = all.into_iter().flatten().map(|(_, to)| to);
        to.any(|to| to == given)
    }

    pub fn covers(&self, change: &(String, String)) -> bool {
        self.by_people.contains(change)
            || self.beforehand.contains(change)
            || self.at_the_engine.contains(change)
    }
}

/// What somebody can do while a call is under way.
const MEANWHILE: [fn(&mut World); 4] = [
    |world| world.edit("B"),
    |world| world.edit("C"),
    |world| world.edit_functions("+f"),
    |world| {
        let now = world.now;
        world.annotate(annotation::RETRY, &now.to_string());
    },
];

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
        let of_it = content.target();
        (of_it.sql, of_it.udf_rust) == (target.sql.clone(), target.udf_rust.clone())
    });
    let (sql, functions) = of_it.next().expect("one of those that there are");
    Engine::label(sql, functions, &target.runtime_version, &target.settings)
}

fn toggle(it: &mut bool) {
    *it = !*it;
}

fn may_be_started(world: &World) -> bool {
    let engine = &world.engine;
    engine.deployment.is_none() && engine.compiled && engine.compile_error().is_none()
}

/// Has it happen.
pub fn happen(world: &mut World, approved: &mut Approved, what: &Happening) {
    let waiting = world
        .status()
        .approval
        .filter(|approval| approval.state == ApprovalState::Awaiting);
    world.note_what_is_heard_of();
    match *what {
        Happening::EditFunctions(functions) => {
            world.edit_functions(FUNCTIONS[usize::from(functions)]);
        }
        Happening::EditSettings(number) => world.set(settings(number)),
        Happening::EditConfig(number) => world.configure(config(number)),
        Happening::Amid(step, ref what) => {
            world.reconcile_amid(usize::MAX, |world, now| {
                if now == step {
                    happen(world, approved, what);
                }
            });
        }
        Happening::Fault(fault) => world.engine.fault = Some(fault),
        Happening::UpdateMeets(fault, edit) => {
            world.engine.fault_of_update = fault;
            world.edit_after_update = Some(MEANWHILE[edit]);
        }
        Happening::SetAmidUpdate(number) => {
            world.engine.set_amid_update = Some(settings(number));
        }
        Happening::CheckpointFails => world.engine.fails_checkpoints = 1,
        Happening::CheckpointGetsLost => world.engine.loses_checkpoints = 1,
        Happening::ToggleEngine => world.engine_answers = !world.engine_answers,
        Happening::ToggleCompiler => toggle(&mut world.engine.compiler_is_down),
        Happening::ToggleBuilds => toggle(&mut world.engine.builds_fail),
        Happening::ToggleSlowBuilds => toggle(&mut world.engine.compiles_for_long),
        Happening::OtherPlans => toggle(&mut world.engine.other_plans),
        Happening::ToggleContent => {
            world.unread = match world.unread {
                None => Some("there is no ConfigMap".to_owned()),
                Some(_) => None,
            };
        }
        Happening::ToggleRival => {
            world.rival = match world.rival {
                None => Some("shop/older".to_owned()),
                Some(_) => None,
            };
        }
        Happening::ToggleRefusePolicy => world.spec(|spec| {
            spec.bootstrap_policy = match spec.bootstrap_policy {
                BootstrapPolicy::Reject => BootstrapPolicy::AwaitApproval,
                _ => BootstrapPolicy::Reject,
            }
        }),
        Happening::TogglePaused => world.spec(|spec| {
            spec.desired_state = match spec.desired_state {
                DesiredState::Paused => DesiredState::Running,
                _ => DesiredState::Paused,
            }
        }),
        Happening::ClearStorage => {
            let now = world.now;
            world.spec(|spec| spec.clear_storage = Some(now.to_string()));
            // That says that it may begin from nothing.
            world.engine.emptied = false;
        }
        Happening::Lose => world.engine.lose(),
        Happening::FindAgain => world.engine.find_again(),
        Happening::MakeAgain => {
            if world.engine.exists {
                world.make_again();
                world.adopt();
            }
        }
        Happening::StopOutside => world.engine.stop_by_hand(),
        Happening::ClearByHand => {
            world.engine.stop_by_hand();
            world.engine.clear_by_hand();
            // Who asks for just that needn't be asked.
            let asked = &world.pipeline.spec.clear_storage;
            world.engine.emptied &= asked.is_none() || *asked == world.status().handled_clear;
        }
        Happening::ReplaceByHand(program) => {
            if world.engine.exists {
                world.engine.replace_by_hand(PROGRAMS[usize::from(program)]);
            }
        }
        Happening::EditByHand(functions) => {
            if world.engine.deployment.is_none() {
                world.engine.version += 1;
                FUNCTIONS[usize::from(functions)].clone_into(&mut world.engine.udf_rust);
            }
        }
        Happening::SetByHand(number) => {
            world.engine.set_by_hand(&settings(number));
            let named = json!(world.pipeline.spec.runtime_config);
            world.engine.are_named(&named);
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
            if may_be_started(world) {
                // Of other functions or settings the engine asks nobody, nor without storage.
                let base = world.engine.base();
                let asks = base.is_some_and(|base| base != world.engine.sql)
                    && !world.engine.reads_no_checkpoint();
                if allowed || !asks {
                    approved.outside(world);
                }
                let policy = if allowed { "allow" } else { "await_approval" };
                world.engine.start_by_hand(policy);
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
        Happening::AskForATry => {
            let now = world.now;
            world.annotate(annotation::RETRY, &now.to_string());
        }
        Happening::Adopt => world.adopt(),
        Happening::GoOn => world.settle_briefly(),
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
        Happening::ReconcileLate(age) => {
            world.hear_late(age);
            world.reconcile();
        }
        Happening::ToggleLateVotes => {
            world.votes_heard_of = match world.votes_heard_of.take() {
                None => Some(world.objects.clone()),
                Some(_) => None,
            };
        }
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
