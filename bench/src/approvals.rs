//! Approvals, one after the other, and how long each takes to be heard.

use std::time::Duration;

use futures::future::try_join_all;
use kube::Api;
use serde_json::json;
use sluice::crd::Pipeline;

use crate::Error;
use crate::approval_latency::{REST, approve};
use crate::figures::Samples;
use crate::pipelines;
use crate::stage::StandIn;

/// Pipelines whose changes are approved in turn.
pub struct Approvals {
    names: Vec<String>,
    last: Vec<String>,
    api: Api<Pipeline>,
    engine: StandIn,
    round: usize,
}

impl Approvals {
    /// Makes so many Pipelines, and has them run.
    pub async fn begin(api: Api<Pipeline>, engine: StandIn, number: usize) -> Result<Self, Error> {
        let names: Vec<String> = (0..number.max(1))
            .map(|number| format!("orders-{number}"))
            .collect();
        println!("{} Pipelines are made and started.", names.len());
        try_join_all(names.iter().map(|name| pipelines::make(&api, name, 0))).await?;
        let settled = names
            .iter()
            .map(|name| pipelines::until_settled(&api, name));
        try_join_all(settled).await?;
        Ok(Self {
            last: vec![String::new(); names.len()],
            names,
            api,
            engine,
            round: 0,
        })
    }

    /// How long each of so many approvals took, from the API server's acceptance to the engine's hearing of it.
    pub async fn measure(&mut self, number: usize) -> Result<Samples, Error> {
        let mut samples = Samples::default();
        while samples.len() < number {
            for (index, pipeline) in self.ask().await?.iter().enumerate() {
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

    /// Edits all of them, and returns them as soon as they all wait for approval.
    pub async fn ask(&mut self) -> Result<Vec<Pipeline>, Error> {
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
        let waiting = try_join_all(waiting).await?;
        self.last = waiting.iter().map(pipelines::change_id).collect();
        Ok(waiting)
    }
}
