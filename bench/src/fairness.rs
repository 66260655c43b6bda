//! What one tenant's slow engine with many Pipelines costs another one's approvals, beside the same approvals
//! without it.

use std::time::Duration;

use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use kube::Api;
use serde_json::json;
use sluice::crd::Pipeline;

use crate::Error;
use crate::approval_latency::{QUICK, REST, approve};
use crate::figures::{Samples, heading, table, verdict};
use crate::pipelines;
use crate::stage::{Stage, StandIn, objects, until};

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
        let names: Vec<String> = (0..self.pipelines.max(1))
            .map(|number| format!("orders-{number}"))
            .collect();
        println!("{} Pipelines are made and started.", names.len());
        try_join_all(names.iter().map(|name| pipelines::make(&api, name, 0))).await?;
        let settled = names
            .iter()
            .map(|name| pipelines::until_settled(&api, name));
        try_join_all(settled).await?;

        let mut approvals = Approvals {
            last: vec![String::new(); names.len()],
            names,
            api,
            engine,
            round: 0,
        };
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

/// Pipelines whose changes are approved in turn.
struct Approvals {
    names: Vec<String>,
    last: Vec<String>,
    api: Api<Pipeline>,
    engine: StandIn,
    round: usize,
}

impl Approvals {
    /// How long each of so many approvals took, from the API server's acceptance to the engine's hearing of it.
    async fn measure(&mut self, number: usize) -> Result<Samples, Error> {
        let mut samples = Samples::default();
        while samples.len() < number {
            self.round += 1;
            let change = json!({"spec": {"program": {"sql": pipelines::program(self.round)}}});
            let changes = self
                .names
                .iter()
                .map(|name| pipelines::patch(&self.api, name, change.clone()));
            try_join_all(changes).await?;
            let waiting = self.names.iter().zip(&self.last);
            let waiting =
                waiting.map(|(name, before)| pipelines::until_waiting(&self.api, name, before));
            for (index, pipeline) in try_join_all(waiting).await?.iter().enumerate() {
                self.last[index] = pipelines::change_id(pipeline);
                tokio::time::sleep(REST).await;
                let (_, answered) = approve(&self.api, pipeline, &self.engine).await?;
                samples.add(answered);
                pipelines::until_settled(&self.api, &self.names[index]).await?;
            }
            println!("{} approvals are measured.", samples.len());
        }
        // What was done before is over, for whatever comes next.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(samples)
    }
}
