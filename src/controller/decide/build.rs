//! Compiles a changed program before anything is stopped for it, as a pipeline of its own in the engine
//! that is never started and is removed afterwards.
//!
//! `POST …/diff` finds errors in SQL; those in Rust show only when everything is compiled, which
//! takes minutes. Compiled beforehand, a program that is wrong never stops what runs, and one that is
//! right is down for its restart only: the engine's compiler names the crates that it makes from a
//! program by their content, so of what was compiled once only the last crate is made and linked again.
//! (Source: `rust_compiler.rs` of Feldera's manager at 0.337.)

use super::conditions::{Hold, Reason};
use super::{Act, Decider, Guard, Seen};
use crate::change::{self, Content};
use crate::crd::{Build, BuildOutcome, Target};

/// Whoever sees such a pipeline at the engine can tell by its name what it is.
const PREFIX: &str = "sluice-build-";

/// The tag that it carries.
pub fn build_tag(uid: &str) -> String {
    format!("sluice-build:{uid}")
}

/// Whether the engine's pipeline of this name is one that something is compiled as beforehand.
pub fn is_build(name: &str) -> bool {
    name.starts_with(PREFIX)
}

impl Decider<'_> {
    /// The name of the pipeline that a target of this Pipeline is compiled as.
    fn build_name(&self, target: &Target) -> String {
        let uid: String = self.uid().chars().filter(char::is_ascii_hexdigit).collect();
        let uid = uid.get(..8).unwrap_or(&uid);
        format!("{PREFIX}{uid}-{}", &change::digest(target)[..8])
    }

    /// Whether the program must still be compiled beforehand. What there is to do for that is set, and
    /// shown.
    pub(super) fn must_build_first(&mut self, content: &Content, target: &Target) -> bool {
        if !self.input.compile_beforehand {
            return false;
        }
        match self.status.build.clone() {
            Some(build) if build.target != *target && build.pipeline.is_some() => {
                self.act_on_build(build.pipeline, |name| Act::DropBuild { name });
            }
            Some(build) if build.target == *target => match build.outcome {
                None => self.see_build_through(build, content),
                Some(_) => return false,
            },
            _ => {
                self.status.build = Some(Build {
                    target: target.clone(),
                    pipeline: Some(self.build_name(target)),
                    outcome: None,
                    message: None,
                });
            }
        }
        self.building = true;
        true
    }

    fn see_build_through(&mut self, build: Build, content: &Content) {
        let uid = self.uid().to_owned();
        match self.input.build {
            None => self.act_on_build(build.pipeline, |name| Act::Build {
                name,
                tag: build_tag(&uid),
                content: content.clone(),
            }),
            Some(state) if state.is_compiled() => self.built(BuildOutcome::Compiled, None),
            Some(state) if state.compile_failed() => {
                self.act_on_build(build.pipeline, |name| Act::LookAtBuild { name });
            }
            Some(_) => {}
        }
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
        let is_of_use = wanted && !in_place && build.outcome != Some(BuildOutcome::Failed);
        if !is_of_use {
            let name = build.pipeline.clone();
            self.act_on_build(name, |name| Act::DropBuild { name });
        }
    }

    /// It is removed. What is known of a program that doesn't compile stays.
    pub(super) fn build_is_dropped(&mut self) {
        if let Some(build) = &mut self.status.build {
            build.pipeline = None;
        }
        self.status
            .build
            .take_if(|build| build.outcome != Some(BuildOutcome::Failed));
    }

    /// Shows that a program is being compiled while the old one goes on.
    pub(super) fn show_building(&mut self) {
        if self.building {
            let phase = self.status.phase.clone().unwrap_or_default();
            self.progressing(
                &phase,
                Reason::CompilingBeforehand,
                "the new program is compiled; the old one goes on until that is done".into(),
            );
        }
    }
}
