//! The simulated pipeline process: what runs in the pod, behind the manager.
//!
//! It has a phase and the time at which that ends; nothing runs in the background. Whoever owns
//! it calls [`Process::fire`] for every moment that [`Process::due`] names, in order. Facts are
//! those seen on a real process of Feldera 0.337 unless a comment says otherwise.

pub mod calls;
pub mod data;
pub mod gate;
pub mod status;
pub mod storage;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::diff::Diff;
use crate::error::ApiError;
use data::{Counters, Data};
use status::{BootstrapConfig, Desired};
use storage::{Deployed, Storage, StoredStatus};

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub struct Durations {
    /// From the start of the process until it knows whether it has to ask.
    pub initialize: Duration,
    /// From a restart by the platform until the process runs again.
    pub restart: Duration,
    /// A bootstrap.
    pub bootstrap: Duration,
    /// Writing a checkpoint.
    pub checkpoint: Duration,
    /// From the answer to `/approve` until the approval survives a crash.
    pub durable: Duration,
}

/// The longest that a process initializes after an approval (3 to 35 ms were seen).
const INITIALIZE_AFTER_APPROVAL: Duration = Duration::from_millis(35);

/// Where a process stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Phase {
    /// Not there: the platform is starting it again.
    Down {
        /// Until then.
        until: Timestamp,
    },
    /// Reads its storage.
    Initializing {
        /// Until then.
        until: Timestamp,
        /// The change that was approved, if that is why.
        approved: Option<Box<Diff>>,
    },
    /// Waits at the gate.
    AwaitingApproval {
        /// The change that it asks about.
        diff: Box<Diff>,
    },
    /// Computes new and changed views; everything else stands still.
    Bootstrapping {
        /// Until then.
        until: Timestamp,
        /// What it computes.
        diff: Box<Diff>,
    },
    /// Computes new and changed views while the others go on.
    ConcurrentBootstrapping {
        /// Until then.
        until: Timestamp,
        /// What it computes.
        diff: Box<Diff>,
    },
    /// The end of a concurrent bootstrap.
    Synchronizing {
        /// Until then.
        until: Timestamp,
    },
    /// Reads its journal again.
    Replaying {
        /// Until then.
        until: Timestamp,
    },
    /// Runs or pauses, as desired.
    Active,
    /// Writes its last checkpoint.
    Suspending {
        /// Until then.
        until: Timestamp,
    },
    /// Has written its last checkpoint.
    Suspended,
    /// Answers this error to everything.
    Failed(Box<ApiError>),
}

/// A pipeline process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Process {
    /// Changes with every start of the process.
    pub incarnation: Uuid,
    /// Changes with every start by the user.
    pub deployment_id: Uuid,
    /// When it was started.
    pub started_at: Timestamp,
    /// What it runs.
    pub program: Deployed,
    /// Where it stands.
    pub phase: Phase,
    /// What it is to become.
    pub desired: Desired,
    /// What counts at the gate. An approval replaces it whole.
    pub config: BootstrapConfig,
    /// Whether a bootstrap is concurrent is decided at start, never by an approval.
    pub concurrent: bool,
    /// When desired status and configuration reach the disk.
    pub store_at: Option<Timestamp>,
    /// Rows.
    pub data: Data,
    /// The number of the next checkpoint request.
    pub next_sequence: u64,
    /// Requested checkpoints that aren't written yet.
    pub requested: Vec<u64>,
    /// When the oldest of them is written; `None` while that can't go on.
    pub checkpoint_at: Option<Timestamp>,
    /// The last request that was fulfilled.
    pub checkpoint_success: Option<u64>,
    /// The last one that failed: number, reason, time.
    pub checkpoint_failure: Option<(u64, String, Timestamp)>,
    /// Did an approval reach this process?
    pub approved_by_call: bool,
    /// Started again by the platform under the id that the disk knows?
    pub resumed: bool,
    /// Its settings, as far as they matter here.
    pub settings: Settings,
    /// The next checkpoint that it takes by itself.
    pub periodic_at: Option<Timestamp>,
}

