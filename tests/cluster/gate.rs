//! The approval gate. The rules are those of the tests' names; what was really done is read from the
//! engine's log of calls.

use k8s_openapi::jiff::SignedDuration;
use kube::ResourceExt;
use serde_json::{Value, json};
use sluice::crd::{ApprovalState, Door, Pipeline, PipelineApproval, Verdict, annotation};

use sluice_test_support::story::{
    ORDERS, PROGRAM, Recording, Story, approval, changed, changed_otherwise, edited, eventually,
    extended, has, has_type, id, id_of_change_to, is_at, is_current, is_in, message, status,
};

/// The id of no change.
const NO_CHANGE: &str = "0123456789abcdef0123456789abcdef";

/// What a watcher must have seen of a change that was approved while it waited, and what must have
/// been done at the engine.
async fn was_approved_once(story: &Story, recording: &Recording<Pipeline>, door: Door) {
    let sealed = story.until_sealed().await;
    let phases = recording.phases().await;
    let mut expected = ["AwaitingApproval", "Bootstrapping", "Running"]
        .iter()
        .peekable();
    for phase in &phases {
        expected.next_if(|next| *next == phase);
    }
    assert_eq!(
        expected.next(),
        None,
        "the phases were {phases:?}; {:?}",
        recording.states()
    );

    let calls = story.engine.calls_to("/orders/approve");
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(
        calls[0].query,
        "silent_bootstrap=false&concurrent_bootstrap=false"
    );
    assert_eq!(story.engine.bootstraps().await.len(), 1);

    let approval = approval(&sealed);
    let decision = approval.decision.clone().expect("a decision");
    assert_eq!((decision.outcome, decision.via), (Verdict::Approved, door));
    assert!(decision.at.0 <= calls[0].time, "decided, then called");
    assert_eq!(approval.calls, 1);
    assert_eq!(status(&sealed).waiting_since, None);
    let history = status(&sealed).history;
    assert_eq!(history.len(), 1);
    assert_eq!(
        (&history[0].change_id, history[0].state),
        (&approval.change_id, ApprovalState::Sealed)
    );
}

#[tokio::test]
async fn a_change_waits_and_goes_on_when_its_id_is_annotated() {
    let story = Story::begin().await;
    let waiting = story.waiting().await;
    let recording = story.record().await;
    recording
        .first("it waits", |p| is_at(p, ApprovalState::Awaiting))
        .await;
    story.approve(&id(&waiting)).await;
    was_approved_once(&story, &recording, Door::Annotation).await;
}

#[tokio::test]
async fn a_change_goes_on_when_its_id_stands_in_approved_change() {
    let story = Story::begin().await;
    let waiting = story.waiting().await;
    let recording = story.record().await;
    recording
        .first("it waits", |p| is_at(p, ApprovalState::Awaiting))
        .await;
    story
        .patch(json!({"spec": {"approvedChange": id(&waiting)}}))
        .await;
    was_approved_once(&story, &recording, Door::Field).await;
}

#[tokio::test]
async fn a_change_goes_on_when_approved_turns_true() {
    let story = Story::begin().await;
    story.waiting().await;
    let recording = story.record().await;
    recording
        .first("it waits", |p| is_at(p, ApprovalState::Awaiting))
        .await;
    story.patch(json!({"spec": {"approved": true}})).await;
    was_approved_once(&story, &recording, Door::Field).await;
}

#[tokio::test]
async fn a_change_goes_on_when_an_object_approves_it() {
    let story = Story::begin().await;
    let waiting = story.waiting().await;
    let recording = story.record().await;
    recording
        .first("it waits", |p| is_at(p, ApprovalState::Awaiting))
        .await;
    story.vote("yes", &id(&waiting), "Approve").await;
    was_approved_once(&story, &recording, Door::Object).await;
}

#[tokio::test]
async fn a1_an_approval_committed_together_with_its_change_counts() {
    let story = Story::begin().await;
    let running = story.running().await;
    let expected = id_of_change_to(&running, &changed());
    let recording = story.record().await;
    story
        .patch(json!({"spec": {"program": {"sql": changed()}, "approvedChange": expected}}))
        .await;
    let sealed = story.until_sealed().await;
    assert_eq!(id(&sealed), expected);
    assert_eq!(story.engine.calls_to("/orders/approve").len(), 1);
    let waited = recording
        .first("it was published", |p| is_at(p, ApprovalState::Awaiting))
        .await;
    assert_eq!(id(&waited), expected);
}

