//! What Sluice writes into a Pipeline's status: what it saw, what waits, and who decided what.
//!
//! Everything that the operator must not forget stands here, because nothing else survives it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::compact::CompactObject;
use super::moment::Moment;
use super::pipeline::{BootstrapOptions, any_object};

/// The status of a Pipeline. Only the operator writes it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PipelineStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Where the pipeline is in its life, for reading. Programs read the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,

    /// `Ready`, `Approved` while a change is known, and `Reconciling`, `Stalled`, `StaleApproval`,
    /// `UnfoundedApproval`, `PoliciesNotInForce` and `SettingsNotShown` while they hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// The resolved name of the pipeline in the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_name: Option<String>,

    /// What the engine last said of the pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineView>,

    /// The engine's pipeline is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Loss>,

    /// What the change follows by which the pipeline was made anew in the place of a lost one. It is there until the
    /// pipeline has run: what was approved is that one, and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_anew: Option<String>,

    /// The state of the engine's pipeline is gone, and nobody has asked Sluice for that. It is there until the pipeline has
    /// run again: nothing begins from nothing unasked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emptied: Option<Emptied>,

    /// What the engine's pipeline is known to consist of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<EngineContent>,

    /// The start that Sluice last asked the engine for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,

    /// The last change of which a checkpoint exists: the parent of the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settled>,

    /// The engine's answer when it was asked about a changed program before anything was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,

    /// The new program's compilation beforehand, as a pipeline of its own that is never started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Build>,

    /// The last content that the engine refused to take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,

    /// What others do to the pipeline at the engine, against what the spec says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interference: Option<Interference>,

    /// The checkpoint that Sluice asked for, so that the running change is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Seal>,

    /// Since when a change waits for its decision; absent while none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<Time>,

    /// Since when a stop or an edit waits for the engine to be done with a start or a bootstrap; absent while none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_up_since: Option<Time>,

    /// The value of the annotation `sluice.dev/force-stop`, where it was there before any stop waited: it means nothing then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_force_stop: Option<String>,

    /// The last change that came to the gate, and what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,

    /// The pipeline's failures in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<Failures>,

    /// The last value of the annotation `sluice.dev/retry` that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled_retry: Option<String>,

    /// The digest of the mark that the engine's pipeline was given, so that it is known whether another one was put
    /// there since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,

    /// The digest of the mark that the engine didn't take last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_mark: Option<String>,

    /// The value of the annotation `sluice.dev/adopt` that was acted on. Absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled_adopt: Option<String>,

    /// The last value of `spec.restartedAt` that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled_restart: Option<Moment>,

    /// The last value of `spec.clearStorage` that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled_clear: Option<String>,

    /// The value of `spec.clearStorage` for which the engine is asked to clear the storage, written before it is asked. Absent
    /// once that is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clearing: Option<String>,

    /// What is known of the admission policies that vouch for the names beside votes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<PoliciesSeen>,

    /// The changes in the Pipeline's own fields and annotations whose votes have done their work. As long as one stands
    /// there, nobody is told that it fits no change.
    #[serde(default, skip_serializing_if = "SpentVotes::is_empty")]
    pub spent_votes: SpentVotes,

    /// The changes that had their turn since the last one was settled. None of them is asked about
    /// again under the same id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turns: Vec<Turn>,

    /// The last decisions, newest first: at most 20. Of those that take too much room, the diff and
    /// the votes are left out, of the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<DecisionRecord>,

    /// What is to be written into the audit log, oldest first. Each entry goes once its line is
    /// written, so that a crash loses none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audit_pending: Vec<AuditEntry>,
}

/// What is known of the admission policies that vouch for the names beside votes in fields and
/// annotations.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PoliciesSeen {
    /// The policies that were in force when this was written last: a digest of their objects' uids and
    /// generations. If others are in force by now, there may have been none in between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// The votes beside whose names nobody stood guard all the time. They count no more, until they are
    /// withdrawn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfounded: Vec<String>,
}

