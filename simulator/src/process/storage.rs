//! The disk of a pipeline: what survives the end of its process.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use uuid::Uuid;

use super::data::Data;
use super::status::{BootstrapConfig, Desired};
use crate::compiler::{Program, compile_cached};

/// Checkpoints that are kept.
const KEPT: usize = 2;

/// A compiled program, stored as its text.
#[derive(Debug, Clone)]
pub struct Deployed(Arc<Program>);

impl Deployed {
    /// For a program that compiled.
    pub fn new(program: Arc<Program>) -> Self {
        Self(program)
    }

    /// The program.
    pub fn get(&self) -> &Program {
        &self.0
    }
}

impl Serialize for Deployed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.sql)
    }
}

impl<'de> Deserialize<'de> for Deployed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let sql = String::deserialize(deserializer)?;
        match &compile_cached(&sql).program {
            Ok(program) => Ok(Self(program.clone())),
            Err(_) => Err(serde::de::Error::custom(
                "the state holds a program that this version of the stand-in can't compile: \
                 start with an empty --state-dir",
            )),
        }
    }
}

/// What a process writes about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredStatus {
    /// The deployment that wrote it: an approval sticks to this id, not to a change.
    pub deployment_id: Uuid,
    /// What the process was to become.
    pub desired: Desired,
    /// Policy and options, as replaced by an approval.
    pub config: BootstrapConfig,
}

/// A checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Its name.
    pub uuid: Uuid,
    /// When it was written.
    pub time: Timestamp,
    /// The program that it belongs to.
    pub program: Deployed,
    /// Its rows.
    pub data: Data,
    /// Was it written by a version that stored no program description?
    pub without_description: bool,
}

/// A pipeline's disk.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Storage {
    /// Written by the process.
    pub stored: Option<StoredStatus>,
    /// The oldest first.
    pub checkpoints: Vec<Checkpoint>,
    /// Rows by table that came over HTTP since the last checkpoint (`exactly_once` only).
    pub journal: BTreeMap<String, u64>,
    /// Constant for a pipeline; a whole 64-bit number.
    pub fingerprint: u64,
}

impl Storage {
    /// Writes a checkpoint; the journal begins anew.
    pub fn add_checkpoint(&mut self, program: Deployed, data: Data, time: Timestamp) {
        self.checkpoints.push(Checkpoint {
            uuid: Uuid::now_v7(),
            time,
            program,
            data,
            without_description: false,
        });
        let extra = self.checkpoints.len().saturating_sub(KEPT);
        self.checkpoints.drain(..extra);
        self.journal.clear();
    }

    /// The list of checkpoints as on the wire.
    pub fn checkpoints_json(&self) -> Value {
        let list: Vec<Value> = self
            .checkpoints
            .iter()
            .map(|c| {
                json!({
                    "uuid": c.uuid,
                    "identifier": null,
                    "fingerprint": self.fingerprint,
                    "size": 2048 + 8 * c.data.rows.len(),
                    "steps": c.data.steps,
                    "processed_records": c.data.processed,
                })
            })
            .collect();
        Value::Array(list)
    }
}
