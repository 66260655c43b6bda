//! What a person and a GitOps tool read: phase and conditions.
//!
//! `Ready` says whether the spec is in force. `Reconciling` is there while Sluice or the engine is
//! at work, `Stalled` while nothing will happen until somebody acts; that is how kstatus reads
//! them. While a change waits for its decision neither is there: waiting is not an error.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::crd::{ApprovalState, Outcome};
use crate::decide::EventReason;
use crate::decide::record::Record;
use crate::{summary, text};

pub(crate) const READY: &str = "Ready";
pub(crate) const APPROVED: &str = "Approved";
pub(crate) const RECONCILING: &str = "Reconciling";
pub(crate) const STALLED: &str = "Stalled";
pub(crate) const STALE_APPROVAL: &str = "StaleApproval";
pub(crate) const UNFOUNDED_APPROVAL: &str = "UnfoundedApproval";
pub(crate) const POLICIES_NOT_IN_FORCE: &str = "PoliciesNotInForce";
pub(crate) const SETTINGS_NOT_SHOWN: &str = "SettingsNotShown";

/// The types of conditions that a Pipeline can have.
pub const CONDITION_TYPES: [&str; 8] = [
    READY,
    APPROVED,
    RECONCILING,
    STALLED,
    STALE_APPROVAL,
    UNFOUNDED_APPROVAL,
    POLICIES_NOT_IN_FORCE,
    SETTINGS_NOT_SHOWN,
];

/// Why `Ready` is what it is: a short fixed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
pub enum Reason {
    /// It runs.
    Running,
    /// It is paused, as it should be.
    Paused,
    /// It is stopped, as it should be.
    Stopped,
    /// It is being created in the engine.
    Creating,
    /// It is being taken over.
    Adopting,
    /// The engine is given another content.
    Updating,
    /// The engine compiles the program.
    Compiling,
    /// It starts.
    Starting,
    /// It stops.
    Stopping,
    /// The engine backfills an approved change.
    Bootstrapping,
    /// A change waits for its decision.
    AwaitingApproval,
    /// A change is approved and is being applied.
    Applying,
    /// The change was rejected.
    Rejected,
    /// The bootstrap of an approved change failed.
    ApplyFailed,
    /// The program doesn't compile.
    CompileFailed,
    /// The engine could not bootstrap the program from what runs.
    BootstrapRefused,
    /// `bootstrapPolicy: reject` refuses the change.
    ChangeRefused,
    /// Stopping would lose the pipeline's state.
    StateLossNotAllowed,
    /// A setting that the engine doesn't change while there is storage.
    ImmutableSetting,
    /// A changed program is compiled while the old one goes on.
    CompilingBeforehand,
    /// It is restarted because `spec.restartedAt` says so.
    Restarting,
    /// Its storage is cleared because `spec.clearStorage` says so.
    ClearingStorage,
    /// Somebody else keeps undoing what the spec says.
    FoughtOver,
    /// The engine has no such pipeline: it is made elsewhere, and isn't there yet; or it was there, and is looked for again.
    PipelineNotFound,
    /// The pipeline ran, and is gone from its engine.
    PipelineLost,
    /// The pipeline failed and is started again later.
    BackingOff,
    /// The pipeline failed and is not started again by itself.
    Failed,
    /// A status of the engine that this version doesn't know.
    EngineStatusUnknown,
    /// There is no such Engine, or its settings can't be used.
    EngineNotFound,
    /// The engine gives no good answer.
    EngineUnreachable,
    /// The engine refuses the credential.
    EngineUnauthorized,
    /// The engine refused a call.
    EngineRefused,
    /// A ConfigMap or a key of one isn't there.
    ContentNotFound,
    /// The pipeline's name in the engine belongs to somebody else.
    NameTaken,
    /// The object is being deleted, and its pipeline with it.
    Deleting,
    /// It can't be deleted, since the engine can't be asked.
    EngineNotReached,
}

/// Why `Approved` is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
pub enum ApprovedReason {
    /// A change waits to be decided.
    AwaitingApproval,
    /// The last change is approved.
    Approved,
    /// It is rejected.
    Rejected,
    /// Nobody has decided it in time.
    Expired,
    /// Another change has taken its place.
    Superseded,
    /// Nothing was decided, or this version doesn't know what.
    Unknown,
}

impl Reason {
    /// As conditions have it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

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
            _ if decided(Outcome::Approved) => ("True", ApprovedReason::Approved),
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

/// A message that is put together of what people and engines wrote, as a condition takes it.
pub(crate) fn shortened(message: String) -> String {
    text::foreign(&message, text::CONDITION)
}
