//! Has a changed program compiled beforehand, as a pipeline of its own, and removes that again.

use crate::change::Content;
use crate::crd::{Build, BuildOutcome, Target};
use crate::decide::next::Next;
use crate::decide::{Act, Guard, Seen, build_tag};

impl Next<'_> {
    /// Whether the program must still be compiled beforehand. What there is to do for that is set, and
    /// shown.
    pub(crate) fn must_build_first(&mut self, content: &Content, target: &Target) -> bool {
        if !self.input.compile_beforehand || self.record.is_decided_against(target) {
            return false;
        }
        match self.record.status.build.clone() {
            Some(build) if build.target != *target && build.pipeline.is_some() => {
                self.act_on_build(build.pipeline, |name| Act::DropBuild {
                    name,
                    id: build.pipeline_id,
                });
            }
            Some(build) if build.target == *target => match build.outcome {
                None => self.see_build_through(build, content),
                Some(_) => return false,
            },
            _ => {
                self.record.status.build = Some(Build {
                    target: target.clone(),
                    pipeline: Some(self.input.build_name(target, None)),
                    pipeline_id: None,
                    names_taken: 0,
                    outcome: None,
                    message: None,
                });
            }
        }
        self.shown.building = true;
        true
    }

    pub(crate) fn see_build_through(&mut self, build: Build, content: &Content) {
        let tag = build_tag(self.input.uid());
        let own = self.input.build.filter(|state| {
            let id = build.pipeline_id.as_ref();
            id.is_some_and(|id| *id == state.id)
        });
        match (own, build.pipeline_id) {
            (Some(state), _) if state.is_compiled() => {
                self.record.built(BuildOutcome::Compiled, None)
            }
            (Some(state), Some(id)) if state.compile_failed() => {
                self.act_on_build(build.pipeline, |name| Act::LookAtBuild {
                    name,
                    id,
                    content: content.clone(),
                });
            }
            (Some(_), _) => {}
            (None, _) => self.act_on_build(build.pipeline, |name| Act::Build {
                name,
                tag,
                content: content.clone(),
            }),
        }
    }

    pub(crate) fn act_on_build(&mut self, name: Option<String>, act: impl FnOnce(String) -> Act) {
        if let Some(name) = name {
            self.act(act(name), Guard::default());
        }
    }

    /// Removes what was compiled beforehand once it has done its work, or isn't wanted any more.
    pub(crate) fn drop_build(&mut self, seen: &Seen) {
        let Some(build) = &self.record.status.build else {
            return;
        };
        let in_place = self
            .record
            .status
            .content
            .as_ref()
            .is_some_and(|held| held.target == build.target)
            && seen.state().is_compiled();
        let wanted = self.record.wanted_target().as_ref() == Some(&build.target);
        let is_of_use = wanted
            && !in_place
            && build.outcome != Some(BuildOutcome::Failed)
            && !self.record.is_decided_against(&build.target);
        if is_of_use {
            return;
        }
        match build.pipeline.clone() {
            None => self.record.build_is_dropped(),
            name => {
                let id = build.pipeline_id.clone();
                self.act_on_build(name, |name| Act::DropBuild { name, id });
            }
        }
    }
}
