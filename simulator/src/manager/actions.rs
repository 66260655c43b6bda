//! The calls on a pipeline other than edits.

use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::pipeline::{Pipeline, ProgramStatus, ResourcesDesired, ResourcesStatus, StorageStatus};
use super::{Context, Edition};
use crate::compiler::compile;
use crate::diff;
use crate::error::ApiError;
use crate::process::status::{BootstrapConfig, Desired};
use crate::process::storage::Deployed;
use crate::process::{Phase, Process, World};

/// What `/stop` came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The resources are being removed.
    Forced,
    /// The process writes a checkpoint first.
    Suspending,
}

impl Pipeline {
    /// `POST /start`.
    ///
    /// # Errors
    /// The engine's conditions for a start.
    pub fn start(
        &mut self,
        context: &Context<'_>,
        initial: Desired,
        config: BootstrapConfig,
        dismiss_error: bool,
    ) -> Result<(), ApiError> {
        if self.resources_desired == ResourcesDesired::Stopped
            && self.resources != ResourcesStatus::Stopped
        {
            return Err(ApiError::bad_request(
                "IllegalPipelineAction",
                format!(
                    "Deployment resources status (current: '{:?}', desired: '{:?}') cannot have \
                     desired changed to 'Provisioned'. Cannot restart the pipeline while it is \
                     stopping. Wait until it is stopped before starting the pipeline again.",
                    self.resources, self.resources_desired
                ),
            )
            .with_details(json!({
                "status": self.resources,
                "current_desired_status": self.resources_desired,
                "new_desired_status": "Provisioned",
                "hint": "Cannot restart the pipeline while it is stopping. Wait until it is \
                         stopped before starting the pipeline again.",
            })));
        }
        if !dismiss_error && self.deployment_error.is_some() {
            return Err(ApiError::bad_request(
                "CannotStartWithUndismissedError",
                "Cannot process `/start?dismiss_error=false` if the `deployment_error` is set. \
                 You can dismiss the error by calling `/start?dismiss_error=true`, or \
                 alternatively first call `/dismiss_error`, after which \
                 `/start?dismiss_error=false` is again possible.",
            ));
        }
        if self.storage_status == StorageStatus::Clearing {
            return Err(ApiError::bad_request(
                "CannotStartWhileClearingStorage",
                "Cannot process `/start` if the `storage_status` is `Clearing`. Wait for the \
                 storage to become cleared before trying again.",
            ));
        }
        if matches!(
            self.program_status,
            ProgramStatus::SqlError | ProgramStatus::RustError | ProgramStatus::SystemError
        ) {
            return Err(ApiError::bad_request(
                "CannotStartWithCompilationError",
                "Cannot process `/start` if the `program_status` is `SqlError`, `RustError` or \
                 `SystemError`. Make changes to fix the error, which will trigger recompilation.",
            ));
        }
        if self.initial.is_some_and(|current| current != initial) {
            return Err(ApiError::bad_request(
                "InitialImmutableUnlessStopped",
                "Initial desired runtime status cannot be changed unless the pipeline is desired \
                 to become Stopped.",
            ));
        }
        if self.bootstrap.is_some_and(|current| current != config) {
            return Err(ApiError::bad_request(
                "BootstrapPolicyImmutableUnlessStopped",
                "Bootstrap policy cannot be changed unless the pipeline is desired to become \
                 Stopped.",
            ));
        }
        let backend = &self.runtime_config["storage"]["backend"];
        if initial == Desired::Standby
            && (backend["name"] != "file" || backend["config"]["sync"].is_null())
        {
            return Err(ApiError::bad_request(
                "InitialStandbyNotAllowed",
                "Initial desired runtime status can only be set to Standby if: (1) \
                 `runtime_config.storage.backend.name` is set to `file`, and (2) \
                 `runtime_config.storage.backend.config.sync` is configured.",
            ));
        }
        if self.resources_desired != ResourcesDesired::Provisioned {
            self.resources_desired = ResourcesDesired::Provisioned;
            self.resources_desired_since = context.now;
        }
        self.initial = Some(initial);
        self.bootstrap = Some(config);
        if dismiss_error {
            self.deployment_error = None;
        }
        self.touch();
        Ok(())
    }

