//! The most memory that the operator holds beside a namespace full of large Pipelines: started anew there, and while
//! a crowd without rights calls its REST endpoint. Beside the same operator without the calls, in the same run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::{TryStreamExt, stream};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use sluice::crd::Pipeline;

use crate::Error;
use crate::figures::{heading, verdict};
use crate::pipelines::{self, Large};
use crate::stage::{Stage, create, objects};

/// Where the Pipelines are.
const NAMESPACE: &str = "large";

/// Where the accounts without rights are.
const STRANGERS: &str = "strangers";

/// A pipeline's name that every other Pipeline claims, so that asking for it makes Sluice look through all of them.
const CLAIMED: &str = "claimed";

/// What the chart allows, in MiB.
const LIMIT: f64 = 256.0;

/// How long it must be quiet until everything counts as observed.
const QUIET: Duration = Duration::from_secs(5);

/// How long it may take until the operator has looked at everything.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(clap::Args)]
pub struct Memory {
    /// How many Pipelines there are
    #[arg(long, default_value_t = 300)]
    pipelines: usize,

    /// How many KiB each has: 720 at most
    #[arg(long, default_value_t = 700)]
    kibibytes: usize,

    /// How many clients call at a time
    #[arg(long, default_value_t = 1_100)]
    clients: usize,

    /// How many accounts they have; each may make 600 calls a minute
    #[arg(long, default_value_t = 20)]
    accounts: usize,

    /// For how many seconds they call
    #[arg(long, default_value_t = 60)]
    window: u64,
}

impl Memory {
    /// Measures and prints.
    pub async fn run(self) -> Result<(), Error> {
        let stage = Stage::set(false).await?;
        stage.namespace(NAMESPACE).await?;
        stage.namespace(STRANGERS).await?;
        let _engine = stage
            .engine(
                NAMESPACE,
                &["--compile-time", "1ms", "--poll-interval", "1s"],
            )
            .await?;
        let flags = ["--api-namespace", NAMESPACE, "--require-policies", "true"];
        let operator = stage.operator(&flags).await?;
        let api: Api<Pipeline> = objects(&stage.client("admin").await?, NAMESPACE);
        self.make(&api).await?;
        self.until_observed(&api).await?;
        let made = operator.usage()?.peak;
        drop(operator);

        println!("The operator is started anew.");
        let operator = stage.operator(&flags).await?;
        let mut seen = (0.0, Instant::now());
        while seen.0 < self.pipelines as f64 || seen.1.elapsed() < QUIET {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let reconciles = operator.figure("sluice_reconciles_total").await?;
            if reconciles > seen.0 {
                seen = (reconciles, Instant::now());
            }
            if operator.started.elapsed() > PATIENCE {
                return Err(Error::Unseen("all Pipelines are observed".into()));
            }
        }
        let started = operator.usage()?.peak;
        let tokens = self.tokens(&stage).await?;
        println!("Nothing happens for {} s.", self.window);
        tokio::time::sleep(Duration::from_secs(self.window)).await;
        let alone = operator.usage()?;
        println!("{} clients call for as long.", self.clients);
        let answers = self.call(&operator.api, &tokens).await;
        let beside = operator.usage()?;

        heading(&format!(
            "memory: {} Pipelines of {} KiB, {} clients without rights",
            self.pipelines, self.kibibytes, self.clients
        ));
        println!("while they were made: at most {made:.0} MiB");
        println!("started anew, until all were observed: at most {started:.0} MiB");
        println!(
            "without the calls: at most {:.0} MiB, {:.0} at rest",
            alone.peak, alone.resident
        );
        println!(
            "with them: at most {:.0} MiB, {:.0} at their end: {:.2} × of what it is without",
            beside.peak,
            beside.resident,
            beside.peak / alone.peak
        );
        let all: usize = answers.values().sum();
        let each: Vec<String> = answers
            .iter()
            .map(|(what, number)| format!("{number} × {what}"))
            .collect();
        println!("{all} calls were answered: {}", each.join(", "));
        verdict("made / the chart's limit", made / LIMIT, 1.0);
        verdict("started / the chart's limit", started / LIMIT, 1.0);
        verdict(
            "with the calls / the chart's limit",
            beside.peak / LIMIT,
            1.0,
        );
        Ok(())
    }

