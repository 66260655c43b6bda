//! What the shipped scripts say of all kinds of objects, by Argo CD's own `argocd admin settings`, which runs
//! them as its controller and its API server do.

use std::process::{Command, Output};

use serde_json::{Value, json};

use super::argo::{SERVER, tool};
use sluice_test_support::cluster::{CHANGE, said, workspace};

use libtest_mimic::Trial;

/// All stories.
pub fn all() -> Vec<Trial> {
    sluice_test_support::trials::trials![
        a_pipeline_is_as_healthy_as_its_conditions_say,
        a_change_that_waits_is_told_in_either_form_with_its_id_and_how_to_approve_it,
        an_engine_that_may_still_come_up_is_progressing,
        actions_are_there_while_a_change_waits,
        an_action_votes_on_the_whole_id_of_what_waits,
        an_action_is_there_and_votes_in_each_state_and_condition_as_it_would_count,
        an_action_refuses_where_nothing_waits_or_something_else_does,
    ]
}

/// Runs `argocd admin settings resource-overrides …` on an object, with a patch of `argocd/`.
fn argocd(patch: &str, object: &Value, command: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("object.json");
    std::fs::write(&file, object.to_string()).expect("a file");
    let (verb, further) = command.split_first().expect("a command");
    Command::new(tool().program)
        .env("ARGOCD_BINARY_NAME", "argocd")
        .args(["admin", "settings", "resource-overrides", verb])
        .arg(&file)
        .args(further)
        .arg("--argocd-cm-path")
        .arg(workspace().join("argocd").join(patch))
        .output()
        .expect("argocd can be started")
}

fn health(patch: &str, object: &Value) -> (String, String) {
    let output = argocd(patch, object, &["health"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let part = |begin: &str| text.lines().find_map(|line| line.strip_prefix(begin));
    let status = part("STATUS: ").unwrap_or_else(|| panic!("{}", said(&output)));
    (
        status.to_owned(),
        part("MESSAGE: ").unwrap_or_default().to_owned(),
    )
}

/// A Pipeline with a `Ready` condition, and whatever else its status has.
fn pipeline(status: &str, reason: &str, further: Value) -> Value {
    let mut all = json!({
        "observedGeneration": 2,
        "conditions": [{"type": "Ready", "status": status, "reason": reason, "message": "in words"}],
    });
    sluice_test_support::story::merge(&mut all, &further);
    json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Pipeline",
        "metadata": {"name": "orders", "namespace": "shop", "uid": "u", "generation": 2},
        "spec": {},
        "status": all,
    })
}

fn waiting() -> Value {
    pipeline(
        "False",
        "AwaitingApproval",
        json!({"approval": {
            "state": "Awaiting",
            "changeId": CHANGE,
            "shortId": &CHANGE[..8],
            "summary": "modifies view totals",
            "diffDigest": "0".repeat(64),
        }}),
    )
}

async fn a_pipeline_is_as_healthy_as_its_conditions_say() {
    let stalled = |reason: &str| {
        let mut object = pipeline("False", reason, json!({}));
        let conditions = object["status"]["conditions"]
            .as_array_mut()
            .expect("a list");
        conditions
            .push(json!({"type": "Stalled", "status": "True", "reason": reason, "message": "x"}));
        object
    };
    for (object, expected) in [
        (pipeline("True", "Running", json!({})), "Healthy"),
        (pipeline("True", "Stopped", json!({})), "Healthy"),
        (pipeline("False", "Compiling", json!({})), "Progressing"),
        (
            pipeline("False", "EngineUnreachable", json!({})),
            "Progressing",
        ),
        (pipeline("False", "Rejected", json!({})), "Degraded"),
        (stalled("CompileFailed"), "Degraded"),
        (waiting(), "Suspended"),
    ] {
        let (status, message) = health("suspended.yaml", &object);
        assert_eq!(status, expected, "{object}");
        assert!(
            message.contains("in words") || expected == "Suspended",
            "{message}"
        );
    }
    // What is said of an older spec doesn't count, nor does nothing.
    let mut edited = pipeline("True", "Running", json!({}));
    edited["metadata"]["generation"] = json!(3);
    let mut new = edited.clone();
    new["status"] = Value::Null;
    let mut going = pipeline("True", "Running", json!({}));
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    for object in [edited, new, going] {
        assert_eq!(
            health("suspended.yaml", &object).0,
            "Progressing",
            "{object}"
        );
    }
}

