//! What the operator remembers of a Pipeline from one look to the next, beside what stands in its status. Pure: it is
//! asked with the time, and the tests' model drives the same. A new process remembers nothing, and looks first.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::decide::{Act, CallOutcome, LastCall, remembered};
use crate::crd::{ApprovalState, GROUP, Pipeline};

/// The longest one.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// From how many failures in a row on the pause doesn't grow any more.
const MOST_FAILURES: u32 = 16;

/// How long pauses are.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The first of them.
    pub first: Duration,
    /// From 0 to 1, drawn for each pause, so that what failed together isn't tried again together.
    pub lot: f64,
}

/// What is remembered of one Pipeline.
#[derive(Debug, Default, PartialEq)]
pub struct Memory {
    /// The last call that was made for it.
    last_call: Option<LastCall>,
    /// Which approval this process has written down that it tells the engine, and hasn't yet: the change and the number of
    /// the call.
    about_to_tell: Option<(String, i64)>,
    /// When it was written down that the pipeline is stopped with a checkpoint, where this process has done that, and hasn't
    /// asked for it yet.
    about_to_stop: Option<Time>,
    /// How often in a row it has failed.
    failures: u32,
    /// The call that failed and isn't made again yet.
    held_back: Option<HeldBack>,
}

/// A call that failed.
#[derive(Debug, PartialEq)]
struct HeldBack {
    outcome: CallOutcome,
    until: Instant,
    asked: Wishes,
}

/// The spec's generation and Sluice's annotations: whoever changes them isn't kept waiting.
type Wishes = (Option<i64>, BTreeMap<String, String>);

impl Memory {
    /// Whether there is nothing in it that could matter by now.
    pub fn is_empty(&self, now: Timestamp, matters_for: Duration) -> bool {
        self.last_call(now, matters_for).is_none()
            && self.about_to_tell.is_none()
            && self.about_to_stop.is_none()
            && self.failures == 0
            && self.held_back.is_none()
    }

    /// The last call, as long as it may not show in the engine's answers yet.
    pub fn last_call(&self, now: Timestamp, matters_for: Duration) -> Option<&LastCall> {
        let call = self.last_call.as_ref()?;
        // One that lies ahead, by a clock that was set back, was made just now.
        let age = Duration::try_from(now.duration_since(call.at)).unwrap_or_default();
        (age < matters_for).then_some(call)
    }

    /// A call is sent. Whether it arrives isn't known for certain.
    pub fn tried(&mut self, act: &Act) {
        if matches!(act, Act::Approve(_)) {
            self.about_to_tell = None;
        }
    }

    /// A call was made, or not: that is what came of it.
    pub fn made(&mut self, call: LastCall, outcome: &CallOutcome) {
        // Where the guard didn't hold, nothing was called.
        if matches!(call.act, Act::Stop { .. }) && *outcome != CallOutcome::GuardFailed {
            self.about_to_stop = None;
        }
        self.last_call = remembered(self.last_call.take(), call, outcome);
    }

    /// A status was stored in the place of another. If it says that the engine is told of an approval, that is up to this
    /// process now.
    pub fn written(&mut self, before: &Pipeline, stored: &Pipeline) {
        let now = number_of_call(stored);
        if now.is_some() && now != number_of_call(before) {
            self.about_to_tell = now;
        }
        let asked = asked_to_stop(stored);
        if asked.is_some() && asked != asked_to_stop(before) {
            self.about_to_stop = asked.cloned();
        }
    }

    /// Whether this process knows that the pipeline hasn't been asked yet to stop with a checkpoint, as it is written down. Asked
    /// again, it may have written that checkpoint by then.
    pub fn is_about_to_stop(&self, stored: &Pipeline) -> bool {
        self.about_to_stop.is_some() && self.about_to_stop.as_ref() == asked_to_stop(stored)
    }

    /// Whether it is written down that the engine is told of the approval, and this process knows that it wasn't yet.
    pub fn is_about_to_tell(&self, stored: &Pipeline) -> bool {
        self.about_to_tell.is_some() && self.about_to_tell == number_of_call(stored)
    }

    /// The next pause after a failure: twice the last one up to a limit, and up to half as much again by lot.
    pub fn next_pause(&mut self, pace: Pace) -> Duration {
        self.held_back = None;
        let pause = pace
            .first
            .saturating_mul(2u32.saturating_pow(self.failures))
            .min(LONGEST_PAUSE);
        self.failures = (self.failures + 1).min(MOST_FAILURES);
        pause.mul_f64(1.0 + pace.lot.clamp(0.0, 1.0) / 2.0)
    }

    /// A call to the engine failed. It isn't made again for the pause that is returned, unless something else is asked for.
    pub fn failed(
        &mut self,
        pipeline: &Pipeline,
        outcome: CallOutcome,
        now: Instant,
        pace: Pace,
    ) -> Duration {
        let pause = self.next_pause(pace);
        self.held_back = Some(HeldBack {
            outcome,
            until: now + pause,
            asked: wishes(pipeline),
        });
        pause
    }

    /// The call that failed, if its pause isn't over, and what is left of that.
    pub fn held_back(&self, pipeline: &Pipeline, now: Instant) -> Option<(CallOutcome, Duration)> {
        let held = self.held_back.as_ref()?;
        let rest = held.until.checked_duration_since(now)?;
        let is_it = !rest.is_zero() && held.asked == wishes(pipeline);
        is_it.then(|| (held.outcome.clone(), rest))
    }

    /// It went well.
    pub fn forget_failures(&mut self) {
        self.failures = 0;
        self.held_back = None;
    }
}

