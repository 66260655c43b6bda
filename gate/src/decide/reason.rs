//! The words that programs read: the types of conditions, and the reasons that they can have.

use crate::text;

pub(crate) const READY: &str = "Ready";
pub(crate) const APPROVED: &str = "Approved";
pub(crate) const RECONCILING: &str = "Reconciling";
pub(crate) const STALLED: &str = "Stalled";
pub(crate) const STALE_APPROVAL: &str = "StaleApproval";
pub(crate) const UNFOUNDED_APPROVAL: &str = "UnfoundedApproval";
pub(crate) const POLICIES_NOT_IN_FORCE: &str = "PoliciesNotInForce";
pub(crate) const SETTINGS_NOT_SHOWN: &str = "SettingsNotShown";

/// The types of conditions that a Pipeline can have.
pub const CONDITION_TYPES: [&str; 8] = [
    READY,
    APPROVED,
    RECONCILING,
    STALLED,
    STALE_APPROVAL,
    UNFOUNDED_APPROVAL,
    POLICIES_NOT_IN_FORCE,
    SETTINGS_NOT_SHOWN,
];

/// Why `Ready` is what it is: a short fixed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
pub enum Reason {
    /// It runs.
    Running,
    /// It is paused, as it should be.
    Paused,
    /// It is stopped, as it should be.
    Stopped,
    /// It is being created in the engine.
    Creating,
    /// It is being taken over.
    Adopting,
    /// The engine is given another content.
    Updating,
    /// The engine compiles the program.
    Compiling,
    /// It starts.
    Starting,
    /// It stops.
    Stopping,
    /// The engine backfills an approved change.
    Bootstrapping,
    /// A change waits for its decision.
    AwaitingApproval,
    /// A change is approved and is being applied.
    Applying,
    /// The change was rejected.
    Rejected,
    /// The bootstrap of an approved change failed.
    ApplyFailed,
    /// The program doesn't compile.
    CompileFailed,
    /// The engine could not bootstrap the program from what runs.
    BootstrapRefused,
    /// `bootstrapPolicy: reject` refuses the change.
    ChangeRefused,
    /// Stopping would lose the pipeline's state.
    StateLossNotAllowed,
    /// A setting that the engine doesn't change while there is storage.
    ImmutableSetting,
    /// A changed program is compiled while the old one goes on.
    CompilingBeforehand,
    /// It is restarted because `spec.restartedAt` says so.
    Restarting,
    /// Its storage is cleared because `spec.clearStorage` says so.
    ClearingStorage,
    /// Somebody else keeps undoing what the spec says.
    FoughtOver,
    /// The engine has no such pipeline: it is made elsewhere, and isn't there yet; or it was there, and is looked for again.
    PipelineNotFound,
    /// The pipeline ran, and is gone from its engine.
    PipelineLost,
    /// The pipeline failed and is started again later.
    BackingOff,
    /// The pipeline failed and is not started again by itself.
    Failed,
    /// A status of the engine that this version doesn't know.
    EngineStatusUnknown,
    /// There is no such Engine, or its settings can't be used.
    EngineNotFound,
    /// The engine gives no good answer.
    EngineUnreachable,
    /// The engine refuses the credential.
    EngineUnauthorized,
    /// The engine refused a call.
    EngineRefused,
    /// A ConfigMap or a key of one isn't there.
    ContentNotFound,
    /// The pipeline's name in the engine belongs to somebody else.
    NameTaken,
    /// The object is being deleted, and its pipeline with it.
    Deleting,
    /// It can't be deleted, since the engine can't be asked.
    EngineNotReached,
}

/// Why `Approved` is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
pub enum ApprovedReason {
    /// A change waits to be decided.
    AwaitingApproval,
    /// The last change is approved.
    Approved,
    /// It is rejected.
    Rejected,
    /// Nobody has decided it in time.
    Expired,
    /// Another change has taken its place.
    Superseded,
    /// Nothing was decided, or this version doesn't know what.
    Unknown,
}

impl Reason {
    /// As conditions have it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A message that is put together of what people and engines wrote, as a condition takes it.
pub(crate) fn shortened(message: String) -> String {
    text::foreign(&message, text::CONDITION)
}
