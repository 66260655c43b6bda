//! A control plane that outlives the command that starts it, kept in a folder.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files;
use crate::plane::{ControlPlane, Options, READY_WITHIN, absolute};
use crate::process::ProcessId;
use crate::progress::Progress;
use crate::state::State;
use crate::supervisor;

/// What [`up`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Up {
    /// It was not running, and is now.
    Started,
    /// It was running already.
    AlreadyRunning,
}

/// Makes sure that a control plane runs in this folder, and leaves it running.
///
/// One that is incomplete, because the machine was restarted or something was killed, is cleaned up and
/// started anew, without its data. `options` only matter when it is started.
///
/// # Errors
/// As [`ControlPlane::start`]; and when the control plane of the folder belongs to a running process.
pub fn up(dir: impl AsRef<Path>, options: Options) -> Result<(ControlPlane, Up)> {
    let dir = absolute(dir.as_ref())?;
    let _lock = lock(&dir)?;
    if let Some(state) = State::read(&dir)? {
        check_owner(&dir, &state)?;
        let plane = ControlPlane::attach(&dir)?;
        if plane.is_complete() && is_or_becomes_ready(&plane, &options.progress) {
            return Ok((plane, Up::AlreadyRunning));
        }
        options.progress.line(format!(
            "the control plane in {} is incomplete: starting a new one",
            dir.display()
        ));
        end(&dir, &state)?;
    }
    let plane = ControlPlane::start(Options {
        dir: Some(dir),
        ..options
    })?;
    plane.leave_running()?;
    Ok((plane, Up::Started))
}

/// Whether it is ready, if not at once: a busy machine's API server says no now and then.
fn is_or_becomes_ready(plane: &ControlPlane, progress: &Progress) -> bool {
    plane.is_ready() || {
        let dir = plane.dir().display();
        progress.line(format!(
            "the control plane in {dir} isn't ready: waiting for it"
        ));
        plane.wait_until_ready(READY_WITHIN).is_ok()
    }
}

/// Ends the control plane of this folder, as far as it still runs, and removes the folder. Says whether
/// there was one.
///
/// # Errors
/// When it belongs to a running process, when a process doesn't end, when the folder can't be removed or
/// isn't one of ours.
pub fn down(dir: impl AsRef<Path>) -> Result<bool> {
    let dir = absolute(dir.as_ref())?;
    if !dir.exists() {
        return Ok(false);
    }
    let _lock = lock(&dir)?;
    match State::read(&dir)? {
        Some(state) => {
            check_owner(&dir, &state)?;
            end(&dir, &state)?;
            Ok(true)
        }
        // Another `down` was faster, or one was told to keep the logs.
        None if !dir.exists() || files::is_empty_but_for(&dir, "logs")? => Ok(false),
        None => Err(Error::ForeignFolder(dir)),
    }
}

fn check_owner(dir: &Path, state: &State) -> Result<()> {
    match state.live_owner() {
        Some(owner) if Some(owner) != ProcessId::own().as_ref() => Err(Error::NotOwner {
            dir: dir.into(),
            owner: owner.pid,
        }),
        _ => Ok(()),
    }
}

fn end(dir: &Path, state: &State) -> Result<()> {
    for process in state
        .components
        .iter()
        .filter_map(|component| component.process.as_ref())
    {
        process.kill()?;
    }
    supervisor::remove_dir(dir)
}

/// Held while the folder is brought into being or removed. It is a file beside the folder, because that is
/// removed; and it is removed too when it is let go of, so that nothing of ours stays.
struct Lock {
    path: PathBuf,
    file: File,
}

fn lock(dir: &Path) -> Result<Lock> {
    let mut path: PathBuf = dir.into();
    path.add_extension("lock");
    if let Some(parent) = dir.parent() {
        files::create_private_dir(parent)?;
    }
    let take = || -> std::io::Result<File> {
        loop {
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)?;
            file.lock()?;
            // Whoever had it may have removed the file meanwhile; then it locks nobody out.
            let locked = file.metadata()?.ino();
            if fs::metadata(&path).is_ok_and(|there| there.ino() == locked) {
                return Ok(file);
            }
        }
    };
    let file = take().map_err(Error::io(|| format!("lock {}", path.display())))?;
    Ok(Lock { path, file })
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still locked: nobody else's is removed. It costs nothing if it stays.
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}
