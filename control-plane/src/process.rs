//! Child processes, and how to tell a process from a later one with its number.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::supervisor::Supervisor;

/// How long a killed process may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked whether something has happened yet.
pub(crate) const POLL: Duration = Duration::from_millis(25);

/// A process, told from a later one with the same number by when it started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub(crate) pid: u32,
    /// When it started, in one word that only means something when compared: on Linux the 22nd field of
    /// `/proc/PID/stat` (proc_pid_stat(5)), elsewhere the `lstart` of `ps`.
    pub(crate) started: String,
}

impl ProcessId {
    /// The process with this number, unless it has ended.
    pub(crate) fn of(pid: u32) -> Option<ProcessId> {
        started(pid).map(|started| ProcessId { pid, started })
    }

    /// This process.
    pub(crate) fn own() -> Option<ProcessId> {
        ProcessId::of(std::process::id())
    }

    /// Whether it still runs. One that has ended but whose exit status nobody has collected doesn't.
    pub(crate) fn is_alive(&self) -> bool {
        started(self.pid).as_deref() == Some(&self.started)
    }

    /// Sends a signal to this process, never to a later one with its number; nothing if it has ended.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(());
        };
        if !self.is_alive() {
            return Ok(());
        }
        match kill_process(pid, signal) {
            Err(error) if error != rustix::io::Errno::SRCH => Err(Error::Io {
                doing: format!("signal process {}", self.pid),
                source: error.into(),
            }),
            _ => Ok(()),
        }
    }

    /// Kills it and waits until it is gone.
    ///
    /// # Errors
    /// When the operating system refuses, or it doesn't go.
    pub(crate) fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        let deadline = Instant::now() + GONE_WITHIN;
        while self.is_alive() {
            if Instant::now() > deadline {
                let source = std::io::ErrorKind::TimedOut.into();
                return Err(Error::Io {
                    doing: format!("end process {}", self.pid),
                    source,
                });
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, and may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") && !has_living_threads(pid) {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

/// Whether a process whose first thread has ended has others that haven't yet. As long as they are there,
/// its ports are taken.
#[cfg(target_os = "linux")]
fn has_living_threads(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let stats = threads
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
            let state = stat.rsplit_once(") ")?.1.chars().next()?;
            Some(state)
        });
    stats.into_iter().any(|state| !matches!(state, 'Z' | 'X'))
}

#[cfg(not(target_os = "linux"))]
fn started(pid: u32) -> Option<String> {
    let output = Command::new("ps")
        .args(["-o", "stat=", "-o", "lstart=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut words = text.split_whitespace();
    let state = words.next()?;
    (!state.starts_with('Z')).then(|| words.collect::<Vec<_>>().join("_"))
}

/// Which boot of the machine this is, where that can be known: after another one, no process that was
/// written down still exists, whatever has its number.
pub(crate) fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// How a program is started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    /// Variables to set, beyond those of this process.
    pub(crate) env: Vec<(String, String)>,
    /// The folder that it works in.
    pub(crate) dir: PathBuf,
    /// Where its output goes, after what is there.
    pub(crate) log: PathBuf,
}

impl Launch {
    /// Starts it.
    ///
    /// What is executed at first is a shell that waits for a word, which it gets once the supervisor knows
    /// of it: so there is no moment at which this process could die and leave it behind.
    ///
    /// # Errors
    /// When it cannot be started, or the supervisor is gone.
    pub(crate) fn start(&self, supervisor: Option<&mut Supervisor>) -> Result<Process> {
        let log = open_log(&self.log)?;
        let same_log = log
            .try_clone()
            .map_err(Error::io(|| format!("open {}", self.log.display())))?;
        let mut child = Command::new("/bin/sh")
            // Left running on purpose, it must not end with the terminal (HUP).
            .args([
                "-c",
                r#"trap '' HUP; read -r go || exit 1; exec "$@" </dev/null"#,
                "start",
            ])
            .arg(&self.program)
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.dir)
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(same_log)
            .process_group(0) // a Ctrl-C is for the starter, which then ends these in its own way
            .spawn()
            .map_err(Error::io(|| format!("start {}", self.program.display())))?;
        let go = child.stdin.take();
        let mut process = Process {
            id: ProcessId {
                pid: child.id(),
                started: String::new(),
            },
            child: Some(child),
        };
        let gone = || Error::Io {
            doing: format!("start {}", self.program.display()),
            source: std::io::ErrorKind::BrokenPipe.into(),
        };
        let started = (|| {
            process.id = ProcessId::of(process.id.pid).ok_or_else(gone)?;
            if let Some(supervisor) = supervisor {
                supervisor.watch(&process.id)?;
            }
            go.ok_or_else(gone)?.write_all(b"go\n").map_err(|_| gone())
        })();
        match started {
            Ok(()) => Ok(process),
            Err(error) => {
                let _ = process.kill(); // the first error is the one to tell
                Err(error)
            }
        }
    }
}

