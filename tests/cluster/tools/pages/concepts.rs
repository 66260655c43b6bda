//! `docs/concepts.md`: a gate without a program, and a pipeline that was there before.

use serde_json::{Value, json};

use super::scene::Installed;

const THEIRS: &str = "CREATE TABLE theirs (id INT) WITH ('materialized' = 'true');";

#[tokio::test]
async fn what_the_page_of_the_concepts_shows_is_seen() {
    let scene = Installed::with(&[]).await;
    let theirs = json!({"name": "legacy", "program_code": THEIRS});
    let engine = &scene.story.engine;
    engine.by_hand("POST", "/pipelines", theirs).await;
    for (name, program) in [
        ("guest", Value::Null),
        (
            "legacy",
            json!({"sql": "CREATE TABLE ours (id INT) WITH ('materialized' = 'true');"}),
        ),
    ] {
        let spec = json!({"engineRef": null, "program": program});
        scene.story.create(name, spec).await;
        let reason = if name == "guest" {
            "PipelineNotFound"
        } else {
            "NameTaken"
        };
        let until = format!(
            "kubectl wait pipeline/{name} --for=jsonpath='{{.status.conditions[?(@.type==\"Ready\")].reason}}'={reason} --timeout=2m"
        );
        scene.shell.succeeds(&until).await;
    }
    scene.types("docs/concepts.md").await;
    assert!(
        engine.pipeline("legacy").await["program_code"]
            .as_str()
            .is_some_and(|code| code.contains("ours"))
    );
}
