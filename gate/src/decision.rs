//! From the doors to the votes to the decision. Pure.
//!
//! A form that names the change counts for that change only. `spec.approved: true` names none, so
//! it counts only once it was seen other than true after the change was published: only then is a
//! `true` an answer to it. Where admission policies are in force, they keep beside each such vote who wrote it,
//! and for `spec.approved` also what was published when it turned true: then that decides.
//!
//! Where names are required, a yes counts only if the API server itself has vouched for its name. A no counts
//! always: it opens nothing, and whoever could have forged it could also have edited the program. But
//! nobody's name is put to it.

use crate::canonical;
use crate::policy_status;
use k8s_openapi::jiff::Timestamp;

use crate::change;
use crate::crd::{
    Approval, Door, Pipeline, PipelineApproval, SpentVotes, Verdict, Vote, VoteDecision, annotation,
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
    /// What fits the change that waits, and doesn't count because nobody vouches for its name.
    pub unfounded: Vec<Unfounded>,
}

/// An approval that doesn't count because nobody vouches for its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfounded {
    /// Where it stands, in words.
    pub place: String,
    /// Why nobody does.
    pub why: Doubt,
}

/// Why nobody vouches for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The policies that would aren't in force, or that isn't known.
    NoPolicies,
    /// No name stands beside it: it was written before there were policies.
    NoName,
    /// It stood while the policies weren't in force, or may have.
    Unguarded,
}

/// What is known of the names beside votes.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// Whether an approval whose name nobody vouches for must not count.
    pub required: bool,
    /// Whether policies vouch for the names beside votes in fields and annotations.
    pub of_pipelines: bool,
    /// Since when policies vouch for the names in objects; `None` if they don't.
    pub of_objects_since: Option<Timestamp>,
    /// The votes, by their [`mark`], that stood while nobody vouched for the names beside them.
    pub unguarded: &'a [String],
}

/// A vote that a Pipeline itself carries.
struct Carried<'a> {
    place: String,
    door: Door,
    outcome: Verdict,
    given: Option<&'a str>,
    by: Option<&'a str>,
}

impl Carried<'_> {
    /// Tells this vote from any other in the same place, and has a short length whatever people write.
    fn mark(&self) -> String {
        let digest = canonical::short_digest(&(self.given, self.by));
        format!("{} {digest}", self.place)
    }

    /// Why nobody vouches for the name beside it; `None` if somebody does.
    fn doubt(&self, names: &Names) -> Option<Doubt> {
        if !names.of_pipelines {
            Some(Doubt::NoPolicies)
        } else if self.by.is_none() {
            Some(Doubt::NoName)
        } else {
            let unguarded = !names.unguarded.is_empty() && names.unguarded.contains(&self.mark());
            unguarded.then_some(Doubt::Unguarded)
        }
    }

    /// The reason that was given with it. Words that stand there for another reason, left over from the vote before or
    /// put there by somebody else, aren't those of whoever is vouched for.
    fn reason(&self, pipeline: &Pipeline, names: &Names) -> Option<String> {
        let verb = match (self.door, self.outcome) {
            (Door::Annotation, Verdict::Approved) => "approve",
            (Door::Annotation, Verdict::Rejected) => "reject",
            _ => return None,
        };
        let reason = pipeline.annotation(annotation::REASON)?;
        let this = format!("{verb} {}", self.given.unwrap_or_default());
        let of_votes = pipeline
            .annotation(annotation::REASON_FOR)
            .unwrap_or_default();
        // Where nobody vouches for the name, nobody does for the words, and neither is said to be anybody's.
        let is_its_own =
            self.doubt(names).is_some() || of_votes.split(", ").any(|vote| vote == this);
        is_its_own.then(|| reason.to_owned())
    }

    /// Whether there is nothing left for it to do, whatever waits by now: the change that it approves is settled, or the
    /// one that it rejects had its turn.
    fn has_done_its_work(&self, register: &KnownChanges) -> bool {
        let Some(given) = self.given else {
            return false;
        };
        self.is_remembered(register.spent_votes)
            || register.settled.contains(&given)
            || self.outcome == Verdict::Rejected && register.known.contains(&given)
    }

    /// Whether it is remembered that it has done its work.
    fn is_remembered(&self, spent: &SpentVotes) -> bool {
        let there = match (self.door, self.outcome) {
            (Door::Annotation, Verdict::Rejected) => &spent.reject,
            (Door::Annotation, _) => &spent.approve,
            _ => &spent.approved_change,
        };
        there.is_some() && there.as_deref() == self.given
    }

    /// Has that remembered.
    fn remember(&self, spent: &mut SpentVotes) {
        let given = self.given.map(str::to_owned);
        match (self.door, self.outcome) {
            (Door::Annotation, Verdict::Rejected) => spent.reject = given,
            (Door::Annotation, _) => spent.approve = given,
            _ => spent.approved_change = given,
        }
    }

    /// The vote, if it may count.
    fn vote(&self, reason: Option<String>, names: &Names) -> Result<Vote, Unfounded> {
        let doubt = self.doubt(names);
        if let Some(why) = doubt
            && names.required
            && self.outcome != Verdict::Rejected
        {
            let place = self.place.clone();
            return Err(Unfounded { place, why });
        }
        let by = self.by.filter(|_| doubt.is_none());
        Ok(Vote {
            outcome: self.outcome,
            by: by.unwrap_or(UNKNOWN_VOTER).to_owned(),
            verified: doubt.is_none(),
            via: self.door,
            object: None,
            reason,
        })
    }
}