#[tokio::test]
async fn a1_approved_that_was_true_before_the_change_was_published_does_not_count() {
    let story = Story::begin().await;
    story.running().await;
    let patch = json!({"spec": {"program": {"sql": changed()}, "approved": true}});
    story.patch(patch).await;
    let waiting = story.until_waiting().await;
    assert!(!approval(&waiting).approved_field_counts);
    assert!(has(&waiting, "StaleApproval", "True", "NoSuchChangeWaits"));
    assert!(message(&waiting, "StaleApproval").contains(&approval(&waiting).approve_command));
    story.engine.ticks(3).await;
    assert_eq!(story.engine.calls_to("/orders/approve"), []);

    // Once it was seen not to be true, a later true is an answer to what waits.
    story.patch(json!({"spec": {"approved": false}})).await;
    story
        .until("it is seen to be false", |p| {
            approval(p).approved_field_counts && !has_type(p, "StaleApproval")
        })
        .await;
    story.engine.ticks(2).await;
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
    story.patch(json!({"spec": {"approved": true}})).await;
    story.until_sealed().await;
    assert_eq!(story.engine.calls_to("/orders/approve").len(), 1);
}

#[tokio::test]
async fn a1_only_the_whole_id_counts() {
    let story = Story::begin().await;
    let waiting = story.waiting().await;
    let right = id(&waiting);
    let (short, upper) = (approval(&waiting).short_id, right.to_uppercase());
    let padded = format!("{right} ");
    for wrong in [
        &short,
        &upper,
        &right[..31],
        &padded,
        NO_CHANGE,
        "true",
        "*",
        "",
    ] {
        story.approve(wrong).await;
        story
            .until(&format!("{wrong:?} is seen"), |p| {
                is_at(p, ApprovalState::Awaiting)
                    && message(p, "StaleApproval").contains(&match wrong.len() {
                        32 if wrong == NO_CHANGE => format!("names {wrong}"),
                        _ if wrong == "true" => "names true".to_owned(),
                        length => format!("({length} characters)"),
                    })
            })
            .await;
    }
    story.engine.ticks(2).await;
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
    story.approve(&right).await;
    story.until_sealed().await;
    assert!(!has_type(&story.now().await, "StaleApproval"));
}

/// The change to `changed_otherwise` waits although approvals of the one before are still there.
async fn the_next_change_waits(story: &Story, before: &Pipeline) {
    story.change_to(&changed_otherwise()).await;
    let waiting = story.until_waiting().await;
    assert_ne!(id(&waiting), id(before));
    assert_eq!(approval(&waiting).parent, id(before));
    assert_eq!(
        approval(&waiting).diff_digest,
        approval(before).diff_digest,
        "names only"
    );
    story.engine.ticks(3).await;
    assert_eq!(story.engine.calls_to("/orders/approve").len(), 1);
    assert!(is_at(&story.now().await, ApprovalState::Awaiting));
}

#[tokio::test]
async fn a2_an_id_left_in_place_is_inert_for_the_next_change() {
    let story = Story::begin().await;
    let first = id(&story.waiting().await);
    story
        .patch(json!({"spec": {"approvedChange": first}}))
        .await;
    story.approve(&first).await;
    story.vote("yes", &first, "Approve").await;
    let sealed = story.until_sealed().await;
    assert!(
        !has_type(&sealed, "StaleApproval"),
        "a spent approval is left alone"
    );
    the_next_change_waits(&story, &sealed).await;
}

#[tokio::test]
async fn a2_approved_left_in_place_is_inert_for_the_next_change() {
    let story = Story::begin().await;
    story.waiting().await;
    story.patch(json!({"spec": {"approved": true}})).await;
    let sealed = story.until_sealed().await;
    the_next_change_waits(&story, &sealed).await;
}

#[tokio::test]
async fn a2_the_same_edit_made_again_is_another_change() {
    let story = Story::begin().await;
    let mut ids = vec![id(&story.waiting().await)];
    story.approve(&ids[0]).await;
    story.until_sealed().await;
    for program in [PROGRAM.to_owned(), changed()] {
        story.change_to(&program).await;
        let waiting = story.until_waiting().await;
        story.engine.ticks(2).await;
        assert_eq!(story.engine.calls_to("/orders/approve").len(), ids.len());
        // Neither the approval of the way here nor that of the way there does anything.
        story
            .vote(&format!("again-{}", ids.len()), &ids[0], "Approve")
            .await;
        story.engine.ticks(2).await;
        assert_eq!(story.engine.calls_to("/orders/approve").len(), ids.len());
        assert!(!ids.contains(&id(&waiting)), "{ids:?}");
        ids.push(id(&waiting));
        story.approve(&id(&waiting)).await;
        story
            .until("it is sealed", |p| {
                is_at(p, ApprovalState::Sealed) && id(p) == id(&waiting)
            })
            .await;
    }
    assert_eq!(story.engine.calls_to("/orders/approve").len(), 3);
    assert_eq!(story.engine.bootstraps().await.len(), 3);
    let history = status(&story.now().await).history;
    let history: Vec<String> = history
        .into_iter()
        .rev()
        .map(|record| record.change_id)
        .collect();
    assert_eq!(history, ids);
}

