//! Where a pipeline is in its life, for reading.

use std::str::FromStr;

/// Where a pipeline is in its life. Programs read the conditions.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    strum::IntoStaticStr,
    strum::EnumString,
    strum::VariantArray,
)]
pub enum Phase {
    /// Nothing is in the engine yet.
    Pending,
    /// The engine compiles the program, or is given it.
    Compiling,
    /// The program doesn't compile, and no older one runs.
    CompileFailed,
    /// It is down.
    Stopped,
    /// The engine makes room for it.
    Provisioning,
    /// It is on its way up.
    Initializing,
    /// A change waits at the gate, or is approved and the engine is being told.
    AwaitingApproval,
    /// A change was rejected.
    Rejected,
    /// An approved change is backfilled.
    Bootstrapping,
    /// The engine replays input since the checkpoint.
    Replaying,
    /// It is up, and runs.
    Running,
    /// It is up, and paused.
    Paused,
    /// It is down, with a checkpoint, in older engines.
    Suspended,
    /// It is on its way down.
    Stopping,
    /// It failed, or an approved change couldn't be brought up.
    Failed,
    /// The object is being deleted.
    Deleting,
    /// The engine's pipeline of its name is somebody else's.
    NameTaken,
    /// The engine gives no good answer, or names a status that this version doesn't know.
    Unknown,
}

impl Phase {
    /// As statuses and metrics have it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The one that a status has; `None` if it has none yet.
    pub fn of(stored: Option<&str>) -> Option<Self> {
        // One that another version has written.
        stored.map(|phase| Self::from_str(phase).unwrap_or(Self::Unknown))
    }
}
