//! Whose the engine's pipeline is, and whether this Pipeline may work on it.

use super::conditions::Reason;
use super::input::Seen;
use super::{Act, Decider, Guard};
use crate::change::Content;
use crate::crd::{Pipeline, annotation};
use crate::engine::{self, EngineInfo, PipelineState};

use super::input::Observation;

/// What a tag that says whose a pipeline is begins with.
const OWNER: &str = "sluice:";

/// A pipeline that Sluice made carries this tag in the engine.
pub fn owner_tag(uid: &str) -> String {
    format!("{OWNER}{uid}")
}

/// Whether an engine's pipeline is a Pipeline's: by its tag, or, on an engine that keeps no tags, by
/// the id that it had when it was created or taken over.
pub fn is_owned(state: &PipelineState, pipeline: &Pipeline) -> bool {
    let own = owner_tag(pipeline.metadata.uid.as_deref().unwrap_or_default());
    let mut owners = owners(state);
    let known_id = || {
        let status = pipeline.status.as_ref()?.engine.as_ref()?;
        status.pipeline_id.as_ref()
    };
    match owners.next() {
        Some(_) => state.tags.contains(&own),
        None => known_id() == Some(&state.id),
    }
}

/// The uids of the Pipelines whose marks an engine's pipeline carries.
pub fn owners(state: &PipelineState) -> impl Iterator<Item = &str> {
    state.tags.iter().filter_map(|tag| tag.strip_prefix(OWNER))
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
                self.missing(Reason::EngineNotFound, message.clone());
                return None;
            }
            Observation::NoAnswer { kind, message } => {
                self.engine_silent(kind, message);
                return None;
            }
            Observation::Answered { info, pipeline, .. } => (info, pipeline),
        };
        // The engine's own mark says more than the age of an object: whoever comes with an older
        // object doesn't take away what runs.
        let is_settled = pipeline.as_ref().is_some_and(|seen| {
            seen.state().tags.contains(&self.tag()) || self.is_to_adopt(seen.state())
        });
        if let Some(rival) = input.rival
            && !is_settled
        {
            self.stalled(
                Reason::NameTaken,
                format!("{rival} has the same pipeline of the same engine; set another spec.pipelineName"),
            );
            // Nobody says so when the older one goes.
            self.look_again_in(super::RIVAL_INTERVAL);
            return None;
        }
        let content = match input.content {
            Ok(content) => content.as_ref(),
            Err(message) => {
                self.missing(Reason::ContentNotFound, message.clone());
                return None;
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
                self.waiting_for("Pending", Reason::PipelineNotFound, message);
                None
            }
        }
    }

    fn create(&mut self, content: &Content) {
        let was_there = self
            .status
            .engine
            .as_ref()
            .is_some_and(|engine| engine.pipeline_id.is_some());
        if was_there && self.is_fought_over() {
            return;
        }
        self.progressing(
            "Pending",
            Reason::Creating,
            "the pipeline is being created in the engine".into(),
        );
        self.act(
            Act::Create {
                tag: self.tag(),
                content: content.clone(),
            },
            Guard {
                absent: true,
                ..Guard::default()
            },
        );
    }

    /// Whether the engine's pipeline is this Pipeline's. One that was there before is taken over
    /// if it is just what the spec asks for, or if somebody says so, and is otherwise left alone.
    fn owned(&mut self, seen: &Seen, content: &Content) -> bool {
        let state = seen.state();
        if is_owned(state, self.input.pipeline) {
            return true;
        }
        let Some(full) = seen.full() else {
            self.act(Act::Look, Guard::default());
            return false;
        };
        let same = engine::same_content(content, &full.content);
        if !self.is_to_adopt(state) && (!same || self.was_taken_over(state)) {
            let what = match (owners(state).next(), same) {
                (Some(_), true) => "that carries the mark of another Pipeline by now",
                (Some(_), false) => "with another program, and with the mark of another Pipeline",
                (None, _) => "with another program",
            };
            let message = format!(
                "the engine has a pipeline {:?} {what}, which is left untouched. Set another spec.pipelineName, or take it over {}",
                state.name,
                self.how_to_adopt(state),
            );
            self.stalled(Reason::NameTaken, message);
            return false;
        }
        self.adopt(state, Some(self.tag()));
        false
    }

    fn how_to_adopt(&self, state: &PipelineState) -> String {
        format!(
            "with: kubectl annotate pipeline {} -n {} {}={} (if that stands there already, remove it first)",
            self.name(),
            self.namespace(),
            annotation::ADOPT,
            state.name,
        )
    }

    /// Whether somebody says to take it over, and that wasn't done yet. Done once, it isn't done again for
    /// as long as the annotation stays: another Pipeline may have been told to take it since.
    fn is_to_adopt(&self, state: &PipelineState) -> bool {
        let name = self.input.pipeline.annotation(annotation::ADOPT);
        name == Some(&state.name) && name != self.status.handled_adopt.as_deref()
    }

    /// Whether the engine's pipeline was this Pipeline's before somebody else put a mark on it.
    fn was_taken_over(&self, state: &PipelineState) -> bool {
        let known = self.status.engine.as_ref();
        let known = known.and_then(|engine| engine.pipeline_id.as_ref());
        known == Some(&state.id) && owners(state).next().is_some()
    }

    /// Has the pipeline carry this mark, and that of no other Pipeline.
    fn adopt(&mut self, state: &PipelineState, own: Option<String>) {
        let others = state.tags.iter().filter(|tag| !tag.starts_with(OWNER));
        let tags = others.cloned().chain(own).collect();
        self.progressing(
            "Pending",
            Reason::Adopting,
            "the engine already has this pipeline; it is taken over".into(),
        );
        self.act(
            Act::Adopt { tags },
            Guard {
                version: Some(state.version),
                ..Guard::default()
            },
        );
    }

    /// Whether nobody else keeps the gate of a pipeline that is made elsewhere.
    fn unowned(&mut self, seen: &Seen) -> bool {
        let state = seen.state();
        if owners(state).next().is_none() {
            return true;
        }
        if self.is_to_adopt(state) {
            self.adopt(state, None);
            return false;
        }
        let message = format!(
            "the engine's pipeline {:?} carries the mark of another Pipeline, which may look after it. If that one is gone, take the mark away {}",
            state.name,
            self.how_to_adopt(state),
        );
        self.stalled(Reason::NameTaken, message);
        false
    }

    pub(super) fn tag(&self) -> String {
        owner_tag(self.uid())
    }
}
