//! The memories of all Pipelines, by their names.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};
use rand::RngExt;

use crate::gate::memory::{Memory, Pace};

/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Namespace and name.
type Name = (String, String);

/// What is remembered of each Pipeline.
pub(super) struct Memories {
    all: Mutex<HashMap<Name, Memory>>,
    /// How long a call may take to show in the engine's answers.
    calls_matter_for: Duration,
    first_pause: Duration,
}

impl Memories {
    /// Nothing is remembered yet.
    pub(super) fn new(calls_matter_for: Duration) -> Self {
        Self {
            all: Mutex::default(),
            calls_matter_for,
            first_pause: FIRST_PAUSE,
        }
    }

    /// With another first pause after a failure.
    #[cfg(test)]
    pub(super) fn with_first_pause(self, first_pause: Duration) -> Self {
        Self {
            first_pause,
            ..self
        }
    }

    /// How long pauses are; another one each time.
    pub(super) fn pace(&self) -> Pace {
        Pace {
            first: self.first_pause,
            lot: rand::rng().random_range(0.0..1.0),
        }
    }

    /// Reads or changes what is remembered of an object.
    pub(super) fn of<T>(&self, object: &impl Resource, change: impl FnOnce(&mut Memory) -> T) -> T {
        let name = (object.namespace().unwrap_or_default(), object.name_any());
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let mut memory = all.remove(&name).unwrap_or_default();
        let result = change(&mut memory);
        if !memory.is_empty(Timestamp::now(), self.calls_matter_for) {
            all.insert(name, memory);
        }
        result
    }

    /// Forgets those that are gone, and what doesn't matter any more.
    pub(super) fn retain(&self, exists: impl Fn(&str, &str) -> bool) {
        let now = Timestamp::now();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(namespace, name), memory| {
            exists(namespace, name) && !memory.is_empty(now, self.calls_matter_for)
        });
    }
}
