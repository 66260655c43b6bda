//! What the votes of years cost: approvals beside many old ones, and the start of an operator that has to read them all.

use std::time::Instant;

use futures::{StreamExt, TryStreamExt, stream};
use kube::Api;
use serde_json::json;
use sluice::crd::{Pipeline, PipelineApproval};

use crate::Error;
use crate::approval_latency::QUICK;
use crate::approvals::Approvals;
use crate::figures::{Samples, heading, table, verdict};
use crate::stage::{Operator, Stage, create, objects};

/// Where the approved Pipelines are, and all votes.
const NAMESPACE: &str = "approvals";

/// Has the operator look often.
const FLAGS: [&str; 4] = ["--poll-interval", "200ms", "--resend-after", "1s"];

#[derive(clap::Args)]
pub struct Votes {
    /// How many approvals are measured, each time
    #[arg(long, default_value_t = 100)]
    approvals: usize,

    /// How many Pipelines take turns
    #[arg(long, default_value_t = 20)]
    pipelines: usize,

    /// How many old votes there are, in the same namespace
    #[arg(long, default_value_t = 50_000)]
    votes: usize,

    /// On how many other Pipelines they are
    #[arg(long, default_value_t = 1_000)]
    others: usize,
}

impl Votes {
    /// Measures and prints.
    pub async fn run(self) -> Result<(), Error> {
        let stage = Stage::set(false).await?;
        stage.namespace(NAMESPACE).await?;
        let engine = stage.engine(NAMESPACE, &QUICK).await?;
        let operator = stage.operator(&FLAGS).await?;
        let admin = stage.client("admin").await?;
        let api: Api<Pipeline> = objects(&admin, NAMESPACE);
        let mut approvals = Approvals::begin(api, engine, self.pipelines).await?;
        let alone = approvals.measure(self.approvals).await?;
        let held_alone = operator.usage()?.resident;
        drop(operator);
        let (operator, start_alone) = started(&stage, &mut approvals).await?;

        let votes: Api<PipelineApproval> = objects(&admin, NAMESPACE);
        self.make(&votes).await?;
        let beside = approvals.measure(self.approvals).await?;
        let held = operator.usage()?.resident;
        drop(operator);
        let (operator, start_beside) = started(&stage, &mut approvals).await?;

        heading(&format!(
            "votes: {} approvals each, alone and beside {} old votes on {} other Pipelines of the namespace",
            self.approvals, self.votes, self.others
        ));
        let row = |what, samples: &Samples| (what, samples.median(), samples.p99());
        table(&[
            row("approval answered → engine told, alone", &alone),
            row("approval answered → engine told, beside them", &beside),
        ]);
        verdict(
            "median beside / alone",
            beside.median() / alone.median(),
            1.2,
        );
        println!(
            "From the operator's start until edits are asked about: {start_alone:.1} s alone, {start_beside:.1} s beside them."
        );
        println!(
            "The operator holds {held_alone:.1} MiB alone and {held:.1} MiB beside them, {:.1} MiB after it was started anew, and {:.1} MiB at most.",
            operator.usage()?.resident,
            operator.usage()?.peak,
        );
        Ok(())
    }

    /// Makes the old votes.
    async fn make(&self, api: &Api<PipelineApproval>) -> Result<(), Error> {
        let others = self.others.max(1);
        let began = Instant::now();
        stream::iter(0..self.votes)
            .map(|number| async move {
                let vote = json!({
                    "metadata": {"name": format!("old-{number}")},
                    "spec": {
                        "pipelineRef": {"name": format!("other-{}", number % others)},
                        "changeId": format!("{number:032x}"),
                        "decision": "Approve",
                        "reason": "looked at it, and talked to whoever reads the sinks",
                    },
                });
                let made = create(api, vote).await.map(drop);
                if number % 10_000 == 9_999 {
                    println!("{} votes are made.", number + 1);
                }
                made
            })
            .buffer_unordered(32)
            .try_collect::<Vec<_>>()
            .await?;
        println!(
            "{} votes were made in {:.0} s.",
            self.votes,
            began.elapsed().as_secs_f64()
        );
        Ok(())
    }
}

/// Starts an operator, and returns how many seconds it takes until it has asked about edits: before it knows all votes it does
/// nothing.
async fn started(stage: &Stage, approvals: &mut Approvals) -> Result<(Operator, f64), Error> {
    let began = Instant::now();
    let operator = stage.operator(&FLAGS).await?;
    approvals.ask().await?;
    Ok((operator, began.elapsed().as_secs_f64()))
}
