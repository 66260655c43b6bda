//! What Flux makes of a Pipeline, and a Pipeline of Flux.

use kube::ResourceExt;
use kube::api::ObjectMeta;
use serde_json::json;
use sluice::crd::{ApprovalState, Door, Pipeline, PipelineApproval, Verdict, annotation};

use libtest_mimic::Trial;

use super::scene::{PIPELINES, Scene, Wait};
use sluice_test_support::cluster::{ADMIN, said};
use sluice_test_support::story::{
    PROGRAM, approval, changed, changed_otherwise, has_type, id, is_at, is_in,
};
use sluice_test_support::trials::trials;

/// All stories.
pub fn all() -> Vec<Trial> {
    trials![
        a_first_commit_is_ready_once_the_pipeline_runs,
        a_change_by_commit_waits_until_a_commit_approves_it_which_gets_in_when_the_wait_is_over,
        a_commit_that_approves_gets_in_at_once_where_flux_cancels_health_checks,
        a_vote_from_a_folder_of_its_own_is_not_held_up_by_what_waits,
        a_rejection_ends_the_wait_and_a_revert_brings_the_old_program_up,
        a_program_that_does_not_compile_is_told_at_once_and_by_kstatus_alone,
        a_change_that_waits_is_ready_for_checks_that_say_so,
        functions_that_wait_at_sluices_own_gate_are_not_in_force_for_the_checks,
        a_vote_by_kubectl_counts_before_flux_takes_it_away,
        a_rejection_by_annotation_outlives_that_flux_takes_it_away,
        a_program_in_a_file_of_its_own_is_ready_only_when_it_is_in_force,
        what_is_removed_from_git_goes_once_the_engine_has_let_go,
        an_account_of_flux_approves_nothing_that_it_cannot_name,
    ]
}

/// Short enough for a test that waits until it is over.
const SHORT: Wait = Wait {
    checks: Some("pipelines.yaml"),
    timeout: "7s",
    cancels: false,
};

/// Who the API server says that the account of the Pipelines is.
fn account(scene: &Scene) -> String {
    let namespace: &str = &scene.story.namespace;
    format!("system:serviceaccount:{namespace}:{PIPELINES}")
}

/// What differs from one write to the next, whoever writes.
fn written(pipeline: &Pipeline) -> (Option<i64>, Option<String>) {
    let ObjectMeta { generation, .. } = pipeline.metadata;
    (generation, pipeline.resource_version())
}

/// Has Flux apply everything again, twice, and sees to it that nothing is written.
async fn nothing_drifts(scene: &Scene) {
    scene.story.rests().await;
    let before = scene.story.now().await;
    scene.reconcile_again().await;
    scene.reconcile_again().await;
    scene.story.rests().await;
    let after = scene.story.now().await;
    assert_eq!(written(&before), written(&after), "{before:#?} {after:#?}");
}

async fn a_first_commit_is_ready_once_the_pipeline_runs() {
    let first = async |checks: Option<&'static str>| {
        let wait = Wait {
            checks,
            ..Wait::default()
        };
        let scene = Scene::waiting(wait).await;
        scene.until_ready().await;
        let pipeline = scene.story.now().await;
        assert!(is_in(&pipeline, "Running"), "{checks:?}: {pipeline:#?}");
        nothing_drifts(&scene).await;
    };
    tokio::join!(
        first(None),
        first(Some("pipelines.yaml")),
        first(Some("waiting-is-ready.yaml"))
    );
}

