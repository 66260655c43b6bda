//! Is it alive, and is it ready? By what gets done, not by whether the process is up.
//!
//! Each part that must go on reports a *beat*: a watch for each piece of its answer, the poller of an
//! engine for each tick, the election for each look at the Lease. A part that was silent for longer
//! than it ever may be is stuck, and only a restart helps.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is known of the operator's parts.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    parts: BTreeMap<String, Part>,
    waits_for: Option<String>,
    role: String,
}

struct Part {
    last: Instant,
    within: Duration,
}

/// A part, as [`Health::report`] tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// Which part.
    pub part: String,
    /// How long ago it was last heard of.
    pub age: Duration,
    /// How long it may be silent.
    pub within: Duration,
}

impl Pulse {
    /// Whether it was silent for too long.
    pub fn is_stuck(&self) -> bool {
        self.age > self.within
    }
}

impl Health {
    /// A part shows that it goes on. From now on it must do so again `within` this time.
    pub fn beat(&self, part: &str, within: Duration) {
        self.beat_at(part, within, Instant::now());
    }

    fn beat_at(&self, part: &str, within: Duration, now: Instant) {
        let mut inner = self.inner();
        match inner.parts.get_mut(part) {
            Some(known) => {
                known.last = now;
                known.within = within;
            }
            None => {
                let new = Part { last: now, within };
                inner.parts.insert(part.to_owned(), new);
            }
        }
    }

    /// A part has ended as it should, and nothing is expected of it any more.
    pub fn forget(&self, part: &str) {
        self.inner().parts.remove(part);
    }

    /// All parts.
    pub fn report(&self) -> Vec<Pulse> {
        self.report_at(Instant::now())
    }

    fn report_at(&self, now: Instant) -> Vec<Pulse> {
        let inner = self.inner();
        let pulse = |(part, known): (&String, &Part)| Pulse {
            part: part.clone(),
            age: now.duration_since(known.last),
            within: known.within,
        };
        inner.parts.iter().map(pulse).collect()
    }

    /// It waits for something, and isn't ready before that is there.
    pub fn waits_for(&self, what: &str) {
        self.inner().waits_for = Some(what.to_owned());
    }

    /// It is ready, in this role.
    pub fn is_ready_as(&self, role: &str) {
        let mut inner = self.inner();
        inner.waits_for = None;
        role.clone_into(&mut inner.role);
    }

    /// In which role it is ready, or what it waits for.
    pub fn readiness(&self) -> Result<String, String> {
        let inner = self.inner();
        match &inner.waits_for {
            Some(what) => Err(what.clone()),
            None if inner.role.is_empty() => Err("starting".to_owned()),
            None => Ok(inner.role.clone()),
        }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_stuck_when_it_is_silent_for_too_long_and_well_again_when_it_is_heard() {
        let health = Health::default();
        let start = Instant::now();
        let within = Duration::from_secs(60);
        let stuck = |after| {
            let now = start + Duration::from_secs(after);
            let stuck = health.report_at(now).into_iter().filter(Pulse::is_stuck);
            stuck.map(|pulse| pulse.part).collect::<Vec<_>>()
        };
        health.beat_at("watch of pipelines", within, start);
        health.beat_at("poll of a", within * 2, start);
        assert_eq!(stuck(60), [""; 0]);
        assert_eq!(stuck(61), ["watch of pipelines"]);
        health.beat_at(
            "watch of pipelines",
            within,
            start + Duration::from_secs(61),
        );
        assert_eq!(stuck(121), ["poll of a"]);
        health.forget("poll of a");
        assert_eq!(stuck(121), [""; 0]);
    }

    #[test]
    fn it_is_ready_only_in_a_role() {
        let health = Health::default();
        assert_eq!(health.readiness(), Err("starting".to_owned()));
        health.waits_for("the definitions");
        assert_eq!(health.readiness(), Err("the definitions".to_owned()));
        health.is_ready_as("stands by");
        assert_eq!(health.readiness(), Ok("stands by".to_owned()));
    }
}
