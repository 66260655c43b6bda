//! How often? Limits per caller. The counting is pure: it is told what time it is; only a turn is waited for.
//!
//! A caller may make `count` calls at once, and gets `count` new ones per period, spread evenly
//! (the generic cell rate algorithm, which keeps one time per caller). The crate `governor` does
//! that too, but neither gives a call back nor bounds its table, and both are needed here.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::{config::duration, error::Error};

/// How many callers are counted apart. Further ones share what one caller has, until somebody has
/// been quiet for long enough.
const MAX_CALLERS: usize = 10_000;

/// How long a credential is remembered as good after its last success.
const REMEMBERED: Duration = Duration::from_secs(600);

/// How long one that was refused is taken for bad without being looked at again, by an address that has no
/// failures left. Short, since a key may be made after it was first used.
const REFUSED: Duration = Duration::from_secs(10);

/// How many credentials are looked at at a time of an address without failures left.
const REVIEWS_PER_ADDRESS: usize = 4;

/// How many are looked at at a time of all such addresses together.
const MAX_REVIEWS: usize = 16;

/// How many more of one address may wait for their turn. With reviews of 40 ms the last one waits for a second. If
/// there were no bound, the time of all of them would run out before their turn.
const MAX_WAITING: usize = 100;

/// What is said where there is no turn to be had. By then most of those that wait have had theirs.
pub(super) const NO_TURN: Error = Error::NoTurn {
    retry_after_seconds: 2,
};

/// So many calls in so much time, or as many as anybody likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// As many as anybody likes.
    Off,
    /// So many at once, and so many new ones per period.
    Rate {
        /// How many.
        count: u32,
        /// In which time.
        period: Duration,
    },
}

impl Limit {
    /// So many per minute.
    pub const fn per_minute(count: u32) -> Self {
        Self::Rate {
            count,
            period: Duration::from_secs(60),
        }
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let rate = text.split_once('/').and_then(|(count, period)| {
            let count = count.parse().ok().filter(|count| *count > 0)?;
            let period = duration(period).ok()?;
            Some(Self::Rate { count, period })
        });
        rate.ok_or_else(|| "write COUNT/PERIOD, such as 60/1m, or off".to_owned())
    }
}

/// What each caller has left.
#[derive(Debug)]
struct Callers {
    /// How long it takes until a caller has one more.
    interval: Duration,
    /// How far ahead of the time a caller may be: what all at once are worth.
    tolerance: Duration,
    capacity: usize,
    /// Callers by a keyed hash, so that nobody's long name takes room, and when they will have all
    /// their calls again. Who has them all now isn't in it.
    full_at: HashMap<u64, Instant>,
    /// The same for those for whom there was no room, together.
    crowd: Option<Instant>,
    hasher: RandomState,
}

impl Callers {
    fn new(count: u32, period: Duration, capacity: usize) -> Self {
        // Less than a nanosecond each is no limit, but mustn't be a division by it.
        let interval = (period / count).max(Duration::from_nanos(1));
        Self {
            interval,
            tolerance: interval * count,
            capacity,
            full_at: HashMap::new(),
            crowd: None,
            hasher: RandomState::new(),
        }
    }

    fn hash(&self, caller: impl Hash) -> u64 {
        self.hasher.hash_one(caller)
    }

