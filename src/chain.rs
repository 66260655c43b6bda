//! Which change comes next, by what a Pipeline's status says of those before. The operator names a
//! change by it when it publishes one, and `kubectl sluice plan` before anything is applied.

use crate::change::{Change, ROOT};
use crate::crd::{ApprovalState, BootstrapOptions, PipelineStatus, Target};

/// The id of the last settled change, or [`ROOT`].
pub fn parent(status: &PipelineStatus) -> &str {
    status
        .settled
        .as_ref()
        .map_or(ROOT, |settled| settled.change_id.as_str())
}

/// How often a target was already asked about anew, under the present parent and these options.
pub fn revision_of(
    status: &PipelineStatus,
    uid: &str,
    target: &Target,
    options: BootstrapOptions,
) -> i64 {
    let parent = parent(status);
    let last = status.approval.as_ref().filter(|approval| {
        approval.target == *target && approval.parent == parent && approval.options == options
    });
    let mut revision = last.map_or(0, |approval| approval.revision);
    if last.is_some_and(|approval| approval.state != ApprovalState::Superseded) {
        return revision;
    }
    // Another change has taken its place since, which ended the approvals of it.
    let had_its_turn = |revision| {
        let id = Change {
            uid,
            parent,
            target,
            options,
            revision,
        }
        .id();
        let mut turns = status.turns.iter();
        turns.any(|turn| turn.change_id == id && turn.rejected.is_none())
    };
    while had_its_turn(revision) {
        revision += 1;
    }
    revision
}
