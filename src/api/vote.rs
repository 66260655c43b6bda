//! Storing a vote once.
//!
//! The object's name is a digest of the Pipeline, the change, the user and the decision. So of
//! repeated calls, and of replicas that serve them at once, one creates the object and the others
//! find it. Whatever else has that name, or doesn't count because it is older than the policies that vouch for
//! names, has the vote stored beside it: see [`votes`].

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, PostParams},
};

use super::{
    auth::User,
    cluster::{Call, Cluster, refused},
    error::Error,
    searches::Searches,
};
use crate::crd::{OnBehalfOf, Pipeline, PipelineApproval, VoteDecision, annotation};
use crate::gate::votes::{self, Place, Places};
use crate::guarded::{self, Guarded};
use crate::telemetry;

/// A vote that may not be one: it only has its name.
type GuardedVote = Guarded<PipelineApproval>;

/// The field manager of what this endpoint writes.
const FIELD_MANAGER: &str = "sluice-rest";

/// How many votes come with one call. Somebody may have given each a quarter of a MiB of annotations.
const PAGE: u32 = 50;

/// How many pages are looked through for a vote whose name something else has. Where there are more, somebody has put
/// them there, and the vote gets a name that the API server draws: at worst it is stored twice, which counts once.
const MOST_PAGES: usize = 40;

/// The object that says that `user` approves the change.
pub(super) fn of(pipeline: &Pipeline, change_id: &str, user: &User) -> PipelineApproval {
    let mut vote = PipelineApproval::for_vote(
        pipeline,
        change_id,
        &user.name,
        VoteDecision::Approve,
        None,
        Some(OnBehalfOf {
            username: user.name.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            api_key: user.api_key.clone(),
        }),
    );
    // So that what comes of it is in the caller's trace.
    if let Some(parent) = telemetry::trace_parent() {
        let annotations = vote.metadata.annotations.get_or_insert_default();
        annotations.insert(annotation::TRACEPARENT.to_owned(), parent);
    }
    vote
}

/// Stores votes.
#[derive(Clone, Default)]
pub(super) struct Votes {
    /// Of those who look through all votes of a namespace; the others wait within their own deadline.
    searches: Searches,
}

impl Votes {
    /// Stores the vote, or finds that it is stored. When this returns, the API server has it. What was
    /// stored before `count_since`, if that is given, doesn't count.
    pub async fn store(
        &self,
        cluster: &Cluster,
        pipeline: &Pipeline,
        vote: &PipelineApproval,
        count_since: Option<Timestamp>,
    ) -> Result<(), Error> {
        let call = call("create", vote);
        let api = api::<PipelineApproval>(cluster, vote);
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let mut next = vote.clone();
        for attempt in 0..votes::ATTEMPTS {
            let named = votes::in_attempt(attempt, &next);
            match cluster.attempt(call, api.create(&params, &named)).await {
                Ok(_) => return Ok(()),
                Err(Ok(status)) if status.is_already_exists() => {}
                Err(Ok(status)) => return Err(refused(call, &status)),
                Err(Err(error)) => return Err(error),
            }
            match self.place(cluster, vote, count_since).await? {
                Place::Stored(_) => return Ok(()),
                Place::Free(free) => next = *free,
            }
        }
        Err(Error::ApprovalNameTaken {
            pipeline_name: pipeline.engine_pipeline_name().to_owned(),
            change_id: vote.spec.change_id.clone(),
            object: vote.name_any(),
        })
    }

    /// Whether the vote is stored.
    ///
    /// If nothing has its name, nothing was in its way, and it isn't. (Or what was is gone by now; then the
    /// vote that stands beside it isn't found any more once nothing waits, unless it was counted.)
    pub async fn is_stored(
        &self,
        cluster: &Cluster,
        vote: &PipelineApproval,
    ) -> Result<bool, Error> {
        let place = self.place(cluster, vote, None).await?;
        Ok(matches!(place, Place::Stored(_)))
    }

    /// Where the vote stands, or goes. Nearly always that is known from what has its name.
    async fn place(
        &self,
        cluster: &Cluster,
        vote: &PipelineApproval,
        count_since: Option<Timestamp>,
    ) -> Result<Place, Error> {
        let counts = |there: &PipelineApproval| !is_older(there, count_since);
        let api = api::<GuardedVote>(cluster, vote);
        let name = vote.name_any();
        let there = api.get_opt(&name);
        let Some(there) = cluster.call(call("get", vote), there).await? else {
            return Ok(Place::Free(Box::new(vote.clone())));
        };
        let mut places = Places::of(vote);
        see(&mut places, &there, counts);
        if places.is_found() {
            return Ok(places.find());
        }
        let call = call("list", vote);
        let namespace = vote.namespace().unwrap_or_default();
        let turn = async { Ok(self.searches.place(&namespace).await) };
        let _turn = cluster.call(call, turn).await?;
        let mut places = Places::of(vote);
        let mut params = ListParams::default().limit(PAGE);
        for _ in 0..MOST_PAGES {
            let page = cluster.call(call, guarded::list(&api, &params)).await?;
            for there in &page.items {
                see(&mut places, there, counts);
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(places.find()),
            }
        }
        Ok(Place::Free(Box::new(votes::by_lot(vote))))
    }
}

/// Whether a vote was stored before votes counted.
fn is_older(existing: &PipelineApproval, count_since: Option<Timestamp>) -> bool {
    let made = existing.metadata.creation_timestamp.as_ref();
    count_since.is_some_and(|since| made.is_none_or(|made| made.0 < since))
}

fn see(places: &mut Places, there: &GuardedVote, counts: impl Fn(&PipelineApproval) -> bool) {
    match &there.0 {
        Ok(there) => places.see(there, counts),
        Err(_) => places.take(there),
    }
}

fn api<K>(cluster: &Cluster, vote: &PipelineApproval) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let namespace = vote.metadata.namespace.as_deref().unwrap_or_default();
    Api::namespaced(cluster.client.clone(), namespace)
}

fn call<'a>(verb: &'static str, vote: &'a PipelineApproval) -> Call<'a> {
    Call {
        verb,
        resource: "pipelineapprovals.sluice.dev",
        namespace: vote.metadata.namespace.as_deref(),
    }
}
