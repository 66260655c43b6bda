//! `cargo xtask compatibility`: whether what people rely on is still there, as `docs/versioning.md` promises:
//! the definitions and the charts' values take what those of the last release took, and its flags, metrics and
//! reasons are there. The last release comes out of this repository's own history.

mod definitions;
mod schema;
mod tables;

use std::process::ExitCode;

use control_plane::releases::PREVIOUS;
use serde_json::Value;

use crate::say;

/// What the names of objects look like now, as JSON has it.
macro_rules! object_name {
    () => {
        r#""^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$""#
    };
}

/// Breaks that are meant, as they are told, and why they hurt nobody.
const MEANT: [(&str, &str); 10] = [
    (
        "PipelineApproval v1alpha1 .spec: there is a new rule, \"!has(self.clearAfter) || self.decision == 'Approve'\"",
        "of a field that is new, too: nothing that was released has it",
    ),
    (
        "Engine v1alpha1 .status: the default was null and is {\"observedGeneration\":-1}",
        "so that no object passes for ready before anybody has looked at it",
    ),
    (
        "Pipeline v1alpha1 .status: the default was null and is {\"observedGeneration\":-1}",
        "the same",
    ),
    (
        "Pipeline v1alpha1: there is a new rule, \"oldSelf.hasValue() || !(has(self.spec.pipelineName) ? self.spec.pipelineName : self.metadata.name).startsWith('sluice-build-')\"",
        "such a name was a way to make others' programs fail to compile; what exists stays",
    ),
    (
        concat!(
            "Pipeline v1alpha1 .spec .engineRef .name: pattern was null and is ",
            object_name!()
        ),
        "no object can have another name, and what is stored stays writable",
    ),
    (
        concat!(
            "Pipeline v1alpha1 .spec .program .sqlFrom .configMapKeyRef .name: pattern was null and is ",
            object_name!()
        ),
        "no object can have another name, and what is stored stays writable",
    ),
    (
        concat!(
            "Pipeline v1alpha1 .spec .program .udfRustFrom .configMapKeyRef .name: pattern was null and is ",
            object_name!()
        ),
        "no object can have another name, and what is stored stays writable",
    ),
    (
        concat!(
            "Pipeline v1alpha1 .spec .program .udfTomlFrom .configMapKeyRef .name: pattern was null and is ",
            object_name!()
        ),
        "no object can have another name, and what is stored stays writable",
    ),
    (
        concat!(
            "Engine v1alpha1 .spec .caSecretRef .name: pattern was null and is ",
            object_name!()
        ),
        "no object can have another name, and what is stored stays writable",
    ),
    (
        concat!(
            "Engine v1alpha1 .spec .credentialsSecretRef .name: pattern was null and is ",
            object_name!()
        ),
        "no object can have another name, and what is stored stays writable",
    ),
];

/// The charts that the last release had.
const CHARTS: [&str; 1] = ["charts/sluice"];
/// The pages that list names.
const PAGES: [&str; 4] = [
    "docs/flags.md",
    "docs/metrics.md",
    "docs/reference.md",
    "docs/status.md",
];
/// The definitions.
const DEFINITIONS: [&str; 3] = [
    "crds/engines.yaml",
    "crds/pipelineapprovals.yaml",
    "crds/pipelines.yaml",
];

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Release(#[from] control_plane::Error),
    #[error("cannot read {file} of {release}: {reason}")]
    Unreadable {
        file: String,
        release: String,
        reason: String,
    },
    #[error("cannot read {0}: {1}")]
    Checkout(String, std::io::Error),
    #[error(
        "this isn't compatible with {release}:\n{}\nKeep what was (docs/versioning.md says for how long), or make a new version of the kind.",
        .breaks.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
    )]
    Broken {
        release: String,
        breaks: Vec<String>,
    },
}

/// Compares with the last release, if this checkout has it.
pub fn check() -> Result<ExitCode, Error> {
    if let Some(missing) = PREVIOUS.missing() {
        say::line(format!(
            "Nothing is compared with the last release: {missing}."
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let mut breaks = vec![];
    for file in DEFINITIONS {
        let before = parsed(file, &PREVIOUS.file(file)?)?;
        let name = &before["metadata"]["name"];
        let now = sluice::crd::all()
            .iter()
            .filter_map(|crd| serde_json::to_value(crd).ok())
            .find(|crd| crd["metadata"]["name"] == *name);
        match now {
            Some(now) => breaks.extend(definitions::breaks_between(&before, &now)),
            None => breaks.push(format!("{name}: the kind is gone")),
        }
    }
    for chart in CHARTS {
        let both = |name: &str| -> Result<(Value, Value), Error> {
            let file = format!("{chart}/{name}");
            let before = parsed(&file, &PREVIOUS.file(&file)?)?;
            Ok((before, parsed(&file, &here(&file)?)?))
        };
        let (before, now) = both("values.schema.json")?;
        let (before, now) = (schema::resolved(&before), schema::resolved(&now));
        schema::narrower(&before, &now, chart, &mut breaks);
        let (before, now) = both("values.yaml")?;
        defaults(&before, &now, chart, &mut breaks);
    }
    for file in PAGES {
        let of_it = tables::breaks_between(&PREVIOUS.file(file)?, &here(file)?);
        breaks.extend(of_it.into_iter().map(|line| format!("{file}, {line}")));
    }
    breaks.retain(|line| !MEANT.iter().any(|(meant, _)| line == meant));
    let release = PREVIOUS.version;
    if breaks.is_empty() {
        say::line(format!(
            "The definitions and the chart's values take all that those of {release} took, and its flags, metrics and reasons are there."
        ));
        return Ok(ExitCode::SUCCESS);
    }
    Err(Error::Broken {
        release: release.to_owned(),
        breaks,
    })
}

/// Tells each value whose default is another one.
fn defaults(before: &Value, now: &Value, place: &str, breaks: &mut Vec<String>) {
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            for (name, before) in before {
                let now = now.get(name).unwrap_or(&Value::Null);
                defaults(before, now, &format!("{place} .{name}"), breaks);
            }
        }
        (before, now) if before != now => {
            breaks.push(format!("{place}: the default was {before} and is {now}"));
        }
        _ => {}
    }
}

/// A file of this checkout.
fn here(file: &str) -> Result<String, Error> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(file);
    std::fs::read_to_string(path).map_err(|error| Error::Checkout(file.to_owned(), error))
}

fn parsed(file: &str, text: &str) -> Result<Value, Error> {
    serde_saphyr::from_str(text).map_err(|error| Error::Unreadable {
        file: file.to_owned(),
        release: PREVIOUS.version.to_owned(),
        reason: error.to_string(),
    })
}
