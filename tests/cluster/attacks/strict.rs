//! An operator that requires the policies, while they are in force, and while they aren't.
//!
//! These stories change the policies of their cluster, so they have one of their own, one after the other.

use std::process::Command;

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use sluice::crd::{ApprovalState, Door, Pipeline, PipelineApproval, VoteDecision};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::super::plugin::plugin;
use super::scene::{annotations, both, stamps};
use sluice_test_support::cluster::{ADMIN, Cluster, answer, create, raw, said};
use sluice_test_support::story::{
    Story, approval, changed, changed_otherwise, eventually, extended, has, has_type, id, is_at,
    message, until_older,
};

const STRICT: [&str; 2] = ["--require-policies", "true"];

/// A story on the cluster of these, with an operator that requires the policies. Alice and dave may edit and
/// approve, bob may edit. Its end is whoever else's turn.
async fn begin() -> (Story, MutexGuard<'static, ()>) {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    let cluster = CLUSTER.get_or_init(Cluster::own).await;
    put_policies_back(cluster).await;
    let story = Story::on(cluster, &STRICT).await;
    for (user, role) in [
        ("alice", "sluice-approver"),
        ("alice", "sluice-editor"),
        ("dave", "sluice-approver"),
        ("dave", "sluice-editor"),
        ("bob", "sluice-editor"),
    ] {
        cluster.grant(&story.namespace, user, role).await;
    }
    (story, turn)
}

async fn put_policies_back(cluster: &Cluster) {
    cluster.apply().await;
    cluster.until_names_are_written().await;
}

/// Puts a policy or its binding out of the way, as an administrator.
fn delete(cluster: &Cluster, kind: &str, name: &str) {
    let output = cluster.kubectl(ADMIN, &["delete", kind, name]);
    assert!(output.status.success(), "{}", said(&output));
}

/// Patches orders, as this user; tried until rights and policies that were given have come into force.
async fn patch(story: &Story, user: &str, patch: Value) -> Pipeline {
    let client = story.cluster().client_for(user).await;
    let api: Api<Pipeline> = Api::namespaced(client, &story.namespace);
    eventually("it may be written", || async {
        let patch = Patch::Merge(&patch);
        answer(api.patch("orders", &PatchParams::default(), &patch).await)
    })
    .await
}

async fn vote_by(story: &Story, user: &str, name: &str, change: &str) -> PipelineApproval {
    let client = story.cluster().client_for(user).await;
    let api: Api<PipelineApproval> = Api::namespaced(client, &story.namespace);
    eventually("it may be written", || async {
        let object = json!({
            "metadata": {"name": name},
            "spec": {"pipelineRef": {"name": "orders"}, "changeId": change, "decision": "Approve"},
        });
        create(&api, object).await
    })
    .await
}

/// What comes of `kubectl sluice approve` in the hands of a user.
async fn approve_by_plugin(story: &Story, user: &str, change: &str) -> Result<String, String> {
    vote_by_plugin(story, user, "approve", change).await
}

/// What `kubectl sluice approve` or `reject` says, as what went well or didn't.
async fn vote_by_plugin(
    story: &Story,
    user: &str,
    verb: &str,
    change: &str,
) -> Result<String, String> {
    let plugin = plugin().await;
    let namespace: &str = &story.namespace;
    let kubectl = story.cluster().plane().kubectl(user).expect("a known user");
    let environment = kubectl
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    let output = Command::new(plugin)
        .envs(environment)
        .args([verb, "orders", "-n", namespace])
        .args(["--change", change, "--reason", "as said", "--yes"])
        .output()
        .expect("the plugin can be started");
    match output.status.success() {
        true => Ok(said(&output)),
        false => Err(said(&output)),
    }
}

/// What the REST endpoint answers to an approval by a user with a token of the cluster.
async fn approve_by_rest(story: &Story, user: &str) -> (u16, Value) {
    let url = format!("{}/v0/pipelines/orders/approve", story.rest_url().await);
    let token = story.cluster().plane().token(user).expect("a known user");
    let answer = reqwest::Client::new()
        .post(url)
        .bearer_auth(token)
        .send()
        .await;
    let answer = answer.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.json().await.expect("JSON"))
}

