//! Whose vote is it, and on what? What stands beside a vote is the API server's own word.

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use sluice::crd::PipelineApproval;

use super::scene::{Scene, annotations, both, refused, stamps};
use sluice_test_support::cluster::{
    CHANGE, OPERATOR, answer, create, eventually, pipeline, raw, unobserved, vote, write_approval,
};

const OTHER: &str = "ffffffffffffffffffffffffffffffff";

/// The forms of a vote that a Pipeline can carry: the patch, and the annotation with its voter's name.
fn forms() -> [(Value, &'static str); 4] {
    [
        (json!({"spec": {"approved": true}}), "approved-by"),
        (
            json!({"spec": {"approvedChange": CHANGE}}),
            "approved-change-by",
        ),
        (annotations(json!({"approve": CHANGE})), "approve-by"),
        (annotations(json!({"reject": CHANGE})), "reject-by"),
    ]
}

#[tokio::test]
async fn a12_each_vote_gets_the_name_of_whoever_wrote_it() {
    let scene = Scene::set().await;
    for (vote, by) in forms() {
        let written = scene.patch("alice", vote).await.expect("alice may vote");
        assert_eq!(stamps(&written)[by], "alice");
    }
    assert_eq!(
        scene.stamps().await,
        json!({
            "approved-by": "alice", "approved-for": CHANGE, "approved-change-by": "alice",
            "approve-by": "alice", "reject-by": "alice",
        })
    );
    // And loses it with the vote.
    scene
        .patch(
            "alice",
            both(
                annotations(json!({"approve": null, "reject": null})),
                json!({"spec": {"approved": null, "approvedChange": null}}),
            ),
        )
        .await
        .expect("alice may withdraw");
    assert_eq!(scene.stamps().await, json!({}));
}

#[tokio::test]
async fn a12_nobody_writes_another_name_beside_a_vote() {
    let scene = Scene::set().await;
    for (vote, by) in forms() {
        for name in ["bob", "dave", "Alice", "ALICE", "alice ", OPERATOR] {
            let forged = both(vote.clone(), annotations(json!({by: name})));
            let sentence = format!("write there who you are, sluice.dev/{by}: alice");
            refused(scene.patch("alice", forged).await, &sentence);
        }
        // Without the vote there is nothing to put a name to.
        for user in ["alice", "bob"] {
            let forged = annotations(json!({by: user}));
            refused(
                scene.patch(user, forged).await,
                "there is none, so leave it out",
            );
        }
    }
    assert_eq!(scene.stamps().await, json!({}));
}

#[tokio::test]
async fn a12_a_name_stays_as_long_as_its_vote() {
    let scene = Scene::set().await;
    for (vote, by) in forms() {
        scene.patch("alice", vote.clone()).await.expect("a vote");
        // Neither somebody who may approve nor somebody who may edit puts another name there.
        for user in ["dave", "bob"] {
            let taken_over = annotations(json!({by: user}));
            let sentence = format!("leave it as it is, sluice.dev/{by}: alice");
            refused(scene.patch(user, taken_over.clone()).await, &sentence);
            let with_an_edit = both(taken_over, json!({"spec": {"desiredState": "stopped"}}));
            refused(scene.patch(user, with_an_edit).await, &sentence);
            // The same vote again is no new one.
            let again = scene.patch(user, vote.clone()).await.expect("no change");
            assert_eq!(stamps(&again)[by], "alice");
            // A client that drops the name gets it back.
            let dropped = scene.patch(user, annotations(json!({by: null}))).await;
            assert_eq!(stamps(&dropped.expect("no change"))[by], "alice");
        }
        // Everything else may be edited.
        let edited = scene
            .patch("bob", json!({"spec": {"desiredState": "paused"}}))
            .await
            .expect("an edit");
        assert_eq!(stamps(&edited)[by], "alice");
        let back = json!({"spec": {"desiredState": "running"}});
        scene.patch("bob", back).await.expect("an edit");
    }
}

#[tokio::test]
async fn a12_another_vote_in_the_same_place_is_its_writers() {
    let scene = Scene::set().await;
    for (first, second, by) in [
        (
            json!({"spec": {"approvedChange": CHANGE}}),
            json!({"spec": {"approvedChange": OTHER}}),
            "approved-change-by",
        ),
        (
            annotations(json!({"approve": CHANGE})),
            annotations(json!({"approve": OTHER})),
            "approve-by",
        ),
        (
            annotations(json!({"reject": CHANGE})),
            annotations(json!({"reject": OTHER})),
            "reject-by",
        ),
    ] {
        scene.patch("alice", first).await.expect("a vote");
        let theirs = both(second.clone(), annotations(json!({by: "alice"})));
        // Her name stands there already, so this isn't a claim; it is replaced.
        let written = scene.patch("dave", theirs).await.expect("a vote");
        assert_eq!(stamps(&written)[by], "dave");
        refused(
            scene
                .patch(
                    "dave",
                    both(
                        annotations(json!({by: "alice"})),
                        json!({"spec": {"approved": true}}),
                    ),
                )
                .await,
            &format!("leave it as it is, sluice.dev/{by}: dave"),
        );
    }
}

#[tokio::test]
async fn a12_whoever_changes_the_reason_votes() {
    let scene = Scene::set().await;
    let no = annotations(json!({"reject": CHANGE, "reason": "too late in the week"}));
    scene.patch("alice", no).await.expect("a vote");
    let other_words = annotations(json!({"reason": "I was bribed"}));
    refused(
        scene.patch("bob", other_words.clone()).await,
        "the annotation sluice.dev/reason beside a vote needs the verb approve",
    );
    let none = annotations(json!({"reason": null}));
    refused(
        scene.patch("bob", none).await,
        "beside a vote needs the verb approve",
    );
    let written = scene
        .patch("dave", other_words)
        .await
        .expect("dave may vote");
    let of_dave = json!({"reject-by": "dave", "reason-for": format!("reject {CHANGE}")});
    assert_eq!(stamps(&written), of_dave);
}

#[tokio::test]
async fn a12_a_reason_is_that_of_the_vote_that_it_was_written_with_and_of_no_other() {
    let scene = Scene::set().await;
    // Planted by somebody who may not vote, or left over: it says nothing of the vote that comes.
    let planted = annotations(json!({"reason": "I was bribed"}));
    scene.patch("bob", planted).await.expect("no vote stands");
    for verb in ["approve", "reject"] {
        let vote = annotations(json!({verb: CHANGE}));
        let written = scene.patch("alice", vote).await.expect("a vote");
        assert_eq!(stamps(&written), json!({(format!("{verb}-by")): "alice"}));
        // Nobody makes it hers, neither she nor somebody else.
        let forged = annotations(json!({"reason-for": format!("{verb} {CHANGE}")}));
        for user in ["alice", "dave", "bob"] {
            refused(
                scene.patch(user, forged.clone()).await,
                "with none that stands, so leave it out",
            );
        }
        let none = annotations(json!({verb: null}));
        scene
            .patch("alice", none)
            .await
            .expect("alice may withdraw");
    }
    // Written with the vote it is its reason, as long as both stand.
    let vote = annotations(json!({"approve": CHANGE, "reason": "looked at it"}));
    let written = scene.patch("alice", vote.clone()).await.expect("a vote");
    let hers = json!({"approve-by": "alice", "reason-for": format!("approve {CHANGE}")});
    assert_eq!(stamps(&written), hers);
    scene.patch("dave", vote).await.expect("no change");
    let edit = json!({"spec": {"desiredState": "paused"}});
    scene.patch("bob", edit).await.expect("an edit");
    let dropped = annotations(json!({"reason-for": null}));
    scene.patch("bob", dropped).await.expect("no change");
    assert_eq!(scene.stamps().await, hers);
    // The next vote, beside the words of the one before.
    let next = scene
        .patch("alice", annotations(json!({"approve": OTHER})))
        .await;
    assert_eq!(
        stamps(&next.expect("a vote")),
        json!({"approve-by": "alice"})
    );
    let back = scene
        .patch("alice", annotations(json!({"approve": CHANGE})))
        .await;
    assert_eq!(
        stamps(&back.expect("a vote")),
        json!({"approve-by": "alice"})
    );
    // With words of its own it has a reason again; changed afterwards, they are whose vote it is then.
    let own = annotations(json!({"approve": OTHER, "reason": "this one, too"}));
    let written = scene.patch("alice", own).await.expect("a vote");
    let of = |user: &str| json!({"approve-by": user, "reason-for": format!("approve {OTHER}")});
    assert_eq!(stamps(&written), of("alice"));
    let changed = annotations(json!({"reason": "in other words"}));
    refused(
        scene.patch("bob", changed.clone()).await,
        "needs the verb approve",
    );
    let written = scene.patch("dave", changed).await.expect("dave may vote");
    assert_eq!(stamps(&written), of("dave"));
    // And nothing is put there for a vote that is to come.
    let early = annotations(
        json!({"approve": null, "reason": "I was bribed", "reason-for": format!("approve {CHANGE}")}),
    );
    refused(
        scene.patch("alice", early).await,
        "with none that stands, so leave it out",
    );
}

#[tokio::test]
async fn a1_an_early_approved_true_answers_nothing() {
    let scene = Scene::without_pipeline().await;
    let api = scene.pipelines("alice").await;
    let spec = json!({"program": {"sql": ""}, "approved": true});
    let created = create(&api, pipeline("orders", spec)).await;
    let created = created.expect("alice may approve");
    assert_eq!(stamps(&created), json!({"approved-by": "alice"}));
    // Nor can it be made an answer once something waits.
    let ours = scene.cluster.client_for(OPERATOR).await;
    write_approval(&ours, &scene.namespace, "orders", "Awaiting").await;
    for user in ["alice", "bob"] {
        refused(
            scene
                .patch(user, annotations(json!({"approved-for": CHANGE})))
                .await,
            "which change spec.approved: true answers: none, so leave it out",
        );
    }
    scene
        .patch("bob", json!({"spec": {"program": {"sql": "-- another"}}}))
        .await
        .expect("an edit");
    assert_eq!(scene.stamps().await, json!({"approved-by": "alice"}));
}

#[tokio::test]
async fn a1_approval_and_change_in_one_request_approve_what_was_published_before() {
    let scene = Scene::set().await;
    // What the request says of the status is never looked at.
    let request = json!({
        "spec": {"program": {"sql": "-- something nobody has read"}, "approved": true},
        "status": {"approval": {"changeId": OTHER}},
    });
    let forged = both(request.clone(), annotations(json!({"approved-for": OTHER})));
    refused(
        scene.patch("alice", forged).await,
        &format!("write there what status.approval.changeId is, sluice.dev/approved-for: {CHANGE}"),
    );
    scene.patch("alice", request).await.expect("a vote");
    assert_eq!(
        scene.stamps().await,
        json!({"approved-by": "alice", "approved-for": CHANGE})
    );
}

#[tokio::test]
async fn a1_what_an_approval_answers_is_never_moved_to_another_change() {
    let scene = Scene::set().await;
    scene
        .patch("alice", json!({"spec": {"approved": true}}))
        .await
        .expect("a vote");
    // Another change waits by now.
    let ours = scene.cluster.client_for(OPERATOR).await;
    let statuses = raw::<sluice::crd::Pipeline>(&ours, &scene.namespace);
    let next = Patch::Merge(json!({"status": {"approval": {"changeId": OTHER}}}));
    statuses
        .patch_status("orders", &PatchParams::default(), &next)
        .await
        .expect("the status");
    let moved = annotations(json!({"approved-for": OTHER}));
    let kept = format!("leave it as it is, sluice.dev/approved-for: {CHANGE}");
    for user in ["alice", "dave", "bob"] {
        refused(scene.patch(user, moved.clone()).await, &kept);
        for together in [
            json!({"spec": {"approved": true}}),
            json!({"spec": {"approved": true, "program": {"sql": "-- x"}}}),
        ] {
            refused(
                scene.patch(user, both(moved.clone(), together)).await,
                &kept,
            );
        }
        // In one request it isn't taken away and given again.
        let renewed = json!([
            {"op": "remove", "path": "/spec/approved"},
            {"op": "add", "path": "/spec/approved", "value": true},
            {"op": "remove", "path": "/metadata/annotations/sluice.dev~1approved-for"},
            {"op": "remove", "path": "/metadata/annotations/sluice.dev~1approved-by"},
        ]);
        scene.json_patch(user, renewed).await.expect("no change");
        assert_eq!(
            scene.stamps().await,
            json!({"approved-by": "alice", "approved-for": CHANGE})
        );
    }
    // In two it is, by somebody who may approve, and then in their name.
    let taken_away = json!({"spec": {"approved": false}});
    scene.patch("bob", taken_away).await.expect("a withdrawal");
    assert_eq!(scene.stamps().await, json!({}));
    let again = json!({"spec": {"approved": true}});
    refused(
        scene.patch("bob", again.clone()).await,
        "needs the verb approve",
    );
    scene.patch("dave", again).await.expect("a vote");
    assert_eq!(
        scene.stamps().await,
        json!({"approved-by": "dave", "approved-for": OTHER})
    );
}

#[tokio::test]
async fn a12_what_comes_back_from_a_backup_is_in_the_name_of_whoever_brings_it_back() {
    let scene = Scene::set().await;
    for (vote, _) in forms() {
        scene.patch("alice", vote).await.expect("a vote");
    }
    let mut backup = scene.orders().await;
    backup.metadata.name = Some("orders-restored".into());
    backup.metadata.uid = None;
    backup.metadata.resource_version = None;
    backup.metadata.managed_fields = None;
    let restore = |user: &'static str| {
        let (backup, scene) = (backup.clone(), &scene);
        async move {
            let api = scene.pipelines(user).await;
            answer(api.create(&PostParams::default(), &backup).await)
        }
    };
    refused(restore("bob").await, "needs the verb approve");
    let restored = restore("dave").await.expect("dave may approve");
    assert_eq!(
        restored.data["status"],
        unobserved(),
        "no status comes along"
    );
    // The ids in it are those of another object, and so approve nothing; nor does what stood in its status.
    assert_eq!(
        stamps(&restored),
        json!({
            "approved-by": "dave", "approved-change-by": "dave", "approve-by": "dave", "reject-by": "dave",
        })
    );
}

