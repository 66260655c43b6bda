//! JSON schemas, from the schemas in the custom resource definitions: for editors and kubeconform
//! (`schemas/`), and for the values of the chart of pipelines.
//!
//! A definition's schema says what a client may leave out of it: what isn't named is dropped, with a
//! warning at best. Here it is an error, since a field that isn't known is a typing mistake.

use serde_json::{Map, Value, json};

/// The dialect that Helm, kubeconform and editors all know.
const DIALECT: &str = "http://json-schema.org/draft-07/schema#";

/// The file, below `schemas/`, and the schema of each version of a definition.
pub fn of_definition(definition: &Value) -> Vec<(String, Value)> {
    let spec = &definition["spec"];
    let (group, kind) = (text(&spec["group"]), text(&spec["names"]["kind"]));
    let versions = spec["versions"].as_array().into_iter().flatten();
    versions
        .map(|version| {
            let name = text(&version["name"]);
            let mut schema = strict(&version["schema"]["openAPIV3Schema"]);
            schema["$schema"] = json!(DIALECT);
            schema["title"] = json!(kind);
            let properties = &mut schema["properties"];
            properties["apiVersion"] = json!({"const": format!("{group}/{name}")});
            properties["kind"] = json!({"const": kind});
            properties["metadata"] = json!({"type": "object"});
            schema["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
            let file = format!("{group}/{}_{name}.json", kind.to_lowercase());
            (file, schema)
        })
        .collect()
}

/// The schema of the values of `charts/sluice-pipelines`: names, and specs as the definitions have them.
pub fn of_pipelines_chart(definitions: &[Value]) -> Value {
    let specs = |kind: &str| {
        let definition = definitions
            .iter()
            .find(|definition| definition["spec"]["names"]["kind"] == kind);
        let schema = definition.map_or(&Value::Null, |definition| {
            &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        });
        json!({
            "type": "object",
            "propertyNames": {"pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"},
            "additionalProperties": strict(schema),
        })
    };
    let words = json!({"type": "object", "additionalProperties": {"type": "string"}});
    json!({
        "$schema": DIALECT,
        "title": "Values of the chart sluice-pipelines",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "global": {"type": "object"},
            "engines": specs("Engine"),
            "pipelines": specs("Pipeline"),
            "labels": words,
            "annotations": words,
            "keep": {"type": "boolean"},
        },
    })
}

/// The same as a JSON schema that refuses fields which aren't named.
fn strict(schema: &Value) -> Value {
    let Value::Object(fields) = schema else {
        return schema.clone();
    };
    let open = fields.contains_key("x-kubernetes-preserve-unknown-fields");
    let mut out = Map::new();
    for (name, value) in fields {
        match name.as_str() {
            "properties" => {
                let properties = value.as_object().into_iter().flatten();
                let strict = properties.map(|(name, value)| (name.clone(), strict(value)));
                out.insert(name.clone(), Value::Object(strict.collect()));
            }
            "items" | "additionalProperties" => {
                out.insert(name.clone(), strict(value));
            }
            // What only the API server understands, and formats that other dialects don't know.
            "nullable" | "format" => {}
            _ if name.starts_with("x-kubernetes-") => {}
            _ => {
                out.insert(name.clone(), value.clone());
            }
        }
    }
    if out.contains_key("properties") && !out.contains_key("additionalProperties") && !open {
        out.insert("additionalProperties".into(), json!(false));
    }
    if fields.get("nullable") == Some(&json!(true)) {
        if let Some(kind) = out.get("type").cloned() {
            out.insert("type".into(), json!([kind, "null"]));
        }
        if let Some(Value::Array(values)) = out.get_mut("enum") {
            values.push(Value::Null);
        }
    }
    Value::Object(out)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_is_refused_and_null_stays_allowed() {
        let schema = json!({
            "type": "object",
            "properties": {
                "a": {"type": "string", "nullable": true, "enum": ["x"], "format": "date-time"},
                "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {}},
                "map": {"type": "object", "additionalProperties": {"type": "string"}},
                "list": {"type": "array", "items": {"type": "object", "properties": {}}},
            },
            "x-kubernetes-validations": [],
        });
        assert_eq!(
            strict(&schema),
            json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "a": {"type": ["string", "null"], "enum": ["x", null]},
                    "open": {"type": "object", "properties": {}},
                    "map": {"type": "object", "additionalProperties": {"type": "string"}},
                    "list": {"type": "array", "items": {"type": "object", "properties": {}, "additionalProperties": false}},
                },
            })
        );
    }
}
