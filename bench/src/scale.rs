//! What many Pipelines on one engine cost that nothing happens to, and how long the operator takes to
//! start with them. Beside it, what a bare client needs that only reads the same answers.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use kube::Api;
use kube::api::ListParams;
use serde_json::Value;
use sluice::crd::Pipeline;

use crate::Error;
use crate::audit;
use crate::figures::{heading, verdict};
use crate::pipelines::{self, Large};
use crate::process::own_usage;
use crate::stage::{Operator, Stage, StandIn, objects};

/// Where the Pipelines are.
const NAMESPACE: &str = "many";

/// How long it must be quiet until everything counts as observed.
const QUIET: Duration = Duration::from_secs(5);

/// How long the operator may take to make the Pipelines' pipelines, or to start.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// How often the operator's figures are read while it starts.
const LOOK: Duration = Duration::from_millis(50);

/// How many objects a page of a list holds, as in kube's own lists.
const PAGE: u32 = 500;

#[derive(clap::Args)]
pub struct Scale {
    /// How many Pipelines; several numbers are measured one after the other
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000])]
    pipelines: Vec<usize>,

    /// For how many seconds the operator is watched while nothing happens
    #[arg(long, default_value_t = 60)]
    window: u64,

    /// How many KiB each has beside its program, of remarks and annotations: 720 at most
    #[arg(long, default_value_t = 0)]
    kibibytes: usize,

    /// How many Pipelines are created at a time
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
}

impl Scale {
    /// Measures and prints.
    pub async fn run(self) -> Result<(), Error> {
        for number in &self.pipelines {
            self.measure(*number).await?;
        }
        Ok(())
    }

    async fn measure(&self, number: usize) -> Result<(), Error> {
        let stage = Stage::set(true).await?;
        stage.namespace(NAMESPACE).await?;
        let quick = [
            ["--poll-interval", "1s"],
            ["--details-interval", "1s"],
            ["--compile-time", "1ms"],
            ["--provision-time", "1ms"],
            ["--initialize-time", "1ms"],
            ["--checkpoint-time", "1ms"],
        ]
        .concat();
        let engine = stage.engine(NAMESPACE, &quick).await?;
        let api: Api<Pipeline> = objects(&stage.client("admin").await?, NAMESPACE);
        let audit_log = stage.audit_log()?;

        let operator = stage.operator(&["--watch-namespace", NAMESPACE]).await?;
        let made = self.make(&api, number, &operator).await?;
        drop(operator);

        let start = Start::measure(&stage, &engine, &audit_log, number).await?;
        let rest = self.rest(&start.operator, &engine, &audit_log).await?;
        let bare = Bare::measure(&api, &engine, rest.ticks).await?;

        heading(&format!("scale: {number} Pipelines on one engine"));
        println!(
            "made by the operator, {} at a time: {:.0} s, {:.1} Pipelines/s",
            self.concurrency,
            made.as_secs_f64(),
            number as f64 / made.as_secs_f64()
        );
        start.print(&bare);
        rest.print(&bare);
        Ok(())
    }

    /// Creates the Pipelines and waits until all run and are settled.
    async fn make(
        &self,
        api: &Api<Pipeline>,
        number: usize,
        operator: &Operator,
    ) -> Result<Duration, Error> {
        println!("{number} Pipelines are made.");
        let start = Instant::now();
        let names: Vec<String> = (0..number).map(|n| format!("orders-{n}")).collect();
        stream::iter(names.iter().map(Ok))
            .try_for_each_concurrent(self.concurrency, |name| async move {
                if self.kibibytes > 0 {
                    let large = Large {
                        kibibytes: self.kibibytes,
                        ..Large::default()
                    };
                    pipelines::make_large(api, name, large).await
                } else {
                    pipelines::make(api, name, 0).await.map(drop)
                }
            })
            .await?;
        println!("Created after {:.0} s.", start.elapsed().as_secs_f64());
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let settled = list(api, pipelines::is_settled).await?;
            println!(
                "{settled} run and are settled after {:.0} s; the operator holds {:.0} MiB.",
                start.elapsed().as_secs_f64(),
                operator.usage()?.resident
            );
            if settled == number {
                return Ok(start.elapsed());
            }
            if start.elapsed() > PATIENCE {
                return Err(Error::Unseen("all Pipelines run".into()));
            }
        }
    }

    /// Watches the operator while nothing happens.
    async fn rest(
        &self,
        operator: &Operator,
        engine: &StandIn,
        audit_log: &Path,
    ) -> Result<AtRest, Error> {
        println!("Nothing happens for {} s.", self.window);
        let (calls, written) = (engine.position()?, audit::position(audit_log)?);
        let reconciles = operator.figure("sluice_reconciles_total").await?;
        let before = operator.usage()?;
        let start = Instant::now();
        tokio::time::sleep(Duration::from_secs(self.window)).await;
        let after = operator.usage()?;
        let elapsed = start.elapsed();
        let calls = engine.calls(calls)?;
        let ticks = calls.iter().filter(|call| call.is_tick()).count();
        Ok(AtRest {
            elapsed,
            cpu: after.cpu.saturating_sub(before.cpu),
            resident: after.resident,
            peak: after.peak,
            ticks,
            other_calls: calls.len() - ticks,
            reconciles: operator.figure("sluice_reconciles_total").await? - reconciles,
            api_calls: audit::calls(audit_log, written)?,
        })
    }
}

