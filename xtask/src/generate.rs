//! `cargo xtask generate`: writes the files that are derived from others.
//!
//! - `crds/*.yaml`, `charts/sluice/files/crds/*.yaml`, `deploy/crds.yaml`, `schemas/`: from the types in `gate/src/crd/`
//! - `deploy/sluice.yaml`: from the chart, by `helm template` with its default values
//! - `deploy/write-names.yaml`: the same for clusters that know mutating admission policies, what is more there
//! - `charts/sluice-pipelines/values.schema.json`: from the same types; `docs/values.md`: from both charts
//! - `argocd/*.yaml`: from the scripts in `argocd/lua/`
//! - `docs/reference.md`, `docs/flags.md`, `docs/metrics.md`: from the types in `gate/src/crd/`, the arguments
//!   of `sluice run`, and what `/metrics` serves

mod argo_cd;
mod figures;
mod flags;
mod markdown;
mod reference;
mod schemas;
mod values;

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;

/// The folder of the workspace.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const CHART: &str = "charts/sluice";
/// Where each definition has a file of its own. Nothing else stands there.
const DEFINITIONS: [&str; 2] = ["crds", "charts/sluice/files/crds"];
/// Where the plain manifests install the operator.
const NAMESPACE: &str = "sluice-system";

#[derive(Args)]
pub struct Generate {
    /// Write nothing, and fail if a file isn't what it should be
    #[arg(long)]
    check: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {doing}: {source}")]
    Io { doing: String, source: io::Error },
    #[error("cannot write {name} as YAML: {reason}")]
    Yaml { name: String, reason: String },
    #[error("cannot write {name} as JSON: {source}")]
    Json {
        name: String,
        source: serde_json::Error,
    },
    #[error("{script} has no line {line:?}, which is replaced: see xtask/src/generate/argo_cd.rs")]
    Script { script: String, line: &'static str },
    #[error("`helm template` failed ({status}):\n{output}")]
    Helm { status: String, output: String },
    #[error(transparent)]
    ControlPlane(#[from] control_plane::Error),
    #[error(
        "these files aren't what the code and the chart say:\n{}\nRun `cargo xtask generate` and commit what it writes.",
        .0.iter().map(|path| format!("  {}", path.display())).collect::<Vec<_>>().join("\n")
    )]
    Differ(Vec<PathBuf>),
}

/// A file as it should be; its path is relative to the workspace.
struct Generated {
    path: PathBuf,
    content: String,
}