/// The votes with names beside them that a Pipeline itself carries, each by a text that is the same as long as
/// the vote is.
pub fn marks(pipeline: &Pipeline) -> Vec<String> {
    let all = annotations_of(pipeline)
        .chain(named_field(pipeline))
        .chain(bare_field(pipeline));
    all.filter(|vote| vote.by.is_some())
        .map(|vote| vote.mark())
        .collect()
}

/// That the engine's pipeline is to be taken over, by a text that is the same as long as it says that.
pub fn adoption(pipeline: &Pipeline) -> Option<String> {
    let asked = pipeline.annotation(annotation::ADOPT)?;
    let asked = canonical::remembered(asked);
    Some(format!("annotation {}={asked}", annotation::ADOPT))
}

/// Whether a Pipeline itself carries something that counts only because a policy let nobody write it who may not.
pub fn relies_on_policies(pipeline: &Pipeline) -> bool {
    carries_votes(pipeline) || adoption(pipeline).is_some()
}

/// Whether a Pipeline itself carries a vote, whatever it says.
pub fn carries_votes(pipeline: &Pipeline) -> bool {
    annotations_of(pipeline)
        .chain(named_field(pipeline))
        .chain(bare_field(pipeline))
        .next()
        .is_some()
}

fn annotations_of(pipeline: &Pipeline) -> impl Iterator<Item = Carried<'_>> {
    let all = [
        (annotation::REJECT, annotation::REJECT_BY, Verdict::Rejected),
        (
            annotation::APPROVE,
            annotation::APPROVE_BY,
            Verdict::Approved,
        ),
    ];
    all.into_iter().filter_map(|(key, by, outcome)| {
        Some(Carried {
            place: format!("annotation {key}"),
            door: Door::Annotation,
            outcome,
            given: Some(pipeline.annotation(key)?),
            by: name_beside(pipeline, by),
        })
    })
}

fn named_field(pipeline: &Pipeline) -> Option<Carried<'_>> {
    Some(Carried {
        place: "spec.approvedChange".to_owned(),
        door: Door::Field,
        outcome: Verdict::Approved,
        given: Some(pipeline.spec.approved_change.as_deref()?),
        by: name_beside(pipeline, annotation::APPROVED_CHANGE_BY),
    })
}

fn bare_field(pipeline: &Pipeline) -> Option<Carried<'_>> {
    (pipeline.spec.approved == Some(true)).then(|| Carried {
        place: "spec.approved".to_owned(),
        door: Door::Field,
        outcome: Verdict::Approved,
        given: None,
        by: name_beside(pipeline, annotation::APPROVED_BY),
    })
}

