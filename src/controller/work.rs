//! Looks at the objects whose turn it is: what the queue decides, carried out.
//!
//! kube's own controller isn't used for Pipelines, because it has one line for all and one number of places:
//! what holds a place there for long holds up everybody. (Without a limit it asks everything that is under
//! way whenever anything happens, and keeps a whole reconcile in memory for each object that waits.)

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant as Clock;
use tokio_util::sync::CancellationToken;

use super::Guarded;
use super::engines::EngineKey;
use super::queue::{Go, Limits, Of, Queue, Urgency};

type Object = ObjectRef<Guarded>;

/// The longest pause that a timer is set for. What is farther away is looked at in between.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// What is wanted and under way, for those who ask.
#[derive(Clone)]
pub(super) struct Desk(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Something may go on that couldn't before.
    news: Notify,
}

struct State {
    queue: Queue<Object, String, EngineKey>,
    /// Who waits to have a place again.
    back: HashMap<Object, oneshot::Sender<()>>,
}

impl Desk {
    pub(super) fn new(limits: Limits) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                queue: Queue::new(limits),
                back: HashMap::new(),
            }),
            news: Notify::new(),
        }))
    }

    /// For how long the Pipeline of each engine that has waited longest has done so without being looked at.
    pub(super) fn oldest(&self) -> HashMap<EngineKey, Duration> {
        self.state().queue.oldest(Instant::now())
    }

    /// The next that is begun, if any may be; who comes back before it, is told so.
    fn next_to_begin(&self, may_begin: bool) -> Option<Object> {
        let mut state = self.state();
        loop {
            let next = if may_begin {
                state.queue.next()
            } else {
                state.queue.next_back()
            };
            match next? {
                Go::Begin(object) => return Some(object),
                Go::Back(object) => {
                    if let Some(back) = state.back.remove(&object) {
                        // Who doesn't wait for it any more is about to end.
                        let _ = back.send(());
                    }
                }
            }
        }
    }

    fn is_done(&self, object: &Object) {
        let mut state = self.state();
        state.back.remove(object);
        state.queue.done(object);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whatever panics while it holds this is a defect of the queue, and ends the loop.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn of an object that is under way.
#[derive(Clone)]
pub(super) struct Turn(Arc<TurnOf>);

struct TurnOf {
    /// None: there is nobody to share with.
    desk: Option<(Desk, Object)>,
    is_away: AtomicBool,
    /// How long it has waited to go on, and since when it does now.
    waited: Mutex<(Duration, Option<Clock>)>,
}

impl Turn {
    fn new(desk: Option<(Desk, Object)>) -> Self {
        Self(Arc::new(TurnOf {
            desk,
            is_away: AtomicBool::new(false),
            waited: Mutex::default(),
        }))
    }

    /// A turn that is shared with nobody.
    #[cfg(test)]
    pub(super) fn alone() -> Self {
        Self::new(None)
    }

    /// Waits for something slow, an engine, and holds no place meanwhile. Within that, it is away already.
    pub(super) async fn away<T>(&self, slow: impl Future<Output = T>) -> T {
        let Some((desk, object)) = &self.0.desk else {
            return slow.await;
        };
        if self.0.is_away.swap(true, Ordering::Relaxed) {
            return slow.await;
        }
        desk.state().queue.goes_away(object);
        desk.0.news.notify_one();
        let result = slow.await;
        self.0.is_away.store(false, Ordering::Relaxed);
        let back = {
            let mut state = desk.state();
            if state.queue.comes_back(object) {
                None
            } else {
                let (send, receive) = oneshot::channel();
                state.back.insert(object.clone(), send);
                Some(receive)
            }
        };
        if let Some(back) = back {
            self.waited().1 = Some(Clock::now());
            desk.0.news.notify_one();
            // Nobody answers any more only if this turn is over.
            let _ = back.await;
            let mut waited = self.waited();
            let since = waited.1.take();
            waited.0 += since.map_or(Duration::ZERO, |since| since.elapsed());
        }
        result
    }

    fn waited(&self) -> MutexGuard<'_, (Duration, Option<Clock>)> {
        self.0.waited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something within a time in which waiting for a place doesn't count; `None` if it took longer.
    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let begin = Clock::now();
        let end = || {
            let (before, since) = *self.waited();
            begin + limit + before + since.map_or(Duration::ZERO, |since| since.elapsed())
        };
        let mut work = pin!(work);
        loop {
            let until = end();
            match tokio::time::timeout_at(until, &mut work).await {
                Ok(done) => return Some(done),
                // It has waited meanwhile, or does just now.
                Err(_) if end() > until => {}
                Err(_) => return None,
            }
        }
    }
}

