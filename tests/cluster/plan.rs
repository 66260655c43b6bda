//! `kubectl sluice plan`, `diff` and `history` against an operator that acts on what was planned.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use sluice::crd::{ApprovalState, Door};

use super::plugin::plugin;
use sluice_test_support::cluster::said;
use sluice_test_support::story::{
    ORDERS, PROGRAM, Story, approval, changed, changed_otherwise, edited, eventually, extended,
    has, id, is_at, message, status,
};

/// A person with kubectl, the plugin and a folder of files.
struct Desk<'a> {
    story: &'a Story,
    folder: tempfile::TempDir,
}

impl<'a> Desk<'a> {
    fn of(story: &'a Story) -> Self {
        Self {
            story,
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// Writes a file, of JSON, which is YAML too.
    fn write(&self, name: &str, objects: &[Value]) -> String {
        let path = self.folder.path().join(name);
        let objects = objects.iter().map(|object| format!("{object:#}\n"));
        std::fs::write(&path, objects.collect::<Vec<_>>().join("---\n")).expect("a file");
        path.display().to_string()
    }

    async fn kubectl_as(&self, user: &str, arguments: &[&str], input: &str) -> Output {
        let plugins = plugin().await.parent().expect("a folder");
        let mut path = std::ffi::OsString::from(self.folder.path());
        for further in [
            plugins.as_os_str(),
            &std::env::var_os("PATH").unwrap_or_default(),
        ] {
            path.push(":");
            path.push(further);
        }
        let cluster = self.story.cluster();
        let mut command: Command = cluster.plane().kubectl(user).expect("a known user");
        command
            .env("PATH", path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let input = input.to_owned();
        tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().expect("kubectl can be started");
            let mut stdin = child.stdin.take().expect("a pipe");
            // Who doesn't read it may be gone before.
            let _ = stdin.write_all(input.as_bytes());
            drop(stdin);
            child.wait_with_output().expect("an end")
        })
        .await
        .expect("no panic")
    }

    /// Runs the plugin in the story's namespace.
    async fn sluice(&self, arguments: &[&str]) -> (i32, String) {
        let namespace: &str = &self.story.namespace;
        let all = [&["sluice"], arguments, &["-n", namespace]].concat();
        let output = self.kubectl_as("admin", &all, "").await;
        (output.status.code().expect("an exit status"), said(&output))
    }

    async fn plan(&self, files: &[&str]) -> (i32, Value) {
        let mut arguments = vec!["plan", "-o", "json"];
        for file in files {
            arguments.extend(["-f", file]);
        }
        let (status, text) = self.sluice(&arguments).await;
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
        (status, value["pipelines"][0].clone())
    }

    async fn apply(&self, file: &str) {
        let namespace: &str = &self.story.namespace;
        let arguments = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "-n",
            namespace,
            "-f",
            file,
        ];
        let output = self.kubectl_as("admin", &arguments, "").await;
        assert!(output.status.success(), "{}", said(&output));
    }
}

/// The Pipeline of the stories with another program, as a file would have it.
fn orders(program: Value, further: Value) -> Value {
    let mut spec = json!({"engineRef": {"name": "engine"}, "program": program});
    sluice_test_support::story::merge(&mut spec, &further);
    json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Pipeline",
        "metadata": {"name": ORDERS}, "spec": spec,
    })
}

#[tokio::test]
async fn a_plan_names_the_change_that_is_published_once_it_is_applied() {
    let story = Story::begin().await;
    story.running().await;
    let desk = Desk::of(&story);
    // Every part of the program, and numbers as people write them.
    let program = json!({
        "sql": changed(), "udfRust": "// none\n", "udfToml": "# none\n",
        "config": {"profile": "dev", "cache": true},
    });
    let file = desk.write("orders.yaml", &[orders(program, json!({}))]);
    let (status, planned) = desk.plan(&[&file]).await;
    assert_eq!(
        (status, &planned["verdict"]),
        (3, &json!("NeedsApproval")),
        "{planned}"
    );
    assert_eq!(
        planned["changed"],
        json!(["sql", "udfRust", "udfToml", "config"])
    );
    let shown = planned["program"][0]["diff"]
        .as_str()
        .expect("a diff")
        .to_owned();
    assert!(shown.contains("+CREATE VIEW totals"), "{shown}");

    desk.apply(&file).await;
    let waiting = story.until_waiting().await;
    assert_eq!(planned["changeId"], id(&waiting).as_str());
    assert_eq!(approval(&waiting).revision, 0);
    // Applied already, it is still the same change.
    let (status, again) = desk.plan(&[&file]).await;
    assert_eq!((status, &again["changeId"]), (3, &planned["changeId"]));
    assert_eq!(again["notes"][0], "it is applied already, and waits");
}

