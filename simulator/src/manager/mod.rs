//! The simulated manager: its pipelines, and the calls on them.
//!
//! Time is an argument everywhere. Each call first lets everything happen to its pipeline that
//! was due until then, so an idle pipeline costs nothing.

pub mod actions;
pub mod advance;
pub mod edit;
pub mod pipeline;
pub mod validate;
pub mod view;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::ApiError;
use crate::process::{BootstrapRecord, Durations};
use crate::store::Store;
use pipeline::Pipeline;

/// What the engine may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Edition {
    /// With checkpoints, and so with a gate.
    Enterprise,
    /// Without.
    OpenSource,
}

/// The manager's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its edition.
    pub edition: Edition,
    /// Its version; pipelines are compiled for it.
    pub version: String,
    /// How often it asks processes for their status; zero: its answers are always live.
    pub poll: Duration,
    /// How often at most it takes over new details if the status is unchanged.
    pub details: Duration,
    /// How soon after a call to a process it asks for its status. Longer than `poll`: not at
    /// all.
    pub notify: Duration,
    /// A whole compilation.
    pub compile: Duration,
    /// A whole compilation of a program that was compiled before: only what is the pipeline's own is
    /// built and linked again.
    pub recompile: Duration,
    /// From Provisioning to Provisioned.
    pub provision: Duration,
    /// From Stopping to Stopped, and from Clearing to Cleared.
    pub stop: Duration,
    /// The process's.
    pub process: Durations,
}

impl Default for Settings {
    /// As a real manager, but with quicker compilations and starts.
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            edition: Edition::Enterprise,
            version: "0.337.0".to_owned(),
            poll: ms(2500),
            details: ms(10_000),
            notify: ms(u64::from(u32::MAX)),
            compile: ms(300),
            recompile: ms(75),
            provision: ms(200),
            stop: ms(100),
            process: Durations {
                initialize: ms(30),
                restart: ms(200),
                bootstrap: ms(300),
                checkpoint: ms(20),
                durable: ms(1),
            },
        }
    }
}

/// All pipelines.
#[derive(Debug)]
pub struct Manager {
    /// How it behaves.
    pub settings: Settings,
    pipelines: BTreeMap<String, Pipeline>,
    bootstraps: Vec<BootstrapRecord>,
    /// What the compiler's target folder holds: see [`Pipeline::crates`].
    compiled: HashSet<Crates>,
    store: Option<Store>,
}

/// What names the crates of a program, other than those of the pipeline itself.
pub type Crates = [u8; 32];

