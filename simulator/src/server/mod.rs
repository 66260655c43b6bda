//! The HTTP side.

pub mod calls;
pub mod control;
pub mod data;
pub mod outer;
pub mod pipelines;
pub mod query;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post};
use http::StatusCode;
use tokio::net::TcpListener;

use crate::call_log::CallLog;
use crate::config::Config;
use crate::faults::Faults;
use crate::manager::Manager;
use crate::store::Store;

/// Everything that handlers share.
#[derive(Debug)]
pub struct App {
    manager: Mutex<Manager>,
    faults: Mutex<Faults>,
    call_log: Option<CallLog>,
    api_keys: Vec<String>,
}

impl App {
    /// The manager. A panic in one call doesn't end the others.
    pub fn manager(&self) -> MutexGuard<'_, Manager> {
        self.manager.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The faults that are switched on.
    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What keeps the stand-in from starting.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory.
    #[error("--state-dir: {0}")]
    State(#[from] crate::store::Error),
    /// The log of calls.
    #[error("--call-log {path}: {source}")]
    CallLog {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The address.
    #[error("--listen {address}: {source}; give another address, or port 0 for any free one")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Serving ended.
    #[error("serving ended: {0}")]
    Serve(io::Error),
}

/// The application with the state that the configuration names.
///
/// # Errors
/// State or log can't be opened.
pub fn app(config: &Config) -> Result<Arc<App>, Error> {
    let store = match &config.state_dir {
        Some(directory) => Some(Store::open(directory)?),
        None => None,
    };
    let call_log = match &config.call_log {
        Some(path) => Some(CallLog::open(path).map_err(|source| Error::CallLog {
            path: path.display().to_string(),
            source,
        })?),
        None => None,
    };
    Ok(Arc::new(App {
        manager: Mutex::new(Manager::open(config.settings(), store)?),
        faults: Mutex::new(Faults::new(config.fault.clone())),
        call_log,
        api_keys: config.api_key.clone(),
    }))
}

/// All routes. As in the engine, an unknown path and a wrong method are both an empty 404.
pub fn router(app: Arc<App>) -> Router {
    let v0 = Router::new()
        .route("/config", get(data::config))
        .route("/config/authentication", get(data::authentication))
        .route("/config/session", get(data::session))
        .route("/validate_program", post(pipelines::validate))
        .route("/pipelines", get(pipelines::list).post(pipelines::create))
        .route(
            "/pipelines/{name}",
            get(pipelines::get)
                .put(pipelines::put)
                .patch(pipelines::patch)
                .delete(pipelines::remove),
        )
        .route(
            "/pipelines/{name}/update_runtime",
            post(pipelines::update_runtime),
        )
        .route("/pipelines/{name}/diff", post(pipelines::diff))
        .route("/pipelines/{name}/start", post(calls::start))
        .route("/pipelines/{name}/stop", post(calls::stop))
        .route("/pipelines/{name}/clear", post(calls::clear))
        .route(
            "/pipelines/{name}/dismiss_error",
            post(calls::dismiss_error),
        )
        .route("/pipelines/{name}/pause", post(calls::pause))
        .route("/pipelines/{name}/resume", post(calls::resume))
        .route("/pipelines/{name}/approve", post(calls::approve))
        .route("/pipelines/{name}/checkpoint", post(calls::checkpoint))
        .route(
            "/pipelines/{name}/checkpoint_status",
            get(calls::checkpoint_status),
        )
        .route("/pipelines/{name}/checkpoints", get(calls::checkpoints))
        .route("/pipelines/{name}/stats", get(data::stats))
        .route("/pipelines/{name}/metrics", get(data::metrics))
        .route("/pipelines/{name}/logs", get(data::logs))
        .route("/pipelines/{name}/query", get(data::query))
        .route("/pipelines/{name}/ingress/{table}", post(data::ingress))
        .route("/pipelines/{name}/egress/{view}", post(data::egress))
        .route(
            "/pipelines/{name}/completion_status",
            get(data::completion_status),
        );
    let sim = Router::new()
        .route("/healthz", get(control::healthz))
        .route("/faults", get(control::faults).post(control::add_faults))
        .route("/faults", delete(control::clear_faults))
        .route("/bootstraps", get(control::bootstraps))
        .route("/pipelines/{name}/kill", post(control::kill))
        .route("/pipelines/{name}/fail", post(control::fail))
        .route("/pipelines/{name}/counters", get(control::counters))
        .route("/pipelines/{name}/ingress", post(control::ingress))
        .route(
            "/pipelines/{name}/forget_description",
            post(control::forget_description),
        );
    Router::new()
        .nest("/v0", v0)
        .nest("/sim", sim)
        .route("/healthz", get(data::healthz))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .method_not_allowed_fallback(|| async { StatusCode::NOT_FOUND })
        .layer(DefaultBodyLimit::disable())
        .layer(axum::middleware::from_fn_with_state(
            app.clone(),
            outer::outer,
        ))
        .with_state(app)
}

/// Serves until the process is told to end.
///
/// `ready` is called with the address once calls are accepted.
///
/// # Errors
/// What keeps it from starting.
pub async fn serve(config: &Config, ready: impl FnOnce(std::net::SocketAddr)) -> Result<(), Error> {
    let app = app(config)?;
    let listen = |source| Error::Listen {
        address: config.listen.to_string(),
        source,
    };
    let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
    ready(listener.local_addr().map_err(listen)?);
    axum::serve(listener, router(app))
        .with_graceful_shutdown(terminated())
        .await
        .map_err(Error::Serve)
}

/// Ends with SIGTERM or SIGINT.
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    // Calls that hang on purpose would keep it from ending.
    tokio::spawn(async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        std::process::exit(0);
    });
}