async fn metric(story: &Story, line: &str) {
    let url = format!("{}/metrics", story.admin_url().await);
    eventually(line, || async {
        let answer = reqwest::get(&url).await.expect("an answer");
        let text = answer.text().await.expect("a text");
        text.contains(line).then_some(()).ok_or(text)
    })
    .await;
}

/// Waits until the Pipeline says that an approval doesn't count, with these words.
async fn until_unfounded(story: &Story, words: &str) {
    story
        .until("it says why an approval doesn't count", |p| {
            has(p, "UnfoundedApproval", "True", "NobodyVouchesForTheName")
                && message(p, "UnfoundedApproval").contains(words)
        })
        .await;
}

/// Waits until the operator has seen that a policy isn't in force.
async fn until_policies_are_missed(story: &Story, why: &str) {
    let seen = story
        .until("it says that the policies aren't in force", |p| {
            ["NamesCannotBeTrusted", "NamesInFieldsCannotBeTrusted"]
                .iter()
                .any(|reason| has(p, "PoliciesNotInForce", "True", reason))
        })
        .await;
    let message = message(&seen, "PoliciesNotInForce");
    assert!(message.contains(why), "{message}");
}

/// The change still waits, and the engine was told nothing.
async fn still_waits(story: &Story) {
    story.engine.ticks(3).await;
    assert!(is_at(&story.now().await, ApprovalState::Awaiting));
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
}

#[tokio::test]
async fn a12_through_each_door_the_name_comes_along() {
    let (story, _turn) = begin().await;
    story.waiting().await;
    let mut programs = [
        changed_otherwise(),
        extended(),
        changed(),
        changed_otherwise(),
    ]
    .into_iter();
    for (door, user) in [
        (Door::Field, "alice"),
        (Door::Annotation, "dave"),
        (Door::Object, "alice"),
        (Door::Rest, "alice"),
        (Door::Field, "dave"),
    ] {
        let waiting = id(&story.until_waiting().await);
        match (door, user) {
            (Door::Field, "alice") => {
                patch(&story, user, json!({"spec": {"approved": true}})).await;
            }
            (Door::Field, _) => {
                patch(&story, user, json!({"spec": {"approvedChange": waiting}})).await;
            }
            (Door::Annotation, _) => {
                patch(&story, user, annotations(json!({"approve": waiting}))).await;
            }
            (Door::Object, _) => drop(vote_by(&story, user, "yes", &waiting).await),
            _ => {
                eventually("it is stored", || async {
                    let (status, answer) = approve_by_rest(&story, user).await;
                    (status == 202).then_some(()).ok_or(answer)
                })
                .await;
            }
        }
        let sealed = story
            .until("it is sealed", |p| {
                is_at(p, ApprovalState::Sealed) && id(p) == waiting
            })
            .await;
        let decision = approval(&sealed).decision.expect("a decision");
        assert_eq!(
            (decision.by.as_str(), decision.verified, decision.via),
            (user, true, door)
        );
        if let Some(program) = programs.next() {
            story.change_to(&program).await;
        }
    }
}

#[tokio::test]
async fn a1_approved_together_with_another_program_approves_neither() {
    let (story, _turn) = begin().await;
    let first = story.waiting().await;
    let both_at_once = json!({"spec": {"approved": true, "program": {"sql": changed_otherwise()}}});
    patch(&story, "alice", both_at_once).await;
    let waiting = story
        .until("the other change waits", |p| {
            is_at(p, ApprovalState::Awaiting) && id(p) != id(&first)
        })
        .await;
    story
        .until("it says so", |p| has_type(p, "StaleApproval"))
        .await;
    still_waits(&story).await;
    // Taken away and set again it is an answer.
    patch(&story, "alice", json!({"spec": {"approved": null}})).await;
    patch(&story, "alice", json!({"spec": {"approved": true}})).await;
    let sealed = story.until_sealed().await;
    assert_eq!(id(&sealed), id(&waiting));
}

