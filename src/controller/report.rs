//! Tells people what happened: a log line, a count, an Event. Outside of reconcile, so that a slow
//! API server or a namespace on its way out delays nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource, ResourceExt};
use tokio::sync::Notify;
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

/// Hands reports on.
#[derive(Clone)]
pub(super) struct Reporter {
    waiting: Arc<Waiting>,
    metrics: Arc<Metrics>,
}

/// An Event that is to be sent.
pub(super) type Item = (ObjectReference, Report);

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

impl Reporter {
    /// Starts the task that sends Events; what still waits when `stop` comes is dropped.
    pub(super) fn start(client: Client, metrics: Arc<Metrics>, stop: CancellationToken) -> Self {
        let waiting = Arc::new(Waiting::new());
        let mut events = Events::new(client, std::env::var("POD_NAME").ok());
        let queue = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Some((object, report)) = stop.run_until_cancelled(queue.next()).await {
                events.publish(&object, &report).await;
            }
        });
        Self { waiting, metrics }
    }

    /// Reports what was recorded.
    pub(super) fn report<K>(&self, object: &K, reports: Vec<Report>)
    where
        K: Resource<DynamicType = ()>,
    {
        self.send(self.log(object, reports));
    }

    /// Logs and counts what was recorded. The Events of it are for [`Self::send`].
    pub(super) fn log<K>(&self, object: &K, reports: Vec<Report>) -> Vec<Item>
    where
        K: Resource<DynamicType = ()>,
    {
        let mut events = vec![];
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
            events.push((object.object_ref(&()), report));
        }
        events
    }

    /// Sends Events, in turn with those of other namespaces.
    pub(super) fn send(&self, events: Vec<Item>) {
        for event in events {
            let namespace = event.0.namespace.clone().unwrap_or_default();
            if !self.waiting.push(namespace, event) {
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
