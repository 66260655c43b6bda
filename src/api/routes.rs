//! Which path does what, and the steps of an approval, in order.

use std::{
    any::Any,
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Extension, Path, RawQuery, Request, State as Shared, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::StreamExt;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;
use utoipa::ToSchema;

use super::{
    access::{self, Access},
    auth::{self, Authenticator, User},
    cluster::Cluster,
    config::Config,
    decide::{Answer, decide},
    error::{Error, ErrorResponse},
    feldera,
    keys::Keys,
    limits::{Limits, NO_TURN},
    lookup::{self, Lookup},
    openapi::openapi,
    query::Query,
    room::{AtWork, Place},
    vote::{self, Votes},
};
use crate::policies::{Standing, Trust};
use crate::telemetry;

/// How much of a body is read before the request is refused. No path needs one.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Selects the tenant, as in Feldera's API.
const TENANT_HEADER: &str = "feldera-tenant";

/// What a request is told that gave way to another one.
const GAVE_WAY: Error = Error::GaveWay {
    retry_after_seconds: 5,
};

/// The address that a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// What every request needs.
#[derive(Clone)]
pub struct State {
    client: Client,
    authenticator: Authenticator,
    limits: Arc<Limits>,
    lookup: Lookup,
    votes: Votes,
    default_namespace: String,
    tenants: BTreeMap<String, String>,
    request_timeout: Duration,
    read_timeout: Duration,
    policies: Option<watch::Receiver<Trust>>,
}

impl State {
    /// Fails if a tenant stands for two namespaces.
    pub fn new(config: &Config, client: Client) -> io::Result<Self> {
        let mut tenants = BTreeMap::new();
        for tenant in &config.tenants {
            let earlier = tenants.insert(tenant.name.clone(), tenant.namespace.clone());
            if earlier.is_some_and(|earlier| earlier != tenant.namespace) {
                let message = format!("tenant {} is mapped to two namespaces", tenant.name);
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
        }
        let default_namespace = config.default_namespace.clone();
        let own_namespace = client.default_namespace();
        let keys = config.api_keys_secret.as_deref();
        let keys = keys.map(|secret| Keys::new(own_namespace, secret));
        Ok(Self {
            default_namespace: default_namespace.unwrap_or_else(|| own_namespace.to_owned()),
            client,
            authenticator: Authenticator {
                audiences: config.audiences.clone(),
                keys: keys.map(Arc::new),
            },
            limits: Arc::new(Limits::new(config.user_limit, config.failure_limit)),
            lookup: Lookup::default(),
            votes: Votes::default(),
            tenants,
            request_timeout: config.request_timeout,
            read_timeout: config.read_timeout,
            policies: None,
        })
    }

    /// The same, with what is known of the admission policies: where they are required, nothing is stored that
    /// couldn't count without them.
    pub fn with_policies(mut self, trust: watch::Receiver<Trust>) -> Self {
        self.policies = Some(trust);
        self
    }

    /// Since when votes that are stored count; `None` if all do. Fails if one that is stored now could not
    /// count.
    fn votes_count_since(&self) -> Result<Option<Timestamp>, Error> {
        let Some(trust) = self.policies.as_ref().map(watch::Receiver::borrow) else {
            return Ok(None);
        };
        if !trust.required {
            return Ok(None);
        }
        let (reason, passes) = match &trust.votes {
            Standing::Unknown(why) => (why, true),
            Standing::Absent(why) => (why, false),
            Standing::InForce { since, .. } => return Ok(Some(*since)),
        };
        let reason = reason.clone();
        Err(Error::PoliciesNotInForce { reason, passes })
    }

    pub(super) fn cluster(&self) -> Cluster {
        Cluster {
            client: self.client.clone(),
            deadline: Instant::now() + self.request_timeout,
        }
    }

    /// The user who calls, if they haven't called too often. From then on their request keeps its place.
    pub(super) async fn authenticate(
        &self,
        cluster: &Cluster,
        peer: Option<Extension<Peer>>,
        work: Option<Extension<Arc<AtWork>>>,
        headers: &HeaderMap,
    ) -> Result<User, Error> {
        // Those of whom no address is known count as one.
        let peer = peer.map_or(
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            |Extension(Peer(peer))| peer,
        );
        let now = || Instant::now().into_std();
        let credential = auth::credential(headers)?;
        let attempt = self.limits.attempt(peer, credential, now())?;
        let turn = match &attempt {
            Some(attempt) if attempt.waits() => {
                if let Some(work) = &work {
                    work.queues();
                }
                // The other half is left for what comes after it. Otherwise the API server would be blamed for the
                // time that was spent here.
                let turn = self.limits.turn(attempt, now);
                let turn = timeout(self.request_timeout / 2, turn).await;
                let turn = turn.map_err(|_| NO_TURN)??;
                if let Some(work) = &work {
                    work.asks();
                }
                Some(turn)
            }
            _ => None,
        };
        let user = self.authenticator.authenticate(cluster, credential).await;
        let outcome = user.as_ref().ok().map(Option::is_some);
        self.limits.end(attempt, outcome, now());
        // Only now, so that whoever comes next knows of it.
        drop(turn);
        let user = user?.ok_or(Error::AuthenticationFailed { token_given: true })?;
        self.limits.call(&user.name, now())?;
        if work.is_some_and(|work| !work.acts()) {
            return Err(GAVE_WAY);
        }
        Ok(user)
    }

    /// The namespace that a request speaks of. Only configuration turns a tenant into a namespace.
    fn namespace(&self, headers: &HeaderMap) -> Option<&str> {
        let mut tenants = headers.get_all(TENANT_HEADER).iter();
        match (tenants.next(), tenants.next()) {
            (None, _) => Some(&self.default_namespace),
            (Some(tenant), None) => self.tenants.get(tenant.to_str().ok()?).map(String::as_str),
            (Some(_), Some(_)) => None,
        }
    }
}

/// The answer to an approval that is stored.
#[derive(Serialize, Deserialize, ToSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The sequence number of the checkpoint that the pipeline resumes from: what the engine
    /// answered when Sluice asked for that checkpoint, or, for one that Sluice didn't ask for, the
    /// engine's step count of the newest checkpoint.
    #[schema(example = 42)]
    pub checkpoint_sequence_number: i64,
}

/// All that the endpoint serves.
pub fn router(state: State) -> Router {
    let at_work = || middleware::from_fn_with_state(state.clone(), at_work);
    let approve = post(approve).layer(at_work());
    let config = get(feldera::config).layer(at_work());
    Router::new()
        .route("/v0/pipelines/{pipeline_name}/approve", approve)
        .route("/v0/config", config)
        .route("/openapi.json", get(openapi_document))
        .fallback(async || Error::UnknownPath {})
        .method_not_allowed_fallback(async |method: Method| Error::MethodNotAllowed {
            method: method.to_string(),
        })
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(log))
        .with_state(state)
}

