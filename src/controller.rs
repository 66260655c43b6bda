//! The reconcile loop: observe → decide → record or act → report.
//!
//! [`run`] starts it; [`reconcile`] is the driver that names the steps, and each step has a file
//! of its own. What to do is decided in [`decide`], which does nothing; the others do, and decide
//! nothing.

mod act;
pub mod audit;
mod backoff;
mod cleanup;
mod content;
pub mod decide;
mod engines;
mod events;
mod finalizers;
mod in_flight;
mod kept;
mod observe;
mod pipeline_owners;
mod previews;
mod queue;
mod references;
mod report;
mod rivals;
mod status;
mod trust;
mod unfit;
mod votes;
mod work;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::Timestamp;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, warn};

use crate::crd::{ApprovalState, Pipeline, PipelineApproval, annotation};
use crate::guarded;
use crate::health::Health;
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::policies::{Guard, Trust};
use crate::telemetry;

pub use engines::{DefaultEngine, EngineKey};

use decide::{Input, Outcome, Step, Timing};
use queue::{Of, Urgency};
use work::{Action, Turn, Wanted};

/// A Pipeline that may not be one: an object that doesn't fit its type must not stop the watch.
type Guarded = guarded::Guarded<Pipeline>;

/// A vote that may not be one, likewise.
type GuardedVote = guarded::Guarded<PipelineApproval>;

/// How much there is to share out among namespaces and engines.
///
/// A place is a share of the processor and of the API server, and held for milliseconds. What is under way at
/// an engine, on the other hand, may take as long as the engine does. (Source: an engine's manager answers some
/// hundred reads in a second; it isn't to be asked for more at a time than it can be busy with.)
const LIMITS: queue::Limits = queue::Limits {
    places: 32,
    per_engine: 32,
    memory: 1_024,
    spared: 4,
};

/// What one unit of [`LIMITS`]' memory is, in bytes: what a small Pipeline that is under way takes.
const UNIT: usize = 64 << 10;

/// How many copies of a program are in memory while its Pipeline is under way: as it was read, as it is
/// compared, as the engine gives it back, and as it is sent.
const COPIES: usize = 4;

/// What a Pipeline under way is taken to weigh whose program stands in ConfigMaps: how large those are isn't
/// known before they are read. (1 MiB each is what the API server takes.)
const FROM_CONFIG_MAPS: usize = 1 << 20;

/// How often what is gone is forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// How soon the audit log is tried again that couldn't be written.
const AUDIT_AGAIN: Duration = Duration::from_secs(10);

/// How long one reconcile may take, without waiting for its turn: the engine's compiler may take two minutes to
/// answer.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(180);

/// How many steps one reconcile may take. A pipeline's whole life needs fewer at a time; a loop
/// that goes on is a defect, and must not starve the others.
const MAX_STEPS: usize = 24;

/// What the loop needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often an engine is asked while something moves; five times that when nothing does.
    pub poll_interval: Duration,
    /// How long things take.
    pub timing: Timing,
    /// The engine of Pipelines without `engineRef`.
    pub default_engine: Option<DefaultEngine>,
    /// The namespace whose Pipelines are looked after; `None` for all.
    pub namespace: Option<String>,
    /// Whether a changed program is compiled before what runs is stopped for it.
    pub compile_beforehand: bool,
    /// How long a vote that the REST endpoint wrote down stays, even if its change is settled.
    pub vote_retention: Duration,
    /// Where the audit log goes; `None` if there is none.
    pub audit_log: Option<audit::Target>,
}

impl Settings {
    /// The objects of a kind that are looked after.
    fn all<K>(&self, client: &Client) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        }
    }
}

/// What the loop reports to, and what tells whether it may act.
#[derive(Clone)]
pub struct Surroundings {
    /// Whether this replica is the one that acts.
    pub leadership: Leadership,
    /// Hears of each part that goes on.
    pub health: Health,
    /// Hears of everything that is counted.
    pub metrics: Arc<Metrics>,
    /// Watches over the admission policies.
    pub guard: Arc<Guard>,
}

