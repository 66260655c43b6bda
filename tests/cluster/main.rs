//! Tests on a real API server: see `support`; those of the operator's work: see `story`.

mod attacks;
mod audit;
mod crds;
mod engine_faults;
mod everyday;
mod foreign_status;
mod gate;
mod lifecycle;
mod long;
mod losses;
mod plan;
mod plugin;
mod policy;
mod replicas;
mod rest;
mod sluice_gate;
mod stamped;
mod tools;
mod traces;
mod votes;
