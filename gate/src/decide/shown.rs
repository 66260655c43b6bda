//! What people read of it.

pub(crate) mod audit;
pub(crate) mod conditions;
pub(crate) mod names;
pub(crate) mod votes;
