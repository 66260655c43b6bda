//! The reasons for which the spec's content isn't brought to the engine, whatever the gates say. Each looks at what is
//! recorded, and changes nothing.

pub(crate) mod immutable;

use immutable::cannot_change;

use crate::change::Content;
use crate::crd::{BootstrapPolicy, BuildOutcome, EngineContent, Preview, PreviewOutcome, Target};
use crate::decide::record::Record;
use crate::decide::{Observation, Reason};
use crate::engine::{EngineInfo, PipelineState};

/// A content that is to take the place of what the engine has.
pub(crate) struct Proposed<'a> {
    pub(crate) state: &'a PipelineState,
    pub(crate) held: &'a EngineContent,
    pub(crate) content: &'a Content,
    pub(crate) target: &'a Target,
}

/// Why the spec's content isn't brought to the engine.
pub(crate) struct Hold {
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

/// A reason for which a content isn't brought to the engine, if there is one.
type Check = fn(&Record, &Proposed) -> Option<Hold>;

/// What is known to forbid a content, in the order in which people are told. What the gates say comes after.
const CHECKS: [Check; 3] = [
    |record, proposed| record.preview_forbids(proposed),
    |record, proposed| record.build_forbids(proposed),
    |record, proposed| record.was_refused(proposed),
];

impl Record<'_> {
    /// The first that forbids a content.
    pub(crate) fn hold(&self, proposed: &Proposed) -> Option<Hold> {
        CHECKS.iter().find_map(|check| check(self, proposed))
    }

    /// Why what runs must go on instead of a program that was compiled beforehand.
    fn build_forbids(&self, proposed: &Proposed) -> Option<Hold> {
        let build = self.status.build.as_ref()?;
        let failed =
            build.target == *proposed.target && build.outcome == Some(BuildOutcome::Failed);
        failed.then(|| Hold {
            reason: Reason::CompileFailed,
            message: format!(
                "the new program doesn't compile, and the old one goes on: {}",
                build.message.clone().unwrap_or_default()
            ),
        })
    }

    /// Why what runs must go on instead of the new content, by the engine's own word.
    fn preview_forbids(&self, proposed: &Proposed) -> Option<Hold> {
        let preview = self
            .preview_of(proposed.target)
            .filter(|_| proposed.held.target != *proposed.target);
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
    pub(crate) fn was_refused(&self, proposed: &Proposed) -> Option<Hold> {
        let Proposed { state, content, .. } = proposed;
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
