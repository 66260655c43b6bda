//! `sluice run`: arguments → telemetry → client → wait for the CRDs → run everything, stop cleanly.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, ResourceExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::admin::{self, Readiness};
use crate::controller::decide::Timing;
use crate::controller::{self, DefaultEngine, Settings};
use crate::engine::feldera::Address;
use crate::metrics::Metrics;
use crate::{api, crd};

/// How often missing CRDs are looked for.
const CRD_INTERVAL: Duration = Duration::from_secs(2);

/// How long one look at the CRDs may take.
const CRD_TIMEOUT: Duration = Duration::from_secs(10);

/// The arguments of `sluice run`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Base URL, without /v0, of the engine that runs every Pipeline without an engineRef
    #[arg(long, env = "SLUICE_ENGINE_URL", value_name = "URL")]
    engine_url: Option<String>,

    /// File that holds the API key or JWT for that engine
    #[arg(
        long,
        env = "SLUICE_ENGINE_API_KEY_FILE",
        value_name = "FILE",
        requires = "engine_url"
    )]
    engine_api_key_file: Option<PathBuf>,

    /// Feldera tenant to act for at that engine
    #[arg(
        long,
        env = "SLUICE_ENGINE_TENANT",
        value_name = "TENANT",
        requires = "engine_url"
    )]
    engine_tenant: Option<String>,

    /// Namespace whose Pipelines that engine serves; repeat it for several, or give '*' for all
    /// [default: the client's own namespace]
    #[arg(
        long = "engine-namespace",
        env = "SLUICE_ENGINE_NAMESPACE",
        value_name = "NAMESPACE",
        value_delimiter = ','
    )]
    engine_namespaces: Vec<String>,

    /// How often an engine is asked while something moves; five times that when nothing does
    #[arg(long, env = "SLUICE_POLL_INTERVAL", value_name = "DURATION", default_value = "2s", value_parser = api::duration)]
    poll_interval: Duration,

    /// Address that /livez, /readyz and /metrics are served on
    #[arg(
        long,
        env = "SLUICE_ADMIN_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "0.0.0.0:8081"
    )]
    admin_listen: SocketAddr,

    /// Form of the log
    #[arg(long, env = "SLUICE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,

    #[command(flatten)]
    api: api::Config,
}

/// Forms of the log.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why the operator could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No cluster to speak to.
    #[error("no Kubernetes client: {0}")]
    Client(#[from] Box<kube::Error>),
    /// An address that can't be listened on.
    #[error("can't listen on {0}: {1}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The file with the engine's API key.
    #[error("can't read the engine's API key from {0}: {1}")]
    ApiKey(PathBuf, #[source] std::io::Error),
    /// The engine's URL.
    #[error(
        "--engine-url {0:?} is no http or https URL without user and query, such as https://feldera.example.com"
    )]
    EngineUrl(String),
    /// A server ended with an error.
    #[error("serving ended: {0}")]
    Serve(#[source] std::io::Error),
    /// A part ended by itself.
    #[error("the {0} ended by itself")]
    Ended(&'static str),
}

/// Runs the operator until SIGINT or SIGTERM.
pub async fn run(args: Args) -> Result<(), Error> {
    telemetry(args.log_format);
    let client = Client::try_default().await.map_err(Box::new)?;
    let settings = args.settings(client.default_namespace())?;
    let metrics = Arc::new(Metrics::default());
    let readiness = Readiness::default();
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone()));

    let admin_listener = listen(args.admin_listen).await?;
    let api_listener = listen(args.api.listen).await?;
    info!(admin = %address(&admin_listener), api = %address(&api_listener), "listening");
    let admin = admin::serve(
        admin_listener,
        readiness.clone(),
        Arc::clone(&metrics),
        stop.clone(),
    );
    let admin = tokio::spawn(admin);

    if !wait_for_crds(&client, &readiness, &stop).await {
        return Ok(());
    }
    let api = tokio::spawn(api::serve(
        args.api,
        client.clone(),
        api_listener,
        stop.clone().cancelled_owned(),
    ));
    let controller = tokio::spawn(controller::run(client, settings, metrics, stop.clone()));
    readiness.ready();
    info!("running");
    finish(admin, api, controller, stop).await
}

