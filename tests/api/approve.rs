//! The rows of the table of answers, and what stands behind them.

use std::sync::Arc;

use futures::future::join_all;
use serde_json::{Value, json};
use sluice::api::Tenant;
use tokio::sync::Semaphore;

use crate::{
    fake::{Answer, CHANGE, Fake, Fault, NAMESPACE, OTHER_CHANGE, UID, approval, status},
    log::Log,
};

const ALICE: &str = "alice-token";
const BOB: &str = "bob-token";
const MALLORY: &str = "mallory-token";

// --- 202 ---

#[tokio::test]
async fn an_approver_s_vote_is_stored_and_answered_with_the_checkpoint_s_number() {
    let fake = Fake::with_a_change_that_waits();
    fake.approve("orders", ALICE).await.is_accepted(7);
    assert_eq!(
        fake.calls(),
        [
            "who is it?",
            "GET pipelines",
            "may they approve orders?",
            "GET pipelines/orders",
            "POST pipelineapprovals"
        ]
    );
    let approvals = fake.approvals();
    let [vote] = approvals.as_slice() else {
        panic!("{approvals:?}")
    };
    assert_eq!(
        vote["spec"],
        json!({
            "pipelineRef": {"name": "orders"},
            "changeId": CHANGE,
            "decision": "Approve",
            "onBehalfOf": {
                "username": "alice",
                "uid": "uid-of-alice",
                "groups": ["people", "system:authenticated"],
            },
        })
    );
    assert_eq!(vote["metadata"]["namespace"], NAMESPACE);
    assert_eq!(vote["metadata"]["ownerReferences"][0]["uid"], UID);
    let create = &fake.calls_like("POST pipelineapprovals")[0];
    assert!(
        create.query.contains("fieldManager=sluice-rest"),
        "{create:?}"
    );
}

#[tokio::test]
async fn the_change_and_the_options_that_wait_may_be_named() {
    let fake = Fake::with_a_change_that_waits();
    let query =
        format!("orders?change_id={CHANGE}&silent_bootstrap=false&concurrent_bootstrap=false");
    fake.approve(&query, ALICE).await.is_accepted(7);
    assert_eq!(fake.approvals().len(), 1);
}

#[tokio::test]
async fn a_repeated_call_is_answered_alike_and_stores_nothing_more() {
    let fake = Fake::with_a_change_that_waits();
    fake.approve("orders", ALICE).await.is_accepted(7);
    fake.approve("orders", ALICE).await.is_accepted(7);
    assert_eq!(fake.approvals().len(), 1);
}

#[tokio::test]
async fn a_repeated_call_is_answered_alike_after_the_change_was_applied() {
    let fake = Fake::with_a_change_that_waits();
    fake.approve("orders", ALICE).await.is_accepted(7);
    for state in ["Approved", "Applying", "Applied", "Sealed"] {
        fake.patch(
            "orders",
            json!({"status": {
                "engine": {"deploymentStatus": "Running"},
                "approval": {"state": state},
            }}),
        );
        fake.approve("orders", ALICE).await.is_accepted(7);
        let named = format!("orders?change_id={CHANGE}");
        fake.approve(&named, ALICE).await.is_accepted(7);
    }
    assert_eq!(fake.approvals().len(), 1);
    assert_eq!(fake.calls_like("POST pipelineapprovals").len(), 1);
}

#[tokio::test]
async fn a_repeated_call_is_answered_alike_after_the_vote_was_cleared_away() {
    let fake = Fake::with_a_change_that_waits();
    fake.approve("orders", ALICE).await.is_accepted(7);
    fake.delete_approvals();
    fake.patch(
        "orders",
        json!({"status": {
            "engine": {"deploymentStatus": "Running"},
            "approval": {"state": "Sealed", "votes": [
                {"outcome": "Approved", "by": "alice", "verified": true, "via": "Rest"},
            ]},
        }}),
    );
    fake.approve("orders", ALICE).await.is_accepted(7);
}

