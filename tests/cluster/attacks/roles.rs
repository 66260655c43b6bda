//! What each role reaches: `docs/security.md` shows it as a table, and this holds it to the API server.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::Status;
use serde_json::{Value, json};
use sluice::crd::{Engine, Pipeline, PipelineApproval};

use super::scene::annotations;
use sluice_test_support::cluster::{
    CHANGE, Cluster, OPERATOR, answer, create, eventually, pipeline, raw, vote, workspace,
    write_approval,
};

/// The roles, in the order of the table's columns, with what is bound to whoever has them. The account of a
/// GitOps tool edits.
const ROLES: [(&str, &[&str]); 7] = [
    ("viewer", &["sluice-viewer"]),
    ("editor", &["sluice-editor"]),
    ("approver", &["sluice-approver"]),
    ("editor and approver", &["sluice-editor", "sluice-approver"]),
    ("engine admin", &["sluice-engine-admin"]),
    ("namespace admin", &["admin"]),
    ("GitOps account", &["sluice-editor"]),
];

/// What is tried, in the order of the table's rows. All of it in dry runs, so that everybody finds the same.
const ACTS: [(&str, Act); 15] = [
    ("read", Act::Read),
    (
        "edit the program",
        Act::Patch(|| json!({"spec": {"program": {"sql": "-- x"}}})),
    ),
    (
        "approve by `spec.approved`",
        Act::Patch(|| json!({"spec": {"approved": true}})),
    ),
    (
        "approve by `spec.approvedChange`",
        Act::Patch(|| json!({"spec": {"approvedChange": CHANGE}})),
    ),
    (
        "approve or reject by annotation",
        Act::Patch(|| annotations(json!({"approve": CHANGE}))),
    ),
    ("approve or reject by `PipelineApproval`", Act::Vote(None)),
    ("vote in another's name", Act::Vote(Some("alice"))),
    (
        "`bootstrapPolicy: allow`",
        Act::Patch(|| json!({"spec": {"bootstrapPolicy": "allow"}})),
    ),
    (
        "`deletionPolicy: Delete`, `clearStorage`, `allowStateLoss`",
        Act::Patch(|| json!({"spec": {"clearStorage": "now"}})),
    ),
    (
        "`sluice.dev/retry`, `sluice.dev/adopt`, `sluice.dev/force-stop`",
        Act::Patch(|| annotations(json!({"adopt": "orders"}))),
    ),
    ("write `status`", Act::Status),
    ("delete a vote", Act::DeleteVote),
    (
        "edit an Engine",
        Act::Engine(|| json!({"url": "https://elsewhere.example.com"})),
    ),
    (
        "have an Engine read a Secret, without `get` on it",
        Act::Engine(|| json!({"credentialsSecretRef": {"name": "theirs", "key": "key"}})),
    ),
    ("edit an admission policy", Act::Policy),
];