/// Approves the change of a pipeline that waits at the gate.
///
/// The approval is stored as a `PipelineApproval` in the caller's name, and Sluice applies it as
/// soon as the approval policies are met. The call can be repeated: the answer stays the same.
#[utoipa::path(
    post,
    path = "/v0/pipelines/{pipeline_name}/approve",
    operation_id = "post_pipeline_approve",
    tag = "Approval",
    params(
        ("pipeline_name" = String, Path, description = "The pipeline's name in the engine", example = "orders"),
        Query,
        ("Feldera-Tenant" = Option<String>, Header, description = "The tenant, where there are several"),
    ),
    responses(
        (status = 202, description = "The approval is stored, now or by an earlier call", body = Accepted),
        (status = 400, description = "A parameter makes no sense: InvalidChangeIdParam, InvalidBootstrapConfig, InvalidQueryParam, InvalidNameParam, InvalidBody", body = ErrorResponse),
        (status = 401, description = "There is no valid token: AuthenticationFailed", body = ErrorResponse,
            headers(("WWW-Authenticate" = String, description = "Bearer"))),
        (status = 403, description = "The caller may see the pipeline but not approve its changes: InsufficientPermissions", body = ErrorResponse),
        (status = 404, description = "There is no such pipeline, or none that the caller may know of: UnknownPipelineName", body = ErrorResponse),
        (status = 408, description = "The body didn't arrive in time: BodyTimeout", body = ErrorResponse),
        (status = 409, description = "There is nothing to approve in this way: NoChangeAwaitingApproval, PipelineInteractionNotDeployed, OtherChangeAwaitingApproval, OtherBootstrapOptions, ApprovalNameTaken", body = ErrorResponse),
        (status = 413, description = "The body is too large: BodyTooLarge", body = ErrorResponse),
        (status = 429, description = "The caller has sent too many requests, or too many with no valid token: TooManyRequests, TooManyFailedAuthentications", body = ErrorResponse,
            headers(("Retry-After" = i64, description = "Seconds to wait"))),
        (status = 500, description = "It is Sluice's fault: CheckpointUnknown, MissingPermission, PoliciesNotInForce, InternalError", body = ErrorResponse),
        (status = 503, description = "The API server can't be reached, or the admission policies are being looked at; try again: ApiServerUnreachable, PoliciesNotInForce", body = ErrorResponse,
            headers(("Retry-After" = i64, description = "Seconds to wait"))),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn approve(
    Shared(state): Shared<State>,
    peer: Option<Extension<Peer>>,
    work: Option<Extension<Arc<AtWork>>>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Accepted>), Error> {
    let cluster = state.cluster();
    let user = state.authenticate(&cluster, peer, work, &headers).await?;

    let Path(pipeline_name) = path.map_err(|_| Error::InvalidNameParam {
        value: String::new(),
        error: "it is not valid UTF-8".to_owned(),
    })?;
    let query = Query::parse(query.as_deref().unwrap_or_default())?;
    let unknown = || Error::UnknownPipelineName {
        pipeline_name: pipeline_name.clone(),
    };
    let namespace = state.namespace(&headers).ok_or_else(unknown)?;
    if !lookup::is_possible(&pipeline_name) {
        return Err(unknown());
    }

    // Asked also about what doesn't exist, so that the time that it takes tells little; and before it is read, since
    // that costs memory, which nobody is to take who may not even know of it.
    let (object, access) = tokio::try_join!(
        biased;
        state.lookup.object(&cluster, namespace, &pipeline_name),
        access::of(&cluster, &user, namespace, &pipeline_name),
    )?;
    let access = if object == pipeline_name {
        access
    } else {
        access::of(&cluster, &user, namespace, &object).await?
    };
    if access == Access::Nothing {
        return Err(unknown());
    }
    let read = state
        .lookup
        .read(&cluster, namespace, &object, &pipeline_name);
    let pipeline = read.await?.ok_or_else(unknown)?;
    if access == Access::See {
        return Err(Error::InsufficientPermissions { pipeline_name });
    }

    let (change_id, number) = match decide(&pipeline, &query, &user.name) {
        Answer::Store { change_id, number } => {
            let since = state.votes_count_since()?;
            let vote = vote::of(&pipeline, &change_id, &user);
            let store = state.votes.store(&cluster, &pipeline, &vote, since);
            store.await?;
            (change_id, number)
        }
        Answer::Stored { change_id, number } => (change_id, number),
        Answer::Repeat {
            change_id,
            number,
            otherwise,
        } => {
            let vote = vote::of(&pipeline, &change_id, &user);
            if !state.votes.is_stored(&cluster, &vote).await? {
                return Err(otherwise);
            }
            (change_id, number)
        }
        Answer::Refuse(error) => return Err(error),
    };
    tracing::info!(user = ?user.name, api_key = user.api_key, namespace, pipeline = object, change_id, "an approval is stored");
    let accepted = Accepted {
        checkpoint_sequence_number: number,
    };
    Ok((StatusCode::ACCEPTED, Json(accepted)))
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "get_openapi",
    tag = "Meta",
    responses((status = 200, description = "The OpenAPI document", body = Object)),
)]
pub(super) async fn openapi_document() -> Json<utoipa::openapi::OpenApi> {
    Json(openapi())
}

