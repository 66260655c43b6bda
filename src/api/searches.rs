//! Places for what reads large objects: few altogether, and fewer for each namespace, so that whoever fills a namespace
//! holds up those who ask about that one only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many searches go on at a time, and of one namespace.
const MOST: usize = 4;
const MOST_OF_ONE: usize = 1;

/// See the module.
#[derive(Clone)]
pub(super) struct Searches {
    all: Arc<Semaphore>,
    of_one: usize,
    of: Arc<Mutex<HashMap<String, Weak<Semaphore>>>>,
}

/// The right to read of a namespace, until it is dropped.
pub(super) struct Place {
    _of: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

impl Default for Searches {
    fn default() -> Self {
        Self::new(MOST, MOST_OF_ONE)
    }
}

impl Searches {
    /// So many at a time, and so many of one namespace.
    pub fn new(all: usize, of_one: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all)),
            of_one,
            of: Arc::default(),
        }
    }

    /// Waits for a place. Whoever waits for his namespace's holds none of the others.
    pub async fn place(&self, namespace: &str) -> Place {
        let own = self.of(namespace);
        // A semaphore says no only once it is closed, which nobody does.
        let of = own.acquire_owned().await.ok();
        let all = self.all.clone().acquire_owned().await.ok();
        Place { _of: of, _all: all }
    }

    fn of(&self, namespace: &str) -> Arc<Semaphore> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = of.get(namespace).and_then(Weak::upgrade) {
            return own;
        }
        of.retain(|_, semaphore| semaphore.strong_count() > 0);
        let own = Arc::new(Semaphore::new(self.of_one));
        of.insert(namespace.to_owned(), Arc::downgrade(&own));
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn a20_searches_of_one_namespace_hold_up_no_other() {
        let searches = Searches::default();
        let first = searches.place("dev").now_or_never();
        assert!(first.is_some());
        // However many come from there, they wait for that one.
        let mut more: Vec<_> = (0..100).map(|_| Box::pin(searches.place("dev"))).collect();
        for waiting in &mut more {
            assert!(waiting.now_or_never().is_none());
        }
        let other = searches.place("shop").now_or_never();
        assert!(other.is_some());
        drop(more);
        drop(first);
        assert!(searches.place("dev").now_or_never().is_some());
    }

    #[tokio::test]
    async fn only_so_many_searches_go_on_and_namespaces_are_forgotten() {
        let searches = Searches::default();
        let names: Vec<String> = (0..MOST).map(|n| n.to_string()).collect();
        let places: Vec<_> = names
            .iter()
            .map(|name| searches.place(name).now_or_never().expect("a place"))
            .collect();
        assert!(searches.place("one more").now_or_never().is_none());
        drop(places);
        assert!(searches.place("one more").now_or_never().is_some());
        assert_eq!(searches.of.lock().unwrap().len(), 1);
    }
}
