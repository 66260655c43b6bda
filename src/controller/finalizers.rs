//! The one writer of finalizers.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::Error;
use crate::guarded::Guarded;

/// Puts a finalizer on an object, or takes it away. Returns the object as it is then; `None` if it is gone.
pub(super) async fn write<K>(
    object: &K,
    finalizer: &str,
    there: bool,
    client: &Client,
) -> Result<Option<K>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Clone + Debug + DeserializeOwned,
{
    let others = object.finalizers().iter().filter(|name| *name != finalizer);
    let mut finalizers: Vec<&str> = others.map(String::as_str).collect();
    if there {
        finalizers.push(finalizer);
    }
    // The list is written as a whole, so only if nobody has changed it meanwhile.
    let patch = json!({"metadata": {
        "resourceVersion": object.meta().resource_version,
        "finalizers": finalizers,
    }});
    let api =
        Api::<Guarded<K>>::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let written = api
        .patch(
            &object.name_any(),
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await;
    match written {
        Err(kube::Error::Api(response)) if response.code == 404 => Ok(None),
        result => Ok(Some(result?.0?)),
    }
}
