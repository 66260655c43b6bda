//! Can a Pipeline be created? Where the cluster has mutating admission policies, it can't for up to half a
//! minute after its definition came: the API server refuses what those policies match until it has
//! learned the kind anew, which it does every 30 s. (Source: `discoveryRESTMapper.Reset` in
//! `pkg/server/options/admission.go` of k8s.io/apiserver 0.37.)

use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

use crate::crd::Pipeline;

/// Creates one in a dry run. Nothing is stored.
pub(super) async fn look(client: &Client, namespace: &str) -> Result<String, String> {
    let api = Api::<Pipeline>::namespaced(client.clone(), namespace);
    let pipeline: Pipeline = serde_json::from_value(json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Pipeline",
        "metadata": {"name": "sluice-check"},
        "spec": {"program": {"sql": ""}},
    }))
    .map_err(|error| format!("no Pipeline could be made: {error}"))?;
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match api.create(&dry_run, &pipeline).await {
        Ok(_) => Ok("Pipelines can be created".to_owned()),
        Err(error) => Err(format!("no Pipeline can be created: {error}")),
    }
}