/// Everything that a reconcile works with.
pub struct Context {
    client: Client,
    settings: Settings,
    pipelines: Store<Guarded>,
    votes: Arc<votes::Votes>,
    references: Arc<references::References>,
    engines: engines::Engines,
    claims: pipeline_owners::Claims,
    retries: backoff::Retries,
    calls: in_flight::Calls,
    reporter: report::Reporter,
    unfit: Arc<unfit::Unfit>,
    audit: audit::Audit,
    previews: previews::Previews,
    leadership: Leadership,
    metrics: Arc<Metrics>,
    guard: Arc<Guard>,
    trust: watch::Receiver<Trust>,
    notes: trust::Notes,
}

/// Why a reconcile came to nothing; it is tried again after a growing pause.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or couldn't be reached.
    #[error("the API server: {0}")]
    Kubernetes(#[source] Box<kube::Error>),
    /// What the API server answered doesn't fit its type.
    #[error("{0}")]
    Unfit(#[from] Box<guarded::Unfit>),
    /// It took too long.
    #[error("the reconcile took longer than {} s", RECONCILE_TIMEOUT.as_secs())]
    TimedOut,
    /// Another replica may be acting.
    #[error("this replica doesn't lead any more, and calls no engine")]
    NotLeading,
    /// It didn't come to an end.
    #[error("the reconcile took more than {MAX_STEPS} steps")]
    TooManySteps,
    /// The engine failed while a Pipeline was being deleted from it.
    #[error("{0}")]
    Engine(#[from] crate::engine::Error),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Kubernetes(Box::new(error))
    }
}

/// Runs the loop until `stop`; whatever is under way then is finished first.
pub async fn run(
    client: Client,
    settings: Settings,
    surroundings: Surroundings,
    stop: CancellationToken,
) {
    let Surroundings {
        leadership,
        health,
        metrics,
        guard,
    } = surroundings;
    let votes = Arc::<votes::Votes>::default();
    let reporter = report::Reporter::start(client.clone(), Arc::clone(&metrics), stop.clone());
    let unfit = Arc::new(unfit::Unfit::new(reporter.clone()));
    let votes_seen = votes_of(
        settings.all(&client),
        Arc::clone(&votes),
        Arc::clone(&unfit),
    );
    let references = Arc::<references::References>::default();
    let (pipelines, pipelines_writer) = reflector::store();
    let seen = pipelines_of(
        settings.all(&client),
        pipelines_writer,
        Arc::clone(&references),
    );
    let (wakes, woken) = tokio::sync::mpsc::unbounded_channel();
    let engines = engines::Engines::new(
        client.clone(),
        settings.clone(),
        wakes,
        pipelines.clone(),
        health,
        Arc::clone(&unfit),
    );

    let (turns, previewed) = mpsc::unbounded_channel();
    let desk = work::Desk::new(LIMITS);
    let context = Arc::new(Context {
        reporter,
        unfit,
        audit: audit::Audit::new(settings.audit_log.clone(), Arc::clone(&metrics)),
        claims: pipeline_owners::Claims::default(),
        retries: backoff::Retries::default(),
        calls: in_flight::Calls::new(settings.timing.resend_after),
        client: client.clone(),
        engines: engines.clone(),
        pipelines: pipelines.clone(),
        votes: Arc::clone(&votes),
        references: Arc::clone(&references),
        previews: previews::Previews::new(turns),
        leadership,
        metrics: Arc::clone(&metrics),
        trust: guard.trust(),
        guard,
        notes: trust::Notes::default(),
        settings: settings.clone(),
    });
    metrics.count_pipelines(census(pipelines.clone()));
    metrics.call_engines(engines.roll_call());
    let waits = desk.clone();
    metrics.watch_the_line(Box::new(move || {
        let ages = waits.oldest().into_iter();
        ages.map(|(engine, age)| (engine.label(), age.as_secs()))
            .collect()
    }));
    let from_engines = engines::concerned(woken, Arc::clone(&context));
    let from_policies = trust::concerned(context.trust.clone(), pipelines.clone());
    let from_config_maps = config_maps(settings.all(&client), references);
    let from_previews = futures::stream::unfold(previewed, |mut previewed| async move {
        Some((previewed.recv().await?, previewed))
    });

    let housekeeping = keep_house(Arc::clone(&context), stop.clone());
    let wanted = futures::stream::select_all([
        wanted(seen, Urgency::Routine),
        // A vote is there to decide something.
        wanted(votes_seen, Urgency::Decision),
        wanted(from_config_maps, Urgency::Change),
        wanted(from_engines, Urgency::Routine),
        wanted(from_policies, Urgency::Routine),
        wanted(from_previews, Urgency::Routine),
    ]);
    let votes_are_listed = async move {
        // A rejection among the votes must not be overlooked because they are still being listed.
        votes.are_listed().await;
    };
    let look = |object, turn| {
        let context = Arc::clone(&context);
        async move { look(object, turn, context).await }
    };
    let pipelines_loop = work::run(
        wanted,
        votes_are_listed,
        desk,
        pipelines,
        known,
        look,
        stop.clone(),
    );
    tokio::join!(pipelines_loop, housekeeping, engines.run(stop));
}

/// Objects that are to be looked at, at least this urgently.
fn wanted(
    objects: impl futures::Stream<Item = ObjectRef<Guarded>> + Send + 'static,
    urgency: Urgency,
) -> futures::stream::BoxStream<'static, Wanted> {
    objects
        .map(move |object| Wanted { object, urgency })
        .boxed()
}

