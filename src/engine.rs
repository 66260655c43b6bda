//! The engine's client. What it shows, in Sluice's own words, stands in [`sluice_gate::engine`]; nothing here knows of Kubernetes.
//!
//! [`feldera`] speaks to a real one, [`wire`] holds the shapes of its JSON, [`identity`] is who answers, [`budget`] says how much
//! memory answers may take, and [`poller`] keeps the state of all of an engine's pipelines with one request per tick.

pub mod budget;
pub mod feldera;
pub mod identity;
pub mod poller;
pub mod wire;

pub use feldera::Feldera;
pub use sluice_gate::engine::*;
