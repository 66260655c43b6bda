//! Changes that would come through beside the gate: by taking a pipeline away, by deleting and creating its object, and by
//! settings that the engine doesn't look at. With a whole operator and the stand-in.

use kube::api::PostParams;
use serde_json::{Value, json};
use sluice::crd::{ApprovalState, Engine, Gate, Pipeline, annotation};

use sluice_test_support::cluster::{create, eventually};
use sluice_test_support::story::{
    FUNCTIONS, ORDERS, OTHER_FUNCTIONS, PROGRAM, Story, approval, changed, has, id, is_at,
    is_current, is_in, message, status, with_functions,
};

fn tags(engine: &Value) -> Vec<String> {
    serde_json::from_value(engine["tags"].clone()).expect("tags")
}

#[tokio::test]
async fn a19_adopt_takes_no_pipeline_from_an_owner_that_lives() {
    let story = Story::begin().await;
    let owner = story.running().await;
    let own = format!("sluice:{}", owner.metadata.uid.clone().expect("a uid"));
    let begin = story.engine.done().len();
    let named = format!(
        "{}/{ORDERS}",
        owner.metadata.namespace.clone().expect("one")
    );
    for (n, value) in [ORDERS, &named].into_iter().enumerate() {
        let hijack = format!("hijack-{n}");
        story
            .create(
                &hijack,
                json!({"pipelineName": ORDERS, "deletionPolicy": "Delete", "program": {"sql": changed()}}),
            )
            .await;
        story
            .patch_of(
                &hijack,
                json!({"metadata": {"annotations": {annotation::ADOPT: value}}}),
            )
            .await;
        let stalled = story
            .until_of(&hijack, "it is told", |p| {
                has(p, "Stalled", "True", "NameTaken") && is_in(p, "NameTaken")
            })
            .await;
        assert!(message(&stalled, "Ready").contains("/orders"));
        story.engine.ticks(2).await;
        // Nor does its deletion take anything along.
        story.delete(&hijack).await;
        story.until_gone(&hijack).await;
    }
    assert_eq!(story.engine.done()[begin..], [""; 0]);
    assert_eq!(tags(&story.engine.pipeline(ORDERS).await)[0], own);
    assert!(has(&story.now().await, "Ready", "True", "Running"));
}

#[tokio::test]
async fn a19_what_a_pipeline_leaves_behind_is_taken_over_by_who_names_it() {
    let story = Story::begin().await;
    let owner = story.running().await;
    let named = format!(
        "{}/{ORDERS}",
        owner.metadata.namespace.clone().expect("one")
    );
    story.delete(ORDERS).await;
    story.until_gone(ORDERS).await;
    let spec = json!({"pipelineName": ORDERS});
    story.create("heir", spec).await;
    let stalled = story
        .until_of("heir", "it is told", |p| {
            has(p, "Stalled", "True", "NameTaken")
        })
        .await;
    let says = message(&stalled, "Ready");
    assert!(
        says.contains(&format!("sluice.dev/adopt={named}")),
        "{says}"
    );
    // The name of the engine's pipeline is not enough: the verb was asked for on this Pipeline only.
    for (value, taken) in [(ORDERS, false), (named.as_str(), true)] {
        story
            .patch_of(
                "heir",
                json!({"metadata": {"annotations": {annotation::ADOPT: value}}}),
            )
            .await;
        story.engine.ticks(2).await;
        let tags = tags(&story.engine.pipeline(ORDERS).await);
        let old = format!("sluice:{}", owner.metadata.uid.clone().expect("a uid"));
        if !taken {
            assert!(tags.contains(&old), "{value}");
        }
    }
    story
        .until_of("heir", "it runs", |p| has(p, "Ready", "True", "Running"))
        .await;
}

