//! The operator's figures, for Prometheus. Label values come from short fixed lists.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use strum::VariantArray;

use crate::crd::Phase;
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
    audit_lines: Counter<u64, AtomicU64>,
    audit_failures: Counter<u64, AtomicU64>,
    leader: Gauge,
    policies: Family<PolicyLabels, Gauge>,
    phases: Family<PhaseLabels, Gauge>,
    waiting_seconds: Gauge,
    unobserved_seconds: Family<EngineLabels, Gauge>,
    lost_pipelines: Family<EngineLabels, Gauge>,
    /// Where the Pipelines are counted when somebody asks.
    census: Mutex<Option<Census>>,
    /// Where the Engines are.
    roll_call: Mutex<Option<RollCall>>,
    /// Where those that wait for their turn are.
    line: Mutex<Option<Line>>,
}

/// Tells of each engine for how long a change has waited there without being looked at, in seconds.
pub type Line = Box<dyn Fn() -> Vec<(String, u64)> + Send>;

/// Tells of each engine how it is.
pub type RollCall = Box<dyn Fn() -> Vec<Answers> + Send>;

/// How an engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// Its namespace and name, or `default`.
    pub engine: String,
    /// Whether it answers.
    pub is_up: bool,
    /// How many pipelines that ran are gone from it.
    pub lost: usize,
}

/// Tells the phase of each Pipeline, and how long a change of it has been waiting, in seconds.
pub type Census = Box<dyn Fn() -> Vec<(String, Option<i64>)> + Send>;

