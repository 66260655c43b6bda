//! Holds the documents to the code: whatever a person may meet in a status or an Event is explained in
//! `docs/status.md`, and what the documents link to is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sluice::controller::EngineReason;
use sluice::crd::{ApprovalState, Phase};
use sluice::engine::ErrorKind;
use sluice::gate::decide::{ApprovedReason, AuditEvent, CONDITION_TYPES, EventReason, Reason};
use strum::VariantArray;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

type Names = BTreeSet<String>;

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.len() > 1
        && word.bytes().all(|c| c.is_ascii_alphanumeric())
}

fn set(names: &[&str]) -> Names {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// All variants of an enum, by their names.
fn all<T: VariantArray + Into<&'static str> + Copy>() -> Names {
    let names = T::VARIANTS.iter().map(|variant| (*variant).into());
    names.map(str::to_owned).collect()
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
    hold("Reasons of Ready", &all::<Reason>());
}

#[test]
fn every_event_is_explained() {
    hold("Events", &all::<EventReason>());
}

#[test]
fn everything_that_is_audited_is_explained() {
    let page = std::fs::read_to_string(Path::new(ROOT).join("docs/audit.md")).unwrap();
    let (met, explained) = (all::<AuditEvent>(), named(&page));
    let missing: Vec<&String> = met.difference(&explained).collect();
    assert!(
        missing.is_empty(),
        "docs/audit.md doesn't explain {missing:?}"
    );
}

#[test]
fn every_phase_is_explained() {
    hold("Phases", &all::<Phase>());
}

#[test]
fn every_condition_and_every_reason_of_approved_is_explained() {
    let explained = named(&section("Conditions"));
    for type_ in CONDITION_TYPES.into_iter().chain(["NoSuchChangeWaits"]) {
        assert!(explained.contains(type_), "{type_}");
    }
    let (approved, explained) = (
        all::<ApprovedReason>(),
        named(&section("Reasons of Approved")),
    );
    let missing: Vec<&String> = approved.difference(&explained).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_state_of_a_change_is_explained() {
    let explained = named(&section("States of a change"));
    for state in ApprovalState::ALL {
        assert!(explained.contains(&format!("{state:?}")), "{state:?}");
    }
}

#[test]
fn every_reason_of_an_engine_is_explained() {
    let mut met = all::<EngineReason>();
    met.extend(all::<ErrorKind>());
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
            // The one of tokio may have options.
            let attributes = ["#[tokio::test", "#[test]"];
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
    for folder in [
        "tests/cluster",
        "tests/api",
        "tests/chart",
        "src",
        "gate/src",
        "guarded/src",
        "cli/src",
    ] {
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
        "a12_votes_by_the_plugin_do_not_pile_up_while_none_can_count",
        "a12_votes_from_before_the_policies_block_nothing_and_count_once_they_are_given_anew",
        "a12_where_nothing_writes_names_the_refusal_says_what_to_write",
        "a12_who_voted_before_the_policies_of_today_votes_again_by_rest",
        "a12_who_voted_before_the_policies_of_today_votes_again_by_the_plugin",
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

/// Pages with commands, and the test that types all of them, as `tests/cluster/tools/pages.rs` says. It names the page.
const TYPED: &[(&str, &str)] = &[
    (
        "README.md",
        "what_the_readme_and_the_pages_for_those_who_run_it_show_is_seen",
    ),
    (
        "docs/approving.md",
        "every_way_to_approve_works_as_its_page_shows",
    ),
    ("docs/argo-cd.md", "the_page_of_argo_cd_shows_what_is_seen"),
    (
        "docs/concepts.md",
        "what_the_page_of_the_concepts_shows_is_seen",
    ),
    (
        "docs/first-pipeline.md",
        "the_page_of_the_first_pipeline_leads_to_an_approved_change",
    ),
    (
        "docs/install.md",
        "what_the_pages_of_installation_removal_and_security_show_is_seen",
    ),
    (
        "docs/kubectl-sluice.md",
        "the_page_of_the_plugin_shows_what_is_seen",
    ),
    (
        "docs/operations.md",
        "what_the_readme_and_the_pages_for_those_who_run_it_show_is_seen",
    ),
    (
        "docs/rest.md",
        "what_the_readme_and_the_pages_for_those_who_run_it_show_is_seen",
    ),
    (
        "docs/security.md",
        "what_the_pages_of_installation_removal_and_security_show_is_seen",
    ),
    (
        "docs/troubleshooting.md",
        "the_symptoms_look_as_the_page_shows",
    ),
    (
        "docs/uninstall.md",
        "what_the_pages_of_installation_removal_and_security_show_is_seen",
    ),
    ("docs/upgrade.md", "what_the_page_of_upgrades_shows_is_seen"),
];

/// Blocks of commands (`sh`) that no test types: the page, how the block begins, and why.
const NOT_TYPED: &[(&str, &str, &str)] = &[
    (
        "README.md",
        "make demo",
        "runs for minutes; `.ci/run` types both",
    ),
    (
        "docs/status.md",
        "kubectl wait",
        "each is for another moment: tests/cluster/tools/waiting.rs has them",
    ),
    (
        "docs/flux.md",
        "kubectl annotate",
        "Flux has to be there: tests/flux/stories.rs writes it so",
    ),
    (
        "docs/kubectl-sluice.md",
        "kubectl sluice approve --lost",
        "an engine has to lose its pipelines first: tests/cluster/losses.rs types it",
    ),
    (
        "docs/install.md",
        "make image",
        "builds for minutes, and pushes",
    ),
    (
        "docs/install.md",
        "docker build",
        "needs a container engine",
    ),
    (
        "simulator/README.md",
        "feldera-sim --listen",
        "serves until it is ended: `StandIn` in tests/cluster starts it so",
    ),
    (
        "contract/README.md",
        "engine-contract --url",
        "needs an engine: contract/tests starts one",
    ),
    (
        "contract/README.md",
        "target/debug/feldera-sim",
        "in two terminals: contract/tests does the same",
    ),
    (
        "contract/README.md",
        "export ENGINE_CONTRACT_URL",
        "needs a real Feldera",
    ),
];

/// What a block may be that isn't commands. `text` is what programs say, and pictures.
const LANGUAGES: [&str; 7] = ["yaml", "sql", "json", "python", "text", "toml", "promql"];

/// A line that people would type.
fn looks_typed(line: &str) -> bool {
    let programs = [
        "$ ", "kubectl ", "helm ", "sluice ", "curl ", "make ", "cargo ", "docker ", "git ",
        "flux ", "argocd ", "target/",
    ];
    let line = line.trim_start_matches("sudo ");
    programs.iter().any(|program| line.starts_with(program))
}

/// All pages of the checkout.
fn pages(folder: &Path, pages: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            self::pages(&path, pages);
        } else if name.ends_with(".md") {
            pages.push(path);
        }
    }
}

/// The blocks of a page: what language each says it is, and its lines.
fn blocks(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut blocks = vec![];
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        // One that is quoted itself has four backticks.
        if let Some(language) = line.strip_prefix("```") {
            let block = lines.by_ref().take_while(|line| *line != "```");
            blocks.push((language, block.collect()));
        }
    }
    blocks
}

