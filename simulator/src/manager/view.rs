//! A pipeline as JSON, in the engine's selections.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::pipeline::{Pipeline, ProgramStatus, ResourcesDesired, ResourcesStatus};
use crate::process::status::Policy;

impl Pipeline {
    /// `selector=all`.
    pub fn all(&self) -> Value {
        let mut out = self.info();
        out.extend(self.bootstrap_fields());
        Value::Object(out)
    }

    /// The answer to `POST`, `PUT` and `PATCH`: all but what was given at start.
    pub fn edited(&self) -> Value {
        Value::Object(self.info())
    }

    /// `selector=status`, as text.
    pub fn status(&mut self) -> Arc<str> {
        if let Some(text) = &self.status_cache {
            return text.clone();
        }
        let text: Arc<str> = Arc::from(Value::Object(self.status_fields()).to_string());
        self.status_cache = Some(text.clone());
        text
    }

    /// `selector=status_with_connectors`.
    pub fn status_with_connectors(&self) -> Value {
        let mut out = self.status_fields();
        let stats = self
            .observed
            .as_ref()
            .and_then(|o| o.details.get("connector_stats"));
        if let Some(stats) = stats {
            out.insert("connectors".to_owned(), stats.clone());
        }
        Value::Object(out)
    }

    fn status_fields(&self) -> Map<String, Value> {
        let mut out = self.common();
        out.extend(self.bootstrap_fields());
        out
    }

    fn info(&self) -> Map<String, Value> {
        let mut out = self.common();
        out.extend(object(json!({
            "runtime_config": self.runtime_config,
            "program_code": *self.program_code,
            "udf_rust": *self.udf_rust,
            "udf_toml": *self.udf_toml,
            "program_error": self.program_error(),
            "program_info": self.program_info(),
            "deployment_resources_status_details":
                self.observed.is_some().then_some(""),
        })));
        out
    }

    fn bootstrap_fields(&self) -> Map<String, Value> {
        let config = self.bootstrap.unwrap_or_default();
        let policy = config.bootstrap_policy.map(|p| match p {
            Policy::Allow => "allow",
            Policy::Reject => "reject",
            Policy::AwaitApproval => "await_approval",
        });
        object(json!({
            "bootstrap_policy": policy,
            "silent_bootstrap": config.silent_bootstrap,
            "concurrent_bootstrap": config.concurrent_bootstrap,
        }))
    }

    /// The status that combines resources and process.
    pub fn deployment_status(&self) -> String {
        match (self.resources, &self.observed) {
            (ResourcesStatus::Provisioned, Some(observed)) => observed.status.clone(),
            (ResourcesStatus::Provisioned, None) => "Unavailable".to_owned(),
            (other, _) => format!("{other:?}"),
        }
    }

    fn common(&self) -> Map<String, Value> {
        let observed = self.observed.as_ref();
        let desired = match (self.resources_desired, observed, self.initial) {
            (ResourcesDesired::Stopped, _, _) => "Stopped".to_owned(),
            (_, Some(observed), _) => observed.desired.clone(),
            (_, None, Some(initial)) => initial.as_str().to_owned(),
            (_, None, None) => "Unavailable".to_owned(),
        };
        let latest = |resources: Timestamp, runtime: Option<Timestamp>| {
            runtime.map_or(resources, |r| r.max(resources))
        };
        object(json!({
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "tags": self.tags,
            "created_at": self.created_at,
            "version": self.version,
            "platform_version": self.platform_version,
            "program_config": self.program_config,
            "program_version": self.program_version,
            "program_status": self.program_status,
            "program_status_since": self.program_status_since,
            "deployment_error": self.deployment_error,
            "refresh_version": self.refresh_version,
            "storage_status": self.storage_status,
            "storage_status_details": self.storage_details,
            "deployment_id": self.deployment_id,
            "deployment_initial": self.initial.map(|i| i.as_str()),
            "deployment_status": self.deployment_status(),
            "deployment_status_since":
                latest(self.resources_since, observed.map(|o| o.status_since)),
            "deployment_desired_status": desired,
            "deployment_desired_status_since":
                latest(self.resources_desired_since, observed.map(|o| o.desired_since)),
            "deployment_resources_status": self.resources,
            "deployment_resources_status_since": self.resources_since,
            "deployment_resources_desired_status": self.resources_desired,
            "deployment_resources_desired_status_since": self.resources_desired_since,
            "deployment_runtime_status": observed.map(|o| &o.status),
            "deployment_runtime_status_details": observed.map(|o| &o.details),
            "deployment_runtime_status_since": observed.map(|o| o.status_since),
            "deployment_runtime_desired_status": observed.map(|o| &o.desired),
            "deployment_runtime_desired_status_since": observed.map(|o| o.desired_since),
        }))
    }

    fn program_error(&self) -> Value {
        let mut sql = Value::Null;
        let mut rust = Value::Null;
        match self.program_status {
            ProgramStatus::Pending | ProgramStatus::CompilingSql => {}
            status => {
                let compiled = self.compiled();
                sql = match &compiled.program {
                    Ok(_) => json!({"exit_code": 0, "messages": compiled.warnings}),
                    Err(messages) => json!({"exit_code": 1, "messages": messages}),
                };
                if status == ProgramStatus::Success {
                    rust = json!({"exit_code": 0, "stdout": "", "stderr": ""});
                }
                if status == ProgramStatus::RustError {
                    let stderr = self.rust_error().unwrap_or_default();
                    rust = json!({"exit_code": 101, "stdout": "", "stderr": stderr});
                }
            }
        }
        json!({"sql_compilation": sql, "rust_compilation": rust, "system_error": null})
    }

    fn program_info(&self) -> Value {
        match self.program_status {
            ProgramStatus::Pending | ProgramStatus::CompilingSql | ProgramStatus::SqlError => {
                Value::Null
            }
            _ => match &self.compiled().program {
                Ok(program) => json!({
                    "schema": program.schema,
                    "udf_stubs": "",
                    "input_connectors": program.info.inputs,
                    "output_connectors": program.info.outputs,
                }),
                Err(_) => Value::Null,
            },
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
