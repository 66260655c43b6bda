//! TODO

pub(crate) mod immutable;

use immutable::cannot_change;

use crate::change::Content;
use crate::crd::{BootstrapPolicy, BuildOutcome, Preview, PreviewOutcome, Target};
use crate::decide::record::Record;
use crate::decide::{Observation, Reason};
use crate::engine::{EngineInfo, PipelineState};

/// Why the spec's content isn't brought to the engine.
pub(crate) struct Hold {
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

impl Record<'_> {
    /// Why what runs must go on instead of a program that was compiled beforehand.
    pub(crate) fn build_forbids(&self, target: &Target) -> Option<Hold> {
        let build = self.status.build.as_ref()?;
        let failed = build.target == *target && build.outcome == Some(BuildOutcome::Failed);
        failed.then(|| Hold {
            reason: Reason::CompileFailed,
            message: format!(
                "the new program doesn't compile, and the old one goes on: {}",
                build.message.clone().unwrap_or_default()
            ),
        })
    }

    /// Why what runs must go on instead of the new content, by the engine's own word.
    pub(crate) fn preview_forbids(&self, held: &Target, target: &Target) -> Option<Hold> {
        let preview = self.preview_of(target).filter(|_| held != target);
        let message = |preview: &Preview| preview.message.clone().unwrap_or_default();
        match preview {
            Some(preview) if preview.outcome == PreviewOutcome::CompileError => Some(Hold {
                reason: Reason::CompileFailed,
                message: format!(
                    "the new program doesn't compile, and the old one goes on: {}",
                    message(preview)
                ),
            }),
            Some(preview) if preview.outcome == PreviewOutcome::Refused => Some(Hold {
                reason: Reason::BootstrapRefused,
                message: format!(
                    "the engine can't bootstrap the new program from what runs, and the old one goes on: {}",
                    message(preview)
                ),
            }),
            Some(preview)
                if preview.outcome == PreviewOutcome::Gated
                    && self.input.pipeline.spec.bootstrap_policy == BootstrapPolicy::Reject =>
            {
                Some(Hold {
                    reason: Reason::ChangeRefused,
                    message: format!(
                        "bootstrapPolicy is reject, and the old program goes on; refused: {}",
                        preview.summary.clone().unwrap_or_default()
                    ),
                })
            }
            // The gate may show once what runs is stopped, and then that would be down for what is refused.
            Some(preview)
                if preview.outcome == PreviewOutcome::Unknown
                    && self.engine_may_ask()
                    && self.input.pipeline.spec.bootstrap_policy == BootstrapPolicy::Reject =>
            {
                Some(Hold {
                    reason: Reason::ChangeRefused,
                    message: format!(
                        "bootstrapPolicy is reject, and the old program goes on, since the engine can't tell beforehand whether it would ask about the new one: {}",
                        message(preview)
                    ),
                })
            }
            _ => None,
        }
    }

    /// Whether the engine has a gate, and something to compare with.
    pub(crate) fn engine_may_ask(&self) -> bool {
        let info = match self.input.engine {
            Observation::Answered { info, .. } => Some(info),
            _ => None,
        };
        let settled = self.status.settled.as_ref();
        info.is_some_and(EngineInfo::has_checkpoints)
            && settled.is_some_and(|settled| settled.checkpoint.is_some() || !settled.is_known())
    }

    /// Why the pipeline can't be stopped for an update.
    pub(crate) fn state_would_be_lost(&self, info: &EngineInfo) -> Option<Hold> {
        (!self.keeps_state(info) && !self.input.pipeline.spec.allow_state_loss).then(|| Hold {
            reason: Reason::StateLossNotAllowed,
            message: self.state_loss("stopping the pipeline for an update"),
        })
    }

    /// Why the engine wouldn't take the content, by its own word.
    pub(crate) fn was_refused(&self, state: &PipelineState, content: &Content) -> Option<Hold> {
        let refusal = self.status.refusal.as_ref()?;
        let holds = !(refusal.only_with_storage && state.storage_status == "Cleared");
        let is_it = content.is(&refusal.digest, refusal.exact.as_deref());
        (is_it && holds).then(|| {
            if refusal.only_with_storage {
                cannot_change(&refusal.message)
            } else {
                Hold {
                    reason: Reason::EngineRefused,
                    message: format!("the old content goes on: {}", refusal.message),
                }
            }
        })
    }

    pub(crate) fn preview_of(&self, target: &Target) -> Option<&Preview> {
        self.status
            .preview
            .as_ref()
            .filter(|preview| preview.target == *target && preview.parent == self.parent())
    }
}