/// Waits for all parts to end. One that ends before it is told to takes the others along, so that
/// the process is started anew instead of going on in half.
async fn finish(
    mut admin: tokio::task::JoinHandle<std::io::Result<()>>,
    mut api: tokio::task::JoinHandle<std::io::Result<()>>,
    mut controller: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let first = tokio::select! {
        () = stop.cancelled() => None,
        ended = &mut admin => Some(("admin endpoint", ended.ok().and_then(Result::err))),
        ended = &mut api => Some(("REST endpoint", ended.ok().and_then(Result::err))),
        _ = &mut controller => Some(("controller", None)),
    };
    let told = stop.is_cancelled();
    stop.cancel();
    for task in [admin, api] {
        if !task.is_finished() {
            let _ = task.await;
        }
    }
    if !controller.is_finished() {
        let _ = controller.await;
    }
    info!("stopped");
    match first {
        Some((part, None)) if !told => Err(Error::Ended(part)),
        Some((_, Some(error))) => Err(Error::Serve(error)),
        _ => Ok(()),
    }
}

impl Args {
    fn settings(&self, own_namespace: &str) -> Result<Settings, Error> {
        Ok(Settings {
            poll_interval: self.poll_interval,
            timing: Timing {
                // The engine's own view of its pipelines may be a few polls old.
                resend_after: self.poll_interval * 5,
                ..Timing::default()
            },
            default_engine: self.default_engine(own_namespace)?,
        })
    }

    fn default_engine(&self, own_namespace: &str) -> Result<Option<DefaultEngine>, Error> {
        let Some(url) = &self.engine_url else {
            return Ok(None);
        };
        let plain = url::Url::parse(url).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
        });
        if !plain {
            // What looks like a URL with a password in it is not repeated.
            let shown = if url.contains('@') {
                "…".to_owned()
            } else {
                url.clone()
            };
            return Err(Error::EngineUrl(shown));
        }
        let credential = match &self.engine_api_key_file {
            None => None,
            Some(file) => Some(
                std::fs::read_to_string(file)
                    .map_err(|error| Error::ApiKey(file.clone(), error))?
                    .trim()
                    .to_owned(),
            ),
        };
        let namespaces = if self
            .engine_namespaces
            .iter()
            .any(|namespace| namespace == "*")
        {
            None
        } else if self.engine_namespaces.is_empty() {
            Some(HashSet::from([own_namespace.to_owned()]))
        } else {
            Some(self.engine_namespaces.iter().cloned().collect())
        };
        Ok(Some(DefaultEngine {
            address: Address {
                url: url.clone(),
                tenant: self.engine_tenant.clone(),
                credential,
                ca: None,
            },
            namespaces,
        }))
    }
}

fn telemetry(format: LogFormat) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("SLUICE_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,kube=warn,hyper=warn,tower=warn"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second attempt finds the first one's subscriber, which is as good.
    let _ = match format {
        LogFormat::Text => subscriber.with_ansi(false).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Error::Listen(address, error))
}

fn address(listener: &TcpListener) -> String {
    listener
        .local_addr()
        .map_or_else(|_| "?".to_owned(), |address| address.to_string())
}

/// Waits until all CRDs are there and served; says what it waits for. `false` if told to stop.
async fn wait_for_crds(client: &Client, readiness: &Readiness, stop: &CancellationToken) -> bool {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    let mut told = String::new();
    loop {
        let mut missing = vec![];
        for crd in crd::all() {
            let name = crd.name_any();
            match tokio::time::timeout(CRD_TIMEOUT, api.get_opt(&name)).await {
                Ok(Ok(Some(found))) if is_established(&found) => {}
                Ok(Ok(_)) => missing.push(name),
                Ok(Err(error)) => missing.push(format!("{name} ({error})")),
                Err(_) => missing.push(format!("{name} (the API server doesn't answer)")),
            }
        }
        if missing.is_empty() {
            return true;
        }
        let waiting = format!(
            "waiting for the custom resource definitions {}; `sluice crds | kubectl apply -f -` installs them",
            missing.join(", ")
        );
        if told != waiting {
            warn!("{waiting}");
            readiness.waits_for(&waiting);
            told = waiting;
        }
        if stop
            .run_until_cancelled(tokio::time::sleep(CRD_INTERVAL))
            .await
            .is_none()
        {
            return false;
        }
    }
}

fn is_established(crd: &CustomResourceDefinition) -> bool {
    crd.status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Established" && condition.status == "True")
}

async fn stop_on_signal(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        error!("signals can't be handled; stopping will be abrupt");
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    info!("stopping: what is under way is finished first");
    stop.cancel();
}