#[tokio::test]
async fn a_plan_reads_yaml_as_kubectl_does() {
    let story = Story::begin().await;
    story.running().await;
    let desk = Desk::of(&story);
    let indented = changed().replace('\n', "\n      ");
    let yaml = format!(
        "\
# A comment.
apiVersion: sluice.dev/v1alpha1
kind: Pipeline
metadata:
  name: {ORDERS}
spec:
  engineRef: {{name: engine}}
  runtimeConfig: {{workers: 010, min_batch_size_records: 1_000, max_buffering_delay_usecs: 1.0}}
  program:
    config: {{profile: dev, cache: yes}}
    sql: |
      {indented}
---
"
    );
    let path = desk.folder.path().join("orders.yaml");
    std::fs::write(&path, yaml).expect("a file");
    let file = path.display().to_string();
    let (_, planned) = desk.plan(&[&file]).await;
    // `010`, `yes` and the like are what kubectl takes them for.
    let namespace: &str = &story.namespace;
    let arguments = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "-n",
        namespace,
        "-f",
        &file,
    ];
    let output = desk.kubectl_as("admin", &arguments, "").await;
    assert!(output.status.success(), "{}", said(&output));
    let waiting = story.until_waiting().await;
    assert_eq!(planned["changeId"], id(&waiting).as_str(), "{planned}");
}

#[tokio::test]
async fn a1_a_planned_id_in_the_same_commit_approves_the_change() {
    let story = Story::begin().await;
    story.running().await;
    let desk = Desk::of(&story);
    let file = desk.write(
        "orders.yaml",
        &[orders(json!({"sql": changed()}), json!({}))],
    );
    let (_, planned) = desk.plan(&[&file]).await;
    let change = planned["changeId"].as_str().expect("an id").to_owned();

    let approved = orders(json!({"sql": changed()}), json!({"approvedChange": change}));
    let file = desk.write("orders.yaml", &[approved]);
    let (status, planned) = desk.plan(&[&file]).await;
    assert_eq!(
        (status, &planned["verdict"]),
        (0, &json!("Approved")),
        "{planned}"
    );
    desk.apply(&file).await;
    let sealed = story.until_sealed().await;
    assert_eq!(id(&sealed), change);
    let decision = approval(&sealed).decision.expect("a decision");
    assert_eq!(decision.via, Door::Field);
    assert_eq!(story.engine.bootstraps().await.len(), 1);

    // Spent, it stands there on, and nothing is to be approved.
    let (status, planned) = desk.plan(&[&file]).await;
    assert_eq!(
        (status, &planned["verdict"]),
        (0, &json!("Unchanged")),
        "{planned}"
    );
    let (status, text) = desk.sluice(&["history", ORDERS]).await;
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("Approved, Sealed"), "{text}");
    assert!(text.contains("modifies view totals"), "{text}");
    let (_, text) = desk
        .sluice(&["history", ORDERS, "--change", &change[..8]])
        .await;
    assert!(text.contains("~ view totals"), "{text}");
    assert!(text.contains("Changed    sql"), "{text}");
    let (_, text) = desk.sluice(&["history", ORDERS, "-o", "yaml"]).await;
    let value: Value = serde_saphyr::from_str(&text).expect("YAML");
    assert_eq!(value["decisions"][0]["changeId"], change.as_str());
}

