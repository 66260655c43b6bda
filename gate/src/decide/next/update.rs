//! Brings the spec's content to the engine, without stopping what runs for something that could
//! never take its place.

use crate::change::Content;
use crate::crd::{DesiredState, Phase, Refusal, Sending, Target};
use crate::decide::happened::base::Passage;
use crate::decide::holds::{Proposed, immutable};
use crate::decide::next::Next;
use crate::decide::next::live::phase_of;
use crate::decide::record::Record;
use crate::decide::shown::held_up::HeldUp;
use crate::decide::{Act, Guard, Reason, Seen};
use crate::engine::{EngineInfo, PipelineState};

impl Record<'_> {
    /// Whether the engine should be asked about the new program before anything is stopped.
    pub(crate) fn must_ask_first(&self, state: &PipelineState, target: &Target) -> bool {
        let asked = self.preview_of(target).is_some() && !self.retry_is_new();
        // The engine compares with the program that it holds. That is what the change starts from if
        // it runs, or is what the newest checkpoint holds.
        let held = self.status.content.as_ref().map(|held| &held.target);
        let settled = self.status.settled.as_ref().map(|settled| &settled.target);
        let at_rest = state.is_stopped() && state.is_compiled() && held == settled;
        let may_be_asked = state.is_up() || self.is_before_the_gate(state) && state.is_compiled();
        (may_be_asked || at_rest) && !asked
    }
}

/// Why there is no content to bring to the engine by now.
enum NoChange {
    /// Something has to be done for that first, or to be found out.
    NotYet,
    /// There is none, or it is held back: what runs is looked after as ever.
    None,
}

/// A content that the engine is to be given.
struct Change<'a> {
    /// As it is sent, beside what others have set.
    sent: Content,
    target: Target,
    /// Whether more than settings is another one, which are nothing to the compiler.
    is_other_program: bool,
    state: &'a PipelineState,
}