/// Whose an object is, what it takes to look at it, and how urgent that is by what stands in it.
fn known(object: &Guarded) -> work::Known {
    let tenant = object.namespace().unwrap_or_default();
    let Ok(pipeline) = &object.0 else {
        let engine = EngineKey::Default;
        return work::Known {
            of: Of {
                tenant,
                engine,
                weight: 1,
            },
            urgency: Urgency::Routine,
        };
    };
    let program = pipeline.spec.program.as_ref();
    let texts = program.map_or(0, |program| {
        let texts = [&program.sql, &program.udf_rust, &program.udf_toml];
        texts.into_iter().flatten().map(String::len).sum()
    });
    let texts = kept::whole_size(pipeline).unwrap_or(texts);
    let referred = crate::gate::content::config_maps(program).len() * FROM_CONFIG_MAPS;
    let weight = 1 + (texts + referred) * COPIES / UNIT;
    work::Known {
        of: Of {
            tenant,
            engine: EngineKey::of(pipeline),
            // However heavy one is, it has its turn when there is room for nothing else.
            weight: weight.min(LIMITS.memory / 4),
        },
        urgency: urgency(pipeline),
    }
}

fn urgency(pipeline: &Pipeline) -> Urgency {
    let status = pipeline.status.as_ref();
    let state = status.and_then(|status| Some(&status.approval.as_ref()?.state));
    match state {
        Some(ApprovalState::Approved | ApprovalState::Applying) => Urgency::Decision,
        Some(ApprovalState::Awaiting) if crate::gate::decision::carries_votes(pipeline) => {
            Urgency::Decision
        }
        _ if pipeline.metadata.deletion_timestamp.is_some()
            || status.and_then(|status| status.observed_generation)
                != pipeline.metadata.generation =>
        {
            Urgency::Change
        }
        _ => Urgency::Routine,
    }
}

/// Forgets Pipelines that are gone, now and then, where nothing else tells that they are.
async fn keep_house(context: Arc<Context>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(HOUSEKEEPING);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let exists = |namespace: &str, name: &str| {
            let object = ObjectRef::new(name).within(namespace);
            context.pipelines.get(&object).is_some()
        };
        context.claims.prune(&context.pipelines);
        let state = context.pipelines.state();
        let uids: HashSet<String> = state.iter().filter_map(|pipeline| pipeline.uid()).collect();
        context.audit.retain(|uid| uids.contains(uid));
        context.engines.retain_lost(|uid| uids.contains(uid));
        context.unfit.forget_old();
        context.retries.retain(exists);
        context.calls.retain(exists);
    }
}

/// Tells the phase of each Pipeline, and for how long a change of it has been waiting.
fn census(pipelines: Store<Guarded>) -> crate::metrics::Census {
    Box::new(move || {
        let now = Timestamp::now();
        let of = |object: &Guarded| {
            let Ok(pipeline) = &object.0 else {
                return (unfit::PHASE.to_owned(), None);
            };
            let status = pipeline.status.as_ref();
            let phase = status.and_then(|status| status.phase.clone());
            let waits = status
                .and_then(|status| status.waiting_since.as_ref())
                .map(|since| now.duration_since(since.0).as_secs());
            (phase.unwrap_or_else(|| "Pending".into()), waits)
        };
        let all = pipelines.state();
        all.iter().map(|object| of(object)).collect()
    })
}

