use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    places: 8,
    per_engine: 6,
    memory: 40,
    spared: 1,
};

/// An object by its tenant and number.
type Object = (u8, u16);

fn of(tenant: u8, engine: u8) -> Of<u8, (u8, u8)> {
    Of {
        tenant,
        engine: (tenant, engine),
        weight: 1,
    }
}

struct Bench {
    queue: Queue<Object, u8, (u8, u8)>,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self {
            queue: Queue::new(LIMITS),
            now: Instant::now(),
        }
    }

    fn want(&mut self, tenant: u8, number: u16, urgency: Urgency) {
        let of = of(tenant, 0);
        self.queue.want((tenant, number), of, urgency, self.now);
    }

    fn begin(&mut self) -> Option<Object> {
        match self.queue.next()? {
            Go::Begin(object) => Some(object),
            Go::Back(object) => panic!("{object:?} is back"),
        }
    }

    fn begin_all(&mut self) -> Vec<Object> {
        std::iter::from_fn(|| self.begin()).collect()
    }
}

#[test]
fn a20_one_tenants_number_does_not_delay_another() {
    let mut bench = Bench::new();
    for number in 0..1_000 {
        bench.want(1, number, Urgency::Routine);
    }
    let begun = bench.begin_all();
    assert!(begun.len() < LIMITS.places, "{begun:?}");
    bench.want(2, 0, Urgency::Routine);
    assert_eq!(bench.begin(), Some((2, 0)), "there is a place for others");
    // And with all of them in line, they take turns.
    let mut bench = Bench::new();
    for number in 0..10 {
        bench.want(1, number, Urgency::Routine);
    }
    bench.want(2, 0, Urgency::Routine);
    bench.want(3, 0, Urgency::Routine);
    assert_eq!(bench.begin_all()[..3], [(1, 0), (2, 0), (3, 0)]);
}

#[test]
fn a20_whoever_waits_for_an_engine_holds_no_place_and_a_slow_engine_only_its_own() {
    let mut bench = Bench::new();
    for number in 0..100 {
        bench.want(1, number, Urgency::Routine);
    }
    // Whatever is begun goes away, for as long as the engine takes.
    let mut away = vec![];
    while let Some(object) = bench.begin() {
        bench.queue.goes_away(&object);
        away.push(object);
    }
    assert!(away.len() < LIMITS.per_engine, "{away:?}");
    assert!(bench.queue.places.is_idle());
    // Another engine of the same tenant isn't held up.
    bench
        .queue
        .want((1, 500), of(1, 1), Urgency::Routine, bench.now);
    assert_eq!(bench.begin(), Some((1, 500)));
    // And the slow one still hears of a decision.
    bench.want(1, 99, Urgency::Decision);
    assert_eq!(bench.begin(), Some((1, 99)));
}

#[test]
fn a20_decisions_go_before_changes_and_those_before_routine_and_nothing_starves() {
    let mut bench = Bench::new();
    bench.want(1, 1, Urgency::Routine);
    bench.want(1, 2, Urgency::Change);
    bench.want(1, 3, Urgency::Routine);
    // It waited as routine, and then somebody decided.
    bench.want(1, 3, Urgency::Decision);
    let mut order = vec![];
    while let Some(object) = bench.begin() {
        bench.queue.done(&object);
        order.push(object);
    }
    assert_eq!(order, [(1, 3), (1, 2), (1, 1)]);

    let mut bench = Bench::new();
    bench.want(2, 0, Urgency::Routine);
    let mut before = 0;
    for number in 0..100 {
        bench.want(1, number, Urgency::Decision);
        let begun = bench.begin().unwrap();
        bench.queue.done(&begun);
        if begun == (2, 0) {
            break;
        }
        before += 1;
    }
    assert_eq!(before, PATIENCE, "decisions went before it");
}

#[test]
fn an_object_is_never_under_way_twice_and_is_looked_at_again_if_it_was_wanted_meanwhile() {
    let mut bench = Bench::new();
    bench.want(1, 0, Urgency::Routine);
    assert_eq!(bench.begin(), Some((1, 0)));
    bench.want(1, 0, Urgency::Routine);
    bench.want(1, 0, Urgency::Decision);
    assert_eq!(bench.begin(), None);
    assert!(bench.queue.done(&(1, 0)));
    assert_eq!(bench.begin_all(), [(1, 0)]);
    assert!(!bench.queue.done(&(1, 0)));
    assert_eq!(bench.begin(), None);
    assert!(bench.queue.objects.is_empty());
}

#[test]
fn the_age_of_what_was_not_looked_at_counts_from_when_it_was_first_wanted() {
    let mut bench = Bench::new();
    let begin = bench.now;
    bench.want(1, 0, Urgency::Routine);
    bench.now = begin + Duration::from_secs(5);
    bench.want(1, 0, Urgency::Decision);
    let later = begin + Duration::from_secs(9);
    let ages = bench.queue.oldest(later);
    assert_eq!(ages, HashMap::from([((1, 0), Duration::from_secs(9))]));
    bench.begin();
    assert!(bench.queue.oldest(later).is_empty());
    // What changes while it is under way isn't looked at yet.
    bench.want(1, 0, Urgency::Change);
    let ages = bench.queue.oldest(later);
    assert_eq!(ages, HashMap::from([((1, 0), Duration::from_secs(4))]));
}

