//! What people are told of.

use super::EventReason;

/// Something that people should hear of: an Event, and a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether it needs attention.
    pub warning: bool,
    /// One of a short fixed list.
    pub reason: EventReason,
    /// The change that it names, if it names one.
    pub change_id: Option<String>,
    /// What happened.
    pub message: String,
}
