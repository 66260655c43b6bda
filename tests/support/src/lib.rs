//! What the tests share that run Sluice's programs on a real API server: a [`cluster`] and what stands in it, an [`operator`], a
//! [`stand_in`] of the engine, a [`story`] with one Pipeline in it, and [`pages`] whose commands are typed.

pub mod cluster;
pub mod operator;
pub mod pages;
pub mod port;
pub mod programs;
mod recording;
pub mod stand_in;
pub mod story;
pub mod tied;
pub mod trials;
