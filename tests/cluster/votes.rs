//! What becomes of votes: they say when they are spent, and go if they may. Rules A4 and A11.

use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use sluice::crd::{ApprovalState, Pipeline, PipelineApproval};
use sluice::guarded::{self, Guarded};

use sluice_test_support::cluster::{ADMIN, Cluster, OPERATOR, answer, create, pipeline, raw, vote};
use sluice_test_support::story::{
    ORDERS, Story, changed_otherwise, eventually, extended, has_type, id, is_at,
};

async fn votes(story: &Story) -> Vec<PipelineApproval> {
    let api = story.api::<PipelineApproval>();
    let listed = api.list(&ListParams::default()).await;
    listed.expect("a list").items
}

/// What stands in a vote of what became of its change.
async fn until_spent(story: &Story, name: &str) -> Option<ApprovalState> {
    let votes = story.api::<PipelineApproval>();
    eventually("the vote is spent", || async {
        let vote = votes.get(name).await.expect("the vote");
        match vote.status {
            Some(status) if status.spent_since.is_some() => Ok(status.change_state),
            other => Err(other),
        }
    })
    .await
}

/// The vote as the plugin writes it.
async fn vote_that_may_go(story: &Story, change: &str) -> String {
    let mut vote = vote(ORDERS, "may-go");
    vote["spec"]["changeId"] = json!(change);
    vote["spec"]["clearAfter"] = json!("Settled");
    let made = create(&story.api::<PipelineApproval>(), vote).await;
    made.expect("the vote").metadata.name.expect("a name")
}

#[tokio::test]
async fn a4_a_vote_says_what_became_of_its_change_and_nobody_is_told_that_it_is_there() {
    let story = Story::begin().await;
    let waiting = story.waiting().await;
    story.vote("in-git", &id(&waiting), "Approve").await;
    story.until_sealed().await;
    assert_eq!(
        until_spent(&story, "in-git").await,
        Some(ApprovalState::Sealed)
    );
    story.change_to(&changed_otherwise()).await;
    let other = story.until_waiting().await;
    story.vote("a-no", &id(&other), "Reject").await;
    story.until_rejected().await;
    // As long as it may be opened again it isn't over.
    story.rests().await;
    let no = story.api::<PipelineApproval>().get("a-no").await;
    assert_eq!(no.expect("it stays").spent_since(), None);
    story.change_to(&extended()).await;
    let third = story.until("another change waits", |p| {
        is_at(p, ApprovalState::Awaiting)
    });
    story.vote("third", &id(&third.await), "Approve").await;
    story.until_sealed().await;
    assert_eq!(
        until_spent(&story, "a-no").await,
        Some(ApprovalState::Rejected)
    );
    assert_eq!(
        until_spent(&story, "third").await,
        Some(ApprovalState::Sealed)
    );
    story.rests().await;
    assert_eq!(votes(&story).await.len(), 3, "no retention is over");
    assert_eq!(story.events("StaleApproval").await.len(), 0);
    let shown = story.cluster().kubectl(
        ADMIN,
        &["get", "fpa", "-n", &story.namespace, "--no-headers"],
    );
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("Sealed") && shown.contains("Rejected"),
        "{shown}"
    );
}

#[tokio::test]
async fn a11_approvals_that_say_so_go_after_the_retention_and_nothing_else_does() {
    let mut story = Story::without_operator(&[]).await;
    story.engine_object(json!({})).await;
    story.start_operator_with(&["--vote-retention", "3s"]).await;
    let waiting = story.waiting().await;
    let change = id(&waiting);
    story.vote("in-git", &change, "Approve").await;
    let may_go = vote_that_may_go(&story, &change).await;
    story.until_sealed().await;
    let spent = until_spent(&story, "in-git").await;
    assert_eq!(spent, Some(ApprovalState::Sealed));
    let api = story.api::<PipelineApproval>();
    eventually("it is gone, with nothing else to wake anybody", || async {
        let vote = api.get_opt(&may_go).await.expect("an answer");
        vote.map_or(Ok(()), |vote| Err(vote.status))
    })
    .await;
    story.change_to(&changed_otherwise()).await;
    let other = story.until_waiting().await;
    story.vote("a-no", &id(&other), "Reject").await;
    story.until_rejected().await;
    story.change_to(&extended()).await;
    story
        .until("another change waits", |p| {
            is_at(p, ApprovalState::Awaiting)
        })
        .await;
    assert_eq!(
        until_spent(&story, "a-no").await,
        Some(ApprovalState::Rejected)
    );
    story.rests_for(std::time::Duration::from_secs(4)).await;
    let mut left: Vec<_> = votes(&story).await.into_iter().collect();
    left.retain(|vote| vote.spec.clear_after.is_some());
    assert_eq!(left, []);
    assert_eq!(votes(&story).await.len(), 2);
    assert!(!has_type(&story.now().await, "StaleApproval"));
}

