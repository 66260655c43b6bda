//! What a change is: its canonical form, and the id that names it.
//!
//! A change id is the first 32 hex digits of SHA-256 over the canonical JSON (RFC 8785) of what is
//! approved: the object, the change that went before, what would run, and how it would be
//! bootstrapped. Ids form a chain, as Git's do: the same edit made again later is another change.
//!
//! What is digested has fields of known types, but for configurations, in which people write what they
//! like. There a number and a text that looks like it are told apart ([`exactly`](crate::canonical::exactly)). Of a program's
//! configuration no field is a number, so a digest with texts in it stayed what it was when that came;
//! the runtime configuration has both, so its exact digest is kept beside the one that was released
//! ([`Content::exact`]).

use serde_json::{Map, Value, json};

use crate::canonical::{ID_DIGITS, digest, exactly, remembered, short_digest};
use crate::crd::{BootstrapOptions, HeldSettings, Target};
use crate::held_settings::{self, Beside, Digests};
use crate::settings;

/// The parent of the first change of a Pipeline.
pub const ROOT: &str = "root";

/// The version of the canonical form.
const FORMAT: u32 = 1;

/// How many of them are shown where a person only needs to tell changes apart.
const SHORT_DIGITS: usize = 8;

/// The program and configuration that the engine is to hold, with all references resolved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Content {
    /// The SQL program.
    pub sql: String,
    /// Rust source of the user-defined functions.
    pub udf_rust: String,
    /// Their Cargo dependencies, in TOML.
    pub udf_toml: String,
    /// Feldera's `program_config`; `None` leaves it to the engine.
    pub program_config: Option<Map<String, Value>>,
    /// Feldera's `runtime_config`; `None` leaves it to the engine.
    pub runtime_config: Option<Map<String, Value>>,
    /// What it leaves to the engine, where that holds something already.
    pub kept: Kept,
    /// What is sent in the place of what is given, where that is more. It is no part of what is compared.
    pub sent: Sent,
}

/// What an update leaves as the engine holds it, since it gives nothing in its place. Where there is nothing to leave,
/// the engine's defaults count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// The target whose program configuration stays.
    pub program_config: Option<Target>,
    /// The target whose runtime settings stay.
    pub runtime_config: Option<Target>,
    /// The version of the runtime that stays beside a program configuration that doesn't name one.
    pub runtime_version: Option<String>,
    /// What of the runtime settings stays beside those that are given.
    pub settings: Option<Beside>,
}

/// Configurations as they are sent, where others have set something beside what is given, and the spec never named it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sent {
    /// The program configuration.
    pub program_config: Option<Map<String, Value>>,
    /// The runtime configuration.
    pub runtime_config: Option<Map<String, Value>>,
}

impl Content {
    /// The digests of what would run: what a change is made of.
    pub fn target(&self) -> Target {
        let mut target = self.given();
        if let Some(kept) = &self.kept.program_config
            && self.program_config.is_none()
        {
            target.config.clone_from(&kept.config);
            target.runtime_version.clone_from(&kept.runtime_version);
        } else if let Some(version) = &self.kept.runtime_version {
            target.runtime_version.clone_from(version);
        }
        if let Some(kept) = &self.kept.runtime_config
            && self.runtime_config.is_none()
        {
            target.settings.clone_from(&kept.settings);
            target.without_storage = kept.without_storage;
        } else if let Some(beside) = &self.kept.settings {
            target.settings = beside.name(self.runtime_config.as_ref());
            target.without_storage |= beside.is_without_storage();
        }
        target
    }

    /// The digests of this as the content that an engine holds. It has filled in its defaults, so a program
    /// configuration that says the same as the wanted one has the digest of that; also where others have set something beside it
    /// that was never `given`.
    pub fn target_as_held(&self, wanted: Option<&Content>, given: &[String]) -> Target {
        let said =
            |content: &Content| settings::said_of_the_program(content.program_config.as_ref());
        let here = said(self);
        let is_wanted = wanted.filter(|wanted| {
            let wanted = said(wanted);
            wanted == settings::without_what_others_set(&here, &wanted, given)
        });
        let config = match is_wanted {
            Some(wanted) => wanted.program_config.clone(),
            None => (!here.is_empty()).then_some(here),
        };
        let of_it = Content {
            program_config: config,
            ..self.clone()
        };
        Target {
            runtime_version: remembered(self.runtime_version()),
            ..of_it.target()
        }
    }

