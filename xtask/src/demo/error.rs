//! Why the demo can't go on.

use std::io;

/// Why the demo can't go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {doing}: {source}")]
    Io { doing: String, source: io::Error },
    #[error(transparent)]
    ControlPlane(#[from] control_plane::Error),
    #[error("{0} isn't built: run `make demo`, or `cargo build --workspace --bins` before this")]
    NotBuilt(String),
    #[error("{name} ended at its start. The last lines of its log:\n{log}")]
    Ended { name: &'static str, log: String },
    #[error("`{command}` should have {expected}, and {seen}")]
    Command {
        command: String,
        expected: &'static str,
        seen: String,
    },
    #[error("expected: {expected}\nseen:     {seen}")]
    Unseen { expected: String, seen: String },
    /// What was expected and what was seen has been told.
    #[error("the demo did not show what it should")]
    NotSeen,
}

impl Error {
    /// For `map_err`; `doing` is read after "cannot".
    pub fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io {
            doing: doing.into(),
            source,
        }
    }
}
