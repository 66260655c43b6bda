//! What Sluice relies on in an engine, as cases that are run against any: the stand-in, or a real
//! Feldera (0.305 and newer, either edition).
//!
//! A [`case::Case`] says what is expected, does something, and says what was seen and whether that is
//! what was expected. Cases come in [`chapters`], each the life of one pipeline, so that a real
//! engine, which compiles for minutes, compiles as little as possible. [`run`] goes through them,
//! [`report`] prints what came of it.

pub mod answer;
pub mod arguments;
pub mod case;
pub mod chapters;
pub mod engine;
pub mod programs;
pub mod report;
pub mod run;
pub mod stage;
