//! The approval gate, as far as it is pure: what a change is, what can happen to it, what votes are and what they amount to. The
//! controller, the REST endpoint and the plugin share it, and nothing here knows a client.

pub mod change;
pub mod content;
pub mod decision;
pub mod differing_settings;
pub mod held_settings;
pub mod lineage;
pub mod snapshot;
pub mod state;
pub mod votes;

pub use state::GateEvent;
