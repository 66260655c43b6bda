//! Which Pipeline is meant by a pipeline's name?
//!
//! The name in a path is the resolved one: `spec.pipelineName`, or else `metadata.name`. Two
//! Pipelines of a namespace may resolve to one name. Then the one of which it is the own name is
//! meant, and otherwise the oldest, which is also the one that owns the name in the engine.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Resource, ResourceExt, api::ListParams};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::{
    cluster::{Call, Cluster},
    error::Error,
};
use crate::crd::Pipeline;

/// How many Pipelines one page of a list holds.
const PAGE: u32 = 500;

/// How many searches go on at a time.
const MAX_SEARCHES: usize = 2;

/// What a search reads of a Pipeline.
#[derive(Resource, Deserialize, Clone, Debug)]
#[resource(inherit = Pipeline)]
struct Named {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: NamedSpec,
}

#[derive(Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase")]
struct NamedSpec {
    pipeline_name: Option<String>,
}

/// Whether a pipeline could have this name at all. What can't isn't looked up, so nothing odd gets
/// into a URL.
pub(super) fn is_possible(name: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    (1..=253).contains(&name.len()) && name.bytes().all(allowed)
}

/// Finds Pipelines by their resolved names.
#[derive(Clone)]
pub(super) struct Lookup {
    /// Anybody with a valid token can ask for a name that doesn't exist, and so cause a search. So
    /// only a few go on at a time, and the others wait within their own deadline.
    searches: Arc<Semaphore>,
}

impl Default for Lookup {
    fn default() -> Self {
        Self {
            searches: Arc::new(Semaphore::new(MAX_SEARCHES)),
        }
    }
}

impl Lookup {
    /// Reads the Pipeline with this resolved name, live.
    ///
    /// Nearly always a Pipeline's own name is its resolved name, and then one read by name finds
    /// it. Only otherwise the namespace is searched, page by page, which costs more the more
    /// Pipelines there are. Of each only the names are kept, and the one that is found is read
    /// again, whole.
    pub async fn find(
        &self,
        cluster: &Cluster,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Pipeline>, Error> {
        if let Some(pipeline) = read(cluster, namespace, name).await?
            && pipeline.engine_pipeline_name() == name
        {
            return Ok(Some(pipeline));
        }
        let Some(object) = self.search(cluster, namespace, name).await? else {
            return Ok(None);
        };
        let pipeline = read(cluster, namespace, &object).await?;
        // It may have been deleted in between, and another one made in its place.
        Ok(pipeline.filter(|pipeline| pipeline.engine_pipeline_name() == name))
    }

    /// The name of the object whose `spec.pipelineName` is `name`.
    async fn search(
        &self,
        cluster: &Cluster,
        namespace: &str,
        name: &str,
    ) -> Result<Option<String>, Error> {
        let call = Call {
            verb: "list",
            resource: "pipelines.sluice.dev",
            namespace: Some(namespace),
        };
        // The turn fails to come only if the semaphore is closed, which nobody does.
        let turn = async { Ok(self.searches.acquire().await.ok()) };
        let _turn = cluster.call(call, turn).await?;
        let api = Api::<Named>::namespaced(cluster.client.clone(), namespace);
        let mut params = ListParams::default().limit(PAGE);
        let mut best: Option<Named> = None;
        loop {
            let page = cluster.call(call, api.list(&params)).await?;
            let candidates = page
                .items
                .into_iter()
                .filter(|pipeline| pipeline.spec.pipeline_name.as_deref() == Some(name));
            best = best.into_iter().chain(candidates).min_by_key(seniority);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(best.map(|pipeline| pipeline.name_any())),
            }
        }
    }
}

async fn read(cluster: &Cluster, namespace: &str, object: &str) -> Result<Option<Pipeline>, Error> {
    // The engine's names may have letters and signs that an object's can't.
    let possible = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'.';
    if !object.bytes().all(possible) {
        return Ok(None);
    }
    let call = Call {
        verb: "get",
        resource: "pipelines.sluice.dev",
        namespace: Some(namespace),
    };
    let api = Api::<Pipeline>::namespaced(cluster.client.clone(), namespace);
    cluster.call(call, api.get_opt(object)).await
}

/// The oldest first, and by name among those of one second.
fn seniority(pipeline: &Named) -> (Option<Timestamp>, String) {
    let created = pipeline.creation_timestamp().map(|time| time.0);
    (created, pipeline.name_any())
}
