//! The engines: their pollers, and the status of their Engine objects.

mod hold;
mod lost;
mod resource;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::controller::{Action, Config as ControllerConfig, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Resource, ResourceExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::work::Turn;
use super::{Context, Error, Guarded, Settings, kept, unfit};
use crate::crd::{Engine, Pipeline, annotation};
use crate::engine::budget::Budget;
use crate::engine::feldera::{Address, Feldera};
use crate::engine::identity;
use crate::engine::poller::{Heartbeat, Poller, State, Wake};
use crate::gate::decide::is_build;
use crate::guarded;
use crate::health::Health;

pub use resource::EngineReason;

/// An Engine that may not be one.
type GuardedEngine = guarded::Guarded<Engine>;

/// How often an Engine's Secrets are read again. They are read by name and not watched, since a
/// watch would need the right to list all Secrets.
const SECRETS_INTERVAL: Duration = Duration::from_secs(60);

/// How often they are read again while the engine refuses the credential, or one is missing.
const SECRETS_INTERVAL_IN_NEED: Duration = Duration::from_secs(5);

/// How often an Engine that is to be deleted is looked at, until nothing uses it any more.
const WHILE_IT_LEAVES: Duration = Duration::from_secs(1);

/// How much memory the answers of all engines may take, those included that are kept: the states of 10,000
/// pipelines of one engine take some 10 MiB, and twice that while a new list comes.
const FOR_ANSWERS: usize = 64 << 20;

/// How long one look at an Engine may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Which engine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EngineKey {
    /// None in particular: something that concerns the Pipelines of all engines.
    Every,
    /// The operator's own.
    Default,
    /// An Engine object.
    Named {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl std::fmt::Display for EngineKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Every => f.write_str("every engine"),
            Self::Default => f.write_str("the default engine"),
            Self::Named { namespace, name } => write!(f, "engine {namespace}/{name}"),
        }
    }
}

impl EngineKey {
    /// Its name in figures.
    pub(super) fn label(&self) -> String {
        match self {
            Self::Named { namespace, name } => format!("{namespace}/{name}"),
            Self::Default | Self::Every => "default".to_owned(),
        }
    }

    /// The engine that a Pipeline names.
    pub fn of(pipeline: &Pipeline) -> Self {
        match &pipeline.spec.engine_ref {
            None => Self::Default,
            Some(engine) => Self::Named {
                namespace: pipeline.namespace().unwrap_or_default(),
                name: engine.name.clone(),
            },
        }
    }
}

/// The engine of Pipelines without `engineRef`.
#[derive(Clone, Debug)]
pub struct DefaultEngine {
    /// Where it is.
    pub address: Address,
    /// The file that holds its credential; it is read again now and then.
    pub credential_file: Option<std::path::PathBuf>,
    /// The namespaces whose Pipelines it serves; `None` serves all.
    pub namespaces: Option<HashSet<String>>,
}

/// A poller's sign of life, which ends with the poller.
struct Pulse {
    part: String,
    health: Health,
}

impl Pulse {
    fn of(key: &EngineKey, health: &Health) -> Self {
        Self {
            part: format!("poll of {key}"),
            health: health.clone(),
        }
    }
}

impl Heartbeat for Pulse {
    fn beat(&self, within: Duration) {
        self.health.beat(&self.part, within);
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.health.forget(&self.part);
    }
}

/// A running poller that is being used, in somebody's turn.
#[derive(Clone)]
pub(super) struct Use {
    pub(super) poller: Arc<Poller>,
    turn: Turn,
}

impl Use {
    /// Asks the engine. There is no other way to call it, because nothing that others need may be held while
    /// an engine is waited for.
    pub(super) async fn ask<'a, F: Future>(
        &'a self,
        call: impl FnOnce(&'a Feldera) -> F,
    ) -> F::Output {
        self.turn.away(call(self.poller.client())).await
    }
}

/// What came of looking up a Pipeline's engine.
pub(super) enum Lookup<T> {
    /// Here it is.
    Found(T),
    /// Its Engine was not looked at yet.
    NotYet,
    /// There is none, or its settings can't be used: why.
    Missing(String),
}

/// All engines.
#[derive(Clone)]
pub(super) struct Engines(Arc<Inner>);

