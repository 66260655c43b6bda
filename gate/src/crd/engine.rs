//! `Engine`: a Feldera instance that pipelines run on.

// Columns of one type and path kind look like one attribute written twice.
#![allow(clippy::duplicated_attributes)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::OBJECT_NAME;

/// A Feldera instance, reached at its REST API.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "sluice.dev",
    version = "v1alpha1",
    kind = "Engine",
    plural = "engines",
    category = "sluice",
    namespaced,
    status = "EngineResourceStatus",
    derive = "PartialEq",
    doc = "A Feldera instance that pipelines run on, reached at its REST API.",
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.url"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(name = "Edition", type_ = "string", json_path = ".status.edition"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.url == oldSelf.url || !has(self.credentialsSecretRef) || !has(oldSelf.credentialsSecretRef) || self.credentialsSecretRef != oldSelf.credentialsSecretRef")
        .message("a changed url doesn't take the old credential along: name another Secret in credentialsSecretRef, or remove it, in the same change"),
    validation = Rule::new("!(has(self.caBundle) && has(self.caSecretRef))").message("set either caBundle or caSecretRef, not both"),
)]
pub struct EngineSpec {
    /// The base URL of the engine, without `/v0`: `https://feldera.example.com`.
    #[schemars(length(max = 2048))]
    #[x_kube(validation = Rule::new("isURL(self) && url(self).getScheme() in ['http', 'https'] && !self.contains('@') && !self.contains('?') && !self.contains('#')")
        .message("url must be a plain http or https URL without user, query or fragment, such as https://feldera.example.com"))]
    pub url: String,

    /// Feldera's tenant, where the credential may act for several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub tenant: Option<String>,

    /// The API key or JWT, in a Secret of the same namespace. Omitted: calls carry none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretKeyRef>,

    /// Certificate authorities in PEM that the engine's certificate is checked against, besides
    /// the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65_536))]
    pub ca_bundle: Option<String>,

    /// Like `caBundle`, from a Secret of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyRef>,
}

/// A key of a Secret in the same namespace.
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord,
)]
pub struct SecretKeyRef {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253), extend("pattern" = OBJECT_NAME))]
    pub name: String,
    /// The key within its `data`.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// What Sluice sees of an Engine.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EngineResourceStatus {
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Ready` says whether the engine answers; `PipelinesLost` is there while pipelines that ran are gone from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// The engine's edition, as it names it: `Open source` or `Enterprise`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edition: Option<String>,

    /// The engine's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}
