//! `sluice check`: whether an installation does its work, seen from outside. `helm test` runs it.
//!
//! Each look is repeated until it is good or the time is over: what was just installed takes a moment to
//! start, to elect who acts, and to bring its policies into force.

mod definitions;
mod endpoint;
mod leader;
mod pipelines;
mod votes;

use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kube::{Client, Config};

use crate::{api, cluster};

/// How long after a look that wasn't good the next one follows.
const PAUSE: Duration = Duration::from_millis(500);

/// The arguments of `sluice check`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Namespace of the operator [default: the client's own namespace]
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Name of the Lease by which replicas elect one that acts
    #[arg(long, value_name = "NAME", default_value = "sluice")]
    lease_name: String,

    /// Base URL of the REST endpoint, without /v0 [default: it isn't looked at]
    #[arg(long, value_name = "URL")]
    api_url: Option<String>,

    /// File with the certificate authorities of that endpoint, in PEM, if it is there; otherwise the
    /// system's count
    #[arg(long, value_name = "FILE", requires = "api_url")]
    api_ca_file: Option<PathBuf>,

    /// How long to wait for everything to be good
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = api::duration)]
    timeout: Duration,
}

/// Why an installation isn't good, or why that can't be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing says how to reach a cluster.
    #[error("no Kubernetes cluster to speak to: {0}")]
    NoCluster(#[from] Box<kube::config::InferConfigError>),
    /// No client of it can be made.
    #[error("no Kubernetes client: {0}")]
    Client(#[from] Box<kube::Error>),
    /// The REST endpoint can't be asked at all.
    #[error(transparent)]
    Endpoint(#[from] endpoint::Error),
    /// Something isn't as it should be.
    #[error("{0} of the looks found something wrong: see above")]
    Failed(usize),
}

/// Looks at everything, and says on standard output what was seen, one line each.
///
/// # Errors
/// When something isn't as it should be by the end of the time.
pub async fn check(args: Args) -> Result<(), Error> {
    let config = Config::infer().await.map_err(Box::new)?;
    let namespace = args
        .namespace
        .unwrap_or_else(|| config.default_namespace.clone());
    let client: Client = cluster::client(&config).map_err(Box::new)?;
    let endpoint = match &args.api_url {
        Some(url) => Some(endpoint::Endpoint::new(url, args.api_ca_file.as_deref())?),
        None => None,
    };

    let mut looks = Looks {
        deadline: Instant::now() + args.timeout,
        failed: 0,
    };
    looks.look(|| definitions::look(&client)).await;
    looks
        .look(|| leader::look(&client, &namespace, &args.lease_name))
        .await;
    looks.look(|| pipelines::look(&client, &namespace)).await;
    looks.look(|| votes::look(&client, &namespace)).await;
    if let Some(endpoint) = &endpoint {
        looks.look(|| endpoint.look()).await;
    }
    match looks.failed {
        0 => Ok(()),
        failed => Err(Error::Failed(failed)),
    }
}

struct Looks {
    deadline: Instant,
    failed: usize,
}

impl Looks {
    /// Looks until it is good. Each look says in words what it saw; it is cut off when the time is over,
    /// but there is at least one.
    async fn look<F>(&mut self, mut look: impl FnMut() -> F)
    where
        F: Future<Output = Result<String, String>>,
    {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let seen = tokio::time::timeout(left.max(cluster::CALL_TIMEOUT), look()).await;
            match seen.unwrap_or_else(|_| Err("the API server doesn't answer".to_owned())) {
                Ok(good) => return println!("ok: {good}"),
                Err(bad) if Instant::now() + PAUSE >= self.deadline => {
                    self.failed += 1;
                    return println!("FAILED: {bad}");
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}
