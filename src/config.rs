//! `sluice run`'s flags, each with an environment variable of the same name, and what they amount to.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::api;
use crate::controller::audit;
use crate::controller::{DefaultEngine, Settings};
use crate::engine::feldera::Address;
use crate::gate::decide::Timing;
use crate::lease;

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

    /// How old the engine's answers may be: for so long a call isn't repeated because its effect
    /// doesn't show. Feldera's manager asks its pipelines every 2.5 s
    #[arg(long, env = "SLUICE_RESEND_AFTER", value_name = "DURATION", default_value = "10s", value_parser = api::duration)]
    pub resend_after: Duration,

    /// Address that /livez, /readyz and /metrics are served on
    #[arg(
        long,
        env = "SLUICE_ADMIN_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "0.0.0.0:8081"
    )]
    pub admin_listen: SocketAddr,

    /// Form of the log
    #[arg(long, env = "SLUICE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// File to which one JSON line is appended for each decision and what became of it, or '-' for
    /// standard output. It is opened anew for each write: to rotate it, rename it [default: none]
    #[arg(long, env = "SLUICE_AUDIT_LOG", value_name = "FILE")]
    audit_log: Option<String>,

    /// Where traces are sent: the base URL of an OTLP/HTTP collector, such as
    /// http://otel-collector:4318 [default: nowhere]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,

    /// Namespace whose Pipelines are looked after [default: all]
    #[arg(long, env = "SLUICE_WATCH_NAMESPACE", value_name = "NAMESPACE")]
    pub watch_namespace: Option<String>,

    /// Whether a changed program is compiled before what runs is stopped for it, as a pipeline of its
    /// own in the engine that is never started. Without it, the pipeline is down while it compiles
    #[arg(
        long,
        env = "SLUICE_COMPILE_BEFOREHAND",
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        default_value_t = true
    )]
    pub compile_beforehand: bool,

    /// How long an approval stays after its change is over, if the REST endpoint wrote it or its `spec.clearAfter` says that it
    /// may go: then the PipelineApproval is removed. Until then a repeated call finds it. Rejections, and what says
    /// nothing of it, as approvals in Git should, are never removed
    #[arg(long, env = "SLUICE_VOTE_RETENTION", value_name = "DURATION", default_value = "24h", value_parser = retention)]
    pub vote_retention: Duration,

    /// Whether an approval counts only if admission policies vouch for the name of whoever gave it: those of
    /// this version have to be in the cluster, in force and as they were released. Without it names are
    /// shown as not verified where nothing vouches for them
    #[arg(
        long,
        env = "SLUICE_REQUIRE_POLICIES",
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        default_value_t = false
    )]
    pub require_policies: bool,

    /// Whether replicas elect one that acts. Without it there must never be two, not even during an
    /// update
    #[arg(
        long,
        env = "SLUICE_LEADER_ELECT",
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        default_value_t = true
    )]
    pub leader_elect: bool,

    /// Name of the Lease by which they do
    #[arg(
        long,
        env = "SLUICE_LEASE_NAME",
        value_name = "NAME",
        default_value = "sluice"
    )]
    pub lease_name: String,

    /// Its namespace [default: the client's own namespace]
    #[arg(long, env = "SLUICE_LEASE_NAMESPACE", value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,

    /// How long a leader that has died keeps the others waiting
    #[arg(long, env = "SLUICE_LEASE_DURATION", value_name = "DURATION", default_value = "15s", value_parser = api::duration)]
    pub lease_duration: Duration,

    /// The settings of the REST endpoint.
    #[command(flatten)]
    pub api: api::Config,
}

/// How long something is kept.
fn retention(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<jiff::SignedDuration>().ok();
    duration
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| *duration <= Duration::from_secs(8760 * 3600))
        .ok_or_else(|| "write a duration of up to 8760h (a year), such as 24h".to_owned())
}

/// Forms of the log.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is wrong with the arguments.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file with the engine's API key.
    #[error("can't read the engine's API key from {0}: {1}")]
    ApiKey(PathBuf, #[source] std::io::Error),
    /// The engine's URL.
    #[error(
        "--engine-url {0:?} is no http or https URL without user and query, such as https://feldera.example.com"
    )]
    EngineUrl(String),
    /// The audit log.
    #[error(
        "can't append to --audit-log {0}: {1}; name a file in a folder that this process may write to, or '-' for standard output"
    )]
    AuditLog(String, #[source] std::io::Error),
    /// The lease's duration.
    #[error("--lease-duration must be 1s or more: a Lease counts in whole seconds")]
    LeaseDuration,
}

impl Args {
    /// How the controller is to work.
    ///
    /// # Errors
    /// When the default engine's settings make no sense.
    pub fn settings(&self, own_namespace: &str) -> Result<Settings, Error> {
        Ok(Settings {
            poll_interval: self.poll_interval,
            timing: Timing {
                resend_after: self.resend_after,
                ..Timing::default()
            },
            default_engine: self.default_engine(own_namespace)?,
            namespace: self.watch_namespace.clone(),
            compile_beforehand: self.compile_beforehand,
            vote_retention: self.vote_retention,
            audit_log: self.audit_log()?,
        })
    }

    /// How this replica takes part in the election; `None` if there is none.
    ///
    /// # Errors
    /// When the lease would be too short.
    pub fn election(&self, own_namespace: &str) -> Result<Option<lease::Config>, Error> {
        if !self.leader_elect {
            return Ok(None);
        }
        if self.lease_duration < Duration::from_secs(1) {
            return Err(Error::LeaseDuration);
        }
        let name = std::env::var("POD_NAME").unwrap_or_else(|_| "sluice".to_owned());
        Ok(Some(lease::Config {
            namespace: self
                .lease_namespace
                .clone()
                .unwrap_or_else(|| own_namespace.to_owned()),
            name: self.lease_name.clone(),
            // A pod that is started again must not take its own old Lease for its own.
            identity: format!("{name}_{}", uuid::Uuid::new_v4()),
            duration: self.lease_duration,
        }))
    }

    fn audit_log(&self) -> Result<Option<audit::Destination>, Error> {
        let argument = self.audit_log.as_deref().filter(|text| !text.is_empty());
        let target = argument.map(audit::Destination::from_argument);
        if let Some(target) = &target {
            let name = argument.unwrap_or_default().to_owned();
            target
                .check()
                .map_err(|error| Error::AuditLog(name, error))?;
        }
        Ok(target)
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
            credential_file: self.engine_api_key_file.clone(),
            namespaces,
        }))
    }
}
