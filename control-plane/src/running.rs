//! The processes of a control plane, and what is written down of them.

use std::path::PathBuf;

use rustix::process::Signal;

use crate::components::ComponentName;
use crate::error::{Error, Result};
use crate::process::{Launch, Process};
use crate::state::{ComponentState, State};
use crate::supervisor::{self, Supervisor};

/// The processes, and what is written down of them.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) dir: PathBuf,
    pub(crate) state: State,
    /// As many as `state.components`, in the same order.
    pub(crate) processes: Vec<Option<Process>>,
    pub(crate) ownership: Ownership,
}

/// To whom the processes belong.
#[derive(Debug)]
pub(crate) enum Ownership {
    /// To this process; the supervisor ends them with it.
    Ours(Supervisor),
    /// To nobody: they were left running.
    Nobody,
    /// To the process that started them, or to nobody any more because they were stopped.
    Another,
}

impl Running {
    /// Starts a program for the first time, or again in another way.
    pub(crate) fn launch(&mut self, name: ComponentName, launch: Launch) -> Result<()> {
        match self.position(name) {
            Some(position) => self.state.components[position].launch = launch,
            None => {
                self.state.components.push(ComponentState {
                    name,
                    launch,
                    process: None,
                });
                self.processes.push(None);
            }
        }
        self.start(name)
    }

    /// Starts a program the way that it was started before.
    pub(crate) fn start(&mut self, name: ComponentName) -> Result<()> {
        self.check_owner()?;
        let Some(position) = self.position(name) else {
            return Ok(());
        };
        self.end_one(position)?;
        let supervisor = match &mut self.ownership {
            Ownership::Ours(supervisor) => Some(supervisor),
            _ => None,
        };
        let process = self.state.components[position].launch.start(supervisor)?;
        self.state.components[position].process = Some(process.id.clone());
        self.processes[position] = Some(process);
        self.write_down()
    }

    /// Ends a program, if it runs.
    pub(crate) fn kill(&mut self, name: ComponentName) -> Result<()> {
        self.check_owner()?;
        let Some(position) = self.position(name) else {
            return Ok(());
        };
        self.end_one(position)?;
        self.write_down()
    }

    pub(crate) fn end_one(&mut self, position: usize) -> Result<()> {
        if let Some(process) = &mut self.processes[position] {
            process.kill()?;
            if let Ownership::Ours(supervisor) = &mut self.ownership {
                supervisor.forget(&process.id)?;
            }
        }
        self.processes[position] = None;
        self.state.components[position].process = None;
        Ok(())
    }

    pub(crate) fn signal(&mut self, name: ComponentName, signal: Signal) -> Result<()> {
        self.check_owner()?;
        match self
            .position(name)
            .and_then(|position| self.processes[position].as_ref())
        {
            Some(process) => process.id.signal(signal),
            None => Ok(()),
        }
    }

    pub(crate) fn position(&self, name: ComponentName) -> Option<usize> {
        self.state
            .components
            .iter()
            .position(|component| component.name == name)
    }

    pub(crate) fn first_ended(&mut self) -> Option<(ComponentName, String)> {
        self.state
            .components
            .iter()
            .zip(&mut self.processes)
            .find_map(|(component, process)| {
                let status = process.as_mut()?.ended()?;
                Some((component.name, status))
            })
    }

    /// Whether this process may stop or restart something.
    pub(crate) fn check_owner(&self) -> Result<()> {
        match (&self.ownership, self.state.live_owner()) {
            (Ownership::Another, Some(owner)) => Err(Error::NotOwner {
                dir: self.dir.clone(),
                owner: owner.pid,
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn write_down(&self) -> Result<()> {
        self.state.write(&self.dir)
    }

    pub(crate) fn end(&mut self) -> Result<()> {
        // Dropping the supervisor makes it end the processes and remove the folder, and waits for that.
        // What follows has nothing left to do then, save collecting the exit status of children.
        self.ownership = Ownership::Another;
        for process in self.processes.iter_mut().flatten() {
            process.kill()?;
        }
        self.processes
            .iter_mut()
            .for_each(|process| *process = None);
        self.state.owner = None;
        supervisor::remove_dir(&self.dir)
    }
}
