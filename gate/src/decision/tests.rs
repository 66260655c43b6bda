use super::*;
use crate::crd::{
    ApprovalState, BootstrapOptions, OnBehalfOf, PipelineApprovalSpec, PipelineApprovalStatus,
    PipelineRef, PipelineSpec, Target,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;

const WAITING: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const OTHER: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn spec() -> PipelineSpec {
    serde_json::from_value(serde_json::json!({"program": {"sql": ""}})).unwrap()
}

fn pipeline() -> Pipeline {
    Pipeline::new("p", spec())
}

fn annotated(key: &str, value: &str) -> Pipeline {
    let mut pipeline = pipeline();
    pipeline
        .metadata
        .annotations
        .get_or_insert_default()
        .insert(key.to_owned(), value.to_owned());
    pipeline
}

fn object(change_id: &str, decision: VoteDecision) -> PipelineApproval {
    PipelineApproval::new(
        "vote",
        PipelineApprovalSpec {
            pipeline_ref: PipelineRef { name: "p".into() },
            change_id: change_id.into(),
            diff_digest: None,
            decision,
            reason: None,
            voter: None,
            on_behalf_of: None,
            clear_after: None,
        },
    )
}

fn waiting() -> Approval {
    Approval {
        state: ApprovalState::Awaiting,
        change_id: WAITING.into(),
        short_id: WAITING[..8].into(),
        parent: "root".into(),
        target: Target::default(),
        changed: vec![],
        options: BootstrapOptions::default(),
        revision: 0,
        gate: crate::crd::Gate::Engine,
        since: Time(Timestamp::UNIX_EPOCH),
        deployment_id: None,
        summary: String::new(),
        diff: None,
        diff_digest: "d".into(),
        at_stake: None,
        base: None,
        approve_command: "the command".into(),
        approved_field_counts: true,
        decision: None,
        votes: vec![],
        more_votes: 0,
        calls: 0,
        last_call_at: None,
        failure: None,
    }
}

fn register(waiting: Option<&Approval>) -> KnownChanges<'_> {
    KnownChanges {
        waiting,
        candidate: None,
        settled: &[],
        under_way: &[],
        known: &[],
        known_since: None,
        spent_votes: &NOTHING_SPENT,
        field_is_spent: false,
        names: NOBODY_LOOKS,
    }
}

const NOTHING_SPENT: SpentVotes = SpentVotes {
    approved_change: None,
    approve: None,
    reject: None,
};

/// Names aren't required, and nothing vouches for any.
const NOBODY_LOOKS: Names = Names {
    required: false,
    of_pipelines: false,
    of_objects_since: None,
    unguarded: &[],
};

fn outcome(pipeline: &Pipeline, objects: &[PipelineApproval]) -> Option<Verdict> {
    let waiting = waiting();
    let ballot = count(pipeline, objects, &register(Some(&waiting)));
    decide(&ballot.votes).map(|vote| vote.outcome)
}

#[test]
fn a1_every_form_that_names_the_waiting_change_counts_and_no_other_does() {
    for (id, expected) in [(WAITING, Some(Verdict::Approved)), (OTHER, None)] {
        let mut by_field = pipeline();
        by_field.spec.approved_change = Some(id.into());
        assert_eq!(outcome(&by_field, &[]), expected);
        assert_eq!(outcome(&annotated(annotation::APPROVE, id), &[]), expected);
        let vote = object(id, VoteDecision::Approve);
        assert_eq!(outcome(&pipeline(), &[vote]), expected);
    }
}

#[test]
fn a1_ids_are_compared_whole() {
    for wrong in [
        &WAITING[..31],
        &WAITING[..8],
        "",
        "true",
        &WAITING.to_uppercase(),
    ] {
        assert_eq!(
            outcome(&annotated(annotation::APPROVE, wrong), &[]),
            None,
            "{wrong}"
        );
    }
}

