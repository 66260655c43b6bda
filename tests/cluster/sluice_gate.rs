//! Sluice's own gate: what the engine would take up without asking (rule A9).

use serde_json::{Value, json};
use sluice::crd::{ApprovalState, Door, Gate, annotation};

use sluice_test_support::cluster::{eventually, token};
use sluice_test_support::story::{
    ORDERS, OTHER_FUNCTIONS, Story, approval, has, has_type, id, is_at, is_current, is_in, message,
    status,
};

#[tokio::test]
async fn a9_changed_functions_wait_while_the_old_program_goes_on_and_come_up_once_approved() {
    let story = Story::begin().await;
    let waiting = story.asked_about_functions().await;
    let (stops, starts) = ("/orders/stop", "/orders/start");
    story.engine.ticks(3).await;
    assert_eq!(story.engine.calls_to(stops), []);
    let asked = approval(&waiting);
    assert_eq!(asked.gate, Gate::Sluice);
    assert_eq!(asked.summary, "changes user-defined functions (Rust)");
    assert!(has(&waiting, "Ready", "True", "AwaitingApproval"));
    assert!(has(&waiting, "Approved", "False", "AwaitingApproval"));
    assert!(!has_type(&waiting, "Reconciling") && !has_type(&waiting, "Stalled"));
    assert!(message(&waiting, "Ready").contains(&asked.approve_command));
    assert!(status(&waiting).waiting_since.is_some());
    let before = story.engine.calls_to(starts).len();

    story.approve(&id(&waiting)).await;
    let sealed = story.until_sealed().await;
    assert_eq!(id(&sealed), id(&waiting));
    assert_eq!(
        story.engine.pipeline(ORDERS).await["udf_rust"],
        OTHER_FUNCTIONS
    );
    // Stopped once, with a checkpoint; the engine asked nobody, and nobody is blamed for it.
    let stopped = story.engine.calls_to(stops);
    assert_eq!(stopped.len(), 1);
    assert_eq!(stopped[0].query, "force=false");
    assert_eq!(story.engine.calls_to(starts).len(), before + 1);
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
    for blamed in ["OutsideApproval", "UnaskedChange", "OutsideStart"] {
        assert!(story.events(blamed).await.is_empty(), "{blamed}");
    }
}

/// While the operator is away somebody approves, and somebody ends the pipeline at once.
#[tokio::test]
async fn a18_a_change_that_was_to_drop_no_input_is_not_made_after_a_stop_without_a_checkpoint() {
    let mut story = Story::with_own_operator(&[]).await;
    let first = story.asked_about_functions().await;
    assert!(approval(&first).at_stake.unwrap().drops_no_input());
    story.kill_operator();
    // Otherwise what runs may be started again before the vote is counted, and then be stopped with a checkpoint.
    story
        .patch(json!({"spec": {"desiredState": "stopped"}}))
        .await;
    story.approve(&id(&first)).await;
    story
        .engine
        .by_hand("POST", "/pipelines/orders/stop?force=true", Value::Null)
        .await;
    eventually("it is stopped", || async {
        let status = story.engine.pipeline(ORDERS).await["deployment_status"].clone();
        (status == "Stopped").then_some(()).ok_or(status)
    })
    .await;
    story.start_operator().await;
    let event = story.until_event("StoppedWithoutCheckpoint").await;
    assert!(event.contains(&id(&first)), "{event}");
    let again = story
        .until("it is asked about anew", |p| {
            is_current(p) && is_at(p, ApprovalState::Awaiting) && id(p) != id(&first)
        })
        .await;
    assert!(!approval(&again).at_stake.unwrap().drops_no_input());
    story.until_ready("True", "AwaitingApproval").await;
    let engine = story.engine.pipeline(ORDERS).await;
    assert_ne!(engine["udf_rust"], OTHER_FUNCTIONS);
    story.approve(&id(&again)).await;
    story
        .patch(json!({"spec": {"desiredState": "running"}}))
        .await;
    let sealed = story.until_sealed().await;
    assert_eq!(id(&sealed), id(&again));
    let engine = story.engine.pipeline(ORDERS).await;
    assert_eq!(engine["udf_rust"], OTHER_FUNCTIONS);
}

#[tokio::test]
async fn a9_changed_functions_that_are_rejected_never_stop_what_runs() {
    let story = Story::begin().await;
    let waiting = story.asked_about_functions().await;
    story.annotate(annotation::REJECT, &id(&waiting)).await;
    let rejected = story
        .until("it is rejected", |p| {
            is_current(p) && is_at(p, ApprovalState::Rejected) && is_in(p, "Rejected")
        })
        .await;
    assert!(has(&rejected, "Ready", "False", "Rejected"));
    story.engine.ticks(3).await;
    assert_eq!(story.engine.calls_to("/orders/stop"), []);
    let engine = story.engine.pipeline(ORDERS).await;
    assert_eq!(engine["deployment_status"], "Running");
}

#[tokio::test]
async fn a9_another_runtime_version_waits() {
    let story = Story::begin().await;
    story.running().await;
    let config = json!({"runtime_version": "v0.338.0"});
    story
        .patch(json!({"spec": {"program": {"config": config}}}))
        .await;
    let waiting = story.until_waiting().await;
    assert_eq!(
        approval(&waiting).summary,
        "changes the runtime version from the engine's own to v0.338.0"
    );
    assert_eq!(story.engine.calls_to("/orders/stop"), []);
}

#[tokio::test]
async fn a9_what_waits_at_sluices_own_gate_is_approved_by_rest_as_well() {
    let story = Story::with_own_rest(&[]).await;
    let waiting = story.asked_about_functions().await;
    let (cluster, namespace) = (story.cluster(), story.namespace.to_string());
    let who = format!("system:serviceaccount:{namespace}:default");
    cluster.grant(&namespace, &who, "sluice-approver").await;
    let token = token(&cluster.admin().await, &namespace, "default").await;
    let url = format!(
        "{}/v0/pipelines/{ORDERS}/approve?change_id={}",
        story.rest_url().await,
        id(&waiting)
    );
    story.rest_takes(&url, &token, &[]).await;
    let sealed = story.until_sealed().await;
    let decision = approval(&sealed).decision.unwrap();
    assert_eq!((decision.via, decision.by), (Door::Rest, who));
}
