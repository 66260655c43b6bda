//! Every refusal of the REST endpoint, in the engine's shape.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error as ThisError;
use utoipa::ToSchema;

use crate::crd::ApprovalState;
use crate::text;

/// What an error looks like, as in Feldera's own REST API.
#[derive(Serialize, Deserialize, ToSchema, Clone, Debug, PartialEq)]
pub struct ErrorResponse {
    /// What is wrong, and what to do instead.
    #[schema(example = "Unknown pipeline name 'orders'")]
    pub message: String,
    /// Names the kind of error, for programs.
    #[schema(example = "UnknownPipelineName")]
    pub error_code: String,
    /// What the error is about. Its content depends on `error_code`.
    #[schema(value_type = Object, example = json!({"pipeline_name": "orders"}))]
    pub details: Value,
}

/// Why a call isn't answered with 202.
///
/// `Display` is the message, the serialized fields are the details. A client retries a 503 by
/// itself, so no refusal is one: only [`Error::ApiServerUnreachable`] is, and while the policies are
/// being looked at, [`Error::PoliciesNotInForce`]. Most variants are named
/// after their codes; some cases share one.
#[allow(clippy::enum_variant_names)]
#[derive(Serialize, ThisError, Clone, Debug, PartialEq)]
#[serde(untagged)]
pub(super) enum Error {
    #[error("Invalid name '{value}': {error}")]
    InvalidNameParam { value: String, error: String },

    #[error("Invalid query parameter '{param}' with value '{value}': {error}")]
    InvalidQueryParam {
        param: String,
        value: String,
        error: String,
    },

