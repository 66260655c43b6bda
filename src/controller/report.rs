//! Tells people what happened: a log line, a count, an Event. Outside of reconcile, so that a slow
//! API server or a namespace on its way out delays nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource, ResourceExt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::events::Events;
use super::queue::Rounds;
use crate::gate::decide::Report;
use crate::metrics::Metrics;
use crate::shares::Shares;
use crate::text;

/// How many reports may wait to be sent, half of them at most of one namespace; more are logged and counted
/// only.
const QUEUE: usize = 1_024;

/// How long the Events may take that wait when the operator ends.
const REST_WITHIN: Duration = Duration::from_secs(5);

/// Hands reports on.
#[derive(Clone)]
pub(super) struct Reporter {
    waiting: Arc<Waiting>,
    metrics: Arc<Metrics>,
}

/// An Event that is to be sent.
type Item = (ObjectReference, Report);

/// What waits to be sent. Namespaces take turns, so that one of which there is much to tell doesn't delay what
/// there is to tell of another.
struct Waiting {
    lines: Mutex<Lines>,
    news: Notify,
}

struct Lines {
    of: Rounds<String, VecDeque<Item>>,
    room: Shares<String>,
}

impl Waiting {
    fn new() -> Self {
        Self {
            lines: Mutex::new(Lines {
                of: Rounds::default(),
                room: Shares::new(QUEUE),
            }),
            news: Notify::new(),
        }
    }

    /// Whether there was room.
    fn push(&self, namespace: String, item: Item) -> bool {
        let mut lines = self.lines();
        if !lines.room.has_room(&namespace, 1, 0) {
            return false;
        }
        lines.room.take(&namespace, 1);
        lines.of.of(namespace).push_back(item);
        self.news.notify_one();
        true
    }

    fn pop(&self) -> Option<Item> {
        let mut lines = self.lines();
        let Lines { of, room } = &mut *lines;
        let first = of.first(|namespace, items| {
            let item = items.pop_front().map(|item| (namespace.clone(), item));
            (item, !items.is_empty())
        });
        let (namespace, item) = first?;
        room.give_back(&namespace, 1);
        Some(item)
    }

    async fn next(&self) -> Item {
        loop {
            if let Some(item) = self.pop() {
                return item;
            }
            self.news.notified().await;
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that sends Events.
pub(super) struct Sending {
    task: JoinHandle<()>,
    last: CancellationToken,
}

impl Sending {
    /// Sends what waits yet, and ends: nothing is reported any more.
    pub(super) async fn finish(self) {
        self.last.cancel();
        if tokio::time::timeout(REST_WITHIN, self.task).await.is_err() {
            warn!("some Events could not be written before the end");
        }
    }
}

impl Reporter {
    /// Starts the task that sends Events.
    pub(super) fn start(client: Client, metrics: Arc<Metrics>) -> (Self, Sending) {
        let waiting = Arc::new(Waiting::new());
        let mut events = Events::new(client, std::env::var("POD_NAME").ok());
        let queue = Arc::clone(&waiting);
        let last = CancellationToken::new();
        let is_last = last.clone();
        let task = tokio::spawn(async move {
            while let Some((object, report)) = is_last.run_until_cancelled(queue.next()).await {
                events.publish(&object, &report).await;
            }
            while let Some((object, report)) = queue.pop() {
                events.publish(&object, &report).await;
            }
        });
        (Self { waiting, metrics }, Sending { task, last })
    }

    /// Reports what was recorded.
    pub(super) fn report<K>(&self, object: &K, reports: Vec<Report>)
    where
        K: Resource<DynamicType = ()>,
    {
        for mut report in reports {
            // It is put together of what people and engines wrote.
            report.message = text::clean(&report.message);
            self.metrics.report(report.reason.as_str());
            let (namespace, name) = (object.namespace(), object.name_any());
            if report.warning {
                warn!(
                    namespace,
                    pipeline = name,
                    reason = report.reason.as_str(),
                    change = report.change_id,
                    "{}",
                    report.message
                );
            } else {
                info!(
                    namespace,
                    pipeline = name,
                    reason = report.reason.as_str(),
                    change = report.change_id,
                    "{}",
                    report.message
                );
            }
            let item = (object.object_ref(&()), report);
            if !self.waiting.push(namespace.unwrap_or_default(), item) {
                debug!("too many Events wait; one was dropped");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::decide::EventReason;

    fn item(number: usize) -> Item {
        let report = Report {
            warning: false,
            reason: EventReason::Approved,
            change_id: None,
            message: number.to_string(),
        };
        (ObjectReference::default(), report)
    }

    #[test]
    fn a20_what_there_is_to_tell_of_one_namespace_delays_and_drops_nothing_of_another() {
        let waiting = Waiting::new();
        let taken = (0..QUEUE).filter(|number| waiting.push("loud".into(), item(*number)));
        assert_eq!(taken.count(), QUEUE / 2);
        assert!(waiting.push("quiet".into(), item(QUEUE)));
        let first_two = [waiting.pop(), waiting.pop()].map(|item| item.unwrap().1.message);
        assert_eq!(first_two, ["0".to_owned(), QUEUE.to_string()]);
        assert_eq!(std::iter::from_fn(|| waiting.pop()).count(), QUEUE / 2 - 1);
        assert!(waiting.push("loud".into(), item(0)));
    }
}