struct Inner {
    client: Client,
    settings: Settings,
    health: Health,
    unfit: Arc<unfit::Unfit>,
    pipelines: Store<Guarded>,
    wakes: mpsc::UnboundedSender<Wake<EngineKey>>,
    budget: Budget,
    /// A poller, or why there is none.
    pollers: Mutex<HashMap<EngineKey, Result<Arc<Poller>, String>>>,
    /// The engine's pipelines whose marks of Pipelines that are gone don't count any more, by
    /// `sluice.dev/release`.
    released: Mutex<HashMap<EngineKey, HashSet<String>>>,
    /// The pipelines that are gone from their engines.
    lost: Mutex<lost::Lost>,
    listed: tokio::sync::watch::Sender<bool>,
    changed: tokio::sync::broadcast::Sender<EngineKey>,
}

impl Engines {
    pub(super) fn new(
        client: Client,
        settings: Settings,
        wakes: mpsc::UnboundedSender<Wake<EngineKey>>,
        pipelines: Store<Guarded>,
        health: Health,
        unfit: Arc<unfit::Unfit>,
    ) -> Self {
        let default_engine = settings.default_engine.clone();
        let engines = Self(Arc::new(Inner {
            client,
            settings,
            health,
            unfit,
            pipelines,
            wakes,
            budget: Budget::new(FOR_ANSWERS),
            pollers: Mutex::default(),
            released: Mutex::default(),
            lost: Mutex::default(),
            listed: tokio::sync::watch::channel(false).0,
            changed: tokio::sync::broadcast::channel(64).0,
        }));
        if let Some(engine) = default_engine {
            engines.use_address(&EngineKey::Default, Ok(engine.address));
        }
        engines
    }

    /// As if all Engine objects had been looked at.
    #[cfg(test)]
    pub(super) fn are_all_known(&self) {
        self.0.listed.send_replace(true);
    }

    /// What tells engines apart, whatever objects name them.
    pub(super) fn identity(&self, key: &EngineKey) -> String {
        let pollers = self
            .0
            .pollers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match pollers.get(key) {
            Some(Ok(poller)) => identity::of(poller.address()),
            // Nothing is done there, so no harm.
            _ => key.to_string(),
        }
    }

    /// Whether whoever may edit a Pipeline's Engine says that the mark of a Pipeline that is gone doesn't count on
    /// the engine's pipeline any more.
    pub(super) fn releases(&self, pipeline: &Pipeline) -> bool {
        let released = self
            .0
            .released
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        released
            .get(&EngineKey::of(pipeline))
            .is_some_and(|names| names.contains(pipeline.engine_pipeline_name()))
    }

    /// Takes down which those are.
    fn note_released(&self, key: &EngineKey, engine: &Engine) {
        let names: HashSet<String> = engine
            .annotations()
            .get(annotation::RELEASE)
            .into_iter()
            .flat_map(|names| names.split(','))
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect();
        let mut released = self
            .0
            .released
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = match names.is_empty() {
            true => released.remove(key),
            false => released.insert(key.clone(), names.clone()),
        };
        drop(released);
        if before.unwrap_or_default() != names {
            let _ = self.0.wakes.send(Wake {
                engine: key.clone(),
                pipelines: None,
            });
        }
    }

    /// The engine of a Pipeline whose turn it is.
    pub(super) fn of(&self, pipeline: &Pipeline, turn: &Turn) -> Lookup<Use> {
        match self.poller_of(pipeline) {
            Lookup::Found(poller) => Lookup::Found(Use {
                poller,
                turn: turn.clone(),
            }),
            Lookup::NotYet => Lookup::NotYet,
            Lookup::Missing(why) => Lookup::Missing(why),
        }
    }

    /// Whether a Pipeline's engine is known.
    pub(super) fn serve(&self, pipeline: &Pipeline) -> bool {
        matches!(self.poller_of(pipeline), Lookup::Found(_))
    }