#[tokio::test]
async fn a2_a_change_that_was_taken_back_needs_another_approval_when_it_comes_again() {
    let story = Story::begin().await;
    let first = id(&story.waiting().await);
    story.change_to(PROGRAM).await;
    story.until_settled_as("Running").await;
    assert!(is_at(&story.now().await, ApprovalState::Superseded));
    assert_eq!(
        story.engine.bootstraps().await.len(),
        0,
        "the old program needs none"
    );
    story
        .patch(json!({"spec": {"program": {"sql": changed()}, "approvedChange": first}}))
        .await;
    let waiting = story.until_waiting().await;
    assert_ne!(id(&waiting), first);
    story.engine.ticks(3).await;
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
}

#[tokio::test]
async fn a3_an_approval_outlives_the_operator() {
    let mut story = Story::with_own_operator(&[]).await;
    let waiting = story.waiting().await;
    story.engine.fault("hang", "1@/approve").await;
    story.approve(&id(&waiting)).await;
    eventually("the engine is called", || async {
        let calls = story.engine.calls_to("/orders/approve");
        (calls.len() == 1).then_some(()).ok_or(calls)
    })
    .await;
    // A6: the decision was written before the call.
    let approved = approval(&story.now().await);
    assert_eq!(
        (approved.state, approved.calls),
        (ApprovalState::Applying, 1)
    );
    assert_eq!(
        approved.decision.expect("a decision").outcome,
        Verdict::Approved
    );

    story.kill_operator();
    story
        .patch(json!({"metadata": {"annotations": {annotation::APPROVE: null}}}))
        .await;
    story.start_operator().await;
    let sealed = story.until_sealed().await;
    assert_eq!(
        approval(&sealed).decision.expect("a decision").via,
        Door::Annotation
    );
    assert_eq!(
        story.engine.calls_to("/orders/approve").len(),
        2,
        "one got no answer"
    );
    assert_eq!(story.engine.bootstraps().await.len(), 1);
}

#[tokio::test]
async fn a6_after_a_crash_the_engine_is_read_before_it_is_told_again() {
    let mut story = Story::with_own_operator(&[]).await;
    let waiting = story.waiting().await;
    // The call is carried out, and the operator never learns of it.
    story.engine.fault("hang-after", "1@/approve").await;
    story.approve(&id(&waiting)).await;
    eventually("the engine is called", || async {
        let calls = story.engine.calls_to("/orders/approve");
        (calls.len() == 1).then_some(()).ok_or(calls)
    })
    .await;
    story.kill_operator();
    story.start_operator().await;
    let sealed = story.until_sealed().await;
    assert_eq!(story.engine.calls_to("/orders/approve").len(), 1);
    assert_eq!(story.engine.bootstraps().await.len(), 1);
    assert_eq!(
        approval(&sealed).decision.expect("a decision").via,
        Door::Annotation
    );
    assert_eq!(
        story.events("OutsideApproval").await,
        [],
        "it was Sluice's own call"
    );
}

#[tokio::test]
async fn a3_a_waiting_change_stays_the_same_question_over_an_operators_death() {
    let mut story = Story::with_own_operator(&[]).await;
    let before = story.waiting().await;
    story.kill_operator();
    story.patch(json!({"spec": {"approved": true}})).await;
    story.start_operator().await;
    // It was seen false while the change was published, and turned true afterwards.
    let sealed = story.until_sealed().await;
    assert_eq!(id(&sealed), id(&before));
    assert_eq!(story.engine.calls_to("/orders/approve").len(), 1);
}

#[tokio::test]
async fn a3_a_process_that_died_before_the_approval_was_durable_is_told_again() {
    let story = Story::with(&["--durable-time", "1m", "--bootstrap-time", "15s"]).await;
    let waiting = story.waiting().await;
    story.approve(&id(&waiting)).await;
    story.until_phase("Bootstrapping").await;
    story
        .engine
        .sim("POST", "/pipelines/orders/kill", Value::Null)
        .await;
    let sealed = story.until_sealed().await;
    assert!(
        story
            .until_event("ApprovalRepeated")
            .await
            .contains(&id(&waiting))
    );
    assert_eq!(id(&sealed), id(&waiting));
    assert_eq!(approval(&sealed).calls, 2);
    assert_eq!(story.engine.calls_to("/orders/approve").len(), 2);
}

