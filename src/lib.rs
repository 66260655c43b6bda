//! Sluice: a Kubernetes operator for Feldera pipelines with a bootstrap approval gate.
//!
//! A [`crd::Pipeline`] says what should run. The [`controller`] observes the pipeline in its
//! engine, decides purely what to do next, and records or acts. A changed program waits at the
//! engine's gate until its [`change`] is approved through one of the doors that [`approval`] knows;
//! the REST endpoint in [`api`] is one of them, and only writes a [`crd::PipelineApproval`].
//!
//! Dependencies go one way: `crd`, `change`, `chain`, `content`, `kept`, `mark`, `settings`, `shares`, `text`, `approval`,
//! `votes`, `gate` and `controller::decide` know no client;
//! [`guarded`] is how lists and watches are read; [`policies`] looks whether the API server keeps voters' names honest;
//! `api` never touches an engine; `engine` knows nothing of Kubernetes.

#![deny(clippy::disallowed_methods)]

pub mod admin;
pub mod api;
pub mod check;
pub mod cluster;
pub mod config;
pub mod controller;
pub mod crd;
pub mod engine;
pub mod gate;
pub mod guarded;
pub mod health;
pub mod lease;
pub mod mark;
pub mod metrics;
pub mod policies;
pub mod run;
pub mod settings;
pub mod shares;
pub mod telemetry;
pub mod text;
pub mod yaml;
