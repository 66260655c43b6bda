//! From the API server's acceptance of an approval to the engine's receipt of its approve call, beside
//! the steps that the gate's rules demand, each measured bare: see what of an event, write the intent
//! down, read the engine, call it.

use std::time::{Duration, Instant};

use futures::{TryStreamExt, future::try_join_all};
use jiff::Timestamp;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use sluice::crd::{Pipeline, PipelineApproval, annotation};
use tokio::sync::mpsc;

use crate::Error;
use crate::figures::{Samples, heading, table, verdict};
use crate::pipelines;
use crate::stage::{Operator, Stage, StandIn, objects, until};

/// Where the approved Pipelines are.
const NAMESPACE: &str = "approvals";

/// Where those of the bare measurements are: no operator looks there.
const BARE: &str = "bare";

/// What the bare measurements are made on.
const BARE_PIPELINE: &str = "bare";

/// A pause before each approval and after it, so that nothing else goes on meanwhile. The API server
/// serves a consistent list from its cache once that has caught up with etcd, and asks etcd about it at
/// most every 100 ms (`progressRequestPeriod` of k8s.io/apiserver): of two lists within that time the
/// second one waits for the rest of it, and what is measured bare would slow down what is compared with it.
pub const REST: Duration = Duration::from_millis(250);

/// An engine whose own delays don't show.
pub const QUICK: [&str; 14] = [
    "--poll-interval",
    "50ms",
    "--details-interval",
    "50ms",
    "--compile-time",
    "50ms",
    "--provision-time",
    "50ms",
    "--initialize-time",
    "20ms",
    "--bootstrap-time",
    "50ms",
    "--stop-time",
    "20ms",
];

#[derive(clap::Args)]
pub struct ApprovalLatency {
    /// How many approvals are measured
    #[arg(long, default_value_t = 200)]
    approvals: usize,

    /// How many Pipelines take turns
    #[arg(long, default_value_t = 20)]
    pipelines: usize,

    /// Whether the operator requires the admission policies, as the chart has it: then it looks at them
    /// before each decision
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set, default_value_t = true)]
    require_policies: bool,
}

/// All that is measured.
#[derive(Default)]
struct Figures {
    sent: Samples,
    answered: Samples,
    event: Samples,
    write: Samples,
    votes: Samples,
    read: Samples,
    call: Samples,
}

impl ApprovalLatency {
    /// Measures and prints.
    pub async fn run(self) -> Result<(), Error> {
        let stage = Stage::set(false).await?;
        stage.namespace(NAMESPACE).await?;
        stage.namespace(BARE).await?;
        let engine = stage.engine(NAMESPACE, &QUICK).await?;
        let operator = stage
            .operator(&[
                "--watch-namespace",
                NAMESPACE,
                "--poll-interval",
                "200ms",
                "--resend-after",
                "1s",
                "--require-policies",
                &self.require_policies.to_string(),
            ])
            .await?;
        let api: Api<Pipeline> = objects(&stage.client("admin").await?, NAMESPACE);
        let names: Vec<String> = (0..self.pipelines.max(1))
            .map(|number| format!("orders-{number}"))
            .collect();
        println!("{} Pipelines are made and started.", names.len());
        try_join_all(names.iter().map(|name| pipelines::make(&api, name, 0))).await?;
        try_join_all(
            names
                .iter()
                .map(|name| pipelines::until_settled(&api, name)),
        )
        .await?;

        let mut bare = Bare::prepare(&stage, &engine).await?;
        let mut figures = Figures::default();
        let mut last = vec![String::new(); names.len()];
        let mut round = 0;
        while figures.answered.len() < self.approvals {
            round += 1;
            let change = json!({"spec": {"program": {"sql": pipelines::program(round)}}});
            try_join_all(
                names
                    .iter()
                    .map(|name| pipelines::patch(&api, name, change.clone())),
            )
            .await?;
            let waiting = names.iter().zip(&last);
            let waiting = try_join_all(
                waiting.map(|(name, before)| pipelines::until_waiting(&api, name, before)),
            )
            .await?;
            for (number, pipeline) in waiting.iter().enumerate() {
                if figures.answered.len() == self.approvals {
                    break;
                }
                last[number] = pipelines::change_id(pipeline);
                tokio::time::sleep(REST).await;
                bare.measure(pipeline, &engine, &mut figures).await?;
                tokio::time::sleep(REST).await;
                let (sent, answered) = approve(&api, pipeline, &engine).await?;
                figures.sent.add(sent);
                figures.answered.add(answered);
                pipelines::until_settled(&api, &names[number]).await?;
            }
            println!("{} approvals are measured.", figures.answered.len());
        }
        print(&figures, &operator)
    }
}

