//! `kubectl sluice diff`: what the waiting change is.

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};
use sluice::crd::{Approval, Pipeline};

use crate::arguments::Diff;
use crate::choose::{state, waiting};
use crate::cluster::Cluster;
use crate::describe::{commands, describe, makes_anew};
use crate::error::Error;
use crate::output::structured;
use crate::program::{self, PartDiff, Source};

/// What is printed.
pub async fn run(cluster: &Cluster, diff: &Diff) -> Result<String, Error> {
    let pipeline = cluster.pipeline(&diff.pipeline).await?;
    let Some(change) = waiting(&pipeline) else {
        // Not an error: somebody asked what waits, and nothing does.
        return Ok(match diff.output.for_programs() {
            None => format!(
                "No change of Pipeline {} waits for a decision; {}.\n",
                diff.pipeline,
                state(&pipeline)
            ),
            Some(output) => structured(&for_programs(&pipeline, None, &[]), output),
        });
    };
    let program = program_of(cluster, &pipeline, change).await;
    Ok(match diff.output.for_programs() {
        None => format!(
            "{}\n{}",
            in_full(&pipeline, change, &program),
            commands(
                &diff.pipeline,
                &cluster.namespace,
                cluster.context.as_deref(),
                &change.change_id
            ),
        ),
        Some(output) => structured(&for_programs(&pipeline, Some(change), &program), output),
    })
}

/// Everything that is known of a change, for whoever decides.
pub fn in_full(pipeline: &Pipeline, change: &Approval, program: &[PartDiff]) -> String {
    let mut text = describe(pipeline, change, Timestamp::now());
    for part in program {
        text.push('\n');
        text += &part.to_text();
    }
    text
}

/// How the waiting program differs from the settled one.
pub async fn program_of(
    cluster: &Cluster,
    pipeline: &Pipeline,
    change: &Approval,
) -> Vec<PartDiff> {
    let settled = pipeline
        .status
        .as_ref()
        .and_then(|status| status.settled.as_ref())
        .filter(|settled| settled.change_id == change.parent || makes_anew(pipeline, change));
    // Without one there is nothing to compare with, and nothing that the engine would ask about.
    let Some(settled) = settled else {
        return vec![];
    };
    let content = cluster.content(pipeline).await;
    let before = Source {
        kept: settled.program.as_ref(),
        content: None,
    };
    let after = Source {
        kept: None,
        content: match &content {
            Ok(Some(content)) => Some(Ok(content)),
            Ok(None) => Some(Err(
                "the Pipeline has no program: it is made elsewhere, and only the engine has it",
            )),
            Err(why) => Some(Err(why)),
        },
    };
    program::diff((&settled.target, &before), (&change.target, &after))
}

fn for_programs(pipeline: &Pipeline, change: Option<&Approval>, program: &[PartDiff]) -> Value {
    let program: Vec<Value> = program.iter().map(PartDiff::to_json).collect();
    json!({
        "namespace": pipeline.namespace(),
        "pipeline": pipeline.name_any(),
        "change": change,
        "program": program,
    })
}
