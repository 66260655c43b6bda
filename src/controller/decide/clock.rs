//! Clocks that are set back: what is waited for must not begin to wait for the day on which it began.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;

use super::Decider;

/// By how much the clocks of two replicas may differ without anybody minding.
const SKEW: Duration = Duration::from_secs(60);

impl Decider<'_> {
    /// Whether something is said to have happened that hasn't yet, by more than clocks differ.
    pub(super) fn lies_ahead(&self, time: &Time) -> bool {
        let ahead = time.0.duration_since(self.input.now);
        ahead > SignedDuration::try_from(SKEW).unwrap_or(SignedDuration::MAX)
    }

    /// What is waited for since a time that lies ahead is waited for since now: the clock by which it was written
    /// was ahead, or this one was set back. Pauses and periods begin anew once, and don't last until that
    /// time has come. No time makes anything count that didn't.
    pub(super) fn no_time_lies_ahead(&mut self) {
        let status = &self.status;
        let approval = status.approval.as_ref();
        let all = [
            status.waiting_since.as_ref(),
            status.failures.as_ref().map(|failures| &failures.last_at),
            status.interference.as_ref().map(|known| &known.last_at),
            status.seal.as_ref().map(|seal| &seal.requested_at),
            status
                .run
                .as_ref()
                .and_then(|run| run.past_gate_since.as_ref()),
            approval.and_then(|approval| approval.last_call_at.as_ref()),
        ];
        if !all.into_iter().flatten().any(|time| self.lies_ahead(time)) {
            return;
        }
        let now = self.now();
        let latest = |time: &mut Time| {
            if time.0 > now.0 {
                *time = now.clone();
            }
        };
        let status = &mut self.status;
        let approval = status.approval.as_mut();
        let all = [
            status.waiting_since.as_mut(),
            status
                .failures
                .as_mut()
                .map(|failures| &mut failures.last_at),
            status.interference.as_mut().map(|known| &mut known.last_at),
            status.seal.as_mut().map(|seal| &mut seal.requested_at),
            status
                .run
                .as_mut()
                .and_then(|run| run.past_gate_since.as_mut()),
            approval.and_then(|approval| approval.last_call_at.as_mut()),
        ];
        all.into_iter().flatten().for_each(latest);
    }
}