#[tokio::test]
async fn a12_a_tool_that_applies_a_vote_for_ever_changes_nothing() {
    let scene = Scene::set().await;
    let accounts: Api<ServiceAccount> =
        Api::namespaced(scene.cluster.admin().await, &scene.namespace);
    create(&accounts, json!({"metadata": {"name": "gitops"}}))
        .await
        .expect("an account");
    let tool = format!("system:serviceaccount:{}:gitops", &*scene.namespace);
    for role in ["sluice-editor", "sluice-approver"] {
        scene.cluster.grant(&scene.namespace, &tool, role).await;
    }
    let manifest = json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Pipeline",
        "metadata": {"name": "orders", "annotations": {"sluice.dev/approve": CHANGE}},
        "spec": {"program": {"sql": ""}, "approvedChange": CHANGE},
    });
    let api = scene.pipelines(&tool).await;
    let apply = || async {
        let params = PatchParams::apply("gitops").force();
        answer(api.patch("orders", &params, &Patch::Apply(&manifest)).await)
    };
    let first = eventually("the bindings count", apply).await;
    let names = json!({"approved-change-by": tool, "approve-by": tool});
    assert_eq!(stamps(&first), names);
    for _ in 0..3 {
        let again = apply().await.expect("the same again");
        assert_eq!(
            again.metadata.resource_version, first.metadata.resource_version,
            "nothing is written, so no tool sees a drift"
        );
    }
    // The same manifest from somebody else's hand: the first voter's name stays.
    let params = PatchParams::apply("bob").force();
    let by_bob = scene.pipelines("bob").await;
    let by_bob = by_bob
        .patch("orders", &params, &Patch::Apply(&manifest))
        .await;
    assert_eq!(stamps(&answer(by_bob).expect("no change")), names);
    // And once the tool's manifest has no vote any more, no name is left.
    let mut without = manifest.clone();
    without["spec"] = json!({"program": {"sql": ""}});
    without["metadata"] = json!({"name": "orders"});
    for (user, manager) in [("bob", "bob"), (tool.as_str(), "gitops")] {
        let api = scene.pipelines(user).await;
        let params = PatchParams::apply(manager).force();
        let written = api.patch("orders", &params, &Patch::Apply(&without)).await;
        answer(written).expect("a withdrawal");
    }
    assert_eq!(scene.stamps().await, json!({}));
}

