//! The release before this one, out of this repository's own history: what upgrades are tried from, and what
//! definitions are compared with.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::cargo_install;
use crate::error::{Error, Result};
use crate::go_module::cache_home;
use crate::making::{Wanted, Work};
use crate::progress::Progress;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The release before this one. To be set anew with each release (CONTRIBUTING.md, "Cutting a release").
pub const PREVIOUS: Release = Release {
    version: "0.1.0",
    commit: "2215e4b87db1131a2e5408971346527a462de914",
};

/// A release that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// Its version.
    pub version: &'static str,
    /// The commit that it is: all 40 digits, since that says in every clone what is meant, as no tag does.
    pub commit: &'static str,
}

/// Programs and charts of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The operator.
    pub sluice: PathBuf,
    /// The plugin.
    pub plugin: PathBuf,
    /// The folder of its charts.
    pub charts: PathBuf,
}

impl Release {
    /// Why this checkout doesn't have it, in one line with what to do: a shallow clone doesn't, nor what was
    /// unpacked from an archive. Nothing if it has.
    pub fn missing(&self) -> Option<String> {
        self.missing_from(Path::new(ROOT))
    }

    fn missing_from(&self, checkout: &Path) -> Option<String> {
        let Self { version, commit } = self;
        let object = format!("{commit}^{{commit}}");
        match git(checkout, &["cat-file", "-e", &object]) {
            Ok(output) if output.status.success() => return None,
            Err(error) => {
                return Some(format!(
                    "sluice {version} can't be looked up, because git can't be run ({error})"
                ));
            }
            Ok(_) => {}
        }
        let missing = format!("sluice {version} (commit {})", &commit[..12]);
        let shallow = git(checkout, &["rev-parse", "--is-shallow-repository"]);
        let why = match shallow {
            Ok(answer) if answer.stdout.starts_with(b"true") => {
                "isn't in this clone, which is shallow: `git fetch --unshallow` brings it"
                    .to_owned()
            }
            Ok(answer) if answer.status.success() => {
                "isn't in the history of this repository: `git fetch` from where the project is"
                    .to_owned()
            }
            Ok(answer) => {
                let said = String::from_utf8_lossy(&answer.stderr);
                let said = said.lines().next().unwrap_or_default();
                format!("needs the project's history, and this is no clone of it ({said})")
            }
            Err(error) => format!("can't be looked up ({error})"),
        };
        Some(format!("{missing} {why}"))
    }

    /// A text file of it, by its path in the checkout.
    ///
    /// # Errors
    /// When this checkout doesn't have it (see [`Release::missing`]).
    pub fn file(&self, path: &str) -> Result<String> {
        let object = format!("{}:{path}", self.commit);
        let output =
            git(Path::new(ROOT), &["show", &object]).map_err(Error::io(|| "run git".to_owned()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Error::NoSuchRelease(said))
    }

    /// Takes it out of the history and builds it: from the cache, else into the cache, once per machine.
    ///
    /// # Errors
    /// When this checkout doesn't have it (see [`Release::missing`]), when the build fails, or the cache
    /// cannot be written.
    pub fn build(&self, progress: &Progress) -> Result<Built> {
        let Self { version, commit } = self;
        let home = cache_home().join(format!("sluice-{version}-{}", &commit[..12]));
        let what = format!("sluice {version}");
        let wanted = Wanted {
            what: &what,
            home: &home,
            target: home.join("release"),
        };
        let release = wanted.make_once(progress, |dir| {
            if let Some(missing) = self.missing() {
                return Err(Error::NoSuchRelease(missing));
            }
            // Kept are the programs and the charts: what else a build leaves takes a gigabyte.
            let script = r#"set -e
                mkdir source
                git -C "$1" archive --format=tar "$2" >source.tar
                tar -xf source.tar -C source
                cd source
                "$3" build --locked --jobs 2 --target-dir ../target --package sluice --package kubectl-sluice --bins
                mkdir ../made
                cp ../target/debug/sluice ../target/debug/kubectl-sluice ../made/
                cp -R charts crds ../made/
                mv ../made ../complete"#;
            let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
            let words = [
                // Hundreds of crates: whoever works on this machine shall not notice.
                "nice", "-n", "5", "sh", "-c", script, "sh", ROOT, commit, &cargo,
            ];
            let outcome = dir.join("complete");
            let work = Work {
                what: &what,
                how: "out of this repository's history",
                takes: "a minute and a half on two cores",
                tool: "cargo build",
                hint: cargo_install::CRATES,
                command: words.map(str::to_owned).to_vec(),
                env: cargo_install::ENVIRONMENT,
                dir,
                outcome: &outcome,
            };
            work.run(progress)?;
            Ok(outcome)
        })?;
        Ok(Built {
            sluice: release.join("sluice"),
            plugin: release.join("kubectl-sluice"),
            charts: release.join("charts"),
        })
    }
}

fn git(checkout: &Path, arguments: &[&str]) -> std::io::Result<Output> {
    Command::new("git")
        .arg("-C")
        .arg(checkout)
        .args(arguments)
        .output()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn succeeds(folder: &Path, arguments: &[&str]) -> String {
        let output = git(folder, arguments).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    #[test]
    fn a_checkout_without_the_release_says_why_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole");
        succeeds(folder.path(), &["init", "--quiet", "whole"]);
        for message in ["first", "second"] {
            let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
            let commit = ["commit", "--quiet", "--allow-empty", "-m", message];
            succeeds(&whole, &[&identity[..], &commit].concat());
        }
        let first = succeeds(&whole, &["rev-parse", "HEAD~"]);
        let release = Release {
            version: "0.1.0",
            commit: first.leak(),
        };
        assert_eq!(release.missing_from(&whole), None);

        let url = format!("file://{}", whole.display());
        succeeds(
            folder.path(),
            &["clone", "--quiet", "--depth", "1", &url, "shallow"],
        );
        let shallow = release
            .missing_from(&folder.path().join("shallow"))
            .unwrap();
        assert!(shallow.contains("`git fetch --unshallow`"), "{shallow}");

        succeeds(folder.path(), &["init", "--quiet", "other"]);
        let other = release.missing_from(&folder.path().join("other")).unwrap();
        assert!(other.contains("isn't in the history"), "{other}");

        let none = release.missing_from(folder.path()).unwrap();
        assert!(none.contains("this is no clone"), "{none}");
        for line in [shallow, other, none] {
            assert!(
                line.starts_with("sluice 0.1.0 (commit ") && !line.contains('\n'),
                "{line}"
            );
        }
    }
}
