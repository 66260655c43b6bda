//! Who may do what: the roles and the admission policies of `deploy/sluice.yaml` on a real API
//! server. The names of the tests are those of the rules that they hold.

use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, Role, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use sluice::crd::{Engine, Pipeline, PipelineApproval};

use sluice_test_support::cluster::{
    ADMIN, CHANGE, Cluster, Namespace, OPERATOR, answer, create, eventually, pipeline, raw, said,
    vote, write_approval,
};

/// A namespace in which alice may approve, bob may edit and carol may view. Bob may also create
/// votes as objects, so that only the policy stands between him and an approval.
async fn staffed(cluster: &Cluster) -> Namespace {
    let namespace = cluster.namespace("policy").await;
    let roles: Api<ClusterRole> = Api::all(cluster.admin().await);
    let creator = json!({
        "metadata": {"name": "test-creates-votes"},
        "rules": [{"apiGroups": ["sluice.dev"], "resources": ["pipelineapprovals"], "verbs": ["create", "update", "patch", "delete"]}],
    });
    // Another test may have made it.
    let _ = create(&roles, creator).await;
    for (user, role) in [
        ("alice", "sluice-approver"),
        ("bob", "sluice-editor"),
        ("bob", "test-creates-votes"),
        ("carol", "sluice-viewer"),
    ] {
        cluster.grant(&namespace, user, role).await;
    }
    // The authorizer learns of bindings by a watch.
    eventually("the bindings count", || async {
        let allowed = may(cluster, "carol", "get", "pipelines", &namespace).await
            && may(cluster, "bob", "create", "pipelineapprovals", &namespace).await;
        allowed.then_some(()).ok_or("not yet")
    })
    .await;
    namespace
}

/// Whether RBAC lets a user do something to a resource, written `resource/subresource.group=name`, where
/// all but the first may be left out; the group is then ours.
async fn may(cluster: &Cluster, user: &str, verb: &str, resource: &str, namespace: &str) -> bool {
    let (resource, name) = resource.split_once('=').unwrap_or((resource, ""));
    let (resource, group) = resource.split_once('.').unwrap_or((resource, "sluice.dev"));
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let group = if group == "core" { "" } else { group };
    let reviews: Api<SubjectAccessReview> = Api::all(cluster.admin().await);
    let review = json!({
        "metadata": {},
        "spec": {
            "user": user,
            "groups": ["system:authenticated"],
            "resourceAttributes": {
                "group": group, "resource": resource, "subresource": subresource,
                "verb": verb, "namespace": namespace, "name": name,
            },
        },
    });
    let review = create(&reviews, review).await.expect("an answer");
    review.status.expect("a status").allowed
}

#[tokio::test]
async fn a13_an_approver_may_vote_and_an_editor_may_not() {
    let cluster = Cluster::shared().await;
    let namespace = staffed(cluster).await;
    for decision in ["Approve", "Reject"] {
        let mut object = vote("orders", &format!("by-alice-{}", decision.to_lowercase()));
        object["spec"]["decision"] = json!(decision);
        let api = raw::<PipelineApproval>(&cluster.client_for("alice").await, &namespace);
        create(&api, object.clone()).await.expect("alice may vote");

        let api = raw::<PipelineApproval>(&cluster.client_for("bob").await, &namespace);
        object["metadata"]["name"] = json!("by-bob");
        let refused = create(&api, object).await.expect_err("bob may not vote");
        assert_eq!(refused.code, 403);
        let sentence = format!(
            "a vote on Pipeline orders needs the verb approve on it, which bob doesn't have in namespace {}: ask somebody who has it to vote, or an administrator to bind the ClusterRole sluice-approver to you there",
            &*namespace
        );
        assert!(refused.message.ends_with(&sentence), "{}", refused.message);
    }
    let api = raw::<PipelineApproval>(&cluster.client_for("carol").await, &namespace);
    let refused = create(&api, vote("orders", "by-carol"))
        .await
        .expect_err("carol may not");
    assert!(
        refused.message.contains("cannot create resource"),
        "{}",
        refused.message
    );
}

