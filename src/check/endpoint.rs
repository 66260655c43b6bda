//! Does the REST endpoint answer, and let nobody approve who doesn't say who he is?

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What it is for, as its OpenAPI document has it.
const APPROVE: &str = "/v0/pipelines/{pipeline_name}/approve";

/// Why it can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file with the authorities.
    #[error("can't read the certificate authorities from --api-ca-file {0}: {1}")]
    File(PathBuf, #[source] std::io::Error),
    /// Anything else.
    #[error("no client for --api-url could be made: {0}")]
    Client(#[from] reqwest::Error),
}

/// The REST endpoint.
pub(super) struct Endpoint {
    url: String,
    http: reqwest::Client,
}

impl Endpoint {
    /// The one at a base URL. A file that isn't there is none.
    pub(super) fn new(url: &str, authorities: Option<&Path>) -> Result<Self, Error> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder().timeout(TIMEOUT);
        if let Some(file) = authorities.filter(|file| file.exists()) {
            let pem = std::fs::read(file).map_err(|error| Error::File(file.to_owned(), error))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)?;
            builder = builder.tls_certs_merge(certificates);
        }
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            http: builder.build()?,
        })
    }

    /// Looks at it.
    pub(super) async fn look(&self) -> Result<String, String> {
        let document = format!("{}/openapi.json", self.url);
        let answer = self.http.get(&document).send().await.map_err(reached)?;
        let document: Value = answer
            .error_for_status()
            .map_err(reached)?
            .json()
            .await
            .map_err(reached)?;
        if document["paths"][APPROVE].is_null() {
            return Err(format!(
                "what answers at {} isn't Sluice's REST endpoint",
                self.url
            ));
        }
        let approve = format!(
            "{}{}",
            self.url,
            APPROVE.replace("{pipeline_name}", "sluice-check")
        );
        let answer = self.http.post(&approve).send().await.map_err(reached)?;
        match answer.status() {
            StatusCode::UNAUTHORIZED => Ok(format!(
                "the REST endpoint at {} answers, and lets nobody approve without a token",
                self.url
            )),
            other => Err(format!(
                "the REST endpoint at {} answered an approval without a token with {other}, and should with 401",
                self.url
            )),
        }
    }
}

/// An error with what caused it: that a name isn't known, or who signed a certificate, is at the bottom.
fn reached(error: reqwest::Error) -> String {
    let mut text = format!("the REST endpoint can't be asked: {error}");
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
