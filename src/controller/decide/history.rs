//! The last decisions, within bounds: a status that the API server doesn't take any more would stop
//! everything.

use serde_json::{Map, Value};

use super::Decider;
use crate::crd::{Approval, CompactObject, Decision, DecisionRecord, Vote};
use crate::text::{self, Limit};

/// How many decisions a status remembers.
const MOST_RECORDS: usize = 20;

/// How many characters all records together may take. Older ones are remembered without diff and votes.
const MOST_TOGETHER: usize = 64 * 1024;

/// How many characters a diff may take in a record, or in a line of the audit log.
const MOST_DIFF: usize = 16 * 1024;

/// How many votes a record holds.
const MOST_VOTES: usize = 20;

/// How much of the reason of one vote among others is remembered.
const ONE_OF_MANY: Limit = Limit::Characters(256);

impl Decider<'_> {
    /// Puts the change that was at the gate into the history.
    pub(super) fn remember(&mut self) {
        let Some(approval) = self.status.approval.clone() else {
            return;
        };
        self.remember_as_it_was(&approval);
    }

    /// Puts a change into the history that was set apart, as it stood then.
    pub(super) fn remember_as_it_was(&mut self, approval: &Approval) {
        let record = record(approval, self.now());
        self.status.history.insert(0, record);
        bound(&mut self.status.history);
    }
}

fn record(
    approval: &Approval,
    at: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time,
) -> DecisionRecord {
    DecisionRecord {
        change_id: approval.change_id.clone(),
        state: approval.state,
        summary: text::foreign(&approval.summary, text::REASON),
        decision: approval.decision.as_ref().map(short_decision),
        at,
        since: Some(approval.since.clone()),
        parent: Some(approval.parent.clone()),
        changed: approval.changed.clone(),
        diff: small_diff(approval.diff.as_ref()),
        diff_digest: Some(approval.diff_digest.clone()),
        votes: short_votes(&approval.votes),
    }
}

/// A diff that isn't too large, without its empty lists. That there is no diff of the program stays
/// there: it means that nobody knows.
pub(in crate::controller) fn small_diff(
    diff: Option<&Map<String, Value>>,
) -> Option<CompactObject> {
    let mut diff = diff?.clone();
    let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    diff.retain(|_, value| !is_empty(value));
    if let Some(program) = diff.get_mut("program_diff").and_then(Value::as_object_mut) {
        program.retain(|_, value| !is_empty(value));
    }
    let compact = CompactObject::from(&diff);
    (compact.size() <= MOST_DIFF).then_some(compact)
}

/// A decision, with what people wrote cut to size.
pub(in crate::controller) fn short_decision(decision: &Decision) -> Decision {
    let mut decision = decision.clone();
    decision.by = text::foreign_line(&decision.by, text::PERSON);
    let reason = decision.reason.as_deref();
    decision.reason = reason.map(|reason| text::foreign(reason, text::REASON));
    decision
}

/// Votes, with what people wrote cut to size.
pub(in crate::controller) fn short_votes(votes: &[Vote]) -> Vec<Vote> {
    let votes = votes.iter().take(MOST_VOTES).cloned();
    votes
        .map(|mut vote| {
            vote.by = text::foreign_line(&vote.by, text::PERSON);
            let reason = vote.reason.as_deref();
            vote.reason = reason.map(|reason| text::foreign(reason, ONE_OF_MANY));
            vote
        })
        .collect()
}

/// Cleans what people wrote in votes, and cuts it to the size of a decision's.
pub(super) fn shorten(votes: &mut [Vote]) {
    for vote in votes {
        vote.by = text::foreign_line(&vote.by, text::PERSON);
        let reason = vote.reason.as_deref();
        vote.reason = reason.map(|reason| text::foreign(reason, text::REASON));
    }
}

fn bound(history: &mut Vec<DecisionRecord>) {
    history.truncate(MOST_RECORDS);
    let mut room = MOST_TOGETHER;
    for record in history {
        let size = length(record);
        if size > room {
            record.diff = None;
            record.votes.clear();
        }
        room = room.saturating_sub(size);
    }
}

fn length(value: &impl serde::Serialize) -> usize {
    // What is measured here are structs and JSON values: they always serialize.
    serde_json::to_string(value).map_or(0, |text| text.len())
}

#[cfg(test)]
mod tests {
    use super::super::tests::model::World;
    use super::*;
    use serde_json::json;

    /// A change that was decided, as large as anybody can make it.
    fn large() -> Approval {
        let world = World::waiting("A", "B");
        let mut approval = world.status().approval.expect("a change");
        let vote = json!({
            "outcome": "Approved", "by": "x".repeat(9_000), "verified": true, "via": "Annotation",
            "reason": "ü".repeat(200_000),
        });
        approval.votes = vec![serde_json::from_value(vote).unwrap(); 100];
        let names: Vec<String> = (0..700).map(|n| format!("view_number_{n}")).collect();
        approval.diff = json!({"program_diff": {"modified_views": names}})
            .as_object()
            .cloned();
        approval
    }

    #[test]
    fn a_history_stays_small_whatever_people_write() {
        let mut world = World::waiting("A", "B");
        let approval = large();
        let mut history = vec![];
        for number in 0..50 {
            let mut next = record(&approval, world.time());
            next.change_id = format!("{number}");
            history.insert(0, next);
            bound(&mut history);
        }
        assert_eq!(history.len(), MOST_RECORDS);
        assert_eq!(history[0].change_id, "49");
        assert!(history[0].diff.is_some() && !history[0].votes.is_empty());
        let last = history.last().unwrap();
        assert_eq!((&last.diff, last.votes.len()), (&None, 0));
        assert_eq!(last.diff_digest.as_ref(), Some(&approval.diff_digest));
        let size = length(&history);
        assert!(size < 2 * MOST_TOGETHER, "{size}");
        world.settle();
    }

    #[test]
    fn of_a_diff_all_is_kept_but_what_says_nothing() {
        let kept = |diff: serde_json::Value| {
            small_diff(diff.as_object()).map(|kept| serde_json::Value::Object(kept.to_map()))
        };
        assert_eq!(
            kept(json!({
                "program_diff": {"added_views": ["v"], "removed_views": []},
                "program_diff_error": null, "added_input_connectors": [], "odd": {},
            })),
            Some(
                json!({"program_diff": {"added_views": ["v"]}, "program_diff_error": null, "odd": {}})
            )
        );
        let unknown = json!({"program_diff": null, "program_diff_error": "why"});
        assert_eq!(kept(unknown.clone()), Some(unknown));
        let nothing = json!({"program_diff": {"added_views": []}});
        assert_eq!(kept(nothing), Some(json!({"program_diff": {}})));
    }

    #[test]
    fn a_diff_that_is_too_large_is_left_out() {
        let mut approval = large();
        let small = record(&approval, approval.since.clone());
        assert!(small.diff.is_some());
        let long = "v".repeat(MOST_DIFF);
        approval.diff = json!({"program_diff": {"added_views": [long]}})
            .as_object()
            .cloned();
        let large = record(&approval, approval.since.clone());
        assert_eq!(large.diff, None);
        assert_eq!(large.diff_digest.as_ref(), Some(&approval.diff_digest));
    }
}
