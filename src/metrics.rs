//! The operator's figures, for Prometheus. Label values come from short fixed lists.

use std::sync::atomic::AtomicU64;
use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::engine;

/// All figures.
pub struct Metrics {
    registry: Registry,
    engine_calls: Family<CallLabels, Counter>,
    reports: Family<ReasonLabels, Counter>,
    engines: Family<EngineLabels, Gauge>,
    reconciles: Family<ResultLabels, Counter>,
    reconcile_seconds: Histogram,
    status_conflicts: Counter<u64, AtomicU64>,
    leader: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    call: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EngineLabels {
    engine: String,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("sluice");
        let engine_calls = Family::default();
        let reports = Family::default();
        let engines = Family::default();
        let reconciles = Family::default();
        let reconcile_seconds = Histogram::new(exponential_buckets(0.001, 4.0, 9));
        let status_conflicts = Counter::default();
        let leader = Gauge::default();
        registry.register(
            "engine_calls",
            "Calls that change something in an engine",
            engine_calls.clone(),
        );
        registry.register("events", "What happened to Pipelines, by the reason of its Event: StaleApproval, OutsideApproval, ApprovalRepeated, …", reports.clone());
        registry.register("engine_up", "Whether an Engine answers", engines.clone());
        registry.register("reconciles", "Reconciles of Pipelines", reconciles.clone());
        registry.register(
            "reconcile_seconds",
            "How long reconciles of Pipelines took",
            reconcile_seconds.clone(),
        );
        registry.register(
            "status_conflicts",
            "Status writes that came too late and were decided anew",
            status_conflicts.clone(),
        );
        registry.register(
            "leader",
            "Whether this replica is the one that acts",
            leader.clone(),
        );
        Self {
            registry,
            engine_calls,
            reports,
            engines,
            reconciles,
            reconcile_seconds,
            status_conflicts,
            leader,
        }
    }
}

/// Measures one reconcile.
pub struct Timer<'a> {
    metrics: &'a Metrics,
    start: Instant,
}

impl Timer<'_> {
    /// The reconcile is over.
    pub fn observe(self, good: bool) {
        let result = if good { "ok" } else { "error" };
        self.metrics
            .reconciles
            .get_or_create(&ResultLabels { result })
            .inc();
        self.metrics
            .reconcile_seconds
            .observe(self.start.elapsed().as_secs_f64());
    }
}

impl Metrics {
    /// All figures with a value in each, since those without one aren't served: for their documentation.
    pub fn example() -> Self {
        let metrics = Self::default();
        // Taken apart as a whole, so that no new figure is forgotten.
        let Self {
            registry: _,
            engine_calls,
            reports,
            engines,
            reconciles,
            reconcile_seconds: _,
            status_conflicts: _,
            leader: _,
        } = &metrics;
        let result = "ok";
        let call = "approve";
        drop(engine_calls.get_or_create(&CallLabels { call, result }));
        drop(reports.get_or_create(&ReasonLabels { reason: "Approved" }));
        let engine = "feldera".to_owned();
        drop(engines.get_or_create(&EngineLabels { engine }));
        drop(reconciles.get_or_create(&ResultLabels { result }));
        metrics
    }

    /// All figures in the text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing into a String can't fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }

    /// A call that changes something in an engine.
    pub fn engine_call(&self, call: &'static str, error: Option<&engine::Error>) {
        let result = error.map_or("ok", engine::Error::kind);
        self.engine_calls
            .get_or_create(&CallLabels { call, result })
            .inc();
    }

    /// Something happened to a Pipeline.
    pub fn report(&self, reason: &'static str) {
        self.reports.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Whether an Engine answers.
    pub fn engine_up(&self, engine: &str, up: bool) {
        let labels = EngineLabels {
            engine: engine.to_owned(),
        };
        self.engines.get_or_create(&labels).set(up.into());
    }

    /// Whether this replica acts.
    pub fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// A status write came too late.
    pub fn status_conflict(&self) {
        self.status_conflicts.inc();
    }

    /// Starts to measure a reconcile.
    pub fn reconcile_timer(&self) -> Timer<'_> {
        Timer {
            metrics: self,
            start: Instant::now(),
        }
    }
}