/// Per place of a Pipeline that names a change in a vote: the change, once the vote has done its work.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SpentVotes {
    /// In `spec.approvedChange`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_change: Option<String>,
    /// In the annotation `sluice.dev/approve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<String>,
    /// In the annotation `sluice.dev/reject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reject: Option<String>,
}

impl SpentVotes {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What the engine last said of the pipeline, in its own words.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EngineView {
    /// The pipeline's id in the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_id: Option<String>,
    /// Whether it was ever seen with a state that could be lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub had_state: bool,
    /// Whether it was seen with a checkpoint, and nobody has cleared that away since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub had_checkpoint: bool,
    /// The id of the current deployment; a new one for every start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<String>,
    /// `deployment_status`, as the engine spells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_status: Option<String>,
    /// `program_status`, as the engine spells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program_status: Option<String>,
    /// `program_version`: counts the changes of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program_version: Option<i64>,
    /// The engine's edition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edition: Option<String>,
    /// The engine's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// The engine has no such pipeline any more, or another one has its name.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    /// The engine's id of the pipeline that is missed.
    pub pipeline_id: String,
    /// The id of the pipeline that has its name; absent if none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// Since when it is missed.
    pub since: Time,
    /// When the engine last said that it knows no such pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_look_at: Option<Time>,
    /// How often in a row it has said so.
    pub looks: i64,
    /// What the change follows that makes it anew. Absent until it is lost for certain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The change that was decided before, without its diff. It counts again if the pipeline is back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_apart: Option<Box<Approval>>,
}

/// The state of the engine's pipeline is gone: somebody cleared its storage there, or the engine was restored from a backup
/// of before it had any.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Emptied {
    /// When that was seen.
    pub since: Time,
    /// What had run with that state, if that is known. `allowStateLoss` and `bootstrapPolicy: allow` let just this begin from
    /// nothing unasked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran: Option<Target>,
}

/// Which content the engine's pipeline holds at which of its versions.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EngineContent {
    /// The engine's `version` of the pipeline; it rises with every edit.
    pub version: i64,
    /// The digest of everything that the engine was given: program and runtime configuration.
    pub digest: String,
    /// The digest of the runtime configuration, in which a number and a text that looks like it differ. Absent
    /// where 0.1.0 has written the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// The digests of the program's parts.
    pub target: Target,
    /// Whether the engine was given a program configuration: where the spec has none any more, it goes back to the engine's
    /// defaults. One that Sluice never gave stays as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub config_is_given: bool,
    /// The same of the runtime configuration.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub runtime_config_is_given: bool,
    /// The settings that Sluice has given the engine, those of the program's configuration as
    /// `program.config.NAME`: one of them that the spec doesn't name any more goes back to the engine's default. What isn't among them was put there by others, and
    /// stays. Absent where an older release has written this, until the engine is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_settings: Option<Vec<String>>,
    /// The runtime settings that don't change unasked, by their paths. Absent where an older release has written this, until the engine is looked at, or where
    /// they are too many to tell them apart: then what the spec gives takes the place of all of them. No values, but who can
    /// guess a value can check it against its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<HeldSettings>,
    /// The settings that the engine was given and doesn't show in its answer, so that they aren't in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_shown: Vec<String>,
    /// What the engine is about to be given, written before it is: where a crash comes in between, nobody else is blamed for
    /// what is found there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sending: Option<Sending>,
}

/// Settings by their paths: `KEY`, or `KEY.PART` of `resources`, `storage` and `fault_tolerance`.
pub type HeldSettings = BTreeMap<String, HeldSetting>;

/// A setting of the engine's pipeline.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HeldSetting {
    /// The digest of its value: as it was given, or as the engine showed it where others have set it. Empty where the engine
    /// has filled it in by itself.
    pub digest: String,
    /// The digest of what the engine shows, where it shows what it was given in another form; empty where it doesn't
    /// show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
}

