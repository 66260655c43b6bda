//! A pipeline that ran and is gone from its engine is never made anew unasked (rule A22): the database of the engine
//! may have been lost, or the Engine's address, tenant or credential lead elsewhere by now, while the old pipeline
//! runs on and reads and writes as before.
//!
//! The steps: it is missed → looked for again → lost for certain, and asked about as a change of its own → made anew
//! once that is approved. What is remembered of the old pipeline is kept until then, so that all goes on by itself if
//! it is back; and then it is forgotten as a whole.

use std::time::Duration;

use serde_json::Value;

use super::conditions::Reason;
use super::gate::reason_of;
use super::input::{Observation, Seen};
use super::lineage::parts_that_differ;
use super::ownership::is_owned;
use super::{Act, Decider, EventReason, Guard};
use crate::GateEvent;
use crate::change::{self, Content};
use crate::crd::{
    Approval, ApprovalState, BootstrapPolicy, Decision, Door, Gate, Loss, Outcome, Phase,
    PipelineStatus, Settled, annotation,
};
use crate::engine::{self, PipelineState};
use crate::impact;
use crate::lineage;

/// How often in a row the engine has to say that it knows no such pipeline.
const LOOKS: i64 = 3;

impl<'a> Decider<'a> {
    /// Whether the engine's pipeline that this Pipeline knows is missing. Then nothing is done but to look for it, and
    /// to ask.
    pub(super) fn is_lost(&mut self, seen: Option<&Seen>) -> bool {
        let found = seen.map(|seen| seen.state());
        let Some(known) = self.known_id().map(str::to_owned) else {
            self.status.lost = None;
            return false;
        };
        if found.is_some_and(|found| found.id == known) {
            self.is_found();
            return false;
        }
        if self.input.pipeline.is_guest() {
            // Whoever looks after it may make it anew.
            if found.is_some() {
                self.close_what_is_open();
                self.forget_the_pipeline(None);
            }
            return false;
        }
        if !self.has_run() {
            // There is nothing to lose.
            if found.is_some_and(|found| is_owned(found, self.input.pipeline)) {
                self.forget_the_pipeline(None);
            }
            return false;
        }
        let found_id = found.map(|found| found.id.clone());
        let is_news = self.status.lost.as_ref().is_none_or(|lost| {
            lost.pipeline_id != known || lost.link.is_none() && lost.found != found_id
        });
        if is_news {
            // An id is a proof by itself.
            let looks = if found.is_some() { LOOKS } else { 0 };
            self.status.lost = Some(Loss {
                pipeline_id: known,
                found: found_id.clone(),
                since: self.now(),
                last_look_at: None,
                looks,
                link: None,
                set_apart: None,
            });
        }
        if let Some(lost) = &mut self.status.lost {
            lost.found = found_id;
        }
        if found.is_none() && !self.is_lost_for_certain() {
            return true;
        }
        self.note_the_loss();
        if let (Some(seen), Ok(Some(content))) = (seen, self.input.content)
            && self.may_be_what_was_made(seen.state())
        {
            let Some(full) = seen.full() else {
                self.act(Act::Look, Guard::default());
                return true;
            };
            let held = full.content.target_as_held(Some(content), &[]);
            let approved = self.status.approval.as_ref();
            if approved.is_some_and(|approval| approval.target == held)
                || engine::same_content(content, &full.content)
            {
                // It was made, and then a crash came before that was written down.
                self.own(&full.state.id);
                return false;
            }
        }
        if found.is_some() {
            // Also one that bears this Pipeline's mark: nothing can be made in its place. What becomes of it is decided by
            // `owned`.
            self.withdraw_the_question();
            return false;
        }
        match self.input.content {
            Ok(Some(content)) => self.ask_about_the_loss(content),
            Ok(None) => {}
            Err(message) => self.stalled(
                Reason::PipelineLost,
                format!(
                    "{}. What is to run in its place isn't known, either: {message}",
                    self.what_is_lost()
                ),
            ),
        }
        true
    }

