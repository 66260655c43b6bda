//! The REST endpoint against an API server that is made up.

mod api_keys;
mod approve;
mod connections;
mod document;
mod fake;
mod limits;
mod log;
mod requests;
mod tls;
