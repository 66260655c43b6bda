//! `kubectl sluice diff`: what the waiting change is.

use jiff::Timestamp;
use serde_json::json;

use crate::arguments::{Diff, Output};
use crate::choose::{state, waiting};
use crate::cluster::Cluster;
use crate::describe::{commands, describe};
use crate::error::Error;

/// What is printed.
pub async fn run(cluster: &Cluster, diff: &Diff) -> Result<String, Error> {
    let pipeline = cluster.pipeline(&diff.pipeline).await?;
    let Some(change) = waiting(&pipeline) else {
        // Not an error: somebody asked what waits, and nothing does.
        return Ok(match diff.output {
            Output::Text => format!(
                "No change of Pipeline {} waits for a decision; {}.\n",
                diff.pipeline,
                state(&pipeline)
            ),
            Output::Json => "null\n".into(),
        });
    };
    Ok(match diff.output {
        Output::Text => format!(
            "{}\n{}",
            describe(&pipeline, change, Timestamp::now()),
            commands(
                &diff.pipeline,
                &cluster.namespace,
                cluster.context.as_deref(),
                &change.change_id
            ),
        ),
        Output::Json => format!("{:#}\n", json!(change)),
    })
}
