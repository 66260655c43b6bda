//! Engines that give no good answer: said so, nothing done meanwhile, and over by itself.

use serde_json::{Value, json};

use sluice_test_support::story::{ORDERS, Story, approval, has, id, is_current, status};

#[tokio::test]
async fn an_engine_that_is_down_at_first_is_waited_for() {
    let mut story = Story::begin().await;
    story.engine.goes_down();
    story.until_engine("False", "Unreachable").await;
    story.create(ORDERS, json!({})).await;
    story.until_ready("False", "EngineUnreachable").await;
    story.engine.comes_back();
    story.until_engine("True", "Answers").await;
    story.until_settled_as("Running").await;
}

#[tokio::test]
async fn a_pipeline_without_its_engine_object_says_so_and_goes_on_once_it_is_there() {
    let story = Story::without_engine().await;
    story.create(ORDERS, json!({})).await;
    story.until_ready("False", "EngineNotFound").await;
    story.engine_object(json!({})).await;
    story.until_settled_as("Running").await;
}

/// What an engine's fault looks like, and that it does no harm: an approval that is given meanwhile
/// is carried out afterwards, once.
async fn is_shown_and_over_by_itself(fault: (&str, Value), engine: &str, pipeline: &str) {
    let story = Story::begin().await;
    let waiting = story.waiting().await;
    story.engine.fault(fault.0, fault.1).await;
    story.until_engine("False", engine).await;
    let unknown = story.until_ready("False", pipeline).await;
    assert_eq!(id(&unknown), id(&waiting), "what was known is kept");
    story.approve(&id(&waiting)).await;
    story.engine.is_asked_again().await;
    story.engine.no_faults().await;
    story.until_engine("True", "Answers").await;
    let sealed = story.until_sealed().await;
    assert_eq!(approval(&sealed).calls, 1);
    let good = |call: &&sluice_test_support::stand_in::Call| call.status == Some(200);
    assert_eq!(
        story
            .engine
            .calls_to("/orders/approve")
            .iter()
            .filter(good)
            .count(),
        1
    );
    assert_eq!(story.engine.bootstraps().await.len(), 1);
}

#[tokio::test]
async fn an_engine_that_is_not_available_is_asked_again_when_it_says() {
    is_shown_and_over_by_itself(("error", json!("503")), "Unavailable", "EngineUnreachable").await;
}

#[tokio::test]
async fn an_engine_that_refuses_the_credential_is_told_apart() {
    is_shown_and_over_by_itself(
        ("error", json!("401")),
        "Unauthorized",
        "EngineUnauthorized",
    )
    .await;
}

#[tokio::test]
async fn an_engine_that_answers_nonsense_is_not_believed() {
    is_shown_and_over_by_itself(
        ("nonsense", json!(1000)),
        "InvalidAnswer",
        "EngineUnreachable",
    )
    .await;
}

#[tokio::test]
async fn an_engine_that_hangs_is_given_up_on_and_asked_again() {
    let story = Story::begin().await;
    story.running().await;
    // Two polls, so that somebody gets to see it; others' calls don't count.
    story.engine.fault("hang", "2@/pipelines").await;
    story.until_engine("False", "Unreachable").await;
    story.until_engine("True", "Answers").await;
    story.until_ready("True", "Running").await;
}

#[tokio::test]
async fn an_engine_that_goes_down_changes_nothing_that_is_known() {
    let mut story = Story::begin().await;
    let waiting = story.waiting().await;
    story.engine.goes_down();
    story.until_ready("False", "EngineUnreachable").await;
    story.engine.comes_back();
    let again = story.until_waiting().await;
    assert_eq!(id(&again), id(&waiting));
    story.engine.ticks(2).await;
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
}

#[tokio::test]
async fn a_credential_comes_from_a_secret_and_is_taken_up_when_it_changes() {
    let story = Story::keyed("right-key").await;
    story.secret("key", json!({"token": "wrong-key"})).await;
    story
        .engine_object(json!({"credentialsSecretRef": {"name": "key", "key": "token"}}))
        .await;
    story.create(ORDERS, json!({})).await;
    story.until_engine("False", "Unauthorized").await;
    story.until_ready("False", "EngineUnauthorized").await;
    story.secret("key", json!({"token": "right-key\n"})).await;
    story.until_engine("True", "Answers").await;
    story.until_settled_as("Running").await;
}

#[tokio::test]
async fn five_pipelines_cost_one_list_per_tick() {
    let story = Story::begin().await;
    for number in 0..5 {
        story.create(&format!("p{number}"), json!({})).await;
    }
    for number in 0..5 {
        let name = format!("p{number}");
        story
            .until_of(&name, "it runs", |p| {
                is_current(p) && has(p, "Ready", "True", "Running") && status(p).settled.is_some()
            })
            .await;
    }
    // What was still in the air is done then.
    story.engine.ticks(5).await;
    let begin = story.engine.calls().len();
    story.engine.ticks(5).await;
    let calls = story.engine.calls().split_off(begin);
    assert!(calls.iter().all(|call| call.is_tick()), "{calls:?}");
}
