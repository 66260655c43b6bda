//! Which Pipeline is meant by a pipeline's name?
//!
//! The name in a path is the resolved one: `spec.pipelineName`, or else `metadata.name`. Several Pipelines of a
//! namespace may resolve to one name, whether somebody makes another one of that name by mistake or so that
//! it is taken for the first. Then the one is meant that has the pipeline in its engine, and of several, on
//! different engines, the oldest: nobody hides another's pipeline by making one.

use axum::http::header;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::{Api, Resource, api::ListParams};
use serde::{Deserialize, de::IgnoredAny};

use super::{
    cluster::{Call, Cluster, failed, refused},
    error::Error,
    searches::Searches,
};
use crate::crd::{Pipeline, PipelineStatus};
use crate::guarded::{self, Guarded};

/// How many Pipelines one page of a list holds. Each may have more than a MiB, and is read whole.
const PAGE: u32 = 5;

/// The same where all Pipelines of the namespace have to be looked at.
const LARGE_PAGE: u32 = 40;

/// What a table of Pipelines may take at most. A row has about a KiB, with its object's metadata left out.
const MAX_ROWS_BYTES: usize = 16 << 20;

/// What a search reads of a Pipeline.
#[derive(Resource, Deserialize, Clone, Debug)]
#[resource(inherit = Pipeline)]
struct Named {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: NamedSpec,
    #[serde(default)]
    status: NamedStatus,
}

#[derive(Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase")]
struct NamedSpec {
    pipeline_name: Option<String>,
}

#[derive(Deserialize, Clone, Debug, Default)]
struct NamedStatus {
    #[serde(default)]
    conditions: Vec<Condition>,
    engine: Option<NamedEngine>,
}

#[derive(Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase")]
struct NamedEngine {
    pipeline_id: Option<String>,
}

/// Whether a pipeline could have this name at all. What can't isn't looked up, so nothing odd gets
/// into a URL.
pub(super) fn is_possible(name: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    (1..=253).contains(&name.len()) && name.bytes().all(allowed)
}

/// Finds Pipelines by their resolved names.
#[derive(Clone, Default)]
pub(super) struct Lookup {
    /// Anybody with a valid token can ask for a name, and so cause a search. So only a few go on at a
    /// time, and the others wait within their own deadline.
    searches: Searches,
}

/// How well a Pipeline fits the name that is asked for: the least is meant.
type Rank = (Claim, Option<Timestamp>, String);

/// What its status says of a Pipeline's claim to a pipeline of its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// It has it.
    Has,
    /// It isn't known, or there is none yet.
    Unknown,
    /// Another one has it (`NameTaken`).
    Lost,
}

impl Lookup {
    /// Reads the Pipeline with this resolved name, live.
    ///
    /// Nearly always that is the one whose own name it is, which is read by its name; at the same time it is asked
    /// whether the name is given to another one. Only then those are looked through. Of them only what tells
    /// whose the name is is kept, and if one of them is meant, it is read again, whole.
    pub async fn find(
        &self,
        cluster: &Cluster,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Pipeline>, Error> {
        let (own, given) = tokio::try_join!(
            biased;
            read(cluster, namespace, name),
            is_given(cluster, namespace, name)
        )?;
        let own = own.filter(|pipeline| pipeline.engine_pipeline_name() == name);
        if given == Some(false) {
            return Ok(own);
        }
        let found = self.search(cluster, namespace, name, given.is_some());
        let Some(other) = found.await? else {
            return Ok(own);
        };
        if let Some(own) = own
            && rank_of(&own) < other
        {
            return Ok(Some(own));
        }
        let (.., object) = other;
        let pipeline = read(cluster, namespace, &object).await?;
        // It may have been deleted in between, and another one made in its place.
        Ok(pipeline.filter(|pipeline| pipeline.engine_pipeline_name() == name))
    }

    /// The rank of the Pipeline that is meant of those whose `spec.pipelineName` is `name`, which the API server can
    /// select, or not.
    async fn search(
        &self,
        cluster: &Cluster,
        namespace: &str,
        name: &str,
        can_select: bool,
    ) -> Result<Option<Rank>, Error> {
        let call = list_in(namespace);
        let place = async { Ok(self.searches.place(namespace).await) };
        let _place = cluster.call(call, place).await?;
        let api = Api::<Guarded<Named>>::namespaced(cluster.client.clone(), namespace);
        let mut params = match can_select {
            true => named(name).limit(PAGE),
            false => ListParams::default().limit(LARGE_PAGE),
        };
        let mut best: Option<Rank> = None;
        loop {
            let page = cluster.call(call, guarded::list(&api, &params)).await?;
            let candidates = page
                .items
                .into_iter()
                // What can't be read has no name that is known.
                .filter_map(|pipeline| pipeline.0.ok())
                .filter(|pipeline| pipeline.spec.pipeline_name.as_deref() == Some(name));
            best = best.into_iter().chain(candidates.map(rank)).min();
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(best),
            }
        }
    }
}

