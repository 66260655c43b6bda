//! One person's vote on one change, as every door knows it: what it comes to by the state of the change, and
//! for a [`PipelineApproval`] what stands under its name, and which name it then takes. Pure.
//!
//! The names of votes can be foreseen, so that a repeated vote finds its own object and of replicas that store it at
//! once one does. So anybody who may vote on some Pipeline of the namespace can put something else there
//! first. Then the vote goes beside that, under a name that follows from what is in its way; and where
//! somebody is always quicker, under one that nobody can foresee.

pub mod doors;
pub mod spent;

use kube::ResourceExt;

use crate::crd::{ApprovalState, Pipeline, PipelineApproval, VoteDecision};

/// How many names that can be foreseen are tried. Each further one is tried only because somebody took the last
/// one between the look at all votes and the creation.
pub const FORESEEN: usize = 4;

/// How many names are tried altogether: at the end those that the API server draws by lot.
pub const ATTEMPTS: usize = 8;

/// What a vote on a change comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It counts.
    Counts,
    /// The change was decided in just this way, and that holds: the same vote again adds nothing, and who gives
    /// it has what he wants.
    Holds,
    /// It does nothing: the change is decided otherwise, is over, or is past the point where this could be had.
    Nothing,
}

/// What a vote on a change in this state comes to, through whichever door.
///
/// An approval of a change that couldn't be applied (`ApplyFailed`) is spent: applied again, the change would be
/// bootstrapped again, and its sinks would get everything once more. So it is nobody's consent to that, and the
/// change is asked about anew once somebody asks for it (`sluice.dev/retry`) or the program is corrected.
pub fn effect(state: ApprovalState, decision: VoteDecision) -> Effect {
    use ApprovalState::{
        Applied, ApplyFailed, Applying, Approved, Awaiting, Expired, Rejected, Sealed, Superseded,
        Unknown,
    };
    match (decision, state) {
        // The engine has certainly not been told yet of what is only approved, so that a no still wins.
        (_, Awaiting) | (VoteDecision::Reject, Approved) => Effect::Counts,
        (VoteDecision::Approve, Approved | Applying | Applied | Sealed)
        | (VoteDecision::Reject, Rejected) => Effect::Holds,
        (VoteDecision::Approve, Rejected)
        | (VoteDecision::Reject, Applying | Applied | Sealed)
        | (_, ApplyFailed | Expired | Superseded | Unknown) => Effect::Nothing,
    }
}

/// The reason of `PoliciesNotInForce` where that is nothing to objects: only names beside fields and annotations have nobody
/// who vouches for them. It is a word, since Argo CD's scripts can't look into a text.
pub const ONLY_IN_FIELDS: &str = "NamesInFieldsCannotBeTrusted";

/// Why a vote by an object on a change that can be decided would do nothing all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// The Pipeline is being deleted, and nothing is decided about it any more.
    Deletion,
    /// An approval would have a name that nobody vouches for: what the operator says about it.
    Policies(String),
}

/// What stands in the way of a vote by an object, as far as the Pipeline tells. A rejection counts always: it opens nothing.
pub fn hindrance(pipeline: &Pipeline, decision: VoteDecision) -> Option<Hindrance> {
    if pipeline.metadata.deletion_timestamp.is_some() {
        return Some(Hindrance::Deletion);
    }
    let mut conditions = pipeline.status.iter().flat_map(|it| &it.conditions);
    let missing = conditions.find(|condition| {
        condition.type_ == "PoliciesNotInForce"
            && condition.status == "True"
            && condition.reason != ONLY_IN_FIELDS
    });
    let missing = missing.filter(|_| decision == VoteDecision::Approve);
    missing.map(|condition| Hindrance::Policies(condition.message.clone()))
}

/// Where a vote stands, or goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// It is stored, under this name.
    Stored(String),
    /// It goes here.
    Free(Box<PipelineApproval>),
}

/// What is known of the votes of a namespace: as much as it takes to find a place for one more.
#[derive(Debug)]
pub struct Places<'a> {
    vote: &'a PipelineApproval,
    /// Name and uid of each, in no order.
    taken: std::collections::HashMap<String, String>,
    own: Option<String>,
}

impl<'a> Places<'a> {
    /// Nothing is known yet.
    pub fn of(vote: &'a PipelineApproval) -> Self {
        Self {
            vote,
            taken: std::collections::HashMap::new(),
            own: None,
        }
    }

