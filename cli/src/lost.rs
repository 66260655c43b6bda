//! `kubectl sluice approve --lost`: pipelines that are gone from their engine, approved together to be made anew.

use jiff::Timestamp;
use kube::ResourceExt;
use sluice_gate::crd::{Approval, Pipeline, VoteDecision};
use sluice_gate::lineage;

use crate::arguments::Approve;
use crate::choose::waiting;
use crate::cluster::Cluster;
use crate::confirm::{can_ask, confirm};
use crate::error::Error;
use crate::output::tell;
use crate::table::table;
use crate::vote::{self, Ballot};
use sluice_gate::age::age;
use sluice_gate::printable::{one_line, printable};

/// Lists them, asks once, and votes for each.
pub async fn approve(cluster: &Cluster, asked: &Approve) -> Result<(), Error> {
    let (pipelines, _) = cluster.all_pipelines(false).await?;
    let lost = that_are_lost(&pipelines, asked.engine.as_deref());
    if lost.is_empty() {
        return Err(Error::NothingLost(match &asked.engine {
            Some(engine) => format!("of Engine {engine} in namespace {}", cluster.namespace),
            None => format!("in namespace {}", cluster.namespace),
        }));
    }
    let rejected = rejected_before(&lost);
    tell(&text(&lost, Timestamp::now()));
    if let Some(rejected) = &rejected {
        // Also where nobody is asked.
        tell(&format!("{rejected}\n"));
    }
    let would_not_count = lost
        .iter()
        .find_map(|(pipeline, _)| vote::held(pipeline, "PoliciesNotInForce"));
    if let Some(why) = would_not_count {
        return Err(Error::WouldNotCount(why));
    }
    if !asked.yes {
        if !can_ask() {
            return Err(Error::NobodyToAsk);
        }
        confirm(&question(lost.len(), rejected.as_deref()))?;
    }
    let voter = cluster.whoami().await?;
    let mut failed = 0;
    for (pipeline, change) in &lost {
        let name = pipeline.name_any();
        let ballot = Ballot {
            decision: VoteDecision::Approve,
            pipeline: &name,
            change: Some(&change.change_id),
            reason: asked.reason.as_deref(),
            yes: true,
        };
        if let Err(error) = vote::store(cluster, pipeline, change, &ballot, &voter).await {
            tell(&format!("Pipeline {}: {error}\n", printable(&name)));
            failed += 1;
        }
    }
    match failed {
        0 => Ok(()),
        _ => Err(Error::NotAll {
            failed,
            all: lost.len(),
        }),
    }
}

/// Those of an Engine, or of all, that wait to be made anew, by name.
fn that_are_lost<'a>(
    pipelines: &'a [Pipeline],
    engine: Option<&str>,
) -> Vec<(&'a Pipeline, &'a Approval)> {
    let mut lost: Vec<_> = pipelines
        .iter()
        .filter_map(|pipeline| {
            let change = waiting(pipeline)?;
            let lost = pipeline.status.as_ref()?.lost.as_ref()?;
            // What else may wait is another question.
            let is_about_it = lost.link.as_ref() == Some(&change.parent);
            let of = pipeline.spec.engine_ref.as_ref();
            let of = of.map(|engine| engine.name.as_str());
            (is_about_it && engine.is_none_or(|engine| of == Some(engine)))
                .then_some((pipeline, change))
        })
        .collect();
    lost.sort_by_key(|(pipeline, _)| pipeline.name_any());
    lost
}

fn question(count: usize, rejected: Option<&str>) -> String {
    let which = match count {
        1 => "this pipeline".to_owned(),
        many => format!("these {many} pipelines"),
    };
    let rejected = rejected.map(|it| format!(" {it}")).unwrap_or_default();
    format!(
        "Make {which} anew, from nothing?{rejected} All that they had computed is lost; if the old ones still run somewhere, their input is read twice, and their sinks get everything twice."
    )
}

/// How many of the changes were rejected before their pipelines were lost, as a sentence. Whoever approves many at once must not
/// miss the one that somebody has said no to.
fn rejected_before(lost: &[(&Pipeline, &Approval)]) -> Option<String> {
    let rejected = lost
        .iter()
        .filter(|(pipeline, change)| rejection(pipeline, change).is_some())
        .count();
    match (rejected, lost.len()) {
        (0, _) => None,
        (1, 1) => Some("It was rejected before.".into()),
        (1, all) => Some(format!("1 of these {all} was rejected before.")),
        (many, all) => Some(format!("{many} of these {all} were rejected before.")),
    }
}

/// By whom just what would be made anew was rejected before, and why.
fn rejection(pipeline: &Pipeline, change: &Approval) -> Option<String> {
    let status = pipeline.status.as_ref()?;
    let before = lineage::rejected_before_the_loss(status, &change.target)?;
    let Some(decision) = &before.decision else {
        return Some("yes".into());
    };
    let reason = decision.reason.as_deref();
    let reason = reason.map(|why| format!(": {why}")).unwrap_or_default();
    Some(format!("by {}{reason}", decision.by))
}

