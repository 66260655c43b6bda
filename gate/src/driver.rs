//! The driver of one reconcile: decide, read what the plan needs, record or act, and decide again.
//!
//! It has no client and no clock: what it asks and does goes through [`Io`], which is the API server and the engine in
//! the operator, and a made-up world in the tests' model. So both go the same way.

use std::future::Future;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;

use super::decide::{
    self, Act, Asked, CallOutcome, Guard, Input, LastCall, Needs, Observation, Plan, Report, Step,
    Timing,
};
use super::memory::{Memory, Pace};
use crate::change::Content;
use crate::crd::{Pipeline, PipelineApproval, PipelineStatus};
use crate::engine::{self, PipelineState};
use crate::policy_status::Trust;

/// How many steps one reconcile may take. A pipeline's whole life needs fewer at a time; a loop
/// that goes on is a defect, and must not starve the others.
pub const MAX_STEPS: usize = 24;

/// What came of writing a status.
pub enum Written {
    /// It is stored; this is the object now.
    Stored(Box<Pipeline>),
    /// The object has changed since it was read; this is it now.
    Conflict(Box<Pipeline>),
    /// The object is gone.
    Gone,
}

/// What came of an act.
pub enum Performed {
    /// It was carried out, or tried. Of some there is nothing to be told but what is in view now.
    Done(Option<CallOutcome>),
    /// It isn't this Pipeline's turn for it yet.
    Later(Duration),
}

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There is nothing left to do until something changes.
    AwaitsChange,
    /// There is something to do after this time, also if nothing changes.
    Pause(Duration),
    /// It didn't come to an end.
    TooManySteps,
}

/// What a reconcile asks and does beyond deciding.
pub trait Io: Send {
    /// Why it came to nothing.
    type Error: Send;

    /// What the spec asks for, with its references resolved.
    fn content(
        &mut self,
        pipeline: &Pipeline,
    ) -> impl Future<Output = Result<Option<Content>, String>> + Send;

    /// What is known without asking anybody.
    fn known(&self, pipeline: &Pipeline) -> Known;

    /// What is known of the engine.
    fn view(&self) -> (&Observation, Option<&PipelineState>);

    /// What is remembered of a Pipeline.
    fn memory<T>(&mut self, of: &Pipeline, change: impl FnOnce(&mut Memory) -> T) -> T;

    /// How long the next pause after a failure is.
    fn pace(&self) -> Pace;

    /// Now.
    fn now(&self) -> Now;

    /// Writes what is pending for the audit log. Which entries are written by now; `None` if there is no such log.
    fn audit(
        &mut self,
        pipeline: &Pipeline,
    ) -> impl Future<Output = Result<Option<Vec<String>>, Self::Error>> + Send;

    /// Reads what is needed live, all of it side by side.
    fn read(
        &mut self,
        pipeline: &Pipeline,
        needs: Needs,
    ) -> impl Future<Output = Result<Read, Self::Error>> + Send;

    /// Has the object kept until what is at the engine is removed. The object as it is then.
    fn hold(
        &mut self,
        pipeline: &Pipeline,
    ) -> impl Future<Output = Result<Option<Pipeline>, Self::Error>> + Send;

    /// Stores a status, if the object is still the one that it was decided on, and tells people then.
    fn write(
        &mut self,
        pipeline: &Pipeline,
        status: PipelineStatus,
        reports: Vec<Report>,
    ) -> impl Future<Output = Result<Written, Self::Error>> + Send;

    /// Carries out an act, if its guard holds in a look just before, which may be in view already, and looks again.
    fn perform(
        &mut self,
        pipeline: &Pipeline,
        act: &Act,
        guard: &Guard,
        is_in_view: bool,
    ) -> impl Future<Output = Result<Performed, Self::Error>> + Send;

    /// Does what is to be done once nothing is left to decide. When there is more of it, if there will be.
    fn keep_house(&mut self, pipeline: &Pipeline) -> impl Future<Output = Option<Duration>> + Send;
}

/// What is known without asking anybody.
pub struct Known {
    /// The votes that have been heard of.
    pub votes: Vec<PipelineApproval>,
    /// How the admission policies stood when they were looked at last.
    pub trust: Trust,
    /// Who else has the same pipeline.
    pub rival: Option<String>,
    /// Whether marks of Pipelines that are gone don't count.
    pub mark_is_released: bool,
    /// Whether it may be written down which policies are in force although nothing else is to be written.
    pub may_note_policies: bool,
    /// Whether changed programs are compiled beforehand.
    pub compile_beforehand: bool,
    /// How long things take.
    pub timing: Timing,
}

/// Now.
#[derive(Clone, Copy)]
pub struct Now {
    /// As people write it.
    pub time: Timestamp,
    /// By a clock that is never set.
    pub instant: Instant,
}

