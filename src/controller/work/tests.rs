use std::sync::atomic::{AtomicUsize, Ordering};

use kube::runtime::{reflector, watcher};
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};

use super::*;
use crate::controller::queue::Limits;

const LIMITS: Limits = Limits {
    places: 4,
    per_engine: 4,
    memory: 100,
    spared: 1,
};

fn pipeline(namespace: &str, name: &str) -> Guarded {
    let object = json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Pipeline",
        "metadata": {"name": name, "namespace": namespace}, "spec": {},
    });
    serde_json::from_value(object).unwrap()
}

fn object(namespace: &str, name: &str) -> Object {
    ObjectRef::new(name).within(namespace)
}

fn of_its_namespace(object: &Guarded) -> Known {
    let tenant = kube::ResourceExt::namespace(object).unwrap_or_default();
    Known {
        of: Of {
            engine: EngineKey::Named {
                namespace: tenant.clone(),
                name: "e".into(),
            },
            tenant,
            weight: 1,
        },
        urgency: Urgency::Routine,
    }
}

/// A loop that looks at made-up objects.
struct Loop {
    desk: Desk,
    wants: mpsc::UnboundedSender<Object>,
    stop: CancellationToken,
    ends: tokio::task::JoinHandle<()>,
}

impl Loop {
    fn begin<F>(
        objects: &[(&str, String)],
        ready: impl Future<Output = ()> + Send + 'static,
        look: impl Fn(Arc<Guarded>, Turn) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Action> + Send + 'static,
    {
        let (store, mut writer) = reflector::store();
        for (namespace, name) in objects {
            writer.apply_watcher_event(&watcher::Event::Apply(pipeline(namespace, name)));
        }
        let (wants, wanted) = mpsc::unbounded_channel();
        let wanted = futures::stream::unfold(wanted, |mut wanted| async move {
            let object = wanted.recv().await?;
            let urgency = Urgency::Routine;
            Some((Wanted { object, urgency }, wanted))
        });
        let (desk, stop) = (Desk::new(LIMITS), CancellationToken::new());
        let ends = tokio::spawn(run(
            wanted,
            ready,
            desk.clone(),
            store,
            of_its_namespace,
            look,
            stop.clone(),
        ));
        Self {
            desk,
            wants,
            stop,
            ends,
        }
    }

    fn want(&self, namespace: &str, name: &str) {
        self.wants.send(object(namespace, name)).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a20_an_engine_that_does_not_answer_holds_up_only_what_is_on_it() {
    let slow = Arc::new(Semaphore::new(0));
    let (looked, mut seen) = mpsc::unbounded_channel();
    let mut objects: Vec<(&str, String)> = (0..100)
        .map(|number| ("slow", number.to_string()))
        .collect();
    objects.push(("fast", "orders".into()));
    let engine = Arc::clone(&slow);
    let going = Loop::begin(&objects, std::future::ready(()), move |object, turn| {
        let (engine, looked) = (Arc::clone(&engine), looked.clone());
        async move {
            let namespace = kube::ResourceExt::namespace(object.as_ref()).unwrap();
            if namespace == "slow" {
                drop(turn.away(engine.acquire()).await);
            }
            let _ = looked.send(namespace);
            Action::await_change()
        }
    });
    for (namespace, name) in &objects {
        going.want(namespace, name);
    }
    assert_eq!(seen.recv().await.unwrap(), "fast");
    assert!(seen.is_empty());
    // What waits for the slow one shows, and is over once it answers.
    let waits = going.desk.oldest();
    assert_eq!(waits.len(), 1, "{waits:?}");
    slow.add_permits(1);
    for _ in 0..100 {
        assert_eq!(seen.recv().await.unwrap(), "slow");
    }
    assert!(going.desk.oldest().is_empty());
    going.stop.cancel();
    going.ends.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_turn_does_not_run_out_while_it_waits_for_a_place() {
    let limit = Duration::from_secs(10);
    let (results, mut got) = mpsc::unbounded_channel();
    let names = ["a", "b", "c", "d", "e"];
    let objects: Vec<(&str, String)> = names.map(|name| (name, "p".to_owned())).to_vec();
    let going = Loop::begin(&objects, std::future::ready(()), move |object, turn| {
        let results = results.clone();
        async move {
            let namespace = kube::ResourceExt::namespace(object.as_ref()).unwrap();
            let work = async {
                if namespace == "a" {
                    // Away for 5 s; by then others have all places, for longer than its whole time.
                    turn.away(tokio::time::sleep(limit / 2)).await;
                    tokio::time::sleep(limit / 4).await;
                } else {
                    tokio::time::sleep(limit * 3).await;
                }
            };
            let in_time = if namespace == "a" {
                turn.within(limit, work).await.is_some()
            } else {
                work.await;
                true
            };
            let _ = results.send((namespace, in_time));
            Action::await_change()
        }
    });
    going.want("a", "p");
    tokio::time::sleep(limit / 4).await;
    for name in &names[1..] {
        going.want(name, "p");
    }
    let mut all = vec![];
    while all.len() < names.len() {
        all.push(got.recv().await.unwrap());
    }
    assert!(all.contains(&("a".to_owned(), true)), "{all:?}");
    // And it does run out otherwise.
    let turn = Turn::alone();
    assert_eq!(
        turn.within(limit, tokio::time::sleep(limit * 2)).await,
        None
    );
}

#[tokio::test(start_paused = true)]
async fn an_object_is_looked_at_again_after_its_pause_or_as_soon_as_something_happens() {
    let (looked, mut seen) = mpsc::unbounded_channel();
    let objects = [("a", "p".to_owned())];
    let going = Loop::begin(&objects, std::future::ready(()), move |_, _| {
        let looked = looked.clone();
        async move {
            let _ = looked.send(tokio::time::Instant::now());
            Action::requeue(Duration::from_secs(60))
        }
    });
    going.want("a", "p");
    going.want("a", "gone");
    let first = seen.recv().await.unwrap();
    let second = seen.recv().await.unwrap();
    assert!(second - first >= Duration::from_secs(59));
    going.want("a", "p");
    let third = seen.recv().await.unwrap();
    assert!(third - second < Duration::from_secs(1));
    let fourth = seen.recv().await.unwrap();
    assert!(
        fourth - third >= Duration::from_secs(59),
        "one timer at a time"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_begins_before_all_is_ready_and_what_is_under_way_is_finished() {
    let (begin, ready) = oneshot::channel::<()>();
    let begun = Arc::new(AtomicUsize::new(0));
    let ended = Arc::new(AtomicUsize::new(0));
    let counts = (Arc::clone(&begun), Arc::clone(&ended));
    let objects = [("a", "p".to_owned()), ("a", "q".to_owned())];
    let ready = async { drop(ready.await) };
    let (told, mut tells) = mpsc::unbounded_channel();
    let going = Loop::begin(&objects, ready, move |_, turn| {
        let ((begun, ended), told) = (counts.clone(), told.clone());
        async move {
            begun.fetch_add(1, Ordering::SeqCst);
            let _ = told.send(());
            turn.away(tokio::time::sleep(Duration::from_secs(5))).await;
            ended.fetch_add(1, Ordering::SeqCst);
            Action::await_change()
        }
    });
    going.want("a", "p");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(begun.load(Ordering::SeqCst), 0);
    begin.send(()).unwrap();
    tells.recv().await.unwrap();
    going.stop.cancel();
    going.want("a", "q");
    going.ends.await.unwrap();
    assert_eq!(ended.load(Ordering::SeqCst), 1);
    assert_eq!(begun.load(Ordering::SeqCst), 1, "nothing begins any more");
}
