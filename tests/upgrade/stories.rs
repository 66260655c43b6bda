//! What becomes of pipelines that run, wait, are approved and are rejected while Sluice is upgraded under them, and
//! rolled back.

use std::path::Path;

use control_plane::releases::PREVIOUS;
use kube::api::ListParams;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use sluice::crd::{ApprovalState, Pipeline, PipelineApproval, annotation};

use super::scene::{NAMESPACE, Scene, before};
use sluice_test_support::cluster::{create, said, workspace};
use sluice_test_support::story::{
    FUNCTIONS, OTHER_FUNCTIONS, approval, eventually, has, id, is_at, is_in, status, until_older,
    with_functions,
};
use sluice_test_support::trials::trials;

/// All stories.
pub fn all() -> Vec<Trial> {
    trials![
        what_runs_is_not_touched_and_what_waits_waits_on_under_its_id,
        what_was_approved_before_is_applied_once,
        an_approval_that_nobody_decided_on_before_is_given_again_and_counts_once,
        while_both_releases_run_beside_each_other_an_approval_counts_once,
        a_rollback_loses_nothing_and_neither_does_the_next_upgrade,
        changed_functions_are_approved_or_reverted_before_a_rollback,
        definitions_and_pipelines_outlive_both_releases,
        plain_manifests_are_applied_over_those_of_the_release_before,
    ]
}

fn is_rejected(p: &Pipeline) -> bool {
    is_in(p, "Rejected") && is_at(p, ApprovalState::Rejected)
}

/// What was done to the engine that concerns a pipeline.
fn done_to(scene: &Scene, name: &str) -> Vec<String> {
    let mut done = scene.story.engine.done();
    done.retain(|call| call.contains(&format!("/{name}/")) || call.contains(&format!("/{name}?")));
    done
}

async fn what_runs_is_not_touched_and_what_waits_waits_on_under_its_id() {
    let mut scene = Scene::of_the_release_before().await;
    let functions = json!({"program": {"sql": with_functions(), "udfRust": FUNCTIONS}});
    scene.story.create("functions", functions).await;
    // Texts that look like numbers: since 0.2.0 they are told apart.
    let texts = json!({"program": {"sql": "CREATE TABLE t (id INT);"}, "runtimeConfig": {"workers": 2, "env": {"LEVEL": "1"}}});
    scene.story.create("texts", texts).await;
    scene.run(&["plain"]).await;
    let ids = scene.wait_for_approval(&["waits", "rejected"]).await;
    let no = json!({"metadata": {"annotations": {annotation::REJECT: &ids[1], annotation::REASON: "not today"}}});
    scene.story.patch_of("rejected", no).await;
    let rejected = scene
        .story
        .until_of("rejected", "it is rejected", is_rejected);
    let rejected = rejected.await;
    let running = |p: &Pipeline| is_in(p, "Running") && status(p).settled.is_some();
    for name in ["functions", "texts"] {
        scene.story.until_of(name, "it runs", running).await;
    }
    eventually("the rejected one is stopped", || async {
        let engine = scene.story.engine.pipeline("rejected").await;
        let status = engine["deployment_status"].clone();
        (status == "Stopped").then_some(()).ok_or(status)
    })
    .await;
    let done = scene.all_done().await;

    // The definitions came from Helm's own folder, and belong to no release yet.
    let line = format!("upgrade sluice charts/sluice -n {NAMESPACE}");
    let refused = said(&scene.try_helm(&line));
    assert!(refused.contains("invalid ownership metadata"), "{refused}");
    scene.upgrade();
    scene.roll_out().await;

    scene.still_waits("waits", &ids[0]).await;
    assert_eq!(
        scene.story.engine.done(),
        done,
        "nothing is done to an engine"
    );
    let pipelines = scene.story.api::<Pipeline>();
    let still = pipelines.get("rejected").await.expect("the Pipeline");
    assert!(is_rejected(&still), "{still:#?}");
    assert_eq!(approval(&still).decision, approval(&rejected).decision);
    for name in ["plain", "functions", "texts"] {
        let now = pipelines.get(name).await.expect("the Pipeline");
        assert!(has(&now, "Ready", "True", "Running"), "{now:#?}");
        assert!(
            status(&now)
                .approval
                .is_none_or(|approval| approval.state != ApprovalState::Awaiting)
        );
    }
    scene.approve("waits", &ids[0]).await;
    scene.sealed_once("waits", &ids[0]).await;
    assert_eq!(scene.approve_calls("rejected"), []);
}

