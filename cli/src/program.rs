//! How a program differs from the one before, part by part. What can't be shown is said, and never shown as no difference; and what
//! isn't known to differ isn't said to.

use serde_json::{Map, Value, json};
use similar::{ChangeTag, TextDiff};
use sluice_gate::change::{Content, differences};
use sluice_gate::crd::{KeptProgram, Omission, Target};
use sluice_gate::held_settings::Digests;
use sluice_gate::snapshot::{self, Part};

use crate::differing::{Differing, is_part_of};
use crate::output::{style, styled};
use sluice_gate::printable::{code, one_line};

/// How many lines around a change are shown.
const CONTEXT: usize = 3;

/// A part of the program that differs, or may.
#[derive(Debug, PartialEq)]
pub struct PartDiff {
    pub part: Part,
    pub shown: Shown,
    /// Of the runtime settings, which.
    pub settings: Named,
}

/// What can be shown of a part.
#[derive(Debug, PartialEq)]
pub enum Shown {
    /// The text before and the one after.
    Texts(String, String),
    /// It differs, and that can't be shown: why.
    Not(String),
    /// It isn't known whether it differs. The text that is asked for, or why it can't be shown.
    Unknown(Result<String, String>),
}

/// Runtime settings by their paths.
#[derive(Debug, Default, PartialEq)]
pub struct Named {
    /// Those that differ, as far as they are known.
    pub differ: Vec<String>,
    /// Those of which the texts don't show all.
    pub hidden: Vec<String>,
    /// Those that somebody has set at the engine.
    pub set_at_the_engine: Vec<String>,
}

/// What stands in the place of values that others have set.
const READ_THERE: &str =
    "Sluice keeps no values of what somebody has set at the engine: read them there";

/// Where the text of a program can be found; each is believed only if it has the digest that is asked for.
#[derive(Default)]
pub struct Source<'a> {
    /// What the status keeps.
    pub kept: Option<&'a KeptProgram>,
    /// What a spec resolves to, or why it doesn't.
    pub content: Option<Result<&'a Content, &'a str>>,
}

/// The parts that differ between two targets, with their texts as far as they are known.
pub fn diff(
    before: (&Target, &Source),
    after: (&Target, &Source),
    settings: &Differing,
) -> Vec<PartDiff> {
    let differ = differences(before.0, after.0);
    let parts = Part::ALL.into_iter();
    parts
        .filter(|part| differ.contains(&part.name()))
        .map(|part| {
            let old = text(part, before, settings.before.as_ref());
            let new = text(part, after, settings.after.as_ref());
            let named = match part {
                Part::Settings => named(settings, &old, &new),
                _ => Named::default(),
            };
            let shown = match (old, new) {
                (Err(why), _) => Shown::Not(format!("the settled program: {why}")),
                (_, Err(why)) => Shown::Not(format!("the new program: {why}")),
                // They aren't the whole of it, or they would differ.
                (Ok(old), Ok(new)) if old == new && named.differ.is_empty() => {
                    Shown::Not("they are too many to be told apart, or have unusual names; read them at the engine".into())
                }
                (Ok(old), Ok(new)) if old == new => Shown::Not(READ_THERE.into()),
                (Ok(old), Ok(new)) => Shown::Texts(old, new),
            };
            PartDiff {
                part,
                shown,
                settings: named,
            }
        })
        .collect()
}

/// All parts of a target, where nobody knows what was before: nothing can be said to differ, or not to.
pub fn of_unknown_origin(target: &Target, source: &Source, settings: &Differing) -> Vec<PartDiff> {
    let parts = Part::ALL.into_iter();
    parts
        .map(|part| {
            let asked_for = text(part, (target, source), settings.after.as_ref());
            let settings = match part {
                Part::Settings => named(settings, &Ok(String::new()), &asked_for),
                _ => Named::default(),
            };
            PartDiff {
                part,
                shown: Shown::Unknown(asked_for),
                settings,
            }
        })
        .collect()
}

fn named(
    settings: &Differing,
    old: &Result<String, String>,
    new: &Result<String, String>,
) -> Named {
    let text = |text: &Result<String, String>| text.clone().unwrap_or_default();
    Named {
        differ: settings.paths().into_iter().flatten().collect(),
        hidden: settings.hidden(&text(old), &text(new)),
        set_at_the_engine: settings.set_by_others.iter().cloned().collect(),
    }
}

