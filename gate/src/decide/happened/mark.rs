//! What was settled stands in the engine's own pipeline too, and is read from there where the status doesn't know it
//! (rule A9). Where the two disagree, what the checkpoint was made from isn't known.

use crate::canonical::short_digest;
use crate::crd::{ApprovalState, Settled};
use crate::decide::record::Record;
use crate::decide::{EventReason, Observation};
use crate::engine::PipelineState;
use crate::mark::{self, SettledMark};
use crate::{GateEvent, GaveWay, change};

impl Record<'_> {
    /// Takes in what stands at the engine.
    pub(crate) fn read_the_mark(&mut self, state: &PipelineState) {
        let found = mark::read(&state.tags, &state.id);
        if self.input.pipeline.is_gate_only()
            || !found.owners.iter().any(|it| it.uid == self.input.uid())
        {
            return;
        }
        let there = digest_of(&ours(&state.tags));
        if there == self.digest_of_wanted_mark(state) {
            self.status.mark = Some(there);
            return;
        }
        match (&self.status.mark, found.settled) {
            // Nobody else has written there since: the status is ahead.
            (Some(last), _) if *last == there => {}
            // Nothing is said there, so nothing disagrees.
            (_, SettledMark::None) => {}
            // An operator wrote the status that knows no marks.
            (None, _) if self.remembers_what_is_settled() => {}
            (None, SettledMark::Known(settled)) => {
                self.take_up(*settled, state);
                self.status.mark = Some(there);
            }
            _ => {
                self.what_is_kept_is_not_known(
                    "what the engine's pipeline says about it isn't what this Pipeline remembers",
                );
                self.status.mark = Some(there);
            }
        }
    }

    pub(crate) fn remembers_what_is_settled(&self) -> bool {
        let settled = self.status.settled.as_ref();
        settled.is_some_and(|settled| settled.checkpoint.is_some())
    }

    /// The pipeline has been somebody else's. What was remembered of it from before doesn't hold, and what was asked about
    /// then doesn't count.
    pub(crate) fn forget_what_was_kept(&mut self) {
        self.status.mark = None;
        if self.status.settled.is_some() {
            self.begin_a_new_chain();
        }
    }

    /// The Pipeline is new, and the pipeline isn't.
    pub(crate) fn take_up(&mut self, mut settled: Settled, state: &PipelineState) {
        if state.checkpoints.is_empty() {
            let had_one = settled.checkpoint.is_some();
            if had_one && state.is_up() {
                self.status.settled = Some(settled);
                self.has_begun_anew();
            } else if had_one && (state.is_stopped() || state.storage_status == "Cleared") {
                self.status.settled = Some(settled);
                self.is_emptied();
            }
            return;
        }
        // A Pipeline that isn't new has had questions, whose answers don't count again.
        if let Some(known) = &self.status.settled {
            settled.change_id.clone_from(&known.change_id);
        }
        let newest = state.newest_checkpoint();
        let of_mark = settled.checkpoint.as_ref().and_then(|it| it.uuid.as_ref());
        let is_it = newest.is_some_and(|newest| Some(&newest.uuid) == of_mark);
        // At the version at which it was settled, nothing else can have run.
        if is_it || newest.is_some() && settled.version == Some(state.version) {
            self.status.settled = Some(settled);
        } else if newest.is_some() {
            self.status.settled = Some(settled);
            self.what_is_kept_is_not_known(
                "since a checkpoint was last seen, the pipeline was changed at the engine and another one written",
            );
        }
    }

    /// What the newest checkpoint was made from isn't known any more. It begins a new link of the chain, so that no
    /// approval of a change from what was thought to be there counts.
    pub(crate) fn what_is_kept_is_not_known(&mut self, why: &str) {
        self.begin_a_new_chain();
        self.warn(
            EventReason::OriginUnknown,
            format!("what the pipeline's checkpoint was made from isn't known: {why}. A start from it is asked about; what runs goes on, and is known again once a checkpoint of it is there"),
        );
    }

    pub(crate) fn begin_a_new_chain(&mut self) {
        let open = self.status.approval.as_ref().is_some_and(|approval| {
            approval.state.is_under_way() || approval.state == ApprovalState::Rejected
        });
        if open {
            self.take(GateEvent::GaveWay(GaveWay::Void));
        }
        let settled = self.status.settled.take();
        let change_id = settled.map_or_else(|| change::ROOT.to_owned(), |it| it.change_id);
        self.status.settled = Some(Settled::unknown(change_id));
        self.link_anew();
        self.status.preview = None;
        self.status.seal = None;
        // What runs was started as a change from something else, or by somebody else.
        self.status.run = None;
    }

    /// The engine doesn't take the tags.
    pub(crate) fn mark_is_refused(&mut self, why: &str) {
        if let Observation::Answered {
            pipeline: Some(seen),
            ..
        } = self.input.engine
        {
            self.mark_is_not_kept(self.digest_of_wanted_mark(seen.state()), why);
        }
    }

    /// It isn't tried again until there is another one to write.
    pub(crate) fn mark_is_not_kept(&mut self, digest: String, why: &str) {
        self.status.refused_mark = Some(digest);
        self.warn(
            EventReason::MarkNotKept,
            format!("the engine's pipeline can't be given the tags that say whose it is and what its checkpoint was made from: {why}. If this Pipeline is made again, its next change is asked about as an unknown one"),
        );
    }

    pub(crate) fn wanted_mark(&self, state: &PipelineState) -> Vec<String> {
        let mut tags = self.input.owner_tags();
        tags.extend(mark::settled_tags(self.status.settled.as_ref(), &state.id));
        tags
    }

    pub(crate) fn digest_of_wanted_mark(&self, state: &PipelineState) -> String {
        digest_of(&self.wanted_mark(state))
    }
}

pub(crate) fn ours(tags: &[String]) -> Vec<String> {
    let foreign: Vec<&String> = mark::foreign(tags).collect();
    let ours = tags.iter().filter(|tag| !foreign.contains(tag));
    ours.cloned().collect()
}

/// The engine may give tags back in another order.
pub(crate) fn digest_of(tags: &[String]) -> String {
    let mut tags = tags.to_vec();
    tags.sort_unstable();
    short_digest(&tags)
}