#[tokio::test]
async fn config_maps_of_the_files_come_before_those_of_the_cluster_and_are_kept_nowhere() {
    let story = Story::begin().await;
    story.config_map("code", json!({"sql": PROGRAM})).await;
    let from = json!({"sqlFrom": {"configMapKeyRef": {"name": "code", "key": "sql"}}});
    story
        .running_with(json!({"program": {"sql": null, "sqlFrom": from["sqlFrom"]}}))
        .await;
    let desk = Desk::of(&story);
    let pipeline = desk.write("orders.yaml", &[orders(from, json!({}))]);
    let (status, planned) = desk.plan(&[&pipeline]).await;
    assert_eq!(
        (status, &planned["verdict"]),
        (0, &json!("Unchanged")),
        "{planned}"
    );

    let code = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"},
        "data": {"sql": changed()},
    });
    let code = desk.write("code.yaml", &[code]);
    let folder = desk.folder.path().display().to_string();
    let (status, planned) = desk.plan(&[&folder]).await;
    assert_eq!(status, 3, "{planned}");
    // The old text is what the cluster's ConfigMap still has.
    let shown = planned["program"][0]["diff"].as_str().expect("a diff");
    assert!(shown.contains("+CREATE VIEW totals"), "{shown}");

    desk.apply(&code).await;
    let waiting = story.until_waiting().await;
    assert_eq!(planned["changeId"], id(&waiting).as_str());
    let (_, text) = desk.sluice(&["diff", ORDERS]).await;
    assert!(
        text.contains(
            "SQL program differs, and can't be shown: the settled program: it came from a ConfigMap"
        ),
        "{text}"
    );
    let stored = serde_json::to_string(&waiting.status).expect("JSON");
    assert!(!stored.contains("CREATE"), "{stored}");
    let kept = sluice_test_support::story::status(&waiting)
        .settled
        .expect("settled")
        .program
        .expect("kept");
    assert_eq!(kept.sql, None);
    assert_eq!(kept.omitted.len(), 1);

    // What is in neither place is named.
    let api = story.api::<ConfigMap>();
    let empty = json!({"data": null});
    let patched = api
        .patch("code", &PatchParams::default(), &Patch::Merge(&empty))
        .await;
    patched.expect("the change");
    let (status, text) = desk.sluice(&["plan", "-f", &pipeline]).await;
    assert_eq!(status, 1, "{text}");
    assert!(
        text.contains("key \"sql\" of ConfigMap code, which has []"),
        "{text}"
    );
}

#[tokio::test]
async fn diff_shows_how_the_sql_differs_from_what_is_settled() {
    let story = Story::begin().await;
    let waiting = story.waiting().await;
    let desk = Desk::of(&story);
    let (status, text) = desk.sluice(&["diff", ORDERS]).await;
    assert_eq!(status, 0, "{text}");
    for part in [
        "~ view totals",
        "SQL program (1 line added, 1 removed)",
        "AS SELECT id, amount + 1 AS amount FROM orders;",
    ] {
        assert!(text.contains(part), "{part} isn't in: {text}");
    }
    assert!(
        !text.contains('\u{1b}'),
        "coloured only on a terminal: {text:?}"
    );
    let (_, json) = desk.sluice(&["diff", ORDERS, "-o", "json"]).await;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["change"]["changeId"], id(&waiting).as_str());
    assert_eq!(json["program"][0]["part"], "sql");
    // What the spec asks for by now is not what waits.
    let (_, yaml) = desk.sluice(&["list", "-o", "yaml"]).await;
    let yaml: Value = serde_saphyr::from_str(&yaml).expect("YAML");
    assert_eq!(yaml[0]["changeId"], id(&waiting).as_str());
}