    /// The settings that it gives, as statuses name them.
    pub fn given_settings(&self) -> Vec<String> {
        let mut names = settings::unasked_in(self.runtime_config.as_ref());
        names.extend(held_settings::paths(self.runtime_config.as_ref()));
        names.extend(settings::of_the_program_in(self.program_config.as_ref()));
        names
    }

    /// The settings of this that the engine's answer doesn't show. What is in force is what it says it holds, and not what
    /// it was sent.
    pub fn not_shown_by(&self, shown: &Content) -> Vec<String> {
        let of_program =
            settings::not_shown(self.program_config.as_ref(), shown.program_config.as_ref());
        let others =
            settings::not_shown(self.runtime_config.as_ref(), shown.runtime_config.as_ref());
        let others = others.iter().map(|name| format!("runtimeConfig.{name}"));
        let of_program = of_program
            .iter()
            .map(|name| format!("program.config.{name}"));
        others.chain(of_program).collect()
    }

    /// Whether it says something of the runtime setting with this path.
    pub fn names_the_setting(&self, path: &str) -> bool {
        let given = self.runtime_config.as_ref();
        given.is_some_and(Map::is_empty)
            || settings::names(given, path)
            || held_settings::paths(given).iter().any(|it| it == path)
    }

    /// Whether an update with this leaves the runtime settings as they are.
    pub fn keeps_all_settings(&self) -> bool {
        self.runtime_config.is_none() && self.kept.runtime_config.is_some()
    }

    /// The digests of the runtime settings that don't change unasked, as they are once this is brought there. `None` if they
    /// can't be told apart.
    pub fn settings(&self) -> Option<Digests> {
        let given = self.runtime_config.as_ref();
        match &self.kept.settings {
            Some(beside) => beside.all(given),
            None => held_settings::digests(given),
        }
    }

    /// The runtime settings that don't change unasked, once the engine has given this answer to it.
    pub fn settings_answered_by(&self, shown: &Content) -> Option<HeldSettings> {
        held_settings::as_answered(self.settings()?, shown.runtime_config.as_ref())
    }

    /// The runtime version that the program configuration names; empty for the engine's own.
    pub fn runtime_version(&self) -> &str {
        let config = self.program_config.as_ref();
        let version = config.and_then(|config| config.get("runtime_version"));
        version.and_then(Value::as_str).unwrap_or_default()
    }

    /// The digests of what is given.
    fn given(&self) -> Target {
        Target {
            sql: short_digest(&self.sql),
            udf_rust: short_digest(&self.udf_rust),
            udf_toml: short_digest(&self.udf_toml),
            config: short_digest(&exactly(json!(self.program_config))),
            runtime_version: remembered(self.runtime_version()),
            settings: held_settings::name(self.runtime_config.as_ref()),
            without_storage: settings::storage_is_off(self.runtime_config.as_ref()),
        }
    }

    /// The digest of everything that the engine is given, so also of those settings that may change unasked. It doesn't
    /// tell `1` from `"1"` there, as it didn't in 0.1.0, whose statuses hold it: [`Self::is`] does.
    pub fn digest(&self) -> String {
        digest_of(&self.given(), self.runtime_config.as_ref())
    }

    /// The digest of the runtime configuration that tells `1` from `"1"`.
    pub fn exact(&self) -> String {
        short_digest(&exactly(json!(self.runtime_config)))
    }

    /// Whether this is the content of which these are the digests, where `exact` may have been stored by a
    /// release that had none.
    pub fn is(&self, digest: &str, exact: Option<&str>) -> bool {
        self.digest() == digest && exact.is_none_or(|exact| self.exact() == exact)
    }
}

/// The digest of a content with a target and a runtime configuration: [`Content::digest`].
pub fn digest_of(target: &Target, runtime_config: Option<&Map<String, Value>>) -> String {
    short_digest(&json!({
        // The settings are in it as a whole.
        "target": target.without_settings(),
        "runtime_config": runtime_config,
    }))
}

impl Target {
    /// The same, but for the runtime settings.
    pub fn without_settings(&self) -> Self {
        Self {
            settings: String::new(),
            without_storage: false,
            ..self.clone()
        }
    }
}

/// A change, before it is named.
#[derive(Clone, Debug, PartialEq)]
pub struct Change<'a> {
    /// The uid of the Pipeline.
    pub uid: &'a str,
    /// The id of the last settled change, or [`ROOT`].
    pub parent: &'a str,
    /// What would run.
    pub target: &'a Target,
    /// How it would be bootstrapped.
    pub options: BootstrapOptions,
    /// How often this target was asked about anew.
    pub revision: i64,
}

