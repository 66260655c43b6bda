//! Makes what takes minutes and is kept: once per machine, however many processes want it at the same time.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::files;
use crate::process::{Launch, POLL};
use crate::progress::Progress;
use crate::supervisor::Supervisor;

/// How often long work says that it is still at it.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);

/// Beside what was made, the folders in which something is being made.
const UNFINISHED: &str = "build-";

/// What is to be made, and where.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// What others wait for, as in "building … ".
    pub(crate) what: &'a str,
    /// The folder that holds it and the lock; its name changes with all that goes into what is made.
    pub(crate) home: &'a Path,
    /// Where it shall be, below `home`: a file or a folder.
    pub(crate) target: PathBuf,
}

impl Wanted<'_> {
    /// Makes it, unless another process has made it by the time that this one may. `make` gets a folder to
    /// work in, and says what in there is to be moved to its place.
    ///
    /// # Errors
    /// Those of `make`, or when the cache cannot be written.
    pub(crate) fn make_once(
        &self,
        progress: &Progress,
        make: impl FnOnce(&Path) -> Result<PathBuf>,
    ) -> Result<PathBuf> {
        files::create_private_dir(self.home)?;
        let _lock = self.lock(progress)?;
        if self.target.exists() {
            return Ok(self.target.clone());
        }
        remove_left_overs(self.home);
        let dir = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(self.home)
            .map_err(Error::io(|| {
                format!("make a folder in {}", self.home.display())
            }))?;
        let made = make(dir.path())?;
        if let Some(parent) = self.target.parent() {
            files::create_private_dir(parent)?;
        }
        // A rename within a file system: it is there whole or not at all.
        fs::rename(&made, &self.target).map_err(Error::io(|| {
            format!("put {} into its place", self.target.display())
        }))?;
        Ok(self.target.clone())
    }

    /// Held while something is made. The operating system lets go of it when this process ends.
    fn lock(&self, progress: &Progress) -> Result<File> {
        let path = self.home.join("lock");
        let take = || -> std::io::Result<File> {
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)?;
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
            progress.line(format!(
                "waiting for another process that is building {} ({} is locked)",
                self.what,
                path.display()
            ));
            file.lock()?;
            Ok(file)
        };
        take().map_err(Error::io(|| format!("lock {}", path.display())))
    }
}

/// Removes what makers that were killed have left. To be called with the lock.
fn remove_left_overs(home: &Path) {
    let Ok(entries) = fs::read_dir(home) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            // Only space is lost if it stays.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A program that makes something, and takes its time.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    /// What comes of it, such as `etcd v3.6.1`.
    pub(crate) what: &'a str,
    /// How, such as `from source`.
    pub(crate) how: &'a str,
    /// How long it takes, to be told before it begins.
    pub(crate) takes: &'a str,
    /// What is run, for the text of an error.
    pub(crate) tool: &'a str,
    /// What may help if it fails.
    pub(crate) hint: &'a str,
    /// The program with its arguments.
    pub(crate) command: Vec<String>,
    /// Variables to set.
    pub(crate) env: &'a [(&'a str, &'a str)],
    /// The folder that it works in.
    pub(crate) dir: &'a Path,
    /// What is there in the end if it went well.
    pub(crate) outcome: &'a Path,
}

impl Work<'_> {
    /// Runs it, and says what it is doing and for how long.
    ///
    /// # Errors
    /// When it can't be started, or the outcome isn't there in the end.
    pub(crate) fn run(self, progress: &Progress) -> Result<()> {
        let what = self.what;
        let mut command = self.command.into_iter();
        let program = command.next().unwrap_or_default();
        progress.line(format!(
            "building {what} {}: about {}, once on this machine",
            self.how, self.takes
        ));
        let begin = Instant::now();
        let log = self.dir.join("build.log");
        let launch = Launch {
            program: program.into(),
            args: command.collect(),
            env: self
                .env
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            dir: self.dir.to_owned(),
            log: log.clone(),
        };
        // Ends the work with this process; otherwise it would go on for minutes, for nobody.
        let mut supervisor = Supervisor::start(None)?;
        let mut process = launch.start(Some(&mut supervisor))?;
        let mut told = begin;
        let status = loop {
            if let Some(status) = process.ended() {
                break status;
            }
            if told.elapsed() >= SIGN_OF_LIFE {
                told = Instant::now();
                progress.line(format!(
                    "still building {what} ({} s)",
                    begin.elapsed().as_secs()
                ));
            }
            std::thread::sleep(POLL);
        };
        supervisor.forget(&process.id)?;
        if !self.outcome.exists() {
            return Err(Error::Build {
                program: what.into(),
                status,
                tool: self.tool.into(),
                log: files::last_lines(&log, 20),
                hint: self.hint.into(),
            });
        }
        progress.line(format!("built {what} in {} s", begin.elapsed().as_secs()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn work<'a>(dir: &'a Path, script: &str, outcome: &'a Path) -> Work<'a> {
        Work {
            what: "thing v1",
            how: "by hand",
            takes: "a moment",
            tool: "sh",
            hint: "Try again.",
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            env: &[("WHO", "world")],
            dir,
            outcome,
        }
    }

    #[test]
    fn a_thing_is_made_once_and_whole() {
        let cache = tempfile::tempdir().unwrap();
        let home = cache.path().join("thing-1");
        let wanted = Wanted {
            what: "things",
            home: &home,
            target: home.join("bin/thing"),
        };
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let sink = lines.clone();
        let progress = Progress::new(move |line| sink.lock().unwrap().push(line.into()));
        let make = |dir: &Path| {
            let outcome = dir.join("thing");
            work(dir, "echo hello $WHO > thing", &outcome).run(&progress)?;
            Ok(outcome)
        };
        let made = wanted.make_once(&progress, make).unwrap();
        assert_eq!(fs::read_to_string(&made).unwrap(), "hello world\n");
        let again = wanted.make_once(&progress, |_| panic!("it is there"));
        assert_eq!(again.unwrap(), made);
        let said = lines.lock().unwrap().join("\n");
        assert!(
            said.contains("building thing v1 by hand: about a moment")
                && said.contains("built thing v1 in"),
            "{said}"
        );
        let mut left: Vec<_> = fs::read_dir(&home)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["bin", "lock"], "nothing else stays");
    }

    #[test]
    fn work_that_fails_leaves_nothing_and_says_why() {
        let cache = tempfile::tempdir().unwrap();
        let home = cache.path().join("thing-1");
        // As if a maker had been killed.
        fs::create_dir_all(home.join("build-x")).unwrap();
        let wanted = Wanted {
            what: "things",
            home: &home,
            target: home.join("thing"),
        };
        let failed = wanted.make_once(&Progress::silent(), |dir| {
            let outcome = dir.join("thing");
            work(dir, "echo no such compiler; exit 3", &outcome).run(&Progress::silent())?;
            Ok(outcome)
        });
        let error = failed.unwrap_err().to_string();
        for part in [
            "thing v1",
            "exit status: 3",
            "no such compiler",
            "Try again.",
        ] {
            assert!(error.contains(part), "{part} not in {error}");
        }
        assert!(!wanted.target.exists() && !home.join("build-x").exists());
    }
}
