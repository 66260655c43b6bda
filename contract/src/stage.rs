//! Where a chapter plays: an engine, one pipeline, and what the cases before have left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::{Answer, Difference, ensure, shortened};
use crate::case::{Info, Outcome};
use crate::engine::Engine;

/// How long it is waited between two looks, at first and at last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// A stage.
#[derive(Debug)]
pub struct Stage {
    /// The engine.
    pub engine: Engine,
    /// The same engine with a key that isn't one.
    pub stranger: Engine,
    /// What it says of itself.
    pub info: Info,
    /// How long a condition may take.
    pub patience: Duration,
    /// The chapter's pipeline.
    pub name: String,
    /// Pipelines that may be there because of this chapter.
    made: BTreeSet<String>,
    kept: BTreeMap<&'static str, Value>,
}

impl Stage {
    /// For a chapter whose pipeline is called so.
    pub fn new(
        engine: Engine,
        stranger: Engine,
        info: Info,
        patience: Duration,
        name: String,
    ) -> Self {
        Self {
            engine,
            stranger,
            info,
            patience,
            name,
            made: BTreeSet::new(),
            kept: BTreeMap::new(),
        }
    }

    /// Leaves something for later cases.
    pub fn keep(&mut self, what: &'static str, value: Value) {
        self.kept.insert(what, value);
    }

    /// What an earlier case has left; null if none has.
    pub fn kept(&self, what: &'static str) -> Value {
        self.kept.get(what).cloned().unwrap_or_default()
    }

