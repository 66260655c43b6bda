//! One Pipeline per pipeline of an engine, over the whole cluster: the oldest wins.
//!
//! Which engine it is says its URL, and not the name of the Engine object: two objects, or two spellings
//! of one URL, are one engine. Where two URLs lead to the same engine, only the mark that the engine's
//! pipeline carries tells. Nothing marks a pipeline that is made elsewhere, but
//! its id, which the engine gives, is nobody else's: see [`Claims::older_guest`].

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};

use super::engines::{EngineKey, Engines};
use super::{Guarded, Pipeline};

/// Who claims which pipeline of which engine.
#[derive(Default)]
pub(super) struct Claims(Mutex<Register>);

#[derive(Default)]
struct Register {
    /// Whether the Pipelines that were there at the start have been put down: the first to be
    /// looked at need not be the oldest.
    complete: bool,
    // Shared, because there are as many as Pipelines, and a set has room for eleven from the start.
    claims: HashMap<Place, BTreeSet<Arc<Claim>>>,
    /// Where each claim stands, by the uid of its Pipeline.
    places: HashMap<String, (Place, Arc<Claim>)>,
    /// Who keeps the gate of which pipeline that is made elsewhere, by its id in the engine.
    guests: HashMap<String, BTreeSet<Arc<Claim>>>,
    /// Whether those that were there at the start have been put down.
    guests_are_known: bool,
    /// Whom to wake when a pipeline of an engine has changed.
    concerned: HashMap<(EngineKey, String), BTreeSet<Arc<Claim>>>,
}

/// A pipeline of an engine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    /// What tells engines apart: see [`Engines::identity`].
    engine: String,
    pipeline: String,
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
    ///
    /// The engines must all have been looked at: before, it isn't known which of them are the same.
    pub(super) fn claim(
        &self,
        pipeline: &Pipeline,
        engines: &Engines,
        existing: &Store<Guarded>,
    ) -> Option<String> {
        let mut register = self.register();
        if !std::mem::replace(&mut register.complete, true) {
            for object in existing.state() {
                if let Ok(pipeline) = &object.0
                    && engines.serve(pipeline)
                {
                    register.put(pipeline, engines);
                }
            }
        }
        let (place, own) = register.put(pipeline, engines);
        let register = &mut *register;
        let claims = register.claims.entry(place).or_default();
        claims.retain(|claim| {
            let stays = *claim == own || claim.is_alive(existing);
            if !stays {
                register.places.remove(&claim.uid);
            }
            stays
        });
        let oldest = claims.first()?;
        (*oldest != own).then(|| oldest.to_string())
    }

    /// Puts down that a Pipeline keeps the gate of a pipeline that is made elsewhere, and has this id in its
    /// engine. Returns the name of the older Pipeline that does so too, by whichever URL and credential.
    pub(super) fn older_guest(
        &self,
        pipeline: &Pipeline,
        id: &str,
        existing: &Store<Guarded>,
    ) -> Option<String> {
        let mut register = self.register();
        if !std::mem::replace(&mut register.guests_are_known, true) {
            for object in existing.state() {
                if let Ok(other) = &object.0
                    && other.is_guest()
                    && let Some(id) = known_id(other)
                {
                    register.put_guest(id, Claim::of(other));
                }
            }
        }
        let own = Claim::of(pipeline);
        register.put_guest(id, own.clone());
        let guests = register.guests.get_mut(id)?;
        guests.retain(|claim| **claim == own || claim.is_alive(existing));
        let oldest = guests.first()?;
        (**oldest != own).then(|| oldest.to_string())
    }

    /// A Pipeline that no engine serves claims nothing.
    pub(super) fn withdraw(&self, pipeline: &Pipeline) {
        let uid = pipeline.metadata.uid.as_deref().unwrap_or_default();
        self.register().remove(uid);
    }

    /// Forgets those that are gone.
    pub(super) fn prune(&self, existing: &Store<Guarded>) {
        let mut register = self.register();
        let all = register.places.values();
        let gone: Vec<String> = all
            .filter(|(_, claim)| !claim.is_alive(existing))
            .map(|(_, claim)| claim.uid.clone())
            .collect();
        for uid in gone {
            register.remove(&uid);
        }
        let still_there = |claims: &mut BTreeSet<Arc<Claim>>| {
            claims.retain(|claim| claim.is_alive(existing));
            !claims.is_empty()
        };
        let register = &mut *register;
        register.concerned.retain(|_, claims| still_there(claims));
        register.guests.retain(|_, claims| still_there(claims));
    }

    /// The Pipelines that a pipeline of an engine is of.
    pub(super) fn of(&self, engine: &EngineKey, pipeline: &str) -> Vec<ObjectRef<Guarded>> {
        let register = self.register();
        register
            .concerned
            .get(&(engine.clone(), pipeline.to_owned()))
            .into_iter()
            .flatten()
            .map(|claim| ObjectRef::new(&claim.name).within(&claim.namespace))
            .collect()
    }

    fn register(&self) -> MutexGuard<'_, Register> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Register {
    fn remove(&mut self, uid: &str) {
        let Some((place, claim)) = self.places.remove(uid) else {
            return;
        };
        if let Some(claims) = self.claims.get_mut(&place) {
            claims.remove(&claim);
            if claims.is_empty() {
                self.claims.remove(&place);
            }
        }
    }

    fn put_guest(&mut self, id: &str, claim: Claim) {
        let guests = self.guests.entry(id.to_owned()).or_default();
        guests.insert(Arc::new(claim));
    }

    /// Puts a claim down where it belongs by now.
    fn put(&mut self, pipeline: &Pipeline, engines: &Engines) -> (Place, Arc<Claim>) {
        let key = EngineKey::of(pipeline);
        let claim = Claim::of(pipeline);
        let claim = match self.places.get(&claim.uid) {
            Some((_, known)) if **known == claim => Arc::clone(known),
            _ => Arc::new(claim),
        };
        let place = Place {
            engine: engines.identity(&key),
            pipeline: pipeline.engine_pipeline_name().to_owned(),
        };
        let before = self
            .places
            .insert(claim.uid.clone(), (place.clone(), claim.clone()));
        if before.is_none() {
            engines.touch(&key);
        }
        if let Some((old, _)) = before.filter(|(old, _)| *old != place)
            && let Some(claims) = self.claims.get_mut(&old)
        {
            claims.remove(&claim);
        }
        let claims = self.claims.entry(place.clone()).or_default();
        claims.insert(Arc::clone(&claim));
        let concerned = self.concerned.entry((key, place.pipeline.clone()));
        concerned.or_default().insert(Arc::clone(&claim));
        (place, claim)
    }
}

/// The id that a Pipeline's status has of the engine's pipeline.
fn known_id(pipeline: &Pipeline) -> Option<&str> {
    let engine = pipeline.status.as_ref()?.engine.as_ref()?;
    engine.pipeline_id.as_deref()
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

impl std::fmt::Display for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pipeline {}/{}", self.namespace, self.name)
    }
}
