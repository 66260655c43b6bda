//! One Pipeline per pipeline of an engine, over the whole cluster: the oldest wins.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};

use super::engines::EngineKey;
use super::{Guarded, Pipeline};

/// Who claims which pipeline of which engine.
#[derive(Default)]
pub(super) struct Claims(Mutex<Register>);

#[derive(Default)]
struct Register {
    /// Whether the Pipelines that were there at the start have been put down: the first to be
    /// looked at need not be the oldest.
    complete: bool,
    claims: HashMap<(EngineKey, String), BTreeSet<Claim>>,
}

/// Ordered by age, then by uid, so that there always is one oldest.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    since: Option<Timestamp>,
    uid: String,
    namespace: String,
    name: String,
}

impl Claims {
    /// Puts down a Pipeline's claim. Returns the name of the older Pipeline that has the same one.
    pub(super) fn claim(&self, pipeline: &Pipeline, existing: &Store<Guarded>) -> Option<String> {
        let own = Claim::of(pipeline);
        let mut register = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut register.complete, true) {
            for object in existing.state() {
                if let Ok(pipeline) = &object.0 {
                    let claims = register.claims.entry(key(pipeline)).or_default();
                    claims.insert(Claim::of(pipeline));
                }
            }
        }
        let claims = register.claims.entry(key(pipeline)).or_default();
        claims.retain(|claim| *claim == own || claim.is_alive(existing));
        claims.insert(own.clone());
        let oldest = claims.first()?;
        (*oldest != own).then(|| format!("Pipeline {}/{}", oldest.namespace, oldest.name))
    }

    /// The Pipelines that claim a pipeline of an engine.
    pub(super) fn of(&self, engine: &EngineKey, pipeline: &str) -> Vec<ObjectRef<Guarded>> {
        let register = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        register
            .claims
            .get(&(engine.clone(), pipeline.to_owned()))
            .into_iter()
            .flatten()
            .map(|claim| ObjectRef::new(&claim.name).within(&claim.namespace))
            .collect()
    }
}

fn key(pipeline: &Pipeline) -> (EngineKey, String) {
    (
        EngineKey::of(pipeline),
        pipeline.engine_pipeline_name().to_owned(),
    )
}

impl Claim {
    fn of(pipeline: &Pipeline) -> Self {
        Self {
            since: pipeline.creation_timestamp().map(|time| time.0),
            uid: pipeline.uid().unwrap_or_default(),
            namespace: pipeline.namespace().unwrap_or_default(),
            name: pipeline.name_any(),
        }
    }

    fn is_alive(&self, existing: &Store<Guarded>) -> bool {
        existing
            .get(&ObjectRef::new(&self.name).within(&self.namespace))
            .is_some_and(|object| object.uid().as_deref() == Some(&self.uid))
    }
}
