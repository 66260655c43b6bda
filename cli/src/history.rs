//! `kubectl sluice history`: what was decided on a Pipeline's changes.

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};
use sluice_gate::crd::{CompactObject, Decision, DecisionRecord, Pipeline, Verdict};

use crate::arguments::History;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::output::structured;
use crate::table::table;
use sluice_gate::age::age;
use sluice_gate::describe::changes;
use sluice_gate::printable::one_line;

/// What is printed.
pub async fn run(cluster: &Cluster, history: &History) -> Result<String, Error> {
    let pipeline = cluster.pipeline(&history.pipeline).await?;
    let mut records = records(&pipeline);
    if let Some(id) = &history.change {
        records.retain(|record| record.change_id.starts_with(id.as_str()));
        if records.is_empty() {
            return Err(Error::NoSuchChange {
                pipeline: history.pipeline.clone(),
                change: id.clone(),
            });
        }
    }
    Ok(match (history.output.for_programs(), &history.change) {
        (Some(output), _) => structured(&for_programs(&pipeline, &records), output),
        (None, Some(_)) => records.iter().map(detail).collect(),
        (None, None) => text(&history.pipeline, &records, Timestamp::now()),
    })
}

/// Everything that was decided, newest first: what is in the history, and what is on its way there.
pub fn records(pipeline: &Pipeline) -> Vec<DecisionRecord> {
    let Some(status) = &pipeline.status else {
        return vec![];
    };
    let mut records = status.history.clone();
    if let Some(open) = &status.approval
        && let Some(decision) = &open.decision
        && !records
            .iter()
            .any(|record| record.change_id == open.change_id)
    {
        records.insert(
            0,
            DecisionRecord {
                change_id: open.change_id.clone(),
                state: open.state,
                summary: open.summary.clone(),
                decision: open.decision.clone(),
                at: decision.at.clone(),
                since: Some(open.since.clone()),
                parent: Some(open.parent.clone()),
                changed: open.changed.clone(),
                diff: open.diff.as_ref().map(CompactObject::from),
                diff_digest: Some(open.diff_digest.clone()),
                votes: open.votes.clone(),
            },
        );
    }
    records
}

fn text(pipeline: &str, records: &[DecisionRecord], now: Timestamp) -> String {
    if records.is_empty() {
        return format!("Nothing was decided about Pipeline {pipeline} yet.\n");
    }
    let rows: Vec<Vec<String>> = records
        .iter()
        .map(|record| {
            let decision = record.decision.as_ref();
            let at = decision.map_or(&record.at, |decision| &decision.at);
            vec![
                format!(
                    "{} ({})",
                    at.0.strftime("%Y-%m-%d %H:%M:%SZ"),
                    age(at.0, now)
                ),
                sluice_gate::change::short(&one_line(&record.change_id)),
                outcome(record),
                decision.map_or_else(|| "-".into(), by),
                decision.map_or_else(|| "-".into(), |decision| format!("{:?}", decision.via)),
                decision
                    .and_then(|decision| decision.reason.as_deref())
                    .map_or_else(|| "-".into(), shortened),
                shortened(&record.summary),
            ]
        })
        .collect();
    let header = [
        "DECIDED", "CHANGE", "OUTCOME", "BY", "VIA", "REASON", "WHAT",
    ];
    format!(
        "{}\nOne of them in full: kubectl sluice history {pipeline} --change ID; all of them: -o yaml\n",
        table(&header, &rows)
    )
}

/// What was decided, and what became of it.
fn outcome(record: &DecisionRecord) -> String {
    let state = format!("{:?}", record.state);
    match record.decision.as_ref().map(|decision| decision.outcome) {
        Some(Verdict::Approved) if state != "Approved" => format!("Approved, {state}"),
        Some(Verdict::Rejected) if state != "Rejected" => format!("Rejected, {state}"),
        _ => state,
    }
}

fn by(decision: &Decision) -> String {
    let by = one_line(&decision.by);
    match decision.verified {
        true => by,
        false => format!("{by} (not verified)"),
    }
}

fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    let line = one_line(text);
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// One record in full.
fn detail(record: &DecisionRecord) -> String {
    let time = |at: jiff::Timestamp| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let mut lines = vec![
        format!("Change     {}", one_line(&record.change_id)),
        format!("Outcome    {}", outcome(record)),
    ];
    if let Some(decision) = &record.decision {
        lines.push(format!(
            "Decided    {} by {} via {:?}",
            time(decision.at.0),
            by(decision),
            decision.via
        ));
        if let Some(reason) = &decision.reason {
            lines.push(format!("Reason     {}", one_line(reason)));
        }
    }
    if let Some(since) = &record.since {
        lines.push(format!("Published  {}", time(since.0)));
    }
    lines.push(format!("Closed     {}", time(record.at.0)));
    if let Some(parent) = &record.parent {
        lines.push(format!("Follows    {}", one_line(parent)));
    }
    if !record.changed.is_empty() {
        lines.push(format!(
            "Changed    {}",
            one_line(&record.changed.join(", "))
        ));
    }
    lines.push(format!("Summary    {}", one_line(&record.summary)));
    for vote in &record.votes {
        let reason = vote
            .reason
            .as_deref()
            .map(|reason| format!(": {}", one_line(reason)));
        lines.push(format!(
            "Vote       {:?} by {}{} via {:?}{}",
            vote.outcome,
            one_line(&vote.by),
            if vote.verified { "" } else { " (not verified)" },
            vote.via,
            reason.unwrap_or_default()
        ));
    }
    lines.push("\nThe engine's diff, as it was seen:".into());
    match (&record.diff, &record.diff_digest) {
        (None, Some(digest))
            if record.changed == ["settings"]
                && *digest == sluice_gate::canonical::digest(&Value::Null) =>
        {
            lines.push(
                "  none: only runtime settings changed, and the program stayed as it was".into(),
            )
        }
        (None, Some(_)) => {
            lines.push("  it isn't kept: there was none, or it took too much room".into())
        }
        (diff, _) => lines.extend(
            changes(diff.as_ref().map(CompactObject::to_map).as_ref())
                .into_iter()
                .map(|line| format!("  {line}")),
        ),
    }
    format!("{}\n", lines.join("\n"))
}

fn for_programs(pipeline: &Pipeline, records: &[DecisionRecord]) -> Value {
    json!({
        "namespace": pipeline.namespace(),
        "pipeline": pipeline.name_any(),
        "decisions": records,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choose::tests::{CHANGE, OTHER, pipeline};

    fn decided() -> Pipeline {
        let mut decided = pipeline("Applying");
        let status = decided.status.as_mut().unwrap();
        let decision = |by: &str, outcome: &str, verified: bool| {
            json!({
                "outcome": outcome, "by": by, "verified": verified, "via": "Object",
                "reason": "looked\u{1b}[2J at it", "at": "2026-01-01T00:00:00Z",
            })
        };
        status.approval.as_mut().unwrap().decision =
            serde_json::from_value(decision("alice", "Approved", true)).unwrap();
        status.history = serde_json::from_value(json!([{
            "changeId": OTHER, "state": "Rejected", "summary": "removes view v",
            "at": "2025-12-31T00:00:00Z", "decision": decision("bob", "Rejected", false),
            "changed": ["sql", "udfRust"], "diffDigest": "d", "parent": "root",
            "diff": {"program_diff": {"removed_views": ["v"]}},
            "votes": [{"outcome": "Rejected", "by": "bob", "verified": false, "via": "Annotation"}],
        }]))
        .unwrap();
        decided
    }

    #[test]
    fn what_was_decided_is_listed_newest_first() {
        let text = text(
            "orders",
            &records(&decided()),
            "2026-01-01T00:05:00Z".parse().unwrap(),
        );
        assert_eq!(
            text,
            "\
DECIDED                     CHANGE     OUTCOME              BY                   VIA      REASON                  WHAT
2026-01-01 00:00:00Z (5m)   01234567   Approved, Applying   alice                Object   looked\\u{1b}[2J at it   1 view added
2026-01-01 00:00:00Z (5m)   fedcba98   Rejected             bob (not verified)   Object   looked\\u{1b}[2J at it   removes view v

One of them in full: kubectl sluice history orders --change ID; all of them: -o yaml
"
        );
    }

    #[test]
    fn a_record_in_full_says_what_the_change_was() {
        let record = &records(&decided())[1];
        let text = detail(record);
        for part in [
            "Changed    sql, udfRust",
            "Vote       Rejected by bob (not verified) via Annotation",
            "- view v",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_change_of_settings_had_no_diff() {
        let mut record = records(&decided())[1].clone();
        record.diff = None;
        assert!(detail(&record).contains("it isn't kept"));
        record.changed = vec!["settings".into()];
        record.diff_digest = Some(sluice_gate::canonical::digest(&Value::Null));
        assert!(detail(&record).contains("the program stayed as it was"));
    }

    #[test]
    fn what_nobody_decided_is_not_in_it() {
        assert_eq!(records(&pipeline("Awaiting")), []);
        let nothing = text("orders", &[], Timestamp::UNIX_EPOCH);
        assert_eq!(nothing, "Nothing was decided about Pipeline orders yet.\n");
        assert_eq!(records(&decided())[0].change_id, CHANGE);
    }
}
