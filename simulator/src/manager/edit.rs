//! Making and changing pipelines, with the engine's restrictions.

use std::collections::VecDeque;
use std::sync::Arc;

use feldera_types::config::RuntimeConfig;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::pipeline::{Pipeline, ProgramStatus, ResourcesDesired, ResourcesStatus, StorageStatus};
use super::validate::{check_description, check_name, check_tags, program_config};
use super::{Context, Edition, Manager, new_id};
use crate::error::ApiError;
use crate::process::data::Counters;
use crate::process::storage::Storage;

/// The body of `POST` and `PUT`.
#[derive(Debug, Clone, Deserialize)]
pub struct PostPut {
    /// The pipeline's name.
    pub name: String,
    /// SQL.
    pub program_code: String,
    /// Free text.
    pub description: Option<String>,
    /// Free words.
    pub tags: Option<Vec<String>>,
    /// Opaque settings.
    pub runtime_config: Option<Value>,
    /// `udf.rs`.
    pub udf_rust: Option<String>,
    /// Its dependencies.
    pub udf_toml: Option<String>,
    /// Opaque settings.
    pub program_config: Option<Value>,
}

/// The body of `PATCH`; what is absent or null stays.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Patch {
    /// Another name.
    pub name: Option<String>,
    /// SQL.
    pub program_code: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// Free words.
    pub tags: Option<Vec<String>>,
    /// Opaque settings.
    pub runtime_config: Option<Value>,
    /// `udf.rs`.
    pub udf_rust: Option<String>,
    /// Its dependencies.
    pub udf_toml: Option<String>,
    /// Opaque settings.
    pub program_config: Option<Value>,
}

impl From<PostPut> for Patch {
    fn from(body: PostPut) -> Self {
        let empty = || Some(json!({}));
        Self {
            name: Some(body.name),
            program_code: Some(body.program_code),
            description: Some(body.description.unwrap_or_default()),
            tags: Some(body.tags.unwrap_or_default()),
            runtime_config: body.runtime_config.or_else(empty),
            udf_rust: Some(body.udf_rust.unwrap_or_default()),
            udf_toml: Some(body.udf_toml.unwrap_or_default()),
            program_config: body.program_config.or_else(empty),
        }
    }
}

impl Manager {
    /// `POST /pipelines`.
    ///
    /// # Errors
    /// `DuplicateName`, or something in the body isn't valid.
    pub fn create(&mut self, body: PostPut, now: Timestamp) -> Result<Value, ApiError> {
        check_name(&body.name)?;
        check_description(body.description.as_deref())?;
        check_tags(body.tags.as_deref())?;
        let runtime_config =
            self.runtime_config(body.runtime_config.as_ref().unwrap_or(&json!({})))?;
        let program_config = program_config(body.program_config.as_ref().unwrap_or(&json!({})))?;
        if self.pipelines.contains_key(&body.name) {
            return Err(duplicate());
        }
        let id = new_id();
        let hash = Sha256::digest(id.as_bytes());
        // Above 2^53 and odd, as the engine's may be: a client that reads it as a float is wrong.
        let fingerprint = hash
            .iter()
            .take(8)
            .fold(0_u64, |n, byte| n << 8 | u64::from(*byte))
            | 1 << 63
            | 1;
        let mut pipeline = Pipeline {
            id,
            name: body.name,
            description: body.description.unwrap_or_default(),
            tags: body.tags.unwrap_or_default(),
            created_at: now,
            version: 1,
            refresh_version: 1,
            platform_version: self.settings.version.clone(),
            runtime_config,
            program_code: Arc::from(body.program_code),
            udf_rust: Arc::from(body.udf_rust.unwrap_or_default()),
            udf_toml: Arc::from(body.udf_toml.unwrap_or_default()),
            program_config,
            program_version: 1,
            program_status: ProgramStatus::Pending,
            program_status_since: now,
            compiling_since: None,
            recompiles: false,
            deployment_error: None,
            storage_status: StorageStatus::Cleared,
            storage_details: None,
            cleared_at: None,
            deployment_id: None,
            initial: None,
            bootstrap: None,
            resources: ResourcesStatus::Stopped,
            resources_since: now,
            resources_desired: ResourcesDesired::Stopped,
            resources_desired_since: now,
            resources_until: None,
            observed: None,
            next_poll: None,
            known_before: VecDeque::new(),
            storage: Storage {
                fingerprint,
                ..Storage::default()
            },
            process: None,
            counters: Counters::default(),
            log: VecDeque::new(),
            changed: false,
            status_cache: None,
        };
        pipeline.begin_to_compile(now, &self.compiled);
        let answer = pipeline.edited();
        self.insert(pipeline)?;
        Ok(answer)
    }

