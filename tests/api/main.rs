//! The REST endpoint against an API server that is made up.

mod approve;
mod connections;
mod document;
mod fake;
mod requests;
