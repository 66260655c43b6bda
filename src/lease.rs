//! Leader election: of several replicas exactly one acts, the one that holds a Lease.
//!
//! The Lease is taken and renewed by whole replacements under the resourceVersion that was read, so
//! of two that try at once one gets a conflict. Nobody compares clocks of two machines: a Lease
//! counts as abandoned when it was *seen* not to change for its own duration, by the watcher's own
//! clock. The holder, in turn, counts from before its last renewal was sent, and stops acting well
//! before anybody else may begin. The pure part is [`term`].
//!
//! Whoever may edit the Lease decides who acts, and can keep all from it. What isn't possible by that, short of
//! giving a Lease up in the holder's name, is that a second one begins while the first may still act: one that
//! is taken away, or that names a replica that never wrote it, keeps others away as long as the one before; and
//! no Lease does for longer than [`term::LONGEST`].
//!
//! The crates that offer this for kube force-release an expired Lease, or renew it, by patches
//! without a resourceVersion; both can end in two leaders. See `docs/decisions.md`.

pub mod term;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use rand::RngExt;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use term::{Found, HolderSeen, Next};

/// The settings of an election.
#[derive(Clone, Debug)]
pub struct Config {
    /// The Lease's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who this replica is. Two must never have the same.
    pub identity: String,
    /// How long a Lease that isn't renewed keeps others from acting. Two thirds of it are how long
    /// its holder goes on without a renewal.
    pub duration: Duration,
}

impl Config {
    /// How long the holder may act after its last renewal was sent.
    fn term(&self) -> Duration {
        self.duration * 2 / 3
    }

    /// How often a Lease is renewed, or looked at by those who wait for it.
    fn interval(&self) -> Duration {
        self.duration * 2 / 15
    }
}

/// Whether this replica may act.
///
/// It is asked just before each call that changes something: a process that was paused wakes up in
/// the middle of its work, and must not finish it.
#[derive(Clone, Debug)]
pub struct Leadership(Option<Arc<Mutex<Option<Instant>>>>);

impl Leadership {
    /// That of a replica which is the only one.
    pub fn unelected() -> Self {
        Self(None)
    }

    fn elected() -> Self {
        Self(Some(Arc::default()))
    }

    /// That of a replica which isn't elected.
    #[cfg(test)]
    pub fn never() -> Self {
        Self::elected()
    }

    /// Whether it may act, now.
    pub fn holds(&self) -> bool {
        let Some(until) = &self.0 else { return true };
        let until = until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn extend(&self, until: Option<Instant>) {
        if let Some(own) = &self.0 {
            *own.lock().unwrap_or_else(PoisonError::into_inner) = until;
        }
    }
}

/// The leadership is lost: another replica may be acting by now, so the process must end.
#[derive(Debug, thiserror::Error)]
#[error(
    "the lease {0} is lost: another replica has it, or the API server could not be reached to renew it"
)]
pub struct Lost(String);

/// Takes part in the election.
pub struct Candidate {
    api: Api<Lease>,
    config: Config,
    seen: Option<HolderSeen>,
    stored: Option<Lease>,
    /// What was written, or tried to be, as the time of the last renewal: by that this replica knows its own.
    tried: Option<MicroTime>,
    leadership: Leadership,
}

impl Candidate {
    /// A candidate that doesn't hold the Lease yet. The client must not repeat calls by itself: a
    /// renewal that comes through late would be taken for a timely one.
    pub fn new(client: Client, config: Config) -> Self {
        Self {
            api: Api::namespaced(client, &config.namespace),
            config,
            seen: None,
            stored: None,
            tried: None,
            leadership: Leadership::elected(),
        }
    }

    /// Whether the candidate may act.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Waits until the Lease is this replica's; `false` if told to stop before. `looked` is called
    /// after each look, also one that the API server didn't answer: a restart would not help.
    pub async fn win(&mut self, stop: &CancellationToken, looked: impl Fn()) -> bool {
        let mut told = None;
        loop {
            match self.turn().await {
                Ok(true) => {
                    looked();
                    info!(identity = self.config.identity, "leads");
                    return true;
                }
                Ok(false) => {
                    looked();
                    let holder = self.seen.as_ref().and_then(|seen| seen.holder.clone());
                    if told != holder {
                        info!(leader = holder, "stands by");
                        told = holder;
                    }
                }
                Err(error) => {
                    looked();
                    warn!(%error, "the lease can't be looked at");
                }
            }
            if stop.run_until_cancelled(self.pause()).await.is_none() {
                return false;
            }
        }
    }

    /// Renews the Lease until `stop`, and then gives it up.
    ///
    /// # Errors
    /// When it is lost.
    pub async fn keep(mut self, stop: CancellationToken, renewed: impl Fn()) -> Result<(), Lost> {
        let lost = Lost(format!("{}/{}", self.config.namespace, self.config.name));
        while stop.run_until_cancelled(self.pause()).await.is_some() {
            match self.turn().await {
                Ok(true) => renewed(),
                Ok(false) => return Err(lost),
                Err(error) => {
                    warn!(%error, "the lease can't be renewed");
                    if !self.leadership.holds() {
                        return Err(lost);
                    }
                }
            }
        }
        self.give_up().await;
        Ok(())
    }

