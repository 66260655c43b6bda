//! What an engine's pipeline has of the settings that don't change unasked: as digests by their paths, and never as
//! values, which may be credentials.
//!
//! A PATCH replaces the runtime configuration as a whole. What others have set of it, and the spec never named, stays
//! all the same: it is sent along. So what an update brings is what the spec gives beside what stays, and a change is named after
//! both.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::crd::{EngineContent, HeldSetting, HeldSettings, Settled};
use crate::gate::change::{exactly, short_digest};
use crate::settings;

/// How many settings are told apart. Feldera has some forty.
const MOST: usize = 100;

/// How long the path of one may be, in bytes.
const LONGEST: usize = 200;

/// Digests of settings, by their paths: `KEY`, or `KEY.PART` where the parts are settings of their own
/// ([`settings::has_parts`]).
pub type Digests = BTreeMap<String, String>;

/// The settings of a configuration that don't change unasked. `None` if they are too many to tell them apart, or have
/// names that don't tell where they stand.
pub fn digests(config: Option<&Map<String, Value>>) -> Option<Digests> {
    let mut all = Digests::new();
    for (key, value) in settings::asked_about(config) {
        if key.contains('.') {
            return None;
        }
        match value {
            Value::Object(parts) if settings::has_parts(&key) => all.extend(
                parts
                    .into_iter()
                    .map(|(part, value)| (format!("{key}.{part}"), short_digest(&exactly(value)))),
            ),
            value => {
                all.insert(key, short_digest(&exactly(value)));
            }
        }
    }
    let is_plain =
        |path: &String| path.len() <= LONGEST && path.bytes().all(|byte| byte.is_ascii_graphic());
    let is_told_apart = all.len() <= MOST && all.keys().all(is_plain);
    is_told_apart.then_some(all)
}

/// The paths of the settings of a configuration that don't change unasked; none where they can't be told apart.
pub fn paths(config: Option<&Map<String, Value>>) -> Vec<String> {
    digests(config).unwrap_or_default().into_keys().collect()
}

/// What stays, of what others have set, beside what an update gives; and how what comes of it is named.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Beside {
    /// The settings that stay.
    pub staying: Digests,
    /// Settings that have a name already, and that name.
    known: Vec<(Digests, String)>,
    /// What others have set of those that are there.
    theirs: Digests,
}

impl Beside {
    /// What stays of a content, where this configuration takes the place of the one that it has. `None` if what it has isn't
    /// known.
    pub fn of(
        given: Option<&Map<String, Value>>,
        held: &EngineContent,
        settled: Option<&Settled>,
    ) -> Option<Self> {
        let there = held.settings.as_ref()?;
        let ours = held.given_settings.as_deref()?;
        // An empty one says that nothing is to be left.
        let is_empty = given.is_some_and(Map::is_empty);
        let named = digests(given)?;
        let is_theirs = |path: &str| {
            let mut names = names_of(path);
            !names.any(|name| ours.iter().any(|ours| ours == name))
        };
        let is_named = |path: &str| {
            names_of(path).any(|name| named.contains_key(name) || settings::names(given, name))
        };
        let theirs: Digests = meaning(there)
            .into_iter()
            .filter(|(path, _)| is_theirs(path))
            .collect();
        let mut staying = theirs.clone();
        staying.retain(|path, _| !is_empty && !is_named(path));
        if named.len() + staying.len() > MOST {
            return None;
        }
        let settled = settled
            .and_then(|settled| Some((settled.settings.clone()?, settled.target.settings.clone())));
        let of_content = (meaning(there), held.target.settings.clone());
        Some(Self {
            staying,
            theirs,
            known: settled.into_iter().chain([of_content]).collect(),
        })
    }

    /// All settings, once the configuration is brought there.
    pub fn all(&self, given: Option<&Map<String, Value>>) -> Option<Digests> {
        let mut all = digests(given)?;
        all.extend(self.staying.clone());
        Some(all)
    }