#[tokio::test]
async fn a11_a_rejection_cannot_say_that_it_may_go_and_nothing_is_edited_into_saying_so() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("clear-after").await;
    let admin = cluster.admin().await;
    let api: Api<PipelineApproval> = Api::namespaced(admin, &namespace);
    let mut no = vote(ORDERS, "no");
    no["spec"]["decision"] = json!("Reject");
    no["spec"]["clearAfter"] = json!("Settled");
    no["spec"]["voter"] = json!(ADMIN);
    let refused = create(&api, no.clone()).await.expect_err("it stays");
    let sentence = "clearAfter is for approvals only: a rejection stays as long as its Pipeline";
    assert!(refused.message.contains(sentence), "{}", refused.message);
    let yes = create(&api, vote(ORDERS, "yes")).await.expect("a vote");
    assert_eq!(yes.spec.clear_after, None);
    let patch = Patch::Merge(json!({"spec": {"clearAfter": "Settled"}}));
    let edited = api.patch("yes", &PatchParams::default(), &patch).await;
    let refused = answer(edited).expect_err("it is never edited");
    assert!(
        refused.message.contains("can't be edited"),
        "{}",
        refused.message
    );
    let mut odd = vote(ORDERS, "odd");
    odd["spec"]["clearAfter"] = json!("Tomorrow");
    let raw = raw::<PipelineApproval>(&cluster.admin().await, &namespace);
    let refused = create(&raw, odd).await.expect_err("no such thing");
    assert!(refused.message.contains("Settled"), "{}", refused.message);
}

#[tokio::test]
async fn a11_sluices_account_deletes_no_vote_that_does_not_say_so() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("clear-after").await;
    let api: Api<PipelineApproval> = Api::namespaced(cluster.admin().await, &namespace);
    let operator: Api<PipelineApproval> =
        Api::namespaced(cluster.client_for(OPERATOR).await, &namespace);
    let mut may_go = vote(ORDERS, "may-go");
    may_go["spec"]["clearAfter"] = json!("Settled");
    let mut no = vote(ORDERS, "no");
    no["spec"]["decision"] = json!("Reject");
    for (vote, goes) in [(may_go, true), (vote(ORDERS, "in-git"), false), (no, false)] {
        let made = create(&api, vote).await.expect("a vote");
        let name = made.metadata.name.expect("a name");
        let deleted = operator.delete(&name, &DeleteParams::default()).await;
        match answer(deleted.map(drop)) {
            Ok(()) => assert!(goes, "{name}"),
            Err(refused) => {
                assert!(!goes, "{name}: {}", refused.message);
                let sentence = "Sluice's account deletes only votes that its REST endpoint wrote";
                assert!(refused.message.contains(sentence), "{}", refused.message);
            }
        }
    }
}

#[tokio::test]
async fn a13_nobody_but_sluice_writes_the_status_of_a_vote() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("status-of-votes").await;
    let admin: Api<PipelineApproval> = Api::namespaced(cluster.admin().await, &namespace);
    // Whoever makes one can't say it either.
    let mut forged = vote(ORDERS, "yes");
    forged["status"] = json!({"changeState": "Sealed", "spentSince": "2026-01-01T00:00:00Z"});
    let made = create(&admin, forged).await.expect("a vote");
    assert_eq!(made.status, None);
    let patch = |state: &str| {
        let status = json!({"changeState": state, "spentSince": "2026-01-01T00:00:00Z"});
        Patch::<Value>::Merge(json!({"status": status}))
    };
    let params = PatchParams::default();
    let forged = admin.patch_status("yes", &params, &patch("Sealed")).await;
    let refused = answer(forged).expect_err("not even an administrator");
    let sentence = "the status of a PipelineApproval is written by Sluice's own account";
    assert!(refused.message.contains(sentence), "{}", refused.message);
    let operator: Api<PipelineApproval> =
        Api::namespaced(cluster.client_for(OPERATOR).await, &namespace);
    let sealed = patch("Sealed");
    let written = operator.patch_status("yes", &params, &sealed).await;
    assert!(written.expect("it may").spent_since().is_some());
}

/// On Kubernetes 1.30 it can select by no field of a custom resource, and says so as here of one that isn't selectable.
#[tokio::test]
async fn the_votes_on_a_pipeline_are_selected_where_the_api_server_can_and_sifted_where_it_cannot()
{
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("selected").await;
    let client = cluster.admin().await;
    let votes: Api<PipelineApproval> = Api::namespaced(client.clone(), &namespace);
    let pipelines: Api<Pipeline> = Api::namespaced(client.clone(), &namespace);
    for (number, name) in ["clicks", ORDERS, "refunds", ORDERS, ORDERS]
        .iter()
        .enumerate()
    {
        let made = create(&votes, vote(name, &format!("v{number}"))).await;
        made.expect("a vote");
    }
    let spec = json!({"program": {"sql": ""}, "pipelineName": ORDERS});
    for name in ["a", "b", "c"] {
        let made = create(&pipelines, pipeline(name, spec.clone())).await;
        made.expect("a Pipeline");
    }
    let guarded_votes: Api<Guarded<PipelineApproval>> = Api::namespaced(client.clone(), &namespace);
    let seen = std::cell::Cell::new(0);
    let found = guarded::list_where(&guarded_votes, "spec.pipelineRef.name", ORDERS, 2, |vote| {
        seen.set(seen.get() + 1);
        vote.0.ok()?.metadata.name
    });
    assert_eq!(found.await.expect("a list"), ["v1", "v3", "v4"]);
    assert_eq!(seen.get(), 3, "the others were not sent");
    let guarded_pipelines: Api<Guarded<Pipeline>> = Api::namespaced(client, &namespace);
    let found = guarded::list_where(&guarded_pipelines, "spec.pipelineName", ORDERS, 2, |it| {
        let it = it.0.ok()?;
        (it.spec.pipeline_name.as_deref() == Some(ORDERS)).then_some(it.metadata.name)?
    });
    assert_eq!(found.await.expect("a list"), ["a", "b", "c"]);
}
