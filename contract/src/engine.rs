//! The calls, with nothing in between: what an answer is like is for the cases to say.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method};
use serde_json::Value;

use crate::answer::{Answer, Difference};

/// How long an ordinary call may take. The engine's own calls to a pipeline give up after 10 s.
const CALL: Duration = Duration::from_secs(30);

/// How to reach an engine.
#[derive(Clone, Default)]
pub struct Address {
    /// The base URL, without `/v0`.
    pub url: String,
    /// The API key or JWT.
    pub api_key: Option<String>,
    /// Feldera's tenant.
    pub tenant: Option<String>,
    /// Certificate authorities in PEM, besides the system's.
    pub ca: Option<Vec<u8>>,
}

// By hand, so that a key never reaches a log.
impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Address")
            .field("url", &self.url)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't stand in a header.
    #[error("the {0} has characters that can't be sent; check for a line break at its end")]
    NotAHeader(&'static str),
    /// Certificates, or TLS.
    #[error("no client for the engine could be made: {0}")]
    Client(#[from] reqwest::Error),
}

/// An engine.
#[derive(Clone, Debug)]
pub struct Engine {
    base: String,
    http: Client,
    patience: Duration,
}

impl Engine {
    /// An engine at an address. Nothing is sent yet. No call takes longer than `patience`.
    ///
    /// # Errors
    /// Key, tenant or certificates can't be used.
    pub fn new(address: &Address, patience: Duration) -> Result<Self, Error> {
        // If there is one already, it is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        if let Some(key) = &address.api_key {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
                .map_err(|_| Error::NotAHeader("API key"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        if let Some(tenant) = &address.tenant {
            let value = HeaderValue::from_str(tenant).map_err(|_| Error::NotAHeader("tenant"))?;
            headers.insert("feldera-tenant", value);
        }
        let mut builder = Client::builder()
            .default_headers(headers)
            // A redirect would take the key to another place.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("engine-contract/", env!("CARGO_PKG_VERSION")));
        if let Some(ca) = &address.ca {
            builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(ca)?);
        }
        Ok(Self {
            base: format!("{}/v0", address.url.trim_end_matches('/')),
            http: builder.build()?,
            patience,
        })
    }

    /// Makes a call. `path` is below `/v0`, with its query.
    ///
    /// # Errors
    /// There is no answer in time.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Difference> {
        self.call_within(CALL.min(self.patience), method, path, body)
            .await
    }

    /// As [`Self::call`], where the engine compiles before it answers.
    ///
    /// # Errors
    /// There is no answer in time.
    pub async fn call_slowly(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Difference> {
        self.call_within(self.patience, method, path, body).await
    }

    async fn call_within(
        &self,
        limit: Duration,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Difference> {
        let call = format!("{method} /v0{path}");
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .timeout(limit);
        if let Some(body) = body {
            request = request.json(body);
        }
        let no_answer = |error: reqwest::Error| {
            Difference(if error.is_timeout() {
                format!("{call} isn't answered within {limit:?}")
            } else {
                format!("{call} isn't answered: {}", causes(&error))
            })
        };
        let response = request.send().await.map_err(no_answer)?;
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let text = response.text().await.map_err(no_answer)?;
        Ok(Answer {
            call,
            status,
            retry_after,
            json: serde_json::from_str(&text).ok(),
            text,
        })
    }
}

/// An error with its causes: the outermost often says nothing of what happened.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
