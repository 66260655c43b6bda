//! The decision against an engine in memory: whole stories, tables of cases, and random histories.

mod model;
mod names;
mod properties;
mod regressions;
mod stories;
