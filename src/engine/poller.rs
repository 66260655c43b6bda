//! Keeps the state of all of an engine's pipelines with one request per tick, however many there
//! are, and wakes whoever is concerned by what changed.
//!
//! The engine has no way to tell of a change but to be asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::sync::{Notify, mpsc};
use tracing::{debug, info, warn};

use super::budget::Portion;
use super::feldera::{Address, Feldera, Listing};
use super::{EngineInfo, Error, PipelineState};

/// How often an engine is asked when nothing moves, as a multiple of the interval when something
/// does.
const IDLE_FACTOR: u32 = 5;

/// How many times as long as it took to read a list no further one is asked for: so an engine takes a twentieth of
/// a processor at most, however much it tells. (10,000 pipelines take some 50 ms.)
const PAUSE_FOR_WORK: u32 = 20;

/// How long after a nudge the engine is asked often although nothing moves yet.
const NUDGED_FOR: Duration = Duration::from_secs(15);

/// How often an engine is asked for its edition and version.
const INFO_INTERVAL: Duration = Duration::from_secs(300);

/// The longest pause after failures, unless the engine asks for a longer one.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// The longest `Retry-After` that is heeded.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(120);

/// The longest that a tick may take: two requests with the client's own time limits, and some more for
/// a machine that is busy.
const LONGEST_TICK: Duration = Duration::from_secs(120);

/// What a poller tells.
#[derive(Debug)]
pub struct Wake<K> {
    /// Which engine.
    pub engine: K,
    /// The pipelines that have changed; `None` says that the engine itself has: it answers again,
    /// or no longer.
    pub pipelines: Option<Vec<String>>,
}

/// What is known of an engine.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// It was not asked yet.
    NotYet,
    /// It answers.
    Good(EngineInfo),
    /// It gives no good answer.
    Bad(Error),
}

/// Hears of each tick, so that a poller that hangs is noticed.
pub trait Heartbeat: Send + Sync + 'static {
    /// The poller goes on, and will be heard of again `within` this time.
    fn beat(&self, within: Duration);
}

/// Asks one engine again and again, until it is dropped.
#[derive(Debug)]
pub struct Poller {
    client: Feldera,
    address: Address,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    view: Mutex<View>,
    nudge: Notify,
}

#[derive(Debug)]
struct View {
    health: State,
    pipelines: HashMap<String, Entry>,
    /// The memory that they take.
    portion: Option<Portion>,
    /// When something was last set going.
    nudged_at: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    state: PipelineState,
    /// When the request was sent whose answer this is.
    asked_at: Instant,
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Poller {
    /// Starts to ask an engine.
    pub fn start<K: Clone + Send + Sync + 'static>(
        key: K,
        address: Address,
        client: Feldera,
        interval: Duration,
        wake: mpsc::UnboundedSender<Wake<K>>,
        heartbeat: impl Heartbeat,
    ) -> Self {
        let shared = Arc::new(Shared {
            view: Mutex::new(View {
                health: State::NotYet,
                pipelines: HashMap::new(),
                portion: None,
                nudged_at: None,
            }),
            nudge: Notify::new(),
        });
        let task = tokio::spawn(poll(
            key,
            client.clone(),
            Arc::clone(&shared),
            interval,
            wake,
            heartbeat,
        ));
        Self {
            client,
            address,
            shared,
            task,
        }
    }

    /// The client of the engine.
    pub fn client(&self) -> &Feldera {
        &self.client
    }

    /// Where the engine is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How the engine is.
    pub fn health(&self) -> State {
        self.shared.view().health.clone()
    }

    /// A pipeline as it was last seen.
    pub fn pipeline(&self, name: &str) -> Option<PipelineState> {
        let view = self.shared.view();
        view.pipelines.get(name).map(|entry| entry.state.clone())
    }

    /// Takes in a pipeline that was read by itself, so that an older list can't hide it.
    pub fn put(&self, name: &str, state: Option<PipelineState>, asked_at: Instant) {
        let mut view = self.shared.view();
        match state {
            Some(state) => {
                let entry = Entry { state, asked_at };
                view.pipelines.insert(name.to_owned(), entry);
            }
            None => {
                view.pipelines.remove(name);
            }
        }
    }

