//! The client of Feldera's REST API.

use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::budget::{Portion, Purse};
use super::elements::{self, Elements, NoArray};
use super::wire;
use super::{Checkpoint, DiffAnswer, EngineInfo, Error, FullPipeline, PipelineState, StartOptions};
use crate::crd::BootstrapOptions;
use crate::gate::change::Content;
use crate::telemetry;
use crate::text::{self, Limit};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a call may take. The engine's own calls to a pipeline give up after 10 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the compiler may take to answer about a program: the engine gives up before that.
const DIFF_TIMEOUT: Duration = Duration::from_secs(120);

/// The longest answer that is read as a whole: a pipeline with its program, of which the engine takes 2 MiB, and
/// what its compiler makes of it.
const LONGEST_ANSWER: usize = 8 << 20;

/// How many values it may consist of.
const MOST_VALUES: usize = 200_000;

/// The longest list of pipelines that is read, in pieces: 10,000 with some KiB each.
const LONGEST_LIST: usize = 64 << 20;

/// How much of an error is read.
const LONGEST_ERROR: usize = 1 << 20;

/// How much memory what is kept of one pipeline may take.
const LARGEST_STATE: usize = 1 << 20;

/// How much is kept of an answer that is no error of Feldera's, as a proxy's page.
const NOT_AN_ERROR: Limit = Limit::Characters(300);

/// Feldera's code for a program that doesn't compile. Its message holds the compiler's as JSON.
const INVALID_SQL: &str = "InvalidNewProgramSql";

/// How to reach an engine.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Address {
    /// The base URL, without `/v0`.
    pub url: String,
    /// Feldera's tenant.
    pub tenant: Option<String>,
    /// The API key or JWT.
    pub credential: Option<String>,
    /// Certificate authorities in PEM, besides the system's.
    pub ca: Option<String>,
}

// Written by hand so that a credential can't get into a log.
impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Address")
            .field("url", &self.url)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

/// Why no client could be made for an address.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The tenant or the credential has characters that can't stand in a header.
    #[error(
        "the engine's {0} has characters that can't be sent in an HTTP header; check for a line break at its end"
    )]
    NotAHeader(&'static str),
    /// The certificates can't be read.
    #[error("the engine's certificate authorities are not PEM certificates: {0}")]
    Certificates(String),
    /// Anything else.
    #[error("no client for the engine could be made: {0}")]
    Client(String),
}

/// A client of one engine.
#[derive(Clone, Debug)]
pub struct Feldera {
    base: String,
    http: reqwest::Client,
    purse: Purse,
}

/// The state of all pipelines of an engine, and the memory that it takes.
#[derive(Debug)]
pub struct Listing {
    /// The pipelines.
    pub pipelines: Vec<PipelineState>,
    /// To be kept as long as they are.
    pub portion: Portion,
    /// How long this process was busy with reading it.
    pub work: Duration,
}

impl Feldera {
    /// A client for an address, whose answers take their memory from a purse. Nothing is sent yet.
    pub fn new(address: &Address, purse: Purse) -> Result<Self, AddressError> {
        // Both kube and this client want a process-wide provider; the second one to ask finds the
        // first one's, which is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();

        let mut headers = HeaderMap::new();
        if let Some(credential) = &address.credential {
            let mut value = HeaderValue::from_str(&format!("Bearer {credential}"))
                .map_err(|_| AddressError::NotAHeader("credential"))?;
            value.set_sensitive(true);
            headers.insert(reqwest::header::AUTHORIZATION, value);
        }
        if let Some(tenant) = &address.tenant {
            let value =
                HeaderValue::from_str(tenant).map_err(|_| AddressError::NotAHeader("tenant"))?;
            headers.insert("feldera-tenant", value);
        }
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            // A redirect would take the credential to another place.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")));
        if let Some(ca) = &address.ca {
            let certificates = reqwest::Certificate::from_pem_bundle(ca.as_bytes())
                .map_err(|error| AddressError::Certificates(error.to_string()))?;
            builder = builder.tls_certs_merge(certificates);
        }
        Ok(Self {
            base: format!("{}/v0", address.url.trim_end_matches('/')),
            http: builder
                .build()
                .map_err(|error| AddressError::Client(error.to_string()))?,
            purse,
        })
    }