#[tokio::test]
async fn a_plan_says_what_there_is_to_say_of_everything_else() {
    let story = Story::begin().await;
    let desk = Desk::of(&story);
    let file = desk.write("orders.yaml", &[orders(json!({"sql": PROGRAM}), json!({}))]);
    // New.
    let (status, planned) = desk.plan(&[&file]).await;
    assert_eq!(
        (status, &planned["verdict"]),
        (0, &json!("New")),
        "{planned}"
    );
    story.running().await;
    // From standard input, the way of kustomize.
    let namespace: &str = &story.namespace;
    let arguments = ["sluice", "plan", "-f", "-", "-n", namespace];
    let input = orders(json!({"sql": extended()}), json!({})).to_string();
    let output = desk.kubectl_as("admin", &arguments, &input).await;
    let text = said(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("the change needs approval"), "{text}");
    assert!(text.contains("+CREATE VIEW extra"), "{text}");
    // What the API server would refuse.
    let moved = orders(
        json!({"sql": PROGRAM}),
        json!({"engineRef": {"name": "other"}}),
    );
    let file = desk.write("moved.yaml", &[moved]);
    let (status, text) = desk.sluice(&["plan", "-f", &file]).await;
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("engineRef can't change"), "{text}");
    // One that is wrong hides no other.
    let wrong = orders(json!({"sql": PROGRAM}), json!({"aproved": true}));
    let right = orders(json!({"sql": extended()}), json!({}));
    let file = desk.write("both.yaml", &[wrong, right]);
    let (status, text) = desk.sluice(&["plan", "-f", &file]).await;
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("unknown field spec.aproved"), "{text}");
    assert!(text.contains("+CREATE VIEW extra"), "{text}");
    // Nothing to plan, and wrong use.
    let file = desk.write(
        "none.yaml",
        &[json!({"apiVersion": "v1", "kind": "Namespace"})],
    );
    let (status, text) = desk.sluice(&["plan", "-f", &file]).await;
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("there is no Pipeline in"), "{text}");
    let (status, text) = desk.sluice(&["plan"]).await;
    assert_eq!(status, 2, "{text}");

    // A check may be run by somebody who may only look.
    let cluster = story.cluster();
    cluster.grant(namespace, "carol", "sluice-viewer").await;
    let file = desk.write(
        "orders.yaml",
        &[orders(json!({"sql": changed()}), json!({}))],
    );
    let arguments = ["sluice", "plan", "-f", &file, "-n", namespace];
    eventually("carol may look", || async {
        let output = desk.kubectl_as("carol", &arguments, "").await;
        let text = said(&output);
        let shown = text.contains("the API server didn't look at the file")
            && text.contains("To approve it in the same commit");
        (output.status.code() == Some(3) && shown)
            .then_some(())
            .ok_or(text)
    })
    .await;
    assert!(status_is_untouched(&story).await);
}

/// A plan stores nothing.
async fn status_is_untouched(story: &Story) -> bool {
    let now = story.now().await;
    status(&now).approval.is_none()
        && now.spec.program.and_then(|p| p.sql).as_deref() == Some(PROGRAM)
}

#[tokio::test]
async fn kubectl_completes_the_names_of_what_waits() {
    let story = Story::begin().await;
    story.waiting().await;
    let desk = Desk::of(&story);
    // As it is installed.
    let link = desk.folder.path().join("kubectl_complete-sluice");
    std::os::unix::fs::symlink(plugin().await, &link).expect("a link");
    let namespace: &str = &story.namespace;
    for (typed, expected) in [
        (vec!["__complete", "sluice", "app"], "approve\t"),
        (
            vec!["__complete", "sluice", "-n", namespace, "diff", ""],
            "orders\tmodifies view totals",
        ),
        (
            vec!["__complete", "sluice", "-n", namespace, "history", "or"],
            "orders\tAwaitingApproval",
        ),
    ] {
        // Where the API server takes its time, nothing is offered.
        eventually(expected, || async {
            let text = said(&desk.kubectl_as("admin", &typed, "").await);
            let offered = text.lines().any(|line| line.starts_with(expected));
            offered.then_some(()).ok_or(text)
        })
        .await;
    }
    let script = desk.sluice(&["completion", "bash"]).await.1;
    let path = desk.folder.path().join("completion.bash");
    std::fs::write(&path, script).expect("a file");
    assert!(is_valid_bash(&path));
}

fn is_valid_bash(path: &Path) -> bool {
    let checked = Command::new("bash").arg("-n").arg(path).status();
    checked.is_ok_and(|status| status.success())
}

#[tokio::test]
async fn a_rejected_change_and_a_change_of_what_is_not_settled_yet() {
    let story = Story::begin().await;
    let waiting = story.waiting().await;
    let desk = Desk::of(&story);
    let (status, text) = desk
        .sluice(&[
            "reject",
            ORDERS,
            "--change",
            &id(&waiting),
            "--reason",
            "too early",
        ])
        .await;
    assert_eq!(status, 0, "{text}");
    story.until_rejected().await;
    let file = desk.write(
        "orders.yaml",
        &[orders(json!({"sql": changed()}), json!({}))],
    );
    let (status, planned) = desk.plan(&[&file]).await;
    assert_eq!(
        (status, &planned["verdict"]),
        (3, &json!("Rejected")),
        "{planned}"
    );
    assert_eq!(planned["why"], "admin: too early");
    let other = edited("SELECT id FROM notes", "SELECT id + 1 AS id FROM notes");
    let file = desk.write("orders.yaml", &[orders(json!({"sql": other}), json!({}))]);
    let (_, planned) = desk.plan(&[&file]).await;
    desk.apply(&file).await;
    let next = story.until_waiting().await;
    assert_eq!(planned["changeId"], id(&next).as_str());
    assert_eq!(approval(&next).state, ApprovalState::Awaiting);
}