/// Has the same call made twice, and goes on only once both have made this call to the API server.
async fn approve_twice_at_once(fake: &Fake, held: &'static str) {
    let gate = Arc::new(Semaphore::new(0));
    for _ in 0..2 {
        fake.fault(held, Fault::Held(gate.clone()));
    }
    let release = async {
        while fake.calls_like(held).len() < 2 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(2);
    };
    let (one, two, ()) = tokio::join!(
        fake.approve("orders", ALICE),
        fake.approve("orders", ALICE),
        release
    );
    one.is_accepted(7);
    two.is_accepted(7);
}

#[tokio::test]
async fn two_same_calls_at_once_store_one_vote_and_both_succeed() {
    let fake = Fake::with_a_change_that_waits();
    // Both have decided to create it before either does.
    approve_twice_at_once(&fake, "POST pipelineapprovals").await;
    assert_eq!(fake.approvals().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_answer_was_lost_can_be_repeated() {
    let fake = Fake::with_a_change_that_waits();
    fake.fault("POST pipelineapprovals", Fault::AnswerLost);
    fake.approve("orders", ALICE)
        .await
        .is_error(503, "ApiServerUnreachable");
    fake.approve("orders", ALICE).await.is_accepted(7);
    assert_eq!(fake.approvals().len(), 1);
}

#[tokio::test]
async fn two_people_s_votes_are_two() {
    let fake = Fake::with_a_change_that_waits();
    fake.allow("bob", "approve", "orders");
    fake.approve("orders", ALICE).await.is_accepted(7);
    fake.approve("orders", BOB).await.is_accepted(7);
    assert_eq!(fake.approvals().len(), 2);
}

// --- 400 ---

#[tokio::test]
async fn both_options_are_refused() {
    let fake = Fake::with_a_change_that_waits();
    let answer = fake
        .approve(
            "orders?silent_bootstrap=true&concurrent_bootstrap=true",
            ALICE,
        )
        .await;
    answer.is_error(400, "InvalidBootstrapConfig");
    assert_eq!(fake.approvals(), [] as [Value; 0]);
}

#[tokio::test]
async fn a_malformed_change_id_is_refused_with_what_to_write_instead() {
    let fake = Fake::with_a_change_that_waits();
    for id in [
        "",
        "11111111",
        "1111111111111111111111111111111G",
        "%00",
        "%ff",
    ] {
        let answer = fake.approve(&format!("orders?change_id={id}"), ALICE).await;
        answer.is_error(400, "InvalidChangeIdParam");
        assert!(answer.message().contains("status.approval.changeId"));
    }
    assert_eq!(fake.approvals(), [] as [Value; 0]);
}

#[tokio::test]
async fn a_mistyped_parameter_does_not_approve_whatever_waits() {
    let fake = Fake::with_a_change_that_waits();
    let answer = fake
        .approve(&format!("orders?changeId={OTHER_CHANGE}"), ALICE)
        .await;
    answer.is_error(400, "InvalidQueryParam");
    assert!(answer.message().contains("change_id"));
    assert_eq!(fake.approvals(), [] as [Value; 0]);
}

// --- 401 ---

#[tokio::test]
async fn without_a_token_nothing_is_looked_at() {
    let fake = Fake::with_a_change_that_waits();
    for authorization in [None, Some("Basic YTpi"), Some("Bearer"), Some("Bearer ")] {
        let mut request = approval("orders?nonsense", "");
        request.headers_mut().remove("authorization");
        if let Some(value) = authorization {
            let value = http::HeaderValue::from_static(value);
            request.headers_mut().insert("authorization", value);
        }
        let answer = fake.send(request).await;
        answer.is_error(401, "AuthenticationFailed");
        let challenge = answer.headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Bearer"), "{challenge}");
    }
    assert_eq!(fake.calls(), [] as [&str; 0]);
}

#[tokio::test]
async fn an_invalid_token_is_refused() {
    let fake = Fake::with_a_change_that_waits();
    let answer = fake.approve("orders", "made-up").await;
    answer.is_error(401, "AuthenticationFailed");
    assert_eq!(
        answer.headers["www-authenticate"],
        r#"Bearer error="invalid_token""#
    );
    assert_eq!(fake.calls(), ["who is it?"]);
}

#[tokio::test]
async fn a_review_that_vouches_for_nobody_is_no_authentication() {
    let fake = Fake::with_a_change_that_waits();
    for review in [
        json!({}),
        json!({"authenticated": true}),
        json!({"authenticated": true, "user": {}}),
        json!({"authenticated": true, "user": {"username": ""}}),
        json!({"authenticated": false, "user": {"username": "alice"}}),
        json!({"user": {"username": "alice"}}),
    ] {
        fake.token("odd", review);
        fake.approve("orders", "odd")
            .await
            .is_error(401, "AuthenticationFailed");
    }
}

#[tokio::test]
async fn configured_audiences_are_asked_for_and_checked() {
    let fake = Fake::with_a_change_that_waits()
        .configured(|config| config.audiences = vec!["sluice".into(), "ci".into()]);
    let review = |audiences: Value| json!({"authenticated": true, "audiences": audiences, "user": {"username": "alice"}});
    for (audiences, expected) in [
        (json!(["sluice"]), 202),
        (json!(["other", "ci"]), 202),
        (json!(["other"]), 401),
        (json!([]), 401),
        (Value::Null, 401),
    ] {
        fake.token("for-somebody", review(audiences.clone()));
        let answer = fake.approve("orders", "for-somebody").await;
        assert_eq!(answer.status, expected, "{audiences}");
    }
    for review in fake.calls_like("who is it?") {
        assert_eq!(review.body["spec"]["audiences"], json!(["sluice", "ci"]));
    }
}

#[tokio::test]
async fn without_configured_audiences_the_api_server_s_own_are_meant() {
    let fake = Fake::with_a_change_that_waits();
    fake.approve("orders", ALICE).await.is_accepted(7);
    let review = &fake.calls_like("who is it?")[0].body["spec"];
    assert_eq!(*review, json!({"token": ALICE}));
}

// --- 403 and 404 ---

#[tokio::test]
async fn who_may_see_but_not_approve_is_told_so() {
    let fake = Fake::with_a_change_that_waits();
    let answer = fake.approve("orders", BOB).await;
    answer.is_error(403, "InsufficientPermissions");
    assert_eq!(*answer.details(), json!({"pipeline_name": "orders"}));
    assert_eq!(fake.approvals(), [] as [Value; 0]);
}

#[tokio::test]
async fn the_right_is_asked_for_in_the_user_s_name_with_all_that_is_known_of_them() {
    let fake = Fake::with_a_change_that_waits();
    fake.approve("orders", BOB).await;
    let reviews = fake.calls_like("may they");
    assert_eq!(reviews.len(), 2);
    for (review, verb) in reviews.iter().zip(["approve", "get"]) {
        assert_eq!(
            review.body["spec"],
            json!({
                "user": "bob",
                "uid": "uid-of-bob",
                "groups": ["people", "system:authenticated"],
                "extra": {"example.com/scope": ["a", "b"]},
                "resourceAttributes": {
                    "group": "sluice.dev", "resource": "pipelines", "verb": verb,
                    "namespace": NAMESPACE, "name": "orders",
                },
            })
        );
    }
}

#[tokio::test]
async fn a_denial_beats_a_permission() {
    let fake = Fake::with_a_change_that_waits();
    let both = json!({"spec": {}, "status": {"allowed": true, "denied": true}});
    for verb in ["approve", "get"] {
        fake.fault(verb, Fault::Answer(201, both.clone()));
    }
    fake.approve("orders", ALICE)
        .await
        .is_error(404, "UnknownPipelineName");
}

#[tokio::test]
async fn what_does_not_exist_and_what_one_may_not_know_of_is_answered_alike() {
    let fake = Fake::with_a_change_that_waits();
    let hidden = fake.approve("orders", MALLORY).await;
    hidden.is_error(404, "UnknownPipelineName");
    assert_eq!(*hidden.details(), json!({"pipeline_name": "orders"}));

    let reviews_of_hidden = fake.calls_like("may they").len();
    let fake = Fake::empty();
    let absent = fake.approve("orders", MALLORY).await;
    assert_eq!(absent.status, hidden.status);
    assert_eq!(absent.body, hidden.body);
    assert_eq!(absent.headers, hidden.headers);
    assert_eq!(fake.calls_like("may they").len(), reviews_of_hidden);
}

#[tokio::test]
async fn a20_nothing_is_read_for_who_may_not_know_of_it_however_large_it_is() {
    let fake = Fake::with_a_change_that_waits();
    fake.approve("orders", MALLORY)
        .await
        .is_error(404, "UnknownPipelineName");
    // That the name isn't given to another one is asked, and answered without objects.
    let asked = fake.calls_like("GET pipelines");
    let [asked] = asked.as_slice() else {
        panic!("{asked:?}")
    };
    assert!(asked.query.contains("includeObject=None"), "{asked:?}");
}

#[tokio::test]
async fn a20_of_a_crowd_that_may_only_a_few_pipelines_are_read_at_a_time() {
    let fake = Fake::with_a_change_that_waits();
    let gate = Arc::new(Semaphore::new(0));
    for _ in 0..20 {
        fake.fault("GET pipelines/orders", Fault::Held(gate.clone()));
    }
    let endpoint = fake.router();
    let call = || Answer::of(endpoint.clone(), approval("orders", ALICE));
    let reads = async {
        // As far as all of them get.
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        let reads = fake.calls_like("GET pipelines/orders").len();
        gate.add_permits(20);
        reads
    };
    let (answers, reads) = tokio::join!(join_all((0..20).map(|_| call())), reads);
    assert_eq!(reads, 8);
    for answer in answers {
        answer.is_accepted(7);
    }
}

#[tokio::test]
async fn for_an_approver_too_what_does_not_exist_is_unknown() {
    let fake = Fake::empty();
    let answer = fake.approve("orders", ALICE).await;
    answer.is_error(404, "UnknownPipelineName");
    assert_eq!(*answer.details(), json!({"pipeline_name": "orders"}));
}

#[tokio::test]
async fn a_pipeline_is_found_by_the_name_that_it_has_in_the_engine() {
    let fake = Fake::empty();
    fake.pages_of(1);
    fake.pipeline("a", json!({}));
    fake.pipeline("b", json!({"spec": {"pipelineName": "Orders_2"}}));
    fake.pipeline("c", json!({}));
    fake.approve("Orders_2", ALICE).await.is_accepted(7);
    assert_eq!(
        fake.approvals()[0]["spec"]["pipelineRef"],
        json!({"name": "b"})
    );
    // One that isn't an object's name isn't read by it. That there is such a one is asked for, then which, and that
    // is read whole.
    assert_eq!(fake.calls_like("GET pipelines").len(), 3);
    // The right is one on the object.
    assert_eq!(fake.calls_like("may they approve b?").len(), 1);
    // And its own name, which the engine doesn't know, is not a pipeline's.
    fake.approve("b", ALICE)
        .await
        .is_error(404, "UnknownPipelineName");
}

/// The Pipeline that an approval of `orders` is one of.
async fn meant(fake: &Fake) -> Value {
    fake.delete_approvals();
    fake.approve("orders", ALICE).await.is_accepted(7);
    fake.approvals()[0]["spec"]["pipelineRef"]["name"].clone()
}

#[tokio::test]
async fn of_several_with_one_name_the_one_that_has_the_pipeline_is_meant_and_then_the_oldest() {
    let fake = Fake::empty();
    let named = |created: &str| json!({"metadata": {"creationTimestamp": created}, "spec": {"pipelineName": "orders"}});
    fake.pipeline("a", named("2026-03-01T00:00:00Z"));
    fake.pipeline("b", named("2026-02-01T00:00:00Z"));
    fake.pipeline("c", named("2026-02-01T00:00:00Z"));
    fake.pages_of(1);
    assert_eq!(meant(&fake).await, "b");
    // Its own name counts no more than a given one.
    let later = json!({"metadata": {"creationTimestamp": "2026-04-01T00:00:00Z"}});
    fake.pipeline("orders", later);
    assert_eq!(meant(&fake).await, "b");
    fake.patch("c", json!({"status": {"engine": {"pipelineId": "p-1"}}}));
    assert_eq!(meant(&fake).await, "c");
    let lost = json!([{"type": "Stalled", "status": "True", "reason": "NameTaken", "message": "",
                       "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    fake.patch("c", json!({"status": {"conditions": lost}}));
    assert_eq!(meant(&fake).await, "b");
}

#[tokio::test]
async fn a20_a_pipeline_that_is_named_like_another_one_in_the_engine_does_not_hide_it() {
    let fake = Fake::empty();
    fake.pipeline(
        "mine",
        json!({"spec": {"pipelineName": "orders"}, "status": {"engine": {"pipelineId": "p-1"}}}),
    );
    let squatter = json!({
        "metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"},
        "status": {"conditions": [{"type": "Stalled", "status": "True", "reason": "NameTaken", "message": "",
                                   "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    });
    fake.pipeline("orders", squatter);
    assert_eq!(meant(&fake).await, "mine");
    // Nor for who may not approve the other one.
    fake.allow("bob", "approve", "mine");
    fake.approve("orders", BOB).await.is_accepted(7);
}

#[tokio::test]
async fn a20_a_name_that_very_many_claim_is_found_without_reading_the_table_of_all() {
    let fake = Fake::empty();
    fake.pages_of(5);
    for number in 0..100 {
        let claims = json!({"spec": {"pipelineName": "orders"}});
        fake.pipeline(&format!("claims-{number}"), claims);
    }
    fake.patch(
        "claims-70",
        json!({"status": {"engine": {"pipelineId": "p-1"}}}),
    );
    assert_eq!(meant(&fake).await, "claims-70");
}

#[tokio::test]
async fn where_the_api_server_cannot_select_by_the_name_all_are_looked_through() {
    let fake = Fake::empty();
    fake.pages_of(1);
    fake.pipeline("a", json!({}));
    fake.pipeline("b", json!({"spec": {"pipelineName": "orders"}}));
    let (code, refused) = status(
        400,
        "BadRequest",
        "field label not supported: spec.pipelineName",
    );
    // There is none of that name itself, and what asks for others by it is refused.
    let (gone, nothing) = status(404, "NotFound", "not found");
    fake.fault("GET pipelines/orders", Fault::Answer(gone, nothing));
    fake.fault("GET pipelines", Fault::Answer(code, refused));
    assert_eq!(meant(&fake).await, "b");
}

#[tokio::test]
async fn a_tenant_is_a_namespace_by_configuration_only() {
    let fake = Fake::with_a_change_that_waits().configured(|config| {
        config.default_namespace = Some("elsewhere".into());
        config.tenants = vec![Tenant {
            name: "team-a".into(),
            namespace: NAMESPACE.into(),
        }];
    });
    let with_tenant = async |tenants: &[&'static [u8]]| {
        let mut request = approval("orders", ALICE);
        for tenant in tenants {
            let value = http::HeaderValue::from_bytes(tenant).unwrap();
            request.headers_mut().append("Feldera-Tenant", value);
        }
        fake.send(request).await
    };
    with_tenant(&[b"team-a"]).await.is_accepted(7);
    // A namespace's name is no tenant.
    for unknown in [
        &[NAMESPACE.as_bytes()][..],
        &[b""],
        &[b"\xff"],
        &[b"team-a", b"team-a"],
    ] {
        let answer = with_tenant(unknown).await;
        answer.is_error(404, "UnknownPipelineName");
        assert_eq!(*answer.details(), json!({"pipeline_name": "orders"}));
    }
    // Without one it is the default namespace, in which nothing is.
    with_tenant(&[]).await.is_error(404, "UnknownPipelineName");
}

#[tokio::test]
async fn without_a_configured_namespace_it_is_the_client_s_own() {
    let fake =
        Fake::with_a_change_that_waits().configured(|config| config.default_namespace = None);
    fake.approve("orders", ALICE)
        .await
        .is_error(404, "UnknownPipelineName");
    let read = &fake.calls_like("GET pipelines")[0];
    assert!(
        read.path.contains("/namespaces/the-clients-own/"),
        "{read:?}"
    );
}

// --- 409 ---

#[tokio::test]
async fn when_nothing_waits_it_says_what_became_of_the_last_change() {
    for (state, said) in [("Applied", "Applied"), ("Rejected", "Rejected")] {
        let fake = Fake::empty();
        let status =
            json!({"engine": {"deploymentStatus": "Running"}, "approval": {"state": state}});
        fake.pipeline("orders", json!({"status": status}));
        let answer = fake.approve("orders", ALICE).await;
        answer.is_error(409, "NoChangeAwaitingApproval");
        assert_eq!(answer.details()["last_change_id"], CHANGE);
        assert_eq!(answer.details()["waiting_change_id"], Value::Null);
        assert!(answer.message().contains(said), "{}", answer.message());
        assert_eq!(fake.approvals(), [] as [Value; 0]);
    }
}

#[tokio::test]
async fn a_repeated_call_after_a_rejection_is_refused() {
    let fake = Fake::with_a_change_that_waits();
    fake.approve("orders", ALICE).await.is_accepted(7);
    fake.patch(
        "orders",
        json!({"status": {"approval": {"state": "Rejected"}}}),
    );
    fake.approve("orders", ALICE)
        .await
        .is_error(409, "NoChangeAwaitingApproval");
}

#[tokio::test]
async fn a_call_after_somebody_else_s_approval_is_no_repetition() {
    let fake = Fake::with_a_change_that_waits();
    fake.allow("bob", "approve", "orders");
    fake.approve("orders", ALICE).await.is_accepted(7);
    fake.patch(
        "orders",
        json!({"status": {"approval": {"state": "Applied"}}}),
    );
    fake.approve("orders", BOB)
        .await
        .is_error(409, "NoChangeAwaitingApproval");
    assert_eq!(fake.approvals().len(), 1);
}

#[tokio::test]
async fn what_is_not_deployed_can_not_be_approved() {
    let fake = Fake::with_a_change_that_waits();
    fake.patch(
        "orders",
        json!({"status": {"engine": {"deploymentId": null, "deploymentStatus": "Stopped"}}}),
    );
    let answer = fake.approve("orders", ALICE).await;
    answer.is_error(409, "PipelineInteractionNotDeployed");
    assert_eq!(answer.details()["pipeline_name"], "orders");
    assert_eq!(answer.details()["status"], "Stopped");
    assert_eq!(fake.approvals(), [] as [Value; 0]);
}

#[tokio::test]
async fn another_change_than_the_named_one_is_not_approved() {
    let fake = Fake::with_a_change_that_waits();
    let answer = fake
        .approve(&format!("orders?change_id={OTHER_CHANGE}"), ALICE)
        .await;
    answer.is_error(409, "OtherChangeAwaitingApproval");
    assert_eq!(answer.details()["change_id"], OTHER_CHANGE);
    assert_eq!(answer.details()["waiting_change_id"], CHANGE);
    assert_eq!(fake.approvals(), [] as [Value; 0]);
}

#[tokio::test]
async fn other_options_than_the_published_ones_are_not_approved() {
    let fake = Fake::with_a_change_that_waits();
    let answer = fake.approve("orders?silent_bootstrap=true", ALICE).await;
    answer.is_error(409, "OtherBootstrapOptions");
    assert_eq!(
        answer.details()["requested"],
        json!({"silent_bootstrap": true, "concurrent_bootstrap": null})
    );
    assert_eq!(
        answer.details()["published"],
        json!({"silent_bootstrap": false, "concurrent_bootstrap": false})
    );
    assert_eq!(fake.approvals(), [] as [Value; 0]);
}

/// What has the name of alice's vote, and isn't it.
fn not_the_vote() -> Vec<Value> {
    vec![
        json!({"spec": {"onBehalfOf": {"username": "mallory"}}}),
        json!({"spec": {"onBehalfOf": null}}),
        json!({"spec": {"onBehalfOf": null, "voter": "mallory"}}),
        json!({"spec": {"decision": "Reject"}}),
        json!({"spec": {"changeId": OTHER_CHANGE}}),
        json!({"spec": {"pipelineRef": {"name": "payments"}}}),
        json!({"spec": {"diffDigest": "0"}}),
        // Withdrawn, and held by a finalizer.
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
    ]
}

#[tokio::test]
async fn a20_an_object_under_the_vote_s_name_is_not_taken_for_the_vote_and_does_not_keep_it_out() {
    for odd in not_the_vote() {
        let fake = Fake::with_a_change_that_waits();
        fake.approve("orders", ALICE).await.is_accepted(7);
        fake.patch_approvals(odd.clone());
        let taken = fake.approvals()[0]["metadata"]["name"].clone();
        // Later, when the change was applied, it isn't hers either.
        let state = |state: &str| json!({"status": {"approval": {"state": state}}});
        fake.patch("orders", state("Applied"));
        fake.approve("orders", ALICE)
            .await
            .is_error(409, "NoChangeAwaitingApproval");
        fake.patch("orders", state("Awaiting"));
        for _ in 0..2 {
            fake.approve("orders", ALICE).await.is_accepted(7);
            assert_eq!(fake.approvals().len(), 2, "{odd}");
        }
        let stored = fake.approvals();
        let hers = stored.iter().find(|vote| vote["metadata"]["name"] != taken);
        assert_eq!(hers.unwrap()["spec"]["onBehalfOf"]["username"], "alice");
        fake.patch("orders", state("Applied"));
        fake.approve("orders", ALICE).await.is_accepted(7);
    }
}

#[tokio::test]
async fn a20_two_same_calls_at_once_store_one_vote_also_beside_what_has_its_name() {
    let fake = Fake::with_a_change_that_waits();
    fake.approve("orders", ALICE).await.is_accepted(7);
    fake.patch_approvals(json!({"spec": {"onBehalfOf": {"username": "mallory"}}}));
    let before = fake.calls_like("POST pipelineapprovals").len();
    // Both have found that its name is taken before either looks for another one.
    approve_twice_at_once(&fake, "GET pipelineapprovals").await;
    assert_eq!(fake.approvals().len(), 2);
    assert_eq!(fake.calls_like("POST pipelineapprovals").len(), before + 4);
}

#[tokio::test]
async fn a20_where_somebody_is_always_quicker_the_vote_gets_a_name_by_lot() {
    let fake = Fake::with_a_change_that_waits();
    let (code, exists) = status(409, "AlreadyExists", "already exists");
    for _ in 0..4 {
        fake.fault(
            "POST pipelineapprovals",
            Fault::Answer(code, exists.clone()),
        );
    }
    fake.approve("orders", ALICE).await.is_accepted(7);
    let posted = fake.calls_like("POST pipelineapprovals");
    assert_eq!(posted.len(), 5);
    let last = &posted[4].body["metadata"];
    assert_eq!(last["generateName"], "orders-approve-");
    assert_eq!(last["name"], Value::Null);
}

#[tokio::test]
async fn an_object_that_is_gone_when_it_is_looked_at_is_not_in_the_way() {
    let fake = Fake::with_a_change_that_waits();
    let (code, exists) = status(409, "AlreadyExists", "already exists");
    fake.fault("POST pipelineapprovals", Fault::Answer(code, exists));
    fake.approve("orders", ALICE).await.is_accepted(7);
    assert_eq!(fake.approvals().len(), 1);
}

// --- 500 ---

#[tokio::test]
async fn without_a_known_checkpoint_nothing_is_stored_and_the_other_doors_are_named() {
    let fake = Fake::with_a_change_that_waits();
    fake.patch("orders", json!({"status": {"approval": {"base": null}}}));
    let answer = fake.approve("orders", ALICE).await;
    answer.is_error(500, "CheckpointUnknown");
    for door in [
        "spec.approvedChange",
        "sluice.dev/approve",
        "kubectl sluice approve",
        CHANGE,
    ] {
        assert!(answer.message().contains(door), "{}", answer.message());
    }
    assert_eq!(fake.approvals(), [] as [Value; 0]);
}

#[tokio::test]
async fn a_permission_that_our_account_lacks_is_named() {
    for (call, named) in [
        ("who is it?", "create tokenreviews.authentication.k8s.io"),
        (
            "may they",
            "create subjectaccessreviews.authorization.k8s.io",
        ),
        (
            "GET pipelines/orders",
            "get pipelines.sluice.dev in namespace team",
        ),
        (
            "POST pipelineapprovals",
            "create pipelineapprovals.sluice.dev in namespace team",
        ),
    ] {
        let fake = Fake::with_a_change_that_waits();
        let (code, forbidden) = status(403, "Forbidden", "no right");
        fake.fault(call, Fault::Answer(code, forbidden));
        let answer = fake.approve("orders", ALICE).await;
        answer.is_error(500, "MissingPermission");
        assert!(answer.message().contains(named), "{}", answer.message());
        assert!(
            answer.message().contains("no right"),
            "{}",
            answer.message()
        );
        assert_eq!(fake.approvals(), [] as [Value; 0]);
    }
}

#[tokio::test]
async fn a_pipeline_that_can_not_be_read_is_our_fault() {
    let fake = Fake::with_a_change_that_waits();
    fake.patch("orders", json!({"spec": {"desiredState": "of-tomorrow"}}));
    fake.approve("orders", ALICE)
        .await
        .is_error(500, "InternalError");
}

// --- 503 ---

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_not_there_may_be_asked_again() {
    let calls = [
        "who is it?",
        "GET pipelines/orders",
        "may they approve",
        "POST pipelineapprovals",
    ];
    for call in calls {
        let (code, busy) = status(503, "ServiceUnavailable", "starting up");
        for fault in [Fault::Broken, Fault::Silence, Fault::Answer(code, busy)] {
            let fake = Fake::with_a_change_that_waits();
            fake.fault(call, fault);
            let answer = fake.approve("orders", ALICE).await;
            answer.is_error(503, "ApiServerUnreachable");
            assert_eq!(answer.headers["retry-after"], "5");
            assert_eq!(fake.approvals(), [] as [Value; 0], "{call}");
        }
    }
}

#[tokio::test]
async fn only_what_may_pass_by_itself_is_a_503() {
    for (code, expected) in [
        (429, 503),
        (502, 503),
        (503, 503),
        (504, 503),
        (400, 500),
        (404, 500),
        (422, 500),
        (500, 500),
    ] {
        let fake = Fake::with_a_change_that_waits();
        let (code, body) = status(code, "", "no");
        fake.fault("POST pipelineapprovals", Fault::Answer(code, body));
        let answer = fake.approve("orders", ALICE).await;
        assert_eq!(answer.status, expected, "{code}");
    }
    // A proxy in between answers in its own words.
    let fake = Fake::with_a_change_that_waits();
    fake.fault("who is it?", Fault::Answer(502, json!("<html>")));
    fake.approve("orders", ALICE)
        .await
        .is_error(503, "ApiServerUnreachable");
}

#[tokio::test(start_paused = true)]
async fn all_calls_together_have_one_deadline() {
    let fake = Fake::with_a_change_that_waits();
    let gate = Arc::new(Semaphore::new(0));
    fake.fault("may they", Fault::Held(gate));
    let start = tokio::time::Instant::now();
    fake.approve("orders", ALICE)
        .await
        .is_error(503, "ApiServerUnreachable");
    // The clock stands still but for timeouts.
    let rounding = std::time::Duration::from_millis(2);
    assert!(start.elapsed() <= fake.config().request_timeout + rounding);
}

// --- secrets ---

#[tokio::test(start_paused = true)]
async fn a_token_stands_in_no_answer_and_in_no_log() {
    let (log, _guard) = Log::begin();
    let secret = "s3cr3t-t0k3n";
    let echo = json!({"spec": {"token": secret}, "status": secret});
    let mut answers = Vec::new();
    for fault in [
        None,
        Some(Fault::Answer(201, echo.clone())),
        Some(Fault::Answer(201, json!(secret))),
        Some(Fault::Answer(500, echo)),
        Some(Fault::Broken),
        Some(Fault::Silence),
    ] {
        let fake = Fake::with_a_change_that_waits();
        fake.token(
            secret,
            json!({"authenticated": true, "user": {"username": "alice"}}),
        );
        if let Some(fault) = fault {
            fake.fault("who is it?", fault);
        }
        answers.push(fake.approve("orders", secret).await);
    }
    let statuses: Vec<_> = answers
        .iter()
        .map(|answer| answer.status.as_u16())
        .collect();
    assert_eq!(statuses, [202, 500, 500, 500, 503, 503]);
    let log = log.text();
    assert!(log.contains("an approval is stored"), "{log}");
    assert!(log.contains(CHANGE) && log.contains("alice"), "{log}");
    assert!(!log.contains(secret), "{log}");
    assert!(!format!("{answers:?}").contains(secret), "{answers:?}");
}
