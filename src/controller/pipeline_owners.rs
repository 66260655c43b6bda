//! One Pipeline per pipeline of an engine, over the whole cluster: the oldest wins.
//!
//! Which engine it is says its URL, and not the name of the Engine object: two objects, or two spellings
//! of one URL, are one engine. Where two URLs lead to the same engine, only the mark that the engine's
//! pipeline carries tells. Nothing marks a pipeline that is made elsewhere, but
//! its id, which the engine gives, is nobody else's: see [`Claims::earlier_guest`].

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
    /// Who keeps the gate of which pipeline that is made elsewhere, by its id in the engine, in the order in which they came
    /// to know it.
    guests: HashMap<String, Vec<Arc<Claim>>>,
    /// Which id a guest knows, by the uid of its Pipeline.
    known_ids: HashMap<String, String>,
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

    /// Puts down, of a guest, that it keeps the gate of a pipeline that is made elsewhere and has this id in its
    /// engine. Returns the name of the Pipeline that did so before this one, by whichever URL and credential.
    ///
    /// What counts is who knew the id first, and not which Pipeline is older: an engine can give out an id that it has
    /// from elsewhere, but not before that is there.
    pub(super) fn earlier_guest(
        &self,
        pipeline: &Pipeline,
        id: &str,
        existing: &Store<Guarded>,
    ) -> Option<String> {
        let mut register = self.register();
        if !std::mem::replace(&mut register.guests_are_known, true) {
            let known = existing.state();
            let known = known.iter().filter_map(|object| {
                let other = object
                    .0
                    .as_ref()
                    .ok()
                    .filter(|other| other.is_gate_only())?;
                Some((Claim::of(other), known_id(other)?.to_owned()))
            });
            let known: std::collections::BTreeMap<Claim, String> = known.collect();
            for (claim, id) in known {
                register.put_guest(&id, claim);
            }
        }
        let own = Claim::of(pipeline);
        if pipeline.is_gate_only() {
            register.put_guest(id, own.clone());
        }
        let guests = register.guests.get_mut(id)?;
        guests.retain(|claim| **claim == own || claim.is_alive(existing));
        let first = guests.first()?;
        (**first != own).then(|| first.to_string())
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
        let register = &mut *register;
        register.concerned.retain(|_, claims| {
            claims.retain(|claim| claim.is_alive(existing));
            !claims.is_empty()
        });
        let known_ids = &mut register.known_ids;
        register.guests.retain(|_, claims| {
            claims.retain(|claim| {
                let stays = claim.is_alive(existing);
                if !stays {
                    known_ids.remove(&claim.uid);
                }
                stays
            });
            !claims.is_empty()
        });
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
        let known = self.known_ids.insert(claim.uid.clone(), id.to_owned());
        // A pipeline has one id at a time.
        if let Some(old) = known.filter(|old| old != id)
            && let Some(guests) = self.guests.get_mut(&old)
        {
            guests.retain(|guest| guest.uid != claim.uid);
            if guests.is_empty() {
                self.guests.remove(&old);
            }
        }
        let guests = self.guests.entry(id.to_owned()).or_default();
        if !guests.iter().any(|guest| **guest == claim) {
            guests.push(Arc::new(claim));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guarded;
    use kube::runtime::reflector::store;
    use kube::runtime::watcher;
    use serde_json::json;

    fn guest(name: &str, since: &str) -> Pipeline {
        serde_json::from_value(json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Pipeline",
            "metadata": {"name": name, "namespace": "shop", "uid": name, "creationTimestamp": since},
            "spec": {},
        }))
        .unwrap()
    }

    #[test]
    fn a19_an_engine_that_gives_out_an_id_from_elsewhere_takes_nothing_from_who_knew_it_first() {
        let (owner, liar) = (
            guest("orders", "2026-02-01T00:00:00Z"),
            guest("early", "2026-01-01T00:00:00Z"),
        );
        let (existing, mut writer) = store();
        for pipeline in [&owner, &liar] {
            writer.apply_watcher_event(&watcher::Event::Apply(guarded::Guarded(Ok(
                pipeline.clone()
            ))));
        }
        let claims = Claims::default();
        // The older one keeps the gate of another pipeline, until its engine gives out an id that it has seen elsewhere.
        assert_eq!(claims.earlier_guest(&liar, "its own", &existing), None);
        assert_eq!(claims.earlier_guest(&owner, "id", &existing), None);
        let taken = claims.earlier_guest(&liar, "id", &existing);
        assert_eq!(taken.as_deref(), Some("Pipeline shop/orders"));
        assert_eq!(claims.earlier_guest(&owner, "id", &existing), None);
        // However many it gives out, it is remembered with one.
        for n in 0..100 {
            claims.earlier_guest(&liar, &n.to_string(), &existing);
        }
        assert!(claims.register().guests.len() <= 2);
    }
}
