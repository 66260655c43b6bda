//! What each door that writes an object has to know: in which states and conditions a vote counts. The doors are in several
//! programs, one of them in scripts that Argo CD runs; their tests hold them to this table.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as Shown, Time};
use k8s_openapi::jiff::Timestamp;

use super::{Effect, ONLY_IN_FIELDS, effect};
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
    let (type_, reason) = match condition {
        Condition::None => return,
        Condition::Deletion => {
            pipeline.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
            return;
        }
        Condition::NoPoliciesForObjects => ("PoliciesNotInForce", "NamesCannotBeTrusted"),
        Condition::NoPoliciesForFields => ("PoliciesNotInForce", ONLY_IN_FIELDS),
        Condition::Unfounded => ("UnfoundedApproval", "NobodyVouchesForTheName"),
    };
    let status = pipeline.status.get_or_insert_default();
    status.conditions.push(Shown {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        reason: reason.to_owned(),
        message: "in words".to_owned(),
        observed_generation: None,
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    });
}
