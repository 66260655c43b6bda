//! How a program differs from the one before, part by part.

use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};
use sluice::crd::{KeptProgram, Omission, Target};
use sluice::gate::change::{Content, differences};
use sluice::gate::snapshot::{self, Part};

use crate::output::{style, styled};
use crate::printable::{code, one_line};

/// How many lines around a change are shown.
const CONTEXT: usize = 3;

/// A part of the program that differs.
#[derive(Debug, PartialEq)]
pub struct PartDiff {
    pub part: Part,
    /// Both texts, or why they can't be shown.
    pub texts: Result<(String, String), String>,
}

/// Where the text of a program can be found; each is believed only if it has the digest that is asked for.
#[derive(Default)]
pub struct Source<'a> {
    /// What the status keeps.
    pub kept: Option<&'a KeptProgram>,
    /// What a spec resolves to, or why it doesn't.
    pub content: Option<Result<&'a Content, &'a str>>,
}

/// The parts that differ between two targets, with their texts as far as they are known.
pub fn diff(before: (&Target, &Source), after: (&Target, &Source)) -> Vec<PartDiff> {
    let differ = differences(before.0, after.0);
    let parts = Part::ALL.into_iter();
    parts
        .filter(|part| differ.contains(&part.name()))
        .map(|part| PartDiff {
            part,
            texts: text(part, before.0, before.1)
                .map_err(|why| format!("the settled program: {why}"))
                .and_then(|old| {
                    let new = text(part, after.0, after.1)
                        .map_err(|why| format!("the new program: {why}"))?;
                    Ok((old, new))
                }),
        })
        .collect()
}

/// The text of a part of this target.
fn text(part: Part, target: &Target, source: &Source) -> Result<String, String> {
    if digest(part, target) == digest(part, &Content::default().target()) {
        return Ok(String::new());
    }
    let is_it = |content: &Content| digest(part, &content.target()) == digest(part, target);
    if let Some(Ok(content)) = source.content
        && is_it(content)
    {
        return Ok(part.text(content));
    }
    let kept = source.kept.map(|kept| snapshot::text(kept, part));
    if let Some(Ok(text)) = &kept
        && content_of(part, text).is_some_and(|content| is_it(&content))
    {
        return Ok(text.clone());
    }
    Err(match (kept, source.content) {
        (Some(Err(Omission::FromConfigMap)), _) => {
            "it came from a ConfigMap, and such text isn't kept in the status; compare in Git"
                .into()
        }
        (Some(Err(Omission::TooLarge)), _) => {
            "it is too large to be kept in the status; compare in Git".into()
        }
        (_, Some(Err(why))) => one_line(why),
        (_, Some(Ok(_))) => "the spec asks for another one by now".into(),
        _ => "its text isn't in the status".into(),
    })
}

fn content_of(part: Part, text: &str) -> Option<Content> {
    let text = text.to_owned();
    let nothing = Content::default();
    Some(match part {
        Part::Sql => Content {
            sql: text,
            ..nothing
        },
        Part::UdfRust => Content {
            udf_rust: text,
            ..nothing
        },
        Part::UdfToml => Content {
            udf_toml: text,
            ..nothing
        },
        Part::Config => Content {
            program_config: Some(serde_json::from_str(&text).ok()?),
            ..nothing
        },
        Part::Settings => Content {
            runtime_config: Some(serde_json::from_str(&text).ok()?),
            ..nothing
        },
    })
}

fn digest(part: Part, target: &Target) -> &str {
    match part {
        Part::Sql => &target.sql,
        Part::UdfRust => &target.udf_rust,
        Part::UdfToml => &target.udf_toml,
        Part::Config => &target.config,
        Part::Settings => &target.settings,
    }
}

/// What a part is called.
fn title(part: Part) -> &'static str {
    match part {
        Part::Sql => "SQL program",
        Part::UdfRust => "Rust of the user-defined functions",
        Part::UdfToml => "Cargo dependencies of the user-defined functions",
        Part::Config => "program configuration",
        Part::Settings => "runtime settings",
    }
}

impl PartDiff {
    /// For people: a heading, and the diff below it.
    pub fn to_text(&self) -> String {
        let name = title(self.part);
        match &self.texts {
            Err(why) => {
                let line = format!("{name} differs, and can't be shown: {why}");
                format!("{}\n", styled(style::WARNING, &line))
            }
            Ok((old, new)) => {
                let diff = TextDiff::from_lines(old, new);
                let (added, removed) = count(&diff);
                let lines = if added == 1 { "line" } else { "lines" };
                let heading = format!("{name} ({added} {lines} added, {removed} removed)");
                format!("{}\n{}", styled(style::HEADING, &heading), coloured(&diff))
            }
        }
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        match &self.texts {
            Err(why) => json!({"part": self.part.name(), "notShown": why}),
            Ok((old, new)) => {
                let diff = TextDiff::from_lines(old, new);
                let (added, removed) = count(&diff);
                json!({
                    "part": self.part.name(),
                    "added": added,
                    "removed": removed,
                    "diff": diff.unified_diff().context_radius(CONTEXT).to_string(),
                })
            }
        }
    }
}

fn count(diff: &TextDiff<'_, '_, str>) -> (usize, usize) {
    let all = diff.iter_all_changes();
    all.fold((0, 0), |(added, removed), change| match change.tag() {
        ChangeTag::Insert => (added + 1, removed),
        ChangeTag::Delete => (added, removed + 1),
        ChangeTag::Equal => (added, removed),
    })
}