#[tokio::test]
async fn a3_a_pipeline_that_is_started_anew_before_the_checkpoint_is_told_again() {
    let story = Story::with(&["--bootstrap-time", "15s"]).await;
    let waiting = story.waiting().await;
    story.approve(&id(&waiting)).await;
    story.until_phase("Bootstrapping").await;
    story
        .engine
        .by_hand("POST", "/pipelines/orders/stop?force=true", Value::Null)
        .await;
    let sealed = story.until_sealed().await;
    assert!(
        story
            .until_event("ApprovalRepeated")
            .await
            .contains("started anew")
    );
    assert_eq!(id(&sealed), id(&waiting));
    assert_eq!(approval(&sealed).calls, 2);
}

#[tokio::test]
async fn a3_an_approval_outlives_a_stop_and_a_start() {
    let story = Story::begin().await;
    let waiting = story.waiting().await;
    story.engine.fault("error", "503@/approve").await;
    story.approve(&id(&waiting)).await;
    story.until_state(ApprovalState::Applying).await;
    story
        .patch(json!({"spec": {"desiredState": "stopped"}}))
        .await;
    story.until_ready("True", "Stopped").await;
    story.engine.no_faults().await;
    story
        .patch(json!({
            "metadata": {"annotations": {annotation::APPROVE: null}},
            "spec": {"desiredState": "running"},
        }))
        .await;
    let sealed = story.until_sealed().await;
    assert_eq!(id(&sealed), id(&waiting));
    assert_eq!(story.engine.bootstraps().await.len(), 1);
}

#[tokio::test]
async fn a4_an_approval_that_fits_nothing_does_nothing_and_is_explained_once() {
    let story = Story::begin().await;
    let waiting = story.waiting().await;
    story.approve(NO_CHANGE).await;
    story
        .until("it is shown", |p| {
            has(p, "StaleApproval", "True", "NoSuchChangeWaits")
        })
        .await;
    let note = story.until_event("StaleApproval").await;
    assert!(
        note.contains(NO_CHANGE) && note.contains(&id(&waiting)),
        "{note}"
    );
    assert!(note.contains(&approval(&waiting).approve_command), "{note}");
    story.engine.ticks(4).await;
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
    let events = story.events("StaleApproval").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].series, None);

    story
        .patch(json!({"metadata": {"annotations": {annotation::APPROVE: null}}}))
        .await;
    story
        .until("it is gone", |p| !has_type(p, "StaleApproval"))
        .await;
}

#[tokio::test]
async fn a4_an_approval_while_nothing_waits_does_nothing() {
    let story = Story::begin().await;
    story.running().await;
    story.patch(json!({"spec": {"approved": true}})).await;
    story.vote("early", NO_CHANGE, "Approve").await;
    story
        .until("both are shown", |p| {
            let message = message(p, "StaleApproval");
            message.contains("spec.approved is true") && message.contains("PipelineApproval early")
        })
        .await;
    story.engine.ticks(2).await;
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
}

#[tokio::test]
async fn a5_a_rejection_beats_an_approval_and_keeps_the_checkpoint() {
    let story = Story::begin().await;
    let waiting = story.waiting().await;
    let change = id(&waiting);
    story
        .until("what was compiled beforehand is gone", |p| {
            status(p).build.is_none()
        })
        .await;
    let begin = story.engine.done().len();
    let kept = story.engine.counters(ORDERS).await["checkpoints_kept"].clone();
    story
        .patch(json!({
            "metadata": {"annotations": {
                annotation::APPROVE: change, annotation::REJECT: change, annotation::REASON: "too dear",
            }},
            "spec": {"approvedChange": change, "approved": true},
        }))
        .await;
    let rejected = story.until_rejected().await;
    let shown = message(&rejected, "Ready");
    assert!(
        shown.contains("too dear") && shown.contains(annotation::RETRY),
        "{shown}"
    );
    assert!(has(&rejected, "Ready", "False", "Rejected"));
    assert!(has_type(&rejected, "Stalled") && !has_type(&rejected, "Reconciling"));
    story.engine.ticks(2).await;
    assert_eq!(
        story.engine.done()[begin..],
        ["POST /pipelines/orders/stop?force=true"]
    );
    assert_eq!(
        story.engine.counters(ORDERS).await["checkpoints_kept"],
        kept
    );
    assert_eq!(status(&rejected).history[0].state, ApprovalState::Rejected);

    // The way back: the old program comes up as it was.
    story.change_to(PROGRAM).await;
    story.until_settled_as("Running").await;
    assert_eq!(story.engine.bootstraps().await, [Value::Null; 0]);
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
}

