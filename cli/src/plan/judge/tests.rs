//! What a plan says, for each state that a Pipeline can be in.

use super::*;
use crate::program::Shown;
use serde_json::{Value, json};
use sluice_gate::held_settings;

fn sql(text: &str) -> Content {
    Content {
        sql: text.to_owned(),
        ..Content::default()
    }
}

fn of(spec: Value) -> Pipeline {
    let mut pipeline = Pipeline::new("orders", serde_json::from_value(spec).unwrap());
    pipeline.metadata.namespace = Some("shop".into());
    pipeline
}

/// A Pipeline whose program A is settled.
fn settled() -> Pipeline {
    let mut live = of(json!({"program": {"sql": "A"}}));
    live.metadata.uid = Some("uid-1".into());
    let target = sql("A").target();
    live.status = serde_json::from_value(json!({
        "settled": {"changeId": "parent", "target": target},
        "run": {"changeId": "parent", "target": target, "bootstrapPolicy": "await_approval",
                "pastGateSince": "2026-01-01T00:00:00Z"},
        "content": {"version": 1, "digest": sql("A").digest(), "target": target},
        "engine": {"edition": "Enterprise", "deploymentStatus": "Running"},
    }))
    .unwrap();
    live
}

fn plan(file: &Pipeline, live: Option<&Pipeline>) -> Planned {
    let content = file.spec.program.as_ref();
    let content = content.map(|program| Content {
        runtime_config: file.spec.runtime_config.clone(),
        ..sql(program.sql.as_deref().unwrap_or_default())
    });
    judge(&Situation {
        file,
        content: content.as_ref(),
        live,
        live_content: Some(&sql("A")),
        approvals: &[],
    })
}

/// Somebody has set these at the engine. Sluice has given it nothing of that.
fn with_others(mut live: Pipeline, shown: Value) -> Pipeline {
    let settings = held_settings::as_found(None, shown.as_object()).unwrap();
    let held = live.status.as_mut().unwrap().content.as_mut().unwrap();
    held.target.settings = held_settings::name_of(&held_settings::meaning(&settings));
    held.settings = Some(settings);
    held.given_settings = Some(vec!["workers".into()]);
    held.runtime_config_is_given = true;
    live
}

/// What is printed of it. No value of anything that others have set can be in it.
fn printed(planned: &Planned) -> String {
    let text = super::super::show::text(planned, None);
    let json = super::super::show::json(planned).to_string();
    assert!(
        !text.contains("evil") && !json.contains("evil"),
        "{text}{json}"
    );
    anstream::adapter::strip_str(&text).to_string()
}

fn id(text: &str, parent: &str) -> String {
    sluice_gate::change::Change {
        uid: "uid-1",
        parent,
        target: &sql(text).target(),
        options: Default::default(),
        revision: 0,
    }
    .id()
}

#[test]
fn a_lost_pipeline_is_planned_as_what_is_made_anew_from_nothing() {
    let link = "0".repeat(32);
    let mut live = settled();
    let status = live.status.as_mut().unwrap();
    status.engine.as_mut().unwrap().edition = Some("Open source".into());
    status.lost = serde_json::from_value(json!({
        "pipelineId": "p", "since": "2026-01-01T00:00:00Z", "looks": 3, "link": link,
    }))
    .unwrap();
    for program in ["A", "B"] {
        let planned = plan(&of(json!({"program": {"sql": program}})), Some(&live));
        assert_eq!(planned.verdict, Verdict::NeedsApproval);
        assert_eq!(planned.change_id, Some(id(program, &link)));
        assert!(planned.notes[0].contains("from nothing"), "{planned:?}");
    }
    for (spec, verdict) in [
        (json!({"allowStateLoss": true}), "NotAsked"),
        (json!({"bootstrapPolicy": "allow"}), "NotAsked"),
        (json!({"bootstrapPolicy": "reject"}), "Refused"),
        (json!({"clearStorage": "now"}), "NeedsApproval"),
    ] {
        let mut file = json!({"program": {"sql": "A"}});
        file.as_object_mut()
            .unwrap()
            .extend(spec.as_object().cloned().unwrap());
        assert_eq!(
            plan(&of(file), Some(&live)).verdict.name(),
            verdict,
            "{spec}"
        );
    }
}

