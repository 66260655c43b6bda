//! Has the engine's pipeline say whose it is, and what is settled.

use crate::decide::happened::mark::digest_of;
use crate::decide::next::Next;
use crate::decide::{Act, Guard};
use crate::engine::PipelineState;
use crate::mark;

impl Next<'_> {
    /// Has the engine's pipeline say what is settled. Returns whether there is a call to make for that.
    pub(crate) fn keep_the_mark(&mut self, state: &PipelineState) -> bool {
        // What is said there tells whoever is made in this Pipeline's place that there was a state.
        if self.record.status.emptied.is_some() {
            return false;
        }
        let wanted = self.record.wanted_mark(state);
        let digest = digest_of(&wanted);
        let done = [&self.record.status.mark, &self.record.status.refused_mark];
        if self.input.pipeline.is_gate_only() || done.contains(&&Some(digest.clone())) {
            return false;
        }
        let tags: Vec<String> = mark::foreign(&state.tags).cloned().chain(wanted).collect();
        if !mark::fits(&tags) {
            self.record
                .mark_is_not_kept(digest, "the pipeline has too many tags of its own");
            return false;
        }
        self.act(
            Act::Mark { tags, digest },
            Guard {
                tags: Some(state.tags.clone()),
                ..Guard::default()
            },
        );
        true
    }
}
