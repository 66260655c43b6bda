//! Reads what is to be planned: files of Kubernetes objects, as kubectl takes them.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sluice_gate::crd::{GROUP, Pipeline, PipelineApproval, PipelineSpec};

use crate::error::Error;

/// The names of files in a folder that are read.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// The version of the kinds.
const VERSION: &str = "sluice.dev/v1alpha1";

/// One object of a file.
#[derive(Clone, Debug)]
pub struct Document {
    pub file: String,
    pub value: Value,
}

/// A Pipeline of a file.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub file: String,
    /// As it stands in the file, with its namespace.
    pub value: Value,
    pub pipeline: Pipeline,
}

/// What matters of all files.
#[derive(Default)]
pub struct Found {
    pub pipelines: Vec<Wanted>,
    /// By namespace and name.
    pub config_maps: BTreeMap<(String, String), ConfigMap>,
    pub approvals: Vec<PipelineApproval>,
    /// What couldn't be understood.
    pub problems: Vec<Error>,
}

/// The namespace of objects that name none.
pub struct Namespace<'a> {
    pub default: &'a str,
    /// Whether it was named on the command line: then no object may name another.
    pub is_named: bool,
}

/// All objects in these files and folders; `-` is standard input.
pub fn read(names: &[PathBuf], recursive: bool) -> Result<Vec<Document>, Error> {
    let mut documents = vec![];
    for name in names {
        if name == Path::new("-") {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|error| unreadable("standard input", &error))?;
            documents.extend(parse("standard input", &text)?);
            continue;
        }
        let shown = name.display().to_string();
        let metadata = std::fs::metadata(name).map_err(|error| unreadable(&shown, &error))?;
        let mut files = vec![];
        if metadata.is_dir() {
            collect(name, recursive, &mut files)?;
        } else {
            files.push(name.clone());
        }
        for file in files {
            let shown = file.display().to_string();
            let text =
                std::fs::read_to_string(&file).map_err(|error| unreadable(&shown, &error))?;
            documents.extend(parse(&shown, &text)?);
        }
    }
    Ok(documents)
}

fn unreadable(file: &str, error: &std::io::Error) -> Error {
    Error::File {
        file: file.to_owned(),
        reason: error.to_string(),
    }
}

fn collect(folder: &Path, recursive: bool, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let shown = folder.display().to_string();
    let entries = std::fs::read_dir(folder).map_err(|error| unreadable(&shown, &error))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() {
            if recursive {
                collect(&path, recursive, files)?;
            }
        } else if extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) {
            files.push(path);
        }
    }
    Ok(())
}

/// The objects of one file; those of lists one by one.
fn parse(file: &str, text: &str) -> Result<Vec<Document>, Error> {
    // As kubectl reads numbers.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let parsed = serde_saphyr::from_multiple_with_options::<Value>(text, options);
    let values = parsed.map_err(|error| Error::Invalid {
        file: file.to_owned(),
        reason: error.to_string(),
    })?;
    let mut documents = vec![];
    for value in values {
        let is_list = value["kind"]
            .as_str()
            .is_some_and(|kind| kind.ends_with("List"));
        match value.get("items").and_then(Value::as_array) {
            Some(items) if is_list => documents.extend(items.iter().cloned()),
            _ if value.is_null() => {}
            _ => documents.push(value),
        }
    }
    let document = |value| Document {
        file: file.to_owned(),
        value,
    };
    Ok(documents.into_iter().map(document).collect())
}

/// Picks out what matters.
pub fn sort(documents: Vec<Document>, namespace: &Namespace) -> Found {
    let mut found = Found::default();
    for document in documents {
        let file = document.file.clone();
        if let Err(reason) = take(document, namespace, &mut found) {
            found.problems.push(Error::Invalid { file, reason });
        }
    }
    found
}