impl Generate {
    /// Does what was asked, and says with which code to end.
    pub fn run(self) -> Result<ExitCode, Error> {
        // In two steps, because the chart has to have its CRDs before it is rendered.
        let definitions = definitions()?;
        let mut differ = self.clear_away(&definitions)?;
        differ.extend(self.settle(definitions)?);
        differ.extend(self.settle(documents()?)?);
        differ.extend(self.settle(argo_cd::patches()?)?);
        differ.extend(self.settle(rendered_chart()?)?);
        if self.check && !differ.is_empty() {
            return Err(Error::Differ(differ));
        }
        for path in &differ {
            println!("updated {}", path.display());
        }
        if differ.is_empty() {
            println!("All generated files are up to date.");
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Removes the definitions of kinds that are no more, unless they are only to be checked.
    /// Returns where they stand.
    fn clear_away(&self, wanted: &[Generated]) -> Result<Vec<PathBuf>, Error> {
        let mut left_over = Vec::new();
        for folder in DEFINITIONS {
            let full = Path::new(ROOT).join(folder);
            // A folder that isn't there yet has nothing in it.
            let Ok(entries) = std::fs::read_dir(&full) else {
                continue;
            };
            for entry in entries.flatten() {
                let path = Path::new(folder).join(entry.file_name());
                if wanted.iter().any(|file| file.path == path) {
                    continue;
                }
                if !self.check {
                    std::fs::remove_file(entry.path())
                        .map_err(|source| io_error("remove", &path, source))?;
                }
                left_over.push(path);
            }
        }
        Ok(left_over)
    }

    /// Writes the files that differ, unless they are only to be checked. Returns those that differed.
    fn settle(&self, files: Vec<Generated>) -> Result<Vec<PathBuf>, Error> {
        let mut differ = Vec::new();
        for Generated { path, content } in files {
            let full = Path::new(ROOT).join(&path);
            if std::fs::read_to_string(&full).is_ok_and(|found| found == content) {
                continue;
            }
            if !self.check {
                if let Some(folder) = full.parent() {
                    std::fs::create_dir_all(folder)
                        .map_err(|source| io_error("create", folder, source))?;
                }
                std::fs::write(&full, content)
                    .map_err(|source| io_error("write", &full, source))?;
            }
            differ.push(path);
        }
        Ok(differ)
    }
}

fn io_error(doing: &str, path: &Path, source: io::Error) -> Error {
    Error::Io {
        doing: format!("{doing} {}", path.display()),
        source,
    }
}

/// The comment on the first line of a generated file.
fn header(from: &str) -> String {
    format!("# Generated by `cargo xtask generate` from {from}; edit that instead.\n")
}

/// The custom resource definitions: one file each, the same in the chart, and all in one for
/// `kubectl apply -f`.
fn definitions() -> Result<Vec<Generated>, Error> {
    let mut files = Vec::new();
    let mut together = header("gate/src/crd/");
    for crd in sluice::crd::all() {
        let name = format!("{}.yaml", crd.spec.names.plural);
        let yaml = sluice::crd::manifest(&crd).map_err(|error| Error::Yaml {
            name: name.clone(),
            reason: error.to_string(),
        })?;
        let content = format!("{}{yaml}", header("gate/src/crd/"));
        for folder in DEFINITIONS {
            files.push(Generated {
                path: Path::new(folder).join(&name),
                content: content.clone(),
            });
        }
        // Writing to a String can't fail.
        let _ = write!(together, "---\n{yaml}");
    }
    files.push(Generated {
        path: "deploy/crds.yaml".into(),
        content: together,
    });
    Ok(files)
}

/// The documents for people that are derived from the code.
fn documents() -> Result<Vec<Generated>, Error> {
    let constants = Path::new(ROOT).join("gate/src/crd.rs");
    let constants = std::fs::read_to_string(&constants)
        .map_err(|source| io_error("read", &constants, source))?;
    let definitions = sluice::crd::all()
        .iter()
        .map(|crd| {
            serde_json::to_value(crd).map_err(|source| Error::Json {
                name: crd.spec.names.kind.clone(),
                source,
            })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let text = |path: &str| {
        let full = Path::new(ROOT).join(path);
        std::fs::read_to_string(&full).map_err(|source| io_error("read", &full, source))
    };
    let values = values::document(
        &text("charts/sluice/values.yaml")?,
        &text("charts/sluice-pipelines/values.yaml")?,
    );
    let mut json = vec![(
        "charts/sluice-pipelines/values.schema.json".to_owned(),
        schemas::of_pipelines_chart(&definitions),
    )];
    for definition in &definitions {
        let files = schemas::of_definition(definition).into_iter();
        json.extend(files.map(|(file, schema)| (format!("schemas/{file}"), schema)));
    }
    let all = [
        ("docs/values.md", values),
        (
            "docs/reference.md",
            reference::document(&definitions, &constants),
        ),
        ("docs/flags.md", flags::document()),
        ("docs/metrics.md", figures::document()),
    ];
    let mut files: Vec<Generated> = all
        .into_iter()
        .map(|(path, content)| Generated {
            path: path.into(),
            content,
        })
        .collect();
    files.extend(json.into_iter().map(|(path, schema)| Generated {
        path: path.into(),
        content: format!("{schema:#}\n"),
    }));
    Ok(files)
}

/// The chart with its default values, in a namespace of its own: what every cluster takes, and apart from it
/// what only newer ones know.
fn rendered_chart() -> Result<Vec<Generated>, Error> {
    let helm = control_plane::tools::helm(&control_plane::Progress::stderr())?;
    let newer = [
        "--api-versions",
        "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy",
        "--show-only",
        "templates/policy-write-names.yaml",
    ];
    let manifests = |path: &str, begin: String, more: &[&str]| {
        Ok::<_, Error>(Generated {
            path: path.into(),
            content: header(CHART) + &begin + &rendered(&helm, more)?,
        })
    };
    Ok(vec![
        manifests("deploy/sluice.yaml", namespace(), &[])?,
        manifests("deploy/write-names.yaml", String::new(), &newer)?,
    ])
}

fn rendered(helm: &Path, more: &[&str]) -> Result<String, Error> {
    let output = Command::new(helm)
        .args(["template", "sluice", CHART, "--namespace", NAMESPACE])
        // They have a file of their own there, and Helm's tests are nothing without Helm.
        .args(["--set", "crds.install=false", "--skip-tests"])
        .args(more)
        .current_dir(ROOT)
        .output()
        .map_err(|source| io_error("run", helm, source))?;
    if !output.status.success() {
        return Err(Error::Helm {
            status: output.status.to_string(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    let manifests = String::from_utf8_lossy(&output.stdout);
    let mut content = String::new();
    // Helm says on a line of its own which template an object comes from, and differs from version to
    // version in the blank lines between them.
    let lines = manifests.lines().map(str::trim_end);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with("# Source:")) {
        let _ = writeln!(content, "{line}");
    }
    Ok(content)
}

/// Helm makes the namespace by itself (`--create-namespace`); plain manifests need it written down.
fn namespace() -> String {
    format!(
        "\
---
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    pod-security.kubernetes.io/enforce: restricted
"
    )
}
