//! What each door that writes an object has to know: in which states and conditions a vote counts. The doors are in several
//! programs, one of them in scripts that Argo CD runs; their tests hold them to this table.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as Shown, Time};
use k8s_openapi::jiff::Timestamp;

use super::{Effect, OBJECTS_DO_NOT_COUNT, effect};
use crate::crd::{ApprovalState, Pipeline, VoteDecision};

/// What a Pipeline is in, beside the state of its change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing out of the ordinary.
    None,
    /// It is being deleted.
    Deletion,
    /// Nobody vouches for the names in objects.
    NoPoliciesForObjects,
    /// Nobody vouches for the names beside fields and annotations, which is nothing to objects.
    NoPoliciesForFields,
    /// Somebody's earlier approval doesn't count, which is nothing to another one.
    Unfounded,
}

impl Condition {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::None,
        Self::Deletion,
        Self::NoPoliciesForObjects,
        Self::NoPoliciesForFields,
        Self::Unfounded,
    ];
}

/// What a vote by an object comes to.
pub fn comes_to(state: ApprovalState, condition: Condition, decision: VoteDecision) -> Effect {
    let of_state = effect(state, decision);
    let is_in_the_way = match condition {
        Condition::Deletion => true,
        Condition::NoPoliciesForObjects => decision == VoteDecision::Approve,
        Condition::None | Condition::NoPoliciesForFields | Condition::Unfounded => false,
    };
    match of_state {
        Effect::Counts if is_in_the_way => Effect::Nothing,
        other => other,
    }
}

/// Puts a Pipeline into a condition, as the API server and the operator would.
pub fn put(pipeline: &mut Pipeline, condition: Condition) {
    let (type_, message) = match condition {
        Condition::None => return,
        Condition::Deletion => {
            pipeline.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
            return;
        }
        Condition::NoPoliciesForObjects => (
            "PoliciesNotInForce",
            format!("{OBJECTS_DO_NOT_COUNT} don't count: there is no policy sluice-votes"),
        ),
        Condition::NoPoliciesForFields => (
            "PoliciesNotInForce",
            "approvals by field and annotation don't count: there is no policy sluice-names"
                .to_owned(),
        ),
        Condition::Unfounded => ("UnfoundedApproval", "nobody vouches for it".to_owned()),
    };
    let status = pipeline.status.get_or_insert_default();
    status.conditions.push(Shown {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        reason: "NamesCannotBeTrusted".to_owned(),
        message,
        observed_generation: None,
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    });
}
