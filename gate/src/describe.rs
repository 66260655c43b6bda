//! A change in words, for whoever has to decide.

use crate::change::differences;
use crate::crd::{Approval, BaseCheckpoint, BootstrapOptions, Gate, Pipeline, Settled, Target};
use crate::engine::diff::{CUT, all_left_out};
use crate::lineage;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Map, Value};

use crate::age::age;
use crate::printable::{one_line, printable};

/// Everything that is known of a change before it is decided.
pub fn describe(pipeline: &Pipeline, change: &Approval, now: Timestamp) -> String {
    let namespace = pipeline.namespace().unwrap_or_default();
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    line(format!(
        "Pipeline   {} in namespace {namespace}",
        pipeline.name_any()
    ));
    line(format!("Change     {}", one_line(&change.change_id)));
    line(format!("Summary    {}", one_line(&change.summary)));
    line(format!(
        "Waiting    since {} ({})",
        change.since.0.strftime("%Y-%m-%d %H:%M:%S UTC"),
        age(change.since.0, now)
    ));
    let is_lost = makes_anew(pipeline, change);
    let resumes = if is_lost {
        "from nothing: the pipeline is gone from its engine, and is made anew".to_owned()
    } else if change.target.without_storage {
        "from nothing: without storage no checkpoint is read".to_owned()
    } else if begins_from_nothing(pipeline, change) {
        "from nothing: the state that the pipeline had is gone from its engine".to_owned()
    } else {
        format!("from {}", base(change.base.as_ref()))
    };
    line(format!("Resumes    {resumes}"));
    if alters_settings_only(pipeline, change) {
        line("Program    stays as it is; only runtime settings differ".into());
    } else {
        if !is_lost && !begins_from_nothing(pipeline, change) {
            line(format!("Bootstrap  {}", options(change.options)));
        }
        if let Some(before) = before(pipeline, change) {
            let changed = changed(before, &change.target, &[]);
            if !changed.is_empty() {
                line(format!("Program    differs in {}", changed.join("; ")));
            }
        }
    }
    if change.revision > 0 {
        line(
            "Asked      again: the diff, or what approving does, is another than when it was asked first".into(),
        );
    }
    line("\nWhat changes:".into());
    if alters_settings_only(pipeline, change) {
        line("  runtime settings; no table, view or connector".into());
    } else if is_lost || begins_from_nothing(pipeline, change) {
        line("  all: every table and view is empty at first".into());
    } else {
        for item in changes(change.diff.as_ref()) {
            line(format!("  {item}"));
        }
    }
    line("\nWhat approving does:".into());
    for item in stake(change, is_to_be_stopped(pipeline, change)) {
        line(format!("  {item}"));
    }
    text
}

/// Whether the change makes a pipeline anew that is gone from its engine.
pub fn makes_anew(pipeline: &Pipeline, change: &Approval) -> bool {
    let status = pipeline.status.as_ref();
    let lost = status.and_then(|status| status.lost.as_ref());
    lost.is_some_and(|lost| lost.link.as_ref() == Some(&change.parent))
}

/// Whether the state that the pipeline had is gone from its engine, so that the change begins from nothing.
fn begins_from_nothing(pipeline: &Pipeline, change: &Approval) -> bool {
    let status = pipeline.status.as_ref();
    let is_gone = status.is_some_and(|it| it.emptied.is_some() || it.made_anew.is_some());
    let stake = change.at_stake.as_ref();
    is_gone && change.base.is_none() && stake.is_some_and(|stake| stake.state_lost)
}

/// What the change takes the place of, if that is known.
pub fn before<'a>(pipeline: &'a Pipeline, change: &Approval) -> Option<&'a Target> {
    let status = pipeline.status.as_ref()?;
    if makes_anew(pipeline, change) {
        return lineage::what_has_run(status);
    }
    if begins_from_nothing(pipeline, change) {
        return status.emptied.as_ref()?.ran.as_ref();
    }
    let settled = settled_before(pipeline, change);
    let known = settled.filter(|settled| settled.is_known());
    known.map(|settled| &settled.target)
}

/// What is settled, if the change follows it, or takes the place of what is lost.
fn settled_before<'a>(pipeline: &'a Pipeline, change: &Approval) -> Option<&'a Settled> {
    let settled = pipeline.status.as_ref()?.settled.as_ref();
    let is_lost = makes_anew(pipeline, change);
    settled.filter(|settled| is_lost || settled.change_id == change.parent)
}

