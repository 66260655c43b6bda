//! What people are told of what happens to a change: an Event, a log line and a count are made of it.

use super::{EventReason, Report};
use crate::crd::{Approval, Decision, Verdict};
use crate::{AskedAgain, GateEvent, GaveWay, WentOn};

/// A change is published: from here on it can be decided.
pub(crate) fn of_publication(change: &Approval) -> Report {
    note(
        change,
        EventReason::AwaitingApproval,
        format!(
            "change {} waits for approval: {}. To approve it: {}",
            change.change_id, change.summary, change.approve_command
        ),
    )
}

/// Something has happened to it, after which it is as given. `None` where nobody need be told, or something else is told
/// in its place.
pub(crate) fn of_event(event: &GateEvent, change: &Approval) -> Option<Report> {
    let id = &change.change_id;
    let report = match event {
        GateEvent::Approved(decision) => note(
            change,
            EventReason::Approved,
            decided(change, "approved", decision),
        ),
        GateEvent::Rejected(decision) => warning(
            change,
            EventReason::Rejected,
            decided(change, "rejected", decision),
        ),
        GateEvent::AskedAgain(why) => {
            let asks = match why {
                AskedAgain::NotTold => return None,
                AskedAgain::StillAsks => "still asks for",
                AskedAgain::StartedAnew => "was started anew and asks again for",
            };
            warning(
                change,
                EventReason::ApprovalRepeated,
                format!("the engine {asks} change {id}, which is approved; it is told again"),
            )
        }
        GateEvent::Runs { after_all, is_kept } => {
            let after_all = match after_all {
                true => ": the engine had taken its approval after all",
                false => "",
            };
            let next = match is_kept {
                true => "; a checkpoint of it is taken next",
                false => "",
            };
            note(
                change,
                EventReason::Applied,
                format!("change {id} runs{after_all}{next}"),
            )
        }
        GateEvent::RunsUnasked { waited: true, .. } => warning(
            change,
            EventReason::OutsideApproval,
            format!(
                "the engine went on with change {id} without a call of Sluice's: somebody approved it at the engine itself"
            ),
        ),
        GateEvent::RunsUnasked { waited: false, .. } => warning(
            change,
            EventReason::UnaskedChange,
            format!(
                "change {id} runs without a call of Sluice's, and this start of it wasn't seen to wait at the engine's gate: it was started at the engine itself, approved there at once, or found nothing to resume from"
            ),
        ),
        GateEvent::Sealed => note(
            change,
            EventReason::Sealed,
            format!(
                "a checkpoint of change {id} exists ({}); its approval is spent",
                change.summary
            ),
        ),
        GateEvent::WentOn(how) => {
            let (reason, message) = match how {
                WentOn::Known => return None,
                WentOn::RejectedTooLate => (
                    EventReason::RejectedTooLate,
                    format!(
                        "change {id} was rejected after the engine had been told that it is approved, and it went on; it is stopped"
                    ),
                ),
                WentOn::StartedByOthers => (
                    EventReason::UnaskedChange,
                    format!(
                        "change {id} runs although it is rejected: somebody else started the pipeline at the engine; it is stopped"
                    ),
                ),
                WentOn::ApprovedByOthers => (
                    EventReason::OutsideApproval,
                    format!(
                        "the engine went on with change {id} although it is rejected; it is stopped"
                    ),
                ),
            };
            warning(change, reason, message)
        }
        GateEvent::GaveWay(why) => match why {
            GaveWay::TakenBack { again: true } | GaveWay::Void => return None,
            GaveWay::TakenBack { again: false } => note(
                change,
                EventReason::Superseded,
                format!("change {id} is no longer asked for; approvals of it do nothing"),
            ),
            GaveWay::Reopened => note(
                change,
                EventReason::GateOpened,
                format!("change {id} is asked about anew"),
            ),
            GaveWay::DiffChanged => warning(
                change,
                EventReason::DiffChanged,
                format!(
                    "the engine's diff for change {id} is another one than was published; it is asked about anew"
                ),
            ),
        },
        // That it is told shows in what comes of it, and why it failed is told of the pipeline.
        GateEvent::Told { .. } | GateEvent::Started | GateEvent::Failed(_) => return None,
    };
    Some(report)
}

fn decided(change: &Approval, how: &str, decision: &Decision) -> String {
    debug_assert!(matches!(
        decision.outcome,
        Verdict::Approved | Verdict::Rejected
    ));
    format!(
        "change {} ({}) is {how} by {}{} via {:?}",
        change.change_id,
        change.summary,
        decision.by,
        match decision.verified {
            true => "",
            false => " (name not verified)",
        },
        decision.via,
    )
}

fn note(change: &Approval, reason: EventReason, message: String) -> Report {
    Report {
        warning: false,
        reason,
        change_id: Some(change.change_id.clone()),
        message,
    }
}

fn warning(change: &Approval, reason: EventReason, message: String) -> Report {
    Report {
        warning: true,
        ..note(change, reason, message)
    }
}