#[test]
fn a1_approved_true_counts_only_once_it_was_seen_otherwise_after_the_publication() {
    let mut pipeline = pipeline();
    pipeline.spec.approved = Some(true);
    for (counts, votes, stale) in [(true, 1, 0), (false, 0, 1)] {
        let waiting = Approval {
            approved_field_counts: counts,
            ..waiting()
        };
        let ballot = count(&pipeline, &[], &register(Some(&waiting)));
        assert_eq!((ballot.votes.len(), ballot.stale.len()), (votes, stale));
    }
}

#[test]
fn a5_a_rejection_beats_any_number_of_approvals() {
    let mut pipeline = annotated(annotation::APPROVE, WAITING);
    pipeline.spec.approved_change = Some(WAITING.into());
    let votes = [
        object(WAITING, VoteDecision::Approve),
        object(WAITING, VoteDecision::Reject),
    ];
    assert_eq!(outcome(&pipeline, &votes[..1]), Some(Verdict::Approved));
    assert_eq!(outcome(&pipeline, &votes), Some(Verdict::Rejected));
}

#[test]
fn an_object_counts_only_with_the_diff_that_it_was_given_for() {
    let mut vote = object(WAITING, VoteDecision::Approve);
    vote.spec.diff_digest = Some("another".into());
    assert_eq!(outcome(&pipeline(), &[vote.clone()]), None);
    vote.spec.diff_digest = Some("d".into());
    assert_eq!(outcome(&pipeline(), &[vote]), Some(Verdict::Approved));
}

#[test]
fn an_object_of_another_pipeline_or_on_its_way_out_counts_for_nothing() {
    let mut other = object(WAITING, VoteDecision::Approve);
    other.spec.pipeline_ref.name = "q".into();
    let mut leaving = object(WAITING, VoteDecision::Approve);
    leaving.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    assert_eq!(outcome(&pipeline(), &[other, leaving]), None);
}

/// Policies vouch for all names, since this second.
const VOUCHED: Names = Names {
    required: true,
    of_pipelines: true,
    of_objects_since: Some(Timestamp::UNIX_EPOCH),
    unguarded: &[],
};

/// Who voted how, as far as it counts, and what doesn't count because of its name.
fn ballot(pipeline: &Pipeline, objects: &[PipelineApproval], names: Names) -> Ballot {
    let waiting = waiting();
    let mut register = register(Some(&waiting));
    register.names = names;
    count(pipeline, objects, &register)
}

fn by(ballot: &Ballot) -> Vec<(&str, bool, Door)> {
    let votes = ballot.votes.iter();
    votes
        .map(|vote| (vote.by.as_str(), vote.verified, vote.via))
        .collect()
}

fn doubts(ballot: &Ballot) -> Vec<(&str, Doubt)> {
    let unfounded = ballot.unfounded.iter();
    unfounded
        .map(|unfounded| (unfounded.place.as_str(), unfounded.why))
        .collect()
}

fn made_at(mut object: PipelineApproval, second: i64) -> PipelineApproval {
    let at = Timestamp::from_second(second).unwrap();
    object.metadata.creation_timestamp = Some(Time(at));
    object
}

#[test]
fn a12_a_name_in_an_object_is_verified_if_the_policies_have_seen_to_it() {
    let mut by_rest = object(WAITING, VoteDecision::Approve);
    by_rest.spec.on_behalf_of = Some(OnBehalfOf {
        username: "alice".into(),
        uid: None,
        groups: vec![],
        api_key: None,
    });
    let mut by_hand = object(WAITING, VoteDecision::Approve);
    by_hand.spec.voter = Some("bob".into());
    let nameless = object(WAITING, VoteDecision::Approve);
    let objects = [by_rest, by_hand, nameless].map(|object| made_at(object, 10));
    let vouched = ballot(
        &pipeline(),
        &objects,
        Names {
            required: false,
            ..VOUCHED
        },
    );
    assert_eq!(
        by(&vouched),
        [
            ("alice", true, Door::Rest),
            ("bob", true, Door::Object),
            ("unknown", false, Door::Object)
        ]
    );
    let on_their_word = ballot(&pipeline(), &objects, NOBODY_LOOKS);
    assert_eq!(
        by(&on_their_word),
        [
            ("alice", false, Door::Rest),
            ("bob", false, Door::Object),
            ("unknown", false, Door::Object)
        ]
    );
    let required = ballot(&pipeline(), &objects, VOUCHED);
    assert_eq!(by(&required), by(&vouched)[..2]);
    assert_eq!(
        doubts(&required),
        [("PipelineApproval vote", Doubt::NoName)]
    );
}

