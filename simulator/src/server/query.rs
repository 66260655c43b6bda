//! Queries and bodies, read and refused as the engine does: in plain text.

use axum::body::Bytes;
use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode, Uri};
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// An answer that isn't good.
#[derive(Debug)]
pub enum Refusal {
    /// The engine's form.
    Error(ApiError),
    /// Plain text with status 400, as the engine's web framework gives it.
    Text(String),
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Error(error) => error.into_response(),
            Self::Text(text) => (StatusCode::BAD_REQUEST, text).into_response(),
        }
    }
}

/// The query of a call.
///
/// # Errors
/// A value that can't be read.
pub fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Refusal> {
    match Query::<T>::try_from_uri(uri) {
        Ok(Query(query)) => Ok(query),
        Err(rejection) => {
            let text = rejection.body_text();
            let reason = text.rsplit(": ").next().unwrap_or(&text);
            Err(Refusal::Text(format!("Query deserialize error: {reason}")))
        }
    }
}

/// The JSON body of a call.
///
/// # Errors
/// It isn't declared as JSON, or isn't what is expected.
pub fn json<T: DeserializeOwned>(headers: &HeaderMap, body: &Bytes) -> Result<T, Refusal> {
    let declared = headers
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.starts_with("application/json"));
    if !declared {
        return Err(Refusal::Text("Content type error".to_owned()));
    }
    serde_json::from_slice(body).map_err(|e| Refusal::Text(format!("Json deserialize error: {e}")))
}