fn name_beside<'a>(pipeline: &'a Pipeline, key: &str) -> Option<&'a str> {
    pipeline.annotation(key).filter(|name| !name.is_empty())
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
pub struct KnownChanges<'a> {
    /// The change that can still be decided.
    pub waiting: Option<&'a Approval>,
    /// The id of the change that the present spec is about to bring, so that an approval that was
    /// committed together with its change isn't called stale on the way there.
    pub candidate: Option<&'a str>,
    /// The ids of changes that were applied and kept: an approval of one has done its work, and is left alone.
    pub settled: &'a [&'a str],
    /// The ids of those of which an approval has nothing to do at present.
    pub under_way: &'a [&'a str],
    /// The ids of all changes that had their turn, however it ended.
    pub known: &'a [&'a str],
    /// Since when the changes that had their turn are known by their ids, where not all are. What an object from before
    /// that is about can't be told any more.
    pub known_since: Option<Timestamp>,
    /// What the Pipeline itself carries of votes that have done their work, however long ago.
    pub spent_votes: &'a SpentVotes,
    /// Whether `spec.approved: true` has done its work on the last change.
    pub field_is_spent: bool,
    /// What is known of the names beside votes.
    pub names: Names<'a>,
}

/// Counts the votes of all doors.
pub fn count(pipeline: &Pipeline, objects: &[PipelineApproval], register: &KnownChanges) -> Ballot {
    let mut ballot = Ballot::default();
    objects_of(pipeline, objects, register, &mut ballot);
    annotations(pipeline, register, &mut ballot);
    fields(pipeline, register, &mut ballot);
    ballot
}

/// What the votes amount to: a rejection beats any number of approvals.
pub fn decide(votes: &[Vote]) -> Option<&Vote> {
    let of = |outcome| votes.iter().find(move |vote| vote.outcome == outcome);
    of(Verdict::Rejected).or_else(|| of(Verdict::Approved))
}

fn objects_of(
    pipeline: &Pipeline,
    objects: &[PipelineApproval],
    register: &KnownChanges,
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
                let outcome = match spec.decision {
                    VoteDecision::Approve => Verdict::Approved,
                    VoteDecision::Reject => Verdict::Rejected,
                };
                // The admission policy lets nobody name another than himself, but for the REST
                // endpoint, which names the user of the token that it reviewed.
                let user = by_rest.or_else(|| spec.voter.clone());
                let doubt = doubt_about(object, user.is_some(), &register.names);
                if let Some(why) = doubt
                    && register.names.required
                    && outcome != Verdict::Rejected
                {
                    let place = format!("PipelineApproval {name}");
                    ballot.unfounded.push(Unfounded { place, why });
                    continue;
                }
                let user = user.filter(|_| doubt.is_none() || !register.names.required);
                ballot.votes.push(Vote {
                    outcome,
                    verified: doubt.is_none(),
                    via,
                    by: user.unwrap_or_else(|| UNKNOWN_VOTER.to_owned()),
                    object: Some(name),
                    reason: spec.reason.clone(),
                });
            }
            // A record of an older change may lie around for ever.
            _ if object.spent_since().is_some() => {}
            _ if is_older(object, register.known_since) => {}
            _ if register.known.contains(&spec.change_id.as_str()) => {}
            _ if register.settled.contains(&spec.change_id.as_str()) => {}
            _ if register.under_way.contains(&spec.change_id.as_str()) => {}
            _ if register.candidate == Some(spec.change_id.as_str()) => {}
            _ => ballot.stale.push(Stale {
                door: Door::Object,
                place: format!("PipelineApproval {name}"),
                given: spec.change_id.clone(),
            }),
        }
    }
}

/// Whether an object was there before a time; nothing is, before no time.
fn is_older(object: &PipelineApproval, than: Option<Timestamp>) -> bool {
    let made = object.metadata.creation_timestamp.as_ref();
    than.is_some_and(|than| made.is_some_and(|made| made.0 < than))
}

/// The votes in the Pipeline's own fields and annotations that have done their work: what is to be remembered of them as long as
/// they stand there.
pub fn spent_votes(pipeline: &Pipeline, register: &KnownChanges) -> SpentVotes {
    let mut spent = SpentVotes::default();
    for vote in annotations_of(pipeline).chain(named_field(pipeline)) {
        if vote.has_done_its_work(register) {
            vote.remember(&mut spent);
        }
    }
    spent
}