    /// Something was set going: asks often for a while.
    pub fn nudge(&self) {
        self.shared.view().nudged_at = Some(Instant::now());
        self.shared.nudge.notify_one();
    }
}

impl Shared {
    fn view(&self) -> MutexGuard<'_, View> {
        // A view is replaced as a whole, so one that a panic left behind is still sound.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn poll<K: Clone + Send + Sync + 'static>(
    key: K,
    client: Feldera,
    shared: Arc<Shared>,
    interval: Duration,
    wake: mpsc::UnboundedSender<Wake<K>>,
    heartbeat: impl Heartbeat,
) {
    let mut info: Option<(EngineInfo, Instant)> = None;
    let mut failures = 0;
    loop {
        let asked_at = Instant::now();
        let answer = tick(&client, &mut info).await;
        let pause = match answer {
            Ok((
                engine,
                Listing {
                    pipelines,
                    portion,
                    work,
                },
            )) => {
                failures = 0;
                let changed = {
                    let mut view = shared.view();
                    view.portion = Some(portion);
                    take_in(&mut view, engine, pipelines, asked_at)
                };
                tell(&key, changed, &wake);
                let pause = if is_moving(&shared.view()) {
                    interval
                } else {
                    interval * IDLE_FACTOR
                };
                pause.max(work * PAUSE_FOR_WORK)
            }
            Err(error) => {
                failures += 1;
                info = None;
                let pause = pause_after(&error, failures, interval);
                let was = std::mem::replace(&mut shared.view().health, State::Bad(error.clone()));
                if was != State::Bad(error.clone()) {
                    warn!(%error, "the engine gives no good answer");
                    tell(
                        &key,
                        Changed {
                            engine: true,
                            pipelines: vec![],
                        },
                        &wake,
                    );
                }
                pause
            }
        };
        let is_much = pause > interval * IDLE_FACTOR;
        let pause = jittered(pause);
        heartbeat.beat(pause + LONGEST_TICK);
        let asked_again = async {
            shared.nudge.notified().await;
            // Nudges come in bursts, and an engine that is down, or tells much, is not to be hurried.
            tokio::time::sleep(if failures > 0 || is_much {
                pause
            } else {
                interval.min(pause)
            })
            .await;
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = asked_again => {}
        }
    }
}

/// One tick: one request, and now and then one more for what hardly ever changes.
async fn tick(
    client: &Feldera,
    info: &mut Option<(EngineInfo, Instant)>,
) -> Result<(EngineInfo, Listing), Error> {
    let known = info.take_if(|(_, asked_at)| asked_at.elapsed() < INFO_INTERVAL);
    let (engine, asked_at) = match known {
        Some(known) => known,
        None => (client.info().await?, Instant::now()),
    };
    *info = Some((engine.clone(), asked_at));
    Ok((engine, client.list().await?))
}

struct Changed {
    engine: bool,
    pipelines: Vec<String>,
}

fn take_in(
    view: &mut View,
    engine: EngineInfo,
    pipelines: Vec<PipelineState>,
    asked_at: Instant,
) -> Changed {
    let health = State::Good(engine);
    let engine_changed = view.health != health;
    view.health = health;
    let mut changed = vec![];
    let mut seen = HashMap::with_capacity(pipelines.len());
    for state in pipelines {
        let name = state.name.clone();
        match view.pipelines.remove(&name) {
            // What was read by itself while the list was on its way is newer.
            Some(entry) if entry.asked_at > asked_at => {
                seen.insert(name, entry);
            }
            Some(entry) if entry.state == state => {
                seen.insert(name, Entry { state, asked_at });
            }
            _ => {
                changed.push(name.clone());
                seen.insert(name, Entry { state, asked_at });
            }
        }
    }
    for (name, entry) in view.pipelines.drain() {
        if entry.asked_at > asked_at {
            seen.insert(name, entry);
        } else {
            changed.push(name);
        }
    }
    view.pipelines = seen;
    Changed {
        engine: engine_changed,
        pipelines: changed,
    }
}

