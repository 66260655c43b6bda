//! The calls of the engine that can be decided on.

use super::EngineCall;
use crate::change::Content;
use crate::crd::BootstrapOptions;
use crate::engine::StartOptions;

/// One engine call.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Read the pipeline in full: what is known isn't enough to decide.
    Look,
    /// Create the pipeline, with tags that say whose it is.
    Create {
        /// The tags.
        tags: Vec<String>,
        /// What it consists of.
        content: Content,
    },
    /// Take over a pipeline that was there before, by its tags.
    Adopt {
        /// All tags that it is to have.
        tags: Vec<String>,
    },
    /// Have the pipeline say whose it is, and what is settled, by its tags.
    Mark {
        /// All tags that it is to have.
        tags: Vec<String>,
        /// The digest of those that are Sluice's.
        digest: String,
    },
    /// Ask what would change.
    Preview(Content),
    /// Replace the content of a stopped pipeline.
    Update(Content),
    /// Have the same program compiled again.
    Recompile(Content),
    /// Dismiss the error that the last run ended with.
    DismissError,
    /// Start.
    Start(StartOptions),
    /// Stop, with a checkpoint or at once.
    Stop {
        /// At once, without a checkpoint.
        force: bool,
    },
    /// Pause.
    Pause,
    /// Resume.
    Resume,
    /// Approve the change that waits.
    Approve(BootstrapOptions),
    /// Ask for a checkpoint.
    Checkpoint,
    /// Clear the storage of a stopped pipeline.
    Clear,
    /// Have a changed program compiled, as a pipeline of its own.
    Build {
        /// The name of that pipeline.
        name: String,
        /// The tag that says what it is for.
        tag: String,
        /// What is compiled.
        content: Content,
    },
    /// Read what the compiler says about it.
    LookAtBuild {
        /// The name of that pipeline.
        name: String,
        /// Its id.
        id: String,
        /// What is compiled.
        content: Content,
    },
    /// Remove that pipeline again.
    DropBuild {
        /// Its name.
        name: String,
        /// Its id, if that is known.
        id: Option<String>,
    },
}

impl Act {
    /// Which call it is.
    pub fn call(&self) -> EngineCall {
        match self {
            Self::Look => EngineCall::Look,
            Self::Create { .. } => EngineCall::Create,
            Self::Adopt { .. } => EngineCall::Adopt,
            Self::Mark { .. } => EngineCall::Mark,
            Self::Preview(_) => EngineCall::Diff,
            Self::Update(_) => EngineCall::Update,
            Self::Recompile(_) => EngineCall::Recompile,
            Self::DismissError => EngineCall::DismissError,
            Self::Start(_) => EngineCall::Start,
            Self::Stop { .. } => EngineCall::Stop,
            Self::Pause => EngineCall::Pause,
            Self::Resume => EngineCall::Resume,
            Self::Approve(_) => EngineCall::Approve,
            Self::Checkpoint => EngineCall::Checkpoint,
            Self::Clear => EngineCall::Clear,
            Self::Build { .. } => EngineCall::Build,
            Self::LookAtBuild { .. } => EngineCall::LookAtBuild,
            Self::DropBuild { .. } => EngineCall::DropBuild,
        }
    }
}