/// A content that the engine is about to be given.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Sending {
    /// The digests of its parts.
    pub target: Target,
    /// Whether it has a program configuration.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub config_is_given: bool,
    /// Whether it has a runtime configuration.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub runtime_config_is_given: bool,
    /// Which settings are in it, as in `givenSettings` of the content.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given_settings: Vec<String>,
}

/// Digests (the first 32 hex digits of SHA-256) of the parts of what would run.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The SQL program, connectors included.
    pub sql: String,
    /// The Rust source of the user-defined functions.
    pub udf_rust: String,
    /// The Cargo dependencies of the user-defined functions.
    pub udf_toml: String,
    /// The program configuration.
    pub config: String,
    /// The runtime version that the program configuration names; empty for the engine's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub runtime_version: String,
    /// The settings of `spec.runtimeConfig` that don't change unasked; empty if there is none of them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub settings: String,
    /// Whether it runs without storage, so that no checkpoint is written, or read at a start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_storage: bool,
}

/// A start that Sluice asked for, written before it asks.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The change that the start brings up.
    pub change_id: String,
    /// Its target.
    pub target: Target,
    /// The bootstrap policy that the start names, as the engine spells it.
    pub bootstrap_policy: String,
    /// The bootstrap options that the start names.
    #[serde(default)]
    pub options: BootstrapOptions,
    /// The deployment that the start made; absent until it is seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<String>,
    /// The newest checkpoint that was there before; a newer one holds this run's program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_checkpoint: Option<String>,
    /// Whether the run before this one was stopped with a checkpoint, so that nothing came in
    /// since.
    #[serde(default)]
    pub resumes_all: bool,
    /// Since when this run is known to have left the gate, or to have had none: from then on a
    /// checkpoint may hold its program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past_gate_since: Option<Time>,
    /// How Sluice asked to stop this run: `Checkpoint` or `Force`; `Outside` if somebody else did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopKind>,
    /// What is known of the stop with a checkpoint that Sluice asked for. Absent where 0.1.0 did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graceful_stop: Option<GracefulStop>,
    /// Since when the pipeline is stopped after this run, in the engine's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_since: Option<String>,
    /// Whether the failure that ended this run has been counted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
    /// Whether somebody else has started it at the engine, of a pipeline that this Pipeline knew already. Nobody has let it by here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outside: bool,
}

/// A stop with a checkpoint that Sluice has asked for.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GracefulStop {
    /// When.
    pub at: Time,
    /// The newest checkpoint that was there before. The one that the stop writes is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_before: Option<String>,
    /// How many steps are counted in that. The one that the stop writes has no fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps_before: Option<i64>,
    /// Whether the call failed. Then somebody else may have stopped the pipeline, and a newer checkpoint be one that the engine
    /// has written by itself long before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
}

/// How a pipeline is stopped.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[schemars(with = "String")]
pub enum StopKind {
    /// With a checkpoint, so that nothing is lost.
    Checkpoint,
    /// By somebody else, in whatever way.
    Outside,
    /// At once.
    #[serde(other)]
    Force,
}

/// A target of which a checkpoint exists.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Settled {
    /// Its change id: the parent of the next change.
    pub change_id: String,
    /// Its target.
    pub target: Target,
    /// The checkpoint that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<BaseCheckpoint>,
    /// The engine's `version` of the pipeline at which it ran. A newer checkpoint that is found at another one, and
    /// that Sluice didn't see being written, may have been made from something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Its program, so that people can see what a change changes. Absent if it was never seen in the
    /// spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<KeptProgram>,
    /// The digests of its runtime settings that don't change unasked, by their paths, as in `content.settings`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<BTreeMap<String, String>>,
}

impl Settled {
    /// Nothing is known of what a checkpoint was made from. It has a name all the same, which changes follow.
    pub fn unknown(change_id: String) -> Self {
        Self {
            change_id,
            target: Target::default(),
            checkpoint: None,
            version: None,
            program: None,
            settings: None,
        }
    }

    /// Whether it is known what it is.
    pub fn is_known(&self) -> bool {
        self.target != Target::default()
    }
}