async fn a_change_that_waits_is_told_in_either_form_with_its_id_and_how_to_approve_it() {
    let asked = |form: &str| {
        let mut object = waiting();
        object["metadata"]["annotations"] = json!({"sluice.dev/argocd-waits-as": form});
        object
    };
    // As where functions are changed: the old program goes on.
    let mut beside = waiting();
    beside["status"]["conditions"][0]["status"] = json!("True");
    for (patch, object, expected) in [
        ("suspended.yaml", waiting(), "Suspended"),
        ("suspended.yaml", beside.clone(), "Suspended"),
        ("suspended.yaml", asked("Healthy"), "Healthy"),
        ("suspended.yaml", asked("Degraded"), "Suspended"),
        ("healthy.yaml", waiting(), "Healthy"),
        ("healthy.yaml", beside, "Healthy"),
        ("healthy.yaml", asked("Suspended"), "Suspended"),
    ] {
        let (status, message) = health(patch, &object);
        assert_eq!(status, expected, "{patch}: {object}");
        let told = format!(
            "Change {CHANGE} waits for approval: modifies view totals. To approve it: the action approve, or spec.approvedChange: {CHANGE} in Git"
        );
        assert_eq!(message, told);
    }
    let mut unfounded = waiting();
    let conditions = unfounded["status"]["conditions"]
        .as_array_mut()
        .expect("a list");
    conditions.push(json!({"type": "UnfoundedApproval", "status": "True", "reason": "x", "message": "nobody vouches"}));
    let (_, message) = health("suspended.yaml", &unfounded);
    assert!(message.ends_with("in Git. nobody vouches"), "{message}");
}

async fn an_engine_that_may_still_come_up_is_progressing() {
    for (status, reason, expected) in [
        ("True", "Answers", "Healthy"),
        ("False", "NotAskedYet", "Progressing"),
        ("False", "Unreachable", "Progressing"),
        ("False", "Unavailable", "Progressing"),
        ("False", "Unauthorized", "Degraded"),
        ("False", "InvalidSettings", "Degraded"),
    ] {
        let mut object = pipeline(status, reason, json!({}));
        object["kind"] = json!("Engine");
        assert_eq!(health("healthy.yaml", &object).0, expected, "{reason}");
    }
}

async fn actions_are_there_while_a_change_waits() {
    let listed = |object: &Value| said(&argocd("suspended.yaml", object, &["list-actions"]));
    let enabled = |object: &Value| {
        let text = listed(object);
        ["approve  false", "reject   false"].map(|line| text.contains(line))
    };
    let text = listed(&waiting());
    assert_eq!(enabled(&waiting()), [true, true], "{text}");
    let running = pipeline("True", "Running", json!({}));
    assert_eq!(enabled(&running), [false, false]);
    let approved = pipeline(
        "False",
        "Applying",
        json!({"approval": {"state": "Applying", "changeId": CHANGE}}),
    );
    assert_eq!(enabled(&approved), [false, false]);
}