#[test]
fn a_changed_program_needs_approval_under_the_id_that_will_be_published() {
    let planned = plan(&of(json!({"program": {"sql": "B"}})), Some(&settled()));
    assert_eq!(planned.verdict, Verdict::NeedsApproval);
    assert_eq!(planned.change_id, Some(id("B", "parent")));
    assert_eq!(planned.changed, ["sql"]);
    let shown = &planned.program[0].shown;
    assert_eq!(*shown, Shown::Texts("A".to_owned(), "B".to_owned()));
    assert!(planned.verdict.needs_approval());
}

/// The id covers them, so whoever approves it has to see them.
#[test]
fn settings_that_somebody_has_set_at_the_engine_are_named_with_those_of_the_file() {
    let live = with_others(settled(), json!({"dev_tweaks": {"evil": 1}, "workers": 2}));
    let file = json!({"program": {"sql": "A"}, "runtimeConfig": {"workers": 2, "env": {"L": "1"}}});
    let planned = plan(&of(file), Some(&live));
    let id = planned.change_id.clone().unwrap();
    assert_eq!(
            printed(&planned),
            format!(
                "\
Pipeline orders in namespace shop: the program doesn't change, but runtime settings do; the change needs approval
  Change     {id}
  Follows    parent
  Changes    the runtime settings dev_tweaks, env
  Note       somebody has set dev_tweaks at the engine, and the spec doesn't name it: it comes into force with this change. To leave it out, write what is right into spec.runtimeConfig.dev_tweaks

runtime settings (5 lines added, 0 removed)
  @@ -0,0 +1,5 @@
  +{{
  +  \"env\": {{
  +    \"L\": \"1\"
  +  }}
  +}}
  \\ no line break at the end
  not shown, or not whole: dev_tweaks. Sluice keeps no values of what somebody has set at the engine: read them there

To approve it in the same commit:  spec.approvedChange: {id}
To approve it once it waits:       kubectl sluice approve orders -n shop --change {id}
"
            )
        );
    let json = super::super::show::json(&planned);
    assert!(json["notes"][0].as_str().unwrap().contains("dev_tweaks"));
    let part = &json["program"][0];
    assert_eq!(part["settings"], json!(["dev_tweaks", "env"]));
    assert_eq!(part["setAtTheEngine"], json!(["dev_tweaks"]));
}

#[test]
fn a_file_that_changes_nothing_is_not_said_to_change_the_program_where_others_have_set_something() {
    let shown = json!({"dev_tweaks": {"evil": 1}, "resources": {"namespace": "evil"}});
    let live = with_others(settled(), shown);
    let file = of(json!({"program": {"sql": "A"}, "runtimeConfig": {"workers": 2}}));
    let planned = plan(&file, Some(&live));
    assert_eq!(planned.verdict, Verdict::NeedsApproval);
    let text = printed(&planned);
    for line in [
        "only what somebody has set at the engine changes; the change needs approval",
        "Changes    the runtime settings dev_tweaks, resources\n",
        "set dev_tweaks, resources.namespace at the engine, and the spec doesn't name them: they come into force",
        "write what is right into spec.runtimeConfig.dev_tweaks, spec.runtimeConfig.resources.namespace\n",
        "runtime settings differ in dev_tweaks, resources.namespace, and can't be shown: Sluice keeps no values",
    ] {
        assert!(text.contains(line), "{line} isn't in {text}");
    }
    assert!(!text.contains("lines added"), "{text}");
    // What the file names is its own.
    let mine = json!({"dev_tweaks": {}, "resources": {"namespace": "mine"}});
    let planned = plan(
        &of(json!({"program": {"sql": "A"}, "runtimeConfig": mine})),
        Some(&live),
    );
    assert!(
        !printed(&planned).contains("somebody has set"),
        "{planned:?}"
    );
}

