//! Holds the documents to the code: whatever a person may meet in a status or an Event is explained in
//! `docs/status.md`, and what the documents link to is there.
//!
//! What can be met is read from the sources, so that a new reason can't be forgotten here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

type Names = BTreeSet<String>;

/// A file of the checkout, without its comments and without the tests at its end.
fn source(path: &str) -> String {
    let text = std::fs::read_to_string(Path::new(ROOT).join(path)).expect(path);
    let code = text.split("#[cfg(test)]\nmod tests {").next();
    let lines = code.unwrap_or_default().lines();
    let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// All of the pure part.
fn decide() -> String {
    let folder = Path::new(ROOT).join("src/controller/decide");
    let mut all = source("src/controller/decide.rs");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_file() && name != "tests.rs" {
            all += &source(&format!("src/controller/decide/{name}"));
        }
    }
    all
}

/// What calls of a method are given first: a literal, or whatever else stands there.
fn first_arguments(source: &str, call: &str) -> Vec<Result<String, String>> {
    source
        .match_indices(call)
        .map(|(at, _)| {
            let rest = source[at + call.len()..].trim_start();
            match rest.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
                Some((literal, _)) => Ok(literal.to_owned()),
                None => Err(rest.split([',', ')']).next().unwrap_or_default().to_owned()),
            }
        })
        .collect()
}

/// The literals among them; what else is given must be one of `others`.
fn given(source: &str, calls: &[&str], others: &[&str]) -> Names {
    let mut names = Names::new();
    for call in calls {
        let arguments = first_arguments(source, call);
        assert!(!arguments.is_empty(), "nobody calls {call} any more");
        for argument in arguments {
            match argument {
                Ok(literal) => drop(names.insert(literal)),
                Err(other) => assert!(
                    others.contains(&other.trim()),
                    "{call}{other}…: give it a literal, so that it can be looked for in the documents"
                ),
            }
        }
    }
    names
}

/// The text from a declaration to the brace that closes it at the same depth.
fn body<'a>(source: &'a str, declaration: &str) -> &'a str {
    let start = source.find(declaration).expect(declaration);
    let open = start + source[start..].find('{').unwrap();
    let mut depth = 0;
    for (at, letter) in source[open..].char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &source[open..open + at];
        }
    }
    panic!("{declaration} has no end");
}

/// The variants of an enum without fields.
fn variants(source: &str, name: &str) -> Names {
    let lines = body(source, &format!("pub enum {name} {{")).lines();
    let variant = |line: &str| line.trim().strip_suffix(',').map(str::to_owned);
    lines
        .filter_map(variant)
        .filter(|name| is_name(name))
        .collect()
}

/// The literals in a text that could be a reason.
fn literals(text: &str) -> Names {
    let quoted = text.split('"').skip(1).step_by(2);
    quoted
        .filter(|word| is_name(word))
        .map(str::to_owned)
        .collect()
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.len() > 1
        && word.bytes().all(|c| c.is_ascii_alphanumeric())
}

fn set(names: &[&str]) -> Names {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A section of `docs/status.md`.
fn section(heading: &str) -> String {
    let text = std::fs::read_to_string(Path::new(ROOT).join("docs/status.md")).unwrap();
    let start = text.find(&format!("\n## {heading}\n")).expect(heading);
    let section = &text[start + 4..];
    section[..section.find("\n## ").unwrap_or(section.len())].to_owned()
}

/// The names that a text explains: what stands between backticks, and looks like one.
fn named(text: &str) -> Names {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|word| is_name(word))
        .map(str::to_owned)
        .collect()
}

/// What the rows of a section's tables are about.
fn subjects(heading: &str) -> Names {
    let section = section(heading);
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.flat_map(|row| named(&format!("`{}", row.split(" | ").next().unwrap_or_default())))
        .collect()
}