async fn what_was_approved_before_is_applied_once() {
    let mut scene = Scene::of_the_release_before().await;
    let ids = scene.wait_for_approval(&["unheard", "untold"]).await;
    // Carried out, but the operator dies before it learns so.
    scene
        .story
        .engine
        .fault("hang-after", "1@/untold/approve")
        .await;
    scene.approve_by(&before().plugin, "untold", &ids[1]);
    eventually("the engine is told", || async {
        (!scene.approve_calls("untold").is_empty())
            .then_some(())
            .ok_or("not yet")
    })
    .await;
    // By the newer plugin, which is held to go with the older operator.
    scene.approve_unheard("unheard", &ids[0]).await;
    scene.kill_all();
    scene.upgrade();
    scene.story.engine.no_faults().await;
    scene.start_a_replica().await;
    for (name, change) in [("unheard", &ids[0]), ("untold", &ids[1])] {
        scene.sealed_once(name, change).await;
    }
}

async fn an_approval_that_nobody_decided_on_before_is_given_again_and_counts_once() {
    let mut scene = Scene::of_the_release_before().await;
    let names = ["by-object", "by-annotation"];
    let ids = scene.wait_for_approval(&names).await;
    scene.kill_all();
    scene.approve_by(&before().plugin, names[0], &ids[0]);
    let approved = json!({"metadata": {"annotations": {annotation::APPROVE: &ids[1]}}});
    scene.story.patch_of(names[1], approved).await;
    // What is as old as the policies counts.
    let votes = scene.story.api::<PipelineApproval>();
    let votes = votes.list(&ListParams::default()).await.expect("votes");
    until_older(&votes.items[0]).await;
    scene.upgrade();
    scene.start_a_replica().await;
    for (name, change) in names.iter().zip(&ids) {
        let told = |p: &Pipeline| has(p, "UnfoundedApproval", "True", "NobodyVouchesForTheName");
        let what = format!("{name} says that the approval doesn't count");
        scene.story.until_of(name, &what, told).await;
        scene.still_waits(name, change).await;
        scene.approve(name, change).await;
        scene.sealed_once(name, change).await;
    }
}

async fn while_both_releases_run_beside_each_other_an_approval_counts_once() {
    let mut scene = Scene::of_the_release_before().await;
    let ids = scene.wait_for_approval(&["early", "midway", "late"]).await;
    scene.upgrade();
    scene.start_a_replica().await;
    // The old one leads still, under the policies and rights of the new release.
    scene.approve_by(&before().plugin, "early", &ids[0]);
    scene.sealed_once("early", &ids[0]).await;
    scene.approve_unheard("midway", &ids[1]).await;
    scene.end_a_replica().await;
    scene.story.engine.no_faults().await;
    scene.sealed_once("midway", &ids[1]).await;
    scene.still_waits("late", &ids[2]).await;
    scene.approve("late", &ids[2]).await;
    scene.sealed_once("late", &ids[2]).await;
}

async fn a_rollback_loses_nothing_and_neither_does_the_next_upgrade() {
    let mut scene = Scene::of_the_release_before().await;
    let ids = scene.wait_for_approval(&["from-before", "for-later"]).await;
    scene.upgrade();
    scene.roll_out().await;
    let further = scene
        .wait_for_approval(&["meanwhile", "midway", "rejected"])
        .await;
    let votes = scene.story.api::<PipelineApproval>();
    let no = json!({
        "metadata": {"name": "no"},
        "spec": {
            "pipelineRef": {"name": "rejected"},
            "changeId": &further[2],
            "decision": "Reject",
        },
    });
    let no = create(&votes, no).await.expect("the vote");
    assert_eq!(no.spec.voter.as_deref(), Some("admin"));
    scene
        .story
        .until_of("rejected", "it is rejected", is_rejected)
        .await;
    scene.approve_unheard("midway", &further[1]).await;

    // The new one leads still, under the policies and rights of the old release.
    scene.roll_back();
    scene.start_a_replica().await;
    scene.approve("meanwhile", &further[0]).await;
    scene.end_a_replica().await;
    scene.story.engine.no_faults().await;
    scene.sealed_once("midway", &further[1]).await;
    scene.sealed_once("meanwhile", &further[0]).await;
    for (name, change) in [("from-before", &ids[0]), ("for-later", &ids[1])] {
        scene.still_waits(name, change).await;
    }
    scene.approve_by(&before().plugin, "from-before", &ids[0]);
    scene.sealed_once("from-before", &ids[0]).await;

    scene.upgrade();
    scene.roll_out().await;
    scene.still_waits("for-later", &ids[1]).await;
    scene.approve("for-later", &ids[1]).await;
    scene.sealed_once("for-later", &ids[1]).await;
    let pipelines = scene.story.api::<Pipeline>();
    assert!(is_rejected(
        &pipelines.get("rejected").await.expect("the Pipeline")
    ));
    assert_eq!(scene.approve_calls("rejected"), []);
}

