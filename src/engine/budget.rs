//! How much memory the answers of engines may take, so that none takes it all.
//!
//! An engine decides what it answers and how long that is, and some of it is kept. There is so much for all of
//! them, and what is there is shared out by who they belong to: see [`Shares`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Error;
use crate::shares::Shares;

/// How many bytes of an answer are free, so that a short one can always be read.
const FREE: usize = 64 << 10;

/// The memory that there is for the answers of all engines.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Mutex<Shares<String>>>);

impl Budget {
    /// So many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(Shares::new(bytes))))
    }

    /// What belongs to somebody's engines is taken from their share.
    pub fn purse(&self, who: &str) -> Purse {
        Purse {
            budget: self.clone(),
            who: who.to_owned(),
        }
    }

    fn shares(&self) -> MutexGuard<'_, Shares<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From where an engine's answers take their memory.
#[derive(Clone, Debug)]
pub struct Purse {
    budget: Budget,
    who: String,
}

impl Purse {
    /// For an answer that is going to be read.
    pub fn portion(&self) -> Portion {
        Portion {
            purse: self.clone(),
            bytes: 0,
        }
    }
}

/// What one answer takes, until it is dropped.
#[derive(Debug)]
pub struct Portion {
    purse: Purse,
    /// Without those that are free.
    bytes: usize,
}

impl Portion {
    /// So many bytes are taken by now.
    ///
    /// # Errors
    /// When there isn't room for them: [`Error::Unavailable`].
    pub fn resize(&mut self, bytes: usize) -> Result<(), Error> {
        let bytes = bytes.saturating_sub(FREE);
        let Purse { budget, who } = &self.purse;
        let mut shares = budget.shares();
        if let Some(more) = bytes.checked_sub(self.bytes) {
            if more > 0 && !shares.has_room(who, more, 0) {
                return Err(Error::Unavailable {
                    message: format!(
                        "its answer has more than {} KiB, and what Sluice may hold of the answers of all engines is used up",
                        (self.bytes + FREE) >> 10
                    ),
                    code: String::new(),
                    retry_after: None,
                });
            }
            shares.take(who, more);
        } else {
            shares.give_back(who, self.bytes - bytes);
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        let Purse { budget, who } = &self.purse;
        budget.shares().give_back(who, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a20_one_tenants_long_answers_leave_room_for_anothers() {
        let budget = Budget::new(100 << 20);
        let (a, b) = (budget.purse("a"), budget.purse("b"));
        let mut long = vec![];
        for _ in 0..10 {
            let mut portion = a.portion();
            if portion.resize(10 << 20).is_ok() {
                long.push(portion);
            }
        }
        assert_eq!(long.len(), 5);
        let mut other = b.portion();
        other.resize(10 << 20).unwrap();
        // A short one can be read whatever others do, and a long one again once there is room.
        let mut short = a.portion();
        short.resize(FREE).unwrap();
        assert_eq!(
            short.resize(10 << 20).unwrap_err().kind().as_str(),
            "Unavailable"
        );
        long.clear();
        short.resize(10 << 20).unwrap();
        short.resize(0).unwrap();
        drop(short);
        drop(other);
        assert!(budget.shares().is_idle());
    }
}
