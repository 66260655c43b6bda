//! The calls that the manager passes on to a process.

use jiff::Timestamp;

use super::status::{BootstrapConfig, Desired, Policy};
use super::{INITIALIZE_AFTER_APPROVAL, Phase, Process, World, gate};
use crate::error::ApiError;

impl Process {
    /// `POST /approve`: never says whether it has an effect.
    ///
    /// Returns whether the process was waiting for it. With `forget` the process is killed right
    /// after answering, before the approval has reached the disk.
    ///
    /// # Errors
    /// Both options together.
    pub fn approve(
        &mut self,
        world: &mut World<'_>,
        silent: bool,
        concurrent: bool,
        forget: bool,
        now: Timestamp,
    ) -> Result<bool, ApiError> {
        if silent && concurrent {
            return Err(gate::invalid_parameter(gate::EXCLUSIVE));
        }
        world.counters.approvals_taken += 1;
        self.config = BootstrapConfig {
            bootstrap_policy: Some(Policy::Allow),
            silent_bootstrap: silent,
            concurrent_bootstrap: concurrent,
        };
        self.approved_by_call = true;
        let waiting = matches!(self.phase, Phase::AwaitingApproval { .. });
        if forget {
            world.counters.approvals_forgotten += 1;
            self.kill(world.durations.restart, now);
            return Ok(waiting);
        }
        self.store_at = Some(now + world.durations.durable);
        if let Phase::AwaitingApproval { diff } = &self.phase {
            self.phase = Phase::Initializing {
                until: now + world.durations.initialize.min(INITIALIZE_AFTER_APPROVAL),
                approved: Some(diff.clone()),
            };
        }
        Ok(waiting)
    }

    /// `GET /pause` and `GET /start`. The answer's text is returned.
    ///
    /// # Errors
    /// The error of a failed process, or `InvalidTransition` once it is to be suspended.
    pub fn transition(
        &mut self,
        world: &mut World<'_>,
        action: &str,
        target: Desired,
        now: Timestamp,
    ) -> Result<String, ApiError> {
        if let Phase::Failed(error) = &self.phase {
            return Err((**error).clone());
        }
        if self.desired == Desired::Suspended
            || (self.desired != target && !self.desired.may_become(target))
        {
            return Err(gate::invalid_action(action, self.desired));
        }
        let text = format!(
            "Pipeline transitioning from {} to {}",
            self.desired.as_str(),
            target.as_str()
        );
        self.desire(target, world.durations, now);
        if matches!(self.phase, Phase::Active) && target == Desired::Running {
            self.data.read_inputs(self.program.get(), world.counters);
        }
        Ok(text)
    }

    /// `POST /suspend`: always 202. At the gate it only changes what the process will be
    /// afterwards, so that it waits on.
    pub fn suspend(&mut self, world: &mut World<'_>, now: Timestamp) {
        if matches!(self.phase, Phase::Failed(_) | Phase::Suspended) {
            return;
        }
        self.desire(Desired::Suspended, world.durations, now);
        if matches!(self.phase, Phase::Active) {
            self.phase = Phase::Suspending {
                until: now + world.durations.checkpoint,
            };
            self.periodic_at = None;
        }
    }

    /// `POST /checkpoint`: the request's number. While it bootstraps the checkpoint waits for
    /// the end of that.
    ///
    /// # Errors
    /// `Initializing`, `Suspended`, or the error of a failed process.
    pub fn request_checkpoint(
        &mut self,
        world: &mut World<'_>,
        now: Timestamp,
    ) -> Result<u64, ApiError> {
        self.ready()?;
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        if !self.settings.storage {
            self.checkpoint_failure = Some((
                sequence,
                "The pipeline does not support checkpointing for the following reasons: Storage must be configured".to_owned(),
                now,
            ));
            return Ok(sequence);
        }
        self.requested.push(sequence);
        if matches!(self.phase, Phase::Active) && self.checkpoint_at.is_none() {
            self.checkpoint_at = Some(now + world.durations.checkpoint);
        }
        Ok(sequence)
    }

    /// Input over HTTP.
    ///
    /// # Errors
    /// `Initializing`, `Suspended`, the error of a failed process, or an unknown table.
    pub fn ingest(
        &mut self,
        world: &mut World<'_>,
        table: &str,
        rows: u64,
    ) -> Result<(), ApiError> {
        self.ready()?;
        if !self.program.get().tables.contains_key(table) {
            return Err(ApiError::new(
                http::StatusCode::NOT_FOUND,
                "UnknownInputStream",
                format!("Unknown input table or view '{table}'."),
                serde_json::json!({"stream_name": table}),
            ));
        }
        self.data
            .add(self.program.get(), world.counters, table, rows);
        if self.settings.exactly_once {
            let journal = world.storage.journal.entry(table.to_owned()).or_default();
            *journal = journal.saturating_add(rows);
        }
        Ok(())
    }

    /// A failure while it runs.
    pub fn fail(&mut self, message: &str) {
        self.phase = Phase::Failed(Box::new(ApiError::new(
            http::StatusCode::INTERNAL_SERVER_ERROR,
            "RuntimeError",
            message,
            serde_json::Value::Null,
        )));
    }

    /// Whether it answers questions about its content.
    ///
    /// # Errors
    /// `Initializing`, `Suspended`, or the error of a failed process.
    pub fn ready(&self) -> Result<(), ApiError> {
        match &self.phase {
            Phase::Failed(error) => Err((**error).clone()),
            Phase::Initializing { .. } | Phase::AwaitingApproval { .. } | Phase::Down { .. } => {
                Err(gate::initializing())
            }
            Phase::Suspended => Err(gate::suspended()),
            _ => Ok(()),
        }
    }
}
