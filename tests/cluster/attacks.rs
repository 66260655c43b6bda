//! Attacks on the gate, each a test of its own, on a real API server. `docs/security.md` lists them, with those
//! that stand elsewhere, and what each role reaches.
//!
//! - [`borrowed`]: rights that Sluice has and the person hasn't
//! - [`collector`]: deleting by the hands of the garbage collector
//! - [`elsewhere`]: from another namespace
//! - [`names`]: whose vote is it, and on what?
//! - [`proof`]: what would keep the operator from seeing that the policies are in force
//! - [`taking_over`]: who may take over what the engine already has
//! - [`unfit`]: objects that no type of ours has room for
//! - [`washing`]: changes that come through beside the gate
//! - [`ways`]: the ways of writing an object
//! - [`roles`]: what each role reaches
//! - [`words`]: what people and engines write; what changes under a decision; storms
//! - [`strict`]: an operator that requires the policies, while they are there, and while they aren't

mod borrowed;
mod collector;
mod elsewhere;
mod names;
mod proof;
mod roles;
mod scene;
mod strict;
mod taking_over;
mod unfit;
mod washing;
mod ways;
mod words;