/// Approves by annotation, and looks when the engine was told: how many milliseconds after the approval was
/// sent, and after it was accepted.
pub async fn approve(
    api: &Api<Pipeline>,
    pipeline: &Pipeline,
    engine: &StandIn,
) -> Result<(f64, f64), Error> {
    let name = pipelines::name(pipeline);
    let change = pipelines::change_id(pipeline);
    let position = engine.position()?;
    let vote = json!({"metadata": {"annotations": {annotation::APPROVE: change}}});
    let sent = Timestamp::now();
    pipelines::patch(api, &name, vote).await?;
    let answered = Timestamp::now();
    // Looking for it would take processor time from what is measured.
    tokio::time::sleep(REST).await;
    let path = format!("/v0/pipelines/{name}/approve");
    let heard = until("the engine is told of an approval", || async {
        let calls = engine.calls(position)?;
        let call = calls.into_iter().find(|call| call.path == path);
        Ok(call.map(|call| call.time))
    })
    .await?;
    Ok((milliseconds(sent, heard), milliseconds(answered, heard)))
}

/// What the bare measurements need.
struct Bare {
    /// Of whoever edits.
    editor: Api<Pipeline>,
    /// Of the operator's account.
    operator: Api<Pipeline>,
    /// Of the operator's account.
    votes: Api<PipelineApproval>,
    events: mpsc::UnboundedReceiver<(Instant, String)>,
    number: usize,
}

impl Bare {
    /// A Pipeline that no operator looks after, a pipeline in the engine that none knows of, and a
    /// watch.
    async fn prepare(stage: &Stage, engine: &StandIn) -> Result<Self, Error> {
        let editor: Api<Pipeline> = objects(&stage.client("admin").await?, BARE);
        let made = pipelines::make(&editor, BARE_PIPELINE, 0).await?;
        let (seen, events) = mpsc::unbounded_channel();
        // With the operator's account, as its own watch.
        let operator: Api<Pipeline> = objects(&stage.operators_client().await?, BARE);
        let watch = operator.clone();
        let version = made.metadata.resource_version.unwrap_or_default();
        tokio::spawn(async move {
            let stream = watch.watch(&WatchParams::default(), &version).await?;
            let mut stream = std::pin::pin!(stream);
            while let Some(event) = stream.try_next().await? {
                let at = Instant::now();
                if let WatchEvent::Modified(pipeline) = event {
                    let mark = pipeline.annotation("bench").unwrap_or_default().to_owned();
                    if seen.send((at, mark)).is_err() {
                        break;
                    }
                }
            }
            Ok::<(), kube::Error>(())
        });
        let program = json!({"name": BARE_PIPELINE, "program_code": pipelines::program(0)});
        engine.call("POST", "/v0/pipelines", program).await?;
        engine.call("POST", &on_bare("start"), Value::Null).await?;
        until("the bare pipeline runs", || async {
            let answer = engine.call("GET", &on_bare(""), Value::Null).await?;
            Ok(answer
                .contains("\"deployment_status\":\"Running\"")
                .then_some(()))
        })
        .await?;
        Ok(Self {
            editor,
            votes: objects(&stage.operators_client().await?, BARE),
            operator,
            events,
            number: 0,
        })
    }