#[test]
fn what_others_have_set_and_somebody_has_approved_is_no_news_and_that_it_was_taken_away_is() {
    let shown = json!({"dev_tweaks": {"evil": 1}});
    let mut live = with_others(settled(), shown.clone());
    let status = live.status.as_mut().unwrap();
    let held = status.content.as_ref().unwrap();
    let kept = settled_with(&held.target, held_settings::digests(shown.as_object()));
    status.run.as_mut().unwrap().target = kept.target.clone();
    status.settled = Some(kept);
    let env = json!({"program": {"sql": "A"}, "runtimeConfig": {"env": {"L": "1"}}});
    let planned = plan(&of(env.clone()), Some(&live));
    let text = printed(&planned);
    assert!(
        text.contains("Changes    the runtime settings env\n"),
        "{text}"
    );
    assert!(text.contains("+  \"env\""), "{text}");
    assert!(!text.contains("dev_tweaks"), "{text}");
    // To be rid of it is what the file says.
    let none = json!({"program": {"sql": "A"}, "runtimeConfig": {}});
    let text = printed(&plan(&of(none), Some(&live)));
    assert!(
        text.contains("Changes    the runtime settings dev_tweaks\n"),
        "{text}"
    );
    assert!(!text.contains("Note"), "{text}");
    // And this is not.
    let live = with_others(live, json!({}));
    let text = printed(&plan(&of(env), Some(&live)));
    assert!(
        text.contains("Changes    the runtime settings dev_tweaks, env\n"),
        "{text}"
    );
    let taken = "somebody has taken dev_tweaks away at the engine, and the spec doesn't name it: that comes into force with this change. To keep it, write what is right into spec.runtimeConfig.dev_tweaks\n";
    assert!(text.contains(taken), "{text}");
    // What Sluice had given goes because the file says no more of it.
    let mut live = live;
    let held = live.status.as_mut().unwrap().content.as_mut().unwrap();
    held.given_settings = Some(vec!["dev_tweaks".into()]);
    let nothing = json!({"program": {"sql": "A"}, "runtimeConfig": {"workers": 2}});
    let text = printed(&plan(&of(nothing), Some(&live)));
    assert!(
        text.contains("Changes    the runtime settings dev_tweaks\n"),
        "{text}"
    );
    assert!(!text.contains("Note"), "{text}");
}

fn settled_with(target: &Target, settings: Option<held_settings::Digests>) -> Settled {
    let program = sluice_gate::snapshot::keep(&Default::default(), &sql("A"));
    Settled {
        target: target.clone(),
        settings,
        program: Some(program),
        ..Settled::unknown("parent".into())
    }
}

#[test]
fn a_runtime_version_and_a_configuration_of_others_are_said_to_be_theirs() {
    let mut live = settled();
    let held = live.status.as_mut().unwrap().content.as_mut().unwrap();
    held.target.runtime_version = "0.338.0".into();
    held.target.config = "of others".into();
    held.given_settings = Some(vec![]);
    let planned = plan(&of(json!({"program": {"sql": "A"}})), Some(&live));
    assert_eq!(planned.subject, Subject::Others);
    let text = printed(&planned);
    for line in [
        "somebody has set the runtime version, the program configuration at the engine, and the spec doesn't name them",
        "write what is right into spec.program.config.runtime_version, spec.program.config\n",
        "program configuration differs, and can't be shown: the new program: Sluice keeps no values",
    ] {
        assert!(text.contains(line), "{line} isn't in {text}");
    }
    let planned = plan(&of(json!({"program": {"sql": "B"}})), Some(&live));
    assert_eq!(planned.subject, Subject::Program);
    assert!(planned.notes[0].contains("runtime version"), "{planned:?}");
}

#[test]
fn what_is_not_known_to_change_is_not_said_to() {
    let mut live = with_others(settled(), json!({"dev_tweaks": {"evil": 1}}));
    live.status.as_mut().unwrap().settled = Some(Settled::unknown("link".into()));
    let planned = plan(&of(json!({"program": {"sql": "A"}})), Some(&live));
    let text = printed(&planned);
    assert!(
        text.contains("what changes isn't known, since nobody recorded"),
        "{text}"
    );
    let note = "the engine has dev_tweaks, the spec doesn't name it, and whether somebody has set it there since isn't known: it comes into force with this change.";
    assert!(text.contains(note), "{text}");
    // Too many to be told apart.
    let mut live = with_others(settled(), json!({"dev_tweaks": {"evil": 1}}));
    let held = live.status.as_mut().unwrap().content.as_mut().unwrap();
    held.settings = None;
    held.runtime_config_is_given = false;
    let planned = plan(&of(json!({"program": {"sql": "A"}})), Some(&live));
    let text = printed(&planned);
    for line in [
        "the program doesn't change, but runtime settings do",
        "which runtime settings differ isn't known",
        "all that the engine has come into force with this change",
        "runtime settings differ, and can't be shown: they are too many",
    ] {
        assert!(text.contains(line), "{line} isn't in {text}");
    }
}

