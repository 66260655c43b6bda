//! Tells people what happened: a log line, a count, an Event. Outside of reconcile, so that a slow
//! API server or a namespace on its way out delays nothing.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter as Source};
use kube::{Client, Resource, ResourceExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::decide::Report;
use crate::crd::Pipeline;
use crate::metrics::Metrics;

/// How many reports may wait to be sent; more are logged and counted only.
const QUEUE: usize = 1_024;

/// How long an Event may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Event notes are limited to 1 KiB by the API server.
const MAX_NOTE: usize = 1_000;

/// Hands reports on.
pub(super) struct Reporter {
    queue: mpsc::Sender<(ObjectReference, Report)>,
    metrics: Arc<Metrics>,
}

impl Reporter {
    /// Starts the task that sends Events; what still waits when `stop` comes is dropped.
    pub(super) fn start(client: Client, metrics: Arc<Metrics>, stop: CancellationToken) -> Self {
        let (queue, mut waiting) = mpsc::channel::<(ObjectReference, Report)>(QUEUE);
        let recorder = Recorder::new(
            client,
            Source {
                controller: "sluice.dev/sluice".into(),
                instance: std::env::var("POD_NAME").ok(),
            },
        );
        tokio::spawn(async move {
            while let Some(Some((object, report))) = stop.run_until_cancelled(waiting.recv()).await
            {
                publish(&recorder, &object, report).await;
            }
        });
        Self { queue, metrics }
    }

    /// Reports what was recorded.
    pub(super) fn report(&self, pipeline: &Pipeline, reports: Vec<Report>) {
        for report in reports {
            self.metrics.report(report.reason);
            let (namespace, name) = (pipeline.namespace(), pipeline.name_any());
            if report.warning {
                warn!(
                    namespace,
                    pipeline = name,
                    reason = report.reason,
                    "{}",
                    report.message
                );
            } else {
                info!(
                    namespace,
                    pipeline = name,
                    reason = report.reason,
                    "{}",
                    report.message
                );
            }
            if self
                .queue
                .try_send((pipeline.object_ref(&()), report))
                .is_err()
            {
                debug!("too many Events wait; one was dropped");
            }
        }
    }
}

async fn publish(recorder: &Recorder, object: &ObjectReference, report: Report) {
    let event = Event {
        type_: if report.warning {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: report.reason.to_owned(),
        note: Some(report.message.chars().take(MAX_NOTE).collect()),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    match tokio::time::timeout(TIMEOUT, recorder.publish(&event, object)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, "an Event could not be written"),
        Err(_) => debug!("an Event took too long"),
    }
}
