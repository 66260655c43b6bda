//! The one writer of a Pipeline's status.

use std::fmt::Debug;

use kube::api::{Patch, PatchParams};
use kube::core::{Request, Status};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Context, Error, Guarded};
use crate::crd::{Pipeline, PipelineStatus};
use crate::text;

/// The field manager of everything that the operator writes.
const FIELD_MANAGER: &str = "sluice";

/// What came of a write.
pub(super) enum Written {
    /// It is stored; this is the object now.
    Stored(Box<Pipeline>),
    /// The object has changed since it was read; this is it now.
    Conflict(Box<Pipeline>),
    /// The object is gone.
    Gone,
}

/// Writes a status, if the object is still the one that it was decided on: a change is published
/// together with the value that `spec.approved` has at that moment, so the two must not drift.
pub(super) async fn write(
    pipeline: &Pipeline,
    status: PipelineStatus,
    context: &Context,
) -> Result<Written, Error> {
    let api = Api::<Guarded>::namespaced(
        context.client.clone(),
        &pipeline.namespace().unwrap_or_default(),
    );
    let name = pipeline.name_any();
    // Server-side apply leaves alone what others have put into the status.
    let patch = json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Pipeline",
        "metadata": {
            "name": name,
            "uid": pipeline.metadata.uid,
            "resourceVersion": pipeline.metadata.resource_version,
        },
        "status": status,
    });
    match apply::<Guarded>(
        &context.client,
        pipeline.namespace().as_deref(),
        &name,
        &patch,
    )
    .await
    {
        Ok(stored) => Ok(Written::Stored(Box::new(stored.0?))),
        Err(kube::Error::Api(response)) if is(&response, 404) => Ok(Written::Gone),
        Err(kube::Error::Api(response)) if is(&response, 409) => {
            context.metrics.status_conflict();
            let fresh = api.get_opt(&name).await?;
            match fresh.map(|fresh| fresh.0).transpose()? {
                // What is on its way out goes another way from here on.
                Some(fresh)
                    if fresh.metadata.uid == pipeline.metadata.uid
                        && fresh.metadata.deletion_timestamp.is_none() =>
                {
                    Ok(Written::Conflict(Box::new(fresh)))
                }
                _ => Ok(Written::Gone),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Applies a status. Whatever people have written in what it remembers, it is one that the API server can read.
pub(super) async fn apply<K>(
    client: &Client,
    namespace: Option<&str>,
    name: &str,
    patch: &Value,
) -> kube::Result<K>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let request = Request::new(K::url_path(&(), namespace))
        .patch_subresource("status", name, &params, &Patch::Apply(patch))
        .map_err(kube::Error::BuildRequest)?;
    let request = request.map(|body| text::yaml(&String::from_utf8_lossy(&body)).into_bytes());
    client.request(request).await
}

/// The object as it is now; `None` if it is gone or on its way out.
pub(super) async fn read(
    pipeline: &Pipeline,
    context: &Context,
) -> Result<Option<Pipeline>, Error> {
    let live = read_whole(pipeline, context).await?;
    Ok(live.filter(|live| live.metadata.deletion_timestamp.is_none()))
}

/// The object as it is now; `None` if it is gone.
pub(super) async fn read_whole(
    pipeline: &Pipeline,
    context: &Context,
) -> Result<Option<Pipeline>, Error> {
    let api = Api::<Guarded>::namespaced(
        context.client.clone(),
        &pipeline.namespace().unwrap_or_default(),
    );
    let live = api.get_opt(&pipeline.name_any()).await?;
    let live = live.map(|live| live.0).transpose()?;
    Ok(live.filter(|live| live.metadata.uid == pipeline.metadata.uid))
}

fn is(response: &Status, code: u16) -> bool {
    response.code == code
}