#[test]
fn changed_functions_are_asked_about_whatever_the_engine_finds() {
    let functions = Content {
        udf_rust: "fn f() {}".into(),
        ..sql("A")
    };
    let notes = |content: &Content| {
        let planned = judge(&Situation {
            file: &of(json!({"program": {}, "desiredState": "stopped"})),
            content: Some(content),
            live: Some(&settled()),
            live_content: None,
            approvals: &[],
        });
        assert_eq!(planned.verdict, Verdict::NeedsApproval);
        planned.notes
    };
    let of_sql = notes(&sql("B")).join("; ");
    assert!(of_sql.contains("nobody is asked if"), "{of_sql}");
    assert!(of_sql.contains("at the next start"), "{of_sql}");
    assert_eq!(notes(&functions), Vec::<String>::new());
}

#[test]
fn what_approves_the_change_in_the_same_files_is_found() {
    let change = id("B", "parent");
    let file = of(json!({"program": {"sql": "B"}, "approvedChange": change}));
    let planned = plan(&file, Some(&settled()));
    assert_eq!(
        planned.verdict,
        Verdict::Approved("spec.approvedChange".into())
    );
    let other = of(json!({"program": {"sql": "B"}, "approvedChange": id("C", "parent")}));
    let planned = plan(&other, Some(&settled()));
    assert_eq!(planned.verdict, Verdict::NeedsApproval);
    assert!(
        planned.notes[0].contains("another change"),
        "{:?}",
        planned.notes
    );
    // A vote in a file of its own.
    let file = of(json!({"program": {"sql": "B"}}));
    let vote = |decision| {
        let spec =
            json!({"pipelineRef": {"name": "orders"}, "changeId": change, "decision": decision});
        let mut vote = PipelineApproval::new("vote", serde_json::from_value(spec).unwrap());
        vote.metadata.namespace = Some("shop".into());
        vote
    };
    for (votes, name) in [
        (vec![vote("Approve")], "Approved"),
        (vec![vote("Approve"), vote("Reject")], "Rejected"),
    ] {
        let planned = judge(&Situation {
            file: &file,
            content: Some(&sql("B")),
            live: Some(&settled()),
            live_content: None,
            approvals: &votes,
        });
        assert_eq!(planned.verdict.name(), name);
    }
}

#[test]
fn what_needs_no_approval_says_why() {
    let same = of(json!({"program": {"sql": "A"}, "runtimeConfig": {"workers": 4}}));
    let planned = plan(&same, Some(&settled()));
    assert_eq!(
        (planned.verdict, planned.change_id),
        (Verdict::Unchanged, None)
    );
    assert!(planned.notes[0].contains("runtimeConfig differs"));
    assert_eq!(plan(&same, None).verdict, Verdict::New);
    assert_eq!(
        plan(&of(json!({})), Some(&settled())).verdict,
        Verdict::MadeElsewhere
    );
    for (spec, name) in [
        (
            json!({"program": {"sql": "B"}, "bootstrapPolicy": "allow"}),
            "NotAsked",
        ),
        (
            json!({"program": {"sql": "A"}, "bootstrapPolicy": "allow",
                       "runtimeConfig": {"storage": false}}),
            "NeedsApproval",
        ),
        (
            json!({"program": {"sql": "A"}, "bootstrapPolicy": "allow", "allowStateLoss": true,
                       "runtimeConfig": {"storage": false}}),
            "NotAsked",
        ),
        (
            json!({"program": {"sql": "B"}, "bootstrapPolicy": "reject"}),
            "Refused",
        ),
        (
            json!({"program": {"sql": "B"}, "clearStorage": "now"}),
            "NotAsked",
        ),
    ] {
        let planned = plan(&of(spec), Some(&settled()));
        assert_eq!(planned.verdict.name(), name);
        let needs_approval = planned.verdict.needs_approval();
        assert_eq!(needs_approval, name == "NeedsApproval");
    }
    let mut open_source = settled();
    let status = open_source.status.as_mut().unwrap();
    status.engine.get_or_insert_default().edition = Some("Open source".into());
    let lossy = of(json!({"program": {"sql": "B"}, "allowStateLoss": true}));
    let planned = plan(&lossy, Some(&open_source));
    assert_eq!(planned.verdict.name(), "NotAsked");
}

/// What became of the start of the change to B, where it is settled by nothing yet.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ran {
    /// There was none.
    No,
    /// It is up, and past the gate.
    Up,
    /// It is up, without storage.
    UpWithoutStorage,
    /// It failed.
    Failed,
    /// It waits at the gate.
    AtTheGate,
    /// It was past the gate, and is down without a checkpoint of it.
    Down,
}

