//! In which runtime settings a change differs from what is settled, and which of them somebody has set at the engine.
//!
//! What others have set there stays beside what the spec gives, and a change's id covers both. So what is shown of the change has to name
//! both, or somebody approves what he hasn't seen. Of what others have set only digests are known.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use sluice_gate::change::{self, Content};
use sluice_gate::crd::{EngineContent, PipelineStatus, Target};
use sluice_gate::differing_settings;
use sluice_gate::held_settings::{self, Digests, meaning};

/// What is known of the settings before and after a change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Differing {
    /// What is settled; `None` if it isn't known.
    pub before: Option<Digests>,
    /// What would be in force; `None` if it isn't known.
    pub after: Option<Digests>,
    /// The paths of those that somebody has set or changed at the engine, and that the spec says nothing of. Where what is settled
    /// isn't known, all that stay.
    pub set_by_others: BTreeSet<String>,
    /// The same of those that somebody has taken away there.
    pub taken_by_others: BTreeSet<String>,
}

impl Differing {
    /// How a change to a target differs. `wanted` is what the spec asks for beside what stays at the engine.
    pub fn of(status: &PipelineStatus, wanted: Option<&Content>, target: &Target) -> Self {
        let settled = status.settled.as_ref();
        let is_known = settled.is_some_and(|settled| settled.is_known());
        let before = is_known.then(|| differing_settings::settled(status));
        let mut it = Self {
            before: before.flatten(),
            after: differing_settings::asked_for(status, wanted, target),
            ..Self::default()
        };
        let wanted = wanted.filter(|wanted| wanted.target() == *target);
        let beside = wanted.and_then(|wanted| Some((wanted, wanted.kept.settings.as_ref()?)));
        if let (Some((wanted, beside)), Some(held)) = (beside, &status.content) {
            let differs = |path: &String| it.paths().is_none_or(|paths| paths.contains(path));
            let stay = beside.staying.keys();
            let set_by_others = stay.filter(|path| differs(path)).cloned().collect();
            let gone = it.before.iter().flat_map(|before| before.keys());
            let taken_by_others = gone
                .filter(|path| differs(path) && is_taken_by_others(path, wanted, held))
                .cloned()
                .collect();
            it.set_by_others = set_by_others;
            it.taken_by_others = taken_by_others;
        }
        it
    }

    /// The paths of those that differ, where that is known.
    pub fn paths(&self) -> Option<BTreeSet<String>> {
        let before = self.before.as_ref()?;
        Some(held_settings::differences(before, self.after.as_ref()?))
    }

    /// Their names without parts, as the operator names them; none where that isn't known.
    pub fn keys(&self) -> Vec<String> {
        held_settings::keys(&self.paths().unwrap_or_default())
    }

    /// Whether all that differ are known to be others' doing.
    pub fn is_by_others_alone(&self) -> bool {
        let by_others = |path: &String| {
            self.set_by_others.contains(path) || self.taken_by_others.contains(path)
        };
        let paths = self.paths();
        paths.is_some_and(|paths| !paths.is_empty() && paths.iter().all(by_others))
    }

    /// The paths of what these texts don't show of it.
    pub fn hidden(&self, old: &str, new: &str) -> Vec<String> {
        let (old, new) = (digests_in(old), digests_in(new));
        let is_hidden = |of: &Option<Digests>, text: &Digests, path: &String| {
            let digest = of.as_ref().and_then(|of| of.get(path));
            digest.is_some() && digest != text.get(path)
        };
        let all = self.paths().unwrap_or_else(|| self.set_by_others.clone());
        all.into_iter()
            .filter(|path| {
                is_hidden(&self.before, &old, path) || is_hidden(&self.after, &new, path)
            })
            .collect()
    }
}

/// The digests in a text of settings.
fn digests_in(text: &str) -> Digests {
    let config: Option<Map<String, Value>> = serde_json::from_str(text).ok();
    held_settings::digests(config.as_ref()).unwrap_or_default()
}

/// Whether a text of settings shows nothing but what these say. It may leave out what others have set.
pub fn is_part_of(text: &str, all: &Digests) -> bool {
    let part = digests_in(text);
    part.iter()
        .all(|(path, digest)| all.get(path) == Some(digest))
}

