//! Brings the spec's content to the engine, without stopping what runs for something that could
//! never take its place.

use serde_json::{Map, Value};

use super::conditions::{Hold, Reason};
use super::input::Observation;
use super::lifecycle::{HeldUp, phase_of};
use super::sluice_gate::Passage;
use super::{AT_THE_GATE, Act, Decider, Guard, Seen, immutable};
use crate::change::Content;
use crate::crd::{
    BootstrapPolicy, DesiredState, EngineContent, GracefulStop, Phase, Preview, PreviewOutcome,
    Refusal, Sending, StopKind, Target,
};
use crate::engine::{Checkpoint, EngineInfo, PipelineState};
use crate::settings;

impl Decider<'_> {
    /// Returns whether an update is under way, so that there is nothing else to do. Where the
    /// update is held back, what runs is looked after as before.
    pub(super) fn update(&mut self, info: &EngineInfo, seen: &Seen) -> bool {
        let state = seen.state();
        let Some(content) = self.wanted() else {
            return true;
        };
        let content = &content;
        let Some(held) = self
            .status
            .content
            .clone()
            .filter(|held| held.version == state.version)
        else {
            // Somebody else has edited the pipeline, or it was never read.
            self.act(Act::Look, Guard::default());
            return true;
        };
        if self.lacks_the_settings() {
            self.act(Act::Look, Guard::default());
            return true;
        }
        if content.is(&held.digest, held.exact.as_deref()) {
            // The engine didn't take what was sent, and nobody asks for it any more: from now on it is somebody's edit.
            let shows = self.last_call_shows();
            if let Some(held) = self.status.content.as_mut().filter(|_| shows) {
                held.sending = None;
            }
            return false;
        }
        let target = content.target();
        // Settings are nothing to the compiler.
        let other_program = held.target.without_settings() != target.without_settings();
        self.reopen_own_gate(&target);
        let before_the_gate = self.is_before_the_gate(state);
        let is_at_rest = state.is_up() || state.is_stopped() || before_the_gate;
        let hold = self
            .preview_forbids(&held.target, &target)
            .or_else(|| self.build_forbids(&target))
            .or_else(|| self.was_refused(state, content));
        if let Some(hold) = hold
            && is_at_rest
            && !self.retry_is_new()
        {
            self.held = Some(hold);
            return false;
        }
        if state.storage_status == "InUse" && is_at_rest {
            let Some(full) = seen.full() else {
                self.act(Act::Look, Guard::default());
                return true;
            };
            let sent = beside_what_others_set(content, &held, &full.content);
            if let Some(message) = immutable::refused(&sent, &full.content) {
                // It is kept, or each further look would ask the engine again.
                self.status.refusal = Some(Refusal {
                    digest: content.digest(),
                    exact: Some(content.exact()),
                    only_with_storage: true,
                    message,
                });
                self.held = self.was_refused(state, content);
                return false;
            }
        }
        let content = &match self.with_what_others_set(content, &held, seen) {
            Some(content) => content,
            None => {
                self.act(Act::Look, Guard::default());
                return true;
            }
        };
        if state.is_stopped() {
            if other_program && self.must_ask_first(state, &target) {
                self.ask(state, content);
                // While the engine can't be asked, what was kept is started.
                return self.act.is_some();
            } else {
                match self.own_gate(info, seen, &target) {
                    Passage::Open => self.replace(state, content),
                    Passage::Shut => return self.act.is_some(),
                    Passage::Blocked => {}
                }
            }
        } else if state.is_stopping() {
            if self.may_be_forced(state) {
                self.force_stop(state);
                return true;
            }
            let is_to_stay = self.input.pipeline.spec.desired_state == DesiredState::Stopped;
            self.held_up = is_to_stay.then_some(HeldUp::Stop);
            self.progressing(
                Phase::Stopping,
                Reason::Updating,
                "the pipeline stops for an update".into(),
            );
        } else if state.awaits_approval() && self.was_just_told(state) {
            // It may have left the gate by now, and would lose what came in since.
            self.look_again_in(self.rest_of_being_told());
            return false;
        } else if state.awaits_approval() {
            self.progressing(
                Phase::Stopping,
                Reason::Updating,
                "another program is to run than the one that waits at the gate".into(),
            );
            self.stop(state, true);
        } else if self.input.pipeline.spec.desired_state == DesiredState::Stopped {
            // It is to be down, so nobody need be asked first: the content is brought there then.
            return false;
        } else if other_program && self.must_ask_first(state, &target) {
            self.ask(state, content);
            // While the engine can't be asked, what runs is looked after as before.
            return self.act.is_some();
        } else if before_the_gate {
            if other_program && self.must_build_first(content, &target)
                || self.own_gate(info, seen, &target) != Passage::Open
            {
                return self.act.is_some();
            }
            // It would be stopped again as soon as it is up, and nothing has come in yet.
            self.progressing(
                Phase::Stopping,
                Reason::Updating,
                "the pipeline is stopped before it comes to the gate, for an update".into(),
            );
            self.stop_before_the_gate(state);
        } else if !state.is_up() {
            // On its way to being up: what is approved is done first.
            self.held_up = Some(HeldUp::Edit);
            return false;
        } else if let Some(hold) = self.state_would_be_lost(info) {
            self.held = Some(hold);
            return false;
        } else {
            if other_program && self.must_build_first(content, &target) {
                // What runs is looked after as before, unless there is a call to make.
                return self.act.is_some();
            }
            if self.own_gate(info, seen, &target) != Passage::Open {
                return self.act.is_some();
            }
            self.progressing(
                Phase::Stopping,
                Reason::Updating,
                "the pipeline stops with a checkpoint for an update".into(),
            );
            self.stop(state, !self.keeps_state(info));
        }
        true
    }

    /// The content as it is sent. The engine replaces a configuration as a whole, so what others have set of it, and the spec
    /// never named, is sent along: nobody would be asked about those settings. `None` if the engine has to be
    /// looked at for it.
    fn with_what_others_set(
        &self,
        content: &Content,
        held: &EngineContent,
        seen: &Seen,
    ) -> Option<Content> {
        if !seen.state().is_stopped() || leaves(content) == (false, false) {
            return Some(content.clone());
        }
        let there = &seen.full()?.content;
        Some(beside_what_others_set(content, held, there))
    }

    /// Whether the engine should be asked about the new program before anything is stopped.
    fn must_ask_first(&self, state: &PipelineState, target: &Target) -> bool {
        let asked = self.preview_of(target).is_some() && !self.retry_is_new();
        // The engine compares with the program that it holds. That is what the change starts from if
        // it runs, or is what the newest checkpoint holds.
        let held = self.status.content.as_ref().map(|held| &held.target);
        let settled = self.status.settled.as_ref().map(|settled| &settled.target);
        let at_rest = state.is_stopped() && state.is_compiled() && held == settled;
        let may_be_asked = state.is_up() || self.is_before_the_gate(state) && state.is_compiled();
        (may_be_asked || at_rest) && !asked
    }

    fn ask(&mut self, state: &PipelineState, content: &Content) {
        // A retry is taken when the answer is there: taken now, it would be gone at the next look.
        let phase = phase_of(state);
        self.progressing(
            phase,
            Reason::Updating,
            "the engine is asked what the new program would change".into(),
        );
        self.act(Act::Preview(content.clone()), Guard::default());
    }

    /// Why what runs must go on instead of the new content, by the engine's own word.
    fn preview_forbids(&self, held: &Target, target: &Target) -> Option<Hold> {
        let preview = self.preview_of(target).filter(|_| held != target);
        let message = |preview: &Preview| preview.message.clone().unwrap_or_default();
        match preview {
            Some(preview) if preview.outcome == PreviewOutcome::CompileError => Some(Hold {
                reason: Reason::CompileFailed,
                message: format!(
                    "the new program doesn't compile, and the old one goes on: {}",
                    message(preview)
                ),
            }),
            Some(preview) if preview.outcome == PreviewOutcome::Refused => Some(Hold {
                reason: Reason::BootstrapRefused,
                message: format!(
                    "the engine can't bootstrap the new program from what runs, and the old one goes on: {}",
                    message(preview)
                ),
            }),
            Some(preview)
                if preview.outcome == PreviewOutcome::Gated
                    && self.input.pipeline.spec.bootstrap_policy == BootstrapPolicy::Reject =>
            {
                Some(Hold {
                    reason: Reason::ChangeRefused,
                    message: format!(
                        "bootstrapPolicy is reject, and the old program goes on; refused: {}",
                        preview.summary.clone().unwrap_or_default()
                    ),
                })
            }
            // The gate may show once what runs is stopped, and then that would be down for what is refused.
            Some(preview)
                if preview.outcome == PreviewOutcome::Unknown
                    && self.engine_may_ask()
                    && self.input.pipeline.spec.bootstrap_policy == BootstrapPolicy::Reject =>
            {
                Some(Hold {
                    reason: Reason::ChangeRefused,
                    message: format!(
                        "bootstrapPolicy is reject, and the old program goes on, since the engine can't tell beforehand whether it would ask about the new one: {}",
                        message(preview)
                    ),
                })
            }
            _ => None,
        }
    }

    /// Whether the engine has a gate, and something to compare with.
    fn engine_may_ask(&self) -> bool {
        let info = match self.input.engine {
            Observation::Answered { info, .. } => Some(info),
            _ => None,
        };
        let settled = self.status.settled.as_ref();
        info.is_some_and(EngineInfo::has_checkpoints)
            && settled.is_some_and(|settled| settled.checkpoint.is_some() || !settled.is_known())
    }

    /// Why the pipeline can't be stopped for an update.
    fn state_would_be_lost(&self, info: &EngineInfo) -> Option<Hold> {
        (!self.keeps_state(info) && !self.input.pipeline.spec.allow_state_loss).then(|| Hold {
            reason: Reason::StateLossNotAllowed,
            message: self.state_loss("stopping the pipeline for an update"),
        })
    }

    /// Why the engine wouldn't take the content, by its own word.
    fn was_refused(&self, state: &PipelineState, content: &Content) -> Option<Hold> {
        let refusal = self.status.refusal.as_ref()?;
        let holds = !(refusal.only_with_storage && state.storage_status == "Cleared");
        let is_it = content.is(&refusal.digest, refusal.exact.as_deref());
        (is_it && holds).then(|| {
            if refusal.only_with_storage {
                cannot_change(&refusal.message)
            } else {
                Hold {
                    reason: Reason::EngineRefused,
                    message: format!("the old content goes on: {}", refusal.message),
                }
            }
        })
    }

    pub(super) fn preview_of(&self, target: &Target) -> Option<&Preview> {
        self.status
            .preview
            .as_ref()
            .filter(|preview| preview.target == *target && preview.parent == self.parent())
    }

    fn replace(&mut self, state: &PipelineState, content: &Content) {
        if state.storage_status == "Clearing" {
            self.progressing(
                Phase::Stopping,
                Reason::Updating,
                "the pipeline's storage is being cleared".into(),
            );
            return;
        }
        self.progressing(
            Phase::Compiling,
            Reason::Updating,
            "the engine is given the new content".into(),
        );
        // What the checkpoint was made from has to be said there before something else is.
        if self.keep_the_mark(state) {
            return;
        }
        self.status.failures = None;
        if let Some(held) = &mut self.status.content {
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

    /// Stops the pipeline, having written down how.
    pub(super) fn stop(&mut self, state: &PipelineState, force: bool) {
        let (checkpoint_before, steps_before) = self.newest_checkpoint_that_is_known(state).unzip();
        let asked = GracefulStop {
            at: self.now(),
            checkpoint_before: checkpoint_before.flatten(),
            steps_before: steps_before.flatten(),
            failed: false,
        };
        // What the engine shows by now may be the checkpoint that this stop has written. And while no call is made, it is the
        // one that has failed.
        let is_asked = self.has_just_asked_to_stop() || self.call_failed;
        if let Some(run) = &mut self.status.run {
            run.stop = Some(if force {
                StopKind::Force
            } else {
                StopKind::Checkpoint
            });
            if force {
                run.graceful_stop = None;
            } else if !is_asked || run.graceful_stop.is_none() {
                run.graceful_stop = Some(asked);
            }
        }
        let guard = Guard {
            deployment_id: state.deployment_id.clone(),
            // A graceful stop at the gate would park the pipeline for ever, and a forced one of what has
            // left it would lose input.
            status: match force {
                true if state.awaits_approval() => AT_THE_GATE,
                true => &[],
                false => &["Running", "Paused"],
            },
            ..Guard::default()
        };
        self.act(Act::Stop { force }, guard);
    }
}

impl Decider<'_> {
    /// Whether the engine was asked to stop this run with a checkpoint so lately that it may not show yet.
    pub(super) fn has_just_asked_to_stop(&self) -> bool {
        let run = self.status.run.as_ref();
        let asked = run.and_then(|run| run.graceful_stop.as_ref());
        asked.is_some_and(|asked| {
            !asked.failed && self.since(&asked.at) <= self.input.timing.resend_after
        })
    }

    /// Nobody knows whether the engine has taken the stop that it was asked for.
    pub(super) fn stop_has_failed(&mut self) {
        let run = self.status.run.as_mut();
        if let Some(stop) = run.and_then(|run| run.graceful_stop.as_mut()) {
            stop.failed = true;
        }
    }

    /// The newest checkpoint that anybody knows of. The manager's list may be older than what the pipeline itself has said.
    fn newest_checkpoint_that_is_known(
        &self,
        state: &PipelineState,
    ) -> Option<(Option<String>, Option<i64>)> {
        let shown = state.newest_checkpoint();
        let settled = self.status.settled.as_ref();
        let settled = settled.and_then(|settled| settled.checkpoint.as_ref());
        let steps = |of: Option<i64>| of.unwrap_or_default();
        let is_older = settled.is_some_and(|settled| {
            shown.is_none_or(|shown| steps(shown.steps) < steps(settled.steps))
        });
        match settled.filter(|_| is_older) {
            Some(settled) => Some((settled.uuid.clone(), settled.steps)),
            None => shown.map(|shown| (Some(shown.uuid.clone()), shown.steps)),
        }
    }

    /// The pipeline itself has said which checkpoint is its newest, just before it was asked to stop with another one. The
    /// manager's list may be older.
    pub(super) fn is_stopping_after(&mut self, newest: Option<&Checkpoint>) {
        let run = self.status.run.as_mut();
        let stop = run.and_then(|run| run.graceful_stop.as_mut());
        if let (Some(stop), Some(newest)) = (stop, newest) {
            stop.checkpoint_before = Some(newest.uuid.clone());
            stop.steps_before = newest.steps;
        }
    }
}