/// What is counted beside the phases: what doesn't fit its type, and words that another version has written.
const BESIDE_PHASES: [&str; 2] = ["Unreadable", "Other"];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PhaseLabels {
    phase: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PolicyLabels {
    policy: String,
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
        let audit_lines = Counter::default();
        let audit_failures = Counter::default();
        let leader = Gauge::default();
        let policies = Family::default();
        let phases = Family::default();
        let waiting_seconds = Gauge::default();
        let unobserved_seconds = Family::default();
        let lost_pipelines = Family::default();
        registry.register(
            "engine_calls",
            "Calls to engines, but for those that only look at pipelines",
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
            "audit_lines",
            "Lines written into the audit log",
            audit_lines.clone(),
        );
        registry.register(
            "audit_failures",
            "Writes of the audit log that failed, and are tried again",
            audit_failures.clone(),
        );
        registry.register(
            "leader",
            "Whether this replica is the one that acts",
            leader.clone(),
        );
        registry.register(
            "policy_in_force",
            "Whether an admission policy is there, as it was released, and was seen to refuse what it must; absent while that isn't known",
            policies.clone(),
        );
        registry.register(
            "pipelines",
            "Pipelines by their phase, of the replica that acts",
            phases.clone(),
        );
        registry.register(
            "longest_wait_seconds",
            "How long the change that has been waiting longest for its approval has done so; 0 if none waits",
            waiting_seconds.clone(),
        );
        registry.register(
            "oldest_unobserved_seconds",
            "By engine, for how long that Pipeline has waited to be looked at that has done so longest: of which something is to be heard (an edit, an approval, news from the engine, a timer) that nobody has looked at yet. Absent where none waits",
            unobserved_seconds.clone(),
        );
        registry.register(
            "lost_pipelines",
            "By engine, how many pipelines that ran are gone from it. None of them is made anew unasked",
            lost_pipelines.clone(),
        );
        Self {
            registry,
            engine_calls,
            reports,
            engines,
            reconciles,
            reconcile_seconds,
            status_conflicts,
            audit_lines,
            audit_failures,
            leader,
            policies,
            phases,
            waiting_seconds,
            unobserved_seconds,
            lost_pipelines,
            census: Mutex::default(),
            roll_call: Mutex::default(),
            line: Mutex::default(),
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
    /// Pipelines are counted so from now on.
    pub fn count_pipelines(&self, census: Census) {
        *self.census.lock().unwrap_or_else(PoisonError::into_inner) = Some(census);
    }

    fn count(&self) {
        let census = self.census.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(census) = census.as_ref() else {
            return;
        };
        let all = census();
        let phases = Phase::VARIANTS.iter().map(|phase| phase.as_str());
        let phases: Vec<&'static str> = phases.chain(BESIDE_PHASES).collect();
        for phase in &phases {
            let is_it = |name: &str| name == *phase || *phase == "Other" && !phases.contains(&name);
            let number = all.iter().filter(|(name, _)| is_it(name)).count();
            let gauge = self.phases.get_or_create(&PhaseLabels { phase });
            gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        }
        let longest = all.iter().filter_map(|(_, waits)| *waits).max();
        self.waiting_seconds.set(longest.unwrap_or(0));
    }

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
            audit_lines: _,
            audit_failures: _,
            leader: _,
            policies,
            phases,
            waiting_seconds: _,
            unobserved_seconds,
            lost_pipelines,
            census: _,
            roll_call: _,
            line: _,
        } = &metrics;
        let result = "ok";
        let call = "approve";
        drop(engine_calls.get_or_create(&CallLabels { call, result }));
        drop(reports.get_or_create(&ReasonLabels { reason: "Approved" }));
        let engine = "shop/feldera".to_owned();
        drop(phases.get_or_create(&PhaseLabels { phase: "Running" }));
        drop(unobserved_seconds.get_or_create(&EngineLabels {
            engine: engine.clone(),
        }));
        drop(lost_pipelines.get_or_create(&EngineLabels {
            engine: engine.clone(),
        }));
        drop(engines.get_or_create(&EngineLabels { engine }));
        let policy = "sluice-names".to_owned();
        drop(policies.get_or_create(&PolicyLabels { policy }));
        drop(reconciles.get_or_create(&ResultLabels { result }));
        metrics
    }

    /// All figures in the text format.
    pub fn encode(&self) -> String {
        self.count();
        self.ask_engines();
        self.look_at_the_line();
        let mut text = String::new();
        // Writing into a String can't fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }

    /// A call that changes something in an engine.
    pub fn engine_call(&self, call: &'static str, error: Option<&engine::Error>) {
        let result = error.map_or("ok", |error| error.kind().as_str());
        self.engine_calls
            .get_or_create(&CallLabels { call, result })
            .inc();
    }

    /// Something happened to a Pipeline.
    pub fn report(&self, reason: &'static str) {
        self.reports.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Engines are asked for so from now on.
    pub fn call_engines(&self, roll_call: RollCall) {
        *self
            .roll_call
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(roll_call);
    }

    fn ask_engines(&self) {
        let roll_call = self
            .roll_call
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(roll_call) = roll_call.as_ref() else {
            return;
        };
        // One that is gone leaves nothing behind.
        self.engines.clear();
        self.lost_pipelines.clear();
        for answers in roll_call() {
            let labels = EngineLabels {
                engine: answers.engine,
            };
            let lost = i64::try_from(answers.lost).unwrap_or(i64::MAX);
            self.lost_pipelines.get_or_create(&labels).set(lost);
            self.engines
                .get_or_create(&labels)
                .set(answers.is_up.into());
        }
    }

    /// Those that wait for their turn are asked for so from now on.
    pub fn watch_the_line(&self, line: Line) {
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
    }

    fn look_at_the_line(&self) {
        let line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(line) = line.as_ref() else {
            return;
        };
        self.unobserved_seconds.clear();
        for (engine, seconds) in line() {
            self.unobserved_seconds
                .get_or_create(&EngineLabels { engine })
                .set(i64::try_from(seconds).unwrap_or(i64::MAX));
        }
    }

    /// Whether an admission policy is in force; `None` if that isn't known.
    pub fn policy(&self, policy: &str, in_force: Option<bool>) {
        let labels = PolicyLabels {
            policy: policy.to_owned(),
        };
        match in_force {
            Some(in_force) => drop(self.policies.get_or_create(&labels).set(in_force.into())),
            None => drop(self.policies.remove(&labels)),
        }
    }

    /// Whether this replica acts.
    pub fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// A status write came too late.
    pub fn status_conflict(&self) {
        self.status_conflicts.inc();
    }

    /// So many lines were written into the audit log.
    pub fn audited(&self, lines: usize) {
        self.audit_lines.inc_by(lines as u64);
    }

    /// The audit log couldn't be written.
    pub fn audit_failed(&self) {
        self.audit_failures.inc();
    }

    /// Starts to measure a reconcile.
    pub fn reconcile_timer(&self) -> Timer<'_> {
        Timer {
            metrics: self,
            start: Instant::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipelines_are_counted_by_phase_and_the_longest_wait_is_told() {
        let metrics = Metrics::default();
        let census = || {
            [
                ("Running", None),
                ("AwaitingApproval", Some(5)),
                ("AwaitingApproval", Some(90)),
                ("a word of the engine's", None),
            ]
            .map(|(phase, waits)| (phase.to_owned(), waits))
            .to_vec()
        };
        metrics.count_pipelines(Box::new(census));
        let text = metrics.encode();
        for line in [
            "sluice_pipelines{phase=\"Running\"} 1",
            "sluice_pipelines{phase=\"AwaitingApproval\"} 2",
            "sluice_pipelines{phase=\"Other\"} 1",
            "sluice_pipelines{phase=\"Failed\"} 0",
            "sluice_longest_wait_seconds 90",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
