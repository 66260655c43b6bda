//! What came of the last call.

use crate::change::Content;
use crate::crd::{
    BuildOutcome, EngineContent, HeldSettings, Preview, PreviewOutcome, Refusal, Target, annotation,
};
use crate::decide::happened::content::engine_content;
use crate::decide::record::Record;
use crate::decide::{CallOutcome, EngineCall, EventReason};
use crate::engine::{self, DiffAnswer};
use crate::{canonical, held_settings, summary, text};

impl<'a> Record<'a> {
    /// Takes in the outcome. Returns the act and its error if it failed, so that nothing further is done
    /// in this reconcile but to show it.
    pub(crate) fn take_in_outcome(&mut self) -> Option<(EngineCall, &'a engine::Error)> {
        match self.input.outcome? {
            CallOutcome::Done(EngineCall::Recompile) => {
                self.take_the_retry_asked_for();
            }
            CallOutcome::Done(EngineCall::DropBuild) => self.build_is_dropped(),
            CallOutcome::BuildIsThere(id) => self.build_is_there(id),
            CallOutcome::BuildNameTaken(id) => self.build_name_is_taken(id),
            CallOutcome::BuildFailed(Some(message)) => {
                self.built(BuildOutcome::Failed, Some(message.clone()));
            }
            CallOutcome::BuildFailed(None) => self.built(BuildOutcome::Unknown, None),
            CallOutcome::Done(_) | CallOutcome::GuardFailed => {}
            CallOutcome::Owned(id) => {
                let asked = self.input.asked.adopt.as_deref();
                self.status.handled_adopt = asked.map(canonical::remembered);
                self.own(id);
                self.forget_what_was_kept();
                self.report(
                    EventReason::Adopted,
                    match asked {
                        Some(asked) => format!(
                            "the engine's pipeline is taken over: the annotation {} says {}",
                            annotation::ADOPT,
                            text::foreign_line(asked, text::REASON),
                        ),
                        None => "the engine's pipeline is taken over: it was that of the Pipeline of this name before".to_owned(),
                    },
                );
            }
            CallOutcome::Marked(digest) => self.status.mark = Some(digest.clone()),
            CallOutcome::Updated {
                id,
                version,
                content,
                not_shown,
                settings,
            } => {
                if !self.is_of_what_was_read(id, *version)
                    || !self.leaves_the_settings(content, settings.as_ref())
                {
                    // Whatever is there by now is found by the next look, and told.
                    return None;
                }
                self.own(id);
                self.tell_what_is_not_shown(not_shown);
                self.status.content = Some(EngineContent {
                    not_shown: not_shown.clone(),
                    settings: settings.clone(),
                    ..engine_content(*version, content)
                });
                // It isn't there for a pipeline that somebody else makes later.
                let asked = self.input.asked.adopt.as_deref();
                self.status.handled_adopt = asked.map(canonical::remembered);
                self.take_the_retry_asked_for();
            }
            CallOutcome::Previewed { target, answer } => {
                let held = self.status.content.as_ref();
                let held = held.map(|held| held.target.clone());
                self.status.preview = Some(preview(target, self.parent(), held, answer));
                if self.take_the_retry_asked_for() {
                    // What didn't compile is compiled again.
                    self.status.build.take_if(|build| build.pipeline.is_none());
                    self.status.refusal = None;
                }
            }
            CallOutcome::Stopping { newest } => self.is_stopping_after(newest.as_ref()),
            // That it would be was written down before.
            CallOutcome::ApproveCalled => {}
            CallOutcome::LeftTheGate => self.note_past_the_gate(),
            CallOutcome::CheckpointRequested {
                number,
                incarnation,
            } => {
                if let Some(seal) = &mut self.status.seal {
                    seal.sequence_number = Some(*number);
                    seal.incarnation.clone_from(incarnation);
                }
            }
            CallOutcome::Failed { act, error } => {
                if *act == EngineCall::Checkpoint && self.status.seal.is_some() {
                    // The pipeline runs all the same; the seal is tried again later.
                    self.seal_failed(&error.to_string());
                    return None;
                }
                if *act == EngineCall::Approve && error.was_not_taken() {
                    self.was_not_told();
                }
                if let engine::Error::Refused { .. } = error
                    && self.take_refusal(*act, error)
                {
                    return None;
                }
                return Some((*act, error));
            }
        }
        None
    }