#[tokio::test]
async fn a13_the_right_to_approve_may_be_given_for_single_pipelines() {
    let cluster = Cluster::shared().await;
    let namespace = staffed(cluster).await;
    let admin = cluster.admin().await;
    let roles: Api<Role> = Api::namespaced(admin.clone(), &namespace);
    let role = json!({
        "metadata": {"name": "approves-orders"},
        "rules": [{"apiGroups": ["sluice.dev"], "resources": ["pipelines"], "resourceNames": ["orders"], "verbs": ["approve"]}],
    });
    create(&roles, role).await.expect("the role");
    let bindings: Api<RoleBinding> = Api::namespaced(admin, &namespace);
    let binding = json!({
        "metadata": {"name": "approves-orders"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "approves-orders"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
    });
    create(&bindings, binding).await.expect("the binding");
    let api = raw::<PipelineApproval>(&cluster.client_for("bob").await, &namespace);
    eventually("bob may approve orders", || async {
        create(&api, vote("orders", "on-orders")).await
    })
    .await;
    let refused = create(&api, vote("clicks", "on-clicks")).await;
    let refused = refused.expect_err("no right on that one");
    assert!(
        refused
            .message
            .contains("a vote on Pipeline clicks needs the verb approve")
    );
}

#[tokio::test]
async fn a13_the_right_to_approve_ends_at_the_namespace() {
    let cluster = Cluster::shared().await;
    let _hers = staffed(cluster).await;
    let elsewhere = cluster.namespace("policy").await;
    cluster
        .grant(&elsewhere, "alice", "test-creates-votes")
        .await;
    let api = raw::<PipelineApproval>(&cluster.client_for("alice").await, &elsewhere);
    let refused = eventually("the binding counts", || async {
        match create(&api, vote("orders", "elsewhere")).await {
            Err(status) if status.message.contains("cannot create resource") => Err(status),
            other => Ok(other),
        }
    })
    .await;
    let refused = refused.expect_err("alice may approve in her namespace only");
    assert!(
        refused.message.contains("needs the verb approve"),
        "{}",
        refused.message
    );
}

#[tokio::test]
async fn a12_only_the_rest_endpoint_speaks_for_others() {
    let cluster = Cluster::shared().await;
    let namespace = staffed(cluster).await;
    let admin = cluster.admin().await;
    // An account of the same name in another namespace is another account.
    let accounts = Api::namespaced(admin.clone(), &namespace);
    let account = json!({"metadata": {"name": "sluice"}});
    create::<ServiceAccount>(&accounts, account)
        .await
        .expect("an account");
    let impostor = format!("system:serviceaccount:{}:sluice", &*namespace);
    cluster
        .grant(&namespace, &impostor, "sluice-approver")
        .await;
    let mut for_eve = vote("orders", "for-eve");
    for_eve["spec"]["onBehalfOf"] = json!({"username": "eve", "groups": ["approvers"]});

    for user in [ADMIN, "alice", "bob", &impostor] {
        let api = raw::<PipelineApproval>(&cluster.client_for(user).await, &namespace);
        let refused = eventually("the binding counts", || async {
            match create(&api, for_eve.clone()).await {
                Err(status) if status.message.contains("cannot create resource") => Err(status),
                other => Ok(other),
            }
        })
        .await;
        let refused = refused
            .err()
            .unwrap_or_else(|| panic!("{user} spoke for eve"));
        assert_eq!(refused.code, 403);
        let sentence = format!(
            "spec.onBehalfOf names another voter, which only the account of Sluice's REST endpoint may do: leave it out, and the vote is that of {user}"
        );
        assert!(refused.message.ends_with(&sentence), "{}", refused.message);
    }

    let api = raw::<PipelineApproval>(&cluster.client_for(OPERATOR).await, &namespace);
    create(&api, for_eve).await.expect("the REST endpoint may");
    // Naming nobody, it votes itself, and for that it has no right.
    let own = vote("orders", "own");
    let mut null = own.clone();
    null["spec"]["onBehalfOf"] = Value::Null;
    let by_alice = raw::<PipelineApproval>(&cluster.client_for("alice").await, &namespace);
    create(&by_alice, null.clone())
        .await
        .expect("null names nobody else");
    null["metadata"]["name"] = json!("null");
    for own in [own, null] {
        let refused = create(&api, own)
            .await
            .expect_err("it has no vote of its own");
        assert!(
            refused.message.contains("needs the verb approve"),
            "{}",
            refused.message
        );
    }
}

#[tokio::test]
async fn a12_a_vote_names_nobody_but_who_wrote_it() {
    let cluster = Cluster::shared().await;
    let namespace = staffed(cluster).await;
    let api = raw::<PipelineApproval>(&cluster.client_for("alice").await, &namespace);
    let mut object = vote("orders", "named");
    for other in ["bob", "Alice", "admin"] {
        object["spec"]["voter"] = json!(other);
        let refused = create(&api, object.clone())
            .await
            .expect_err("not her name");
        let sentence = "spec.voter must be who you are: write there alice";
        assert!(refused.message.ends_with(sentence), "{}", refused.message);
    }
    object["spec"]["voter"] = json!("alice");
    create(&api, object.clone()).await.expect("her own name");
    // Not even Sluice's account votes in a name of its own and another's at once.
    object["spec"]["onBehalfOf"] = json!({"username": "alice"});
    let ours = raw::<PipelineApproval>(&cluster.client_for(OPERATOR).await, &namespace);
    let refused = create(&ours, object).await.expect_err("two names");
    assert!(
        refused
            .message
            .contains("set either voter, to your own name, or onBehalfOf")
    );
}

#[tokio::test]
async fn a11_sluice_deletes_only_votes_that_it_wrote() {
    let cluster = Cluster::shared().await;
    let namespace = staffed(cluster).await;
    let by_alice = raw::<PipelineApproval>(&cluster.client_for("alice").await, &namespace);
    create(&by_alice, vote("orders", "alices"))
        .await
        .expect("a vote");
    let ours = raw::<PipelineApproval>(&cluster.client_for(OPERATOR).await, &namespace);
    let mut for_eve = vote("orders", "eves");
    for_eve["spec"]["onBehalfOf"] = json!({"username": "eve"});
    create(&ours, for_eve).await.expect("a vote");

    let refused = answer(ours.delete("alices", &DeleteParams::default()).await).err();
    let refused = refused.expect("alice's vote is hers");
    assert!(
        refused
            .message
            .contains("Sluice's account deletes only votes that its REST endpoint wrote"),
        "{}",
        refused.message
    );
    answer(ours.delete("eves", &DeleteParams::default()).await).expect("its own");
    // Withdrawing a rejection needs the right to approve as well.
    let mut no = vote("orders", "alices-no");
    no["spec"]["decision"] = json!("Reject");
    create(&by_alice, no).await.expect("a vote");
    let by_bob = raw::<PipelineApproval>(&cluster.client_for("bob").await, &namespace);
    let refused = answer(by_bob.delete("alices-no", &DeleteParams::default()).await).err();
    let refused = refused.expect("bob may not withdraw it");
    assert!(
        refused
            .message
            .contains("deleting a rejection needs the verb approve on Pipeline orders"),
        "{}",
        refused.message
    );
    // Whoever else may delete, may.
    let by_bob = raw::<PipelineApproval>(&cluster.client_for("bob").await, &namespace);
    answer(by_bob.delete("alices", &DeleteParams::default()).await).expect("bob was given it");
}

#[tokio::test]
async fn a11_rejections_go_with_their_pipeline_and_with_their_namespace() {
    let cluster = Cluster::shared().await;
    let namespace = staffed(cluster).await;
    let admin = cluster.admin().await;
    let pipelines: Api<Pipeline> = Api::namespaced(admin.clone(), &namespace);
    let owner = create(
        &pipelines,
        pipeline("orders", json!({"program": {"sql": ""}})),
    )
    .await;
    let owner = owner.expect("a Pipeline");
    let mut no = vote("orders", "no");
    no["spec"]["decision"] = json!("Reject");
    let votes = raw::<PipelineApproval>(&cluster.client_for("alice").await, &namespace);
    create(&votes, no.clone()).await.expect("a vote");
    let mut owned = no.clone();
    owned["metadata"] = json!({"name": "owned", "ownerReferences": [{
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Pipeline", "name": "orders", "uid": owner.metadata.uid,
    }]});
    create(&votes, owned).await.expect("a vote");
    // In most clusters the garbage collector has an account of its own, and this account no right to approve.
    let collects = |account: &str| {
        let account = format!("--as=system:serviceaccount:{account}");
        let arguments = [
            "delete",
            "pipelineapproval",
            "owned",
            "--dry-run=server",
            &account,
        ];
        let output = cluster.kubectl(ADMIN, &[&arguments[..], &["-n", &namespace]].concat());
        (output.status.success(), said(&output))
    };
    let (collected, why) = collects("kube-system:generic-garbage-collector");
    assert!(collected, "{why}");
    let stranger = format!("{}:generic-garbage-collector", &*namespace);
    let bound = format!("system:serviceaccount:{stranger}");
    cluster
        .grant(&namespace, &bound, "test-creates-votes")
        .await;
    eventually("the binding counts", || async {
        let (collected, why) = collects(&stranger);
        let refused = why.contains("deleting a rejection needs the verb approve");
        (!collected && refused).then_some(()).ok_or(why)
    })
    .await;
    let params = DeleteParams::default();
    answer(pipelines.delete("orders", &params).await).expect("it is deleted");
    eventually("what the Pipeline owned is gone", || async {
        let found = votes.get_opt("owned").await.expect("an answer");
        found.map_or(Ok(()), Err)
    })
    .await;
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(admin);
    answer(namespaces.delete(&namespace, &params).await).expect("it is deleted");
    eventually("the namespace is gone", || async {
        let found = namespaces.get_opt(&namespace).await.expect("an answer");
        found.map_or(Ok(()), Err)
    })
    .await;
}

#[tokio::test]
async fn a11_sluice_edits_nothing_of_a_pipeline_but_its_finalizers() {
    let cluster = Cluster::shared().await;
    let namespace = staffed(cluster).await;
    let admin = cluster.admin().await;
    let api = raw::<Pipeline>(&admin, &namespace);
    let spec = json!({"program": {"sql": ""}});
    create(&api, pipeline("orders", spec.clone()))
        .await
        .expect("a Pipeline");
    let ours = raw::<Pipeline>(&cluster.client_for(OPERATOR).await, &namespace);
    let patch = |patch: Value| {
        let ours = ours.clone();
        async move {
            answer(
                ours.patch("orders", &PatchParams::default(), &Patch::Merge(patch))
                    .await,
            )
        }
    };
    let sentence = "Sluice's account edits nothing of a Pipeline or an Engine but its finalizers";
    // The policy takes some seconds to become active.
    eventually("the policy is active", || async {
        match patch(json!({"metadata": {"annotations": {"sluice.dev/probe": "x"}}})).await {
            Err(refused) if refused.message.contains(sentence) => Ok(()),
            other => Err(other),
        }
    })
    .await;
    // What the policy for everybody refuses as well is refused by either of them, in no fixed order.
    for (change, by_this_policy_alone) in [
        (json!({"spec": {"approved": true}}), false),
        (json!({"spec": {"desiredState": "stopped"}}), true),
        (json!({"spec": {"bootstrapPolicy": "allow"}}), false),
        (
            json!({"metadata": {"annotations": {"sluice.dev/approve": "x"}}}),
            false,
        ),
    ] {
        let refused = patch(change.clone()).await.err();
        let refused = refused.unwrap_or_else(|| panic!("{change} was taken"));
        assert_eq!(refused.code, 403);
        assert!(
            refused.message.contains(sentence) || !by_this_policy_alone,
            "{}",
            refused.message
        );
    }
    let finalizer = json!({"metadata": {"finalizers": [sluice::crd::FINALIZER]}});
    patch(finalizer).await.expect("its finalizer");
    write_approval(
        &cluster.client_for(OPERATOR).await,
        &namespace,
        "orders",
        "Awaiting",
    )
    .await;
    patch(json!({"metadata": {"finalizers": null}}))
        .await
        .expect("no finalizer");
    let refused = create(&ours, pipeline("another", spec))
        .await
        .expect_err("it makes none");
    assert_eq!(refused.code, 403);
    // People aren't held to that.
    let by_bob = raw::<Pipeline>(&cluster.client_for("bob").await, &namespace);
    let edit = Patch::Merge(json!({"spec": {"desiredState": "stopped"}}));
    answer(by_bob.patch("orders", &PatchParams::default(), &edit).await).expect("an edit");
}

#[tokio::test]
async fn a13_what_opens_the_gate_or_loses_state_needs_the_right_to_approve() {
    let cluster = Cluster::shared().await;
    let namespace = staffed(cluster).await;
    // Dave may edit and approve.
    for role in ["sluice-editor", "sluice-approver"] {
        cluster.grant(&namespace, "dave", role).await;
    }
    let by_bob = raw::<Pipeline>(&cluster.client_for("bob").await, &namespace);
    let by_dave = raw::<Pipeline>(&cluster.client_for("dave").await, &namespace);
    let program = json!({"program": {"sql": ""}});
    create(&by_bob, pipeline("orders", program.clone()))
        .await
        .expect("bob may edit");
    let edit = |api: &Api<DynamicObject>, change: &Value| {
        let (api, patch) = (api.clone(), Patch::Merge(change.clone()));
        async move { answer(api.patch("orders", &PatchParams::default(), &patch).await) }
    };
    let annotate = |key: &str, value: Value| json!({"metadata": {"annotations": {key: value}}});
    eventually("policy and bindings count", || async {
        match edit(&by_bob, &json!({"spec": {"approved": true}})).await {
            Err(refused) if refused.code == 403 => edit(&by_dave, &json!({})).await.map(|_| ()),
            other => other.map(|_| ()).and(Err(Box::default())),
        }
    })
    .await;
    for (change, what) in [
        (json!({"spec": {"approved": true}}), "spec.approved: true"),
        (
            json!({"spec": {"approvedChange": CHANGE}}),
            "spec.approvedChange",
        ),
        (
            json!({"spec": {"bootstrapPolicy": "allow"}}),
            "spec.bootstrapPolicy: allow",
        ),
        (
            json!({"spec": {"allowStateLoss": true}}),
            "spec.allowStateLoss: true",
        ),
        (
            json!({"spec": {"deletionPolicy": "Delete"}}),
            "spec.deletionPolicy: Delete",
        ),
        (
            annotate("sluice.dev/approve", json!(CHANGE)),
            "the annotation sluice.dev/approve",
        ),
        (
            annotate("sluice.dev/reject", json!(CHANGE)),
            "the annotation sluice.dev/reject",
        ),
        // Over dave's no, which is there by then.
        (
            annotate("sluice.dev/reject", json!("other")),
            "the annotation sluice.dev/reject",
        ),
        (
            annotate("sluice.dev/reject", json!(null)),
            "removing the annotation sluice.dev/reject",
        ),
        (
            annotate("sluice.dev/retry", json!("x")),
            "the annotation sluice.dev/retry",
        ),
    ] {
        let refused = edit(&by_bob, &change).await.err();
        let refused = refused.unwrap_or_else(|| panic!("bob wrote {change}"));
        let sentence = format!(
            "{what} needs the verb approve on Pipeline orders, which bob doesn't have in namespace {}: ask somebody who has it, or an administrator to bind the ClusterRole sluice-approver to you there",
            &*namespace
        );
        assert!(refused.message.ends_with(&sentence), "{}", refused.message);
        // With the Pipeline itself it is the same.
        if let Some(spec) = change.get("spec") {
            let mut object = pipeline("fresh", program.clone());
            for (key, value) in spec.as_object().expect("fields") {
                object["spec"][key] = value.clone();
            }
            let refused = create(&by_bob, object)
                .await
                .expect_err("not with that in it");
            assert!(refused.message.contains(what), "{}", refused.message);
        }
        edit(&by_dave, &change)
            .await
            .unwrap_or_else(|refused| panic!("{change}: {}", refused.message));
        // What is there already is nobody's new approval: a tool applies it again and again.
        if change["metadata"]["annotations"]["sluice.dev/reject"] != Value::Null
            || change.get("spec").is_some()
        {
            edit(&by_bob, &change)
                .await
                .unwrap_or_else(|refused| panic!("{change}: {}", refused.message));
        }
        edit(&by_bob, &json!({"spec": {"desiredState": "paused"}}))
            .await
            .expect("any other edit");
    }
}

#[tokio::test]
async fn a13_a_policy_that_rejects_what_waits_needs_the_right_to_approve() {
    let cluster = Cluster::shared().await;
    let namespace = staffed(cluster).await;
    let by_bob = raw::<Pipeline>(&cluster.client_for("bob").await, &namespace);
    create(&by_bob, pipeline("orders", json!({"program": {"sql": ""}})))
        .await
        .expect("bob may edit");
    let policy = async |policy: &str| {
        let patch = Patch::Merge(json!({"spec": {"bootstrapPolicy": policy}}));
        let patched = by_bob
            .patch("orders", &PatchParams::default(), &patch)
            .await;
        answer(patched)
    };
    // While nothing waits it only shuts the gate.
    policy("reject").await.expect("a stricter gate");
    policy("await_approval").await.expect("as it was");
    let ours = cluster.client_for(OPERATOR).await;
    write_approval(&ours, &namespace, "orders", "Awaiting").await;
    let refused = policy("reject").await.expect_err("that is a vote");
    assert_eq!(refused.code, 403);
    let sentence = "spec.bootstrapPolicy: reject rejects the change that waits, and needs the verb approve on Pipeline orders";
    assert!(refused.message.contains(sentence), "{}", refused.message);
    write_approval(&ours, &namespace, "orders", "Sealed").await;
    policy("reject").await.expect("nothing waits any more");
}

#[tokio::test]
async fn a13_a_rejection_by_annotation_may_be_taken_away_once_it_is_recorded() {
    let cluster = Cluster::shared().await;
    let namespace = staffed(cluster).await;
    for role in ["sluice-editor", "sluice-approver"] {
        cluster.grant(&namespace, "dave", role).await;
    }
    let by_bob = raw::<Pipeline>(&cluster.client_for("bob").await, &namespace);
    let by_dave = raw::<Pipeline>(&cluster.client_for("dave").await, &namespace);
    create(&by_bob, pipeline("orders", json!({"program": {"sql": ""}})))
        .await
        .expect("bob may edit");
    let reject = async |api: &Api<DynamicObject>, id: Value| {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"sluice.dev/reject": id}}}));
        let patched = api.patch("orders", &PatchParams::default(), &patch).await;
        answer(patched)
    };
    let ours = cluster.client_for(OPERATOR).await;
    // That of another change than was rejected may yet decide something.
    let other = "f".repeat(32);
    for (id, state) in [
        (CHANGE, "Awaiting"),
        (CHANGE, "Applying"),
        (CHANGE, "Superseded"),
        (&other, "Rejected"),
    ] {
        write_approval(&ours, &namespace, "orders", state).await;
        eventually("the binding counts", || reject(&by_dave, json!(id))).await;
        let refused = reject(&by_bob, Value::Null).await;
        let refused = refused.expect_err("it may decide something");
        let sentence = "removing the annotation sluice.dev/reject needs the verb approve";
        assert!(refused.message.contains(sentence), "{}", refused.message);
    }
    reject(&by_dave, json!(CHANGE)).await.expect("a vote");
    write_approval(&ours, &namespace, "orders", "Rejected").await;
    let refused = reject(&by_bob, json!(other)).await;
    refused.expect_err("another vote is another vote");
    reject(&by_bob, Value::Null)
        .await
        .expect("what is recorded holds without it");
}

