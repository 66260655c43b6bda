//! Types what `docs/argo-cd.md` shows, and holds the page to what is then seen: ids and ages by their place, the
//! namespace `shop` under the name that it has here. A command below which nothing is shown has to succeed.
//!
//! `SLUICE_UPDATE_DOCS=1` writes what is seen into the page.

use std::path::Path;
use std::process::Command;

use libtest_mimic::Trial;
use regex::Regex;

use super::argo::argo;
use super::git::IDENTITY;
use super::story::{PROGRAM, Story, changed};
use super::support::{said, workspace};

const PAGE: &str = "docs/argo-cd.md";
const BEGIN: &str = "```console\n";
const END: &str = "```";
/// The namespace, and the Application, as the page calls them.
const SHOP: &str = "shop";

/// All stories.
pub fn all() -> Vec<Trial> {
    super::trials![the_page_of_argo_cd_shows_what_is_seen]
}

/// The page, with what `run` says of each command in place of what stands below it.
fn retyped(page: &str, run: impl Fn(&str) -> String) -> String {
    let mut seen = String::new();
    let mut rest = page;
    while let Some((before, block)) = rest.split_once(BEGIN) {
        let (block, after) = block.split_once(END).expect("the block ends");
        seen += &format!("{before}{BEGIN}");
        let commands = block.split("$ ").skip(1);
        for command in commands {
            let (command, shown) = command.split_once('\n').expect("a line");
            let said = run(command);
            let said = if shown.is_empty() { "" } else { &said };
            seen += &format!("$ {command}\n{said}");
        }
        seen += END;
        rest = after;
    }
    seen + rest
}

/// The page without what differs from run to run.
fn compared(page: &str) -> String {
    let replace = |text: &str, pattern: &str, by: &str| {
        let pattern = Regex::new(pattern).expect("a pattern");
        pattern.replace_all(text, by).into_owned()
    };
    let text = replace(page, r"\b([0-9a-f]{32}|[0-9a-f]{8})\b", "ID");
    let text = replace(&text, r"\b\d+[smh](\d+s)?\b", "AGE");
    // Columns are as wide as what stands in them.
    replace(&text, r"  +", "  ")
}

/// A working copy of a bare repository, with the Pipeline in two versions beside it.
fn repositories(folder: &Path) {
    for (name, sql) in [
        ("orders.yaml", PROGRAM.to_owned()),
        ("orders-v2.yaml", changed()),
    ] {
        let sql: String = sql.lines().map(|line| format!("      {line}\n")).collect();
        let text = format!(
            "apiVersion: sluice.dev/v1alpha1\nkind: Pipeline\nmetadata:\n  name: orders\nspec:\n  engineRef:\n    name: engine\n  program:\n    sql: |\n{sql}"
        );
        std::fs::write(folder.join(name), text).expect("a file");
    }
    let script = "git init --quiet --bare --initial-branch=main shop.git
        git clone --quiet shop.git repository 2>/dev/null && cd repository
        mkdir pipelines && cp ../orders.yaml pipelines/ && git add -A
        git commit --quiet --message 'Orders' && git push --quiet origin HEAD:main";
    let output = Command::new("bash")
        .args(["-ec", script])
        .envs(IDENTITY)
        .current_dir(folder)
        .output()
        .expect("bash");
    assert!(output.status.success(), "{}", said(&output));
}

async fn the_page_of_argo_cd_shows_what_is_seen() {
    let path = workspace().join(PAGE);
    let page = std::fs::read_to_string(&path).expect("the page");
    let argo = argo().await;
    let story = Story::on(argo.cluster, &[]).await;
    let namespace = story.namespace.to_string();
    let folder = tempfile::tempdir().expect("a folder");
    repositories(folder.path());
    for from in ["argocd", "examples/argo-cd"] {
        let to = folder.path().join(from);
        std::fs::create_dir_all(&to).expect("a folder");
        for file in std::fs::read_dir(workspace().join(from)).expect("a folder") {
            let file = file.expect("a file").path();
            if !file.is_file() {
                continue;
            }
            let text = std::fs::read_to_string(&file).expect("a text");
            let url = format!("file://{}/shop.git", folder.path().display());
            // The URL has the page's name in it, and no other place has it twice.
            let text = text
                .replace(SHOP, &namespace)
                .replace(&format!("https://git.example.com/{namespace}.git"), &url);
            std::fs::write(to.join(file.file_name().expect("a name")), text).expect("a file");
        }
    }
    let programs = argo.command_line(folder.path(), "alice").await;
    let mut search = std::ffi::OsString::from(programs);
    search.push(":");
    search.push(
        argo.cluster
            .plane()
            .kubectl_path()
            .parent()
            .expect("a folder"),
    );
    search.push(":");
    search.push(std::env::var_os("PATH").unwrap_or_default());
    let run = |command: &str| {
        let typed = command.replace(SHOP, &namespace);
        let mut bash = Command::new("bash");
        bash.args(["-c", &format!("exec 2>&1; {typed}")])
            .envs(IDENTITY)
            .env("KUBECONFIG", argo.cluster.plane().kubeconfig_path())
            .env("PATH", &search)
            .current_dir(folder.path());
        let output = bash.output().expect("bash");
        let said = said(&output);
        assert!(output.status.success(), "{typed}: {said}");
        said.replace(&namespace, SHOP)
    };
    let seen = retyped(&page, run);
    if std::env::var_os("SLUICE_UPDATE_DOCS").is_some() {
        std::fs::write(&path, seen).expect("the page");
        return;
    }
    for (shown, now) in compared(&page).lines().zip(compared(&seen).lines()) {
        assert_eq!(
            shown, now,
            "{PAGE} shows something else than is seen; SLUICE_UPDATE_DOCS=1 writes it anew. All that is seen:\n{seen}"
        );
    }
    assert_eq!(compared(&page), compared(&seen));
}