#[tokio::test]
async fn a12_a_vote_in_a_folder_is_whoever_applies_the_folders() {
    let scene = Scene::set().await;
    let client = scene.cluster.client_for("alice").await;
    let votes = raw::<PipelineApproval>(&client, &scene.namespace);
    let made = create(&votes, vote("orders", "from-a-folder")).await;
    assert_eq!(made.expect("a vote").data["spec"]["voter"], "alice");
    // A tool applies the same manifest again and again: the voter isn't among its fields.
    let admin = scene.cluster.admin().await;
    let votes = raw::<PipelineApproval>(&admin, &scene.namespace);
    let manifest = vote("orders", "applied");
    let params = PatchParams::apply("gitops").force();
    let apply = || async {
        let applied = votes
            .patch("applied", &params, &Patch::Apply(&manifest))
            .await;
        answer(applied).expect("a vote")
    };
    let first = apply().await;
    assert_eq!(first.data["spec"]["voter"], "admin");
    let again = apply().await;
    assert_eq!(
        first.metadata.resource_version,
        again.metadata.resource_version
    );
    // Nor does a client that sends the whole object without it change it.
    let mut whole = manifest.clone();
    whole["metadata"]["resourceVersion"] = json!(first.metadata.resource_version);
    let whole = serde_json::from_value(whole).expect("an object");
    let replaced = votes
        .replace("applied", &PostParams::default(), &whole)
        .await;
    assert_eq!(
        answer(replaced).expect("no change").data["spec"]["voter"],
        "admin"
    );
}