/// Every file of tests that has a test of this name.
fn files_with(test: &str, folder: &Path, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_with(test, &path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            if text.contains(&format!("fn {test}(")) {
                files.push(text);
            }
        }
    }
}

#[test]
fn every_command_of_the_documents_is_typed_by_a_test() {
    let root = Path::new(ROOT);
    let mut all = vec![];
    pages(root, &mut all);
    let mut typed = Names::new();
    let mut not_typed = BTreeSet::new();
    for path in all {
        let text = std::fs::read_to_string(&path).unwrap();
        let page = path.strip_prefix(root).unwrap().display().to_string();
        for (language, lines) in blocks(&text) {
            let first = lines.first().copied().unwrap_or_default();
            let exception = NOT_TYPED
                .iter()
                .find(|(of, begin, _)| *of == page && first.starts_with(begin));
            match language {
                "console" => drop(typed.insert(page.clone())),
                "sh" => assert!(
                    not_typed.insert(exception.unwrap_or_else(|| panic!(
                        "{page}: nobody types `{first}`: make it a block of `console`, or say in NOT_TYPED why not"
                    ))),
                    "{page}: two blocks begin with `{first}`"
                ),
                other => {
                    assert!(
                        LANGUAGES.contains(&other),
                        "{page}: a block begins with ```{other}; say `console` for commands, or one of {LANGUAGES:?}"
                    );
                    let command = lines.iter().find(|line| looks_typed(line));
                    // An example in YAML may be a script.
                    assert!(
                        other != "text" || command.is_none(),
                        "{page}: {command:?} looks like a command: make its block one of `console`"
                    );
                }
            }
        }
    }
    assert_eq!(
        not_typed.len(),
        NOT_TYPED.len(),
        "only these are there: {not_typed:?}"
    );
    let listed: Names = TYPED.iter().map(|(page, _)| (*page).to_owned()).collect();
    assert_eq!(
        typed, listed,
        "pages with commands, and those that TYPED names"
    );
    for (page, test) in TYPED {
        let mut files = vec![];
        files_with(test, &root.join("tests"), &mut files);
        assert!(
            files
                .iter()
                .any(|file| file.contains(&format!("\"{page}\""))),
            "no file of tests has {test} and names {page}"
        );
    }
}

#[test]
fn every_alert_is_explained_where_it_points_to() {
    let alerts = std::fs::read_to_string(Path::new(ROOT).join("charts/sluice/files/alerts.yaml"));
    let alerts = alerts.unwrap();
    let after = |key: &str| -> Vec<String> {
        let lines = alerts
            .lines()
            .map(|line| line.trim().trim_start_matches("- "));
        lines
            .filter_map(|line| Some(line.strip_prefix(key)?.trim().to_owned()))
            .collect()
    };
    let names: Names = after("alert:").into_iter().collect();
    assert!(names.len() > 10, "{names:?}");
    let page = std::fs::read_to_string(Path::new(ROOT).join("docs/operations.md")).unwrap();
    let section = page.split("\n## What each alert means\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let headings = section.lines().filter_map(|line| line.strip_prefix("### "));
    let explained: Names = headings.map(str::to_owned).collect();
    assert_eq!(
        names, explained,
        "alerts, and what docs/operations.md explains"
    );
    let pointed: Names = after("runbook:").into_iter().collect();
    let sections = names
        .iter()
        .map(|name| format!("docs/operations.md#{}", anchor(name)));
    assert_eq!(pointed, sections.collect(), "where the alerts point to");
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
    let mut documents = vec![];
    pages(Path::new(ROOT), &mut documents);
    for document in documents {
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

#[test]
fn every_setting_that_may_change_unasked_is_listed() {
    let page = std::fs::read_to_string(Path::new(ROOT).join("docs/gate.md")).expect("the page");
    let section = page
        .split_once("\n## Settings\n")
        .and_then(|(_, rest)| rest.split_once("\n## "))
        .expect("the section")
        .0;
    let listed: Names = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|row| row.split_once(" | "))
        .flat_map(|(settings, _)| settings.split(", "))
        .map(|setting| setting.trim_matches('`').to_owned())
        .collect();
    let known: Names = sluice::settings::UNASKED
        .iter()
        .map(|(setting, _)| (*setting).to_owned())
        .collect();
    assert_eq!(listed, known);
}
