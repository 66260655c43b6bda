//! From what is seen to what is done next. Pure: no client, no clock, no I/O.
//!
//! A [`Plan`] either *records* (a new status; the caller writes it and asks again) or *acts* (one
//! engine call under a [`Guard`], a comparison with a read made just before), never both. So
//! whatever is done has its intent in status first, and after a crash the engine is looked at
//! before anything is repeated. Asked again with the same input and the recorded status, the
//! answer never is to record again.
//!
//! The steps stand in [`Decider::run`]; each has a file of its own.

mod absorb;
mod chain;
mod conditions;
mod failures;
mod gate;
mod input;
mod lifecycle;
mod plan;
mod seal;
mod stake;
mod update;
mod words;

#[cfg(test)]
mod tests;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::approval::{self, Ballot, Register};
use crate::change::Content;
use crate::crd::{
    Approval, ApprovalState, DecisionRecord, Door, EngineView, Pipeline, PipelineStatus,
};
use crate::engine::{self, EngineInfo, PipelineState};

pub use conditions::Reason;
pub use input::{CheckpointStatusSeen, Input, Observation, Seen, Timing};
pub use plan::{Act, Guard, LastCall, Outcome, Plan, Report, Step};

/// How many decisions a status remembers.
const HISTORY: usize = 20;
/// How often a Pipeline looks whether the older one with the same claim is gone.
const RIVAL_INTERVAL: Duration = Duration::from_secs(30);

/// Decides.
pub fn decide(input: &Input) -> Plan {
    Decider::new(input).run()
}

/// What a tag that says whose a pipeline is begins with.
const OWNER: &str = "sluice:";

/// A pipeline that Sluice made carries this tag in the engine.
pub fn owner_tag(uid: &str) -> String {
    format!("{OWNER}{uid}")
}

/// Whether an engine's pipeline is a Pipeline's: by its tag, or, on an engine that keeps no tags, by
/// the id that it had when it was created or taken over.
pub fn is_owned(state: &PipelineState, pipeline: &Pipeline) -> bool {
    let own = owner_tag(pipeline.metadata.uid.as_deref().unwrap_or_default());
    let mut owners = state.tags.iter().filter(|tag| tag.starts_with(OWNER));
    let known_id = || {
        let status = pipeline.status.as_ref()?.engine.as_ref()?;
        status.pipeline_id.as_ref()
    };
    match owners.next() {
        Some(_) => state.tags.contains(&own),
        None => known_id() == Some(&state.id),
    }
}

/// The work sheet of one decision: the next status grows on it, step by step.
struct Decider<'a> {
    input: &'a Input<'a>,
    status: PipelineStatus,
    reports: Vec<Report>,
    act: Option<(Act, Guard)>,
    requeue: Option<Duration>,
    /// Why the spec's content isn't brought to the engine although it differs.
    held: Option<conditions::Hold>,
}

impl<'a> Decider<'a> {
    fn new(input: &'a Input<'a>) -> Self {
        Self {
            input,
            status: input.pipeline.status.clone().unwrap_or_default(),
            reports: vec![],
            act: None,
            requeue: None,
            held: None,
        }
    }

    /// The steps, in their order.
    fn run(mut self) -> Plan {
        self.status.observed_generation = self.input.pipeline.metadata.generation;
        self.status.pipeline_name = Some(self.input.pipeline.engine_pipeline_name().to_owned());
        self.forget_failures_of_an_older_spec();
        let failed = self.absorb_outcome();
        if let Some((info, seen)) = self.pipeline_to_work_on() {
            self.view(info, &seen);
            self.note_deployment(seen.state());
            self.notice_a_foreign_start(seen.state());
            self.settle(&seen);
            self.supersede(seen.state());
            self.vote();
            if !self.update(info, &seen) {
                self.live(info, &seen);
            }
        }
        self.explain_stale_votes();
        self.show_held();
        if let Some(error) = failed {
            self.show_failed_call(error);
        }
        self.finish()
    }

