//! From another namespace.

use kube::Api;
use serde_json::{Value, json};
use sluice::crd::{Engine, Pipeline};

use sluice_test_support::cluster::{create, pipeline};
use sluice_test_support::story::{ORDERS, Story, changed, eventually, has, message};

#[tokio::test]
async fn a19_a_second_pipeline_in_another_namespace_waits_for_the_older_one() {
    let story = Story::begin().await;
    story.running().await;
    let begin = story.engine.done().len();
    let elsewhere = story.cluster().namespace("attack").await;
    let engines: Api<Engine> = Api::namespaced(story.client.clone(), &elsewhere);
    let engine = json!({"metadata": {"name": "mine"}, "spec": {"url": story.engine.url}});
    create(&engines, engine).await.expect("an Engine");
    let pipelines: Api<Pipeline> = Api::namespaced(story.client.clone(), &elsewhere);
    // With everything in it that would open the gate, or end the pipeline.
    let spec = json!({
        "engineRef": {"name": "mine"}, "program": {"sql": changed()}, "bootstrapPolicy": "allow",
        "allowStateLoss": true, "clearStorage": "now", "deletionPolicy": "Delete",
    });
    create(&pipelines, pipeline(ORDERS, spec))
        .await
        .expect("a Pipeline");
    let stalled = eventually("it is stalled", || async {
        let found = pipelines.get(ORDERS).await.expect("the Pipeline");
        let stalled = has(&found, "Stalled", "True", "NameTaken");
        stalled.then_some(found.clone()).ok_or(found.status)
    })
    .await;
    let owner = format!("{}/{ORDERS}", &*story.namespace);
    let why = message(&stalled, "Ready");
    assert!(why.contains(&owner), "{why}");
    // Nor does its end take anything along.
    let params = kube::api::DeleteParams::default();
    pipelines
        .delete(ORDERS, &params)
        .await
        .expect("it is deleted");
    eventually("it is gone", || async {
        let found = pipelines.get_opt(ORDERS).await.expect("an answer");
        found.map_or(Ok(()), Err)
    })
    .await;
    story.engine.ticks(2).await;
    assert_eq!(story.engine.done()[begin..], [""; 0]);
    assert_ne!(
        story.engine.pipeline(ORDERS).await["program_code"],
        Value::String(changed())
    );
}