#[derive(Clone, Copy)]
enum Act {
    Read,
    Patch(fn() -> Value),
    Vote(Option<&'static str>),
    Status,
    DeleteVote,
    Engine(fn() -> Value),
    Policy,
}

/// Whether this user may do this.
async fn may(cluster: &Cluster, namespace: &str, user: &str, act: Act) -> Result<(), Box<Status>> {
    let client = cluster.client_for(user).await;
    let pipelines = raw::<Pipeline>(&client, namespace);
    let params = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let create_only = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let done = match act {
        Act::Read => pipelines.get("orders").await.map(drop),
        Act::Patch(patch) => {
            let patch = Patch::Merge(patch());
            pipelines.patch("orders", &params, &patch).await.map(drop)
        }
        Act::Vote(name) => {
            let mut object = vote("orders", "mine");
            if let Some(name) = name {
                object["spec"]["onBehalfOf"] = json!({"username": name});
            }
            let object: DynamicObject = serde_json::from_value(object).expect("a vote");
            let votes = raw::<PipelineApproval>(&client, namespace);
            votes.create(&create_only, &object).await.map(drop)
        }
        Act::Status => {
            let patch = Patch::Merge(json!({"status": {"phase": "Running"}}));
            pipelines
                .patch_status("orders", &params, &patch)
                .await
                .map(drop)
        }
        Act::DeleteVote => {
            let votes = raw::<PipelineApproval>(&client, namespace);
            let params = DeleteParams {
                dry_run: true,
                ..DeleteParams::default()
            };
            votes.delete("somebodys", &params).await.map(drop)
        }
        Act::Engine(spec) => {
            let engines = raw::<Engine>(&client, namespace);
            let patch = Patch::Merge(json!({"spec": spec()}));
            engines.patch("production", &params, &patch).await.map(drop)
        }
        Act::Policy => {
            let policies = Api::<
                k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy,
            >::all(client);
            let patch = Patch::Merge(json!({"spec": {"failurePolicy": "Ignore"}}));
            policies
                .patch("sluice-names", &params, &patch)
                .await
                .map(drop)
        }
    };
    match answer(done) {
        Err(status) if status.code != 403 => panic!("{user}: {}", status.message),
        other => other,
    }
}

/// The rows of the table in `docs/security.md`: what is done, and the roles that may.
fn documented() -> Vec<(String, BTreeSet<String>)> {
    let text = std::fs::read_to_string(workspace().join("docs/security.md")).expect("the document");
    let table = text.split("\n## What each role reaches\n").nth(1);
    let table = table
        .and_then(|rest| rest.split("\n## ").next())
        .expect("the table");
    let mut rows = table.lines().filter(|line| line.starts_with('|'));
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim().trim_matches('|');
        inner
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    let head = cells(rows.next().expect("a head"));
    rows.skip(1)
        .map(|row| {
            let row = cells(row);
            let yes = row
                .iter()
                .zip(&head)
                .skip(1)
                .filter(|(cell, _)| *cell == "yes");
            (row[0].clone(), yes.map(|(_, role)| role.clone()).collect())
        })
        .collect()
}

#[tokio::test]
async fn a13_each_role_reaches_what_the_document_says_and_no_more() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("roles").await;
    let admin = cluster.admin().await;
    let object = pipeline("orders", json!({"program": {"sql": ""}}));
    create(&raw::<Pipeline>(&admin, &namespace), object)
        .await
        .expect("a Pipeline");
    write_approval(
        &cluster.client_for(OPERATOR).await,
        &namespace,
        "orders",
        "Awaiting",
    )
    .await;
    create(
        &raw::<PipelineApproval>(&admin, &namespace),
        vote("orders", "somebodys"),
    )
    .await
    .expect("a vote");
    let engine = json!({"apiVersion": "sluice.dev/v1alpha1", "kind": "Engine", "metadata": {"name": "production"}, "spec": {"url": "https://a.example.com"}});
    create(&raw::<Engine>(&admin, &namespace), engine)
        .await
        .expect("an Engine");
    let accounts: Api<ServiceAccount> = Api::namespaced(admin, &namespace);
    create(&accounts, json!({"metadata": {"name": "gitops"}}))
        .await
        .expect("an account");
    let name_of = |role: &str| match role {
        "GitOps account" => format!("system:serviceaccount:{}:gitops", &*namespace),
        role => format!("the {role}"),
    };
    for (role, bound) in ROLES {
        for cluster_role in bound {
            cluster
                .grant(&namespace, &name_of(role), cluster_role)
                .await;
        }
    }
    let mut found = vec![];
    for (what, act) in ACTS {
        let mut reached = BTreeSet::new();
        for (role, _) in ROLES {
            let user = name_of(role);
            // The authorizer learns of bindings by a watch.
            eventually("the bindings count", || {
                may(cluster, &namespace, &user, Act::Read)
            })
            .await;
            // What the standard roles take in, they take in by and by.
            if ["namespace admin", "editor", "GitOps account"].contains(&role) {
                let (_, edits) = ACTS[1];
                eventually("it edits", || may(cluster, &namespace, &user, edits)).await;
            }
            if role == "editor and approver" {
                let (_, approves) = ACTS[7];
                eventually("both bindings count", || {
                    may(cluster, &namespace, &user, approves)
                })
                .await;
            }
            if may(cluster, &namespace, &user, act).await.is_ok() {
                reached.insert(role.to_owned());
            }
        }
        found.push((what.to_owned(), reached));
    }
    let documented: Vec<_> = documented()
        .into_iter()
        .filter(|(what, _)| *what != "approve by REST")
        .collect();
    assert_eq!(
        found, documented,
        "docs/security.md, What each role reaches"
    );
    // Sluice's own account reaches none of it, but for votes in others' names, and the status, which it is there for.
    for (what, act) in ACTS {
        let reached = may(cluster, &namespace, OPERATOR, act).await.is_ok();
        assert_eq!(
            reached,
            matches!(act, Act::Read | Act::Vote(Some(_)) | Act::Status),
            "{what}"
        );
    }
}

