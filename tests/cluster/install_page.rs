//! Types what `docs/install.md` shows, on a cluster in which nothing is installed, and holds the page to
//! what is then seen. A command below which nothing is shown has to succeed.
//!
//! No node runs what is installed, so an operator is started whenever a release of the chart is there.
//! `SLUICE_UPDATE_DOCS=1` writes what is seen into the page.

use std::path::{Path, PathBuf};
use std::process::Command;

use control_plane::{Progress, tools};

use super::operator::{Operator, operators_kubeconfig};
use super::plugin::plugin;
use super::plugin_page::{Names, Part, page_of, parts};
use super::stand_in::StandIn;
use super::support::{Cluster, said, workspace};

const PAGE: &str = "docs/install.md";
/// Where the engine is, in the files of the page.
const ENGINE: &str = "http://feldera-api-server.feldera:8080";

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).expect("a copy");
        }
    }
}

/// A folder with the charts, in which the engine is the stand-in.
fn checkout(engine: &StandIn) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    copy(&workspace().join("charts"), &folder.path().join("charts"));
    let values = folder
        .path()
        .join("charts/sluice-pipelines/examples/shop.yaml");
    let text = std::fs::read_to_string(&values).expect("the values");
    assert!(text.contains(ENGINE));
    std::fs::write(&values, text.replace(ENGINE, &engine.url)).expect("the values");
    folder
}

#[tokio::test]
async fn the_page_of_the_installation_shows_what_is_seen() {
    let page_path = workspace().join(PAGE);
    let page = std::fs::read_to_string(&page_path).expect("the page");
    let cluster = Cluster::bare().await;
    let engine = StandIn::start(&[]);
    let folder = checkout(&engine);
    let helm = tools::helm(&Progress::stderr()).unwrap_or_else(|error| panic!("{error}"));
    let programs = [
        helm,
        cluster.plane().kubectl_path().to_owned(),
        plugin().await.clone(),
        PathBuf::from(env!("CARGO_BIN_EXE_sluice")),
    ];
    let mut path = std::ffi::OsString::new();
    for program in &programs {
        path.push(program.parent().expect("a folder"));
        path.push(":");
    }
    path.push(std::env::var_os("PATH").unwrap_or_default());

    let mut operator = None;
    let mut seen = parts(&page);
    let mut typed_commands = 0;
    for part in &mut seen {
        let Part::Block(block) = part else { continue };
        for typed in block {
            let output = Command::new("bash")
                .args(["-c", &format!("exec 2>&1; {}", typed.command)])
                .current_dir(folder.path())
                .env("KUBECONFIG", cluster.plane().kubeconfig_path())
                .env("PATH", &path)
                .output()
                .expect("bash");
            let command = &typed.command;
            assert!(output.status.success(), "{command}: {}", said(&output));
            typed_commands += 1;
            if !typed.shown.is_empty() {
                typed.shown = said(&output);
            }
            if command.starts_with("helm install sluice ") {
                let kubeconfig = operators_kubeconfig(&cluster, None).await;
                let log = folder.path().join("operator.log");
                let lease = ["--lease-namespace", "sluice-system"];
                operator = Some(Operator::start_with(&kubeconfig, &log, &lease));
            }
            if command.starts_with("helm uninstall sluice ") {
                drop(operator.take());
            }
        }
    }
    assert!(typed_commands > 15);
    assert!(operator.is_none(), "the page ends with nothing installed");
    let seen = page_of(&seen);
    if std::env::var_os("SLUICE_UPDATE_DOCS").is_some() {
        std::fs::write(&page_path, seen).expect("the page");
        return;
    }
    let replaced = |page: &str| Names::default().replaced(page);
    for (shown, now) in replaced(&page).lines().zip(replaced(&seen).lines()) {
        assert_eq!(
            shown, now,
            "{PAGE} shows something else than is seen; SLUICE_UPDATE_DOCS=1 writes it anew. All that is seen:\n{seen}"
        );
    }
    assert_eq!(replaced(&page), replaced(&seen));
}