/// What was read live, of what was needed.
#[derive(Default)]
pub struct Read {
    /// How the admission policies stand.
    pub policies: Option<Trust>,
    /// The votes on the Pipeline.
    pub votes: Option<Vec<PipelineApproval>>,
    /// The object; `Some(None)` if it is gone, or on its way out.
    pub object: Option<Option<Pipeline>>,
    /// Why the engine couldn't be looked at. What it showed is in view otherwise.
    pub engine: Option<engine::Error>,
}

/// One reconcile under way.
struct Reconcile<'a, I> {
    io: &'a mut I,
    /// The object, with the status that is known to be stored.
    pipeline: Pipeline,
    content: Result<Option<Content>, String>,
    /// What has been read live, and holds still.
    fresh: Needs,
    live_votes: Option<Vec<PipelineApproval>>,
    live_policies: Option<Trust>,
    /// How the policies stood by which was decided last.
    decided_on: Option<Trust>,
    /// What came of the last act, until it is written down, and what it was made for.
    outcome: Option<CallOutcome>,
    asked: Asked,
    /// A call that failed and isn't made again yet, and how long not.
    held_back: Option<(CallOutcome, Duration)>,
}

/// Reconciles a Pipeline, as it was read just now or as it was heard of.
///
/// # Errors
/// When something can't be read, written or called that has to be, for now.
pub async fn reconcile<I: Io>(
    pipeline: Pipeline,
    is_live: bool,
    io: &mut I,
) -> Result<End, I::Error> {
    let begun_with = pipeline.metadata.generation;
    let content = io.content(&pipeline).await;
    let mut it = Reconcile {
        io,
        content,
        // What was heard of lags behind what was written, by this process too.
        fresh: Needs {
            object: is_live,
            ..Needs::default()
        },
        live_votes: None,
        live_policies: None,
        decided_on: None,
        outcome: None,
        asked: Asked::default(),
        held_back: None,
        pipeline,
    };
    for _ in 0..MAX_STEPS {
        let plan = it.decide().await?;
        let mut missing = plan.needs.beyond(it.fresh);
        // While something else is read, the object may become another one.
        missing.object = plan.needs.object && !missing.is_empty();
        if !missing.is_empty() {
            if let Some(end) = it.read(&plan.step, missing).await? {
                return Ok(end);
            }
            if !it.still_holds_after(missing) {
                continue;
            }
        }
        let end = match plan.step {
            Step::Record(next) => it.record(*next, plan.reports).await?,
            Step::Act(act, guard) => it.act(act, guard).await?,
            Step::Wait => Some(it.rest(plan.requeue).await),
        };
        if let Some(end) = end {
            return Ok(end);
        }
    }
    // Whoever edits it all the time is answered as long as that takes, in turn with others.
    Ok(match it.pipeline.metadata.generation == begun_with {
        true => End::TooManySteps,
        false => End::Pause(Duration::ZERO),
    })
}