impl Change<'_> {
    /// The id: 32 hex digits.
    pub fn id(&self) -> String {
        let mut digest = digest(&json!({
            "version": FORMAT,
            "uid": self.uid,
            "parent": self.parent,
            "target": self.target,
            "options": {
                "silent": self.options.silent,
                "concurrent": self.options.concurrent,
            },
            "revision": self.revision,
        }));
        digest.truncate(ID_DIGITS);
        digest
    }
}

/// The parts that the engine takes up without asking although they alter results, so that Sluice asks
/// about them. (Source: `ProgramDiff` of Feldera at 0.337.)
pub const UNSEEN_BY_THE_ENGINE: [&str; 4] = ["udfRust", "udfToml", "runtimeVersion", "settings"];

/// The parts in which two targets differ, by the names that statuses give them: `sql`, `udfRust`,
/// `udfToml`, `config`, `runtimeVersion`, `settings`.
pub fn differences(before: &Target, after: &Target) -> Vec<&'static str> {
    // Taken apart whole, so that a part that is added isn't forgotten here.
    let Target {
        sql,
        udf_rust,
        udf_toml,
        config,
        runtime_version,
        settings,
        without_storage,
    } = before;
    [
        ("sql", *sql != after.sql),
        ("udfRust", *udf_rust != after.udf_rust),
        ("udfToml", *udf_toml != after.udf_toml),
        ("config", *config != after.config),
        ("runtimeVersion", *runtime_version != after.runtime_version),
        (
            "settings",
            *settings != after.settings || *without_storage != after.without_storage,
        ),
    ]
    .into_iter()
    .filter_map(|(part, differs)| differs.then_some(part))
    .collect()
}

/// The first digits of an id, for reading only.
pub fn short(id: &str) -> String {
    id.chars().take(SHORT_DIGITS).collect()
}

