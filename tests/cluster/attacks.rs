//! Attacks on the gate, each a test of its own, on a real API server. `docs/security.md` lists them, with those
//! that stand elsewhere, and what each role reaches.
//!
//! - [`elsewhere`]: from another namespace
//! - [`names`]: whose vote is it, and on what?
//! - [`ways`]: the ways of writing an object
//! - [`roles`]: what each role reaches
//! - [`words`]: what people and engines write; what changes under a decision; storms
//! - [`strict`]: an operator that requires the policies, while they are there, and while they aren't

mod elsewhere;
mod names;
mod roles;
mod scene;
mod strict;

mod ways;
mod words;
