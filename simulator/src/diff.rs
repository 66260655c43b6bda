//! The difference between two programs, made by Feldera's own function.

use feldera_types::config::PipelineConfigProgramInfo;
use feldera_types::pipeline_diff::compute_pipeline_diff;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::compiler::Program;

/// A difference as the engine publishes it. Lists are sorted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Diff {
    /// Why programs couldn't be compared; their lists are empty then, and mean nothing.
    pub program_diff_error: Option<String>,
    /// Tables that are new.
    pub added_tables: Vec<String>,
    /// Tables that are gone.
    pub removed_tables: Vec<String>,
    /// Tables that are emptied.
    pub modified_tables: Vec<String>,
    /// Views that are new.
    pub added_views: Vec<String>,
    /// Views that are gone.
    pub removed_views: Vec<String>,
    /// Views that are computed again.
    pub modified_views: Vec<String>,
    /// Input connectors that are new.
    pub added_input_connectors: Vec<String>,
    /// Input connectors with another configuration.
    pub modified_input_connectors: Vec<String>,
    /// Input connectors that are gone, of tables that aren't.
    pub removed_input_connectors: Vec<String>,
    /// Output connectors that are new.
    pub added_output_connectors: Vec<String>,
    /// Output connectors with another configuration.
    pub modified_output_connectors: Vec<String>,
    /// Output connectors that are gone, of views that aren't.
    pub removed_output_connectors: Vec<String>,
}

impl Diff {
    /// Nothing to ask about. Programs that couldn't be compared are never equal.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Does anything have to be computed, so that a bootstrap shows as a phase?
    pub fn computes_anything(&self) -> bool {
        [
            &self.added_tables,
            &self.modified_tables,
            &self.added_views,
            &self.modified_views,
        ]
        .iter()
        .any(|list| !list.is_empty())
    }

    /// As on the wire: keys in alphabetical order.
    pub fn to_json(&self) -> Value {
        let program_diff = if self.program_diff_error.is_some() {
            Value::Null
        } else {
            json!({
                "added_tables": self.added_tables,
                "added_views": self.added_views,
                "modified_tables": self.modified_tables,
                "modified_views": self.modified_views,
                "removed_tables": self.removed_tables,
                "removed_views": self.removed_views,
            })
        };
        json!({
            "added_input_connectors": self.added_input_connectors,
            "added_output_connectors": self.added_output_connectors,
            "modified_input_connectors": self.modified_input_connectors,
            "modified_output_connectors": self.modified_output_connectors,
            "program_diff": program_diff,
            "program_diff_error": self.program_diff_error,
            "removed_input_connectors": self.removed_input_connectors,
            "removed_output_connectors": self.removed_output_connectors,
        })
    }
}

/// Compares an old program with a new one. `old_undescribed`: the old one comes from a
/// checkpoint without a program description.
///
/// # Errors
/// Why the change can't be bootstrapped under any policy (relations with LATENESS).
pub fn compute(old: &Program, old_undescribed: bool, new: &Program) -> Result<Diff, String> {
    let mut undescribed: PipelineConfigProgramInfo;
    let old = if old_undescribed {
        undescribed = old.info.clone();
        undescribed.program_ir = None;
        &undescribed
    } else {
        &old.info
    };
    let diff = compute_pipeline_diff(old, &new.info).map_err(|e| e.to_string())?;
    let mut out = Diff {
        program_diff_error: diff.program_diff_error().cloned(),
        added_input_connectors: diff.added_input_connectors().clone(),
        modified_input_connectors: diff.modified_input_connectors().clone(),
        removed_input_connectors: diff.removed_input_connectors().clone(),
        added_output_connectors: diff.added_output_connectors().clone(),
        modified_output_connectors: diff.modified_output_connectors().clone(),
        removed_output_connectors: diff.removed_output_connectors().clone(),
        ..Diff::default()
    };
    if let Some(program) = diff.program_diff() {
        out.added_tables = program.added_tables().clone();
        out.removed_tables = program.removed_tables().clone();
        out.modified_tables = program.modified_tables().clone();
        out.added_views = program.added_views().clone();
        out.removed_views = program.removed_views().clone();
        out.modified_views = program.modified_views().clone();
    }
    Ok(out)
}