/// The text of a settled program: each part gzipped, in base64. A part that is empty is absent.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct KeptProgram {
    /// The SQL program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// The Rust source of the user-defined functions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udf_rust: Option<String>,
    /// The Cargo dependencies of the user-defined functions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udf_toml: Option<String>,
    /// The program configuration, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// The settings of `spec.runtimeConfig` that don't change unasked, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<String>,
    /// The parts that aren't kept, by the names of the fields above, and why: `FromConfigMap` (who
    /// may read the Pipeline may not read the ConfigMap) or `TooLarge`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub omitted: BTreeMap<String, Omission>,
}

/// Why a part of a settled program isn't kept.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[schemars(with = "String")]
pub enum Omission {
    /// It comes from a ConfigMap, and not everybody who may read the Pipeline may read that.
    FromConfigMap,
    /// It would make the object too large.
    TooLarge,
    /// A reason that this version doesn't know.
    #[serde(other)]
    Unknown,
}

/// What the engine answered when it was asked about a program beforehand.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// The target that was asked about.
    pub target: Target,
    /// The last settled change at that time: from another one the answer would be another.
    #[serde(default)]
    pub parent: String,
    /// What the engine held, and so compared with. Absent where an older release has written it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared_with: Option<Target>,
    /// What came of it.
    pub outcome: PreviewOutcome,
    /// The compiler's or the engine's message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The diff in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The diff. Absent if the engine gave none; cut if it is too large, as that of the approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub diff: Option<Map<String, Value>>,
}

/// What came of asking the engine about a program beforehand.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[schemars(with = "String")]
pub enum PreviewOutcome {
    /// It compiles, and nothing that the engine gates would change.
    NoChange,
    /// It compiles, and the engine would gate it.
    Gated,
    /// It doesn't compile.
    CompileError,
    /// The engine would refuse to bootstrap it under any policy.
    Refused,
    /// The engine can't tell beforehand.
    #[serde(other)]
    Unknown,
}

/// A program's compilation beforehand.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Build {
    /// What is compiled.
    pub target: Target,
    /// The engine's pipeline that it is compiled as; absent once that is removed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// The engine's id of that pipeline, once it is made: whatever else has its name is somebody else's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_id: Option<String>,
    /// How many names for it were taken by pipelines of others.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub names_taken: i64,
    /// What came of it; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<BuildOutcome>,
    /// The compiler's message, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What came of compiling a program beforehand.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[schemars(with = "String")]
pub enum BuildOutcome {
    /// It compiles.
    Compiled,
    /// It doesn't compile.
    Failed,
    /// The engine couldn't compile it beforehand, which says nothing of the program.
    #[serde(other)]
    Unknown,
}

/// The engine's refusal of a content, with which the pipeline was then not stopped again.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The digest of the content.
    pub digest: String,
    /// The digest of its runtime configuration, in which a number and a text that looks like it differ. Absent
    /// where 0.1.0 has written the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// Whether the engine would take it once the pipeline's storage is cleared.
    #[serde(default)]
    pub only_with_storage: bool,
    /// Why, in words.
    pub message: String,
}

/// What others do to the pipeline at the engine, against what the spec says.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Interference {
    /// How often, within an hour of each other.
    pub count: i64,
    /// The last time.
    pub last_at: Time,
    /// What it was.
    pub message: String,
}

