//! Which Pipeline is meant by a pipeline's name?
//!
//! The name in a path is the resolved one: `spec.pipelineName`, or else `metadata.name`. Several Pipelines of a
//! namespace may resolve to one name, whether somebody makes another one of that name by mistake or so that
//! it is taken for the first. Then the one is meant that has the pipeline in its engine, and of several, on
//! different engines, the oldest: nobody hides another's pipeline by making one.

use axum::http::header;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::{Api, Resource, api::ListParams};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};

use super::{
    cluster::{Call, Cluster, failed, refused},
    error::Error,
    searches::Searches,
};
use crate::crd::Pipeline;
use crate::guarded::{self, Guarded};

/// How many Pipelines one page of a list holds. Each may have more than a MiB, and is read whole.
const PAGE: u32 = 5;

/// The same where all Pipelines of the namespace have to be looked at.
const LARGE_PAGE: u32 = 40;

/// How many Pipelines are read whole at a time, of one namespace half of them. Each may have more than a MiB, and is there
/// twice while it is read, as text and as an object.
const MOST_READS: usize = 16;

/// What is longer than this is a table with rows: without any it has but its heads, some KiB. A row has about a KiB, with
/// its object's metadata left out, and there may be as many as somebody has made Pipelines.
const EMPTY_TABLE: usize = 32 << 10;

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

/// Finds Pipelines by their resolved names, and reads them.
///
/// Anybody with a valid token can ask for a name, and whoever may write Pipelines decides how large they are. So nothing
/// large is read for whom it isn't known that they may see it, except by a search; and of searches and of such reads only
/// a few go on at a time, while the others wait within their own deadline.
#[derive(Clone)]
pub(super) struct Lookup {
    searches: Searches,
    reads: Searches,
}

impl Default for Lookup {
    fn default() -> Self {
        Self {
            searches: Searches::default(),
            reads: Searches::new(MOST_READS, MOST_READS / 2),
        }
    }
}

impl Named {
    /// As [`Pipeline::engine_pipeline_name`].
    fn resolves_to(&self, name: &str) -> bool {
        let own = self.metadata.name.as_deref();
        self.spec.pipeline_name.as_deref().or(own) == Some(name)
    }
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
    /// The name of the Pipeline object that is meant by this resolved name, if there is one.
    ///
    /// Nearly always that is the one whose own name it is, and nothing is read: it is asked whether the name is given to
    /// another one. Only then those are looked through, and of them only what tells whose the name is is kept.
    pub async fn object(
        &self,
        cluster: &Cluster,
        namespace: &str,
        name: &str,
    ) -> Result<String, Error> {
        let given = is_given(cluster, namespace, name).await?;
        if given == Some(false) {
            return Ok(name.to_owned());
        }
        let found = self.search(cluster, namespace, name, given.is_some());
        Ok(found
            .await?
            .map_or_else(|| name.to_owned(), |(.., object)| object))
    }

    /// Reads a Pipeline, live, if it has this resolved name: what an approval of its change goes by, without what may be
    /// large.
    pub async fn read(
        &self,
        cluster: &Cluster,
        namespace: &str,
        object: &str,
        name: &str,
    ) -> Result<Option<Pipeline>, Error> {
        let place = async { Ok(self.reads.place(namespace).await) };
        let _place = cluster.call(get_in(namespace), place).await?;
        let pipeline = read::<Pipeline>(cluster, namespace, object).await?;
        // It may have been deleted since it was found, and another one made in its place.
        let pipeline = pipeline.filter(|pipeline| pipeline.engine_pipeline_name() == name);
        Ok(pipeline.map(|mut pipeline| {
            lighten(&mut pipeline);
            pipeline
        }))
    }

    /// The rank of the Pipeline that is meant of those that resolve to `name`: the one whose own name it is, and those
    /// whose `spec.pipelineName` it is, which the API server can select, or not.
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
        let own = read::<Named>(cluster, namespace, name).await?;
        let mut best = own.filter(|own| own.resolves_to(name)).map(rank);
        loop {
            let page = cluster.call(call, guarded::list(&api, &params)).await?;
            // What can't be read has no name that is known.
            let candidates = page.items.into_iter().filter_map(|it| it.0.ok());
            let candidates = candidates.filter(|pipeline| pipeline.resolves_to(name));
            best = best.into_iter().chain(candidates.map(rank)).min();
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(best),
            }
        }
    }
}

/// Drops what no answer to an approval goes by.
fn lighten(pipeline: &mut Pipeline) {
    pipeline.metadata.managed_fields = None;
    pipeline.metadata.annotations = None;
    pipeline.spec.program = None;
    pipeline.spec.runtime_config = None;
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
    let answer = cluster.send_for_short::<Rows>(call, request, EMPTY_TABLE);
    match answer.await {
        Ok(found) => Ok(Some(found.is_none_or(|found| !found.rows.is_empty()))),
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

fn get_in(namespace: &str) -> Call<'_> {
    Call {
        verb: "get",
        ..list_in(namespace)
    }
}

async fn read<K>(cluster: &Cluster, namespace: &str, object: &str) -> Result<Option<K>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone,
    K: std::fmt::Debug + DeserializeOwned,
{
    // The engine's names may have letters and signs that an object's can't.
    let possible = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'.';
    if !object.bytes().all(possible) {
        return Ok(None);
    }
    let call = get_in(namespace);
    let api = Api::<Guarded<K>>::namespaced(cluster.client.clone(), namespace);
    let found = cluster.call(call, api.get_opt(object)).await?;
    let readable = found.map(|pipeline| pipeline.0).transpose();
    readable.map_err(|unfit| failed(call, unfit))
}

/// The oldest first of equal claims, and by name among those of one second.
fn rank(pipeline: Named) -> Rank {
    let is_lost = pipeline
        .status
        .conditions
        .iter()
        .any(|condition| condition.type_ == "Stalled" && condition.reason == "NameTaken");
    let claim = match pipeline.status.engine.and_then(|engine| engine.pipeline_id) {
        _ if is_lost => Claim::Lost,
        Some(_) => Claim::Has,
        None => Claim::Unknown,
    };
    let metadata = pipeline.metadata;
    let created = metadata.creation_timestamp.map(|time| time.0);
    (claim, created, metadata.name.unwrap_or_default())
}
