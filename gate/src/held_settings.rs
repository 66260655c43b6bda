//! What an engine's pipeline has of the settings that don't change unasked: as digests by their paths, and never as
//! values, which may be credentials.
//!
//! A PATCH replaces the runtime configuration as a whole. What others have set of it, and the spec never named, stays
//! all the same: it is sent along. So what an update brings is what the spec gives beside what stays, and a change is named after
//! both.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::canonical::{exactly, short_digest};
use crate::crd::{EngineContent, HeldSetting, HeldSettings};
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

/// The name of settings: a digest of what they say, whoever has set which of them. Empty if there are none.
pub fn name_of(all: &Digests) -> String {
    match all.is_empty() {
        true => String::new(),
        false => short_digest(all),
    }
}

/// The name of the settings of a configuration.
pub fn name(config: Option<&Map<String, Value>>) -> String {
    match digests(config) {
        Some(all) => name_of(&all),
        // No name that was made of digests: those stand in an object, and this in a list.
        None => short_digest(&json!([exactly(Value::Object(settings::asked_about(
            config
        )))])),
    }
}

/// What stays, of what others have set, beside what an update gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Beside {
    /// The settings that stay.
    pub staying: Digests,
}

impl Beside {
    /// What stays of a content, where this configuration takes the place of the one that it has. `None` if what it has isn't
    /// known.
    pub fn of(given: Option<&Map<String, Value>>, held: &EngineContent) -> Option<Self> {
        let there = held.settings.as_ref()?;
        let ours = held.given_settings.as_deref()?;
        // An empty one says that nothing is to be left.
        let is_empty = given.is_some_and(Map::is_empty);
        let named = digests(given)?;
        let goes = |name: &str| {
            is_empty
                || ours.iter().any(|ours| ours == name)
                || named.contains_key(name)
                || settings::names(given, name)
        };
        let mut staying = meaning(there);
        staying.retain(|path, _| !names_of(path).any(goes));
        (named.len() + staying.len() <= MOST).then_some(Self { staying })
    }

    /// All settings, once the configuration is brought there.
    pub fn all(&self, given: Option<&Map<String, Value>>) -> Option<Digests> {
        let mut all = digests(given)?;
        all.extend(self.staying.clone());
        Some(all)
    }

    /// Their name.
    pub fn name(&self, given: Option<&Map<String, Value>>) -> String {
        self.all(given)
            .map_or_else(|| name(given), |all| name_of(&all))
    }

    /// Whether the pipeline is without storage because somebody else has turned it off.
    pub fn is_without_storage(&self) -> bool {
        // As a whole it is only given where it is off.
        self.staying.contains_key("storage")
    }
}

/// What settings say, in whichever form the engine shows them. What it fills in by itself says nothing.
pub fn meaning(held: &HeldSettings) -> Digests {
    let said = held.iter().filter(|(_, it)| !it.digest.is_empty());
    said.map(|(path, it)| (path.clone(), it.digest.clone()))
        .collect()
}