/// What of `runtime_config` matters to a process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Settings {
    /// Without storage there are no checkpoints.
    pub storage: bool,
    /// Input since the last checkpoint is kept in a journal.
    pub exactly_once: bool,
    /// Seconds between checkpoints that it takes by itself.
    pub checkpoint_interval: Option<u64>,
}

/// A bootstrap that a process began: the ground truth of what was applied.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BootstrapRecord {
    /// The pipeline's name.
    pub pipeline: String,
    /// Its deployment.
    pub deployment_id: Uuid,
    /// The process.
    pub incarnation: Uuid,
    /// When it began.
    pub time: Timestamp,
    /// SHA-256 of the program's text (hex).
    pub program_digest: String,
    /// SHA-256 of the diff as it is on the wire (hex).
    pub diff_digest: String,
    /// The diff.
    pub diff: serde_json::Value,
    /// Why it was let through: `approve` (a call to this process), `stored` (an approval or
    /// policy that the disk had for this deployment), `allow` (the policy given at start).
    pub because: String,
    /// Sinks disabled.
    pub silent: bool,
    /// Other views go on.
    pub concurrent: bool,
}

/// What a process works with besides itself.
pub struct World<'a> {
    /// Its disk.
    pub storage: &'a mut Storage,
    /// The tests' ground truth.
    pub counters: &'a mut Counters,
    /// Bootstraps begun since the last look.
    pub bootstraps: &'a mut Vec<BootstrapRecord>,
    /// The pipeline's name, for the above.
    pub name: &'a str,
    /// How long things take.
    pub durations: &'a Durations,
}

impl Process {
    /// Starts a process. It may be failed from the start.
    pub fn boot(
        world: &mut World<'_>,
        deployment_id: Uuid,
        program: Deployed,
        initial: Desired,
        config: BootstrapConfig,
        settings: Settings,
        now: Timestamp,
    ) -> Self {
        world.counters.process_starts += 1;
        let stored = world.storage.stored.clone();
        let mut error = None;
        let resumed = stored
            .as_ref()
            .is_some_and(|s| s.deployment_id == deployment_id);
        let (desired, config) = match stored {
            // Started again by the platform: what the disk has for this deployment counts,
            // whatever it is given now.
            Some(stored) if stored.deployment_id == deployment_id => {
                (stored.desired, stored.config)
            }
            Some(stored) => {
                if !stored.desired.may_start_as(initial) {
                    error = Some(gate::invalid_transition(stored.desired, initial));
                }
                (initial, config)
            }
            None => (initial, config),
        };
        if error.is_none() && config.silent_bootstrap && config.concurrent_bootstrap {
            error = Some(gate::not_allowed(gate::EXCLUSIVE));
        }
        if error.is_none() && desired == Desired::Suspended {
            error = Some(gate::invalid_initial(desired));
        }
        let failed = error.is_some();
        let phase = match error {
            Some(error) => Phase::Failed(Box::new(error)),
            None => Phase::Initializing {
                until: now + world.durations.initialize,
                approved: None,
            },
        };
        let mut process = Self {
            incarnation: Uuid::now_v7(),
            deployment_id,
            started_at: now,
            program,
            phase,
            desired,
            config,
            concurrent: config.concurrent_bootstrap,
            store_at: None,
            data: Data::default(),
            next_sequence: 0,
            requested: Vec::new(),
            checkpoint_at: None,
            checkpoint_success: None,
            checkpoint_failure: None,
            approved_by_call: false,
            resumed,
            settings,
            periodic_at: None,
        };
        if !failed {
            process.store(world.storage);
        }
        process
    }

    /// Ends the process as `kill -9` does. What hadn't reached the disk is lost.
    pub fn kill(&mut self, restart: Duration, now: Timestamp) {
        self.phase = Phase::Down {
            until: now + restart,
        };
        self.store_at = None;
        self.requested.clear();
        self.checkpoint_at = None;
        self.periodic_at = None;
    }

