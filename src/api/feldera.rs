//! What Feldera's clients ask for before anything else: without an answer to `GET /v0/config`, its
//! Python SDK makes no client that could approve.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Extension, State as Shared},
    http::HeaderMap,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    error::{Error, ErrorResponse},
    room::AtWork,
    routes::{Peer, State},
};

/// The part of a Feldera instance's configuration that clients read.
#[derive(Serialize, Deserialize, ToSchema, Clone, Debug, PartialEq, Eq)]
pub struct FelderaConfig {
    /// The edition without features that this endpoint could lack.
    #[schema(example = "Open source")]
    pub edition: String,
    /// Sluice's name and version, where an instance has Feldera's. Clients warn of another version than
    /// their own, and go on.
    #[schema(example = "sluice-0.2.0")]
    pub version: String,
    /// Empty.
    pub revision: String,
    /// Empty.
    pub telemetry: String,
    /// Empty.
    pub changelog_url: String,
}

/// What Feldera's clients ask for before anything else.
///
/// This is no Feldera instance, so it says little.
#[utoipa::path(
    get,
    path = "/v0/config",
    operation_id = "get_config",
    tag = "Meta",
    responses(
        (status = 200, description = "Who answers here", body = FelderaConfig),
        (status = 401, description = "There is no valid token: AuthenticationFailed", body = ErrorResponse,
            headers(("WWW-Authenticate" = String, description = "Bearer"))),
        (status = 429, description = "The caller has sent too many requests, or too many with no valid token: TooManyRequests, TooManyFailedAuthentications", body = ErrorResponse,
            headers(("Retry-After" = i64, description = "Seconds to wait"))),
        (status = 500, description = "It is Sluice's fault: MissingPermission, InternalError", body = ErrorResponse),
        (status = 503, description = "The API server can't be reached, try again: ApiServerUnreachable", body = ErrorResponse,
            headers(("Retry-After" = i64, description = "Seconds to wait"))),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn config(
    Shared(state): Shared<State>,
    peer: Option<Extension<Peer>>,
    work: Option<Extension<Arc<AtWork>>>,
    headers: HeaderMap,
) -> Result<Json<FelderaConfig>, Error> {
    // Clients try out their credentials in this way.
    state
        .authenticate(&state.cluster(), peer, work, &headers)
        .await?;
    Ok(Json(FelderaConfig {
        edition: "Open source".to_owned(),
        version: concat!("sluice-", env!("CARGO_PKG_VERSION")).to_owned(),
        revision: String::new(),
        telemetry: String::new(),
        changelog_url: String::new(),
    }))
}
