//! The reconcile loop: observe → decide → record or act → report.
//!
//! [`run`] starts it; [`reconcile`] is the driver that names the steps, and each step has a file
//! of its own. What to do is decided in [`decide`], which does nothing; the others do, and decide
//! nothing.

mod act;
pub mod audit;
mod backoff;
mod calls;
mod claims;
mod cleanup;
mod content;
pub mod decide;
mod engines;
mod observe;
mod report;
mod status;
mod trust;
mod votes;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, Shared};
use futures::{FutureExt, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{Action, Config as ControllerConfig, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, warn};

use crate::crd::{ApprovalState, Pipeline, PipelineApproval, annotation};
use crate::health::Health;
use crate::lease::Leadership;
use crate::mark;
use crate::metrics::Metrics;
use crate::policies::{Guard, Trust};
use crate::telemetry;

pub use engines::{DefaultEngine, EngineKey};

use decide::{Input, Outcome, Step, Timing};

/// A Pipeline that may not be one: an object that doesn't fit its type must not stop the watch.
type Guarded = DeserializeGuard<Pipeline>;

/// A vote that may not be one, likewise.
type GuardedVote = DeserializeGuard<PipelineApproval>;

/// How many Pipelines are worked on at the same time. A Pipeline that waits isn't.
const CONCURRENCY: u16 = 32;

/// How often what is gone is forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// How many programs the engines' compilers are asked about at the same time. They can take minutes, and
/// must not take all the places of those that could be worked on.
const PREVIEWS: usize = 4;

/// How soon a Pipeline is looked at again whose program could not be asked about yet.
const PREVIEW_LATER: Duration = Duration::from_secs(2);

/// How soon the audit log is tried again that couldn't be written.
const AUDIT_AGAIN: Duration = Duration::from_secs(10);

/// How long one reconcile may take: the engine's compiler may take two minutes to answer.
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

/// Ends when a store has been filled. Shared, because the store itself wakes only one of those who
/// wait for it.
type Listed = Shared<BoxFuture<'static, ()>>;

/// Everything that a reconcile works with.
pub struct Context {
    client: Client,
    settings: Settings,
    pipelines: Store<Guarded>,
    votes: Store<GuardedVote>,
    votes_listed: Listed,
    engines: engines::Engines,
    claims: claims::Claims,
    retries: backoff::Retries,
    calls: calls::Calls,
    reporter: report::Reporter,
    audit: audit::Audit,
    previews: Semaphore,
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
    let (votes, votes_writer) = reflector::store();
    let votes_seen = votes_of(settings.all(&client), votes_writer);
    let config = ControllerConfig::default().concurrency(CONCURRENCY);
    let (pipelines, pipelines_writer) = reflector::store();
    let seen = pipelines_of(settings.all(&client), pipelines_writer);
    let controller = Controller::for_stream(seen, pipelines.clone()).with_config(config);
    let (wakes, woken) = tokio::sync::mpsc::unbounded_channel();
    let engines = engines::Engines::new(
        client.clone(),
        settings.clone(),
        wakes,
        pipelines.clone(),
        health,
    );

    let context = Arc::new(Context {
        reporter: report::Reporter::start(client.clone(), Arc::clone(&metrics), stop.clone()),
        audit: audit::Audit::new(settings.audit_log.clone(), Arc::clone(&metrics)),
        claims: claims::Claims::default(),
        retries: backoff::Retries::default(),
        calls: calls::Calls::new(settings.timing.resend_after),
        client: client.clone(),
        engines: engines.clone(),
        pipelines: pipelines.clone(),
        votes_listed: listed(votes.clone()),
        votes,
        previews: Semaphore::new(PREVIEWS),
        leadership,
        metrics: Arc::clone(&metrics),
        trust: guard.trust(),
        guard,
        notes: trust::Notes::default(),
        settings: settings.clone(),
    });
    metrics.count_pipelines(census(pipelines.clone()));
    metrics.call_engines(engines.roll_call());
    let from_engines = engines::concerned(woken, Arc::clone(&context));
    let from_policies = trust::concerned(context.trust.clone(), pipelines.clone());
    let from_config_maps = config_maps(settings.all(&client), pipelines);

    let housekeeping = keep_house(Arc::clone(&context), stop.clone());
    let pipelines_loop = controller
        .reconcile_on(votes_seen)
        .reconcile_on(from_config_maps)
        .reconcile_on(from_engines)
        .reconcile_on(from_policies)
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(reconcile_in_time, on_error, context)
        .for_each(|result| async move {
            if let Err(error) = result {
                debug!(%error, "a reconcile was not finished");
            }
        });
    tokio::join!(pipelines_loop, housekeeping, engines.run(stop));
}

fn listed(store: Store<GuardedVote>) -> Listed {
    // An error says that nobody fills the store any more: the loop is being stopped.
    async move { drop(store.wait_until_ready().await) }
        .boxed()
        .shared()
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
        context.retries.retain(exists);
        context.calls.retain(exists);
    }
}

