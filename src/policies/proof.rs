//! Proves that a policy is in force: a write is forged that it, and nothing else, refuses. In dry runs, so
//! that nothing is stored whatever comes of it.

use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::crd::{
    Pipeline, PipelineApproval, PipelineApprovalSpec, PipelineRef, VoteDecision, annotation,
};

/// What a forged write came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The policy refused it.
    Refused,
    /// It was let through.
    LetThrough,
    /// It can't be told, since something else refused it or there was nothing to forge: why.
    CantTell(String),
}

/// Forges what the policy of this name refuses. `pipeline` is any one that exists.
pub(super) async fn forge(
    policy: &str,
    client: &Client,
    own_namespace: &str,
    pipeline: Option<&Pipeline>,
) -> Proof {
    let namespace = pipeline.and_then(ResourceExt::namespace);
    let answer = if policy == "sluice-votes" {
        // A vote of its own, for which this account has no right.
        let namespace = namespace.as_deref().unwrap_or(own_namespace);
        let votes = Api::<PipelineApproval>::namespaced(client.clone(), namespace);
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        votes.create(&params, &vote()).await.map(drop)
    } else {
        let (Some(pipeline), Some(namespace)) = (pipeline, namespace) else {
            return Proof::CantTell("there is no Pipeline yet on which to try".to_owned());
        };
        let pipelines = Api::<Pipeline>::namespaced(client.clone(), &namespace);
        let params = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        let name = pipeline.name_any();
        if policy == "sluice-status" {
            let patch = Patch::Merge(json!({"status": {"handledRetry": "forged, in a dry run"}}));
            pipelines
                .patch_status(&name, &params, &patch)
                .await
                .map(drop)
        } else {
            let mut annotations = json!({annotation::PROOF: policy});
            match policy {
                // Needs a right that this account hasn't got.
                "sluice-pipelines" => {
                    annotations[annotation::RETRY] = json!("forged, in a dry run")
                }
                // Nobody is called so.
                "sluice-names" => {
                    annotations[annotation::APPROVE_BY] = json!("forged, in a dry run")
                }
                _ => {}
            }
            let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
            pipelines.patch(&name, &params, &patch).await.map(drop)
        }
    };
    judge(policy, &answer)
}

fn vote() -> PipelineApproval {
    PipelineApproval::new(
        "sluice-proof",
        PipelineApprovalSpec {
            pipeline_ref: PipelineRef {
                name: "sluice-proof".to_owned(),
            },
            change_id: "0".repeat(32),
            diff_digest: None,
            decision: VoteDecision::Approve,
            reason: None,
            voter: Some("forged, in a dry run".to_owned()),
            on_behalf_of: None,
        },
    )
}

/// What an answer to a forged write proves.
fn judge(policy: &str, answer: &kube::Result<()>) -> Proof {
    match answer {
        Ok(()) => Proof::LetThrough,
        // The API server begins with the policy's name, in quotes.
        Err(kube::Error::Api(status))
            if status
                .message
                .contains(&format!("ValidatingAdmissionPolicy '{policy}' ")) =>
        {
            Proof::Refused
        }
        Err(error) => Proof::CantTell(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    #[test]
    fn only_the_policys_own_refusal_is_a_proof_and_no_answer_proves_nothing() {
        let refused = |message: &str| {
            let status = Status::failure(message, "Forbidden").with_code(403);
            Err(kube::Error::Api(Box::new(status)))
        };
        let names = "pipelines.sluice.dev \"orders\" is forbidden: ValidatingAdmissionPolicy 'sluice-names' with binding 'sluice-names' denied request: no";
        assert_eq!(judge("sluice-names", &refused(names)), Proof::Refused);
        let tells_nothing = |policy: &str, message: &str| {
            let proof = judge(policy, &refused(message));
            matches!(proof, Proof::CantTell(why) if why.contains(message))
        };
        assert!(tells_nothing("sluice-pipelines", names));
        assert!(tells_nothing("sluice-name", names));
        let rbac = "User \"sluice\" cannot patch resource \"pipelines\"";
        assert!(tells_nothing("sluice-names", rbac));
        assert_eq!(judge("sluice-names", &Ok(())), Proof::LetThrough);
    }
}