/// Whether the program is known to stay what the checkpoint was made from, so that the engine has nothing to compare,
/// and is asked for no diff.
fn alters_settings_only(pipeline: &Pipeline, change: &Approval) -> bool {
    let settled = settled_before(pipeline, change);
    change.diff.is_none()
        && !makes_anew(pipeline, change)
        && settled.is_some_and(|settled| {
            settled.checkpoint.is_some()
                && settled.target.without_settings() == change.target.without_settings()
        })
}

/// The commands that decide this very change.
pub fn commands(pipeline: &str, namespace: &str, context: Option<&str>, change: &str) -> String {
    let context = context
        .map(|name| format!(" --context {name}"))
        .unwrap_or_default();
    let tail = format!(
        "{pipeline} -n {namespace}{context} --change {}",
        one_line(change)
    );
    format!(
        "\
To approve it:  kubectl sluice approve {tail}
To reject it:   kubectl sluice reject {tail} --reason '…'
"
    )
}

fn base(base: Option<&BaseCheckpoint>) -> String {
    match base {
        None => "a checkpoint that isn't known".into(),
        Some(BaseCheckpoint {
            uuid,
            sequence_number,
            ..
        }) => match (sequence_number, uuid) {
            (Some(number), Some(uuid)) => format!("checkpoint {number} ({})", one_line(uuid)),
            (Some(number), None) => format!("checkpoint {number}"),
            (None, Some(uuid)) => format!("checkpoint {}", one_line(uuid)),
            (None, None) => "a checkpoint that isn't known".into(),
        },
    }
}

fn options(options: BootstrapOptions) -> &'static str {
    match (options.silent, options.concurrent) {
        (false, false) => "the pipeline does nothing else meanwhile; the output goes to the sinks",
        (true, false) => {
            "silent: the pipeline does nothing else meanwhile; no output goes to the sinks"
        }
        (false, true) => {
            "concurrent: the unchanged part goes on meanwhile; the output goes to the sinks"
        }
        (true, true) => "silent and concurrent, which the engine won't do",
    }
}

/// The signs and words for the lists of the engine's diff. The order is that in which they are shown.
const LISTS: [(&str, &str, &str); 12] = [
    ("added_tables", "+", "table"),
    ("modified_tables", "~", "table"),
    ("removed_tables", "-", "table"),
    ("added_views", "+", "view"),
    ("modified_views", "~", "view"),
    ("removed_views", "-", "view"),
    ("added_input_connectors", "+", "input connector"),
    ("modified_input_connectors", "~", "input connector"),
    ("removed_input_connectors", "-", "input connector"),
    ("added_output_connectors", "+", "output connector"),
    ("modified_output_connectors", "~", "output connector"),
    ("removed_output_connectors", "-", "output connector"),
];