    /// `PUT /pipelines/{name}`: whether it is new, and the pipeline.
    ///
    /// # Errors
    /// As creating or patching.
    pub fn put(
        &mut self,
        name: &str,
        body: PostPut,
        now: Timestamp,
    ) -> Result<(bool, Value), ApiError> {
        if self.pipelines.contains_key(name) {
            return Ok((false, self.patch(name, body.into(), true, now)?));
        }
        if body.name != name {
            return Err(ApiError::bad_request(
                "CannotRenameNonExistingPipeline",
                "The pipeline name in the request body does not match the one provided in the \
                 URL path. This is not allowed when no pipeline with the name provided in the URL \
                 path exists.",
            ));
        }
        Ok((true, self.create(body, now)?))
    }

    /// `PATCH /pipelines/{name}`; with `bump` it is also raised to the present platform version.
    ///
    /// # Errors
    /// It isn't stopped, has storage that the change doesn't fit, or the body isn't valid.
    pub fn patch(
        &mut self,
        name: &str,
        mut patch: Patch,
        bump: bool,
        now: Timestamp,
    ) -> Result<Value, ApiError> {
        if let Some(new) = &patch.name {
            check_name(new)?;
        }
        if let Some(config) = &patch.runtime_config {
            patch.runtime_config = Some(self.runtime_config(config)?);
        }
        if let Some(config) = &patch.program_config {
            patch.program_config = Some(program_config(config)?);
        }
        let taken = patch
            .name
            .as_ref()
            .is_some_and(|new| new != name && self.pipelines.contains_key(new));
        let (answer, renamed) = self.with(name, now, |pipeline, context| {
            pipeline.apply(&patch, bump, taken, context)?;
            Ok((pipeline.edited(), pipeline.name != name))
        })?;
        if renamed && let Some(pipeline) = self.pipelines.remove(name) {
            self.pipelines.insert(pipeline.name.clone(), pipeline);
        }
        Ok(answer)
    }

    /// Checks it and fills in defaults, with Feldera's own type.
    fn runtime_config(&self, value: &Value) -> Result<Value, ApiError> {
        let invalid = |error: String| {
            ApiError::bad_request(
                "InvalidRuntimeConfig",
                format!(
                    "JSON for 'runtime_config' field:\n{value:#}\n\n... is not valid due to: {error}"
                ),
            )
            .with_details(json!({"value": value, "error": error}))
        };
        let config: RuntimeConfig = serde_json::from_value(value.clone())
            .map_err(|e| invalid(format!("could not deserialize due to: {e}")))?;
        let enabled = config.fault_tolerance.is_enabled();
        if enabled && self.settings.edition == Edition::OpenSource {
            return Err(invalid("enterprise feature: fault tolerance".to_owned()));
        }
        serde_json::to_value(&config).map_err(|e| invalid(e.to_string()))
    }
}