#[tokio::test]
async fn a13_without_the_policies_no_approval_by_annotation_counts_nor_does_it_once_they_are_back()
{
    let (story, _turn) = begin().await;
    let waiting = id(&story.waiting().await);
    metric(&story, "sluice_policy_in_force{policy=\"sluice-names\"} 1").await;
    delete(
        story.cluster(),
        "validatingadmissionpolicybinding",
        "sluice-names",
    );
    until_policies_are_missed(
        &story,
        "there is no ValidatingAdmissionPolicyBinding sluice-names",
    )
    .await;
    metric(&story, "sluice_policy_in_force{policy=\"sluice-names\"} 0").await;
    let note = story.until_event("PoliciesNotInForce").await;
    assert!(note.contains("sluice-names"), "{note}");
    // Alice may approve; what nothing keeps her from is to do so in dave's name.
    let forged = annotations(json!({"approve": waiting, "approve-by": "dave"}));
    let written = patch(&story, "alice", forged).await;
    assert_eq!(
        written.metadata.annotations.expect("some")["sluice.dev/approve-by"],
        "dave"
    );
    until_unfounded(&story, "nothing vouches for who wrote it").await;
    still_waits(&story).await;

    put_policies_back(story.cluster()).await;
    story
        .until("the policies are in force", |p| {
            !has_type(p, "PoliciesNotInForce")
        })
        .await;
    until_unfounded(&story, "while no admission policies vouched").await;
    still_waits(&story).await;
    // As the message says.
    patch(&story, "alice", annotations(json!({"approve": null}))).await;
    story
        .until("it is withdrawn", |p| !has_type(p, "UnfoundedApproval"))
        .await;
    patch(&story, "alice", annotations(json!({"approve": waiting}))).await;
    let decision = approval(&story.until_sealed().await).decision;
    assert_eq!(decision.expect("a decision").by, "alice");
    assert_eq!(story.events("PoliciesNotInForce").await.len(), 1);
}

#[tokio::test]
async fn a13_a_vote_forged_before_anybody_misses_the_policies_does_not_count() {
    let (story, _turn) = begin().await;
    let waiting = id(&story.waiting().await);
    metric(&story, "sluice_policy_in_force{policy=\"sluice-names\"} 1").await;
    delete(
        story.cluster(),
        "validatingadmissionpolicybinding",
        "sluice-names",
    );
    // As soon as the API server takes it; the operator's next look may be seconds away.
    let forged = annotations(json!({"approve": waiting, "approve-by": "dave"}));
    patch(&story, "alice", forged).await;
    until_unfounded(&story, "nothing vouches for who wrote it").await;
    still_waits(&story).await;
}

#[tokio::test]
async fn a13_a_vote_forged_while_neither_policies_nor_operator_were_there_does_not_count() {
    let (mut story, _turn) = begin().await;
    let waiting = id(&story.waiting().await);
    story.kill_operator();
    delete(story.cluster(), "validatingadmissionpolicy", "sluice-names");
    let forged = both(
        annotations(json!({"approved-by": "dave", "approved-for": waiting})),
        json!({"spec": {"approved": true}}),
    );
    patch(&story, "alice", forged).await;
    put_policies_back(story.cluster()).await;
    story.start_operator().await;
    until_unfounded(
        &story,
        "spec.approved doesn't count, because it stood there while no admission policies vouched",
    )
    .await;
    still_waits(&story).await;
}

#[tokio::test]
async fn a13_a_weakened_policy_is_noticed_and_votes_from_then_do_not_count() {
    let (story, _turn) = begin().await;
    let waiting = id(&story.waiting().await);
    let weaker = r#"{"spec": {"failurePolicy": "Ignore"}}"#;
    let output = story.cluster().kubectl(
        ADMIN,
        &[
            "patch",
            "validatingadmissionpolicy",
            "sluice-votes",
            "--type=merge",
            "-p",
            weaker,
        ],
    );
    assert!(output.status.success(), "{}", said(&output));
    until_policies_are_missed(&story, "spec.failurePolicy differs").await;
    let made = vote_by(&story, "alice", "yes", &waiting).await;
    until_unfounded(&story, "nothing vouches for who wrote it").await;
    still_waits(&story).await;

    // What is as old as the policies that were put right counts.
    until_older(&made).await;
    put_policies_back(story.cluster()).await;
    story
        .until("the policies are in force", |p| {
            !has_type(p, "PoliciesNotInForce")
        })
        .await;
    until_unfounded(&story, "older than the admission policies").await;
    still_waits(&story).await;
    let votes: Api<PipelineApproval> = story.api();
    answer(votes.delete("yes", &DeleteParams::default()).await).expect("it is deleted");
    vote_by(&story, "alice", "again", &waiting).await;
    let decision = approval(&story.until_sealed().await).decision;
    assert_eq!(decision.expect("a decision").by, "alice");
}

