//! Goes through the chapters.

use std::time::{Duration, Instant};

use reqwest::Method;

use crate::case::{Case, Finding, Info, Verdict};
use crate::chapters::{CHAPTERS, Chapter};
use crate::engine::{Address, Engine};
use crate::stage::Stage;

/// What is run against what.
#[derive(Debug)]
pub struct Run {
    /// The engine.
    pub engine: Engine,
    /// The same engine with a key that isn't one.
    pub stranger: Engine,
    /// What it says of itself.
    pub info: Info,
    /// Whether a key was given.
    has_key: bool,
    patience: Duration,
    prefix: String,
}

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No client could be made.
    #[error(transparent)]
    Client(#[from] crate::engine::Error),
    /// It doesn't answer.
    #[error("no engine is there: {0}")]
    Unreachable(String),
    /// It doesn't let us in.
    #[error("the engine refuses: {0}; give an API key with --api-key or ENGINE_CONTRACT_API_KEY")]
    Refused(String),
    /// It answers, but not as an engine does.
    #[error("that isn't a Feldera: {0}")]
    NotAnEngine(String),
    /// Its pipelines aren't ours.
    #[error(
        "the engine already has a pipeline '{0}', which may be somebody's: delete it, or give \
         another --prefix"
    )]
    NameTaken(String),
}

impl Run {
    /// Asks the engine what it is, and makes sure that no pipeline of ours would be somebody's.
    /// Nothing is changed.
    ///
    /// # Errors
    /// Nothing can be run there.
    pub async fn prepare(
        address: &Address,
        patience: Duration,
        prefix: &str,
    ) -> Result<Self, Error> {
        let engine = Engine::new(address, patience)?;
        let stranger = Address {
            api_key: Some("apikey:not-a-key".to_owned()),
            ..address.clone()
        };
        let unreachable = |difference: crate::answer::Difference| Error::Unreachable(difference.0);
        let config = engine
            .call(Method::GET, "/config", None)
            .await
            .map_err(unreachable)?;
        if matches!(config.status, 401 | 403) {
            return Err(Error::Refused(format!("{} {}", config.call, config.seen())));
        }
        let info = config
            .is(200)
            .and_then(|answer| answer.json())
            .map_err(|difference| difference.0)
            .and_then(|json| {
                Info::read(json).map_err(|why| format!("{} answers {why}", config.call))
            })
            .map_err(Error::NotAnEngine)?;
        let run = Self {
            stranger: Engine::new(&stranger, patience)?,
            engine,
            info,
            has_key: address.api_key.is_some(),
            patience,
            prefix: prefix.to_owned(),
        };
        for chapter in &CHAPTERS {
            for name in [run.name(chapter), format!("{}-bad", run.name(chapter))] {
                let path = format!("/pipelines/{name}?selector=status");
                let answer = run.engine.call(Method::GET, &path, None).await;
                if answer.map_err(unreachable)?.status == 200 {
                    return Err(Error::NameTaken(name));
                }
            }
        }
        Ok(run)
    }

    fn name(&self, chapter: &Chapter) -> String {
        format!("{}-{}", self.prefix, chapter.name)
    }

    /// Runs all cases, one after the other, and tells of each as it ends. When `stop` is ready,
    /// what was made is removed, and nothing more is run. Gives whether it ran to the end.
    pub async fn all(
        &self,
        mut tell: impl FnMut(&Finding),
        stop: impl Future<Output = ()>,
    ) -> bool {
        let mut stop = Box::pin(stop);
        for chapter in &CHAPTERS {
            let mut stage = Stage::new(
                self.engine.clone(),
                self.stranger.clone(),
                self.info.clone(),
                self.patience,
                self.name(chapter),
            );
            let interrupted = tokio::select! {
                () = self.chapter(chapter, &mut stage, &mut tell) => false,
                () = &mut stop => true,
            };
            if let Some(finding) = cleaned_up(&mut stage).await {
                tell(&finding);
            }
            if interrupted {
                return false;
            }
        }
        true
    }

    async fn chapter(&self, chapter: &Chapter, stage: &mut Stage, tell: &mut impl FnMut(&Finding)) {
        let mut broken: Option<&'static str> = None;
        for case in chapter.cases {
            let begin = Instant::now();
            let (verdict, seen) = if let Some(why) = case.why_not(&self.info, self.has_key) {
                (Verdict::Skipped, why)
            } else if let Some(name) = broken {
                (Verdict::NotTried, format!("{name} doesn't hold"))
            } else {
                match (case.look)(stage).await {
                    Ok(seen) => (Verdict::Holds, seen),
                    Err(difference) => (Verdict::Differs, difference.0),
                }
            };
            if verdict == Verdict::Differs && case.carries {
                broken = Some(case.name);
            }
            tell(&finding(case, verdict, seen, begin.elapsed()));
        }
    }
}

fn finding(case: &Case, verdict: Verdict, seen: String, took: Duration) -> Finding {
    Finding {
        case: case.name,
        expected: case.expected,
        seen,
        verdict,
        took,
    }
}

/// Removes what a chapter has made, and tells if something stays.
async fn cleaned_up(stage: &mut Stage) -> Option<Finding> {
    let begin = Instant::now();
    let difference = stage.clean_up().await.err()?;
    Some(Finding {
        case: "clean-up",
        expected: "every pipeline that was made can be stopped, cleared and deleted",
        seen: difference.0,
        verdict: Verdict::Differs,
        took: begin.elapsed(),
    })
}
