//! The operator as the model has it: the driver and the memory of the real one, in a world that is made up.

use std::time::Duration;

use futures::FutureExt;

use super::World;
use super::checks::check_that_it_speaks_of_the_spec;
use crate::change::Content;
use crate::crd::{FINALIZER, Pipeline, PipelineStatus};
use crate::decide::{
    Act, Asked, CallOutcome, CheckpointStatusSeen, Guard, Input, Needs, Observation, Plan, Report,
    Seen, Timing, decide,
};
use crate::driver::{self, End, Io, Known, Now, Performed, Read, Written};
use crate::engine::{EngineInfo, Error, ErrorKind, PipelineState};
use crate::memory::{Memory, Pace};

/// How long the first pause after a failure is.
const FIRST_PAUSE: Duration = Duration::from_secs(4);

/// What a reconcile sees of the engine: its pipeline, and the one as which a program is compiled beforehand.
type View = (Observation, Option<PipelineState>);

/// One reconcile in a world.
struct Made<'a, F> {
    world: &'a mut World,
    view: View,
    /// After how many writes and calls it ends.
    effects: usize,
    /// How many there were.
    done: usize,
    /// What others do before a step is carried out that is decided already, told its number.
    others: F,
    step: usize,
    /// As which object it began.
    uid: Option<String>,
}

/// The process has crashed, or the object is gone.
struct Over;

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
        others: impl FnMut(&mut Self, usize) + Send,
    ) -> Option<Duration> {
        self.asked = Asked::default();
        self.has_been_a_guest |= self.pipeline.is_gate_only();
        let read = self
            .heard_of
            .take()
            .unwrap_or_else(|| self.pipeline.clone());
        let mut made = Made {
            view: self.observed(&read, false),
            uid: read.metadata.uid.clone(),
            world: self,
            effects,
            done: 0,
            others,
            step: 0,
        };
        let end = driver::reconcile(read, false, &mut made);
        match end.now_or_never().expect("nothing is waited for") {
            Ok(End::Pause(pause)) => Some(pause),
            Ok(End::AwaitsChange) | Err(Over) => None,
            Ok(End::TooManySteps) => panic!(
                "the reconcile doesn't come to an end; acts so far: {:?}",
                self.acts
            ),
        }
    }

    fn record(&mut self, status: PipelineStatus, reports: &[Report]) {
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
    ) -> Option<CallOutcome> {
        let failed = |act: &Act| CallOutcome::Failed {
            act: act.call(),
            error: nobody_is_there(),
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
            return Some(CallOutcome::GuardFailed);
        }
        let at_the_gate = guard.is_of_the_gate() && act == Act::Stop { force: true };
        if at_the_gate && self.engine.has_left_the_gate() {
            return Some(CallOutcome::LeftTheGate);
        }
        let is_held = |it: &CallOutcome| matches!(it, CallOutcome::Failed { act: failed, .. } if *failed == act.call());
        let held = self.memory.held_back(read, self.instant());
        assert!(
            !held.is_some_and(|(held, _)| is_held(&held)),
            "made again at once what has just failed: {act:?}"
        );
        if let Act::Update(_) = act
            && let Some(settings) = self.engine.set_amid_update.take()
        {
            self.engine.set_unseen(&settings);
        }
        self.check_call(&act, live.as_ref());
        self.acts.push(act.clone());
        *done += 1;
        if let Act::Create { .. } = act {
            self.replaced += usize::from(std::mem::take(&mut self.has_run));
        }
        self.memory.tried(&act);
        let dropped = self.engine.dropped_input;
        let outcome = self.engine.answer(&act);
        if let Act::Create { .. } | Act::Adopt { .. } = act {
            self.own.insert(self.engine.pipeline_id());
        }
        if let Act::Update(content) = &act
            && let CallOutcome::Failed {
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
        Some(outcome)
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

    /// The same, as it is brought to what the engine holds.
    pub fn wanted_beside_what_is_held(&self) -> Content {
        crate::lineage::beside_what_is_held(&self.wanted(), &self.status())
    }

    /// What would be done next.
    pub fn plan(&self, outcome: Option<&CallOutcome>, full: bool) -> Plan {
        let held_back = self.memory.held_back(&self.pipeline, self.instant());
        let seen = self.observed(&self.pipeline, full);
        let held_back = held_back.as_ref().map(|(outcome, _)| outcome);
        self.plan_of(&seen, outcome, held_back)
    }

    fn observed(&self, read: &Pipeline, full: bool) -> View {
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
                kind: ErrorKind::Unreachable,
                message: "nobody is there".to_owned(),
            }
        } else {
            answered
        };
        (engine, self.engine.build_state())
    }

    /// After an act. What became of a checkpoint is asked once in a reconcile.
    fn observed_again(&self, before: &View) -> View {
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
        (engine, build): &View,
        outcome: Option<&CallOutcome>,
        held_back: Option<&CallOutcome>,
    ) -> Plan {
        let timing = Timing::default();
        let last_call = self.memory.last_call(self.now, timing.resend_after);
        decide(&Input {
            pipeline: &self.pipeline,
            content: &self.content_of(&self.pipeline),
            objects: &self.objects,
            engine,
            build: build.as_ref(),
            compile_beforehand: true,
            trust: &self.trust,
            may_note_policies: self.may_note_policies,
            about_to_tell: self.memory.is_about_to_tell(&self.pipeline),
            rival: self.rival.as_deref(),
            mark_is_released: self.mark_is_released,
            outcome,
            asked: &self.asked,
            held_back,
            last_call,
            audited: Some(&self.audited),
            now: self.now,
            timing,
        })
    }

    fn content_of(&self, pipeline: &Pipeline) -> Result<Option<Content>, String> {
        match &self.unread {
            Some(why) => Err(why.clone()),
            None => Ok(pipeline.spec.program.as_ref().map(|_| wanted_by(pipeline))),
        }
    }
}

