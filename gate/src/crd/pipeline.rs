//! `Pipeline`: what should run, and the approval of a change to it.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::OBJECT_NAME;
use super::moment::Moment;
use super::status::PipelineStatus;

/// A Feldera pipeline: the program that should run on an engine, and the gate that holds a changed
/// program until its change is approved.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "sluice.dev",
    version = "v1alpha1",
    kind = "Pipeline",
    plural = "pipelines",
    shortname = "fpl",
    category = "sluice",
    namespaced,
    status = "PipelineStatus",
    derive = "PartialEq",
    doc = "A Feldera pipeline: the program that should run on an engine, and the gate that holds a changed program until its change is approved.",
    validation = Rule::new("has(self.spec.pipelineName) || !self.metadata.name.contains('.')")
        .message("the engine's pipeline names have no dots, and metadata.name has one: set spec.pipelineName to a name of letters, digits, '-' and '_'"),
    validation = Rule::new("oldSelf.hasValue() || !(has(self.spec.pipelineName) ? self.spec.pipelineName : self.metadata.name).startsWith('sluice-build-')")
        .optional_old_self(true)
        .message("names in the engine that begin with sluice-build- are kept for what Sluice compiles beforehand: set spec.pipelineName to another name, or choose another metadata.name"),
    selectable = ".spec.pipelineName",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "Where the pipeline is in its life, for reading"),
    printcolumn(name = "Engine", type_ = "string", json_path = ".spec.engineRef.name", description = "The Engine; empty for the operator's default engine"),
    printcolumn(name = "Change", type_ = "string", json_path = ".status.approval.shortId", description = "The first digits of the last change's id; approvals need the whole id"),
    printcolumn(name = "Approval", type_ = "string", json_path = ".status.approval.state", description = "The state of the last change"),
    printcolumn(name = "Waiting", type_ = "date", json_path = ".status.waitingSince", description = "How long a change has been waiting for its decision"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Summary", type_ = "string", json_path = ".status.approval.summary", priority = 1, description = "The last change in words"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.engineRef) == has(oldSelf.engineRef) && (!has(self.engineRef) || self.engineRef.name == oldSelf.engineRef.name)")
        .message("engineRef can't change: a pipeline's state stays on its engine. Create another Pipeline with the new engineRef instead"),
    validation = Rule::new("has(self.pipelineName) == has(oldSelf.pipelineName) && (!has(self.pipelineName) || self.pipelineName == oldSelf.pipelineName)")
        .message("pipelineName can't change: the engine's pipeline keeps its name. Create another Pipeline with the new name instead"),
    validation = Rule::new("has(self.program) == has(oldSelf.program)")
        .message("program can't be added or removed: either Sluice looks after the whole pipeline, or, without program, only after its gate. Delete this Pipeline (with deletionPolicy: Retain, the pipeline stays) and create another one"),
    validation = Rule::new("has(self.program) || (!has(self.runtimeConfig) && !has(self.bootstrapOptions) && !has(self.restartedAt) && !has(self.clearStorage) && self.desiredState == 'running' && self.deletionPolicy == 'Retain' && self.bootstrapPolicy != 'allow')")
        .message("without program, the pipeline is made, started and stopped elsewhere, and only its gate is Sluice's: remove runtimeConfig, bootstrapOptions, restartedAt and clearStorage, leave desiredState running and deletionPolicy Retain, and set bootstrapPolicy to await_approval or reject"),
)]
pub struct PipelineSpec {
    /// The Engine, in the same namespace, that runs the pipeline. Omitted: the operator's own
    /// default engine. It can't change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_ref: Option<EngineRef>,

    /// The pipeline's name in the engine. Omitted: the name of this object. It can't change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(validation = Rule::new("self.matches('^[a-zA-Z0-9_-]+$')").message("pipelineName must consist of letters, digits, '-' and '_'"))]
    pub pipeline_name: Option<String>,

    /// The program to run. Omitted from the start: the pipeline is made, started and stopped
    /// elsewhere, and Sluice only keeps its gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Program>,

    /// Feldera's `runtime_config`, passed on as it is. Its keys are Feldera's and differ from
    /// release to release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub runtime_config: Option<Map<String, Value>>,

    /// What the pipeline should be doing.
    #[serde(default)]
    pub desired_state: DesiredState,

    /// What happens when a changed program would resume from a checkpoint. `await_approval` waits
    /// until the change is approved; `allow` bootstraps at once, unasked, but for what was rejected, and
    /// what turns storage off without `allowStateLoss`; `reject` refuses the change.
    #[serde(default)]
    pub bootstrap_policy: BootstrapPolicy,

    /// How the engine bootstraps an approved change. Part of what is approved.
    #[serde(default, skip_serializing_if = "BootstrapOptions::is_default")]
    pub bootstrap_options: BootstrapOptions,

    /// `true` approves the change that waits. It names no change, so it counts only for the one that
    /// stood in status when it turned true; left in place, it approves nothing further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<bool>,

    /// Approves the change with this id (`status.approval.changeId`), and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9a-f]{32}$')").message("approvedChange must be a whole change id, 32 hex digits: copy it from status.approval.changeId"))]
    pub approved_change: Option<String>,

    /// When people are asked. `Bootstrap`: at the engine's own gate, when the changed program is
    /// about to resume from a checkpoint.
    #[serde(default, skip_serializing_if = "ApproveBefore::is_default")]
    pub approve_before: ApproveBefore,