    /// Takes one call from what the caller has left, or says how long it takes until there is one.
    fn take(&mut self, caller: u64, now: Instant) -> Result<(), Duration> {
        if !self.full_at.contains_key(&caller) && self.full_at.len() >= self.capacity {
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        let room = self.full_at.len() < self.capacity;
        let before = match self.full_at.get(&caller) {
            Some(full_at) => Some(*full_at),
            None if room => None,
            None => self.crowd,
        };
        let after = before.map_or(now, |full_at| full_at.max(now)) + self.interval;
        let wait = (after - now).saturating_sub(self.tolerance);
        if !wait.is_zero() {
            return Err(wait);
        }
        if room || self.full_at.contains_key(&caller) {
            self.full_at.insert(caller, after);
        } else {
            self.crowd = Some(after);
        }
        Ok(())
    }

    /// Gives a call back that was taken.
    fn give_back(&mut self, caller: u64) {
        let interval = self.interval;
        let full_at = self.full_at.get_mut(&caller).or(self.crowd.as_mut());
        if let Some(full_at) = full_at
            && let Some(earlier) = full_at.checked_sub(interval)
        {
            *full_at = earlier;
        }
    }
}

/// Failed authentications by address, and what is known of credentials.
///
/// Nobody is refused because of what others send from the same address, as behind a proxy: a credential that was good
/// a while ago is looked at at once, and one that nobody knows when it is its turn. Refused is only what was found
/// bad just before.
#[derive(Debug)]
struct Failures {
    callers: Callers,
    good: HashMap<u64, Instant>,
    bad: HashMap<u64, Instant>,
}

impl Failures {
    fn until(known: &HashMap<u64, Instant>, credential: u64, now: Instant) -> Option<Instant> {
        known.get(&credential).copied().filter(|until| *until > now)
    }

    fn remember_good(&mut self, credential: u64, now: Instant) {
        self.bad.remove(&credential);
        remember(
            &mut self.good,
            self.callers.capacity,
            credential,
            now,
            REMEMBERED,
        );
    }

    fn remember_bad(&mut self, credential: u64, now: Instant) {
        self.good.remove(&credential);
        remember(
            &mut self.bad,
            self.callers.capacity,
            credential,
            now,
            REFUSED,
        );
    }
}

/// What there is no room for is forgotten: it is as any that nobody knows.
fn remember(
    known: &mut HashMap<u64, Instant>,
    capacity: usize,
    credential: u64,
    now: Instant,
    how_long: Duration,
) {
    if !known.contains_key(&credential) && known.len() >= capacity {
        known.retain(|_, until| *until > now);
        if known.len() >= capacity {
            return;
        }
    }
    known.insert(credential, now + how_long);
}

/// What may still be tried: see [`Limits::attempt`].
#[must_use]
#[derive(Debug)]
pub(super) struct Attempt {
    address: u64,
    credential: u64,
    taken: bool,
    waits: bool,
}

impl Attempt {
    /// Whether it has to wait for its turn, because its address has no failures left.
    pub fn waits(&self) -> bool {
        self.waits
    }
}

/// The turn of a credential from an address without failures left, as long as this is held.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    _of_address: Option<OwnedSemaphorePermit>,
    _of_all: Option<SemaphorePermit<'a>>,
    // The last one, so that who waits takes over the turn before who comes anew.
    _in_line: InLine<'a>,
}

/// Those of an address without failures left.
#[derive(Debug)]
struct Line {
    turns: Arc<Semaphore>,
    /// How many wait for their turn or have it.
    length: usize,
}

/// One that waits for its turn or has it.
#[derive(Debug)]
struct InLine<'a> {
    lines: &'a Mutex<HashMap<u64, Line>>,
    address: u64,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let mut lines = lock(self.lines);
        if let Some(line) = lines.get_mut(&self.address) {
            line.length -= 1;
            if line.length == 0 {
                lines.remove(&self.address);
            }
        }
    }
}

/// The limits of the endpoint.
#[derive(Debug)]
pub(super) struct Limits {
    users: Option<Mutex<Callers>>,
    failures: Option<Mutex<Failures>>,
    /// One per address of which anybody waits, so there are never more than requests.
    lines: Mutex<HashMap<u64, Line>>,
    reviews: Semaphore,
}

