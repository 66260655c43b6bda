//! What must hold of every status that is stored, and of every call, whatever came before.

use serde_json::json;

use super::World;
use crate::crd::{
    ApprovalState, AtStake, Gate, Pipeline, PipelineApproval, PipelineStatus, VoteDecision,
};
use crate::decide::{Act, EventReason, Guard, Report};
use crate::engine::PipelineState;

impl World {
    /// What becomes of a change is told when it does, and not at each look at it. A command can be typed as it stands.
    pub(super) fn check_reports(&self, reports: &[Report], next: &PipelineStatus) {
        const TURNS: [&str; 8] = [
            "AwaitingApproval",
            "Approved",
            "Rejected",
            "Applied",
            "Sealed",
            "Superseded",
            "GateOpened",
            "ApprovalRepeated",
        ];
        let standing = |status: &PipelineStatus| {
            let approval = status.approval.as_ref();
            approval.map(|approval| (approval.change_id.clone(), approval.state, approval.calls))
        };
        for report in reports
            .iter()
            .filter(|it| TURNS.contains(&it.reason.as_str()))
        {
            assert_ne!(standing(&self.status()), standing(next), "{report:?}");
        }
        let conditions = next.conditions.iter().map(|it| &it.message);
        for message in conditions.chain(reports.iter().map(|it| &it.message)) {
            let command = message.rsplit_once("kubectl ").map_or("", |(_, it)| it);
            // Whoever types it as it stands types that, too.
            assert!(!command.ends_with('.'), "{message}");
        }
        let stale = |status: &PipelineStatus| {
            let mut conditions = status.conditions.iter();
            conditions.find(|it| it.type_ == "StaleApproval").cloned()
        };
        if reports
            .iter()
            .any(|report| report.reason == EventReason::StaleApproval)
        {
            assert_ne!(stale(&self.status()), stale(next));
        }
    }

    /// Until the engine is told, a rejection beats an approval, also one that the watch hasn't brought yet.
    pub(super) fn check_that_nobody_has_rejected(&self, read: &Pipeline) {
        let status = read.status.as_ref();
        let approval = status.and_then(|status| status.approval.as_ref());
        let approval = approval.expect("a change was published");
        let rejects = |vote: &&PipelineApproval| {
            vote.spec.change_id == approval.change_id && vote.spec.decision == VoteDecision::Reject
        };
        let rejection = self.objects.iter().find(rejects);
        assert!(
            approval.calls > 1 || rejection.is_none(),
            "told of what somebody has rejected: {rejection:?}"
        );
    }

    /// What must hold of every call, whatever came before.
    pub(super) fn check_call(&self, act: &Act, live: Option<&PipelineState>) {
        let status = self.status();
        let is_of_a_pipeline = !matches!(
            act,
            Act::Look
                | Act::Create { .. }
                | Act::Adopt { .. }
                | Act::Preview(_)
                | Act::Build { .. }
                | Act::LookAtBuild { .. }
                | Act::DropBuild { .. }
        );
        // What is only guarded is somebody else's, and stays so.
        let is_its_own = self.engine.keeps_tags && !self.has_been_a_guest;
        if is_of_a_pipeline && is_its_own {
            assert!(
                self.own.contains(&self.engine.pipeline_id()),
                "{act:?} of a pipeline that nobody has made or taken over"
            );
        }
        match act {
            Act::Approve(options) => {
                let live = live.expect("there is a pipeline");
                let approval = status.approval.expect("a change was published");
                assert!(live.awaits_approval(), "approved what doesn't wait");
                assert_eq!(
                    approval.state,
                    ApprovalState::Applying,
                    "that it is told is in status first"
                );
                assert!(approval.calls > 0 && approval.last_call_at.is_some());
                assert!(approval.decision.is_some());
                assert_eq!(approval.deployment_id, live.deployment_id);
                assert_eq!(approval.options, *options);
                let drops_none = approval
                    .at_stake
                    .as_ref()
                    .is_some_and(AtStake::drops_no_input);
                assert!(
                    approval.calls > 1 || !drops_none || !self.engine.has_unkept_input,
                    "it was approved as what drops no input, at the engine's gate"
                );
                assert!(
                    self.engine.holds(&approval.target),
                    "what is approved is what runs: {:?}, {:?}",
                    approval.target,
                    self.engine.content()
                );
            }
            Act::Stop { force: false } => {
                assert!(
                    !live.is_some_and(PipelineState::awaits_approval),
                    "a graceful stop parks the gate"
                );
            }
            Act::Start(_) => {
                let run = status.run.as_ref().map(|run| &run.change_id);
                let approval = status.approval.as_ref().filter(|approval| {
                    approval.gate == Gate::Sluice
                        && approval.state == ApprovalState::Applying
                        && Some(&approval.change_id) == run
                });
                let stake = approval.and_then(|approval| approval.at_stake.as_ref());
                assert!(
                    !stake.is_some_and(AtStake::drops_no_input) || !self.engine.has_unkept_input,
                    "it was approved as what drops no input, and is started"
                );
            }
            Act::Update(content) => {
                let approval = status.approval.as_ref().filter(|approval| {
                    approval.gate == Gate::Sluice
                        && approval.state == ApprovalState::Approved
                        && approval.target == content.target()
                });
                let stake = approval.and_then(|approval| approval.at_stake.as_ref());
                assert!(
                    !stake.is_some_and(AtStake::drops_no_input) || !self.engine.has_unkept_input,
                    "it was approved as what drops no input"
                );
            }
            _ => {}
        }
    }
}

/// kstatus compares the generation of the status with the object's, and then takes `Ready` as it is.
pub(super) fn check_that_it_speaks_of_the_spec(status: &PipelineStatus) {
    let mut conditions = status.conditions.iter();
    let ready = conditions.find(|condition| condition.type_ == "Ready");
    assert_eq!(
        ready.map(|ready| ready.observed_generation),
        Some(status.observed_generation),
        "Ready is about the spec that the status is about"
    );
}

/// A guard that holds whatever the engine shows is no guard.
#[test]
fn a_guard_holds_only_for_what_it_names() {
    let mut world = World::waiting("A", "B");
    let live = world.engine.state().unwrap();
    let guard = Guard {
        pipeline_id: Some(live.id.clone()),
        deployment_id: live.deployment_id.clone(),
        status: &["AwaitingApproval"],
        version: Some(live.version),
        diff_digest: Some(crate::canonical::digest(&live.approval_diff)),
        absent: false,
        tags: Some(live.tags.clone()),
        resumes_from: Some(live.newest_checkpoint().map(|it| it.uuid.clone())),
    };
    assert!(guard.holds(Some(&live)));
    assert!(!guard.holds(None));
    let others = [
        PipelineState {
            id: "another".into(),
            ..live.clone()
        },
        PipelineState {
            deployment_id: Some("another".into()),
            ..live.clone()
        },
        PipelineState {
            deployment_status: "Initializing".into(),
            ..live.clone()
        },
        PipelineState {
            version: live.version + 1,
            ..live.clone()
        },
        PipelineState {
            tags: vec!["another".into()],
            ..live.clone()
        },
        PipelineState {
            checkpoints: vec![],
            ..live.clone()
        },
        PipelineState {
            approval_diff: json!({"program_diff": {"removed_tables": ["t"]}}),
            ..live.clone()
        },
    ];
    for other in others {
        assert!(!guard.holds(Some(&other)), "{other:?}");
    }
    world.engine.tick();
}