/// The Pipeline whose program A is settled, and whose change to B is in this state and ran so.
fn changing(ran: Ran, state: &str) -> Pipeline {
    let mut live = settled();
    let status = live.status.as_mut().unwrap();
    let mut target = sql("B").target();
    if ran == Ran::UpWithoutStorage {
        target = Content {
            runtime_config: json!({"storage": false}).as_object().cloned(),
            ..sql("B")
        }
        .target();
    }
    let change = lineage::id(status, "uid-1", &target, Default::default(), 0);
    let outcome = if state == "Rejected" {
        state
    } else {
        "Approved"
    };
    status.approval = serde_json::from_value(json!({
        "state": state, "changeId": change, "shortId": "", "parent": "parent",
        "target": target, "options": {"silent": false, "concurrent": false},
        "revision": 0, "since": "2026-01-01T00:00:00Z", "summary": "", "diffDigest": "",
        "approveCommand": "", "approvedFieldCounts": false, "failure": "no such topic",
        "decision": {"outcome": outcome, "by": "bob", "verified": true, "via": "Object",
                     "at": "2026-01-01T00:00:00Z"},
    }))
    .unwrap();
    if ran == Ran::No {
        return live;
    }
    let status_of_engine = match ran {
        Ran::Failed | Ran::Down => "Stopped",
        Ran::AtTheGate => "AwaitingApproval",
        _ => "Running",
    };
    let past = (ran != Ran::AtTheGate).then_some("2026-01-02T00:00:00Z");
    status.run = serde_json::from_value(json!({
        "changeId": change, "target": target, "bootstrapPolicy": "await_approval",
        "pastGateSince": past, "failed": ran == Ran::Failed,
    }))
    .unwrap();
    status.content =
        serde_json::from_value(json!({"version": 2, "digest": "b", "target": target})).unwrap();
    let engine = status.engine.as_mut().unwrap();
    engine.deployment_status = Some(status_of_engine.into());
    live
}

#[test]
fn what_runs_unsettled_is_the_parent_only_if_the_stop_for_the_update_settles_it() {
    for (ran, state, settles) in [
        (Ran::Up, "Applied", true),
        (Ran::Up, "Applying", true),
        (Ran::UpWithoutStorage, "Applied", true),
        (Ran::Failed, "ApplyFailed", false),
        (Ran::AtTheGate, "Awaiting", false),
        (Ran::AtTheGate, "Applying", false),
        (Ran::Down, "Applied", false),
    ] {
        let mut live = changing(ran, state);
        let before = live.status.clone().unwrap();
        let changed = before.run.as_ref().unwrap().change_id.clone();
        let mut file = of(json!({"program": {"sql": "C"}, "allowStateLoss": true}));
        let planned = plan(&file, Some(&live));
        let parent = if settles { &changed } else { "parent" };
        assert_eq!(planned.parent.as_deref(), Some(parent), "{ran:?} {state}");
        let says = planned.notes.join("; ");
        assert_eq!(says.contains("isn't settled yet"), settles, "{says}");
        if ran != Ran::UpWithoutStorage {
            let expected = Some(id("C", parent));
            assert_eq!(planned.change_id, expected, "{ran:?} {state}");
        }
        // To what was settled before: a change from what runs, or nothing but the way back.
        file.spec.program.as_mut().unwrap().sql = Some("A".into());
        let back = plan(&file, Some(&live));
        assert_eq!(
            back.verdict == Verdict::Unchanged,
            !settles,
            "{ran:?} {back:?}"
        );
        let takes_back = format!("it takes back change {changed}, and the pipeline comes up");
        let says = back.notes.join("; ");
        assert_eq!(says.contains(&takes_back), !settles, "{ran:?} {says}");
        // An engine that writes no checkpoint settles nothing when it stops.
        let status = live.status.as_mut().unwrap();
        status.engine.as_mut().unwrap().edition = Some("Open source".into());
        file.spec.program.as_mut().unwrap().sql = Some("C".into());
        let planned = plan(&file, Some(&live));
        let settles = ran == Ran::UpWithoutStorage;
        assert_eq!(planned.parent != Some("parent".into()), settles, "{ran:?}");
    }
}

