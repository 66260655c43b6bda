//! Statuses that 0.1.0 has written: what they leave out is taken from the spec, where a digest says that it is what was given,
//! and from the engine.

use serde_json::{Map, Value};

use crate::change::{self, Content};
use crate::crd::{EngineContent, Target};
use crate::decide::record::Record;
use crate::engine::FullPipeline;
use crate::held_settings::{self, meaning};
use crate::settings;

impl Record<'_> {
    /// Takes what is stored of the content for what the spec says, where its digest fits, and notes what tells it from
    /// others from now on.
    pub(crate) fn tell_contents_apart(&mut self) {
        let wanted = self.input.content.as_ref().ok().and_then(Option::as_ref);
        let Some(wanted) = wanted else { return };
        if let Some(held) = self.status.content.as_mut().filter(|it| it.exact.is_none()) {
            if held.digest == wanted.digest() {
                held.exact = Some(wanted.exact());
                held.config_is_given = wanted.program_config.is_some();
                held.runtime_config_is_given = wanted.runtime_config.is_some();
            } else {
                // The spec was edited since. What the digests are of says what it gave.
                held.config_is_given = held.target.config != Content::default().target().config;
                held.runtime_config_is_given = !was_given(held, None);
            }
        }
        if let Some(refusal) = &mut self.status.refusal
            && refusal.exact.is_none()
            && refusal.digest == wanted.digest()
        {
            refusal.exact = Some(wanted.exact());
        }
    }

    /// Targets that 0.1.0 wrote down don't say which settings they have. It asked nobody about those: what was brought to
    /// the engine with the content that the spec still asks for is what all of them had.
    pub(crate) fn complete_old_targets(&mut self) {
        let Some(wanted) = self.wanted() else {
            return;
        };
        let target = wanted.target();
        let is_old = self.status.content.as_ref().is_some_and(|held| {
            held.digest == wanted.digest()
                && held.target != target
                && held.target == target.without_settings()
        });
        if !is_old {
            return;
        }
        self.name_the_settings(&target);
        // Nor does it hold their text, which the spec still has.
        if let Some(settled) = &mut self.status.settled
            && settled.target == target
        {
            settled.program = None;
        }
    }

    /// Says of all targets that an older release wrote down that they have the settings of this one.
    pub(crate) fn name_the_settings(&mut self, target: &Target) {
        let status = &mut self.status;
        let all = [
            status.content.as_mut().map(|it| &mut it.target),
            status.settled.as_mut().map(|it| &mut it.target),
            status.run.as_mut().map(|it| &mut it.target),
            status.approval.as_mut().map(|it| &mut it.target),
            status.preview.as_mut().map(|it| &mut it.target),
            status.build.as_mut().map(|it| &mut it.target),
        ];
        for old in all
            .into_iter()
            .flatten()
            .filter(|it| **it != Target::default())
        {
            old.settings.clone_from(&target.settings);
            old.without_storage = target.without_storage;
        }
    }

    /// Whether nobody knows yet which of the settings that are there others have set.
    pub(crate) fn lacks_the_settings(&self) -> bool {
        let held = self.status.content.as_ref();
        held.is_some_and(|held| held.given_settings.is_none())
    }

    /// Writes down the settings of a content at the version at which an older release has written it down without them.
    pub(crate) fn complete_the_settings(&mut self, full: &FullPipeline) {
        if !self.lacks_the_settings() || self.input.pipeline.is_gate_only() {
            return;
        }
        let shown = full.content.runtime_config.as_ref();
        let spec = self.input.content.as_ref().ok().and_then(Option::as_ref);
        let Some(held) = &mut self.status.content else {
            return;
        };
        let gave = spec.filter(|spec| was_given(held, spec.runtime_config.as_ref()));
        held.given_settings = Some(given_settings(held, spec, shown));
        held.settings = match gave {
            Some(gave) => held_settings::digests(gave.runtime_config.as_ref())
                .and_then(|given| held_settings::as_adopted(given, shown)),
            None => held_settings::as_found(None, shown),
        };
        let mut target = gave.unwrap_or(&full.content).target();
        if let Some(settings) = &held.settings {
            target.settings = held_settings::name_of(&meaning(settings));
            target.without_storage = full.content.target().without_storage;
        }
        self.name_the_settings(&target);
    }

    /// Takes the settings of what was settled from the spec, where the engine's pipeline has moved since, if the spec still says
    /// what was given. Otherwise nobody knows what they were.
    pub(crate) fn complete_what_has_moved(&mut self) {
        if !self.lacks_the_settings() || self.input.pipeline.is_gate_only() {
            return;
        }
        let spec = self.input.content.as_ref().ok().and_then(Option::as_ref);
        let Some(held) = &self.status.content else {
            return;
        };
        let is_named = !held.target.settings.is_empty();
        match spec.filter(|spec| was_given(held, spec.runtime_config.as_ref())) {
            Some(gave) => self.name_the_settings(&gave.target()),
            None if is_named || self.status.settled.is_none() => {}
            None => self.what_is_kept_is_not_known(
                "the pipeline was changed at the engine, and which settings it had before wasn't written down",
            ),
        }
    }
}

/// Whether it is this runtime configuration that the engine was given with a content that 0.1.0 wrote down.
pub(crate) fn was_given(held: &EngineContent, runtime_config: Option<&Map<String, Value>>) -> bool {
    held.digest == change::digest_of(&held.target, runtime_config)
}

/// The settings that Sluice has given, as far as that can be told: what the spec says, if it still says what was given, and
/// otherwise all that are there.
pub(crate) fn given_settings(
    held: &EngineContent,
    spec: Option<&Content>,
    shown: Option<&Map<String, Value>>,
) -> Vec<String> {
    let mut given = vec![];
    let gave = spec.filter(|spec| was_given(held, spec.runtime_config.as_ref()));
    if held.runtime_config_is_given {
        let config = gave.map_or(shown, |gave| gave.runtime_config.as_ref());
        given.extend(settings::unasked_in(config));
        given.extend(held_settings::paths(config));
    }
    if held.config_is_given {
        let gave = spec.filter(|spec| spec.target().config == held.target.config);
        given.extend(match gave {
            Some(gave) => settings::of_the_program_in(gave.program_config.as_ref()),
            None => settings::all_of_the_program(),
        });
    }
    given
}