#[test]
fn a12_an_object_that_is_older_than_the_policies_does_not_count_where_names_are_required() {
    let mut object = object(WAITING, VoteDecision::Approve);
    object.spec.voter = Some("alice".into());
    let since = |second| Names {
        of_objects_since: Some(Timestamp::from_second(second).unwrap()),
        ..VOUCHED
    };
    let objects = [made_at(object.clone(), 100)];
    assert_eq!(by(&ballot(&pipeline(), &objects, since(94))).len(), 1);
    // Also one that was made in the seconds in which an API server may not have gone by them yet, or in the second before.
    for second in [95, 99, 100, 101] {
        let older = ballot(&pipeline(), &objects, since(second));
        assert_eq!(by(&older), [], "{second}");
        let doubts = doubts(&older);
        assert_eq!(
            doubts,
            [("PipelineApproval vote", Doubt::Unguarded)],
            "{second}"
        );
    }
    // One whose age nobody knows is as good as old.
    assert_eq!(by(&ballot(&pipeline(), &[object], since(1))), []);
    let nobody = Names {
        of_objects_since: None,
        ..VOUCHED
    };
    let nobody = ballot(&pipeline(), &objects, nobody);
    assert_eq!(
        doubts(&nobody),
        [("PipelineApproval vote", Doubt::NoPolicies)]
    );
}

/// A Pipeline with an approval in each form that it can carry, and a name beside each but those left out.
fn carrying(without_a_name: &[&str]) -> Pipeline {
    let mut pipeline = pipeline();
    pipeline.spec.approved = Some(true);
    pipeline.spec.approved_change = Some(WAITING.into());
    let annotations = pipeline.metadata.annotations.get_or_insert_default();
    for (key, value) in [
        (annotation::APPROVE, WAITING),
        (annotation::APPROVE_BY, "alice"),
        (annotation::APPROVED_CHANGE_BY, "bob"),
        (annotation::APPROVED_BY, "carol"),
        (annotation::APPROVED_FOR, WAITING),
    ] {
        if !without_a_name.contains(&key) {
            annotations.insert(key.into(), value.into());
        }
    }
    pipeline
}

#[test]
fn a12_the_names_beside_votes_count_as_long_as_somebody_vouches_for_them() {
    let all = carrying(&[]);
    assert_eq!(
        by(&ballot(&all, &[], VOUCHED)),
        [
            ("alice", true, Door::Annotation),
            ("bob", true, Door::Field),
            ("carol", true, Door::Field)
        ]
    );
    // Nobody's name is put to what anybody may have written.
    let nobody_looks = ballot(&all, &[], NOBODY_LOOKS);
    assert_eq!(nobody_looks.votes.len(), 3);
    assert!(
        by(&nobody_looks)
            .iter()
            .all(|vote| vote.0 == "unknown" && !vote.1)
    );
    let required = Names {
        required: true,
        ..NOBODY_LOOKS
    };
    let required = ballot(&all, &[], required);
    assert_eq!(required.votes, []);
    assert_eq!(
        doubts(&required),
        [
            ("annotation sluice.dev/approve", Doubt::NoPolicies),
            ("spec.approvedChange", Doubt::NoPolicies),
            ("spec.approved", Doubt::NoPolicies)
        ]
    );
}