    /// Their digest. What has a name keeps it, so that it is no change; and whoever gives them, they have one name.
    pub fn name(&self, given: Option<&Map<String, Value>>) -> String {
        let Some(all) = self.all(given) else {
            return settings::digest(given);
        };
        let is_of_others = |all: &Digests| {
            let mut theirs = self.theirs.iter();
            theirs.any(|(path, digest)| all.get(path) == Some(digest))
        };
        match self.known.iter().find(|(known, _)| *known == all) {
            Some((_, name)) => name.clone(),
            None if !is_of_others(&all) => settings::digest(given),
            None => name_of(&all),
        }
    }

    /// Whether the pipeline is without storage because somebody else has turned it off.
    pub fn is_without_storage(&self) -> bool {
        // As a whole it is only given where it is off.
        self.staying.contains_key("storage")
    }
}

/// The name of settings that came together from several hands. No configuration has it: that is an object, and this a list.
pub fn name_of(all: &Digests) -> String {
    short_digest(&json!(["told apart", all]))
}

/// What settings say, in whichever form the engine shows them.
pub fn meaning(held: &HeldSettings) -> Digests {
    let digests = held.iter();
    digests
        .map(|(path, it)| (path.clone(), it.digest.clone()))
        .collect()
}

/// The paths of the settings in which the two differ.
pub fn differences(before: &Digests, after: &Digests) -> BTreeSet<String> {
    let paths = before.keys().chain(after.keys());
    paths
        .filter(|path| before.get(*path) != after.get(*path))
        .cloned()
        .collect()
}

/// The names of settings, without their parts.
pub fn keys(paths: &BTreeSet<String>) -> Vec<String> {
    let keys: BTreeSet<&str> = paths
        .iter()
        .map(|path| path.split_once('.').map_or(path.as_str(), |(key, _)| key))
        .collect();
    keys.into_iter().map(str::to_owned).collect()
}

/// Both names of a setting, or the one that it has.
fn names_of(path: &str) -> impl Iterator<Item = &str> {
    [Some(path), settings::other_name(path)]
        .into_iter()
        .flatten()
}

/// Settings of which nothing is known but what the engine shows.
fn as_shown(shown: Digests) -> impl Iterator<Item = (String, HeldSetting)> {
    shown.into_iter().map(|(path, digest)| {
        let shown = None;
        (path, HeldSetting { digest, shown })
    })
}

/// What is held once the engine has answered to what it was given. It may show that in another form, or not at all.
pub fn as_answered(
    given: Option<&Map<String, Value>>,
    shown: Option<&Map<String, Value>>,
) -> Option<HeldSettings> {
    let given = digests(given)?;
    let mut shown = digests(shown)?;
    let mut held = HeldSettings::new();
    for (path, digest) in given {
        let other = settings::other_name(&path);
        let is_shown = shown.remove(&path);
        let is_shown = is_shown.or_else(|| shown.remove(other?));
        let shown = is_shown.unwrap_or_default();
        let shown = (shown != digest).then_some(shown);
        held.insert(path, HeldSetting { digest, shown });
    }
    held.extend(as_shown(shown));
    Some(held)
}