    /// Takes a vote of the namespace in. `counts` tells of one that is the same whether it counts, or could.
    pub fn see(&mut self, there: &PipelineApproval, counts: impl Fn(&PipelineApproval) -> bool) {
        if is_same(self.vote, there) && counts(there) {
            self.own = Some(there.name_any());
        }
        self.take(there);
    }

    /// Takes in what is no vote that could be read, and has its name all the same.
    pub fn take(&mut self, there: &impl ResourceExt) {
        let uid = there.uid().unwrap_or_default();
        self.taken.insert(there.name_any(), uid);
    }

    /// Whether the vote is among what was taken in.
    pub fn is_found(&self) -> bool {
        self.own.is_some()
    }

    /// Where the vote stands; or the first name that it could have and that nothing else has.
    pub fn find(self) -> Place {
        if let Some(own) = self.own {
            return Place::Stored(own);
        }
        let mut vote = self.vote.clone();
        while let Some(uid) = self.taken.get(&vote.name_any()) {
            vote = vote.beside(&vote.name_any(), uid);
        }
        Place::Free(Box::new(vote))
    }
}

/// The vote as it is tried after so many attempts that failed: at the end by lot.
#[must_use]
pub fn in_attempt(attempt: usize, vote: &PipelineApproval) -> PipelineApproval {
    if attempt < FORESEEN {
        vote.clone()
    } else {
        by_lot(vote)
    }
}

/// The vote under a name that the API server draws by lot.
#[must_use]
pub fn by_lot(vote: &PipelineApproval) -> PipelineApproval {
    let mut vote = vote.clone();
    if let Some(name) = vote.metadata.name.take() {
        let start = name
            .rsplit_once('-')
            .map_or(name.as_str(), |(start, _)| start);
        vote.metadata.generate_name = Some(format!("{start}-"));
    }
    vote
}

