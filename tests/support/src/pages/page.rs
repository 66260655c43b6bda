//! A page in parts, and one that is being typed.

use std::path::PathBuf;

use super::seen::Comparison;
use super::shell::{Said, Shell};
use crate::cluster::workspace;

const FENCE: &str = "```";

/// A command of a page, and what the page shows below.
#[derive(Clone, Debug, PartialEq)]
pub struct Typed {
    pub command: String,
    pub shown: String,
}

/// A part of a page.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    /// A file that the page shows.
    File {
        language: String,
        name: String,
        text: String,
    },
    Commands(Vec<Typed>),
}

/// The name of the file that a block is, if it says so in its first line.
fn file_name(language: &str, block: &str) -> Option<String> {
    let comment = match language {
        "yaml" => "# ",
        "sql" => "-- ",
        _ => return None,
    };
    let name = block.lines().next()?.strip_prefix(comment)?;
    let is_name = name.contains('.') && !name.contains([' ', '/']) && !name.ends_with('.');
    is_name.then(|| name.to_owned())
}

fn commands(block: &str) -> Vec<Typed> {
    let mut all: Vec<Typed> = vec![];
    for line in block.lines() {
        match (line.strip_prefix("$ "), all.last_mut()) {
            (Some(command), _) => all.push(Typed {
                command: command.to_owned(),
                shown: String::new(),
            }),
            (None, Some(last)) if last.command.ends_with('\\') => {
                last.command += &format!("\n{line}");
            }
            (None, Some(last)) => last.shown += &format!("{line}\n"),
            (None, None) => panic!("{line:?} comes before any command"),
        }
    }
    all
}

fn parts(page: &str) -> Vec<Part> {
    let mut parts = vec![];
    let mut text = String::new();
    let mut lines = page.split_inclusive('\n');
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix(FENCE) else {
            text += line;
            continue;
        };
        let language = language.trim().to_owned();
        let block: String = lines
            .by_ref()
            .take_while(|line| line.trim_end() != FENCE)
            .collect();
        let part = match file_name(&language, &block) {
            Some(name) => Part::File {
                language,
                name,
                text: block,
            },
            None if language == "console" => Part::Commands(commands(&block)),
            None => {
                text += &format!("{line}{block}{FENCE}\n");
                continue;
            }
        };
        parts.push(Part::Text(std::mem::take(&mut text)));
        parts.push(part);
    }
    parts.push(Part::Text(text));
    parts
}

fn page_of(parts: &[Part]) -> String {
    let part = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::File { language, text, .. } => format!("{FENCE}{language}\n{text}{FENCE}\n"),
        Part::Commands(typed) => {
            let lines = typed
                .iter()
                .map(|typed| format!("$ {}\n{}", typed.command, typed.shown));
            format!("{FENCE}console\n{}{FENCE}\n", lines.collect::<String>())
        }
    };
    parts.iter().map(part).collect()
}

/// A page that is being typed.
pub struct Page {
    path: PathBuf,
    name: &'static str,
    parts: Vec<Part>,
    /// The part, and the command within it, that is typed next.
    at: (usize, usize),
    comparison: Comparison,
    number: usize,
    differs: Vec<String>,
}

impl Page {
    /// The page with this path in the checkout.
    pub fn of(name: &'static str) -> Self {
        let path = workspace().join(name);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let parts = parts(&text);
        assert_eq!(
            page_of(&parts),
            text,
            "{name} can be written as it was read"
        );
        Self {
            path,
            name,
            parts,
            at: (0, 0),
            comparison: Comparison::default(),
            number: 0,
            differs: vec![],
        }
    }

    /// The page's text.
    pub fn text(&self) -> String {
        page_of(&self.parts)
    }

    /// How many commands were typed so far.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The command that comes next, with the ids of this run in place of the page's. Files that the page
    /// shows before it are put into the shell's folder.
    pub fn next(&mut self, shell: &Shell) -> Option<Typed> {
        loop {
            let (part, command) = self.at;
            match self.parts.get(part)? {
                Part::Commands(typed) if command < typed.len() => {
                    let typed = &typed[command];
                    return Some(Typed {
                        command: self.comparison.as_seen(&typed.command),
                        shown: typed.shown.clone(),
                    });
                }
                Part::File { name, text, .. } => shell.write(name, &self.comparison.as_seen(text)),
                Part::Text(_) | Part::Commands(_) => {}
            }
            self.at = (part + 1, 0);
        }
    }

    /// What the command has said.
    pub fn saw(&mut self, said: Said) {
        let (part, command) = self.at;
        let Some(Part::Commands(typed)) = self.parts.get_mut(part) else {
            panic!("{}: no command is being typed", self.name);
        };
        let typed = &mut typed[command];
        let what = format!("{}: $ {}", self.name, typed.command);
        self.number += 1;
        self.at = (part, command + 1);
        if typed.shown.is_empty() {
            assert!(said.success, "{what}\nfails: {}", said.text);
        } else if let Err(difference) = self.comparison.compare(&typed.shown, &said.text) {
            self.differs.push(format!("{what}\n{difference}"));
            if updates() {
                self.comparison.learn_by_order(&typed.shown, &said.text);
                typed.shown = said.text;
            } else {
                self.end();
            }
        }
    }

    /// Types all that is left of the page.
    pub async fn typed_in(mut self, shell: &Shell) {
        while let Some(typed) = self.next(shell) {
            let said = shell.run(&typed).await;
            self.saw(said);
        }
        self.end();
    }

    /// Holds the page to what was seen, or writes it anew. All of it must have been typed, unless what was
    /// seen differs.
    pub fn end(&mut self) {
        let commands = self.parts.iter().map(|part| match part {
            Part::Commands(typed) => typed.len(),
            Part::Text(_) | Part::File { .. } => 0,
        });
        let (name, number) = (self.name, self.number);
        if self.differs.is_empty() {
            assert_eq!(number, commands.sum::<usize>(), "commands of {name}");
        }
        if updates() {
            // All ids and times are of one run then.
            let seen = self.comparison.as_seen(&page_of(&self.parts));
            std::fs::write(&self.path, seen).expect("the page");
            return;
        }
        assert!(
            self.differs.is_empty(),
            "SLUICE_UPDATE_DOCS=1 writes what is seen into the page.\n{}",
            self.differs.join("\n")
        );
    }
}

fn updates() -> bool {
    std::env::var_os("SLUICE_UPDATE_DOCS").is_some()
}

#[test]
fn a_page_is_taken_apart_and_put_together_again() {
    let page = "# A\n```yaml\n# a.yaml\na: 1\n```\nand\n```text\n$ no\n```\n```console\n$ one \\\n  more\nsaid\n$ two\n```\nend\n";
    let parts = parts(page);
    assert_eq!(page_of(&parts), page);
    let typed = |command: &str, shown: &str| Typed {
        command: command.to_owned(),
        shown: shown.to_owned(),
    };
    let file = Part::File {
        language: "yaml".to_owned(),
        name: "a.yaml".to_owned(),
        text: "# a.yaml\na: 1\n".to_owned(),
    };
    assert_eq!(parts[1], file);
    let both = vec![typed("one \\\n  more", "said\n"), typed("two", "")];
    assert_eq!(parts[3], Part::Commands(both));
}