    /// Up to a fifth more, so that replicas don't look in step.
    async fn pause(&self) {
        let interval = self.config.interval();
        let more = rand::rng().random_range(0.0..0.2);
        tokio::time::sleep(interval.mul_f64(1.0 + more)).await;
    }

    /// Looks at the Lease and takes or renews it where it may. Returns whether it is this replica's.
    async fn turn(&mut self) -> Result<bool, Failure> {
        let limit = self.config.term() / 2;
        tokio::time::timeout(limit, self.look_and_write())
            .await
            .unwrap_or(Err(Failure::TimedOut))
    }

    async fn look_and_write(&mut self) -> Result<bool, Failure> {
        let found = self.api.get_opt(&self.config.name).await?;
        self.observe(found);
        let now = Instant::now();
        match term::next(self.seen.as_ref(), &self.config.identity, now) {
            Next::Wait => {
                self.leadership.extend(None);
                Ok(false)
            }
            next => self.write(next, now).await,
        }
    }

    /// Notes what the Lease says, and when it was first seen to say so.
    fn observe(&mut self, found: Option<Lease>) {
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        let unchanged = match (&self.stored, &found) {
            (Some(before), Some(now)) => version(before) == version(now),
            (None, None) => true,
            _ => false,
        };
        if !unchanged {
            let says = found.as_ref().map(|lease| says(lease, self.tried.as_ref()));
            let before = self.seen.take();
            self.seen = term::seen(
                before,
                says,
                &self.config.identity,
                self.config.duration,
                Instant::now(),
            );
        }
        self.stored = found;
    }

    /// Writes that the Lease is this replica's, if nobody has written it since it was read.
    async fn write(&mut self, next: Next, sent_at: Instant) -> Result<bool, Failure> {
        // The API server keeps microseconds.
        let now = Timestamp::now();
        let now = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
        let now = MicroTime(now);
        self.tried = Some(now.clone());
        let before = self.stored.clone();
        let old = before.as_ref().and_then(|lease| lease.spec.clone());
        let old = old.unwrap_or_default();
        let renews = next == Next::Renew;
        let spec = LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: Some(whole_seconds(self.config.duration)),
            acquire_time: if renews {
                old.acquire_time
            } else {
                Some(now.clone())
            },
            renew_time: Some(now),
            lease_transitions: Some(old.lease_transitions.unwrap_or(0) + i32::from(!renews)),
            ..LeaseSpec::default()
        };
        let params = PostParams::default();
        let written = match before {
            None => {
                let lease = Lease {
                    metadata: ObjectMeta {
                        name: Some(self.config.name.clone()),
                        ..ObjectMeta::default()
                    },
                    spec: Some(spec),
                };
                self.api.create(&params, &lease).await
            }
            Some(mut lease) => {
                lease.spec = Some(spec);
                self.api.replace(&self.config.name, &params, &lease).await
            }
        };
        match written {
            Ok(lease) => {
                self.observe(Some(lease));
                self.leadership.extend(Some(sent_at + self.config.term()));
                Ok(true)
            }
            // Somebody was faster. Who it was shows at the next look.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                debug!("somebody else has written the lease");
                self.stored = None;
                self.seen = Some(HolderSeen {
                    holder: Some("somebody else".to_owned()),
                    duration: self.config.duration,
                    since: Instant::now(),
                });
                self.leadership.extend(None);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the Lease up, so that another replica needn't wait for its end.
    async fn give_up(&mut self) {
        self.leadership.extend(None);
        let Some(mut lease) = self.stored.take() else {
            return;
        };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
        }
        let params = PostParams::default();
        let given_up = self.api.replace(&self.config.name, &params, &lease);
        match tokio::time::timeout(self.config.interval(), given_up).await {
            Ok(Ok(_)) => info!("the lease is given up"),
            Ok(Err(error)) => debug!(%error, "the lease couldn't be given up; it runs out"),
            Err(_) => debug!("the lease couldn't be given up in time; it runs out"),
        }
    }
}

/// Why a look came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the API server: {0}")]
    Kubernetes(#[source] Box<kube::Error>),
    #[error("the API server doesn't answer in time")]
    TimedOut,
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Self::Kubernetes(Box::new(error))
    }
}

fn says(lease: &Lease, tried: Option<&MicroTime>) -> Found {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.unwrap_or(0);
    Found {
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        duration: Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
        own: tried.is_some() && spec.renew_time.as_ref() == tried,
    }
}

/// A Lease's duration is whole seconds, and too long is safe.
fn whole_seconds(duration: Duration) -> i32 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(seconds).unwrap_or(i32::MAX)
}
