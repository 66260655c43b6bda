//! Which change comes next, by what a Pipeline's status says of those before. The operator names a
//! change by it when it publishes one, and `kubectl sluice plan` before anything is applied.

use crate::change::{Change, ROOT};
use crate::crd::{ApprovalState, BootstrapOptions, PipelineStatus, Target};

/// The name of settings that are taken away.
const NO_SETTINGS: &str = "none";

/// The id of the last settled change, or [`ROOT`].
pub fn parent(status: &PipelineStatus) -> &str {
    status
        .settled
        .as_ref()
        .map_or(ROOT, |settled| settled.change_id.as_str())
}

/// The id of a change to a target, asked about for the so-maniest time.
///
/// Runtime settings that stay what they are settled as don't make the name: it says what changes, and 0.1.0 named
/// changes without them.
pub fn id(
    status: &PipelineStatus,
    uid: &str,
    target: &Target,
    options: BootstrapOptions,
    revision: i64,
) -> String {
    let settled = status.settled.as_ref().map(|settled| &settled.target);
    let settings = settled.map_or("", |settled| settled.settings.as_str());
    let named = if settings == target.settings {
        target.without_settings()
    } else if target.settings.is_empty() {
        Target {
            settings: NO_SETTINGS.to_owned(),
            ..target.clone()
        }
    } else {
        target.clone()
    };
    Change {
        uid,
        parent: parent(status),
        target: &named,
        options,
        revision,
    }
    .id()
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
        let id = id(status, uid, target, options, revision);
        let mut turns = status.turns.iter();
        turns.any(|turn| turn.change_id == id && turn.rejected.is_none())
    };
    while had_its_turn(revision) {
        revision += 1;
    }
    revision
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Content;
    use crate::crd::Settled;
    use serde_json::{Value, json};

    fn target(sql: &str, settings: Value) -> Target {
        Content {
            sql: sql.to_owned(),
            runtime_config: settings.as_object().cloned(),
            ..Content::default()
        }
        .target()
    }

    fn id_after(settled: &Target, target: &Target) -> String {
        let status = PipelineStatus {
            settled: Some(Settled {
                change_id: "p".into(),
                target: settled.clone(),
                checkpoint: None,
                version: None,
                program: None,
            }),
            ..PipelineStatus::default()
        };
        id(&status, "u", target, BootstrapOptions::default(), 0)
    }

    #[test]
    fn settings_are_in_the_name_of_a_change_that_changes_them_and_of_no_other() {
        let (none, env) = (json!({}), json!({"env": {"A": "1"}}));
        let plain = id_after(&target("A", none.clone()), &target("B", none.clone()));
        assert_eq!(
            id_after(&target("A", env.clone()), &target("B", env.clone())),
            plain
        );
        let other = json!({"env": {"A": "2"}});
        let off = json!({"storage": false});
        let ids = [
            plain,
            id_after(&target("A", none.clone()), &target("B", env.clone())),
            id_after(&target("A", none.clone()), &target("B", other)),
            id_after(&target("A", none.clone()), &target("B", off)),
            id_after(&target("A", env), &target("B", none)),
        ];
        let different: std::collections::BTreeSet<&String> = ids.iter().collect();
        assert_eq!(different.len(), ids.len(), "{ids:?}");
    }
}
