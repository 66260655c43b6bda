//! Sluice: a Kubernetes operator for Feldera pipelines with a bootstrap approval gate.
//!
//! A [`crd::Pipeline`] says what should run. The [`controller`] observes the pipeline in its
//! engine, has decided what to do next, and records or acts. A changed program waits at the
//! engine's gate until its [change](gate::change) is approved through one of the doors that [`gate::decision`] knows;
//! the REST endpoint in [`api`] is one of them, and only writes a [`crd::PipelineApproval`].
//!
//! What is pure is a crate of its own, [`sluice_gate`], so Cargo keeps what is here out of it; [`guarded`] is how lists and watches are
//! read; [`policies`] looks whether the API server keeps voters' names honest; `api` never touches an engine; `engine` knows
//! nothing of Kubernetes.

#![deny(clippy::disallowed_methods)]

pub mod admin;
pub mod api;
pub mod check;
pub mod cluster;
pub mod config;
pub mod controller;
pub mod engine;
pub mod health;
pub mod lease;
pub mod metrics;
pub mod policies;
pub mod run;
pub mod shares;
pub mod telemetry;

pub use sluice_gate as gate;
pub use sluice_gate::{crd, mark, settings, text, yaml};
pub use sluice_guarded as guarded;
