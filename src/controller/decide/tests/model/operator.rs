//! The operator as the model has it. It goes the way of `controller::reconcile`: what it read may be old by the time that it
//! writes or calls, a status for an older object isn't stored, and a call that failed isn't made again at once.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::World;
use super::checks::check_that_it_speaks_of_the_spec;
use super::storage::number_of_call;
use crate::controller::decide::{
    Act, Asked, CheckpointStatusSeen, Guard, Input, LastCall, Observation, Outcome, Plan, Seen,
    Step, Timing, decide, remembered,
};
use crate::crd::{Pipeline, PipelineStatus};
use crate::engine::{EngineInfo, Error, PipelineState};
use crate::gate::change::Content;

/// How many steps a reconcile may take.
const MAX_STEPS: usize = 24;

/// How long a call that failed isn't made again.
const PAUSE: SignedDuration = SignedDuration::from_secs(5);

/// A call that failed.
pub(super) struct Failed {
    outcome: Outcome,
    until: Timestamp,
    /// Whoever asks for something else isn't kept waiting.
    asked: (Option<i64>, BTreeMap<String, String>),
}

impl World {
    /// One reconcile, to its end.
    pub fn reconcile(&mut self) {
        self.reconcile_until(usize::MAX);
    }

    /// One reconcile that ends, as by a crash, after a number of writes and calls.
    pub fn reconcile_until(&mut self, effects: usize) {
        self.reconcile_amid(effects, |_, _| {});
    }

    /// The same, while others do something: they are asked before each step is carried out, when it is decided already.
    /// Says when it would look again though nothing happens, if ever.
    pub fn reconcile_amid(
        &mut self,
        effects: usize,
        mut others: impl FnMut(&mut Self, usize),
    ) -> Option<Duration> {
        self.asked = Asked::default();
        self.has_been_a_guest |= self.pipeline.is_guest();
        let mut held_back = self.what_is_held_back();
        let mut outcome = None;
        let mut read = self.pipeline.clone();
        let mut is_live = false;
        let mut seen = self.observed(&read, false);
        let mut done = 0;
        for step in 0..MAX_STEPS {
            if done == effects {
                return None;
            }
            self.see_what_is_up();
            self.write_audit();
            let plan = self.plan_of(&read, &seen, outcome.as_ref(), held_back.as_ref());
            others(self, step);
            if self.pipeline.metadata.uid != read.metadata.uid {
                return None;
            }
            match plan.step {
                Step::Wait => {
                    let rest = self.rest_of_holding_back();
                    return plan.requeue.into_iter().chain(rest).min();
                }
                Step::Record(_) if self.pipeline != read => {
                    self.conflicts += 1;
                    read = self.pipeline.clone();
                    is_live = true;
                }
                Step::Record(status) => {
                    self.record(*status, &plan.reports);
                    self.reports.extend(plan.reports);
                    read = self.pipeline.clone();
                    is_live = true;
                    outcome = None;
                    done += 1;
                }
                Step::Act(act, _) if !is_live && act != Act::Look => {
                    read = self.pipeline.clone();
                    is_live = true;
                }
                Step::Act(act, guard) => {
                    is_live = false;
                    outcome = self.perform(act, guard, &read, &mut done);
                    seen = self.observed_again(&seen);
                    if let Some(failed) = outcome.clone().filter(Outcome::holds_back) {
                        outcome.take_if(|it| it.holds_back_only_itself());
                        self.hold_back(failed.clone(), &read);
                        held_back = Some(failed);
                    }
                }
            }
        }
        panic!(
            "the reconcile doesn't come to an end; acts so far: {:?}",
            self.acts
        );
    }

    fn record(&mut self, status: PipelineStatus, reports: &[crate::controller::decide::Report]) {
        let stored = self.pipeline.status.as_ref();
        assert!(stored != Some(&status), "recorded what was stored");
        if stored.and_then(|it| it.phase.as_ref()) != status.phase.as_ref() {
            self.phases.extend(status.phase.clone());
        }
        self.check_reports(reports, &status);
        check_that_it_speaks_of_the_spec(&status);
        self.store(status);
    }

