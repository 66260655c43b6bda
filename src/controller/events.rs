//! Writes Events: with nothing in them that the API server would refuse, within a budget for each object, and what is
//! told again counted on the one that told it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tracing::{debug, warn};

use crate::gate::decide::{EventReason, Report};
use crate::text;

/// How long an Event may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// For how long the same thing, told again, is counted on the Event that told it.
const TOLD_FOR: Duration = Duration::from_secs(360);

/// How many Events may be written of one object at once.
const EVENTS_AT_ONCE: f64 = 60.0;

/// After which time it is one more.
const EVENT_EACH: Duration = Duration::from_secs(6);

/// Who reports.
const SOURCE: &str = "sluice.dev/sluice";

/// What is being done when something is reported.
const ACTION: &str = "Reconcile";

/// The Events that were written lately.
pub(super) struct Events {
    client: Client,
    instance: Option<String>,
    /// What was told, and when the last time: told again, it is counted.
    told: HashMap<Told, (Event, Timestamp)>,
    /// How many Events may be written of an object.
    budgets: HashMap<String, (f64, Instant)>,
}

/// The object's uid, and what was told of it.
type Told = (String, EventReason, String);

impl Events {
    pub(super) fn new(client: Client, instance: Option<String>) -> Self {
        Self {
            client,
            instance,
            told: HashMap::new(),
            budgets: HashMap::new(),
        }
    }

    /// Writes what there is to tell of an object.
    pub(super) async fn publish(&mut self, object: &ObjectReference, report: &Report) {
        let now = Timestamp::now();
        self.told
            .retain(|_, (_, at)| now.duration_since(*at).unsigned_abs() < TOLD_FOR);
        match tokio::time::timeout(TIMEOUT, self.write(object, report, now)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "an Event could not be written"),
            Err(_) => debug!("an Event took too long"),
        }
    }

    async fn write(
        &mut self,
        object: &ObjectReference,
        report: &Report,
        now: Timestamp,
    ) -> kube::Result<()> {
        let uid = object.uid.clone().unwrap_or_default();
        let namespace = object.namespace.as_deref().unwrap_or("default");
        let api = Api::<Event>::namespaced(self.client.clone(), namespace);
        let event = event(self.instance.as_deref(), object, report, now);
        let told = (
            uid.clone(),
            report.reason,
            event.note.clone().unwrap_or_default(),
        );
        if !has_budget(&mut self.budgets, &uid, Instant::now()) {
            debug!(
                namespace,
                pipeline = object.name,
                "there are too many Events of it; one was dropped"
            );
            return Ok(());
        }
        if let Some((before, at)) = self.told.get_mut(&told) {
            let count = before.series.as_ref().map_or(1, |series| series.count) + 1;
            let series = json!({"count": count, "lastObservedTime": MicroTime(now)});
            let patch = Patch::Merge(json!({"series": series}));
            let params = PatchParams::default();
            match api.patch(&before.name_any(), &params, &patch).await {
                Ok(stored) => {
                    (*before, *at) = (stored, now);
                    return Ok(());
                }
                // Somebody has removed it.
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let stored = api.create(&PostParams::default(), &event).await?;
        self.told.insert(told, (stored, now));
        Ok(())
    }
}

/// Whether one more Event may be written of an object. Whoever edits it all the time must not fill the API
/// server's store.
fn has_budget(budgets: &mut HashMap<String, (f64, Instant)>, uid: &str, now: Instant) -> bool {
    let refilled = |(left, at): (f64, Instant)| {
        let since = now.saturating_duration_since(at).as_secs_f64();
        (left + since / EVENT_EACH.as_secs_f64()).min(EVENTS_AT_ONCE)
    };
    let left = budgets
        .get(uid)
        .map_or(EVENTS_AT_ONCE, |budget| refilled(*budget));
    budgets.retain(|_, budget| refilled(*budget) < EVENTS_AT_ONCE);
    let has = left >= 1.0;
    budgets.insert(uid.to_owned(), (left - f64::from(u8::from(has)), now));
    has
}

/// The Event, with nothing in it that the API server would refuse it for. Each report is one of its own: what
/// differs in what it says isn't the same thing once more.
fn event(
    instance: Option<&str>,
    object: &ObjectReference,
    report: &Report,
    at: Timestamp,
) -> Event {
    let ending = format!(".{:x}", at.as_nanosecond());
    let text::Limit::Bytes(longest) = text::OBJECT_NAME else {
        unreachable!("a name's length is counted in bytes")
    };
    let room = text::Limit::Bytes(longest - ending.len());
    let name = text::cut_name(object.name.as_deref().unwrap_or("sluice"), room);
    // A part of a name that ends with a dot or a dash would be none.
    let name = name.trim_end_matches(['.', '-']);
    let instance = instance.filter(|instance| !instance.is_empty());
    Event {
        metadata: ObjectMeta {
            namespace: object.namespace.clone(),
            name: Some(format!("{name}{ending}")),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(at)),
        type_: Some(if report.warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(report.reason.as_str().to_owned()),
        action: Some(ACTION.to_owned()),
        note: Some(text::cut(&report.message, text::EVENT_NOTE)),
        regarding: Some(object.clone()),
        reporting_controller: Some(SOURCE.to_owned()),
        reporting_instance: Some(
            text::cut_name(instance.unwrap_or(SOURCE), text::EVENT_WORD).to_owned(),
        ),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_storm_of_events_of_one_object_ends_and_another_object_has_its_own() {
        let mut budgets = HashMap::new();
        let start = Instant::now();
        let mut written = |uid: &str, at| has_budget(&mut budgets, uid, at);
        assert_eq!((0..1_000).filter(|_| written("a", start)).count(), 60);
        assert!(written("b", start));
        let later = start + EVENT_EACH;
        assert_eq!((0..9).filter(|_| written("a", later)).count(), 1);
        assert!(written("a", start + Duration::from_secs(3_600)));
        assert_eq!(budgets.len(), 1, "what is full again is forgotten");
    }

    proptest! {
        /// By `ValidateEventCreate` and `ValidateObjectMeta` of Kubernetes 1.37.
        #[test]
        fn no_event_is_one_that_the_api_server_refuses(
            message in proptest::collection::vec(any::<char>(), 0..2000),
            name in "[a-z0-9]{1,9}([-.][a-z0-9]{1,9}){0,24}", pod in "[a-z0-9]{0,253}",
        ) {
            let report = Report { warning: true, reason: EventReason::Stalled, change_id: None, message: message.into_iter().collect() };
            let object = ObjectReference { name: Some(name.clone()), ..ObjectReference::default() };
            let event = event(Some(&pod), &object, &report, Timestamp::now());
            prop_assert!(event.note.unwrap().len() <= 1024);
            let named = event.metadata.name.unwrap();
            prop_assert!(named.len() <= 253 && !named.contains("..") && !named.contains("-."), "{}", named);
            let instance = event.reporting_instance.unwrap();
            prop_assert!((1..=128).contains(&instance.len()));
        }
    }
}