    /// What the engine says of itself.
    pub async fn info(&self) -> Result<EngineInfo, Error> {
        let config: wire::Config = self.json(self.call(Method::GET, "/config")).await?;
        Ok(config.into())
    }

    /// The state of all pipelines, in one request.
    pub async fn list(&self) -> Result<Listing, Error> {
        let call = self
            .call(Method::GET, "/pipelines")
            .query(&[("selector", "status")]);
        // One pipeline that can't be read must not hide the others. Whoever misses it asks for it
        // by name, and gets the error then.
        let mut pipelines = vec![];
        let mut size = 0;
        let mut work = Duration::ZERO;
        let mut portion = self.purse.portion();
        let mut elements = Elements::default();
        let nonsense = |error: NoArray| Error::Nonsense(error.to_string());
        answer_in_pieces(call, LONGEST_LIST, |piece| {
            let take = |body: wire::Pipeline| {
                let state = PipelineState::from(body);
                if state.size() <= LARGEST_STATE {
                    size += state.size();
                    pipelines.push(state);
                }
            };
            let begin = Instant::now();
            elements.feed(piece, take).map_err(nonsense)?;
            work += begin.elapsed();
            portion.resize(size + elements.held())
        })
        .await?;
        elements.end().map_err(nonsense)?;
        portion.resize(size)?;
        Ok(Listing {
            pipelines,
            portion,
            work,
        })
    }

