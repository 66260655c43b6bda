//! Whose turn it is. Pure: no client, no clock.

use std::time::{Duration, Instant};

/// What a Lease was seen to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderSeen {
    /// Who holds it.
    pub holder: Option<String>,
    /// How long it keeps others away after its holder has last written it.
    pub duration: Duration,
    /// When it was first seen to say so, by the watcher's own clock: at the earliest when it was
    /// written.
    pub since: Instant,
}

/// What a Lease says that has changed since it was last looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Who holds it.
    pub holder: Option<String>,
    /// How long it is to keep others away.
    pub duration: Duration,
    /// Whether this replica has written that itself.
    pub own: bool,
}

/// How long a Lease keeps others away at most, unless they are set to more themselves. Somebody can write 68
/// years into it.
pub const LONGEST: Duration = Duration::from_secs(600);

/// What is to be made of a Lease that has changed; `None` found if it is gone, and `None` made of it if nobody
/// can be acting. `duration` is what this replica itself is set to.
pub fn seen(
    before: Option<HolderSeen>,
    found: Option<Found>,
    identity: &str,
    duration: Duration,
    now: Instant,
) -> Option<HolderSeen> {
    let Some(found) = found else {
        // Whoever held it doesn't know yet that it is gone, and acts until he does.
        let others = before.filter(|before| {
            let holder = before.holder.as_deref();
            holder.is_some_and(|holder| holder != identity)
        });
        return others.map(|others| HolderSeen {
            since: now,
            ..others
        });
    };
    let mut holder = found.holder;
    if holder.as_deref() == Some(identity) && !found.own {
        // It names this replica, which hasn't written it: so somebody has put it there, and another may act.
        holder = Some(format!("{identity} (by somebody else's hand)"));
    }
    Some(HolderSeen {
        holder,
        // A shorter one than one's own may have been written there by somebody else than the holder.
        duration: found.duration.clamp(duration, duration.max(LONGEST)),
        since: now,
    })
}

/// What a replica does next about a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It takes it: nobody holds it, or whoever did has not renewed it for its duration.
    Take,
    /// It renews it.
    Renew,
    /// It waits: somebody else holds it.
    Wait,
}

/// What a replica does next about a Lease that says this; `None` if there is none yet.
pub fn next(seen: Option<&HolderSeen>, identity: &str, now: Instant) -> Next {
    let Some(seen) = seen else { return Next::Take };
    match &seen.holder {
        None => Next::Take,
        Some(holder) if holder == identity => Next::Renew,
        Some(_) if now.duration_since(seen.since) > seen.duration => Next::Take,
        Some(_) => Next::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn held(holder: Option<&str>, since: Instant) -> HolderSeen {
        HolderSeen {
            holder: holder.map(str::to_owned),
            duration: Duration::from_secs(15),
            since,
        }
    }

    #[test]
    fn a_lease_is_taken_only_when_nobody_renews_it() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let other = held(Some("b"), start);
        for (seen, now, expected) in [
            (None, start, Next::Take),
            (Some(held(None, start)), start, Next::Take),
            (Some(held(Some("a"), start)), after(0), Next::Renew),
            (Some(held(Some("a"), start)), after(99), Next::Renew),
            (Some(other.clone()), after(0), Next::Wait),
            (Some(other.clone()), after(15), Next::Wait),
            (Some(other), after(16), Next::Take),
        ] {
            assert_eq!(next(seen.as_ref(), "a", now), expected, "{seen:?}");
        }
    }

    fn found(holder: Option<&str>, seconds: u64, own: bool) -> Option<Found> {
        Some(Found {
            holder: holder.map(str::to_owned),
            duration: Duration::from_secs(seconds),
            own,
        })
    }

    #[test]
    fn no_edit_of_the_lease_lets_a_second_one_begin_before_the_first_has_ended_or_locks_all_out() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let own = Duration::from_secs(15);
        let wait_for = |before: Option<HolderSeen>, found: Option<Found>| {
            let seen = seen(before, found, "a", own, after(100));
            let waits = |seconds: u64| next(seen.as_ref(), "a", after(100 + seconds)) == Next::Wait;
            (0..=601u64).find(|seconds| !waits(*seconds))
        };
        let other = || Some(held(Some("b"), start));
        for (before, found, seconds) in [
            // It is deleted.
            (other(), None, 16),
            (None, None, 0),
            (Some(held(Some("a"), start)), None, 0),
            // It is made to name who stands by.
            (other(), found(Some("a"), 15, false), 16),
            (None, found(Some("a"), 15, false), 16),
            (other(), found(Some("a"), 15, true), 0),
            // It is made to last for a moment, or for 68 years.
            (other(), found(Some("b"), 1, false), 16),
            (other(), found(Some("mallory"), 2_147_483_647, false), 601),
            // It is given up.
            (other(), found(None, 1, false), 0),
        ] {
            let case = format!("{before:?} {found:?}");
            assert_eq!(wait_for(before, found), Some(seconds), "{case}");
        }
        // Who is set to more than that keeps to it, in both directions.
        let long = LONGEST * 2;
        let kept = seen(None, found(Some("b"), 1, false), "a", long, start);
        assert_eq!(kept.map(|seen| seen.duration), Some(long));
    }

    /// Two replicas whose looks and renewals interleave at random, each of which may be paused at
    /// any time: whatever happens, they never both may act.
    #[derive(Clone, Debug)]
    enum Move {
        Pass(u64),
        Look(usize),
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            (1..9_000u64).prop_map(Move::Pass),
            (0..2usize).prop_map(Move::Look)
        ];
        proptest::collection::vec(one, 1..60)
    }

    proptest! {
        #[test]
        fn two_replicas_never_act_at_the_same_time(moves in moves()) {
            const DURATION: Duration = Duration::from_secs(15);
            let term = DURATION * 2 / 3;
            let start = Instant::now();
            let mut now = start;
            // What is stored: who holds it, and its version.
            let mut stored: (Option<usize>, u64) = (None, 0);
            let mut seen: [Option<(u64, HolderSeen)>; 2] = [None, None];
            let mut may_act_until = [start, start];
            let names = ["a", "b"];
            for step in moves {
                match step {
                    Move::Pass(millis) => now += Duration::from_millis(millis),
                    Move::Look(who) => {
                        if seen[who].as_ref().map(|(version, _)| *version) != Some(stored.1) {
                            let holder = stored.0.map(|holder| names[holder]);
                            seen[who] = Some((stored.1, held(holder, now)));
                        }
                        let known = seen[who].as_ref().map(|(_, seen)| seen);
                        match next(known, names[who], now) {
                            Next::Wait => may_act_until[who] = start,
                            Next::Take | Next::Renew => {
                                stored = (Some(who), stored.1 + 1);
                                seen[who] = Some((stored.1, held(Some(names[who]), now)));
                                may_act_until[who] = now + term;
                            }
                        }
                    }
                }
                prop_assert!(!(may_act_until[0] > now && may_act_until[1] > now));
            }
        }
    }
}
