//! The PipelineApprovals of a Pipeline.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Context, Error, Guarded, GuardedVote};
use crate::crd::{Pipeline, PipelineApproval, PipelineStatus, VoteDecision};
use crate::guarded;

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
        let found = guarded::list(&api, &page).await?;
        let votes = found.items.into_iter();
        // What doesn't fit its type says nothing.
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

/// The votes that the watch has brought, by Pipeline: there may be many on others, and a look at one Pipeline
/// mustn't take longer for that.
pub(super) struct Votes {
    known: Mutex<Known>,
    listed: watch::Sender<bool>,
}

/// Namespace and name.
type Key = (String, String);

#[derive(Default)]
struct Known {
    of: HashMap<Key, BTreeMap<String, Arc<PipelineApproval>>>,
    /// On which Pipeline each one is.
    on: HashMap<Key, String>,
    /// Those that were named since they are being listed anew.
    named: HashSet<Key>,
}

impl Default for Votes {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            listed: watch::Sender::new(false),
        }
    }
}

impl Votes {
    /// Takes in what the watch brings. Returns the Pipelines whose votes have changed.
    pub(super) fn take_in(&self, event: watcher::Event<GuardedVote>) -> Vec<ObjectRef<Guarded>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let touched = match event {
            watcher::Event::Init => {
                known.named.clear();
                vec![]
            }
            watcher::Event::InitApply(vote) => {
                known.named.insert(key(&vote));
                known.put(vote)
            }
            watcher::Event::Apply(vote) => known.put(vote),
            watcher::Event::Delete(vote) => known.remove(&key(&vote)).into_iter().collect(),
            watcher::Event::InitDone => {
                let named = std::mem::take(&mut known.named);
                let gone: Vec<Key> = known
                    .on
                    .keys()
                    .filter(|vote| !named.contains(*vote))
                    .cloned()
                    .collect();
                let touched = gone.iter().filter_map(|vote| known.remove(vote)).collect();
                self.listed.send_replace(true);
                touched
            }
        };
        touched
            .into_iter()
            .map(|(namespace, name)| ObjectRef::new(&name).within(&namespace))
            .collect()
    }

    /// Ends when all that there were have been listed.
    pub(super) async fn are_listed(&self) {
        // The sender lives as long as this.
        let _ = self.listed.subscribe().wait_for(|listed| *listed).await;
    }

    /// The votes on a Pipeline, oldest first.
    pub(super) fn of(&self, pipeline: &Pipeline) -> Vec<PipelineApproval> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let on_it = known.of.get(&key(pipeline));
        let on_it: Vec<_> = on_it
            .into_iter()
            .flat_map(BTreeMap::values)
            .map(Arc::clone)
            .collect();
        drop(known);
        oldest_first(
            on_it
                .iter()
                .map(|vote| PipelineApproval::clone(vote))
                .collect(),
        )
    }
}

impl Known {
    fn put(&mut self, vote: GuardedVote) -> Vec<Key> {
        let (namespace, name) = key(&vote);
        // One of this name may have been on another Pipeline.
        let before = self.remove(&(namespace.clone(), name.clone()));
        // What doesn't fit its type says nothing.
        let now = vote.0.ok().map(|vote| {
            let pipeline = vote.spec.pipeline_ref.name.clone();
            let on = (namespace.clone(), pipeline.clone());
            self.on.insert((namespace, name.clone()), pipeline);
            let votes = self.of.entry(on.clone()).or_default();
            votes.insert(name, Arc::new(vote));
            on
        });
        let before = before.filter(|before| Some(before) != now.as_ref());
        before.into_iter().chain(now).collect()
    }

    /// Returns the Pipeline that it was on.
    fn remove(&mut self, vote: &Key) -> Option<Key> {
        let on = (vote.0.clone(), self.on.remove(vote)?);
        if let Some(votes) = self.of.get_mut(&on) {
            votes.remove(&vote.1);
            if votes.is_empty() {
                self.of.remove(&on);
            }
        }
        Some(on)
    }
}

fn key(object: &impl ResourceExt) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Removes approvals that the REST endpoint wrote, some time after their change has had its turn.
/// What people wrote is theirs: a GitOps tool would put it back. A rejection goes only with its Pipeline: the same
/// change may come once more.
pub(super) async fn clear_away(
    pipeline: &Pipeline,
    objects: &[PipelineApproval],
    context: &Context,
) {
    let Some(status) = &pipeline.status else {
        return;
    };
    let now = Timestamp::now();
    let retention = context.settings.vote_retention;
    let api = Api::<GuardedVote>::namespaced(
        context.client.clone(),
        &pipeline.namespace().unwrap_or_default(),
    );
    for vote in objects {
        if !may_be_cleared(vote, status, now, retention) {
            continue;
        }
        match api.delete(&vote.name_any(), &DeleteParams::default()).await {
            Ok(_) => info!(vote = %vote.name_any(), "removed a spent vote"),
            Err(error) => warn!(%error, "a spent vote could not be removed; later"),
        }
    }
}

