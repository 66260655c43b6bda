//! Whose the engine's pipeline is, and whether this Pipeline may work on it (rule A19).
//!
//! Nothing beats an owner that lives: that is known from the cluster, and comes as `rival`. What is decided here is
//! what becomes of a pipeline that nobody who lives owns.

use crate::crd::{Pipeline, annotation};
use crate::decide::Input;
use crate::decide::record::Record;
use crate::engine::PipelineState;
use crate::mark::{self, Owner, OwnerName};
use crate::{canonical, decision};

impl Input<'_> {
    /// Whether a name is this Pipeline's.
    pub(crate) fn was_this(&self, owner: &OwnerName) -> bool {
        *owner == self.owner_name()
    }

    pub(crate) fn owner_name(&self) -> OwnerName {
        OwnerName {
            namespace: self.namespace().to_owned(),
            name: self.name().to_owned(),
        }
    }

    pub(crate) fn owner_tags(&self) -> Vec<String> {
        mark::owner_tags(self.uid(), &self.owner_name())
    }
}

impl Record<'_> {
    /// Whether a pipeline that nobody who lives owns is to be taken over.
    ///
    /// An admission policy demands the verb `approve` of whoever writes `sluice.dev/adopt`: on this Pipeline for one that
    /// carries no mark, and also on the Pipeline that it names for one whose owner is gone.
    pub(crate) fn claim(&self, state: &PipelineState, same_content: bool) -> Claim {
        let owners = mark::read(&state.tags, &state.id).owners;
        let unmarked = owners.is_empty() || self.input.mark_is_released;
        let (asked_for, what) = match (unmarked, owners.as_slice()) {
            (true, []) => (state.name.clone(), "which Sluice didn't make".to_owned()),
            (true, _) => (
                state.name.clone(),
                "which carries the mark of a Pipeline that is gone, and is released".to_owned(),
            ),
            (
                false,
                [
                    Owner {
                        name: Some(owner), ..
                    },
                ],
            ) if self.input.was_this(owner) => {
                // It is this Pipeline that was deleted and made again. What waits or is settled goes on.
                let is_lost = self.counts_as_lost();
                if same_content && !is_lost && !self.was_taken_over(state) {
                    return Claim::Takes;
                }
                let what = match is_lost {
                    true => "which carries the mark of this Pipeline",
                    false => "which carries the mark of an earlier Pipeline of this name",
                };
                (owner.to_string(), what.to_owned())
            }
            (
                false,
                [
                    Owner {
                        name: Some(owner), ..
                    },
                ],
            ) => (
                owner.to_string(),
                format!("which carries the mark of Pipeline {owner}, which is gone"),
            ),
            (false, _) => {
                return Claim::Leaves {
                    what: "which carries the mark of a Pipeline that is gone, and whose name isn't known"
                        .to_owned(),
                    how: match &self.input.pipeline.spec.engine_ref {
                        Some(engine) => format!(
                            "somebody who may edit the Engine releases it first: kubectl annotate engine {} -n {} {}={}",
                            engine.name,
                            self.input.namespace(),
                            annotation::RELEASE,
                            state.name
                        ),
                        None => "whoever may edit it at the engine takes its tags away that begin with sluice".to_owned(),
                    },
                };
            }
        };
        let command = format!(
            "kubectl annotate pipeline {} -n {} {}={asked_for}{}",
            self.input.name(),
            self.input.namespace(),
            annotation::ADOPT,
            match self.input.pipeline.annotation(annotation::ADOPT) {
                Some(_) => " --overwrite",
                None => "",
            },
        );
        let asked = self.input.pipeline.annotation(annotation::ADOPT);
        if asked != Some(&asked_for) {
            let right = match owners.as_slice() {
                [
                    Owner {
                        name: Some(owner), ..
                    },
                ] if !unmarked && !self.input.was_this(owner) => {
                    format!(" (which needs the verb approve on this Pipeline and on {owner})")
                }
                _ => " (which needs the verb approve)".to_owned(),
            };
            return Claim::Leaves {
                what,
                how: command + &right,
            };
        }
        let handled = self.status.handled_adopt.as_deref();
        if asked.is_some_and(|asked| canonical::is_remembered(asked, handled)) {
            // Another Pipeline may have been told to take it since, or the owner lived then.
            return Claim::Leaves {
                what,
                how: format!(
                    "{}={asked_for} was acted on, or refused, already; remove that annotation, then: {command}",
                    annotation::ADOPT
                ),
            };
        }
        match self.why_adopt_does_not_count() {
            Some(why) => Claim::Leaves { what, how: why },
            None => Claim::Takes,
        }
    }

    /// Why nobody can say that whoever wrote the annotation `sluice.dev/adopt` might.
    pub(crate) fn why_adopt_does_not_count(&self) -> Option<String> {
        let trust = self.input.trust;
        if !trust.required {
            return None;
        }
        if let Some(why) = trust.pipelines.why_not() {
            return Some(format!(
                "{} counts only while the admission policies are in force: {why}",
                annotation::ADOPT
            ));
        }
        let doubted = self.policies.as_ref().map(|seen| &seen.unfounded);
        let standing = decision::adoption(self.input.pipeline);
        let is_doubted = standing.is_some_and(|it| doubted.is_some_and(|all| all.contains(&it)));
        is_doubted.then(|| {
            format!(
                "{} was written, or may have been, while the admission policies weren't in force: remove it, and write it again",
                annotation::ADOPT
            )
        })
    }

    /// Whether the engine's pipeline was this Pipeline's before somebody else put a mark on it.
    pub(crate) fn was_taken_over(&self, state: &PipelineState) -> bool {
        let known = self.status.engine.as_ref();
        let known = known.and_then(|engine| engine.pipeline_id.as_ref());
        known == Some(&state.id)
    }

    /// Whether the engine's pipeline is the one that this Pipeline had when its content was known.
    pub(crate) fn is_the_one_of_before(&self, state: &PipelineState) -> bool {
        let known = self.status.engine.as_ref();
        known.is_some_and(|known| known.pipeline_id.as_ref() == Some(&state.id))
            && self.status.content.is_some()
            && is_owned(state, self.input.pipeline)
    }
}

/// Whether an engine's pipeline is a Pipeline's: by its tag, or, on an engine that keeps no tags, by
/// the id that it had when it was created or taken over.
pub fn is_owned(state: &PipelineState, pipeline: &Pipeline) -> bool {
    let own = mark::owner_tag(pipeline.metadata.uid.as_deref().unwrap_or_default());
    let known_id = || {
        let status = pipeline.status.as_ref()?.engine.as_ref()?;
        status.pipeline_id.as_ref()
    };
    let mut owners = mark::uids(&state.tags);
    match (owners.next(), owners.next()) {
        (None, _) => known_id() == Some(&state.id),
        (Some(_), None) => state.tags.contains(&own),
        // Somebody has copied a mark. Whoever knows the pipeline itself has not.
        _ => state.tags.contains(&own) && known_id() == Some(&state.id),
    }
}

/// How a pipeline that is there already comes to be this Pipeline's.
pub(crate) enum Claim {
    /// It is to be taken over.
    Takes,
    /// It is left untouched. What is there, and how it can be taken over.
    Leaves {
        /// In words, behind "a pipeline of this name".
        what: String,
        /// What to do to have it.
        how: String,
    },
}
