//! A pipeline that ran and is gone from its engine is never made anew unasked (rule A22): the database of the engine
//! may have been lost, or the Engine's address, tenant or credential lead elsewhere by now, while the old pipeline
//! runs on and reads and writes as before.
//!
//! The steps: it is missed → looked for again → lost for certain, and asked about as a change of its own → made anew
//! once that is approved. What is remembered of the old pipeline is kept until then, so that all goes on by itself if
//! it is back; and then it is forgotten as a whole.

use serde_json::Value;

use crate::crd::{
    Approval, ApprovalState, BootstrapPolicy, Decision, Door, Gate, PipelineStatus, Settled,
    Verdict, annotation,
};
use crate::decide::happened::settled::parts_that_differ;
use crate::decide::record::Record;
use crate::decide::{EventReason, is_owned};
use crate::engine::PipelineState;
use crate::{GateEvent, GaveWay, canonical, change, impact, lineage};

/// How often in a row the engine has to say that it knows no such pipeline.
pub(crate) const LOOKS: i64 = 3;

impl Record<'_> {
    /// The engine gives no good answer, so that what it said before about a pipeline that is missed proves nothing.
    pub(crate) fn cannot_be_looked_for(&mut self) {
        self.status.lost.take_if(|lost| lost.link.is_none());
    }

    /// The engine's id of the pipeline that this Pipeline knows.
    pub(crate) fn known_id(&self) -> Option<&str> {
        let engine = self.status.engine.as_ref()?;
        engine.pipeline_id.as_deref()
    }

    /// Whether the pipeline was ever started, so that it may have a state, and may run on elsewhere.
    pub(crate) fn has_run(&self) -> bool {
        let engine = self.status.engine.as_ref();
        // Somebody else may have started it.
        let is_deployed = engine.is_some_and(|engine| engine.deployment_id.is_some());
        let had_state = engine.is_some_and(|engine| engine.had_state);
        had_state || is_deployed || self.status.run.is_some() || self.status.settled.is_some()
    }

    /// It is lost for certain. From here on changes have new names.
    pub(crate) fn note_the_loss(&mut self) {
        let Some(lost) = self.status.lost.as_ref().filter(|lost| lost.link.is_none()) else {
            return;
        };
        let (id, since) = (&lost.pipeline_id, lost.since.0);
        let link = lineage::after_a_loss(&self.status, self.input.uid(), id, since);
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
    pub(crate) fn what_is_lost(&self) -> String {
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
    pub(crate) fn counts_as_lost(&self) -> bool {
        lineage::is_lost(&self.status)
    }

    /// It is there again, with all that is remembered of it.
    pub(crate) fn is_found(&mut self) {
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
    pub(crate) fn close_what_is_open(&mut self) {
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
        self.take(GateEvent::GaveWay(GaveWay::Void));
    }

    /// Something else has the pipeline's name, so that nothing can be made there.
    pub(crate) fn withdraw_the_question(&mut self) {
        let link = self.status.lost.as_ref().and_then(|lost| lost.link.clone());
        let parent = self.status.approval.as_ref().map(|it| it.parent.clone());
        if link.is_some() && parent == link {
            self.close_what_is_open();
        }
    }

    /// There is room for so many questions only.
    pub(crate) fn end_what_was_asked_too_often(&mut self) {
        if self.status.turns.len() < lineage::MOST_TURNS {
            return;
        }
        self.close_what_is_open();
        self.status.turns.clear();
        let forgotten = lineage::as_after_the_loss(&self.status);
        let uid = self.input.uid().to_owned();
        if let Some(lost) = &mut self.status.lost {
            let (id, since) = (&lost.pipeline_id, lost.since.0);
            lost.link = Some(lineage::after_a_loss(&forgotten, &uid, id, since));
        }
    }

    pub(crate) fn question_of_the_loss(
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
            since: self.input.now(),
            deployment_id: None,
            summary,
            diff: None,
            diff_digest: canonical::digest(&Value::Null),
            at_stake: Some(impact::everything_of_a_lost_one()),
            base: None,
            approve_command: self.input.command(annotation::APPROVE, &id),
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
    pub(crate) fn take_what_was_said_beforehand(&mut self) {
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
        let at = self.input.now();
        let approval = self.status.approval.as_ref();
        if approval.is_some_and(|approval| approval.state == ApprovalState::Awaiting) {
            self.take(GateEvent::Approved(Decision {
                outcome: Verdict::Approved,
                by: said.0.to_owned(),
                verified: false,
                via: Door::Policy,
                reason: Some(said.1.to_owned()),
                at,
            }));
        }
    }

    /// Whether a target ran, or was approved, before the pipeline was lost.
    pub(crate) fn was_let_through(&self, target: &crate::crd::Target) -> bool {
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

    /// Whether it is approved, and written down, that the pipeline is made anew.
    pub(crate) fn is_being_made_anew(&self) -> bool {
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
    pub(crate) fn may_be_what_was_made(&self, found: &PipelineState) -> bool {
        self.is_being_made_anew()
            && is_owned(found, self.input.pipeline)
            && found.is_stopped()
            && found.storage_status == "Cleared"
            && found.checkpoints.is_empty()
    }

    /// It is made. The lost one is forgotten.
    pub(crate) fn is_made_anew(&mut self) {
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
        let id = id.unwrap_or_default();
        let message = format!(
            "the pipeline was lost, and is made anew, from nothing, as approved (change {id})"
        );
        self.report_of(&id, EventReason::Recreated, message);
    }

    /// Forgets all that is remembered of the engine's pipeline: another one is another one. `link` is what the next
    /// change follows, if anything was settled; where there is none, a new one is made.
    pub(crate) fn forget_the_pipeline(&mut self, link: Option<String>) {
        // Where only the gate is kept, changes are asked about also before anything is settled.
        let has_names = self.status.settled.is_some() || self.input.pipeline.is_gate_only();
        let known = self.known_id().unwrap_or_default().to_owned();
        let now = self.input.now;
        let link = link.or_else(|| {
            has_names.then(|| lineage::after_a_loss(&self.status, self.input.uid(), &known, now))
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
