//! What happens to a pipeline by itself, in the order of time.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::pipeline::{
    Observed, Pipeline, ProgramStatus, ResourcesDesired, ResourcesStatus, StorageStatus,
};
use super::{Context, Crates};
use crate::compiler::{Compiled, compile_cached, udf};
use crate::error::ApiError;
use crate::process::status::{Desired, Report};
use crate::process::storage::Deployed;
use crate::process::{Process, Settings as ProcessSettings, World};

/// The longest that the manager takes to notice that a pipeline is to start.
const NOTICE: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Compile,
    Clear,
    Resources,
    Process,
    Poll,
}

impl Pipeline {
    /// Lets everything happen that was due until the time of the call.
    pub fn advance(&mut self, context: &mut Context<'_>) {
        loop {
            while let Some((at, event)) = self.next_event(context)
                && at <= context.now
            {
                self.happen(event, at, context);
            }
            // Without an interval the manager's knowledge is always live.
            let live =
                context.settings.poll.is_zero() && self.resources == ResourcesStatus::Provisioned;
            if !live {
                return;
            }
            let resources = self.resources;
            self.poll(context.now, context);
            if self.resources == resources {
                return;
            }
        }
    }

    fn next_event(&self, context: &Context<'_>) -> Option<(Timestamp, Event)> {
        let compile = self
            .compiling_since
            .map(|since| since + self.stage_end(self.compile_time(context)));
        let poll = if context.settings.poll.is_zero() {
            None
        } else {
            self.next_poll
        };
        [
            (compile, Event::Compile),
            (self.cleared_at, Event::Clear),
            (self.resources_due(context), Event::Resources),
            (self.process.as_ref().and_then(Process::due), Event::Process),
            (poll, Event::Poll),
        ]
        .into_iter()
        .filter_map(|(at, event)| Some((at?, event)))
        .min()
    }

    /// How long the whole compilation takes. Of a program that was compiled before, for whichever
    /// pipeline, the compiler finds all crates but the pipeline's own.
    fn compile_time(&self, context: &Context<'_>) -> Duration {
        if self.recompiles {
            context.settings.recompile
        } else {
            context.settings.compile
        }
    }

    /// How long after its beginning the compilation leaves its present stage.
    fn stage_end(&self, whole: Duration) -> Duration {
        match self.program_status {
            ProgramStatus::Pending => whole / 10,
            ProgramStatus::CompilingSql => whole * 45 / 100,
            ProgramStatus::SqlCompiled => whole / 2,
            _ => whole,
        }
    }

    fn resources_due(&self, context: &Context<'_>) -> Option<Timestamp> {
        if self.resources != ResourcesStatus::Stopped {
            return self.resources_until;
        }
        if self.resources_desired == ResourcesDesired::Stopped || self.compiling_since.is_some() {
            return None;
        }
        let noticed = self.resources_desired_since + NOTICE.min(context.settings.provision / 10);
        Some(noticed.max(self.program_status_since))
    }

    fn happen(&mut self, event: Event, at: Timestamp, context: &mut Context<'_>) {
        match event {
            Event::Compile => self.compile(at, context),
            Event::Clear => {
                self.cleared_at = None;
                self.storage_status = StorageStatus::Cleared;
                self.log(at, "Storage transition: Clearing -> Cleared");
                self.touch();
            }
            Event::Resources => match self.resources {
                ResourcesStatus::Stopped => self.provision(at, context),
                ResourcesStatus::Provisioning => self.provisioned(at, context),
                ResourcesStatus::Stopping => self.stopped(at),
                ResourcesStatus::Provisioned => self.resources_until = None,
            },
            Event::Process => {
                self.with_world(context, |process, world| process.fire(world, at));
            }
            Event::Poll => self.poll_and_schedule(at, context),
        }
    }

