//! The gate: what a starting process makes of a change, and the bootstrap behind it.

use std::collections::BTreeSet;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::status::{Desired, Policy};
use super::{BootstrapRecord, Phase, Process, World};
use crate::compiler::Program;
use crate::compiler::parse::ViewKind;
use crate::diff::{self, Diff};
use crate::digest;
use crate::error::ApiError;

/// What the engine says of both options together.
pub const EXCLUSIVE: &str =
    "`silent_bootstrap` and `concurrent_bootstrap` are mutually exclusive; set at most one";

/// The form that every failed start has.
fn failed(error: &str, details: Value) -> ApiError {
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "InitializationError",
        format!(
            "Operation failed because the pipeline failed to initialize. Error details: {error}."
        ),
        json!({"error": details}),
    )
}

/// A change that can't be bootstrapped under any policy.
pub fn not_allowed(error: &str) -> ApiError {
    failed(
        &format!(
            "The pipeline has been modified since the last checkpoint; however it cannot be \
             bootstrapped due to the following reasons:\n{error}"
        ),
        json!({"error": error}),
    )
}

fn rejected() -> ApiError {
    failed(
        "Bootstrapping of the modified pipeline was rejected by the user.",
        Value::Null,
    )
}

/// A new deployment can't begin as told.
pub fn invalid_transition(from: Desired, to: Desired) -> ApiError {
    failed(
        &format!(
            "Invalid pipeline startup transition from {} to {}",
            from.as_str(),
            to.as_str()
        ),
        json!({"from": from.as_str(), "to": to.as_str()}),
    )
}

/// A process that was to be suspended and was killed before can't start under the same id.
pub fn invalid_initial(desired: Desired) -> ApiError {
    failed(
        &format!(
            "Invalid initial status {} provided on command line or read from storage (only \
             coordination, running, paused, and standby are valid)",
            desired.as_str()
        ),
        json!(desired.as_str()),
    )
}

/// `/pause` or `/start` of a process that is to be suspended.
pub fn invalid_action(action: &str, from: Desired) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "InvalidTransition",
        format!(
            "Cannot execute {action} transition starting from {}",
            from.as_str()
        ),
        json!([action, from.as_str()]),
    )
}

/// A parameter that makes no sense.
pub fn invalid_parameter(error: &str) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "InvalidParam",
        format!("Invalid parameter: {error}."),
        json!({"error": error}),
    )
}

/// The process hasn't got that far.
pub fn initializing() -> ApiError {
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "Initializing",
        "Operation failed because the pipeline has not finished initializing.",
        Value::Null,
    )
}

/// The process has ended its work.
pub fn suspended() -> ApiError {
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "Suspended",
        "Operation failed because the pipeline has been suspended.",
        Value::Null,
    )
}

impl Process {
    /// The storage is read: compare, and ask, go on or fail.
    pub(super) fn initialized(&mut self, world: &mut World<'_>, at: Timestamp) {
        // Without storage none is read, whatever there is.
        let newest = world.storage.checkpoints.last();
        let Some(checkpoint) = newest.filter(|_| self.settings.storage).cloned() else {
            return self.fresh(world, at);
        };
        let diff = match diff::compute(
            checkpoint.program.get(),
            checkpoint.without_description,
            self.program.get(),
        ) {
            Ok(diff) => diff,
            Err(error) => return self.fail_with(not_allowed(&error)),
        };
        if diff.is_empty() {
            self.data = checkpoint.data;
            return self.replay(world, at);
        }
        if !self.concurrent {
            let missing = unreplayable(self.program.get(), &diff);
            if !missing.is_empty() {
                let names: Vec<String> = missing.iter().map(|t| format!("'{t}'")).collect();
                return self.fail_with(not_allowed(&format!(
                    "- The following tables are not materialized, but some of the views that \
                     depend on these tables require bootstrapping: {}. We recommend \
                     materializing all tables in the program to avoid such errors in the future",
                    names.join(", ")
                )));
            }
        }
        match self.config.bootstrap_policy {
            Some(Policy::Allow) => self.begin(world, diff, at),
            Some(Policy::Reject) => self.fail_with(rejected()),
            Some(Policy::AwaitApproval) | None => {
                self.phase = Phase::AwaitingApproval {
                    diff: Box::new(diff),
                };
            }
        }
    }

    fn fail_with(&mut self, error: ApiError) {
        self.phase = Phase::Failed(Box::new(error));
    }

    /// There is no checkpoint: no gate, everything is read from the start.
    fn fresh(&mut self, world: &mut World<'_>, at: Timestamp) {
        if self.settings.storage {
            world.storage.journal.clear();
        }
        if let Some(error) = unopenable(self.program.get()) {
            return self.fail_with(error);
        }
        self.activate(world, at);
    }

    /// The same program goes on where the checkpoint left it.
    fn replay(&mut self, world: &mut World<'_>, at: Timestamp) {
        if let Some(error) = unopenable(self.program.get()) {
            return self.fail_with(error);
        }
        if self.settings.exactly_once && !world.storage.journal.is_empty() {
            // Sinks have had these rows.
            for (table, rows) in &world.storage.journal {
                *self.data.rows.entry(table.clone()).or_default() += rows;
                self.data.processed += rows;
            }
            self.phase = Phase::Replaying {
                until: at + world.durations.initialize,
            };
            return;
        }
        world.storage.journal.clear();
        self.activate(world, at);
    }