/// Keeps the Pipelines, and tells of each that has changed: of all of them when they are listed, as soon as
/// they are kept.
fn pipelines_of(
    api: Api<Guarded>,
    writer: reflector::store::Writer<Guarded>,
    references: Arc<references::References>,
) -> impl futures::Stream<Item = ObjectRef<Guarded>> + Send + 'static {
    let store = writer.as_reader();
    guarded::watch(api)
        .default_backoff()
        .modify(kept::pipeline)
        .reflect(writer)
        .flat_map(move |event| {
            let changed = match event {
                Ok(watcher::Event::Apply(object)) => {
                    references.put(&object);
                    vec![ObjectRef::from_obj(&object)]
                }
                Ok(watcher::Event::InitDone) => {
                    let all = store.state();
                    references.clear();
                    let put = |object: &Arc<Guarded>| {
                        references.put(object);
                        ObjectRef::from_obj(object.as_ref())
                    };
                    all.iter().map(put).collect()
                }
                Ok(watcher::Event::Delete(object)) => {
                    references.remove(&object);
                    vec![]
                }
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => vec![],
                Err(error) => {
                    warn!(%error, "Pipelines can't be watched; it is tried again");
                    vec![]
                }
            };
            futures::stream::iter(changed)
        })
}

/// Keeps the votes, and says whose they are as soon as they are there.
fn votes_of(
    api: Api<GuardedVote>,
    votes: Arc<votes::Votes>,
    unfit: Arc<unfit::Unfit>,
) -> impl futures::Stream<Item = ObjectRef<Guarded>> + Send + 'static {
    guarded::watch_by(api, votes::PAGE)
        .default_backoff()
        .modify(kept::vote)
        .flat_map(move |event| {
            if let Ok(watcher::Event::Apply(vote) | watcher::Event::InitApply(vote)) = &event
                && let Err(found) = &vote.0
            {
                unfit.tell(vote, found, "it doesn't count");
            }
            // What fails is tried again.
            let touched = event.map(|event| votes.take_in(event)).unwrap_or_default();
            futures::stream::iter(touched)
        })
}

/// Says whose programs a touched ConfigMap may have changed. Only metadata is watched: there can
/// be many and large ones that are none of ours.
fn config_maps(
    api: Api<guarded::Guarded<PartialObjectMeta<ConfigMap>>>,
    references: Arc<references::References>,
) -> impl futures::Stream<Item = ObjectRef<Guarded>> + Send + 'static {
    guarded::watch(api)
        .default_backoff()
        .touched_objects()
        .filter_map(|touched| async move { touched.ok() })
        .flat_map(move |touched| {
            let namespace = touched.namespace().unwrap_or_default();
            futures::stream::iter(references.to(&namespace, &touched.name_any()))
        })
}

/// Looks at an object once, and says when to look again if nothing happens.
async fn look(object: Arc<Guarded>, turn: Turn, context: Arc<Context>) -> Action {
    let pipeline = match &object.0 {
        Ok(pipeline) => pipeline,
        Err(found) => {
            let looked = turn.within(RECONCILE_TIMEOUT, unfit::look(&object, found, &context));
            let result = looked.await.unwrap_or(Err(Error::TimedOut));
            return result.unwrap_or_else(|error| on_error(&object, &error, &context));
        }
    };
    let span = tracing::info_span!(
        "reconcile",
        namespace = pipeline.namespace(),
        pipeline = pipeline.name_any(),
        trace_id = tracing::field::Empty,
    );
    telemetry::continue_trace(&span, asked_by(pipeline, &context).as_deref());
    let timer = context.metrics.reconcile_timer();
    let result = turn
        .within(RECONCILE_TIMEOUT, reconcile(pipeline, &context, &turn))
        .instrument(span)
        .await
        .unwrap_or(Err(Error::TimedOut));
    timer.observe(result.is_ok());
    result.unwrap_or_else(|error| on_error(&object, &error, &context))
}

