//! Whose turn it is to be looked at. Pure: no client, no clock, no I/O.
//!
//! An object that is *wanted* waits until it is *begun*, and is under way until it is *done*; wanted
//! meanwhile, it waits again. Under way it holds a *place*, which is a share of this process and of the API
//! server, but not while it is *away*, waiting for its engine. Three things are shared out, so that no
//! tenant, by whatever number or slowness, keeps another one waiting (rule A20):
//!
//! - the places, by tenant;
//! - how many are under way at one engine, by tenant: an engine that is slow holds up what is on it, and its
//!   other tenants less than the one that burdens it;
//! - the memory that what is under way takes, by tenant.
//!
//! In which order: what is more urgent goes first, but for every few of those one of the others. What is
//! equally urgent goes round the tenants, for each of them round its engines, and there by age.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::shares::Shares;

/// How much there is to share out.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many are worked on at the same time.
    pub places: usize,
    /// How many are under way at one engine.
    pub per_engine: usize,
    /// How much memory what is under way may take, in units of [`Of::weight`].
    pub memory: usize,
    /// How much of places, and of an engine, only decisions may take.
    pub spared: usize,
}

/// How soon an object should be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Somebody has decided on a change, or what was decided isn't carried out yet.
    Decision,
    /// Somebody has changed the object.
    Change,
    /// Anything else: news from an engine, a timer.
    Routine,
}

/// Whose an object is, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Of<T, E> {
    /// Whose it is: its namespace.
    pub tenant: T,
    /// Where it runs.
    pub engine: E,
    /// What being under way takes of the memory.
    pub weight: usize,
}

/// What goes on now.
#[derive(Debug, PartialEq, Eq)]
pub enum Go<O> {
    /// This one is begun.
    Begin(O),
    /// This one has its place again.
    Back(O),
}

/// How many more urgent ones may go before one that waits.
const PATIENCE: u32 = 8;

/// Those that come back, and one line for each [`Urgency`].
const LINES: usize = 4;
const BACK: usize = 0;

/// All that are wanted or under way.
#[derive(Debug)]
pub struct Queue<O, T, E> {
    limits: Limits,
    objects: HashMap<O, Entry<T, E>>,
    lines: [Line<O, T, E>; LINES],
    places: Shares<T>,
    at_engines: HashMap<E, Shares<T>>,
    memory: Shares<T>,
    tickets: u64,
}

#[derive(Debug)]
struct Entry<T, E> {
    of: Of<T, E>,
    state: State,
    /// Since when it is wanted and not begun, how urgently, and the ticket by which it stands in line.
    wanted: Option<Wanted>,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    since: Instant,
    urgency: Urgency,
    ticket: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waits,
    /// Under way, with a place.
    Works,
    /// Under way, without one.
    Away,
    /// Away no more, and waits for a place, by this ticket.
    ComesBack(u64),
}

