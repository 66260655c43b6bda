//! Disturbing a part of a control plane.

use std::path::PathBuf;

use rustix::process::Signal;

use crate::components::ComponentName;
use crate::error::Result;
use crate::plane::{ControlPlane, READY_WITHIN};

/// A program of a control plane, to be disturbed: for tests of what happens when it isn't there.
#[derive(Debug)]
pub struct Component<'a> {
    pub(crate) plane: &'a ControlPlane,
    pub(crate) name: ComponentName,
}

impl Component<'_> {
    /// Which one.
    pub fn name(&self) -> ComponentName {
        self.name
    }

    /// Its process number, while it runs.
    pub fn pid(&self) -> Option<u32> {
        let running = self.plane.running();
        let process = running.processes[running.position(self.name)?].as_ref()?;
        process.id.is_alive().then_some(process.id.pid)
    }

    /// Where its output goes.
    pub fn log_path(&self) -> PathBuf {
        self.plane.layout().log(self.name)
    }

    /// Kills it, as a crash would, and waits until it is gone. Connections break; data stays.
    ///
    /// # Errors
    /// When the control plane belongs to another process, or the operating system refuses.
    pub fn kill(&self) -> Result<()> {
        self.plane.running().kill(self.name)
    }

    /// Starts it again, with the same arguments, port and data, killing it first if it runs. For the API
    /// server and etcd it waits until the API server is ready again, if that runs.
    ///
    /// # Errors
    /// When the control plane belongs to another process, or it doesn't get ready.
    pub fn restart(&self) -> Result<()> {
        self.plane.running().start(self.name)?;
        match self.name {
            ComponentName::KubeControllerManager => Ok(()),
            _ if self.plane.api_server().pid().is_none() => Ok(()),
            _ => self.plane.wait_until_ready(READY_WITHIN),
        }
    }

    /// Stops it where it is (SIGSTOP). Connections stay open, and nothing answers.
    ///
    /// # Errors
    /// When the control plane belongs to another process, or the operating system refuses.
    pub fn pause(&self) -> Result<()> {
        self.plane.running().signal(self.name, Signal::STOP)
    }

    /// Lets it go on after [`Component::pause`].
    ///
    /// # Errors
    /// When the control plane belongs to another process, or the operating system refuses.
    pub fn resume(&self) -> Result<()> {
        self.plane.running().signal(self.name, Signal::CONT)
    }
}