#[test]
fn a12_an_approval_from_before_the_policies_has_no_name_and_does_not_count() {
    let nameless = carrying(&[
        annotation::APPROVE_BY,
        annotation::APPROVED_CHANGE_BY,
        annotation::APPROVED_BY,
    ]);
    let required = ballot(&nameless, &[], VOUCHED);
    assert_eq!(required.votes, []);
    assert_eq!(
        doubts(&required),
        [
            ("annotation sluice.dev/approve", Doubt::NoName),
            ("spec.approvedChange", Doubt::NoName),
            ("spec.approved", Doubt::NoName)
        ]
    );
    let mut empty = nameless;
    let annotations = empty.metadata.annotations.get_or_insert_default();
    annotations.insert(annotation::APPROVE_BY.into(), String::new());
    assert_eq!(
        ballot(&empty, &[], VOUCHED).votes,
        [],
        "nobody is called ''"
    );
}

#[test]
fn a12_what_stood_unguarded_stays_in_doubt_until_it_is_another_vote() {
    let all = carrying(&[]);
    let marks = marks(&all);
    assert_eq!(marks.len(), 3);
    let unguarded = [marks[1].clone()];
    let names = Names {
        unguarded: &unguarded,
        ..VOUCHED
    };
    let seen = ballot(&all, &[], names);
    assert_eq!(
        by(&seen),
        [
            ("alice", true, Door::Annotation),
            ("carol", true, Door::Field)
        ]
    );
    assert_eq!(doubts(&seen), [("spec.approvedChange", Doubt::Unguarded)]);
    let mut by_another = all;
    let annotations = by_another.metadata.annotations.get_or_insert_default();
    annotations.insert(annotation::APPROVED_CHANGE_BY.into(), "dave".into());
    assert_eq!(ballot(&by_another, &[], names).votes.len(), 3);
}

#[test]
fn a1_approved_true_answers_what_stood_in_the_status_when_it_turned_true_and_nothing_else() {
    let mut approved = carrying(&[]);
    approved.spec.approved_change = None;
    let set = |pipeline: &mut Pipeline, change: Option<&str>| {
        let annotations = pipeline.metadata.annotations.get_or_insert_default();
        annotations.remove(annotation::APPROVE);
        match change {
            Some(change) => annotations.insert(annotation::APPROVED_FOR.into(), change.into()),
            None => annotations.remove(annotation::APPROVED_FOR),
        };
    };
    for (answers, counts) in [(Some(WAITING), true), (Some(OTHER), false), (None, false)] {
        set(&mut approved, answers);
        let seen = ballot(&approved, &[], VOUCHED);
        assert_eq!(seen.votes.len(), usize::from(counts), "{answers:?}");
        assert_eq!(seen.stale.len(), usize::from(!counts), "{answers:?}");
    }
    // It needn't have been seen other than true.
    set(&mut approved, Some(WAITING));
    let mut waiting = waiting();
    waiting.approved_field_counts = false;
    let mut register = register(Some(&waiting));
    register.names = VOUCHED;
    assert_eq!(count(&approved, &[], &register).votes.len(), 1);
    // Where nobody vouches for what stands beside it, it isn't looked at.
    register.names = NOBODY_LOOKS;
    assert_eq!(count(&approved, &[], &register).votes, []);
}

#[test]
fn a5_a_no_counts_whoever_gave_it_but_nobodys_name_is_put_to_it() {
    let mut rejected = annotated(annotation::REJECT, WAITING);
    let annotations = rejected.metadata.annotations.get_or_insert_default();
    annotations.insert(annotation::REJECT_BY.into(), "alice".into());
    let mut object = object(WAITING, VoteDecision::Reject);
    object.spec.voter = Some("alice".into());
    let required = Names {
        required: true,
        ..NOBODY_LOOKS
    };
    let seen = ballot(&rejected, &[object], required);
    assert_eq!(
        by(&seen),
        [
            ("unknown", false, Door::Object),
            ("unknown", false, Door::Annotation)
        ]
    );
    assert_eq!(decide(&seen.votes).unwrap().outcome, Verdict::Rejected);
    assert_eq!(seen.unfounded, []);
}

