//! What a change is: its canonical form, and the id that names it.
//!
//! A change id is the first 32 hex digits of SHA-256 over the canonical JSON (RFC 8785) of what is
//! approved: the object, the change that went before, what would run, and how it would be
//! bootstrapped. Ids form a chain, as Git's do: the same edit made again later is another change.

use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::crd::{BootstrapOptions, Target};
use crate::settings;

/// The parent of the first change of a Pipeline.
pub const ROOT: &str = "root";

/// The version of the canonical form.
const FORMAT: u32 = 1;

/// How many hex digits name a change.
const ID_DIGITS: usize = 32;

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
}

impl Content {
    /// The digests of what would run: what a change is made of.
    pub fn target(&self) -> Target {
        Target {
            sql: short_digest(&self.sql),
            udf_rust: short_digest(&self.udf_rust),
            udf_toml: short_digest(&self.udf_toml),
            config: short_digest(&self.program_config),
            runtime_version: self
                .program_config
                .as_ref()
                .and_then(|config| config.get("runtime_version"))
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            settings: settings::digest(self.runtime_config.as_ref()),
            without_storage: settings::storage_is_off(self.runtime_config.as_ref()),
        }
    }

    /// The digest of everything that the engine is given, so also of those settings that may change unasked.
    pub fn digest(&self) -> String {
        short_digest(&json!({
            // The settings are in it as a whole.
            "target": self.target().without_settings(),
            "runtime_config": self.runtime_config,
        }))
    }
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

/// SHA-256 over the canonical JSON of a value, in hex. Numbers go in as strings: RFC 8785 knows
/// only doubles, and how a number is kept in memory must not make a difference.
pub fn digest<T: Serialize>(value: &T) -> String {
    // What is digested here are JSON values and structs of strings: they always serialize.
    let value = serde_json::to_value(value).map(numbers_as_strings);
    let canonical =
        serde_json_canonicalizer::to_vec(&value.unwrap_or_default()).unwrap_or_default();
    Sha256::digest(canonical)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn numbers_as_strings(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::String(
            number
                .as_i64()
                .map(|n| n.to_string())
                .or_else(|| number.as_u64().map(|n| n.to_string()))
                .or_else(|| number.as_f64().map(|n| n.to_string()))
                .unwrap_or_else(|| number.to_string()),
        ),
        Value::Array(list) => list.into_iter().map(numbers_as_strings).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key, numbers_as_strings(value)))
            .collect(),
        other => other,
    }
}

/// The first half of [`digest`], which is long enough for an id.
pub fn short_digest<T: Serialize>(value: &T) -> String {
    let mut digest = digest(value);
    digest.truncate(ID_DIGITS);
    digest
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

        #[test]
        fn the_digest_does_not_depend_on_the_order_of_keys(a in 0i32..100, b in 0i32..100) {
            let one: Value = serde_json::from_str(&format!(r#"{{"x":{a},"y":{b}}}"#)).unwrap();
            let two: Value = serde_json::from_str(&format!(r#"{{"y":{b},"x":{a}}}"#)).unwrap();
            prop_assert_eq!(digest(&one), digest(&two));
        }
    }
}
