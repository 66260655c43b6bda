//! Which change comes next, by what a Pipeline's status says of those before. The operator names a
//! change by it when it publishes one, and `kubectl sluice plan` before anything is applied.

use k8s_openapi::jiff::Timestamp;

use crate::change::{Change, Content, Kept, ROOT};
use crate::crd::{
    Approval, ApprovalState, BootstrapOptions, EngineContent, PipelineStatus, Run, Settled,
    StopKind, Target, Turn,
};
use crate::engine::EngineInfo;
use crate::held_settings::{Beside, meaning};
use crate::settings;
use crate::{GateEvent, GaveWay};

/// A content as it would be brought to the engine's pipeline that the status knows: what it doesn't give stays as it is
/// there. What was given before and isn't any more goes back to the engine's default.
#[must_use]
pub fn beside_what_is_held(content: &Content, status: &PipelineStatus) -> Content {
    let mut content = content.clone();
    if let Some(held) = &status.content {
        content.kept = kept(&content, held);
    }
    content
}

/// What an update with a content leaves as it is.
pub fn kept(content: &Content, held: &EngineContent) -> Kept {
    let of_held = |is_given: bool| (!is_given).then(|| held.target.clone());
    let ours = held.given_settings.as_deref();
    let leaves_the_runtime_version = ours.is_some_and(|ours| {
        settings::leaves_the_runtime_version(content.program_config.as_ref(), ours)
    });
    Kept {
        runtime_version: leaves_the_runtime_version.then(|| held.target.runtime_version.clone()),
        program_config: of_held(held.config_is_given),
        runtime_config: of_held(held.runtime_config_is_given),
        settings: Beside::of(content.runtime_config.as_ref(), held),
    }
}

/// The name that changes follow once the engine's pipeline with this id is missed, since then: nobody can have given an
/// approval of one before.
pub fn after_a_loss(
    status: &PipelineStatus,
    uid: &str,
    pipeline_id: &str,
    since: Timestamp,
) -> String {
    Change {
        uid,
        parent: parent(status),
        target: &Target {
            sql: format!("lost: {pipeline_id}"),
            ..Target::default()
        },
        options: BootstrapOptions::default(),
        revision: since.as_millisecond(),
    }
    .id()
}

/// Whether the pipeline is lost for certain, so that the next change makes it anew.
pub fn is_lost(status: &PipelineStatus) -> bool {
    let lost = status.lost.as_ref();
    lost.is_some_and(|lost| lost.link.is_some())
}

/// The change that was rejected before the pipeline was lost, if to make it anew with this target makes just that.
pub fn rejected_before_the_loss<'a>(
    status: &'a PipelineStatus,
    target: &Target,
) -> Option<&'a Approval> {
    let before = status.lost.as_ref()?.set_apart.as_deref()?;
    (before.state == ApprovalState::Rejected && before.target == *target).then_some(before)
}

/// The status as it is once it is approved that a lost pipeline is made anew: nothing is known of any. The same
/// where none is lost.
#[must_use]
pub fn as_after_the_loss(status: &PipelineStatus) -> PipelineStatus {
    let mut status = status.clone();
    let link = status.lost.as_ref().and_then(|lost| lost.link.clone());
    if let Some(link) = link {
        status.settled = Some(Settled::unknown(link));
        status.content = None;
        status.run = None;
        status.preview = None;
        status.refusal = None;
    }
    status
}

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

/// How many changes have their turn before what is settled becomes a new link of the chain, which ends
/// their ids all at once.
pub const MOST_TURNS: usize = 100;

/// The status in which the operator names a change to a target once the spec asks for it, by the one that is stored
/// now: what runs may be settled by then, and what is at the gate gives way.
///
/// It is what the operator's steps on the way there (`settle`, `supersede`) come to, if all of them go well.
pub fn once_asked_for(
    stored: &PipelineStatus,
    uid: &str,
    target: &Target,
    options: BootstrapOptions,
) -> PipelineStatus {
    let mut status = as_after_the_loss(stored);
    if let Some(run) = settled_by_its_stop(&status).cloned()
        && run.target != *target
    {
        status.turns.clear();
        if let Some(approval) = &mut status.approval
            && approval.change_id == run.change_id
        {
            // The operator sees it run first.
            approval.take(GateEvent::Runs {
                after_all: false,
                is_kept: true,
            });
            approval.take(GateEvent::Sealed);
        }
        let held = status.content.as_ref();
        let is_of_run = held.is_some_and(|held| held.target == run.target);
        let of_content = held.and_then(|held| held.settings.as_ref()).map(meaning);
        status.settled = Some(Settled {
            change_id: run.change_id.clone(),
            target: run.target.clone(),
            checkpoint: None,
            version: None,
            program: None,
            settings: of_content.filter(|_| is_of_run),
        });
    }
    give_way(&mut status, uid, target, options);
    status
}

