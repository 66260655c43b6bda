//! What the engine's pipeline is known to consist of, and who brought that there.

use std::collections::BTreeSet;

use crate::change::Content;
use crate::crd::{EngineContent, Target};
use crate::decide::EventReason;
use crate::decide::happened::older_release;
use crate::decide::record::Record;
use crate::engine::{self, FullPipeline, PipelineState};
use crate::held_settings::{self, meaning};
use crate::{lineage, summary};

impl Record<'_> {
    /// What a full answer shows the pipeline to consist of. The engine fills in defaults, so what
    /// equals the spec counts as the spec's, and the rest as it stands.
    pub(crate) fn note_content(&mut self, full: &FullPipeline) {
        let version = full.state.version;
        let known = self.status.content.as_ref();
        if known.is_some_and(|known| known.version == version) {
            self.complete_the_settings(full);
            return;
        }
        self.complete_what_has_moved();
        let given = self.input.content.as_ref().ok().and_then(Option::as_ref);
        let before = self.status.content.take();
        let before = before.as_ref();
        let settled = self.settled_at(version);
        let is_gate_only = self.input.pipeline.is_gate_only();
        let went_back = before.is_some_and(|it| it.version > version) && !is_gate_only;
        let is_doubted = self.what_is_kept_is_doubted(full, before, settled.as_ref(), went_back);
        let found = found(full, given, before, settled.filter(|_| !is_doubted));
        // Of what the spec doesn't give, and never gave, whatever is there is as it should be.
        let is_wanted = given.filter(|given| {
            let mut wanted = (*given).clone();
            wanted.kept = lineage::kept(given, &found);
            engine::same_content(given, &full.content) && wanted.target() == found.target
        });
        let now = match is_wanted {
            None => found,
            Some(wanted) => as_the_specs(found, wanted),
        };
        let is_edited = !went_back && self.is_an_edit_by_others(full, before, &now, is_wanted);
        self.status.content = Some(now);
        if is_edited && !is_gate_only {
            self.tell_of_an_edit(full, is_wanted, is_doubted);
        }
    }

    /// Whether what is kept may be of something else than is known, by what the engine's pipeline shows; that is written
    /// down.
    fn what_is_kept_is_doubted(
        &mut self,
        full: &FullPipeline,
        before: Option<&EngineContent>,
        settled: Option<&Target>,
        went_back: bool,
    ) -> bool {
        match settled {
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
            _ => self.doubt_what_is_kept(&full.state, before.is_some()),
        }
    }

    /// Whether somebody else has brought there what is there now.
    fn is_an_edit_by_others(
        &self,
        full: &FullPipeline,
        before: Option<&EngineContent>,
        now: &EngineContent,
        is_wanted: Option<&Content>,
    ) -> bool {
        let Some(before) = before.filter(|before| before.target != now.target) else {
            return false;
        };
        let sent = before.sending.as_ref();
        // Whoever brings what the spec asks for by now does nothing that Sluice wouldn't. Where Sluice has sent it, what is
        // there beside it is somebody else's.
        let is_what_was_sent = sent.is_none_or(|sent| sent.target == now.target);
        let is_brought = is_wanted.is_some_and(|wanted| {
            is_what_was_sent && !wanted.is(&before.digest, before.exact.as_deref())
        });
        // What was sent just before a crash is nobody's edit, whatever the spec says by now. Of settings the engine may have
        // left out what it doesn't know.
        let is_sent = sent.is_some_and(|sent| {
            // What only changed settings can't be told by the texts.
            let has_other_texts = !has_the_texts_of(&before.target, &full.content)
                && has_the_texts_of(&sent.target, &full.content);
            let is_the_next = full.state.version == before.version.saturating_add(1);
            sent.target == now.target || is_the_next && has_other_texts
        });
        // Whoever takes away again what somebody has added there, and what never ran, puts right what Sluice would not.
        let settled = self.status.settled.as_ref();
        let run = self.status.run.as_ref();
        let is_put_right = is_wanted.is_some()
            && settled.is_some_and(|settled| settled.target == now.target)
            && run.is_none_or(|run| run.target != before.target);
        !is_brought && !is_sent && !is_put_right
    }

    fn tell_of_an_edit(
        &mut self,
        full: &FullPipeline,
        is_wanted: Option<&Content>,
        is_doubted: bool,
    ) {
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
        // Where it is known what it was before, what runs is told of by what is known of its gate.
        let runs = !full.state.is_stopped() && !full.state.awaits_approval();
        if is_doubted && runs {
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
        if self.input.pipeline.is_gate_only() {
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
        let is_doubted =
            was_known && is_another && !is_unknown && !self.input.pipeline.is_gate_only();
        if is_doubted {
            self.what_is_kept_is_not_known(
                "the pipeline was changed at the engine, and a checkpoint written that nobody here saw",
            );
        }
        is_doubted
    }
}

/// What is there, as far as it isn't the spec's.
fn found(
    full: &FullPipeline,
    given: Option<&Content>,
    before: Option<&EngineContent>,
    settled: Option<Target>,
) -> EngineContent {
    let there = full.content.runtime_config.as_ref();
    let settings = held_settings::as_found(before.and_then(|it| it.settings.as_ref()), there);
    let ours = settings_given_so_far(before, given, full);
    // The engine fills in defaults, and who brought it there knew what it was without them.
    let target = settled.unwrap_or_else(|| {
        let mut held = full.content.target_as_held(given, &ours);
        // What nobody has changed keeps its name, in whichever form the engine shows it.
        if let Some(settings) = &settings {
            held.settings = held_settings::name_of(&meaning(settings));
        }
        held
    });
    let sending = before.and_then(|before| before.sending.as_ref());
    EngineContent {
        target,
        config_is_given: before.is_some_and(|it| it.config_is_given)
            || sending.is_some_and(|it| it.config_is_given),
        runtime_config_is_given: before.is_some_and(|it| it.runtime_config_is_given)
            || sending.is_some_and(|it| it.runtime_config_is_given),
        given_settings: Some(ours),
        settings,
        ..engine_content(full.state.version, &full.content)
    }
}

/// What is found there as the spec has it is the spec's, too.
fn as_the_specs(found: EngineContent, wanted: &Content) -> EngineContent {
    let given_settings = found.given_settings.map(|ours| {
        let both: BTreeSet<String> = ours.into_iter().chain(wanted.given_settings()).collect();
        both.into_iter().collect()
    });
    EngineContent {
        config_is_given: found.config_is_given || wanted.program_config.is_some(),
        runtime_config_is_given: found.runtime_config_is_given || wanted.runtime_config.is_some(),
        given_settings,
        target: found.target,
        settings: found.settings,
        ..engine_content(found.version, wanted)
    }
}

/// Whether a target is of a content's texts, which the engine gives back to the letter.
pub(crate) fn has_the_texts_of(target: &Target, content: &Content) -> bool {
    let held = content.target();
    (&target.sql, &target.udf_rust, &target.udf_toml) == (&held.sql, &held.udf_rust, &held.udf_toml)
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