impl Pipeline {
    fn apply(
        &mut self,
        patch: &Patch,
        bump: bool,
        name_taken: bool,
        context: &Context<'_>,
    ) -> Result<(), ApiError> {
        let version = context.settings.version.as_str();
        // Only what changes is checked: older values may break newer rules.
        let description = patch
            .description
            .as_ref()
            .filter(|new| **new != self.description);
        let tags = patch.tags.as_ref().filter(|new| **new != self.tags);
        check_description(description.map(String::as_str))?;
        check_tags(tags.map(Vec::as_slice))?;
        let differs = |new: &Option<String>, old: &str| new.as_ref().is_some_and(|n| n != old);
        let renamed = differs(&patch.name, &self.name);
        let program_changed = bump && self.platform_version != version
            || differs(&patch.program_code, &self.program_code)
            || differs(&patch.udf_rust, &self.udf_rust)
            || differs(&patch.udf_toml, &self.udf_toml)
            || patch
                .program_config
                .as_ref()
                .is_some_and(|c| *c != self.program_config);
        let runtime_config = patch
            .runtime_config
            .as_ref()
            .filter(|c| **c != self.runtime_config);
        let core_changed = renamed || program_changed || runtime_config.is_some();
        if core_changed {
            if !self.is_stopped() {
                return Err(ApiError::bad_request(
                    "UpdateRestrictedToStopped",
                    "Pipeline can only be updated while stopped. Stop it first by invoking \
                     '/stop'.",
                ));
            }
            self.check_storage(renamed, runtime_config)?;
            if renamed && name_taken {
                return Err(duplicate());
            }
        }
        if let Some(description) = description {
            self.description.clone_from(description);
            self.touch();
        }
        if let Some(tags) = tags {
            self.tags.clone_from(tags);
            self.touch();
        }
        if !core_changed {
            return Ok(());
        }
        if let Some(name) = &patch.name {
            self.name.clone_from(name);
        }
        if let Some(config) = runtime_config {
            self.runtime_config = config.clone();
        }
        self.version += 1;
        self.refresh_version += 1;
        if bump || program_changed {
            version.clone_into(&mut self.platform_version);
        }
        if program_changed {
            let set = |field: &mut Arc<str>, new: &Option<String>| {
                if let Some(new) = new {
                    *field = Arc::from(new.as_str());
                }
            };
            set(&mut self.program_code, &patch.program_code);
            set(&mut self.udf_rust, &patch.udf_rust);
            set(&mut self.udf_toml, &patch.udf_toml);
            if let Some(config) = &patch.program_config {
                self.program_config = config.clone();
            }
            self.program_version += 1;
            self.begin_to_compile(context.now, context.compiled);
        }
        self.touch();
        Ok(())
    }

    /// What can't change while there is storage.
    fn check_storage(&self, renamed: bool, runtime_config: Option<&Value>) -> Result<(), ApiError> {
        if self.storage_status == StorageStatus::Cleared {
            return Ok(());
        }
        let mut forbidden = Vec::new();
        if renamed {
            forbidden.push("`name`".to_owned());
        }
        if let Some(new) = runtime_config {
            for path in [
                "workers",
                "hosts",
                "fault_tolerance",
                "resources.storage_mb_max",
                "resources.namespace",
                "resources.storage_class",
                "clock_timezone_offset",
            ] {
                let pointer = format!("/{}", path.replace('.', "/"));
                let value =
                    |config: &Value| config.pointer(&pointer).filter(|v| !v.is_null()).cloned();
                if value(new) != value(&self.runtime_config) {
                    forbidden.push(format!("`runtime_config.{path}`"));
                }
            }
        }
        if forbidden.is_empty() {
            return Ok(());
        }
        Err(ApiError::bad_request(
            "EditRestrictedToClearedStorage",
            format!(
                "The following pipeline edits are not allowed while storage is not cleared: {}",
                forbidden.join(", ")
            ),
        )
        .with_details(json!({"not_allowed": forbidden})))
    }
}

fn duplicate() -> ApiError {
    ApiError::new(
        http::StatusCode::CONFLICT,
        "DuplicateName",
        "An entity with this name already exists",
        Value::Null,
    )
}
