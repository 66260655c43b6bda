//! A status that others have written into, as by a restore from a backup or by hand.

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use sluice::crd::Pipeline;

use sluice_test_support::cluster::OPERATOR;
use sluice_test_support::story::{ORDERS, Story, has, has_type, status};

/// To apply a status takes nothing away that another manager owns, so that it would be written for ever.
#[tokio::test]
async fn what_others_own_of_a_status_comes_to_rest_and_their_conditions_stay() {
    let story = Story::begin().await;
    story.running().await;
    story.rests().await;
    let recording = story.record().await;
    let client = story.cluster().client_for(OPERATOR).await;
    let api: Api<Pipeline> = Api::namespaced(client, &story.namespace);
    let target = json!({"sql": "a", "udfRust": "b", "udfToml": "c", "config": "d"});
    let theirs = json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Pipeline",
        "metadata": {"name": ORDERS},
        "status": {
            "failures": {"count": 3, "lastAt": "2026-01-01T00:00:00Z", "message": "long ago", "generation": 77},
            "build": {"target": target, "outcome": "Compiled"},
            "lost": {"pipelineId": "of another", "since": "2026-01-01T00:00:00Z", "looks": 1},
            "conditions": [{
                "type": "Audited", "status": "True", "reason": "ByOthers", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
        },
    });
    api.patch_status(
        ORDERS,
        &PatchParams::apply("a-backup").force(),
        &Patch::Apply(&theirs),
    )
    .await
    .expect("it is written");
    let clean = story
        .until("nothing of that is left", |p| {
            let status = status(p);
            has_type(p, "Audited")
                && status.failures.is_none()
                && status.build.is_none()
                && status.lost.is_none()
        })
        .await;
    assert!(has(&clean, "Ready", "True", "Running"));
    story.rests().await;
    let versions = recording.complete().await;
    assert!(versions.len() <= 6, "{versions:#?}");
    assert!(has_type(&story.now().await, "Audited"), "it stays");
}