impl<O, T, E> Queue<O, T, E>
where
    O: Clone + Eq + Hash,
    T: Clone + Eq + Hash,
    E: Clone + Eq + Hash,
{
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            objects: HashMap::new(),
            lines: std::array::from_fn(|_| Line::default()),
            places: Shares::new(limits.places),
            at_engines: HashMap::new(),
            memory: Shares::new(limits.memory),
            tickets: 0,
        }
    }

    /// An object is to be looked at.
    pub fn want(&mut self, object: O, of: Of<T, E>, urgency: Urgency, now: Instant) {
        let ticket = self.ticket();
        let fresh = Wanted {
            since: now,
            urgency,
            ticket,
        };
        let entry = self.objects.entry(object.clone()).or_insert(Entry {
            of: of.clone(),
            state: State::Waits,
            wanted: None,
        });
        let more_urgent = match &mut entry.wanted {
            None => {
                entry.wanted = Some(fresh);
                true
            }
            Some(wanted) if urgency < wanted.urgency => {
                *wanted = Wanted {
                    since: wanted.since,
                    ..fresh
                };
                true
            }
            Some(_) => false,
        };
        // What it takes while it is under way is given back as it was taken.
        if entry.state == State::Waits && more_urgent {
            entry.of = of.clone();
            self.line_up(object, &of, line_of(urgency), ticket);
        }
    }

    /// What goes on now, if anything may.
    pub fn next(&mut self) -> Option<Go<O>> {
        let mut order: Vec<usize> = (0..LINES).collect();
        // Who was passed over for long goes first, the longest first.
        order.sort_by_key(|line| {
            let passed = self.lines[*line].passed_over;
            std::cmp::Reverse(if passed < PATIENCE { 0 } else { passed })
        });
        let line = order.into_iter().find_map(|line| {
            let object = self.take_from(line)?;
            Some((line, object))
        });
        let (line, object) = line?;
        self.lines[line].passed_over = 0;
        for other in &mut self.lines[line + 1..] {
            other.passed_over = if other.is_empty() {
                0
            } else {
                other.passed_over + 1
            };
        }
        Some(if line == BACK {
            Go::Back(object)
        } else {
            Go::Begin(object)
        })
    }

    /// The next that has its place again. Nothing is begun.
    pub fn next_back(&mut self) -> Option<Go<O>> {
        self.take_from(BACK).map(Go::Back)
    }

    /// An object waits for its engine.
    pub fn goes_away(&mut self, object: &O) {
        if let Some(entry) = self.objects.get_mut(object)
            && entry.state == State::Works
        {
            entry.state = State::Away;
            self.places.give_back(&entry.of.tenant, 1);
        }
    }

    /// Its engine has answered. Says whether it has a place again; otherwise it gets one by [`Self::next`].
    pub fn comes_back(&mut self, object: &O) -> bool {
        let ticket = self.ticket();
        let Some(entry) = self.objects.get_mut(object) else {
            return true;
        };
        if entry.state != State::Away {
            return true;
        }
        if self.lines[BACK].is_empty() && self.places.has_room(&entry.of.tenant, 1, 0) {
            entry.state = State::Works;
            self.places.take(&entry.of.tenant, 1);
            return true;
        }
        entry.state = State::ComesBack(ticket);
        let of = entry.of.clone();
        self.line_up(object.clone(), &of, BACK, ticket);
        false
    }

    /// An object isn't under way any more, however that ended. Says whether it waits again.
    pub fn done(&mut self, object: &O) -> bool {
        let Some(entry) = self.objects.get_mut(object) else {
            return false;
        };
        let of = entry.of.clone();
        match entry.state {
            State::Waits => return true,
            State::Works => self.places.give_back(&of.tenant, 1),
            State::Away | State::ComesBack(_) => {}
        }
        self.memory.give_back(&of.tenant, of.weight);
        if let Some(engine) = self.at_engines.get_mut(&of.engine) {
            engine.give_back(&of.tenant, 1);
            if engine.is_idle() {
                self.at_engines.remove(&of.engine);
            }
        }
        let Some(wanted) = entry.wanted else {
            self.objects.remove(object);
            return false;
        };
        entry.state = State::Waits;
        self.line_up(object.clone(), &of, line_of(wanted.urgency), wanted.ticket);
        true
    }

    /// How long the one that has waited longest at each engine has done so without being begun.
    pub fn oldest(&self, now: Instant) -> HashMap<E, Duration> {
        let mut oldest = HashMap::new();
        for entry in self.objects.values() {
            if let Some(wanted) = entry.wanted {
                let age = now.saturating_duration_since(wanted.since);
                let known = oldest.entry(entry.of.engine.clone()).or_insert(age);
                *known = age.max(*known);
            }
        }
        oldest
    }

    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    fn line_up(&mut self, object: O, of: &Of<T, E>, line: usize, ticket: u64) {
        self.lines[line].push(of.tenant.clone(), of.engine.clone(), (object, ticket));
    }

    /// The next of a line that there is room for. It has its shares then.
    fn take_from(&mut self, line: usize) -> Option<O> {
        let Self {
            limits,
            objects,
            lines,
            places,
            at_engines,
            memory,
            ..
        } = self;
        let spared = if line <= line_of(Urgency::Decision) {
            0
        } else {
            limits.spared
        };
        if places.is_used_up(spared) {
            return None;
        }
        let has_place = |tenant: &T| {
            places.has_room(tenant, 1, spared) && (line == BACK || memory.has_room(tenant, 1, 0))
        };
        let may_go = |(object, ticket): &(O, u64)| {
            let Some(entry) = objects.get(object) else {
                return Turn::Stale;
            };
            if line == BACK {
                let still = entry.state == State::ComesBack(*ticket);
                return if still { Turn::Goes } else { Turn::Stale };
            }
            let still = entry.state == State::Waits
                && entry.wanted.is_some_and(|wanted| wanted.ticket == *ticket);
            if !still {
                return Turn::Stale;
            }
            let of = &entry.of;
            let at_engine = at_engines.get(&of.engine);
            let fits = at_engine.is_none_or(|at| at.has_room(&of.tenant, 1, spared))
                && memory.has_room(&of.tenant, of.weight, 0);
            if fits { Turn::Goes } else { Turn::Waits }
        };
        let (object, _) = lines[line].pop(has_place, may_go)?;
        let entry = objects.get_mut(&object)?;
        entry.state = State::Works;
        let of = &entry.of;
        places.take(&of.tenant, 1);
        if line != BACK {
            entry.wanted = None;
            memory.take(&of.tenant, of.weight);
            let at_engine = at_engines.entry(of.engine.clone());
            at_engine
                .or_insert_with(|| Shares::new(limits.per_engine))
                .take(&of.tenant, 1);
        }
        Some(object)
    }
}

