//! API keys: made by the program, stored with kubectl, and read by the endpoint from a real Secret.

use std::process::{Command, Stdio};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{Rest, Scene};
use sluice_test_support::cluster::{ADMIN, Cluster, OPERATOR, said};

const SECRET: &str = "sluice-api-keys";

/// What `sluice api-key` made: the key, and the script that stores its hash.
pub struct Made {
    pub key: String,
    pub script: String,
}

/// Makes an API key with the program, for a Secret in this namespace.
pub fn make(namespace: &str, arguments: &[&str]) -> Made {
    let output = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["api-key", "--namespace", namespace])
        .args(arguments)
        .env_remove("SLUICE_API_KEYS_SECRET")
        .output()
        .expect("sluice can be started");
    assert!(output.status.success(), "{}", said(&output));
    Made {
        key: String::from_utf8(output.stdout).unwrap().trim().to_owned(),
        script: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs a script with the cluster's own kubectl, as an administrator does.
pub fn run(cluster: &Cluster, script: &str) {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .args(["-euc", script])
        .envs(cluster.plane().environment())
        .env(
            "PATH",
            format!("{}:{path}", cluster.plane().bin_path().display()),
        )
        .stdin(Stdio::null())
        .output()
        .expect("sh can be started");
    assert!(output.status.success(), "{script}\n{}", said(&output));
}

/// The endpoint under Sluice's own account, as if the operator were installed in the scene's namespace.
async fn serve(scene: &Scene) -> Rest {
    let cluster = Cluster::shared().await;
    let mut config = cluster.config(ADMIN).await;
    let (namespace, name) = OPERATOR
        .trim_start_matches("system:serviceaccount:")
        .split_once(':')
        .unwrap();
    let token = sluice_test_support::cluster::token(&scene.admin, namespace, name).await;
    config.auth_info = kube::config::AuthInfo {
        token: Some(token.into()),
        ..Default::default()
    };
    config.default_namespace = scene.name().to_owned();
    let client = Client::try_from(config).unwrap();
    scene
        .serve_as(client, |config| {
            config.api_keys_secret = Some(SECRET.to_owned())
        })
        .await
}

#[tokio::test]
async fn a_key_is_made_stored_used_rotated_and_revoked_without_a_restart() {
    let cluster = Cluster::shared().await;
    let scene = Scene::with_a_change_that_waits().await;
    let subject = json!({"kind": "Group", "name": "release-managers"});
    scene
        .bind("managers", "ClusterRole", "sluice-approver", subject)
        .await;
    scene
        .wait_until_allowed("x", &["release-managers"], "approve", "orders")
        .await;
    let rest = serve(&scene).await;

    let arguments = ["--user", "ci", "--group", "release-managers", "--name"];
    let old = make(scene.name(), &[&arguments[..], &["old"]].concat());
    rest.approve_with("orders", &old.key)
        .await
        .is_error(401, "AuthenticationFailed");
    run(cluster, &old.script);
    rest.approve_with("orders", &old.key)
        .await
        .is_accepted(i64::MAX);
    let vote = scene.votes().await.remove(0).spec.on_behalf_of.unwrap();
    assert_eq!(
        (vote.username.as_str(), vote.api_key.as_deref()),
        ("ci", Some("old"))
    );
    assert_eq!(vote.groups, ["release-managers"]);

    // The second key doesn't replace the first, and the first goes when it is revoked.
    let new = make(scene.name(), &[&arguments[..], &["new"]].concat());
    run(cluster, &new.script);
    for made in [&old, &new] {
        let answer = rest.approve_with("orders", &made.key).await;
        answer.is_accepted(i64::MAX);
    }
    let line = old.script.lines().last().unwrap();
    run(cluster, line.trim_start_matches('#'));
    rest.approve_with("orders", &old.key)
        .await
        .is_error(401, "AuthenticationFailed");
    rest.approve_with("orders", &new.key)
        .await
        .is_accepted(i64::MAX);
    assert_eq!(scene.votes().await.len(), 1);
}

#[tokio::test]
async fn a_key_gives_no_more_rights_than_its_user_has() {
    let cluster = Cluster::shared().await;
    let scene = Scene::with_a_change_that_waits().await;
    let rest = serve(&scene).await;
    let carol = make(scene.name(), &["--user", "carol"]);
    let nobody = make(scene.name(), &["--user", "nobody", "--group", "approvers"]);
    for made in [&carol, &nobody] {
        run(cluster, &made.script);
    }
    rest.approve_with("orders", &carol.key)
        .await
        .is_error(403, "InsufficientPermissions");
    rest.approve_with("orders", &nobody.key)
        .await
        .is_error(404, "UnknownPipelineName");
    // What somebody has written by hand can't make them an administrator.
    let secrets: Api<Secret> = scene.api();
    let stored = secrets.get(SECRET).await.unwrap().data.unwrap();
    let forged = stored.into_iter().map(|(name, entry)| {
        let mut entry: Value = serde_json::from_slice(&entry.0).unwrap();
        entry["groups"] = json!(["system:masters"]);
        (name, ByteString(entry.to_string().into_bytes()))
    });
    let patch = Secret {
        data: Some(forged.collect()),
        ..Secret::default()
    };
    secrets
        .patch(SECRET, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    for made in [&carol, &nobody] {
        rest.approve_with("orders", &made.key)
            .await
            .is_error(401, "AuthenticationFailed");
    }
    assert_eq!(scene.votes().await, []);
}