    /// One pipeline with everything; `None` if the engine has none of that name.
    pub async fn get(&self, name: &str) -> Result<Option<FullPipeline>, Error> {
        let call = self
            .pipeline(Method::GET, name, "")
            .query(&[("selector", "all")]);
        match self.json::<wire::Pipeline>(call).await {
            Ok(pipeline) => {
                let pipeline = FullPipeline::from(pipeline);
                if pipeline.state.size() > LARGEST_STATE {
                    return Err(Error::Nonsense(format!(
                        "the state of pipeline {name} has more than {} KiB",
                        LARGEST_STATE >> 10
                    )));
                }
                Ok(Some(pipeline))
            }
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a pipeline that carries a tag.
    pub async fn create(
        &self,
        name: &str,
        tags: &[String],
        content: &Content,
    ) -> Result<FullPipeline, Error> {
        let mut body = content_body(content);
        body["name"] = json!(name);
        body["tags"] = json!(tags);
        let pipeline: wire::Pipeline = self
            .json(self.call(Method::POST, "/pipelines").json(&body))
            .await?;
        Ok(pipeline.into())
    }

    /// Gives a pipeline another content. Identical content changes nothing. What the content keeps isn't named, and so stays;
    /// what it neither gives nor keeps goes back to the engine's defaults.
    pub async fn update(&self, name: &str, content: &Content) -> Result<FullPipeline, Error> {
        let mut body = content_body(content);
        for (part, is_kept) in [
            ("program_config", content.kept.program_config.is_some()),
            ("runtime_config", content.kept.runtime_config.is_some()),
        ] {
            if body.get(part).is_none() && !is_kept {
                body[part] = json!({});
            }
        }
        let call = self.pipeline(Method::PATCH, name, "").json(&body);
        Ok(self.json::<wire::Pipeline>(call).await?.into())
    }

    /// Has an unchanged program compiled again: the engine raises the platform version at a PUT.
    pub async fn recompile(
        &self,
        name: &str,
        tags: &[String],
        content: &Content,
    ) -> Result<(), Error> {
        let mut body = content_body(content);
        body["name"] = json!(name);
        body["tags"] = json!(tags);
        self.done(self.pipeline(Method::PUT, name, "").json(&body))
            .await
    }

    /// Replaces a pipeline's tags.
    pub async fn set_tags(&self, name: &str, tags: &[String]) -> Result<(), Error> {
        let call = self
            .pipeline(Method::PATCH, name, "")
            .json(&json!({"tags": tags}));
        self.done(call).await
    }

    /// Starts a pipeline.
    pub async fn start(&self, name: &str, options: &StartOptions) -> Result<(), Error> {
        let initial = if options.paused { "paused" } else { "running" };
        let call = self
            .pipeline(Method::POST, name, "/start")
            .query(&[
                ("initial", initial),
                ("bootstrap_policy", options.bootstrap_policy),
            ])
            .query(&bootstrap_query(options.bootstrap));
        self.done(call).await
    }

    /// Stops a pipeline: with a checkpoint, or with `force` at once.
    pub async fn stop(&self, name: &str, force: bool) -> Result<(), Error> {
        let call = self
            .pipeline(Method::POST, name, "/stop")
            .query(&[("force", force)]);
        self.done(call).await
    }

    /// Pauses a running pipeline.
    pub async fn pause(&self, name: &str) -> Result<(), Error> {
        self.done(self.pipeline(Method::POST, name, "/pause")).await
    }

    /// Resumes a paused pipeline.
    pub async fn resume(&self, name: &str) -> Result<(), Error> {
        self.done(self.pipeline(Method::POST, name, "/resume"))
            .await
    }

    /// Dismisses the error that a stopped pipeline shows.
    pub async fn dismiss_error(&self, name: &str) -> Result<(), Error> {
        self.done(self.pipeline(Method::POST, name, "/dismiss_error"))
            .await
    }

    /// Clears the storage of a stopped pipeline: its checkpoints are gone then.
    pub async fn clear(&self, name: &str) -> Result<(), Error> {
        self.done(self.pipeline(Method::POST, name, "/clear")).await
    }

    /// Deletes a stopped pipeline with cleared storage.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        self.done(self.pipeline(Method::DELETE, name, "")).await
    }

    /// Approves whatever waits at the engine's gate. The engine has no precondition, and answers
    /// 200 in every phase: the caller must have looked, and must look again.
    pub async fn approve(&self, name: &str, options: BootstrapOptions) -> Result<(), Error> {
        let call = self
            .pipeline(Method::POST, name, "/approve")
            .query(&bootstrap_query(options));
        self.done(call).await
    }

    /// Asks for a checkpoint; the answer is its sequence number, and which process counts so.
    pub async fn checkpoint(&self, name: &str) -> Result<wire::CheckpointStarted, Error> {
        let call = self.pipeline(Method::POST, name, "/checkpoint");
        let mut started: wire::CheckpointStarted = self.json(call).await?;
        started.incarnation_uuid = started.incarnation_uuid.map(|uuid| text::word(&uuid));
        Ok(started)
    }

    /// The newest checkpoint that was completed, and the last one that failed, if the process still is
    /// the one that was asked for it.
    pub async fn checkpoint_status(
        &self,
        name: &str,
        incarnation: Option<&str>,
    ) -> Result<wire::CheckpointStatus, Error> {
        let mut call = self.pipeline(Method::GET, name, "/checkpoint_status");
        if let Some(incarnation) = incarnation {
            call = call.query(&[("incarnation_uuid", incarnation)]);
        }
        let mut status: wire::CheckpointStatus = self.json(call).await?;
        if let Some(failure) = &mut status.failure {
            failure.error = wire::said(&failure.error);
        }
        Ok(status)
    }

    /// Whether the pipeline's process has left the gate, by its own word: it answers about itself
    /// only then. What the manager says of its status may be seconds old. `false` also if that can't
    /// be told.
    pub async fn has_left_the_gate(&self, name: &str) -> bool {
        self.done(self.pipeline(Method::GET, name, "/stats"))
            .await
            .is_ok()
    }

    /// The checkpoints, oldest first, by the pipeline's own word: what the manager shows in its
    /// lists may be ten seconds old.
    pub async fn checkpoints(&self, name: &str) -> Result<Vec<Checkpoint>, Error> {
        let checkpoints: Vec<wire::CheckpointBody> = self
            .json(self.pipeline(Method::GET, name, "/checkpoints"))
            .await?;
        Ok(checkpoints.into_iter().map(Into::into).collect())
    }

    /// What would change if a pipeline's program were another one. Nothing is changed or stopped.
    pub async fn diff(&self, name: &str, content: &Content) -> Result<DiffAnswer, Error> {
        let mut body = json!({"program_code": content.sql});
        let version = content.runtime_version();
        if !version.is_empty() {
            body["runtime_version"] = json!(version);
        }
        let call = self
            .pipeline(Method::POST, name, "/diff")
            .timeout(DIFF_TIMEOUT)
            .json(&body);
        match self.json::<Value>(call).await {
            Ok(diff) => Ok(DiffAnswer::Diff(super::diff::taken_in(diff))),
            // Managers before 0.324 have no such call, and a program that was never compiled
            // can't be compared with.
            Err(Error::NotFound) => Ok(DiffAnswer::CantTell(
                "the engine has no such pipeline".into(),
            )),
            Err(Error::Refused {
                status: 404 | 405,
                message,
                ..
            }) => Ok(DiffAnswer::CantTell(message)),
            Err(Error::Refused {
                status: 400,
                code,
                message,
            }) => Ok(match code.as_str() {
                INVALID_SQL => DiffAnswer::CompileError(message),
                "BootstrapNotAllowed" => DiffAnswer::Refused(message),
                _ => DiffAnswer::CantTell(message),
            }),
            Err(error) => Err(error),
        }
    }

    fn call(&self, method: Method, path: &str) -> RequestBuilder {
        let call = self.http.request(method, format!("{}{path}", self.base));
        match telemetry::trace_parent() {
            Some(parent) => call.header(telemetry::TRACEPARENT, parent),
            None => call,
        }
    }

    /// A call on one pipeline. The name consists of letters, digits, `-` and `_` only: the schema
    /// of the Pipeline sees to that.
    fn pipeline(&self, method: Method, name: &str, rest: &str) -> RequestBuilder {
        self.call(method, &format!("/pipelines/{name}{rest}"))
    }

    async fn json<T: DeserializeOwned>(&self, call: RequestBuilder) -> Result<T, Error> {
        let mut portion = self.purse.portion();
        let mut body = Vec::new();
        answer_in_pieces(call, LONGEST_ANSWER, |piece| {
            portion.resize(body.len() + piece.len())?;
            body.extend_from_slice(piece);
            Ok(())
        })
        .await?;
        if elements::values(&body) > MOST_VALUES {
            return Err(Error::Nonsense(format!(
                "it consists of more than {MOST_VALUES} values"
            )));
        }
        serde_json::from_slice(&body)
            .map_err(|error| Error::Nonsense(wire::said(&error.to_string())))
    }

    /// What is said with a good answer doesn't matter, and need not be read to its end.
    async fn done(&self, call: RequestBuilder) -> Result<(), Error> {
        answer_in_pieces(call, LONGEST_ANSWER, |_| Ok(())).await
    }
}

fn content_body(content: &Content) -> Value {
    let mut body = json!({
        "program_code": content.sql,
        "udf_rust": content.udf_rust,
        "udf_toml": content.udf_toml,
    });
    let sent = &content.sent;
    let config = sent.program_config.as_ref();
    if let Some(config) = config.or(content.program_config.as_ref()) {
        body["program_config"] = json!(config);
    }
    if let Some(config) = sent
        .runtime_config
        .as_ref()
        .or(content.runtime_config.as_ref())
    {
        body["runtime_config"] = json!(config);
    }
    body
}

fn bootstrap_query(options: BootstrapOptions) -> [(&'static str, bool); 2] {
    [
        ("silent_bootstrap", options.silent),
        ("concurrent_bootstrap", options.concurrent),
    ]
}

/// The engine puts the compiler's messages into its own as JSON.
fn readable_sql_error(message: &str) -> String {
    message
        .find('[')
        .and_then(|start| {
            let mut stream =
                serde_json::Deserializer::from_str(&message[start..]).into_iter::<Value>();
            wire::sql_error(&stream.next()?.ok()?)
        })
        .unwrap_or_else(|| wire::said(message))
}

/// Sends a call and hands on its answer while it comes, if it is a good one.
async fn answer_in_pieces(
    call: RequestBuilder,
    longest: usize,
    mut take: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    // The URL is left out: people know their engine's, and it makes every message long.
    let unreachable = |error: reqwest::Error| {
        let error = error.without_url();
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Error::Unreachable(wire::said(&text))
    };
    let mut response = call.send().await.map_err(unreachable)?;
    let status = response.status();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    let mut length = 0;
    let mut refused = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        length += chunk.len();
        if !status.is_success() {
            if length > LONGEST_ERROR {
                break;
            }
            refused.extend_from_slice(&chunk);
            continue;
        }
        if length > longest {
            return Err(Error::Nonsense(format!(
                "it is longer than {} KiB",
                longest >> 10
            )));
        }
        take(&chunk)?;
    }
    if status.is_success() {
        return Ok(());
    }
    Err(refusal(status, retry_after, &refused))
}

fn refusal(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Error {
    let wire::ErrorBody {
        message,
        error_code,
    } = serde_json::from_slice(body).unwrap_or_else(|_| wire::ErrorBody {
        message: text::cut(&String::from_utf8_lossy(body), NOT_AN_ERROR),
        error_code: String::new(),
    });
    let error_code = text::word(&error_code);
    let message = match error_code.as_str() {
        INVALID_SQL => readable_sql_error(&message),
        _ => wire::said(&message),
    };
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::Unauthorized {
            status: status.as_u16(),
            message,
        },
        StatusCode::NOT_FOUND if error_code == "UnknownPipelineName" => Error::NotFound,
        StatusCode::NOT_IMPLEMENTED => Error::Refused {
            status: status.as_u16(),
            code: error_code,
            message,
        },
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Error::Unavailable {
            message,
            code: error_code,
            retry_after,
        },
        _ if status.is_server_error() => Error::Unavailable {
            message,
            code: error_code,
            retry_after,
        },
        _ if status.is_redirection() => Error::Nonsense(format!(
            "it is a redirect ({status}); give the engine's final URL"
        )),
        _ => Error::Refused {
            status: status.as_u16(),
            code: error_code,
            message,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::budget::Budget;
    use wiremock::matchers::{method, path, query_param};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    fn client(address: &Address) -> Result<Feldera, AddressError> {
        Feldera::new(address, Budget::new(64 << 20).purse("shop"))
    }

    #[tokio::test]
    async fn a20_no_answer_of_an_engine_is_held_that_is_longer_than_it_may_be() {
        let long = "x".repeat(LONGEST_ANSWER);
        let body = json!({"id": "1", "name": "p", "version": 1, "deployment_status": "Stopped"});
        let mut with_text = body.clone();
        with_text["program_code"] = json!(long);
        let mut with_values = body.clone();
        with_values["program_info"] = json!(vec![0; MOST_VALUES]);
        let mut with_tags = body.clone();
        let tags: Vec<String> = (0..40_000).map(|n| format!("tag_{n}")).collect();
        with_tags["tags"] = json!(tags);
        for body in [with_text, with_values, with_tags] {
            let (_server, client) =
                engine_that_answers(ResponseTemplate::new(200).set_body_json(body)).await;
            assert_eq!(
                client.get("p").await.unwrap_err().kind().as_str(),
                "InvalidAnswer"
            );
        }
        // What is said of a refusal is cut.
        let error =
            json!({"message": "m".repeat(LONGEST_ERROR / 2), "error_code": "X", "details": null});
        for body in [error.to_string(), long] {
            let (_server, client) =
                engine_that_answers(ResponseTemplate::new(400).set_body_string(body)).await;
            let error = client.stop("p", true).await.unwrap_err();
            assert_eq!(error.kind().as_str(), "Refused");
            assert!(error.to_string().len() < (9 << 10));
        }
    }

    #[tokio::test]
    async fn a20_a_list_takes_no_more_memory_than_its_share() {
        let element = |n: usize| {
            json!({
                "id": "id", "name": format!("p{n}"), "version": 1, "deployment_status": "Stopped",
                "tags": ["m".repeat(500_000)],
            })
        };
        let list = |number| {
            let all: Vec<Value> = (0..number).map(element).collect();
            ResponseTemplate::new(200).set_body_json(all)
        };
        let (_server, client) = engine_that_answers(list(20)).await;
        let listing = client.list().await.unwrap();
        assert_eq!(listing.pipelines.len(), 20);
        let (_server, client) = engine_that_answers(list(80)).await;
        assert_eq!(
            client.list().await.unwrap_err().kind().as_str(),
            "Unavailable"
        );
    }

    async fn engine_that_answers(template: ResponseTemplate) -> (MockServer, Feldera) {
        let server = MockServer::start().await;
        Mock::given(wiremock::matchers::any())
            .respond_with(template)
            .mount(&server)
            .await;
        let client = client(&Address {
            url: server.uri(),
            ..Address::default()
        });
        (server, client.unwrap())
    }

    #[tokio::test]
    async fn each_kind_of_refusal_is_told_apart() {
        let body = |code: &str| json!({"message": "m", "error_code": code, "details": null});
        let cases = [
            (401, "x", "Unauthorized"),
            (403, "x", "Unauthorized"),
            (404, "UnknownPipelineName", "NotFound"),
            (404, "NotFound", "Refused"),
            (400, "x", "Refused"),
            (429, "x", "Unavailable"),
            (500, "x", "Unavailable"),
            (501, "EnterpriseFeature", "Refused"),
            (503, "x", "Unavailable"),
            (302, "x", "InvalidAnswer"),
        ];
        for (status, code, kind) in cases {
            let (_server, client) =
                engine_that_answers(ResponseTemplate::new(status).set_body_json(body(code))).await;
            let error = client.stop("p", true).await.unwrap_err();
            assert_eq!(error.kind().as_str(), kind, "{status} {code}");
        }
    }

    #[tokio::test]
    async fn retry_after_is_read() {
        let template = ResponseTemplate::new(503).insert_header("retry-after", "5");
        let (_server, client) = engine_that_answers(template).await;
        let Err(Error::Unavailable { retry_after, .. }) = client.list().await else {
            panic!("not unavailable");
        };
        assert_eq!(retry_after, Some(Duration::from_secs(5)));
    }

    #[tokio::test]
    async fn an_answer_that_is_no_json_is_nonsense() {
        let (_server, client) =
            engine_that_answers(ResponseTemplate::new(200).set_body_string("<html>")).await;
        assert_eq!(
            client.list().await.unwrap_err().kind().as_str(),
            "InvalidAnswer"
        );
    }

    #[tokio::test]
    async fn any_2xx_is_a_good_answer_to_approve() {
        for (status, body) in [(200, "\"Bootstrap approved\""), (202, "{}"), (204, "")] {
            let (_server, client) =
                engine_that_answers(ResponseTemplate::new(status).set_body_string(body)).await;
            client
                .approve("p", BootstrapOptions::default())
                .await
                .unwrap();
        }
    }

    #[tokio::test]
    async fn approve_repeats_the_options() {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(path("/v0/pipelines/p/approve"))
            .and(query_param("silent_bootstrap", "true"))
            .and(query_param("concurrent_bootstrap", "false"))
            .respond_with(ResponseTemplate::new(200))
            .expect(1)
            .mount(&server)
            .await;
        let client = client(&Address {
            url: format!("{}/", server.uri()),
            ..Address::default()
        })
        .unwrap();
        let options = BootstrapOptions {
            silent: true,
            concurrent: false,
        };
        client.approve("p", options).await.unwrap();
    }

    #[test]
    fn a_credential_never_shows() {
        let address = Address {
            url: "http://e".into(),
            credential: Some("apikey:secret".into()),
            ..Address::default()
        };
        assert!(!format!("{address:?}").contains("secret"));
        assert!(!format!("{:?}", client(&address).unwrap()).contains("secret"));
        let broken = Address {
            credential: Some("secret\n".into()),
            ..address
        };
        assert!(!client(&broken).unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn a_compilers_message_is_dug_out_of_the_engines() {
        let message = r#"The new program is invalid: [ { "message": "no such column", "warning": false, "start_line_number": 2, "start_column": 8 } ]"#;
        assert_eq!(
            readable_sql_error(message),
            "line 2, column 8: no such column"
        );
        assert_eq!(readable_sql_error("something else"), "something else");
    }
}