/// Whether a content leaves anything of the program configuration, and of the runtime configuration, that it takes the place of.
fn leaves(content: &Content) -> (bool, bool) {
    let is_beside = |given: Option<&Map<String, Value>>, kept: bool| {
        // An empty one says that nothing is to be left.
        let is_empty = given.is_some_and(Map::is_empty);
        !(given.is_none() && kept || is_empty)
    };
    let kept = &content.kept;
    (
        is_beside(
            content.program_config.as_ref(),
            kept.program_config.is_some(),
        ),
        is_beside(
            content.runtime_config.as_ref(),
            kept.runtime_config.is_some(),
        ),
    )
}

/// A content as it is sent beside what the engine shows.
fn beside_what_others_set(content: &Content, held: &EngineContent, there: &Content) -> Content {
    let (of_program, of_runtime) = leaves(content);
    let before = held.given_settings.clone().unwrap_or_default();
    let is_more =
        |all: Map<String, Value>, given| (!all.is_empty() && Some(&all) != given).then_some(all);
    let mut content = content.clone();
    if of_runtime {
        let given = content.runtime_config.as_ref();
        let staying = content.kept.settings.iter();
        let staying = staying.flat_map(|beside| beside.staying.keys());
        let all = settings::beside(given, &before, staying, there.runtime_config.as_ref());
        content.sent.runtime_config = is_more(all, given);
    }
    if of_program {
        let given = content.program_config.as_ref();
        let all = settings::beside_in_the_program(given, &before, there.program_config.as_ref());
        content.sent.program_config = is_more(all, given);
    }
    content
}

fn cannot_change(why: &str) -> Hold {
    Hold {
        reason: Reason::ImmutableSetting,
        message: format!(
            "{why}: the engine changes that only once the pipeline's storage is cleared, and the old content goes on. Put the setting back, or give spec.clearStorage a new value in the same change, which loses the pipeline's state"
        ),
    }
}
