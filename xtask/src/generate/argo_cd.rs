//! What Argo CD has to know of Sluice's kinds, as patches of its ConfigMap `argocd-cm`: for
//! `kubectl patch --patch-file`, and for `patches` of a kustomization.
//!
//! Argo CD runs the scripts, so they are kept as scripts; what differs from patch to patch is one line of them.

use std::fmt::Write as _;
use std::path::Path;

use super::{Error, Generated, ROOT, header, io_error};

const SCRIPTS: &str = "argocd/lua/";
/// Argo CD's server, which runs the actions, as its own manifests install it.
const SERVER: &str = "system:serviceaccount:argocd:argocd-server";

/// The patches, each a file:
/// - `suspended.yaml`: a change that waits makes its Pipeline Suspended
/// - `healthy.yaml`: it stays Healthy, so that a sync with waves or hooks goes on meanwhile
/// - `actions-with-name.yaml`: the actions once more, for clusters without mutating admission policies
pub(super) fn patches() -> Result<Vec<Generated>, Error> {
    let health = script("pipeline-health.lua")?;
    let form = |status: &str| health.with("local waitsAs = ", &format!("\"{status}\""));
    let engine = script("engine-health.lua")?.text;
    let actions = |account: Option<&str>| actions(account);
    let patch = |name: &str, entries: &[(&str, String)]| Generated {
        path: Path::new("argocd").join(name),
        content: patch(entries),
    };
    let whole = |status: &str| {
        Ok::<_, Error>([
            ("health.sluice.dev_Pipeline", form(status)?),
            ("health.sluice.dev_Engine", engine.clone()),
            ("actions.sluice.dev_Pipeline", actions(None)?),
        ])
    };
    let named = [("actions.sluice.dev_Pipeline", actions(Some(SERVER))?)];
    Ok(vec![
        patch("suspended.yaml", &whole("Suspended")?),
        patch("healthy.yaml", &whole("Healthy")?),
        patch("actions-with-name.yaml", &named),
    ])
}

/// A script of `argocd/lua/`.
struct Script {
    name: String,
    text: String,
}

fn script(name: &str) -> Result<Script, Error> {
    let name = format!("{SCRIPTS}{name}");
    let path = Path::new(ROOT).join(&name);
    let text = std::fs::read_to_string(&path).map_err(|source| io_error("read", &path, source))?;
    Ok(Script { name, text })
}

impl Script {
    /// The script with another value in the one line that begins so.
    fn with(&self, begin: &'static str, value: &str) -> Result<String, Error> {
        let is_it = |line: &&str| line.starts_with(begin);
        if self.text.lines().filter(is_it).count() != 1 {
            return Err(Error::Script {
                script: self.name.clone(),
                line: begin,
            });
        }
        let lines = self.text.lines().map(|line| {
            if is_it(&line) {
                format!("{begin}{value}\n")
            } else {
                format!("{line}\n")
            }
        });
        Ok(lines.collect())
    }
}

/// What Argo CD takes as actions: a document in the document.
fn actions(account: Option<&str>) -> Result<String, Error> {
    let vote = script("pipeline-vote.lua")?;
    let account = account.map_or("nil".to_owned(), |account| format!("\"{account}\""));
    let vote = Script {
        text: vote.with("local account = ", &account)?,
        ..vote
    };
    let mut all = String::from("discovery.lua: |\n");
    indented(&mut all, 2, &script("pipeline-actions.lua")?.text);
    all += "definitions:\n";
    for (name, decision) in [("approve", "Approve"), ("reject", "Reject")] {
        let _ = writeln!(
            all,
            "- name: {name}
  action.lua: |"
        );
        let vote = vote.with("local decision = ", &format!("\"{decision}\""))?;
        indented(&mut all, 4, &vote);
    }
    Ok(all)
}

fn patch(entries: &[(&str, String)]) -> String {
    let mut all = header(SCRIPTS);
    all += "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: argocd-cm\ndata:\n";
    for (key, text) in entries {
        let _ = writeln!(all, "  resource.customizations.{key}: |");
        indented(&mut all, 4, text);
    }
    all
}

fn indented(into: &mut String, by: usize, text: &str) {
    for line in text.lines() {
        if line.is_empty() {
            into.push('\n');
        } else {
            let _ = writeln!(into, "{:by$}{line}", "");
        }
    }
}
