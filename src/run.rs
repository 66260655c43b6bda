//! `sluice run`: arguments → telemetry → client → wait for the CRDs → serve → lead → run, stop cleanly.
//!
//! Every replica serves the REST endpoint, which only writes what the leader then acts on. The one that
//! leads runs the controller. If it loses the lead the process ends at once: another may be acting.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::Condition;
use kube::{Api, Client, Config};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::cluster;
use crate::cluster::fence::Fence;
use crate::cluster::watch_beat::WatchBeat;
use crate::config::Args;
use crate::health::Health;
use crate::lease::{self, Candidate, Leadership};
use crate::metrics::Metrics;
use crate::policies::PolicyGuard;
use crate::telemetry::{self, Telemetry};
use crate::{admin, api, config, controller, crd};

/// How much stack a thread may use, in bytes. What is read of an object is parsed by calls within calls, which take more without
/// optimization than the 2 MiB that threads usually have.
pub const STACK: usize = 8 << 20;

/// How often missing CRDs are looked for.
const CRD_INTERVAL: Duration = Duration::from_secs(2);

/// How long one look at the CRDs may take.
const CRD_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the operator could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The arguments.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// Where traces are to be sent.
    #[error(transparent)]
    Telemetry(#[from] telemetry::Error),
    /// Nothing says how to reach a cluster.
    #[error("no Kubernetes cluster to speak to: {0}")]
    NoCluster(#[from] Box<kube::config::InferConfigError>),
    /// No cluster to speak to.
    #[error("no Kubernetes client: {0}")]
    Client(#[from] Box<kube::Error>),
    /// An address that can't be listened on.
    #[error("can't listen on {0}: {1}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// A server ended with an error.
    #[error("serving ended: {0}")]
    Serve(#[source] std::io::Error),
    /// Another replica leads.
    #[error(transparent)]
    Lost(#[from] lease::Lost),
    /// A part ended by itself.
    #[error("the {0} ended by itself")]
    Ended(&'static str),
}

/// Runs the operator until SIGINT or SIGTERM.
///
/// # Errors
/// When it can't start, or can't go on.
pub async fn run(args: Args) -> Result<(), Error> {
    let telemetry = telemetry::start(args.log_format, args.otlp_endpoint.as_deref())?;
    let cluster = Config::infer().await.map_err(Box::new)?;
    let client = cluster::client(&cluster).map_err(Box::new)?;
    let settings = args.settings(&cluster.default_namespace)?;
    let election = args.election(&cluster.default_namespace)?;
    let health = Health::default();
    let metrics = Arc::new(Metrics::default());
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone()));

    let admin_listener = listen(args.admin_listen).await?;
    let api_listener = listen(args.api.listen).await?;
    info!(admin = %address(&admin_listener), api = %address(&api_listener), "listening");
    let mut servers = Servers {
        admin: tokio::spawn(admin::serve(
            admin_listener,
            health.clone(),
            Arc::clone(&metrics),
            stop.clone(),
        )),
        api: None,
    };
    if !wait_for_crds(&client, &health, &stop).await {
        return servers.finish(&stop, telemetry, Ok(())).await;
    }
    let guard = Arc::new(PolicyGuard::new(
        client.clone(),
        args.require_policies,
        Arc::clone(&metrics),
    ));
    let watching = Arc::clone(&guard);
    let until = stop.clone();
    tokio::spawn(async move { watching.run(until).await });
    servers.api = Some(tokio::spawn(api::serve(
        args.api,
        client.clone(),
        guard.trust(),
        api_listener,
        stop.clone().cancelled_owned(),
    )));
    let lead = Lead {
        cluster,
        settings,
        health,
        metrics,
        guard,
        stop: stop.clone(),
    };
    let led = tokio::select! {
        led = lead.run(election) => led,
        ended = servers.one_ends(&stop) => Err(ended),
    };
    servers.finish(&stop, telemetry, led).await
}

/// What serves, whoever leads.
struct Servers {
    admin: JoinHandle<std::io::Result<()>>,
    api: Option<JoinHandle<std::io::Result<()>>>,
}

impl Servers {
    /// Waits until one ends by itself, so that the process is started anew instead of going on in
    /// half. That they end when they are told to is no reason to hurry the others.
    async fn one_ends(&mut self, stop: &CancellationToken) -> Error {
        let api = async {
            match &mut self.api {
                Some(api) => api.await,
                None => std::future::pending().await,
            }
        };
        let (part, ended) = tokio::select! {
            ended = &mut self.admin => ("admin endpoint", ended),
            ended = api => ("REST endpoint", ended),
        };
        if stop.is_cancelled() {
            std::future::pending::<()>().await;
        }
        match ended {
            Ok(Err(error)) => Error::Serve(error),
            _ => Error::Ended(part),
        }
    }

    /// Ends what still serves. Who has lost the lead doesn't wait for anything.
    async fn finish(
        self,
        stop: &CancellationToken,
        telemetry: Telemetry,
        led: Result<(), Error>,
    ) -> Result<(), Error> {
        stop.cancel();
        if !matches!(led, Err(Error::Lost(_))) {
            for server in [Some(self.admin), self.api].into_iter().flatten() {
                if !server.is_finished() {
                    let _ = server.await;
                }
            }
            telemetry.flush().await;
        }
        info!("stopped");
        led
    }
}

/// What the leader does.
struct Lead {
    cluster: Config,
    settings: controller::Settings,
    health: Health,
    metrics: Arc<Metrics>,
    guard: Arc<PolicyGuard>,
    stop: CancellationToken,
}

impl Lead {
    /// Waits to be elected, and then runs the controller until told to stop or until the lead is
    /// lost.
    async fn run(self, election: Option<lease::Config>) -> Result<(), Error> {
        let Some(election) = election else {
            self.health.is_ready_as("acts");
            self.metrics.leads(true);
            let leadership = Leadership::unelected();
            return self.control(leadership, self.stop.clone()).await;
        };
        // Renewals that are repeated by the client could come through long after they were sent.
        let mut plain = self.cluster.clone();
        plain.default_retry = false;
        let plain = cluster::client(&plain).map_err(Box::new)?;
        let within = election.duration * 4 + Duration::from_secs(60);
        let beat = || self.health.beat("lease", within);
        let mut candidate = Candidate::new(plain, election);
        self.health.is_ready_as("stands by");
        if !candidate.win(&self.stop, beat).await {
            return Ok(());
        }
        self.health.is_ready_as("leads");
        self.metrics.leads(true);
        let leadership = candidate.leadership();
        // The Lease is given up only when nothing is under way any more.
        let done = CancellationToken::new();
        let keep = candidate.keep(done.clone(), beat);
        let control = async {
            let ended = self.control(leadership, self.stop.clone()).await;
            done.cancel();
            ended
        };
        tokio::pin!(keep, control);
        tokio::select! {
            // Nothing is finished any more: another replica may be at it.
            kept = &mut keep => match kept {
                Err(lost) => Err(lost.into()),
                Ok(()) => control.await,
            },
            ended = &mut control => {
                let _ = keep.await;
                ended
            }
        }
    }

    /// The controller, with a client that writes only while this replica leads.
    async fn control(&self, leadership: Leadership, stop: CancellationToken) -> Result<(), Error> {
        // A write that the client repeats by itself would come after the fence.
        let mut cluster = self.cluster.clone();
        cluster.default_retry = false;
        let client = cluster::stack(&cluster)
            .map_err(Box::new)?
            .with_layer(&WatchBeat(self.health.clone()))
            .with_layer(&Fence(leadership.clone()))
            .build();
        controller::run(
            client,
            self.settings.clone(),
            controller::Surroundings {
                leadership,
                health: self.health.clone(),
                metrics: Arc::clone(&self.metrics),
                guard: Arc::clone(&self.guard),
            },
            stop.clone(),
        )
        .await;
        if stop.is_cancelled() {
            Ok(())
        } else {
            Err(Error::Ended("controller"))
        }
    }
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
async fn wait_for_crds(client: &Client, health: &Health, stop: &CancellationToken) -> bool {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    let mut told = String::new();
    loop {
        let mut missing = vec![];
        for name in crd::names() {
            match tokio::time::timeout(CRD_TIMEOUT, api.get_opt(name)).await {
                Ok(Ok(found)) if is_crd_established().matches_object(found.as_ref()) => {}
                Ok(Ok(_)) => missing.push(name.to_owned()),
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
            health.waits_for(&waiting);
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
