//! What people and GitOps tools read of the pipeline. While it is decided what to do, phase and `Ready` are only said
//! ([`Shown`]): the last word counts, and is written down once, at the end.
//!
//! `Ready` says whether the spec is in force. `Reconciling` is there while Sluice or the engine is
//! at work, `Stalled` while nothing will happen until somebody acts; that is how kstatus reads
//! them. While a change waits for its decision neither is there: waiting is not an error.

pub(crate) mod audit;
pub(crate) mod conditions;
pub(crate) mod held_up;
pub(crate) mod names;
pub(crate) mod votes;

use held_up::HeldUp;

use super::holds::Hold;
use super::reason::{READY, RECONCILING, Reason, STALLED, shortened};
use super::record::Record;
use super::{EngineCall, EventReason, Report};
use crate::crd::{Phase, PipelineStatus};
use crate::engine;

/// What is said of the pipeline as it is, and what is said over that.
pub(crate) struct Shown {
    /// As it was shown last.
    stored_phase: Option<Phase>,
    phase: Option<Phase>,
    word: Option<Word>,
    /// What waits for the engine to be done with a start or a bootstrap.
    pub(crate) held_up: Option<HeldUp>,
    /// What there is to say of Sluice's own gate.
    pub(crate) sluice_gate: Option<SluiceGate>,
    /// Why the spec's content isn't brought to the engine although it differs.
    pub(crate) held: Option<Hold>,
    /// Whether the spec's content is being compiled while the old one goes on.
    pub(crate) building: bool,
}

/// What `Ready`, `Reconciling` and `Stalled` say.
struct Word {
    kind: Kind,
    reason: Reason,
    message: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    InForce,
    Progressing,
    Waiting,
    Missing,
    DecidedAgainst,
    Stalled,
}

/// What there is to say of Sluice's own gate.
pub(crate) enum SluiceGate {
    /// A change is asked about. The old program goes on, and is in order.
    Asks(String),
    /// A change is asked about, and nothing runs meanwhile.
    AsksStopped(String),
    /// The change was rejected.
    Rejected(String),
}

impl Shown {
    /// Begins with the phase that is stored.
    pub(crate) fn from_stored(status: &PipelineStatus) -> Self {
        Self {
            stored_phase: Phase::of(status.phase.as_deref()),
            phase: None,
            word: None,
            held_up: None,
            sluice_gate: None,
            held: None,
            building: false,
        }
    }

    /// The spec is in force.
    pub(crate) fn ready(&mut self, phase: Phase, reason: Reason, message: String) {
        self.say(phase, Kind::InForce, reason, message);
    }

    /// Sluice or the engine is at work.
    pub(crate) fn progressing(&mut self, phase: Phase, reason: Reason, message: String) {
        self.say(phase, Kind::Progressing, reason, message);
    }

    /// Somebody or something is waited for, and that is no error.
    pub(crate) fn waiting_for(&mut self, phase: Phase, reason: Reason, message: String) {
        self.say(phase, Kind::Waiting, reason, message);
    }

    /// Something that the spec names isn't there. It may be on its way, as where all of it is applied at
    /// once, and is taken up when it comes: so what waits for the Pipeline isn't told that it has failed.
    pub(crate) fn missing(&mut self, reason: Reason, message: String) {
        self.say(self.phase_so_far(), Kind::Missing, reason, message);
    }

    /// Somebody has decided against it, which was told then, and nothing will happen until somebody acts.
    pub(crate) fn decided_against(&mut self, phase: Phase, reason: Reason, message: String) {
        self.say(phase, Kind::DecidedAgainst, reason, message);
    }

    /// Nothing will happen until somebody acts. The phase stays what it was.
    pub(crate) fn stalled(&mut self, reason: Reason, message: String) {
        self.say(self.phase_so_far(), Kind::Stalled, reason, message);
    }

    /// The engine gives no good answer: nothing is known, and it is asked again by itself.
    pub(crate) fn engine_silent(&mut self, kind: engine::ErrorKind, message: &str) {
        let reason = if kind == engine::ErrorKind::Unauthorized {
            Reason::EngineUnauthorized
        } else {
            Reason::EngineUnreachable
        };
        self.waiting_for(Phase::Unknown, reason, message.to_owned());
    }

    pub(crate) fn phase(&mut self, phase: Phase) {
        self.phase = Some(phase);
    }

    /// The phase as it was shown last, or is shown by now.
    pub(crate) fn phase_so_far(&self) -> Phase {
        self.phase.or(self.stored_phase).unwrap_or(Phase::Pending)
    }

    /// Whether this is what is said of the pipeline by now.
    fn says(&self, reason: Reason, record: &Record) -> bool {
        match &self.word {
            Some(word) => word.reason == reason,
            None => record
                .input
                .stored(READY)
                .is_some_and(|it| it.reason == reason.as_str()),
        }
    }

