//! Which connections there is room for, and whose gives way to make some.
//!
//! A connection costs its client nothing, whether it sends half a request or a whole one with a token that somebody
//! made up. So a place is kept for certain only by a request of somebody who is known. Where all places are taken, one
//! of the address that holds the most gives way, whatever its connections do: who holds few is never closed for
//! who holds many, and a new one always gets in beside a flood from elsewhere.
//!
//! Within that address, one goes of what most of its connections do. If that is to wait for their client, it is
//! the one that has had the most time for it. If it is to wait until it is known who they are, it is the one that
//! came last, and it is told so: those before it are nearer to an answer.
//!
//! Behind a proxy all clients have one address. A proxy sends a request once it has it, so its connections are at work,
//! or idle after one; and idle ones may be closed at any time.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::limits::network;

/// How many connections without a place may be open at a time for their last answer. Whoever doesn't read it could
/// keep them open, so further ones are closed without one.
const MAX_LEAVING: usize = 64;

/// The places of an endpoint.
#[derive(Debug)]
pub(super) struct Room {
    places: usize,
    connections: Mutex<Connections>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Connections {
    next: u64,
    by_number: HashMap<u64, Connection>,
    /// Those that have lost their place and still give an answer.
    leaving: HashSet<u64>,
}

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// It waits for its client's first request.
    Arrives,
    /// It has been served, and waits for its client: to read the answer, or to send another request.
    Idle,
    /// It has a request, whose credential waits for its turn.
    Queues,
    /// It has a request, and isn't known to be of anybody yet.
    Asks,
    /// It has a request of somebody who is known, for whom something may be stored at any moment.
    Acts,
}

/// A connection.
#[derive(Debug)]
struct Connection {
    address: IpAddr,
    doing: Doing,
    since: Instant,
    closed: CancellationToken,
    gives_way: CancellationToken,
}

impl Connection {
    /// Whether it has a request, and so an answer to give.
    fn has_request(&self) -> bool {
        !matches!(self.doing, Doing::Arrives | Doing::Idle)
    }
}

/// The place of one connection, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<Room>,
    number: u64,
    /// Told when the connection has lost its place, and is to end at once.
    pub closed: CancellationToken,
    /// Told when the connection has lost its place, and is to end once it has answered that.
    pub gives_way: CancellationToken,
}

/// A request that has come completely, until this is dropped.
#[derive(Debug)]
pub(super) struct AtWork {
    place: Arc<Place>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// All are taken for certain. It comes in once that changes.
    Yet,
    /// Only those could give way who hold less than its own address does.
    ForThem,
}

