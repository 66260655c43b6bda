//! What has to be read live before a step is taken, since what was heard of it lags behind.

/// What a step needs; and likewise what has been read live, and holds still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// How the admission policies stand: what they vouched for when they were looked at last isn't known to hold now.
    pub policies: bool,
    /// The votes: a rejection that the watch hasn't brought yet must still be heard.
    pub votes: bool,
    /// The object: nothing is called because of what somebody, or this process, has changed since.
    pub object: bool,
    /// The engine's pipeline, in the same moment as the votes.
    pub engine: bool,
    /// The finalizer on the object: what is made at the engine beside the pipeline must not be left behind.
    pub finalizer: bool,
}

impl Needs {
    /// What of this isn't in the other.
    #[must_use]
    pub fn beyond(self, fresh: Self) -> Self {
        Self {
            policies: self.policies && !fresh.policies,
            votes: self.votes && !fresh.votes,
            object: self.object && !fresh.object,
            engine: self.engine && !fresh.engine,
            finalizer: self.finalizer && !fresh.finalizer,
        }
    }

    /// What is in either.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            policies: self.policies || other.policies,
            votes: self.votes || other.votes,
            object: self.object || other.object,
            engine: self.engine || other.engine,
            finalizer: self.finalizer || other.finalizer,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}