impl Manager {
    /// With what the store holds, if there is one.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn open(settings: Settings, store: Option<Store>) -> Result<Self, crate::store::Error> {
        let mut pipelines = BTreeMap::new();
        let mut bootstraps = Vec::new();
        if let Some(store) = &store {
            for pipeline in store.load_pipelines::<Pipeline>()? {
                pipelines.insert(pipeline.name.clone(), pipeline);
            }
            bootstraps = store.load_bootstraps()?;
        }
        // The target folder outlives the manager. Of programs that no pipeline has any more, nothing
        // is known by then; the real compiler removes their crates, too, after a while.
        let compiled = pipelines.values().filter(|pipeline| pipeline.is_compiled());
        Ok(Self {
            settings,
            compiled: compiled.map(Pipeline::crates).collect(),
            pipelines,
            bootstraps,
            store,
        })
    }

    /// Names of all pipelines, sorted.
    pub fn names(&self) -> Vec<String> {
        self.pipelines.keys().cloned().collect()
    }

    /// Every bootstrap that was begun, the oldest first.
    pub fn bootstraps(&mut self, now: Timestamp) -> &[BootstrapRecord] {
        for name in self.names() {
            // What happens by itself can't fail; an unknown name can't occur.
            let _ = self.with(&name, now, |_, _| Ok(()));
        }
        &self.bootstraps
    }

    /// Runs `f` on a pipeline as it is at `now`, and stores it if it changed.
    ///
    /// # Errors
    /// `UnknownPipelineName`, or what `f` gives.
    pub fn with<T>(
        &mut self,
        name: &str,
        now: Timestamp,
        f: impl FnOnce(&mut Pipeline, &mut Context<'_>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let Some(pipeline) = self.pipelines.get_mut(name) else {
            return Err(ApiError::unknown_pipeline(name));
        };
        let mut context = Context {
            settings: &self.settings,
            now,
            bootstraps: Vec::new(),
            compiled: &mut self.compiled,
        };
        pipeline.advance(&mut context);
        let result = f(pipeline, &mut context);
        // What `f` began may be over at once, with durations of zero.
        pipeline.advance(&mut context);
        let begun = std::mem::take(&mut context.bootstraps);
        if let Some(store) = &self.store {
            if pipeline.changed {
                store.save(pipeline.id, pipeline).map_err(storage_error)?;
            }
            for record in &begun {
                store.append_bootstrap(record).map_err(storage_error)?;
            }
        }
        pipeline.changed = false;
        self.bootstraps.extend(begun);
        result
    }

    /// The status of every pipeline as one JSON array.
    ///
    /// # Errors
    /// State can't be stored.
    pub fn list(&mut self, all: bool, now: Timestamp) -> Result<String, ApiError> {
        let mut out = String::from("[");
        for name in self.names() {
            if out.len() > 1 {
                out.push(',');
            }
            let text = self.with(&name, now, |pipeline, _| {
                Ok(if all {
                    Arc::from(pipeline.all().to_string())
                } else {
                    pipeline.status()
                })
            })?;
            out.push_str(&text);
        }
        out.push(']');
        Ok(out)
    }

    /// Removes a pipeline.
    ///
    /// # Errors
    /// It isn't there, not stopped, or has storage.
    pub fn delete(&mut self, name: &str, now: Timestamp) -> Result<(), ApiError> {
        let id = self.with(name, now, |pipeline, _| {
            pipeline.may_delete()?;
            Ok(pipeline.id)
        })?;
        self.pipelines.remove(name);
        if let Some(store) = &self.store {
            store.remove(id).map_err(storage_error)?;
        }
        Ok(())
    }

    /// A restart of the manager that loses what its last polls told, as when its database is put
    /// back or a replica that lags takes over: until it asks its processes again, a whole interval
    /// from now, it says what it knew before. What people asked for is not lost. Without an
    /// interval between polls nothing shows, as every answer is live.
    pub fn restart(&mut self, polls: usize, now: Timestamp) {
        let next_poll = now + self.settings.poll;
        for name in self.names() {
            // The name is known; that state can't be stored shows with the next call.
            let _ = self.with(&name, now, |pipeline, _| {
                pipeline.forget_polls(polls, next_poll);
                Ok(())
            });
        }
    }

    fn insert(&mut self, pipeline: Pipeline) -> Result<(), ApiError> {
        if let Some(store) = &self.store {
            store.save(pipeline.id, &pipeline).map_err(storage_error)?;
        }
        self.pipelines.insert(pipeline.name.clone(), pipeline);
        Ok(())
    }
}

/// What a pipeline works with besides itself.
pub struct Context<'a> {
    /// The manager's settings.
    pub settings: &'a Settings,
    /// The time of the call.
    pub now: Timestamp,
    /// Bootstraps that were begun.
    pub bootstraps: Vec<BootstrapRecord>,
    /// The crates that were compiled so far.
    pub compiled: &'a mut HashSet<Crates>,
}

fn storage_error(error: crate::store::Error) -> ApiError {
    ApiError::new(
        http::StatusCode::INTERNAL_SERVER_ERROR,
        "IoError",
        format!("The stand-in can't store its state: {error}"),
        serde_json::Value::Null,
    )
}

/// A new identifier, ordered by time as the engine's are.
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}
