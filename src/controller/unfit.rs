//! Objects that don't fit their type: each is left alone, told so, and may go.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::{Api, Resource, ResourceExt};

use super::report::Reporter;
use super::work::Action;
use super::{Context, Error, Guarded, finalizers};
use crate::crd::FINALIZER;
use crate::gate::decide::{EventReason, Report};
use crate::guarded;

/// As what such a Pipeline is counted: what its status says was so before it became one.
pub(super) const PHASE: &str = "Unreadable";

/// After which time it is told again, if it is still so when it is looked at.
const TELL_AGAIN: Duration = Duration::from_secs(3_600);

/// Tells of them, once each.
pub(super) struct Unfit {
    reporter: Reporter,
    /// What was told of which object, and when.
    told: Mutex<HashMap<String, (String, Instant)>>,
}

impl Unfit {
    pub(super) fn new(reporter: Reporter) -> Self {
        Self {
            reporter,
            told: Mutex::default(),
        }
    }

    /// Tells of an object that it doesn't fit its type, and what that means.
    pub(super) fn tell<K>(&self, object: &K, found: &guarded::Unfit, so: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        let message = format!("{found}; {so}");
        if self.is_news(object.uid().unwrap_or_default(), &message, Instant::now()) {
            let report = Report {
                change_id: None,
                warning: true,
                reason: EventReason::Unreadable,
                message,
            };
            self.reporter.report(object, vec![report]);
        }
    }

    fn is_news(&self, uid: String, message: &str, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if (told.get(&uid)).is_some_and(|(before, at)| before == message && !is_old(*at, now)) {
            return false;
        }
        told.insert(uid, (message.to_owned(), now));
        true
    }

    /// Forgets what was told long ago.
    pub(super) fn forget_old(&self) {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, (_, at)| !is_old(*at, now));
    }
}

fn is_old(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) > TELL_AGAIN
}

/// Looks at a Pipeline that doesn't fit its type.
pub(super) async fn look(
    object: &Guarded,
    found: &guarded::Unfit,
    context: &Context,
) -> Result<Action, Error> {
    let leaves = object.meta().deletion_timestamp.is_some();
    let so = match leaves {
        false => {
            "it is left alone until it does, and so is its pipeline in the engine; it can be deleted, which leaves that there"
        }
        true => "it is let go, and its pipeline in the engine is left as it is",
    };
    context.unfit.tell(object, found, so);
    if !leaves || !object.finalizers().iter().any(|name| name == FINALIZER) {
        return Ok(Action::await_change());
    }
    if !context.leadership.holds() {
        return Err(Error::NotLeading);
    }
    // Of others' finalizers the store knows nothing.
    let namespace = object.namespace().unwrap_or_default();
    let api = Api::<Guarded>::namespaced(context.client.clone(), &namespace);
    let live = api.get_opt(&object.name_any()).await?;
    if let Some(live) = live.filter(|live| live.0.is_err() && live.uid() == object.uid()) {
        finalizers::write(&live, FINALIZER, false, &context.client).await?;
    }
    Ok(Action::await_change())
}
