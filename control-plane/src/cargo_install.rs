//! Builds a program from its crate into the cache, once per machine.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::making::{Wanted, Work};
use crate::progress::Progress;

/// What is said where a build of cargo's fails.
pub(crate) const CRATES: &str = "Crates are downloaded from the registry that cargo is set to.";

/// How cargo builds what is kept.
pub(crate) const ENVIRONMENT: &[(&str, &str)] = &[
    ("CARGO_PROFILE_DEV_DEBUG", "false"), // ten times the size, for nobody
    ("CARGO_INCREMENTAL", "0"),
    ("CARGO_TERM_COLOR", "never"),
];

/// A program that is published as a crate of the same name.
#[derive(Debug)]
pub(crate) struct CratesProgram {
    /// The crate, and its program.
    pub(crate) name: &'static str,
    /// Exactly this version, with the versions of dependencies that it was published with.
    pub(crate) version: &'static str,
    /// How long a build takes on two cores, to be told before it begins.
    pub(crate) takes: &'static str,
}

impl CratesProgram {
    fn home(&self, cache: &Path) -> PathBuf {
        cache.join(format!("{}-{}", self.name, self.version))
    }

    /// Where the program is, or would be, in the cache.
    pub(crate) fn cached(&self, cache: &Path) -> PathBuf {
        self.home(cache).join("bin").join(self.name)
    }

    /// Builds it, unless another process has built it by the time that this one may.
    ///
    /// # Errors
    /// When the build fails, or the cache cannot be written.
    pub(crate) fn build(&self, cache: &Path, progress: &Progress) -> Result<PathBuf> {
        let Self { name, version, .. } = self;
        let wanted = Wanted {
            what: name,
            home: &self.home(cache),
            target: self.cached(cache),
        };
        wanted.make_once(progress, |dir| {
            // Set by cargo for what it runs; otherwise the one on the PATH.
            let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
            let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
            let words = [
                // Hundreds of crates: whoever works on this machine shall not notice.
                "nice",
                "-n",
                "5",
                &cargo,
                "install",
                "--locked",
                // A tool for tests: what an optimized build saves when it runs, it never earns back.
                "--debug",
                "--jobs",
                "2",
                "--root",
                &path("root"),
                "--target-dir",
                &path("target"),
                "--version",
                version,
                name,
            ];
            let outcome = dir.join("root/bin").join(name);
            let work = Work {
                what: &format!("{name} {version}"),
                how: "with `cargo install`",
                takes: self.takes,
                tool: "cargo install",
                hint: CRATES,
                command: words.map(str::to_owned).to_vec(),
                env: ENVIRONMENT,
                dir,
                outcome: &outcome,
            };
            work.run(progress)?;
            Ok(outcome)
        })
    }
}