/// What is held where the engine shows this by now, and it is not known by whom: what was known keeps its meaning where the engine
/// still shows it in the same form.
pub fn as_found(
    before: Option<&HeldSettings>,
    shown: Option<&Map<String, Value>>,
) -> Option<HeldSettings> {
    let mut shown = digests(shown)?;
    let mut held = HeldSettings::new();
    for (path, known) in before.into_iter().flatten() {
        let form = known.shown.as_ref().unwrap_or(&known.digest);
        let place = names_of(path).find(|place| shown.contains_key(*place));
        let is_the_same = match place {
            Some(place) => shown.get(place) == Some(form),
            None => form.is_empty(),
        };
        if is_the_same {
            place.map(|place| shown.remove(place));
            held.insert(path.clone(), known.clone());
        }
    }
    held.extend(as_shown(shown));
    Some(held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::Target;

    fn map(config: Value) -> Map<String, Value> {
        config.as_object().cloned().unwrap()
    }

    /// A content of which the spec has given `given`, where the engine shows all of this.
    fn held(given: Value, shown: Value, name: &str) -> EngineContent {
        let given = map(given);
        EngineContent {
            target: Target {
                settings: name.to_owned(),
                ..Target::default()
            },
            given_settings: Some(paths(Some(&given))),
            settings: as_answered(Some(&given), Some(&map(shown))),
            ..EngineContent::default()
        }
    }

    fn name(given: Option<Value>, held: &EngineContent, settled: Option<&Settled>) -> String {
        let given = given.map(map);
        Beside::of(given.as_ref(), held, settled)
            .unwrap()
            .name(given.as_ref())
    }

    fn released(config: Value) -> String {
        settings::digest(Some(&map(config)))
    }

    #[test]
    fn a_setting_stays_unless_it_is_named_or_was_given() {
        let there = held(
            json!({"env": {"A": "1"}}),
            json!({"env": {"A": "1"}, "dev_tweaks": {"x": 1}, "resources": {"namespace": "n"},
                   "storage": {"backend": {"name": "file"}}, "clock_resolution": "5s"}),
            "n",
        );
        let all = [
            "clock_resolution",
            "dev_tweaks",
            "resources.namespace",
            "storage.backend",
        ];
        for (given, gone) in [
            (None, None),
            (Some(json!({})), Some(&all[..])),
            (Some(json!({"workers": 4})), None),
            (Some(json!({"env": {"B": "1"}})), None),
            // Parts of `dev_tweaks` are none of their own.
            (
                Some(json!({"dev_tweaks": {"y": 1}})),
                Some(&["dev_tweaks"][..]),
            ),
            (Some(json!({"dev_tweaks": null})), Some(&["dev_tweaks"])),
            (Some(json!({"resources": {"cpu_cores_max": 1}})), None),
            (
                Some(json!({"resources": {"namespace": null}})),
                Some(&["resources.namespace"]),
            ),
            (
                Some(json!({"resources": {}})),
                Some(&["resources.namespace"]),
            ),
            (Some(json!({"storage": false})), Some(&["storage.backend"])),
            (Some(json!({"storage": true})), Some(&["storage.backend"])),
            (Some(json!({"storage": {"cache_mib": 1}})), None),
            // By the name that it had before 0.366.
            (
                Some(json!({"clock_resolution_usecs": 7})),
                Some(&["clock_resolution"]),
            ),
        ] {
            let beside = Beside::of(given.clone().map(map).as_ref(), &there, None).unwrap();
            let stays: Vec<&str> = beside.staying.keys().map(String::as_str).collect();
            let gone = gone.unwrap_or_default();
            let expected: Vec<&str> = all.into_iter().filter(|it| !gone.contains(it)).collect();
            assert_eq!(stays, expected, "{given:?}");
        }
    }

    #[test]
    fn where_nothing_stays_the_name_is_the_one_that_was_released() {
        let there = held(json!({}), json!({}), "");
        for given in [
            json!({}),
            json!({"env": {"A": "1"}}),
            json!({"storage": false}),
        ] {
            assert_eq!(name(Some(given.clone()), &there, None), released(given));
        }
        // Also where the engine takes it in another form, and that comes back.
        let given = json!({"dev_tweaks": {"x": 1}});
        let shown = json!({"dev_tweaks": {"x": "1"}});
        let there = held(given.clone(), shown.clone(), &released(given.clone()));
        assert_eq!(name(Some(given.clone()), &there, None), released(given));
        assert_eq!(
            as_found(there.settings.as_ref(), Some(&map(shown))),
            there.settings
        );
    }

    #[test]
    fn the_same_settings_have_the_same_name_whoever_gave_them() {
        let both = json!({"env": {"A": "1"}, "dev_tweaks": {"x": 1}});
        let there = held(json!({}), both.clone(), "adopted");
        for given in [
            json!({"workers": 4}),
            json!({"env": {"A": "1"}}),
            both.clone(),
        ] {
            assert_eq!(name(Some(given), &there, None), "adopted");
        }
        let other = json!({"env": {"A": "2"}});
        let changed = name(Some(other.clone()), &there, None);
        assert_ne!(changed, "adopted");
        // What stays is in the name.
        assert_ne!(changed, released(other));
        // Back to what is settled, before anything else is.
        let settled = Settled {
            target: there.target.clone(),
            settings: there.settings.as_ref().map(meaning),
            ..Settled::unknown("p".into())
        };
        let after = held(
            json!({"env": {"A": "2"}}),
            json!({"env": {"A": "2"}, "dev_tweaks": {"x": 1}}),
            &changed,
        );
        let back = json!({"env": {"A": "1"}});
        assert_eq!(name(Some(back), &after, Some(&settled)), "adopted");
    }

    /// Otherwise an approval, or a no, of the one wouldn't be found as that of the other.
    #[test]
    fn settings_that_nobody_has_seen_yet_have_the_same_name_whoever_gives_them() {
        let there = held(json!({}), json!({"dev_tweaks": {"x": 1}}), "n");
        let beside = name(Some(json!({"env": {"A": "1"}})), &there, None);
        let both = json!({"env": {"A": "1"}, "dev_tweaks": {"x": 1}});
        assert_eq!(name(Some(both), &there, None), beside);
        // What others have set and doesn't stay makes no name.
        assert_eq!(name(Some(json!({})), &there, None), "");
        let other = json!({"env": {"A": "1"}, "dev_tweaks": {"x": 2}});
        assert_eq!(name(Some(other.clone()), &there, None), released(other));
        let gone = json!({"env": {"A": "1"}, "dev_tweaks": null});
        assert_eq!(name(Some(gone.clone()), &there, None), released(gone));
    }

    #[test]
    fn settings_that_differ_are_named() {
        let of = |config: Value| digests(config.as_object()).unwrap();
        let before = of(json!({"env": {"A": "1"}, "workers": 4, "dev_tweaks": {"x": 1}}));
        let after = of(
            json!({"env": {"A": "2"}, "workers": 8, "storage": {"backend": {"name": "file"}},
                              "dev_tweaks": {"x": 1}}),
        );
        let paths = differences(&before, &after);
        assert_eq!(paths.iter().collect::<Vec<_>>(), ["env", "storage.backend"]);
        assert_eq!(keys(&paths), ["env", "storage"]);
        assert!(differences(&before, &before).is_empty());
    }

    #[test]
    fn no_configuration_has_the_name_of_settings_that_were_told_apart() {
        let there = held(json!({}), json!({"dev_tweaks": {"x": 1}}), "");
        let given = json!({"init_containers": [1]});
        let of_both = name(Some(given.clone()), &there, None);
        // Somebody writes the digests that the status shows in the place of the values.
        let beside = Beside::of(Some(&map(given.clone())), &there, None).unwrap();
        let forged = json!(beside.all(Some(&map(given))).unwrap());
        assert_ne!(released(forged), of_both);
    }

    #[test]
    fn what_cannot_be_told_apart_is_not_known() {
        let many: Map<String, Value> = (0..200).map(|n| (format!("k{n}"), json!(n))).collect();
        for config in [many, map(json!({"a.b": 1})), map(json!({"\u{202e}": 1}))] {
            assert_eq!(digests(Some(&config)), None);
            assert_eq!(as_found(None, Some(&config)), None);
        }
    }

    #[test]
    fn what_somebody_changes_at_the_engine_is_taken_as_it_is_shown() {
        let there = held(
            json!({"env": {"A": "1"}, "x": 1}),
            json!({"env": {"A": "1"}}),
            "n",
        );
        // The engine has dropped one without a word, and still does.
        let same = as_found(
            there.settings.as_ref(),
            Some(&map(json!({"env": {"A": "1"}}))),
        );
        assert_eq!(same, there.settings);
        let shown = map(json!({"env": {"A": "2"}, "x": 1}));
        let found = as_found(there.settings.as_ref(), Some(&shown)).unwrap();
        assert_eq!(Some(meaning(&found)), digests(Some(&shown)));
    }
}
