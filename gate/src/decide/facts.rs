//! What follows from the input alone.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::SignedDuration;

use crate::decide::reason::READY;
use crate::decide::{Act, CallOutcome, EngineCall, Guard, Input, Reason};
use crate::engine;

/// By how much the clocks of two replicas may differ without anybody minding.
const SKEW: Duration = Duration::from_secs(60);

impl<'a> Input<'a> {
    pub(crate) fn uid(&self) -> &'a str {
        self.pipeline.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(crate) fn now(&self) -> Time {
        Time(self.now)
    }

    /// How long ago something was. The past never lies ahead, whatever the clocks say.
    pub(crate) fn since(&self, then: &Time) -> Duration {
        Duration::try_from(self.now.duration_since(then.0)).unwrap_or_default()
    }

    /// The call that failed a while ago, and is known to have.
    pub(crate) fn held_back(&self) -> Option<(EngineCall, &'a engine::Error)> {
        match self.held_back? {
            CallOutcome::Failed { act, error } => Some((*act, error)),
            _ => None,
        }
    }

    pub(crate) fn is_held_back(&self, act: &Act) -> bool {
        let call = act.call();
        let last = self.outcome.into_iter().chain(self.held_back);
        let mut failed = last.filter(|it| it.holds_back_only_itself());
        failed.any(|it| matches!(it, CallOutcome::Failed { act, .. } if *act == call))
    }

    /// Whether whatever was called last shows in the engine's answers by now.
    pub(crate) fn last_call_shows(&self) -> bool {
        let last = self.last_call.map(|last| Time(last.at));
        last.is_none_or(|at| self.since(&at) > self.timing.resend_after)
    }

    /// How long the same call, just made, is given to show in the engine's answers.
    pub(crate) fn must_show_first(&self, act: &Act, guard: &Guard) -> Option<Duration> {
        let last = self.last_call?;
        let repeated = last.act == *act && last.guard == *guard && *act != Act::Look;
        if self.lies_ahead(&Time(last.at)) {
            return None;
        }
        let waited = self.since(&Time(last.at));
        let pause = self.timing.resend_after.checked_sub(waited)?;
        repeated.then_some(pause)
    }

    /// Whether something is said to have happened that hasn't yet, by more than clocks differ.
    pub(crate) fn lies_ahead(&self, time: &Time) -> bool {
        let ahead = time.0.duration_since(self.now);
        ahead > SignedDuration::try_from(SKEW).unwrap_or(SignedDuration::MAX)
    }

    /// Whether the spec as it is was in force by what is stored.
    pub(crate) fn was_in_force(&self) -> bool {
        self.stored(READY).is_some_and(|ready| {
            ready.status == "True" && ready.observed_generation == self.pipeline.metadata.generation
        })
    }

    /// The condition as it is stored: what was set and unset on the way here doesn't matter.
    pub(crate) fn stored(&self, type_: &str) -> Option<&Condition> {
        let status = self.pipeline.status.as_ref()?;
        status.conditions.iter().find(|c| c.type_ == type_)
    }

    pub(crate) fn is_news(&self, type_: &str, reason: Reason) -> bool {
        self.stored(type_)
            .is_none_or(|condition| condition.reason != reason.as_str())
    }

    /// A command that sets an annotation of the Pipeline.
    pub(crate) fn command(&self, annotation: &str, value: &str) -> String {
        format!(
            "kubectl annotate pipeline {} -n {} {annotation}={value} --overwrite",
            self.name(),
            self.namespace(),
        )
    }

    pub(crate) fn name(&self) -> &str {
        self.pipeline.metadata.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn namespace(&self) -> &str {
        self.pipeline
            .metadata
            .namespace
            .as_deref()
            .unwrap_or_default()
    }

    /// Whether the spec's content is unknown.
    pub(crate) fn is_unread(&self) -> bool {
        self.content.is_err()
    }
}
