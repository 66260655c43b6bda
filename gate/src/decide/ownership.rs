//! Whose the engine's pipeline is, and whether this Pipeline may work on it (rule A19).
//!
//! Nothing beats an owner that lives: that is known from the cluster, and comes as `rival`. What is decided here is
//! what becomes of a pipeline that nobody who lives owns.

use super::conditions::Reason;
use super::input::{Observation, Seen};
use super::{Act, Decider, Guard};
use crate::change::{self, Content};
use crate::crd::{Phase, Pipeline, annotation};
use crate::decision;
use crate::engine::{self, EngineInfo, PipelineState};
use crate::mark::{self, Owner, OwnerName};

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
enum Claim {
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

impl<'a> Decider<'a> {
    /// The pipeline in the engine, if there is one that is ours to work on.
    pub(super) fn pipeline_to_work_on(&mut self) -> Option<(&'a EngineInfo, Seen)> {
        let input = self.input;
        let (info, pipeline) = match input.engine {
            Observation::NotYet => {
                self.not_looked_yet();
                return None;
            }
            Observation::NotConfigured(message) => {
                self.cannot_be_looked_for();
                self.missing(Reason::EngineNotFound, message.clone());
                return None;
            }
            Observation::NoAnswer { kind, message } => {
                self.cannot_be_looked_for();
                self.engine_silent(*kind, message);
                return None;
            }
            Observation::Answered { info, pipeline, .. } => (info, pipeline),
        };
        // The engine's own mark says more than the age of an object: whoever comes with an older
        // object doesn't take away what runs.
        let is_ours = pipeline.as_ref().is_some_and(|seen| {
            let state = seen.state();
            mark::uids(&state.tags).next().is_some() && is_owned(state, input.pipeline)
        });
        if let Some(rival) = input.rival
            && !is_ours
        {
            self.name_taken(format!(
                "{rival} has the same pipeline of the same engine, and keeps it as long as it is there. Make a Pipeline with another spec.pipelineName instead"
            ));
            // Whatever was written while the owner lives says nothing of the day when he is gone.
            let asked = input.pipeline.annotation(annotation::ADOPT);
            self.status.handled_adopt = asked.map(change::remembered);
            return None;
        }
        if self.is_lost(pipeline.as_ref()) {
            return None;
        }
        let content = match input.content {
            Ok(content) => content.as_ref(),
            Err(_) => {
                let known = pipeline.as_ref();
                let known = known.filter(|seen| self.is_the_one_of_before(seen.state()));
                if known.is_none() {
                    self.show_unread();
                }
                return known.map(|seen| (info, seen.clone()));
            }
        };
        match (pipeline, content) {
            (Some(seen), Some(content)) => self.owned(seen, content).then(|| (info, seen.clone())),
            (Some(seen), None) => self.unowned(seen).then(|| (info, seen.clone())),
            (None, Some(content)) => {
                self.create(content);
                None
            }
            (None, None) => {
                let message = format!(
                    "the engine has no pipeline {:?}; it is to be made there, since the Pipeline has no program",
                    input.pipeline.engine_pipeline_name()
                );
                self.waiting_for(Phase::Pending, Reason::PipelineNotFound, message);
                None
            }
        }
    }

    pub(super) fn create(&mut self, content: &Content) {
        self.progressing(
            Phase::Pending,
            Reason::Creating,
            "the pipeline is being created in the engine".into(),
        );
        self.act(
            Act::Create {
                tags: self.owner_tags(),
                content: content.clone(),
            },
            Guard {
                absent: true,
                ..Guard::default()
            },
        );
    }

