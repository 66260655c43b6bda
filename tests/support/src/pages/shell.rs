//! Where the commands of a page are typed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use regex::{NoExpand, Regex};

use super::page::Typed;
use super::seen::Comparison;
use crate::cluster::{said, workspace};

/// How long a watch may take until it has shown what the page shows.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a command has said, to standard output and standard error, in the page's words.
pub struct Said {
    pub text: String,
    pub success: bool,
}

/// A shell in a folder of its own, in which the programs are that the page has.
pub struct Shell {
    folder: tempfile::TempDir,
    path: OsString,
    environment: Vec<(String, OsString)>,
    /// What the page calls something, and what it is called here.
    words: Vec<(String, String)>,
}

/// Copies a folder, or a file.
fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        std::fs::copy(from, to).expect("a copy");
        return;
    }
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        copy(&path, &to.join(path.file_name().expect("a name")));
    }
}

impl Shell {
    /// One with these programs, which reaches the cluster by this kubeconfig. The kubeconfig is its own:
    /// contexts may be changed.
    pub fn new(programs: &[PathBuf], kubeconfig: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let bin = folder.path().join(".bin");
        std::fs::create_dir(&bin).expect("a folder");
        for program in programs {
            let name = program.file_name().expect("a name");
            std::os::unix::fs::symlink(program, bin.join(name)).expect("a link");
        }
        let own = folder.path().join(".kubeconfig");
        std::fs::copy(kubeconfig, &own).expect("a copy");
        let mut path = OsString::from(bin);
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let home = folder.path().to_owned();
        let mut shell = Self {
            folder,
            path,
            environment: vec![],
            words: vec![],
        };
        shell.set("KUBECONFIG", own);
        // Nobody's own settings count.
        shell.set("HOME", home);
        shell
    }

    /// Sets a variable of the environment.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.push((name.to_owned(), value.into()));
    }

    /// Has a word of the page mean something else here: a namespace of this test's own, an address.
    pub fn calls(&mut self, page: &str, here: &str) {
        self.words.push((page.to_owned(), here.to_owned()));
    }

    /// Puts a file or folder of the checkout into the shell's folder, under the same path or another one.
    pub fn copy(&self, from: &str, to: &str) {
        let to = self.folder.path().join(to);
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        copy(&workspace().join(from), &to);
    }

    /// Where a file of the shell's folder is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, with the words that count here.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), self.here(text)).expect("a file");
    }

    /// What the page says, in the words that count here.
    fn here(&self, text: &str) -> String {
        self.words
            .iter()
            .fold(text.to_owned(), |text, (page, here)| {
                whole(page).replace_all(&text, NoExpand(here)).into_owned()
            })
    }

    /// What is said here, in the page's words.
    fn there(&self, text: &str) -> String {
        let line = |line: &str| {
            // A first column is as wide as the page's word.
            let first = self.words.iter().find_map(|(page, here)| {
                let rest = line.strip_prefix(here.as_str())?.strip_prefix("  ")?;
                let title = "NAMESPACE".len().max(page.len());
                Some(format!("{page:<title$}   {}", rest.trim_start()))
            });
            let line = match line.strip_prefix("NAMESPACE  ") {
                Some(rest) => format!("NAMESPACE   {}", rest.trim_start()),
                None => first.unwrap_or_else(|| line.to_owned()),
            };
            self.words
                .iter()
                .fold(line, |line, (page, here)| line.replace(here, page))
        };
        text.lines().map(|text| line(text) + "\n").collect()
    }

    /// A command of bash, in the folder.
    fn bash(&self, command: &str) -> Command {
        let mut bash = Command::new("bash");
        bash.args(["-c", &format!("exec 2>&1; {}", self.here(command))])
            .current_dir(self.folder.path())
            .env("PATH", &self.path)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        bash
    }

    /// Types a command, and returns what it says.
    pub async fn run(&self, typed: &Typed) -> Said {
        if typed.command.ends_with(" -w") {
            return self.watch(typed).await;
        }
        let said = self.type_in(&typed.command).await;
        if said.success {
            self.until_rights_count(&typed.command).await;
        }
        said
    }

    /// After a command that gives somebody the right to approve: waits until the API server goes by that, which
    /// it learns of a moment later, while nobody types as fast as this does.
    async fn until_rights_count(&self, command: &str) {
        let Some((kubectl, binding)) = command.split_once(" create rolebinding ") else {
            return;
        };
        let after = |flag: &str| {
            let mut words = binding.split_whitespace();
            words.find_map(|word| word.strip_prefix(flag)?.strip_prefix('='))
        };
        if after("--clusterrole") != Some("sluice-approver") {
            return;
        }
        let (_, rest) = binding.split_once("-n ").expect("a namespace");
        let namespace = rest.split_whitespace().next().expect("a namespace");
        let user = after("--user").map(str::to_owned);
        let account = after("--serviceaccount").map(|it| format!("system:serviceaccount:{it}"));
        let group = after("--group").map(|group| format!("anybody --as-group={group}"));
        let who = user.or(account).or(group).expect("somebody");
        let may = format!("{kubectl} auth can-i approve pipelines -n {namespace} --as={who}");
        self.until_it_succeeds(&may).await;
    }

    /// Types a command that no page shows.
    pub async fn type_in(&self, command: &str) -> Said {
        let mut bash = self.bash(command);
        let output = tokio::task::spawn_blocking(move || bash.output().expect("bash"))
            .await
            .expect("no panic");
        Said {
            text: self.there(&said(&output)),
            success: output.status.success(),
        }
    }

    /// The same; it has to succeed.
    pub async fn succeeds(&self, command: &str) -> String {
        let said = self.type_in(command).await;
        assert!(said.success, "{command}: {}", said.text);
        said.text
    }

    /// Types a command until it succeeds.
    pub async fn until_it_succeeds(&self, command: &str) {
        crate::story::eventually(command, || async {
            let said = self.type_in(command).await;
            said.success.then_some(()).ok_or(said.text)
        })
        .await;
    }

    /// Lets a watch go on until everything that the page shows was seen.
    async fn watch(&self, typed: &Typed) -> Said {
        let log = self.file(".watched");
        let output = std::fs::File::create(&log).expect("a file");
        let mut bash = self.bash(&format!("exec {}", typed.command));
        let mut child = bash.stdout(output).spawn().expect("bash can be started");
        let deadline = Instant::now() + PATIENCE;
        let (text, success) = loop {
            let seen = self.there(&std::fs::read_to_string(&log).expect("text"));
            if let Some(found) = Comparison::found_in(&typed.shown, &seen) {
                break (found, true);
            }
            if Instant::now() > deadline {
                break (seen, false);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        child.kill().expect("it can be ended");
        child.wait().expect("it ends");
        Said { text, success }
    }
}

/// A word of a page where nothing goes on before or after it.
fn whole(word: &str) -> Regex {
    let end = |edge: Option<char>| {
        if edge.is_some_and(char::is_alphanumeric) {
            r"\b"
        } else {
            ""
        }
    };
    let (begin, end) = (end(word.chars().next()), end(word.chars().next_back()));
    Regex::new(&format!("{begin}{}{end}", regex::escape(word))).expect("a pattern")
}