#[tokio::test]
async fn a5_retry_opens_the_gate_again_as_a_new_question() {
    let story = Story::begin().await;
    let first = id(&story.waiting().await);
    story.vote("no", &first, "Reject").await;
    story.vote("yes", &first, "Approve").await;
    story.until_rejected().await;
    story.annotate(annotation::RETRY, NO_CHANGE).await;
    story.approve(&first).await;
    story.engine.ticks(2).await;
    assert!(
        is_in(&story.now().await, "Rejected"),
        "only the change's own id opens it"
    );

    story.annotate(annotation::RETRY, &first).await;
    let again = story.until_waiting().await;
    assert_ne!(id(&again), first);
    assert_eq!(approval(&again).revision, 1);
    story.engine.ticks(2).await;
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
    story.approve(&id(&again)).await;
    let sealed = story.until_sealed().await;
    assert_eq!(id(&sealed), id(&again));
}

#[tokio::test]
async fn a5_a_rejected_change_is_rejected_also_when_it_comes_round_again() {
    let story = Story::begin().await;
    let first = id(&story.waiting().await);
    story.vote("no", &first, "Reject").await;
    story.until_rejected().await;
    // Another change, which has its own question.
    story.change_to(&extended()).await;
    let other = story.until_waiting().await;
    assert_ne!(id(&other), first);
    story.change_to(&changed()).await;
    let rejected = story.until_rejected().await;
    assert_eq!(id(&rejected), first);
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
}

#[tokio::test]
async fn a5_what_waits_is_never_stopped_gracefully() {
    let story = Story::begin().await;
    story.waiting().await;
    let begin = story.engine.done().len();
    let stops = || -> Vec<String> {
        let mut done = story.engine.done().split_off(begin);
        done.retain(|call| call.contains("/stop"));
        done
    };
    // Another program, other options, and a stop.
    story.change_to(&extended()).await;
    story
        .until("the other waits", |p| {
            is_current(p) && is_at(p, ApprovalState::Awaiting)
        })
        .await;
    assert_eq!(stops(), ["POST /pipelines/orders/stop?force=true"; 1]);
    story
        .patch(json!({"spec": {"bootstrapOptions": {"silent": true}}}))
        .await;
    story
        .until("it waits under other terms", |p| {
            is_current(p) && is_at(p, ApprovalState::Awaiting) && approval(p).options.silent
        })
        .await;
    assert_eq!(stops(), ["POST /pipelines/orders/stop?force=true"; 2]);
    story
        .patch(json!({"spec": {"desiredState": "stopped"}}))
        .await;
    story.until_ready("True", "Stopped").await;
    assert_eq!(stops(), ["POST /pipelines/orders/stop?force=true"; 3]);
}

#[tokio::test]
async fn a6_an_approval_that_the_engine_forgot_is_sent_again() {
    let mut story = Story::without_operator(&[]).await;
    story.engine_object(json!({})).await;
    story.start_operator_with(&["--resend-after", "3s"]).await;
    let waiting = story.waiting().await;
    story.engine.fault("approve-forgotten", 1).await;
    let recording = story.record().await;
    story.approve(&id(&waiting)).await;
    let sealed = story.until_sealed().await;
    let calls = story.engine.calls_to("/orders/approve");
    assert_eq!(calls.len(), 2);
    let is_told = |p: &Pipeline| approval(p).calls == 1;
    let told = recording.first("the engine is told", is_told).await;
    // By the operator's clock, in whole seconds: what the engine notes may be late.
    let told = approval(&told).last_call_at.expect("when it was told").0;
    let pause = calls[1].time.duration_since(told);
    // A second more: it may have been told up to one later.
    assert!(pause >= SignedDuration::from_secs(4), "only after {pause}");
    assert_eq!(approval(&sealed).calls, 2);
    assert!(
        story
            .until_event("ApprovalRepeated")
            .await
            .contains(&id(&waiting))
    );
    assert_eq!(story.engine.bootstraps().await.len(), 1);
}