    /// Carries out an act, if its guard holds in a look just before. What came of it.
    fn perform(
        &mut self,
        act: Act,
        guard: Guard,
        read: &Pipeline,
        done: &mut usize,
    ) -> Option<Outcome> {
        let failed = |act: &Act| Outcome::Failed {
            act: act.name(),
            error: Error::Unreachable("nobody is there".to_owned()),
        };
        if act == Act::Look {
            return (!self.engine_answers).then(|| failed(&act));
        }
        self.asked = Asked::by(read, &act);
        let live = self.engine.shown();
        if !self.engine_answers {
            return Some(failed(&act));
        }
        if !guard.is_empty() && !guard.holds(live.as_ref()) {
            return Some(Outcome::GuardFailed);
        }
        let at_the_gate = guard.is_of_the_gate() && act == Act::Stop { force: true };
        if at_the_gate && self.engine.has_left_the_gate() {
            return Some(Outcome::LeftTheGate);
        }
        let is_held = |it: &Outcome| matches!(it, Outcome::Failed { act: failed, .. } if *failed == act.name());
        let held = self.failed.as_ref().filter(|it| it.asked == asked_of(read));
        assert!(
            !held.is_some_and(|it| is_held(&it.outcome)),
            "made again at once what has just failed: {act:?}"
        );
        self.check_call(&act, live.as_ref());
        self.acts.push(act.clone());
        *done += 1;
        if let Act::Create { .. } = act {
            self.replaced += usize::from(std::mem::take(&mut self.has_run));
        }
        if let Act::Approve(_) = act {
            self.about_to_tell = None;
        }
        let dropped = self.engine.dropped_input;
        let outcome = self.engine.answer(&act);
        if let Act::Create { .. } | Act::Adopt { .. } = act {
            self.own.insert(self.engine.pipeline_id());
        }
        if let Act::Update(content) = &act
            && let Outcome::Failed {
                error: Error::Refused { .. },
                ..
            } = &outcome
        {
            self.refused.push(content.digest());
        }
        if is_to_be_cleared(read) {
            // What is thrown away with the storage is none that is dropped by a stop.
            self.engine.dropped_input = dropped;
        }
        let edit = match act {
            Act::Update(_) => self.edit_after_update.take(),
            _ => None,
        };
        if let Some(edit) = edit.or(self.edit_after_call.take()) {
            edit(self);
        }
        let call = LastCall {
            act,
            guard,
            at: self.now,
        };
        self.last_call = remembered(self.last_call.take(), call, &outcome);
        Some(outcome)
    }

    fn hold_back(&mut self, outcome: Outcome, read: &Pipeline) {
        self.failed = Some(Failed {
            outcome,
            until: self.now + PAUSE,
            asked: asked_of(read),
        });
    }

    /// What has just failed and isn't tried again yet.
    fn what_is_held_back(&mut self) -> Option<Outcome> {
        let (now, asked) = (self.now, asked_of(&self.pipeline));
        self.failed
            .take_if(|failed| failed.until <= now || failed.asked != asked);
        self.failed.as_ref().map(|failed| failed.outcome.clone())
    }

    fn rest_of_holding_back(&self) -> Option<Duration> {
        let failed = self.failed.as_ref()?;
        Duration::try_from(failed.until.duration_since(self.now)).ok()
    }

    /// What the Pipeline knows as its own, and sees up, has run.
    fn see_what_is_up(&mut self) {
        let known = self.status().engine.and_then(|engine| engine.pipeline_id);
        let sees = self.engine_answers && !self.engine_is_unasked;
        let is_it = known.is_some_and(|known| known == self.engine.pipeline_id());
        self.has_run |= sees && is_it && self.engine.deployment.is_some();
    }

    /// What the spec asks for.
    pub fn wanted(&self) -> Content {
        wanted_by(&self.pipeline)
    }

    /// What would be done next.
    pub fn plan(&self, outcome: Option<&Outcome>, full: bool) -> Plan {
        let held_back = self.failed.as_ref().map(|failed| &failed.outcome);
        let seen = self.observed(&self.pipeline, full);
        self.plan_of(&self.pipeline, &seen, outcome, held_back)
    }

