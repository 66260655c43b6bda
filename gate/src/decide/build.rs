//! Compiles a changed program before anything is stopped for it, as a pipeline of its own in the engine
//! that is never started and is removed afterwards.
//!
//! `POST …/diff` finds errors in SQL; those in Rust show only when everything is compiled, which
//! takes minutes. Compiled beforehand, a program that is wrong never stops what runs, and one that is
//! right is down for its restart only: the engine's compiler names the crates that it makes from a
//! program by their content, so of what was compiled once only the last crate is made and linked again.
//! (Source: `rust_compiler.rs` of Feldera's manager at 0.337.)
//!
//! Its name can be foreseen. So it is known by the id that the engine gave it: another pipeline of that name is
//! neither asked how the program compiles, nor removed.

use super::conditions::{Hold, Reason};
use super::{Act, Decider, EventReason, Guard, Seen};
use crate::change::{self, Content};
use crate::crd::{Build, BuildOutcome, Gate, Target};
use crate::engine::FullPipeline;

/// Whoever sees such a pipeline at the engine can tell by its name what it is. No new Pipeline may have such a name: a
/// rule of its definition keeps it.
const PREFIX: &str = "sluice-build-";

/// How many names are tried that pipelines of others have. Then the program isn't compiled beforehand.
const MAX_NAMES: i64 = 3;

/// The tag that it carries.
pub fn build_tag(uid: &str) -> String {
    format!("sluice-build:{uid}")
}

/// Whether the engine's pipeline of this name is one that something is compiled as beforehand.
pub fn is_build(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Whether a pipeline that was found under a name is what this Pipeline had compiled, as after a crash that came before its
/// id was written down: it carries the mark, holds just the program, and was never started.
pub fn is_own_build(found: &FullPipeline, tag: &str, content: &Content) -> bool {
    let is_marked = found.state.tags.iter().any(|it| it == tag);
    is_marked && found.state.is_stopped() && is_of(content, found)
}

/// Whether what the compiler says of a pipeline is said of this program. The engine keeps its texts to the letter.
pub fn is_of(content: &Content, found: &FullPipeline) -> bool {
    let held = &found.content;
    content.sql == held.sql
        && content.udf_rust == held.udf_rust
        && content.udf_toml == held.udf_toml
}

impl Decider<'_> {
    /// The name of the pipeline that a target of this Pipeline is compiled as, beside the pipeline with
    /// this id, if one had that name. The engine gives ids by lot.
    fn build_name(&self, target: &Target, beside: Option<&str>) -> String {
        let uid: String = self.uid().chars().filter(char::is_ascii_hexdigit).collect();
        let uid = uid.get(..8).unwrap_or(&uid);
        let digest = match beside {
            None => change::digest(target),
            Some(id) => change::digest(&(target, id)),
        };
        format!("{PREFIX}{uid}-{}", digest.get(..8).unwrap_or(&digest))
    }

    /// Whether the program must still be compiled beforehand. What there is to do for that is set, and
    /// shown.
    pub(super) fn must_build_first(&mut self, content: &Content, target: &Target) -> bool {
        if !self.input.compile_beforehand || self.is_decided_against(target) {
            return false;
        }
        match self.status.build.clone() {
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
                self.status.build = Some(Build {
                    target: target.clone(),
                    pipeline: Some(self.build_name(target, None)),
                    pipeline_id: None,
                    names_taken: 0,
                    outcome: None,
                    message: None,
                });
            }
        }
        self.building = true;
        true
    }

    /// Whether Sluice's own gate is shut for a target until somebody does something about it: nothing need be compiled for it, nor
    /// be left at the engine.
    fn is_decided_against(&self, target: &Target) -> bool {
        let decided = self.status.approval.as_ref().is_some_and(|approval| {
            approval.gate == Gate::Sluice
                && approval.target == *target
                && approval.state.is_refused()
        });
        decided && !self.retry_is_new() || self.policy_refuses(target)
    }

    fn see_build_through(&mut self, build: Build, content: &Content) {
        let tag = build_tag(self.uid());
        let own = self.input.build.filter(|state| {
            let id = build.pipeline_id.as_ref();
            id.is_some_and(|id| *id == state.id)
        });
        match (own, build.pipeline_id) {
            (Some(state), _) if state.is_compiled() => self.built(BuildOutcome::Compiled, None),
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

    /// It is there, and is this Pipeline's.
    pub(super) fn build_is_there(&mut self, id: &str) {
        if let Some(build) = &mut self.status.build {
            build.pipeline_id = Some(id.to_owned());
        }
    }

    /// The name is that of another pipeline, with this id. That is left alone.
    pub(super) fn build_name_is_taken(&mut self, id: &str) {
        let Some(mut build) = self.status.build.clone() else {
            return;
        };
        build.names_taken += 1;
        build.pipeline_id = None;
        if build.names_taken < MAX_NAMES {
            build.pipeline = Some(self.build_name(&build.target, Some(id)));
        } else {
            let name = build.pipeline.take().unwrap_or_default();
            let message = format!(
                "the engine has pipelines of others under the names that the new program would be compiled as beforehand, {name:?} the last; it isn't, and what runs is stopped for it uncompiled"
            );
            build.outcome = Some(BuildOutcome::Unknown);
            build.message = Some(message.clone());
            self.warn(EventReason::BuildNameTaken, message);
        }
        self.status.build = Some(build);
    }

    fn act_on_build(&mut self, name: Option<String>, act: impl FnOnce(String) -> Act) {
        if let Some(name) = name {
            self.act(act(name), Guard::default());
        }
    }

    /// The compilation has come to an end.
    pub(super) fn built(&mut self, outcome: BuildOutcome, message: Option<String>) {
        if let Some(build) = &mut self.status.build {
            build.outcome = Some(outcome);
            build.message = message;
        }
    }

    /// Why what runs must go on instead of a program that was compiled beforehand.
    pub(super) fn build_forbids(&self, target: &Target) -> Option<Hold> {
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

    /// Removes what was compiled beforehand once it has done its work, or isn't wanted any more.
    pub(super) fn drop_build(&mut self, seen: &Seen) {
        let Some(build) = &self.status.build else {
            return;
        };
        let in_place = self
            .status
            .content
            .as_ref()
            .is_some_and(|held| held.target == build.target)
            && seen.state().is_compiled();
        let wanted = self.wanted_target().as_ref() == Some(&build.target);
        let is_of_use = wanted
            && !in_place
            && build.outcome != Some(BuildOutcome::Failed)
            && !self.is_decided_against(&build.target);
        if is_of_use {
            return;
        }
        match build.pipeline.clone() {
            None => self.build_is_dropped(),
            name => {
                let id = build.pipeline_id.clone();
                self.act_on_build(name, |name| Act::DropBuild { name, id });
            }
        }
    }

    /// It is removed. What is known of a program that doesn't compile stays.
    pub(super) fn build_is_dropped(&mut self) {
        if let Some(build) = &mut self.status.build {
            build.pipeline = None;
            build.pipeline_id = None;
        }
        self.status
            .build
            .take_if(|build| build.outcome != Some(BuildOutcome::Failed));
    }

    /// Shows that a program is being compiled while the old one goes on.
    pub(super) fn show_building(&mut self) {
        if self.building {
            let phase = self.phase_so_far();
            self.progressing(
                phase,
                Reason::CompilingBeforehand,
                "the new program is compiled; the old one goes on until that is done".into(),
            );
        }
    }
}