    /// `POST /stop`.
    ///
    /// # Errors
    /// `EnterpriseFeature`, or the process can't be reached.
    pub fn stop(&mut self, context: &mut Context<'_>, force: bool) -> Result<Stop, ApiError> {
        if !force && context.settings.edition == Edition::OpenSource {
            return Err(ApiError::enterprise_feature("stop?force=false"));
        }
        if force || self.resources != ResourcesStatus::Provisioned {
            self.force_stop(context);
            return Ok(Stop::Forced);
        }
        self.reachable()?;
        let now = context.now;
        self.with_world(context, |process, world| process.suspend(world, now));
        self.notify(context);
        Ok(Stop::Suspending)
    }

    fn force_stop(&mut self, context: &Context<'_>) {
        let now = context.now;
        if self.resources_desired != ResourcesDesired::Stopped {
            self.resources_desired = ResourcesDesired::Stopped;
            self.resources_desired_since = now;
        }
        match self.resources {
            ResourcesStatus::Stopped => {
                self.initial = None;
                self.bootstrap = None;
            }
            ResourcesStatus::Stopping => {}
            ResourcesStatus::Provisioning | ResourcesStatus::Provisioned => {
                self.stopping(now, None, context);
            }
        }
        self.touch();
    }

    /// `POST /clear`.
    ///
    /// # Errors
    /// It isn't stopped.
    pub fn clear(&mut self, context: &Context<'_>) -> Result<(), ApiError> {
        if self.storage_status == StorageStatus::Cleared {
            return Ok(());
        }
        if !self.is_stopped() {
            return Err(ApiError::bad_request(
                "StorageStatusImmutableUnlessStopped",
                format!(
                    "Cannot transition storage status from '{}' to 'clearing' with resources \
                     status '{}' and desired status '{}'. Storage status cannot be changed \
                     unless the pipeline is fully stopped.",
                    if self.storage_status == StorageStatus::InUse {
                        "in_use"
                    } else {
                        "clearing"
                    },
                    lower(self.resources),
                    lower(self.resources_desired),
                ),
            )
            .with_details(json!({
                "resources_status": self.resources,
                "resources_desired_status": self.resources_desired,
                "current_status": self.storage_status,
                "new_status": "Clearing",
            })));
        }
        if self.storage_status == StorageStatus::InUse {
            self.storage_status = StorageStatus::Clearing;
            self.cleared_at = Some(context.now + context.settings.stop);
            let fingerprint = self.storage.fingerprint;
            self.storage = crate::process::storage::Storage {
                fingerprint,
                ..Default::default()
            };
            self.storage_details = None;
            self.touch();
        }
        Ok(())
    }

    /// `POST /dismiss_error`.
    ///
    /// # Errors
    /// There is one, and it isn't stopped.
    pub fn dismiss_error(&mut self) -> Result<(), ApiError> {
        if self.deployment_error.is_some() && !self.is_stopped() {
            return Err(ApiError::bad_request(
                "DismissErrorRestrictedToFullyStopped",
                "The pipeline must have both status `Stopped` and desired status `Stopped` to \
                 dismiss the `deployment_error` if it is set.",
            ));
        }
        self.deployment_error = None;
        self.touch();
        Ok(())
    }

    /// May it be deleted?
    ///
    /// # Errors
    /// It isn't stopped, or has storage.
    pub fn may_delete(&self) -> Result<(), ApiError> {
        if !self.is_stopped() {
            return Err(ApiError::bad_request(
                "DeleteRestrictedToFullyStopped",
                "Cannot delete a pipeline which is not fully stopped. Stop the pipeline first \
                 fully by invoking the '/stop' endpoint.",
            ));
        }
        if self.storage_status != StorageStatus::Cleared {
            return Err(ApiError::bad_request(
                "DeleteRestrictedToClearedStorage",
                "Cannot delete pipeline unless its storage is cleared. Clear storage first using \
                 `/clear`.",
            ));
        }
        Ok(())
    }

    /// Can a call be passed on to the process?
    ///
    /// # Errors
    /// It isn't deployed, known to be unavailable, or doesn't answer.
    pub fn reachable(&self) -> Result<&Process, ApiError> {
        let suffix = format!(" pipeline-id=N/A pipeline-name=\"{}\"", self.name);
        if self.resources != ResourcesStatus::Provisioned {
            return Err(ApiError::unavailable(
                "PipelineInteractionNotDeployed",
                format!(
                    "Unable to interact with pipeline because the deployment status ({}) \
                     indicates it is not (yet) fully provisioned{suffix}",
                    lower(self.resources)
                ),
                json!({
                    "pipeline_name": self.name,
                    "status": self.resources,
                    "desired_status": self.resources_desired,
                }),
            ));
        }
        if self
            .observed
            .as_ref()
            .is_some_and(|o| o.status == "Unavailable")
        {
            return Err(ApiError::unavailable(
                "PipelineUnavailable",
                format!(
                    "Unable to interact with pipeline because its status is currently \
                     'unavailable'{suffix}"
                ),
                json!({"pipeline_name": self.name}),
            ));
        }
        match &self.process {
            Some(process) if !matches!(process.phase, Phase::Down { .. }) => Ok(process),
            _ => {
                let error = "Failed to connect to host: Connection refused";
                Err(ApiError::unavailable(
                    "PipelineInteractionUnreachable",
                    format!(
                        "Error sending HTTP request to pipeline: {error} Failed request: {}{suffix}",
                        self.name
                    ),
                    json!({"pipeline_name": self.name, "request": self.name, "error": error}),
                ))
            }
        }
    }

