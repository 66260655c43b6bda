//! From what is seen to what is done next. Pure: no client, no clock, no I/O.
//!
//! A [`Plan`] either *records* (a new status; the caller writes it and asks again) or *acts* (one
//! engine call under a [`Guard`], a comparison with a read made just before), never both. So
//! whatever is done has its intent in status first, and after a crash the engine is looked at
//! before anything is repeated. Asked again with the same input and the recorded status, the
//! answer never is to record again.
//!
//! The steps stand in [`decide()`], and each is a folder that knows only those before it (`tests/layers.rs` holds them to
//! it):
//!
//! 1. [`Input`] is all that is known, and `facts` what follows from it alone;
//! 2. `happened` writes down what has happened in a `Record`: the next status, and what is told of it;
//! 3. `holds` are the reasons for which a content isn't brought to the engine;
//! 4. `shown` is what people read; it is said while the next step decides, and rendered once;
//! 5. `next` chooses the one call to make, if there is one, and writes down what is intended;
//! 6. `plan` puts recording before acting.

mod act;
pub mod bounds;
pub mod deletion;
mod engine_call;
mod event_reason;
mod facts;
mod guard;
mod happened;
pub mod history;
mod holds;
mod input;
mod needs;
mod news;
mod next;
mod outcome;
mod plan;
mod reason;
mod record;
mod report;
mod shown;

#[cfg(test)]
mod tests;

use std::time::Duration;

use next::Next;
use record::Record;

pub use act::Act;
pub use engine_call::EngineCall;
pub use event_reason::EventReason;
pub use guard::{AT_THE_GATE, Guard};
pub use happened::build::{build_tag, is_build, is_of, is_own_build};
pub use happened::ownership::is_owned;
pub use input::{CheckpointStatusSeen, Input, Observation, Seen, Timing};
pub use needs::Needs;
pub use outcome::{Asked, CallOutcome, LastCall, remembered};
pub use plan::{Plan, Step};
pub use reason::{ApprovedReason, CONDITION_TYPES, Reason};
pub use report::Report;
pub use shown::audit::AuditEvent;

/// How often a Pipeline looks whether the older one with the same claim is gone.
const RIVAL_INTERVAL: Duration = Duration::from_secs(30);

/// Decides.
pub fn decide(input: &Input) -> Plan {
    let mut record = Record::taken_up(input);
    let failed = record.take_in_the_last_call();
    let mut next = Next::after(record);
    if let Some((info, seen)) = next.pipeline_to_work_on() {
        let seen = next.record.take_in_the_pipeline(info, seen);
        next.choose(info, &seen);
    }
    let (mut record, act) = next.unless_held_back(failed);
    record.audit();
    plan::finish(record, act)
}
