//! `kubectl sluice approve --lost`: pipelines that are gone from their engine, approved together to be made anew.

use jiff::Timestamp;
use kube::ResourceExt;
use sluice::crd::{Approval, Pipeline, VoteDecision};

use crate::age::age;
use crate::arguments::Approve;
use crate::choose::waiting;
use crate::cluster::Cluster;
use crate::confirm::{can_ask, confirm};
use crate::error::Error;
use crate::output::tell;
use crate::printable::{one_line, printable};
use crate::table::table;
use crate::vote::{self, Ballot};

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
    tell(&text(&lost, Timestamp::now()));
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
        confirm(&format!(
            "Make {} anew, from nothing? All that they had computed is lost; if the old ones still run somewhere, their input is read twice, and their sinks get everything twice.",
            match lost.len() {
                1 => "this pipeline".to_owned(),
                many => format!("these {many} pipelines"),
            }
        ))?;
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

fn text(lost: &[(&Pipeline, &Approval)], now: Timestamp) -> String {
    let rows: Vec<Vec<String>> = lost
        .iter()
        .map(|(pipeline, change)| {
            let status = pipeline.status.as_ref();
            let since = status.and_then(|status| Some(status.lost.as_ref()?.since.0));
            let engine = pipeline.spec.engine_ref.as_ref();
            vec![
                pipeline.name_any(),
                engine.map_or("(default)".to_owned(), |engine| one_line(&engine.name)),
                one_line(&change.short_id),
                since.map_or(String::new(), |since| age(since, now)),
                match change.changed.is_empty() {
                    true => "nothing".to_owned(),
                    false => one_line(&change.changed.join(", ")),
                },
            ]
        })
        .collect();
    let heads = ["PIPELINE", "ENGINE", "CHANGE", "LOST FOR", "ALSO CHANGES"];
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
        pipeline
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
    }
}
