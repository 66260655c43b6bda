//! Storing a vote once.
//!
//! The object's name is a digest of the Pipeline, the change, the user and the decision. So of
//! repeated calls, and of replicas that serve them at once, one creates the object and the others
//! find it. One that is older than the policies that vouch for names doesn't count: then the vote is
//! stored beside it.

use k8s_openapi::jiff::Timestamp;
use kube::{Api, ResourceExt, api::PostParams};

use super::{
    auth::User,
    cluster::{Call, Cluster, refused},
    error::Error,
};
use crate::crd::{OnBehalfOf, Pipeline, PipelineApproval, VoteDecision, annotation};
use crate::telemetry;

/// The field manager of what this endpoint writes.
const FIELD_MANAGER: &str = "sluice-rest";

/// How many objects may be in the way: those that are gone by the time that they are read, and those that
/// don't count, of which each has its own time of the policies.
const ATTEMPTS: usize = 8;

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

/// Stores the vote, or finds that it is stored. When this returns, the API server has it. What was stored before
/// `count_since`, if that is given, doesn't count.
pub(super) async fn store(
    cluster: &Cluster,
    pipeline: &Pipeline,
    mut vote: PipelineApproval,
    count_since: Option<Timestamp>,
) -> Result<(), Error> {
    let namespace = vote.namespace().unwrap_or_default();
    let call = Call {
        verb: "create",
        resource: "pipelineapprovals.sluice.dev",
        namespace: Some(&namespace),
    };
    let api = Api::<PipelineApproval>::namespaced(cluster.client.clone(), &namespace);
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    for _ in 0..ATTEMPTS {
        match cluster.attempt(call, api.create(&params, &vote)).await {
            Ok(_) => return Ok(()),
            Err(Ok(status)) if status.is_already_exists() => {}
            Err(Ok(status)) => return Err(refused(call, &status)),
            Err(Err(error)) => return Err(error),
        }
        match existing(cluster, &vote).await? {
            None => {}
            Some(existing) if !is_same(&existing, &vote) => return Err(taken(pipeline, &vote)),
            Some(existing) if is_older(&existing, count_since) => vote = vote.beside(&existing),
            // Whoever deletes a vote withdraws it, so it isn't one any more; and while its name is
            // held by a finalizer, no other can be stored.
            Some(existing) if existing.metadata.deletion_timestamp.is_some() => {
                return Err(Error::ApprovalBeingDeleted {
                    pipeline_name: pipeline.engine_pipeline_name().to_owned(),
                    change_id: vote.spec.change_id.clone(),
                    object: vote.name_any(),
                });
            }
            Some(_) => return Ok(()),
        }
    }
    Err(taken(pipeline, &vote))
}

/// Whether a vote was stored before votes counted.
fn is_older(existing: &PipelineApproval, count_since: Option<Timestamp>) -> bool {
    let made = existing.metadata.creation_timestamp.as_ref();
    count_since.is_some_and(|since| made.is_none_or(|made| made.0 < since))
}

/// Whether the vote is stored.
pub(super) async fn is_stored(cluster: &Cluster, vote: &PipelineApproval) -> Result<bool, Error> {
    let existing = existing(cluster, vote).await?;
    Ok(existing.is_some_and(|existing| {
        existing.metadata.deletion_timestamp.is_none() && is_same(&existing, vote)
    }))
}

async fn existing(
    cluster: &Cluster,
    vote: &PipelineApproval,
) -> Result<Option<PipelineApproval>, Error> {
    let namespace = vote.namespace().unwrap_or_default();
    let call = Call {
        verb: "get",
        resource: "pipelineapprovals.sluice.dev",
        namespace: Some(&namespace),
    };
    let api = Api::<PipelineApproval>::namespaced(cluster.client.clone(), &namespace);
    cluster.call(call, api.get_opt(&vote.name_any())).await
}

/// Whether an object under the vote's name is that vote: on the same Pipeline and change, the same
/// way, by the same user. Groups may have changed between two calls, and the API key too.
fn is_same(existing: &PipelineApproval, vote: &PipelineApproval) -> bool {
    let user = |vote: &PipelineApproval| {
        let user = vote.spec.on_behalf_of.as_ref();
        user.map(|user| user.username.clone())
    };
    let owners = |vote: &PipelineApproval| -> Vec<String> {
        let owners = vote.owner_references().iter();
        owners.map(|owner| owner.uid.clone()).collect()
    };
    existing.spec.change_id == vote.spec.change_id
        && existing.spec.decision == vote.spec.decision
        && existing.spec.pipeline_ref == vote.spec.pipeline_ref
        && user(existing) == user(vote)
        && owners(vote)
            .iter()
            .all(|uid| owners(existing).contains(uid))
}

fn taken(pipeline: &Pipeline, vote: &PipelineApproval) -> Error {
    Error::ApprovalNameTaken {
        pipeline_name: pipeline.engine_pipeline_name().to_owned(),
        change_id: vote.spec.change_id.clone(),
        object: vote.name_any(),
    }
}
