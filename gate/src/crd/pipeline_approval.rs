//! `PipelineApproval`: one person's vote on one change.

// Columns of one type and path kind look like one attribute written twice.
#![allow(clippy::duplicated_attributes)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema, Resource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::pipeline::Pipeline;
use super::status::ApprovalState;

/// One person's approval or rejection of one change of one Pipeline. It is created and never
/// edited; creating one needs the verb `approve` on the Pipeline.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "sluice.dev",
    version = "v1alpha1",
    kind = "PipelineApproval",
    plural = "pipelineapprovals",
    shortname = "fpa",
    category = "sluice",
    namespaced,
    status = "PipelineApprovalStatus",
    derive = "PartialEq",
    // So that the votes on one Pipeline can be read without those on all others; from Kubernetes 1.31 on.
    selectable = ".spec.pipelineRef.name",
    doc = "One person's approval or rejection of one change of one Pipeline. Created, never edited.",
    printcolumn(
        name = "Pipeline",
        type_ = "string",
        json_path = ".spec.pipelineRef.name"
    ),
    printcolumn(name = "Decision", type_ = "string", json_path = ".spec.decision"),
    printcolumn(name = "Change", type_ = "string", json_path = ".spec.changeId"),
    printcolumn(
        name = "Voter",
        type_ = "string",
        json_path = ".spec.voter",
        description = "Who wrote the object; the API server's own word"
    ),
    printcolumn(
        name = "On Behalf Of",
        type_ = "string",
        json_path = ".spec.onBehalfOf.username",
        description = "Who voted through the REST endpoint"
    ),
    printcolumn(
        name = "Outcome",
        type_ = "string",
        json_path = ".status.changeState",
        description = "What became of the change, once that is over"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.clearAfter) || self.decision == 'Approve'").message("clearAfter is for approvals only: a rejection stays as long as its Pipeline, so leave clearAfter out"),
    validation = Rule::new("self == oldSelf").message("a PipelineApproval can't be edited: delete it and create another one"),
    validation = Rule::new("!(has(self.voter) && has(self.onBehalfOf))").message("set either voter, to your own name, or onBehalfOf, to the user who called the REST endpoint"),
)]
pub struct PipelineApprovalSpec {
    /// The Pipeline, in the same namespace, whose change is voted on.
    pub pipeline_ref: PipelineRef,

    /// The change that is voted on: `status.approval.changeId` of the Pipeline.
    #[schemars(length(max = 256))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9a-f]{32}$')").message("changeId must be a whole change id, 32 hex digits: copy it from the Pipeline's status.approval.changeId"))]
    pub change_id: String,

    /// The digest of the diff that was read (`status.approval.diffDigest`). If given, the vote
    /// counts only while the published diff is that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9a-f]{64}$')").message("diffDigest must be 64 hex digits: copy it from the Pipeline's status.approval.diffDigest, or leave it out"))]
    pub diff_digest: Option<String>,

    /// `Approve` or `Reject`.
    pub decision: VoteDecision,

    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,

    /// Who votes: the name of whoever creates the object, and no other, as the API server checks.
    /// Where mutating admission policies are installed it is filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub voter: Option<String>,

    /// Who votes, where another account writes the object for them. Only the account of Sluice's
    /// REST endpoint may set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<OnBehalfOf>,

    /// After what Sluice may delete this approval, some time later (`--vote-retention`). Without it, it stays until
    /// somebody deletes it, as what stands in Git has to. Not for rejections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear_after: Option<ClearAfter>,
}

/// After what an approval may be deleted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClearAfter {
    /// After the change is over: settled, or another one has taken its place.
    Settled,
}

/// What became of a vote. Only the operator writes it, and whether a vote counts doesn't depend on it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PipelineApprovalStatus {
    /// Since when it has done its work, or can't do any: its change is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent_since: Option<Time>,
    /// What became of the change, as it was remembered then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_state: Option<ApprovalState>,
}

/// Names a Pipeline in the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct PipelineRef {
    /// The name of the Pipeline.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A vote for or against a change.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteDecision {
    /// The change may be applied.
    Approve,
    /// The change must not be applied.
    Reject,
}

/// The user whose token was reviewed, or for whom an API key stands.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OnBehalfOf {
    /// The name that the API server's token review gave, or that stands with the API key.
    #[schemars(length(min = 1, max = 1024))]
    pub username: String,
    /// The user's uid, where the review gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The groups that the review gave, or that stand with the API key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The name of the API key that was used, where it was one and not a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub api_key: Option<String>,
}

