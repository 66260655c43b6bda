//! `kubectl sluice list`: everything that waits.

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;
use sluice_gate::crd::Pipeline;

use crate::arguments::List;
use crate::choose::waiting;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::output::{structured, tell};
use crate::table::table;
use sluice_gate::age::age;
use sluice_gate::printable::one_line;

/// What is printed.
pub async fn run(cluster: &Cluster, list: &List) -> Result<String, Error> {
    let (pipelines, strange) = cluster.all_pipelines(list.all_namespaces).await?;
    if strange > 0 {
        tell(&format!(
            "warning: {strange} Pipelines were left out, because this version of kubectl-sluice can't read them\n"
        ));
    }
    let place = match list.all_namespaces {
        true => "any namespace".to_owned(),
        false => format!("namespace {}", cluster.namespace),
    };
    Ok(match list.output.for_programs() {
        None => text(&pipelines, &place, Timestamp::now()),
        Some(output) => structured(&for_programs(&pipelines), output),
    })
}

/// The Pipelines of which a change waits, the one that waits for the longest first.
fn that_wait(pipelines: &[Pipeline]) -> Vec<(&Pipeline, &sluice_gate::crd::Approval)> {
    let mut all: Vec<_> = pipelines
        .iter()
        .filter_map(|pipeline| Some((pipeline, waiting(pipeline)?)))
        .collect();
    all.sort_by_key(|(pipeline, change)| {
        (change.since.0, pipeline.namespace(), pipeline.name_any())
    });
    all
}

fn text(pipelines: &[Pipeline], place: &str, now: Timestamp) -> String {
    let rows: Vec<Vec<String>> = that_wait(pipelines)
        .into_iter()
        .map(|(pipeline, change)| {
            vec![
                pipeline.namespace().unwrap_or_default(),
                pipeline.name_any(),
                one_line(&change.short_id),
                age(change.since.0, now),
                one_line(&change.summary),
            ]
        })
        .collect();
    match rows.is_empty() {
        true => format!("Nothing waits for a decision in {place}.\n"),
        false => table(
            &["NAMESPACE", "PIPELINE", "CHANGE", "WAITING", "SUMMARY"],
            &rows,
        ),
    }
}

fn for_programs(pipelines: &[Pipeline]) -> serde_json::Value {
    that_wait(pipelines)
        .into_iter()
        .map(|(pipeline, change)| {
            json!({
                "namespace": pipeline.namespace(),
                "pipeline": pipeline.name_any(),
                "changeId": change.change_id,
                "since": change.since,
                "summary": change.summary,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choose::tests::{CHANGE, pipeline};

    fn now() -> Timestamp {
        "2026-01-01T00:05:00Z".parse().unwrap()
    }

    #[test]
    fn only_what_waits_is_listed_the_oldest_first() {
        let mut older = pipeline("Awaiting");
        older.metadata.name = Some("clicks".into());
        older.metadata.namespace = Some("web".into());
        let change = older.status.as_mut().unwrap().approval.as_mut().unwrap();
        change.since.0 = "2025-12-31T00:00:00Z".parse().unwrap();
        change.summary = "2 tables\u{1b}[2J\nmodified".into();
        let all = [pipeline("Sealed"), pipeline("Awaiting"), older];
        assert_eq!(
            text(&all, "any namespace", now()),
            "\
NAMESPACE   PIPELINE   CHANGE     WAITING   SUMMARY
web         clicks     01234567   24h       2 tables\\u{1b}[2J modified
shop        orders     01234567   5m        1 view added
"
        );
        let json = for_programs(&all);
        assert_eq!(json[1]["changeId"], CHANGE);
        assert_eq!(json.as_array().unwrap().len(), 2);
    }

    #[test]
    fn if_nothing_waits_that_is_said() {
        assert_eq!(
            text(&[pipeline("Applied")], "namespace shop", now()),
            "Nothing waits for a decision in namespace shop.\n"
        );
        assert_eq!(for_programs(&[]).to_string(), "[]");
    }
}