#[tokio::test]
async fn a6_another_diff_than_the_published_one_is_asked_about_anew() {
    let story = Story::begin().await;
    let first = story.waiting().await;
    // The operator sees nothing while the process comes back with another program and a person
    // approves what was published before.
    story.engine.fault("error", "500").await;
    story.until_phase("Unknown").await;
    let other = json!({"program_code": extended()});
    let starts = async || story.engine.counters(ORDERS).await["process_starts"].as_u64();
    let before = starts().await;
    story
        .engine
        .sim("POST", "/pipelines/orders/kill", other)
        .await;
    story.approve(&id(&first)).await;
    // The manager has noticed by then that the process was gone.
    eventually("the process is back", || async {
        let now = starts().await;
        (now > before).then_some(()).ok_or(now)
    })
    .await;
    story.engine.no_faults().await;
    let second = story
        .until("it is asked about anew", |p| {
            is_at(p, ApprovalState::Awaiting) && id(p) != id(&first)
        })
        .await;
    assert!(story.until_event("DiffChanged").await.contains(&id(&first)));
    assert_eq!(approval(&second).revision, 1);
    assert_ne!(approval(&second).diff_digest, approval(&first).diff_digest);
    story.engine.ticks(3).await;
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
    assert!(is_at(&story.now().await, ApprovalState::Awaiting));
}

#[tokio::test]
async fn a6_a_bootstrap_that_fails_is_not_approved_again_by_itself() {
    let story = Story::begin().await;
    story.running().await;
    let broken = edited(
        "AS SELECT id FROM notes",
        "WITH ('connectors' = '[{\"name\": \"file\", \"transport\": {\"name\": \"file_output\", \"config\": {\"path\": \"/nonexistent/x\"}}, \"format\": {\"name\": \"csv\"}}]') AS SELECT id FROM notes",
    );
    story.change_to(&broken).await;
    let waiting = story.until_waiting().await;
    story.approve(&id(&waiting)).await;
    let failed = story
        .until("applying it fails", |p| {
            is_at(p, ApprovalState::ApplyFailed) && has(p, "Stalled", "True", "ApplyFailed")
        })
        .await;
    assert!(
        approval(&failed)
            .failure
            .expect("why")
            .contains("/nonexistent/x")
    );
    let begin = story.engine.done().len();
    story.engine.ticks(3).await;
    assert_eq!(
        story.engine.done().len(),
        begin,
        "{:?}",
        story.engine.done()
    );
    assert_eq!(story.engine.calls_to("/orders/approve").len(), 1);

    story.annotate(annotation::RETRY, &id(&waiting)).await;
    let again = story.until_waiting().await;
    assert_ne!(id(&again), id(&waiting));
    assert_eq!(story.engine.calls_to("/orders/approve").len(), 1);
    story.change_to(PROGRAM).await;
    story.until_settled_as("Running").await;
}

#[tokio::test]
async fn a7_an_approval_at_the_engine_itself_is_recorded_as_one_from_outside() {
    let story = Story::begin().await;
    let waiting = story.waiting().await;
    story
        .engine
        .by_hand("POST", "/pipelines/orders/approve", Value::Null)
        .await;
    let sealed = story.until_sealed().await;
    assert_eq!(id(&sealed), id(&waiting));
    let decision = approval(&sealed).decision.expect("a decision");
    assert_eq!((decision.via, decision.verified), (Door::Outside, false));
    assert_eq!(approval(&sealed).calls, 0);
    assert!(
        story
            .until_event("OutsideApproval")
            .await
            .contains(&id(&waiting))
    );
    assert_eq!(
        story.engine.calls_to("/orders/approve").len(),
        1,
        "only that one"
    );
}

#[tokio::test]
async fn a7_a_start_under_another_policy_is_recorded() {
    let story = Story::begin().await;
    story.running().await;
    story
        .patch(json!({"spec": {"desiredState": "stopped"}}))
        .await;
    story.until_ready("True", "Stopped").await;
    let start = "/pipelines/orders/start?bootstrap_policy=allow";
    story.engine.by_hand("POST", start, Value::Null).await;
    let note = story.until_event("OutsideStart").await;
    assert!(
        note.contains("allow") && note.contains("await_approval"),
        "{note}"
    );
    // It isn't to run, so it doesn't.
    story
        .until("it is stopped again", |p| {
            has(p, "Ready", "True", "Stopped")
        })
        .await;
}

