//! The custom resources of group `sluice.dev`, version `v1alpha1`.
//!
//! The types are the single source of the manifests in `crds/`: the schema, its CEL rules and the
//! printer columns are all derived from what stands here. Enumerations in a `spec` are closed, so
//! that a typing mistake is refused when it is applied; those in a `status` are open strings, so
//! that a client of today does not break on a value of tomorrow.

mod compact;
mod engine;
mod manifest;
mod moment;
mod phase;
mod pipeline;
mod pipeline_approval;
mod status;

pub use compact::CompactObject;
pub use engine::{Engine, EngineResourceStatus, EngineSpec, SecretKeyRef};
pub use manifest::manifest;
pub use moment::Moment;
pub use phase::Phase;
pub use pipeline::{
    ApproveBefore, BootstrapOptions, BootstrapPolicy, ConfigMapKeyRef, ContentSource,
    DeletionPolicy, DesiredState, EngineRef, Pipeline, PipelineSpec, Program,
};
pub use pipeline_approval::{
    ClearAfter, OnBehalfOf, PipelineApproval, PipelineApprovalSpec, PipelineApprovalStatus,
    PipelineRef, VoteDecision,
};
pub use status::{
    Approval, ApprovalState, AtStake, AuditEntry, BaseCheckpoint, Build, BuildOutcome, Decision,
    DecisionRecord, Door, Emptied, EngineContent, EngineView, Failures, Gate, GracefulStop,
    HeldSetting, HeldSettings, Interference, KeptProgram, Loss, Omission, PipelineStatus,
    PoliciesSeen, Preview, PreviewOutcome, Refusal, Run, Seal, Sending, Settled, SpentVotes,
    StopKind, Target, Turn, Verdict, Vote,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps,
};
use kube::CustomResourceExt;
use serde_json::json;

/// The API group of every resource, and the prefix of every annotation, of Sluice.
pub const GROUP: &str = "sluice.dev";

/// Annotations through which people speak to Sluice, and which it never edits.
pub mod annotation {
    /// Approves the change whose id it holds.
    pub const APPROVE: &str = "sluice.dev/approve";
    /// Rejects the change whose id it holds.
    pub const REJECT: &str = "sluice.dev/reject";
    /// Why, for [`APPROVE`] and [`REJECT`].
    pub const REASON: &str = "sluice.dev/reason";
    /// Opens the gate again after a rejection (the change id), or tries a failed step again (any
    /// value that differs from the last one).
    pub const RETRY: &str = "sluice.dev/retry";
    /// Takes over the engine's pipeline of this Pipeline's name: that name for one that carries no mark; for one that
    /// carries the mark of a Pipeline that is gone, `<namespace>/<name>` of that.
    pub const ADOPT: &str = "sluice.dev/adopt";
    /// On an Engine: the names of engine's pipelines, parted by commas, whose marks don't count any more that bear no name
    /// of a Pipeline, or that of one in a namespace that isn't looked after. They can be taken over as those that Sluice
    /// didn't make.
    pub const RELEASE: &str = "sluice.dev/release";
    /// The trace (W3C `traceparent`) that a vote belongs to, on a PipelineApproval or beside an
    /// annotation that votes.
    pub const TRACEPARENT: &str = "sluice.dev/traceparent";
    /// The votes that [`REASON`] was written with, such as `approve <change id>`: an admission policy lets nobody name
    /// another one. Of any other vote it isn't the reason.
    pub const REASON_FOR: &str = "sluice.dev/reason-for";
    /// Who set `spec.approved` to true: an admission policy lets nobody write another name than their own.
    pub const APPROVED_BY: &str = "sluice.dev/approved-by";
    /// The change that stood in the stored status then, so the one that it answers. Absent if none did.
    pub const APPROVED_FOR: &str = "sluice.dev/approved-for";
    /// Who wrote `spec.approvedChange`, likewise.
    pub const APPROVED_CHANGE_BY: &str = "sluice.dev/approved-change-by";
    /// Who wrote [`APPROVE`], likewise.
    pub const APPROVE_BY: &str = "sluice.dev/approve-by";
    /// Who wrote [`REJECT`], likewise.
    pub const REJECT_BY: &str = "sluice.dev/reject-by";
    /// Names the admission policy that a forged write is to prove. Stands in dry runs only, and is never
    /// stored.
    pub const PROOF: &str = "sluice.dev/proof";
    /// Stops the deployment whose id it holds (`status.engine.deploymentId`) at once, where a stop that `spec.desiredState`
    /// asks for waits for a bootstrap, for a start that has passed the gate, or for a checkpoint to be written: input since the last checkpoint may
    /// be lost. Written before a stop waits, it means nothing, also later; nor does it once that deployment is gone.
    pub const FORCE_STOP: &str = "sluice.dev/force-stop";
    /// Lets a Pipeline with `deletionPolicy: Delete` go although its engine can't be reached.
    pub const FORCE_DELETE: &str = "sluice.dev/force-delete";
}

