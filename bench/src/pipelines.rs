//! The Pipelines of the benchmarks.

use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Map, Value, json};
use sluice::crd::{Approval, ApprovalState, Pipeline};

use crate::Error;
use crate::stage::{ENGINE, create, until};

/// A program with two tables, a sink, and a view that differs with the number: every other number is a
/// change that the engine gates.
pub fn program(number: usize) -> String {
    format!(
        "CREATE TABLE orders (id INT NOT NULL PRIMARY KEY, amount INT) WITH ('materialized' = 'true', 'connectors' = '[{{\"name\": \"gen\", \"transport\": {{\"name\": \"datagen\", \"config\": {{\"plan\": [{{\"limit\": 50}}]}}}}}}]');\n\
         CREATE TABLE notes (id INT) WITH ('materialized' = 'true');\n\
         CREATE VIEW totals WITH ('connectors' = '[{{\"name\": \"sink\", \"transport\": {{\"name\": \"null_output\"}}}}]') AS SELECT id, amount + {number} AS amount FROM orders;\n\
         CREATE VIEW listed AS SELECT id FROM notes;\n"
    )
}

/// Creates a Pipeline with that program.
pub async fn make(api: &Api<Pipeline>, name: &str, number: usize) -> Result<Pipeline, Error> {
    let object = json!({
        "metadata": {"name": name},
        "spec": {"engineRef": {"name": ENGINE}, "program": {"sql": program(number)}},
    });
    create(api, object).await
}

/// What a large Pipeline has beside its program.
#[derive(Clone, Debug, Default)]
pub struct Large {
    /// How many KiB: of remarks in SQL and functions, and of annotations.
    pub kibibytes: usize,
    /// Further fields of its spec.
    pub further: Map<String, Value>,
}

/// Creates a Pipeline with that program and this.
pub async fn make_large(api: &Api<Pipeline>, name: &str, large: Large) -> Result<(), Error> {
    /// What an annotation, or a text of the program, may have beside its own.
    const MOST: usize = 240;
    let line = |begin: &str| format!("{begin} {}\n", "x".repeat(1_024 - begin.len() - 2));
    let Large { kibibytes, further } = large;
    let in_sql = kibibytes.min(MOST);
    let in_functions = (kibibytes - in_sql).min(MOST);
    let in_annotations = (kibibytes - in_sql - in_functions).min(MOST);
    let mut object = json!({
        "metadata": {
            "name": name,
            "annotations": {"example.com/notes": "x".repeat(in_annotations << 10)},
        },
        "spec": {
            "engineRef": {"name": ENGINE},
            "program": {
                "sql": format!("{}{}", program(0), line("--").repeat(in_sql)),
                "udfRust": line("//").repeat(in_functions),
            },
        },
    });
    for (field, value) in further {
        object["spec"][field] = value;
    }
    create(api, object).await.map(drop)
}

/// Changes a Pipeline.
pub async fn patch(api: &Api<Pipeline>, name: &str, patch: Value) -> Result<Pipeline, Error> {
    let params = PatchParams {
        field_manager: Some("bench".into()),
        ..PatchParams::default()
    };
    Ok(api.patch(name, &params, &Patch::Merge(&patch)).await?)
}

/// Waits until something is true of a Pipeline.
pub async fn until_true(
    api: &Api<Pipeline>,
    name: &str,
    what: &str,
    condition: impl Fn(&Pipeline) -> bool,
) -> Result<Pipeline, Error> {
    let condition = &condition;
    until(&format!("{name} {what}"), || async move {
        let pipeline = api.get(name).await?;
        Ok(condition(&pipeline).then_some(pipeline))
    })
    .await
}

/// Waits until a Pipeline runs and what runs is settled.
pub async fn until_settled(api: &Api<Pipeline>, name: &str) -> Result<Pipeline, Error> {
    until_true(api, name, "runs and is settled", is_settled).await
}

/// Whether it runs, and what runs is settled.
pub fn is_settled(pipeline: &Pipeline) -> bool {
    pipeline.status.as_ref().is_some_and(|status| {
        let settled = status.settled.as_ref().map(|settled| &settled.change_id);
        let run = status.run.as_ref().map(|run| &run.change_id);
        status.phase.as_deref() == Some("Running") && run.is_some() && run == settled
    })
}

/// Waits until another change than this one waits for approval.
pub async fn until_waiting(
    api: &Api<Pipeline>,
    name: &str,
    before: &str,
) -> Result<Pipeline, Error> {
    until_true(api, name, "waits for approval", |pipeline| {
        approval(pipeline).is_some_and(|approval| {
            approval.state == ApprovalState::Awaiting && approval.change_id != before
        })
    })
    .await
}

/// The last change that came to the gate.
pub fn approval(pipeline: &Pipeline) -> Option<&Approval> {
    pipeline.status.as_ref()?.approval.as_ref()
}

/// Its id.
pub fn change_id(pipeline: &Pipeline) -> String {
    approval(pipeline)
        .map(|approval| approval.change_id.clone())
        .unwrap_or_default()
}

/// The status of a Pipeline as JSON, as Sluice writes it: to be applied to another.
pub fn status_of(pipeline: &Pipeline, onto: &str) -> Result<Value, Error> {
    Ok(json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Pipeline",
        "metadata": {"name": onto},
        "status": serde_json::to_value(&pipeline.status)?,
    }))
}

/// The name of the object, for errors.
pub fn name(pipeline: &Pipeline) -> String {
    pipeline.name_any()
}
