//! What a decision comes to.

use std::time::Duration;

use super::record::Record;
use super::{Act, EventReason, Guard, Needs, bounds};
use crate::crd::PipelineStatus;

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

/// Something that people should hear of: an Event, and a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether it needs attention.
    pub warning: bool,
    /// One of a short fixed list.
    pub reason: EventReason,
    /// The change that it is about, if it is about one.
    pub change_id: Option<String>,
    /// What happened.
    pub message: String,
}

/// Whether all that there is to record is that lines of the audit log are written, and something
/// more urgent is to be done. It is recorded with what comes of that.
fn can_wait(record: &Record, act: Option<&(Act, Guard)>, stored: &PipelineStatus) -> bool {
    let urgent = act;
    let urgent = urgent.filter(|(act, guard)| record.input.must_show_first(act, guard).is_none());
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
