//! Looks for a pipeline that is gone from its engine, and asks before it is made anew (rule A22).

use std::time::Duration;

use crate::change::Content;
use crate::crd::{ApprovalState, Loss, Phase, annotation};
use crate::decide::happened::loss::LOOKS;
use crate::decide::happened::question::reason_of;
use crate::decide::next::Next;
use crate::decide::{Act, Guard, Observation, Reason, Seen, is_owned, news};
use crate::{GateEvent, engine, lineage};

impl Next<'_> {
    /// Whether the engine's pipeline that this Pipeline knows is missing. Then nothing is done but to look for it, and
    /// to ask.
    pub(crate) fn is_lost(&mut self, seen: Option<&Seen>) -> bool {
        let found = seen.map(|seen| seen.state());
        let Some(known) = self.record.known_id().map(str::to_owned) else {
            self.record.status.lost = None;
            return false;
        };
        if found.is_some_and(|found| found.id == known) {
            self.record.is_found();
            return false;
        }
        if self.input.pipeline.is_gate_only() {
            // Whoever looks after it may make it anew.
            if found.is_some() {
                self.record.close_what_is_open();
                self.record.forget_the_pipeline(None);
            }
            return false;
        }
        if !self.record.has_run() {
            // There is nothing to lose.
            if found.is_some_and(|found| is_owned(found, self.input.pipeline)) {
                self.record.forget_the_pipeline(None);
            }
            return false;
        }
        let found_id = found.map(|found| found.id.clone());
        let is_news = self.record.status.lost.as_ref().is_none_or(|lost| {
            lost.pipeline_id != known || lost.link.is_none() && lost.found != found_id
        });
        if is_news {
            // An id is a proof by itself.
            let looks = if found.is_some() { LOOKS } else { 0 };
            self.record.status.lost = Some(Loss {
                pipeline_id: known,
                found: found_id.clone(),
                since: self.input.now(),
                last_look_at: None,
                looks,
                link: None,
                set_apart: None,
            });
        }
        if let Some(lost) = &mut self.record.status.lost {
            lost.found = found_id;
        }
        if found.is_none() && !self.is_lost_for_certain() {
            return true;
        }
        self.record.note_the_loss();
        if let (Some(seen), Ok(Some(content))) = (seen, self.input.content)
            && self.record.may_be_what_was_made(seen.state())
        {
            let Some(full) = seen.full() else {
                self.act(Act::Look, Guard::default());
                return true;
            };
            let held = full.content.target_as_held(Some(content), &[]);
            let approved = self.record.status.approval.as_ref();
            if approved.is_some_and(|approval| approval.target == held)
                || engine::same_content(content, &full.content)
            {
                // It was made, and then a crash came before that was written down.
                self.record.own(&full.state.id);
                return false;
            }
        }
        if found.is_some() {
            // Also one that bears this Pipeline's mark: nothing can be made in its place. What becomes of it is decided by
            // `owned`.
            self.record.withdraw_the_question();
            return false;
        }
        match self.input.content {
            Ok(Some(content)) => self.ask_about_the_loss(content),
            Ok(None) => {}
            Err(message) => self.shown.stalled(
                Reason::PipelineLost,
                format!(
                    "{}. What is to run in its place isn't known, either: {message}",
                    self.record.what_is_lost()
                ),
            ),
        }
        true
    }

    /// Looks again, by asking for it by its name, until it was missed often enough.
    pub(crate) fn is_lost_for_certain(&mut self) -> bool {
        let Some(lost) = self.record.status.lost.clone() else {
            return false;
        };
        if lost.looks >= LOOKS {
            return true;
        }
        let pause = self.input.timing.resend_after / u32::try_from(LOOKS).unwrap_or(1);
        let waited = lost.last_look_at.as_ref().map(|at| self.input.since(at));
        let rest = waited.map_or(Duration::ZERO, |waited| pause.saturating_sub(waited));
        let unknown_name = matches!(
            self.input.engine,
            Observation::Answered {
                unknown_name: true,
                ..
            }
        );
        let mut looks = lost.looks;
        if rest.is_zero() && !unknown_name {
            self.act(Act::Look, Guard::default());
        } else if rest.is_zero() {
            let now = self.input.now();
            if let Some(lost) = &mut self.record.status.lost {
                lost.looks += 1;
                lost.last_look_at = Some(now);
                looks = lost.looks;
            }
            self.record.look_again_in(pause);
        } else {
            self.record.look_again_in(rest);
        }
        if looks >= LOOKS {
            return true;
        }
        let message = format!(
            "the engine has no pipeline {:?} any more; it is looked for again",
            self.input.pipeline.engine_pipeline_name()
        );
        let phase = self.shown.phase_so_far();
        self.shown
            .waiting_for(phase, Reason::PipelineNotFound, message);
        false
    }

    /// Asks whether the pipeline is to be made anew, and has it made once somebody has said so.
    pub(crate) fn ask_about_the_loss(&mut self, content: &Content) {
        self.record.end_what_was_asked_too_often();
        let forgotten = lineage::as_after_the_loss(&self.record.status);
        let target = lineage::beside_what_is_held(content, &forgotten).target();
        let options = self.input.pipeline.spec.bootstrap_options;
        let revision = lineage::revision_of(&forgotten, self.input.uid(), &target, options);
        let id = lineage::id(&forgotten, self.input.uid(), &target, options, revision);
        let known = self.record.status.approval.as_ref();
        let is_asked = known.is_some_and(|approval| {
            approval.change_id == id && approval.state != ApprovalState::Superseded
        });
        if !is_asked {
            self.record.close_what_is_open();
            let approval = self
                .record
                .question_of_the_loss(id, target, revision, &forgotten);
            if approval.state == ApprovalState::Awaiting {
                self.record.status.waiting_since = Some(self.input.now());
                self.record.reports.push(news::of_publication(&approval));
            }
            self.record.status.approval = Some(approval);
        }
        self.record.vote();
        self.record.take_what_was_said_beforehand();
        let Some(approval) = self.record.status.approval.clone() else {
            return;
        };
        match approval.state {
            ApprovalState::Approved | ApprovalState::Applying => self.make_anew(content),
            // It is asked anew next.
            ApprovalState::Rejected if self.record.reopens() => {
                let message = self.record.what_is_lost();
                self.shown
                    .decided_against(Phase::AwaitingApproval, Reason::PipelineLost, message);
            }
            ApprovalState::Rejected => {
                let message = format!(
                    "{}. To make it anew was rejected{} (change {}): it goes on by itself if it is back; or open the gate again with: {}",
                    self.record.what_is_lost(),
                    reason_of(&approval),
                    approval.change_id,
                    self.input.command(annotation::RETRY, &approval.change_id),
                );
                self.shown
                    .decided_against(Phase::Rejected, Reason::PipelineLost, message);
            }
            _ => {
                let message = format!(
                    "{}. It goes on by itself if it is back. To make it anew, from nothing (change {}): {}",
                    self.record.what_is_lost(),
                    approval.change_id,
                    approval.approve_command
                );
                self.shown
                    .decided_against(Phase::AwaitingApproval, Reason::PipelineLost, message);
            }
        }
    }

    /// Has the pipeline made in the place of the lost one, with just what was approved. All that is remembered of the lost
    /// one stays until that is done: it may be back by then.
    pub(crate) fn make_anew(&mut self, content: &Content) {
        self.record.take(GateEvent::Started);
        self.create(content);
    }
}