/// Reads a request's body to its end, and forgets it. From then on the request is at work: until then it depends on the
/// client. If its connection has to give way before it is known who sends it, nothing is done but to say so.
async fn at_work(Shared(state): Shared<State>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let drained = timeout(state.read_timeout, drain(body)).await;
    match drained {
        Ok(Ok(())) => {
            let Some(place) = parts.extensions.get::<Arc<Place>>().cloned() else {
                // What isn't served over a connection of ours has no place to lose.
                return next.run(Request::from_parts(parts, Body::empty())).await;
            };
            let Some(work) = place.work() else {
                // The connection is being closed, at the latest when this waits. An answer could still get out.
                return std::future::pending().await;
            };
            let work = Arc::new(work);
            parts.extensions.insert(work.clone());
            let mut response = tokio::select! {
                biased;
                response = next.run(Request::from_parts(parts, Body::empty())) => response,
                () = work.gives_way() => GAVE_WAY.into_response(),
            };
            if work.has_given_way() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            response
        }
        Ok(Err(error)) => error.into_response(),
        Err(_) => Error::BodyTimeout {
            timeout_seconds: state.read_timeout.as_secs(),
        }
        .into_response(),
    }
}

async fn drain(body: Body) -> Result<(), Error> {
    let too_large = Error::BodyTooLarge {
        limit_bytes: MAX_BODY_BYTES,
    };
    // What says beforehand that it is too large isn't waited for.
    if axum::body::HttpBody::size_hint(&body).lower() > MAX_BODY_BYTES as u64 {
        return Err(too_large);
    }
    let mut body = body.into_data_stream();
    let mut read = 0;
    while let Some(chunk) = body.next().await {
        read += chunk.map_err(|_| Error::InvalidBody {})?.len();
        if read > MAX_BODY_BYTES {
            return Err(too_large);
        }
    }
    Ok(())
}