#[tokio::test]
async fn a13_a_namespace_admin_can_not_make_himself_an_approver() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("roles").await;
    cluster.grant(&namespace, "nora", "admin").await;
    let client = cluster.client_for("nora").await;
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), &namespace);
    let bind = |role: &str| {
        json!({
            "metadata": {"generateName": "mine-"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "nora"}],
        })
    };
    eventually("the binding counts", || {
        create(&bindings, bind("sluice-editor"))
    })
    .await;
    let refused = create(&bindings, bind("sluice-approver")).await;
    let refused = refused.expect_err("she may only give what she has");
    assert_eq!(refused.code, 403);
    assert!(
        refused
            .message
            .contains("attempting to grant RBAC permissions not currently held"),
        "{}",
        refused.message
    );
    let roles: Api<k8s_openapi::api::rbac::v1::Role> = Api::namespaced(client, &namespace);
    let role = json!({
        "metadata": {"name": "approves"},
        "rules": [{"apiGroups": ["sluice.dev"], "resources": ["pipelines"], "verbs": ["approve"]}],
    });
    let refused = create(&roles, role).await.expect_err("nor write it down");
    assert_eq!(refused.code, 403);
}

#[tokio::test]
async fn a13_who_may_impersonate_an_approving_robot_is_trusted_as_it_is() {
    // Kubernetes' own roles edit and admin may use the service accounts of their namespace. That can't be
    // mended here; it is documented, with what to do.
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("roles").await;
    let admin = cluster.admin().await;
    let accounts: Api<ServiceAccount> = Api::namespaced(admin, &namespace);
    create(&accounts, json!({"metadata": {"name": "approver"}}))
        .await
        .expect("an account");
    let robot = format!("system:serviceaccount:{}:approver", &*namespace);
    cluster.grant(&namespace, &robot, "sluice-approver").await;
    cluster.grant(&namespace, "ned", "admin").await;
    let client = cluster.client_for("ned").await;
    let accounts: Api<ServiceAccount> = Api::namespaced(client, &namespace);
    let request = Default::default();
    let token = eventually("the binding counts", || async {
        let params = PostParams::default();
        answer(
            accounts
                .create_token_request("approver", &params, &request)
                .await,
        )
    })
    .await;
    let token = token.status.expect("a token").token;
    let votes = raw::<PipelineApproval>(&cluster.client_with_token(&token).await, &namespace);
    let made = eventually("the binding counts", || {
        create(&votes, vote("orders", "by-a-robot"))
    })
    .await;
    assert_eq!(made.data["spec"]["voter"], robot);
    // The robot of another namespace is out of reach.
    let elsewhere = cluster.namespace("roles").await;
    let accounts: Api<ServiceAccount> =
        Api::namespaced(cluster.client_for("ned").await, &elsewhere);
    let refused = accounts
        .create_token_request("default", &PostParams::default(), &request)
        .await;
    assert_eq!(answer(refused).expect_err("not his").code, 403);
}