fn take(document: Document, namespace: &Namespace, found: &mut Found) -> Result<(), String> {
    let Document { file, mut value } = document;
    let word = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let (version, kind) = (word("apiVersion"), word("kind"));
    if kind.is_empty() || version.is_empty() {
        return Err("this is no Kubernetes object: it has no apiVersion or no kind".into());
    }
    let ours = version.split('/').next() == Some(GROUP);
    if !ours && (version.as_str(), kind.as_str()) != ("v1", "ConfigMap") {
        return Ok(());
    }
    if ours && !["Pipeline", "PipelineApproval"].contains(&kind.as_str()) {
        return Ok(());
    }
    if ours && version != VERSION {
        return Err(format!("{kind} has apiVersion {version}; write {VERSION}"));
    }
    let metadata = value["metadata"].as_object().cloned().unwrap_or_default();
    let mut metadata: ObjectMeta = typed(&Value::Object(metadata), "metadata")?;
    let Some(name) = metadata.name.clone() else {
        return Err(format!("a {kind} has no metadata.name"));
    };
    let about = |problem: String| format!("{kind} {name}: {problem}");
    let own = metadata.namespace.clone();
    if let Some(own) = own.filter(|own| namespace.is_named && own != namespace.default) {
        return Err(about(format!(
            "it says namespace {own}, and --namespace says {}",
            namespace.default
        )));
    }
    let place = metadata
        .namespace
        .get_or_insert_with(|| namespace.default.to_owned());
    let place = place.clone();
    value["metadata"]["namespace"] = place.clone().into();
    match kind.as_str() {
        "Pipeline" => {
            // What a cluster has put there is none of the file's.
            if let Some(object) = value.as_object_mut() {
                object.remove("status");
            }
            let spec: PipelineSpec = typed(&value["spec"], "spec").map_err(about)?;
            check(&spec).map_err(about)?;
            let mut pipeline = Pipeline::new(&name, spec);
            pipeline.metadata = metadata;
            let wanted = Wanted {
                file,
                value,
                pipeline,
            };
            found.pipelines.push(wanted);
        }
        "PipelineApproval" => {
            let spec = typed(&value["spec"], "spec").map_err(about)?;
            let mut approval = PipelineApproval::new(&name, spec);
            approval.metadata = metadata;
            found.approvals.push(approval);
        }
        _ => {
            let config_map: ConfigMap =
                serde_json::from_value(value).map_err(|error| about(error.to_string()))?;
            found.config_maps.insert((place, name), config_map);
        }
    }
    Ok(())
}

/// A part of an object; what it has no field for is refused, as kubectl does.
fn typed<T: DeserializeOwned>(value: &Value, place: &str) -> Result<T, String> {
    let mut unknown = vec![];
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(value.clone(), &mut track);
    let result = serde_ignored::deserialize(tracked, |path| unknown.push(path.to_string()));
    let parsed = result.map_err(|error: serde_json::Error| match track.path().to_string() {
        path if path == "." => format!("{place}: {error}"),
        path => format!("{place}.{path}: {error}"),
    })?;
    match unknown.first() {
        // A step into an optional field is shown as `?`.
        Some(path) => Err(format!("unknown field {place}.{}", path.replace("?.", ""))),
        None => Ok(parsed),
    }
}