    /// The engine gives no good answer, so that what it said before about a pipeline that is missed proves nothing.
    pub(super) fn cannot_be_looked_for(&mut self) {
        self.status.lost.take_if(|lost| lost.link.is_none());
    }

    /// The engine's id of the pipeline that this Pipeline knows.
    fn known_id(&self) -> Option<&str> {
        let engine = self.status.engine.as_ref()?;
        engine.pipeline_id.as_deref()
    }

    /// Whether the pipeline was ever started, so that it may have a state, and may run on elsewhere.
    fn has_run(&self) -> bool {
        let engine = self.status.engine.as_ref();
        // Somebody else may have started it.
        let is_deployed = engine.is_some_and(|engine| engine.deployment_id.is_some());
        let had_state = engine.is_some_and(|engine| engine.had_state);
        had_state || is_deployed || self.status.run.is_some() || self.status.settled.is_some()
    }

    /// Looks again, by asking for it by its name, until it was missed often enough.
    fn is_lost_for_certain(&mut self) -> bool {
        let Some(lost) = self.status.lost.clone() else {
            return false;
        };
        if lost.looks >= LOOKS {
            return true;
        }
        let pause = self.input.timing.resend_after / u32::try_from(LOOKS).unwrap_or(1);
        let waited = lost.last_look_at.as_ref().map(|at| self.since(at));
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
            let now = self.now();
            if let Some(lost) = &mut self.status.lost {
                lost.looks += 1;
                lost.last_look_at = Some(now);
                looks = lost.looks;
            }
            self.look_again_in(pause);
        } else {
            self.look_again_in(rest);
        }
        if looks >= LOOKS {
            return true;
        }
        let message = format!(
            "the engine has no pipeline {:?} any more; it is looked for again",
            self.input.pipeline.engine_pipeline_name()
        );
        let phase = self.phase_so_far();
        self.waiting_for(phase, Reason::PipelineNotFound, message);
        false
    }

    /// It is lost for certain. From here on changes have new names.
    fn note_the_loss(&mut self) {
        let Some(lost) = self.status.lost.as_ref().filter(|lost| lost.link.is_none()) else {
            return;
        };
        let (id, since) = (&lost.pipeline_id, lost.since.0);
        let link = lineage::after_a_loss(&self.status, self.uid(), id, since);
        let message = format!("{}. Nothing is made anew unasked", self.what_is_lost());
        // A question that nobody has answered is asked anew; what was decided holds if the pipeline is back.
        let is_open = self.status.approval.as_ref();
        if is_open.is_some_and(|approval| approval.state == ApprovalState::Awaiting) {
            self.close_what_is_open();
        }
        let decided = self.status.approval.take();
        if let Some(lost) = &mut self.status.lost {
            lost.link = Some(link);
            lost.set_apart = decided.map(|approval| {
                Box::new(Approval {
                    diff: None,
                    at_stake: None,
                    votes: vec![],
                    ..approval
                })
            });
        }
        self.warn(EventReason::PipelineLost, message);
    }

    /// What people are told of it.
    pub(super) fn what_is_lost(&self) -> String {
        let name = self.input.pipeline.engine_pipeline_name();
        let Some(lost) = &self.status.lost else {
            return String::new();
        };
        let what = match &lost.found {
            None => format!("the engine has no pipeline {name:?} any more"),
            Some(found) => format!("the engine has another pipeline {name:?} by now (id {found})"),
        };
        format!(
            "{what}; the one that ran here (id {}) is lost, or the Engine's url, tenant or credential lead to another engine, and it may still run where it was",
            lost.pipeline_id
        )
    }

    /// Whether it is known that the pipeline is lost, so that nothing of it counts but the question about that.
    pub(super) fn counts_as_lost(&self) -> bool {
        lineage::is_lost(&self.status)
    }

    /// It is there again, with all that is remembered of it.
    fn is_found(&mut self) {
        let Some(lost) = self.status.lost.take() else {
            return;
        };
        if lost.link.is_none() {
            return;
        }
        self.close_what_is_open();
        self.status.waiting_since = None;
        // The question of the loss is in the history.
        self.status.approval = lost.set_apart.map(|approval| *approval);
        self.report(
            EventReason::PipelineFound,
            format!(
                "the engine has the pipeline again (id {}); it goes on with what was decided, and what wasn't is asked about anew",
                lost.pipeline_id
            ),
        );
    }

    /// Nobody can answer it any more.
    pub(super) fn close_what_is_open(&mut self) {
        let Some(approval) = &self.status.approval else {
            return;
        };
        let rejected = approval.state == ApprovalState::Rejected;
        if !rejected && !approval.state.is_under_way() {
            return;
        }
        let id = approval.change_id.clone();
        // A rejection is final for its change, also if that comes round again.
        let decision = approval.decision.clone().filter(|_| rejected);
        self.had_its_turn(&id, decision);
        self.take(GateEvent::GaveWay);
        // That it was rejected was written down then.
        if !rejected {
            self.remember();
        }
    }

    /// Something else has the pipeline's name, so that nothing can be made there.
    fn withdraw_the_question(&mut self) {
        let link = self.status.lost.as_ref().and_then(|lost| lost.link.clone());
        let parent = self.status.approval.as_ref().map(|it| it.parent.clone());
        if link.is_some() && parent == link {
            self.close_what_is_open();
        }
    }

    /// There is room for so many questions only.
    fn end_what_was_asked_too_often(&mut self) {
        if self.status.turns.len() < lineage::MOST_TURNS {
            return;
        }
        self.close_what_is_open();
        self.status.turns.clear();
        let forgotten = lineage::as_after_the_loss(&self.status);
        let uid = self.uid().to_owned();
        if let Some(lost) = &mut self.status.lost {
            let (id, since) = (&lost.pipeline_id, lost.since.0);
            lost.link = Some(lineage::after_a_loss(&forgotten, &uid, id, since));
        }
    }

    /// Asks whether the pipeline is to be made anew, and has it made once somebody has said so.
    fn ask_about_the_loss(&mut self, content: &Content) {
        self.end_what_was_asked_too_often();
        let forgotten = lineage::as_after_the_loss(&self.status);
        let target = lineage::beside_what_is_held(content, &forgotten).target();
        let options = self.input.pipeline.spec.bootstrap_options;
        let revision = lineage::revision_of(&forgotten, self.uid(), &target, options);
        let id = lineage::id(&forgotten, self.uid(), &target, options, revision);
        let known = self.status.approval.as_ref();
        let is_asked = known.is_some_and(|approval| {
            approval.change_id == id && approval.state != ApprovalState::Superseded
        });
        if !is_asked {
            self.close_what_is_open();
            let approval = self.question_of_the_loss(id, target, revision, &forgotten);
            if approval.state == ApprovalState::Awaiting {
                self.status.waiting_since = Some(self.now());
                self.report(
                    EventReason::AwaitingApproval,
                    format!(
                        "change {} waits for approval: {}. To approve it: {}",
                        approval.change_id, approval.summary, approval.approve_command
                    ),
                );
            }
            self.status.approval = Some(approval);
        }
        self.vote();
        self.take_what_was_said_beforehand();
        let Some(approval) = self.status.approval.clone() else {
            return;
        };
        match approval.state {
            ApprovalState::Approved | ApprovalState::Applying => self.make_anew(content),
            // It is asked anew next.
            ApprovalState::Rejected if self.reopens() => {
                let message = self.what_is_lost();
                self.decided_against(Phase::AwaitingApproval, Reason::PipelineLost, message);
            }
            ApprovalState::Rejected => {
                let message = format!(
                    "{}. To make it anew was rejected{} (change {}): it goes on by itself if it is back; or open the gate again with: {}",
                    self.what_is_lost(),
                    reason_of(&approval),
                    approval.change_id,
                    self.command(annotation::RETRY, &approval.change_id),
                );
                self.decided_against(Phase::Rejected, Reason::PipelineLost, message);
            }
            _ => {
                let message = format!(
                    "{}. It goes on by itself if it is back. To make it anew, from nothing (change {}): {}",
                    self.what_is_lost(),
                    approval.change_id,
                    approval.approve_command
                );
                self.decided_against(Phase::AwaitingApproval, Reason::PipelineLost, message);
            }
        }
    }

    fn question_of_the_loss(
        &self,
        id: String,
        target: crate::crd::Target,
        revision: i64,
        forgotten: &PipelineStatus,
    ) -> Approval {
        let spec = &self.input.pipeline.spec;
        // Whoever says yes says yes to what is new in it, too.
        let ran = self.what_has_run();
        let changed = parts_that_differ(ran.as_ref(), &target);
        let with = match &ran {
            None => ", and what had run isn't known".to_owned(),
            Some(_) if changed.is_empty() => String::new(),
            Some(_) => format!(
                ", with what differs from what had run: {}",
                changed.join(", ")
            ),
        };
        let rejected_before = match lineage::rejected_before_the_loss(&self.status, &target) {
            Some(_) => " (which was rejected before)",
            None => "",
        };
        let summary = format!(
            "the pipeline is gone from its engine: it is made anew{with}{rejected_before}, and begins from nothing"
        );
        let turn = self.status.turns.iter().find(|turn| turn.change_id == id);
        let rejected = turn.and_then(|turn| turn.rejected.clone());
        Approval {
            state: match rejected {
                Some(_) => ApprovalState::Rejected,
                None => ApprovalState::Awaiting,
            },
            short_id: change::short(&id),
            parent: lineage::parent(forgotten).to_owned(),
            changed,
            target,
            options: spec.bootstrap_options,
            revision,
            gate: Gate::Sluice,
            since: self.now(),
            deployment_id: None,
            summary,
            diff: None,
            diff_digest: change::digest(&Value::Null),
            at_stake: Some(impact::everything_of_a_lost_one()),
            base: None,
            approve_command: self.command(annotation::APPROVE, &id),
            approved_field_counts: spec.approved != Some(true),
            decision: rejected,
            votes: vec![],
            more_votes: 0,
            calls: 0,
            last_call_at: None,
            failure: None,
            change_id: id,
        }
    }

    /// Who may have said beforehand that the state may be lost, or that nobody is to be asked.
    fn take_what_was_said_beforehand(&mut self) {
        let spec = &self.input.pipeline.spec;
        let said = match () {
            () if spec.bootstrap_policy == BootstrapPolicy::Reject => return,
            () if spec.allow_state_loss => ("spec.allowStateLoss", "allowStateLoss is true"),
            () if spec.bootstrap_policy == BootstrapPolicy::Allow => {
                ("spec.bootstrapPolicy", "bootstrapPolicy is allow")
            }
            () => return,
        };
        // That says nothing of another program than the one that ran, or was approved.
        let target = self.status.approval.as_ref().map(|it| it.target.clone());
        if !target.is_some_and(|target| self.was_let_through(&target)) {
            return;
        }
        let at = self.now();
        let approval = self.status.approval.as_ref();
        if approval.is_some_and(|approval| approval.state == ApprovalState::Awaiting) {
            self.take(GateEvent::Approved(Decision {
                outcome: Outcome::Approved,
                by: said.0.to_owned(),
                verified: false,
                via: Door::Policy,
                reason: Some(said.1.to_owned()),
                at,
            }));
        }
    }

    /// Whether a target ran, or was approved, before the pipeline was lost.
    fn was_let_through(&self, target: &crate::crd::Target) -> bool {
        let settled = self.status.settled.as_ref().map(|it| &it.target);
        let ran = self.status.run.as_ref();
        let ran = ran.filter(|run| run.past_gate_since.is_some());
        let lost = self.status.lost.as_ref();
        let approved = lost.and_then(|lost| lost.set_apart.as_ref());
        let approved = approved.filter(|it| it.state.is_approved());
        [
            settled,
            ran.map(|run| &run.target),
            approved.map(|it| &it.target),
        ]
        .contains(&Some(target))
    }

    /// Has the pipeline made in the place of the lost one, with just what was approved. All that is remembered of the lost
    /// one stays until that is done: it may be back by then.
    fn make_anew(&mut self, content: &Content) {
        self.take(GateEvent::Started);
        self.create(content);
    }

    /// Whether it is approved, and written down, that the pipeline is made anew.
    pub(super) fn is_being_made_anew(&self) -> bool {
        let link = self
            .status
            .lost
            .as_ref()
            .and_then(|lost| lost.link.as_ref());
        let approval = self.status.approval.as_ref();
        link.is_some()
            && approval.is_some_and(|approval| {
                approval.state == ApprovalState::Applying && Some(&approval.parent) == link
            })
    }

    /// Whether what is found is what was to be made: nothing of it can be lost, since it never ran.
    fn may_be_what_was_made(&self, found: &PipelineState) -> bool {
        self.is_being_made_anew()
            && is_owned(found, self.input.pipeline)
            && found.is_stopped()
            && found.storage_status == "Cleared"
            && found.checkpoints.is_empty()
    }

    /// It is made. The lost one is forgotten.
    pub(super) fn is_made_anew(&mut self) {
        let lost = self.status.lost.take();
        let link = lost.as_ref().and_then(|lost| lost.link.clone());
        // What has come to its end is in the history.
        use ApprovalState::{Applied, Applying, Approved};
        if let Some(before) = lost.and_then(|lost| lost.set_apart)
            && matches!(before.state, Approved | Applying | Applied)
        {
            self.remember_as_it_was(&before);
        }
        // What was rejected of the loss is a change from the same nothing by now, and stays rejected.
        let turns = std::mem::take(&mut self.status.turns);
        self.forget_the_pipeline(link.clone());
        self.status.turns = turns;
        self.status.made_anew = link;
        let id = self.status.approval.as_ref().map(|it| it.change_id.clone());
        self.report(
            EventReason::Recreated,
            format!(
                "the pipeline was lost, and is made anew, from nothing, as approved (change {})",
                id.unwrap_or_default()
            ),
        );
    }

    /// Forgets all that is remembered of the engine's pipeline: another one is another one. `link` is what the next
    /// change follows, if anything was settled; where there is none, a new one is made.
    pub(super) fn forget_the_pipeline(&mut self, link: Option<String>) {
        // Of a guest's pipeline changes are asked about also before anything is settled.
        let has_names = self.status.settled.is_some() || self.input.pipeline.is_guest();
        let known = self.known_id().unwrap_or_default().to_owned();
        let now = self.input.now;
        let link = link.or_else(|| {
            has_names.then(|| lineage::after_a_loss(&self.status, self.uid(), &known, now))
        });
        let asked_to_clear = self.input.pipeline.spec.clear_storage.clone();
        let asked_to_restart = self.input.pipeline.spec.restarted_at.clone();
        // Taken apart whole, so that whoever adds something says here of what it is.
        let PipelineStatus {
            engine,
            content,
            run,
            settled,
            preview,
            refusal,
            interference,
            seal,
            failures,
            mark,
            refused_mark,
            handled_restart,
            handled_clear,
            clearing,
            held_up_since,
            idle_force_stop,
            lost,
            made_anew,
            emptied,
            turns,
            // Of the Pipeline, its changes, and what it says.
            observed_generation: _,
            phase: _,
            conditions: _,
            pipeline_name: _,
            waiting_since: _,
            approval: _,
            handled_retry: _,
            handled_adopt: _,
            policies: _,
            spent_votes: _,
            history: _,
            audit_pending: _,
            // Another pipeline of the engine, which has an id of its own.
            build: _,
        } = &mut self.status;
        *engine = None;
        *content = None;
        *run = None;
        *settled = link.map(Settled::unknown);
        *preview = None;
        *refusal = None;
        *interference = None;
        *seal = None;
        *failures = None;
        *mark = None;
        *refused_mark = None;
        *clearing = None;
        *held_up_since = None;
        *idle_force_stop = None;
        *lost = None;
        *made_anew = None;
        *emptied = None;
        turns.clear();
        // What was asked for of the old one isn't done to another.
        *handled_clear = asked_to_clear;
        *handled_restart = asked_to_restart;
    }
}
