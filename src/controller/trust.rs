//! What follows for Pipelines from how the admission policies stand.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::{Semaphore, watch};

use super::Guarded;
use crate::crd::Pipeline;
use crate::gate::decision;
use crate::policies::{Standing, Trust};

/// How many Pipelines are written to in a second only because the policies were replaced.
const NOTES: usize = 20;

/// Says which Pipelines it concerns that policies came into force: all; and that they are no more: those with
/// a vote, and those that wait for one.
pub(super) fn concerned(
    trust: watch::Receiver<Trust>,
    pipelines: Store<Guarded>,
) -> impl futures::Stream<Item = ObjectRef<Guarded>> + Send + 'static {
    changes_of(trust).flat_map(move |trust| {
        let all = matches!(trust.pipelines, Standing::InForce { .. });
        let concerned = pipelines.state_filter(|pipeline| {
            pipeline.0.as_ref().is_ok_and(|pipeline| {
                let status = pipeline.status.as_ref();
                all || decision::relies_on_policies(pipeline)
                    || status.is_some_and(|status| status.waiting_since.is_some())
            })
        });
        let concerned = concerned.into_iter();
        futures::stream::iter(concerned.map(|pipeline| ObjectRef::from_obj(pipeline.as_ref())))
    })
}

/// Each change of a value.
fn changes_of<T: Clone + Send + Sync + 'static>(
    value: watch::Receiver<T>,
) -> impl futures::Stream<Item = T> + Send + 'static {
    futures::stream::unfold(value, |mut value| async move {
        value.changed().await.ok()?;
        let now = value.borrow_and_update().clone();
        Some((now, value))
    })
}

/// Whose turn it is to be written to because the policies were replaced.
pub(super) struct Notes(Arc<Semaphore>);

impl Default for Notes {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(NOTES)))
    }
}

impl Notes {
    /// Whether it is this Pipeline's turn.
    pub(super) fn may_note(&self, pipeline: &Pipeline, trust: &Trust) -> bool {
        let status = pipeline.status.as_ref();
        let noted = status.and_then(|status| status.policies.as_ref()?.epoch.as_ref());
        let is_news =
            matches!(&trust.pipelines, Standing::InForce { epoch, .. } if Some(epoch) != noted);
        let turn = is_news.then(|| Arc::clone(&self.0).try_acquire_owned());
        let Some(Ok(turn)) = turn else { return false };
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(turn);
        });
        true
    }
}
