//! Resolves what the spec says the engine is to hold.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};

use super::Context;
use crate::crd::{Pipeline, is_object_name};
use crate::gate::change::Content;
use crate::gate::content;
use crate::guarded::Guarded;
use crate::text::{self, Limit};

/// How much is told of why a ConfigMap can't be read.
const WHY: Limit = Limit::Characters(500);

/// The content with all references resolved, or what is wrong with them, in words.
///
/// `None` if the pipeline is made elsewhere.
pub(super) async fn resolve(
    pipeline: &Pipeline,
    context: &Context,
) -> Result<Option<Content>, String> {
    let namespace = pipeline.namespace().unwrap_or_default();
    let api = Api::<Guarded<ConfigMap>>::namespaced(context.client.clone(), &namespace);
    let mut config_maps = BTreeMap::new();
    let names = content::config_maps(pipeline.spec.program.as_ref());
    for name in names.into_iter().filter(|name| is_object_name(name)) {
        let read = match api.get_opt(name).await {
            Ok(found) => found
                .map(|config_map| config_map.0)
                .transpose()
                .map_err(|unfit| unfit.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(Some(config_map)) => {
                config_maps.insert(name.to_owned(), config_map);
            }
            Ok(None) => {}
            // Whatever is wrong with what the spec refers to, it is told there, and holds up nothing else. It is
            // read again, also where no change of it can be seen.
            Err(error) => {
                let why = text::foreign_line(&error, WHY);
                return Err(format!("ConfigMap {name} can't be read: {why}"));
            }
        }
    }
    content::resolve(&pipeline.spec, &config_maps)
}