#[tokio::test]
async fn a1_robots_name_the_change() {
    let cluster = Cluster::shared().await;
    let namespace = staffed(cluster).await;
    let accounts = Api::namespaced(cluster.admin().await, &namespace);
    let account = json!({"metadata": {"name": "gitops"}});
    create::<ServiceAccount>(&accounts, account)
        .await
        .expect("an account");
    let robot = format!("system:serviceaccount:{}:gitops", &*namespace);
    for role in ["sluice-editor", "sluice-approver"] {
        cluster.grant(&namespace, &robot, role).await;
    }
    let api = raw::<Pipeline>(&cluster.client_for(&robot).await, &namespace);
    let with = |field: &str, value: Value| {
        pipeline("orders", json!({"program": {"sql": ""}, field: value}))
    };
    eventually("the bindings count", || async {
        create(&api, with("approvedChange", json!(CHANGE))).await
    })
    .await;
    let patch = Patch::Merge(json!({"spec": {"approved": true}}));
    let refused = eventually("the policy is active", || async {
        answer(api.patch("orders", &PatchParams::default(), &patch).await)
            .err()
            .ok_or("it was taken")
    })
    .await;
    assert!(
        refused.message.ends_with("spec.approved: true names no change, so it is for people: a service account sets spec.approvedChange to status.approval.changeId instead"),
        "{}",
        refused.message
    );
}