    /// The next moment at which something happens by itself.
    pub fn due(&self) -> Option<Timestamp> {
        let phase = match &self.phase {
            Phase::Down { until }
            | Phase::Initializing { until, .. }
            | Phase::Bootstrapping { until, .. }
            | Phase::ConcurrentBootstrapping { until, .. }
            | Phase::Synchronizing { until }
            | Phase::Replaying { until }
            | Phase::Suspending { until } => Some(*until),
            Phase::AwaitingApproval { .. }
            | Phase::Active
            | Phase::Suspended
            | Phase::Failed(_) => None,
        };
        let checkpoints = match &self.phase {
            Phase::Failed(_) | Phase::Suspended => [None, None],
            _ => [self.checkpoint_at, self.periodic_at],
        };
        [phase, self.store_at]
            .into_iter()
            .chain(checkpoints)
            .flatten()
            .min()
    }

    /// Lets everything happen that is due at `at`.
    pub fn fire(&mut self, world: &mut World<'_>, at: Timestamp) {
        if self.store_at.is_some_and(|due| due <= at) {
            self.store(world.storage);
        }
        let ended = matches!(self.phase, Phase::Failed(_) | Phase::Suspended);
        if !ended && self.checkpoint_at.is_some_and(|due| due <= at) {
            self.checkpoint_at = None;
            for sequence in std::mem::take(&mut self.requested) {
                self.write_checkpoint(world, at);
                self.checkpoint_success = Some(sequence);
            }
        }
        if !ended && self.periodic_at.is_some_and(|due| due <= at) {
            self.write_checkpoint(world, at);
            self.schedule_periodic(at);
        }
        let phase = self.phase.clone();
        match phase {
            Phase::Down { until } if until <= at => {
                let config = self.config;
                *self = Self::boot(
                    world,
                    self.deployment_id,
                    self.program.clone(),
                    self.desired,
                    config,
                    self.settings.clone(),
                    at,
                );
            }
            Phase::Initializing { until, approved } if until <= at => match approved {
                Some(diff) => self.begin(world, *diff, at),
                None => self.initialized(world, at),
            },
            Phase::Bootstrapping { until, diff } if until <= at => {
                self.complete(world, &diff);
                self.activate(world, at);
            }
            Phase::ConcurrentBootstrapping { until, diff } if until <= at => {
                self.complete(world, &diff);
                self.phase = Phase::Synchronizing {
                    until: at + world.durations.bootstrap / 10,
                };
            }
            Phase::Synchronizing { until } | Phase::Replaying { until } if until <= at => {
                self.activate(world, at);
            }
            Phase::Suspending { until } if until <= at => {
                self.write_checkpoint(world, at);
                self.phase = Phase::Suspended;
            }
            _ => {}
        }
    }

    /// Becomes what is desired: all views are up to date.
    fn activate(&mut self, world: &mut World<'_>, at: Timestamp) {
        self.phase = Phase::Active;
        match self.desired {
            Desired::Running => self.data.read_inputs(self.program.get(), world.counters),
            Desired::Suspended => {
                self.phase = Phase::Suspending {
                    until: at + world.durations.checkpoint,
                };
                return;
            }
            Desired::Paused | Desired::Standby => {}
        }
        if !self.requested.is_empty() {
            self.checkpoint_at = Some(at + world.durations.checkpoint);
        }
        self.schedule_periodic(at);
    }

    fn schedule_periodic(&mut self, at: Timestamp) {
        self.periodic_at = self
            .settings
            .checkpoint_interval
            .filter(|_| self.settings.storage)
            .map(|seconds| at + Duration::from_secs(seconds));
    }

    fn store(&mut self, storage: &mut Storage) {
        self.store_at = None;
        if self.settings.storage {
            storage.stored = Some(StoredStatus {
                deployment_id: self.deployment_id,
                desired: self.desired,
                config: self.config,
            });
        }
    }

    fn write_checkpoint(&mut self, world: &mut World<'_>, at: Timestamp) {
        if !self.settings.storage {
            return;
        }
        self.data.steps += 1;
        world
            .storage
            .add_checkpoint(self.program.clone(), self.data.clone(), at);
        world.counters.checkpoints += 1;
    }

    fn desire(&mut self, desired: Desired, durations: &Durations, now: Timestamp) {
        self.desired = desired;
        self.store_at = Some(now + durations.durable);
    }
}
