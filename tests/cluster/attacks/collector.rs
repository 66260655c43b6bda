//! Kubernetes' garbage collector deletes whatever names an owner that doesn't exist, in whoever's hands the pen was.

use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use sluice::crd::{Engine, Pipeline, PipelineApproval};

use super::scene::refused;
use sluice_test_support::cluster::{
    ADMIN, Cluster, answer, create, eventually, pipeline, raw, said, vote,
};
use sluice_test_support::story::{Story, id, is_at};

/// An owner that there isn't.
fn nobody() -> Value {
    json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "nobody",
        "uid": "00000000-0000-0000-0000-000000000000",
    }])
}

fn owned_by(owners: &Value) -> Value {
    json!({"metadata": {"ownerReferences": owners}})
}

async fn patch(
    api: &Api<DynamicObject>,
    name: &str,
    patch: Value,
) -> Result<DynamicObject, Box<kube::core::Status>> {
    let patch = Patch::Merge(patch);
    answer(api.patch(name, &PatchParams::default(), &patch).await)
}

/// Gives a user these verbs on all our kinds in the namespace, by a role that isn't ours.
async fn give(cluster: &Cluster, namespace: &str, user: &str, verbs: &[&str]) {
    let roles: Api<ClusterRole> = Api::all(cluster.admin().await);
    let name = format!("test-{}", verbs.join("-"));
    let role = json!({
        "metadata": {"name": name},
        "rules": [{
            "apiGroups": ["sluice.dev"],
            "resources": ["pipelines", "pipelineapprovals", "engines"],
            "verbs": verbs,
        }],
    });
    // Another test may have made it.
    let _ = create(&roles, role).await;
    cluster.grant(namespace, user, &name).await;
}

#[tokio::test]
async fn a13_nobody_has_the_garbage_collector_withdraw_a_no() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("attack").await;
    cluster.grant(&namespace, "alice", "sluice-approver").await;
    let all = ["get", "create", "update", "patch", "delete"];
    give(cluster, &namespace, "bob", &all).await;
    give(cluster, &namespace, "alice", &all).await;
    let by_alice = raw::<PipelineApproval>(&cluster.client_for("alice").await, &namespace);
    let by_bob = raw::<PipelineApproval>(&cluster.client_for("bob").await, &namespace);
    let owner = create(
        &raw::<Pipeline>(&cluster.admin().await, &namespace),
        pipeline("orders", json!({"program": {"sql": ""}})),
    )
    .await
    .expect("a Pipeline");
    let of_orders = json!([{
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Pipeline", "name": "orders",
        "uid": owner.metadata.uid,
    }]);
    let mut no = vote("orders", "no");
    no["spec"]["decision"] = json!("Reject");
    no["metadata"]["ownerReferences"] = of_orders.clone();
    eventually("alice may vote", || create(&by_alice, no.clone())).await;
    let labelled = json!({"metadata": {"labels": {"a": "b"}}});
    eventually("bob may patch", || patch(&by_bob, "no", labelled.clone())).await;

    let sentence = format!(
        "metadata.ownerReferences can have the garbage collector withdraw this rejection, so writing there needs the verb approve on Pipeline orders, which bob doesn't have in namespace {}: ask somebody who has it, or an administrator to bind the ClusterRole sluice-approver to you there",
        &*namespace
    );
    let mut both = of_orders.clone();
    both.as_array_mut()
        .expect("owners")
        .extend(nobody().as_array().expect("owners").clone());
    for owners in [nobody(), both] {
        refused(patch(&by_bob, "no", owned_by(&owners)).await, &sentence);
    }
    let mut whole = answer(by_bob.get("no").await).expect("the vote");
    whole.metadata.owner_references = serde_json::from_value(nobody()).expect("owners");
    let replaced = by_bob.replace("no", &Default::default(), &whole).await;
    refused(answer(replaced), &sentence);
    // Without an owner it stays for ever: that withdraws nothing, and the garbage collector does so itself.
    patch(&by_bob, "no", owned_by(&Value::Null))
        .await
        .expect("it stays");
    let back = patch(&by_bob, "no", owned_by(&of_orders)).await;
    refused(back, &sentence);
    // In most clusters it has an account of its own, which has no right to approve.
    let patched = cluster.kubectl(
        ADMIN,
        &[
            "patch",
            "pipelineapproval",
            "no",
            "-n",
            &namespace,
            "--type=merge",
            "--dry-run=server",
            "--as=system:serviceaccount:kube-system:generic-garbage-collector",
            "-p",
            &owned_by(&of_orders).to_string(),
        ],
    );
    assert!(patched.status.success(), "{}", said(&patched));
    // Whoever may withdraw it may let that be done.
    patch(&by_alice, "no", owned_by(&nobody()))
        .await
        .expect("alice has the verb");
    eventually("it is collected", || async {
        let found = answer(by_alice.get_opt("no").await).expect("an answer");
        found.map_or(Ok(()), Err)
    })
    .await;
}