    fn observed(&self, read: &Pipeline, full: bool) -> (Observation, Option<PipelineState>) {
        let pipeline = self.engine.exists.then(|| {
            if full {
                Seen::Full(Box::new(self.engine.full()))
            } else {
                Seen::Brief(self.engine.shown().expect("it exists"))
            }
        });
        let answered = Observation::Answered {
            info: EngineInfo {
                edition: self.engine.edition.to_owned(),
                version: "0.337.0".to_owned(),
            },
            unknown_name: full && pipeline.is_none(),
            pipeline,
            checkpoints: self.checkpoint_asked_for(read),
        };
        let engine = if self.engine_is_unasked {
            Observation::NotYet
        } else if !self.engine_answers {
            Observation::NoAnswer {
                kind: "Unreachable",
                message: "nobody is there".to_owned(),
            }
        } else {
            answered
        };
        (engine, self.engine.build_state())
    }

    /// After an act. What became of a checkpoint is asked once in a reconcile.
    fn observed_again(
        &self,
        before: &(Observation, Option<PipelineState>),
    ) -> (Observation, Option<PipelineState>) {
        let mut now = self.observed(&self.pipeline, true);
        if let Observation::Answered { checkpoints, .. } = &mut now.0 {
            *checkpoints = match &before.0 {
                Observation::Answered { checkpoints, .. } => checkpoints.clone(),
                _ => None,
            };
        }
        now
    }

    fn checkpoint_asked_for(&self, read: &Pipeline) -> Option<CheckpointStatusSeen> {
        let seal = read.status.as_ref()?.seal.as_ref()?;
        let number = seal.sequence_number.filter(|_| seal.failure.is_none())?;
        self.engine
            .checkpoint_status(number, seal.incarnation.clone())
    }

    fn plan_of(
        &self,
        pipeline: &Pipeline,
        (engine, build): &(Observation, Option<PipelineState>),
        outcome: Option<&Outcome>,
        held_back: Option<&Outcome>,
    ) -> Plan {
        let content = match &self.unread {
            Some(why) => Err(why.clone()),
            None => Ok(pipeline.spec.program.as_ref().map(|_| wanted_by(pipeline))),
        };
        decide(&Input {
            pipeline,
            content: &content,
            objects: &self.objects,
            engine,
            build: build.as_ref(),
            compile_beforehand: true,
            trust: &self.trust,
            may_note_policies: self.may_note_policies,
            about_to_tell: self.about_to_tell.is_some()
                && self.about_to_tell == number_of_call(pipeline),
            rival: self.rival.as_deref(),
            mark_is_released: self.mark_is_released,
            outcome,
            asked: &self.asked,
            held_back,
            last_call: self.last_call.as_ref(),
            audited: Some(&self.audited),
            now: self.now,
            timing: Timing::default(),
        })
    }
}

fn wanted_by(pipeline: &Pipeline) -> Content {
    let program = pipeline.spec.program.clone().unwrap_or_default();
    Content {
        sql: program.sql.unwrap_or_default(),
        udf_rust: program.udf_rust.unwrap_or_default(),
        program_config: program.config,
        runtime_config: pipeline.spec.runtime_config.clone(),
        ..Content::default()
    }
}

/// The spec's generation and Sluice's annotations.
fn asked_of(pipeline: &Pipeline) -> (Option<i64>, BTreeMap<String, String>) {
    let annotations = pipeline.metadata.annotations.clone().unwrap_or_default();
    let ours = annotations.into_iter();
    let ours = ours.filter(|(key, _)| key.starts_with("sluice.dev/"));
    (pipeline.metadata.generation, ours.collect())
}

fn is_to_be_cleared(pipeline: &Pipeline) -> bool {
    let asked = pipeline.spec.clear_storage.as_ref();
    let status = pipeline.status.as_ref();
    asked.is_some() && asked != status.and_then(|status| status.handled_clear.as_ref())
}