/// Whether a setting isn't there any more because somebody has taken it away at the engine: neither does the spec say so, nor has it
/// named the setting before.
fn is_taken_by_others(path: &str, wanted: &Content, held: &EngineContent) -> bool {
    let is_there = held.settings.as_ref().map(meaning);
    let ours = held.given_settings.as_deref().unwrap_or_default();
    is_there.is_some_and(|there| !there.contains_key(path))
        && !ours.iter().any(|ours| ours == path)
        && !wanted.names_the_setting(path)
}

/// What a change has in it because somebody has set it at the engine: settings, and what the spec leaves of the program's
/// configuration.
pub struct Others<'a> {
    settings: &'a Differing,
    runtime_version: bool,
    program_config: bool,
}

impl<'a> Others<'a> {
    /// `before` is what is settled, if it is known.
    pub fn of(
        settings: &'a Differing,
        before: Option<&Target>,
        wanted: &Content,
        target: &Target,
    ) -> Self {
        let nothing = Content::default().target();
        let differ = change::differences(before.unwrap_or(&nothing), target);
        let kept = &wanted.kept;
        let keeps_the_config = wanted.program_config.is_none() && kept.program_config.is_some();
        Self {
            settings,
            runtime_version: (keeps_the_config || kept.runtime_version.is_some())
                && differ.contains(&"runtimeVersion"),
            program_config: keeps_the_config && differ.contains(&"config"),
        }
    }

    /// Whether there is nothing else in a change of these parts.
    pub fn are_all_of(&self, changed: &[&str]) -> bool {
        let is_theirs = |part: &&str| match *part {
            "settings" => self.settings.is_by_others_alone(),
            "runtimeVersion" => self.runtime_version,
            "config" => self.program_config,
            _ => false,
        };
        !changed.is_empty() && changed.iter().all(is_theirs)
    }

    /// What that is, and how it is left out. `is_known`: whether what is settled is.
    pub fn notes(&self, is_known: bool) -> Vec<String> {
        let field = |path: &String| format!("spec.runtimeConfig.{path}");
        let mut set: Vec<String> = self.settings.set_by_others.iter().cloned().collect();
        let mut into: Vec<String> = set.iter().map(field).collect();
        if self.runtime_version {
            set.push("the runtime version".into());
            into.push("spec.program.config.runtime_version".into());
        }
        if self.program_config {
            set.push("the program configuration".into());
            into.push("spec.program.config".into());
        }
        let taken: Vec<String> = self.settings.taken_by_others.iter().cloned().collect();
        let it = |names: &[String]| if names.len() == 1 { "it" } else { "them" };
        let mut notes = vec![];
        if !set.is_empty() {
            let names = set.join(", ");
            let it = it(&set);
            let begin = match is_known {
                true => format!(
                    "somebody has set {names} at the engine, and the spec doesn't name {it}"
                ),
                false => format!(
                    "the engine has {names}, the spec doesn't name {it}, and whether somebody has set {it} there since isn't known"
                ),
            };
            let comes = if set.len() == 1 {
                "it comes"
            } else {
                "they come"
            };
            notes.push(format!(
                "{begin}: {comes} into force with this change. To leave {it} out, write what is right into {}",
                into.join(", ")
            ));
        }
        if !taken.is_empty() {
            let (names, it) = (taken.join(", "), it(&taken));
            let into: Vec<String> = taken.iter().map(field).collect();
            notes.push(format!(
                "somebody has taken {names} away at the engine, and the spec doesn't name {it}: that comes into force with this change. To keep {it}, write what is right into {}",
                into.join(", ")
            ));
        }
        notes
    }
}

/// That nobody can say which settings differ. `wanted` is what the spec asks for.
pub fn cannot_be_told_apart(wanted: &Content) -> String {
    let why = "which runtime settings differ isn't known, since they are too many to be told apart, or have unusual names, or an older release has written down too little";
    match wanted.keeps_all_settings() {
        true => format!(
            "{why}: the spec names none, so that all that the engine has come into force with this change. To leave out what somebody has set there, write all that is right into spec.runtimeConfig"
        ),
        false => why.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_text_is_believed_only_as_far_as_the_digests_say_so() {
        let all = json!({"env": {"L": "1"}, "dev_tweaks": {"x": 1}});
        let all = held_settings::digests(all.as_object()).unwrap();
        for (text, is_part) in [
            ("", true),
            (r#"{"env": {"L": "1"}}"#, true),
            (r#"{"env": {"L": "2"}}"#, false),
            (r#"{"env": {"L": "1"}, "other": 1}"#, false),
        ] {
            assert_eq!(is_part_of(text, &all), is_part, "{text}");
        }
    }
}
