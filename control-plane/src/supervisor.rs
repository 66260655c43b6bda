//! Makes sure that what a process starts ends with that process, however it ends.
//!
//! A destructor doesn't run when a process is killed, nor a signal handler after `kill -9`. So a second
//! process waits on a pipe whose other end only the first one holds, and cleans up when that closes. It is
//! a POSIX shell with `supervisor.sh`: unlike a program of our own it needs not to be found or built
//! first, which a test binary could not do.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::error::{Error, Result};
use crate::files;
use crate::process::ProcessId;

/// Set to anything, the folder of logs of a control plane is not removed when that ends.
const KEEP_LOGS: &str = "SLUICE_KEEP_LOGS";

/// Whether the user wants logs to stay.
pub(crate) fn keep_logs() -> bool {
    std::env::var_os(KEEP_LOGS).is_some_and(|value| !value.is_empty())
}

/// What the supervisor does with the folder in the end, for when there is none.
///
/// # Errors
/// When something in it can't be removed.
pub(crate) fn remove_dir(dir: &Path) -> Result<()> {
    if keep_logs() {
        files::remove_all_but_for(dir, "logs")
    } else {
        files::remove_dir(dir)
    }
}

/// The process that cleans up after this one. Dropping it makes it clean up now.
#[derive(Debug)]
pub(crate) struct Supervisor {
    child: Child,
    /// What the shell reads. Nobody else may inherit it, or the pipe would outlive this process: the
    /// standard library opens pipes close-on-exec.
    stdin: Option<ChildStdin>,
}

impl Supervisor {
    /// Starts it. In the end it removes `dir`, if one is given.
    ///
    /// # Errors
    /// When `/bin/sh` cannot be started.
    pub(crate) fn start(dir: Option<&Path>) -> Result<Supervisor> {
        let mut child = Command::new("/bin/sh")
            .args([
                "-c",
                include_str!("supervisor.sh"),
                "control-plane-supervisor",
            ])
            .arg(dir.unwrap_or(Path::new("")))
            .arg(if keep_logs() { "keep-logs" } else { "" })
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0) // out of reach of a Ctrl-C at the terminal
            .spawn()
            .map_err(Error::io(|| {
                "start /bin/sh to clean up after this process".into()
            }))?;
        let stdin = child.stdin.take();
        Ok(Supervisor { child, stdin })
    }

    /// From now on this process is ended with the rest.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub(crate) fn watch(&mut self, id: &ProcessId) -> Result<()> {
        self.tell(&format!("watch {} {}\n", id.pid, id.started))
    }

    /// This process has ended, and its number may soon be another one's.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub(crate) fn forget(&mut self, id: &ProcessId) -> Result<()> {
        self.tell(&format!("forget {}\n", id.pid))
    }

    /// Leaves everything running, beyond the end of this process.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub(crate) fn dismiss(mut self) -> Result<()> {
        self.tell("dismiss\n")
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        match &mut self.stdin {
            Some(stdin) => stdin.write_all(line.as_bytes()),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
        .map_err(Error::io(|| {
            "reach the process that cleans up after this one (was it killed?)".into()
        }))
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stdin = None; // the sign to clean up
        // It ends by itself, and a failure to wait for it would change nothing.
        let _ = self.child.wait();
    }
}