    fn poller_of(&self, pipeline: &Pipeline) -> Lookup<Arc<Poller>> {
        // Another object may name the same engine.
        if !*self.0.listed.borrow() {
            return Lookup::NotYet;
        }
        let key = EngineKey::of(pipeline);
        if let (EngineKey::Default, Some(engine)) = (&key, &self.0.settings.default_engine) {
            let namespace = pipeline.namespace().unwrap_or_default();
            if engine
                .namespaces
                .as_ref()
                .is_some_and(|served| !served.contains(&namespace))
            {
                return Lookup::Missing(format!(
                    "the operator's default engine doesn't serve namespace {namespace}; create an Engine in it and set spec.engineRef"
                ));
            }
        }
        let pollers = self
            .0
            .pollers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match (pollers.get(&key), &key) {
            (Some(Ok(poller)), _) => Lookup::Found(Arc::clone(poller)),
            (Some(Err(why)), _) => Lookup::Missing(why.clone()),
            (None, EngineKey::Default | EngineKey::Every) => Lookup::Missing(
                "the operator has no default engine; create an Engine and set spec.engineRef"
                    .into(),
            ),
            (None, EngineKey::Named { name, .. }) => {
                Lookup::Missing(format!("there is no Engine {name} in this namespace"))
            }
        }
    }

