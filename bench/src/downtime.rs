//! How long a pipeline is down for a changed program, compiled beforehand and not. Whoever approves
//! does so at once here; in life, the wait for a person comes on top.

use std::time::{Duration, Instant};

use futures::future::try_join;
use kube::Api;
use serde_json::{Value, json};
use sluice::crd::{Pipeline, annotation};

use crate::Error;
use crate::figures::heading;
use crate::pipelines;
use crate::stage::{Stage, StandIn, objects};

/// How often the engine is asked whether the pipeline is up.
const LOOK: Duration = Duration::from_millis(25);

/// The Pipeline's name.
const NAME: &str = "orders";

#[derive(clap::Args)]
pub struct Downtime {
    /// How many seconds the engine compiles a program that it hasn't compiled before
    #[arg(long, default_value_t = 20)]
    compile_time: u64,

    /// How many seconds it compiles one that it has [default: a quarter of that]
    #[arg(long)]
    recompile_time: Option<u64>,
}

/// How it went.
struct Verdict {
    /// From the change of the spec to the stop.
    before: Duration,
    /// From the stop to the question.
    until_asked: Duration,
    /// From the stop to the changed program's running.
    down: Duration,
}

impl Downtime {
    /// Measures and prints.
    pub async fn run(self) -> Result<(), Error> {
        let stage = Stage::set(false).await?;
        let (beforehand, after) = try_join(
            self.change(&stage, "beforehand", "true"),
            self.change(&stage, "afterwards", "false"),
        )
        .await?;
        let recompile = self.recompile_time();
        heading(&format!(
            "downtime: a changed program, compiled in {} s, and in {:.1} s the second time",
            self.compile_time,
            recompile.as_secs_f64()
        ));
        println!(
            "{:<32} {:>14} {:>14} {:>14}",
            "seconds", "still running", "down to gate", "down in all"
        );
        for (what, outcome) in [
            ("--compile-beforehand true", &beforehand),
            ("--compile-beforehand false", &after),
        ] {
            println!(
                "{what:<32} {:>14.1} {:>14.1} {:>14.1}",
                outcome.before.as_secs_f64(),
                outcome.until_asked.as_secs_f64(),
                outcome.down.as_secs_f64(),
            );
        }
        let down = |outcome: &Verdict| outcome.down.as_secs_f64();
        println!(
            "beforehand / afterwards: {:.0} % of the time down; beyond the compilation that is left: {:.1} s; afterwards, beyond its compilation: {:.1} s",
            100.0 * down(&beforehand) / down(&after),
            down(&beforehand) - recompile.as_secs_f64(),
            down(&after) - self.compile_time as f64,
        );
        Ok(())
    }

    fn recompile_time(&self) -> Duration {
        self.recompile_time.map_or_else(
            || Duration::from_secs(self.compile_time) / 4,
            Duration::from_secs,
        )
    }

    /// Changes a running pipeline's program, approves, and watches it.
    async fn change(
        &self,
        stage: &Stage,
        namespace: &str,
        compile_beforehand: &str,
    ) -> Result<Verdict, Error> {
        stage.namespace(namespace).await?;
        let compile = format!("{}s", self.compile_time);
        let recompile = format!("{}ms", self.recompile_time().as_millis());
        let engine = stage
            .engine(
                namespace,
                &[
                    "--compile-time",
                    &compile,
                    "--recompile-time",
                    &recompile,
                    // Whether it is up must be told at once, and not when the manager next asks.
                    "--poll-interval",
                    "0",
                ],
            )
            .await?;
        let _operator = stage
            .operator(&[
                "--watch-namespace",
                namespace,
                "--compile-beforehand",
                compile_beforehand,
            ])
            .await?;
        let api: Api<Pipeline> = objects(&stage.client("admin").await?, namespace);
        pipelines::make(&api, NAME, 0).await?;
        pipelines::until_settled(&api, NAME).await?;
        let program = json!({"spec": {"program": {"sql": pipelines::program(1)}}});
        let changed = Instant::now();
        pipelines::patch(&api, NAME, program).await?;
        let approve = async {
            let waiting = pipelines::until_waiting(&api, NAME, "").await?;
            let asked = Instant::now();
            let vote = json!({"metadata": {"annotations": {
                annotation::APPROVE: pipelines::change_id(&waiting),
            }}});
            pipelines::patch(&api, NAME, vote).await?;
            Ok::<_, Error>(asked)
        };
        let watch = async {
            let down = until_it_runs(&engine, false).await?;
            Ok((down, until_it_runs(&engine, true).await?))
        };
        let (asked, (stopped, runs)) = try_join(approve, watch).await?;
        Ok(Verdict {
            before: stopped - changed,
            until_asked: asked.saturating_duration_since(stopped),
            down: runs - stopped,
        })
    }
}

/// Waits until the pipeline runs, or doesn't.
async fn until_it_runs(engine: &StandIn, runs: bool) -> Result<Instant, Error> {
    let path = format!("/v0/pipelines/{NAME}?selector=status");
    loop {
        let answer = engine.call("GET", &path, Value::Null).await?;
        let answer: Value = serde_json::from_str(&answer)?;
        if (answer["deployment_status"] == "Running") == runs {
            return Ok(Instant::now());
        }
        tokio::time::sleep(LOOK).await;
    }
}
