//! What became of a program that is compiled before anything is stopped for it, as a pipeline of its own in the engine
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

use crate::canonical;
use crate::change::Content;
use crate::crd::{BuildOutcome, Gate, Target};
use crate::decide::record::Record;
use crate::decide::{EventReason, Input};
use crate::engine::FullPipeline;

/// Whoever sees such a pipeline at the engine can tell by its name what it is. No new Pipeline may have such a name: a
/// rule of its definition keeps it.
pub(crate) const PREFIX: &str = "sluice-build-";

/// How many names are tried that pipelines of others have. Then the program isn't compiled beforehand.
pub(crate) const MAX_NAMES: i64 = 3;

impl Input<'_> {
    /// The name of the pipeline that a target of this Pipeline is compiled as, beside the pipeline with
    /// this id, if one had that name. The engine gives ids by lot.
    pub(crate) fn build_name(&self, target: &Target, beside: Option<&str>) -> String {
        let uid: String = self.uid().chars().filter(char::is_ascii_hexdigit).collect();
        let uid = uid.get(..8).unwrap_or(&uid);
        let digest = match beside {
            None => canonical::digest(target),
            Some(id) => canonical::digest(&(target, id)),
        };
        format!("{PREFIX}{uid}-{}", digest.get(..8).unwrap_or(&digest))
    }
}

impl Record<'_> {
    /// Whether Sluice's own gate is shut for a target until somebody does something about it: nothing need be compiled for it, nor
    /// be left at the engine.
    pub(crate) fn is_decided_against(&self, target: &Target) -> bool {
        let decided = self.status.approval.as_ref().is_some_and(|approval| {
            approval.gate == Gate::Sluice
                && approval.target == *target
                && approval.state.is_refused()
        });
        decided && !self.retry_is_new() || self.policy_refuses(target)
    }

    /// It is there, and is this Pipeline's.
    pub(crate) fn build_is_there(&mut self, id: &str) {
        if let Some(build) = &mut self.status.build {
            build.pipeline_id = Some(id.to_owned());
        }
    }

    /// The name is that of another pipeline, with this id. That is left alone.
    pub(crate) fn build_name_is_taken(&mut self, id: &str) {
        let Some(mut build) = self.status.build.clone() else {
            return;
        };
        build.names_taken += 1;
        build.pipeline_id = None;
        if build.names_taken < MAX_NAMES {
            build.pipeline = Some(self.input.build_name(&build.target, Some(id)));
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

    /// The compilation has come to an end.
    pub(crate) fn built(&mut self, outcome: BuildOutcome, message: Option<String>) {
        if let Some(build) = &mut self.status.build {
            build.outcome = Some(outcome);
            build.message = message;
        }
    }

    /// It is removed. What is known of a program that doesn't compile stays.
    pub(crate) fn build_is_dropped(&mut self) {
        if let Some(build) = &mut self.status.build {
            build.pipeline = None;
            build.pipeline_id = None;
        }
        self.status
            .build
            .take_if(|build| build.outcome != Some(BuildOutcome::Failed));
    }
}

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
