//! An Engine stays while Pipelines name it: without it, they could neither be looked after nor deleted.

use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::super::Error;
use crate::crd::{Engine, IN_USE};

/// Holds an Engine that is in use, and lets go of one that isn't. `None`: that isn't known yet.
pub(super) async fn keep(
    engine: &Engine,
    is_in_use: Option<bool>,
    client: &Client,
) -> Result<(), Error> {
    let held = engine.finalizers().iter().any(|name| name == IN_USE);
    let leaves = engine.metadata.deletion_timestamp.is_some();
    let hold = match is_in_use {
        // The API server takes no new finalizer for what is on its way out.
        Some(true) if !leaves => true,
        Some(false) => false,
        _ => held,
    };
    if hold == held {
        return Ok(());
    }
    let others = engine.finalizers().iter().filter(|name| *name != IN_USE);
    let mut finalizers: Vec<&str> = others.map(String::as_str).collect();
    if hold {
        finalizers.push(IN_USE);
    }
    // The list is written as a whole, so only if nobody has changed it meanwhile.
    let patch = json!({"metadata": {
        "resourceVersion": engine.metadata.resource_version,
        "finalizers": finalizers,
    }});
    let api = Api::<Engine>::namespaced(client.clone(), &engine.namespace().unwrap_or_default());
    match api
        .patch(
            &engine.name_any(),
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await
    {
        Err(kube::Error::Api(response)) if response.code == 404 => Ok(()),
        result => Ok(result.map(drop)?),
    }
}
