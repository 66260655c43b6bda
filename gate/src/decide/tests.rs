//! The decision against an engine in memory: whole stories, tables of cases, and random histories.

mod audit;
mod blame;
mod clock;
mod duties;
mod emptied;
mod held;
mod long;
mod loss;
pub(super) mod model;
mod names;
mod nothing_kept;
mod origin;
mod ownership;
mod phases;
mod properties;
mod regressions;
mod released;
mod settings;
mod sluice_gate;
mod stops;
mod stories;
mod unread;
