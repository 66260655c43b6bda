//! Tests on a real API server: see `support`; those of the operator's work: see `story`.

mod attacks;
mod audit;
mod chart;
mod crds;
mod dashboard;
mod engine_faults;
mod everyday;
mod gate;
mod kstatus;
mod lifecycle;
mod operator;
mod own_gate;
mod pages;
mod permissions;
mod plan;
mod plugin;
mod policy;
mod port;
mod replicas;
mod rest;
mod stand_in;
mod story;
mod support;
mod tied;
mod traces;
mod waiting;