    async fn make(&self, api: &Api<Pipeline>) -> Result<(), Error> {
        println!("{} Pipelines are made.", self.pipelines);
        stream::iter((0..self.pipelines).map(Ok))
            .try_for_each_concurrent(8, |number| async move {
                let mut large = Large {
                    kibibytes: self.kibibytes,
                    ..Large::default()
                };
                // Nothing runs, so that few statuses are written: each is the whole object once more in etcd.
                large
                    .further
                    .insert("desiredState".into(), json!("stopped"));
                if number % 2 == 1 {
                    large.further.insert("pipelineName".into(), json!(CLAIMED));
                }
                pipelines::make_large(api, &name(number), large).await
            })
            .await
    }

    /// Waits until the operator has said of each what it makes of it.
    async fn until_observed(&self, api: &Api<Pipeline>) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let mut params = ListParams::default().limit(20);
            let mut observed = 0;
            loop {
                let page = api.list(&params).await?;
                let statuses = page.items.iter().filter_map(|it| it.status.as_ref());
                observed += statuses
                    .filter(|status| {
                        let phase = status.phase.as_deref();
                        matches!(phase, Some("Stopped" | "NameTaken"))
                    })
                    .count();
                match page.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => params = params.continue_token(&token),
                    None => break,
                }
            }
            println!(
                "{observed} are observed after {:.0} s.",
                start.elapsed().as_secs_f64()
            );
            if observed == self.pipelines {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(Error::Unseen("all Pipelines are observed".into()));
            }
        }
    }

    /// The tokens of accounts that may do nothing.
    async fn tokens(&self, stage: &Stage) -> Result<Vec<String>, Error> {
        let accounts: Api<ServiceAccount> = objects(&stage.client("admin").await?, STRANGERS);
        let mut tokens = vec![];
        for number in 0..self.accounts.max(1) {
            let name = format!("stranger-{number}");
            create(&accounts, json!({"metadata": {"name": name}})).await?;
            tokens.push(stage.account_token(STRANGERS, &name).await?);
        }
        Ok(tokens)
    }

    /// Calls as often as there are answers, from so many connections; which answers came how often.
    async fn call(&self, base: &str, tokens: &[String]) -> BTreeMap<String, usize> {
        let end = Instant::now() + Duration::from_secs(self.window);
        let clients = (0..self.clients).map(|client| async move {
            let http = reqwest::Client::new();
            let mut answers = BTreeMap::<String, usize>::new();
            let mut number = client;
            while Instant::now() < end {
                number += self.clients;
                let call = match number % 4 {
                    0 => http.get(format!("{base}/v0/config")),
                    1 => http.post(format!("{base}/v0/pipelines/{CLAIMED}/approve")),
                    _ => {
                        let name = name(number / 4 * 2 % self.pipelines.max(1));
                        http.post(format!("{base}/v0/pipelines/{name}/approve"))
                    }
                };
                let call = call.bearer_auth(&tokens[client % tokens.len()]);
                let what = match call.timeout(Duration::from_secs(30)).send().await {
                    Ok(answer) => {
                        let status = answer.status().as_u16().to_string();
                        // Whatever it is.
                        drop(answer.bytes().await);
                        status
                    }
                    Err(_) => "closed".to_owned(),
                };
                if what != "200" && what != "404" {
                    // As the answer asks for.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                *answers.entry(what).or_default() += 1;
            }
            answers
        });
        let mut all = BTreeMap::new();
        for answers in join_all(clients).await {
            for (what, number) in answers {
                *all.entry(what).or_default() += number;
            }
        }
        all
    }
}

fn name(number: usize) -> String {
    format!("large-{number}")
}
