//! Takes in what came of the last act, and what the engine's pipeline is known to consist of.

use std::collections::BTreeSet;

use crate::change::{self, Content};
use crate::crd::{
    BuildOutcome, EngineContent, HeldSettings, Preview, PreviewOutcome, Refusal, Target, annotation,
};
use crate::decide::happened::older_release;
use crate::decide::record::Record;
use crate::decide::{EngineCall, EventReason, Outcome};
use crate::engine::{self, DiffAnswer, FullPipeline, PipelineState};
use crate::held_settings::{self, meaning};
use crate::{lineage, summary, text};

impl<'a> Record<'a> {
    /// Takes in the outcome. Returns the act and its error if it failed, so that nothing further is done
    /// in this reconcile but to show it.
    pub(crate) fn absorb_outcome(&mut self) -> Option<(EngineCall, &'a engine::Error)> {
        match self.input.outcome? {
            Outcome::Done(EngineCall::Recompile) => {
                self.take_the_retry_asked_for();
            }
            Outcome::Done(EngineCall::DropBuild) => self.build_is_dropped(),
            Outcome::BuildIsThere(id) => self.build_is_there(id),
            Outcome::BuildNameTaken(id) => self.build_name_is_taken(id),
            Outcome::BuildFailed(Some(message)) => {
                self.built(BuildOutcome::Failed, Some(message.clone()));
            }
            Outcome::BuildFailed(None) => self.built(BuildOutcome::Unknown, None),
            Outcome::Done(_) | Outcome::GuardFailed => {}
            Outcome::Owned(id) => {
                let asked = self.input.asked.adopt.as_deref();
                self.status.handled_adopt = asked.map(change::remembered);
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
            Outcome::Marked(digest) => self.status.mark = Some(digest.clone()),
            Outcome::Updated {
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
                self.status.handled_adopt = asked.map(change::remembered);
                self.take_the_retry_asked_for();
            }
            Outcome::Previewed { target, answer } => {
                let held = self.status.content.as_ref();
                let held = held.map(|held| held.target.clone());
                self.status.preview = Some(preview(target, self.parent(), held, answer));
                if self.take_the_retry_asked_for() {
                    // What didn't compile is compiled again.
                    self.status.build.take_if(|build| build.pipeline.is_none());
                    self.status.refusal = None;
                }
            }
            Outcome::Stopping { newest } => self.is_stopping_after(newest.as_ref()),
            // That it would be was written down before.
            Outcome::ApproveCalled => {}
            Outcome::LeftTheGate => self.is_past_the_gate(),
            Outcome::CheckpointRequested {
                number,
                incarnation,
            } => {
                if let Some(seal) = &mut self.status.seal {
                    seal.sequence_number = Some(*number);
                    seal.incarnation.clone_from(incarnation);
                }
            }
            Outcome::Failed { act, error } => {
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
                    .is_some_and(Outcome::is_to_be_tried_later) =>
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

    /// What a full answer shows the pipeline to consist of. The engine fills in defaults, so what
    /// equals the spec counts as the spec's, and the rest as it stands.
    pub(crate) fn note_content(&mut self, full: &FullPipeline) {
        let version = full.state.version;
        if self
            .status
            .content
            .as_ref()
            .is_some_and(|c| c.version == version)
        {
            self.complete_the_settings(full);
            return;
        }
        self.complete_what_has_moved();
        let given = self.input.content.as_ref().ok().and_then(Option::as_ref);
        let before = self.status.content.take();
        let is_known = before.is_some();
        let sending = before.as_ref().and_then(|before| before.sending.clone());
        let settled = self.settled_at(version);
        let is_guest = self.input.pipeline.is_guest();
        let went_back = before.as_ref().is_some_and(|it| it.version > version) && !is_guest;
        let is_doubted = match &settled {
            _ if went_back => {
                self.engine_was_restored(
                    "the engine's pipeline is at an older version than before",
                );
                true
            }
            Some(settled) if !has_the_texts_of(settled, &full.content) => {
                self.what_is_kept_is_not_known(
                    "what the engine's pipeline says about it is of another program than it held then",
                );
                true
            }
            _ => self.doubt_what_is_kept(&full.state, is_known),
        };
        let settings = held_settings::as_found(
            before.as_ref().and_then(|it| it.settings.as_ref()),
            full.content.runtime_config.as_ref(),
        );
        let ours = settings_given_so_far(before.as_ref(), given, full);
        let held = match settled.filter(|_| !is_doubted) {
            // The engine fills in defaults, and who brought it there knew what it was without them.
            Some(settled) => settled,
            None => {
                let mut held = full.content.target_as_held(given, &ours);
                // What nobody has changed keeps its name, in whichever form the engine shows it.
                if let Some(settings) = &settings {
                    held.settings = held_settings::name_of(&meaning(settings));
                }
                held
            }
        };
        let found = EngineContent {
            target: held,
            config_is_given: before.as_ref().is_some_and(|it| it.config_is_given)
                || sending.as_ref().is_some_and(|it| it.config_is_given),
            runtime_config_is_given: before.as_ref().is_some_and(|it| it.runtime_config_is_given)
                || sending
                    .as_ref()
                    .is_some_and(|it| it.runtime_config_is_given),
            given_settings: Some(ours),
            settings,
            ..engine_content(version, &full.content)
        };
        // Of what the spec doesn't give, and never gave, whatever is there is as it should be.
        let is_wanted = given.filter(|given| {
            let mut wanted = (*given).clone();
            wanted.kept = lineage::kept(given, &found);
            engine::same_content(given, &full.content) && wanted.target() == found.target
        });
        let now = match is_wanted {
            None => found,
            // What is found there as the spec has it is the spec's, too.
            Some(wanted) => EngineContent {
                config_is_given: found.config_is_given || wanted.program_config.is_some(),
                runtime_config_is_given: found.runtime_config_is_given
                    || wanted.runtime_config.is_some(),
                given_settings: found.given_settings.map(|ours| {
                    let both: BTreeSet<String> =
                        ours.into_iter().chain(wanted.given_settings()).collect();
                    both.into_iter().collect()
                }),
                target: found.target,
                settings: found.settings,
                ..engine_content(version, wanted)
            },
        };
        // Whoever brings what the spec asks for by now does nothing that Sluice wouldn't. Where Sluice has sent it, what is there beside
        // it is somebody else's.
        let is_what_was_sent = sending
            .as_ref()
            .is_none_or(|sent| sent.target == now.target);
        let is_brought = is_wanted.is_some_and(|wanted| {
            is_what_was_sent
                && before
                    .as_ref()
                    .is_some_and(|before| !wanted.is(&before.digest, before.exact.as_deref()))
        });
        // What was sent just before a crash is nobody's edit, whatever the spec says by now. Of settings the engine may have
        // left out what it doesn't know.
        let is_sent = sending.as_ref().is_some_and(|sent| {
            let known = before.as_ref().map_or(0, |before| before.version);
            let of_before = before.as_ref().map(|before| &before.target);
            // What only changed settings can't be told by the texts.
            let has_other_texts = of_before.is_some_and(|before| {
                !has_the_texts_of(before, &full.content)
                    && has_the_texts_of(&sent.target, &full.content)
            });
            sent.target == now.target || version == known.saturating_add(1) && has_other_texts
        });
        // Whoever takes away again what somebody has added there, and what never ran, puts right what Sluice would not.
        let has_run = |target: &Target| {
            self.status
                .run
                .as_ref()
                .is_some_and(|run| run.target == *target)
        };
        let is_settled = self
            .status
            .settled
            .as_ref()
            .is_some_and(|settled| settled.target == now.target);
        let is_put_right = is_wanted.is_some()
            && is_settled
            && !before
                .as_ref()
                .is_some_and(|before| has_run(&before.target));
        let is_edited = before.is_some_and(|before| before.target != now.target)
            && !is_brought
            && !is_sent
            && !is_put_right
            && !went_back;
        self.status.content = Some(now);
        if is_edited && !is_guest {
            let then = match is_wanted {
                Some(_) => self.what_stays_comes_to(&full.state),
                None if is_doubted => {
                    "its state may be of another program by now, so putting back what the spec says is asked about"
                }
                None if self.brings_something_new() => {
                    "what the spec says is put back, after approval where that is asked about, and what it doesn't name stays"
                }
                None => "what the spec says is put back",
            };
            self.interfered(
                EventReason::OutsideEdit,
                format!(
                    "somebody else edited the pipeline's program or settings at the engine; {then}"
                ),
            );
        }
        // Where it is known what it was before, what runs is told of by what is known of its gate.
        let runs = !full.state.is_stopped() && !full.state.awaits_approval();
        if is_edited && !is_guest && is_doubted && runs {
            self.warn(
                EventReason::UnaskedChange,
                "what somebody else brought to the engine runs, and nobody here was asked: either the engine found nothing to ask about, or somebody approved it at the engine itself".into(),
            );
        }
    }

    /// What becomes of something that somebody else has set, and the spec says nothing of.
    pub(crate) fn what_stays_comes_to(&self, state: &PipelineState) -> &'static str {
        let is_asked = lineage::writes_checkpoints(&self.status)
            && (!state.checkpoints.is_empty() || self.gone(state).is_some());
        match () {
            () if !state.is_stopped() => {
                "the spec says nothing of that, so it stays, and is in force already: nobody here was asked"
            }
            () if is_asked => {
                "the spec says nothing of that, so it stays, and a start of it is asked about"
            }
            () => {
                "the spec says nothing of that, so it stays, and the pipeline starts with it: there is no checkpoint that anybody could be asked about"
            }
        }
    }

    /// Whether what the spec asks for, beside what stays at the engine, is something else than what is settled.
    pub(crate) fn brings_something_new(&self) -> bool {
        let settled = self.status.settled.as_ref();
        let wanted = self.wanted_target();
        settled.is_some_and(|settled| wanted.is_some_and(|wanted| wanted != settled.target))
    }

    /// The engine has dropped settings without a word. What it was given says nothing of what is in force.
    pub(crate) fn tell_what_is_not_shown(&mut self, not_shown: &[String]) {
        let before = self.status.content.as_ref();
        let is_told = before.is_some_and(|before| before.not_shown == not_shown);
        if !is_told && !not_shown.is_empty() {
            let message = summary::settings_not_shown(not_shown);
            self.warn(EventReason::SettingsNotShown, message);
        }
    }

    /// What is settled, if it is that of this version of the engine's pipeline.
    pub(crate) fn settled_at(&self, version: i64) -> Option<Target> {
        if self.input.pipeline.is_guest() {
            return None;
        }
        let settled = self.status.settled.as_ref()?;
        (settled.version == Some(version) && settled.is_known()).then(|| settled.target.clone())
    }

    /// The content is at a version that nobody here made. If a checkpoint was written that nobody here saw, it may be
    /// one of anything. Says whether that is so.
    pub(crate) fn doubt_what_is_kept(&mut self, state: &PipelineState, was_known: bool) -> bool {
        let settled = self.status.settled.as_ref();
        // That is said already.
        let is_unknown = settled.is_some_and(|settled| !settled.is_known());
        let known = settled.and_then(|settled| settled.checkpoint.as_ref()?.uuid.as_ref());
        let newest = state.newest_checkpoint();
        // Where there was one already and nobody knows of what, nothing new has come to it.
        let stored = self.input.pipeline.status.as_ref();
        let had_one = stored
            .and_then(|status| status.engine.as_ref())
            .is_some_and(|engine| engine.had_checkpoint);
        let is_another = newest.is_some_and(|newest| match known {
            Some(known) => *known != newest.uuid,
            None => !had_one,
        });
        let is_doubted = was_known && is_another && !is_unknown && !self.input.pipeline.is_guest();
        if is_doubted {
            self.what_is_kept_is_not_known(
                "the pipeline was changed at the engine, and a checkpoint written that nobody here saw",
            );
        }
        is_doubted
    }
}

/// All settings that Sluice has given the engine's pipeline, or was about to give.
pub(crate) fn settings_given_so_far(
    before: Option<&EngineContent>,
    spec: Option<&Content>,
    full: &FullPipeline,
) -> Vec<String> {
    let Some(before) = before else {
        return vec![];
    };
    let shown = full.content.runtime_config.as_ref();
    let known = match &before.given_settings {
        Some(known) => known.clone(),
        None => older_release::given_settings(before, spec, shown),
    };
    let sent = before.sending.iter();
    let sent = sent.flat_map(|sending| sending.given_settings.clone());
    // Where they weren't told apart, all that are there took the place of others.
    let is_all_ours = before.runtime_config_is_given
        && before.settings.is_none()
        && before.given_settings.is_some();
    let there = is_all_ours.then(|| held_settings::paths(shown));
    let all: BTreeSet<String> = known
        .into_iter()
        .chain(sent)
        .chain(there.into_iter().flatten())
        .collect();
    all.into_iter().collect()
}

pub(crate) fn engine_content(version: i64, content: &Content) -> EngineContent {
    EngineContent {
        version,
        digest: content.digest(),
        exact: Some(content.exact()),
        target: content.target(),
        config_is_given: content.program_config.is_some(),
        runtime_config_is_given: content.runtime_config.is_some(),
        given_settings: Some(content.given_settings()),
        settings: None,
        not_shown: vec![],
        sending: None,
    }
}

/// Whether a target is of a content's texts, which the engine gives back to the letter.
pub(crate) fn has_the_texts_of(target: &Target, content: &Content) -> bool {
    let held = content.target();
    (&target.sql, &target.udf_rust, &target.udf_toml) == (&held.sql, &held.udf_rust, &held.udf_toml)
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