#[tokio::test]
async fn a13_roles_give_what_they_say_and_no_more() {
    let cluster = Cluster::shared().await;
    let namespace = staffed(cluster).await;
    // Kubernetes' own roles, into which two of ours are aggregated.
    for (user, role) in [("vera", "view"), ("ed", "edit"), ("ada", "admin")] {
        cluster.grant(&namespace, user, role).await;
    }
    eventually("the roles are aggregated", || async {
        let mut all = true;
        for (user, verb) in [("vera", "get"), ("ed", "patch"), ("ada", "patch")] {
            all &= may(cluster, user, verb, "pipelines", &namespace).await;
        }
        all.then_some(()).ok_or("not yet")
    })
    .await;
    for (user, verbs, resource, allowed) in [
        (
            "alice",
            &["get", "list", "watch", "approve"][..],
            "pipelines",
            true,
        ),
        (
            "alice",
            &["create", "update", "patch", "delete"],
            "pipelines",
            false,
        ),
        ("alice", &["update", "patch"], "pipelines/status", false),
        (
            "alice",
            &["update", "patch"],
            "pipelineapprovals/status",
            false,
        ),
        (
            "alice",
            &["get", "list", "watch", "create"],
            "pipelineapprovals",
            true,
        ),
        (
            "alice",
            &["update", "patch", "delete", "deletecollection"],
            "pipelineapprovals",
            false,
        ),
        (
            "bob",
            &[
                "get", "list", "watch", "create", "update", "patch", "delete",
            ],
            "pipelines",
            true,
        ),
        ("bob", &["approve"], "pipelines", false),
        ("bob", &["update", "patch"], "pipelines/status", false),
        (
            "bob",
            &["update", "patch"],
            "pipelineapprovals/status",
            false,
        ),
        ("bob", &["get", "list", "watch"], "engines", true),
        (
            "bob",
            &["create", "update", "patch", "delete"],
            "engines",
            false,
        ),
        ("carol", &["get", "list", "watch"], "pipelines", true),
        (
            "carol",
            &["get", "list", "watch"],
            "pipelineapprovals",
            true,
        ),
        (
            "carol",
            &["create", "update", "patch", "delete", "approve"],
            "pipelines",
            false,
        ),
        ("carol", &["create"], "pipelineapprovals", false),
        ("vera", &["get", "list", "watch"], "pipelines", true),
        ("vera", &["create", "patch", "approve"], "pipelines", false),
        ("ed", &["create", "patch", "delete"], "pipelines", true),
        ("ed", &["approve"], "pipelines", false),
        ("ed", &["create"], "pipelineapprovals", false),
        ("ed", &["update", "patch"], "pipelines/status", false),
        (
            "ed",
            &["update", "patch"],
            "pipelineapprovals/status",
            false,
        ),
        ("ed", &["create", "update", "patch"], "engines", false),
        ("ada", &["approve"], "pipelines", false),
        ("ada", &["create"], "pipelineapprovals", false),
        ("ada", &["update", "patch"], "pipelines/status", false),
        (
            "ada",
            &["update", "patch"],
            "pipelineapprovals/status",
            false,
        ),
        (
            OPERATOR,
            &["get", "list", "watch", "patch"],
            "pipelines",
            true,
        ),
        (
            OPERATOR,
            &["create", "update", "delete", "approve"],
            "pipelines",
            false,
        ),
        (OPERATOR, &["patch"], "pipelines/status", true),
        (OPERATOR, &["patch"], "engines/status", true),
        (OPERATOR, &["patch"], "pipelineapprovals/status", true),
        (OPERATOR, &["list", "watch", "patch"], "engines", true),
        (
            OPERATOR,
            &["get", "create", "update", "delete"],
            "engines",
            false,
        ),
        (
            OPERATOR,
            &["get", "list", "watch", "create", "delete"],
            "pipelineapprovals",
            true,
        ),
        (OPERATOR, &["update", "patch"], "pipelineapprovals", false),
        (OPERATOR, &["get", "list", "watch"], "configmaps.core", true),
        (
            OPERATOR,
            &["create", "update", "patch", "delete"],
            "configmaps.core",
            false,
        ),
        (OPERATOR, &["get"], "secrets.core", true),
        (
            OPERATOR,
            &["list", "watch", "create", "update", "patch", "delete"],
            "secrets.core",
            false,
        ),
        (OPERATOR, &["create", "patch"], "events.events.k8s.io", true),
        (
            OPERATOR,
            &["create"],
            "tokenreviews.authentication.k8s.io",
            true,
        ),
        (
            OPERATOR,
            &["create"],
            "subjectaccessreviews.authorization.k8s.io",
            true,
        ),
        (
            OPERATOR,
            &["get"],
            "customresourcedefinitions.apiextensions.k8s.io=pipelines.sluice.dev",
            true,
        ),
        (
            OPERATOR,
            &["get"],
            "customresourcedefinitions.apiextensions.k8s.io=others.example.com",
            false,
        ),
        (
            OPERATOR,
            &["list", "patch"],
            "customresourcedefinitions.apiextensions.k8s.io",
            false,
        ),
        (OPERATOR, &["create", "get"], "pods.core", false),
    ] {
        for verb in verbs {
            let allowed_now = may(cluster, user, verb, resource, &namespace).await;
            assert_eq!(allowed_now, allowed, "{user} {verb} {resource}");
        }
    }
}

#[tokio::test]
async fn an_editor_writes_no_status() {
    let cluster = Cluster::shared().await;
    let namespace = staffed(cluster).await;
    let by_bob: Api<Pipeline> = Api::namespaced(cluster.client_for("bob").await, &namespace);
    create(&by_bob, pipeline("orders", json!({"program": {"sql": ""}})))
        .await
        .expect("a Pipeline");
    let decision = Patch::Merge(json!({"status": {"phase": "Running"}}));
    let refused = answer(
        by_bob
            .patch_status("orders", &PatchParams::default(), &decision)
            .await,
    );
    assert_eq!(refused.expect_err("not his to write").code, 403);
    // Nor an engine, to which a credential belongs.
    let engines = raw::<Engine>(&cluster.client_for("bob").await, &namespace);
    let engine = json!({"apiVersion": "sluice.dev/v1alpha1", "kind": "Engine", "metadata": {"name": "mine"}, "spec": {"url": "https://evil.example.com"}});
    assert_eq!(
        create(&engines, engine)
            .await
            .expect_err("not his to make")
            .code,
        403
    );
}