/// A checkpoint that Sluice asked for.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Seal {
    /// The change that it is to keep.
    pub change_id: String,
    /// The sequence number that the engine answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence_number: Option<i64>,
    /// The process that answered it, as the engine names it: numbers of another one mean nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
    /// When it was last asked for.
    pub requested_at: Time,
    /// How often it was asked for.
    pub attempts: i64,
    /// Why the last one failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A change at the gate.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// `Awaiting`, `Approved`, `Applying`, `Applied`, `Sealed`, `ApplyFailed`, `Rejected`,
    /// `Expired` or `Superseded`.
    pub state: ApprovalState,
    /// What is approved: the whole id.
    pub change_id: String,
    /// The first digits of the id, for reading only.
    pub short_id: String,
    /// The id of the change that this one follows, or `root`.
    pub parent: String,
    /// What would run.
    pub target: Target,
    /// The parts that differ from the parent's: `sql`, `udfRust`, `udfToml`, `config`, `runtimeVersion`,
    /// `settings` (of `spec.runtimeConfig`). Empty if the parent's program isn't known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// How it would be bootstrapped.
    pub options: BootstrapOptions,
    /// How often this target was asked about anew.
    pub revision: i64,
    /// Where it waits: at the engine's gate, or at Sluice's own while the old program goes on.
    #[serde(default)]
    pub gate: Gate,
    /// Since when the change is published.
    pub since: Time,
    /// The deployment that waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<String>,
    /// The diff in words, on one line.
    pub summary: String,
    /// The engine's diff, as it was published. Absent if the engine gave none. One that is too large is cut: `sluiceCut` in
    /// it says how many names of which list are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub diff: Option<Map<String, Value>>,
    /// SHA-256 over the canonical form of the whole diff, 64 hex digits.
    pub diff_digest: String,
    /// What approving destroys or repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_stake: Option<AtStake>,
    /// The checkpoint that the pipeline would resume from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseCheckpoint>,
    /// A command that approves exactly this change.
    pub approve_command: String,
    /// Whether `spec.approved` has been seen other than `true` since the change was published, so
    /// that a later `true` is an answer to it.
    pub approved_field_counts: bool,
    /// What the votes amounted to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// The votes that were seen: rejections first, and no more than 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub votes: Vec<Vote>,
    /// How many votes there are beside those.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_votes: i64,
    /// How often the engine was told of the approval, or was about to be: it is written down before
    /// the call.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub calls: i64,
    /// When that was written down last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_call_at: Option<Time>,
    /// Why applying it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Which gate a change waits at.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[schemars(with = "String")]
pub enum Gate {
    /// The engine's: the new program is deployed, and waits.
    #[default]
    Engine,
    /// Sluice's own: the old program goes on, and nothing is stopped before the decision.
    Sluice,
    /// One that this version doesn't know.
    #[serde(other)]
    Unknown,
}

/// The states of a change at the gate.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[schemars(with = "String")]
pub enum ApprovalState {
    /// It waits for its decision.
    Awaiting,
    /// It is approved; the engine has not been told yet.
    Approved,
    /// The engine has been told.
    Applying,
    /// The engine has left the gate and runs the new program.
    Applied,
    /// A checkpoint of the new program exists.
    Sealed,
    /// The bootstrap failed after the approval.
    ApplyFailed,
    /// It was rejected.
    Rejected,
    /// It waited for too long.
    Expired,
    /// Another change took its place, or it was taken back.
    Superseded,
    /// A state that this version doesn't know. It is never acted on.
    #[serde(other)]
    Unknown,
}

impl ApprovalState {
    /// All states, also that which no version knows.
    pub const ALL: [Self; 10] = [
        Self::Awaiting,
        Self::Approved,
        Self::Applying,
        Self::Applied,
        Self::Sealed,
        Self::ApplyFailed,
        Self::Rejected,
        Self::Expired,
        Self::Superseded,
        Self::Unknown,
    ];
}

/// The checkpoint that a pipeline resumes from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BaseCheckpoint {
    /// The engine's id of the checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// What the engine answered when Sluice asked for it; for another, the engine's step count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence_number: Option<i64>,
    /// How many steps the engine had made. They only grow: fewer in a newer one say that the engine was restored from a
    /// backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<i64>,
}

