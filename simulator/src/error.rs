//! Errors in the engine's form: `{"message", "error_code", "details"}`.

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Seconds that the manager's own 503s tell clients to wait.
pub const RETRY_AFTER_SECONDS: u64 = 5;

/// An error answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// The engine's code.
    pub error_code: String,
    /// What is wrong, and what to do about it.
    pub message: String,
    /// What belongs to the code.
    pub details: Value,
    /// Is it a 503 of the manager itself, which carries `Retry-After`?
    pub retry_after: bool,
}

impl ApiError {
    /// An error as a pipeline process or the manager gives it.
    pub fn new(
        status: StatusCode,
        error_code: &str,
        message: impl Into<String>,
        details: Value,
    ) -> Self {
        Self {
            status: status.as_u16(),
            error_code: error_code.to_owned(),
            message: message.into(),
            details,
            retry_after: false,
        }
    }

    /// A 400 without details.
    pub fn bad_request(error_code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error_code, message, Value::Null)
    }

    /// A 503 of the manager itself.
    pub fn unavailable(error_code: &str, message: impl Into<String>, details: Value) -> Self {
        Self {
            retry_after: true,
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                error_code,
                message,
                details,
            )
        }
    }

    /// No such pipeline.
    pub fn unknown_pipeline(name: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "UnknownPipelineName",
            format!("Unknown pipeline name '{name}'"),
            json!({"pipeline_name": name}),
        )
    }

    /// The open-source edition can't do that.
    pub fn enterprise_feature(feature: &str) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "EnterpriseFeature",
            format!("Cannot use enterprise-only feature ({feature}) in Feldera community edition."),
            json!({"feature": feature}),
        )
    }

    /// No valid API key.
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "AuthenticationFailed",
            "Unauthorized API key",
            Value::Null,
        )
    }

    /// With what belongs to the code.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }

    /// The body of the answer.
    pub fn body(&self) -> Value {
        json!({
            "message": self.message,
            "error_code": self.error_code,
            "details": self.details,
        })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.body())).into_response();
        if self.retry_after {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }
}
