//! Types what `docs/kubectl-sluice.md` shows, and holds the page to what is then seen. What differs from
//! run to run (ids, times, the name of the namespace) is compared by its place.
//!
//! `SLUICE_UPDATE_DOCS=1` writes what is seen into the page.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use regex::{Captures, Regex};

use super::plugin::plugin;
use super::story::Story;
use super::support::{said, workspace};

const PAGE: &str = "docs/kubectl-sluice.md";
const BEGIN: &str = "```console\n";
const END: &str = "```";
/// The namespace, as the page calls it.
const NAMESPACE: &str = "shop";

/// A command of the page, and what it shows below.
#[derive(Debug, PartialEq)]
pub struct Typed {
    pub command: String,
    pub shown: String,
}

/// The page in parts: text as it is, and blocks of commands.
pub enum Part {
    Text(String),
    Block(Vec<Typed>),
}

pub fn parts(page: &str) -> Vec<Part> {
    let mut parts = vec![];
    let mut rest = page;
    while let Some(begin) = rest.find(BEGIN) {
        parts.push(Part::Text(rest[..begin].to_owned()));
        let block = &rest[begin + BEGIN.len()..];
        let end = block.find(END).expect("the block ends");
        parts.push(Part::Block(commands(&block[..end])));
        rest = &block[end + END.len()..];
    }
    parts.push(Part::Text(rest.to_owned()));
    parts
}

fn commands(block: &str) -> Vec<Typed> {
    let mut all: Vec<Typed> = vec![];
    for line in block.lines() {
        match (line.strip_prefix("$ "), all.last_mut()) {
            (Some(command), _) => all.push(Typed {
                command: command.to_owned(),
                shown: String::new(),
            }),
            (None, Some(last)) => last.shown += &format!("{line}\n"),
            (None, None) => panic!("{line:?} comes before any command"),
        }
    }
    all
}

pub fn page_of(parts: &[Part]) -> String {
    let block = |typed: &[Typed]| {
        let lines = typed
            .iter()
            .map(|typed| format!("$ {}\n{}", typed.command, typed.shown));
        format!("{BEGIN}{}{END}", lines.collect::<String>())
    };
    let texts = parts.iter().map(|part| match part {
        Part::Text(text) => text.clone(),
        Part::Block(typed) => block(typed),
    });
    texts.collect()
}

/// Gives what differs from run to run names by its order, over the whole page.
#[derive(Default)]
pub struct Names {
    ids: HashMap<String, usize>,
}

