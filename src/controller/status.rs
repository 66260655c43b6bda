//! The one writer of a Pipeline's status.

use std::fmt::Debug;

use kube::api::{Patch, PatchParams};
use kube::core::{Request, Status};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Context, Error, Guarded};
use crate::crd::{Pipeline, PipelineStatus};
use crate::gate::decide::bounds;
use crate::gate::driver::Written;
use crate::text;

/// The field manager of everything that the operator writes.
const FIELD_MANAGER: &str = "sluice";

/// Writes a status, if the object is still the one that it was decided on: a change is published
/// together with the value that `spec.approved` has at that moment, so the two must not drift.
pub(super) async fn write(
    pipeline: &Pipeline,
    mut status: PipelineStatus,
    context: &Context,
) -> Result<Written, Error> {
    // A status that is too large is one that can never be written again, and stops everything.
    bounds::keep_small(&mut status, pipeline);
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
    let namespace = pipeline.namespace();
    let applied = apply::<Guarded>(&context.client, namespace.as_deref(), &name, &patch);
    let stored = match applied.await {
        Ok(stored) => stored.0?,
        Err(kube::Error::Api(response)) => {
            return refused(pipeline, *response, &api, context).await;
        }
        Err(error) => return Err(error.into()),
    };
    if says(&stored, &status) {
        return Ok(Written::Stored(Box::new(stored)));
    }
    // Somebody else owns what isn't to be there any more, as after a restore from a backup or an edit by hand.
    // To apply leaves that alone, and it would be tried for ever.
    match replace(&stored, &status, &api).await {
        Ok(stored) => Ok(Written::Stored(Box::new(stored.0?))),
        Err(kube::Error::Api(mut response)) => {
            // What it was to be put in the place of isn't there any more.
            if response.code == 422 {
                response.code = 409;
            }
            refused(pipeline, *response, &api, context).await
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether what is stored is what was to be stored.
fn says(stored: &Pipeline, status: &PipelineStatus) -> bool {
    // As it is written: times lose their fractions there.
    let text = |status: Option<&PipelineStatus>| serde_json::to_value(status).ok();
    text(stored.status.as_ref()) == text(Some(status))
}

/// Puts a status in the place of the one that is stored, as a whole, whoever owns parts of it. A merge would take the nulls
/// in an engine's diff for fields that are to go.
async fn replace(
    stored: &Pipeline,
    status: &PipelineStatus,
    api: &Api<Guarded>,
) -> kube::Result<Guarded> {
    let patch = json!([
        {"op": "test", "path": "/metadata/resourceVersion", "value": stored.metadata.resource_version},
        {"op": "replace", "path": "/status", "value": status},
    ]);
    let patch = serde_json::from_value(patch).map_err(kube::Error::SerdeError)?;
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Json::<()>(patch);
    api.patch_status(&stored.name_any(), &parameters, &patch)
        .await
}

/// What it means that a write was refused.
async fn refused(
    pipeline: &Pipeline,
    response: Status,
    api: &Api<Guarded>,
    context: &Context,
) -> Result<Written, Error> {
    match response.code {
        404 => Ok(Written::Gone),
        409 => {
            context.metrics.status_conflict();
            let fresh = api.get_opt(&pipeline.name_any()).await?;
            let fresh = fresh.map(|fresh| fresh.0).transpose()?;
            // What is on its way out goes another way from here on.
            let fresh = fresh.filter(|fresh| {
                fresh.metadata.uid == pipeline.metadata.uid
                    && fresh.metadata.deletion_timestamp.is_none()
            });
            Ok(fresh.map_or(Written::Gone, |fresh| Written::Conflict(Box::new(fresh))))
        }
        _ => Err(kube::Error::Api(Box::new(response)).into()),
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