#[test]
fn what_runs_and_was_let_through_unasked_needs_no_approval() {
    for (state, is_settled) in [("Applied", true), ("Applied", false)] {
        let mut live = changing(Ran::Up, state);
        let status = live.status.as_mut().unwrap();
        status.approval = None;
        status.settled.take_if(|_| !is_settled);
        let planned = plan(&of(json!({"program": {"sql": "B"}})), Some(&live));
        assert_eq!(planned.verdict, Verdict::Unchanged);
        assert!(planned.notes[0].contains("runs, and isn't settled yet"));
    }
}

#[test]
fn a_change_that_ends_a_hundred_turns_follows_a_new_link() {
    let mut live = changing(Ran::AtTheGate, "Awaiting");
    let file = of(json!({"program": {"sql": "C"}}));
    let status = live.status.as_mut().unwrap();
    let turns: Vec<Value> = (2..lineage::MOST_TURNS)
        .map(|turn| json!({"changeId": format!("{turn}")}))
        .collect();
    status.turns = serde_json::from_value(json!(turns)).unwrap();
    assert_eq!(plan(&file, Some(&live)).parent.as_deref(), Some("parent"));
    let status = live.status.as_mut().unwrap();
    status.turns.push(status.turns[0].clone());
    let last = status.turns.len() - 1;
    status.turns[last].change_id = "last".into();
    let planned = plan(&file, Some(&live));
    assert_eq!(planned.parent, Some(id("A", "parent")));
    assert_eq!(planned.change_id, Some(id("C", &id("A", "parent"))));
}

#[test]
fn a_change_without_a_settled_one_before_it_follows_the_root() {
    let mut live = settled();
    live.status = None;
    let planned = plan(&of(json!({"program": {"sql": "B"}})), Some(&live));
    assert_eq!(planned.verdict, Verdict::NothingSettled);
    assert_eq!(planned.change_id, Some(id("B", ROOT)));
}

#[test]
fn each_state_of_the_same_change_has_its_verdict_whatever_ran_and_the_files_approve() {
    let change = id("B", "parent");
    let silent = of(json!({"program": {"sql": "B"}}));
    let approving = of(json!({"program": {"sql": "B"}, "approvedChange": change}));
    // What runs is past all questions, but for a no.
    for (state, without, with, while_up) in [
        ("Awaiting", "NeedsApproval", "Approved", "Unchanged"),
        ("Approved", "Approved", "Approved", "Approved"),
        ("Applying", "Approved", "Approved", "Approved"),
        ("Applied", "Approved", "Approved", "Approved"),
        ("Sealed", "Approved", "Approved", "Approved"),
        ("ApplyFailed", "ApplyFailed", "ApplyFailed", "Unchanged"),
        ("Rejected", "Rejected", "Rejected", "Rejected"),
        ("Expired", "NeedsApproval", "NeedsApproval", "Unchanged"),
        (
            "SomethingNew",
            "NeedsApproval",
            "NeedsApproval",
            "Unchanged",
        ),
    ] {
        for ran in [Ran::No, Ran::Up, Ran::Failed, Ran::AtTheGate, Ran::Down] {
            let live = changing(ran, state);
            let (without, with) = match ran {
                Ran::Up => (while_up, while_up),
                _ => (without, with),
            };
            for (file, verdict) in [(&silent, without), (&approving, with)] {
                let planned = plan(file, Some(&live));
                assert_eq!(planned.verdict.name(), verdict, "{ran:?} {state}");
                if verdict != "Unchanged" {
                    assert_eq!(planned.change_id.as_ref(), Some(&change), "{ran:?} {state}");
                }
                let says = planned.notes.join("; ");
                assert!(!says.contains("takes back"), "{ran:?} {state}: {says}");
                let runs = says.contains("runs, and isn't settled yet");
                assert_eq!(runs, ran == Ran::Up, "{ran:?} {state}: {says}");
            }
        }
    }
}

