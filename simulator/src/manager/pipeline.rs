//! What the manager knows of a pipeline.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::process::Process;
use crate::process::data::Counters;
use crate::process::status::{BootstrapConfig, Desired};
use crate::process::storage::Storage;

/// Lines of log that are kept.
const LOG_LINES: usize = 500;

/// Polls that can be forgotten.
const POLLS_KEPT: usize = 8;

/// Where the compilation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProgramStatus {
    /// Not begun.
    Pending,
    /// SQL.
    CompilingSql,
    /// SQL is done.
    SqlCompiled,
    /// Rust.
    CompilingRust,
    /// Done.
    Success,
    /// The SQL is wrong.
    SqlError,
    /// The Rust is wrong.
    RustError,
    /// The compiler failed.
    SystemError,
}

/// Where the resources of a deployment stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResourcesStatus {
    /// There are none.
    Stopped,
    /// They are being made.
    Provisioning,
    /// They are there.
    Provisioned,
    /// They are being removed.
    Stopping,
}

/// What the resources are to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResourcesDesired {
    /// None.
    Stopped,
    /// There.
    Provisioned,
}

/// Where the storage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StorageStatus {
    /// There is none.
    Cleared,
    /// There may be some.
    InUse,
    /// It is being removed.
    Clearing,
}

/// What the manager last heard from the process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Observed {
    /// CamelCase.
    pub status: String,
    /// Since when.
    pub status_since: Timestamp,
    /// CamelCase.
    pub desired: String,
    /// Since when.
    pub desired_since: Timestamp,
    /// `reason`, `connector_stats`, or `approval_diff`.
    pub details: Value,
    /// When the details were last taken over.
    pub taken_at: Timestamp,
}

/// What the manager knew before a poll that brought something new.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Known {
    /// Of the process.
    pub observed: Observed,
    /// Of the checkpoints.
    pub storage_details: Option<Value>,
    /// Raised by the poll.
    pub refresh_version: u64,
}

/// A pipeline.
#[derive(Debug, Serialize, Deserialize)]
pub struct Pipeline {
    /// Never changes.
    pub id: Uuid,
    /// Unique.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Free words.
    pub tags: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Raised by edits of anything but description and tags.
    pub version: u64,
    /// Raised by material changes of state.
    pub refresh_version: u64,
    /// The version that it is compiled for.
    pub platform_version: String,
    /// With the engine's defaults filled in.
    pub runtime_config: Value,
    /// SQL.
    pub program_code: Arc<str>,
    /// `udf.rs`.
    pub udf_rust: Arc<str>,
    /// Its dependencies.
    pub udf_toml: Arc<str>,
    /// With the engine's defaults filled in.
    pub program_config: Value,
    /// Raised by edits of the program.
    pub program_version: u64,
    /// Where its compilation stands.
    pub program_status: ProgramStatus,
    /// Since when.
    pub program_status_since: Timestamp,
    /// When the compilation began that isn't over yet.
    pub compiling_since: Option<Timestamp>,
    /// Does it find its program's crates compiled?
    #[serde(default)]
    pub recompiles: bool,
    /// Why the last deployment ended or couldn't begin.
    pub deployment_error: Option<Value>,
    /// Where its storage stands.
    pub storage_status: StorageStatus,
    /// Its checkpoints, as last heard from a process.
    pub storage_details: Option<Value>,
    /// When its storage is cleared.
    pub cleared_at: Option<Timestamp>,
    /// New for every start.
    pub deployment_id: Option<Uuid>,
    /// What the deployment begins as.
    pub initial: Option<Desired>,
    /// What was given at start.
    pub bootstrap: Option<BootstrapConfig>,
    /// Where its resources stand.
    pub resources: ResourcesStatus,
    /// Since when.
    pub resources_since: Timestamp,
    /// What they are to become.
    pub resources_desired: ResourcesDesired,
    /// Since when.
    pub resources_desired_since: Timestamp,
    /// When the resources' status ends by itself.
    pub resources_until: Option<Timestamp>,
    /// What the manager last heard.
    pub observed: Option<Observed>,
    /// When it next asks.
    pub next_poll: Option<Timestamp>,
    /// What it knew before its last polls of this deployment, the newest last.
    #[serde(default)]
    pub known_before: VecDeque<Known>,
    /// The disk.
    pub storage: Storage,
    /// The process.
    pub process: Option<Process>,
    /// The tests' ground truth.
    pub counters: Counters,
    /// The newest lines of its log.
    pub log: VecDeque<String>,
    /// Does it differ from what is stored? (Not stored itself.)
    #[serde(skip, default)]
    pub changed: bool,
    /// `selector=status` as text, until something changes. (Not stored.)
    #[serde(skip, default)]
    pub status_cache: Option<Arc<str>>,
}

impl Pipeline {
    /// To be called after each change.
    pub fn touch(&mut self) {
        self.changed = true;
        self.status_cache = None;
    }

    /// Adds a line to the log.
    pub fn log(&mut self, at: Timestamp, text: &str) {
        if self.log.len() == LOG_LINES {
            self.log.pop_front();
        }
        self.log
            .push_back(format!("{at:.6} INFO [control-plane] {text}"));
    }

    /// Is the present program compiled?
    pub fn is_compiled(&self) -> bool {
        self.program_status == ProgramStatus::Success
    }

    /// Stopped, and to stay so.
    pub fn is_stopped(&self) -> bool {
        self.resources == ResourcesStatus::Stopped
            && self.resources_desired == ResourcesDesired::Stopped
    }

    /// Notes what is known, before a poll changes it.
    pub fn keep_known(&mut self) {
        let Some(observed) = &self.observed else {
            return;
        };
        if self.known_before.len() == POLLS_KEPT {
            self.known_before.pop_front();
        }
        self.known_before.push_back(Known {
            observed: observed.clone(),
            storage_details: self.storage_details.clone(),
            refresh_version: self.refresh_version,
        });
    }

    /// Knows again what was known before the last so many polls that brought something new; the
    /// next poll is a whole interval away.
    pub fn forget_polls(&mut self, polls: usize, next_poll: Timestamp) {
        if self.observed.is_none() {
            return;
        }
        for _ in 0..polls {
            let Some(known) = self.known_before.pop_back() else {
                break;
            };
            self.observed = Some(known.observed);
            self.storage_details = known.storage_details;
            self.refresh_version = known.refresh_version;
        }
        self.next_poll = Some(next_poll);
        self.touch();
    }
}
