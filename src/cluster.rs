//! The client of the API server.
//!
//! It is kube's own stack but for two things that kube's builder leaves no room for: its connections
//! send at once what is written (`TCP_NODELAY`, as client-go's do), and every call has a time limit.

pub mod fence;
mod time_limit;
pub mod watch_beat;

use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config};
use tower::retry::RetryLayer;
use tower::util::BoxService;
use tower::{BoxError, ServiceBuilder, ServiceExt};

use time_limit::{Limited, TimeLimit};

/// How long a call to the API server may take, its answer included. The API server itself gives up
/// after 60 s (`--request-timeout`), and nobody here waits that long.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What a client is built around.
pub type Stack = BoxService<Request<Body>, Response<Limited<Incoming>>, BoxError>;

/// A client of the API server.
///
/// # Errors
/// As [`stack`].
pub fn client(config: &Config) -> Result<Client, kube::Error> {
    Ok(stack(config)?.build())
}

/// A client of the API server, to which layers can be added.
///
/// # Errors
/// When a file that the configuration names can't be read, or when it asks for a proxy.
pub fn stack(config: &Config) -> Result<ClientBuilder<Stack>, kube::Error> {
    if let Some(proxy) = &config.proxy_url {
        return Err(kube::Error::ProxyProtocolUnsupported {
            proxy_url: Box::new(proxy.clone()),
        });
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(config.connect_timeout);
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let http: legacy::Client<_, Body> =
        legacy::Client::builder(TokioExecutor::new()).build(connector);
    let retry = config
        .default_retry
        .then(|| RetryLayer::new(RetryPolicy::server_retry()));
    let service = ServiceBuilder::new()
        .layer(TimeLimit(CALL_TIMEOUT))
        .layer(config.base_uri_layer())
        .option_layer(retry)
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    let namespace = config.default_namespace.clone();
    Ok(ClientBuilder::new(service.boxed(), namespace))
}
