//! Whatever happened: once nothing is in the way any more and time has passed, each Pipeline is where its spec wants it, or
//! its status says what holds it, and that is true.

use std::time::Duration;

use proptest::prelude::*;

use super::super::model::World;
use super::happening::{Approved, happen, happening};
use crate::controller::decide::is_owned;
use crate::crd::{ApprovalState, BootstrapPolicy, DesiredState};
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
            let before = (self.pipeline.status.clone(), self.acts.len(), shown(self));
            let pause = self.reconcile_amid(usize::MAX, |_, _| {});
            self.engine.tick();
            self.pass(1);
            if before != (self.pipeline.status.clone(), self.acts.len(), shown(self)) {
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
            let pause = pause.max(Duration::from_secs(1));
            at_rest += pause;
            self.pass(i64::try_from(pause.as_secs()).unwrap_or(i64::MAX));
        }
        Ok(())
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
            "EngineRefused" => status
                .refusal
                .is_some_and(|refusal| self.wanted().is(&refusal.digest, refusal.exact.as_deref())),
            "Failed" => status.failures.is_some_and(|failures| failures.permanent),
            _ => false,
        };
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_it_comes_to_rest_where_it_is_wanted_or_says_what_holds_it(
        history in prop::collection::vec(happening(), 1..80),
        content_stays_away in prop::bool::weighted(0.1),
        rival_stays in prop::bool::weighted(0.1),
        refusal_stays in prop::bool::weighted(0.2),
    ) {
        let mut world = World::running("A");
        let mut approved = Approved::default();
        for what in &history {
            happen(&mut world, &mut approved, what);
        }
        world.end_of_faults();
        if content_stays_away {
            world.unread = Some("there is no ConfigMap".to_owned());
        }
        if rival_stays {
            world.rival = Some("shop/older".to_owned());
        }
        if refusal_stays {
            world.engine.refuses_updates = Some("Fault");
        }
        let rests = world.come_to_rest();
        prop_assert!(rests.is_ok(), "{}", rests.unwrap_err());
        let complaint = world.complaint();
        prop_assert!(complaint.is_none(), "{}", complaint.unwrap_or_default());
    }
}