    #[error(
        "Invalid change id '{value}': a change id is 32 hex digits in lower case; copy the whole of status.approval.changeId of the Pipeline"
    )]
    InvalidChangeIdParam { value: String },

    #[error("Invalid bootstrap configuration: {reason}")]
    InvalidBootstrapConfig { reason: String },

    #[error("The body of the request could not be read")]
    InvalidBody {},

    #[error("The body of the request did not arrive within {timeout_seconds} s")]
    BodyTimeout { timeout_seconds: u64 },

    #[error("The body of the request exceeds {limit_bytes} bytes; this endpoint needs none")]
    BodyTooLarge { limit_bytes: usize },

    /// The message is the same for every reason, so that nothing can be learned by guessing.
    #[error(
        "No valid token: send 'Authorization: Bearer <token>' with a token that the Kubernetes API server accepts, or with an API key of this endpoint"
    )]
    AuthenticationFailed {
        #[serde(skip)]
        token_given: bool,
    },

    #[error(
        "There were too many failed authentications from your address. Try again in {retry_after_seconds} s, with a valid token"
    )]
    TooManyFailedAuthentications { retry_after_seconds: u64 },

    #[error(
        "Your token has not been looked at: too many others that were sent from your address wait for that. Try again in {retry_after_seconds} s"
    )]
    NoTurn { retry_after_seconds: u64 },

    #[error(
        "All connections of this endpoint are in use, most of them from your address, so your request gave way to another one and nothing was done. Try again in {retry_after_seconds} s"
    )]
    GaveWay { retry_after_seconds: u64 },

    #[error("You have sent too many requests. Try again in {retry_after_seconds} s")]
    TooManyRequests { retry_after_seconds: u64 },

    #[error(
        "You may see pipeline '{pipeline_name}' but not approve its changes: that needs the verb 'approve' on pipelines.sluice.dev"
    )]
    InsufficientPermissions { pipeline_name: String },

    #[error("Unknown pipeline name '{pipeline_name}'")]
    UnknownPipelineName { pipeline_name: String },

    #[error(
        "Unknown path: this endpoint serves POST /v0/pipelines/{{pipeline_name}}/approve, GET /v0/config and GET /openapi.json"
    )]
    UnknownPath {},

    #[error("This path doesn't take the method {method}")]
    MethodNotAllowed { method: String },

    #[error(
        "No change of pipeline '{pipeline_name}' awaits approval{}{}",
        last_change(.last_change_state),
        .instead.as_deref().unwrap_or_default()
    )]
    NoChangeAwaitingApproval {
        pipeline_name: String,
        change_id: Option<String>,
        waiting_change_id: Option<String>,
        last_change_id: Option<String>,
        last_change_state: Option<ApprovalState>,
        /// What to do instead, for the message.
        #[serde(skip)]
        instead: Option<String>,
    },

    #[error(
        "Pipeline '{pipeline_name}' is not deployed, or not yet waiting at the gate again: its deployment status is {}",
        .status.as_deref().unwrap_or("unknown")
    )]
    PipelineInteractionNotDeployed {
        pipeline_name: String,
        status: Option<String>,
        change_id: Option<String>,
    },

    #[error(
        "Change {change_id} does not wait: pipeline '{pipeline_name}' awaits approval of change {waiting_change_id}. Read what that change is before you approve it"
    )]
    OtherChangeAwaitingApproval {
        pipeline_name: String,
        change_id: String,
        waiting_change_id: String,
    },

    #[error(
        "Change {change_id} of pipeline '{pipeline_name}' was published with other bootstrap options than the requested ones: the options are part of what is approved. Leave them out of the request, or set spec.bootstrapOptions of the Pipeline"
    )]
    OtherBootstrapOptions {
        pipeline_name: String,
        change_id: String,
        requested: Options,
        published: Options,
    },

    #[error(
        "All names that your approval of this change could have are taken by others' objects, again and again ('{object}' first), so it isn't stored. Try again, and ask an administrator to see who makes them: kubectl get pipelineapprovals"
    )]
    ApprovalNameTaken {
        pipeline_name: String,
        change_id: String,
        object: String,
    },

    #[error(
        "It isn't known which checkpoint pipeline '{pipeline_name}' would resume from, so this endpoint can't answer its sequence number, and has stored nothing. Approve change {change_id} in another way: with spec.approvedChange, with the annotation sluice.dev/approve, or with 'kubectl sluice approve'"
    )]
    CheckpointUnknown {
        pipeline_name: String,
        change_id: String,
    },

    #[error("The API server refused this endpoint's own account to {action}: {reason}")]
    MissingPermission { action: String, reason: String },

    #[error(
        "An approval that is stored now would not count, because nothing vouches for who gave it: {reason}. {}",
        if *.passes { "Try again in a few seconds" } else { "An administrator has to install the admission policies of this version of Sluice" }
    )]
    PoliciesNotInForce {
        reason: String,
        /// Whether it may pass by itself.
        #[serde(skip)]
        passes: bool,
    },

    #[error("This endpoint failed to {action}; its log says why")]
    InternalError { action: String },

    #[error("The Kubernetes API server can't be reached. Try again in a few seconds")]
    ApiServerUnreachable {},
}

/// Bootstrap options, as a request or a Pipeline names them.
#[derive(Serialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub silent_bootstrap: Option<bool>,
    pub concurrent_bootstrap: Option<bool>,
}

fn last_change(state: &Option<ApprovalState>) -> String {
    match state {
        Some(state) => format!(" (the last one is {state:?})"),
        None => String::new(),
    }
}