    /// Each step once.
    async fn measure(
        &mut self,
        pipeline: &Pipeline,
        engine: &StandIn,
        figures: &mut Figures,
    ) -> Result<(), Error> {
        self.number += 1;
        let mark = self.number.to_string();
        pipelines::patch(
            &self.editor,
            BARE_PIPELINE,
            json!({"metadata": {"annotations": {"bench": mark}}}),
        )
        .await?;
        let answered = Instant::now();
        let seen = loop {
            match self.events.recv().await {
                Some((at, seen)) if seen == mark => break at,
                Some(_) => {}
                None => return Err(Error::Unseen("the bare watch goes on".into())),
            }
        };
        // The event may come before the answer.
        figures
            .event
            .add_time(seen.saturating_duration_since(answered));

        let mut status = pipelines::status_of(pipeline, BARE_PIPELINE)?;
        // Another one each time, or nothing would be written.
        status["status"]["approval"]["summary"] = json!(format!("the status number {mark}"));
        let params = PatchParams::apply("sluice").force();
        let start = Instant::now();
        self.operator
            .patch_status(BARE_PIPELINE, &params, &Patch::Apply(&status))
            .await?;
        figures.write.add_time(start.elapsed());

        // At once, as Sluice does: only what was written since makes the API server wait for etcd.
        let start = Instant::now();
        self.votes.list(&ListParams::default()).await?;
        figures.votes.add_time(start.elapsed());

        let path = format!("/v0/pipelines/{}?selector=all", pipelines::name(pipeline));
        let start = Instant::now();
        let answer = engine.call("GET", &path, Value::Null).await?;
        let _: Value = serde_json::from_str(&answer)?;
        figures.read.add_time(start.elapsed());

        let position = engine.position()?;
        let sent = Timestamp::now();
        engine
            .call("POST", &on_bare("approve"), Value::Null)
            .await?;
        let path = on_bare("approve");
        let calls = engine.calls(position)?;
        let heard = calls.into_iter().find(|call| call.path == path);
        let heard = heard.ok_or_else(|| Error::Unseen("the bare call is logged".into()))?;
        figures.call.add(milliseconds(sent, heard.time));
        Ok(())
    }
}

fn on_bare(action: &str) -> String {
    format!("/v0/pipelines/{BARE_PIPELINE}/{action}")
        .trim_end_matches('/')
        .to_owned()
}

fn milliseconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() * 1_000.0
}

fn print(figures: &Figures, operator: &Operator) -> Result<(), Error> {
    let bare = [&figures.event, &figures.write, &figures.read, &figures.call];
    let median: f64 = bare.iter().map(|samples| samples.median()).sum();
    let p99: f64 = bare.iter().map(|samples| samples.p99()).sum();
    let row = |what, samples: &Samples| (what, samples.median(), samples.p99());
    heading(&format!(
        "approval-latency: {} approvals by annotation",
        figures.answered.len()
    ));
    table(&[
        row("approval answered → engine told", &figures.answered),
        row("approval sent → engine told", &figures.sent),
        row("bare: write answered → watch event", &figures.event),
        row("bare: status write (server-side apply)", &figures.write),
        row("bare: engine read (selector=all)", &figures.read),
        row("bare: engine call, sent → heard", &figures.call),
        ("sum of these four", median, p99),
        row("bare: live list of votes after a write", &figures.votes),
    ]);
    let (took, took_at_most) = (figures.answered.median(), figures.answered.p99());
    verdict("median / sum of medians", took / median, 1.3);
    verdict("p99 / sum of p99s", took_at_most / p99, 2.0);
    // The gate's rule A5 asks for it, too, and Sluice makes it in the time of the engine read.
    println!(
        "with the list of votes, which rule A5 asks for, in the sum: {:.2} × at the median, {:.2} × at p99",
        took / (median + figures.votes.median()),
        took_at_most / (p99 + figures.votes.p99()),
    );
    let usage = operator.usage()?;
    println!("The operator holds {:.1} MiB.", usage.resident);
    Ok(())
}