impl Names {
    /// The text with them in place of what differs.
    pub fn replaced(&mut self, text: &str) -> String {
        let replace = |text: &str, pattern: &str, by: &str| {
            let pattern = Regex::new(pattern).expect("a pattern");
            pattern.replace_all(text, by).into_owned()
        };
        let text = replace(text, r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID");
        let text = replace(&text, r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(Z| UTC)", "TIME");
        let text = replace(&text, r"\b\d+[smhd](\d+[smhd])?\b", "AGE");
        let text = replace(&text, r"checkpoint \d+", "checkpoint N");
        let text = replace(&text, r"\b[0-9a-f]{16}\b", "NAME");
        // How far it is when somebody looks isn't the same each time.
        let text = replace(
            &text,
            r"(?m)^(waiting until|approved|the engine has)[^\n]*…\n",
            "",
        );
        let text = replace(
            &text,
            r"is applied, and a checkpoint keeps it",
            "is applied",
        );
        // Columns are as wide as what stands in them.
        let text = replace(&text, r"  +", "  ");
        let ids = Regex::new(r"\b([0-9a-f]{32}|[0-9a-f]{8})\b").expect("a pattern");
        ids.replace_all(&text, |found: &Captures| {
            let id = found[1].to_owned();
            let next = self.ids.len();
            let number = *self.ids.entry(id[..8].to_owned()).or_insert(next);
            format!("ID{number}/{}", id.len())
        })
        .into_owned()
    }
}

/// A shell in the folder of the examples, in the story's namespace.
struct Shell {
    folder: tempfile::TempDir,
    path: std::ffi::OsString,
    namespace: String,
}

impl Shell {
    async fn of(story: &Story) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for file in std::fs::read_dir(workspace().join("examples")).expect("the examples") {
            let file = file.expect("a file").path();
            if file.is_file() {
                let to = folder.path().join(file.file_name().expect("a name"));
                std::fs::copy(&file, to).expect("a copy");
            }
        }
        let plane = story.cluster().plane();
        let kubeconfig = plane.kubeconfig_path_for("alice").expect("alice");
        let own = folder.path().join(".kubeconfig");
        std::fs::copy(kubeconfig, &own).expect("a copy");
        let kubectl = plane.kubectl("alice").expect("alice");
        let kubectl = PathBuf::from(kubectl.get_program());
        let plugin = plugin().await;
        let mut path = std::ffi::OsString::new();
        for further in [kubectl.parent(), plugin.parent()].into_iter().flatten() {
            path.push(further);
            path.push(":");
        }
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let shell = Self {
            folder,
            path,
            namespace: story.namespace.to_string(),
        };
        let set = format!(
            "kubectl config set-context --current --namespace {}",
            shell.namespace
        );
        shell.run(&set).await;
        shell
    }

    /// What a command shows, the namespace called as the page calls it.
    async fn run(&self, command: &str) -> String {
        let mut bash = Command::new("bash");
        bash.args(["-c", &format!("exec 2>&1; {command}")])
            .current_dir(self.folder.path())
            .env("PATH", &self.path)
            .env("KUBECONFIG", self.folder.path().join(".kubeconfig"))
            .stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || bash.output().expect("bash"))
            .await
            .expect("no panic");
        // A column that begins with the namespace is as wide as the page's.
        let line = |line: &str| match line.split_once(' ') {
            Some((first, rest)) if first == "NAMESPACE" || first == self.namespace => {
                let first = first.replace(&self.namespace, NAMESPACE);
                format!("{first:<9}   {}\n", rest.trim_start())
            }
            _ => format!("{}\n", line.replace(&self.namespace, NAMESPACE)),
        };
        said(&output).lines().map(line).collect()
    }
}

#[tokio::test]
async fn the_page_of_the_plugin_shows_what_is_seen() {
    let path = workspace().join(PAGE);
    let page = std::fs::read_to_string(&path).expect("the page");
    let mut story = Story::without_operator(&[]).await;
    let (url, namespace) = (story.engine.url.clone(), story.namespace.to_string());
    story
        .start_operator_with(&["--engine-url", &url, "--engine-namespace", &namespace])
        .await;
    for role in ["sluice-editor", "sluice-approver"] {
        story.cluster().grant(&namespace, "alice", role).await;
    }
    let shell = Shell::of(&story).await;
    super::story::eventually("alice's rights count", || async {
        let said = shell.run("kubectl sluice list").await;
        said.starts_with("Nothing waits").then_some(()).ok_or(said)
    })
    .await;

    let mut seen = parts(&page);
    for part in &mut seen {
        let Part::Block(block) = part else { continue };
        for typed in block {
            typed.shown = shell.run(&typed.command).await;
        }
    }
    let seen = page_of(&seen);
    if std::env::var_os("SLUICE_UPDATE_DOCS").is_some() {
        std::fs::write(&path, seen).expect("the page");
        return;
    }
    let (shown, now) = (
        Names::default().replaced(&page),
        Names::default().replaced(&seen),
    );
    for (shown, now) in shown.lines().zip(now.lines()) {
        assert_eq!(
            shown, now,
            "{PAGE} shows something else than is seen; SLUICE_UPDATE_DOCS=1 writes it anew. All that is seen:\n{seen}"
        );
    }
    assert_eq!(shown, now);
}
