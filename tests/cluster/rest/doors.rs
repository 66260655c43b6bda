//! What each door says of a change in each of its states: one rule for all of them (`sluice::gate::votes::effect`).

use std::process::Command;

use kube::ResourceExt;
use serde_json::{Value, json};
use sluice::gate::change::{Change, Content};

use super::{Scene, waiting};
use crate::plugin::plugin;
use sluice_test_support::cluster::{Cluster, said};

const PARENT: &str = "33333333333333333333333333333333";
const SQL: &str = "CREATE TABLE t (i INT);";

/// Per state: what REST answers to who approved before, and to who didn't; whether the plugin's `approve` and `reject` end
/// well; what `plan` says of the file, and with which status it ends.
const TABLE: [(&str, u16, u16, bool, bool, &str, i32); 10] = [
    ("Approved", 202, 409, true, true, "Approved", 0),
    ("Applying", 202, 409, true, false, "Approved", 0),
    ("Applied", 202, 409, true, false, "Approved", 0),
    ("Sealed", 202, 409, true, false, "Approved", 0),
    ("ApplyFailed", 409, 409, false, false, "ApplyFailed", 3),
    ("Rejected", 409, 409, false, true, "Rejected", 3),
    ("Expired", 409, 409, false, false, "NeedsApproval", 3),
    ("Superseded", 409, 409, false, false, "NeedsApproval", 3),
    (
        "SomethingOfTomorrow",
        409,
        409,
        false,
        false,
        "NeedsApproval",
        3,
    ),
    // The last one, since votes are stored then.
    ("Awaiting", 202, 202, true, true, "NeedsApproval", 3),
];

/// How the plugin ends, and what it says.
async fn run(scene: &Scene, user: &str, arguments: &[&str]) -> (i32, String) {
    let kubectl = Cluster::shared().await.plane().kubectl(user).unwrap();
    let environment = kubectl
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    let mut command = Command::new(plugin().await);
    command
        .envs(environment)
        .args(arguments)
        .args(["-n", scene.name()]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    (output.status.code().unwrap(), said(&output))
}

#[tokio::test]
async fn every_door_says_the_same_of_a_change_in_each_of_its_states() {
    let scene = Scene::empty().await;
    let carol = json!({"kind": "User", "name": "carol"});
    scene
        .bind("carol-votes", "ClusterRole", "sluice-approver", carol)
        .await;
    scene
        .wait_until_allowed("carol", &[], "approve", "orders")
        .await;
    let pipeline = scene.pipeline("orders", json!({})).await;
    let content = |sql: &str| Content {
        sql: sql.to_owned(),
        ..Content::default()
    };
    let (target, settled) = (content(SQL).target(), content("").target());
    let id = Change {
        uid: &pipeline.uid().unwrap(),
        parent: PARENT,
        target: &target,
        options: Default::default(),
        revision: 0,
    }
    .id();
    let mut status = waiting();
    status["settled"] = json!({"changeId": PARENT, "target": settled});
    status["approval"]["changeId"] = json!(id);
    status["approval"]["parent"] = json!(PARENT);
    status["approval"]["target"] = json!(target);
    status["approval"]["failure"] = json!("no such topic");
    scene.set_status("orders", status).await;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.json");
    let object = json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Pipeline",
        "metadata": {"name": "orders", "namespace": scene.name()},
        "spec": {"program": {"sql": SQL}},
    });
    std::fs::write(&file, object.to_string()).unwrap();
    let file = file.to_str().unwrap();

    let rest = scene.serve().await;
    rest.approve("orders", "alice").await.is_accepted(i64::MAX);
    for (state, again, first, approves, rejects, verdict, planned) in TABLE {
        let outcome = if state == "Rejected" {
            state
        } else {
            "Approved"
        };
        let decision = json!({"outcome": outcome, "by": "erin", "verified": true, "via": "Object",
                              "at": "2026-01-01T00:00:00Z"});
        let approval = json!({"approval": {"state": state, "decision": decision}});
        scene.set_status("orders", approval).await;

        let by_alice = rest.approve("orders", "alice").await;
        assert_eq!(by_alice.status, again, "{state}: {by_alice:?}");
        let by_carol = rest.approve("orders", "carol").await;
        assert_eq!(by_carol.status, first, "{state}: {by_carol:?}");

        for (verb, user, is_well) in [("approve", "alice", approves), ("reject", "carol", rejects)]
        {
            let arguments = [verb, "orders", "--change", &id, "--yes", "--reason", "so"];
            let (code, said) = run(&scene, user, &arguments).await;
            assert_eq!(code == 0, is_well, "{state}: {said}");
        }

        let (code, said) = run(&scene, "alice", &["plan", "-f", file, "-o", "json"]).await;
        assert_eq!(code, planned, "{state}: {said}");
        let start = said.find('{').unwrap();
        let mut plans = serde_json::Deserializer::from_str(&said[start..]).into_iter::<Value>();
        let plan = plans.next().unwrap().unwrap();
        assert_eq!(plan["pipelines"][0]["verdict"], verdict, "{state}: {said}");

        // Where an approval is spent and not in force, each says how the change is asked about anew.
        if state == "ApplyFailed" {
            let arguments = ["approve", "orders", "--change", &id, "--yes"];
            let by_plugin = run(&scene, "alice", &arguments).await.1;
            let notes = plan["pipelines"][0]["notes"].to_string();
            for said in [by_plugin.as_str(), by_alice.message(), &notes] {
                assert!(
                    said.contains("sluice.dev/retry") && said.contains(&id),
                    "{said}"
                );
            }
        }
    }
}