impl Limits {
    pub fn new(users: Limit, failures: Limit) -> Self {
        let callers = |limit| match limit {
            Limit::Off => None,
            Limit::Rate { count, period } => Some(Callers::new(count, period, MAX_CALLERS)),
        };
        Self {
            users: callers(users).map(Mutex::new),
            failures: callers(failures).map(|callers| {
                Mutex::new(Failures {
                    callers,
                    good: HashMap::new(),
                    bad: HashMap::new(),
                })
            }),
            lines: Mutex::default(),
            reviews: Semaphore::new(MAX_REVIEWS),
        }
    }

    /// Counts a call of a user.
    pub fn call(&self, user: &str, now: Instant) -> Result<(), Error> {
        let Some(users) = &self.users else {
            return Ok(());
        };
        let mut users = lock(users);
        let user = users.hash(user);
        users
            .take(user, now)
            .map_err(|wait| Error::TooManyRequests {
                retry_after_seconds: seconds(wait),
            })
    }

    /// Begins an authentication. It counts as failed until it is told otherwise, so that many at
    /// once are no way round, nor is going away before the answer.
    pub fn attempt(
        &self,
        address: IpAddr,
        credential: &str,
        now: Instant,
    ) -> Result<Option<Attempt>, Error> {
        let Some(failures) = &self.failures else {
            return Ok(None);
        };
        let mut failures = lock(failures);
        let address = failures.callers.hash(network(address));
        let credential = failures.callers.hash(credential);
        let good = Failures::until(&failures.good, credential, now).is_some();
        let mut attempt = Attempt {
            address,
            credential,
            taken: false,
            waits: false,
        };
        if !good {
            match failures.callers.take(address, now) {
                Ok(()) => attempt.taken = true,
                Err(wait) => {
                    refuse_the_bad(&failures, credential, wait, now)?;
                    attempt.waits = true;
                }
            }
        }
        Ok(Some(attempt))
    }

    /// Waits for the turn of an attempt that has to. Meanwhile others may have found out that its credential is bad.
    ///
    /// Of one address a few are looked at at a time, in their order, and those of other addresses don't wait for
    /// them. So what a flood from one address costs the API server is a few reviews at a time, and what it costs a
    /// colleague behind that address is the time that those before take. Where too many wait already, the new one is
    /// told to come again.
    pub async fn turn(
        &self,
        attempt: &Attempt,
        now: impl Fn() -> Instant,
    ) -> Result<Turn<'_>, Error> {
        let (turns, in_line) = self.line_up(attempt.address)?;
        // What is acquired is missing only if the semaphore is closed, which nobody does.
        let of_address = turns.acquire_owned().await.ok();
        let of_all = self.reviews.acquire().await.ok();
        if let Some(failures) = &self.failures {
            let failures = lock(failures);
            refuse_the_bad(&failures, attempt.credential, REFUSED, now())?;
        }
        Ok(Turn {
            _of_address: of_address,
            _of_all: of_all,
            _in_line: in_line,
        })
    }

    fn line_up(&self, address: u64) -> Result<(Arc<Semaphore>, InLine<'_>), Error> {
        let mut lines = lock(&self.lines);
        let line = lines.entry(address).or_insert_with(|| Line {
            turns: Arc::new(Semaphore::new(REVIEWS_PER_ADDRESS)),
            length: 0,
        });
        if line.length >= REVIEWS_PER_ADDRESS + MAX_WAITING {
            return Err(NO_TURN);
        }
        line.length += 1;
        let in_line = InLine {
            lines: &self.lines,
            address,
        };
        Ok((line.turns.clone(), in_line))
    }

    /// Ends an authentication: `Some(true)` with success, `Some(false)` without, and `None` if it
    /// couldn't be found out, which is nobody's failure.
    pub fn end(&self, attempt: Option<Attempt>, outcome: Option<bool>, now: Instant) {
        let (Some(failures), Some(attempt)) = (&self.failures, attempt) else {
            return;
        };
        let mut failures = lock(failures);
        match outcome {
            Some(true) => failures.remember_good(attempt.credential, now),
            Some(false) => {
                failures.remember_bad(attempt.credential, now);
                if !attempt.taken {
                    // It was good once and isn't any more, or nothing was left for it. It was looked at in any case.
                    let _ = failures.callers.take(attempt.address, now);
                }
            }
            None => {}
        }
        if attempt.taken && outcome != Some(false) {
            failures.callers.give_back(attempt.address);
        }
    }
}

