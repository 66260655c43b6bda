//! What there is only so much of, shared out so that nobody can take it all. Pure.

use std::collections::HashMap;
use std::hash::Hash;

/// An amount of something, and who holds how much of it.
///
/// Nobody gets more if they held more than is left for all others then, except that whoever holds nothing
/// may have what is left. So one who takes all they can get leaves half, a second one a quarter, and so on:
/// a newcomer is never kept out by one or two, and nothing has to be set aside for who may never come.
#[derive(Debug)]
pub struct Shares<K> {
    all: usize,
    taken: usize,
    by: HashMap<K, usize>,
}

impl<K: Hash + Eq + Clone> Shares<K> {
    /// So much to be shared out.
    pub fn new(all: usize) -> Self {
        Self {
            all,
            taken: 0,
            by: HashMap::new(),
        }
    }

    /// How much somebody holds.
    pub fn held(&self, who: &K) -> usize {
        self.by.get(who).copied().unwrap_or_default()
    }

    /// Whether nobody holds anything.
    pub fn is_idle(&self) -> bool {
        self.taken == 0
    }

    /// Whether there is nothing left for anybody, but for what is spared.
    pub fn is_used_up(&self, spared: usize) -> bool {
        self.taken + spared >= self.all
    }

    /// Whether somebody may have so much more, if so much is spared for what is more urgent.
    pub fn has_room(&self, who: &K, more: usize, spared: usize) -> bool {
        let held = self.held(who);
        let Some(left) = self.all.checked_sub(self.taken + more + spared) else {
            return false;
        };
        held == 0 || held + more <= left
    }

    /// Somebody has so much more from now on, whether there was room or not.
    pub fn take(&mut self, who: &K, more: usize) {
        self.taken += more;
        *self.by.entry(who.clone()).or_default() += more;
    }

    /// Somebody gives so much back.
    pub fn give_back(&mut self, who: &K, amount: usize) {
        let Some(held) = self.by.get_mut(who) else {
            return;
        };
        let amount = amount.min(*held);
        *held -= amount;
        self.taken -= amount;
        if *held == 0 {
            self.by.remove(who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn take_all_one_can_get(shares: &mut Shares<u8>, who: u8) -> usize {
        while shares.has_room(&who, 1, 0) {
            shares.take(&who, 1);
        }
        shares.held(&who)
    }

    #[test]
    fn whoever_takes_all_they_can_get_leaves_half_to_others() {
        let mut shares = Shares::new(32);
        assert_eq!(take_all_one_can_get(&mut shares, 1), 16);
        assert_eq!(take_all_one_can_get(&mut shares, 2), 8);
        assert_eq!(take_all_one_can_get(&mut shares, 3), 4);
        shares.give_back(&1, 16);
        assert_eq!(take_all_one_can_get(&mut shares, 4), 10);
        let mut one = Shares::new(1);
        assert_eq!(take_all_one_can_get(&mut one, 1), 1);
        assert_eq!(take_all_one_can_get(&mut one, 2), 0);
    }

    #[test]
    fn what_is_spared_is_there_for_what_is_urgent() {
        let mut shares = Shares::new(8);
        for who in 0..8 {
            if shares.has_room(&who, 1, 2) {
                shares.take(&who, 1);
            }
        }
        assert!(!shares.has_room(&9, 1, 2));
        assert!(shares.has_room(&9, 1, 0));
    }

    proptest! {
        #[test]
        fn no_more_is_given_than_there_is_and_one_alone_never_keeps_another_out(
            deeds in prop::collection::vec((0u8..4, 1usize..6, any::<bool>()), 0..200),
        ) {
            let mut shares = Shares::new(40);
            for (who, amount, takes) in deeds {
                if takes && shares.has_room(&who, amount, 0) {
                    shares.take(&who, amount);
                } else if !takes {
                    shares.give_back(&who, amount);
                }
                prop_assert!((0..4).map(|who| shares.held(&who)).sum::<usize>() <= 40);
            }
            for who in 0..4 {
                if who != 1 {
                    shares.give_back(&who, 40);
                }
            }
            take_all_one_can_get(&mut shares, 1);
            prop_assert!(shares.held(&1) <= 20);
            prop_assert!(shares.has_room(&2, 5, 0));
        }
    }
}
