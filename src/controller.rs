//! The reconcile loop: observe → decide → record or act → report.
//!
//! [`run`] starts it; [`driver`] names the steps of one reconcile, and each step has a file
//! of its own. What to do is decided in [`decide`], which does nothing; the others do, and decide
//! nothing.

mod act;
pub mod audit;
mod cleanup;
mod content;
mod engines;
mod events;
mod finalizers;
mod kept;
mod live;
mod memories;
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
use crate::gate::decide::Timing;
use crate::gate::driver::{self, End};
use crate::gate::memory::Memory;
use crate::guarded;
use crate::health::Health;
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::policies::{PolicyGuard, Trust};
use crate::telemetry;

pub use engines::{DefaultEngine, EngineKey, EngineReason};

use live::Live;
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

/// How long one reconcile may take, without waiting for its turn: the engine's compiler may take two minutes to
/// answer.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(180);

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
    pub audit_log: Option<audit::Destination>,
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
    pub guard: Arc<PolicyGuard>,
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
    memories: memories::Memories,
    reporter: report::Reporter,
    unfit: Arc<unfit::Unfit>,
    audit: audit::Audit,
    previews: previews::Previews,
    leadership: Leadership,
    metrics: Arc<Metrics>,
    guard: Arc<PolicyGuard>,
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
    #[error("the reconcile took more than {} steps", driver::MAX_STEPS)]
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
    let (reporter, events) = report::Reporter::start(client.clone(), Arc::clone(&metrics));
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
        memories: memories::Memories::new(settings.timing.resend_after),
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
    events.finish().await;
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
        context.memories.retain(exists);
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

/// Looks at a Pipeline: lets it go, or drives it to where its spec wants it.
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
        context.memories.of(pipeline, Memory::forget_failures);
        return Ok(action);
    }
    let held = cleanup::keep_finalizer(pipeline, context).await?;
    let pipeline = held.unwrap_or_else(|| pipeline.clone());
    let mut live = Live::begin(&pipeline, context, turn).await;
    // It is large, and what answers are parsed by lies on the stack above it.
    match Box::pin(driver::reconcile(pipeline, is_in_part, &mut live)).await? {
        End::AwaitsChange => Ok(Action::await_change()),
        End::Pause(pause) => Ok(Action::requeue(pause)),
        End::TooManySteps => Err(Error::TooManySteps),
    }
}

fn on_error(object: &Guarded, error: &Error, context: &Context) -> Action {
    let pace = context.memories.pace();
    let pause = context
        .memories
        .of(object, |memory| memory.next_pause(pace));
    warn!(pipeline = %object.name_any(), namespace = object.namespace(), %error, pause_s = pause.as_secs_f32(), "a reconcile failed");
    Action::requeue(pause)
}

#[cfg(test)]
mod tests;