/// Tells the phase of each Pipeline, and for how long a change of it has been waiting.
fn census(pipelines: Store<Guarded>) -> crate::metrics::Census {
    Box::new(move || {
        let now = Timestamp::now();
        let of = |object: &Guarded| {
            let status = object.0.as_ref().ok()?.status.as_ref();
            let phase = status.and_then(|status| status.phase.clone());
            let waits = status
                .and_then(|status| status.waiting_since.as_ref())
                .map(|since| now.duration_since(since.0).as_secs());
            Some((phase.unwrap_or_else(|| "Pending".into()), waits))
        };
        let all = pipelines.state();
        all.iter().filter_map(|object| of(object)).collect()
    })
}

/// Keeps the Pipelines, and tells of each that has changed.
fn pipelines_of(
    api: Api<Guarded>,
    writer: reflector::store::Writer<Guarded>,
) -> impl futures::Stream<Item = Result<Guarded, watcher::Error>> + Send + 'static {
    // What fails is tried again by the controller, after a pause.
    watcher(api, watcher::Config::default())
        .modify(shed)
        .reflect(writer)
        .applied_objects()
}

/// Drops from an object that is kept what nobody reads here. Who has set which field is often more than
/// half of an object, and kubectl's own annotation is the spec once more.
fn shed(object: &mut impl kube::Resource) {
    let metadata = object.meta_mut();
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

/// Keeps the votes, and says whose they are as soon as they are there.
fn votes_of(
    api: Api<GuardedVote>,
    writer: reflector::store::Writer<GuardedVote>,
) -> impl futures::Stream<Item = ObjectRef<Guarded>> + Send + 'static {
    watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(shed)
        .reflect(writer)
        .touched_objects()
        .filter_map(|vote| async move {
            let vote = vote.ok()?;
            let namespace = vote.namespace()?;
            let vote = vote.0.ok()?;
            Some(ObjectRef::new(&vote.spec.pipeline_ref.name).within(&namespace))
        })
}

/// Says whose programs a touched ConfigMap may have changed. Only metadata is watched: there can
/// be many and large ones that are none of ours.
fn config_maps(
    api: Api<PartialObjectMeta<ConfigMap>>,
    pipelines: Store<Guarded>,
) -> impl futures::Stream<Item = ObjectRef<Guarded>> + Send + 'static {
    watcher(api, watcher::Config::default())
        .default_backoff()
        .touched_objects()
        .filter_map(|touched| async move { touched.ok() })
        .flat_map(move |touched| {
            let concerned = pipelines.state_filter(|pipeline| {
                pipeline.metadata_namespace() == touched.namespace()
                    && pipeline.0.as_ref().is_ok_and(|pipeline| {
                        crate::content::config_maps(pipeline.spec.program.as_ref())
                            .contains(touched.name_any().as_str())
                    })
            });
            futures::stream::iter(
                concerned
                    .into_iter()
                    .map(|p| ObjectRef::from_obj(p.as_ref())),
            )
        })
}