    /// The gate is passed: this is where a change is applied.
    pub(super) fn begin(&mut self, world: &mut World<'_>, diff: Diff, at: Timestamp) {
        let Some(checkpoint) = world.storage.checkpoints.last().cloned() else {
            return self.fresh(world, at);
        };
        let because = if self.approved_by_call {
            "approve"
        } else if self.resumed {
            "stored"
        } else {
            "allow"
        };
        world.counters.bootstraps += 1;
        world.bootstraps.push(BootstrapRecord {
            pipeline: world.name.to_owned(),
            deployment_id: self.deployment_id,
            incarnation: self.incarnation,
            time: at,
            program_digest: digest(self.program.get().sql.as_bytes()),
            diff_digest: digest(diff.to_json().to_string().as_bytes()),
            diff: diff.to_json(),
            because: because.to_owned(),
            silent: self.silent(),
            concurrent: self.concurrent,
        });
        // Any gated change that is let through drops the input since the checkpoint.
        world.storage.journal.clear();
        if self.concurrent && !unreplayable(self.program.get(), &diff).is_empty() {
            return self.fail_with(not_allowed(
                "the pipeline cannot be bootstrapped concurrently: a stream feeding the \
                 bootstrapped region has no replay source (input operator n18 (Input) is an \
                 unmaterialized table?). Restart with `concurrent_bootstrap=false` for a \
                 stop-the-world bootstrap.",
            ));
        }
        if let Some(error) = unopenable(self.program.get()) {
            return self.fail_with(error);
        }
        self.data = checkpoint.data;
        let program = self.program.get();
        self.data.rows.retain(|t, _| program.tables.contains_key(t));
        for table in &diff.modified_tables {
            self.data.rows.insert(table.clone(), 0);
            let prefix = format!("{table}.");
            self.data.read.retain(|name| !name.starts_with(&prefix));
        }
        for name in diff
            .modified_input_connectors
            .iter()
            .chain(&diff.removed_input_connectors)
        {
            self.data.read.remove(name);
        }
        let inputs: BTreeSet<&str> = program
            .tables
            .values()
            .flat_map(|t| &t.inputs)
            .map(|i| i.name.as_str())
            .collect();
        self.data.read.retain(|name| inputs.contains(name.as_str()));
        if !diff.computes_anything() {
            // Not even seen as a phase: only connectors, removals, or no description.
            self.complete(world, &diff);
            return self.activate(world, at);
        }
        let until = at + world.durations.bootstrap;
        let diff = Box::new(diff);
        self.phase = if self.concurrent {
            Phase::ConcurrentBootstrapping { until, diff }
        } else {
            Phase::Bootstrapping { until, diff }
        };
    }

    /// A concurrent bootstrap is never silent.
    fn silent(&self) -> bool {
        self.config.silent_bootstrap && !self.concurrent
    }

    /// All of a new or changed view goes to its sinks, without retractions; a new sink of an
    /// unchanged view gets nothing unless it asks for a snapshot.
    pub(super) fn complete(&mut self, world: &mut World<'_>, diff: &Diff) {
        self.data.steps += 1;
        if self.silent() {
            return;
        }
        for (name, view) in &self.program.get().views {
            let rows = self.data.view_rows(view);
            if diff.added_views.contains(name) || diff.modified_views.contains(name) {
                world.counters.send(view, rows);
                continue;
            }
            for output in &view.outputs {
                if output.send_snapshot && diff.added_output_connectors.contains(&output.name) {
                    world.counters.send_to(&output.name, rows);
                }
            }
        }
    }
}

/// Tables without content that new or changed views would have to be computed from.
fn unreplayable(program: &Program, diff: &Diff) -> Vec<String> {
    let mut missing = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut next: Vec<&String> = diff
        .added_views
        .iter()
        .chain(&diff.modified_views)
        .collect();
    while let Some(name) = next.pop() {
        if !seen.insert(name) {
            continue;
        }
        if let Some(view) = program.views.get(name) {
            let changed = diff.added_views.contains(name) || diff.modified_views.contains(name);
            // An unchanged view with content is a source by itself.
            if changed || view.kind != ViewKind::Materialized {
                next.extend(&view.reads);
            }
        } else if let Some(table) = program.tables.get(name) {
            let new = diff.added_tables.contains(name) || diff.modified_tables.contains(name);
            if !table.materialized && !new {
                missing.insert(name.clone());
            }
        }
    }
    missing.into_iter().collect()
}

fn unopenable(program: &Program) -> Option<ApiError> {
    let inputs = program.tables.values().flat_map(|t| &t.inputs);
    let outputs = program.views.values().flat_map(|v| &v.outputs);
    inputs.chain(outputs).find_map(|endpoint| {
        let error = endpoint.fails.as_ref()?;
        Some(failed(
            &format!("error on endpoint '{}': {error}", endpoint.name),
            json!({"transport_error": {"endpoint_name": endpoint.name, "fatal": true, "error": error}}),
        ))
    })
}
