//! What is written down about a control plane in its folder: enough to use it from another process, and to
//! end it when its starter is gone.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::components::ComponentName;
use crate::error::{Error, Result};
use crate::files;
use crate::process::{self, Launch, ProcessId};
use crate::users::Account;

const FILE: &str = "state.json";

/// The content of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// Which boot of the machine the processes belong to.
    pub(crate) boot: String,
    /// The process that this control plane ends with; none when it was left running.
    pub(crate) owner: Option<ProcessId>,
    pub(crate) port: u16,
    pub(crate) ca_pem: String,
    pub(crate) accounts: Vec<Account>,
    pub(crate) kubectl: PathBuf,
    pub(crate) audit: bool,
    pub(crate) components: Vec<ComponentState>,
}

/// A program of the control plane.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ComponentState {
    pub(crate) name: ComponentName,
    pub(crate) launch: Launch,
    /// The process, if it was started and not ended since.
    pub(crate) process: Option<ProcessId>,
}

impl State {
    /// Reads what is written down in a folder; nothing if nothing is.
    ///
    /// # Errors
    /// When the file can't be read or understood.
    pub(crate) fn read(dir: &Path) -> Result<Option<State>> {
        let path = dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            outcome => outcome.map_err(Error::io(|| format!("read {}", path.display())))?,
        };
        let mut state: State = serde_json::from_str(&text).map_err(|error| Error::State {
            path,
            problem: error.to_string(),
        })?;
        if state.boot != process::boot() {
            // The machine was restarted: whatever has those numbers now is something else.
            state.owner = None;
            state
                .components
                .iter_mut()
                .for_each(|component| component.process = None);
        }
        Ok(Some(state))
    }

    /// Writes it down. It holds tokens: only this user can read it.
    ///
    /// # Errors
    /// When the file can't be written.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::State {
            path: path.clone(),
            problem: error.to_string(),
        })?;
        files::write_private(&path, text)
    }

    /// The process that it belongs to, if that still runs.
    pub(crate) fn live_owner(&self) -> Option<&ProcessId> {
        self.owner.as_ref().filter(|owner| owner.is_alive())
    }
}
