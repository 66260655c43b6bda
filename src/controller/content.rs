//! Resolves what the spec says the engine is to hold.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};

use super::{Context, Error};
use crate::change::Content;
use crate::crd::{ConfigMapKeyRef, ContentSource, Pipeline, Program};

/// The content with all references resolved, or what is wrong with them, in words.
///
/// `None` if the pipeline is made elsewhere.
pub(super) async fn resolve(
    pipeline: &Pipeline,
    context: &Context,
) -> Result<Result<Option<Content>, String>, Error> {
    let Some(program) = &pipeline.spec.program else {
        return Ok(Ok(None));
    };
    let reader = Reader {
        api: Api::namespaced(
            context.client.clone(),
            &pipeline.namespace().unwrap_or_default(),
        ),
    };
    let parts = [
        (&program.sql, &program.sql_from, "program.sqlFrom"),
        (
            &program.udf_rust,
            &program.udf_rust_from,
            "program.udfRustFrom",
        ),
        (
            &program.udf_toml,
            &program.udf_toml_from,
            "program.udfTomlFrom",
        ),
    ];
    let mut texts = Vec::with_capacity(parts.len());
    for (text, source, field) in parts {
        match reader.text(text.as_ref(), source.as_ref(), field).await? {
            Ok(text) => texts.push(text),
            Err(problem) => return Ok(Err(problem)),
        }
    }
    let mut texts = texts.into_iter();
    let mut next = || texts.next().unwrap_or_default();
    Ok(Ok(Some(Content {
        sql: next(),
        udf_rust: next(),
        udf_toml: next(),
        program_config: program.config.clone(),
        runtime_config: pipeline.spec.runtime_config.clone(),
    })))
}

/// The names of the ConfigMaps that a program refers to.
pub(super) fn config_maps(program: Option<&Program>) -> impl Iterator<Item = &str> {
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
}

struct Reader {
    api: Api<ConfigMap>,
}

impl Reader {
    async fn text(
        &self,
        text: Option<&String>,
        source: Option<&ContentSource>,
        field: &str,
    ) -> Result<Result<String, String>, Error> {
        let Some(ContentSource {
            config_map_key_ref: ConfigMapKeyRef { name, key },
        }) = source
        else {
            return Ok(Ok(text.cloned().unwrap_or_default()));
        };
        let Some(config_map) = self.api.get_opt(name).await? else {
            return Ok(Err(format!(
                "spec.{field} refers to ConfigMap {name}, which doesn't exist in this namespace"
            )));
        };
        let text = config_map
            .data
            .as_ref()
            .and_then(|data| data.get(key))
            .cloned();
        Ok(text.ok_or_else(|| {
            let keys: Vec<&String> = config_map
                .data
                .iter()
                .flat_map(|data| data.keys())
                .collect();
            format!(
                "spec.{field} refers to key {key:?} of ConfigMap {}, which has {keys:?}",
                config_map.name_any()
            )
        }))
    }
}