#[tokio::test]
async fn a8_a_change_without_a_diff_waits_for_a_person() {
    let story = Story::begin().await;
    story.running().await;
    story
        .patch(json!({"spec": {"desiredState": "stopped"}}))
        .await;
    story.until_ready("True", "Stopped").await;
    story
        .engine
        .sim("POST", "/pipelines/orders/forget_description", Value::Null)
        .await;
    story
        .patch(json!({"spec": {"desiredState": "running", "program": {"sql": changed()}}}))
        .await;
    let waiting = story.until_waiting().await;
    let diff = approval(&waiting).diff.expect("what the engine gives");
    assert!(
        diff["program_diff"].is_null() && !diff["program_diff_error"].is_null(),
        "{diff:?}"
    );
    let stake = approval(&waiting).at_stake.expect("what is at stake");
    assert_eq!(
        (
            stake.tables_lost,
            stake.tables_refilled,
            stake.sinks_repeated
        ),
        (None, None, None)
    );
    assert!(!stake.unknown.is_empty());
    story.engine.ticks(3).await;
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
    story.approve(&id(&waiting)).await;
    story.until_sealed().await;
}

#[tokio::test]
async fn a11_neither_spec_nor_annotations_nor_peoples_votes_are_touched() {
    let story = Story::begin().await;
    let change = id(&story.waiting().await);
    let vote = story.vote("yes", &change, "Approve").await;
    story.annotate("example.com/mine", "1").await;
    let patched = story
        .patch(json!({"spec": {"approvedChange": change}}))
        .await;
    story.until_sealed().await;
    // While something was compiled beforehand, a finalizer saw to it that it isn't left behind.
    let sealed = story
        .until("nothing holds it", |p| p.finalizers().is_empty())
        .await;
    assert_eq!(sealed.metadata.generation, patched.metadata.generation);
    assert_eq!(sealed.spec, patched.spec);
    assert_eq!(sealed.annotations(), patched.annotations());
    assert_eq!(sealed.labels(), patched.labels());
    for fields in sealed.managed_fields() {
        if fields.manager.as_deref() == Some("sluice") {
            assert_eq!(fields.subresource.as_deref(), Some("status"), "{fields:?}");
        }
    }
    let kept = story
        .api::<PipelineApproval>()
        .get("yes")
        .await
        .expect("it is still there");
    // Beside its status, in which stands what became of it.
    assert_eq!(kept.spec, vote.spec);
    let untouched = |vote: &PipelineApproval| {
        let metadata = vote.metadata.clone();
        (
            (metadata.uid, metadata.generation, metadata.labels),
            (
                metadata.annotations,
                metadata.finalizers,
                metadata.owner_references,
            ),
            metadata.deletion_timestamp,
        )
    };
    assert_eq!(untouched(&kept), untouched(&vote));
}

#[tokio::test]
async fn a15_ten_pipelines_that_wait_cost_one_question_per_tick() {
    let story = Story::begin().await;
    let names: Vec<String> = (0..10).map(|number| format!("p{number}")).collect();
    for name in &names {
        story.create(name, json!({})).await;
    }
    for name in &names {
        story
            .until_of(name, "it runs", |p| {
                status(p).settled.is_some() && is_in(p, "Running")
            })
            .await;
        story
            .patch_of(name, json!({"spec": {"program": {"sql": changed()}}}))
            .await;
    }
    let mut versions = vec![];
    for name in &names {
        let waiting = story
            .until_of(name, "it waits, and nothing else is under way", |p| {
                is_at(p, ApprovalState::Awaiting)
                    && status(p).build.is_none()
                    && p.finalizers().is_empty()
                    && status(p).policies.is_some()
            })
            .await;
        versions.push(waiting.resource_version());
    }
    // What the others still had in the air is done now.
    story.engine.ticks(2).await;
    let begin = story.engine.calls().len();
    story.engine.ticks(5).await;
    let calls = story.engine.calls().split_off(begin);
    assert!(calls.iter().all(|call| call.is_tick()), "{calls:?}");
    for (name, version) in names.iter().zip(versions) {
        let now = story
            .api::<Pipeline>()
            .get(name)
            .await
            .expect("it is there");
        assert_eq!(now.resource_version(), version, "{name} was written to");
    }
}