/// What approving a change destroys or repeats. A list that can't be known is absent and named in
/// `unknown`; an empty one means none.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AtStake {
    /// Tables that are emptied and read again from their connectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables_refilled: Option<Vec<String>>,
    /// Tables that are removed, or emptied with no connector to fill them again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables_lost: Option<Vec<String>>,
    /// Sinks that get the whole of their view again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sinks_repeated: Option<Vec<String>>,
    /// Input since the checkpoint that would be dropped: `none`, or `unknown`. Where it is asked before the pipeline is stopped,
    /// `none` holds if the stop writes a checkpoint: after one that writes none the change isn't made, and is asked about anew.
    pub dropped_input: String,
    /// Whether everything that the pipeline has computed is lost, so that it begins from nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub state_lost: bool,
    /// What of this couldn't be found out, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

impl AtStake {
    /// What stands in `droppedInput` where nothing is dropped.
    pub const NO_INPUT: &str = "none";

    /// Whether no input is dropped.
    pub fn drops_no_input(&self) -> bool {
        self.dropped_input == Self::NO_INPUT
    }
}

/// What the votes on a change amounted to.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// `Approved` or `Rejected`.
    pub outcome: Verdict,
    /// Who decided.
    pub by: String,
    /// Whether the name is the API server's own word.
    pub verified: bool,
    /// The door that it came through.
    pub via: Door,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was recorded.
    pub at: Time,
}

/// How a change was decided.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[schemars(with = "String")]
pub enum Verdict {
    /// It may be applied.
    Approved,
    /// It must not be applied.
    Rejected,
    /// An outcome that this version doesn't know. It is never acted on.
    #[serde(other)]
    Unknown,
}

/// The ways in for a vote.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[schemars(with = "String")]
pub enum Door {
    /// `spec.approved` or `spec.approvedChange`.
    Field,
    /// An annotation.
    Annotation,
    /// A `PipelineApproval` that somebody wrote.
    Object,
    /// A `PipelineApproval` that the REST endpoint wrote.
    Rest,
    /// `spec.bootstrapPolicy`.
    Policy,
    /// Somebody told the engine itself.
    Outside,
    /// A door that this version doesn't know.
    #[serde(other)]
    Unknown,
}

/// One vote on one change.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Vote {
    /// `Approved` or `Rejected`.
    pub outcome: Verdict,
    /// Who.
    pub by: String,
    /// Whether the name is the API server's own word.
    pub verified: bool,
    /// The door that it came through.
    pub via: Door,
    /// The name of the `PipelineApproval`, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A change that had its turn at the gate.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Turn {
    /// The change.
    pub change_id: String,
    /// The rejection that is final for it. Absent if it was taken back, or if somebody has asked
    /// about it anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Decision>,
}

/// A decision of the past.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DecisionRecord {
    /// The change.
    pub change_id: String,
    /// What became of it.
    pub state: ApprovalState,
    /// What the change was, in words.
    pub summary: String,
    /// The decision, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// When the record was closed.
    pub at: Time,
    /// Since when the change was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The id of the change that it followed, or `root`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The parts of the program that differed from the parent's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// The engine's diff, as it was published, but for empty lists. Absent if the engine gave none, or
    /// it took too much room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub diff: Option<CompactObject>,
    /// SHA-256 over the canonical form of the diff, 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff_digest: Option<String>,
    /// The votes that were seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub votes: Vec<Vote>,
}

/// Something that is to be written into the audit log.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// Names it: 32 hex digits. A line that is written again has the same.
    pub id: String,
    /// What happened, such as `Approved`, `Rejected` or `Sealed`.
    pub event: String,
    /// To which change.
    pub change_id: String,
    /// When it was recorded.
    pub at: Time,
    /// The decision that held then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// Failures in a row.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Failures {
    /// How many.
    pub count: i64,
    /// When the last one was seen.
    pub last_at: Time,
    /// The engine's message.
    pub message: String,
    /// The generation of the spec that they belong to: a new spec starts anew.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: i64,
    /// Whether only a new spec or `sluice.dev/retry` can help.
    #[serde(default)]
    pub permanent: bool,
}

/// A number that is left out when it is zero has no default in the schema, either.
fn is_zero(number: &i64) -> bool {
    *number == 0
}
