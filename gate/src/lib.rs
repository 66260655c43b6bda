//! The gate of Sluice, and all that is pure around it: no client, no clock, no I/O.
//!
//! [`crd`] has the custom resources. A [`change`] is the difference between what an engine's pipeline would resume from and
//! what a spec asks for ([`content`], [`held_settings`]); [`lineage`] says which comes next, and a [`snapshot`] is the program
//! that a status keeps for people to compare with. [`votes`] come through doors, a [`decision`] is what they amount to, and
//! [`state`] is the only writer of what has become of a change. [`decide()`](decide::decide) makes of what is seen what is done next; the
//! [`driver`] carries out its plans by somebody else's hands, and has a [`memory`]. [`engine`] is what an engine shows, in
//! Sluice's own words. [`describe`] tells people of a change before they decide it.
//!
//! Operator, REST endpoint and plugin share it.

// Tests may look at a clock.
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod age;
pub mod canonical;
pub mod change;
pub mod content;
pub mod crd;
pub mod decide;
pub mod decision;
pub mod describe;
pub mod differing_settings;
pub mod driver;
pub mod engine;
pub mod held_settings;
mod impact;
pub mod lineage;
pub mod mark;
pub mod memory;
pub mod policy_status;
pub mod printable;
pub mod settings;
pub mod snapshot;
pub mod state;
mod summary;
pub mod text;
pub mod votes;
pub mod yaml;

pub use state::{AskedAgain, GateEvent, GaveWay, WentOn};
