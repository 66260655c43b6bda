//! The last call that this process made for each Pipeline, so that it isn't made again before it
//! can show in the engine's answers. A new process knows of none, and looks first.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::runtime::reflector::ObjectRef;

use super::decide::{Act, LastCall};
use crate::crd::Pipeline;

/// The last calls, as long as they may matter.
pub(super) struct Calls {
    matter_for: Duration,
    all: Mutex<HashMap<ObjectRef<Pipeline>, LastCall>>,
}

impl Calls {
    /// Remembers each call for `matter_for`.
    pub(super) fn new(matter_for: Duration) -> Self {
        Self {
            matter_for,
            all: Mutex::default(),
        }
    }

    /// The last call made for a Pipeline.
    pub(super) fn last(&self, pipeline: &ObjectRef<Pipeline>) -> Option<LastCall> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(pipeline).cloned()
    }

    /// A call was made. What the engine answers with its result needs no memory.
    pub(super) fn made(&self, pipeline: &ObjectRef<Pipeline>, call: LastCall) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let now = call.at;
        all.retain(|_, call| {
            Duration::try_from(now.duration_since(call.at)).unwrap_or_default() < self.matter_for
        });
        match call.act {
            Act::Look => {}
            Act::DismissError
            | Act::Start(_)
            | Act::Stop { .. }
            | Act::Pause
            | Act::Resume
            | Act::Clear
            | Act::Approve(_) => {
                all.insert(pipeline.clone(), call);
            }
            Act::Create { .. }
            | Act::Adopt { .. }
            | Act::Preview(_)
            | Act::Update(_)
            | Act::Recompile(_)
            | Act::Build { .. }
            | Act::LookAtBuild { .. }
            | Act::DropBuild { .. }
            | Act::Checkpoint => {
                all.remove(pipeline);
            }
        }
    }
}