impl<F: FnMut(&mut World, usize) + Send> Made<'_, F> {
    /// A step is decided. Others do what they do, and the object may be gone then.
    fn meanwhile(&mut self) -> Result<(), Over> {
        (self.others)(self.world, self.step);
        self.step += 1;
        let is_gone = self.world.pipeline.metadata.uid != self.uid;
        if is_gone { Err(Over) } else { Ok(()) }
    }
}

impl<F: FnMut(&mut World, usize) + Send> Io for Made<'_, F> {
    type Error = Over;

    async fn content(&mut self, pipeline: &Pipeline) -> Result<Option<Content>, String> {
        self.world.content_of(pipeline)
    }

    fn known(&self, _: &Pipeline) -> Known {
        let world = &self.world;
        Known {
            votes: world
                .votes_heard_of
                .as_ref()
                .unwrap_or(&world.objects)
                .clone(),
            trust: world.trust.clone(),
            rival: world.rival.clone(),
            mark_is_released: world.mark_is_released,
            may_note_policies: world.may_note_policies,
            compile_beforehand: true,
            timing: Timing::default(),
        }
    }

    fn view(&self) -> (&Observation, Option<&PipelineState>) {
        (&self.view.0, self.view.1.as_ref())
    }

    fn memory<T>(&mut self, _: &Pipeline, change: impl FnOnce(&mut Memory) -> T) -> T {
        change(&mut self.world.memory)
    }

    fn pace(&self) -> Pace {
        Pace {
            first: FIRST_PAUSE,
            lot: 0.0,
        }
    }

    fn now(&self) -> Now {
        Now {
            time: self.world.now,
            instant: self.world.instant(),
        }
    }

    async fn audit(&mut self, _: &Pipeline) -> Result<Option<Vec<String>>, Over> {
        if self.done == self.effects {
            return Err(Over);
        }
        self.world.see_what_is_up();
        self.world.write_audit();
        Ok(Some(self.world.audited.clone()))
    }

    async fn read(&mut self, _: &Pipeline, needs: Needs) -> Result<Read, Over> {
        self.meanwhile()?;
        let world = &self.world;
        let read = Read {
            policies: needs.policies.then(|| world.trust.clone()),
            votes: needs.votes.then(|| world.objects.clone()),
            object: needs.object.then(|| Some(world.pipeline.clone())),
            engine: (needs.engine && !world.engine_answers).then(nobody_is_there),
        };
        if needs.engine {
            self.view = self.world.observed_again(&self.view);
        }
        Ok(read)
    }

    async fn hold(&mut self, pipeline: &Pipeline) -> Result<Option<Pipeline>, Over> {
        self.world.pipeline.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        let held = self.world.pipeline.metadata.finalizers.clone();
        let mut pipeline = pipeline.clone();
        pipeline.metadata.finalizers = held;
        Ok(Some(pipeline))
    }

    async fn write(
        &mut self,
        read: &Pipeline,
        status: PipelineStatus,
        reports: Vec<Report>,
    ) -> Result<Written, Over> {
        self.meanwhile()?;
        let world = &mut self.world;
        if world.pipeline != *read {
            world.conflicts += 1;
            return Ok(Written::Conflict(Box::new(world.pipeline.clone())));
        }
        world.record(status, &reports);
        world.reports.extend(reports);
        self.done += 1;
        Ok(Written::Stored(Box::new(self.world.pipeline.clone())))
    }

    async fn perform(
        &mut self,
        read: &Pipeline,
        act: &Act,
        guard: &Guard,
        _: bool,
    ) -> Result<Performed, Over> {
        if *act != Act::Look {
            let is_stored = self.world.pipeline == *read;
            assert!(is_stored, "{act:?} because of what isn't so any more");
        }
        if let Act::Approve(_) = act {
            self.world.check_that_nobody_has_rejected(read);
        }
        self.meanwhile()?;
        let done = &mut self.done;
        let outcome = self.world.perform(act.clone(), guard.clone(), read, done);
        self.view = self.world.observed_again(&self.view);
        Ok(Performed::Done(outcome))
    }

    async fn keep_house(&mut self, _: &Pipeline) -> Option<Duration> {
        // What is done amid the last step shows in the next reconcile.
        _ = self.meanwhile();
        None
    }
}

fn nobody_is_there() -> Error {
    Error::Unreachable("nobody is there".to_owned())
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

fn is_to_be_cleared(pipeline: &Pipeline) -> bool {
    let asked = pipeline.spec.clear_storage.as_ref();
    let status = pipeline.status.as_ref();
    asked.is_some() && asked != status.and_then(|status| status.handled_clear.as_ref())
}