async fn changed_functions_are_approved_or_reverted_before_a_rollback() {
    let mut scene = Scene::of_the_release_before().await;
    scene.upgrade();
    scene.roll_out().await;
    let program =
        |functions: &str| json!({"program": {"sql": with_functions(), "udfRust": functions}});
    let names = ["reverted", "left", "rejected"];
    let running = |p: &Pipeline| is_in(p, "Running") && status(p).settled.is_some();
    for name in names {
        scene.story.create(name, program(FUNCTIONS)).await;
    }
    for name in names {
        scene.story.until_of(name, "it runs", running).await;
        let other = json!({"spec": program(OTHER_FUNCTIONS)});
        scene.story.patch_of(name, other).await;
        scene.waiting(name).await;
    }
    let rejected = scene.waiting("rejected").await;
    let no = json!({"metadata": {"annotations": {annotation::REJECT: id(&rejected)}}});
    scene.story.patch_of("rejected", no).await;
    scene
        .story
        .until_of("rejected", "it is rejected", |p| {
            is_at(p, ApprovalState::Rejected)
        })
        .await;
    let back = json!({"spec": program(FUNCTIONS)});
    scene.story.patch_of("reverted", back).await;
    scene
        .story
        .until_of("reverted", "nothing waits", |p| {
            has(p, "Ready", "True", "Running")
        })
        .await;
    scene.until_looked_at().await;
    let before = done_to(&scene, "reverted");
    scene.roll_back();
    scene.roll_out().await;
    // Why docs/upgrade.md says what to do beforehand: that release has no gate for it.
    for name in ["left", "rejected"] {
        eventually("it is taken up unasked", || async {
            let functions = scene.story.engine.pipeline(name).await["udf_rust"].clone();
            (functions == OTHER_FUNCTIONS)
                .then_some(())
                .ok_or(functions)
        })
        .await;
    }
    scene.until_looked_at().await;
    assert_eq!(done_to(&scene, "reverted"), before);
}

async fn definitions_and_pipelines_outlive_both_releases() {
    let mut scene = Scene::of_the_release_before().await;
    let ids = scene.wait_for_approval(&["orders"]).await;
    let namespace = scene.story.namespace.to_string();
    let uid = |scene: &Scene| -> Value {
        scene.object(&format!("pipeline/orders -n {namespace}"))["metadata"]["uid"].clone()
    };
    let first = uid(&scene);

    scene.end_a_replica().await;
    scene.helm(&format!("uninstall sluice -n {NAMESPACE}"));
    scene.helm(&format!(
        "install sluice charts/sluice -n {NAMESPACE} --take-ownership"
    ));
    scene.start_a_replica().await;
    scene.still_waits("orders", &ids[0]).await;

    scene.end_a_replica().await;
    let removed = scene.helm(&format!("uninstall sluice -n {NAMESPACE}"));
    assert!(removed.contains("pipelines.sluice.dev"), "{removed}");
    assert_eq!(uid(&scene), first);
    scene.helm(&format!("install sluice charts/sluice -n {NAMESPACE}"));
    scene.start_a_replica().await;
    scene.still_waits("orders", &ids[0]).await;
    scene.approve("orders", &ids[0]).await;
    let sealed = scene.sealed_once("orders", &ids[0]).await;
    assert_eq!(id(&sealed), ids[0]);
    assert_eq!(uid(&scene), first);
}

async fn plain_manifests_are_applied_over_those_of_the_release_before() {
    let mut scene = Scene::empty().await;
    scene.kubectl(&format!("create namespace {NAMESPACE}"));
    let files = tempfile::tempdir().expect("a folder");
    for file in ["crds.yaml", "sluice.yaml", "kustomization.yaml"] {
        let text = PREVIOUS.file(&format!("deploy/{file}"));
        let text = text.unwrap_or_else(|error| panic!("{error}"));
        std::fs::write(files.path().join(file), text).expect("a file");
    }
    let apply = |folder: &Path| format!("apply --server-side -k {}", folder.display());
    scene.kubectl(&apply(files.path()));
    scene.kubectl("wait --for=condition=Established --timeout=2m crd --all");
    scene.start_a_replica().await;
    scene.until_pipelines_are_taken().await;
    scene.story.engine_object(json!({})).await;
    let ids = scene.wait_for_approval(&["orders"]).await;
    scene.kubectl(&apply(&workspace().join("deploy")));
    scene.roll_out().await;
    scene.still_waits("orders", &ids[0]).await;
    scene.approve("orders", &ids[0]).await;
    scene.sealed_once("orders", &ids[0]).await;
}
