//! The API server as far as it changes or refuses what is written: JSON, and what a schema says of it.

use std::sync::LazyLock;

use kube::CustomResourceExt;
use serde_json::{Map, Value};

use super::World;
use crate::crd::{Pipeline, PipelineStatus};
use crate::decide::bounds;

/// What a status may take at most, with room for what the API server writes beside it.
const STATUS: usize = 400 * 1024;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let definition = serde_json::to_value(Pipeline::crd()).expect("JSON");
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
});

/// A Pipeline as it is read back after its spec was written.
pub(super) fn kept(pipeline: &Pipeline) -> Pipeline {
    let mut object = serde_json::to_value(pipeline).expect("JSON");
    object["spec"] = pruned(&SCHEMA["properties"]["spec"], object["spec"].take(), "spec");
    serde_json::from_value(object).expect("what is stored can be read")
}

/// What the schema leaves of a value. What it doesn't allow would be refused, and nothing could be written down any more.
fn pruned(schema: &Value, value: Value, path: &str) -> Value {
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(&value), "{path} can't be {value}");
    }
    let within = |key: &str, length: usize| {
        let most = schema[key].as_u64().unwrap_or(u64::MAX);
        assert!(length as u64 <= most, "{path} is too long: {length}");
    };
    match value {
        Value::Object(fields) => Value::Object(pruned_fields(schema, fields, path)),
        Value::Array(items) => {
            within("maxItems", items.len());
            let items = items.into_iter();
            items.map(|it| pruned(&schema["items"], it, path)).collect()
        }
        Value::String(text) => {
            within("maxLength", text.chars().count());
            Value::String(text)
        }
        other => other,
    }
}

fn pruned_fields(schema: &Value, fields: Map<String, Value>, path: &str) -> Map<String, Value> {
    let is_open = schema["x-kubernetes-preserve-unknown-fields"] == true;
    let known = |name: &str| {
        let named = schema.get("properties").and_then(|it| it.get(name));
        named.or(schema.get("additionalProperties"))
    };
    let mut kept = Map::new();
    for (name, value) in fields {
        match known(&name) {
            // As the API server drops them before it fills in defaults.
            Some(of) if value.is_null() && of["nullable"] != true => {}
            Some(of) => {
                let path = format!("{path}.{name}");
                kept.insert(name, pruned(of, value, &path));
            }
            None if is_open => {
                kept.insert(name, value);
            }
            None => {}
        }
    }
    kept
}

impl World {
    /// The API server takes a status. What is read back says what was written.
    pub fn store(&mut self, mut status: PipelineStatus) {
        bounds::keep_small(&mut status, &self.pipeline);
        let written = serde_json::to_value(&status).expect("JSON");
        let size = written.to_string().len();
        assert!(size < STATUS, "the status has {size} bytes");
        let stored = pruned(&SCHEMA["properties"]["status"], written.clone(), "status");
        let read: PipelineStatus = serde_json::from_value(stored).expect("what is stored");
        let again = serde_json::to_value(&read).expect("JSON");
        let lost = first_difference(&written, &again, "status");
        assert!(lost.is_none(), "what was written doesn't survive: {lost:?}");
        let before = self.pipeline.clone();
        self.pipeline.status = Some(read);
        // Whoever writes it is this process.
        self.memory.written(&before, &self.pipeline);
        self.note_what_is_decided();
    }

    fn note_what_is_decided(&mut self) {
        let status = self.status();
        let current = status.approval.as_ref();
        let current = current.map(|approval| (&approval.change_id, &approval.decision));
        let records = status.history.iter();
        let records = records.map(|record| (&record.change_id, &record.decision));
        for (id, decision) in records.chain(current) {
            let decided = decision
                .as_ref()
                .map(|it| (id.clone(), format!("{:?} {}", it.outcome, it.at.0)));
            if let Some(decided) = decided.filter(|decided| !self.decided.contains(decided)) {
                self.decided.push(decided);
            }
        }
    }
}

/// Where two values differ, for whoever has to look for it.
fn first_difference(a: &Value, b: &Value, path: &str) -> Option<String> {
    if a == b {
        return None;
    }
    if let (Value::Object(a), Value::Object(b)) = (a, b) {
        let names = a.keys().chain(b.keys());
        return names
            .filter_map(|name| {
                let of = |it: &Map<String, Value>| it.get(name).cloned().unwrap_or_default();
                first_difference(&of(a), &of(b), &format!("{path}.{name}"))
            })
            .next();
    }
    Some(format!("{path}: {a:.200} became {b:.200}"))
}