/// The engine's diff, one item a line. What isn't understood is shown as it is, never left out:
/// nobody should approve what wasn't shown.
pub fn changes(diff: Option<&Map<String, Value>>) -> Vec<String> {
    let Some(diff) = diff else {
        return vec!["! the engine gave no diff: anything may have changed".into()];
    };
    // The program's part lies one level deeper.
    let program = diff.get("program_diff");
    let mut fields: Map<String, Value> = diff
        .iter()
        .filter(|(key, _)| *key != "program_diff" && *key != CUT)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    match program {
        Some(Value::Object(program)) => fields.extend(program.clone()),
        Some(Value::Null) | None => {}
        Some(other) => {
            fields.insert("program_diff".into(), other.clone());
        }
    }
    let mut lines = Vec::new();
    if program.is_none_or(Value::is_null) {
        let why = match fields.remove("program_diff_error") {
            Some(Value::String(why)) => format!(": {}", one_line(&why)),
            Some(Value::Null) | None => String::new(),
            Some(other) => format!(": {}", one_line(&other.to_string())),
        };
        lines.push(format!(
            "! the engine can't tell what changes in tables and views{why}"
        ));
    }
    for (key, sign, word) in LISTS {
        match fields.remove(key) {
            Some(Value::Array(names)) => lines.extend(names.iter().map(|name| {
                let name = name
                    .as_str()
                    .map_or_else(|| name.to_string(), str::to_owned);
                format!("{sign} {word} {}", one_line(&name))
            })),
            Some(Value::Null) | None => {}
            Some(other) => lines.push(format!("! {key}: {}", one_line(&other.to_string()))),
        }
    }
    for (key, value) in fields {
        if !is_empty(&value) {
            lines.push(format!(
                "! {}: {}",
                one_line(&key),
                one_line(&value.to_string())
            ));
        }
    }
    for (path, count) in all_left_out(diff) {
        let key = path.rsplit('.').next().unwrap_or_default();
        let known = LISTS.iter().find(|(list, ..)| *list == key);
        lines.push(match known {
            Some((_, sign, word)) => {
                format!("{sign} {count} more of the kind {word}: too many to be kept")
            }
            None => format!("! {}: {count} more: too many to be kept", one_line(&path)),
        });
    }
    if lines.is_empty() {
        lines.push("nothing that the engine names".into());
    }
    lines
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Whether what runs is stopped for the change once it is approved.
fn is_to_be_stopped(pipeline: &Pipeline, change: &Approval) -> bool {
    let status = pipeline.status.as_ref();
    let engine = status.and_then(|status| status.engine.as_ref());
    let deployment = engine.and_then(|engine| engine.deployment_status.as_deref());
    change.gate == Gate::Sluice && deployment != Some("Stopped")
}

/// What approving destroys or repeats. What isn't known is said to be unknown, never left out.
fn stake(change: &Approval, is_to_be_stopped: bool) -> Vec<String> {
    let Some(stake) = &change.at_stake else {
        return vec!["unknown: Sluice could not find out what it destroys or repeats".into()];
    };
    let names = |what: &str, names: &Option<Vec<String>>| match names {
        Some(names) if names.is_empty() => format!("{what}: none"),
        Some(names) => {
            let names: Vec<String> = names.iter().map(|name| one_line(name)).collect();
            format!("{what}: {}", names.join(", "))
        }
        None => format!("{what}: unknown"),
    };
    let mut lines = vec![];
    if stake.state_lost {
        lines.push("all that the pipeline has computed is lost".into());
    }
    lines.extend([
        names(
            "tables that are emptied, and that nothing fills again",
            &stake.tables_lost,
        ),
        names(
            "tables that are emptied, and read again from their connectors",
            &stake.tables_refilled,
        ),
        names(
            "sinks that get the whole of their view again",
            &stake.sinks_repeated,
        ),
        format!(
            "input since the checkpoint that is dropped: {}{}",
            one_line(&stake.dropped_input),
            match is_to_be_stopped && stake.drops_no_input() {
                true => ", if the stop for it writes a checkpoint; otherwise it isn't made, and is asked about anew",
                false => "",
            }
        ),
    ]);
    lines.extend(
        stake
            .unknown
            .iter()
            .map(|why| format!("not known: {}", printable(why).replace('\n', "\n    "))),
    );
    lines
}

/// What of the program differs, in words. `settings` are the names of the settings that do, as far as they are known.
pub fn changed(before: &Target, after: &Target, settings: &[String]) -> Vec<String> {
    let words = |part: &str| match part {
        "sql" => "SQL".to_owned(),
        "udfRust" => "Rust of the user-defined functions".to_owned(),
        "udfToml" => "Cargo dependencies of the user-defined functions".to_owned(),
        "config" => "program configuration".to_owned(),
        "settings" if settings.is_empty() => "runtime settings".to_owned(),
        // All of them: the operator's summary counts what it has no room for.
        "settings" => format!("the runtime settings {}", one_line(&settings.join(", "))),
        "runtimeVersion" => format!(
            "runtime version ({} → {})",
            version(&before.runtime_version),
            version(&after.runtime_version)
        ),
        other => other.to_owned(),
    };
    differences(before, after).into_iter().map(words).collect()
}

fn version(version: &str) -> String {
    match version {
        "" => "the engine's own".into(),
        version => one_line(version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::AtStake;
    use serde_json::json;

    const CHANGE: &str = "0123456789abcdef0123456789abcdef";

    /// A Pipeline whose last change is in this state.
    fn pipeline(state: &str) -> Pipeline {
        let target = json!({"sql": "a", "udfRust": "b", "udfToml": "c", "config": "d"});
        serde_json::from_value(json!({
            "apiVersion": "sluice.dev/v1alpha1",
            "kind": "Pipeline",
            "metadata": {"name": "orders", "namespace": "shop", "uid": "u"},
            "spec": {"program": {"sql": ""}},
            "status": {
                "phase": "AwaitingApproval",
                "approval": {
                    "state": state,
                    "changeId": CHANGE,
                    "shortId": "01234567",
                    "parent": "root",
                    "target": target,
                    "options": {"silent": false, "concurrent": false},
                    "revision": 0,
                    "since": "2026-01-01T00:00:00Z",
                    "summary": "1 view added",
                    "diffDigest": "0".repeat(64),
                    "approveCommand": "",
                    "approvedFieldCounts": true,
                },
            },
        }))
        .unwrap()
    }

    fn waiting(pipeline: &Pipeline) -> Option<&Approval> {
        pipeline.status.as_ref()?.approval.as_ref()
    }

    fn lines(diff: Value) -> Vec<String> {
        changes(diff.as_object())
    }

    #[test]
    fn a_diff_in_words() {
        let diff = json!({
            "program_diff": {
                "added_tables": [], "removed_tables": ["old"], "modified_tables": ["grades"],
                "added_views": ["avg_grade_all"], "removed_views": [], "modified_views": ["avg_grade", "enriched"]
            },
            "program_diff_error": null,
            "added_input_connectors": ["students.new"], "modified_input_connectors": ["grades.gen"], "removed_input_connectors": [],
            "added_output_connectors": [], "modified_output_connectors": [], "removed_output_connectors": ["avg_grade.kafka"]
        });
        assert_eq!(
            lines(diff),
            [
                "~ table grades",
                "- table old",
                "+ view avg_grade_all",
                "~ view avg_grade",
                "~ view enriched",
                "+ input connector students.new",
                "~ input connector grades.gen",
                "- output connector avg_grade.kafka",
            ]
        );
    }

    #[test]
    fn what_is_not_known_is_said() {
        assert_eq!(
            lines(json!({"program_diff": null, "program_diff_error": "no program\ninformation"})),
            ["! the engine can't tell what changes in tables and views: no program information"]
        );
        assert_eq!(
            changes(None),
            ["! the engine gave no diff: anything may have changed"]
        );
        let mut pipeline = pipeline("Awaiting");
        let change = pipeline.status.as_mut().unwrap().approval.as_mut().unwrap();
        change.at_stake = None;
        assert_eq!(
            stake(change, false),
            ["unknown: Sluice could not find out what it destroys or repeats"]
        );
    }

    #[test]
    fn what_a_later_engine_adds_is_shown_as_it_is() {
        let diff = json!({
            "program_diff": {"added_views": [], "modified_functions": ["f"]},
            "program_diff_error": null,
            "added_input_connectors": {"odd": true},
            "modified_indexes": ["i"],
            "removed_indexes": []
        });
        assert_eq!(
            lines(diff),
            [
                "! added_input_connectors: {\"odd\":true}",
                "! modified_functions: [\"f\"]",
                "! modified_indexes: [\"i\"]",
            ]
        );
        assert_eq!(
            lines(json!({"program_diff": {}})),
            ["nothing that the engine names"]
        );
        // An error beside a diff isn't swallowed either.
        assert_eq!(
            lines(json!({"program_diff": {}, "program_diff_error": "half of it"})),
            ["! program_diff_error: \"half of it\""]
        );
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(
            lines(json!({"program_diff": {"added_views": ["v\u{1b}[1A\u{202e}x\ny"]}})),
            ["+ view v\\u{1b}[1A\\u{202e}x y"]
        );
    }

    #[test]
    fn what_is_at_stake_is_unknown_rather_than_nothing() {
        let mut pipeline = pipeline("Awaiting");
        let change = pipeline.status.as_mut().unwrap().approval.as_mut().unwrap();
        change.at_stake = Some(AtStake {
            tables_refilled: Some(vec![]),
            tables_lost: Some(vec!["orders".into(), "customers".into()]),
            sinks_repeated: None,
            dropped_input: "unknown".into(),
            state_lost: false,
            unknown: vec!["sinks: the engine gave no list of connectors".into()],
        });
        assert_eq!(
            stake(change, false),
            [
                "tables that are emptied, and that nothing fills again: orders, customers",
                "tables that are emptied, and read again from their connectors: none",
                "sinks that get the whole of their view again: unknown",
                "input since the checkpoint that is dropped: unknown",
                "not known: sinks: the engine gave no list of connectors",
            ]
        );
    }

    #[test]
    fn that_no_input_is_dropped_hangs_on_a_stop_that_is_still_to_come() {
        let mut pipeline = pipeline("Awaiting");
        let change = pipeline.status.as_mut().unwrap().approval.as_mut().unwrap();
        change.at_stake = Some(AtStake {
            dropped_input: AtStake::NO_INPUT.into(),
            ..AtStake::default()
        });
        for (is_to_come, said) in [
            (false, "dropped: none"),
            (
                true,
                "dropped: none, if the stop for it writes a checkpoint; otherwise it isn't made, and is asked about anew",
            ),
        ] {
            let lines = stake(change, is_to_come);
            assert!(lines.iter().any(|line| line.ends_with(said)), "{lines:?}");
        }
    }

    #[test]
    fn what_runs_is_stopped_only_for_what_is_asked_about_before_that() {
        for (gate, deployment, is_to_come) in [
            (Gate::Sluice, "Running", true),
            (Gate::Sluice, "Stopped", false),
            (Gate::Engine, "AwaitingApproval", false),
        ] {
            let mut pipeline = pipeline("Awaiting");
            let status = pipeline.status.as_mut().unwrap();
            let engine = status.engine.get_or_insert_default();
            engine.deployment_status = Some(deployment.into());
            let mut change = status.approval.clone().unwrap();
            change.gate = gate;
            assert_eq!(
                is_to_be_stopped(&pipeline, &change),
                is_to_come,
                "{deployment}"
            );
        }
    }

    #[test]
    fn the_whole_picture() {
        let mut pipeline = pipeline("Awaiting");
        let change = pipeline.status.as_mut().unwrap().approval.as_mut().unwrap();
        change.revision = 1;
        change.base = Some(BaseCheckpoint {
            uuid: Some("0198".into()),
            sequence_number: Some(42),
            steps: None,
        });
        change.diff = json!({"program_diff": {"added_views": ["v"]}})
            .as_object()
            .cloned();
        let change = waiting(&pipeline).unwrap();
        assert_eq!(
            describe(&pipeline, change, "2026-01-01T00:05:00Z".parse().unwrap()),
            format!(
                "\
Pipeline   orders in namespace shop
Change     {CHANGE}
Summary    1 view added
Waiting    since 2026-01-01 00:00:00 UTC (5m)
Resumes    from checkpoint 42 (0198)
Bootstrap  the pipeline does nothing else meanwhile; the output goes to the sinks
Asked      again: the diff, or what approving does, is another than when it was asked first

What changes:
  + view v

What approving does:
  unknown: Sluice could not find out what it destroys or repeats
"
            )
        );
    }

    #[test]
    fn a_change_of_settings_says_that_the_program_stays_and_nothing_of_a_diff() {
        let mut pipeline = pipeline("Awaiting");
        let status = pipeline.status.as_mut().unwrap();
        let change = status.approval.as_mut().unwrap();
        let mut before = change.target.clone();
        before.settings = "e".into();
        change.summary = "changes the runtime settings env".into();
        change.at_stake = Some(AtStake {
            tables_refilled: Some(vec![]),
            tables_lost: Some(vec![]),
            sinks_repeated: Some(vec![]),
            dropped_input: "none".into(),
            ..AtStake::default()
        });
        status.settled = serde_json::from_value(json!({
            "changeId": "root", "target": before, "checkpoint": {"uuid": "0198"},
        }))
        .unwrap();
        let said = |pipeline: &Pipeline| {
            let now = "2026-01-01T00:05:00Z".parse().unwrap();
            describe(pipeline, waiting(pipeline).unwrap(), now)
        };
        assert_eq!(
            said(&pipeline),
            format!(
                "\
Pipeline   orders in namespace shop
Change     {CHANGE}
Summary    changes the runtime settings env
Waiting    since 2026-01-01 00:00:00 UTC (5m)
Resumes    from a checkpoint that isn't known
Program    stays as it is; only runtime settings differ

What changes:
  runtime settings; no table, view or connector

What approving does:
  tables that are emptied, and that nothing fills again: none
  tables that are emptied, and read again from their connectors: none
  sinks that get the whole of their view again: none
  input since the checkpoint that is dropped: none
"
            )
        );
        // Where the program differs, or nobody knows what the checkpoint was made from, no diff means anything.
        let mut other = pipeline.clone();
        let settled = other.status.as_mut().unwrap().settled.as_mut().unwrap();
        settled.target.udf_rust = "z".into();
        let mut unknown = pipeline;
        let settled = unknown.status.as_mut().unwrap().settled.as_mut().unwrap();
        settled.checkpoint = None;
        for pipeline in [other, unknown] {
            let said = said(&pipeline);
            assert!(said.contains("anything may have changed"), "{said}");
            assert!(said.contains("Bootstrap  "), "{said}");
        }
    }

    #[test]
    fn the_commands_name_the_change_and_the_place() {
        assert_eq!(
            commands("orders", "shop", Some("prod"), CHANGE),
            format!(
                "\
To approve it:  kubectl sluice approve orders -n shop --context prod --change {CHANGE}
To reject it:   kubectl sluice reject orders -n shop --context prod --change {CHANGE} --reason '…'
"
            )
        );
    }
}