fn wishes(pipeline: &Pipeline) -> Wishes {
    let annotations = pipeline.metadata.annotations.iter().flatten();
    // Of others, an object from the store may lack some that the API server has.
    let is_ours = |key: &str| {
        let rest = key.strip_prefix(GROUP);
        rest.is_some_and(|rest| rest.starts_with('/'))
    };
    let ours = annotations.filter(|(key, _)| is_ours(key));
    (
        pipeline.metadata.generation,
        ours.map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    )
}

/// When it was written down that the pipeline is stopped with a checkpoint.
fn asked_to_stop(pipeline: &Pipeline) -> Option<&Time> {
    let run = pipeline.status.as_ref()?.run.as_ref()?;
    run.graceful_stop.as_ref().map(|stop| &stop.at)
}

/// Which approval the engine is being told of, and for the how-many-eth time.
fn number_of_call(pipeline: &Pipeline) -> Option<(String, i64)> {
    let approval = pipeline.status.as_ref()?.approval.as_ref()?;
    (approval.state == ApprovalState::Applying && approval.calls > 0)
        .then(|| (approval.change_id.clone(), approval.calls))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{EngineCall, Guard};

    const FIRST: Duration = Duration::from_millis(500);
    const MATTERS: Duration = Duration::from_secs(10);

    fn pipeline(generation: i64) -> Pipeline {
        let mut pipeline = Pipeline::new("orders", serde_json::from_str("{}").expect("a spec"));
        pipeline.metadata.generation = Some(generation);
        pipeline
    }

    fn pace(lot: f64) -> Pace {
        Pace { first: FIRST, lot }
    }

    fn a_failure() -> CallOutcome {
        CallOutcome::Failed {
            act: EngineCall::Start,
            error: crate::engine::Error::Unreachable("nobody is there".to_owned()),
        }
    }

    #[test]
    fn pauses_grow_to_a_limit_and_start_anew_after_a_success() {
        for lot in [0.0, 0.9] {
            let mut memory = Memory::default();
            let pauses: Vec<Duration> = (0..12).map(|_| memory.next_pause(pace(lot))).collect();
            assert!(pauses[0] >= FIRST && pauses[0] < FIRST * 2);
            assert!(pauses[3] >= FIRST * 8);
            assert!(pauses.iter().all(|pause| *pause < LONGEST_PAUSE * 2));
            memory.forget_failures();
            assert!(memory.next_pause(pace(lot)) < FIRST * 2);
        }
    }

    #[test]
    fn what_failed_is_held_back_for_its_pause_and_for_the_same_wishes_only() {
        let mut memory = Memory::default();
        let begun = Instant::now();
        let pause = memory.failed(&pipeline(1), a_failure(), begun, pace(0.0));
        let held = |memory: &Memory, generation, at| memory.held_back(&pipeline(generation), at);
        assert_eq!(held(&memory, 1, begun), Some((a_failure(), pause)));
        assert_eq!(held(&memory, 2, begun), None, "something else is asked for");
        assert_eq!(held(&memory, 1, begun + pause), None);
        let mut asked = pipeline(1);
        asked.metadata.annotations = Some([("sluice.dev/retry".into(), "x".into())].into());
        assert_eq!(memory.held_back(&asked, begun), None);
        asked.metadata.annotations = Some([("sluice.dev.example/x".into(), "x".into())].into());
        assert!(
            memory.held_back(&asked, begun).is_some(),
            "none of Sluice's"
        );
        memory.forget_failures();
        assert!(memory.is_empty(Timestamp::UNIX_EPOCH, MATTERS));
    }

    /// What another process has written down it may have done, too.
    #[test]
    fn a_stop_is_asked_for_first_only_by_the_process_that_has_just_written_it_down() {
        let at = Timestamp::from_second(1_700_000_000).expect("a time");
        let before = pipeline(1);
        let mut stored = pipeline(1);
        let run = serde_json::json!({
            "changeId": "c", "bootstrapPolicy": "await_approval", "gracefulStop": {"at": at},
            "target": {"sql": "", "udfRust": "", "udfToml": "", "config": ""},
        });
        let status = serde_json::json!({"run": run});
        stored.status = serde_json::from_value(status).expect("a status");
        let mut memory = Memory::default();
        assert!(!memory.is_about_to_stop(&stored), "a new process");
        memory.written(&before, &stored);
        assert!(memory.is_about_to_stop(&stored));
        assert!(!memory.is_empty(at, MATTERS));
        let stop = LastCall {
            act: Act::Stop { force: false },
            guard: Guard::default(),
            at,
        };
        memory.made(stop.clone(), &CallOutcome::GuardFailed);
        assert!(memory.is_about_to_stop(&stored), "nothing was called");
        memory.made(stop, &CallOutcome::Done(EngineCall::Stop));
        assert!(!memory.is_about_to_stop(&stored), "it was called");
        memory.written(&stored, &stored);
        assert!(
            !memory.is_about_to_stop(&stored),
            "it was written down before"
        );
    }

    #[test]
    fn a_call_matters_until_it_must_show() {
        let mut memory = Memory::default();
        let at = Timestamp::from_second(1_700_000_000).expect("a time");
        let call = LastCall {
            act: Act::Pause,
            guard: Guard::default(),
            at,
        };
        memory.made(call.clone(), &CallOutcome::Done(EngineCall::Pause));
        let after = |seconds: i64| Timestamp::from_second(1_700_000_000 + seconds).expect("a time");
        for (seconds, matters) in [(0, true), (9, true), (10, false), (-3600, true)] {
            let last = memory.last_call(after(seconds), MATTERS);
            assert_eq!(last.is_some(), matters, "{seconds}");
            assert_eq!(memory.is_empty(after(seconds), MATTERS), !matters);
        }
    }
}