async fn a_change_by_commit_waits_until_a_commit_approves_it_which_gets_in_when_the_wait_is_over() {
    let scene = Scene::waiting(SHORT).await;
    scene.until_ready().await;
    scene.commit_program(&changed());
    let waits = scene.until("Healthy", "Unknown", "Progressing").await;
    assert!(waits.contains("Running health checks"), "{waits}");
    let waiting = scene.story.until_waiting().await;
    // Flux gives up, says what isn't ready, and begins again. On a busy machine it hasn't always looked, and says that.
    let failed = ("Ready", "False", "HealthCheckFailed");
    scene
        .until_told(failed, &["timeout waiting for", "status: 'InProgress'"])
        .await;
    let change = id(&waiting);
    let spec = json!({"program": {"sql": changed()}, "approvedChange": change});

    // The account that edits may not approve, and Flux says so in our words.
    scene.commit_spec(spec.clone());
    let refused = scene.until("Ready", "False", "ReconciliationFailed").await;
    assert!(
        refused.contains("spec.approvedChange needs the verb approve on Pipeline orders"),
        "{refused}"
    );
    assert!(is_at(&scene.story.now().await, ApprovalState::Awaiting));
    let cluster = scene.story.cluster();
    let namespace: &str = &scene.story.namespace;
    cluster
        .grant(namespace, &account(&scene), "sluice-approver")
        .await;
    let sealed = scene.story.until_sealed().await;
    let decision = approval(&sealed).decision.expect("a decision");
    assert_eq!(
        (decision.via, decision.by, decision.verified),
        (Door::Field, account(&scene), true)
    );
    scene.until_ready().await;
    // What approved stays in Git, and approves nothing further.
    nothing_drifts(&scene).await;
    scene.commit_spec(json!({"program": {"sql": changed_otherwise()}, "approvedChange": change}));
    let next = scene.story.until_waiting().await;
    assert_ne!(id(&next), change);
    assert_eq!(scene.story.engine.bootstraps().await.len(), 1);
}

async fn a_commit_that_approves_gets_in_at_once_where_flux_cancels_health_checks() {
    let scene = Scene::waiting(Wait {
        cancels: true,
        // Longer than the test has patience for.
        timeout: "10m",
        ..Wait::default()
    })
    .await;
    let cluster = scene.story.cluster();
    let namespace: &str = &scene.story.namespace;
    cluster
        .grant(namespace, &account(&scene), "sluice-approver")
        .await;
    scene.until_ready().await;
    scene.commit_program(&changed());
    let waiting = scene.story.until_waiting().await;
    // With the name beside it, as where the cluster doesn't write it.
    scene.commit_object(json!({
        "metadata": {"annotations": {annotation::APPROVED_CHANGE_BY: account(&scene)}},
        "spec": {"program": {"sql": changed()}, "approvedChange": id(&waiting)},
    }));
    scene.story.until_sealed().await;
    scene.until_ready().await;
    nothing_drifts(&scene).await;
}

async fn a_vote_from_a_folder_of_its_own_is_not_held_up_by_what_waits() {
    let scene = Scene::waiting(Wait {
        timeout: "10m",
        ..Wait::default()
    })
    .await;
    scene.until_ready().await;
    scene.commit_program(&changed());
    let waiting = scene.story.until_waiting().await;
    scene.until("Healthy", "Unknown", "Progressing").await;
    scene.commit_vote("orders-1", &id(&waiting), "Approve");
    scene.apply_approvals().await;
    let sealed = scene.story.until_sealed().await;
    let decision = approval(&sealed).decision.expect("a decision");
    let namespace: &str = &scene.approvals;
    assert_eq!(
        (decision.by, decision.verified),
        (format!("system:serviceaccount:{namespace}:approvals"), true)
    );
    let done = ("Ready", "True", "ReconciliationSucceeded");
    scene.until_of(&scene.approvals, "approvals", done).await;
    scene.until_ready().await;

    // The vote has done what it was for: it can go, and takes nothing with it.
    scene.repository.commit(&[
        ("approvals/orders-1.yaml", None),
        ("approvals/README.md", Some("None.\n")),
    ]);
    scene.until_of(&scene.approvals, "approvals", done).await;
    let votes = scene.story.api::<PipelineApproval>();
    assert!(
        votes
            .get_opt("orders-1")
            .await
            .expect("an answer")
            .is_none()
    );
    nothing_drifts(&scene).await;
    assert!(is_at(&scene.story.now().await, ApprovalState::Sealed));
}

async fn a_rejection_ends_the_wait_and_a_revert_brings_the_old_program_up() {
    let scene = Scene::waiting(Wait {
        timeout: "10m",
        ..Wait::default()
    })
    .await;
    scene.until_ready().await;
    scene.commit_program(&changed());
    let waiting = scene.story.until_waiting().await;
    scene.until("Healthy", "Unknown", "Progressing").await;
    scene.story.vote("no", &id(&waiting), "Reject").await;
    scene.story.until_rejected().await;
    let failed = scene.until("Ready", "False", "HealthCheckFailed").await;
    assert!(
        failed.contains("failed early due to stalled resources") && failed.contains("orders"),
        "{failed}"
    );
    scene.repository.revert();
    scene.until_ready().await;
    let back = scene.story.until_settled_as("Running").await;
    assert!(is_at(&back, ApprovalState::Superseded) || is_at(&back, ApprovalState::Rejected));
    assert_eq!(scene.story.engine.bootstraps().await.len(), 0);
}