fn text(lost: &[(&Pipeline, &Approval)], now: Timestamp) -> String {
    let any_rejected = rejected_before(lost).is_some();
    let rows: Vec<Vec<String>> = lost
        .iter()
        .map(|(pipeline, change)| {
            let status = pipeline.status.as_ref();
            let since = status.and_then(|status| Some(status.lost.as_ref()?.since.0));
            let engine = pipeline.spec.engine_ref.as_ref();
            let mut row = vec![
                pipeline.name_any(),
                engine.map_or("(default)".to_owned(), |engine| one_line(&engine.name)),
                one_line(&change.short_id),
                since.map_or(String::new(), |since| age(since, now)),
                match status.and_then(lineage::what_has_run) {
                    _ if !change.changed.is_empty() => one_line(&change.changed.join(", ")),
                    Some(_) => "nothing".to_owned(),
                    None => "unknown".to_owned(),
                },
            ];
            if any_rejected {
                let rejection = rejection(pipeline, change);
                row.push(one_line(rejection.as_deref().unwrap_or("no")));
            }
            row
        })
        .collect();
    let mut heads = vec!["PIPELINE", "ENGINE", "CHANGE", "LOST FOR", "ALSO CHANGES"];
    if any_rejected {
        heads.push("REJECTED BEFORE");
    }
    table(&heads, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choose::tests::pipeline;
    use serde_json::json;

    fn lost(name: &str, engine: Option<&str>, link: &str) -> Pipeline {
        let mut pipeline = pipeline("Awaiting");
        pipeline.metadata.name = Some(name.to_owned());
        let engine = engine.map(|name| json!({"name": name}));
        pipeline.spec.engine_ref = serde_json::from_value(engine.into()).unwrap();
        pipeline.status.as_mut().unwrap().lost = serde_json::from_value(
            json!({"pipelineId": "p", "since": "2026-01-01T00:00:00Z", "looks": 3, "link": link}),
        )
        .unwrap();
        let status = pipeline.status.as_mut().unwrap();
        status.settled = serde_json::from_value(json!({
            "changeId": "before", "version": 1,
            "target": {"sql": "a", "udfRust": "b", "udfToml": "c", "config": "d"},
        }))
        .unwrap();
        pipeline
    }

    #[test]
    fn where_nobody_knows_what_ran_it_is_not_said_that_nothing_changes() {
        let mut orders = lost("orders", None, "root");
        orders.status.as_mut().unwrap().settled = None;
        let orders = [orders];
        let now = "2026-01-01T00:05:00Z".parse().unwrap();
        let text = text(&that_are_lost(&orders, None), now);
        assert!(text.ends_with("unknown\n"), "{text}");
    }

    #[test]
    fn only_those_that_wait_to_be_made_anew_are_listed_of_the_engine_that_is_named() {
        let all = [
            lost("orders", Some("feldera"), "root"),
            lost("clicks", None, "root"),
            // It waits for something else.
            lost("refunds", Some("feldera"), "another"),
            pipeline("Awaiting"),
        ];
        let names = |engine| {
            let found = that_are_lost(&all, engine).into_iter();
            found.map(|(it, _)| it.name_any()).collect::<Vec<_>>()
        };
        assert_eq!(names(None), ["clicks", "orders"]);
        assert_eq!(names(Some("feldera")), ["orders"]);
        assert_eq!(names(Some("other")), [""; 0]);
        let now = "2026-01-01T00:05:00Z".parse().unwrap();
        assert_eq!(
            text(&that_are_lost(&all, None), now),
            "\
PIPELINE   ENGINE      CHANGE     LOST FOR   ALSO CHANGES
clicks     (default)   01234567   5m         nothing
orders     feldera     01234567   5m         nothing
"
        );
        assert_eq!(rejected_before(&that_are_lost(&all, None)), None);
    }

    #[test]
    fn what_was_rejected_before_the_loss_is_seen_by_who_approves_many_at_once() {
        let decided = |name: &str, state: &str, sql: &str| {
            let mut pipeline = lost(name, None, "root");
            let status = pipeline.status.as_mut().unwrap();
            let change = status.approval.as_mut().unwrap();
            change.changed = vec!["sql".into()];
            let mut before = change.clone();
            before.state = serde_json::from_value(json!(state)).unwrap();
            before.target.sql = sql.into();
            before.decision = serde_json::from_value(json!({
                "outcome": "Rejected", "by": "bob", "verified": true, "via": "Object",
                "reason": "its sink\u{1b}[2J\nis full", "at": "2026-01-01T00:00:00Z",
            }))
            .unwrap();
            status.lost.as_mut().unwrap().set_apart = Some(Box::new(before));
            pipeline
        };
        let all = [
            decided("approved", "Approved", "a"),
            decided("edited-since", "Rejected", "another"),
            lost("orders", Some("feldera"), "root"),
            decided("rejected", "Rejected", "a"),
        ];
        let found = that_are_lost(&all, None);
        let now = "2026-01-01T00:05:00Z".parse().unwrap();
        assert_eq!(
            text(&found, now),
            "\
PIPELINE       ENGINE      CHANGE     LOST FOR   ALSO CHANGES   REJECTED BEFORE
approved       (default)   01234567   5m         sql            no
edited-since   (default)   01234567   5m         sql            no
orders         feldera     01234567   5m         nothing        no
rejected       (default)   01234567   5m         sql            by bob: its sink\\u{1b}[2J is full
"
        );
        let one = rejected_before(&found).unwrap();
        assert_eq!(one, "1 of these 4 was rejected before.");
        let asked = question(found.len(), Some(&one));
        assert!(
            asked.starts_with(&format!(
                "Make these 4 pipelines anew, from nothing? {one} All"
            )),
            "{asked}"
        );
        let alone = rejected_before(&found[3..]).unwrap();
        assert_eq!(alone, "It was rejected before.");
        let twice = rejected_before(&[found[3], found[0], found[3]]).unwrap();
        assert_eq!(twice, "2 of these 3 were rejected before.");
    }
}
