//! Clocks that are set back: what is waited for must not begin to wait for the day on which it began.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::crd::{Approval, Failures, GracefulStop, Interference, Loss, PipelineStatus, Run, Seal};
use crate::decide::record::Record;

impl Record<'_> {
    /// What is waited for since a time that lies ahead is waited for since now: the clock by which it was written
    /// was ahead, or this one was set back. Pauses and periods begin anew once, and don't last until that
    /// time has come. No time makes anything count that didn't.
    pub(crate) fn no_time_lies_ahead(&mut self) {
        let mut status = std::mem::take(&mut self.status);
        let mut all = waited_since(&mut status);
        if all.iter().any(|time| self.input.lies_ahead(time)) {
            let now = self.input.now();
            for time in &mut all {
                if time.0 > now.0 {
                    **time = now.clone();
                }
            }
        }
        self.status = status;
    }
}

/// All times since which something is waited for. Taken apart whole, so that whoever adds one says here what it is.
pub(crate) fn waited_since(status: &mut PipelineStatus) -> Vec<&mut Time> {
    let PipelineStatus {
        lost,
        run,
        interference,
        seal,
        waiting_since,
        held_up_since,
        approval,
        failures,
        // No times, or such as only say when something was.
        observed_generation: _,
        phase: _,
        conditions: _,
        pipeline_name: _,
        engine: _,
        made_anew: _,
        emptied: _,
        content: _,
        settled: _,
        preview: _,
        build: _,
        refusal: _,
        handled_retry: _,
        mark: _,
        refused_mark: _,
        handled_adopt: _,
        handled_restart: _,
        handled_clear: _,
        clearing: _,
        idle_force_stop: _,
        policies: _,
        turns: _,
        spent_votes: _,
        history: _,
        audit_pending: _,
    } = status;
    let last_look_at = lost
        .as_mut()
        .and_then(|Loss { last_look_at, .. }| last_look_at.as_mut());
    let (past_gate_since, graceful_stop) = match run {
        Some(Run {
            past_gate_since,
            graceful_stop,
            ..
        }) => (past_gate_since.as_mut(), graceful_stop.as_mut()),
        None => (None, None),
    };
    let last_call_at = approval
        .as_mut()
        .and_then(|Approval { last_call_at, .. }| last_call_at.as_mut());
    [
        waiting_since.as_mut(),
        held_up_since.as_mut(),
        last_look_at,
        past_gate_since,
        graceful_stop.map(|GracefulStop { at, .. }| at),
        last_call_at,
        interference
            .as_mut()
            .map(|Interference { last_at, .. }| last_at),
        seal.as_mut().map(|Seal { requested_at, .. }| requested_at),
        failures.as_mut().map(|Failures { last_at, .. }| last_at),
    ]
    .into_iter()
    .flatten()
    .collect()
}