#[test]
fn a4_an_approval_of_what_is_settled_is_left_alone_whatever_waits() {
    let waiting = Approval {
        approved_field_counts: false,
        ..waiting()
    };
    for waiting in [None, Some(&waiting)] {
        let register = KnownChanges {
            settled: &[OTHER],
            known: &[OTHER],
            field_is_spent: true,
            ..register(waiting)
        };
        let mut pipeline = annotated(annotation::APPROVE, OTHER);
        pipeline.spec.approved_change = Some(OTHER.into());
        let votes = [object(OTHER, VoteDecision::Approve)];
        assert_eq!(count(&pipeline, &votes, &register), Ballot::default());
        // This names no change: while another one waits, whoever left it there may think that it answers that one.
        pipeline.spec.approved = Some(true);
        let stale = count(&pipeline, &votes, &register).stale.len();
        assert_eq!(stale, usize::from(waiting.is_some()));
    }
}

#[test]
fn a4_what_has_done_its_work_is_remembered_per_place_as_long_as_it_stands_there() {
    let mut pipeline = annotated(annotation::APPROVE, OTHER);
    pipeline.spec.approved_change = Some(OTHER.into());
    let while_known = KnownChanges {
        settled: &[OTHER],
        ..register(None)
    };
    let spent = spent_votes(&pipeline, &while_known);
    let expected = SpentVotes {
        approve: Some(OTHER.into()),
        approved_change: Some(OTHER.into()),
        reject: None,
    };
    assert_eq!(spent, expected);
    // Twenty changes later nothing else tells of it.
    let waiting = waiting();
    let later = KnownChanges {
        spent_votes: &spent,
        ..register(Some(&waiting))
    };
    assert_eq!(count(&pipeline, &[], &later), Ballot::default());
    assert_eq!(spent_votes(&pipeline, &later), spent);
    // In another place it says something else.
    let elsewhere = annotated(annotation::REJECT, OTHER);
    assert_eq!(count(&elsewhere, &[], &later).stale.len(), 1);
    // Once it is gone it is forgotten; and it never is in the way of a vote that counts.
    assert!(
        spent_votes(&annotated(annotation::APPROVE, WAITING), &later)
            .approve
            .is_none()
    );
    let remembered = SpentVotes {
        approve: Some(WAITING.into()),
        ..SpentVotes::default()
    };
    let waits = KnownChanges {
        spent_votes: &remembered,
        ..register(Some(&waiting))
    };
    let again = annotated(annotation::APPROVE, WAITING);
    assert_eq!(count(&again, &[], &waits).votes.len(), 1);
}

#[test]
fn a4_what_is_applied_and_not_settled_is_not_remembered_as_spent() {
    let pipeline = annotated(annotation::APPROVE, OTHER);
    let under_way = KnownChanges {
        under_way: &[OTHER],
        known: &[OTHER],
        ..register(None)
    };
    assert_eq!(count(&pipeline, &[], &under_way), Ballot::default());
    assert!(spent_votes(&pipeline, &under_way).is_empty());
}

#[test]
fn a4_an_object_whose_change_is_over_or_forgotten_is_left_alone_and_counts_where_its_change_waits()
{
    let at = |second: i64| Timestamp::from_second(second).unwrap();
    let known_since = |second| KnownChanges {
        known_since: second,
        ..register(None)
    };
    let vote = |id, made: Option<i64>, spent: bool| {
        let mut vote = object(id, VoteDecision::Approve);
        vote.metadata.creation_timestamp = made.map(|made| Time(at(made)));
        vote.status = spent.then(|| PipelineApprovalStatus {
            spent_since: Some(Time(at(0))),
            change_state: None,
        });
        [vote]
    };
    for (made, spent, known, stale) in [
        (Some(9), false, None, 1),
        (Some(9), false, Some(at(10)), 0),
        (Some(10), false, Some(at(10)), 1),
        (None, false, Some(at(10)), 1),
        (Some(11), true, Some(at(10)), 0),
    ] {
        let ballot = count(&pipeline(), &vote(OTHER, made, spent), &known_since(known));
        assert_eq!(ballot.stale.len(), stale, "{made:?} {spent} {known:?}");
        let waiting = waiting();
        let register = KnownChanges {
            waiting: Some(&waiting),
            ..known_since(known)
        };
        let ballot = count(&pipeline(), &vote(WAITING, made, spent), &register);
        assert_eq!(ballot.votes.len(), 1, "{made:?} {spent} {known:?}");
    }
}

