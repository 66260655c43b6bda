//! What can go wrong, in sentences that say what to do about it.

use std::io;
use std::path::PathBuf;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong when a control plane is prepared, started, used or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something with a file or a process failed.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was tried, to be read after "cannot".
        doing: String,
        /// What the operating system answered.
        source: io::Error,
    },

    /// A program has to be built, and there is no usable Go.
    #[error(
        "{program} has to be built from source, but {problem}. Install Go {needed} or newer \
         (https://go.dev/dl), or {otherwise}"
    )]
    NoGo {
        /// The program that is missing.
        program: String,
        /// What is wrong with the Go of this machine.
        problem: String,
        /// The oldest Go that builds it.
        needed: String,
        /// How to do without Go.
        otherwise: String,
    },

    /// A program that others need could not be made.
    #[error("building {program} failed ({status}). The last lines of `{tool}`:\n{log}\n{hint}")]
    Build {
        /// The program that should have come out.
        program: String,
        /// How the tool ended.
        status: String,
        /// The tool that should have made it.
        tool: String,
        /// Its last lines.
        log: String,
        /// What may help.
        hint: String,
    },

    /// A former release isn't to be had from this checkout.
    #[error("{0}")]
    NoSuchRelease(String),

    /// One of the programs ended before the control plane was ready.
    #[error(
        "{component} ended ({status}) before the control plane was ready. The last lines of its log:\n{log}"
    )]
    Died {
        /// Which one.
        component: String,
        /// How it ended.
        status: String,
        /// The last lines of its log.
        log: String,
    },

    /// The control plane did not become ready in time.
    #[error("{what} after {seconds} s. The last lines of the log of {component}:\n{log}")]
    NotReady {
        /// What was waited for, and did not come.
        what: String,
        /// How long it was waited for.
        seconds: u64,
        /// Whose log is shown.
        component: String,
        /// The last lines of that log.
        log: String,
    },

    /// The folder holds things that this crate did not put there, so it will neither use nor remove it.
    #[error("{} is not empty and holds no control plane: choose another folder, or empty this one", .0.display())]
    ForeignFolder(PathBuf),

    /// There is no control plane in the folder.
    #[error("there is no control plane in {}: start one with `cargo xtask control-plane up`", .0.display())]
    NotThere(PathBuf),

    /// What is written down about the control plane cannot be read.
    #[error("cannot understand {}: {problem}. It was written by another version of this program: end its processes and remove the folder", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// The control plane belongs to another process, which alone may stop it or a part of it.
    #[error("the control plane in {} belongs to process {owner}, which is still running: only that process may stop or restart it or parts of it", dir.display())]
    NotOwner {
        /// The folder of the control plane.
        dir: PathBuf,
        /// The process that started it.
        owner: u32,
    },

    /// No such user.
    #[error("the control plane has no user {0:?}: name those that you need in `Options::users`")]
    UnknownUser(String),

    /// A user that the API server's token file cannot hold.
    #[error("{0:?} cannot be a user or group: use letters, digits and any of . _ : @ / -")]
    UnusableName(String),

    /// The API server refused something that this crate asked of it.
    #[error("the API server refused to {doing} (HTTP {status}): {answer}")]
    Refused {
        /// What was asked.
        doing: String,
        /// The status code.
        status: u16,
        /// The body of the answer.
        answer: String,
    },

    /// A certificate or key could not be made.
    #[error("cannot make the certificates of the control plane: {0}")]
    Certificates(String),
}

impl Error {
    /// An [`Error::Io`] for use with `map_err`: `Error::io(|| format!("read {path}"))`.
    pub(crate) fn io(doing: impl FnOnce() -> String) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io {
            doing: doing(),
            source,
        }
    }
}