    /// Looks after the Engine objects until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let api = self.0.settings.all::<GuardedEngine>(&self.0.client);
        let (store, writer) = kube::runtime::reflector::store();
        let seen = guarded::watch(api)
            .modify(kept::metadata)
            .reflect(writer)
            .applied_objects();
        let controller = Controller::for_stream(seen, store.clone())
            .with_config(ControllerConfig::default().concurrency(8));
        let changed = self.0.changed.subscribe();
        let awake = futures::stream::unfold(changed, |mut changed| async move {
            loop {
                match changed.recv().await {
                    Ok(EngineKey::Named { namespace, name }) => {
                        return Some((ObjectRef::new(&name).within(&namespace), changed));
                    }
                    // What was missed is looked at again by the clock.
                    Ok(EngineKey::Default | EngineKey::Every)
                    | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        let watch_deletions = self.clone().forget_deleted(store, stop.clone());
        let watch_key = self.clone().follow_the_default_key(stop.clone());
        let reconcile = controller
            .reconcile_on(awake)
            .graceful_shutdown_on(stop.cancelled_owned())
            .run(
                |engine, engines| async move {
                    let looked = tokio::time::timeout(TIMEOUT, reconcile(&engine, &engines));
                    let looked = looked.await.unwrap_or(Err(Error::TimedOut));
                    if let Err(error) = &looked {
                        // The others must not wait for one that can't be looked at.
                        engines.note_failure(&key_of(&engine), error);
                    }
                    looked
                },
                |engine, error, _| {
                    warn!(engine = %engine.name_any(), %error, "an Engine could not be looked at");
                    Action::requeue(Duration::from_secs(5))
                },
                Arc::new(self),
            )
            .for_each(|result| async move {
                if let Err(error) = result {
                    debug!(%error, "a look at an Engine was not finished");
                }
            });
        tokio::join!(reconcile, watch_deletions, watch_key);
    }

    /// Takes up a new credential of the default engine.
    async fn follow_the_default_key(self, stop: CancellationToken) {
        let Some(engine) = &self.0.settings.default_engine else {
            return;
        };
        let Some(file) = &engine.credential_file else {
            return;
        };
        let mut tick = tokio::time::interval(SECRETS_INTERVAL_IN_NEED);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            match tokio::fs::read_to_string(file).await {
                Ok(text) => self.use_address(
                    &EngineKey::Default,
                    Ok(Address {
                        credential: Some(text.trim().to_owned()),
                        ..engine.address.clone()
                    }),
                ),
                // What it had before may still do.
                Err(error) => {
                    warn!(file = %file.display(), %error, "the engine's API key can't be read again")
                }
            }
        }
    }

    /// Ends the pollers of Engines that are gone, and says so to their Pipelines.
    async fn forget_deleted(self, store: Store<GuardedEngine>, stop: CancellationToken) {
        if stop
            .run_until_cancelled(store.wait_until_ready())
            .await
            .is_none()
        {
            return;
        }
        // Those that exist are looked at first; what is missing then is missing for good.
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            let existing: HashSet<EngineKey> =
                store.state().iter().map(|engine| key_of(engine)).collect();
            let known: Vec<EngineKey> = {
                let mut pollers = self
                    .0
                    .pollers
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let gone: Vec<EngineKey> = pollers
                    .keys()
                    .filter(|key| **key != EngineKey::Default && !existing.contains(key))
                    .cloned()
                    .collect();
                for key in &gone {
                    pollers.remove(key);
                    let released = self.0.released.lock();
                    released.unwrap_or_else(PoisonError::into_inner).remove(key);
                }
                gone
            };
            let all_known = {
                let pollers = self
                    .0
                    .pollers
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                existing.iter().all(|key| pollers.contains_key(key))
            };
            let first_time = all_known
                && !self
                    .0
                    .listed
                    .send_replace(all_known || *self.0.listed.borrow());
            for engine in known {
                let _ = self.0.wakes.send(Wake {
                    engine,
                    pipelines: None,
                });
            }
            if first_time {
                // Whoever names an Engine that isn't there may know now.
                let _ = self.0.wakes.send(Wake {
                    engine: EngineKey::Every,
                    pipelines: None,
                });
            }
        }
    }

    /// Which engines answer, for the figures.
    pub(super) fn roll_call(&self) -> crate::metrics::RollCall {
        // The figures outlive the loop.
        let inner = Arc::downgrade(&self.0);
        Box::new(move || {
            let Some(inner) = inner.upgrade() else {
                return vec![];
            };
            let pollers = inner.pollers.lock().unwrap_or_else(PoisonError::into_inner);
            let lost = inner.lost.lock().unwrap_or_else(PoisonError::into_inner);
            let of = |(key, poller): (&EngineKey, &Result<Arc<Poller>, String>)| {
                let is_up = poller
                    .as_ref()
                    .is_ok_and(|poller| matches!(poller.health(), State::Good(_)));
                crate::metrics::Answers {
                    engine: key.label(),
                    is_up,
                    lost: lost.of(key).count,
                }
            };
            pollers.iter().map(of).collect()
        })
    }

    /// An Engine is looked at again soon: who uses it has changed.
    pub(super) fn touch(&self, key: &EngineKey) {
        // Nobody listens while the operator stops.
        let _ = self.0.changed.send(key.clone());
    }

    /// Takes down whether a Pipeline's engine has lost its pipeline. Its Engine says so.
    pub(super) fn note_lost(&self, pipeline: &Pipeline) {
        let key = EngineKey::of(pipeline);
        let mut lost = self.0.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = lost.note(&key, pipeline);
        drop(lost);
        if is_news {
            self.touch(&key);
        }
    }

    /// Forgets the lost pipelines of Pipelines that are gone, by their uids.
    pub(super) fn retain_lost(&self, exists: impl Fn(&str) -> bool) {
        let mut lost = self.0.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let touched = lost.retain(exists);
        drop(lost);
        for key in touched {
            self.touch(&key);
        }
    }

    /// Whether Pipelines name an Engine; `None` before they have been listed.
    fn is_in_use(&self, key: &EngineKey) -> Option<bool> {
        let listed = self.0.pipelines.wait_until_ready().now_or_never();
        listed?.ok()?;
        let names = |object: &Guarded| {
            let pipeline = object.0.as_ref();
            pipeline.is_ok_and(|pipeline| EngineKey::of(pipeline) == *key)
        };
        Some(self.0.pipelines.find(names).is_some())
    }

    /// An Engine couldn't be looked at. What was known of it before goes on.
    fn note_failure(&self, key: &EngineKey, error: &Error) {
        let pollers = &self.0.pollers;
        let known = pollers.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !known.contains_key(key);
        drop(known);
        if is_new {
            self.use_address(key, Err(format!("the Engine can't be looked at: {error}")));
        }
    }

    fn has_poller(&self, key: &EngineKey) -> bool {
        let pollers = self
            .0
            .pollers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        matches!(pollers.get(key), Some(Ok(_)))
    }

    /// Polls an engine at an address, or says why it can't be. Pipelines hear of what changed.
    fn use_address(&self, key: &EngineKey, address: Result<Address, String>) {
        let mut pollers = self
            .0
            .pollers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let poller = address.and_then(|address| {
            if let Some(Ok(poller)) = pollers.get(key)
                && *poller.address() == address
            {
                return Ok(Arc::clone(poller));
            }
            let purse = self.0.budget.purse(match key {
                EngineKey::Named { namespace, .. } => namespace,
                // A namespace's name is never empty.
                EngineKey::Default | EngineKey::Every => "",
            });
            let client = Feldera::new(&address, purse).map_err(|error| error.to_string())?;
            Ok(Arc::new(Poller::start(
                key.clone(),
                address,
                client,
                self.0.settings.poll_interval,
                self.0.wakes.clone(),
                Pulse::of(key, &self.0.health),
            )))
        });
        let failed = poller.as_ref().err().cloned();
        let before = pollers.insert(key.clone(), poller);
        let changed = match (&before, &failed) {
            (Some(Err(before)), Some(now)) => before != now,
            (_, Some(_)) => true,
            _ => false,
        };
        drop(pollers);
        if changed {
            let _ = self.0.wakes.send(Wake {
                engine: key.clone(),
                pipelines: None,
            });
        }
    }
}

/// The Pipelines that what a poller tells is about.
pub(super) fn concerned(
    woken: mpsc::UnboundedReceiver<Wake<EngineKey>>,
    context: Arc<Context>,
) -> impl futures::Stream<Item = ObjectRef<Guarded>> + Send + 'static {
    futures::stream::unfold((woken, context), |(mut woken, context)| async move {
        let wake = woken.recv().await?;
        let concerned: Vec<ObjectRef<Guarded>> = match &wake.pipelines {
            Some(names) => names
                .iter()
                .flat_map(|name| concerned_by(name, &wake.engine, &context))
                .collect(),
            None => {
                let _ = context.engines.0.changed.send(wake.engine.clone());
                context
                    .pipelines
                    .state()
                    .iter()
                    .filter(|object| {
                        object.0.as_ref().is_ok_and(|pipeline| {
                            EngineKey::of(pipeline) == wake.engine
                                || wake.engine == EngineKey::Every
                        })
                    })
                    .map(|object| ObjectRef::from_obj(object.as_ref()))
                    .collect()
            }
        };
        Some((futures::stream::iter(concerned), (woken, context)))
    })
    .flatten()
}