/// The digests of the forms in which the engine shows settings, those that it has filled in among them.
pub fn as_shown_by(held: &HeldSettings) -> Digests {
    let forms = held.iter().map(|(path, it)| {
        let form = it.shown.as_ref().unwrap_or(&it.digest);
        (path.clone(), form.clone())
    });
    forms.filter(|(_, form)| !form.is_empty()).collect()
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

/// What is held once the engine has answered to what it was given, what stays among it. It may show that in another form, or
/// not at all; and what it shows beside it, it has filled in by itself.
pub fn as_answered(given: Digests, shown: Option<&Map<String, Value>>) -> Option<HeldSettings> {
    let (mut held, rest) = as_given(given, shown)?;
    held.extend(rest.into_iter().map(|(path, form)| {
        let (digest, shown) = (String::new(), Some(form));
        (path, HeldSetting { digest, shown })
    }));
    Some(held)
}

/// What is held by a pipeline that was given this, and that others had set something in before.
pub fn as_adopted(given: Digests, shown: Option<&Map<String, Value>>) -> Option<HeldSettings> {
    let (mut held, rest) = as_given(given, shown)?;
    held.extend(as_shown(rest));
    Some(held)
}

/// What was given, as the engine shows it, and what it shows beside it.
fn as_given(given: Digests, shown: Option<&Map<String, Value>>) -> Option<(HeldSettings, Digests)> {
    let mut shown = digests(shown)?;
    let mut held = HeldSettings::new();
    for (path, digest) in given {
        let form = names_of(&path).find_map(|name| shown.remove(name));
        let form = form.unwrap_or_default();
        let shown = (form != digest).then_some(form);
        held.insert(path, HeldSetting { digest, shown });
    }
    Some((held, shown))
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

    fn map(config: Value) -> Map<String, Value> {
        config.as_object().cloned().unwrap()
    }

    /// A content of which the spec has given `given`, where the engine shows all of this.
    fn held(given: Value, shown: Value) -> EngineContent {
        let given = map(given);
        EngineContent {
            given_settings: Some(paths(Some(&given))),
            settings: as_adopted(digests(Some(&given)).unwrap(), Some(&map(shown))),
            ..EngineContent::default()
        }
    }

    fn name_beside(given: Value, held: &EngineContent) -> String {
        let given = map(given);
        Beside::of(Some(&given), held).unwrap().name(Some(&given))
    }

    fn name_alone(config: Value) -> String {
        name(Some(&map(config)))
    }

    #[test]
    fn a_setting_stays_unless_it_is_named_or_was_given() {
        let there = held(
            json!({"env": {"A": "1"}}),
            json!({"env": {"A": "1"}, "dev_tweaks": {"x": 1}, "resources": {"namespace": "n"},
                   "storage": {"backend": {"name": "file"}}, "clock_resolution": "5s"}),
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
            let beside = Beside::of(given.clone().map(map).as_ref(), &there).unwrap();
            let stays: Vec<&str> = beside.staying.keys().map(String::as_str).collect();
            let gone = gone.unwrap_or_default();
            let expected: Vec<&str> = all.into_iter().filter(|it| !gone.contains(it)).collect();
            assert_eq!(stays, expected, "{given:?}");
        }
    }

    /// Otherwise an approval, or a no, of the one wouldn't be found as that of the other.
    #[test]
    fn the_same_settings_have_the_same_name_whoever_gives_them() {
        let both = json!({"env": {"A": "1"}, "dev_tweaks": {"x": 1}});
        let all = [
            json!({}),
            json!({"env": {"A": "1"}}),
            json!({"dev_tweaks": {"x": 1}}),
            both.clone(),
        ];
        for of_spec in &all {
            let there = held(of_spec.clone(), both.clone());
            for given in &all[1..] {
                // What the spec gave and gives no more goes.
                let gone = |key: &str| !of_spec[key].is_null() && given[key].is_null();
                let is_both = !gone("env") && !gone("dev_tweaks");
                let same = name_beside(given.clone(), &there) == name_alone(both.clone());
                assert_eq!(same, is_both, "{of_spec} {given}");
            }
        }
        // Also where others have set something else there, or nothing of it stays.
        let other = held(json!({}), json!({"env": {"A": "9"}}));
        let given = json!({"env": {"A": "1"}});
        assert_eq!(name_beside(given.clone(), &other), name_alone(given));
        assert_eq!(name_beside(json!({}), &other), "");
    }

    #[test]
    fn what_the_engine_shows_in_another_form_keeps_its_name() {
        let given = json!({"dev_tweaks": {"x": 1}});
        let shown = json!({"dev_tweaks": {"x": "1"}});
        let there = held(given.clone(), shown.clone());
        let found = as_found(there.settings.as_ref(), Some(&map(shown)));
        assert_eq!(found, there.settings);
        let found = name_of(&meaning(&found.unwrap()));
        assert_eq!(found, name_alone(given.clone()));
        assert_eq!(name_beside(given, &there), found);
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

    /// A newer engine spells it otherwise, or doesn't know it any more; and it fills in what it likes.
    #[test]
    fn what_stays_keeps_its_name_once_it_is_sent_along_and_what_the_engine_fills_in_has_none() {
        let there = held(
            json!({}),
            json!({"clock_resolution_usecs": 7, "dev_tweaks": {"x": 1}}),
        );
        let given = map(json!({"env": {"A": "1"}}));
        let beside = Beside::of(Some(&given), &there).unwrap();
        let brought = beside.all(Some(&given)).unwrap();
        let shown = json!({"env": {"A": "1"}, "clock_resolution": "7us", "of_tomorrow": 5});
        let held = as_answered(brought.clone(), Some(&map(shown.clone()))).unwrap();
        assert_eq!(name_of(&meaning(&held)), beside.name(Some(&given)));
        // It stays so, in the next update too, and what was filled in isn't sent along.
        let after = EngineContent {
            given_settings: Some(paths(Some(&given))),
            settings: Some(held.clone()),
            ..EngineContent::default()
        };
        let next = Beside::of(Some(&given), &after).unwrap();
        assert_eq!(next.all(Some(&given)).unwrap(), brought);
        assert_eq!(
            as_found(Some(&held), Some(&map(shown.clone()))),
            Some(held.clone())
        );
        // Changed by somebody, it says something.
        let mut other = shown;
        other["of_tomorrow"] = json!(6);
        let found = as_found(Some(&held), Some(&map(other))).unwrap();
        assert_ne!(name_of(&meaning(&found)), name_of(&brought));
    }

    /// The status shows digests; somebody writes them in the place of values.
    #[test]
    fn no_configuration_has_the_name_of_another_one_by_its_digests() {
        let there = held(json!({}), json!({"dev_tweaks": {"x": 1}}));
        let given = map(json!({"init_containers": [1]}));
        let all = Beside::of(Some(&given), &there).unwrap().all(Some(&given));
        let all = json!(all.unwrap());
        let told_apart = name_beside(Value::Object(given), &there);
        // With a dot in a name they aren't told apart.
        let mut dotted = all.clone();
        dotted["a.b"] = json!(1);
        for forged in [all, dotted] {
            assert_ne!(name_alone(forged), told_apart);
        }
        assert_ne!(
            name_alone(json!({"a.b": 1})),
            name_alone(json!({"a.b": "1"}))
        );
    }

    #[test]
    fn what_cannot_be_told_apart_is_not_known() {
        let many: Map<String, Value> = (0..200).map(|n| (format!("k{n}"), json!(n))).collect();
        for config in [many, map(json!({"a.b": 1})), map(json!({"\u{202e}": 1}))] {
            assert_eq!(digests(Some(&config)), None);
            assert_eq!(as_found(None, Some(&config)), None);
        }
        // Nor what is too much only together.
        let some = |prefix: &str| -> Map<String, Value> {
            (0..60)
                .map(|n| (format!("{prefix}{n}"), json!(n)))
                .collect()
        };
        let there = held(json!({}), Value::Object(some("theirs")));
        assert_eq!(Beside::of(Some(&some("ours")), &there), None);
    }

    #[test]
    fn what_somebody_changes_at_the_engine_is_taken_as_it_is_shown() {
        let there = held(
            json!({"env": {"A": "1"}, "x": 1}),
            json!({"env": {"A": "1"}}),
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
