//! Which Pipelines refer to which ConfigMaps, and as which pipelines of an engine they are compiled beforehand. So
//! what changes there costs as much as it concerns: there are many in a cluster, and in an engine, that are none
//! of ours, and some change all the time. Pure.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::Guarded;
use super::engines::EngineKey;
use crate::gate::content;

/// Namespace and name.
type Key = (String, String);

/// The references of all Pipelines.
#[derive(Default)]
pub(super) struct References(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Which Pipelines of its namespace refer to a ConfigMap.
    to: HashMap<Key, BTreeSet<String>>,
    /// To which ConfigMaps a Pipeline refers, if to any.
    of: HashMap<Key, Vec<String>>,
    /// Who is compiled beforehand as which pipeline of an engine.
    built: HashMap<(EngineKey, String), Key>,
    builds: HashMap<Key, (EngineKey, String)>,
}

impl References {
    /// A Pipeline is so now.
    pub(super) fn put(&self, object: &Guarded) {
        let key = key(object);
        let program = object
            .0
            .as_ref()
            .ok()
            .and_then(|pipeline| pipeline.spec.program.as_ref());
        let names: Vec<String> = content::config_maps(program)
            .into_iter()
            .map(str::to_owned)
            .collect();
        let build = object.0.as_ref().ok().and_then(|pipeline| {
            let build = pipeline.status.as_ref()?.build.as_ref()?;
            Some((EngineKey::of(pipeline), build.pipeline.clone()?))
        });
        let mut known = self.known();
        known.put_build(&key, build);
        if known
            .of
            .get(&key)
            .map_or(names.is_empty(), |before| *before == names)
        {
            return;
        }
        known.remove(&key);
        for name in &names {
            let place = (key.0.clone(), name.clone());
            known.to.entry(place).or_default().insert(key.1.clone());
        }
        if !names.is_empty() {
            known.of.insert(key, names);
        }
    }

    /// A Pipeline is gone.
    pub(super) fn remove(&self, object: &Guarded) {
        let (mut known, key) = (self.known(), key(object));
        known.put_build(&key, None);
        known.remove(&key);
    }

    /// The Pipelines that refer to a ConfigMap.
    pub(super) fn to(&self, namespace: &str, config_map: &str) -> Vec<ObjectRef<Guarded>> {
        let known = self.known();
        let names = known.to.get(&(namespace.to_owned(), config_map.to_owned()));
        names
            .into_iter()
            .flatten()
            .map(|name| ObjectRef::new(name).within(namespace))
            .collect()
    }

    /// The Pipeline that is compiled beforehand as this pipeline of an engine.
    pub(super) fn built_as(&self, engine: &EngineKey, name: &str) -> Option<ObjectRef<Guarded>> {
        let known = self.known();
        let (namespace, name) = known.built.get(&(engine.clone(), name.to_owned()))?;
        Some(ObjectRef::new(name).within(namespace))
    }

    /// All are named anew.
    pub(super) fn clear(&self) {
        *self.known() = Known::default();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn put_build(&mut self, key: &Key, build: Option<(EngineKey, String)>) {
        if self.builds.get(key) == build.as_ref() {
            return;
        }
        if let Some(before) = self.builds.remove(key) {
            self.built.remove(&before);
        }
        if let Some(build) = build {
            self.built.insert(build.clone(), key.clone());
            self.builds.insert(key.clone(), build);
        }
    }

    fn remove(&mut self, key: &Key) {
        for name in self.of.remove(key).unwrap_or_default() {
            let place = (key.0.clone(), name);
            if let Some(names) = self.to.get_mut(&place) {
                names.remove(&key.1);
                if names.is_empty() {
                    self.to.remove(&place);
                }
            }
        }
    }
}

fn key(object: &Guarded) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pipeline(name: &str, spec: Value) -> Guarded {
        serde_json::from_value(json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Pipeline",
            "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
        }))
        .unwrap()
    }

    fn from(config_map: &str) -> Value {
        json!({"program": {"sqlFrom": {"configMapKeyRef": {"name": config_map, "key": "sql"}}}})
    }

    #[test]
    fn a_config_map_concerns_those_that_refer_to_it_now() {
        let references = References::default();
        let to = |config_map| {
            let found = references.to("shop", config_map);
            found
                .into_iter()
                .map(|object| object.name)
                .collect::<Vec<_>>()
        };
        references.put(&pipeline("a", from("x")));
        references.put(&pipeline("b", from("x")));
        references.put(&pipeline("c", json!({"program": {"sql": ""}})));
        assert_eq!(to("x"), ["a", "b"]);
        references.put(&pipeline("a", from("y")));
        assert_eq!((to("x"), to("y")), (vec!["b".into()], vec!["a".into()]));
        references.remove(&pipeline("b", from("x")));
        references.put(&pipeline("a", json!({})));
        assert_eq!((to("x"), to("y")), (vec![], vec![]));
        assert!(references.known().to.is_empty() && references.known().of.is_empty());
        assert!(references.to("other", "x").is_empty());
    }

    #[test]
    fn what_is_compiled_beforehand_is_known_by_its_name_in_the_engine() {
        let references = References::default();
        let mut object = pipeline("a", json!({"engineRef": {"name": "e"}}));
        let engine = EngineKey::of(object.0.as_ref().unwrap());
        let with = |object: &mut Guarded, name: Option<&str>| {
            let build = name.map(|name| json!({"pipeline": name, "target": {"sql": "", "udfRust": "", "udfToml": "", "config": "", "runtimeVersion": ""}, "content": "", "since": "2026-01-01T00:00:00Z"}));
            let status = json!({"build": build});
            object.0.as_mut().unwrap().status = serde_json::from_value(status).unwrap();
        };
        with(&mut object, Some("sluice-build-1"));
        references.put(&object);
        let built = references.built_as(&engine, "sluice-build-1");
        assert_eq!(built.unwrap().name, "a");
        assert!(
            references
                .built_as(&EngineKey::Default, "sluice-build-1")
                .is_none()
        );
        with(&mut object, None);
        references.put(&object);
        assert!(references.built_as(&engine, "sluice-build-1").is_none());
        assert!(references.known().builds.is_empty());
    }
}
