//! Types what `docs/argo-cd.md` shows, as `tests/cluster/tools/pages.rs` says.

use libtest_mimic::Trial;

use super::argo::argo;
use super::git::IDENTITY;
use sluice_test_support::pages::page::Page;
use sluice_test_support::pages::shell::Shell;
use sluice_test_support::story::{PROGRAM, Story, changed};

/// The namespace, and the Application, as the page calls them.
const SHOP: &str = "shop";
/// The repository, in the examples.
const REPOSITORY: &str = "https://git.example.com/shop.git";

/// All stories.
pub fn all() -> Vec<Trial> {
    sluice_test_support::trials::trials![the_page_of_argo_cd_shows_what_is_seen]
}

/// A working copy of a bare repository, with the Pipeline in two versions beside it.
async fn repositories(shell: &Shell) {
    for (name, sql) in [
        ("orders.yaml", PROGRAM.to_owned()),
        ("orders-v2.yaml", changed()),
    ] {
        let sql: String = sql.lines().map(|line| format!("      {line}\n")).collect();
        let text = format!(
            "apiVersion: sluice.dev/v1alpha1\nkind: Pipeline\nmetadata:\n  name: orders\nspec:\n  engineRef:\n    name: engine\n  program:\n    sql: |\n{sql}"
        );
        shell.write(name, &text);
    }
    for command in [
        "git init --quiet --bare --initial-branch=main .origin",
        "git clone --quiet .origin repository 2>/dev/null",
        "mkdir repository/pipelines && cp orders.yaml repository/pipelines/",
        "cd repository && git add -A && git commit --quiet --message 'Orders' && git push --quiet origin HEAD:main",
    ] {
        shell.succeeds(command).await;
    }
}

async fn the_page_of_argo_cd_shows_what_is_seen() {
    let argo = argo().await;
    let story = Story::on(argo.cluster, &[]).await;
    let tools = tempfile::tempdir().expect("a folder");
    let bin = argo.command_line(tools.path(), "alice").await;
    let plane = argo.cluster.plane();
    let programs = [bin.join("argocd"), plane.kubectl_path().to_owned()];
    let mut shell = Shell::new(&programs, &plane.kubeconfig_path());
    for (name, value) in IDENTITY {
        shell.set(name, value);
    }
    let origin = format!("file://{}", shell.file(".origin").display());
    shell.calls(REPOSITORY, &origin);
    shell.calls(SHOP, &story.namespace);
    for folder in ["argocd", "examples/argo-cd"] {
        shell.copy(folder, folder);
        for file in std::fs::read_dir(shell.file(folder)).expect("a folder") {
            let path = file.expect("a file").path();
            if path.is_file() {
                let text = std::fs::read_to_string(&path).expect("a text");
                shell.write(path.to_str().expect("UTF-8"), &text);
            }
        }
    }
    repositories(&shell).await;
    Page::of("docs/argo-cd.md").typed_in(&shell).await;
}