impl Next<'_> {
    /// Returns whether an update is under way, so that there is nothing else to do. Where the
    /// update is held back, what runs is looked after as before.
    pub(crate) fn update(&mut self, info: &EngineInfo, seen: &Seen) -> bool {
        let change = match self.change_to_bring(seen) {
            Ok(change) => change,
            Err(NoChange::NotYet) => return true,
            Err(NoChange::None) => return false,
        };
        let state = change.state;
        if state.is_stopped() {
            self.update_what_is_stopped(info, seen, &change)
        } else if state.is_stopping() {
            self.update_after_the_stop(state);
            true
        } else if state.awaits_approval() && self.record.was_just_told(state) {
            // It may have left the gate by now, and would lose what came in since.
            self.record.look_again_in(self.record.rest_of_being_told());
            false
        } else if state.awaits_approval() {
            self.shown.progressing(
                Phase::Stopping,
                Reason::Updating,
                "another program is to run than the one that waits at the gate".into(),
            );
            self.stop(state, true);
            true
        } else if self.input.pipeline.spec.desired_state == DesiredState::Stopped {
            // It is to be down, so nobody need be asked first: the content is brought there then.
            false
        } else {
            self.update_what_runs(info, seen, &change)
        }
    }

    /// What is to be brought to the engine; otherwise, whether there is something to do for that first, or nothing to bring.
    fn change_to_bring<'b>(&mut self, seen: &'b Seen) -> Result<Change<'b>, NoChange> {
        let state = seen.state();
        let Some(content) = self.record.wanted() else {
            return Err(NoChange::NotYet);
        };
        let held = self.record.status.content.clone();
        let Some(held) = held.filter(|held| held.version == state.version) else {
            // Somebody else has edited the pipeline, or it was never read.
            return Err(self.look());
        };
        if self.record.lacks_the_settings() {
            return Err(self.look());
        }
        if content.is(&held.digest, held.exact.as_deref()) {
            // The engine didn't take what was sent, and nobody asks for it any more: from now on it is somebody's edit.
            let shows = self.input.last_call_shows();
            if let Some(held) = self.record.status.content.as_mut().filter(|_| shows) {
                held.sending = None;
            }
            return Err(NoChange::None);
        }
        let target = content.target();
        self.record.reopen_sluice_gate(&target);
        let is_at_rest =
            state.is_up() || state.is_stopped() || self.record.is_before_the_gate(state);
        let proposed = Proposed {
            state,
            held: &held,
            content: &content,
            target: &target,
        };
        if is_at_rest && !self.record.retry_is_new() {
            let hold = self.record.hold(&proposed);
            if hold.is_some() {
                self.shown.held = hold;
                return Err(NoChange::None);
            }
        }
        if is_at_rest && state.storage_status == "InUse" {
            let Some(full) = seen.full() else {
                return Err(self.look());
            };
            if let Some(message) = immutable::forbids(&proposed, full) {
                // It is kept, or each further look would ask the engine again.
                self.record.status.refusal = Some(Refusal {
                    digest: content.digest(),
                    exact: Some(content.exact()),
                    only_with_storage: true,
                    message,
                });
                self.shown.held = self.record.was_refused(&proposed);
                return Err(NoChange::None);
            }
        }
        let Some(sent) = self.input.with_what_others_set(&content, &held, seen) else {
            return Err(self.look());
        };
        Ok(Change {
            sent,
            is_other_program: held.target.without_settings() != target.without_settings(),
            target,
            state,
        })
    }

    /// What is known isn't enough to decide.
    fn look(&mut self) -> NoChange {
        self.act(Act::Look, Guard::default());
        NoChange::NotYet
    }

    fn update_what_is_stopped(&mut self, info: &EngineInfo, seen: &Seen, change: &Change) -> bool {
        if change.is_other_program && self.record.must_ask_first(change.state, &change.target) {
            self.ask(change.state, &change.sent);
            // While the engine can't be asked, what was kept is started.
            return self.act.is_some();
        }
        match self.sluice_gate(info, seen, &change.target) {
            Passage::Open => self.replace(change.state, &change.sent),
            Passage::Shut => return self.act.is_some(),
            Passage::Blocked => {}
        }
        true
    }

    fn update_after_the_stop(&mut self, state: &PipelineState) {
        if self.record.may_be_forced(state) {
            self.force_stop(state);
            return;
        }
        let is_to_stay = self.input.pipeline.spec.desired_state == DesiredState::Stopped;
        self.shown.held_up = is_to_stay.then_some(HeldUp::Stop);
        self.shown.progressing(
            Phase::Stopping,
            Reason::Updating,
            "the pipeline stops for an update".into(),
        );
    }

    /// What runs is stopped for a change only once all is known of it that can be known beforehand, and once the gate is open
    /// for it.
    fn update_what_runs(&mut self, info: &EngineInfo, seen: &Seen, change: &Change) -> bool {
        let state = change.state;
        if change.is_other_program && self.record.must_ask_first(state, &change.target) {
            self.ask(state, &change.sent);
            // While the engine can't be asked, what runs is looked after as before.
            return self.act.is_some();
        }
        let is_before_the_gate = self.record.is_before_the_gate(state);
        if !is_before_the_gate && !state.is_up() {
            // On its way to being up: what is approved is done first.
            self.shown.held_up = Some(HeldUp::Edit);
            return false;
        }
        if !is_before_the_gate && let Some(hold) = self.record.state_would_be_lost(info) {
            self.shown.held = Some(hold);
            return false;
        }
        if change.is_other_program && self.must_build_first(&change.sent, &change.target)
            || self.sluice_gate(info, seen, &change.target) != Passage::Open
        {
            // What runs is looked after as before, unless there is a call to make.
            return self.act.is_some();
        }
        if is_before_the_gate {
            // It would be stopped again as soon as it is up, and nothing has come in yet.
            self.shown.progressing(
                Phase::Stopping,
                Reason::Updating,
                "the pipeline is stopped before it comes to the gate, for an update".into(),
            );
            self.stop_before_the_gate(state);
            return true;
        }
        self.shown.progressing(
            Phase::Stopping,
            Reason::Updating,
            "the pipeline stops with a checkpoint for an update".into(),
        );
        self.stop(state, !self.record.keeps_state(info));
        true
    }

    pub(crate) fn ask(&mut self, state: &PipelineState, content: &Content) {
        // A retry is taken when the answer is there: taken now, it would be gone at the next look.
        let phase = phase_of(state);
        self.shown.progressing(
            phase,
            Reason::Updating,
            "the engine is asked what the new program would change".into(),
        );
        self.act(Act::Preview(content.clone()), Guard::default());
    }

    pub(crate) fn replace(&mut self, state: &PipelineState, content: &Content) {
        if state.storage_status == "Clearing" {
            self.shown.progressing(
                Phase::Stopping,
                Reason::Updating,
                "the pipeline's storage is being cleared".into(),
            );
            return;
        }
        self.shown.progressing(
            Phase::Compiling,
            Reason::Updating,
            "the engine is given the new content".into(),
        );
        // What the checkpoint was made from has to be said there before something else is.
        if self.keep_the_mark(state) {
            return;
        }
        self.record.status.failures = None;
        if let Some(held) = &mut self.record.status.content {
            held.sending = Some(Sending {
                target: content.target(),
                config_is_given: content.program_config.is_some(),
                runtime_config_is_given: content.runtime_config.is_some(),
                given_settings: content.given_settings(),
            });
        }
        self.act(
            Act::Update(content.clone()),
            Guard {
                status: &["Stopped"],
                version: Some(state.version),
                ..Guard::default()
            },
        );
    }
}
