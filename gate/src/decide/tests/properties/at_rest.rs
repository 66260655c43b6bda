//! Whatever happened: once nothing is in the way any more and time has passed, each Pipeline is where its spec wants it, or
//! its status says what holds it, and that is true.

use std::time::Duration;

use proptest::prelude::*;

use super::super::model::World;
use super::happening::{
    Approved, Happening, about_answers, about_late_watches, about_other_pipelines, about_settings,
    about_wishes, happen, happening,
};
use crate::crd::{ApprovalState, BootstrapPolicy, DesiredState};
use crate::decide::{Act, is_owned};
use crate::engine::same_content;

/// So long nothing moves before it counts as being at rest: longer than any pause that the operator makes.
const LONG: Duration = Duration::from_secs(3 * 3600);

/// How often something may move before that.
const MOST: usize = 200;

impl World {
    /// Lets engine and operator go on until nothing moves for a long time. The operator looks again only where something
    /// changed, or when it said that it would.
    fn come_to_rest(&mut self) -> Result<(), String> {
        let mut at_rest = Duration::ZERO;
        let mut moves = vec![];
        while at_rest < LONG {
            let shown = |world: &Self| (world.engine.shown(), world.engine.build_state());
            let before = (
                self.pipeline.status.clone(),
                self.acts_that_move(),
                shown(self),
            );
            let pause = self.reconcile_amid(usize::MAX, |_, _| {});
            self.engine.tick();
            self.pass(1);
            if before
                != (
                    self.pipeline.status.clone(),
                    self.acts_that_move(),
                    shown(self),
                )
            {
                at_rest = Duration::ZERO;
                moves.push(format!(
                    "{:?} {:?}",
                    self.condition("Ready"),
                    self.acts.last()
                ));
                if moves.len() > MOST {
                    let last = moves.split_off(MOST - 6);
                    return Err(format!("something always moves: {last:#?}"));
                }
                continue;
            }
            let Some(pause) = pause else { return Ok(()) };
            // What is tried again every few seconds needn't be looked at each time.
            let least = if at_rest.is_zero() { 1 } else { 30 };
            let pause = pause.max(Duration::from_secs(least));
            at_rest += pause;
            self.pass(i64::try_from(pause.as_secs()).unwrap_or(i64::MAX));
        }
        Ok(())
    }

    /// What is asked of a compiler that is down is asked again now and then, for as long as it is.
    fn acts_that_move(&self) -> usize {
        let in_vain = |act: &&Act| match act {
            Act::Preview(_) => self.engine.compiler_is_down,
            Act::Build { .. } => self.engine.builds_fail,
            _ => false,
        };
        self.acts.iter().filter(|act| !in_vain(act)).count()
    }

    /// What is wrong with where it has come to rest.
    fn complaint(&self) -> Option<String> {
        let status = self.status();
        let (ready, reason, message) = self.condition("Ready")?;
        let approval = status.approval.as_ref();
        let state = approval.map(|approval| approval.state);
        let spec = &self.pipeline.spec;
        if status.observed_generation != self.pipeline.metadata.generation {
            return Some("it speaks of an older spec".to_owned());
        }
        let holds = match reason.as_str() {
            "Running" | "Paused" | "Stopped" => ready == "True" && self.is_as_wanted(),
            "AwaitingApproval" => {
                // Where nobody may say so yet there is nothing to approve.
                status.waiting_since.is_some() && state == Some(ApprovalState::Awaiting)
            }
            "Rejected" => state == Some(ApprovalState::Rejected),
            "Expired" => state == Some(ApprovalState::Expired),
            "ApplyFailed" => state == Some(ApprovalState::ApplyFailed),
            "PipelineLost" => status.lost.is_some() && !self.has_its_pipeline(),
            "NameTaken" => self.rival.is_some() || !self.owns_what_is_there(),
            "CompileFailed" => ["broken", "bad rust"].contains(&self.wanted().sql.as_str()),
            "ContentNotFound" => self.unread.is_some(),
            "ChangeRefused" => spec.bootstrap_policy == BootstrapPolicy::Reject,
            "StateLossNotAllowed" => self.engine.reads_no_checkpoint() && !spec.allow_state_loss,
            "EngineRefused" => {
                // Whoever asks for another try has one.
                let mut since = self.acts.iter().skip(self.retry_is_from);
                let is_tried = since.any(|act| matches!(act, Act::Update(_)));
                self.refused.contains(&self.wanted().digest()) && is_tried
            }
            // Only what is to come is held up by that.
            "EngineUnreachable" => {
                let is_down = self.engine.compiler_is_down || self.engine.builds_fail;
                is_down && self.does_its_work()
            }
            "Starting" | "Updating" | "Stopping" | "Restarting"
                if self.engine.stops_hang || self.engine.starts_hang =>
            {
                let hangs = self.engine.state().map(|it| it.deployment_status);
                match hangs.as_deref() {
                    Some("Stopping") => self.engine.stops_hang,
                    // Nothing has come in before the gate, so that nothing is lost by a stop.
                    Some("Initializing") => spec.desired_state != DesiredState::Stopped,
                    _ => false,
                }
            }
            "Failed" => status.failures.is_some_and(|failures| failures.permanent),
            _ => false,
        };
        if holds && let Some(state @ (ApprovalState::Approved | ApprovalState::Applying)) = state {
            let target = approval.map(|it| it.target.clone());
            let is_settled = self.status().settled.map(|it| it.target) == target;
            // Where no start comes up it may never have been seen to run.
            let is_held = target
                .as_ref()
                .is_some_and(|target| self.engine.holds(target))
                && self.engine.kept() == self.engine.given()
                && !self.engine.starts_hang;
            if (is_settled || is_held) && self.has_its_pipeline() {
                return Some(format!("what is kept is still {state:?}"));
            }
        }
        (!holds).then(|| {
            format!(
                "it rests with Ready={ready}, {reason}: {message} ({:?}, {} {:?} {:?})",
                state,
                self.engine.given(),
                self.engine.state().map(|it| it.deployment_status),
                spec.desired_state,
            )
        })
    }