/// Each request is a span of its own, in the caller's trace where they name one.
async fn log(request: Request, next: Next) -> Response {
    let start = Instant::now();
    // Neither headers nor query: they may hold what nobody should read.
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = tracing::info_span!(
        "request",
        %method,
        ?path,
        otel.kind = "server",
        trace_id = tracing::field::Empty
    );
    let parent = request.headers().get(telemetry::TRACEPARENT);
    telemetry::continue_trace(&span, parent.and_then(|parent| parent.to_str().ok()));
    async {
        let response = next.run(request).await;
        let status = response.status().as_u16();
        tracing::debug!(status, elapsed = ?start.elapsed(), "answered");
        response
    }
    .instrument(span)
    .await
}

fn panicked(_: Box<dyn Any + Send>) -> Response {
    // The panic hook has printed what happened.
    Error::InternalError {
        action: "answer".to_owned(),
    }
    .into_response()
}

#[cfg(test)]
mod tests {
    use super::super::room::Room;
    use super::*;

    #[tokio::test]
    async fn a_request_that_has_lost_its_place_is_answered_nothing() {
        let nobody = tower::service_fn(async |_: http::Request<kube::client::Body>| {
            Err::<http::Response<Body>, _>(io::Error::other("nobody is asked"))
        });
        let client = Client::new(nobody, "default");
        let router = router(State::new(&Config::default(), client).unwrap());
        let (room, now) = (Room::new(1), std::time::Instant::now());
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let place = room.enter(address, now).unwrap();
        let _next = room.enter(address, now).unwrap();
        assert!(place.closed.is_cancelled());
        let request = Request::post("/v0/pipelines/orders/approve")
            .extension(place)
            .body(Body::empty())
            .unwrap();
        let answer = tower::ServiceExt::oneshot(router, request);
        assert!(futures::poll!(std::pin::pin!(answer)).is_pending());
    }
}