async fn reconcile_in_time(object: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Error> {
    let Ok(pipeline) = &object.0 else {
        // Its schema keeps that out; what got in before a schema change is left as it is.
        warn!(pipeline = %object.name_any(), "the object doesn't fit its type and is left alone");
        return Ok(Action::await_change());
    };
    let span = tracing::info_span!(
        "reconcile",
        namespace = pipeline.namespace(),
        pipeline = pipeline.name_any(),
        trace_id = tracing::field::Empty,
    );
    telemetry::continue_trace(&span, asked_by(pipeline, &context).as_deref());
    let timer = context.metrics.reconcile_timer();
    let work = async {
        // A rejection among the votes must not be overlooked because they are still being listed.
        context.votes_listed.clone().await;
        reconcile(pipeline, &context).await
    };
    let result = tokio::time::timeout(RECONCILE_TIMEOUT, work)
        .instrument(span)
        .await
        .unwrap_or(Err(Error::TimedOut));
    timer.observe(result.is_ok());
    result
}

/// The trace of whoever asked for what is being decided or carried out: it stands on the vote, or on
/// the Pipeline beside an annotation that votes.
fn asked_by(pipeline: &Pipeline, context: &Context) -> Option<String> {
    let approval = pipeline.status.as_ref()?.approval.as_ref()?;
    let open = matches!(
        approval.state,
        ApprovalState::Awaiting | ApprovalState::Approved | ApprovalState::Applying
    );
    let on_a_vote = || {
        let votes = votes::of(pipeline, &context.votes);
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
async fn reconcile(pipeline: &Pipeline, context: &Context) -> Result<Action, Error> {
    if pipeline.metadata.deletion_timestamp.is_some() {
        context.audit.write(pipeline).await;
        let action = cleanup::delete(pipeline, context).await?;
        context.retries.forget(&ObjectRef::from_obj(pipeline));
        return Ok(action);
    }
    let held = cleanup::keep_finalizer(pipeline, context).await?;
    let mut pipeline = held.unwrap_or_else(|| pipeline.clone());
    let mut content = content::resolve(&pipeline, context).await?;
    // The store lags behind what was written, by this process too.
    let mut is_live = false;
    let mut live_votes = None;
    let mut view = observe::begin(&pipeline, context).await;
    let object = ObjectRef::from_obj(&pipeline);
    // What has just failed isn't tried again because its own report in status came back as a change.
    let held = context.retries.held(&object, &pipeline);
    let mut outcome: Option<Outcome> = held.as_ref().map(|(failed, _)| failed.clone());
    let may_note_policies = context.notes.may_note(&pipeline, &context.trust.borrow());
    let mut confirmed = false;
    let mut trust = context.trust.borrow().clone();
    for _ in 0..MAX_STEPS {
        let objects = match &live_votes {
            Some(live) => Vec::clone(live),
            None => votes::of(&pipeline, &context.votes),
        };
        // What the engine shows by now may carry somebody's mark.
        let rival = rival(&pipeline, &view, context);
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
            mark_is_released: context.engines.releases(&pipeline),
            outcome: outcome.as_ref(),
            about_to_tell,
            last_call: last_call.as_ref(),
            audited: context.audit.is_on().then_some(audited.as_slice()),
            now: Timestamp::now(),
            timing: context.settings.timing,
        });
        let failed = matches!(outcome, Some(Outcome::Failed { .. }));
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
                    context.reporter.report(&stored, plan.reports);
                    context.calls.written(&object, &pipeline, &stored);
                    pipeline = *stored;
                    is_live = true;
                    // What failed stays in view, so that nothing further is tried now.
                    outcome = outcome.filter(|_| failed);
                }
                // Somebody was faster. What came of the last act must not get lost over it.
                status::Written::Conflict(fresh) => {
                    pipeline = *fresh;
                    is_live = true;
                    // It may ask for another program by now.
                    content = content::resolve(&pipeline, context).await?;
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
                content = content::resolve(&pipeline, context).await?;
                is_live = true;
            }
            Step::Act(act, guard) => {
                let _turn = match (&act, context.previews.try_acquire()) {
                    (decide::Act::Preview(_), Err(_)) => {
                        return Ok(Action::requeue(PREVIEW_LATER));
                    }
                    (decide::Act::Preview(_), Ok(turn)) => Some(turn),
                    _ => None,
                };
                // What is compiled beforehand must not be left behind if the Pipeline is deleted meanwhile.
                if let decide::Act::Build { .. } = act
                    && let Some(held) = cleanup::keep_finalizer(&pipeline, context).await?
                {
                    pipeline = held;
                    continue;
                }
                is_live = false;
                let call = decide::LastCall {
                    act,
                    guard,
                    at: Timestamp::now(),
                };
                outcome =
                    act::perform(&call.act, &call.guard, &pipeline, &mut view, context).await?;
                if !matches!(
                    outcome,
                    Some(Outcome::Failed { .. } | Outcome::GuardFailed | Outcome::LeftTheGate)
                ) {
                    context.calls.made(&object, call);
                }
            }
            Step::Wait if failed => {
                let pause = match (held, outcome) {
                    (Some((_, rest)), _) => rest,
                    (None, Some(failed)) => context.retries.failed(&object, &pipeline, failed),
                    (None, None) => context.retries.next(&object),
                };
                return Ok(Action::requeue(pause));
            }
            Step::Wait => {
                context.retries.forget(&object);
                votes::clear_away(&pipeline, &objects, context).await;
                let unaudited = audit::is_pending(&pipeline).then_some(AUDIT_AGAIN);
                let pause = plan.requeue.into_iter().chain(unaudited).min();
                return Ok(pause.map_or_else(Action::await_change, Action::requeue));
            }
        }
    }
    Err(Error::TooManySteps)
}

