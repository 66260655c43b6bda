//! Types what `docs/upgrade.md` shows, as `tests/cluster/tools/pages.rs` says.

use libtest_mimic::Trial;
use sluice::crd::{ApprovalState, Pipeline};

use super::scene::{Scene, ours};
use sluice_test_support::pages::page::Page;
use sluice_test_support::pages::shell::Shell;
use sluice_test_support::story::is_at;
use sluice_test_support::trials::trials;

/// The namespace, as the page calls it.
const SHOP: &str = "shop";

/// All stories.
pub fn all() -> Vec<Trial> {
    trials![what_the_page_of_upgrades_shows_is_seen]
}

async fn what_the_page_of_upgrades_shows_is_seen() {
    let mut scene = Scene::of_the_release_before().await;
    // One after the other, since they are listed by when they came to the gate.
    scene.wait_for_approval(&["orders"]).await;
    scene.wait_for_approval(&["returns"]).await;
    let plane = scene.cluster.plane();
    let programs = [
        plane.kubectl_path().to_owned(),
        scene.helm_path().to_owned(),
        ours("kubectl-sluice"),
        ours("sluice"),
    ];
    let mut shell = Shell::new(&programs, &plane.kubeconfig_path());
    shell.copy("charts", "charts");
    shell.calls(SHOP, &scene.story.namespace);
    let namespace = scene.story.namespace.to_string();
    for role in ["sluice-editor", "sluice-approver"] {
        scene.cluster.grant(&namespace, "alice", role).await;
    }
    let may = format!("kubectl auth can-i approve pipelines -n {namespace} --as alice");
    shell.until_it_succeeds(&may).await;

    let mut page = Page::of("docs/upgrade.md");
    let (mut upgraded, mut rolled_back) = (0, 0);
    while let Some(typed) = page.next(&shell) {
        let said = shell.run(&typed).await;
        page.saw(said);
        // It is kept before somebody types on, and not only applied.
        if typed.command.starts_with("kubectl sluice approve orders ") {
            let sealed = |p: &Pipeline| is_at(p, ApprovalState::Sealed);
            scene.story.until_of("orders", "it is sealed", sealed).await;
        }
        // A node does what the Deployment then says.
        if typed.command.starts_with("helm upgrade ") {
            upgraded += 1;
            scene.roll_out().await;
            // Nobody reads on so fast that his vote wouldn't count yet.
            scene.cluster.until_the_policies_vouch().await;
        } else if typed.command.starts_with("helm rollback ") {
            rolled_back += 1;
            scene.roll_out().await;
        }
    }
    page.end();
    assert_eq!((upgraded, rolled_back), (1, 1));
}