/// Rows of a table, as `kubectl get` has them: they are short, whatever the objects are.
#[derive(Deserialize)]
struct Rows {
    #[serde(default)]
    rows: Vec<IgnoredAny>,
}

/// Whether `spec.pipelineName` is `name` somewhere, by what the API server has at hand; `None` if it can't select by
/// that, because it, or its definition of Pipelines, is older.
async fn is_given(cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<bool>, Error> {
    let call = list_in(namespace);
    let path = Pipeline::url_path(&(), Some(namespace));
    // The name has nothing in it that would have to be escaped: see `is_possible`.
    let selected = format!(
        "{path}?fieldSelector=spec.pipelineName%3D{name}&resourceVersion=0&includeObject=None"
    );
    let table = "application/json;as=Table;g=meta.k8s.io;v=v1";
    let request = http::Request::get(selected).header(header::ACCEPT, table);
    let request = request.body(vec![]).ok();
    match cluster.send::<Rows>(call, request, MAX_ROWS_BYTES).await {
        Ok(found) => Ok(Some(!found.rows.is_empty())),
        Err(Ok(status)) if status.code == 400 => Ok(None),
        Err(Ok(status)) => Err(refused(call, &status)),
        Err(Err(error)) => Err(error),
    }
}

fn named(name: &str) -> ListParams {
    ListParams::default().fields(&format!("spec.pipelineName={name}"))
}

fn list_in(namespace: &str) -> Call<'_> {
    Call {
        verb: "list",
        resource: "pipelines.sluice.dev",
        namespace: Some(namespace),
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
    let api = Api::<Guarded<Pipeline>>::namespaced(cluster.client.clone(), namespace);
    let found = cluster.call(call, api.get_opt(object)).await?;
    let readable = found.map(|pipeline| pipeline.0).transpose();
    readable.map_err(|unfit| failed(call, unfit))
}

fn rank(pipeline: Named) -> Rank {
    let id = pipeline.status.engine.and_then(|engine| engine.pipeline_id);
    rank_by(
        &pipeline.metadata,
        &pipeline.status.conditions,
        id.as_deref(),
    )
}

fn rank_of(pipeline: &Pipeline) -> Rank {
    let status = pipeline.status.as_ref();
    let id = |status: &PipelineStatus| status.engine.as_ref()?.pipeline_id.clone();
    rank_by(
        &pipeline.metadata,
        status.map_or(&[], |status| &status.conditions),
        status.and_then(id).as_deref(),
    )
}

/// The oldest first of equal claims, and by name among those of one second.
fn rank_by(metadata: &ObjectMeta, conditions: &[Condition], id: Option<&str>) -> Rank {
    let is_lost = conditions
        .iter()
        .any(|condition| condition.type_ == "Stalled" && condition.reason == "NameTaken");
    let claim = match id {
        _ if is_lost => Claim::Lost,
        Some(_) => Claim::Has,
        None => Claim::Unknown,
    };
    let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
    (claim, created, metadata.name.clone().unwrap_or_default())
}