#[test]
fn a4_an_approval_of_what_was_rejected_or_replaced_is_stale_and_its_rejection_is_not() {
    let register = KnownChanges {
        known: &[OTHER],
        ..register(None)
    };
    let approved = annotated(annotation::APPROVE, OTHER);
    assert_eq!(count(&approved, &[], &register).stale.len(), 1);
    let rejected = annotated(annotation::REJECT, OTHER);
    assert_eq!(count(&rejected, &[], &register), Ballot::default());
}

#[test]
fn a4_an_approval_that_came_too_early_is_stale_unless_the_spec_brings_its_change() {
    let pipeline = annotated(annotation::APPROVE, OTHER);
    assert_eq!(count(&pipeline, &[], &register(None)).stale.len(), 1);
    let on_its_way = KnownChanges {
        candidate: Some(OTHER),
        ..register(None)
    };
    assert_eq!(count(&pipeline, &[], &on_its_way), Ballot::default());
}

#[test]
fn a4_a_stale_approval_names_both_ids_and_the_command() {
    let waiting = waiting();
    let ballot = count(
        &annotated(annotation::APPROVE, OTHER),
        &[],
        &register(Some(&waiting)),
    );
    let text = ballot.stale[0].explain(Some(&waiting));
    for part in [OTHER, WAITING, "the command"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn what_is_no_change_id_is_not_repeated() {
    let stale = Stale {
        door: Door::Annotation,
        place: "annotation x".into(),
        given: "a password, by mistake".into(),
    };
    assert!(!stale.explain(None).contains("password"));
}

proptest! {
    /// Nothing but the whole id of the waiting change makes an approval of a form that names one.
    #[test]
    fn a1_no_text_but_the_waiting_id_approves(text in "[0-9a-f]{0,40}|.{0,40}") {
        prop_assume!(text != WAITING);
        let mut pipeline = annotated(annotation::APPROVE, &text);
        pipeline.spec.approved_change = Some(text.clone());
        prop_assert_eq!(outcome(&pipeline, &[object(&text, VoteDecision::Approve)]), None);
    }
}

#[test]
fn a12_words_that_were_not_written_with_a_vote_are_not_put_to_whoever_gave_it() {
    let reasons = |for_votes: Option<&str>, names: Names| -> Vec<Option<String>> {
        let mut pipeline = carrying(&[]);
        let annotations = pipeline.metadata.annotations.get_or_insert_default();
        annotations.insert(annotation::REASON.into(), "as said".into());
        if let Some(for_votes) = for_votes {
            annotations.insert(annotation::REASON_FOR.into(), for_votes.into());
        }
        let votes = ballot(&pipeline, &[], names).votes;
        votes.into_iter().map(|vote| vote.reason).collect()
    };
    let own = Some("as said".to_owned());
    let both = format!("approve {OTHER}, approve {WAITING}");
    for (for_votes, expected) in [
        (None, None),
        (Some(String::new()), None),
        (Some(format!("approve {OTHER}")), None),
        (Some(format!("reject {WAITING}")), None),
        (Some(format!("approve {}", &WAITING[..31])), None),
        (Some(format!("approve {WAITING}")), own.clone()),
        (Some(both), own.clone()),
    ] {
        // The fields have no reason.
        let expected = [expected, None, None];
        assert_eq!(
            reasons(for_votes.as_deref(), VOUCHED),
            expected,
            "{for_votes:?}"
        );
        // Where the vote is nobody's, its words are nobody's either.
        let found = reasons(for_votes.as_deref(), NOBODY_LOOKS);
        assert_eq!(found, [own.clone(), None, None]);
    }
}
