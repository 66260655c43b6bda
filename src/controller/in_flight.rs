//! The last call that this process made for each Pipeline, so that it isn't made again before it
//! can show in the engine's answers. A new process knows of none, and looks first.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::runtime::reflector::ObjectRef;

use super::decide::{Act, LastCall, Outcome, remembered};
use crate::crd::{ApprovalState, Pipeline};

/// The last calls, as long as they may matter.
pub(super) struct Calls {
    matter_for: Duration,
    all: Mutex<HashMap<ObjectRef<Pipeline>, LastCall>>,
    /// Of which approvals this process has written down that it tells the engine, and hasn't yet: the
    /// change and the number of the call.
    about_to_tell: Mutex<HashMap<ObjectRef<Pipeline>, (String, i64)>>,
}

impl Calls {
    /// Remembers each call for `matter_for`.
    pub(super) fn new(matter_for: Duration) -> Self {
        Self {
            matter_for,
            all: Mutex::default(),
            about_to_tell: Mutex::default(),
        }
    }

    /// A status was stored in the place of another. If it says that the engine is told of an approval,
    /// that is up to this process now.
    pub(super) fn written(
        &self,
        pipeline: &ObjectRef<Pipeline>,
        before: &Pipeline,
        stored: &Pipeline,
    ) {
        let now = number_of_call(stored);
        if now.is_some() && now != number_of_call(before) {
            self.intents()
                .extend(now.map(|now| (pipeline.clone(), now)));
        }
    }

    /// Whether it is written down that the engine is told of the approval, and this process knows that
    /// it wasn't yet.
    pub(super) fn is_about_to_tell(
        &self,
        pipeline: &ObjectRef<Pipeline>,
        stored: &Pipeline,
    ) -> bool {
        let intended = self.intents().get(pipeline).cloned();
        intended.is_some() && intended == number_of_call(stored)
    }

    /// A call was sent. Whether it arrived isn't known for certain.
    pub(super) fn tried(&self, pipeline: &ObjectRef<Pipeline>, act: &Act) {
        if matches!(act, Act::Approve(_)) {
            self.intents().remove(pipeline);
        }
    }

    /// Forgets those that are gone.
    pub(super) fn retain(&self, exists: impl Fn(&str, &str) -> bool) {
        self.intents().retain(|pipeline, _| {
            exists(
                pipeline.namespace.as_deref().unwrap_or_default(),
                &pipeline.name,
            )
        });
    }

    fn intents(&self) -> MutexGuard<'_, HashMap<ObjectRef<Pipeline>, (String, i64)>> {
        self.about_to_tell
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The last call made for a Pipeline.
    pub(super) fn last(&self, pipeline: &ObjectRef<Pipeline>) -> Option<LastCall> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(pipeline).cloned()
    }

    /// A call was made, or tried.
    pub(super) fn made(&self, pipeline: &ObjectRef<Pipeline>, call: LastCall, outcome: &Outcome) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let now = call.at;
        all.retain(|_, call| {
            Duration::try_from(now.duration_since(call.at)).unwrap_or_default() < self.matter_for
        });
        let before = all.remove(pipeline);
        if let Some(call) = remembered(before, call, outcome) {
            all.insert(pipeline.clone(), call);
        }
    }
}

/// Which approval the engine is being told of, and for the how-many-eth time.
fn number_of_call(pipeline: &Pipeline) -> Option<(String, i64)> {
    let approval = pipeline.status.as_ref()?.approval.as_ref()?;
    (approval.state == ApprovalState::Applying && approval.calls > 0)
        .then(|| (approval.change_id.clone(), approval.calls))
}
