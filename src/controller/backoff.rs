//! Growing pauses for what fails on the way to a decision: the API server, the engine. What fails
//! in a pipeline itself is counted in its status.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::runtime::reflector::ObjectRef;
use rand::RngExt;

use super::Pipeline;
use super::decide::Outcome;

const FIRST: Duration = Duration::from_millis(500);
pub(super) const MOST: Duration = Duration::from_secs(60);

/// What the names of Sluice's own annotations begin with.
const PREFIX: &str = "sluice.dev/";

/// How often in a row each Pipeline has failed.
pub(super) struct Retries {
    /// The first pause.
    first: Duration,
    all: Mutex<HashMap<PipelineKey, Retry>>,
}

impl Default for Retries {
    fn default() -> Self {
        Self::beginning_with(FIRST)
    }
}

#[derive(Default)]
struct Retry {
    failures: u32,
    /// The call that failed, until when it isn't made again, and what was asked for then.
    held: Option<(Outcome, Instant, Asked)>,
}

/// The spec's generation and Sluice's annotations: whoever changes them isn't kept waiting.
type Asked = (Option<i64>, BTreeMap<String, String>);

/// Namespace and name.
type PipelineKey = (String, String);

impl Retries {
    /// With this as the first pause.
    pub(super) fn beginning_with(first: Duration) -> Self {
        Self {
            first,
            all: Mutex::default(),
        }
    }

    /// The next pause: twice the last one up to a limit, and up to half as much again, so that
    /// what failed together isn't tried again together.
    pub(super) fn next<T: kube::Resource>(&self, object: &ObjectRef<T>) -> Duration
    where
        T::DynamicType: Clone,
    {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let Retry { failures, held } = all.entry(key(object)).or_default();
        *held = None;
        let pause = self
            .first
            .saturating_mul(2u32.saturating_pow(*failures))
            .min(MOST);
        *failures = (*failures + 1).min(16);
        pause.mul_f64(1.0 + rand::rng().random_range(0.0..0.5))
    }

    /// A call to the engine failed: the pause until it is made again.
    pub(super) fn failed(
        &self,
        object: &ObjectRef<Pipeline>,
        pipeline: &Pipeline,
        outcome: Outcome,
    ) -> Duration {
        let pause = self.next(object);
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(retry) = all.get_mut(&key(object)) {
            retry.held = Some((outcome, Instant::now() + pause, asked(pipeline)));
        }
        pause
    }

    /// The call that failed, if its pause isn't over, and what is left of it.
    pub(super) fn held(
        &self,
        object: &ObjectRef<Pipeline>,
        pipeline: &Pipeline,
    ) -> Option<(Outcome, Duration)> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let (outcome, until, asked_then) = all.get(&key(object))?.held.as_ref()?;
        let rest = until.checked_duration_since(Instant::now())?;
        (*asked_then == asked(pipeline)).then(|| (outcome.clone(), rest))
    }

    /// Forgets those that are gone.
    pub(super) fn retain(&self, exists: impl Fn(&str, &str) -> bool) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(namespace, name), _| exists(namespace, name));
    }

    /// It went well.
    pub(super) fn forget(&self, object: &ObjectRef<Pipeline>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&key(object));
    }
}

fn asked(pipeline: &Pipeline) -> Asked {
    let annotations = pipeline.metadata.annotations.iter().flatten();
    // Of others, an object from the store may lack some that the API server has.
    let ours = annotations.filter(|(key, _)| key.starts_with(PREFIX));
    (
        pipeline.metadata.generation,
        ours.map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    )
}

fn key<T: kube::Resource>(object: &ObjectRef<T>) -> PipelineKey {
    (
        object.namespace.clone().unwrap_or_default(),
        object.name.clone(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_start_anew_after_a_success() {
        let retries = Retries::default();
        let object = ObjectRef::<Pipeline>::new("p").within("n");
        let pauses: Vec<Duration> = (0..12).map(|_| retries.next(&object)).collect();
        assert!(pauses[0] >= FIRST && pauses[0] < FIRST * 2);
        assert!(pauses[3] >= FIRST * 8);
        assert!(pauses.iter().all(|pause| *pause < MOST * 2));
        retries.forget(&object);
        assert!(retries.next(&object) < FIRST * 2);
    }
}