/// A condition of the operator's, on the present generation.
fn says(live: &mut Pipeline, type_: &str, status: &str, reason: &str) {
    live.metadata.generation = Some(3);
    let condition = json!({
        "type": type_, "status": status, "reason": reason, "observedGeneration": 3,
        "message": format!("the operator's words on {reason}"),
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let status = live.status.as_mut().unwrap();
    status.conditions = vec![serde_json::from_value(condition).unwrap()];
}

fn annotated(mut file: Pipeline, key: &str, value: &str) -> Pipeline {
    let annotations = file.metadata.annotations.get_or_insert_default();
    annotations.insert(key.into(), value.into());
    file
}

#[test]
fn a_file_of_a_pipeline_that_is_left_alone_is_not_applied_whatever_it_says() {
    for (reason, key) in [
        ("NameTaken", annotation::ADOPT),
        ("FoughtOver", annotation::RETRY),
    ] {
        for has_status in [true, false] {
            let mut live = settled();
            if !has_status {
                live.status = Some(PipelineStatus::default());
            }
            says(&mut live, "Stalled", "True", reason);
            let words = format!("the operator's words on {reason}");
            for sql in ["A", "B"] {
                let file =
                    of(json!({"program": {"sql": sql}, "approvedChange": id("B", "parent")}));
                let planned = plan(&file, Some(&live));
                assert_eq!(planned.verdict, Verdict::NotApplied(words.clone()));
                assert!(planned.verdict.is_held() && !planned.verdict.needs_approval());
                assert_eq!(planned.change_id, None);
            }
            let guest = plan(&of(json!({})), Some(&live));
            assert_eq!(guest.verdict.name(), "NotApplied");
            // What the file asks for may end it, unless it was asked for before.
            let file = annotated(of(json!({"program": {"sql": "A"}})), key, "orders");
            let planned = plan(&file, Some(&live));
            assert_ne!(planned.verdict.name(), "NotApplied");
            assert!(planned.notes[0].contains(&words), "{:?}", planned.notes);
            let asked = annotated(live.clone(), key, "orders");
            assert_eq!(plan(&file, Some(&asked)).verdict.name(), "NotApplied");
            // It is over.
            says(&mut live, "Stalled", "False", reason);
            let file = of(json!({"program": {"sql": "A"}}));
            assert_ne!(plan(&file, Some(&live)).verdict.name(), "NotApplied");
        }
    }
}

#[test]
fn another_program_may_be_that_of_the_pipeline_that_was_this_ones() {
    let mut live = settled();
    says(&mut live, "Stalled", "True", "NameTaken");
    let status = live.status.as_mut().unwrap();
    status.conditions[0].message =
        "which carries the mark of an earlier Pipeline of this name".into();
    let verdict = |sql| plan(&of(json!({"program": {"sql": sql}})), Some(&live)).verdict;
    assert_eq!(verdict("A").name(), "NotApplied");
    assert_eq!(verdict("B").name(), "NeedsApproval");
}

#[test]
fn what_the_engine_would_refuse_again_is_not_applied_and_the_same_words_hold_for_no_other_file() {
    let mut live = settled();
    let status = live.status.as_mut().unwrap();
    let refused = json!({"workers": 8});
    let content = Content {
        runtime_config: refused.as_object().cloned(),
        ..sql("A")
    };
    status.refusal = serde_json::from_value(json!({
        "digest": content.digest(), "exact": content.exact(), "onlyWithStorage": true,
        "message": "words on ImmutableSetting",
    }))
    .unwrap();
    let target = sql("B").target();
    let asked = |outcome| json!({"target": target, "parent": "parent", "outcome": outcome});
    let mut of_preview = live.clone();
    of_preview.status.as_mut().unwrap().preview =
        serde_json::from_value(asked("CompileError")).unwrap();
    let mut of_build = live.clone();
    of_build.status.as_mut().unwrap().build =
        serde_json::from_value(json!({"target": target, "outcome": "Failed"})).unwrap();
    says(&mut live, "Stalled", "True", "ImmutableSetting");
    let with = |config: &Value| of(json!({"program": {"sql": "A"}, "runtimeConfig": config}));
    let (wrong, other) = (
        of(json!({"program": {"sql": "B"}})),
        of(json!({"program": {"sql": "C"}})),
    );
    for (live, file, sound) in [
        (&live, &with(&refused), with(&json!({"workers": 4}))),
        (&of_preview, &wrong, other.clone()),
        (&of_build, &wrong, other.clone()),
    ] {
        assert_eq!(plan(file, Some(live)).verdict.name(), "NotApplied");
        assert_ne!(plan(&sound, Some(live)).verdict.name(), "NotApplied");
        let again = annotated(file.clone(), annotation::RETRY, "now");
        assert_ne!(plan(&again, Some(live)).verdict.name(), "NotApplied");
        let mut cleared = file.clone();
        cleared.spec.clear_storage = Some("now".into());
        assert_ne!(plan(&cleared, Some(live)).verdict.name(), "NotApplied");
    }
}

#[test]
fn what_can_be_stopped_only_with_a_loss_is_not_stopped_for_a_file_that_does_not_allow_it() {
    let mut no_checkpoints = settled();
    let engine = no_checkpoints.status.as_mut().unwrap().engine.as_mut();
    engine.unwrap().edition = Some("Open source".into());
    let no_storage = changing(Ran::UpWithoutStorage, "Applied");
    for live in [&no_checkpoints, &no_storage] {
        let mut file = of(json!({"program": {"sql": "C"}}));
        let planned = plan(&file, Some(live));
        assert_eq!(planned.verdict.name(), "NotApplied");
        assert!(planned.verdict.is_held());
        file.spec.allow_state_loss = true;
        assert_ne!(plan(&file, Some(live)).verdict.name(), "NotApplied");
    }
    let file = of(json!({"program": {"sql": "A"}}));
    assert_eq!(
        plan(&file, Some(&no_checkpoints)).verdict,
        Verdict::Unchanged
    );
    let content = json!({"program": {"sql": "C"}, "runtimeConfig": {"storage": false},
                             "allowStateLoss": true});
    let planned = plan(&of(content), Some(&no_storage));
    assert_eq!(planned.verdict.name(), "NotAsked");
    let says = planned.notes.join("; ");
    assert!(says.contains("all that it has computed is lost"), "{says}");
}

#[test]
fn what_switches_storage_off_says_that_all_is_lost() {
    let lost = |spec: Value| {
        let planned = plan(&of(spec), Some(&settled()));
        planned
            .notes
            .join("; ")
            .contains("all that the pipeline has computed is lost")
    };
    let off = json!({"storage": false});
    assert!(lost(json!({"program": {"sql": "A"}, "runtimeConfig": off})));
    assert!(lost(json!({"program": {"sql": "B"}, "runtimeConfig": off})));
    assert!(lost(
        json!({"program": {"sql": "A"}, "runtimeConfig": off, "bootstrapPolicy": "allow",
                            "allowStateLoss": true})
    ));
    assert!(!lost(json!({"program": {"sql": "B"}})));
}

#[test]
fn what_may_pass_is_a_note_in_the_words_of_the_operator() {
    let changed = of(json!({"program": {"sql": "B"}}));
    let same = of(json!({"program": {"sql": "A"}}));
    for (type_, status, reason, of_changed, of_same) in [
        ("Ready", "False", "EngineNotFound", true, true),
        ("Ready", "False", "EngineUnreachable", true, true),
        ("Ready", "False", "Compiling", false, false),
        (
            "PoliciesNotInForce",
            "True",
            "NamesCannotBeTrusted",
            true,
            false,
        ),
        // Another program may mend it.
        ("Stalled", "True", "Failed", false, true),
    ] {
        let mut live = settled();
        says(&mut live, type_, status, reason);
        for (file, expected) in [(&changed, of_changed), (&same, of_same)] {
            let planned = plan(file, Some(&live));
            assert_ne!(planned.verdict.name(), "NotApplied");
            let notes = planned.notes.join("; ");
            let words = format!("the operator's words on {reason}");
            assert_eq!(notes.contains(&words), expected, "{reason}: {notes}");
        }
    }
}

#[test]
fn a_change_that_could_not_be_applied_says_how_it_is_asked_about_anew() {
    let change = id("B", "parent");
    let note = asked_anew(&of(json!({"program": {"sql": "B"}})), &change);
    let command = format!("kubectl annotate pipeline orders -n shop sluice.dev/retry={change}");
    assert!(note.contains(&command), "{note}");
    assert!(Verdict::ApplyFailed(String::new()).needs_approval());
}

#[test]
fn a_rejected_change_stays_rejected() {
    let mut live = settled();
    let decision = json!({"outcome": "Rejected", "by": "bob", "verified": true, "via": "Object",
                              "reason": "no", "at": "2026-01-01T00:00:00Z"});
    live.status.as_mut().unwrap().turns =
        serde_json::from_value(json!([{"changeId": id("B", "parent"), "rejected": decision}]))
            .unwrap();
    let planned = plan(&of(json!({"program": {"sql": "B"}})), Some(&live));
    assert_eq!(planned.verdict, Verdict::Rejected("bob: no".into()));
    assert!(planned.verdict.needs_approval());
    let allowed = json!({"program": {"sql": "B"}, "bootstrapPolicy": "allow"});
    let planned = plan(&of(allowed), Some(&live));
    assert_eq!(planned.verdict, Verdict::Rejected("bob: no".into()));
}