fn hold(heading: &str, met: &Names) {
    let explained = named(&section(heading));
    let missing: Vec<&String> = met.difference(&explained).collect();
    assert!(
        missing.is_empty(),
        "docs/status.md, {heading}: doesn't explain {missing:?}"
    );
    let subjects = subjects(heading);
    let invented: Vec<&String> = subjects.difference(met).collect();
    assert!(
        invented.is_empty(),
        "docs/status.md, {heading}: nothing says {invented:?}"
    );
}

#[test]
fn every_reason_of_ready_is_explained() {
    let mut met = variants(&source("src/controller/decide/conditions.rs"), "Reason");
    assert!(
        met.contains("AwaitingApproval") && met.len() > 30,
        "{met:?}"
    );
    let deletion = source("src/controller/decide/deletion.rs");
    met.extend(literals(body(&deletion, "let reason = if stalled")));
    met.extend(set(&["Deleting"]));
    hold("Reasons of Ready", &met);
}

#[test]
fn every_event_is_explained() {
    let decide = decide();
    let mut met = given(
        &decide,
        &[".report(", ".warn(", ".interfered("],
        &["reason"],
    );
    assert!(met.contains("OutsideApproval") && met.len() > 15, "{met:?}");
    let conditions = source("src/controller/decide/conditions.rs");
    met.extend(literals(body(&conditions, "fn static_name")));
    hold("Events", &met);
}

#[test]
fn everything_that_is_audited_is_explained() {
    let met = literals(&source("src/controller/decide/audit.rs"));
    assert!(
        met.contains("RejectionWithdrawn") && met.len() > 8,
        "{met:?}"
    );
    let page = std::fs::read_to_string(Path::new(ROOT).join("docs/audit.md")).unwrap();
    let explained = named(&page);
    let missing: Vec<&String> = met.difference(&explained).collect();
    assert!(
        missing.is_empty(),
        "docs/audit.md doesn't explain {missing:?}"
    );
}

#[test]
fn every_phase_is_explained() {
    let decide = decide();
    let calls = [
        ".ready(",
        ".progressing(",
        ".waiting_for(",
        ".decided_against(",
        "phase = Some(",
    ];
    let mut met = given(
        &decide,
        &calls,
        &["&phase", "phase", "phase.to_owned(", "seen.state("],
    );
    let lifecycle = source("src/controller/decide/lifecycle.rs");
    let words = body(
        &lifecycle,
        "let phase = match state.deployment_status.as_str()",
    );
    let arms = words.lines().filter_map(|line| line.split_once("=> \""));
    met.extend(arms.filter_map(|(_, word)| word.split('"').next().map(str::to_owned)));
    // The engine's own words for a pipeline that is up.
    met.extend(set(&["Running", "Paused", "Pending", "Deleting"]));
    hold("Phases", &met);
}

#[test]
fn every_condition_and_every_reason_of_approved_is_explained() {
    let conditions = source("src/controller/decide/conditions.rs");
    let constants = conditions
        .lines()
        .filter(|line| line.contains("const ") && line.contains("&str"));
    let types = literals(&constants.collect::<Vec<_>>().join("\n"));
    assert!(types.contains("Ready") && types.len() >= 5, "{types:?}");
    let explained = named(&section("Conditions"));
    assert_eq!(types.difference(&explained).collect::<Vec<_>>(), [""; 0]);
    assert!(
        explained.contains("NoSuchChangeWaits") && conditions.contains("\"NoSuchChangeWaits\"")
    );
    let approved = literals(body(&conditions, "fn approved_condition"));
    let explained = named(&section("Reasons of Approved"));
    let missing: Vec<&String> = approved.difference(&explained).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_state_of_a_change_is_explained() {
    let states = variants(&source("src/crd/status.rs"), "ApprovalState");
    let explained = named(&section("States of a change"));
    let missing: Vec<&String> = states.difference(&explained).collect();
    assert!(
        states.contains("Sealed") && missing.is_empty(),
        "{missing:?}"
    );
}

#[test]
fn every_reason_of_an_engine_is_explained() {
    let resource = source("src/controller/engines/resource.rs");
    let mut met = literals(body(&resource, "pub(super) fn status"));
    for of_the_condition in ["Ready", "True", "False", "Unknown"] {
        met.remove(of_the_condition);
    }
    met.extend(literals(body(&source("src/engine.rs"), "pub fn kind")));
    hold("An Engine's Ready", &met);
}

/// All functions of the tests.
fn tests_of(folder: &Path, names: &mut Names) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_of(&path, names);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let attributes = ["#[tokio::test]", "#[test]"];
            let after = attributes
                .iter()
                .flat_map(|attribute| text.split(attribute).skip(1));
            let name = |rest: &str| Some(rest.split_once("fn ")?.1.split_once('(')?.0.to_owned());
            names.extend(after.filter_map(name));
        }
    }
}