/// The finalizer that keeps a Pipeline with `deletionPolicy: Delete` until its engine has let go.
pub const FINALIZER: &str = "sluice.dev/engine-pipeline";

/// The finalizer that keeps an Engine while Pipelines name it.
pub const IN_USE: &str = "sluice.dev/in-use";

/// What a name of an object of Kubernetes' own looks like: a DNS subdomain. It holds for names that are newly written: one that
/// is stored stays writable, since the API server doesn't hold what an update leaves alone against a schema.
const OBJECT_NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// Whether an object of Kubernetes' own can have this name. One that is read by a name which can't be one isn't
/// looked for: it would become part of the path that the API server is asked for, `/`, `?` and all.
pub fn is_object_name(name: &str) -> bool {
    let is_of_it = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    !name.starts_with('.') && !name.is_empty() && name.chars().all(is_of_it)
}

#[cfg(test)]
#[test]
fn a_name_that_would_be_another_path_is_no_name() {
    for name in ["key", "kube-root-ca.crt", "a", "0"] {
        assert!(is_object_name(name), "{name}");
    }
    for name in ["", "..", "a/b", "a?b", "a#b", "a%2fb", "A", "a b", "ä"] {
        assert!(!is_object_name(name), "{name}");
    }
}

/// The definitions of all custom resources, in the order in which they are applied.
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut all = vec![Pipeline::crd(), Engine::crd(), PipelineApproval::crd()];
    all.iter_mut().for_each(begin_unobserved);
    all
}

/// Their names, as the API server knows them. To make all of a definition for the sake of its name takes as long as much
/// else of an operator's start.
pub fn names() -> [&'static str; 3] {
    [
        Pipeline::crd_name(),
        Engine::crd_name(),
        PipelineApproval::crd_name(),
    ]
}

#[test]
fn names_are_those_of_all() {
    let all = all();
    let of_all: Vec<&str> = all
        .iter()
        .filter_map(|crd| crd.metadata.name.as_deref())
        .collect();
    assert_eq!(of_all, names());
}

/// Has the API server say of an object that nobody has looked at yet that its generation wasn't observed.
/// An object without status is ready by the rules of kstatus, by which Flux and Helm wait, so they would
/// be done before the operator has begun.
fn begin_unobserved(crd: &mut CustomResourceDefinition) {
    let schemas = crd.spec.versions.iter_mut().filter_map(|version| {
        let whole = version.schema.as_mut()?.open_api_v3_schema.as_mut()?;
        whole.properties.as_mut()?.get_mut("status")
    });
    // A vote is as it is from its creation on.
    let observes = |status: &&mut JSONSchemaProps| {
        let fields = status.properties.as_ref();
        fields.is_some_and(|fields| fields.contains_key("observedGeneration"))
    };
    for status in schemas.filter(observes) {
        // No object has this generation: they begin at 1.
        status.default = Some(JSON(json!({"observedGeneration": -1})));
    }
}