#[tokio::test]
async fn a9_delete_and_create_washes_no_functions_through() {
    let story = Story::begin().await;
    story.running_with_functions().await;
    let sql = with_functions();
    let other_sql = edited_sql(&sql);
    story
        .patch(json!({"spec": {"program": {"sql": other_sql, "udfRust": OTHER_FUNCTIONS}}}))
        .await;
    let waiting = story.until_waiting().await;
    assert_eq!(approval(&waiting).gate, Gate::Engine);
    story.delete(ORDERS).await;
    story.until_gone(ORDERS).await;
    let program = |sql: &str, udf: &str| json!({"program": {"sql": sql, "udfRust": udf}});
    story
        .create(ORDERS, program(&other_sql, OTHER_FUNCTIONS))
        .await;
    // The question that waits in between names all that differs.
    let again = story.until_waiting().await;
    let says = approval(&again).summary;
    assert!(says.contains("user-defined functions (Rust)"), "{says}");
    assert_ne!(id(&again), id(&waiting));
    story
        .patch(json!({"spec": program(&sql, OTHER_FUNCTIONS)}))
        .await;
    let asked = story
        .until("it is asked about at Sluice's gate", |p| {
            is_at(p, ApprovalState::Awaiting) && approval(p).gate == Gate::Sluice
        })
        .await;
    assert_eq!(
        approval(&asked).summary,
        "changes user-defined functions (Rust)"
    );
    story.engine.ticks(2).await;
    assert_eq!(
        story.engine.pipeline(ORDERS).await["deployment_status"],
        "Stopped"
    );
    // Put back, all of it runs as it did, and nobody was asked for that.
    story.patch(json!({"spec": program(&sql, FUNCTIONS)})).await;
    story.until_ready("True", "Running").await;
    assert_eq!(story.engine.bootstraps().await.len(), 0);
}

fn edited_sql(sql: &str) -> String {
    format!("{sql}CREATE VIEW one_more AS SELECT amount FROM orders;\n")
}

#[tokio::test]
async fn a8_a_checkpoint_of_unknown_origin_is_asked_about_before_anything_starts_from_it() {
    let story = Story::begin().await;
    story.running().await;
    story
        .patch(json!({"spec": {"desiredState": "stopped"}}))
        .await;
    story.until_ready("True", "Stopped").await;
    // What the stop settled is marked a moment later.
    story.rests().await;
    story.delete(ORDERS).await;
    story.until_gone(ORDERS).await;
    // Nobody has recorded what it was made from.
    story
        .engine
        .by_hand("PATCH", "/pipelines/orders", json!({"tags": []}))
        .await;
    story.create(ORDERS, json!({})).await;
    story.until_ready("False", "NameTaken").await;
    story.annotate(annotation::ADOPT, ORDERS).await;
    let asked = story.until_waiting().await;
    assert_eq!(approval(&asked).gate, Gate::Sluice);
    let says = approval(&asked).summary;
    assert!(says.starts_with("unknown: "), "{says}");
    story.engine.ticks(2).await;
    assert_eq!(
        story.engine.pipeline(ORDERS).await["deployment_status"],
        "Stopped"
    );
    story.approve(&id(&asked)).await;
    story.until_sealed().await;
}

#[tokio::test]
async fn a9_a_pipeline_that_is_made_again_as_it_was_goes_on_unasked() {
    let story = Story::begin().await;
    let settled = story.running().await;
    story.delete(ORDERS).await;
    story.until_gone(ORDERS).await;
    let begin = story.engine.done().len();
    story.create(ORDERS, json!({})).await;
    let again = story.until_settled_as("Running").await;
    let of = |p: &Pipeline| status(p).settled.expect("settled").target;
    assert_eq!(of(&again), of(&settled));
    assert_eq!(story.engine.done()[begin..], [""; 0]);
}