    /// Runs `f` on the process, if there is one, together with its surroundings.
    pub fn with_world<T>(
        &mut self,
        context: &mut Context<'_>,
        f: impl FnOnce(&mut Process, &mut World<'_>) -> T,
    ) -> Option<T> {
        let mut process = self.process.take()?;
        let mut world = World {
            storage: &mut self.storage,
            counters: &mut self.counters,
            bootstraps: &mut context.bootstraps,
            name: &self.name,
            durations: &context.settings.process,
        };
        let result = f(&mut process, &mut world);
        self.process = Some(process);
        self.changed = true;
        Some(result)
    }

    /// The compiler's view of the present program.
    pub fn compiled(&self) -> std::sync::Arc<Compiled> {
        compile_cached(&self.program_code)
    }

    /// Begins to compile the present program.
    pub fn begin_to_compile(&mut self, at: Timestamp, compiled: &HashSet<Crates>) {
        self.program_status = ProgramStatus::Pending;
        self.program_status_since = at;
        self.compiling_since = Some(at);
        self.recompiles = compiled.contains(&self.crates());
    }

    /// What names the crates of the present program. The compiler calls them by what is in them, so
    /// pipelines with the same program share them; two crates carry the pipeline's id in their names.
    pub fn crates(&self) -> Crates {
        let mut hash = Sha256::new();
        let config = self.program_config.to_string();
        for part in [
            &*self.program_code,
            &*self.udf_rust,
            &*self.udf_toml,
            &config,
            &self.platform_version,
        ] {
            hash.update(Sha256::digest(part.as_bytes()));
        }
        hash.finalize().into()
    }

    fn compile(&mut self, at: Timestamp, context: &mut Context<'_>) {
        let next = match self.program_status {
            ProgramStatus::Pending => ProgramStatus::CompilingSql,
            ProgramStatus::CompilingSql => match self.compiled().program {
                Ok(_) => ProgramStatus::SqlCompiled,
                Err(_) => ProgramStatus::SqlError,
            },
            ProgramStatus::SqlCompiled => ProgramStatus::CompilingRust,
            _ => match self.rust_error() {
                None => ProgramStatus::Success,
                Some(_) => ProgramStatus::RustError,
            },
        };
        self.program_status = next;
        self.program_status_since = at;
        if next == ProgramStatus::Success {
            context.compiled.insert(self.crates());
        }
        if !matches!(
            next,
            ProgramStatus::CompilingSql | ProgramStatus::CompilingRust
        ) {
            self.refresh_version += 1;
        }
        if matches!(
            next,
            ProgramStatus::Success | ProgramStatus::SqlError | ProgramStatus::RustError
        ) {
            self.compiling_since = None;
        }
        self.touch();
    }

    /// What the Rust compiler says against the program.
    pub fn rust_error(&self) -> Option<String> {
        match &self.compiled().program {
            Ok(program) => udf::rust_error(program, &self.udf_rust),
            Err(_) => None,
        }
    }

    fn provision(&mut self, at: Timestamp, context: &Context<'_>) {
        self.touch();
        self.refresh_version += 1;
        if self.program_status != ProgramStatus::Success {
            self.resources_desired = ResourcesDesired::Stopped;
            self.resources_desired_since = at;
            self.initial = None;
            self.bootstrap = None;
            let status = format!("{:?}", self.program_status);
            self.deployment_error = Some(
                ApiError::bad_request(
                    "StartFailedDueToFailedCompilation",
                    "Not possible to start the pipeline because the program failed to compile",
                )
                .with_details(json!({
                    "compiler_error":
                        format!("{status} occurred (see `program_error` for more information)"),
                }))
                .body(),
            );
            return;
        }
        self.resources = ResourcesStatus::Provisioning;
        self.resources_since = at;
        self.resources_until = Some(at + context.settings.provision);
        self.deployment_id = Some(super::new_id());
        self.deployment_error = None;
        self.storage_status = StorageStatus::InUse;
        self.log(
            at,
            "Resources transition: stopped -> provisioning (desired: provisioned)",
        );
    }

    fn provisioned(&mut self, at: Timestamp, context: &mut Context<'_>) {
        let program = self.compiled().program.as_ref().ok().cloned();
        let (Some(program), Some(deployment_id)) = (program, self.deployment_id) else {
            // A deployment has an id and a program that compiled.
            return self.stopping(at, None, context);
        };
        let initial = self.initial.unwrap_or(Desired::Running);
        let config = self.bootstrap.unwrap_or_default();
        let settings = self.process_settings(context);
        let mut world = World {
            storage: &mut self.storage,
            counters: &mut self.counters,
            bootstraps: &mut context.bootstraps,
            name: &self.name,
            durations: &context.settings.process,
        };
        self.process = Some(Process::boot(
            &mut world,
            deployment_id,
            Deployed::new(program),
            initial,
            config,
            settings,
            at,
        ));
        self.resources = ResourcesStatus::Provisioned;
        self.resources_since = at;
        self.resources_until = None;
        self.next_poll = Some(at + context.settings.poll);
        self.known_before.clear();
        self.observed = Some(Observed {
            status: "Initializing".to_owned(),
            status_since: at,
            desired: initial.as_str().to_owned(),
            desired_since: at,
            details: json!({"reason": "initializing set by the runner"}),
            taken_at: at,
        });
        self.refresh_version += 1;
        self.log(
            at,
            "Resources transition: provisioning -> provisioned (desired: provisioned)",
        );
        self.touch();
    }

    fn process_settings(&self, context: &Context<'_>) -> ProcessSettings {
        let fault_tolerance = &self.runtime_config["fault_tolerance"];
        let model = fault_tolerance["model"].as_str().filter(|m| *m != "none");
        ProcessSettings {
            storage: !self.runtime_config["storage"].is_null(),
            exactly_once: model == Some("exactly_once"),
            checkpoint_interval: model
                .filter(|_| context.settings.edition == super::Edition::Enterprise)
                .and(fault_tolerance["checkpoint_interval_secs"].as_u64())
                .filter(|seconds| *seconds > 0),
        }
    }

    /// Begins to take the deployment down.
    pub fn stopping(&mut self, at: Timestamp, error: Option<Value>, context: &Context<'_>) {
        self.process = None;
        self.resources = ResourcesStatus::Stopping;
        self.resources_since = at;
        self.resources_until = Some(at + context.settings.stop);
        if self.resources_desired != ResourcesDesired::Stopped {
            self.resources_desired = ResourcesDesired::Stopped;
            self.resources_desired_since = at;
        }
        self.observed = None;
        self.known_before.clear();
        self.next_poll = None;
        self.initial = None;
        self.bootstrap = None;
        self.deployment_error = error;
        self.refresh_version += 1;
        self.log(at, "Resources transition: -> stopping");
        self.touch();
    }

    fn stopped(&mut self, at: Timestamp) {
        self.resources = ResourcesStatus::Stopped;
        self.resources_since = at;
        self.resources_until = None;
        self.deployment_id = None;
        self.refresh_version += 1;
        self.log(
            at,
            "Resources transition: stopping -> stopped (desired: stopped)",
        );
        self.touch();
    }

    fn poll_and_schedule(&mut self, at: Timestamp, context: &mut Context<'_>) {
        let pending = self.poll(at, context);
        if self.resources != ResourcesStatus::Provisioned {
            return;
        }
        let poll = context.settings.poll;
        // Nothing will be new before the process does something: skip the polls until then.
        let horizon = self
            .process
            .as_ref()
            .and_then(Process::due)
            .map_or(context.now, |due| due.min(context.now));
        let mut skip = 1;
        if !pending && horizon > at {
            let wait = horizon.duration_since(at).as_nanos();
            let step = i128::try_from(poll.as_nanos()).unwrap_or(i128::MAX);
            skip = u32::try_from(wait / step).unwrap_or(u32::MAX).max(1);
        }
        self.next_poll = Some(at + poll * skip);
    }

    /// Asks the process for its status. True if there is more than was taken over.
    fn poll(&mut self, at: Timestamp, context: &mut Context<'_>) -> bool {
        let Some(process) = &self.process else {
            return false;
        };
        let report = process.report();
        let checkpoints = process
            .settings
            .storage
            .then(|| json!({"checkpoints": self.storage.checkpoints_json()}));
        let (status, desired, details) = match report {
            Report::Error(error) => {
                self.stopping(at, Some(error.body()), context);
                return false;
            }
            Report::Status {
                status: "Suspended",
                ..
            } => {
                self.storage_details = checkpoints.or(self.storage_details.take());
                self.stopping(at, None, context);
                return false;
            }
            Report::Unreachable => (
                "Unavailable",
                "Unavailable",
                json!({"reason": "Pipeline status endpoint could not be reached: connection refused"}),
            ),
            Report::Status {
                status,
                desired,
                details,
            } => (status, desired.as_str(), details),
        };
        let unreachable = status == "Unavailable";
        let new_storage = checkpoints.filter(|_| !unreachable);
        let Some(observed) = &self.observed else {
            return false;
        };
        let status_changed = observed.status != status || observed.desired != desired;
        let details_changed = observed.details != details
            || new_storage.is_some() && new_storage != self.storage_details;
        // The manager takes over mere details only so often.
        let often = observed.taken_at + context.settings.details;
        if !(status_changed || details_changed && (often <= at)) {
            return details_changed;
        }
        self.keep_known();
        let Some(observed) = &mut self.observed else {
            return false;
        };
        if observed.status != status {
            observed.status = status.to_owned();
            observed.status_since = at;
        }
        if observed.desired != desired {
            observed.desired = desired.to_owned();
            observed.desired_since = at;
        }
        observed.details = details;
        observed.taken_at = at;
        if new_storage.is_some() {
            self.storage_details = new_storage;
        }
        self.refresh_version += 1;
        if status_changed {
            self.log(
                at,
                &format!("Runtime transition: -> {status} (desired: {desired})"),
            );
        }
        self.touch();
        false
    }
}
