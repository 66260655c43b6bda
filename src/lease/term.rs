//! Whose turn it is. Pure: no client, no clock.

use std::time::{Duration, Instant};

/// What a Lease was seen to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Who holds it.
    pub holder: Option<String>,
    /// How long it keeps others away after its holder has last written it.
    pub duration: Duration,
    /// When it was first seen to say so, by the watcher's own clock: at the earliest when it was
    /// written.
    pub since: Instant,
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
pub fn next(seen: Option<&Seen>, identity: &str, now: Instant) -> Next {
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

    fn held(holder: Option<&str>, since: Instant) -> Seen {
        Seen {
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
            let mut seen: [Option<(u64, Seen)>; 2] = [None, None];
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