async fn a_program_that_does_not_compile_is_told_at_once_and_by_kstatus_alone() {
    let scene = Scene::waiting(Wait {
        checks: None,
        timeout: "10m",
        ..Wait::default()
    })
    .await;
    scene.until_ready().await;
    scene.commit_program("CREATE TABLE t (id INT);\nCREATE VIEW v AS SELECT id FROM nowhere;");
    let failed = scene.until("Ready", "False", "HealthCheckFailed").await;
    assert!(
        failed.contains("failed early due to stalled resources"),
        "{failed}"
    );
    scene.commit_program(PROGRAM);
    scene.until_ready().await;
}

async fn a_change_that_waits_is_ready_for_checks_that_say_so() {
    let scene = Scene::waiting(Wait {
        checks: Some("waiting-is-ready.yaml"),
        timeout: "10m",
        ..Wait::default()
    })
    .await;
    scene.until_ready().await;
    scene.commit_program(&changed());
    scene.until_ready().await;
    let waiting = scene.story.until_waiting().await;
    nothing_drifts(&scene).await;
    scene.story.vote("yes", &id(&waiting), "Approve").await;
    scene.story.until_sealed().await;
}

async fn functions_that_wait_at_sluices_own_gate_are_not_in_force_for_the_checks() {
    let scene = Scene::waiting(SHORT).await;
    let program = |functions: &str| {
        let sql = sluice_test_support::story::with_functions();
        json!({"program": {"sql": sql, "udfRust": functions}})
    };
    scene.until_ready().await;
    scene.commit_spec(program(sluice_test_support::story::FUNCTIONS));
    let first = scene.story.until_waiting().await;
    scene.story.vote("first", &id(&first), "Approve").await;
    scene.story.until_sealed().await;
    scene.until_ready().await;
    scene.commit_spec(program(sluice_test_support::story::OTHER_FUNCTIONS));
    let waiting = scene.story.until_waiting().await;
    assert!(is_in(&waiting, "AwaitingApproval") && !has_type(&waiting, "Reconciling"));
    let failed = scene.until("Ready", "False", "HealthCheckFailed").await;
    assert!(failed.contains("timeout waiting for"), "{failed}");
    scene.story.vote("second", &id(&waiting), "Approve").await;
    scene.until_ready().await;
    scene.story.until_sealed().await;
}

async fn a_vote_by_kubectl_counts_before_flux_takes_it_away() {
    let scene = Scene::waiting(Wait {
        checks: Some("waiting-is-ready.yaml"),
        ..Wait::default()
    })
    .await;
    scene.until_ready().await;
    // What kubectl writes, Flux takes for an edit beside Git, and puts right.
    scene.commit_program(&changed());
    let waiting = scene.story.until_waiting().await;
    annotate(&scene, annotation::APPROVE, &id(&waiting), &[]);
    scene.story.until_sealed().await;
    scene.reconcile_again().await;
    let sealed = scene.story.now().await;
    for key in [annotation::APPROVE, annotation::APPROVE_BY] {
        assert!(!sealed.annotations().contains_key(key), "{sealed:#?}");
    }
    assert!(is_at(&sealed, ApprovalState::Sealed));
    nothing_drifts(&scene).await;

    scene.commit_program(PROGRAM);
    scene.story.until_waiting().await;
    let approves = r#"--patch={"spec":{"approved":true}}"#;
    kubectl(
        &scene,
        &["patch", "pipeline", "orders", "--type=merge", approves],
    );
    scene.story.until_sealed().await;
    scene.reconcile_again().await;
    let sealed = scene.story.now().await;
    assert_eq!(sealed.spec.approved, None);
    assert!(is_at(&sealed, ApprovalState::Sealed));
    nothing_drifts(&scene).await;

    // With the name that Flux leaves alone, it stays.
    scene.commit_program(&changed_otherwise());
    let waiting = scene.story.until_waiting().await;
    let lasting = ["--field-manager=flux-client-side-apply"];
    annotate(&scene, annotation::APPROVE, &id(&waiting), &lasting);
    scene.story.until_sealed().await;
    scene.reconcile_again().await;
    let sealed = scene.story.now().await;
    assert!(
        sealed.annotations().contains_key(annotation::APPROVE),
        "{sealed:#?}"
    );
    nothing_drifts(&scene).await;
}