#[tokio::test]
async fn a9_storage_turned_off_by_runtime_config_opens_no_gate_and_loses_nothing_unasked() {
    for off in [json!(false), Value::Null] {
        let story = Story::begin().await;
        story.running().await;
        let spec =
            json!({"spec": {"program": {"sql": changed()}, "runtimeConfig": {"storage": off}}});
        if off.is_null() {
            // A merge patch takes null away: it comes by a whole object.
            eventually("the edit", || async {
                let mut object = story.now().await;
                object.spec.program.get_or_insert_default().sql = Some(changed());
                object.spec.runtime_config = json!({"storage": null}).as_object().cloned();
                let pipelines = story.api::<Pipeline>();
                pipelines
                    .replace(ORDERS, &PostParams::default(), &object)
                    .await
            })
            .await;
        } else {
            story.patch(spec).await;
        }
        let asked = story
            .until("it is asked about", |p| is_at(p, ApprovalState::Awaiting))
            .await;
        let change = approval(&asked);
        assert_eq!(change.gate, Gate::Sluice);
        assert!(
            change.summary.starts_with("turns storage off"),
            "{}",
            change.summary
        );
        assert!(change.at_stake.expect("it is said").state_lost);
        story.engine.ticks(2).await;
        assert_eq!(story.engine.calls_to("/orders/stop").len(), 0);
        story.approve(&change.change_id).await;
        let applied = story
            .until("it runs", |p| {
                is_at(p, ApprovalState::Applied) && has(p, "Ready", "True", "Running")
            })
            .await;
        assert_eq!(
            story.engine.pipeline(ORDERS).await["program_code"],
            changed()
        );
        assert!(story.events("OutsideApproval").await.is_empty());
        assert_eq!(approval(&applied).calls, 0);
    }
}

#[tokio::test]
async fn a9_settings_that_could_alter_results_wait_and_others_do_not() {
    let story = Story::begin().await;
    story.running().await;
    story
        .patch(json!({"spec": {"runtimeConfig": {"resources": {"memory_mb_max": 512}}}}))
        .await;
    story
        .until("it is in force", |p| {
            has(p, "Ready", "True", "Running") && is_current(p)
        })
        .await;
    let engine = story.engine.pipeline(ORDERS).await;
    assert_eq!(engine["runtime_config"]["resources"]["memory_mb_max"], 512);
    story
        .patch(json!({"spec": {"runtimeConfig": {"env": {"RUST_LOG": "debug"}}}}))
        .await;
    let asked = story
        .until("it is asked about", |p| is_at(p, ApprovalState::Awaiting))
        .await;
    assert_eq!(approval(&asked).summary, "changes the runtime settings env");
    assert_eq!(approval(&asked).changed, ["settings"]);
    assert!(has(&asked, "Ready", "True", "AwaitingApproval"));
    story.approve(&id(&asked)).await;
    story.until_sealed().await;
    let engine = story.engine.pipeline(ORDERS).await;
    assert_eq!(engine["runtime_config"]["env"]["RUST_LOG"], "debug");
    assert_eq!(engine["program_code"], PROGRAM);
}

/// Settings that stand in the engine, and of which the object that is made again says nothing.
#[tokio::test]
async fn a9_delete_and_create_washes_no_settings_out() {
    let story = Story::begin().await;
    let settings = json!({"env": {"A": "1"}, "max_rss_mb": 3000});
    story.running_with(json!({"runtimeConfig": settings})).await;
    story.delete(ORDERS).await;
    story.until_gone(ORDERS).await;
    story.create(ORDERS, json!({})).await;
    story.until_settled_as("Running").await;
    let listed = json!({"max_rss_mb": 4000});
    story
        .patch(json!({"spec": {"runtimeConfig": listed}}))
        .await;
    // What the spec never named stays.
    story
        .until("the listed one is there", |pipeline| {
            has(pipeline, "Ready", "True", "Running")
                && pipeline.metadata.generation == status(pipeline).observed_generation
                && status(pipeline)
                    .content
                    .is_some_and(|held| held.runtime_config_is_given)
        })
        .await;
    let held = story.engine.pipeline(ORDERS).await["runtime_config"].clone();
    assert_eq!(
        (&held["env"], &held["max_rss_mb"]),
        (&json!({"A": "1"}), &json!(4000))
    );
    // An `env` that says nothing takes it away.
    let none = json!({"max_rss_mb": 4000, "env": {}});
    story.patch(json!({"spec": {"runtimeConfig": none}})).await;
    let waiting = story.until_waiting().await;
    let summary = approval(&waiting).summary;
    assert!(summary.contains("runtime settings env"), "{summary}");
    story.approve(&id(&waiting)).await;
    story.until_sealed().await;
    let held = story.engine.pipeline(ORDERS).await["runtime_config"].clone();
    assert_eq!(
        (&held["env"], &held["max_rss_mb"]),
        (&json!({}), &json!(4000))
    );
    // What the engine fills in beside that is no change.
    let begin = story.engine.done().len();
    story.delete(ORDERS).await;
    story.until_gone(ORDERS).await;
    let again = story
        .create(
            ORDERS,
            json!({"runtimeConfig": {"max_rss_mb": 4000, "workers": 8}}),
        )
        .await;
    assert!(status(&again).approval.is_none());
    let running = story.until_settled_as("Running").await;
    assert!(status(&running).approval.is_none());
    assert!(
        story.engine.done()[begin..]
            .iter()
            .all(|call| !call.contains("/stop"))
    );
}

