//! The chain of changes: what is settled, what takes another's place, and how the next one is named.

use crate::change::{self, Content};
use crate::crd::{ApprovalState, BaseCheckpoint, Decision, Gate, Settled, StopKind, Target, Turn};
use crate::decide::record::Record;
use crate::decide::{EventReason, Observation, Seen};
use crate::engine::PipelineState;
use crate::held_settings::{Digests, meaning};
use crate::{GateEvent, GaveWay, lineage, snapshot};

impl Record<'_> {
    /// A target of which a checkpoint exists is settled, gated or not: it becomes the parent of
    /// the next change.
    pub(crate) fn settle(&mut self, seen: &Seen) {
        let state = seen.state();
        if self.has_an_older_checkpoint(state) {
            self.engine_was_restored(
                "the newest checkpoint is older than the last one that was seen",
            );
            return;
        }
        let Some(run) = &self.status.run else { return };
        // The story of an approved change is told to its end before it is closed.
        let being_applied = self.status.approval.as_ref().is_some_and(|approval| {
            approval.change_id == run.change_id && approval.state.is_under_way()
        });
        let settled_already = self.status.settled.as_ref().is_some_and(|settled| {
            settled.change_id == run.change_id && settled.target == run.target
        });
        let content_is_the_runs = self
            .status
            .content
            .as_ref()
            .is_some_and(|held| held.target == run.target && held.version == state.version);
        // The manager's list may be ten seconds old; what the pipeline itself says of a checkpoint
        // that was asked for is not.
        let by_itself = match self.input.engine {
            Observation::Answered { checkpoints, .. } => {
                checkpoints.as_ref().and_then(|seen| seen.newest.as_ref())
            }
            _ => None,
        };
        let newest = by_itself.or(state.newest_checkpoint());
        let is_new = newest.is_some_and(|c| Some(&c.uuid) != run.base_checkpoint.as_ref());
        // Before the gate is passed the engine writes no checkpoint, but it may show one late that
        // was written before the start. Where the engine was told of the approval, and how that ended
        // wasn't seen, a new checkpoint counts: taken for the old program's, it would let an approval
        // of a change to that pass for one of a change to this.
        let told = self
            .status
            .approval
            .as_ref()
            .is_some_and(|approval| approval.change_id == run.change_id && approval.calls > 0);
        let ended_unseen = state.is_stopped()
            && run.failed
            && run.past_gate_since.is_none()
            && !told
            && self.status.approval.as_ref().is_some_and(|approval| {
                approval.change_id == run.change_id && approval.gate == Gate::Sluice
            });
        let past_the_gate = state.is_up()
            || state.is_stopped()
                && (run.stop == Some(StopKind::Checkpoint)
                    || run.past_gate_since.is_some()
                    || told);
        if settled_already && content_is_the_runs {
            let settings = self.held_settings();
            if let Some(settled) = &mut self.status.settled
                && settled.settings.is_none()
            {
                settled.settings = settings;
            }
            self.follow_what_is_settled(state);
            return;
        }
        // There is no gate of the engine's on the way of such a change, so it may be its own, or one of before that shows late.
        if ended_unseen && is_new && content_is_the_runs {
            self.what_is_kept_is_not_known(
                "the pipeline failed before it was seen to run, and another checkpoint is there by now",
            );
            return;
        }
        // Without storage there never is a checkpoint: what runs is all that there is.
        let is_all_there_is = run.target.without_storage && state.is_up() && !run.outside;
        let is_kept = is_new && past_the_gate;
        if being_applied || !content_is_the_runs || !(is_kept || is_all_there_is) {
            return;
        }
        let requested = self.status.seal.take();
        self.status.turns.clear();
        self.status.settled = Some(Settled {
            change_id: run.change_id.clone(),
            target: run.target.clone(),
            checkpoint: newest.filter(|_| is_kept).map(|checkpoint| BaseCheckpoint {
                uuid: Some(checkpoint.uuid.clone()),
                sequence_number: requested
                    .and_then(|seal| seal.sequence_number)
                    .or(checkpoint.steps),
                steps: checkpoint.steps,
            }),
            version: Some(state.version),
            program: None,
            settings: self.held_settings(),
        });
        if !is_kept {
            return;
        }
        // What has begun from nothing can be lost again from here on.
        self.status.made_anew = None;
        self.status.emptied = None;
        let change_id = run.change_id.clone();
        self.status
            .preview
            .take_if(|preview| preview.target == run.target);
        let approval = self.status.approval.as_ref();
        if approval.is_some_and(|it| {
            it.change_id == change_id && it.state.after(&GateEvent::Sealed).is_some()
        }) {
            self.take(GateEvent::Sealed);
        }
    }

    /// What is settled has come to rest, or an operator settled it that didn't write down at which version. The newest
    /// checkpoint is one of it, and the one that the next change starts from.
    pub(crate) fn follow_what_is_settled(&mut self, state: &PipelineState) {
        let newest = state.newest_checkpoint().filter(|_| state.is_stopped());
        let Some(settled) = &mut self.status.settled else {
            return;
        };
        settled.version = Some(state.version);
        if let (Some(newest), Some(checkpoint)) = (newest, &mut settled.checkpoint)
            && checkpoint.uuid.as_ref() != Some(&newest.uuid)
        {
            *checkpoint = BaseCheckpoint {
                uuid: Some(newest.uuid.clone()),
                sequence_number: newest.steps,
                steps: newest.steps,
            };
        }
    }

    /// Whether the steps that are counted in the newest checkpoint are fewer than they were. The engine keeps the newest two
    /// only, so that one isn't there any more proves nothing; but they only grow. What a pipeline that is up shows of
    /// them may be some seconds old, and so is what is shown right after a stop.
    pub(crate) fn has_an_older_checkpoint(&self, state: &PipelineState) -> bool {
        let settled = self.status.settled.as_ref();
        let known = settled.and_then(|settled| settled.checkpoint.as_ref());
        let (Some(known), Some(newest)) = (known, state.newest_checkpoint()) else {
            return false;
        };
        let is_there = state
            .checkpoints
            .iter()
            .any(|it| Some(&it.uuid) == known.uuid.as_ref());
        let is_older = matches!((known.steps, newest.steps), (Some(then), Some(now)) if now < then);
        is_older
            && !is_there
            && state.is_stopped()
            && self.input.last_call.is_none()
            && !self.input.pipeline.is_gate_only()
    }

    /// What only grows has shrunk: what was brought there since, and what it was kept in, isn't there any more.
    pub(crate) fn engine_was_restored(&mut self, how: &str) {
        self.warn(
            EventReason::EngineRestored,
            format!("{how}: the engine was restored from a backup. What its checkpoint was made from isn't known, so a start from it is asked about"),
        );
        self.what_is_kept_is_not_known(how);
    }

    /// Another change takes the place of the one at the gate, or it is taken back.
    pub(crate) fn supersede(&mut self, state: &PipelineState) {
        // Before the settings of what an older release wrote down are known, nothing differs by them.
        if self.lacks_the_settings() && !self.input.pipeline.is_gate_only() {
            return;
        }
        let Some(approval) = &self.status.approval else {
            return;
        };
        let at_the_gate = approval.state.is_votable() || approval.state.is_refused();
        // What has passed the gate and runs is stopped with a checkpoint, which settles it. The manager
        // may say for a while that it waits although it was told.
        let told = approval.state.is_let_through()
            && (state.is_stopped() || state.awaits_approval() && !self.was_just_told(state));
        let wanted = self.wanted_target();
        let options = self.options();
        let same = Some(&approval.target) == wanted.as_ref() && approval.options == options;
        if same || wanted.is_none() || !(at_the_gate || told) {
            return;
        }
        let id = approval.change_id.clone();
        let rejected = approval.state == ApprovalState::Rejected;
        // What is rejected can come round, and be taken back, again and again.
        let again = self.status.turns.iter().any(|turn| turn.change_id == id);
        let decision = approval.decision.clone();
        self.had_its_turn(&id, decision.filter(|_| rejected));
        self.take(GateEvent::GaveWay(GaveWay::TakenBack { again }));
        // Going back to what is settled makes that a new link of the chain, so that an approval of
        // what was taken back can't count when the same edit is made again.
        let back = self.status.settled.as_ref().map(|settled| &settled.target) == wanted.as_ref();
        if back || self.status.turns.len() >= lineage::MOST_TURNS {
            self.link_anew();
        }
    }

    /// Makes what is settled a new link of the chain: no id of a change to it means anything any more.
    pub(crate) fn link_anew(&mut self) {
        let uid = self.input.uid().to_owned();
        lineage::link_anew(&mut self.status, &uid);
    }

    /// A change had its turn: asked about again under the same parent, it is a new question, unless it
    /// was rejected, which is final.
    pub(crate) fn had_its_turn(&mut self, id: &str, rejected: Option<Decision>) {
        match self
            .status
            .turns
            .iter_mut()
            .find(|turn| turn.change_id == id)
        {
            Some(turn) => turn.rejected = rejected,
            None => self.status.turns.push(Turn {
                change_id: id.to_owned(),
                rejected,
            }),
        }
    }

    /// The change that was asked about had its turn, and what it was asked about isn't so any more. Its id; the next one has another.
    pub(crate) fn is_asked_anew(&mut self) -> Option<String> {
        let id = self.status.approval.as_ref()?.change_id.clone();
        self.had_its_turn(&id, None);
        self.take(GateEvent::GaveWay(GaveWay::Void));
        Some(id)
    }

    /// The id of the change that the present spec is about to bring, if it brings one.
    pub(crate) fn candidate(&self) -> Option<String> {
        if self.counts_as_lost() {
            return None;
        }
        let target = self.wanted_target()?;
        let settled = self.status.settled.as_ref();
        let is_new = settled.map(|s| &s.target) != Some(&target);
        let id = is_new.then(|| self.change_id(&target, self.revision_of(&target)))?;
        // What is rejected doesn't come.
        let approval = self.status.approval.as_ref();
        let rejected = approval.is_some_and(|approval| {
            approval.change_id == id && approval.state == ApprovalState::Rejected
        });
        (!rejected).then_some(id)
    }

    /// The target that the spec asks for, or, where only the gate is kept, that it was given by whoever makes it.
    pub(crate) fn wanted_target(&self) -> Option<Target> {
        match self.input.content.as_ref().ok()? {
            Some(_) => self.wanted().map(|content| content.target()),
            None => self.status.content.as_ref().map(|held| held.target.clone()),
        }
    }

    /// What the spec asks for, as it would be brought to the engine.
    pub(crate) fn wanted(&self) -> Option<Content> {
        let content = self.input.content.as_ref().ok()?.as_ref()?;
        Some(lineage::beside_what_is_held(content, &self.status))
    }

    pub(crate) fn parent(&self) -> &str {
        lineage::parent(&self.status)
    }

    /// How often a target was already asked about anew, under the present parent and options.
    pub(crate) fn revision_of(&self, target: &Target) -> i64 {
        lineage::revision_of(&self.status, self.input.uid(), target, self.options())
    }

    pub(crate) fn change_id(&self, target: &Target, revision: i64) -> String {
        lineage::id(
            &self.status,
            self.input.uid(),
            target,
            self.options(),
            revision,
        )
    }

    /// The digests of the runtime settings that the engine's pipeline has, and that don't change unasked.
    pub(crate) fn held_settings(&self) -> Option<Digests> {
        let held = self.status.content.as_ref();
        held.and_then(|held| held.settings.as_ref()).map(meaning)
    }

    /// The parts of the program in which a target differs from what is settled; none if that isn't
    /// known.
    pub(crate) fn what_changes(&self, target: &Target) -> Vec<String> {
        let settled = self.status.settled.as_ref();
        let known = settled.filter(|settled| settled.is_known());
        parts_that_differ(known.map(|settled| &settled.target), target)
    }

    /// Keeps the text of what is settled, as soon as the spec says it.
    pub(crate) fn keep_program(&mut self) {
        let Some(program) = &self.input.pipeline.spec.program else {
            return;
        };
        let Some(content) = self.wanted() else {
            return;
        };
        if let Some(settled) = &mut self.status.settled
            && settled.program.is_none()
            && settled.target == content.target()
        {
            settled.program = Some(snapshot::keep(program, &content));
        }
    }
}

/// The parts of the program in which a target differs from what was there before; none if that isn't known.
pub(crate) fn parts_that_differ(before: Option<&Target>, target: &Target) -> Vec<String> {
    before.map_or_else(Vec::new, |before| {
        let parts = change::differences(before, target);
        parts.into_iter().map(str::to_owned).collect()
    })
}
