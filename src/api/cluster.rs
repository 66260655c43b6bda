//! One call to the API server: with a deadline, and with an error that says whose fault it is.

use std::fmt;

use futures::StreamExt;
use kube::{
    Client,
    api::PostParams,
    client::Body,
    core::{Request, Status},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, timeout_at};

use super::error::Error;

/// What a review may answer at most. Its answers are a few hundred bytes.
const MAX_REVIEW_BYTES: usize = 1 << 20;

/// The API server, for the time of one request.
///
/// kube's client repeats a call that the API server is too busy for, with growing pauses, and
/// waits for an answer without end. So a request has one deadline that holds for all its calls.
#[derive(Clone)]
pub(super) struct Cluster {
    pub client: Client,
    pub deadline: Instant,
}

/// A call, in words that name the permission that it needs: "create `resource`".
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub verb: &'static str,
    pub resource: &'static str,
    pub namespace: Option<&'a str>,
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            verb,
            resource,
            namespace,
        } = self;
        write!(f, "{verb} {resource}")?;
        match namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => Ok(()),
        }
    }
}

impl Cluster {
    /// Waits for a call until the deadline. `Err(Ok(status))` is a refusal that the caller may know
    /// what to do with; `Err(Err(…))` is final.
    pub async fn attempt<T>(
        &self,
        call: Call<'_>,
        answer: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Result<Box<Status>, Error>> {
        match timeout_at(self.deadline, answer).await {
            Err(_) => Err(Err(unreachable(call, "no answer in time"))),
            Ok(Ok(value)) => Ok(value),
            Ok(Err(kube::Error::Api(status))) => Err(Ok(status)),
            Ok(Err(error @ (kube::Error::HyperError(_) | kube::Error::Service(_)))) => {
                Err(Err(unreachable(call, &error)))
            }
            Ok(Err(error)) => Err(Err(failed(call, &error))),
        }
    }

    /// Waits for a call all of whose refusals are our own fault.
    pub async fn call<T>(
        &self,
        call: Call<'_>,
        answer: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Error> {
        self.attempt(call, answer)
            .await
            .map_err(|error| match error {
                Ok(status) => refused(call, &status),
                Err(error) => error,
            })
    }

    /// Posts a review and reads its answer.
    pub async fn review<R: Serialize + DeserializeOwned>(
        &self,
        call: Call<'_>,
        path: &str,
        review: &R,
    ) -> Result<R, Error> {
        let request = serde_json::to_vec(review)
            .ok()
            .and_then(|body| Request::new(path).create(&PostParams::default(), body).ok());
        self.send(call, request, MAX_REVIEW_BYTES)
            .await
            .map_err(|error| match error {
                Ok(status) => refused(call, &status),
                Err(error) => error,
            })
    }

    /// Sends a request, which is `None` if it couldn't be built, and reads its answer. Errors are
    /// those of [`Cluster::attempt`].
    ///
    /// This goes round `Api`, because that logs the text of an answer that it can't read: a token
    /// review repeats the token, and a Secret is one.
    pub async fn send<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
        request: Option<http::Request<Vec<u8>>>,
        max_bytes: usize,
    ) -> Result<T, Result<Box<Status>, Error>> {
        let answer = self.send_for_short(call, request, max_bytes).await?;
        answer.ok_or_else(|| Err(failed(call, format!("more than {max_bytes} bytes"))))
    }

    /// The same; `None` if the answer is longer, of which no more is read then.
    pub async fn send_for_short<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
        request: Option<http::Request<Vec<u8>>>,
        max_bytes: usize,
    ) -> Result<Option<T>, Result<Box<Status>, Error>> {
        let Some(request) = request else {
            return Err(Err(failed(call, "the request can't be built")));
        };
        let answer = async {
            let response = self.client.send(request.map(Body::from)).await?;
            let status = response.status();
            let mut body = axum::body::Body::new(response.into_body()).into_data_stream();
            let mut text = vec![];
            let mut is_whole = true;
            while let Some(piece) = body.next().await {
                let piece = piece.map_err(|error| kube::Error::Service(error.into_inner()))?;
                if text.len() + piece.len() > max_bytes {
                    is_whole = false;
                    break;
                }
                text.extend_from_slice(&piece);
            }
            if status.is_success() {
                return Ok(if is_whole {
                    serde_json::from_slice(&text).ok().map(Some)
                } else {
                    Some(None)
                });
            }
            // A proxy in between may answer in another shape; the code says enough then.
            let refusal: Status = serde_json::from_slice(&text).unwrap_or_default();
            Err(kube::Error::Api(refusal.with_code(status.as_u16()).boxed()))
        };
        self.attempt(call, answer)
            .await?
            .ok_or_else(|| Err(failed(call, "the answer can't be read")))
    }
}

/// What a refusal by the API server that we didn't expect means to the client.
pub(super) fn refused(call: Call<'_>, status: &Status) -> Error {
    match status.code {
        403 => {
            tracing::error!(%call, reason = ?status.message, "the API server refused our account");
            Error::MissingPermission {
                action: call.to_string(),
                reason: status.message.clone(),
            }
        }
        429 | 502 | 503 | 504 => unreachable(call, &status.message),
        _ => failed(call, format!("{}: {}", status.code, status.message)),
    }
}

fn unreachable(call: Call<'_>, error: impl fmt::Display) -> Error {
    tracing::warn!(%call, %error, "the API server can't be reached");
    Error::ApiServerUnreachable {}
}

/// What a call that failed by our own fault means to the client.
pub(super) fn failed(call: Call<'_>, error: impl fmt::Display) -> Error {
    tracing::error!(%call, %error, "a call to the API server failed");
    Error::InternalError {
        action: call.to_string(),
    }
}