/// Fails if the credential was found bad just before. It may be tried again once its address has a failure left, or
/// once it is looked at again anyway.
fn refuse_the_bad(
    failures: &Failures,
    credential: u64,
    wait: Duration,
    now: Instant,
) -> Result<(), Error> {
    let Some(until) = Failures::until(&failures.bad, credential, now) else {
        return Ok(());
    };
    Err(Error::TooManyFailedAuthentications {
        retry_after_seconds: seconds(wait.min(until - now)),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whole seconds, as `Retry-After` has them: at least one, and never too few.
fn seconds(wait: Duration) -> u64 {
    let whole = wait.as_secs();
    if wait.subsec_nanos() > 0 {
        whole + 1
    } else {
        whole.max(1)
    }
}

/// Who counts as one caller: an IPv4 address, or the network of 64 bits that one subscriber has.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn a_limit_is_a_count_and_a_period_or_off() {
        assert_eq!("60/1m".parse(), Ok(Limit::per_minute(60)));
        assert_eq!("off".parse(), Ok(Limit::Off));
        for odd in ["", "60", "0/1m", "60/", "/1m", "60/0s", "-1/1m", "60/2h"] {
            assert!(odd.parse::<Limit>().is_err(), "{odd}");
        }
    }

    #[test]
    fn all_may_be_used_at_once_and_come_back_one_by_one() {
        let mut callers = Callers::new(3, 3 * SECOND, 10);
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(callers.take(1, start), Ok(()));
        }
        assert_eq!(callers.take(1, start), Err(SECOND));
        assert_eq!(callers.take(1, start + SECOND / 2), Err(SECOND / 2));
        assert_eq!(callers.take(1, start + SECOND), Ok(()));
        assert_eq!(callers.take(1, start + SECOND), Err(SECOND));
        // What isn't used doesn't add up to more than all.
        let later = start + 100 * SECOND;
        for _ in 0..3 {
            assert_eq!(callers.take(1, later), Ok(()));
        }
        assert_eq!(callers.take(1, later), Err(SECOND));
        // Others have their own.
        assert_eq!(callers.take(2, later), Ok(()));
        // One that is given back can be used again.
        callers.give_back(1);
        assert_eq!(callers.take(1, later), Ok(()));
        assert_eq!(callers.take(1, later), Err(SECOND));
    }

    #[test]
    fn more_callers_than_there_is_room_for_share_what_one_has() {
        let mut callers = Callers::new(1, SECOND, 2);
        let start = Instant::now();
        assert_eq!(callers.take(1, start), Ok(()));
        assert_eq!(callers.take(2, start), Ok(()));
        assert_eq!(callers.take(3, start), Ok(()));
        assert_eq!(callers.take(4, start), Err(SECOND));
        assert_eq!(callers.full_at.len(), 2);
        // Those that have been quiet make room.
        let later = start + SECOND;
        for caller in [4, 5] {
            assert_eq!(callers.take(caller, later), Ok(()));
        }
        assert_eq!(callers.full_at.len(), 2);
    }

    #[test]
    fn only_failures_are_counted_against_an_address() {
        let limits = Limits::new(Limit::Off, Limit::per_minute(2));
        let now = Instant::now();
        for _ in 0..10 {
            let attempt = limits.attempt(HERE, "good", now).unwrap();
            limits.end(attempt, Some(true), now);
            // That the API server is away is nobody's failure.
            let attempt = limits.attempt(HERE, "unknown", now).unwrap();
            limits.end(attempt, None, now);
        }
        for _ in 0..2 {
            let attempt = limits.attempt(HERE, "bad", now).unwrap();
            limits.end(attempt, Some(false), now);
        }
        let refused = limits.attempt(HERE, "bad", now).unwrap_err();
        assert_eq!(
            refused,
            Error::TooManyFailedAuthentications {
                retry_after_seconds: 10
            }
        );
        // Another address has its own.
        let elsewhere = "192.0.2.2".parse().unwrap();
        assert!(limits.attempt(elsewhere, "bad", now).is_ok());
    }

    #[test]
    fn who_was_good_a_while_ago_is_not_held_up_by_others_at_the_same_address() {
        let limits = Limits::new(Limit::Off, Limit::per_minute(1));
        let now = Instant::now();
        let attempt = limits.attempt(HERE, "good", now).unwrap();
        limits.end(attempt, Some(true), now);
        let attempt = limits.attempt(HERE, "bad", now).unwrap();
        limits.end(attempt, Some(false), now);
        assert!(limits.attempt(HERE, "bad", now).is_err());
        for _ in 0..10 {
            let attempt = limits.attempt(HERE, "good", now).unwrap();
            limits.end(attempt, Some(true), now);
        }
        // Once it fails, it is as any other.
        let attempt = limits.attempt(HERE, "good", now).unwrap();
        limits.end(attempt, Some(false), now);
        assert!(limits.attempt(HERE, "good", now).is_err());
    }

    #[test]
    fn who_was_never_seen_is_not_refused_for_what_others_send_from_the_same_address() {
        let limits = Limits::new(Limit::Off, Limit::per_minute(1));
        let now = Instant::now();
        let attempt = limits.attempt(HERE, "bad", now).unwrap();
        limits.end(attempt, Some(false), now);
        let attempt = limits.attempt(HERE, "new", now).unwrap().unwrap();
        assert!(attempt.waits());
        limits.end(Some(attempt), Some(true), now);
        // From then on it needn't wait either.
        let attempt = limits.attempt(HERE, "new", now).unwrap().unwrap();
        assert!(!attempt.waits());
        // What was found bad is looked at again after a while, for it may be good by then.
        assert!(limits.attempt(HERE, "bad", now).is_err());
        let later = now + REFUSED;
        let attempt = limits.attempt(HERE, "bad", later).unwrap().unwrap();
        assert!(attempt.waits());
    }

    #[tokio::test]
    async fn turns_of_one_address_come_a_few_at_a_time_and_end_with_what_was_found_out() {
        let limits = Limits::new(Limit::Off, Limit::per_minute(1));
        let now = Instant::now();
        let attempt = |address: IpAddr, text| limits.attempt(address, text, now);
        let elsewhere: IpAddr = "192.0.2.2".parse().unwrap();
        for address in [HERE, elsewhere] {
            let bad = attempt(address, "bad").unwrap();
            limits.end(bad, Some(false), now);
        }
        let [first, same, other] =
            ["a", "a", "b"].map(|text| attempt(HERE, text).unwrap().unwrap());
        let turn = limits.turn(&first, || now).await.unwrap();
        let mut others = vec![];
        for _ in 1..REVIEWS_PER_ADDRESS {
            others.push(limits.turn(&other, || now).await.unwrap());
        }
        let mut waits_same = std::pin::pin!(limits.turn(&same, || now));
        let mut waits_other = std::pin::pin!(limits.turn(&other, || now));
        assert!(futures::poll!(&mut waits_same).is_pending());
        assert!(futures::poll!(&mut waits_other).is_pending());
        let abroad = attempt(elsewhere, "c").unwrap().unwrap();
        let turn_abroad = std::pin::pin!(limits.turn(&abroad, || now));
        assert!(futures::poll!(turn_abroad).is_ready());
        limits.end(Some(first), Some(false), now);
        drop(turn);
        // It was found bad meanwhile, and isn't looked at again.
        let refused = waits_same.await.unwrap_err();
        assert_eq!(refused.code(), "TooManyFailedAuthentications");
        assert!(waits_other.await.is_ok());
    }

    #[tokio::test]
    async fn only_so_many_of_an_address_wait_and_one_more_once_one_has_gone() {
        let limits = Limits::new(Limit::Off, Limit::per_minute(1));
        let now = Instant::now();
        let attempt = |text: &str| limits.attempt(HERE, text, now).unwrap();
        limits.end(attempt("bad"), Some(false), now);
        let attempt = attempt("new").unwrap();
        let mut line: Vec<_> = (0..REVIEWS_PER_ADDRESS + MAX_WAITING)
            .map(|_| Box::pin(limits.turn(&attempt, || now)))
            .collect();
        let mut turns = vec![];
        for turn in &mut line {
            if let std::task::Poll::Ready(turn) = futures::poll!(turn) {
                turns.push(turn.unwrap());
            }
        }
        assert_eq!(turns.len(), REVIEWS_PER_ADDRESS);
        let refused = limits.turn(&attempt, || now).await.unwrap_err();
        assert_eq!(refused, NO_TURN);
        // Whoever goes away leaves the line, whether with a turn or without.
        drop(line.pop());
        let mut one_more = Box::pin(limits.turn(&attempt, || now));
        assert!(futures::poll!(&mut one_more).is_pending());
        assert_eq!(limits.turn(&attempt, || now).await.unwrap_err(), NO_TURN);
        drop(turns.pop());
        let mut another = Box::pin(limits.turn(&attempt, || now));
        assert!(futures::poll!(&mut another).is_pending());
        drop((line, turns, one_more, another));
        assert!(lock(&limits.lines).is_empty());
    }

    #[test]
    fn what_is_remembered_takes_no_more_room_than_it_may() {
        let mut known = HashMap::new();
        let now = Instant::now();
        for credential in 0..10 {
            remember(&mut known, 3, credential, now, SECOND);
        }
        assert_eq!(known.len(), 3);
        remember(&mut known, 3, 99, now + SECOND, SECOND);
        assert_eq!(known.into_keys().collect::<Vec<_>>(), [99]);
    }

    #[test]
    fn what_was_good_long_ago_is_as_any_other() {
        let limits = Limits::new(
            Limit::Off,
            Limit::Rate {
                count: 1,
                period: Duration::from_secs(3600),
            },
        );
        let now = Instant::now();
        let attempt = limits.attempt(HERE, "good", now).unwrap();
        limits.end(attempt, Some(true), now);
        let attempt = limits.attempt(HERE, "bad", now).unwrap();
        limits.end(attempt, Some(false), now);
        let attempt = limits.attempt(HERE, "good", now + REMEMBERED).unwrap();
        assert!(attempt.unwrap().waits());
    }

    #[test]
    fn attempts_under_way_count_so_that_many_at_once_are_no_way_round() {
        let limits = Limits::new(Limit::Off, Limit::per_minute(2));
        let now = Instant::now();
        let waits = |now| limits.attempt(HERE, "bad", now).unwrap().unwrap().waits();
        let _abandoned = [(); 2].map(|()| limits.attempt(HERE, "bad", now).unwrap());
        assert!(waits(now));
        // Whoever goes away before the answer has used the attempt; it comes back with time.
        let later = now + 30 * SECOND;
        assert!(!waits(later));
        assert!(waits(later));
    }

    #[test]
    fn a_subscriber_s_ipv6_addresses_are_one_caller() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), HERE);
        assert_ne!(network("192.0.2.2"), HERE);
    }

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        for (millis, expected) in [(1, 1), (1000, 1), (1001, 2), (2500, 3)] {
            assert_eq!(seconds(Duration::from_millis(millis)), expected);
        }
    }
}