/// Why nobody vouches for the name in an object; `None` if somebody does.
fn doubt_about(object: &PipelineApproval, names_somebody: bool, names: &Names) -> Option<Doubt> {
    let made = object.metadata.creation_timestamp.as_ref();
    match names.of_objects_since {
        None => Some(Doubt::NoPolicies),
        Some(_) if !names_somebody => Some(Doubt::NoName),
        // It never changes, so who wrote it was seen when it was made.
        Some(since) => made
            .is_none_or(|made| made.0 < policy_status::vouched_from(since))
            .then_some(Doubt::Unguarded),
    }
}

fn annotations(pipeline: &Pipeline, register: &KnownChanges, ballot: &mut Ballot) {
    for vote in annotations_of(pipeline) {
        let reason = vote.reason(pipeline, &register.names);
        named(&vote, reason, register, ballot);
    }
}

fn fields(pipeline: &Pipeline, register: &KnownChanges, ballot: &mut Ballot) {
    if let Some(vote) = named_field(pipeline) {
        named(&vote, None, register, ballot);
    }
    if let Some(vote) = bare_field(pipeline) {
        // What stood in the status when it turned true tells more than what was seen of it.
        let answers = |waiting: &Approval| match vote.doubt(&register.names) {
            None => pipeline.annotation(annotation::APPROVED_FOR) == Some(&waiting.change_id),
            Some(_) => waiting.approved_field_counts,
        };
        match register.waiting {
            Some(waiting) if answers(waiting) => cast(&vote, None, register, ballot),
            None if register.field_is_spent => {}
            _ => ballot.stale.push(Stale {
                door: Door::Field,
                place: vote.place,
                given: "true".to_owned(),
            }),
        }
    }
}

/// A form that names a change: it counts for that one, and is stale for any other.
fn named(carried: &Carried, reason: Option<String>, register: &KnownChanges, ballot: &mut Ballot) {
    let given = carried.given.unwrap_or_default();
    match register.waiting {
        Some(waiting) if waiting.change_id == given => cast(carried, reason, register, ballot),
        _ if carried.has_done_its_work(register) => {}
        None if register.under_way.contains(&given) => {}
        None if register.candidate == Some(given) => {}
        _ => ballot.stale.push(Stale {
            door: carried.door,
            place: carried.place.clone(),
            given: given.to_owned(),
        }),
    }
}

/// A vote on the change that waits.
fn cast(carried: &Carried, reason: Option<String>, register: &KnownChanges, ballot: &mut Ballot) {
    match carried.vote(reason, &register.names) {
        Ok(vote) => ballot.votes.push(vote),
        Err(unfounded) => ballot.unfounded.push(unfounded),
    }
}

impl Unfounded {
    /// Why it doesn't count, and what to do about it. `policies` says why the policies can't vouch for names;
    /// `other_way` is a command that approves by an object.
    pub fn explain(&self, policies: Option<&str>, other_way: &str) -> String {
        let place = &self.place;
        let is_object = place.starts_with("PipelineApproval");
        match (self.why, policies) {
            (Doubt::NoPolicies, why) => format!(
                "{place} doesn't count, because nothing vouches for who wrote it: {}",
                why.unwrap_or("the admission policies aren't in force")
            ),
            (Doubt::NoName, _) if is_object => format!(
                "{place} doesn't count, because it names nobody: create another one, or approve with: {other_way}"
            ),
            (Doubt::NoName, _) => format!(
                "{place} doesn't count, because it was there before the admission policies that vouch for who wrote it: take it away and set it again, or approve with: {other_way}"
            ),
            (Doubt::Unguarded, _) if is_object => format!(
                "{place} doesn't count, because it is older than the admission policies that vouch for who wrote it: create another one, or approve with: {other_way}"
            ),
            (Doubt::Unguarded, _) => format!(
                "{place} doesn't count, because it stood there while no admission policies vouched for who wrote it: take it away and, once this message is gone, set it again, or approve with: {other_way}"
            ),
        }
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
            "spec.approved didn't turn true while this change was published, so it can't be an answer to it"
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
