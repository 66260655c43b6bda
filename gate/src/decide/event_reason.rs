//! What Events are about: a short fixed list, which `docs/status.md` explains and the metric `sluice_events` counts by.

use super::Reason;

/// The reason of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
pub enum EventReason {
    /// A change is published, and waits to be approved.
    AwaitingApproval,
    /// It is approved.
    Approved,
    /// It is rejected.
    Rejected,
    /// It runs.
    Applied,
    /// A checkpoint of it exists.
    Sealed,
    /// It is no longer asked for.
    Superseded,
    /// A refused change is asked about anew.
    GateOpened,
    /// An approval fits no waiting change.
    StaleApproval,
    /// An approval doesn't count because nobody vouches for its name.
    UnfoundedApproval,
    /// Admission policies that are required aren't in force.
    PoliciesNotInForce,
    /// At its gate the engine shows another diff than was published.
    DiffChanged,
    /// The engine asks again for what is approved, and is told again.
    ApprovalRepeated,
    /// A change was rejected after the engine had taken its approval.
    RejectedTooLate,
    /// The engine left the gate without Sluice's call.
    OutsideApproval,
    /// A changed program runs, and nobody was asked.
    UnaskedChange,
    /// What the pipeline's checkpoint was made from isn't known any more.
    OriginUnknown,
    /// The engine doesn't take the tags that say whose the pipeline is.
    MarkNotKept,
    /// Somebody started the pipeline with another bootstrap policy or other options.
    OutsideStart,
    /// What was asked about as a change that drops no input isn't made, since it may by now.
    StoppedWithoutCheckpoint,
    /// The engine doesn't show a bootstrap option of a start.
    OptionNotShown,
    /// The engine took the content, and doesn't show some of its settings.
    SettingsNotShown,
    /// A forced stop is asked for where no stop waits.
    IdleForceStop,
    /// A pipeline is stopped at once, as it is asked for.
    ForcedStop,
    /// A stopped pipeline was started and stopped again while nobody here looked.
    UnseenRun,
    /// Somebody started what should be stopped.
    UnwantedStart,
    /// Somebody stopped what should be up.
    OutsideStop,
    /// A pipeline that was in the engine before is taken over.
    Adopted,
    /// Somebody edited the program or settings at the engine.
    OutsideEdit,
    /// What would be compiled beforehand has no name that is free.
    BuildNameTaken,
    /// What was compiled beforehand couldn't be removed from the engine.
    BuildLeftBehind,
    /// Somebody paused what should run, or resumed what should be paused.
    OutsideSwitch,
    /// Somebody cleared the storage at the engine.
    OutsideClear,
    /// A pipeline that ran is gone from its engine.
    PipelineLost,
    /// It is there again.
    PipelineFound,
    /// A pipeline that was lost is made anew, as approved.
    Recreated,
    /// What only grows at the engine has shrunk: it was restored from a backup.
    EngineRestored,
    /// Somebody stopped it gracefully at the gate, which parks it for ever.
    Parked,
    /// The pipeline failed in the engine.
    PipelineFailed,
    /// A checkpoint of the running change could not be written.
    SealFailed,
    /// Entries for the audit log were dropped.
    AuditLost,
    /// The storage is cleared, as it is asked for.
    StorageCleared,
    /// An object doesn't fit its type.
    Unreadable,
    /// The program doesn't compile.
    CompileFailed,
    /// The engine can't bootstrap the program from what runs.
    BootstrapRefused,
    /// `bootstrapPolicy: reject` refuses the change.
    ChangeRefused,
    /// Stopping would lose the pipeline's state.
    StateLossNotAllowed,
    /// A setting that the engine doesn't change while there is storage.
    ImmutableSetting,
    /// Somebody else keeps undoing what the spec says.
    FoughtOver,
    /// The pipeline failed, and isn't started again by itself.
    Failed,
    /// An approved change couldn't be brought up.
    ApplyFailed,
    /// There is no such Engine, or its settings can't be used.
    EngineNotFound,
    /// A ConfigMap or a key of one isn't there.
    ContentNotFound,
    /// The pipeline's name in the engine belongs to somebody else.
    NameTaken,
    /// The engine refused a call.
    EngineRefused,
    /// Nothing happens until somebody acts, for a reason that has no Event of its own.
    Stalled,
}

impl EventReason {
    /// As Events, logs and metrics have it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl From<Reason> for EventReason {
    /// The Event that goes with a Pipeline that is stalled, or misses something.
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::CompileFailed => Self::CompileFailed,
            Reason::BootstrapRefused => Self::BootstrapRefused,
            Reason::ChangeRefused => Self::ChangeRefused,
            Reason::StateLossNotAllowed => Self::StateLossNotAllowed,
            Reason::ImmutableSetting => Self::ImmutableSetting,
            Reason::FoughtOver => Self::FoughtOver,
            Reason::EngineRefused => Self::EngineRefused,
            Reason::Failed => Self::Failed,
            Reason::ApplyFailed => Self::ApplyFailed,
            Reason::EngineNotFound => Self::EngineNotFound,
            Reason::ContentNotFound => Self::ContentNotFound,
            Reason::NameTaken => Self::NameTaken,
            _ => Self::Stalled,
        }
    }
}
