//! From the doors to the votes to the decision. Pure.
//!
//! A form that names the change counts for that change only. `spec.approved: true` names none, so
//! it counts only once it was seen other than true after the change was published: only then is a
//! `true` an answer to it.

use crate::change;
use crate::crd::{
    Approval, Door, Outcome, Pipeline, PipelineApproval, Vote, VoteDecision, annotation,
};

/// Whoever wrote a field or an annotation: the API server doesn't tell afterwards.
const UNKNOWN_VOTER: &str = "unknown";

/// What came through the doors.
#[derive(Debug, Default, PartialEq)]
pub struct Ballot {
    /// The votes that count for the change that waits.
    pub votes: Vec<Vote>,
    /// What fits no change that waits.
    pub stale: Vec<Stale>,
}

/// A vote that fits no change that waits, and so does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// The door that it came through.
    pub door: Door,
    /// Where it stands, in words.
    pub place: String,
    /// What it names.
    pub given: String,
}

/// What is known when votes are counted.
pub struct Register<'a> {
    /// The change that can still be decided.
    pub waiting: Option<&'a Approval>,
    /// The id of the change that the present spec is about to bring, so that an approval that was
    /// committed together with its change isn't called stale on the way there.
    pub candidate: Option<&'a str>,
    /// The ids of changes that are applied: an approval of one has done its work, and is left alone.
    pub spent: &'a [&'a str],
    /// The ids of all changes that had their turn, however it ended.
    pub known: &'a [&'a str],
    /// Whether `spec.approved: true` has done its work on the last change.
    pub field_is_spent: bool,
}

/// Counts the votes of all doors.
pub fn count(pipeline: &Pipeline, objects: &[PipelineApproval], register: &Register) -> Ballot {
    let mut ballot = Ballot::default();
    objects_of(pipeline, objects, register, &mut ballot);
    annotations(pipeline, register, &mut ballot);
    fields(pipeline, register, &mut ballot);
    ballot
}

/// What the votes amount to: a rejection beats any number of approvals.
pub fn decide(votes: &[Vote]) -> Option<&Vote> {
    let of = |outcome| votes.iter().find(move |vote| vote.outcome == outcome);
    of(Outcome::Rejected).or_else(|| of(Outcome::Approved))
}

fn objects_of(
    pipeline: &Pipeline,
    objects: &[PipelineApproval],
    register: &Register,
    ballot: &mut Ballot,
) {
    for object in objects {
        let spec = &object.spec;
        let of_this_pipeline = Some(&spec.pipeline_ref.name) == pipeline.metadata.name.as_ref();
        if !of_this_pipeline || object.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let name = object.metadata.name.clone().unwrap_or_default();
        let read_the_same_diff = |waiting: &Approval| {
            spec.diff_digest
                .as_ref()
                .is_none_or(|digest| *digest == waiting.diff_digest)
        };
        match register.waiting {
            Some(waiting) if waiting.change_id == spec.change_id && read_the_same_diff(waiting) => {
                let by_rest = spec.on_behalf_of.as_ref().map(|user| user.username.clone());
                let via = if by_rest.is_some() {
                    Door::Rest
                } else {
                    Door::Object
                };
                let user = by_rest.or_else(|| spec.voter.clone());
                ballot.votes.push(Vote {
                    outcome: match spec.decision {
                        VoteDecision::Approve => Outcome::Approved,
                        VoteDecision::Reject => Outcome::Rejected,
                    },
                    // The admission policy lets nobody name another than himself, but for the REST
                    // endpoint, which names the user of the token that it reviewed.
                    verified: user.is_some(),
                    via,
                    by: user.unwrap_or_else(|| UNKNOWN_VOTER.to_owned()),
                    object: Some(name),
                    reason: spec.reason.clone(),
                });
            }
            // A record of an older change may lie around for ever.
            _ if register.known.contains(&spec.change_id.as_str()) => {}
            _ if register.spent.contains(&spec.change_id.as_str()) => {}
            _ if register.candidate == Some(spec.change_id.as_str()) => {}
            _ => ballot.stale.push(Stale {
                door: Door::Object,
                place: format!("PipelineApproval {name}"),
                given: spec.change_id.clone(),
            }),
        }
    }
}

fn annotations(pipeline: &Pipeline, register: &Register, ballot: &mut Ballot) {
    let reason = pipeline.annotation(annotation::REASON).map(str::to_owned);
    for (key, outcome) in [
        (annotation::REJECT, Outcome::Rejected),
        (annotation::APPROVE, Outcome::Approved),
    ] {
        let Some(given) = pipeline.annotation(key) else {
            continue;
        };
        named(
            given,
            Vote {
                outcome,
                by: UNKNOWN_VOTER.to_owned(),
                verified: false,
                via: Door::Annotation,
                object: None,
                reason: reason.clone(),
            },
            format!("annotation {key}"),
            register,
            ballot,
        );
    }
}

fn fields(pipeline: &Pipeline, register: &Register, ballot: &mut Ballot) {
    let vote = Vote {
        outcome: Outcome::Approved,
        by: UNKNOWN_VOTER.to_owned(),
        verified: false,
        via: Door::Field,
        object: None,
        reason: None,
    };
    if let Some(given) = &pipeline.spec.approved_change {
        let place = "spec.approvedChange".to_owned();
        named(given, vote.clone(), place, register, ballot);
    }
    if pipeline.spec.approved == Some(true) {
        match register.waiting {
            Some(waiting) if waiting.approved_field_counts => ballot.votes.push(vote),
            None if register.field_is_spent => {}
            _ => ballot.stale.push(Stale {
                door: Door::Field,
                place: "spec.approved".to_owned(),
                given: "true".to_owned(),
            }),
        }
    }
}

/// A form that names a change: it counts for that one, and is stale for any other.
fn named(given: &str, vote: Vote, place: String, register: &Register, ballot: &mut Ballot) {
    let nothing_waits = register.waiting.is_none();
    // A rejection of what had its turn has done its work, whatever waits by now.
    let has_done_its_work = vote.outcome == Outcome::Rejected && register.known.contains(&given)
        || nothing_waits && register.spent.contains(&given);
    match register.waiting {
        Some(waiting) if waiting.change_id == given => ballot.votes.push(vote),
        _ if has_done_its_work => {}
        None if register.candidate == Some(given) => {}
        _ => ballot.stale.push(Stale {
            door: vote.via,
            place,
            given: given.to_owned(),
        }),
    }
}

impl Stale {
    /// What is wrong, and what to do about it.
    pub fn explain(&self, waiting: Option<&Approval>) -> String {
        let given = if change::is_id(&self.given) || self.given == "true" {
            self.given.clone()
        } else {
            // What somebody typed by mistake can be long, and could even be a secret.
            format!(
                "something that is no change id ({} characters)",
                self.given.chars().count()
            )
        };
        let names = if self.place == "spec.approved" {
            "spec.approved was true before the change was published, so it can't be an answer to it"
                .to_owned()
        } else {
            format!("{} names {given}", self.place)
        };
        match waiting {
            Some(waiting) => format!(
                "{names}; the change that waits is {}. To approve it: {}",
                waiting.change_id, waiting.approve_command
            ),
            None if self.place == "spec.approved" => {
                "spec.approved is true while no change waits, and approves nothing that comes later"
                    .to_owned()
            }
            None => format!("{names}, and no such change waits"),
        }
    }
}

#[cfg(test)]
mod tests;