    fn is_as_wanted(&self) -> bool {
        let state = self.engine.state();
        let status = state.as_ref().map(|it| it.deployment_status.as_str());
        let wanted = match self.pipeline.spec.desired_state {
            DesiredState::Stopped => "Stopped",
            DesiredState::Paused => "Paused",
            _ => "Running",
        };
        status == Some(wanted) && same_content(&self.wanted(), &self.engine.content())
    }

    /// Whether something is up that should be, or nothing is that shouldn't.
    fn does_its_work(&self) -> bool {
        let is_up = self.engine.deployment.is_some();
        is_up == (self.pipeline.spec.desired_state != DesiredState::Stopped)
    }

    fn has_its_pipeline(&self) -> bool {
        let known = self.status().engine.and_then(|engine| engine.pipeline_id);
        let there = self.engine.state().map(|state| state.id);
        there.is_some() && known == there
    }

    fn owns_what_is_there(&self) -> bool {
        let state = self.engine.state();
        state.is_some_and(|state| is_owned(&state, &self.pipeline))
    }
}

/// What doesn't go away.
#[derive(Clone, Copy, Debug)]
enum Staying {
    NoContent,
    ARival,
    /// The engine refuses every update.
    Refusal,
    /// Nobody can be asked what a program would change, or nothing can be compiled beforehand.
    NoCompiler,
    NoBuilds,
    /// Stops with a checkpoint never end, or starts never come to the gate.
    HangingStops,
    HangingStarts,
}

fn staying() -> impl Strategy<Value = Staying> {
    prop_oneof![
        Just(Staying::NoContent),
        Just(Staying::ARival),
        Just(Staying::Refusal),
        Just(Staying::NoCompiler),
        Just(Staying::NoBuilds),
        Just(Staying::HangingStops),
        Just(Staying::HangingStarts),
    ]
}

impl Staying {
    fn begin(self, world: &mut World) {
        match self {
            Self::NoContent => world.unread = Some("there is no ConfigMap".to_owned()),
            Self::ARival => world.rival = Some("shop/older".to_owned()),
            Self::Refusal => world.engine.refuses_updates = Some("Broken"),
            Self::NoCompiler => world.engine.compiler_is_down = true,
            Self::NoBuilds => world.engine.builds_fail = true,
            Self::HangingStops => world.engine.stops_hang = true,
            Self::HangingStarts => world.engine.starts_hang = true,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_it_comes_to_rest_where_it_is_wanted_or_says_what_holds_it(
        history in prop::collection::vec(happening(), 1..80),
        stays in prop::option::weighted(0.4, staying()),
    ) {
        comes_to_rest(&history, stays)?;
    }

    #[test]
    fn each_answer_is_of_what_was_asked(
        history in prop::collection::vec(about_answers(), 1..24),
    ) {
        comes_to_rest(&history, None)?;
    }

    #[test]
    fn nothing_that_is_known_of_one_pipeline_is_taken_for_what_another_is(
        history in prop::collection::vec(about_other_pipelines(), 1..24),
    ) {
        comes_to_rest(&history, None)?;
    }

    #[test]
    fn what_is_seen_counts_before_what_is_wished(
        history in prop::collection::vec(about_wishes(), 1..40),
    ) {
        comes_to_rest(&history, None)?;
    }

    #[test]
    fn what_no_watch_has_brought_yet_is_heard_before_anything_is_called(
        history in prop::collection::vec(about_late_watches(), 1..40),
    ) {
        comes_to_rest(&history, None)?;
    }

    #[test]
    fn what_others_have_set_and_no_spec_names_stays(
        history in prop::collection::vec(about_settings(), 1..24),
    ) {
        comes_to_rest(&history, None)?;
    }
}

/// Has all of it happen, and looks where it ends once nothing but what stays is in the way.
fn comes_to_rest(history: &[Happening], stays: Option<Staying>) -> Result<(), TestCaseError> {
    let mut world = World::running("A");
    let mut approved = Approved::default();
    for what in history {
        happen(&mut world, &mut approved, what);
    }
    world.end_of_faults();
    if let Some(stays) = stays {
        stays.begin(&mut world);
    }
    let rests = world.come_to_rest();
    prop_assert!(rests.is_ok(), "{}", rests.unwrap_err());
    let complaint = world.complaint();
    prop_assert!(complaint.is_none(), "{}", complaint.unwrap_or_default());
    Ok(())
}
