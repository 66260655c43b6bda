//! The last decisions, within bounds: a status that the API server doesn't take any more would stop
//! everything.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value};

use crate::crd::{Approval, CompactObject, Decision, DecisionRecord, Verdict, Vote};
use crate::engine::diff;
use crate::text::{self, Limit};

/// How many decisions a status remembers.
pub(crate) const MOST_RECORDS: usize = 20;

/// How many characters all records together may take. Older ones are remembered without diff and votes.
pub(crate) const MOST_TOGETHER: usize = 64 * 1024;

/// How many characters a diff may take in a record, or in a line of the audit log.
pub(crate) const MOST_DIFF: usize = 16 * 1024;

/// How many votes a record holds, and a change.
pub(crate) const MOST_VOTES: usize = 20;

/// How much of the reason of one vote among others is remembered.
pub(crate) const ONE_OF_MANY: Limit = Limit::Characters(256);

/// Since when all changes are remembered that had their turn; `None` if all that ever had are.
pub(crate) fn goes_back_to(history: &[DecisionRecord]) -> Option<Timestamp> {
    let oldest = history.get(MOST_RECORDS - 1)?;
    Some(oldest.at.0)
}

pub(crate) fn record(
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

/// A diff without its empty lists, cut if it is too large. That there is no diff of the program stays
/// there: it means that nobody knows.
pub fn small_diff(diff: Option<&Map<String, Value>>) -> Option<CompactObject> {
    let Value::Object(mut diff) = diff::cut(Value::Object(diff?.clone()), MOST_DIFF) else {
        return None;
    };
    let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    diff.retain(|_, value| !is_empty(value));
    if let Some(program) = diff.get_mut("program_diff").and_then(Value::as_object_mut) {
        program.retain(|_, value| !is_empty(value));
    }
    Some(CompactObject::from(&diff))
}

/// A decision, with what people wrote cut to size.
pub fn short_decision(decision: &Decision) -> Decision {
    let mut decision = decision.clone();
    decision.by = text::foreign_line(&decision.by, text::PERSON);
    let reason = decision.reason.as_deref();
    decision.reason = reason.map(|reason| text::foreign(reason, text::REASON));
    decision
}

/// Votes, with what people wrote cut to size: the first rejections of all, and then the first approvals.
pub fn short_votes(votes: &[Vote]) -> Vec<Vote> {
    let of = |rejections: bool| {
        let is_rejection = move |vote: &&Vote| vote.outcome == Verdict::Rejected;
        votes
            .iter()
            .filter(move |vote| is_rejection(vote) == rejections)
    };
    of(true)
        .chain(of(false))
        .take(MOST_VOTES)
        .cloned()
        .map(|mut vote| {
            vote.by = text::foreign_line(&vote.by, text::PERSON);
            let reason = vote.reason.as_deref();
            vote.reason = reason.map(|reason| text::foreign(reason, ONE_OF_MANY));
            vote
        })
        .collect()
}

/// Cleans what people wrote in votes, and cuts it to the size of a decision's.
pub(crate) fn shorten(votes: &mut [Vote]) {
    for vote in votes {
        vote.by = text::foreign_line(&vote.by, text::PERSON);
        let reason = vote.reason.as_deref();
        vote.reason = reason.map(|reason| text::foreign(reason, text::REASON));
    }
}

/// What is remembered of a text where there is no room for more.
pub(crate) const BARE: Limit = Limit::Characters(64);

/// The same of a name.
pub(crate) const BARE_NAME: Limit = Limit::Characters(64);

/// How a name is compared with one that may be bare.
pub(crate) fn bare_name(name: &str) -> String {
    text::cut(name, BARE_NAME)
}

/// About how many bytes a record takes in a status, and rather more: to measure it, its diff would have to be read.
pub(crate) fn about(record: &DecisionRecord) -> usize {
    /// Ids, digests, times and keys.
    const FRAME: usize = 1024;
    /// The same of a vote.
    const VOTE: usize = 512;
    let reason = |reason: &Option<String>| reason.as_ref().map_or(0, String::len);
    let votes = record.votes.iter();
    let votes = votes.map(|vote| VOTE + 2 * (vote.by.len() + reason(&vote.reason)));
    let decision = record.decision.as_ref();
    let decision = decision.map_or(0, |it| VOTE + 2 * (it.by.len() + reason(&it.reason)));
    let diff = record.diff.as_ref().map_or(0, CompactObject::size);
    FRAME + 2 * record.summary.len() + decision + diff + votes.sum::<usize>()
}

/// Keeps the records within their number and their room.
pub(crate) fn bound(history: &mut Vec<DecisionRecord>) {
    history.truncate(MOST_RECORDS);
    if history.iter().map(about).sum::<usize>() <= MOST_TOGETHER / 2 {
        return;
    }
    let mut room = MOST_TOGETHER;
    for record in history {
        record.diff = record
            .diff
            .take()
            .map(|diff| match diff.size() > MOST_DIFF {
                true => small_diff(Some(&diff.to_map())).unwrap_or(diff),
                false => diff,
            });
        record.votes = short_votes(&record.votes);
        record.summary = text::foreign(&record.summary, text::REASON);
        record.decision = record.decision.as_ref().map(short_decision);
        let size = length(record);
        if size > room {
            make_bare(record);
        }
        room = room.saturating_sub(size);
    }
}

/// Leaves of a record who decided what, and little else.
pub(crate) fn make_bare(record: &mut DecisionRecord) {
    record.diff = None;
    record.votes.clear();
    record.summary = text::foreign(&record.summary, BARE);
    if let Some(decision) = &mut record.decision {
        make_decision_bare(decision);
    }
}

/// Leaves of a decision who decided, and as much of the reason as there is always room for.
pub(crate) fn make_decision_bare(decision: &mut Decision) {
    decision.by = text::foreign_line(&decision.by, BARE_NAME);
    let reason = decision.reason.as_deref();
    decision.reason = reason.map(|reason| text::foreign(reason, BARE));
}

/// Keeps decisions, the newest first, within a room all together.
pub(crate) fn bound_decisions<'a>(
    newest_first: impl Iterator<Item = &'a mut Decision>,
    room: usize,
) {
    let mut room = room;
    for decision in newest_first {
        *decision = short_decision(decision);
        let size = length(decision);
        if size > room {
            make_decision_bare(decision);
        }
        room = room.saturating_sub(size);
    }
}

/// How many bytes something takes in a status.
pub(crate) fn length(value: &impl serde::Serialize) -> usize {
    // What is measured here are structs and JSON values: they always serialize.
    serde_json::to_string(value).map_or(0, |text| text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::model::World;
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
    fn a_diff_that_is_too_large_is_cut() {
        let mut approval = large();
        let small = record(&approval, approval.since.clone());
        assert!(small.diff.is_some());
        let long = "v".repeat(MOST_DIFF);
        approval.diff = json!({"program_diff": {"added_views": [long]}})
            .as_object()
            .cloned();
        let large = record(&approval, approval.since.clone());
        let kept = large.diff.map(|diff| diff.to_map()).unwrap();
        assert!(diff::is_cut_map(&kept));
        assert_eq!(large.diff_digest.as_ref(), Some(&approval.diff_digest));
    }
}
