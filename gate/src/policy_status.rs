//! Whether the names beside votes can be believed. Pure.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

/// How long each API server takes at most to go by a policy that it has just been given.
const SETTLES: Duration = Duration::from_secs(5);

/// By how much a time of an object may be too early: it has whole seconds.
const WHOLE_SECONDS: Duration = Duration::from_secs(1);

/// From which time on what bears that time was admitted by policies that say what they say since a time. Before, an API server
/// may have let it through that didn't go by them yet.
pub fn vouched_from(since: Timestamp) -> Timestamp {
    since
        .saturating_add(SETTLES + WHOLE_SECONDS)
        .unwrap_or(Timestamp::MAX)
}

/// What is known of the admission policies, and what depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Whether a vote whose name isn't vouched for must not count.
    pub required: bool,
    /// The policies that vouch for the names beside votes in fields and annotations of a Pipeline.
    pub pipelines: Standing,
    /// The policies that vouch for the names in PipelineApprovals.
    pub votes: Standing,
}

/// How some policies stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It isn't known, or not yet: why.
    Unknown(String),
    /// They are in force.
    InForce {
        /// Which ones: another epoch means that they were replaced or edited in between.
        epoch: String,
        /// Since when they are as they are.
        since: Timestamp,
    },
    /// They aren't in force: why.
    Absent(String),
}

impl Standing {
    /// Since when they are in force; `None` if they aren't, or if it isn't known.
    pub fn since(&self) -> Option<Timestamp> {
        match self {
            Self::InForce { since, .. } => Some(*since),
            _ => None,
        }
    }

    /// Why names can't be believed now; `None` if they can.
    pub fn why_not(&self) -> Option<&str> {
        match self {
            Self::InForce { .. } => None,
            Self::Unknown(why) | Self::Absent(why) => Some(why),
        }
    }
}

impl Trust {
    /// Whether all of them are in force.
    pub fn all_good(&self) -> bool {
        [&self.pipelines, &self.votes]
            .into_iter()
            .all(|standing| matches!(standing, Standing::InForce { .. }))
    }

    /// Whether anything depends on it: a vote that must not count, or a name that is shown as verified.
    pub fn matters(&self) -> bool {
        self.required || self.pipelines.since().is_some() || self.votes.since().is_some()
    }

    /// Nothing is known yet.
    pub fn unknown(required: bool) -> Self {
        let not_yet = || Standing::Unknown("the admission policies are being looked at".to_owned());
        Self {
            required,
            pipelines: not_yet(),
            votes: not_yet(),
        }
    }
}
