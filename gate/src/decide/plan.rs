//! What a decision comes to.

use std::time::Duration;

use super::record::Record;
use super::{Act, Guard, Input, Needs, Report, bounds};
use crate::crd::{FINALIZER, Pipeline, PipelineStatus, Verdict};

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The step itself.
    pub step: Step,
    /// What has to be read live before it is taken. It may be another step then.
    pub needs: Needs,
    /// What to tell people about, once the step is done.
    pub reports: Vec<Report>,
    /// When to look again even if nothing changes; `None` waits for a change.
    pub requeue: Option<Duration>,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Write this status; then decide again.
    Record(Box<PipelineStatus>),
    /// Call the engine; then decide again.
    Act(Act, Guard),
    /// There is nothing left to do.
    Wait,
}

/// Whether all that there is to record is that lines of the audit log are written, and something
/// more urgent is to be done. It is recorded with what comes of that.
fn can_wait(record: &Record, act: Option<&(Act, Guard)>, stored: &PipelineStatus) -> bool {
    let urgent = act.filter(|(act, guard)| record.input.must_show_first(act, guard).is_none());
    urgent.is_some()
        && record.status.audit_pending.len() < stored.audit_pending.len()
        && PipelineStatus {
            audit_pending: stored.audit_pending.clone(),
            ..record.status.clone()
        } == *stored
}

/// From the next status, and the call that was chosen, to the plan. Recording comes before acting, so that every act has its
/// intent in status.
pub(super) fn finish(mut record: Record, act: Option<(Act, Guard)>) -> Plan {
    bounds::keep_small(&mut record.status, record.input.pipeline);
    let stored = record.input.pipeline.status.clone().unwrap_or_default();
    record.note_the_policies(&stored);
    let looks = matches!(act, Some((Act::Look, _)));
    let (step, reports) = if looks && record.input.outcome.is_none() {
        // To look changes nothing, so nothing is recorded before: what is known afterwards may be
        // what is stored, and two records that undo each other would never end.
        (Step::Act(Act::Look, Guard::default()), vec![])
    } else if record.status != stored && !can_wait(&record, act.as_ref(), &stored) {
        (Step::Record(Box::new(record.status)), record.reports)
    } else if let Some((act, guard)) = act {
        match record.input.must_show_first(&act, &guard) {
            Some(pause) => {
                record.look_again_in(pause);
                (Step::Wait, vec![])
            }
            None => (Step::Act(act, guard), vec![]),
        }
    } else {
        (Step::Wait, vec![])
    };
    Plan {
        needs: Needs::of(&step, record.input),
        step,
        reports,
        requeue: record.requeue,
    }
}

impl Needs {
    /// What a step needs to be read live before it is taken.
    pub(super) fn of(step: &Step, input: &Input) -> Needs {
        match step {
            Step::Wait | Step::Act(Act::Look, _) => Needs::default(),
            Step::Record(next) => Needs {
                policies: input.trust.matters() && approves(input.pipeline, next),
                ..Needs::default()
            },
            Step::Act(act, _) => {
                let tells = matches!(act, Act::Approve(_));
                Needs {
                    policies: matches!(act, Act::Adopt { .. }) && input.trust.required,
                    votes: tells,
                    object: true,
                    engine: tells,
                    finalizer: matches!(act, Act::Build { .. }) && !is_held(input.pipeline),
                }
            }
        }
    }
}

/// Whether the object stays until what is at the engine is removed.
fn is_held(pipeline: &Pipeline) -> bool {
    let mut finalizers = pipeline.metadata.finalizers.iter().flatten();
    finalizers.any(|name| name == FINALIZER)
}

/// Whether a status has an approval in it that isn't stored yet.
fn approves(pipeline: &Pipeline, next: &PipelineStatus) -> bool {
    fn approved(status: &PipelineStatus) -> Option<&str> {
        let approval = status.approval.as_ref()?;
        let decision = approval.decision.as_ref()?;
        (decision.outcome == Verdict::Approved).then_some(&approval.change_id)
    }
    let stored = pipeline.status.as_ref().and_then(approved);
    approved(next).is_some_and(|change| Some(change) != stored)
}