#[test]
fn large_ones_wait_for_memory_and_one_tenant_leaves_some_to_others() {
    let mut bench = Bench::new();
    let large = |tenant| Of {
        weight: 15,
        ..of(tenant, 0)
    };
    for number in 0..3 {
        bench
            .queue
            .want((1, number), large(1), Urgency::Routine, bench.now);
    }
    assert_eq!(bench.begin_all(), [(1, 0)]);
    bench
        .queue
        .want((2, 0), large(2), Urgency::Routine, bench.now);
    assert_eq!(bench.begin_all(), [(2, 0)]);
    bench.queue.done(&(1, 0));
    assert_eq!(bench.begin_all(), [(1, 1)]);
}

#[derive(Clone, Debug)]
enum Deed {
    Want(u8, u16, u8, usize),
    Next,
    GoAway(usize),
    ComeBack(usize),
    Done(usize),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        4 => (0u8..4, 0u16..12, 0u8..3, 1usize..9)
            .prop_map(|(tenant, number, urgency, weight)| Deed::Want(tenant, number, urgency, weight)),
        4 => Just(Deed::Next),
        2 => (0usize..40).prop_map(Deed::GoAway),
        2 => (0usize..40).prop_map(Deed::ComeBack),
        2 => (0usize..40).prop_map(Deed::Done),
    ];
    prop::collection::vec(deed, 0..400)
}

proptest! {
    /// However it goes: nothing is under way twice, no limit is passed, nothing is lost, and when all that
    /// is under way comes to its end, everything that was wanted has had its turn.
    #[test]
    fn whatever_happens_all_get_their_turn_and_no_limit_is_passed(deeds in deeds()) {
        let mut queue: Queue<Object, u8, (u8, u8)> = Queue::new(LIMITS);
        let now = Instant::now();
        let mut wanted: HashSet<Object> = HashSet::new();
        let mut works: Vec<Object> = vec![];
        let mut away: Vec<Object> = vec![];
        let mut returns: HashSet<Object> = HashSet::new();
        let urgencies = [Urgency::Decision, Urgency::Change, Urgency::Routine];
        let go = |queue: &mut Queue<Object, u8, (u8, u8)>, works: &mut Vec<Object>,
                      away: &Vec<Object>, returns: &mut HashSet<Object>, wanted: &mut HashSet<Object>| {
            match queue.next() {
                None => return Ok(false),
                Some(Go::Begin(object)) => {
                    prop_assert!(wanted.remove(&object));
                    prop_assert!(!works.contains(&object) && !away.contains(&object));
                    prop_assert!(!returns.contains(&object));
                    works.push(object);
                }
                Some(Go::Back(object)) => {
                    prop_assert!(returns.remove(&object));
                    works.push(object);
                }
            }
            prop_assert!(works.len() <= LIMITS.places);
            Ok(true)
        };
        for deed in deeds {
            match deed {
                Deed::Want(tenant, number, urgency, weight) => {
                    let of = Of { weight, ..of(tenant, (number % 3) as u8) };
                    let urgency = urgencies[usize::from(urgency)];
                    queue.want((tenant, number), of, urgency, now);
                    wanted.insert((tenant, number));
                }
                Deed::Next => { go(&mut queue, &mut works, &away, &mut returns, &mut wanted)?; }
                Deed::GoAway(index) if !works.is_empty() => {
                    let object = works.remove(index % works.len());
                    queue.goes_away(&object);
                    away.push(object);
                }
                Deed::ComeBack(index) if !away.is_empty() => {
                    let object = away.remove(index % away.len());
                    if queue.comes_back(&object) {
                        works.push(object);
                        prop_assert!(works.len() <= LIMITS.places);
                    } else {
                        returns.insert(object);
                    }
                }
                // It may also end while it is away, or comes back: a time limit.
                Deed::Done(index) => {
                    let mut all: Vec<Object> = works.clone();
                    all.extend(&away);
                    all.extend(returns.iter());
                    if !all.is_empty() {
                        let object = all[index % all.len()];
                        works.retain(|other| *other != object);
                        away.retain(|other| *other != object);
                        returns.remove(&object);
                        prop_assert_eq!(queue.done(&object), wanted.contains(&object));
                    }
                }
                _ => {}
            }
        }
        loop {
            let moved = go(&mut queue, &mut works, &away, &mut returns, &mut wanted)?;
            if let Some(object) = works.pop().or_else(|| away.pop()) {
                queue.done(&object);
            } else if !moved {
                break;
            }
        }
        prop_assert!(wanted.is_empty(), "{wanted:?} never had their turn");
        prop_assert!(returns.is_empty());
        prop_assert!(queue.objects.is_empty());
        prop_assert!(queue.places.is_idle() && queue.memory.is_idle() && queue.at_engines.is_empty());
    }
}