#[tokio::test]
async fn a6_a_plan_after_a_change_ran_and_failed_unkept_is_one_of_what_was_before_it() {
    let story = Story::begin().await;
    let waiting = story.waiting().await;
    let change = id(&waiting);
    let desk = Desk::of(&story);
    let same = orders(json!({"sql": changed()}), json!({"approvedChange": change}));
    let same = desk.write("same.yaml", &[same]);
    let corrected = |further| orders(json!({"sql": changed_otherwise()}), further);
    let other = desk.write("other.yaml", &[corrected(json!({}))]);

    // No checkpoint of it is ever written.
    story.engine.fault("error", "503@/checkpoint").await;
    story.approve(&change).await;
    story.until_state(ApprovalState::Applied).await;
    let (code, planned) = desk.plan(&[&same]).await;
    assert_eq!(
        (code, &planned["verdict"]),
        (0, &json!("Approved")),
        "{planned}"
    );
    let (_, planned) = desk.plan(&[&other]).await;
    assert_eq!(planned["parent"], change.as_str(), "{planned}");

    let fail = format!("/pipelines/{ORDERS}/fail");
    let why = json!({"message": "no such topic"});
    story.engine.sim("POST", &fail, why).await;
    story
        .until("applying it has failed", |p| {
            is_at(p, ApprovalState::ApplyFailed) && has(p, "Stalled", "True", "ApplyFailed")
        })
        .await;
    let (code, planned) = desk.plan(&[&same]).await;
    assert_eq!(
        (code, &planned["verdict"]),
        (3, &json!("ApplyFailed")),
        "{planned}"
    );
    assert_eq!(planned["changeId"], change.as_str());
    let why = planned["why"].as_str().expect("why");
    assert!(why.contains("no such topic"), "{planned}");
    let said = planned["notes"].to_string();
    assert!(!said.contains("takes back"), "{said}");

    // Corrected and approved in one commit, by the id that was planned.
    let (code, planned) = desk.plan(&[&other]).await;
    assert_eq!(code, 3, "{planned}");
    assert_eq!(planned["parent"], approval(&waiting).parent.as_str());
    let next = planned["changeId"].as_str().expect("an id").to_owned();
    story.engine.no_faults().await;
    let file = desk.write("orders.yaml", &[corrected(json!({"approvedChange": next}))]);
    desk.apply(&file).await;
    let sealed = story.until_sealed().await;
    assert_eq!(id(&sealed), next);
    assert_eq!(
        approval(&sealed).decision.expect("a decision").via,
        Door::Field
    );
    // What approved the change before is stale by then, and this isn't.
    let stale = story.events("StaleApproval").await;
    let is_this = |note: &String| note.contains("spec.approvedChange");
    let stale: Vec<_> = stale.into_iter().filter_map(|it| it.note).collect();
    assert!(!stale.iter().any(is_this), "{stale:?}");
}

#[tokio::test]
async fn a19_a_plan_says_that_nothing_is_applied_where_the_name_is_somebody_elses() {
    let story = Story::begin().await;
    let theirs = json!({"name": ORDERS, "program_code": changed()});
    story.engine.by_hand("POST", "/pipelines", theirs).await;
    story.create(ORDERS, json!({})).await;
    let taken = story.until_ready("False", "NameTaken").await;
    let desk = Desk::of(&story);
    for sql in [PROGRAM.to_owned(), extended()] {
        let file = desk.write("orders.yaml", &[orders(json!({"sql": sql}), json!({}))]);
        let (code, planned) = desk.plan(&[&file]).await;
        assert_eq!(
            (code, &planned["verdict"]),
            (3, &json!("NotApplied")),
            "{planned}"
        );
        assert_eq!(planned["why"], message(&taken, "Ready").as_str());
        assert_eq!(planned["needsApproval"], false);
    }
    // A file that takes it over may do more.
    let mut adopts = orders(json!({"sql": PROGRAM}), json!({}));
    adopts["metadata"]["annotations"] = json!({"sluice.dev/adopt": ORDERS});
    let file = desk.write("orders.yaml", &[adopts]);
    let (code, planned) = desk.plan(&[&file]).await;
    assert_eq!(
        (code, &planned["verdict"]),
        (0, &json!("NothingSettled")),
        "{planned}"
    );
}

