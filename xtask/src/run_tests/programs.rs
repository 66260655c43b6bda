//! The test programs that there are: cargo builds them, and says where.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::Error;

/// A test program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// `lib`, `bin` or `test`.
    pub kind: String,
    pub target: String,
    /// The folder of its package, in which it runs.
    pub folder: PathBuf,
    pub executable: PathBuf,
}

impl Program {
    /// Whether it is a program of its own, in a folder `tests`.
    pub fn is_integration(&self) -> bool {
        self.kind == "test"
    }

    /// What it is called.
    pub fn name(&self) -> String {
        match self.is_integration() {
            true => self.target.clone(),
            false => format!("{} ({})", self.target, self.kind),
        }
    }

    #[cfg(test)]
    pub fn named(kind: &str, target: &str) -> Program {
        Program {
            kind: kind.to_owned(),
            target: target.to_owned(),
            folder: PathBuf::new(),
            executable: PathBuf::new(),
        }
    }
}

/// A message of cargo's. <https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages>
#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Cargo, as this program was started by it, or else from the `PATH`.
pub fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    command
}

/// Builds all test programs of the workspace, as far as they aren't.
///
/// # Errors
/// When they don't compile; cargo has said why.
pub fn build() -> Result<Vec<Program>, Error> {
    let output = cargo()
        .args(["test", "--workspace", "--locked", "--no-run"])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .map_err(Error::Cargo)?;
    if !output.status.success() {
        return Err(Error::Build(output.status));
    }
    Ok(in_messages(&String::from_utf8_lossy(&output.stdout)))
}

fn in_messages(text: &str) -> Vec<Program> {
    let messages = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let program = |message: Message| {
        let is_test = message.reason == "compiler-artifact" && message.profile?.test;
        let target = message.target?;
        is_test.then_some(Program {
            kind: target.kind.into_iter().next()?,
            target: target.name,
            folder: message.manifest_path?.parent()?.to_owned(),
            executable: message.executable?,
        })
    };
    messages.filter_map(program).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_are_taken() {
        let text = r#"{"reason":"compiler-artifact","manifest_path":"/w/Cargo.toml","target":{"name":"sluice","kind":["bin"]},"profile":{"test":false},"executable":"/w/target/debug/sluice"}
{"reason":"compiler-artifact","manifest_path":"/w/Cargo.toml","target":{"name":"sluice","kind":["lib"]},"profile":{"test":true},"executable":"/w/target/debug/deps/sluice-1"}
{"reason":"compiler-artifact","manifest_path":"/w/sim/Cargo.toml","target":{"name":"gate","kind":["test"]},"profile":{"test":true},"executable":"/w/target/debug/deps/gate-1"}
not JSON
{"reason":"build-finished","success":true}"#;
        let found = in_messages(text);
        let names: Vec<String> = found.iter().map(Program::name).collect();
        assert_eq!(names, ["sluice (lib)", "gate"]);
        assert_eq!(found[1].folder, Path::new("/w/sim"));
        assert_eq!(
            found[1].executable,
            Path::new("/w/target/debug/deps/gate-1")
        );
    }
}
