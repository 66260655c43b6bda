//! `README.md`: the shortest way. And the pages that go on where it ends, with an operator that is
//! installed and a Pipeline that runs: `docs/operations.md`, `docs/rest.md`.

use super::scene::{Empty, NAMESPACE};
use sluice_test_support::cluster::eventually;
use sluice_test_support::pages::page::Page;

#[tokio::test]
async fn what_the_readme_and_the_pages_for_those_who_run_it_show_is_seen() {
    let mut scene = Empty::with_engine(&[]).await;
    let mut page = Page::of("README.md");
    scene.types(&mut page).await;
    page.end();
    assert!(scene.is_installed());

    operations(&mut scene).await;
    rest(&mut scene).await;
}

async fn operations(scene: &mut Empty) {
    let admin = scene.operator().admin_url().await;
    scene.shell.calls("localhost:8081", &admin);
    eventually("the policies are proven", || async {
        let metrics = scene.shell.succeeds("curl -s localhost:8081/metrics").await;
        let proven = metrics.matches("sluice_policy_in_force{").count();
        (proven == 6).then_some(()).ok_or(metrics)
    })
    .await;
    let mut page = Page::of("docs/operations.md");
    scene.types(&mut page).await;
    page.end();
}

/// A change waits, alice may approve, and the endpoint speaks HTTPS under its own name.
async fn rest(scene: &mut Empty) {
    for command in [
        // The pipeline of that name is free again.
        r#"kubectl patch pipeline orders --type merge -p '{"spec":{"deletionPolicy":"Delete"}}'"#,
        // Only what it has seen can it hold.
        "kubectl wait pipeline/orders --for=jsonpath='{.metadata.finalizers}' --timeout=2m",
        "kubectl delete pipeline orders",
        "kubectl create namespace shop",
        "sed 's/MAX/SUM/' orders.yaml > shop.yaml && kubectl apply -n shop -f shop.yaml",
        "kubectl wait pipeline/orders -n shop --for=jsonpath='{.status.settled.changeId}' --timeout=2m",
        "kubectl apply -n shop -f orders.yaml",
        "kubectl wait pipeline/orders -n shop --for=jsonpath='{.status.phase}'=AwaitingApproval --timeout=2m",
    ] {
        scene.shell.succeeds(command).await;
    }
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    scene.shell.write("tls.crt", &pair.cert.pem());
    scene
        .shell
        .write("tls.key", &pair.signing_key.serialize_pem());
    let path = |name: &str| scene.shell.file(name).display().to_string();
    let (certificate, key) = (path("tls.crt"), path("tls.key"));
    scene
        .operate_with(&[
            // Nobody counts the votes of this page, so that each of its calls meets a change that waits.
            "--watch-namespace",
            "nowhere",
            "--require-policies",
            "false",
            "--api-namespace",
            NAMESPACE,
            "--api-tenant",
            "team-a=shop",
            "--api-keys-secret",
            "sluice-api-keys",
            "--api-tls-cert-file",
            &certificate,
            "--api-tls-key-file",
            &key,
        ])
        .await;
    let url = scene.operator().rest_url().await;
    let (_, port) = url.rsplit_once(':').expect("a port");
    let here = format!("localhost:{port}");
    scene.shell.calls("localhost:18443", &here);
    scene
        .shell
        .set("FELDERA_API_KEY", "apikey:of-alice-at-feldera");
    scene
        .cluster()
        .grant(NAMESPACE, "alice", "sluice-approver")
        .await;
    let mut page = Page::of("docs/rest.md");
    scene.types(&mut page).await;
    page.end();
}