    /// A GET of the chapter's pipeline; `rest` follows its name.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn get(&self, rest: &str) -> Result<Answer, Difference> {
        let path = format!("/pipelines/{}{rest}", self.name);
        self.engine.call(Method::GET, &path, None).await
    }

    /// A POST to the chapter's pipeline; `rest` follows its name.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn post(&self, rest: &str) -> Result<Answer, Difference> {
        let path = format!("/pipelines/{}{rest}", self.name);
        self.engine.call(Method::POST, &path, None).await
    }

    /// Changes the chapter's pipeline.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn patch(&self, body: &Value) -> Result<Answer, Difference> {
        let path = format!("/pipelines/{}", self.name);
        self.engine.call(Method::PATCH, &path, Some(body)).await
    }

    /// Makes a pipeline that is removed in the end, also if there was no answer.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn create(&mut self, body: &Value) -> Result<Answer, Difference> {
        if let Some(name) = body["name"].as_str() {
            self.made.insert(name.to_owned());
        }
        self.engine
            .call(Method::POST, "/pipelines", Some(body))
            .await
    }

    /// The status of the chapter's pipeline.
    ///
    /// # Errors
    /// It can't be had.
    pub async fn status(&self) -> Result<Value, Difference> {
        let answer = self.get("?selector=status").await?;
        Ok(answer.is(200)?.json()?.clone())
    }

    /// Waits until the status is as it should be, and gives it. A call that fails is made again.
    ///
    /// # Errors
    /// It isn't in time, or `hopeless` says that it never will be.
    pub async fn until(
        &self,
        what: &str,
        good: impl Fn(&Value) -> bool,
        hopeless: impl Fn(&Value) -> bool,
    ) -> Result<Value, Difference> {
        let begin = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let seen = match self.status().await {
                Ok(status) if good(&status) => return Ok(status),
                Ok(status) if hopeless(&status) => {
                    return Err(Difference(format!("not {what}: {}", summary(&status))));
                }
                Ok(status) => summary(&status),
                Err(difference) => difference.0,
            };
            if begin.elapsed() >= self.patience {
                return Err(Difference(format!(
                    "after {:?} still not {what}: {seen}",
                    self.patience
                )));
            }
            tokio::time::sleep(pause.min(self.patience)).await;
            pause = (pause * 3 / 2).min(LAST_PAUSE);
        }
    }

    /// Waits until the program is compiled.
    ///
    /// # Errors
    /// It doesn't compile, or not in time.
    pub async fn until_compiled(&self) -> Result<Value, Difference> {
        self.until(
            "compiled",
            |status| status["program_status"] == "Success",
            |status| {
                ["SqlError", "RustError", "SystemError"]
                    .iter()
                    .any(|error| status["program_status"] == *error)
            },
        )
        .await
    }

    /// Waits until a start has come to an end, which must be this status.
    ///
    /// # Errors
    /// It is another one, or isn't reached in time.
    pub async fn until_up(&self, wanted: &str) -> Result<Value, Difference> {
        self.until(
            wanted,
            |status| status["deployment_status"] == wanted,
            |status| {
                let now = &status["deployment_status"];
                let gate = now == "AwaitingApproval" && wanted == "Running";
                let through = now == "Running" && wanted == "AwaitingApproval";
                gate || through || (now == "Stopped" && !status["deployment_error"].is_null())
            },
        )
        .await
    }

    /// Waits until nothing of the pipeline is deployed.
    ///
    /// # Errors
    /// It isn't stopped in time.
    pub async fn until_stopped(&self) -> Result<Value, Difference> {
        self.until(
            "Stopped",
            |status| status["deployment_status"] == "Stopped",
            |_| false,
        )
        .await
    }

    /// Starts it, and waits until that has come to an end, which must be this status.
    ///
    /// # Errors
    /// The start is refused, or ends otherwise.
    pub async fn start(&self, query: &str, wanted: &str) -> Result<Value, Difference> {
        self.post(&format!("/start{query}")).await?.is(202)?;
        self.until_up(wanted).await
    }

    /// Stops it at once, and waits until it is.
    ///
    /// # Errors
    /// It isn't stopped in time.
    pub async fn stop(&self) -> Result<Value, Difference> {
        self.post("/stop?force=true").await?.is(202)?;
        self.until_stopped().await
    }

    /// Gives it another program, and waits until that is compiled.
    ///
    /// # Errors
    /// It is refused, or doesn't compile.
    pub async fn change(&self, program: &str) -> Result<Value, Difference> {
        self.patch(&json!({"program_code": program}))
            .await?
            .is(200)?;
        self.until_compiled().await
    }

    /// Writes a checkpoint and waits until the process says that it is written.
    ///
    /// # Errors
    /// It fails, or isn't written in time.
    pub async fn checkpoint(&self) -> Outcome {
        let answer = self.post("/checkpoint").await?;
        let number = answer.is(200)?.at("/checkpoint_sequence_number").as_u64();
        let number = number.ok_or_else(|| {
            Difference(format!("no checkpoint_sequence_number in {}", answer.text))
        })?;
        let begin = Instant::now();
        loop {
            let status = self.get("/checkpoint_status").await?;
            let done = status.is(200)?.at("/success").as_u64();
            if done.is_some_and(|done| done >= number) {
                return Ok(format!("200 with number {number}; {}", status.seen()));
            }
            let failed = status.at("/failure/sequence_number").as_u64() == Some(number);
            ensure(!failed && begin.elapsed() < self.patience, || {
                format!("checkpoint {number} isn't written: {}", status.seen())
            })?;
            tokio::time::sleep(FIRST_PAUSE * 5).await;
        }
    }

    /// The newest checkpoint, by the process's own word.
    ///
    /// # Errors
    /// There is none.
    pub async fn newest_checkpoint(&self) -> Result<Value, Difference> {
        let answer = self.get("/checkpoints").await?;
        let list = answer.is(200)?.json()?;
        let newest = list.as_array().and_then(|list| list.last());
        newest
            .cloned()
            .ok_or_else(|| Difference(format!("no checkpoint is listed: {}", answer.seen())))
    }

    /// Removes every pipeline that was made, whatever it is doing.
    ///
    /// # Errors
    /// Those that are still there.
    pub async fn clean_up(&mut self) -> Outcome {
        let mut left = Vec::new();
        let number = self.made.len();
        for name in std::mem::take(&mut self.made) {
            self.name = name;
            if let Err(difference) = self.remove().await {
                left.push(format!("{} is left: {difference}", self.name));
            }
        }
        if left.is_empty() {
            Ok(format!("{number} removed"))
        } else {
            Err(Difference(left.join("; ")))
        }
    }

    async fn remove(&self) -> Result<(), Difference> {
        let answer = self.get("?selector=status").await?;
        if answer.status == 404 {
            return Ok(());
        }
        self.stop().await?;
        self.clear().await?;
        let path = format!("/pipelines/{}", self.name);
        self.engine
            .call(Method::DELETE, &path, None)
            .await?
            .is(200)?;
        Ok(())
    }

    /// Clears its storage, and waits until it is gone.
    ///
    /// # Errors
    /// It isn't in time.
    pub async fn clear(&self) -> Result<Value, Difference> {
        self.post("/clear").await?.is(202)?;
        self.until(
            "Cleared",
            |status| status["storage_status"] == "Cleared",
            |_| false,
        )
        .await
    }
}

/// A status in a few words.
pub fn summary(status: &Value) -> String {
    let word = |field: &str| status[field].as_str().unwrap_or("nothing").to_owned();
    let mut text = format!(
        "program {}, deployment {} (desired {}), storage {}",
        word("program_status"),
        word("deployment_status"),
        word("deployment_desired_status"),
        word("storage_status"),
    );
    if let Some(message) = status
        .pointer("/deployment_error/message")
        .and_then(Value::as_str)
    {
        text.push_str(&format!(", error: {}", shortened(message)));
    }
    text
}
