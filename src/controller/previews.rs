//! Whose program an engine's compiler is asked about next. Pure.
//!
//! The compiler may take minutes, and several at once slow each other down, and what runs there. So few are
//! asked about at the same time at one engine, and namespaces that share an engine take turns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;

use super::Guarded;
use super::engines::EngineKey;
use crate::shares::Shares;

/// How many programs one engine's compiler is asked about at the same time. One namespace takes half of
/// them at most.
const PER_ENGINE: usize = 4;

/// How soon a Pipeline whose turn it isn't asks again, if it isn't told before that it is.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(5);

/// How long a Pipeline that doesn't ask again keeps its place in the line.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15);

/// How soon one has to ask that was told to: others wait for it.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(1);

type Object = ObjectRef<Guarded>;

/// The lines of all engines.
#[derive(Clone)]
pub(super) struct Previews {
    lines: Arc<Mutex<HashMap<EngineKey, Line>>>,
    /// Told whose turn it is.
    turns: mpsc::UnboundedSender<Object>,
}

struct Line {
    asked: Shares<String>,
    /// Who waits, in the order in which they came, and until when they are waited for.
    waiting: Vec<(Object, Instant)>,
    /// When each namespace had a turn last, by a number that grows.
    served: HashMap<String, u64>,
    turn: u64,
}

/// A program is asked about until this is dropped.
pub(super) struct Preview {
    previews: Previews,
    engine: EngineKey,
    namespace: String,
}

impl Drop for Preview {
    fn drop(&mut self) {
        let mut lines = self.previews.lines();
        let Some(line) = lines.get_mut(&self.engine) else {
            return;
        };
        line.asked.give_back(&self.namespace, 1);
        if let Some(next) = line.next() {
            line.waiting[next].1 = Instant::now() + TAKEN_UP_WITHIN;
            // Nobody listens while the operator stops.
            let _ = self.previews.turns.send(line.waiting[next].0.clone());
        } else if line.asked.is_idle() {
            lines.remove(&self.engine);
        }
    }
}

impl Previews {
    /// No lines yet.
    pub(super) fn new(turns: mpsc::UnboundedSender<Object>) -> Self {
        Self {
            lines: Arc::default(),
            turns,
        }
    }

    /// Whether a Pipeline's program may be asked about now. If not, it waits in line for as long as it
    /// asks again.
    pub(super) fn may_begin(
        &self,
        engine: &EngineKey,
        object: &Object,
        now: Instant,
    ) -> Option<Preview> {
        let mut lines = self.lines();
        let line = lines.entry(engine.clone()).or_insert_with(|| Line {
            asked: Shares::new(PER_ENGINE),
            waiting: vec![],
            served: HashMap::new(),
            turn: 0,
        });
        line.waiting
            .retain(|(other, until)| other == object || now < *until);
        let until = now + FORGOTTEN_AFTER;
        match line.waiting.iter_mut().find(|(other, _)| other == object) {
            Some((_, known)) => *known = until,
            None => line.waiting.push((object.clone(), until)),
        }
        let next = line.next()?;
        if line.waiting[next].0 != *object {
            return None;
        }
        line.waiting.remove(next);
        let namespace = namespace(object);
        line.asked.take(&namespace, 1);
        line.turn += 1;
        line.served.insert(namespace.clone(), line.turn);
        Some(Preview {
            previews: self.clone(),
            engine: engine.clone(),
            namespace,
        })
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<EngineKey, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Whose turn it is: of the namespaces that there is room for, the one that has the fewest; of several the
    /// one whose turn was longest ago; and of those of one namespace the first that came.
    fn next(&self) -> Option<usize> {
        let all = self.waiting.iter().enumerate();
        all.filter(|(_, (object, _))| self.asked.has_room(&namespace(object), 1, 0))
            .min_by_key(|(_, (object, _))| {
                let namespace = namespace(object);
                let served = self.served.get(&namespace).copied().unwrap_or_default();
                (self.asked.held(&namespace), served)
            })
            .map(|(index, _)| index)
    }
}

fn namespace(object: &Object) -> String {
    object.namespace.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGINE: EngineKey = EngineKey::Default;

    fn object(namespace: &str, number: usize) -> Object {
        ObjectRef::new(&number.to_string()).within(namespace)
    }

    #[test]
    fn a20_one_namespaces_slow_programs_hold_up_no_other_namespace_and_no_other_engine() {
        let (turns, mut told) = mpsc::unbounded_channel();
        let previews = Previews::new(turns);
        let now = Instant::now();
        let ask = |namespace, number| previews.may_begin(&ENGINE, &object(namespace, number), now);
        let slow: Vec<Preview> = (0..9).filter_map(|number| ask("a", number)).collect();
        assert_eq!(slow.len(), PER_ENGINE / 2);
        let other = ask("b", 0).expect("there is room for another namespace");
        let elsewhere = EngineKey::Named {
            namespace: "a".into(),
            name: "e".into(),
        };
        assert!(
            previews
                .may_begin(&elsewhere, &object("a", 9), now)
                .is_some()
        );
        // What waits is told when it is its turn, and is served in the order in which it came.
        drop((slow, other));
        assert_eq!(told.try_recv().unwrap(), object("a", 2));
        assert!(ask("a", 4).is_none(), "others were there before");
        let third = ask("a", 2);
        assert!(third.is_some());
        // Of those who wait, whoever has none goes first.
        assert!(ask("b", 1).is_some());
        assert!(ask("a", 3).is_some());
        drop(third);
        assert!(ask("c", 0).is_some(), "it has had no turn yet");
    }

    #[test]
    fn whoever_is_gone_is_not_waited_for() {
        let (turns, _told) = mpsc::unbounded_channel();
        let previews = Previews::new(turns);
        let now = Instant::now();
        let ask = |number, at| previews.may_begin(&ENGINE, &object("a", number), at);
        let (first, second) = (ask(0, now), ask(1, now));
        assert!(first.is_some() && second.is_some());
        assert!(ask(2, now).is_none() && ask(3, now).is_none());
        drop(first);
        assert!(ask(3, now).is_none());
        assert!(ask(3, now + FORGOTTEN_AFTER).is_some());
    }
}
