//! Resolves what the spec says the engine is to hold.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};

use super::{Context, Error};
use crate::change::Content;
use crate::content;
use crate::crd::{Pipeline, is_object_name};
use crate::guarded::Guarded;

/// The content with all references resolved, or what is wrong with them, in words.
///
/// `None` if the pipeline is made elsewhere.
pub(super) async fn resolve(
    pipeline: &Pipeline,
    context: &Context,
) -> Result<Result<Option<Content>, String>, Error> {
    let namespace = pipeline.namespace().unwrap_or_default();
    let api = Api::<Guarded<ConfigMap>>::namespaced(context.client.clone(), &namespace);
    let mut config_maps = BTreeMap::new();
    let names = content::config_maps(pipeline.spec.program.as_ref());
    for name in names.into_iter().filter(|name| is_object_name(name)) {
        if let Some(config_map) = api.get_opt(name).await? {
            config_maps.insert(name.to_owned(), config_map.0?);
        }
    }
    Ok(content::resolve(&pipeline.spec, &config_maps))
}