fn line_of(urgency: Urgency) -> usize {
    match urgency {
        Urgency::Decision => 1,
        Urgency::Change => 2,
        Urgency::Routine => 3,
    }
}

/// Whether one that stands in line may go.
enum Turn {
    Goes,
    Waits,
    /// It stands here no more.
    Stale,
}

/// Those that are equally urgent, by tenant and engine.
#[derive(Debug)]
struct Line<O, T, E> {
    tenants: Rounds<T, Rounds<E, VecDeque<(O, u64)>>>,
    /// How many others went before since one of these did.
    passed_over: u32,
}

impl<O, T, E> Default for Line<O, T, E> {
    fn default() -> Self {
        Self {
            tenants: Rounds::default(),
            passed_over: 0,
        }
    }
}

impl<O, T: Clone + Eq + Hash, E: Clone + Eq + Hash> Line<O, T, E> {
    fn is_empty(&self) -> bool {
        self.tenants.order.is_empty()
    }

    fn push(&mut self, tenant: T, engine: E, item: (O, u64)) {
        let engines = self.tenants.of(tenant);
        engines.of(engine).push_back(item);
    }

    /// The first that may go, of the tenant whose turn it is.
    fn pop(
        &mut self,
        has_place: impl Fn(&T) -> bool,
        may_go: impl Fn(&(O, u64)) -> Turn,
    ) -> Option<(O, u64)> {
        self.tenants.first(|tenant, engines| {
            if !has_place(tenant) {
                return (None, true);
            }
            let found = engines.first(|_, items| {
                while let Some(item) = items.front() {
                    match may_go(item) {
                        Turn::Goes => return (items.pop_front(), !items.is_empty()),
                        Turn::Waits => return (None, true),
                        Turn::Stale => drop(items.pop_front()),
                    }
                }
                (None, false)
            });
            (found, !engines.order.is_empty())
        })
    }
}

/// Several, who take turns.
#[derive(Debug)]
pub(super) struct Rounds<K, V> {
    order: VecDeque<K>,
    all: HashMap<K, V>,
}

impl<K, V> Default for Rounds<K, V> {
    fn default() -> Self {
        Self {
            order: VecDeque::new(),
            all: HashMap::new(),
        }
    }
}

impl<K: Clone + Eq + Hash, V: Default> Rounds<K, V> {
    /// One of them, who is the last to get a turn if they are new.
    pub(super) fn of(&mut self, key: K) -> &mut V {
        if !self.all.contains_key(&key) {
            self.order.push_back(key.clone());
        }
        self.all.entry(key).or_default()
    }

    /// Asks one after the other until one has something. `look` also says whether it has anything left.
    /// Whoever had something, or has nothing left, has had their turn.
    pub(super) fn first<R>(&mut self, look: impl Fn(&K, &mut V) -> (Option<R>, bool)) -> Option<R> {
        let mut index = 0;
        while let Some(key) = self.order.get(index).cloned() {
            let Some(value) = self.all.get_mut(&key) else {
                self.order.remove(index);
                continue;
            };
            let (found, has_more) = look(&key, value);
            if found.is_some() || !has_more {
                self.order.remove(index);
                if has_more {
                    self.order.push_back(key);
                } else {
                    self.all.remove(&key);
                }
            } else {
                index += 1;
            }
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
