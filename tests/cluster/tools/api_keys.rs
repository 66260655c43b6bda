//! API keys, as the chart sets them up.

use std::process::Command;

use clap::Parser;
use control_plane::{Progress, tools};
use k8s_openapi::api::apps::v1::Deployment;

use crate::rest::api_keys::run;
use sluice_test_support::cluster::{ADMIN, Cluster, eventually, said, workspace};

/// What the chart renders of these templates, with these values, for a release in a namespace.
fn rendered(namespace: &str, values: &str, templates: &[&str]) -> String {
    let helm = tools::helm(&Progress::stderr()).unwrap_or_else(|error| panic!("{error}"));
    let mut command = Command::new(helm);
    command
        .args(["template", "sluice", "charts/sluice", "--namespace"])
        .args([namespace, "--set", values])
        .current_dir(workspace());
    for template in templates {
        command.args(["--show-only", &format!("templates/{template}.yaml")]);
    }
    let output = command.output().expect("helm can be started");
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_chart_lets_the_endpoint_read_that_secret_and_no_other() {
    let cluster = Cluster::shared().await;
    let namespace: &str = &cluster.namespace("keys").await;
    let templates = ["serviceaccount", "rbac-api-keys"];
    let manifests = rendered(namespace, "api.apiKeysSecret=keys", &templates);
    run(
        cluster,
        &format!("kubectl apply -f - <<'EOF'\n{manifests}\nEOF"),
    );
    let account = format!("system:serviceaccount:{}:sluice", namespace);
    let may = |verb: &str, secret: &str| {
        let arguments = [
            "auth", "can-i", verb, secret, "-n", namespace, "--as", &account,
        ];
        cluster.kubectl(ADMIN, &arguments).status.success()
    };
    eventually("the binding counts", || async {
        may("get", "secrets/keys").then_some(()).ok_or("not yet")
    })
    .await;
    for (verb, secret) in [
        ("get", "secrets/others"),
        ("get", "secrets"),
        ("list", "secrets"),
        ("watch", "secrets/keys"),
        ("patch", "secrets/keys"),
    ] {
        assert!(!may(verb, secret), "{verb} {secret}");
    }
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    _args: sluice::config::Args,
}

#[test]
fn the_program_knows_every_flag_that_the_chart_sets() {
    let everything =
        "engine.url=http://x,engine.apiKeySecret.name=x,api.apiKeysSecret=keys,api.tlsSecret=tls";
    for values in ["logFormat=text", everything] {
        let manifest = rendered("x", values, &["deployment"]);
        let deployment: Deployment = serde_saphyr::from_str(&manifest).unwrap();
        let pod = deployment.spec.unwrap().template.spec.unwrap();
        let arguments = pod.containers[0].args.clone().unwrap();
        assert_eq!(arguments[0], "run");
        if let Err(error) = Cli::try_parse_from(&arguments) {
            panic!("{arguments:?}: {error}");
        }
        // Each volume is mounted, and each mount has its volume.
        let mut volumes: Vec<_> = pod.volumes.into_iter().flatten().map(|v| v.name).collect();
        let mounts = pod.containers[0].volume_mounts.clone();
        let mut mounts: Vec<_> = mounts.into_iter().flatten().map(|m| m.name).collect();
        volumes.sort();
        mounts.sort();
        assert_eq!(volumes, mounts);
    }
}
