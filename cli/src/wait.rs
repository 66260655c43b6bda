//! `kubectl sluice approve --wait`: follows an approved change until it is applied.

use std::pin::pin;
use std::time::Duration;

use futures::TryStreamExt;
use kube::runtime::watcher;
use sluice_gate::crd::{Approval, ApprovalState, Decision, Pipeline, Verdict};
use sluice_guarded as guarded;

use crate::cluster::Cluster;
use crate::connect::chain;
use crate::error::Error;
use crate::output::{print, tell};

/// Returns when the change is applied; fails if it can't be any more, or isn't within `timeout`.
pub async fn until_applied(
    cluster: &Cluster,
    pipeline: &str,
    change: &str,
    timeout: Duration,
) -> Result<(), Error> {
    match tokio::time::timeout(timeout, follow(cluster, pipeline, change)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::NotInTime {
            change: change.to_owned(),
            pipeline: pipeline.to_owned(),
            namespace: cluster.namespace.clone(),
            seconds: timeout.as_secs(),
        }),
    }
}

async fn follow(cluster: &Cluster, pipeline: &str, change: &str) -> Result<(), Error> {
    let mut updates = pin!(guarded::watch_object(cluster.pipelines(), pipeline));
    let mut last_seen = None;
    loop {
        let seen = match updates.try_next().await {
            Ok(Some(seen)) => seen,
            Ok(None) => continue,
            Err(error) => {
                // A broken connection is made anew by the watcher; a refusal stays one.
                if let Some(refused) = refusal(&error) {
                    return Err(refused);
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let seen = seen.map(|seen| seen.0).transpose();
        let seen = seen.map_err(|unfit| Error::Unreadable {
            pipeline: pipeline.to_owned(),
            why: unfit.why,
        })?;
        match progress(seen.as_ref(), change) {
            Progress::Going(now) => {
                if last_seen != Some(now) {
                    tell(&format!("{now}…\n"));
                    last_seen = Some(now);
                }
            }
            Progress::Done(text) => {
                print(&format!("{text}\n"));
                return Ok(());
            }
            Progress::Failed(text) => return Err(Error::NotApplied(text)),
        }
    }
}

/// The error of a watch that trying again won't heal.
fn refusal(error: &watcher::Error) -> Option<Error> {
    use watcher::Error::{InitialListFailed, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(cause) | WatchStartFailed(cause) | WatchFailed(cause) => match cause {
            kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
                Some(Error::Forbidden(format!(
                    "the change is approved, but it can't be followed: {}",
                    status.message
                )))
            }
            _ => None,
        },
        watcher::Error::WatchError(_) => None,
        other => Some(Error::Unreachable(chain(other))),
    }
}

/// How far an approved change is.
#[derive(Debug, PartialEq)]
enum Progress {
    /// On its way.
    Going(&'static str),
    /// It is applied.
    Done(String),
    /// It won't be applied by this approval.
    Failed(String),
}

/// What a Pipeline's status says of a change.
fn progress(pipeline: Option<&Pipeline>, change: &str) -> Progress {
    let Some(pipeline) = pipeline else {
        return Progress::Failed("the Pipeline was deleted".into());
    };
    let Some(status) = &pipeline.status else {
        return Progress::Going("waiting for Sluice");
    };
    if let Some(approval) = &status.approval
        && approval.change_id == change
    {
        return of_state(
            change,
            approval.state,
            approval.decision.as_ref(),
            failure(approval),
        );
    }
    // Another change took its place since; what became of ours is in the history.
    match status
        .history
        .iter()
        .find(|record| record.change_id == change)
    {
        Some(record) => {
            let progress = of_state(change, record.state, record.decision.as_ref(), None);
            let waits = status.approval.as_ref();
            let waits = waits.filter(|next| next.state == ApprovalState::Awaiting);
            match (progress, waits) {
                (Progress::Failed(why), Some(next)) => Progress::Failed(format!(
                    "{why}. Change {} waits now: kubectl sluice diff {} -n {}",
                    next.change_id,
                    pipeline.metadata.name.as_deref().unwrap_or_default(),
                    pipeline.metadata.namespace.as_deref().unwrap_or_default(),
                )),
                (progress, _) => progress,
            }
        }
        None => Progress::Failed(format!(
            "change {change} waits no longer: another one took its place before it was applied"
        )),
    }
}

fn failure(approval: &Approval) -> Option<&str> {
    approval.failure.as_deref()
}

fn of_state(
    change: &str,
    state: ApprovalState,
    decision: Option<&Decision>,
    failure: Option<&str>,
) -> Progress {
    match state {
        ApprovalState::Awaiting => Progress::Going("waiting until Sluice has counted the vote"),
        ApprovalState::Approved => Progress::Going("approved"),
        ApprovalState::Applying => Progress::Going("the engine has been told"),
        ApprovalState::Unknown => Progress::Going("in a state that this version doesn't know"),
        ApprovalState::Applied => Progress::Done(format!("Change {change} is applied.")),
        ApprovalState::Sealed => Progress::Done(format!(
            "Change {change} is applied, and a checkpoint keeps it."
        )),
        ApprovalState::ApplyFailed => Progress::Failed(format!(
            "change {change} was approved, but applying it failed: {}",
            failure.unwrap_or("the engine gave no reason")
        )),
        ApprovalState::Rejected => {
            let rejection = decision.filter(|decision| decision.outcome == Verdict::Rejected);
            let by = rejection
                .map(|it| format!(" by {}", it.by))
                .unwrap_or_default();
            let why = rejection.and_then(|it| it.reason.as_ref());
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            Progress::Failed(format!("change {change} is rejected{by}{why}"))
        }
        ApprovalState::Expired => {
            Progress::Failed(format!("change {change} waited for too long and expired"))
        }
        ApprovalState::Superseded => Progress::Failed(format!(
            "change {change} waits no longer: another one took its place, it was taken back, or it is asked about anew"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choose::tests::{CHANGE, OTHER, pipeline};
    use serde_json::json;

    #[test]
    fn every_state_of_the_change_ends_the_wait_or_goes_on() {
        for (state, expected) in [
            ("Awaiting", None),
            ("Approved", None),
            ("Applying", None),
            ("SomethingNew", None),
            ("Applied", Some(true)),
            ("Sealed", Some(true)),
            ("ApplyFailed", Some(false)),
            ("Rejected", Some(false)),
            ("Expired", Some(false)),
            ("Superseded", Some(false)),
        ] {
            let ended = match progress(Some(&pipeline(state)), CHANGE) {
                Progress::Going(_) => None,
                Progress::Done(_) => Some(true),
                Progress::Failed(_) => Some(false),
            };
            assert_eq!(ended, expected, "{state}");
        }
    }

    #[test]
    fn a_failure_says_why() {
        let mut failed = pipeline("ApplyFailed");
        failed
            .status
            .as_mut()
            .unwrap()
            .approval
            .as_mut()
            .unwrap()
            .failure = Some("no such topic".into());
        assert_eq!(
            progress(Some(&failed), CHANGE),
            Progress::Failed(format!(
                "change {CHANGE} was approved, but applying it failed: no such topic"
            ))
        );
        let mut rejected = pipeline("Rejected");
        rejected.status.as_mut().unwrap().approval.as_mut().unwrap().decision = serde_json::from_value(json!({
            "outcome": "Rejected", "by": "bob", "verified": true, "via": "Object", "reason": "too early", "at": "2026-01-01T00:00:00Z"
        }))
        .unwrap();
        assert_eq!(
            progress(Some(&rejected), CHANGE),
            Progress::Failed(format!("change {CHANGE} is rejected by bob: too early"))
        );
        assert!(matches!(progress(None, CHANGE), Progress::Failed(_)));
    }

    #[test]
    fn a_change_that_another_one_followed_is_found_in_the_history() {
        let mut later = pipeline("Awaiting");
        assert!(matches!(progress(Some(&later), OTHER), Progress::Failed(_)));
        later.status.as_mut().unwrap().history = serde_json::from_value(json!([
            {"changeId": OTHER, "state": "Sealed", "summary": "", "at": "2026-01-01T00:00:00Z"}
        ]))
        .unwrap();
        assert!(matches!(progress(Some(&later), OTHER), Progress::Done(_)));
    }

    #[test]
    fn who_waits_for_a_change_that_is_asked_about_anew_is_told_the_new_one() {
        let mut anew = pipeline("Awaiting");
        let status = anew.status.as_mut().unwrap();
        let mut approval = status.approval.clone().unwrap();
        approval.change_id = OTHER.into();
        status.approval = Some(approval);
        status.history = serde_json::from_value(json!([{
            "changeId": CHANGE, "state": "Superseded", "summary": "s", "at": "2026-01-01T00:00:00Z",
        }]))
        .unwrap();
        let Progress::Failed(why) = progress(Some(&anew), CHANGE) else {
            panic!("it waits no longer");
        };
        let command = format!("Change {OTHER} waits now: kubectl sluice diff orders -n shop");
        assert!(why.ends_with(&command), "{why}");
    }
}