/// The run that is settled by what the operator does before it replaces its program: it stops that with a checkpoint.
/// Where there is no storage, that it runs settles it. What has failed, is down or waits at the gate is not settled by
/// anything that comes after.
pub fn settled_by_its_stop(status: &PipelineStatus) -> Option<&Run> {
    let run = status.run.as_ref()?;
    let settled = status.settled.as_ref();
    let is_settled = settled
        .is_some_and(|settled| settled.change_id == run.change_id && settled.target == run.target);
    let held = status.content.as_ref();
    let is_held = held.is_some_and(|held| held.target == run.target);
    let is_kept = run.target.without_storage || writes_checkpoints(status);
    (!is_settled && is_held && is_kept && is_past_the_gate(status)).then_some(run)
}

/// Whether what runs has left the gate, and goes on until somebody stops it.
pub fn is_past_the_gate(status: &PipelineStatus) -> bool {
    let (Some(run), Some(engine)) = (&status.run, &status.engine) else {
        return false;
    };
    let goes_on = match engine.deployment_status.as_deref() {
        None | Some("Stopped" | "Suspended" | "AwaitingApproval") => false,
        // The checkpoint is being written.
        Some("Stopping") => run.stop == Some(StopKind::Checkpoint),
        Some(_) => true,
    };
    goes_on && !run.failed && run.past_gate_since.is_some()
}

/// What was last brought to run from here, or was kept, if that is known. What others have started was let by nobody.
pub fn what_has_run(status: &PipelineStatus) -> Option<&Target> {
    let run = status.run.as_ref();
    let run = run.filter(|run| run.past_gate_since.is_some() && !run.failed && !run.outside);
    let settled = status.settled.as_ref();
    let settled = settled.filter(|settled| settled.is_known());
    run.map(|run| &run.target)
        .or_else(|| settled.map(|settled| &settled.target))
}

/// Whether the engine writes checkpoints, by its edition.
pub fn writes_checkpoints(status: &PipelineStatus) -> bool {
    let edition = status.engine.as_ref().and_then(|it| it.edition.clone());
    edition.is_none_or(|edition| {
        let engine = EngineInfo {
            edition,
            ..EngineInfo::default()
        };
        engine.has_checkpoints()
    })
}

/// What is at the gate, or was let through and is down, gives way to a change to another target.
fn give_way(status: &mut PipelineStatus, uid: &str, target: &Target, options: BootstrapOptions) {
    let runs = is_past_the_gate(status);
    let Some(approval) = &mut status.approval else {
        return;
    };
    let state = approval.state;
    let gives_way = state.is_votable() || state.is_refused() || state.is_let_through() && !runs;
    if !gives_way || approval.target == *target && approval.options == options {
        return;
    }
    let rejected = state == ApprovalState::Rejected;
    let turn = Turn {
        change_id: approval.change_id.clone(),
        rejected: approval.decision.clone().filter(|_| rejected),
    };
    approval.take(GateEvent::GaveWay(GaveWay::Void));
    status.turns.retain(|it| it.change_id != turn.change_id);
    status.turns.push(turn);
    let settled = status.settled.as_ref().map(|settled| &settled.target);
    if settled == Some(target) || status.turns.len() >= MOST_TURNS {
        link_anew(status, uid);
    }
}

/// Makes what is settled a new link of the chain: no id of a change to it means anything any more.
pub fn link_anew(status: &mut PipelineStatus, uid: &str) {
    let settled = status.settled.take();
    let settled = settled.unwrap_or_else(|| Settled::unknown(ROOT.to_owned()));
    let change_id = Change {
        uid,
        parent: &settled.change_id,
        target: &settled.target.without_settings(),
        options: BootstrapOptions::default(),
        revision: 0,
    }
    .id();
    // What runs is that link: its next checkpoint must not bring the old name back.
    if let Some(run) = &mut status.run
        && run.change_id == settled.change_id
    {
        run.change_id.clone_from(&change_id);
    }
    status.settled = Some(Settled {
        change_id,
        ..settled
    });
    status.turns.clear();
}

#[cfg(test)]
mod tests {
    use super::*;
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
                settings: None,
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
