//! Finds the pipeline to work on: makes it, takes it over, or leaves what is another's alone (rule A19).

use crate::change::Content;
use crate::crd::{Phase, annotation};
use crate::decide::happened::ownership::Claim;
use crate::decide::next::Next;
use crate::decide::reason::READY;
use crate::decide::{Act, Guard, Observation, RIVAL_INTERVAL, Reason, Seen, is_owned};
use crate::engine::{self, EngineInfo, PipelineState};
use crate::{canonical, mark};

impl<'a> Next<'a> {
    /// The pipeline in the engine, if there is one that is ours to work on.
    pub(crate) fn pipeline_to_work_on(&mut self) -> Option<(&'a EngineInfo, Seen)> {
        let input = self.input;
        let (info, pipeline) = match input.engine {
            Observation::NotYet => {
                self.not_looked_yet();
                return None;
            }
            Observation::NotConfigured(message) => {
                self.record.cannot_be_looked_for();
                self.shown.missing(Reason::EngineNotFound, message.clone());
                return None;
            }
            Observation::NoAnswer { kind, message } => {
                self.record.cannot_be_looked_for();
                self.shown.engine_silent(*kind, message);
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
            self.record.status.handled_adopt = asked.map(canonical::remembered);
            return None;
        }
        if self.is_lost(pipeline.as_ref()) {
            return None;
        }
        let content = match input.content {
            Ok(content) => content.as_ref(),
            Err(_) => {
                let known = pipeline.as_ref();
                let known = known.filter(|seen| self.record.is_the_one_of_before(seen.state()));
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
                self.shown
                    .waiting_for(Phase::Pending, Reason::PipelineNotFound, message);
                None
            }
        }
    }

    /// Nothing is known yet. What was said of an older spec doesn't hold for this one: kstatus would take
    /// it for a word about the spec as it is, since it looks at the status' generation only.
    pub(crate) fn not_looked_yet(&mut self) {
        let generation = self.input.pipeline.metadata.generation;
        let ready = self.input.stored(READY);
        if ready.is_some_and(|ready| ready.observed_generation == generation) {
            return;
        }
        let phase = self.shown.phase_so_far();
        let message = "the engine was not asked yet".to_owned();
        self.shown.progressing(phase, Reason::Updating, message);
    }

    pub(crate) fn create(&mut self, content: &Content) {
        self.shown.progressing(
            Phase::Pending,
            Reason::Creating,
            "the pipeline is being created in the engine".into(),
        );
        self.act(
            Act::Create {
                tags: self.input.owner_tags(),
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
    pub(crate) fn owned(&mut self, seen: &Seen, content: &Content) -> bool {
        let state = seen.state();
        // One that bears this Pipeline's mark is another one all the same, if its id is.
        if is_owned(state, self.input.pipeline) && !self.record.counts_as_lost() {
            return true;
        }
        let Some(full) = seen.full() else {
            self.act(Act::Look, Guard::default());
            return false;
        };
        let same = engine::same_content(content, &full.content);
        match self.record.claim(state, same) {
            Claim::Takes => {
                let mut tags = self.input.owner_tags();
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
                if self.record.counts_as_lost() {
                    let message = format!(
                        "{}. What is there now, {content}, {what}, is left untouched. Bring the old one back; or have the other one removed from the engine, and say then whether this one is to be made anew; or take over what is there: {how}",
                        self.record.what_is_lost()
                    );
                    self.record.look_again_in(RIVAL_INTERVAL);
                    self.shown
                        .decided_against(Phase::NameTaken, Reason::PipelineLost, message);
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
    pub(crate) fn unowned(&mut self, seen: &Seen) -> bool {
        let state = seen.state();
        if mark::uids(&state.tags).next().is_none() {
            return true;
        }
        match self.record.claim(state, false) {
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

    /// Has the pipeline carry these tags, beside those that aren't Sluice's.
    pub(crate) fn adopt(&mut self, state: &PipelineState, own: Vec<String>) {
        let tags = mark::foreign(&state.tags).cloned().chain(own).collect();
        self.shown.progressing(
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
    pub(crate) fn name_taken(&mut self, message: String) {
        let open = self
            .record
            .status
            .approval
            .as_ref()
            .is_some_and(|approval| approval.state.is_votable());
        if open {
            self.record.is_asked_anew();
        }
        self.shown.phase(Phase::NameTaken);
        // Nobody says so when another one goes, or comes.
        self.record.look_again_in(RIVAL_INTERVAL);
        self.shown.stalled(Reason::NameTaken, message);
    }
}
