//! Conditions, as they are put into the status, and those that stand beside `Ready`, `Reconciling` and `Stalled`: what became
//! of the last change, and what holds approvals up.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::crd::{ApprovalState, Verdict};
use crate::decide::reason::{
    APPROVED, POLICIES_NOT_IN_FORCE, SETTINGS_NOT_SHOWN, STALE_APPROVAL, UNFOUNDED_APPROVAL,
    shortened,
};
use crate::decide::record::Record;
use crate::decide::{ApprovedReason, EventReason, Reason};
use crate::summary;

impl Record<'_> {
    /// The vote that does nothing, told once per transition.
    pub(crate) fn stale_approval(&mut self, message: &str) {
        let message = shortened(message.to_owned());
        if message.is_empty() {
            self.unset(STALE_APPROVAL);
            return;
        }
        let told = self
            .input
            .stored(STALE_APPROVAL)
            .is_some_and(|condition| condition.message == message);
        self.set_as(STALE_APPROVAL, "True", "NoSuchChangeWaits", message.clone());
        if !told {
            self.warn(EventReason::StaleApproval, message);
        }
    }

    /// The approval that doesn't count because nobody vouches for its name, told once per transition.
    pub(crate) fn unfounded_approval(&mut self, message: String, is_sure: bool) {
        let is_news =
            self.shows_only_while(UNFOUNDED_APPROVAL, "NobodyVouchesForTheName", &message);
        // What may have passed in a moment is shown, and not told.
        if is_news && is_sure {
            self.warn(EventReason::UnfoundedApproval, shortened(message));
        }
    }

    /// That the policies aren't in force without which no approval counts, told once per transition.
    pub(crate) fn policies_not_in_force(&mut self, reason: &str, message: String) {
        let was_there = self.input.stored(POLICIES_NOT_IN_FORCE).is_some();
        let is_news = self.shows_only_while(POLICIES_NOT_IN_FORCE, reason, &message);
        if is_news && !was_there {
            self.warn(EventReason::PoliciesNotInForce, shortened(message));
        }
    }

    /// That what the engine was given isn't all in force, by its own word.
    pub(crate) fn show_settings_not_shown(&mut self) {
        let held = self.status.content.as_ref();
        let names = held.map_or(&[][..], |held| &held.not_shown);
        let message = match names {
            [] => String::new(),
            names => summary::settings_not_shown(names),
        };
        self.shows_only_while(SETTINGS_NOT_SHOWN, "NotInTheEnginesAnswer", &message);
    }

    /// A condition that is there only while there is something to say. Whether that is news.
    pub(crate) fn shows_only_while(&mut self, type_: &str, reason: &str, message: &str) -> bool {
        if message.is_empty() {
            self.unset(type_);
            return false;
        }
        let message = shortened(message.to_owned());
        let stored = self.input.stored(type_);
        let is_news = stored.is_none_or(|condition| condition.message != message);
        self.set_as(type_, "True", reason, message);
        is_news
    }

    /// `Approved` says what became of the last change at the gate.
    pub(crate) fn approved_condition(&mut self) {
        let Some(approval) = &self.status.approval else {
            self.unset(APPROVED);
            return;
        };
        let decided = |outcome| {
            approval
                .decision
                .as_ref()
                .is_some_and(|decision| decision.outcome == outcome)
        };
        let (status, reason) = match approval.state {
            ApprovalState::Awaiting => ("False", ApprovedReason::AwaitingApproval),
            ApprovalState::Rejected => ("False", ApprovedReason::Rejected),
            ApprovalState::Expired => ("False", ApprovedReason::Expired),
            ApprovalState::Superseded => ("False", ApprovedReason::Superseded),
            ApprovalState::Unknown => ("Unknown", ApprovedReason::Unknown),
            _ if decided(Verdict::Approved) => ("True", ApprovedReason::Approved),
            _ => ("Unknown", ApprovedReason::Unknown),
        };
        let message = match &approval.decision {
            Some(decision) => format!(
                "change {} ({}): {:?} by {} via {:?}{}",
                approval.change_id,
                approval.summary,
                decision.outcome,
                decision.by,
                decision.via,
                if decision.verified {
                    ""
                } else {
                    ", name not verified"
                },
            ),
            None => format!("change {} ({})", approval.change_id, approval.summary),
        };
        self.set_as(APPROVED, status, reason.into(), message);
    }

    pub(crate) fn unset(&mut self, type_: &str) {
        self.status.conditions.retain(|c| c.type_ != type_);
    }

    pub(crate) fn set(&mut self, type_: &str, status: &str, reason: Reason, message: String) {
        self.set_as(type_, status, reason.as_str(), message);
    }

    pub(crate) fn set_as(&mut self, type_: &str, status: &str, reason: &str, message: String) {
        let last_transition_time = self
            .input
            .stored(type_)
            .filter(|condition| condition.status == status)
            .map_or_else(
                || self.input.now(),
                |condition| condition.last_transition_time.clone(),
            );
        let condition = Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: shortened(message),
            observed_generation: self.input.pipeline.metadata.generation,
            last_transition_time,
        };
        match self.status.conditions.iter_mut().find(|c| c.type_ == type_) {
            Some(old) => *old = condition,
            None => self.status.conditions.push(condition),
        }
    }
}
