//! The PipelineApprovals of a Pipeline.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::{Context, Error, Guarded, GuardedVote, kept};
use crate::crd::{Pipeline, PipelineApproval, PipelineStatus};
use crate::gate::votes::spent::{self, Over};
use crate::guarded;

/// How many votes are read at a time. Each may have 256 KiB of annotations, and there may be many.
pub(super) const PAGE: u32 = 100;

/// How many votes are written to in one turn, and after what time the next ones are.
const AT_ONCE: usize = 50;
const NEXT_ONES: Duration = Duration::from_secs(2);

/// The votes on a Pipeline as they are now, oldest first.
pub(super) async fn read(
    pipeline: &Pipeline,
    context: &Context,
) -> Result<Vec<PipelineApproval>, Error> {
    let namespace = pipeline.namespace().unwrap_or_default();
    let api = Api::<GuardedVote>::namespaced(context.client.clone(), &namespace);
    let name = pipeline.name_any();
    let votes = guarded::list_where(&api, PIPELINE, &name, PAGE, |mut vote| {
        kept::vote(&mut vote);
        // What doesn't fit its type says nothing.
        vote.0
            .ok()
            .filter(|vote| vote.spec.pipeline_ref.name == name)
    });
    Ok(oldest_first(votes.await?))
}

/// The field by which the API server selects votes, from Kubernetes 1.31 on.
const PIPELINE: &str = "spec.pipelineRef.name";

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

    /// The votes on a Pipeline that can have something to do, oldest first.
    pub(super) fn of(&self, pipeline: &Pipeline) -> Vec<PipelineApproval> {
        let nothing = PipelineStatus::default();
        let over = Over::of(pipeline.status.as_ref().unwrap_or(&nothing));
        let votes = self.all_of(pipeline);
        let concerning = votes.iter().filter(|vote| over.concerns(vote));
        oldest_first(
            concerning
                .map(|vote| PipelineApproval::clone(vote))
                .collect(),
        )
    }

    /// All of a Pipeline's votes.
    fn all_of(&self, pipeline: &Pipeline) -> Vec<Arc<PipelineApproval>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let on_it = known.of.get(&key(pipeline)).into_iter();
        on_it.flat_map(BTreeMap::values).map(Arc::clone).collect()
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

/// Writes into votes that they are spent, and deletes those that may go after the retention. Returns after what time there is
/// more to do, if there will be.
pub(super) async fn keep_house(pipeline: &Pipeline, context: &Context) -> Option<Duration> {
    let status = pipeline.status.as_ref()?;
    let now = Timestamp::now();
    let over = Over::of(status);
    let retention = context.settings.vote_retention;
    let api = Api::<GuardedVote>::namespaced(
        context.client.clone(),
        &pipeline.namespace().unwrap_or_default(),
    );
    let (mut room, mut next) = (AT_ONCE, None);
    let mut failed = false;
    for vote in context.votes.all_of(pipeline) {
        let name = vote.name_any();
        let written = if vote.metadata.deletion_timestamp.is_some() {
            continue;
        } else if spent::may_be_cleared_in(&vote, now, retention) == Some(Duration::ZERO) {
            delete(&api, &vote).await
        } else if let Some(mark) = over.mark(&vote, now) {
            let patch = Patch::Merge(json!({"status": mark}));
            let params = PatchParams::default();
            api.patch_status(&name, &params, &patch).await.map(drop)
        } else {
            next = next
                .into_iter()
                .chain(spent::may_be_cleared_in(&vote, now, retention))
                .min();
            continue;
        };
        match written {
            Ok(()) => debug!(vote = %name, "a spent vote was marked or deleted"),
            // One that can't be written is in no other's way.
            Err(error) => {
                warn!(vote = %name, %error, "a spent vote could not be marked or deleted; later");
                failed = true;
            }
        }
        room -= 1;
        if room == 0 && !failed {
            return Some(NEXT_ONES);
        }
        if room == 0 {
            break;
        }
    }
    failed.then_some(LATER).or(next)
}

/// How long it is let be after a failure.
const LATER: Duration = Duration::from_secs(60);

/// Deletes the vote as it was seen, and no other that has its name by now.
async fn delete(api: &Api<GuardedVote>, vote: &PipelineApproval) -> kube::Result<()> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: vote.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    api.delete(&vote.name_any(), &params).await.map(drop)
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
}
