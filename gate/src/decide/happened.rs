//! What has happened, as it is written down.

pub(crate) mod base;
pub(crate) mod build;
pub(crate) mod call;
pub(crate) mod checkpoint;
pub(crate) mod clock;
pub(crate) mod emptied;
pub(crate) mod failures;
pub(crate) mod gate_only;
pub(crate) mod interference;
pub(crate) mod let_through;
pub(crate) mod loss;
pub(crate) mod mark;
pub(crate) mod names;
pub(crate) mod older_release;
pub(crate) mod ownership;
pub(crate) mod past_gate;
pub(crate) mod question;
pub(crate) mod refused;
pub(crate) mod restart;
pub(crate) mod run;
pub(crate) mod settled;
pub(crate) mod stops;
pub(crate) mod told;
pub(crate) mod view;
pub(crate) mod votes;
pub(crate) mod words_of_failure;
