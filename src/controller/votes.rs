//! The PipelineApprovals of a Pipeline.

use std::time::Duration;

use kube::api::{DeleteParams, ListParams};
use kube::runtime::reflector::Store;
use kube::{Api, ResourceExt};
use tracing::{info, warn};

use super::{Context, Error, GuardedVote};
use crate::crd::{Pipeline, PipelineApproval};

/// How many votes are read at a time. Each may be 256 KiB of annotations, and there may be many on others.
const PAGE: u32 = 200;

/// The votes on a Pipeline as they are now, oldest first.
pub(super) async fn read(
    pipeline: &Pipeline,
    context: &Context,
) -> Result<Vec<PipelineApproval>, Error> {
    let api = Api::<GuardedVote>::namespaced(
        context.client.clone(),
        &pipeline.namespace().unwrap_or_default(),
    );
    let mut on_this = vec![];
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let found = api.list(&page).await?;
        let votes = found.items.into_iter();
        // Its schema keeps out what is none; what got in before a schema change says nothing.
        let votes = votes.filter_map(|vote| vote.0.ok());
        on_this.extend(
            votes.filter(|vote| {
                Some(&vote.spec.pipeline_ref.name) == pipeline.metadata.name.as_ref()
            }),
        );
        // All pages are of the state of the first one.
        match found.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => page = page.continue_token(&next),
            None => return Ok(oldest_first(on_this)),
        }
    }
}

fn oldest_first(mut votes: Vec<PipelineApproval>) -> Vec<PipelineApproval> {
    votes.sort_by_key(|vote| (vote.creation_timestamp().map(|at| at.0), vote.name_any()));
    votes
}

/// The votes on a Pipeline as the watch has brought them, oldest first.
pub(super) fn of(pipeline: &Pipeline, votes: &Store<GuardedVote>) -> Vec<PipelineApproval> {
    let namespace = pipeline.namespace();
    let found = votes
        .state_filter(|vote| {
            vote.0.as_ref().is_ok_and(|vote| {
                vote.metadata.namespace == namespace
                    && Some(&vote.spec.pipeline_ref.name) == pipeline.metadata.name.as_ref()
            })
        })
        .iter()
        .filter_map(|vote| vote.0.as_ref().ok().cloned())
        .collect();
    oldest_first(found)
}

/// Removes votes that the REST endpoint wrote, some time after their change has had its turn.
/// What people wrote is theirs: a GitOps tool would put it back.
pub(super) async fn clear_away(
    pipeline: &Pipeline,
    objects: &[PipelineApproval],
    context: &Context,
) {
    let Some(status) = &pipeline.status else {
        return;
    };
    let now = k8s_openapi::jiff::Timestamp::now();
    let closed = |vote: &PipelineApproval| {
        let of_history = |id: &String| status.history.iter().any(|record| record.change_id == *id);
        let current = status.approval.as_ref().map(|approval| &approval.change_id);
        of_history(&vote.spec.change_id) && current != Some(&vote.spec.change_id)
    };
    let old = |vote: &PipelineApproval| {
        vote.creation_timestamp().is_some_and(|at| {
            Duration::try_from(now.duration_since(at.0)).unwrap_or_default()
                > context.settings.vote_retention
        })
    };
    let api = Api::<PipelineApproval>::namespaced(
        context.client.clone(),
        &pipeline.namespace().unwrap_or_default(),
    );
    for vote in objects {
        if vote.spec.on_behalf_of.is_none() || !closed(vote) || !old(vote) {
            continue;
        }
        match api.delete(&vote.name_any(), &DeleteParams::default()).await {
            Ok(_) => info!(vote = %vote.name_any(), "removed a spent vote"),
            Err(error) => warn!(%error, "a spent vote could not be removed; later"),
        }
    }
}