/// Counts the Pipelines of which something is true.
async fn list(api: &Api<Pipeline>, which: impl Fn(&Pipeline) -> bool) -> Result<usize, Error> {
    let mut params = ListParams::default().limit(PAGE);
    let mut found = 0;
    loop {
        let page = api.list(&params).await?;
        found += page.items.iter().filter(|pipeline| which(pipeline)).count();
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// A start.
struct Start {
    operator: Operator,
    /// Until the last reconcile before it was quiet.
    observed: Duration,
    reconciles: f64,
    cpu: Duration,
    peak: f64,
    ticks: usize,
    reads: usize,
    changes: usize,
    api_calls: BTreeMap<String, u64>,
}

impl Start {
    /// Starts an operator, and waits until it has looked at everything and is quiet.
    async fn measure(
        stage: &Stage,
        engine: &StandIn,
        audit_log: &Path,
        number: usize,
    ) -> Result<Self, Error> {
        println!("The operator is started anew.");
        let (calls, written) = (engine.position()?, audit::position(audit_log)?);
        let operator = stage.operator(&["--watch-namespace", NAMESPACE]).await?;
        let (mut reconciles, mut observed) = (0.0, Duration::ZERO);
        // What comes after everything was observed is none of the start's.
        let mut usage = operator.usage()?;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = operator.figure("sluice_reconciles_total").await?;
            let elapsed = operator.started.elapsed();
            if now > reconciles {
                (reconciles, observed) = (now, elapsed);
                usage = operator.usage()?;
            } else if now >= number as f64 && elapsed - observed > QUIET {
                break;
            }
            if elapsed > PATIENCE {
                return Err(Error::Unseen(format!(
                    "all Pipelines are observed: {now} reconciles"
                )));
            }
        }
        let calls = engine.calls(calls)?;
        let ticks = calls.iter().filter(|call| call.is_tick()).count();
        let changes = calls.iter().filter(|call| call.changes()).count();
        Ok(Self {
            observed,
            reconciles,
            cpu: usage.cpu,
            peak: usage.peak,
            ticks,
            reads: calls.len() - ticks - changes,
            changes,
            api_calls: audit::calls(audit_log, written)?,
            operator,
        })
    }

    fn print(&self, bare: &Bare) {
        println!("start:");
        println!(
            "  all observed after {:.1} s (target: 10), {:.1} s of processor time; a bare client lists all of it in {:.1} s: {:.1} ×",
            self.observed.as_secs_f64(),
            self.cpu.as_secs_f64(),
            bare.start.as_secs_f64(),
            self.observed.as_secs_f64() / bare.start.as_secs_f64(),
        );
        println!(
            "  {} reconciles; at most {:.0} MiB; engine: {} lists, {} other reads, {} calls that change something (target: 0)",
            self.reconciles, self.peak, self.ticks, self.reads, self.changes
        );
        println!(
            "  API server: {}; {} writes",
            words(&self.api_calls),
            audit::writes(&self.api_calls)
        );
    }
}

/// A time in which nothing happens.
struct AtRest {
    elapsed: Duration,
    cpu: Duration,
    resident: f64,
    peak: f64,
    ticks: usize,
    other_calls: usize,
    reconciles: f64,
    api_calls: BTreeMap<String, u64>,
}

impl AtRest {
    fn print(&self, bare: &Bare) {
        let share = 100.0 * self.cpu.as_secs_f64() / self.elapsed.as_secs_f64();
        println!("at rest, {:.0} s:", self.elapsed.as_secs_f64());
        println!(
            "  {} ticks, {} other calls to the engine (target: 0), {} reconciles",
            self.ticks, self.other_calls, self.reconciles
        );
        println!(
            "  API server: {}; {} writes (target: 0)",
            words(&self.api_calls),
            audit::writes(&self.api_calls)
        );
        println!(
            "  {share:.2} % of a core (target: 2); a bare client that reads as many lists into JSON values needs {:.2} %: {:.2} ×",
            100.0 * bare.cpu.as_secs_f64() / self.elapsed.as_secs_f64(),
            self.cpu.as_secs_f64() / bare.cpu.as_secs_f64(),
        );
        println!(
            "  {:.0} MiB resident (target: 150), at most {:.0} since the start; the bare client's list is {:.1} MiB long",
            self.resident, self.peak, bare.list
        );
        verdict("  memory / 150 MiB", self.resident / 150.0, 1.0);
        verdict("  processor / 2 %", share / 2.0, 1.0);
    }
}

fn words(calls: &BTreeMap<String, u64>) -> String {
    if calls.is_empty() {
        return "no calls".to_owned();
    }
    let words = calls
        .iter()
        .map(|(what, number)| format!("{number} × {what}"));
    words.collect::<Vec<_>>().join(", ")
}

/// What a bare client needs.
struct Bare {
    /// Time to list the Pipelines and the engine's pipelines once.
    start: Duration,
    /// Processor time for as many of the engine's lists as there were ticks.
    cpu: Duration,
    /// How long such a list is, in MiB.
    list: f64,
}

impl Bare {
    async fn measure(api: &Api<Pipeline>, engine: &StandIn, ticks: usize) -> Result<Self, Error> {
        let path = "/v0/pipelines?selector=status";
        let start = Instant::now();
        list(api, |_| true).await?;
        let text = engine.call("GET", path, Value::Null).await?;
        let took = start.elapsed();
        let before = own_usage()?.cpu;
        let lists = stream::iter(0..ticks).then(|_| async {
            let text = engine.call("GET", path, Value::Null).await?;
            Ok::<Value, Error>(serde_json::from_str(&text)?)
        });
        lists.try_for_each(|_| async { Ok(()) }).await?;
        Ok(Self {
            start: took,
            cpu: own_usage()?.cpu.saturating_sub(before),
            list: text.len() as f64 / f64::from(1 << 20),
        })
    }
}