impl Room {
    pub fn new(places: usize) -> Arc<Self> {
        Arc::new(Self {
            places,
            connections: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Gives a place to a connection, if need be that of another one.
    pub fn enter(self: &Arc<Self>, peer: IpAddr, now: Instant) -> Result<Arc<Place>, NoRoom> {
        let address = network(peer);
        let mut connections = self.lock();
        if connections.by_number.len() >= self.places {
            let number = connections.least(address)?;
            connections.turn_out(number);
        }
        let number = connections.next;
        connections.next += 1;
        let [closed, gives_way] = [(); 2].map(|()| CancellationToken::new());
        let connection = Connection {
            address,
            doing: Doing::Arrives,
            since: now,
            closed: closed.clone(),
            gives_way: gives_way.clone(),
        };
        connections.by_number.insert(number, connection);
        drop(connections);
        Ok(Arc::new(Place {
            room: self.clone(),
            number,
            closed,
            gives_way,
        }))
    }

    /// Waits until there may be room again.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connections {
    /// The one that gives way to a newcomer from this address.
    fn least(&self, newcomer: IpAddr) -> Result<u64, NoRoom> {
        // With the newcomer, who would hold one more.
        let mut held = HashMap::from([(newcomer, 1_usize)]);
        for connection in self.by_number.values() {
            *held.entry(connection.address).or_default() += 1;
        }
        let holds = |address| held.get(address).copied().unwrap_or_default();
        let may_go = || {
            let all = self.by_number.iter();
            all.filter(|(_, connection)| connection.doing != Doing::Acts)
        };
        let most = may_go()
            .map(|(_, connection)| holds(&connection.address))
            .max();
        let most = most.ok_or(NoRoom::Yet)?;
        if most < holds(&newcomer) {
            return Err(NoRoom::ForThem);
        }
        let of_most = || may_go().filter(|(_, connection)| holds(&connection.address) == most);
        let doing = |doing| of_most().filter(move |(_, connection)| connection.doing == doing);
        // Of equal groups the last one is taken: nobody is waiting for an answer over an idle one.
        let groups = [Doing::Arrives, Doing::Asks, Doing::Queues, Doing::Idle];
        let group = groups.into_iter().max_by_key(|it| doing(*it).count());
        let group = doing(group.unwrap_or(Doing::Idle));
        let key = |(number, connection): &(&u64, &Connection)| (connection.since, **number);
        let found = match group.clone().next() {
            Some((_, connection)) if connection.has_request() => group.max_by_key(key),
            _ => group.min_by_key(key),
        };
        found.map(|(number, _)| *number).ok_or(NoRoom::Yet)
    }

    fn turn_out(&mut self, number: u64) {
        let Some(connection) = self.by_number.remove(&number) else {
            return;
        };
        tracing::debug!(address = %connection.address, doing = ?connection.doing, "a connection gives way to another one");
        if connection.has_request() && self.leaving.len() < MAX_LEAVING {
            self.leaving.insert(number);
            connection.gives_way.cancel();
        } else {
            connection.closed.cancel();
        }
    }
}

impl Place {
    /// Begins the work on a request that has come completely. `None` if the connection has lost its place:
    /// then nothing may be done for it any more.
    pub fn work(self: &Arc<Self>) -> Option<AtWork> {
        let work = AtWork {
            place: self.clone(),
        };
        work.goes_on_to(Doing::Asks).then_some(work)
    }
}

impl AtWork {
    /// From here on its credential waits for its turn.
    pub fn queues(&self) {
        self.goes_on_to(Doing::Queues);
    }

    /// From here on it is being found out who it is.
    pub fn asks(&self) {
        self.goes_on_to(Doing::Asks);
    }

    /// It is known who it is, so from here on it keeps its place. False if that is lost: then nothing may be
    /// done for it any more.
    #[must_use]
    pub fn acts(&self) -> bool {
        self.goes_on_to(Doing::Acts)
    }

    /// Waits until it has lost its place, which is before it acts or never.
    pub async fn gives_way(&self) {
        self.place.gives_way.cancelled().await;
    }

    /// Whether it has lost its place.
    pub fn has_given_way(&self) -> bool {
        self.place.gives_way.is_cancelled()
    }

    fn goes_on_to(&self, doing: Doing) -> bool {
        let mut connections = self.place.room.lock();
        let Some(connection) = connections.by_number.get_mut(&self.place.number) else {
            return false;
        };
        (connection.doing, connection.since) = (doing, Instant::now());
        true
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        // From here on it depends on its client again, which may never read the answer.
        self.goes_on_to(Doing::Idle);
        self.place.room.changed.notify_one();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connections = self.room.lock();
        connections.by_number.remove(&self.number);
        connections.leaving.remove(&self.number);
        drop(connections);
        self.room.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// Enters, some seconds after the start.
    fn enter(room: &Arc<Room>, last: u8, start: Instant, second: u64) -> Arc<Place> {
        let now = start + Duration::from_secs(second);
        room.enter(address(last), now).expect("a place")
    }

    fn stays(place: &Place) -> bool {
        !place.closed.is_cancelled() && !place.gives_way.is_cancelled()
    }

    #[test]
    fn the_oldest_of_whoever_holds_the_most_goes() {
        let (room, start) = (Room::new(4), Instant::now());
        let colleague = enter(&room, 1, start, 0);
        let greedy: Vec<_> = (1..4).map(|i| enter(&room, 2, start, i)).collect();
        let newcomer = enter(&room, 3, start, 9);
        assert!(greedy[0].closed.is_cancelled());
        for place in [&colleague, &greedy[1], &greedy[2], &newcomer] {
            assert!(stays(place));
        }
        // What has lost its place does nothing any more, and gives none back either.
        assert!(greedy[0].work().is_none());
        drop(greedy);
        let _two_more = [enter(&room, 1, start, 10), enter(&room, 1, start, 11)];
        assert!(stays(&colleague));
    }

    #[test]
    fn whole_requests_count_as_well_and_the_last_one_that_waits_for_its_turn_is_told_to_go() {
        let (room, start) = (Room::new(4), Instant::now());
        let flood: Vec<_> = (0..4).map(|i| enter(&room, 2, start, i)).collect();
        let works: Vec<_> = flood.iter().filter_map(Place::work).collect();
        works[..3].iter().for_each(AtWork::queues);
        let newcomer = enter(&room, 3, start, 9);
        assert!(flood[2].gives_way.is_cancelled() && !flood[2].closed.is_cancelled());
        assert!(works[2].has_given_way() && !works[2].acts());
        // The next of the flood takes the place of its own, not that of who has but one.
        let _next = enter(&room, 2, start, 10);
        assert!(stays(&newcomer) && flood[1].gives_way.is_cancelled());
        assert!(stays(&flood[0]) && stays(&flood[3]));
    }

    #[test]
    fn who_does_what_few_do_is_not_the_one_that_goes_at_a_crowded_address() {
        let (room, start) = (Room::new(4), Instant::now());
        let flood: Vec<_> = (0..3).map(|i| enter(&room, 2, start, i)).collect();
        let works: Vec<_> = flood.iter().filter_map(Place::work).collect();
        works.iter().for_each(AtWork::queues);
        // A colleague behind the same proxy, whose request is on its way.
        let colleague = enter(&room, 2, start, 3);
        let _next = enter(&room, 2, start, 4);
        assert!(stays(&colleague) && flood[2].gives_way.is_cancelled());
        // And while it is found out who they are.
        let _asks = colleague.work().unwrap();
        let _another = enter(&room, 2, start, 5);
        assert!(stays(&colleague) && flood[1].gives_way.is_cancelled());
    }

    #[test]
    fn who_has_not_been_heard_yet_is_not_the_one_that_goes_where_many_were_answered_at_once() {
        let (room, start) = (Room::new(4), Instant::now());
        let flood: Vec<_> = (0..3).map(|i| enter(&room, 2, start, i)).collect();
        let works: Vec<_> = flood.iter().filter_map(Place::work).collect();
        let colleague = enter(&room, 2, start, 3);
        drop(works);
        let _next = enter(&room, 2, start, 4);
        assert!(stays(&colleague));
    }

    #[test]
    fn who_holds_less_gives_no_way_to_who_holds_more() {
        let (room, start) = (Room::new(3), Instant::now());
        let many = [enter(&room, 2, start, 0), enter(&room, 2, start, 1)];
        let works = many.each_ref().map(|place| place.work().unwrap());
        assert!(works.iter().all(AtWork::acts));
        let few = enter(&room, 1, start, 2);
        assert_eq!(room.enter(address(2), start).unwrap_err(), NoRoom::ForThem);
        assert!(stays(&few));
        let _equal = enter(&room, 3, start, 3);
        assert!(few.closed.is_cancelled());
    }

    #[test]
    fn who_is_known_stays_and_if_all_are_there_is_no_room() {
        let (room, start) = (Room::new(2), Instant::now());
        let busy = enter(&room, 1, start, 0);
        let work = busy.work().unwrap();
        assert!(work.acts());
        let idle = enter(&room, 1, start, 1);
        let third = enter(&room, 1, start, 2);
        assert!(idle.closed.is_cancelled() && stays(&busy));
        let more = third.work().unwrap();
        assert!(more.acts());
        assert_eq!(room.enter(address(9), start).unwrap_err(), NoRoom::Yet);
        drop(work);
        assert!(room.enter(address(9), start).is_ok());
        assert!(busy.closed.is_cancelled() && stays(&third));
    }

    #[test]
    fn only_so_many_stay_for_their_last_answer() {
        let (room, start) = (Room::new(1), Instant::now());
        let mut gone = vec![];
        for second in 0..=MAX_LEAVING as u64 {
            let place = enter(&room, 1, start, second);
            gone.push((place.work().unwrap(), place));
        }
        let _last = enter(&room, 1, start, 1000);
        let told = gone.iter().filter(|(work, _)| work.has_given_way()).count();
        assert_eq!(told, MAX_LEAVING);
        assert!(gone[MAX_LEAVING].1.closed.is_cancelled());
        // Those that are gone make room for others' answers.
        drop(gone);
        assert!(room.lock().leaving.is_empty());
    }

    #[tokio::test]
    async fn who_waits_for_room_hears_of_it() {
        let (room, start) = (Room::new(1), Instant::now());
        let only = enter(&room, 1, start, 0);
        let work = only.work().unwrap();
        assert!(work.acts());
        assert!(room.enter(address(2), start).is_err());
        drop(work);
        room.changed().await;
        drop(only);
        room.changed().await;
        assert!(room.enter(address(2), start).is_ok());
    }
}
