//! The approval gate, as far as it is pure: what a change can be in, and what leads from one state to the next. The controller,
//! the REST endpoint and the plugin share it.

pub mod state;

pub use state::GateEvent;