fn tell<K: Clone>(key: &K, changed: Changed, wake: &mpsc::UnboundedSender<Wake<K>>) {
    // Nobody listens while the operator stops.
    if changed.engine {
        info!("the engine's health has changed");
        let _ = wake.send(Wake {
            engine: key.clone(),
            pipelines: None,
        });
    } else if !changed.pipelines.is_empty() {
        debug!(
            pipelines = changed.pipelines.len(),
            "pipelines have changed"
        );
        let _ = wake.send(Wake {
            engine: key.clone(),
            pipelines: Some(changed.pipelines),
        });
    }
}

fn is_moving(view: &View) -> bool {
    view.nudged_at.is_some_and(|at| at.elapsed() < NUDGED_FOR)
        || view.pipelines.values().any(|entry| entry.state.is_moving())
}

fn pause_after(error: &Error, failures: u32, interval: Duration) -> Duration {
    let grown = interval
        .saturating_mul(2u32.saturating_pow(failures.min(10)))
        .min(MAX_BACKOFF);
    match error {
        Error::Unavailable {
            retry_after: Some(asked),
            ..
        } => (*asked).min(MAX_RETRY_AFTER),
        _ => grown,
    }
}

/// Up to a tenth more, so that the operator's engines aren't all asked at the same moment.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 + rand::rng().random_range(0.0..0.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(name: &str, status: &str) -> PipelineState {
        PipelineState {
            name: name.to_owned(),
            deployment_status: status.to_owned(),
            ..PipelineState::default()
        }
    }

    fn view() -> View {
        View {
            health: State::NotYet,
            pipelines: HashMap::new(),
            portion: None,
            nudged_at: None,
        }
    }

    fn changed(view: &mut View, list: &[PipelineState], asked_at: Instant) -> Vec<String> {
        let mut names = take_in(view, EngineInfo::default(), list.to_vec(), asked_at).pipelines;
        names.sort();
        names
    }

    #[test]
    fn only_what_changed_is_woken() {
        let mut view = view();
        let start = Instant::now();
        let list = [state("a", "Running"), state("b", "Running")];
        assert_eq!(changed(&mut view, &list, start), ["a", "b"]);
        assert_eq!(changed(&mut view, &list, start), [""; 0]);
        let list = [
            state("a", "Paused"),
            state("b", "Running"),
            state("c", "Stopped"),
        ];
        assert_eq!(changed(&mut view, &list, start), ["a", "c"]);
        assert_eq!(changed(&mut view, &list[1..], start), ["a"]);
    }

    #[test]
    fn a_list_that_was_asked_for_earlier_does_not_hide_a_newer_answer() {
        let mut view = view();
        let asked_list = Instant::now();
        let asked_one = asked_list + Duration::from_millis(1);
        view.pipelines.insert(
            "a".into(),
            Entry {
                state: state("a", "Stopping"),
                asked_at: asked_one,
            },
        );
        assert_eq!(
            changed(&mut view, &[state("a", "Running")], asked_list),
            [""; 0]
        );
        assert_eq!(view.pipelines["a"].state.deployment_status, "Stopping");
        assert_eq!(changed(&mut view, &[], asked_list), [""; 0]);
        assert_eq!(changed(&mut view, &[], asked_one), ["a"]);
    }

    #[test]
    fn the_engines_own_retry_after_is_heeded_and_otherwise_pauses_grow_to_a_limit() {
        let interval = Duration::from_secs(2);
        let asked = Error::Unavailable {
            message: String::new(),
            code: String::new(),
            retry_after: Some(Duration::from_secs(5)),
        };
        assert_eq!(pause_after(&asked, 1, interval), Duration::from_secs(5));
        let down = Error::Unreachable(String::new());
        let pauses: Vec<u64> = (1..7)
            .map(|n| pause_after(&down, n, interval).as_secs())
            .collect();
        assert_eq!(pauses, [4, 8, 16, 30, 30, 30]);
    }
}