impl Error {
    /// The code for programs: the engine's own wherever it has one for the case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidNameParam { .. } => "InvalidNameParam",
            Self::InvalidQueryParam { .. } => "InvalidQueryParam",
            Self::InvalidChangeIdParam { .. } => "InvalidChangeIdParam",
            Self::InvalidBootstrapConfig { .. } => "InvalidBootstrapConfig",
            Self::InvalidBody { .. } => "InvalidBody",
            Self::BodyTimeout { .. } => "BodyTimeout",
            Self::BodyTooLarge { .. } => "BodyTooLarge",
            Self::AuthenticationFailed { .. } => "AuthenticationFailed",
            Self::TooManyFailedAuthentications { .. } | Self::NoTurn { .. } => {
                "TooManyFailedAuthentications"
            }
            Self::TooManyRequests { .. } | Self::GaveWay { .. } => "TooManyRequests",
            Self::InsufficientPermissions { .. } => "InsufficientPermissions",
            Self::UnknownPipelineName { .. } => "UnknownPipelineName",
            Self::UnknownPath { .. } => "UnknownPath",
            Self::MethodNotAllowed { .. } => "MethodNotAllowed",
            Self::NoChangeAwaitingApproval { .. } => "NoChangeAwaitingApproval",
            Self::PipelineInteractionNotDeployed { .. } => "PipelineInteractionNotDeployed",
            Self::OtherChangeAwaitingApproval { .. } => "OtherChangeAwaitingApproval",
            Self::OtherBootstrapOptions { .. } => "OtherBootstrapOptions",
            Self::ApprovalNameTaken { .. } => "ApprovalNameTaken",
            Self::CheckpointUnknown { .. } => "CheckpointUnknown",
            Self::MissingPermission { .. } => "MissingPermission",
            Self::PoliciesNotInForce { .. } => "PoliciesNotInForce",
            Self::InternalError { .. } => "InternalError",
            Self::ApiServerUnreachable { .. } => "ApiServerUnreachable",
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::InvalidNameParam { .. }
            | Self::InvalidQueryParam { .. }
            | Self::InvalidChangeIdParam { .. }
            | Self::InvalidBootstrapConfig { .. }
            | Self::InvalidBody { .. } => StatusCode::BAD_REQUEST,
            Self::BodyTimeout { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::AuthenticationFailed { .. } => StatusCode::UNAUTHORIZED,
            Self::TooManyFailedAuthentications { .. }
            | Self::NoTurn { .. }
            | Self::TooManyRequests { .. }
            | Self::GaveWay { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::InsufficientPermissions { .. } => StatusCode::FORBIDDEN,
            Self::UnknownPipelineName { .. } | Self::UnknownPath { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoChangeAwaitingApproval { .. }
            | Self::PipelineInteractionNotDeployed { .. }
            | Self::OtherChangeAwaitingApproval { .. }
            | Self::OtherBootstrapOptions { .. }
            | Self::ApprovalNameTaken { .. } => StatusCode::CONFLICT,
            Self::CheckpointUnknown { .. }
            | Self::MissingPermission { .. }
            | Self::PoliciesNotInForce { passes: false, .. }
            | Self::InternalError { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Self::ApiServerUnreachable { .. } | Self::PoliciesNotInForce { passes: true, .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// The body of the answer.
    pub fn body(&self) -> ErrorResponse {
        ErrorResponse {
            message: text::clean(&self.to_string()),
            error_code: self.code().to_owned(),
            // Only a map with keys that aren't strings could fail, and there is none.
            details: serde_json::to_value(self).unwrap_or_default(),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(self.body())).into_response();
        let headers = response.headers_mut();
        match self {
            Self::AuthenticationFailed { token_given: false } => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::AuthenticationFailed { token_given: true } => {
                headers.insert(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static(r#"Bearer error="invalid_token""#),
                );
            }
            Self::TooManyFailedAuthentications {
                retry_after_seconds,
            }
            | Self::NoTurn {
                retry_after_seconds,
            }
            | Self::TooManyRequests {
                retry_after_seconds,
            }
            | Self::GaveWay {
                retry_after_seconds,
            } => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after_seconds));
            }
            // As long as the engine's manager asks its clients to wait.
            Self::ApiServerUnreachable {} | Self::PoliciesNotInForce { passes: true, .. } => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_details_are_the_fields_and_always_an_object() {
        let error = Error::UnknownPipelineName {
            pipeline_name: "orders".to_owned(),
        };
        assert_eq!(
            serde_json::to_value(error.body()).unwrap(),
            json!({
                "message": "Unknown pipeline name 'orders'",
                "error_code": "UnknownPipelineName",
                "details": {"pipeline_name": "orders"},
            })
        );
        for bare in [
            Error::UnknownPath {},
            Error::InvalidBody {},
            Error::ApiServerUnreachable {},
            Error::AuthenticationFailed { token_given: true },
        ] {
            assert_eq!(bare.body().details, json!({}), "{bare:?}");
        }
    }
}
