//! Proves that a policy is in force: a write is forged that it, and nothing else, refuses. In dry runs, so
//! that nothing is stored whatever comes of it.
//!
//! What is forged is a new object, in Sluice's own namespace and under a name that nobody has. So nothing that
//! stands in anybody's object can be in the way (it may have no room for another annotation, have that one already,
//! or be of a later version), nor can the state of its namespace; and there need be no object yet. What a policy
//! refuses in it is drawn by lot each time: whatever somebody has put down beforehand, it isn't that.

use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::crd::{Engine, Pipeline, PipelineApproval, annotation};

/// Begins the names of what is forged.
const NAME: &str = "sluice-proof-";

/// What nobody is called, and nothing has as its name: nobody knows it before.
fn nobody() -> String {
    format!("forged-{}", Uuid::new_v4().simple())
}

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

/// The namespace of a service account, by its user name.
pub(super) fn namespace_of(user: &str) -> Option<&str> {
    let account = user.strip_prefix("system:serviceaccount:")?;
    Some(account.split_once(':')?.0)
}

/// Forges what the policy of this name refuses, in this namespace, which is Sluice's own.
pub(super) async fn forge(policy: &str, client: &Client, namespace: &str) -> Proof {
    let (kind, mut forged) = forged(policy, &nobody());
    forged["apiVersion"] = json!(kind.api_version);
    forged["kind"] = json!(kind.kind);
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &kind);
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let answer = match serde_json::from_value(forged) {
        Ok(forged) => api.create(&params, &forged).await.map(drop),
        Err(error) => Err(kube::Error::SerdeError(error)),
    };
    judge(policy, &answer)
}

/// What Sluice's account may never make, and this policy, but no other, refuses.
fn forged(policy: &str, nobody: &str) -> (ApiResource, Value) {
    let mut object = json!({
        "metadata": {
            "generateName": NAME,
            "annotations": {annotation::PROOF: policy},
        },
        "spec": {"program": {"sql": ""}, "pipelineName": nobody},
    });
    let annotations = &mut object["metadata"]["annotations"];
    match policy {
        // A vote of its own, for which this account has no right.
        "sluice-votes" => {
            object["spec"] = json!({
                "pipelineRef": {"name": nobody},
                "changeId": Uuid::new_v4().simple().to_string(),
                "decision": "Approve",
                "voter": nobody,
            });
            return (ApiResource::erase::<PipelineApproval>(&()), object);
        }
        // A Secret, which this account may read for others only.
        "sluice-engines" => {
            object["spec"] = json!({
                "url": "http://127.0.0.1",
                "credentialsSecretRef": {"name": nobody, "key": nobody},
            });
            return (ApiResource::erase::<Engine>(&()), object);
        }
        // Needs a right that this account hasn't got.
        "sluice-pipelines" => annotations[annotation::RETRY] = json!(nobody),
        // Nobody is called so.
        "sluice-names" => annotations[annotation::APPROVE_BY] = json!(nobody),
        // It makes none at all; and a status can be forged only on an object that there is.
        _ => {}
    }
    (ApiResource::erase::<Pipeline>(&()), object)
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
    use super::super::expected::POLICIES;
    use super::*;
    use kube::core::Status;

    /// The API server would refuse what doesn't fit its definition before it asks any policy.
    #[test]
    fn what_is_forged_is_a_whole_object_that_nobody_has_and_says_what_it_is_for() {
        for policy in POLICIES {
            let (kind, mut object) = forged(policy, &nobody());
            assert_eq!(object["metadata"]["annotations"][annotation::PROOF], policy);
            assert_eq!(object["metadata"]["generateName"], NAME);
            object["metadata"]["name"] = json!("any");
            let fits = match kind.kind.as_str() {
                "Engine" => serde_json::from_value::<Engine>(object).map(drop),
                "PipelineApproval" => serde_json::from_value::<PipelineApproval>(object).map(drop),
                _ => serde_json::from_value::<Pipeline>(object).map(drop),
            };
            fits.unwrap_or_else(|error| panic!("{policy}: {error}"));
        }
    }

    /// Whatever stands in anybody's object was put there before.
    #[test]
    fn a13_what_a_policy_refuses_in_it_is_drawn_by_lot_each_time() {
        for policy in POLICIES {
            let nobody = nobody();
            let told = |(_, object): (ApiResource, Value)| object.to_string();
            let object = told(forged(policy, &nobody));
            assert!(object.contains(&nobody), "{policy}: {object}");
            assert_ne!(object, told(forged(policy, &super::nobody())), "{policy}");
        }
    }

    #[test]
    fn a_service_accounts_own_namespace_stands_in_its_name() {
        assert_eq!(namespace_of("system:serviceaccount:a:b"), Some("a"));
        assert_eq!(namespace_of("admin"), None);
    }

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