/// An object that is to be looked at.
pub(super) struct Wanted {
    pub(super) object: Object,
    pub(super) urgency: Urgency,
}

/// What is known of an object that is wanted.
pub(super) struct Known {
    pub(super) of: Of<String, EngineKey>,
    pub(super) urgency: Urgency,
}

/// When an object is looked at again if nothing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Action(Option<Duration>);

impl Action {
    /// After this time.
    pub(super) fn requeue(pause: Duration) -> Self {
        Self(Some(pause))
    }

    /// Not before.
    pub(super) fn await_change() -> Self {
        Self(None)
    }
}

/// Looks at each object that is wanted, until `stop`; what is under way then is finished.
///
/// Nothing is begun before `ready`. What isn't in the store isn't looked at.
pub(super) async fn run<F>(
    wanted: impl Stream<Item = Wanted>,
    ready: impl Future<Output = ()>,
    desk: Desk,
    store: Store<Guarded>,
    known: impl Fn(&Guarded) -> Known,
    look: impl Fn(Arc<Guarded>, Turn) -> F,
    stop: CancellationToken,
) where
    F: Future<Output = Action> + Send + 'static,
{
    let (mut wanted, mut ready) = (pin!(wanted), pin!(ready));
    let (mut is_ready, mut stopping) = (false, false);
    let mut timers = Timers::default();
    let mut under_way: JoinSet<(Object, Action)> = JoinSet::new();
    let want = |object: Object, urgency: Urgency| {
        if let Some(found) = store.get(&object) {
            let Known { of, urgency: own } = known(&found);
            let mut state = desk.state();
            let urgency = urgency.min(own);
            state.queue.want(object, of, urgency, Instant::now());
        }
    };
    while !(stopping && under_way.is_empty()) {
        while let Some(object) = desk.next_to_begin(is_ready && !stopping) {
            timers.cancel(&object);
            let Some(found) = store.get(&object) else {
                desk.is_done(&object);
                continue;
            };
            let turn = Turn::new(Some((desk.clone(), object.clone())));
            let looked = look(found, turn);
            under_way.spawn(async move { (object, looked.await) });
        }
        tokio::select! {
            () = stop.cancelled(), if !stopping => stopping = true,
            () = &mut ready, if !is_ready => is_ready = true,
            () = desk.0.news.notified() => {}
            next = wanted.next(), if !stopping => match next {
                Some(Wanted { object, urgency }) => want(object, urgency),
                // Nothing is to be heard of any more.
                None => stopping = true,
            },
            Some(ended) = under_way.join_next() => match ended {
                Ok((object, Action(pause))) => {
                    desk.is_done(&object);
                    if let Some(pause) = pause {
                        timers.set(object, Clock::now() + pause.min(LONGEST_PAUSE));
                    }
                }
                // None is aborted, so it has panicked.
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            () = timers.next(), if !stopping => {
                for object in timers.due(Clock::now()) {
                    want(object, Urgency::Routine);
                }
            }
        }
    }
}

/// When objects are looked at again.
#[derive(Default)]
struct Timers {
    /// Numbered, since several may be due at the same time.
    by_time: BTreeMap<(Clock, u64), Object>,
    of: HashMap<Object, (Clock, u64)>,
    set: u64,
}

impl Timers {
    fn set(&mut self, object: Object, at: Clock) {
        self.cancel(&object);
        self.set += 1;
        self.of.insert(object.clone(), (at, self.set));
        self.by_time.insert((at, self.set), object);
    }

    fn cancel(&mut self, object: &Object) {
        if let Some(key) = self.of.remove(object) {
            self.by_time.remove(&key);
        }
    }

    /// Ends when one is due.
    async fn next(&self) {
        match self.by_time.first_key_value() {
            Some(((at, _), _)) => tokio::time::sleep_until(*at).await,
            None => std::future::pending().await,
        }
    }

    fn due(&mut self, now: Clock) -> Vec<Object> {
        let mut due = vec![];
        while let Some(first) = self.by_time.first_entry() {
            if first.key().0 > now {
                break;
            }
            let object = first.remove();
            self.of.remove(&object);
            due.push(object);
        }
        due
    }
}

#[cfg(test)]
mod tests;