/// Whether what is there is this vote: by the same person, on the same change and diff of the same Pipeline, the same
/// way, through the same door, and not withdrawn. The reason may be another, and so may be the groups that somebody
/// has by now, and the API key.
pub fn is_same(vote: &PipelineApproval, there: &PipelineApproval) -> bool {
    if there.metadata.deletion_timestamp.is_some() {
        // Whoever deletes a vote withdraws it, however long a finalizer holds it.
        return false;
    }
    let behalf = |vote: &PipelineApproval| {
        let user = vote.spec.on_behalf_of.as_ref();
        user.map(|user| user.username.clone())
    };
    let same_voter = match (behalf(vote), behalf(there)) {
        (None, None) => {
            // One from before votes had names can't count where names are required, and does elsewhere.
            there.spec.voter.is_none() || vote.spec.voter == there.spec.voter
        }
        (vote, there) => vote == there,
    };
    let (vote, there) = (&vote.spec, &there.spec);
    same_voter
        && vote.pipeline_ref == there.pipeline_ref
        && vote.change_id == there.change_id
        && vote.decision == there.decision
        && (there.diff_digest.is_none() || vote.diff_digest == there.diff_digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::OnBehalfOf;
    use serde_json::json;

    const CHANGE: &str = "11111111111111111111111111111111";

    fn vote(by: &str, decision: VoteDecision, rest: bool) -> PipelineApproval {
        let orders: Pipeline = serde_json::from_value(json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Pipeline",
            "metadata": {"name": "orders", "namespace": "shop", "uid": "u"}, "spec": {},
        }))
        .unwrap();
        let behalf = rest.then(|| OnBehalfOf {
            username: by.into(),
            uid: None,
            groups: vec!["people".into()],
            api_key: None,
        });
        PipelineApproval::for_vote(&orders, CHANGE, by, decision, None, behalf)
    }

    /// The object as the API server would have it.
    fn stored(vote: &PipelineApproval, uid: &str) -> PipelineApproval {
        let mut vote = vote.clone();
        vote.metadata.uid = Some(uid.into());
        vote
    }

    fn find(vote: &PipelineApproval, there: &[PipelineApproval]) -> Place {
        let mut places = Places::of(vote);
        for there in there {
            places.see(there, |_| true);
        }
        places.find()
    }

    fn free(place: Place) -> PipelineApproval {
        match place {
            Place::Free(vote) => *vote,
            Place::Stored(name) => panic!("it stands as {name}"),
        }
    }

    #[test]
    fn what_has_the_votes_name_and_is_not_the_vote_is_passed_by_however_much_of_it_there_is() {
        for rest in [true, false] {
            let vote = vote("alice", VoteDecision::Approve, rest);
            let mut there = vec![];
            let mut mallory = super::tests::vote("mallory", VoteDecision::Approve, false);
            for round in 0..100 {
                let next = free(find(&vote, &there));
                assert_eq!(next.spec, vote.spec);
                assert_eq!(find(&vote, &there), Place::Free(Box::new(next.clone())));
                mallory.metadata.name = next.metadata.name;
                there.push(stored(&mallory, &format!("m{round}")));
            }
            let hers = stored(&free(find(&vote, &there)), "hers");
            let name = hers.name_any();
            there.push(hers);
            assert_eq!(find(&vote, &there), Place::Stored(name));
        }
    }

    #[test]
    fn a_vote_that_does_not_count_is_not_taken_for_one() {
        let vote = vote("alice", VoteDecision::Approve, true);
        let old = stored(&vote, "old");
        let mut places = Places::of(&vote);
        places.see(&old, |_| false);
        let anew = free(places.find());
        assert_ne!(anew.name_any(), old.name_any());
        assert_eq!(
            find(&vote, std::slice::from_ref(&old)),
            Place::Stored(old.name_any())
        );
    }

    #[test]
    fn only_the_same_persons_same_vote_through_the_same_door_is_the_same() {
        let approve = VoteDecision::Approve;
        for rest in [true, false] {
            let mine = vote("alice", approve, rest);
            assert!(is_same(&mine, &mine));
            let others = [
                vote("alice", approve, !rest),
                vote("bob", approve, rest),
                vote("alice", VoteDecision::Reject, rest),
            ];
            for other in others {
                assert!(!is_same(&mine, &other), "{:?}", other.spec);
            }
            for odd in [
                json!({"changeId": "22222222222222222222222222222222"}),
                json!({"pipelineRef": {"name": "payments"}}),
                json!({"diffDigest": "0".repeat(64)}),
            ] {
                let mut spec = serde_json::to_value(&mine.spec).unwrap();
                spec.as_object_mut()
                    .unwrap()
                    .extend(odd.as_object().unwrap().clone());
                let mut other = mine.clone();
                other.spec = serde_json::from_value(spec).unwrap();
                assert!(!is_same(&mine, &other), "{odd}");
            }
            let mut withdrawn = mine.clone();
            withdrawn.metadata.deletion_timestamp =
                serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
            assert!(!is_same(&mine, &withdrawn));
            let mut reasoned = mine.clone();
            reasoned.spec.reason = Some("because".into());
            if let Some(user) = &mut reasoned.spec.on_behalf_of {
                user.groups.clear();
                user.api_key = Some("key".into());
            }
            assert!(is_same(&mine, &reasoned));
        }
    }

    #[test]
    fn where_somebody_is_always_quicker_the_name_cannot_be_foreseen() {
        let vote = vote("alice", VoteDecision::Approve, true);
        assert_eq!(in_attempt(FORESEEN - 1, &vote), vote);
        let drawn = in_attempt(FORESEEN, &vote);
        assert_eq!(drawn, by_lot(&drawn));
        assert_eq!(drawn.metadata.name, None);
        let start = drawn.metadata.generate_name.unwrap();
        assert_eq!(start, "orders-approve-");
        const { assert!(FORESEEN < ATTEMPTS) };
    }

    #[test]
    fn what_a_vote_comes_to_in_each_state() {
        use ApprovalState::*;
        use Effect::*;
        for (state, approve, reject) in [
            (Awaiting, Counts, Counts),
            (Approved, Holds, Counts),
            (Applying, Holds, Nothing),
            (Applied, Holds, Nothing),
            (Sealed, Holds, Nothing),
            (ApplyFailed, Nothing, Nothing),
            (Rejected, Nothing, Holds),
            (Expired, Nothing, Nothing),
            (Superseded, Nothing, Nothing),
            (Unknown, Nothing, Nothing),
        ] {
            assert_eq!(effect(state, VoteDecision::Approve), approve, "{state:?}");
            assert_eq!(effect(state, VoteDecision::Reject), reject, "{state:?}");
        }
    }
}