#[tokio::test]
async fn a17_an_approved_bootstrap_is_kept_by_one_checkpoint() {
    let story = Story::begin().await;
    let waiting = story.waiting().await;
    let before = story.engine.calls_to("/orders/checkpoint").len();
    story.approve(&id(&waiting)).await;
    let sealed = story.until_sealed().await;
    story.engine.ticks(2).await;
    assert_eq!(
        story.engine.calls_to("/orders/checkpoint").len(),
        before + 1
    );
    assert_eq!(
        status(&sealed).settled.expect("settled").change_id,
        id(&waiting)
    );
    let sent = story.engine.counters(ORDERS).await["sinks"].clone();

    // From now on a restart neither asks nor repeats, however it comes about.
    story
        .engine
        .sim("POST", "/pipelines/orders/kill", Value::Null)
        .await;
    story.engine.ticks(2).await;
    story.until_ready("True", "Running").await;
    story
        .engine
        .by_hand("POST", "/pipelines/orders/stop?force=true", Value::Null)
        .await;
    story.engine.ticks(2).await;
    story.until_ready("True", "Running").await;
    assert_eq!(story.engine.calls_to("/orders/approve").len(), 1);
    assert_eq!(story.engine.bootstraps().await.len(), 1);
    assert_eq!(story.engine.counters(ORDERS).await["sinks"], sent);
}

#[tokio::test]
async fn a17_a_checkpoint_that_fails_is_told_and_asked_for_again() {
    let story = Story::begin().await;
    let waiting = story.waiting().await;
    story.engine.fault("error", "500:1@/checkpoint").await;
    story.approve(&id(&waiting)).await;
    story
        .until("it is applied and not sealed", |p| {
            is_at(p, ApprovalState::Applied)
                && status(p).seal.is_some_and(|seal| seal.failure.is_some())
        })
        .await;
    let now = story.until_ready("True", "Running").await;
    assert!(
        is_at(&now, ApprovalState::Applied),
        "what isn't kept isn't settled"
    );
}

#[tokio::test]
async fn a18_what_approving_destroys_and_repeats_is_told_beforehand() {
    let story = Story::begin().await;
    story.running().await;
    let wider = PROGRAM
        .replace("amount INT)", "amount INT, item VARCHAR)")
        .replace("notes (id INT)", "notes (id INT, text VARCHAR)");
    story.change_to(&wider).await;
    let stake = approval(&story.until_waiting().await)
        .at_stake
        .expect("what is at stake");
    let lower = |list: Option<Vec<String>>| -> Vec<String> {
        list.expect("known")
            .iter()
            .map(|name| name.to_lowercase())
            .collect()
    };
    assert_eq!(lower(stake.tables_refilled), ["orders"]);
    assert_eq!(lower(stake.tables_lost), ["notes"]);
    assert_eq!(stake.dropped_input, "none");

    story.change_to(&changed()).await;
    let waiting = story
        .until("the other waits", |p| {
            is_current(p) && is_at(p, ApprovalState::Awaiting)
        })
        .await;
    let stake = approval(&waiting).at_stake.expect("what is at stake");
    assert_eq!(lower(stake.tables_refilled), [""; 0]);
    assert_eq!(lower(stake.sinks_repeated), ["totals.sink"]);

    story
        .patch(json!({"spec": {"bootstrapOptions": {"silent": true}}}))
        .await;
    let silent = story
        .until("it waits under other terms", |p| {
            is_current(p) && is_at(p, ApprovalState::Awaiting) && approval(p).options.silent
        })
        .await;
    assert_ne!(
        id(&silent),
        id(&waiting),
        "the options are part of what is approved"
    );
    assert_eq!(
        lower(
            approval(&silent)
                .at_stake
                .expect("what is at stake")
                .sinks_repeated
        ),
        [""; 0]
    );
    let sent = story.engine.counters(ORDERS).await["sinks"].clone();
    story.approve(&id(&silent)).await;
    story.until_sealed().await;
    let calls = story.engine.calls_to("/orders/approve");
    assert_eq!(calls.len(), 1);
    assert_eq!(
        calls[0].query,
        "silent_bootstrap=true&concurrent_bootstrap=false"
    );
    assert_eq!(story.engine.counters(ORDERS).await["sinks"], sent);
}

#[tokio::test]
async fn a15_a_change_that_waits_is_left_as_it_is() {
    let story = Story::begin().await;
    story.waiting().await;
    // Written once, when the operator has seen what they refuse.
    story.until_names_are_vouched_for().await;
    story.rests().await;
    let waiting = story.now().await;
    assert!(has(&waiting, "Ready", "False", "AwaitingApproval"));
    assert!(has(&waiting, "Approved", "False", "AwaitingApproval"));
    assert!(!has_type(&waiting, "Reconciling") && !has_type(&waiting, "Stalled"));
    assert!(status(&waiting).waiting_since.is_some());
    story.engine.ticks(10).await;
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
    let later = story.now().await;
    let shown = |pipeline: &Pipeline| serde_json::to_string_pretty(pipeline).expect("JSON");
    assert_eq!(shown(&later), shown(&waiting), "nothing was written");
}
