//! Which calls there are to an engine.

/// A call to an engine, by what it does. The names are those of the metric `sluice_engine_calls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum EngineCall {
    /// Read the pipeline.
    Look,
    /// Create it.
    Create,
    /// Take it over.
    Adopt,
    /// Have it say whose it is.
    Mark,
    /// Ask what a program would change.
    Diff,
    /// Replace its content.
    Update,
    /// Have the same program compiled again.
    Recompile,
    /// Dismiss the error that its last run ended with.
    DismissError,
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Pause it.
    Pause,
    /// Resume it.
    Resume,
    /// Approve the change that waits.
    Approve,
    /// Ask for a checkpoint.
    Checkpoint,
    /// Clear its storage.
    Clear,
    /// Delete it.
    Delete,
    /// Have a program compiled as a pipeline of its own.
    Build,
    /// Read what the compiler says about that.
    LookAtBuild,
    /// Remove that pipeline again.
    DropBuild,
}

impl EngineCall {
    /// As logs and metrics have it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether it is about a program that is to come, and not about what runs.
    pub(super) fn is_beside_what_runs(self) -> bool {
        matches!(
            self,
            Self::Diff | Self::Build | Self::LookAtBuild | Self::DropBuild
        )
    }
}