/// What the API server would refuse, as far as an id depends on it. It is asked itself where that is
/// allowed.
fn check(spec: &PipelineSpec) -> Result<(), String> {
    let Some(program) = &spec.program else {
        return Ok(());
    };
    if program.sql.is_some() == program.sql_from.is_some() {
        return Err("program needs its SQL exactly once: set either spec.program.sql, or spec.program.sqlFrom to the key of a ConfigMap".into());
    }
    for (text, from, field) in [
        (&program.udf_rust, &program.udf_rust_from, "udfRust"),
        (&program.udf_toml, &program.udf_toml_from, "udfToml"),
    ] {
        if text.is_some() && from.is_some() {
            return Err(format!(
                "set either spec.program.{field} or spec.program.{field}From, not both"
            ));
        }
    }
    match &spec.approved_change {
        Some(id) if !sluice_gate::change::is_id(id) => {
            Err("spec.approvedChange must be a whole change id, 32 hex digits".into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Found {
        let namespace = Namespace {
            default: "shop",
            is_named: false,
        };
        sort(parse("file", text).unwrap(), &namespace)
    }

    fn problem(text: &str) -> String {
        let found = found(text);
        assert_eq!(found.problems.len(), 1);
        found.problems[0].to_string()
    }

    #[test]
    fn several_documents_lists_and_other_kinds() {
        let found = found(
            "\
apiVersion: v1
kind: ConfigMap
metadata: {name: code, namespace: web}
data: {sql: SELECT 1}
---
# nothing but a comment
---
apiVersion: v1
kind: List
items:
- apiVersion: sluice.dev/v1alpha1
  kind: Pipeline
  metadata: {name: orders}
  spec: {program: {sql: 'SELECT 1'}}
  status: {anything: goes}
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: x}}
---
apiVersion: sluice.dev/v1alpha1
kind: PipelineApproval
metadata: {name: yes-alice}
spec: {pipelineRef: {name: orders}, changeId: '0123', decision: Approve}
",
        );
        assert_eq!(found.problems, []);
        assert_eq!(found.pipelines.len(), 1);
        assert_eq!(
            found.pipelines[0].pipeline.metadata.namespace.as_deref(),
            Some("shop")
        );
        assert_eq!(found.approvals.len(), 1);
        assert!(
            found
                .config_maps
                .contains_key(&("web".into(), "code".into()))
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let pipeline = |spec: &str| {
            format!(
                "apiVersion: sluice.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: orders}}\nspec: {spec}\n"
            )
        };
        for (text, expected) in [
            (
                pipeline("{program: {sql: x}, aproved: true}"),
                "unknown field spec.aproved",
            ),
            (
                pipeline("{program: {sql: x, udf: y}}"),
                "unknown field spec.program.udf",
            ),
            (
                pipeline("{program: {sql: x}, desiredState: runing}"),
                "spec.desiredState: unknown variant `runing`",
            ),
            (
                pipeline("{program: {}}"),
                "program needs its SQL exactly once",
            ),
            (
                pipeline("{program: {sql: x}, approvedChange: '12'}"),
                "32 hex digits",
            ),
            (
                pipeline("{program: {sql: 1}}"),
                "spec.program.sql: invalid type",
            ),
            ("a: 1\n".into(), "no Kubernetes object"),
            (
                "apiVersion: sluice.dev/v1\nkind: Pipeline\nmetadata: {name: o}\n".into(),
                "write sluice.dev/v1alpha1",
            ),
            (
                "apiVersion: sluice.dev/v1alpha1\nkind: Pipeline\nspec: {}\n".into(),
                "no metadata.name",
            ),
        ] {
            let said = problem(&text);
            assert!(said.contains(expected), "{said}");
            assert!(said.starts_with("file: "), "{said}");
        }
        let broken = parse("file", "a: [\n").unwrap_err().to_string();
        assert!(
            broken.starts_with("file: ") && broken.contains("line"),
            "{broken}"
        );
    }

    #[test]
    fn the_namespace_of_the_command_line_must_not_be_contradicted() {
        let text = "apiVersion: sluice.dev/v1alpha1\nkind: Pipeline\nmetadata: {name: o, namespace: web}\nspec: {}\n";
        let named = Namespace {
            default: "shop",
            is_named: true,
        };
        let found = sort(parse("file", text).unwrap(), &named);
        let said = found.problems[0].to_string();
        assert!(
            said.contains("namespace web, and --namespace says shop"),
            "{said}"
        );
    }

    #[test]
    fn folders_are_read_in_order_and_only_with_r_what_is_below() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "{apiVersion: v1, kind: X}").unwrap();
        };
        for name in ["b.yaml", "a.json", "c.txt", "below/d.yml"] {
            write(name);
        }
        let files = |recursive| {
            let read = read(&[folder.path().to_owned()], recursive).unwrap();
            let names = read.iter().map(|document| {
                let path = Path::new(&document.file);
                path.strip_prefix(folder.path())
                    .unwrap()
                    .display()
                    .to_string()
            });
            names.collect::<Vec<_>>()
        };
        assert_eq!(files(false), ["a.json", "b.yaml"]);
        assert_eq!(files(true), ["a.json", "b.yaml", "below/d.yml"]);
        let missing = read(&["no-such-file".into()], false).unwrap_err();
        assert!(missing.to_string().contains("cannot read no-such-file"));
    }
}
