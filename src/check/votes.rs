//! Does the admission policy on votes hold? A vote in somebody else's name, in a dry run, must be refused.

use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

use crate::crd::PipelineApproval;

/// The policy that has to refuse, as the chart names it.
const POLICY: &str = "sluice-votes";

/// Forges a vote. Nothing is stored, whatever the answer.
pub(super) async fn look(client: &Client, namespace: &str) -> Result<String, String> {
    let api = Api::<PipelineApproval>::namespaced(client.clone(), namespace);
    let forged: PipelineApproval = serde_json::from_value(json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "PipelineApproval",
        "metadata": {"name": "sluice-check"},
        "spec": {
            "pipelineRef": {"name": "sluice-check"},
            "changeId": "0".repeat(32),
            "decision": "Approve",
            "onBehalfOf": {"username": "nobody"},
        },
    }))
    .map_err(|error| format!("no vote could be made: {error}"))?;
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match api.create(&dry_run, &forged).await {
        Err(kube::Error::Api(status))
            if status.is_forbidden() && status.message.contains(POLICY) =>
        {
            Ok("a vote in somebody else's name is refused".to_owned())
        }
        Ok(_) => Err(format!(
            "a vote in somebody else's name was taken: the ValidatingAdmissionPolicy {POLICY}, or its binding, isn't in force"
        )),
        Err(error) => Err(format!(
            "whether votes in somebody else's name are refused can't be tried: {error}"
        )),
    }
}