    /// The pipeline in the engine, if there is one that is ours to work on.
    fn pipeline_to_work_on(&mut self) -> Option<(&'a EngineInfo, Seen)> {
        let input = self.input;
        let (info, pipeline) = match input.engine {
            Observation::NotYet => return None,
            Observation::NotConfigured(message) => {
                self.stalled(Reason::EngineNotFound, message.clone());
                return None;
            }
            Observation::NoAnswer { kind, message } => {
                self.engine_silent(kind, message);
                return None;
            }
            Observation::Answered { info, pipeline, .. } => (info, pipeline),
        };
        if let Some(rival) = input.rival {
            self.stalled(
                Reason::NameTaken,
                format!("{rival} is older and has the same pipeline of the same engine; set another spec.pipelineName"),
            );
            // Nobody says so when the older one goes.
            self.look_again_in(RIVAL_INTERVAL);
            return None;
        }
        let content = match input.content {
            Ok(content) => content,
            Err(message) => {
                self.stalled(Reason::ContentNotFound, message.clone());
                return None;
            }
        };
        let Some(seen) = pipeline else {
            self.progressing(
                "Pending",
                Reason::Creating,
                "the pipeline is being created in the engine".into(),
            );
            self.act(
                Act::Create {
                    tag: self.tag(),
                    content: content.clone(),
                },
                Guard {
                    absent: true,
                    ..Guard::default()
                },
            );
            return None;
        };
        self.owned(seen, content).then(|| (info, seen.clone()))
    }

    /// Whether the engine's pipeline is this Pipeline's. One that was there before is taken over
    /// if it is just what the spec asks for, and is otherwise left alone.
    fn owned(&mut self, seen: &Seen, content: &Content) -> bool {
        let state = seen.state();
        if is_owned(state, self.input.pipeline) {
            return true;
        }
        let Some(full) = seen.full() else {
            self.act(Act::Look, Guard::default());
            return false;
        };
        if !engine::same_content(content, &full.content) {
            self.stalled(
                Reason::NameTaken,
                format!(
                    "the engine already has a pipeline {:?} with another program, which is left untouched; set another spec.pipelineName",
                    state.name
                ),
            );
            return false;
        }
        let others = state.tags.iter().filter(|tag| !tag.starts_with(OWNER));
        let tags = others.cloned().chain([self.tag()]).collect();
        self.progressing(
            "Pending",
            Reason::Adopting,
            "the engine already has just this pipeline; it is taken over".into(),
        );
        self.act(Act::Adopt { tags }, Guard::default());
        false
    }

    /// What the engine shows, in its own words, and what it is known to consist of.
    fn view(&mut self, info: &EngineInfo, seen: &Seen) {
        let state = seen.state();
        self.status.engine = Some(EngineView {
            pipeline_id: Some(state.id.clone()),
            deployment_id: state.deployment_id.clone(),
            deployment_status: Some(state.deployment_status.clone()),
            program_status: Some(state.program_status.clone()),
            program_version: Some(state.program_version),
            edition: Some(info.edition.clone()),
            version: Some(info.version.clone()),
        });
        if let Some(full) = seen.full() {
            self.note_content(full);
        }
    }

    /// Tells people about votes that do nothing.
    fn explain_stale_votes(&mut self) {
        let ballot = self.count_votes();
        let waiting = self.waiting();
        let message = ballot
            .stale
            .iter()
            .map(|stale| stale.explain(waiting))
            .collect::<Vec<_>>()
            .join("; ");
        self.stale_approval(&message);
    }

