//! What a watcher sees of objects, version by version.

use std::collections::BTreeSet;
use std::fmt::Debug;

use futures::StreamExt;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::cluster::PATIENCE;

/// What a watcher has seen so far.
#[derive(Clone, Debug)]
struct Seen<K> {
    /// Whether it has read what there was when it began: from then on it misses nothing.
    begun: bool,
    versions: Vec<K>,
    /// The uids of what isn't deleted.
    there: BTreeSet<String>,
}

/// All versions of some objects, from its beginning until it is dropped.
///
/// It is a watcher of its own: what somebody else has been told it may learn of a moment later. So wait for
/// something in the recording itself, or call [`Recording::complete`] before looking for what others saw.
pub struct Recording<K> {
    api: Api<K>,
    params: ListParams,
    seen: watch::Receiver<Seen<K>>,
    task: tokio::task::JoinHandle<()>,
}

impl<K> Drop for Recording<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The number in an object's resourceVersion: the later version has the greater one.
/// Source: <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>.
fn version<K: kube::Resource>(object: &K) -> u64 {
    let version = object.resource_version().expect("a resourceVersion");
    version.parse().expect("a number")
}

impl<K> Recording<K>
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    /// Begins: once this returns, no version that comes after is missed.
    pub async fn of(api: Api<K>, params: ListParams) -> Self {
        let (sink, seen) = watch::channel(Seen {
            begun: false,
            versions: vec![],
            there: BTreeSet::new(),
        });
        let mut config = watcher::Config::default();
        config.field_selector.clone_from(&params.field_selector);
        let events = watcher(api.clone(), config).default_backoff();
        let task = tokio::spawn(async move {
            let mut events = events.boxed();
            while let Some(event) = events.next().await {
                sink.send_modify(|seen| match event {
                    Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                        seen.there.extend(object.uid());
                        seen.versions.push(object);
                    }
                    Ok(watcher::Event::Delete(object)) => {
                        seen.there.retain(|uid| object.uid().as_ref() != Some(uid));
                    }
                    Ok(watcher::Event::InitDone) => seen.begun = true,
                    // It reads what there is, at first or after an error.
                    Ok(watcher::Event::Init) => seen.there.clear(),
                    Err(_) => {}
                });
            }
        });
        let recording = Self {
            api,
            params,
            seen,
            task,
        };
        recording.until("it has begun", |seen| seen.begun).await;
        recording
    }

    async fn until(&self, what: &str, condition: impl FnMut(&Seen<K>) -> bool) {
        let mut seen = self.seen.clone();
        let found = tokio::time::timeout(PATIENCE, seen.wait_for(condition)).await;
        match found {
            Ok(found) => drop(found.expect("the watcher goes on")),
            Err(_) => panic!("waited in vain until {what}: {:#?}", self.all().last()),
        }
    }

    /// Everything so far.
    pub fn all(&self) -> Vec<K> {
        self.seen.borrow().versions.clone()
    }

    /// Waits until something was seen, and returns what first.
    pub async fn first(&self, what: &str, condition: impl Fn(&K) -> bool) -> K {
        let found = |seen: &Seen<K>| seen.versions.iter().position(&condition);
        self.until(what, |seen| found(seen).is_some()).await;
        let seen = self.seen.borrow();
        seen.versions[found(&seen).expect("just seen")].clone()
    }

    /// Everything, with all that has been written when this is called. Nobody makes an object meanwhile.
    pub async fn complete(&self) -> Vec<K> {
        let written = self.api.list(&self.params).await.expect("the objects");
        let latest = |seen: &Seen<K>, object: &K| {
            let same = seen.versions.iter().filter(|it| it.uid() == object.uid());
            same.map(version).max()
        };
        let is_written = |uid: &String| {
            let mut uids = written.items.iter().filter_map(|object| object.uid());
            uids.any(|it| it == *uid)
        };
        self.until("it has seen all that there is and was", |seen| {
            let mut there = written.items.iter();
            there.all(|object| latest(seen, object) >= Some(version(object)))
                && seen.there.iter().all(is_written)
        })
        .await;
        self.all()
    }
}