    /// Whether the engine's pipeline is this Pipeline's. One that was there before is left alone, equal or not, until
    /// somebody who may says that it is to be taken over: who adopts a pipeline can stop and change it.
    fn owned(&mut self, seen: &Seen, content: &Content) -> bool {
        let state = seen.state();
        // One that bears this Pipeline's mark is another one all the same, if its id is.
        if is_owned(state, self.input.pipeline) && !self.counts_as_lost() {
            return true;
        }
        let Some(full) = seen.full() else {
            self.act(Act::Look, Guard::default());
            return false;
        };
        let same = engine::same_content(content, &full.content);
        match self.claim(state, same) {
            Claim::Takes => {
                let mut tags = self.owner_tags();
                // What its checkpoint was made from stays on record.
                tags.extend(mark::of_settled(&state.tags).cloned());
                self.adopt(state, tags);
            }
            Claim::Leaves { what, how } => {
                // The engine fills in what a spec leaves out, so that it may differ in that only.
                let content = if same {
                    "with the same program"
                } else {
                    "with another program or configuration"
                };
                if self.counts_as_lost() {
                    let message = format!(
                        "{}. What is there now, {content}, {what}, is left untouched. Bring the old one back; or have the other one removed from the engine, and say then whether this one is to be made anew; or take over what is there: {how}",
                        self.what_is_lost()
                    );
                    self.look_again_in(super::RIVAL_INTERVAL);
                    self.decided_against(Phase::NameTaken, Reason::PipelineLost, message);
                    return false;
                }
                self.name_taken(format!(
                    "the engine has a pipeline {:?} {content}, {what}; it is left untouched. Make a Pipeline with another spec.pipelineName instead, or take it over: {how}",
                    state.name,
                ));
            }
        }
        false
    }

    /// Whether nobody else keeps the gate of a pipeline that is made elsewhere.
    fn unowned(&mut self, seen: &Seen) -> bool {
        let state = seen.state();
        if mark::uids(&state.tags).next().is_none() {
            return true;
        }
        match self.claim(state, false) {
            Claim::Takes => {
                let tags = mark::of_settled(&state.tags).cloned().collect();
                self.adopt(state, tags);
            }
            Claim::Leaves { what, how } => self.name_taken(format!(
                "the engine has a pipeline {:?}, {what}; it is left alone. To have its gate kept here, take the mark away: {how}",
                state.name,
            )),
        }
        false
    }

    /// Whether a pipeline that nobody who lives owns is to be taken over.
    ///
    /// An admission policy demands the verb `approve` of whoever writes `sluice.dev/adopt`: on this Pipeline for one that
    /// carries no mark, and also on the Pipeline that it names for one whose owner is gone.
    fn claim(&self, state: &PipelineState, same_content: bool) -> Claim {
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
            ) if self.was_this(owner) => {
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
                            self.namespace(),
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
            self.name(),
            self.namespace(),
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
                ] if !unmarked && !self.was_this(owner) => {
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
        if asked.is_some_and(|asked| change::is_remembered(asked, handled)) {
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
    fn why_adopt_does_not_count(&self) -> Option<String> {
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

    /// Whether a name is this Pipeline's.
    fn was_this(&self, owner: &OwnerName) -> bool {
        *owner == self.owner_name()
    }

    /// Whether the engine's pipeline was this Pipeline's before somebody else put a mark on it.
    fn was_taken_over(&self, state: &PipelineState) -> bool {
        let known = self.status.engine.as_ref();
        let known = known.and_then(|engine| engine.pipeline_id.as_ref());
        known == Some(&state.id)
    }

    /// Has the pipeline carry these tags, beside those that aren't Sluice's.
    fn adopt(&mut self, state: &PipelineState, own: Vec<String>) {
        let tags = mark::foreign(&state.tags).cloned().chain(own).collect();
        self.progressing(
            Phase::Pending,
            Reason::Adopting,
            "the engine already has this pipeline; it is taken over".into(),
        );
        self.act(
            Act::Adopt { tags },
            Guard {
                version: Some(state.version),
                // Somebody else may put a mark there at the same moment.
                tags: Some(state.tags.clone()),
                ..Guard::default()
            },
        );
    }

    /// The pipeline of this name is somebody else's. What this Pipeline had to ask or to tell is void.
    fn name_taken(&mut self, message: String) {
        let open = self
            .status
            .approval
            .as_ref()
            .is_some_and(|approval| approval.state.is_votable());
        if open {
            self.is_asked_anew();
        }
        self.phase(Phase::NameTaken);
        // Nobody says so when another one goes, or comes.
        self.look_again_in(super::RIVAL_INTERVAL);
        self.stalled(Reason::NameTaken, message);
    }

    pub(super) fn owner_name(&self) -> OwnerName {
        OwnerName {
            namespace: self.namespace().to_owned(),
            name: self.name().to_owned(),
        }
    }

    pub(super) fn owner_tags(&self) -> Vec<String> {
        mark::owner_tags(self.uid(), &self.owner_name())
    }
}