#[tokio::test]
async fn a13_the_rest_endpoint_stores_nothing_that_could_not_count() {
    let (story, _turn) = begin().await;
    story.waiting().await;
    delete(
        story.cluster(),
        "validatingadmissionpolicybinding",
        "sluice-votes",
    );
    until_policies_are_missed(
        &story,
        "there is no ValidatingAdmissionPolicyBinding sluice-votes",
    )
    .await;
    let (status, answer) = approve_by_rest(&story, "alice").await;
    assert_eq!(
        (status, &answer["error_code"]),
        (500, &json!("PoliciesNotInForce"))
    );
    let message = answer["message"].as_str().expect("a message");
    assert!(message.contains("sluice-votes"), "{message}");
    let votes = raw::<PipelineApproval>(&story.client, &story.namespace);
    assert_eq!(
        votes
            .list(&Default::default())
            .await
            .expect("a list")
            .items
            .len(),
        0
    );
}

#[tokio::test]
async fn a12_votes_from_before_the_policies_block_nothing_and_count_once_they_are_given_anew() {
    let (story, _turn) = begin().await;
    let waiting = id(&story.waiting().await);
    for (kind, name) in [
        ("validatingadmissionpolicybinding", "sluice-names"),
        ("mutatingadmissionpolicybinding", "sluice-names"),
    ] {
        delete(story.cluster(), kind, name);
    }
    until_policies_are_missed(&story, "sluice-names").await;
    let vote = json!({"spec": {"approvedChange": waiting}});
    // The API server takes its time to forget the mutating policy.
    eventually("no name is written", || async {
        // Also the name: with the policy gone, nothing else takes away what it wrote.
        let withdrawn = both(
            json!({"spec": {"approvedChange": null}}),
            annotations(json!({"approved-change-by": null})),
        );
        patch(&story, "alice", withdrawn).await;
        let written = patch(&story, "alice", vote.clone()).await;
        written.metadata.annotations.map_or(Ok(()), Err)
    })
    .await;
    put_policies_back(story.cluster()).await;
    story
        .until("the policies are in force", |p| {
            !has_type(p, "PoliciesNotInForce")
        })
        .await;
    until_unfounded(&story, "before the admission policies").await;
    let edited = patch(
        &story,
        "bob",
        json!({"metadata": {"labels": {"team": "a"}}}),
    )
    .await;
    assert_eq!(edited.metadata.annotations, None);
    patch(&story, "bob", vote.clone()).await;
    still_waits(&story).await;
    patch(&story, "alice", json!({"spec": {"approvedChange": null}})).await;
    patch(&story, "alice", vote).await;
    let decision = approval(&story.until_sealed().await).decision;
    assert_eq!(decision.expect("a decision").by, "alice");
}

/// Alice votes by the plugin while no operator is there, and the policies are replaced before one is, as when Sluice
/// is upgraded. Returns the change, for which her vote then doesn't count.
async fn voted_before_the_policies_of_today(story: &mut Story) -> String {
    let waiting = id(&story.waiting().await);
    story.kill_operator();
    eventually("the vote is stored", || {
        approve_by_plugin(story, "alice", &waiting)
    })
    .await;
    let votes: Api<PipelineApproval> = story.api();
    let votes = votes.list(&ListParams::default()).await.expect("votes");
    let voted = votes.items[0].creation_timestamp();
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(story.client.clone());
    // Their times are in whole seconds.
    eventually("the policies are younger", || async {
        delete(story.cluster(), "validatingadmissionpolicy", "sluice-votes");
        put_policies_back(story.cluster()).await;
        let policy = policies.get("sluice-votes").await.expect("the policy");
        (policy.creation_timestamp() > voted)
            .then_some(())
            .ok_or(())
    })
    .await;
    story.start_operator().await;
    until_unfounded(story, "older than the admission policies").await;
    still_waits(story).await;
    waiting
}

