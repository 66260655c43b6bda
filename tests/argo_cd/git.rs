//! Repositories that Argo CD reads as `file://`.

use std::path::Path;
use std::process::Command;

/// A repository with one branch, `main`.
pub struct Repository {
    folder: tempfile::TempDir,
}

impl Repository {
    /// An empty one.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let repository = Self { folder };
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    /// Where Argo CD finds it.
    pub fn url(&self) -> String {
        format!("file://{}", self.folder().display())
    }

    /// Where people work on it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, which the next commit takes along.
    pub fn write(&self, path: &str, content: &str) {
        let file = self.folder().join(path);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, content).expect("a file");
    }

    /// Writes a file, and commits it. Returns the id of the commit.
    pub fn commit(&self, path: &str, content: &str) -> String {
        self.write(path, content);
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", path]);
        self.head()
    }

    /// The id of the newest commit.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        for (name, value) in IDENTITY {
            git.env(name, value);
        }
        let output = git
            .args(arguments)
            .current_dir(self.folder())
            .output()
            .expect("git can be started");
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?}: {wrong}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

/// Git as somebody, whatever this machine's settings are.
pub const IDENTITY: [(&str, &str); 6] = [
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_AUTHOR_NAME", "A Person"),
    ("GIT_AUTHOR_EMAIL", "person@example.com"),
    ("GIT_COMMITTER_NAME", "A Person"),
    ("GIT_COMMITTER_EMAIL", "person@example.com"),
];
