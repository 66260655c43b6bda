//! Which connections there is room for, and whose is closed to make some.
//!
//! A connection costs its client nothing, and holds one of a limited number of places for as long as it takes to
//! send half a request. So only what is at work, with a request that has come completely, keeps its place for
//! certain. Where all places are taken, the connection that has had the most time is closed, of the
//! address that holds the most of those that aren't at work: a new one always gets in, and has as long for its
//! request as it takes to open as many others.
//!
//! Behind a proxy all clients have one address. A proxy sends a request once it has it, so its connections are at work,
//! or idle after one; and idle ones may be closed at any time.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::limits::network;

/// The places of an endpoint.
#[derive(Debug)]
pub(super) struct Room {
    places: usize,
    guests: Mutex<Guests>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Guests {
    next: u64,
    by_number: HashMap<u64, Guest>,
}

/// A connection.
#[derive(Debug)]
struct Guest {
    address: IpAddr,
    /// Since when it hasn't been at work; `None` while it is.
    waits_since: Option<Instant>,
    closed: CancellationToken,
}

/// The place of one connection, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<Room>,
    number: u64,
    /// Told when the connection has lost its place.
    pub closed: CancellationToken,
}

/// A request at work, until this is dropped.
#[derive(Debug)]
pub(super) struct AtWork {
    place: Arc<Place>,
}

impl Room {
    pub fn new(places: usize) -> Arc<Self> {
        Arc::new(Self {
            places,
            guests: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Gives a place to a connection, if need be that of another one. `None` if all are at work.
    pub fn enter(self: &Arc<Self>, peer: IpAddr, now: Instant) -> Option<Arc<Place>> {
        let mut guests = self.lock();
        if guests.by_number.len() >= self.places {
            let closed = guests.least()?;
            if let Some(guest) = guests.by_number.remove(&closed) {
                tracing::debug!(address = %guest.address, "a connection is closed for another one");
                guest.closed.cancel();
            }
        }
        let number = guests.next;
        guests.next += 1;
        let closed = CancellationToken::new();
        let guest = Guest {
            address: network(peer),
            waits_since: Some(now),
            closed: closed.clone(),
        };
        guests.by_number.insert(number, guest);
        drop(guests);
        Some(Arc::new(Place {
            room: self.clone(),
            number,
            closed,
        }))
    }

    /// Waits until there may be room again.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guests {
    /// The one that has to go first.
    fn least(&self) -> Option<u64> {
        let waiting = || {
            let all = self.by_number.iter();
            all.filter_map(|(number, guest)| Some((number, guest, guest.waits_since?)))
        };
        let mut by_address: HashMap<IpAddr, usize> = HashMap::new();
        for (_, guest, _) in waiting() {
            *by_address.entry(guest.address).or_default() += 1;
        }
        let most = by_address.values().max()?;
        waiting()
            .filter(|(_, guest, _)| by_address.get(&guest.address) == Some(most))
            .min_by_key(|(number, _, since)| (*since, **number))
            .map(|(number, ..)| *number)
    }
}

impl Place {
    /// Begins the work on a request that has come completely. `None` if the connection has lost its place:
    /// then nothing may be done for it any more.
    pub fn work(self: &Arc<Self>) -> Option<AtWork> {
        let mut guests = self.room.lock();
        guests.by_number.get_mut(&self.number)?.waits_since = None;
        Some(AtWork {
            place: self.clone(),
        })
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let mut guests = self.place.room.lock();
        if let Some(guest) = guests.by_number.get_mut(&self.place.number) {
            // From here on it depends on its client again, which may never read the answer.
            guest.waits_since = Some(Instant::now());
        }
        drop(guests);
        self.place.room.changed.notify_one();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.lock().by_number.remove(&self.number);
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

    #[test]
    fn the_oldest_of_whoever_holds_the_most_goes() {
        let (room, start) = (Room::new(4), Instant::now());
        let colleague = enter(&room, 1, start, 0);
        let greedy: Vec<_> = (1..4).map(|i| enter(&room, 2, start, i)).collect();
        let newcomer = enter(&room, 3, start, 9);
        assert!(greedy[0].closed.is_cancelled());
        for stays in [&colleague, &greedy[1], &greedy[2], &newcomer] {
            assert!(!stays.closed.is_cancelled());
        }
        // What has lost its place does nothing any more, and gives none back either.
        assert!(greedy[0].work().is_none());
        drop(greedy);
        let _two_more = [enter(&room, 1, start, 10), enter(&room, 1, start, 11)];
        assert!(!colleague.closed.is_cancelled());
    }

    #[test]
    fn what_is_at_work_stays_and_if_all_are_there_is_no_room() {
        let (room, start) = (Room::new(2), Instant::now());
        let busy = enter(&room, 1, start, 0);
        let work = busy.work().unwrap();
        let idle = enter(&room, 1, start, 1);
        let third = enter(&room, 1, start, 2);
        assert!(idle.closed.is_cancelled() && !busy.closed.is_cancelled());
        let _more = third.work().unwrap();
        assert!(room.enter(address(9), start).is_none());
        drop(work);
        assert!(room.enter(address(9), start).is_some());
        assert!(busy.closed.is_cancelled());
    }

    #[tokio::test]
    async fn who_waits_for_room_hears_of_it() {
        let (room, start) = (Room::new(1), Instant::now());
        let only = enter(&room, 1, start, 0);
        let work = only.work().unwrap();
        assert!(room.enter(address(2), start).is_none());
        drop(work);
        room.changed().await;
        drop(only);
        room.changed().await;
        assert!(room.enter(address(2), start).is_some());
    }
}
