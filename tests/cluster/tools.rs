//! Sluice beside other programs: Helm and the charts, kstatus, Prometheus, judges of the REST endpoint, and the pages
//! whose commands need Helm.
//!
//! Those take half an hour to build from empty caches, once per machine. `make test` leaves these tests out, by the
//! name of this module; `make test-all` has them. A test elsewhere in this program needs nothing but the control plane:
//! `xtask/src/run_tests/selection.rs` holds the sources to that.

mod api_keys;
mod chart;
mod dashboard;
mod judges;
mod kstatus;
mod pages;
mod waiting;