/// The text of a part of this target. Of settings it may show a part: `settings` are the digests of all, if they are known.
fn text(
    part: Part,
    (target, source): (&Target, &Source),
    settings: Option<&Digests>,
) -> Result<String, String> {
    if digest(part, target) == digest(part, &Content::default().target()) {
        return Ok(String::new());
    }
    let is_it = |content: &Content| digest(part, &content.target()) == digest(part, target);
    // What the spec leaves as it is has no text there.
    let leaves_it = |content: &Content| {
        part == Part::Config
            && content.program_config.is_none()
            && content.kept.program_config.is_some()
    };
    if let Some(Ok(content)) = source.content
        && is_it(content)
        && !leaves_it(content)
    {
        return Ok(part.text(content));
    }
    let kept = source.kept.map(|kept| snapshot::text(kept, part));
    if let Some(Ok(text)) = &kept {
        let is_part = part == Part::Settings && settings.is_some_and(|all| is_part_of(text, all));
        if is_part || content_of(part, text).is_some_and(|content| is_it(&content)) {
            return Ok(text.clone());
        }
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
        (_, Some(Ok(content))) if is_it(content) => READ_THERE.into(),
        (_, Some(Ok(_))) if part == Part::Settings => {
            "the spec, beside what others have set at the engine, asks for another one by now"
                .into()
        }
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

/// What a part does if it is another one.
fn differs(part: Part) -> &'static str {
    match part {
        Part::UdfToml | Part::Settings => "differ",
        Part::Sql | Part::UdfRust | Part::Config => "differs",
    }
}

/// That nobody knows whether it is another one.
fn may_differ(part: Part) -> String {
    let it = match differs(part) {
        "differ" => "they differ",
        _ => "it differs",
    };
    format!("it isn't known whether {it}, since nobody recorded what the checkpoint was made from")
}

impl PartDiff {
    /// For people: a heading, and the diff below it.
    pub fn to_text(&self) -> String {
        let (part, name) = (self.part, title(self.part));
        let mut text = match &self.shown {
            Shown::Not(why) => {
                let names = match self.settings.differ.is_empty() {
                    true => String::new(),
                    false => format!(" in {}", one_line(&self.settings.differ.join(", "))),
                };
                let line = format!("{name} {}{names}, and can't be shown: {why}", differs(part));
                return format!("{}\n", styled(style::WARNING, &line));
            }
            Shown::Texts(old, new) => {
                let diff = TextDiff::from_lines(old, new);
                let (added, removed) = count(&diff);
                let lines = if added == 1 { "line" } else { "lines" };
                let heading = format!("{name} ({added} {lines} added, {removed} removed)");
                format!("{}\n{}", styled(style::HEADING, &heading), coloured(&diff))
            }
            Shown::Unknown(asked_for) => {
                let known = format!("{name}: {}", may_differ(part));
                let (line, below) = match asked_for {
                    Ok(text) if text.is_empty() => (format!("{known}; the spec has none"), ""),
                    Ok(text) => (format!("{known}; the spec has"), text.as_str()),
                    Err(why) => (
                        format!("{known}, and what is asked for can't be shown: {why}"),
                        "",
                    ),
                };
                let below = below.lines().map(|line| format!("   {}\n", code(line)));
                let below: String = below.collect();
                format!("{}\n{below}", styled(style::WARNING, &line))
            }
        };
        if let Some(why) = self.not_all_is_shown() {
            text += &format!("  {}\n", styled(style::WARNING, &one_line(&why)));
        }
        text
    }

    /// Of which settings the texts don't show all.
    fn not_all_is_shown(&self) -> Option<String> {
        let hidden = &self.settings.hidden;
        (!hidden.is_empty()).then(|| {
            format!(
                "not shown, or not whole: {}. {READ_THERE}",
                hidden.join(", ")
            )
        })
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let mut json = Map::new();
        let mut put = |key: &str, value: Value| json.insert(key.to_owned(), value);
        put("part", self.part.name().into());
        match &self.shown {
            Shown::Not(why) => {
                put("notShown", json!(why));
            }
            Shown::Texts(old, new) => {
                let diff = TextDiff::from_lines(old, new);
                let (added, removed) = count(&diff);
                let unified = diff.unified_diff().context_radius(CONTEXT).to_string();
                put("added", added.into());
                put("removed", removed.into());
                put("diff", unified.into());
                if let Some(why) = self.not_all_is_shown() {
                    put("notShown", why.into());
                }
            }
            Shown::Unknown(asked_for) => {
                let known = may_differ(self.part);
                let (why, text) = match asked_for {
                    Ok(text) => (known, Some(text)),
                    Err(why) => (
                        format!("{known}, and what is asked for can't be shown: {why}"),
                        None,
                    ),
                };
                put("notShown", why.into());
                put("askedFor", json!(text));
            }
        }
        if self.part == Part::Settings {
            put("settings", json!(self.settings.differ));
            put("setAtTheEngine", json!(self.settings.set_at_the_engine));
        }
        Value::Object(json)
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

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_gate::crd::Program;

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
        diff(
            (&old.target(), &before),
            (&new.target(), &after),
            &Differing::default(),
        )
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
        let parts = diff(
            (&old.target(), &before),
            (&new.target(), &after),
            &Differing::default(),
        );
        let text = plain(&parts[0].to_text());
        assert!(
            text.contains("can't be shown: the settled program: it came from a ConfigMap"),
            "{text}"
        );
        // Neither is another text than that of the change.
        let parts = diff(
            (&sql("x").target(), &Source::default()),
            (&sql("y").target(), &after),
            &Differing::default(),
        );
        assert!(matches!(parts[0].shown, Shown::Not(_)));
        let other = sql("z");
        let moved_on = Source {
            kept: None,
            content: Some(Ok(&other)),
        };
        let parts = diff(
            (&sql("").target(), &before),
            (&new.target(), &moved_on),
            &Differing::default(),
        );
        let why = "the new program: the spec asks for another one by now".to_owned();
        assert_eq!(parts[0].shown, Shown::Not(why));
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
            sluice_gate::describe::changed(&old.target(), &new.target(), &[]),
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
            &Differing::default(),
        );
        let text: String = parts.iter().map(|part| plain(&part.to_text())).collect();
        assert!(text.contains("+fn f() {}"), "{text}");
        assert!(
            text.contains("+  \"runtime_version\": \"0.338.0\""),
            "{text}"
        );
    }
}