#[tokio::test]
async fn a12_who_voted_before_the_policies_of_today_votes_again_by_the_plugin() {
    let (mut story, _turn) = begin().await;
    let waiting = voted_before_the_policies_of_today(&mut story).await;
    let stored = approve_by_plugin(&story, "alice", &waiting).await;
    stored.expect("it is stored");
    let decision = approval(&story.until_sealed().await).decision;
    let decision = decision.expect("a decision");
    assert_eq!((decision.by.as_str(), decision.verified), ("alice", true));
}

#[tokio::test]
async fn a12_who_voted_before_the_policies_of_today_votes_again_by_rest() {
    let (mut story, _turn) = begin().await;
    voted_before_the_policies_of_today(&mut story).await;
    let (status, answer) = approve_by_rest(&story, "alice").await;
    assert_eq!(status, 202, "{answer}");
    let decision = approval(&story.until_sealed().await).decision;
    let decision = decision.expect("a decision");
    assert_eq!((decision.by.as_str(), decision.verified), ("alice", true));
}

/// An API server goes by a policy some moments after it was given it, and times have whole seconds.
#[tokio::test]
async fn a12_what_was_forged_until_the_policies_were_in_force_again_never_counts() {
    let (story, _turn) = begin().await;
    let change = id(&story.waiting().await);
    delete(story.cluster(), "validatingadmissionpolicy", "sluice-votes");
    until_policies_are_missed(&story, "sluice-votes").await;
    let votes: Api<PipelineApproval> =
        Api::namespaced(story.cluster().client_for("dave").await, &story.namespace);
    let forged = |number: usize| {
        json!({
            "metadata": {"name": format!("forged-{number}")},
            "spec": {
                "pipelineRef": {"name": "orders"}, "changeId": change,
                "decision": "Approve", "voter": "alice",
            },
        })
    };
    eventually("nothing refuses it", || async {
        create(&votes, forged(0)).await
    })
    .await;
    put_policies_back(story.cluster()).await;
    let mut admitted = 1;
    while create(&votes, forged(admitted)).await.is_ok() {
        admitted += 1;
        assert!(admitted < 10_000, "the policy never comes into force");
    }
    until_unfounded(&story, "older than the admission policies").await;
    still_waits(&story).await;
}

#[tokio::test]
async fn a12_nobody_takes_the_place_of_somebody_elses_no() {
    let (story, _turn) = begin().await;
    let waiting = story.waiting().await;
    // A no counts before that as well, but is nobody's then. The story before may have put the policy back just now.
    story.until_names_are_vouched_for().await;
    metric(&story, "sluice_policy_in_force{policy=\"sluice-votes\"} 1").await;
    let change = id(&waiting);
    let reject = VoteDecision::Reject;
    let hers = PipelineApproval::for_vote(&waiting, &change, "alice", reject, None, None);
    let votes: Api<PipelineApproval> =
        Api::namespaced(story.cluster().client_for("dave").await, &story.namespace);
    // Tied to a diff that there isn't, so that it doesn't count.
    eventually("it may be written", || async {
        let object = json!({
            "metadata": {"name": hers.name_any()},
            "spec": {
                "pipelineRef": {"name": "orders"}, "changeId": change,
                "decision": "Reject", "diffDigest": "0".repeat(64),
            },
        });
        create(&votes, object).await
    })
    .await;
    eventually("hers is stored beside it", || async {
        let said = vote_by_plugin(&story, "alice", "reject", &change).await?;
        (!said.contains("already")).then_some(()).ok_or(said)
    })
    .await;
    let decision = approval(&story.until_rejected().await).decision;
    assert_eq!(decision.expect("a decision").by, "alice");
}