fn coloured(diff: &TextDiff<'_, '_, str>) -> String {
    let mut text = String::new();
    for hunk in diff.unified_diff().context_radius(CONTEXT).iter_hunks() {
        text += &styled(style::PLACE, &format!("  {}", hunk.header()));
        text.push('\n');
        for change in hunk.iter_changes() {
            let line = change.value();
            let whole = line.strip_suffix('\n').unwrap_or(line);
            let (sign, style) = match change.tag() {
                ChangeTag::Insert => ('+', style::ADDED),
                ChangeTag::Delete => ('-', style::REMOVED),
                ChangeTag::Equal => (' ', anstyle::Style::new()),
            };
            text += &styled(style, &format!("  {sign}{}", code(whole)));
            text.push('\n');
            if !line.ends_with('\n') {
                text += "  \\ no line break at the end\n";
            }
        }
    }
    text
}

/// What of the program differs, in words.
pub fn changed(before: &Target, after: &Target) -> Vec<String> {
    let words = |part: &str| match part {
        "sql" => "SQL".to_owned(),
        "udfRust" => "Rust of the user-defined functions".to_owned(),
        "udfToml" => "Cargo dependencies of the user-defined functions".to_owned(),
        "config" => "program configuration".to_owned(),
        "settings" => "runtime settings".to_owned(),
        "runtimeVersion" => format!(
            "runtime version ({} → {})",
            version(&before.runtime_version),
            version(&after.runtime_version)
        ),
        other => other.to_owned(),
    };
    differences(before, after).into_iter().map(words).collect()
}

fn version(version: &str) -> String {
    match version {
        "" => "the engine's own".into(),
        version => one_line(version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice::crd::Program;

    fn sql(text: &str) -> Content {
        Content {
            sql: text.to_owned(),
            ..Content::default()
        }
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    fn between(old: &str, new: &str) -> Vec<PartDiff> {
        let (old, new) = (sql(old), sql(new));
        let kept = snapshot::keep(&Program::default(), &old);
        let before = Source {
            kept: Some(&kept),
            content: None,
        };
        let after = Source {
            kept: None,
            content: Some(Ok(&new)),
        };
        diff((&old.target(), &before), (&new.target(), &after))
    }

    #[test]
    fn the_sql_is_shown_line_by_line() {
        let parts = between(
            "CREATE TABLE t;\nCREATE VIEW v;\n",
            "CREATE TABLE t;\nCREATE VIEW w;",
        );
        assert_eq!(parts.len(), 1);
        assert_eq!(
            plain(&parts[0].to_text()),
            "\
SQL program (1 line added, 1 removed)
  @@ -1,2 +1,2 @@
   CREATE TABLE t;
  -CREATE VIEW v;
  +CREATE VIEW w;
  \\ no line break at the end
"
        );
        assert!(
            parts[0].to_text().contains("\u{1b}[32m"),
            "added lines are green"
        );
        assert_eq!(parts[0].to_json()["added"], 1);
        assert_eq!(between("a", "a"), []);
    }

    #[test]
    fn a_program_cannot_steer_the_terminal() {
        let parts = between("a\n", "b\u{1b}[2J\u{202e}\u{9b}1A\r\n");
        let text = plain(&parts[0].to_text());
        assert!(
            text.contains("+b\\u{1b}[2J\\u{202e}\\u{9b}1A\\u{d}"),
            "{text}"
        );
    }

    #[test]
    fn what_is_not_known_is_not_shown_as_nothing() {
        let (old, new) = (sql("a"), sql("b"));
        let program = serde_json::from_value(
            json!({"sqlFrom": {"configMapKeyRef": {"name": "code", "key": "sql"}}}),
        );
        let kept = snapshot::keep(&program.unwrap(), &old);
        let before = Source {
            kept: Some(&kept),
            content: None,
        };
        let after = Source {
            kept: None,
            content: Some(Ok(&new)),
        };
        let parts = diff((&old.target(), &before), (&new.target(), &after));
        let text = plain(&parts[0].to_text());
        assert!(
            text.contains("can't be shown: the settled program: it came from a ConfigMap"),
            "{text}"
        );
        // Neither is another text than that of the change.
        let parts = diff(
            (&sql("x").target(), &Source::default()),
            (&sql("y").target(), &after),
        );
        assert!(parts[0].texts.is_err());
        let other = sql("z");
        let moved_on = Source {
            kept: None,
            content: Some(Ok(&other)),
        };
        let parts = diff((&sql("").target(), &before), (&new.target(), &moved_on));
        let why = parts[0].texts.clone().unwrap_err();
        assert_eq!(why, "the new program: the spec asks for another one by now");
    }

    #[test]
    fn other_parts_are_called_what_they_are() {
        let old = Content::default();
        let new = Content {
            udf_rust: "fn f() {}".into(),
            program_config: json!({"runtime_version": "0.338.0"}).as_object().cloned(),
            ..Content::default()
        };
        assert_eq!(
            changed(&old.target(), &new.target()),
            [
                "Rust of the user-defined functions",
                "program configuration",
                "runtime version (the engine's own → 0.338.0)"
            ]
        );
        let content = Source {
            kept: None,
            content: Some(Ok(&new)),
        };
        let parts = diff(
            (&old.target(), &Source::default()),
            (&new.target(), &content),
        );
        let text: String = parts.iter().map(|part| plain(&part.to_text())).collect();
        assert!(text.contains("+fn f() {}"), "{text}");
        assert!(
            text.contains("+  \"runtime_version\": \"0.338.0\""),
            "{text}"
        );
    }
}