#[tokio::test]
async fn a13_who_may_not_delete_has_nothing_deleted_by_naming_an_owner() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("attack").await;
    give(cluster, &namespace, "bob", &["get", "patch"]).await;
    give(cluster, &namespace, "dave", &["get", "patch", "delete"]).await;
    let admin = cluster.admin().await;
    let objects = [
        (
            raw::<Pipeline>(&admin, &namespace),
            pipeline("any", json!({"program": {"sql": ""}})),
        ),
        (
            raw::<Engine>(&admin, &namespace),
            json!({
                "apiVersion": "sluice.dev/v1alpha1", "kind": "Engine",
                "metadata": {"name": "any"}, "spec": {"url": "https://a.example.com"},
            }),
        ),
        (
            raw::<PipelineApproval>(&admin, &namespace),
            vote("orders", "any"),
        ),
    ];
    for (by_admin, object) in objects {
        let kind = object["kind"].clone();
        create(&by_admin, object).await.expect("an object");
        let as_user = async |user: &str| {
            let client = cluster.client_for(user).await;
            match kind.as_str() {
                Some("Pipeline") => raw::<Pipeline>(&client, &namespace),
                Some("Engine") => raw::<Engine>(&client, &namespace),
                _ => raw::<PipelineApproval>(&client, &namespace),
            }
        };
        let (by_bob, by_dave) = (as_user("bob").await, as_user("dave").await);
        let labelled = json!({"metadata": {"labels": {"a": "b"}}});
        for api in [&by_bob, &by_dave] {
            eventually("the bindings count", || patch(api, "any", labelled.clone())).await;
        }
        let sentence = "metadata.ownerReferences can have Kubernetes' garbage collector delete this object, so writing there needs the verb delete on it";
        let patched = patch(&by_bob, "any", owned_by(&nobody())).await;
        refused(patched, sentence);
        patch(&by_dave, "any", owned_by(&nobody()))
            .await
            .unwrap_or_else(|status| panic!("{kind}: {}", status.message));
    }
}

#[tokio::test]
async fn a5_a_no_that_is_recorded_holds_when_its_vote_is_collected() {
    let story = Story::begin().await;
    let waiting = id(&story.waiting().await);
    story.vote("no", &waiting, "Reject").await;
    story.until_rejected().await;
    let votes = raw::<PipelineApproval>(&story.client, &story.namespace);
    patch(&votes, "no", owned_by(&nobody()))
        .await
        .expect("an administrator may");
    eventually("it is collected", || async {
        let found = answer(votes.get_opt("no").await).expect("an answer");
        found.map_or(Ok(()), Err)
    })
    .await;
    // An approval that comes now comes too late.
    story.approve(&waiting).await;
    story.engine.ticks(3).await;
    let now = story.now().await;
    assert!(
        is_at(&now, sluice::crd::ApprovalState::Rejected),
        "{:?}",
        now.status
    );
}