    /// Passes a call on to the process, and makes the manager look at it soon.
    ///
    /// # Errors
    /// As [`Self::reachable`], or what the process answers.
    pub fn interact<T>(
        &mut self,
        context: &mut Context<'_>,
        f: impl FnOnce(&mut Process, &mut World<'_>, Timestamp) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        self.reachable()?;
        let now = context.now;
        let result = self
            .with_world(context, |process, world| f(process, world, now))
            .unwrap_or_else(|| Err(crate::process::gate::initializing()));
        self.notify(context);
        result
    }

    fn notify(&mut self, context: &Context<'_>) {
        let soon = context.now + context.settings.notify;
        self.next_poll = self.next_poll.map(|poll| poll.min(soon));
    }

    /// `POST /diff`: the present program against another.
    ///
    /// # Errors
    /// Either doesn't compile, or the change can't be bootstrapped.
    pub fn preview(&self, program_code: Option<&str>) -> Result<Value, ApiError> {
        let compiled = self.compiled();
        let current = match (&compiled.program, self.program_status) {
            (Ok(program), ProgramStatus::Success) => program,
            _ => {
                return Err(ApiError::new(
                    StatusCode::NOT_FOUND,
                    "ProgramNotCompiled",
                    format!(
                        "Pipeline '{}' has not been compiled yet. Please compile the pipeline \
                         first.",
                        self.name
                    ),
                    json!({"pipeline_name": self.name}),
                ));
            }
        };
        let new = match program_code {
            None => current.clone(),
            Some(code) => compile(code).program.map_err(|messages| {
                let error = serde_json::to_string_pretty(&messages).unwrap_or_default();
                ApiError::bad_request(
                    "InvalidNewProgramSql",
                    format!("The proposed new SQL program has compilation errors: {error}"),
                )
                .with_details(json!({"error": error}))
            })?,
        };
        match diff::compute(current, false, &new) {
            Ok(diff) => Ok(diff.to_json()),
            Err(error) => Err(ApiError::bad_request(
                "BootstrapNotAllowed",
                format!("The requested change cannot be bootstrapped: {error}"),
            )
            .with_details(json!({"error": error}))),
        }
    }

    /// Kills the process as by `kill -9`; the platform starts it again under the same id,
    /// optionally with another program (which the real manager never does by itself).
    ///
    /// # Errors
    /// There is no process, or the program doesn't compile.
    pub fn kill(
        &mut self,
        context: &mut Context<'_>,
        program_code: Option<&str>,
        restart: Option<Duration>,
    ) -> Result<(), ApiError> {
        let program = match program_code.map(compile) {
            None => None,
            Some(compiled) => Some(compiled.program.map_err(|messages| {
                ApiError::bad_request("InvalidProgram", "The program doesn't compile")
                    .with_details(json!(messages))
            })?),
        };
        let now = context.now;
        let restart = restart.unwrap_or(context.settings.process.restart);
        let killed = self.with_world(context, |process, _| {
            if let Some(program) = program {
                process.program = Deployed::new(program);
            }
            process.kill(restart, now);
        });
        if killed.is_none() {
            return Err(no_process(&self.name));
        }
        self.log(now, "Pipeline process was killed");
        self.touch();
        Ok(())
    }

    /// Makes the process fail.
    ///
    /// # Errors
    /// There is no process.
    pub fn fail(&mut self, context: &mut Context<'_>, message: &str) -> Result<(), ApiError> {
        self.with_world(context, |process, _| process.fail(message))
            .ok_or_else(|| no_process(&self.name))
    }
}

fn no_process(name: &str) -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        "NoProcess",
        format!("Pipeline '{name}' has no process: start it first"),
        Value::Null,
    )
}

fn lower(status: impl std::fmt::Debug) -> String {
    format!("{status:?}").to_lowercase()
}