/// Somebody whose Pipeline only waits for a name is older by now than the owner, which was restored or made again.
#[tokio::test]
async fn a19_who_waits_for_a_name_keeps_no_owner_out_that_is_made_again() {
    let story = Story::begin().await;
    story.running().await;
    let waits = json!({"pipelineName": ORDERS, "program": {"sql": changed()}});
    story.create("squat", waits).await;
    let is_stalled = |p: &Pipeline| has(p, "Stalled", "True", "NameTaken");
    story.until_of("squat", "it waits", is_stalled).await;
    story.delete(ORDERS).await;
    story.until_gone(ORDERS).await;
    story.create(ORDERS, json!({})).await;
    story.until_settled_as("Running").await;
    let namespace = story.namespace.to_string();
    let adopt =
        json!({"metadata": {"annotations": {annotation::ADOPT: format!("{namespace}/{ORDERS}")}}});
    story.patch_of("squat", adopt).await;
    story.engine.ticks(3).await;
    let squat = story.until_of("squat", "it waits", is_stalled).await;
    assert!(message(&squat, "Ready").contains(&format!("Pipeline {namespace}/{ORDERS}")));
    assert!(has(&story.now().await, "Ready", "True", "Running"));
}

/// The word of whoever may edit an Engine, be it his own, is for marks that name nobody.
#[tokio::test]
async fn a19_a_release_says_nothing_of_a_mark_that_names_its_owner() {
    let story = Story::begin().await;
    let owner = story.running().await;
    let own = format!("sluice:{}", owner.metadata.uid.expect("a uid"));
    story.delete(ORDERS).await;
    story.until_gone(ORDERS).await;
    let port = story.engine.url.rsplit(':').next().expect("a port");
    let theirs = json!({
        "metadata": {"name": "theirs", "annotations": {annotation::RELEASE: ORDERS}},
        "spec": {"url": format!("http://localhost:{port}")},
    });
    create(&story.api::<Engine>(), theirs)
        .await
        .expect("the Engine");
    story
        .create(
            "thief",
            json!({"pipelineName": ORDERS, "engineRef": {"name": "theirs"}}),
        )
        .await;
    let adopt = json!({"metadata": {"annotations": {annotation::ADOPT: ORDERS}}});
    story.patch_of("thief", adopt).await;
    story
        .until_of("thief", "it waits", |p| {
            has(p, "Stalled", "True", "NameTaken")
        })
        .await;
    story.engine.ticks(3).await;
    assert!(tags(&story.engine.pipeline(ORDERS).await).contains(&own));
}

/// Nothing marks a pipeline that is made elsewhere, and whose gate somebody keeps by another key of the same engine.
#[tokio::test]
async fn a19_adopt_takes_no_pipeline_whose_gate_is_kept_by_another_key() {
    let story = Story::by_two_keys().await;
    story.guest().await;
    let begin = story.engine.done().len();
    let thief = json!({"pipelineName": ORDERS, "engineRef": {"name": "other"}, "program": {"sql": changed()}});
    story.create("thief", thief).await;
    let adopt = json!({"metadata": {"annotations": {annotation::ADOPT: ORDERS}}});
    story.patch_of("thief", adopt).await;
    let stalled = story
        .until_of("thief", "it waits", |p| {
            has(p, "Stalled", "True", "NameTaken")
        })
        .await;
    assert!(message(&stalled, "Ready").contains("/orders"));
    story.engine.ticks(3).await;
    assert_eq!(story.engine.done()[begin..], [""; 0]);
    assert!(has(&story.now().await, "Ready", "True", "Running"));
}
