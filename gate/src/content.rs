//! What a spec says the engine is to hold, from the spec and the ConfigMaps that it refers to.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;

use crate::change::{Content, Kept, Sent};
use crate::crd::{ConfigMapKeyRef, ContentSource, PipelineSpec, Program};

/// The names of the ConfigMaps that a program refers to.
pub fn config_maps(program: Option<&Program>) -> BTreeSet<&str> {
    program
        .into_iter()
        .flat_map(|program| {
            [
                &program.sql_from,
                &program.udf_rust_from,
                &program.udf_toml_from,
            ]
        })
        .flatten()
        .map(|source| source.config_map_key_ref.name.as_str())
        .collect()
}

/// The content with all references resolved, from those of the ConfigMaps that exist.
/// `None` if the pipeline is made elsewhere.
///
/// # Errors
/// What is wrong with the references, in words.
pub fn resolve(
    spec: &PipelineSpec,
    config_maps: &BTreeMap<String, ConfigMap>,
) -> Result<Option<Content>, String> {
    let Some(program) = &spec.program else {
        return Ok(None);
    };
    let text = |text: &Option<String>, source: &Option<ContentSource>, field: &str| match source {
        None => Ok(text.clone().unwrap_or_default()),
        Some(source) => referred(source, field, config_maps),
    };
    Ok(Some(Content {
        sql: text(&program.sql, &program.sql_from, "program.sqlFrom")?,
        udf_rust: text(
            &program.udf_rust,
            &program.udf_rust_from,
            "program.udfRustFrom",
        )?,
        udf_toml: text(
            &program.udf_toml,
            &program.udf_toml_from,
            "program.udfTomlFrom",
        )?,
        program_config: program.config.clone(),
        runtime_config: spec.runtime_config.clone(),
        kept: Kept::default(),
        sent: Sent::default(),
    }))
}

fn referred(
    source: &ContentSource,
    field: &str,
    config_maps: &BTreeMap<String, ConfigMap>,
) -> Result<String, String> {
    let ConfigMapKeyRef { name, key } = &source.config_map_key_ref;
    let Some(config_map) = config_maps.get(name) else {
        return Err(format!(
            "spec.{field} refers to ConfigMap {name}, which doesn't exist in this namespace"
        ));
    };
    let data = config_map.data.as_ref();
    data.and_then(|data| data.get(key)).cloned().ok_or_else(|| {
        let keys: Vec<&String> = data.into_iter().flat_map(|data| data.keys()).collect();
        format!("spec.{field} refers to key {key:?} of ConfigMap {name}, which has {keys:?}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(program: serde_json::Value) -> PipelineSpec {
        serde_json::from_value(json!({"program": program})).unwrap()
    }

    fn config_map(name: &str, data: serde_json::Value) -> BTreeMap<String, ConfigMap> {
        let map: ConfigMap = serde_json::from_value(json!({"data": data})).unwrap();
        BTreeMap::from([(name.to_owned(), map)])
    }

    #[test]
    fn what_is_referred_to_takes_the_place_of_the_reference() {
        let spec = spec(json!({
            "sqlFrom": {"configMapKeyRef": {"name": "code", "key": "sql"}},
            "udfRust": "fn f() {}",
        }));
        assert_eq!(
            config_maps(spec.program.as_ref())
                .into_iter()
                .collect::<Vec<_>>(),
            ["code"]
        );
        let content = resolve(&spec, &config_map("code", json!({"sql": "SELECT 1"})));
        let content = content.unwrap().unwrap();
        assert_eq!(
            (&*content.sql, &*content.udf_rust),
            ("SELECT 1", "fn f() {}")
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let spec = spec(json!({"sqlFrom": {"configMapKeyRef": {"name": "code", "key": "sql"}}}));
        let missing = resolve(&spec, &BTreeMap::new()).unwrap_err();
        assert!(
            missing.contains("ConfigMap code, which doesn't exist"),
            "{missing}"
        );
        let other = resolve(&spec, &config_map("code", json!({"SQL": ""}))).unwrap_err();
        assert!(
            other.contains("key \"sql\" of ConfigMap code, which has [\"SQL\"]"),
            "{other}"
        );
    }
}