/// Who else has the same pipeline of the same engine.
fn rival(pipeline: &Pipeline, view: &observe::View, context: &Context) -> Option<String> {
    // Which engines are the same isn't known before all of them were looked at.
    if view.engine.is_none() {
        context.claims.withdraw(pipeline);
        return None;
    }
    let (claims, existing) = (&context.claims, &context.pipelines);
    let older = claims.claim(pipeline, &context.engines, existing);
    older.or_else(|| {
        let decide::Observation::Answered {
            pipeline: Some(seen),
            ..
        } = &view.observation
        else {
            return None;
        };
        if pipeline.is_guest()
            && !seen.state().id.is_empty()
            && let Some(guest) = claims.older_guest(pipeline, &seen.state().id, existing)
        {
            return Some(guest);
        }
        let state = seen.state();
        let others = mark::read(&state.tags, &state.id).owners.into_iter();
        let mut others =
            others.filter(|owner| Some(&owner.uid) != pipeline.metadata.uid.as_ref());
        others.find_map(|owner| living(&owner, pipeline, context))
    })
}

/// The Pipeline whose mark an engine's pipeline carries, if it lives, or may live where nobody here can see it.
fn living(owner: &mark::Owner, pipeline: &Pipeline, context: &Context) -> Option<String> {
    let is_it = |object: &Guarded| object.uid().as_deref() == Some(&owner.uid);
    if let Some(found) = context.pipelines.find(is_it) {
        let namespace = found.namespace().unwrap_or_default();
        return Some(format!("Pipeline {namespace}/{}", found.name_any()));
    }
    let looked_after = context.settings.namespace.as_ref()?;
    let elsewhere = owner.name.as_ref().is_none_or(|name| name.namespace != *looked_after);
    let may_live = elsewhere && !context.engines.releases(pipeline);
    may_live.then(|| match &owner.name {
        Some(name) => format!(
            "Pipeline {name}, in a namespace that this Sluice doesn't look after (if it is gone, somebody who may edit the Engine releases it with the annotation {}),",
            annotation::RELEASE
        ),
        None => format!(
            "a Pipeline whose name isn't known, perhaps in a namespace that this Sluice doesn't look after (if it is gone, somebody who may edit the Engine releases it with the annotation {}),",
            annotation::RELEASE
        ),
    })
}

fn on_error(object: Arc<Guarded>, error: &Error, context: Arc<Context>) -> Action {
    let pause = context.retries.next(
        &ObjectRef::<Pipeline>::new(&object.name_any())
            .within(&object.namespace().unwrap_or_default()),
    );
    warn!(pipeline = %object.name_any(), namespace = object.namespace(), %error, pause_s = pause.as_secs_f32(), "a reconcile failed");
    Action::requeue(pause)
}

/// The namespace of an object that may not fit its type.
trait MetadataNamespace {
    fn metadata_namespace(&self) -> Option<String>;
}

impl MetadataNamespace for Guarded {
    fn metadata_namespace(&self) -> Option<String> {
        self.namespace()
    }
}

#[cfg(test)]
mod tests;