    fn is_in_force(&self, record: &Record) -> bool {
        match &self.word {
            Some(word) => word.kind == Kind::InForce,
            None => record
                .input
                .stored(READY)
                .is_some_and(|it| it.status == "True"),
        }
    }

    fn say(&mut self, phase: Phase, kind: Kind, reason: Reason, message: String) {
        self.phase = Some(phase);
        self.word = Some(Word {
            kind,
            reason,
            message,
        });
    }

    /// What is said of Sluice's own gate, over what is said of the program that goes on.
    fn say_of_sluice_gate(&mut self, record: &Record) {
        match self.sluice_gate.take() {
            Some(SluiceGate::Asks(message)) if self.is_in_force(record) => {
                self.ready(Phase::AwaitingApproval, Reason::AwaitingApproval, message);
            }
            Some(SluiceGate::AsksStopped(message)) => {
                self.waiting_for(Phase::AwaitingApproval, Reason::AwaitingApproval, message);
            }
            Some(SluiceGate::Rejected(message)) => {
                self.decided_against(Phase::Rejected, Reason::Rejected, message);
            }
            Some(SluiceGate::Asks(_)) | None => {}
        }
    }

    /// Why the spec's content isn't brought to the engine, over whatever runs meanwhile.
    fn say_what_is_held(&mut self) {
        let Some(hold) = self.held.take() else {
            return;
        };
        // What nobody does anything about, for a reason of its own, goes on to be said.
        let covered = self.word.take().filter(|word| word.kind == Kind::Stalled);
        let message = match covered {
            Some(word) => format!("{}; and {}", hold.message, word.message),
            None => hold.message,
        };
        self.stalled(hold.reason, message);
    }

    /// That a program is being compiled while the old one goes on.
    fn say_what_is_built(&mut self) {
        if self.building {
            self.progressing(
                self.phase_so_far(),
                Reason::CompilingBeforehand,
                "the new program is compiled; the old one goes on until that is done".into(),
            );
        }
    }

    /// A call that failed. Where it was beside what runs, something else may be done all the same.
    fn say_what_failed(
        &mut self,
        call: EngineCall,
        error: &engine::Error,
        something_is_done: bool,
    ) {
        match error {
            // What runs is known, and does what it has to do.
            _ if call.is_beside_what_runs() && something_is_done => {}
            // Only the compiler doesn't answer; what runs is known, and goes on.
            _ if call.is_beside_what_runs() && !matches!(error, engine::Error::Refused { .. }) => {
                let what = match call {
                    EngineCall::Diff => "can't be asked about the new program",
                    _ => "can't compile the new program beforehand",
                };
                let message = format!("the engine {what}: {error}");
                self.waiting_for(self.phase_so_far(), Reason::EngineUnreachable, message);
            }
            engine::Error::Refused { .. } => {
                self.waiting_for(
                    self.phase_so_far(),
                    Reason::EngineRefused,
                    error.to_string(),
                );
            }
            _ => self.engine_silent(error.kind(), &error.to_string()),
        }
    }
}

impl Record<'_> {
    /// Shows all that there is to show.
    pub(crate) fn show(
        &mut self,
        mut shown: Shown,
        failed: Option<(EngineCall, &engine::Error)>,
        something_is_done: bool,
    ) {
        self.explain_stale_votes();
        self.explain_unfounded_votes();
        self.show_missing_policies();
        self.show_settings_not_shown();
        shown.say_of_sluice_gate(self);
        shown.say_what_is_held();
        shown.say_what_is_built();
        if let Some((call, error)) = failed {
            shown.say_what_failed(call, error, something_is_done);
        }
        self.show_word(shown);
        self.approved_condition();
        self.status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    }

    fn show_word(&mut self, shown: Shown) {
        if let Some(phase) = shown.phase {
            self.status.phase = Some(phase.as_str().to_owned());
        }
        let Some(Word {
            kind,
            reason,
            message,
        }) = shown.word
        else {
            return;
        };
        let is_news = match kind {
            Kind::Missing => self.input.is_news(READY, reason),
            Kind::Stalled => self.input.is_news(STALLED, reason),
            Kind::InForce | Kind::Progressing | Kind::Waiting | Kind::DecidedAgainst => false,
        };
        if is_news {
            let change = self.status.approval.as_ref();
            let failed = change.filter(|_| reason == Reason::ApplyFailed);
            self.reports.push(Report {
                warning: true,
                reason: EventReason::from(reason),
                change_id: failed.map(|change| change.change_id.clone()),
                message: shortened(message.clone()),
            });
        }
        let ready = match kind {
            Kind::InForce => "True",
            _ => "False",
        };
        self.set(READY, ready, reason, message.clone());
        match kind {
            Kind::Progressing => self.set(RECONCILING, "True", reason, message.clone()),
            _ => self.unset(RECONCILING),
        }
        match kind {
            Kind::DecidedAgainst | Kind::Stalled => self.set(STALLED, "True", reason, message),
            _ => self.unset(STALLED),
        }
    }
}