/// The object that an action makes.
fn made(patch: &str, object: &Value, action: &[&str]) -> Value {
    let output = argocd(patch, object, &[&["run-action"][..], action].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let yaml = text.strip_prefix("Following resource was created:\n");
    let yaml = yaml.unwrap_or_else(|| panic!("{}", said(&output)));
    serde_saphyr::from_str(yaml).expect("YAML")
}

async fn an_action_votes_on_the_whole_id_of_what_waits() {
    let vote = made("suspended.yaml", &waiting(), &["approve"]);
    let expected = json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "PipelineApproval",
        "metadata": {
            "generateName": "orders-approve-",
            "namespace": "shop",
            "ownerReferences": [{
                "apiVersion": "sluice.dev/v1alpha1",
                "kind": "Pipeline",
                "name": "orders",
                "uid": "u",
            }],
        },
        "spec": {
            "pipelineRef": {"name": "orders"},
            "changeId": CHANGE,
            "diffDigest": "0".repeat(64),
            "decision": "Approve",
            "clearAfter": "Settled",
        },
    });
    assert_eq!(vote, expected);

    let reject = [
        "reject",
        "--param",
        "reason=not on a Friday",
        "--param",
        "change=01234567",
    ];
    let vote = made("healthy.yaml", &waiting(), &reject);
    assert_eq!(vote["spec"]["decision"], "Reject");
    assert_eq!(vote["spec"]["reason"], "not on a Friday");
    let named = made("actions-with-name.yaml", &waiting(), &["approve"]);
    assert_eq!(named["spec"]["voter"], SERVER);
}

/// The scripts know the states and conditions that the rule knows, and no others.
async fn an_action_is_there_and_votes_in_each_state_and_condition_as_it_would_count() {
    use sluice::crd::{ApprovalState, Pipeline, VoteDecision};
    use sluice::gate::votes::Effect;
    use sluice::gate::votes::doors::{Condition, comes_to, put};
    let whole = json!({
        "parent": "root", "options": {}, "revision": 0, "since": "2026-01-01T00:00:00Z", "approveCommand": "",
        "approvedFieldCounts": true, "target": {"sql": "", "udfRust": "", "udfToml": "", "config": ""},
    });
    for state in ApprovalState::ALL {
        for condition in Condition::ALL {
            let mut object = waiting();
            sluice_test_support::story::merge(&mut object["status"]["approval"], &whole);
            object["status"]["approval"]["state"] = json!(format!("{state:?}"));
            for shown in object["status"]["conditions"]
                .as_array_mut()
                .expect("a list")
            {
                shown["lastTransitionTime"] = json!("2026-01-01T00:00:00Z");
            }
            let mut pipeline: Pipeline = serde_json::from_value(object).expect("a Pipeline");
            put(&mut pipeline, condition);
            let object = serde_json::to_value(&pipeline).expect("an object");
            let listed = said(&argocd("suspended.yaml", &object, &["list-actions"]));
            for (name, decision) in [
                ("approve", VoteDecision::Approve),
                ("reject", VoteDecision::Reject),
            ] {
                let counts = comes_to(state, condition, decision) == Effect::Counts;
                let what = format!("{name}, {state:?}, {condition:?}: {listed}");
                let enabled = listed.contains(&format!("{name:<8} false"));
                assert_eq!(enabled, counts, "{what}");
                let output = argocd("suspended.yaml", &object, &["run-action", name]);
                let votes = String::from_utf8_lossy(&output.stdout).contains("was created");
                assert_eq!(votes, counts, "{what}: {}", said(&output));
            }
        }
    }
}

async fn an_action_refuses_where_nothing_waits_or_something_else_does() {
    let refused = |object: &Value, action: &[&str]| {
        let output = argocd(
            "suspended.yaml",
            object,
            &[&["run-action"][..], action].concat(),
        );
        assert!(!output.status.success(), "{}", said(&output));
        said(&output)
    };
    let running = pipeline("True", "Running", json!({}));
    let words = refused(&running, &["approve"]);
    assert!(words.contains("no change waits for a decision"), "{words}");
    let words = refused(&waiting(), &["approve", "--param", "change=ffffffff"]);
    let told = format!("change ffffffff doesn't wait; change {CHANGE} does: modifies view totals");
    assert!(words.contains(&told), "{words}");
}