async fn a_rejection_by_annotation_outlives_that_flux_takes_it_away() {
    let scene = Scene::waiting(Wait {
        checks: Some("waiting-is-ready.yaml"),
        ..Wait::default()
    })
    .await;
    scene.until_ready().await;
    scene.commit_program(&changed());
    let waiting = scene.story.until_waiting().await;
    let reason = format!("{}=too dear", annotation::REASON);
    annotate(&scene, annotation::REJECT, &id(&waiting), &[&reason]);
    scene.story.until_rejected().await;
    scene.reconcile_again().await;
    let rejected = scene.story.until_rejected().await;
    for key in [annotation::REJECT, annotation::REASON] {
        assert!(!rejected.annotations().contains_key(key), "{rejected:#?}");
    }
    let decision = approval(&rejected).decision.expect("a decision");
    assert_eq!(
        (decision.outcome, decision.reason.as_deref()),
        (Verdict::Rejected, Some("too dear"))
    );
    scene.repository.revert();
    scene.until_ready().await;
    scene.story.until_settled_as("Running").await;
}

async fn a_program_in_a_file_of_its_own_is_ready_only_when_it_is_in_force() {
    let scene = Scene::waiting(Wait {
        checks: None,
        cancels: true,
        ..Wait::default()
    })
    .await;
    let cluster = scene.story.cluster();
    let namespace: &str = &scene.story.namespace;
    // It writes ConfigMaps as well.
    cluster.grant(namespace, &account(&scene), "edit").await;
    scene.commit_example_program();
    scene.until_ready().await;
    let first = scene.story.until_settled_as("Running").await;
    scene
        .repository
        .commit(&[("pipelines/orders.sql", Some(&changed()))]);
    let waiting = scene.story.until_waiting().await;
    assert_ne!(waiting.metadata.generation, first.metadata.generation);
    scene.until("Healthy", "Unknown", "Progressing").await;
    scene.story.vote("yes", &id(&waiting), "Approve").await;
    scene.until_ready().await;
    scene.story.until_sealed().await;
    nothing_drifts(&scene).await;
}

async fn what_is_removed_from_git_goes_once_the_engine_has_let_go() {
    let scene = Scene::begin().await;
    scene.until_ready().await;
    scene.remove_pipeline();
    scene.story.until_gone("orders").await;
    scene.until_ready().await;
    assert_eq!(
        scene.story.engine.names().await,
        ["orders"],
        "deletionPolicy is Retain"
    );
}

async fn an_account_of_flux_approves_nothing_that_it_cannot_name() {
    let scene = Scene::waiting(Wait {
        checks: Some("waiting-is-ready.yaml"),
        ..Wait::default()
    })
    .await;
    let cluster = scene.story.cluster();
    let namespace: &str = &scene.story.namespace;
    cluster
        .grant(namespace, &account(&scene), "sluice-approver")
        .await;
    scene.until_ready().await;
    scene.commit_program(&changed());
    scene.story.until_waiting().await;
    scene.commit_spec(json!({"program": {"sql": changed()}, "approved": true}));
    let refused = scene.until("Ready", "False", "ReconciliationFailed").await;
    assert!(
        refused.contains("a service account sets spec.approvedChange"),
        "{refused}"
    );
    assert!(is_at(&scene.story.now().await, ApprovalState::Awaiting));
}

/// Types `kubectl annotate`.
fn annotate(scene: &Scene, key: &str, value: &str, further: &[&str]) {
    let annotation = format!("{key}={value}");
    let typed = ["annotate", "pipeline", "orders", &annotation, "--overwrite"];
    kubectl(scene, &[&typed, further].concat());
}

/// Types a command of kubectl's.
fn kubectl(scene: &Scene, typed: &[&str]) {
    let namespace: &str = &scene.story.namespace;
    let cluster = scene.story.cluster();
    let output = cluster.kubectl(ADMIN, &[typed, &["-n", namespace]].concat());
    assert!(output.status.success(), "{typed:?}: {}", said(&output));
}
