//! A faithful stand-in for the REST API of a Feldera manager (0.337), for tests.
//!
//! It keeps the whole state machine of pipelines, with all that is unsafe about the bootstrap
//! approval gate, but runs no queries: rows are counted, not computed. See the README for what
//! it is and what it isn't.

pub mod call_log;
pub mod compiler;
pub mod config;
pub mod diff;
pub mod error;
pub mod faults;
pub mod manager;
pub mod process;
pub mod server;
pub mod store;

use sha2::{Digest, Sha256};

/// SHA-256 in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}