/// Whether a text is a whole change id: 32 lower-case hex digits.
pub fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn target(sql: &str) -> Target {
        Content {
            sql: sql.to_owned(),
            ..Content::default()
        }
        .target()
    }

    fn change<'a>(uid: &'a str, parent: &'a str, target: &'a Target) -> Change<'a> {
        Change {
            uid,
            parent,
            target,
            options: BootstrapOptions::default(),
            revision: 0,
        }
    }

    /// The id is stored in Git and in people's notes, so its form may never drift.
    #[test]
    fn the_id_of_a_known_change_stays_what_it_was() {
        let target = target("CREATE TABLE t (id INT);");
        assert_eq!(
            change("0b8ff2f2-7d5c-4a4c-9f51-3f3dc1e0b001", ROOT, &target).id(),
            "8ccebd6cf32a1bbde2cfae11ddd440ad"
        );
    }

    #[test]
    fn the_id_is_a_whole_id() {
        let target = target("");
        let id = change("u", ROOT, &target).id();
        assert!(is_id(&id), "{id}");
        assert!(!is_id(&id[..31]));
        assert!(!is_id(
            &id.to_uppercase().replace(|c: char| c.is_ascii_digit(), "A")
        ));
    }

    #[test]
    fn the_target_names_the_runtime_version_of_the_program_config() {
        let content = Content {
            program_config: json!({"runtime_version": "0.337.0"}).as_object().cloned(),
            ..Content::default()
        };
        assert_eq!(content.target().runtime_version, "0.337.0");
    }

    #[test]
    fn a_setting_that_may_change_unasked_is_content_but_no_change() {
        let plain = Content::default();
        let more_workers = Content {
            runtime_config: json!({"workers": 8}).as_object().cloned(),
            ..Content::default()
        };
        assert_eq!(plain.target(), more_workers.target());
        assert_ne!(plain.digest(), more_workers.digest());
        let other_env = Content {
            runtime_config: json!({"env": {"A": "1"}}).as_object().cloned(),
            ..Content::default()
        };
        assert_ne!(plain.target(), other_env.target());
    }

    /// It stands in the statuses that 0.1.0 wrote: another one would have the content brought there again.
    #[test]
    fn the_digest_of_a_content_stays_what_it_was() {
        let content = Content {
            sql: "CREATE TABLE t (id INT);".to_owned(),
            runtime_config: json!({"workers": 4, "storage": {"cache_mib": 64}, "env": {"A": "b"}})
                .as_object()
                .cloned(),
            ..Content::default()
        };
        assert_eq!(content.digest(), "3ac0a988cada5a8fde06bba949322212");
    }

    fn config(config: &str) -> Content {
        let config: Value = serde_json::from_str(config).unwrap();
        Content {
            program_config: config.as_object().cloned(),
            runtime_config: config.as_object().cloned(),
            ..Content::default()
        }
    }

    #[test]
    fn a_number_and_a_text_in_a_configuration_are_two_changes_and_one_number_is_one() {
        let uid = "u";
        let id = |text: &str| change(uid, ROOT, &config(text).target()).id();
        for (one, other) in [
            (r#"{"x": 1}"#, r#"{"x": "1"}"#),
            (r#"{"x": [{"y": 0}]}"#, r#"{"x": [{"y": "0"}]}"#),
            (r#"{"x": 1}"#, r#"{"x": "\u00001"}"#),
            (r#"{"x": "\u00001"}"#, r#"{"x": "\u0000\u00001"}"#),
            (r#"{"x": null}"#, r#"{"x": "null"}"#),
            (r#"{"x": true}"#, r#"{"x": "true"}"#),
            (r#"{"x": 9007199254740993}"#, r#"{"x": 9007199254740992}"#),
            (
                r#"{"x": 18446744073709551615}"#,
                r#"{"x": 18446744073709551616}"#,
            ),
            (
                r#"{"x": 18446744073709550000}"#,
                r#"{"x": 18446744073709549568.0}"#,
            ),
        ] {
            assert_ne!(id(one), id(other), "{one} {other}");
            assert!(!config(one).is(&config(other).digest(), Some(&config(other).exact())));
        }
        for (one, other) in [
            ("1", "1.0"),
            ("1", "1e0"),
            ("100", "1E+2"),
            ("0", "-0.0"),
            ("0.1", "1e-1"),
            ("18446744073709549568", "18446744073709549568.0"),
            ("-9223372036854775808", "-9223372036854775808.0"),
            ("100000000000000000000", "1e20"),
        ] {
            let [one, other] = [one, other].map(|x| format!(r#"{{"x": {x}}}"#));
            assert_eq!(id(&one), id(&other), "{one} {other}");
            assert_eq!(config(&one).exact(), config(&other).exact());
        }
    }

    /// They stand in the statuses that 0.1.0 has written: another one would be taken for another content, and the
    /// pipeline stopped for it.
    #[test]
    fn what_was_released_knows_its_contents_again() {
        let settings = config(
            r#"{"profile": "dev", "cache": true, "runtime_version": "1", "workers": 8,
                "env": {"LEVEL": "1"}, "min": 0.5}"#,
        );
        let content = Content {
            program_config: json!({"profile": "dev", "cache": true, "runtime_version": "1"})
                .as_object()
                .cloned(),
            ..settings
        };
        assert_eq!(content.target().config, "ba1c3d4af996f4d08c3f08341fae5a75");
        let released = "728d8a0201bfee57cf4d89e30cea6f42";
        assert_eq!(content.digest(), released);
        assert_eq!(
            Content::default().target().config,
            "74234e98afe7498fb5daf1f36ac2d78a"
        );
        assert!(content.is(released, None));
        assert!(content.is(released, Some(&content.exact())));
        let other = Content {
            runtime_config: json!({"profile": "dev", "cache": true, "runtime_version": "1",
                "workers": 8, "env": {"LEVEL": 1}, "min": 0.5})
            .as_object()
            .cloned(),
            ..content.clone()
        };
        assert!(!other.is(released, Some(&content.exact())));
    }

    proptest! {
        #[test]
        fn each_part_of_a_change_makes_another_id(
            uid in "[a-z]{1,8}", parent in "[0-9a-f]{4}", sql in ".{0,20}",
            silent: bool, revision in 0i64..5,
        ) {
            let target_a = target(&sql);
            let base = Change { uid: &uid, parent: &parent, target: &target_a,
                options: BootstrapOptions { silent, concurrent: false }, revision };
            let uid_b = format!("{uid}x");
            let parent_b = format!("{parent}0");
            let target_b = target(&format!("{sql} "));
            let others = [
                Change { uid: &uid_b, ..base.clone() },
                Change { parent: &parent_b, ..base.clone() },
                Change { target: &target_b, ..base.clone() },
                Change { options: BootstrapOptions { silent: !silent, concurrent: false }, ..base.clone() },
                Change { options: BootstrapOptions { silent: base.options.silent, concurrent: true }, ..base.clone() },
                Change { revision: revision + 1, ..base.clone() },
            ];
            for other in others {
                prop_assert_ne!(base.id(), other.id());
            }
        }
    }
}