impl<I: Io> Reconcile<'_, I> {
    async fn decide(&mut self) -> Result<Plan, I::Error> {
        // What is stored is told before anything further is done.
        let audited = self.io.audit(&self.pipeline).await?;
        let known = self.io.known(&self.pipeline);
        let now = self.io.now();
        let matters_for = known.timing.resend_after;
        let (last_call, about_to_tell, held_back) = self.io.memory(&self.pipeline, |memory| {
            let last_call = memory.last_call(now.time, matters_for).cloned();
            let about_to_tell = memory.is_about_to_tell(&self.pipeline);
            let held_back = memory.held_back(&self.pipeline, now.instant);
            (last_call, about_to_tell, held_back)
        });
        // What has just failed isn't tried again because its own report in status came back as a change.
        self.held_back = self.held_back.take().or(held_back);
        let trust = self.live_policies.as_ref().unwrap_or(&known.trust);
        let (engine, build) = self.io.view();
        let plan = decide::decide(&Input {
            pipeline: &self.pipeline,
            content: &self.content,
            objects: self.live_votes.as_ref().unwrap_or(&known.votes),
            engine,
            build,
            trust,
            may_note_policies: known.may_note_policies,
            compile_beforehand: known.compile_beforehand,
            rival: known.rival.as_deref(),
            mark_is_released: known.mark_is_released,
            outcome: self.outcome.as_ref(),
            asked: &self.asked,
            held_back: self.held_back.as_ref().map(|(failed, _)| failed),
            about_to_tell,
            last_call: last_call.as_ref(),
            audited: audited.as_deref(),
            now: now.time,
            timing: known.timing,
        });
        self.decided_on = Some(trust.clone());
        Ok(plan)
    }

    /// Whether a plan can be carried out without deciding again, after this was read for it. The policies change nothing
    /// in it if they stand as it was decided on; what else is read may.
    fn still_holds_after(&mut self, read: Needs) -> bool {
        let only_policies = Needs {
            policies: true,
            ..Needs::default()
        };
        let holds = read == only_policies && self.live_policies == self.decided_on;
        if read == only_policies && !holds {
            // By the time that is decided again, votes may be heard of that came in after this look at the policies.
            self.fresh.policies = false;
        }
        holds
    }

    /// Reads what a plan needs. It may be another one then.
    async fn read(&mut self, step: &Step, missing: Needs) -> Result<Option<End>, I::Error> {
        let read = self.io.read(&self.pipeline, missing).await?;
        self.live_policies = read.policies.or(self.live_policies.take());
        self.live_votes = read.votes.or(self.live_votes.take());
        match read.object {
            Some(Some(live)) => {
                self.pipeline = live;
                // A ConfigMap that it refers to may be another by now, which shows in no version of its own.
                self.content = self.io.content(&self.pipeline).await;
            }
            Some(None) => return Ok(Some(End::AwaitsChange)),
            None => {}
        }
        if missing.finalizer {
            let Some(held) = self.io.hold(&self.pipeline).await? else {
                return Ok(Some(End::AwaitsChange));
            };
            self.pipeline = held;
        }
        self.fresh = Needs {
            // Whether it is there shows in the object.
            finalizer: false,
            ..self.fresh.and(missing)
        };
        if let (Some(error), Step::Act(act, guard)) = (read.engine, step) {
            let failed = CallOutcome::Failed {
                act: act.call(),
                error,
            };
            let now = self.io.now();
            self.asked = Asked::by(&self.pipeline, act);
            self.came_of(act.clone(), guard.clone(), now, Some(failed));
        }
        Ok(None)
    }

    async fn record(
        &mut self,
        next: PipelineStatus,
        reports: Vec<Report>,
    ) -> Result<Option<End>, I::Error> {
        match self.io.write(&self.pipeline, next, reports).await? {
            Written::Stored(stored) => {
                let before = std::mem::replace(&mut self.pipeline, *stored);
                let stored = &self.pipeline;
                self.io
                    .memory(stored, |memory| memory.written(&before, stored));
                // Taken in once more, it would be counted again.
                self.outcome = None;
            }
            // Somebody was faster. What came of the last act must not get lost over it.
            Written::Conflict(fresh) => {
                self.pipeline = *fresh;
                // It may ask for another program by now.
                self.content = self.io.content(&self.pipeline).await;
            }
            Written::Gone => return Ok(Some(End::AwaitsChange)),
        }
        // What the engine showed before it is old by now. And a vote that is heard of from here on may be younger than the look
        // at the policies.
        self.fresh.engine = false;
        self.fresh.policies = false;
        self.fresh.object = true;
        Ok(None)
    }

    async fn act(&mut self, act: Act, guard: Guard) -> Result<Option<End>, I::Error> {
        self.asked = Asked::by(&self.pipeline, &act);
        let now = self.io.now();
        let is_in_view = self.fresh.engine;
        let performed = self.io.perform(&self.pipeline, &act, &guard, is_in_view);
        match performed.await? {
            Performed::Later(pause) => Ok(Some(End::Pause(pause))),
            Performed::Done(outcome) => {
                self.came_of(act, guard, now, outcome);
                Ok(None)
            }
        }
    }

    /// Takes in what came of an act, or of the look before it.
    fn came_of(&mut self, act: Act, guard: Guard, begun: Now, outcome: Option<CallOutcome>) {
        self.fresh.object = false;
        self.fresh.engine = false;
        let is_first = |memory: &mut Memory| memory.is_about_to_stop(&self.pipeline);
        let is_first = self.io.memory(&self.pipeline, is_first);
        self.outcome = match outcome {
            // What is its newest checkpoint by now may be the one that an earlier call has had it write.
            Some(CallOutcome::Stopping { .. }) if !is_first => Some(CallOutcome::Done(act.call())),
            other => other,
        };
        let Some(outcome) = &self.outcome else {
            return;
        };
        let call = LastCall {
            act,
            guard,
            at: begun.time,
        };
        let of = &self.pipeline;
        self.io.memory(of, |memory| memory.made(call, outcome));
        if outcome.holds_back() {
            let (failed, pace, now) = (outcome.clone(), self.io.pace(), self.io.now());
            let pause = self.io.memory(of, |memory| {
                memory.failed(of, failed.clone(), now.instant, pace)
            });
            self.outcome.take_if(|it| it.holds_back_only_itself());
            // It stays in view, so that nothing further is tried now.
            self.held_back = Some((failed, pause));
        }
    }

    async fn rest(&mut self, requeue: Option<Duration>) -> End {
        let rest = self.held_back.as_ref().map(|(_, rest)| *rest);
        let holds_all = |(failed, _): &(CallOutcome, Duration)| !failed.holds_back_only_itself();
        if let Some(rest) = rest.filter(|_| self.held_back.as_ref().is_some_and(holds_all)) {
            return End::Pause(rest);
        }
        if rest.is_none() {
            self.io.memory(&self.pipeline, Memory::forget_failures);
        }
        let more = self.io.keep_house(&self.pipeline).await;
        let pause = requeue.into_iter().chain(rest).chain(more).min();
        pause.map_or(End::AwaitsChange, End::Pause)
    }
}