#[test]
fn every_attack_of_the_document_is_a_test() {
    let text = std::fs::read_to_string(Path::new(ROOT).join("docs/security.md")).unwrap();
    let attacks = text.split("\n## Attacks\n").nth(1).unwrap();
    let mut tests = Names::new();
    for folder in ["tests/cluster", "tests/api"] {
        tests_of(&Path::new(ROOT).join(folder), &mut tests);
    }
    let mut rows = 0;
    let mut listed = Names::new();
    for row in attacks
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(2)
    {
        let cell = row
            .trim_end_matches([' ', '|'])
            .rsplit(" | ")
            .next()
            .unwrap();
        let names: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in names {
            assert!(tests.contains(name), "there is no test {name}");
            listed.insert(name.to_owned());
        }
        rows += 1;
    }
    assert!(rows > 30, "{rows}");
    // And none of those that were written as attacks is forgotten there.
    let mut attacks = Names::new();
    tests_of(&Path::new(ROOT).join("tests/cluster/attacks"), &mut attacks);
    attacks.retain(|name| !text.contains(&format!("`{name}`")));
    let about_no_attack = set(&[
        "a12_each_vote_gets_the_name_of_whoever_wrote_it",
        "a12_through_each_door_the_name_comes_along",
        "a12_votes_from_before_the_policies_block_nothing_and_count_once_they_are_given_anew",
        "a12_where_nothing_writes_names_the_refusal_says_what_to_write",
    ]);
    assert_eq!(attacks, about_no_attack);
}

#[test]
fn every_field_of_a_pipelines_status_but_the_conditions_is_kept_from_others() {
    let helpers =
        std::fs::read_to_string(Path::new(ROOT).join("charts/sluice/templates/_helpers.tpl"));
    let helpers = helpers.unwrap();
    let list = helpers
        .split("define \"sluice.statusFields\"")
        .nth(1)
        .unwrap();
    let list = list.split_once('[').unwrap().1.split_once(']').unwrap().0;
    let kept: Names = list.split(',').map(|name| name.trim().to_owned()).collect();
    let crd = sluice::crd::all()
        .into_iter()
        .find(|crd| crd.spec.names.kind == "Pipeline");
    let crd = serde_json::to_value(crd.unwrap()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let fields = schema["properties"]["status"]["properties"]
        .as_object()
        .unwrap();
    let mut fields: Names = fields.keys().cloned().collect();
    assert!(fields.remove("conditions"));
    assert_eq!(
        kept, fields,
        "charts/sluice/templates/_helpers.tpl, sluice.statusFields"
    );
}

/// The documents that people read.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    let folders = ["", "docs", "simulator", "tests/contract", "examples"];
    let files = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(root.join(folder)).unwrap());
    let paths = files.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect()
}

/// A heading as GitHub makes an anchor of it.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(document: &Path) -> Names {
    let text = std::fs::read_to_string(document).unwrap_or_default();
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(anchor)
        .collect()
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let mut seen = 0;
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap_or_default();
            if target.contains("://") || target.contains(' ') {
                continue;
            }
            seen += 1;
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            let shown = document.strip_prefix(ROOT).unwrap_or(&document).display();
            assert!(path.exists(), "{shown}: there is no {target}");
            assert!(
                heading.is_empty() || anchors(&path).contains(heading),
                "{shown}: there is no heading for {target}"
            );
        }
    }
    assert!(seen > 20);
}
