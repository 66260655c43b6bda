//! From what is seen to what is done next. Pure: no client, no clock, no I/O.
//!
//! A [`Plan`] either *records* (a new status; the caller writes it and asks again) or *acts* (one
//! engine call under a [`Guard`], a comparison with a read made just before), never both. So
//! whatever is done has its intent in status first, and after a crash the engine is looked at
//! before anything is repeated. Asked again with the same input and the recorded status, the
//! answer never is to record again.
//!
//! The steps stand in [`Decider::run`]; each has a file of its own.

pub mod bounds;
pub mod deletion;
mod engine_call;
mod event_reason;
mod facts;
mod happened;
pub mod history;
mod holds;
mod input;
mod needs;
mod next;
mod plan;
mod record;
mod shown;

#[cfg(test)]
mod tests;

use std::time::Duration;

use next::Next;
use next::live::BEFORE_THE_GATE;
use record::Record;

pub use engine_call::EngineCall;
pub use event_reason::EventReason;
pub use happened::build::{build_tag, is_build, is_of, is_own_build};
pub use happened::ownership::is_owned;
pub use happened::question::AT_THE_GATE;
pub use input::{CheckpointStatusSeen, Input, Observation, Seen, Timing};
pub use needs::Needs;
pub use plan::{Act, Asked, Guard, LastCall, Outcome, Plan, Report, Step, remembered};
pub use shown::audit::AuditEvent;
pub use shown::conditions::{ApprovedReason, CONDITION_TYPES, Reason};

/// How often a Pipeline looks whether the older one with the same claim is gone.
const RIVAL_INTERVAL: Duration = Duration::from_secs(30);

/// Decides.
pub fn decide(input: &Input) -> Plan {
    Next::after(Record::taken_up(input)).run()
}