    /// Whether an update's answer is about the pipeline and the version that were looked at before. Somebody may have put another
    /// pipeline there in between, or other settings, which an update that names none leaves in force.
    pub(crate) fn is_of_what_was_read(&self, id: &str, version: i64) -> bool {
        let known = self.status.engine.as_ref();
        let known = known.and_then(|engine| engine.pipeline_id.as_deref());
        // One that is made is nobody else's.
        let is_made = known.is_none() || self.is_being_made_anew();
        let before = self.status.content.as_ref();
        let is_next = before.is_none_or(|before| version <= before.version.saturating_add(1));
        is_made || known == Some(id) && is_next
    }

    /// Whether an update that gives no settings has left those that were there before. Others are there only if somebody else
    /// has put them there.
    pub(crate) fn leaves_the_settings(
        &self,
        content: &Content,
        answered: Option<&HeldSettings>,
    ) -> bool {
        let held = self.status.content.as_ref();
        let held = held.and_then(|held| held.settings.as_ref());
        let gives = content.sent.runtime_config.is_some() || !content.keeps_all_settings();
        match (held, answered) {
            (Some(before), Some(now)) if !gives => {
                held_settings::as_shown_by(before) == held_settings::as_shown_by(now)
            }
            _ => true,
        }
    }

    /// The engine will refuse it again: what runs, or was stopped for it, goes on without it.
    pub(crate) fn take_refusal(&mut self, act: EngineCall, error: &engine::Error) -> bool {
        match act {
            EngineCall::Build => {
                self.built(BuildOutcome::Unknown, Some(error.to_string()));
                true
            }
            EngineCall::DropBuild => {
                self.build_is_dropped();
                let message = format!(
                    "what was compiled beforehand couldn't be removed from the engine, and stays there, stopped: {error}"
                );
                self.warn(EventReason::BuildLeftBehind, message);
                true
            }
            EngineCall::Mark => {
                self.mark_is_refused(&error.to_string());
                true
            }
            EngineCall::Update
                if self
                    .input
                    .outcome
                    .is_some_and(CallOutcome::is_to_be_tried_later) =>
            {
                true
            }
            EngineCall::Update => {
                self.take_the_retry_asked_for();
                if let Some(held) = &mut self.status.content {
                    held.sending = None;
                }
                let sent = self.input.asked.content.as_ref();
                self.status.refusal = sent.map(|content| Refusal {
                    digest: content.digest(),
                    exact: Some(content.exact()),
                    only_with_storage: error.code() == Some("EditRestrictedToClearedStorage"),
                    message: error.to_string(),
                });
                true
            }
            _ => false,
        }
    }

    pub(crate) fn own(&mut self, id: &str) {
        let known = self.status.engine.as_ref();
        let known = known.and_then(|engine| engine.pipeline_id.clone());
        if known.as_deref() == Some(id) {
            return;
        }
        if known.is_some() && self.is_being_made_anew() {
            self.is_made_anew();
        } else if known.is_some() {
            self.close_what_is_open();
            let lost = self.status.lost.as_ref();
            let link = lost.and_then(|lost| lost.link.clone());
            self.forget_the_pipeline(link);
        } else {
            // What was asked for of a pipeline that this Pipeline didn't have isn't done to this one.
            self.status
                .handled_clear
                .clone_from(&self.input.pipeline.spec.clear_storage);
            self.take_restart();
            self.status.content = None;
        }
        self.status.engine.get_or_insert_default().pipeline_id = Some(id.to_owned());
    }
}

pub(crate) fn preview(
    target: &Target,
    parent: &str,
    compared_with: Option<Target>,
    answer: &DiffAnswer,
) -> Preview {
    let diff = match answer {
        DiffAnswer::Diff(diff) => diff.as_object().cloned(),
        _ => None,
    };
    let (outcome, message, summary) = match answer {
        DiffAnswer::Diff(diff) if summary::is_empty(diff) => (PreviewOutcome::NoChange, None, None),
        DiffAnswer::Diff(diff) => (PreviewOutcome::Gated, None, Some(summary::of(diff))),
        DiffAnswer::CompileError(message) => (PreviewOutcome::CompileError, Some(message), None),
        DiffAnswer::Refused(message) => (PreviewOutcome::Refused, Some(message), None),
        DiffAnswer::CantTell(message) => (PreviewOutcome::Unknown, Some(message), None),
    };
    Preview {
        target: target.clone(),
        parent: parent.to_owned(),
        compared_with,
        outcome,
        message: message.cloned(),
        summary,
        diff,
    }
}
