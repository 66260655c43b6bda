//! One Engine object: its Secrets in, its status out.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::super::{Error, status::apply};
use super::GuardedEngine;
use super::lost::Summary;
use crate::crd::{Engine, EngineResourceStatus, SecretKeyRef, annotation, is_object_name};
use crate::engine::feldera::Address;
use crate::engine::poller::State;
use crate::text;

/// Where the engine is, with its Secrets read; or what is wrong with them, in words.
pub(super) async fn address(
    engine: &Engine,
    client: &Client,
) -> Result<Result<Address, String>, Error> {
    let spec = &engine.spec;
    let api = Api::<Secret>::namespaced(client.clone(), &engine.namespace().unwrap_or_default());
    let credential = match secret(
        &api,
        spec.credentials_secret_ref.as_ref(),
        "credentialsSecretRef",
    )
    .await?
    {
        Ok(credential) => credential,
        Err(why) => return Ok(Err(why)),
    };
    let ca = match secret(&api, spec.ca_secret_ref.as_ref(), "caSecretRef").await? {
        Ok(ca) => ca,
        Err(why) => return Ok(Err(why)),
    };
    Ok(Ok(Address {
        url: spec.url.clone(),
        tenant: spec.tenant.clone(),
        credential: credential.map(|text| text.trim().to_owned()),
        ca: ca.or_else(|| spec.ca_bundle.clone()),
    }))
}

async fn secret(
    api: &Api<Secret>,
    reference: Option<&SecretKeyRef>,
    field: &str,
) -> Result<Result<Option<String>, String>, Error> {
    let Some(SecretKeyRef { name, key }) = reference else {
        return Ok(Ok(None));
    };
    let found = if is_object_name(name) {
        api.get_opt(name).await?
    } else {
        None
    };
    let Some(secret) = found else {
        return Ok(Err(format!(
            "spec.{field} refers to Secret {name}, which doesn't exist in this namespace"
        )));
    };
    let Some(value) = secret.data.as_ref().and_then(|data| data.get(key)) else {
        return Ok(Err(format!(
            "spec.{field} refers to key {key:?} of Secret {name}, which has no such key"
        )));
    };
    Ok(match String::from_utf8(value.0.clone()) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(format!("key {key:?} of Secret {name} is not text")),
    })
}

/// Why an Engine's `Ready` is what it is, beside the [kinds of errors](crate::engine::ErrorKind).
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
pub enum EngineReason {
    /// It gives good answers.
    Answers,
    /// It is being asked.
    NotAskedYet,
    /// What the Engine refers to isn't there, or can't be used.
    InvalidSettings,
}

/// What an Engine's status says.
pub(super) fn status(
    engine: &Engine,
    health: &Result<State, String>,
    lost: &Summary,
) -> EngineResourceStatus {
    let before = engine.status.clone().unwrap_or_default();
    let (status, reason, message) = match health {
        Err(why) => ("False", EngineReason::InvalidSettings.into(), why.clone()),
        Ok(State::NotYet) => (
            "Unknown",
            EngineReason::NotAskedYet.into(),
            "the engine is being asked".to_owned(),
        ),
        Ok(State::Bad(error)) => ("False", error.kind().as_str(), error.to_string()),
        Ok(State::Good(info)) => (
            "True",
            EngineReason::Answers.into(),
            format!("Feldera {} ({})", info.version, info.edition),
        ),
    };
    let last_transition_time = before
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Ready" && condition.status == status)
        .map_or_else(
            || Time(Timestamp::now()),
            |condition| condition.last_transition_time.clone(),
        );
    let (edition, version) = match health {
        Ok(State::Good(info)) => (Some(info.edition.clone()), Some(info.version.clone())),
        _ => (before.edition, before.version),
    };
    let ready = Condition {
        type_: "Ready".into(),
        status: status.into(),
        reason: reason.into(),
        message: text::foreign(&message, text::CONDITION),
        observed_generation: engine.metadata.generation,
        last_transition_time,
    };
    let conditions = pipelines_lost(engine, lost).into_iter().chain([ready]);
    EngineResourceStatus {
        observed_generation: engine.metadata.generation,
        conditions: conditions.collect(),
        edition,
        version,
    }
}

/// That pipelines which ran are gone from the engine. It is there only while there are some.
fn pipelines_lost(engine: &Engine, lost: &Summary) -> Option<Condition> {
    let since = lost.since?;
    let names = lost.names.join(", ");
    let more = match lost.count.saturating_sub(lost.names.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let in_the_way = match lost.in_the_way {
        0 => String::new(),
        some => format!(
            " Of {some} of them the engine has another pipeline of their name, in whose place nothing is made: take it over with {}, or remove it there.",
            annotation::ADOPT
        ),
    };
    let message = format!(
        "the engine has no pipeline any more of {} Pipelines that ran there ({names}{more}): its data is lost, or the url, tenant or credential lead to another engine. They go on by themselves if they are found there again.{in_the_way} To make them anew, from nothing: kubectl sluice approve --lost --engine {} -n {}",
        lost.count,
        engine.name_any(),
        engine.namespace().unwrap_or_default(),
    );
    Some(Condition {
        type_: "PipelinesLost".into(),
        status: "True".into(),
        reason: "NotInTheEngine".into(),
        message: text::foreign(&message, text::CONDITION),
        observed_generation: engine.metadata.generation,
        last_transition_time: Time(since),
    })
}

pub(super) async fn write(
    engine: &Engine,
    status: &EngineResourceStatus,
    client: &Client,
) -> Result<(), Error> {
    let namespace = engine.namespace();
    let patch = json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Engine",
        "metadata": {"name": engine.name_any()},
        "status": status,
    });
    let name = engine.name_any();
    match apply::<GuardedEngine>(client, namespace.as_deref(), &name, &patch).await {
        Err(kube::Error::Api(response)) if response.code == 404 => Ok(()),
        result => Ok(result.map(drop)?),
    }
}