fn open_log(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .map_err(Error::io(|| format!("open {}", path.display())))
}

/// A process that this one started, or that another one did and wrote down.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    child: Option<Child>,
}

impl Process {
    /// A process that another one started.
    pub(crate) fn of_another(id: ProcessId) -> Process {
        Process { id, child: None }
    }

    /// How it ended, or nothing while it runs.
    pub(crate) fn ended(&mut self) -> Option<String> {
        match &mut self.child {
            Some(child) => match child.try_wait() {
                Ok(status) => status.map(describe),
                Err(error) => Some(error.to_string()),
            },
            None => (!self.id.is_alive()).then(|| "exit status unknown".into()),
        }
    }

    /// Kills it and waits until it is gone; nothing if it is already.
    ///
    /// # Errors
    /// When the operating system refuses, or it doesn't go.
    pub(crate) fn kill(&mut self) -> Result<()> {
        match &mut self.child {
            // The number of a child that nobody has waited for can't be another one's, and one that was
            // waited for isn't signalled: both are the standard library's promise.
            Some(child) => child
                .kill()
                .and_then(|()| child.wait().map(drop))
                .map_err(Error::io(|| format!("end process {}", self.id.pid))),
            None => self.id.kill(),
        }
    }
}

fn describe(status: ExitStatus) -> String {
    status.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_another_with_its_number() {
        let own = ProcessId::own().unwrap();
        assert!(own.is_alive());
        assert!(
            !ProcessId {
                started: "1".into(),
                ..own
            }
            .is_alive()
        );
    }

    #[test]
    fn a_later_process_with_the_number_is_not_signalled() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let another = ProcessId {
            pid: child.id(),
            started: "1".into(),
        };
        another.kill().unwrap();
        assert!(child.try_wait().unwrap().is_none());
        ProcessId::of(child.id()).unwrap().kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn one_that_ended_but_was_not_collected_is_not_alive() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let id = ProcessId::of(child.id()).unwrap();
        id.kill().unwrap(); // would time out otherwise
        assert!(!id.is_alive());
        child.wait().unwrap();
    }

    /// Its first thread ends at once; another goes on until the process is killed.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_lives_as_long_as_any_of_its_threads() {
        let program = "import ctypes, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
ctypes.CDLL(None).pthread_exit(None)";
        /// Goes with the test, however that ends.
        struct Tied(std::process::Child);
        impl Drop for Tied {
            fn drop(&mut self) {
                let _ = self.0.kill().and_then(|()| self.0.wait());
            }
        }
        let mut python = Command::new("python3");
        let mut tied = Tied(python.args(["-c", program]).spawn().unwrap());
        let pid = tied.0.id();
        let id = ProcessId::of(pid).unwrap();
        let state = || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while state() != 'Z' {
            assert!(Instant::now() < deadline, "its first thread goes on");
            std::thread::sleep(POLL);
        }
        assert!(id.is_alive());
        tied.0.kill().unwrap();
        while id.is_alive() {
            assert!(
                Instant::now() < deadline,
                "it goes on although it is killed"
            );
            std::thread::sleep(POLL);
        }
    }
}
