//! What keeps a benchmark from coming to its end.

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The control plane.
    #[error(transparent)]
    ControlPlane(#[from] control_plane::Error),
    /// A kubeconfig.
    #[error("a kubeconfig can't be used: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The API server.
    #[error("the API server: {0}")]
    Kubernetes(#[source] Box<kube::Error>),
    /// The stand-in engine or the operator.
    #[error("a call over HTTP: {0}")]
    Http(#[from] reqwest::Error),
    /// JSON.
    #[error("JSON that makes no sense: {0}")]
    Json(#[from] serde_json::Error),
    /// The operating system.
    #[error("can't {0}: {1}")]
    Io(String, #[source] std::io::Error),
    /// A task of the benchmark's own.
    #[error("a part of the benchmark ended by itself: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// Something that was waited for.
    #[error("waited in vain: {0}")]
    Unseen(String),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Kubernetes(Box::new(error))
    }
}

impl Error {
    /// An error of the operating system, with what was tried.
    pub fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io(doing, source)
    }
}