#[tokio::test]
async fn a9_a_change_of_settings_alone_says_that_the_program_stays() {
    let story = Story::begin().await;
    story.running().await;
    let desk = Desk::of(&story);
    let with = |config: Value| orders(json!({"sql": PROGRAM}), json!({"runtimeConfig": config}));
    let off = desk.write("off.yaml", &[with(json!({"storage": false}))]);
    let (code, planned) = desk.plan(&[&off]).await;
    assert_eq!(code, 3, "{planned}");
    let said = planned["notes"].to_string();
    assert!(
        said.contains("all that the pipeline has computed is lost"),
        "{said}"
    );

    let file = desk.write("orders.yaml", &[with(json!({"env": {"LEVEL": "1"}}))]);
    let (_, planned) = desk.plan(&[&file]).await;
    desk.apply(&file).await;
    let waiting = story.until_waiting().await;
    assert_eq!(planned["changeId"], id(&waiting).as_str(), "{planned}");
    let (code, text) = desk.sluice(&["diff", ORDERS]).await;
    assert_eq!(code, 0, "{text}");
    for part in [
        "Program    stays as it is; only runtime settings differ",
        "What changes:\n  runtime settings; no table, view or connector",
        "LEVEL",
    ] {
        assert!(text.contains(part), "{part} isn't in: {text}");
    }
    assert!(
        !text.contains("anything may have changed") && !text.contains("Bootstrap"),
        "{text}"
    );
}

#[tokio::test]
async fn a9_what_others_have_set_at_the_engine_is_named_before_the_change_and_while_it_waits() {
    let story = Story::begin().await;
    story
        .running_with(json!({"runtimeConfig": {"workers": 2}}))
        .await;
    story
        .patch(json!({"spec": {"desiredState": "stopped"}}))
        .await;
    story.until_phase("Stopped").await;
    let path = format!("/pipelines/{ORDERS}");
    let theirs = json!({"runtime_config": {"workers": 2, "dev_tweaks": {"evil": 1}}});
    story.engine.by_hand("PATCH", &path, theirs).await;
    story.until_event("OutsideEdit").await;

    let desk = Desk::of(&story);
    let with = |config: Value| orders(json!({"sql": PROGRAM}), json!({"runtimeConfig": config}));
    let same = desk.write("same.yaml", &[with(json!({"workers": 2}))]);
    let (code, text) = desk.sluice(&["plan", "-f", &same]).await;
    assert_eq!(code, 3, "{text}");
    for part in [
        "only what somebody has set at the engine changes",
        "the runtime settings dev_tweaks\n",
        "spec.runtimeConfig.dev_tweaks\n",
    ] {
        assert!(text.contains(part), "{part} isn't in: {text}");
    }
    let edited = json!({"workers": 2, "env": {"LEVEL": "1"}});
    let file = desk.write("orders.yaml", &[with(edited)]);
    let (_, planned) = desk.plan(&[&file]).await;
    let part = &planned["program"][0];
    assert_eq!(part["settings"], json!(["dev_tweaks", "env"]), "{planned}");
    assert_eq!(part["setAtTheEngine"], json!(["dev_tweaks"]), "{planned}");
    desk.apply(&file).await;
    story
        .patch(json!({"spec": {"desiredState": "running"}}))
        .await;
    let planned_id = planned["changeId"].as_str().expect("an id");
    let waiting = story
        .until("the change waits that was planned", |pipeline| {
            is_at(pipeline, ApprovalState::Awaiting) && id(pipeline) == planned_id
        })
        .await;
    assert_eq!(
        approval(&waiting).summary,
        "changes the runtime settings dev_tweaks, env"
    );
    let (_, text) = desk.sluice(&["diff", ORDERS]).await;
    assert!(text.contains("\"LEVEL\": \"1\""), "{text}");
    assert!(text.contains("not whole: dev_tweaks."), "{text}");
    assert!(!text.contains("by now") && !text.contains("evil"), "{text}");
}