    /// Whether a pipeline may be stopped although no checkpoint of it can be written, so that its state is lost: on
    /// an engine that writes none, or without storage. With `bootstrapPolicy: allow` also whether storage may be
    /// turned off unasked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_state_loss: bool,

    /// Restarts the pipeline, with a checkpoint, each time this is given another value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_at: Option<Moment>,

    /// Stops the pipeline, clears its storage, and starts it from nothing, once for each new value.
    /// Everything that it has computed and all its checkpoints are lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub clear_storage: Option<String>,

    /// What becomes of the engine's pipeline when this object is deleted. `Retain` leaves it as it
    /// is; `Delete` stops it, clears its storage and deletes it.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// Names an Engine in the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct EngineRef {
    /// The name of the Engine.
    #[schemars(length(min = 1, max = 253), extend("pattern" = OBJECT_NAME))]
    pub name: String,
}

/// A Feldera program: SQL, and Rust for its user-defined functions.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.sql) != has(self.sqlFrom)").message("program needs its SQL exactly once: set either program.sql, or program.sqlFrom to the key of a ConfigMap"),
    validation = Rule::new("!(has(self.udfRust) && has(self.udfRustFrom))").message("set either program.udfRust or program.udfRustFrom, not both"),
    validation = Rule::new("!(has(self.udfToml) && has(self.udfTomlFrom))").message("set either program.udfToml or program.udfTomlFrom, not both"),
    // Here rather than beside the fields: there the API server would repeat the whole text.
    validation = Rule::new("!has(self.sql) || bytes(self.sql).size() <= 262144").message("program.sql has more than 256 KiB: put it into a ConfigMap, and name that in program.sqlFrom"),
    validation = Rule::new("!has(self.udfRust) || bytes(self.udfRust).size() <= 262144").message("program.udfRust has more than 256 KiB: put it into a ConfigMap, and name that in program.udfRustFrom"),
    validation = Rule::new("!has(self.udfToml) || bytes(self.udfToml).size() <= 65536").message("program.udfToml has more than 64 KiB: put it into a ConfigMap, and name that in program.udfTomlFrom"),
)]
pub struct Program {
    /// The SQL program, at most 256 KiB. A longer one goes into a ConfigMap: see `sqlFrom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1_048_576))]
    pub sql: Option<String>,

    /// The SQL program, from a ConfigMap in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql_from: Option<ContentSource>,

    /// Rust source of the user-defined functions, at most 256 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1_048_576))]
    pub udf_rust: Option<String>,

    /// Rust source of the user-defined functions, from a ConfigMap in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udf_rust_from: Option<ContentSource>,

    /// The Cargo dependencies of the user-defined functions, in TOML, at most 64 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1_048_576))]
    pub udf_toml: Option<String>,

    /// The Cargo dependencies of the user-defined functions, from a ConfigMap in the same
    /// namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udf_toml_from: Option<ContentSource>,

    /// Feldera's `program_config` (`profile`, `cache`, `runtime_version`, …), passed on as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub config: Option<Map<String, Value>>,
}

/// Where a part of the program comes from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ContentSource {
    /// A key of a ConfigMap.
    pub config_map_key_ref: ConfigMapKeyRef,
}

/// A key of a ConfigMap in the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct ConfigMapKeyRef {
    /// The name of the ConfigMap.
    #[schemars(length(min = 1, max = 253), extend("pattern" = OBJECT_NAME))]
    pub name: String,
    /// The key within its `data`.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// What a pipeline should be doing.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum DesiredState {
    /// Deployed, and processing input.
    #[default]
    Running,
    /// Deployed, and processing nothing.
    Paused,
    /// Not deployed. It is stopped with a checkpoint where the engine can write one.
    Stopped,
}

/// Feldera's `bootstrap_policy`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum BootstrapPolicy {
    /// A changed program waits until its change is approved.
    #[default]
    AwaitApproval,
    /// A changed program bootstraps at once.
    Allow,
    /// A changed program is refused.
    Reject,
}

impl BootstrapPolicy {
    /// The value as the engine spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AwaitApproval => "await_approval",
            Self::Allow => "allow",
            Self::Reject => "reject",
        }
    }
}

/// How the engine bootstraps a change.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[x_kube(validation = Rule::new("!(self.silent && self.concurrent)").message("silent and concurrent exclude each other: set one of them to false"))]
pub struct BootstrapOptions {
    /// Backfill without sending the backfilled output to the sinks.
    #[serde(default)]
    pub silent: bool,
    /// Backfill while the unchanged part of the pipeline goes on.
    #[serde(default)]
    pub concurrent: bool,
}

impl BootstrapOptions {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// When people are asked to approve a change.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApproveBefore {
    /// At the engine's own gate, before the bootstrap.
    #[default]
    Bootstrap,
}

impl ApproveBefore {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What becomes of the engine's pipeline when the Pipeline is deleted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// It is left as it is.
    #[default]
    Retain,
    /// It is stopped, its storage cleared, and it is deleted.
    Delete,
}

/// The schema of an object that is passed on without looking into it.
pub(super) fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

impl Pipeline {
    /// The pipeline's name in the engine.
    pub fn engine_pipeline_name(&self) -> &str {
        self.spec
            .pipeline_name
            .as_deref()
            .or(self.metadata.name.as_deref())
            .unwrap_or_default()
    }

    /// Whether the pipeline is made elsewhere, and only its gate is Sluice's.
    pub fn is_gate_only(&self) -> bool {
        self.spec.program.is_none()
    }

    /// The value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(key))
            .map(String::as_str)
    }
}