#[tokio::test]
async fn a12_votes_by_the_plugin_do_not_pile_up_while_none_can_count() {
    let (story, _turn) = begin().await;
    let waiting = id(&story.waiting().await);
    delete(story.cluster(), "validatingadmissionpolicy", "sluice-votes");
    until_policies_are_missed(&story, "sluice-votes").await;
    for _ in 0..2 {
        let said = approve_by_plugin(&story, "alice", &waiting).await;
        let said = said.expect_err("it could not count");
        assert!(said.contains("so none was stored"), "{said}");
        assert!(said.contains("sluice-votes"), "{said}");
    }
    let votes: Api<PipelineApproval> = story.api();
    let votes = votes.list(&ListParams::default()).await.expect("votes");
    assert_eq!(votes.items.len(), 0);
    // A no counts all the same.
    let reject = vote_by_plugin(&story, "alice", "reject", &waiting).await;
    reject.expect("it is stored");
    story.until_rejected().await;
}

#[tokio::test]
async fn a12_where_nothing_writes_names_the_refusal_says_what_to_write() {
    let (story, _turn) = begin().await;
    let waiting = id(&story.waiting().await);
    for name in ["sluice-names", "sluice-votes"] {
        delete(story.cluster(), "mutatingadmissionpolicybinding", name);
    }
    let namespace: &str = &story.namespace;
    let annotate = |more: &[&str]| {
        let vote = format!("sluice.dev/approve={waiting}");
        let arguments = [
            &[
                "annotate",
                "pipeline",
                "orders",
                "-n",
                namespace,
                "--overwrite",
                &vote,
            ],
            more,
        ];
        let output = story.cluster().kubectl("alice", &arguments.concat());
        (output.status.success(), said(&output))
    };
    let refusal = eventually("no name is written any more", || async {
        patch(
            &story,
            "alice",
            annotations(json!({"approve": null, "approve-by": null})),
        )
        .await;
        match annotate(&["--dry-run=server"]) {
            (false, refusal) => Ok(refusal),
            (true, taken) => Err(taken),
        }
    })
    .await;
    let sentence = "write there who you are, sluice.dev/approve-by: alice";
    assert!(refusal.contains(sentence), "{refusal}");
    let (taken, said) = annotate(&["sluice.dev/approve-by=alice"]);
    assert!(taken, "{said}");
    let decision = approval(&story.until_sealed().await).decision;
    assert_eq!(decision.expect("a decision").by, "alice");
    let votes = raw::<PipelineApproval>(&story.cluster().client_for("alice").await, namespace);
    let nameless = sluice_test_support::cluster::vote("orders", "nameless");
    let nameless = serde_json::from_value(nameless).expect("a vote");
    // Only tried: what was let through at first would be in the way of what is to be refused.
    let trial = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let refused = eventually("nobody's name is written any more", || async {
        let tried = answer(votes.create(&trial, &nameless).await);
        tried.err().ok_or("it would have been taken")
    })
    .await;
    assert!(
        refused
            .message
            .ends_with("spec.voter must be who you are: write there alice"),
        "{}",
        refused.message
    );
}

#[tokio::test]
async fn a13_policies_that_refuse_nothing_are_found_out_by_a_forged_write() {
    // All objects are there and say what they should; only the API server doesn't go by them.
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::that_ignores_policies().await));
    let story = Story::on(cluster, &STRICT).await;
    let waiting = id(&story.waiting().await);
    let forged = annotations(json!({"approve": waiting, "approve-by": "somebody"}));
    patch(&story, ADMIN, forged).await;
    until_policies_are_missed(
        &story,
        "sluice-names is there, but a write that it must refuse was let through",
    )
    .await;
    until_unfounded(&story, "nothing vouches for who wrote it").await;
    still_waits(&story).await;
    // What was forged was never stored.
    let orders = raw::<Pipeline>(&story.client, &story.namespace)
        .get("orders")
        .await;
    let orders = orders.expect("the Pipeline");
    let annotations = orders.metadata.annotations.clone().unwrap_or_default();
    assert!(
        !annotations.contains_key("sluice.dev/proof"),
        "{annotations:?}"
    );
    assert_eq!(stamps(&orders), json!({"approve-by": "somebody"}));
    assert_eq!(orders.data["status"]["handledRetry"], Value::Null);
}