impl PipelineApproval {
    /// The object that states one vote: owned by its Pipeline, and named after a digest of the
    /// Pipeline's uid, the change, the voter and the decision, so that a repeated vote meets its
    /// own object instead of making a second one. What is written on somebody's behalf has another name than
    /// what he writes himself: each has its own grounds to count, and neither may be in the other's way.
    ///
    /// `voter` is the user's name; it goes into the object's name, and is stated as the voter unless
    /// the object is written on that user's behalf.
    pub fn for_vote(
        pipeline: &Pipeline,
        change_id: &str,
        voter: &str,
        decision: VoteDecision,
        reason: Option<String>,
        on_behalf_of: Option<OnBehalfOf>,
    ) -> Self {
        let pipeline_name = pipeline.name_any();
        let uid = pipeline.metadata.uid.as_deref().unwrap_or_default();
        let decision_word = match decision {
            VoteDecision::Approve => "approve",
            VoteDecision::Reject => "reject",
        };
        let mut parts = vec![uid, change_id, voter, decision_word];
        parts.extend(on_behalf_of.is_some().then_some("on behalf"));
        let suffix = suffix(&parts);
        let readable: String = pipeline_name.chars().take(200).collect();
        let mut vote = Self::new(
            &format!("{readable}-{decision_word}-{suffix}"),
            PipelineApprovalSpec {
                pipeline_ref: PipelineRef {
                    name: pipeline_name,
                },
                change_id: change_id.to_owned(),
                diff_digest: None,
                decision,
                reason,
                voter: on_behalf_of.is_none().then(|| voter.to_owned()),
                on_behalf_of,
                clear_after: None,
            },
        );
        vote.metadata.namespace = pipeline.namespace();
        vote.metadata.owner_references = pipeline.owner_ref(&()).map(|mut owner| {
            // Blocking the owner's deletion would need a right on its finalizers.
            owner.block_owner_deletion = None;
            owner.controller = None;
            vec![owner]
        });
        vote
    }

    /// Since when it has done its work; `None` while that isn't known.
    pub fn spent_since(&self) -> Option<&Time> {
        self.status.as_ref()?.spent_since.as_ref()
    }

    /// The same vote under another name, for where the object `name` with this uid has its name and is another
    /// vote, or can't count. The new name follows from that object, so that also of these only one is made.
    #[must_use]
    pub fn beside(&self, name: &str, uid: &str) -> Self {
        let mut vote = self.clone();
        let readable = name.rsplit_once('-').map_or(name, |(start, _)| start);
        vote.metadata.name = Some(format!("{readable}-{}", suffix(&[name, uid])));
        vote
    }
}

/// Sixteen digits that follow from all of the parts.
fn suffix(parts: &[&str]) -> String {
    // A NUL can't stand in any of the parts, so no two votes share a digest's input.
    let digest = Sha256::digest(parts.join("\0"));
    digest.iter().take(8).map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> Pipeline {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Pipeline",
            "metadata": {"name": "orders", "uid": "uid"}, "spec": {},
        }))
        .unwrap()
    }

    #[test]
    fn what_is_written_on_somebodys_behalf_is_not_in_the_way_of_what_he_writes_himself() {
        let alice = OnBehalfOf {
            username: "alice".into(),
            uid: None,
            groups: vec![],
            api_key: None,
        };
        let name = |on_behalf_of| {
            let pipeline = orders();
            let approve = VoteDecision::Approve;
            let vote =
                PipelineApproval::for_vote(&pipeline, "a", "alice", approve, None, on_behalf_of);
            vote.name_any()
        };
        assert_ne!(name(None), name(Some(alice.clone())));
        assert_eq!(name(Some(alice.clone())), name(Some(alice)));
    }

    #[test]
    fn a_vote_beside_another_has_a_name_of_its_own_and_says_the_same() {
        let pipeline = orders();
        let vote = |change| {
            PipelineApproval::for_vote(
                &pipeline,
                change,
                "alice",
                VoteDecision::Approve,
                None,
                None,
            )
        };
        let other = vote("a");
        let named = |uid: &str| vote("a").beside(&other.name_any(), uid).name_any();
        let first = named("1");
        assert!(first.starts_with("orders-approve-") && first.len() == other.name_any().len());
        assert_ne!(first, other.name_any());
        assert_eq!(first, named("1"), "repeated, it is the same");
        assert_ne!(first, named("2"));
        assert_eq!(vote("a").beside(&other.name_any(), "1").spec, other.spec);
    }
}