    fn count_votes(&self) -> Ballot {
        let mut spent: Vec<&str> = self
            .status
            .history
            .iter()
            .map(|record| record.change_id.as_str())
            .collect();
        let waiting = self.waiting();
        if waiting.is_none() {
            spent.extend(self.status.approval.as_ref().map(|a| a.change_id.as_str()));
        }
        spent.extend(self.status.settled.as_ref().map(|s| s.change_id.as_str()));
        let candidate = self.candidate();
        let field_is_spent = self
            .status
            .approval
            .as_ref()
            .and_then(|approval| approval.decision.as_ref())
            .is_some_and(|decision| decision.via == Door::Field);
        approval::count(
            self.input.pipeline,
            self.input.objects,
            &Register {
                waiting,
                candidate: candidate.as_deref(),
                spent: &spent,
                field_is_spent,
            },
        )
    }

    /// The change that can still be decided: it waits, or it is approved and the engine has not
    /// been told yet, or asks again.
    fn waiting(&self) -> Option<&Approval> {
        self.status.approval.as_ref().filter(|approval| {
            matches!(
                approval.state,
                ApprovalState::Awaiting | ApprovalState::Approved
            )
        })
    }

    fn uid(&self) -> &'a str {
        self.input
            .pipeline
            .metadata
            .uid
            .as_deref()
            .unwrap_or_default()
    }

    fn tag(&self) -> String {
        owner_tag(self.uid())
    }

    fn now(&self) -> Time {
        Time(self.input.now)
    }

    /// How long ago something was. The past never lies ahead, whatever the clocks say.
    fn since(&self, then: &Time) -> Duration {
        Duration::try_from(self.input.now.duration_since(then.0)).unwrap_or_default()
    }

    fn act(&mut self, act: Act, guard: Guard) {
        self.act = Some((act, guard));
    }

    fn look_again_in(&mut self, pause: Duration) {
        self.requeue = Some(self.requeue.map_or(pause, |other| other.min(pause)));
    }

    fn report(&mut self, reason: &'static str, message: String) {
        self.reports.push(Report {
            warning: false,
            reason,
            message,
        });
    }

    fn warn(&mut self, reason: &'static str, message: String) {
        self.reports.push(Report {
            warning: true,
            reason,
            message,
        });
    }

    fn set_approval_state(&mut self, state: ApprovalState) {
        if let Some(approval) = &mut self.status.approval {
            approval.state = state;
        }
        if state != ApprovalState::Awaiting {
            self.status.waiting_since = None;
        }
    }

    /// Puts the change that was at the gate into the history.
    fn remember(&mut self) {
        let at = self.now();
        let Some(approval) = &self.status.approval else {
            return;
        };
        self.status.history.insert(
            0,
            DecisionRecord {
                change_id: approval.change_id.clone(),
                state: approval.state,
                summary: approval.summary.clone(),
                decision: approval.decision.clone(),
                at,
            },
        );
        self.status.history.truncate(HISTORY);
    }

    /// How long the same call, just made, is given to show in the engine's answers.
    fn must_show_first(&self, act: &Act, guard: &Guard) -> Option<Duration> {
        let last = self.input.last_call?;
        let repeated = last.act == *act && last.guard == *guard && *act != Act::Look;
        let waited = self.since(&Time(last.at));
        let pause = self.input.timing.resend_after.checked_sub(waited)?;
        repeated.then_some(pause)
    }

    /// Recording comes before acting, so that every act has its intent in status.
    fn finish(mut self) -> Plan {
        self.approved_condition();
        self.status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        let stored = self.input.pipeline.status.clone().unwrap_or_default();
        let (step, reports) = if self.status != stored {
            (Step::Record(Box::new(self.status)), self.reports)
        } else if let Some((act, guard)) = self.act.take() {
            match self.must_show_first(&act, &guard) {
                Some(pause) => {
                    self.look_again_in(pause);
                    (Step::Wait, vec![])
                }
                None => (Step::Act(act, guard), vec![]),
            }
        } else {
            (Step::Wait, vec![])
        };
        Plan {
            step,
            reports,
            requeue: self.requeue,
        }
    }
}