/// Whether a vote is an approval by the REST endpoint that is older than the retention, of a change that isn't the
/// current one any more: it takes only those that wait, and what waits again has another id.
fn may_be_cleared(
    vote: &PipelineApproval,
    status: &PipelineStatus,
    now: Timestamp,
    retention: Duration,
) -> bool {
    let id = &vote.spec.change_id;
    let is_current = (status.approval.as_ref()).is_some_and(|current| current.change_id == *id);
    let age = vote.creation_timestamp().map(|at| {
        // A clock that was set back makes nothing old.
        Duration::try_from(now.duration_since(at.0)).unwrap_or_default()
    });
    vote.spec.on_behalf_of.is_some()
        && vote.spec.decision == VoteDecision::Approve
        && !is_current
        && age.is_some_and(|age| age > retention)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vote(name: &str, pipeline: &str) -> GuardedVote {
        serde_json::from_value(json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "PipelineApproval",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"pipelineRef": {"name": pipeline}, "changeId": "c", "decision": "Approve"},
        }))
        .unwrap()
    }

    fn pipeline(name: &str) -> Pipeline {
        serde_json::from_value(json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Pipeline",
            "metadata": {"name": name, "namespace": "shop"}, "spec": {},
        }))
        .unwrap()
    }

    fn names(votes: &Votes, on: &str) -> Vec<String> {
        votes
            .of(&pipeline(on))
            .iter()
            .map(ResourceExt::name_any)
            .collect()
    }

    fn touched(votes: &Votes, event: watcher::Event<GuardedVote>) -> Vec<String> {
        let touched = votes.take_in(event);
        touched.into_iter().map(|object| object.name).collect()
    }

    #[tokio::test]
    async fn votes_are_known_by_pipeline_and_those_that_went_unseen_go_when_they_are_listed_anew() {
        use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
        let votes = Votes::default();
        touched(&votes, Init);
        assert_eq!(touched(&votes, InitApply(vote("a", "p"))), ["p"]);
        touched(&votes, InitApply(vote("b", "q")));
        touched(&votes, InitDone);
        votes.are_listed().await;
        assert_eq!(touched(&votes, Apply(vote("c", "p"))), ["p"]);
        assert_eq!(names(&votes, "p"), ["a", "c"]);
        // Deleted and made again on another one.
        assert_eq!(touched(&votes, Apply(vote("a", "q"))), ["p", "q"]);
        assert_eq!(names(&votes, "q"), ["a", "b"]);
        assert_eq!(touched(&votes, Delete(vote("a", "q"))), ["q"]);
        assert_eq!(touched(&votes, Delete(vote("a", "q"))), [""; 0]);
        touched(&votes, Init);
        touched(&votes, InitApply(vote("c", "p")));
        assert_eq!(names(&votes, "q"), ["b"], "as long as it may be there");
        assert_eq!(touched(&votes, InitDone), ["q"]);
        assert_eq!(names(&votes, "q"), [""; 0]);
        assert_eq!(names(&votes, "p"), ["c"]);
    }

    #[test]
    fn only_old_approvals_by_rest_of_changes_that_had_their_turn_are_cleared_away() {
        let vote = |on_behalf: bool, decision: &str, change: &str| -> PipelineApproval {
            let on_behalf = on_behalf.then(|| json!({"username": "bob"}));
            serde_json::from_value(json!({
                "apiVersion": "sluice.dev/v1alpha1", "kind": "PipelineApproval",
                "metadata": {"name": "v", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"pipelineRef": {"name": "orders"}, "changeId": change, "decision": decision,
                         "onBehalfOf": on_behalf},
            }))
            .unwrap()
        };
        let status: PipelineStatus = serde_json::from_value(json!({"approval": {
            "state": "Approved", "changeId": "current", "shortId": "", "parent": "root",
            "target": {"sql": "", "udfRust": "", "udfToml": "", "config": ""},
            "options": {"silent": false, "concurrent": false}, "revision": 0, "calls": 0,
            "since": "2026-01-01T00:00:00Z", "summary": "", "diffDigest": "", "approveCommand": "",
            "approvedFieldCounts": false,
        }}))
        .unwrap();
        let day = Duration::from_secs(24 * 3600);
        for (vote, now, cleared) in [
            (vote(true, "Approve", "over"), "2026-01-02T00:00:01Z", true),
            (vote(true, "Approve", "over"), "2026-01-02T00:00:00Z", false),
            (vote(true, "Approve", "over"), "2025-12-01T00:00:00Z", false),
            (
                vote(true, "Approve", "current"),
                "2026-02-01T00:00:00Z",
                false,
            ),
            (
                vote(false, "Approve", "over"),
                "2026-02-01T00:00:00Z",
                false,
            ),
            (vote(true, "Reject", "over"), "2026-02-01T00:00:00Z", false),
        ] {
            let at = now.parse().unwrap();
            assert_eq!(
                may_be_cleared(&vote, &status, at, day),
                cleared,
                "{:?} {now}",
                vote.spec
            );
        }
    }
}