/// The trace of whoever asked for what is being decided or carried out: it stands on the vote, or on
/// the Pipeline beside an annotation that votes.
fn asked_by(pipeline: &Pipeline, context: &Context) -> Option<String> {
    let approval = pipeline.status.as_ref()?.approval.as_ref()?;
    let open = approval.state.is_under_way();
    let on_a_vote = || {
        let votes = context.votes.of(pipeline);
        let mut of_this_change = votes
            .iter()
            .filter(|vote| vote.spec.change_id == approval.change_id);
        of_this_change.find_map(|vote| vote.annotations().get(annotation::TRACEPARENT).cloned())
    };
    let on_it = || {
        pipeline
            .annotation(annotation::TRACEPARENT)
            .map(str::to_owned)
    };
    open.then(|| on_a_vote().or_else(on_it)).flatten()
}

/// The driver. Each turn takes one step; a plan that records is followed by another look at what
/// is to be done, and one that acts by another look at the engine.
async fn reconcile(pipeline: &Pipeline, context: &Context, turn: &Turn) -> Result<Action, Error> {
    let read;
    let is_in_part = kept::whole_size(pipeline).is_some();
    let pipeline = if is_in_part {
        match status::read_whole(pipeline, context).await? {
            None => return Ok(Action::await_change()),
            Some(whole) => {
                read = whole;
                &read
            }
        }
    } else {
        pipeline
    };
    if pipeline.metadata.deletion_timestamp.is_some() {
        context.audit.write(pipeline).await;
        let action = cleanup::delete(pipeline, context, turn).await?;
        context.retries.forget(&ObjectRef::from_obj(pipeline));
        return Ok(action);
    }
    let held = cleanup::keep_finalizer(pipeline, context).await?;
    let mut pipeline = held.unwrap_or_else(|| pipeline.clone());
    let begun_with = pipeline.metadata.generation;
    let mut content = content::resolve(&pipeline, context).await;
    // The store lags behind what was written, by this process too.
    let mut is_live = is_in_part;
    let mut live_votes = None;
    let mut view = observe::begin(&pipeline, context, turn).await;
    let object = ObjectRef::from_obj(&pipeline);
    // What has just failed isn't tried again because its own report in status came back as a change.
    let mut held_back = context.retries.held(&object, &pipeline);
    let mut outcome: Option<Outcome> = None;
    let mut asked = decide::Asked::default();
    let may_note_policies = context.notes.may_note(&pipeline, &context.trust.borrow());
    let mut confirmed = false;
    let mut trust = context.trust.borrow().clone();
    for _ in 0..MAX_STEPS {
        let objects = match &live_votes {
            Some(live) => Vec::clone(live),
            None => context.votes.of(&pipeline),
        };
        // What the engine shows by now may carry somebody's mark.
        let rival = rivals::rival(&pipeline, &view, context);
        let last_call = context.calls.last(&object);
        let about_to_tell = context.calls.is_about_to_tell(&object, &pipeline);
        // What is stored is told before anything further is done.
        let audited = context.audit.write(&pipeline).await;
        let plan = decide::decide(&Input {
            pipeline: &pipeline,
            content: &content,
            objects: &objects,
            engine: &view.observation,
            build: view.build.as_ref(),
            trust: &trust,
            may_note_policies,
            compile_beforehand: context.settings.compile_beforehand,
            rival: rival.as_deref(),
            mark_is_released: rivals::mark_is_released(&pipeline, &view.observation, context),
            outcome: outcome.as_ref(),
            asked: &asked,
            held_back: held_back.as_ref().map(|(failed, _)| failed),
            about_to_tell,
            last_call: last_call.as_ref(),
            audited: context.audit.is_on().then_some(audited.as_slice()),
            now: Timestamp::now(),
            timing: context.settings.timing,
        });
        match plan.step {
            // What the policies vouched for when they were looked at last isn't known to hold now.
            Step::Record(ref next)
                if !confirmed && trust.matters() && trust::approves(&pipeline, next) =>
            {
                trust = context.guard.confirm().await?;
                confirmed = true;
            }
            Step::Record(next) => match status::write(&pipeline, *next, context).await? {
                status::Written::Stored(stored) => {
                    context.reporter.report(&*stored, plan.reports);
                    context.calls.written(&object, &pipeline, &stored);
                    context.engines.note_lost(&stored);
                    pipeline = *stored;
                    is_live = true;
                    // Taken in once more, it would be counted again.
                    outcome = None;
                }
                // Somebody was faster. What came of the last act must not get lost over it.
                status::Written::Conflict(fresh) => {
                    pipeline = *fresh;
                    is_live = true;
                    // It may ask for another program by now.
                    content = content::resolve(&pipeline, context).await;
                }
                status::Written::Gone => return Ok(Action::await_change()),
            },
            // Likewise with the right to take a pipeline over.
            Step::Act(decide::Act::Adopt { .. }, _) if !confirmed && trust.required => {
                trust = context.guard.confirm().await?;
                confirmed = true;
            }
            // A rejection that the watch has not brought yet must still be heard.
            Step::Act(decide::Act::Approve(_), _) if live_votes.is_none() => {
                live_votes = Some(votes::read(&pipeline, context).await?);
            }
            // Nothing is called because of what somebody, or this process, has changed since.
            Step::Act(ref act, _) if !is_live && *act != decide::Act::Look => {
                let Some(live) = status::read(&pipeline, context).await? else {
                    return Ok(Action::await_change());
                };
                if live.metadata.resource_version != pipeline.metadata.resource_version {
                    pipeline = live;
                }
                // A ConfigMap that it refers to may be another by now, which shows in no version of its own.
                content = content::resolve(&pipeline, context).await;
                is_live = true;
            }
            Step::Act(act, guard) => {
                let mut _preview = None;
                if let decide::Act::Preview(_) = act {
                    let engine = EngineKey::of(&pipeline);
                    let waits = ObjectRef::new(&pipeline.name_any())
                        .within(&pipeline.namespace().unwrap_or_default());
                    let now = std::time::Instant::now();
                    _preview = context.previews.may_begin(&engine, &waits, now);
                    if _preview.is_none() {
                        return Ok(Action::requeue(previews::ASK_AGAIN));
                    }
                }
                // What is compiled beforehand must not be left behind if the Pipeline is deleted meanwhile.
                if let decide::Act::Build { .. } = act
                    && let Some(held) = cleanup::keep_finalizer(&pipeline, context).await?
                {
                    pipeline = held;
                    continue;
                }
                is_live = false;
                asked = decide::Asked::by(&pipeline, &act);
                let call = decide::LastCall {
                    act,
                    guard,
                    at: Timestamp::now(),
                };
                // In one go: to wait for a place between a look and a call would make the look an old one.
                let performed = act::perform(&call.act, &call.guard, &pipeline, &mut view, context);
                outcome = turn.away(performed).await?;
                if let Some(outcome) = &outcome {
                    context.calls.made(&object, call, outcome);
                }
                if let Some(failed) = outcome.clone().filter(Outcome::holds_back) {
                    let pause = context.retries.failed(&object, &pipeline, failed.clone());
                    outcome.take_if(|it| it.holds_back_only_itself());
                    // It stays in view, so that nothing further is tried now.
                    held_back = Some((failed, pause));
                }
            }
            Step::Wait => {
                if let Some((failed, rest)) = &held_back
                    && !failed.holds_back_only_itself()
                {
                    return Ok(Action::requeue(*rest));
                }
                let rest = held_back.map(|(_, rest)| rest);
                if rest.is_none() {
                    context.retries.forget(&object);
                }
                context.engines.note_lost(&pipeline);
                let more_votes = votes::keep_house(&pipeline, context).await;
                let unaudited = audit::is_pending(&pipeline).then_some(AUDIT_AGAIN);
                let pauses = plan.requeue.into_iter().chain(unaudited);
                let pause = pauses.chain(rest).chain(more_votes).min();
                return Ok(pause.map_or_else(Action::await_change, Action::requeue));
            }
        }
    }
    // Whoever edits it all the time is answered as long as that takes, in turn with others.
    if pipeline.metadata.generation != begun_with {
        return Ok(Action::requeue(Duration::ZERO));
    }
    Err(Error::TooManySteps)
}

fn on_error(object: &Guarded, error: &Error, context: &Context) -> Action {
    let pause = context.retries.next(&ObjectRef::from_obj(object));
    warn!(pipeline = %object.name_any(), namespace = object.namespace(), %error, pause_s = pause.as_secs_f32(), "a reconcile failed");
    Action::requeue(pause)
}

#[cfg(test)]
mod tests;
