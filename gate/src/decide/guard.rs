//! What a read just before a call must show.

use crate::engine::{PipelineState, diff};

/// The status of a pipeline that waits for approval.
pub const AT_THE_GATE: &[&str] = &["AwaitingApproval"];

/// The statuses of a start before the engine compares what it runs with the checkpoint.
pub(crate) const BEFORE_THE_GATE: &[&str] = &["Provisioning", "Initializing"];

/// What must hold in a read made just before the call. An empty guard holds always.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Guard {
    /// The pipeline is absent.
    pub absent: bool,
    /// The engine's id of the pipeline is this one, and not that of another that has its name by now.
    pub pipeline_id: Option<String>,
    /// The deployment is this one.
    pub deployment_id: Option<String>,
    /// The deployment's status is one of these.
    pub status: &'static [&'static str],
    /// The engine's version of the pipeline's content is this one.
    pub version: Option<i64>,
    /// The digest of the diff that waits is this one.
    pub diff_digest: Option<String>,
    /// The tags are these.
    pub tags: Option<Vec<String>>,
    /// The newest checkpoint is this one, or there is none.
    pub resumes_from: Option<Option<String>>,
}

impl Guard {
    /// Whether it holds. What the engine says now decides, not what it said before.
    pub fn holds(&self, live: Option<&PipelineState>) -> bool {
        let Some(live) = live else {
            return self.absent;
        };
        !self.absent
            && self.pipeline_id.as_ref().is_none_or(|id| *id == live.id)
            && (self.deployment_id.is_none() || self.deployment_id == live.deployment_id)
            && (self.status.is_empty() || self.status.contains(&live.deployment_status.as_str()))
            && self.version.is_none_or(|version| version == live.version)
            && self.tags.as_ref().is_none_or(|tags| *tags == live.tags)
            && self.resumes_from.as_ref().is_none_or(|from| {
                let newest = live.newest_checkpoint();
                from.as_ref() == newest.map(|checkpoint| &checkpoint.uuid)
            })
            && self
                .diff_digest
                .as_ref()
                .is_none_or(|digest| *digest == diff::digest(&live.approval_diff))
    }

    /// Whether it names statuses of a pipeline that is at the gate, or before it. The manager may say so for some seconds of
    /// one that has left it.
    pub fn is_of_the_gate(&self) -> bool {
        [AT_THE_GATE, BEFORE_THE_GATE].contains(&self.status)
    }

    /// Whether the call needs a read before it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
