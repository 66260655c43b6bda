//! The statuses of a process and of a deployment, as they are on the wire.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Phase, Process};
use crate::error::ApiError;

/// What a process is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Desired {
    /// Follows a checkpoint store.
    Standby,
    /// Stands still.
    Paused,
    /// Runs.
    Running,
    /// Writes a checkpoint and ends.
    Suspended,
}

impl Desired {
    /// As on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standby => "Standby",
            Self::Paused => "Paused",
            Self::Running => "Running",
            Self::Suspended => "Suspended",
        }
    }

    /// May a process that wants to be `self` be told to become `target`?
    pub fn may_become(self, target: Self) -> bool {
        use Desired as D;
        self == target
            || matches!(
                (self, target),
                (D::Standby, D::Paused | D::Running)
                    | (D::Paused, D::Running | D::Suspended)
                    | (D::Running, D::Paused | D::Suspended)
            )
    }

    /// May a new deployment begin as `target` if the disk says `self`?
    pub fn may_start_as(self, target: Self) -> bool {
        match self {
            Self::Suspended => matches!(target, Self::Paused | Self::Running),
            _ => self.may_become(target),
        }
    }
}

/// What to do about a change at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Go on.
    Allow,
    /// Fail.
    Reject,
    /// Wait for `/approve`.
    AwaitApproval,
}

/// Policy and options of a bootstrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BootstrapConfig {
    /// `None` while stopped.
    pub bootstrap_policy: Option<Policy>,
    /// Without output connectors.
    pub silent_bootstrap: bool,
    /// While other views go on.
    pub concurrent_bootstrap: bool,
}

/// What a process tells the manager that asks for its status.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// No answer.
    Unreachable,
    /// It has failed.
    Error(ApiError),
    /// Its status.
    Status {
        /// CamelCase.
        status: &'static str,
        /// What it is to become.
        desired: Desired,
        /// `{}`, connector errors, or the approval diff.
        details: Value,
    },
}

impl Process {
    /// `GET /status` of the process.
    pub fn report(&self) -> Report {
        let running = json!({"connector_stats": {"num_errors": 0}});
        let (status, details) = match &self.phase {
            Phase::Down { .. } => return Report::Unreachable,
            Phase::Failed(error) => return Report::Error((**error).clone()),
            Phase::Initializing { .. } => ("Initializing", json!({})),
            Phase::AwaitingApproval { diff } => {
                ("AwaitingApproval", json!({"approval_diff": diff.to_json()}))
            }
            Phase::Bootstrapping { .. } => ("Bootstrapping", running),
            Phase::ConcurrentBootstrapping { .. } => ("ConcurrentBootstrapping", running),
            Phase::Synchronizing { .. } => ("Synchronizing", running),
            Phase::Replaying { .. } => ("Replaying", running),
            Phase::Active => (self.desired.as_str(), running),
            Phase::Suspending { .. } => ("Paused", running),
            Phase::Suspended => ("Suspended", json!({})),
        };
        Report::Status {
            status,
            desired: self.desired,
            details,
        }
    }
}
