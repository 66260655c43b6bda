//! `docs/install.md` and, where nothing may be left for what it says without Helm, `docs/uninstall.md`. And
//! `docs/security.md`, which goes on where they end: with the plain manifests, by which nobody's name is written for
//! them.

use super::scene::{Empty, NAMESPACE};
use sluice_test_support::pages::page::Page;

#[tokio::test]
async fn what_the_pages_of_installation_removal_and_security_show_is_seen() {
    let mut scene = Empty::with_engine(&[]).await;
    let mut page = Page::of("docs/install.md");
    let mut installed = vec![];
    while let Some(typed) = page.next(&scene.shell) {
        if typed.command == "kubectl apply --server-side -k deploy" {
            let mut removal = Page::of("docs/uninstall.md");
            scene.types(&mut removal).await;
            removal.end();
        }
        scene.types_one(&mut page, &typed).await;
        let mut words = typed.command.split_whitespace();
        if typed.command.starts_with("helm install ") {
            let release = words.nth(2).expect("a name").to_owned();
            if !installed.contains(&release) {
                notes(&scene, &release).await;
                installed.push(release);
            }
        }
    }
    page.end();
    assert_eq!(installed, ["sluice", "shop"]);

    scene
        .cluster()
        .grant(NAMESPACE, "alice", "sluice-editor")
        .await;
    scene
        .shell
        .succeeds("kubectl apply -n shop -f examples/orders.yaml")
        .await;
    scene
        .shell
        .until_it_succeeds("kubectl auth can-i patch pipelines -n shop --as alice && kubectl auth can-i approve pipelines -n shop --as alice")
        .await;
    let mut page = Page::of("docs/security.md");
    scene.types(&mut page).await;
    page.end();
}

/// Types what a chart says after its installation.
async fn notes(scene: &Empty, release: &str) {
    let namespace = if release == "sluice" {
        "sluice-system"
    } else {
        NAMESPACE
    };
    let notes = format!("helm get notes {release} -n {namespace}");
    let notes = scene.shell.succeeds(&notes).await;
    let commands = notes
        .lines()
        .filter_map(|line| line.strip_prefix("  kubectl "));
    let commands: Vec<String> = commands
        .map(|rest| format!("kubectl {}", rest.replace("NAMESPACE", "default")))
        .collect();
    assert_eq!(commands.len(), 2, "{notes}");
    for command in commands {
        scene.shell.succeeds(&command).await;
    }
}
