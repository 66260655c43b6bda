//! What one tenant's slow engine with many Pipelines costs another one's approvals, beside the same approvals
//! without it.

use futures::{StreamExt, TryStreamExt, stream};
use kube::Api;
use sluice::crd::Pipeline;

use crate::Error;
use crate::approval_latency::QUICK;
use crate::approvals::Approvals;
use crate::figures::{Samples, heading, table, verdict};
use crate::pipelines;
use crate::stage::{Stage, objects, until};

/// Where the approved Pipelines are.
const NAMESPACE: &str = "approvals";

/// Where the slow engine is.
const SLOW: &str = "slow";

#[derive(clap::Args)]
pub struct Fairness {
    /// How many approvals are measured, each time
    #[arg(long, default_value_t = 200)]
    approvals: usize,

    /// How many Pipelines take turns
    #[arg(long, default_value_t = 20)]
    pipelines: usize,

    /// How many Pipelines are on the slow engine
    #[arg(long, default_value_t = 300)]
    slow_pipelines: usize,

    /// How many seconds each of its answers takes
    #[arg(long, default_value_t = 14)]
    latency: u64,
}

impl Fairness {
    /// Measures and prints.
    pub async fn run(self) -> Result<(), Error> {
        let stage = Stage::set(false).await?;
        stage.namespace(NAMESPACE).await?;
        stage.namespace(SLOW).await?;
        let engine = stage.engine(NAMESPACE, &QUICK).await?;
        let operator = stage
            .operator(&["--poll-interval", "200ms", "--resend-after", "1s"])
            .await?;
        let admin = stage.client("admin").await?;
        let api: Api<Pipeline> = objects(&admin, NAMESPACE);
        let mut approvals = Approvals::begin(api, engine, self.pipelines).await?;
        let alone = approvals.measure(self.approvals).await?;

        let latency = format!("latency={}s", self.latency);
        let slow = stage.engine(SLOW, &["--fault", &latency]).await?;
        let others: Api<Pipeline> = objects(&admin, SLOW);
        stream::iter(0..self.slow_pipelines)
            .map(|number| {
                let others = others.clone();
                async move { pipelines::make(&others, &format!("slow-{number}"), 0).await }
            })
            .buffer_unordered(16)
            .try_collect::<Vec<_>>()
            .await?;
        println!(
            "{} Pipelines are on an engine that answers after {} s.",
            self.slow_pipelines, self.latency
        );
        until("the slow engine is busy", || async {
            let calls = slow.calls(0)?;
            Ok(calls
                .iter()
                .any(|call| !call.is_tick() && call.path.contains("slow-"))
                .then_some(()))
        })
        .await?;
        let beside = approvals.measure(self.approvals).await?;
        let unobserved = operator.figure("sluice_oldest_unobserved_seconds").await?;

        heading(&format!(
            "fairness: {} approvals each, alone and beside {} Pipelines on an engine that answers after {} s",
            self.approvals, self.slow_pipelines, self.latency
        ));
        let row = |what, samples: &Samples| (what, samples.median(), samples.p99());
        table(&[
            row("approval answered → engine told, alone", &alone),
            row("approval answered → engine told, beside it", &beside),
        ]);
        verdict(
            "median beside / alone",
            beside.median() / alone.median(),
            1.5,
        );
        verdict("p99 beside / alone", beside.p99() / alone.p99(), 1.5);
        println!(
            "The Pipeline of the slow engine that has waited longest has done so for {unobserved:.0} s."
        );
        println!("The operator holds {:.1} MiB.", operator.usage()?.resident);
        Ok(())
    }
}
