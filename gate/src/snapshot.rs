//! The program of what is settled, kept in the status, so that people can see what a change changes.
//!
//! What comes from a ConfigMap isn't kept: who may read the Pipeline may not be allowed to read that.

use std::io::{Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use serde_json::{Map, Value};

use crate::change::Content;
use crate::crd::{KeptProgram, Omission, Program};
use crate::settings;

/// How many characters all parts together may take in the status. SQL takes about a fifth of its size,
/// so that mostly everything is kept that a spec can hold.
const MOST: usize = 64 * 1024;

/// What one part may unfold to, so that nothing that somebody has put there fills the memory.
const MOST_UNFOLDED: u64 = 4 * 1024 * 1024;

/// The parts of a program that are text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The SQL program.
    Sql,
    /// The Rust source of the user-defined functions.
    UdfRust,
    /// Their Cargo dependencies.
    UdfToml,
    /// The program configuration.
    Config,
    /// The runtime settings that don't change unasked.
    Settings,
}

impl Part {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 5] = [
        Self::Sql,
        Self::UdfRust,
        Self::UdfToml,
        Self::Config,
        Self::Settings,
    ];

    /// Its name in statuses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sql => "sql",
            Self::UdfRust => "udfRust",
            Self::UdfToml => "udfToml",
            Self::Config => "config",
            Self::Settings => "settings",
        }
    }

    /// Its text in a content; configuration and settings as indented JSON.
    pub fn text(self, content: &Content) -> String {
        match self {
            Self::Sql => content.sql.clone(),
            Self::UdfRust => content.udf_rust.clone(),
            Self::UdfToml => content.udf_toml.clone(),
            Self::Config => content
                .program_config
                .as_ref()
                .map_or_else(String::new, indented),
            Self::Settings => {
                let settings = settings::asked_about(content.runtime_config.as_ref());
                if settings.is_empty() {
                    String::new()
                } else {
                    indented(&settings)
                }
            }
        }
    }

    fn is_from_config_map(self, program: &Program) -> bool {
        match self {
            Self::Sql => program.sql_from.is_some(),
            Self::UdfRust => program.udf_rust_from.is_some(),
            Self::UdfToml => program.udf_toml_from.is_some(),
            Self::Config | Self::Settings => false,
        }
    }

    fn of(self, kept: &KeptProgram) -> Option<&String> {
        match self {
            Self::Sql => kept.sql.as_ref(),
            Self::UdfRust => kept.udf_rust.as_ref(),
            Self::UdfToml => kept.udf_toml.as_ref(),
            Self::Config => kept.config.as_ref(),
            Self::Settings => kept.settings.as_ref(),
        }
    }

    fn place(self, kept: &mut KeptProgram) -> &mut Option<String> {
        match self {
            Self::Sql => &mut kept.sql,
            Self::UdfRust => &mut kept.udf_rust,
            Self::UdfToml => &mut kept.udf_toml,
            Self::Config => &mut kept.config,
            Self::Settings => &mut kept.settings,
        }
    }
}

fn indented(object: &Map<String, Value>) -> String {
    // JSON values always serialize.
    serde_json::to_string_pretty(object).unwrap_or_default()
}

/// What is kept of a program.
pub fn keep(program: &Program, content: &Content) -> KeptProgram {
    let mut kept = KeptProgram::default();
    let mut room = MOST;
    for part in Part::ALL {
        let text = part.text(content);
        if text.is_empty() {
            continue;
        }
        let folded = match part.is_from_config_map(program) {
            true => Err(Omission::FromConfigMap),
            false => Ok(fold(&text)).and_then(|folded| match folded.len() > room {
                true => Err(Omission::TooLarge),
                false => Ok(folded),
            }),
        };
        match folded {
            Ok(folded) => {
                room -= folded.len();
                *part.place(&mut kept) = Some(folded);
            }
            Err(why) => {
                kept.omitted.insert(part.name().to_owned(), why);
            }
        }
    }
    kept
}

/// The text of a part, empty if there was none; or why it can't be told.
///
/// # Errors
/// When it isn't kept, or what is kept can't be read.
pub fn text(kept: &KeptProgram, part: Part) -> Result<String, Omission> {
    match (part.of(kept), kept.omitted.get(part.name())) {
        (Some(folded), _) => unfold(folded).ok_or(Omission::Unknown),
        (None, Some(why)) => Err(*why),
        (None, None) => Ok(String::new()),
    }
}

fn fold(text: &str) -> String {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to a Vec can't fail.
    let _ = gzip.write_all(text.as_bytes());
    STANDARD.encode(gzip.finish().unwrap_or_default())
}

fn unfold(folded: &str) -> Option<String> {
    let gzip = STANDARD.decode(folded).ok()?;
    let mut text = String::new();
    let mut reader = GzDecoder::new(gzip.as_slice()).take(MOST_UNFOLDED);
    reader.read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn program(value: serde_json::Value) -> Program {
        serde_json::from_value(value).unwrap()
    }

    fn content(sql: &str) -> Content {
        Content {
            sql: sql.to_owned(),
            udf_rust: "fn f() {}".to_owned(),
            program_config: json!({"profile": "dev"}).as_object().cloned(),
            ..Content::default()
        }
    }

    #[test]
    fn what_is_kept_is_the_text_itself() {
        let content = content("CREATE TABLE größe (id INT);\n");
        let kept = keep(&program(json!({"sql": ""})), &content);
        for part in Part::ALL {
            assert_eq!(text(&kept, part), Ok(part.text(&content)), "{part:?}");
        }
        assert_eq!(kept.udf_toml, None, "nothing is kept of what is empty");
        // Kept again, it is the same, or the status would be written without end.
        assert_eq!(keep(&program(json!({"sql": ""})), &content), kept);
    }

    #[test]
    fn what_comes_from_a_config_map_is_not_kept() {
        let from = json!({"sqlFrom": {"configMapKeyRef": {"name": "program", "key": "sql"}}});
        let kept = keep(&program(from), &content("'password': 'secret'"));
        assert_eq!(text(&kept, Part::Sql), Err(Omission::FromConfigMap));
        assert_eq!(kept.sql, None);
        assert_eq!(text(&kept, Part::UdfRust), Ok("fn f() {}".to_owned()));
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        // Digits of a simple generator, which hardly fold.
        let mut seed = 1u64;
        let noise: String = (0..200_000)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                char::from(b'!' + u8::try_from(seed >> 58).unwrap())
            })
            .collect();
        let kept = keep(&program(json!({"sql": ""})), &content(&noise));
        assert_eq!(text(&kept, Part::Sql), Err(Omission::TooLarge));
        assert_eq!(text(&kept, Part::UdfRust), Ok("fn f() {}".to_owned()));
        assert!(serde_json::to_string(&kept).unwrap().len() < 1024);
    }

    #[test]
    fn what_cannot_be_read_is_unknown() {
        for odd in ["!", "aGVsbG8="] {
            let kept = KeptProgram {
                sql: Some(odd.to_owned()),
                ..KeptProgram::default()
            };
            assert_eq!(text(&kept, Part::Sql), Err(Omission::Unknown), "{odd}");
        }
    }
}
