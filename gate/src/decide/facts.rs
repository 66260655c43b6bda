//! What follows from the input alone.

use crate::decide::happened::build::PREFIX;
use crate::decide::happened::words_of_failure;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::SignedDuration;

use crate::change::Content;
use crate::crd::{Approval, BootstrapPolicy, EngineContent, Target, annotation};
use crate::decide::happened::base::Base;
use crate::decide::happened::clock::SKEW;
use crate::decide::happened::failures::{MAX_RESTART_BACKOFF, backoff};
use crate::decide::happened::interference::LONG_FOR_A_CLEAR;
use crate::decide::next::update::{beside_what_others_set, leaves};
use crate::decide::shown::conditions::READY;
use crate::decide::{Act, EngineCall, Guard, Input, Outcome, Reason, Seen};
use crate::engine::PipelineState;
use crate::mark::OwnerName;
use crate::{change, engine, mark};

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
            Outcome::Failed { act, error } => Some((*act, error)),
            _ => None,
        }
    }

    pub(crate) fn is_held_back(&self, act: &Act) -> bool {
        let call = act.call();
        let last = self.outcome.into_iter().chain(self.held_back);
        let mut failed = last.filter(|it| it.holds_back_only_itself());
        failed.any(|it| matches!(it, Outcome::Failed { act, .. } if *act == call))
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

    /// The name of the pipeline that a target of this Pipeline is compiled as, beside the pipeline with
    /// this id, if one had that name. The engine gives ids by lot.
    pub(crate) fn build_name(&self, target: &Target, beside: Option<&str>) -> String {
        let uid: String = self.uid().chars().filter(char::is_ascii_hexdigit).collect();
        let uid = uid.get(..8).unwrap_or(&uid);
        let digest = match beside {
            None => change::digest(target),
            Some(id) => change::digest(&(target, id)),
        };
        format!("{PREFIX}{uid}-{}", digest.get(..8).unwrap_or(&digest))
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

    /// The engine's error in words that say what is wrong and what to do.
    pub(crate) fn in_words(&self, code: &str, message: &str) -> String {
        words_of_failure::explain(code, message)
    }

    /// The pause grows with each failure; the jitter comes from the uid, so that pipelines that
    /// failed together don't start together, and the plan stays the same for the same input.
    pub(crate) fn restart_pause(&self, failures: i64) -> Duration {
        let pause = backoff(
            self.timing.restart_backoff,
            MAX_RESTART_BACKOFF,
            failures - 1,
        );
        let spread = change::digest(&(self.uid(), failures));
        let percent = u32::from_str_radix(&spread[..4], 16).unwrap_or(0) % 20;
        (pause + pause * percent / 100).min(MAX_RESTART_BACKOFF)
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

    /// Whether the engine may be at a clear of Sluice's, of which it hasn't answered.
    pub(crate) fn may_still_be_cleared(&self) -> bool {
        let last = self.last_call;
        let clear = last.filter(|last| last.act == Act::Clear);
        clear.is_some_and(|last| self.since(&Time(last.at)) < LONG_FOR_A_CLEAR)
    }

    pub(crate) fn could_not_be_applied(&self, approval: &Approval) -> String {
        let id = &approval.change_id;
        format!(
            "the approved change {id} could not be applied: {}. It is not tried again by itself: correct the program, or ask anew with: {}",
            approval.failure.as_deref().unwrap_or_default(),
            self.command(annotation::RETRY, id),
        )
    }

    /// Whether there is no checkpoint to start from.
    pub(crate) fn has_nothing_kept(&self, state: &PipelineState) -> bool {
        state.checkpoints.is_empty()
    }

    /// Whether a name is this Pipeline's.
    pub(crate) fn was_this(&self, owner: &OwnerName) -> bool {
        *owner == self.owner_name()
    }

    pub(crate) fn owner_name(&self) -> OwnerName {
        OwnerName {
            namespace: self.namespace().to_owned(),
            name: self.name().to_owned(),
        }
    }

    pub(crate) fn owner_tags(&self) -> Vec<String> {
        mark::owner_tags(self.uid(), &self.owner_name())
    }

    /// Whether `bootstrapPolicy: allow` lets through what isn't asked about by the engine. State is lost only where
    /// that, too, is allowed.
    pub(crate) fn is_allowed(&self, base: &Base, target: &Target) -> bool {
        self.is_said_beforehand(base, target).is_some()
    }

    /// What of the spec lets it through, and its value in words.
    pub(crate) fn is_said_beforehand(
        &self,
        base: &Base,
        target: &Target,
    ) -> Option<(&'static str, &'static str)> {
        let spec = &self.pipeline.spec;
        let allows = spec.bootstrap_policy == BootstrapPolicy::Allow;
        let policy = ("spec.bootstrapPolicy", "bootstrapPolicy is allow");
        let state_loss = ("spec.allowStateLoss", "allowStateLoss is true");
        match base {
            // That says nothing of another program than the one that ran.
            Base::Gone(_) if !base.had_run_with(target) => None,
            Base::Gone(_) if spec.bootstrap_policy == BootstrapPolicy::Reject => None,
            Base::Gone(_) if spec.allow_state_loss => Some(state_loss),
            Base::Gone(_) => allows.then_some(policy),
            _ => (allows && (spec.allow_state_loss || !base.is_lost_by(target))).then_some(policy),
        }
    }

    /// Whether the spec's content is unknown.
    pub(crate) fn is_unread(&self) -> bool {
        self.content.is_err()
    }

    /// The content as it is sent. The engine replaces a configuration as a whole, so what others have set of it, and the spec
    /// never named, is sent along: nobody would be asked about those settings. `None` if the engine has to be
    /// looked at for it.
    pub(crate) fn with_what_others_set(
        &self,
        content: &Content,
        held: &EngineContent,
        seen: &Seen,
    ) -> Option<Content> {
        if !seen.state().is_stopped() || leaves(content) == (false, false) {
            return Some(content.clone());
        }
        let there = &seen.full()?.content;
        Some(beside_what_others_set(content, held, there))
    }
}
