//! Rows, as counts. The stand-in computes no queries: a view has as many rows as the tables that
//! it is made from have together, and a sink gets each of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::compiler::Program;
use crate::compiler::program::View;

/// Rows of a process, and of a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Data {
    /// By table.
    pub rows: BTreeMap<String, u64>,
    /// Input connectors that were read to their end.
    pub read: BTreeSet<String>,
    /// Steps that the circuit made.
    pub steps: u64,
    /// Rows that were ever read.
    pub processed: u64,
}

/// The tests' ground truth; outlives processes and deployments.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Rows ever sent, by output connector.
    pub sinks: BTreeMap<String, u64>,
    /// Bootstraps begun.
    pub bootstraps: u64,
    /// Calls of `/approve` that reached a process.
    pub approvals_taken: u64,
    /// Those of them that a crash made it forget (by a fault switch).
    pub approvals_forgotten: u64,
    /// Starts of a process.
    pub process_starts: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
}

impl Counters {
    /// Counts rows sent by a view's output connectors.
    pub fn send(&mut self, view: &View, rows: u64) {
        for output in &view.outputs {
            self.send_to(&output.name, rows);
        }
    }

    /// Counts rows sent by an output connector.
    pub fn send_to(&mut self, sink: &str, rows: u64) {
        let sent = self.sinks.entry(sink.to_owned()).or_default();
        *sent = sent.saturating_add(rows);
    }
}

impl Data {
    /// The rows of a view; one that reads no table has one.
    pub fn view_rows(&self, view: &View) -> u64 {
        if view.tables.is_empty() {
            return 1;
        }
        view.tables
            .iter()
            .filter_map(|table| self.rows.get(table))
            .fold(0, |sum, rows| sum.saturating_add(*rows))
    }

    /// New rows of a table: they go on to all views made from it, and to their sinks.
    pub fn add(&mut self, program: &Program, counters: &mut Counters, table: &str, rows: u64) {
        let have = self.rows.entry(table.to_owned()).or_default();
        *have = have.saturating_add(rows);
        self.processed = self.processed.saturating_add(rows);
        self.steps += 1;
        for view in program.views.values().filter(|v| v.tables.contains(table)) {
            counters.send(view, rows);
        }
    }

    /// Reads the input connectors that weren't read yet.
    pub fn read_inputs(&mut self, program: &Program, counters: &mut Counters) {
        for (name, table) in &program.tables {
            self.rows.entry(name.clone()).or_default();
            for input in &table.inputs {
                if self.read.insert(input.name.clone()) {
                    self.add(program, counters, name, input.rows);
                }
            }
        }
    }
}