/// The Pipelines that a pipeline of an engine is of.
fn concerned_by(name: &str, engine: &EngineKey, context: &Context) -> Vec<ObjectRef<Guarded>> {
    // Also of a name like that of what is compiled beforehand: Pipelines from before these were kept may have one.
    let mut concerned = context.claims.of(engine, name);
    if !is_build(name) {
        return concerned;
    }
    concerned.extend(context.references.built_as(engine, name));
    concerned
}

fn key_of(engine: &GuardedEngine) -> EngineKey {
    EngineKey::Named {
        namespace: engine.namespace().unwrap_or_default(),
        name: engine.name_any(),
    }
}

async fn reconcile(object: &GuardedEngine, engines: &Engines) -> Result<Action, Error> {
    let key = key_of(object);
    let engine = match &object.0 {
        Ok(engine) => engine,
        Err(found) => {
            let so = "no Pipeline that names it is looked after until it does";
            engines.0.unfit.tell(object, found, so);
            engines.use_address(&key, Err(format!("of the Engine, {found}")));
            hold::keep(object, engines.is_in_use(&key), &engines.0.client).await?;
            return Ok(match object.meta().deletion_timestamp {
                Some(_) => Action::requeue(WHILE_IT_LEAVES),
                None => Action::await_change(),
            });
        }
    };
    engines.note_released(&key, engine);
    let leaves = engine.metadata.deletion_timestamp.is_some();
    match resource::address(engine, &engines.0.client).await {
        // Where a whole namespace goes, the Secret may go first.
        Ok(Err(_)) if leaves && engines.has_poller(&key) => {}
        Ok(address) => engines.use_address(&key, address),
        Err(error) => {
            // A poller that works goes on with what it has.
            if !engines.has_poller(&key) {
                engines.use_address(
                    &key,
                    Err(format!("the Engine's Secrets can't be read: {error}")),
                );
            }
            return Err(error);
        }
    }
    // After its address: an Engine that can't be held can be used all the same.
    hold::keep(object, engines.is_in_use(&key), &engines.0.client).await?;
    let health = {
        let pollers = engines
            .0
            .pollers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match pollers.get(&key) {
            Some(Ok(poller)) => Ok(poller.health()),
            Some(Err(why)) => Err(why.clone()),
            None => Ok(State::NotYet),
        }
    };
    let lost = {
        let lost = engines.0.lost.lock();
        lost.unwrap_or_else(PoisonError::into_inner).of(&key)
    };
    let next = resource::status(engine, &health, &lost);
    if engine.status.as_ref() != Some(&next) {
        resource::write(engine, &next, &engines.0.client).await?;
    }
    let in_need = matches!(
        health,
        Err(_) | Ok(State::Bad(crate::engine::Error::Unauthorized { .. }))
    );
    Ok(Action::requeue(if leaves {
        WHILE_IT_LEAVES
    } else if in_need {
        SECRETS_INTERVAL_IN_NEED
    } else {
        SECRETS_INTERVAL
    }))
}
