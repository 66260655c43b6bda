//! The REST endpoint `POST /v0/pipelines/{pipeline_name}/approve`: the door to the approval gate
//! for clients that speak to Feldera.
//!
//! It states an intent as a Kubernetes object and does nothing else: authenticate, authorize, read
//! the Pipeline live, create a [`PipelineApproval`](crate::crd::PipelineApproval), answer 202. It
//! never calls an engine; the controller does the rest, as for every other door.
//!
//! | module | what it answers |
//! | --- | --- |
//! | `config` | where to listen, which namespaces and audiences there are |
//! | `server` | connections: their headers, their time, their end |
//! | `room` | how many connections, and whose is closed for another one |
//! | `routes` | which path does what; the steps of an approval, in order |
//! | `tls` | certificates, which may change at any time |
//! | `auth` | who is it? (TokenReview) |
//! | `keys` | who is it, if it is an API key? |
//! | `limits` | how often? (pure) |
//! | `access` | what may they? (SubjectAccessReview) |
//! | `lookup` | which Pipeline is meant? |
//! | `query` | what was asked for? (pure) |
//! | `decide` | what is to be answered? (pure) |
//! | `vote` | storing a vote once |
//! | `cluster` | one call to the API server, with a deadline |
//! | `feldera` | what Feldera's clients ask for before anything else |
//! | `error` | every refusal, in the engine's shape |
//! | `openapi` | the document that describes all this |

mod access;
mod auth;
mod cluster;
mod config;
mod decide;
mod error;
mod feldera;
mod keys;
mod limits;
mod lookup;
mod openapi;
mod query;
mod room;
mod routes;
mod searches;
mod server;
mod tls;
mod vote;

pub(crate) use config::duration;
pub use config::{Config, Tenant};
pub use error::ErrorResponse;
pub use feldera::FelderaConfig;
pub use keys::{MadeApiKey, MakeApiKey};
pub use limits::Limit;
pub use openapi::openapi;
pub use routes::{Accepted, Peer, State, router};
pub use server::serve;
