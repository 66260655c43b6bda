//! What the engine holds is taken from the engine, also where the spec says nothing of it. Rule A9.

use serde_json::json;

use super::model::World;
use crate::crd::{ApprovalState, BootstrapPolicy, DesiredState, Gate, annotation};
use crate::decide::Act;
use crate::mark;

fn updates(world: &World) -> usize {
    let acts = world.acts.iter();
    acts.filter(|act| matches!(act, Act::Update(_))).count()
}

/// A pipeline with settings that wait for approval, settled; then it is made again without a word of them.
fn made_again_without_settings() -> World {
    let mut world = World::running("A");
    world.set(json!({"env": {"A": "1"}, "max_rss_mb": 100}));
    world.settle();
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    world.make_again();
    world.spec(|spec| spec.runtime_config = None);
    world.settle();
    assert_eq!(world.phase(), "Running");
    world
}

fn asks_about_settings(world: &World) {
    let approval = world.approval();
    assert_eq!(
        (approval.gate, approval.state),
        (Gate::Sluice, ApprovalState::Awaiting)
    );
    // By their names, also where the spec gives none: who approves has to see what.
    assert_eq!(approval.summary, "changes the runtime settings env");
}

#[test]
fn a9_delete_and_create_washes_no_settings_out() {
    let mut world = made_again_without_settings();
    let before = updates(&world);
    assert_eq!(world.status().approval, None);
    assert_eq!(world.reported("UnaskedChange"), 0);
    // What the spec names now is brought there, and the rest stays.
    world.set(json!({"max_rss_mb": 200}));
    world.settle();
    assert_eq!(updates(&world), before + 1);
    assert_eq!(world.status().approval, None);
    assert_eq!(
        world.engine.runtime_config,
        json!({"env": {"A": "1"}, "max_rss_mb": 200})
            .as_object()
            .cloned()
    );
    // An empty one says that nothing is to be left.
    world.set(json!({}));
    world.settle();
    asks_about_settings(&world);
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.engine.runtime_config, Some(serde_json::Map::new()));
}

#[test]
fn what_the_spec_never_named_stays_as_it_is() {
    let mut world = made_again_without_settings();
    world.edit_functions("+f");
    world.settle();
    assert_eq!(
        world.approval().summary,
        "changes user-defined functions (Rust)"
    );
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.engine.udf_rust, "+f");
    let held = world.engine.runtime_config.clone().unwrap_or_default();
    assert_eq!(held["env"], json!({"A": "1"}));
}

#[test]
fn a9_a_pipeline_that_is_adopted_keeps_the_settings_that_its_spec_never_named() {
    let mut world = World::new("A");
    world.engine.exists = true;
    world.engine.version = 1;
    world.engine.sql = "A".into();
    world.engine.runtime_config = json!({"env": {"A": "1"}}).as_object().cloned();
    world.engine.tick();
    world.annotate(annotation::ADOPT, "orders");
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.reported("Adopted"), 1);
    world.set(json!({"max_rss_mb": 200}));
    world.settle();
    assert_eq!(world.status().approval, None);
    let all = json!({"env": {"A": "1"}, "max_rss_mb": 200});
    assert_eq!(world.engine.runtime_config, all.as_object().cloned());
    // Another one is asked about by its name only, and brought there beside it.
    world.set(json!({"max_rss_mb": 200, "dev_tweaks": {"x": 1}}));
    world.settle();
    assert_eq!(
        world.approval().summary,
        "changes the runtime settings dev_tweaks"
    );
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    let all = json!({"env": {"A": "1"}, "max_rss_mb": 200, "dev_tweaks": {"x": 1}});
    assert_eq!(world.engine.runtime_config, all.as_object().cloned());
    // To name what is there already changes nothing; from then on it is the spec's.
    let named = json!({"max_rss_mb": 200, "dev_tweaks": {"x": 1}, "env": {"A": "1"}});
    world.set(named);
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    world.set(json!({"max_rss_mb": 200, "dev_tweaks": {"x": 1}}));
    world.settle();
    asks_about_settings(&world);
    let id = world.approval().change_id;
    world.annotate(annotation::REJECT, &id);
    world.settle();
    assert_eq!(world.engine.runtime_config, all.as_object().cloned());
    assert!(world.engine.is_up());
}

#[test]
fn a9_what_somebody_adds_at_the_engine_stays_beside_the_spec_and_a_start_of_it_is_asked_about() {
    let mut world = World::running("A");
    world.set(json!({"env": {"A": "1"}, "max_rss_mb": 100}));
    world.settle();
    world.approve_by_annotation();
    world.settle();
    world.engine.stop_by_hand();
    world.engine.version += 1;
    let tampered = json!({"env": {"A": "1"}, "max_rss_mb": 100, "dev_tweaks": {"evil": 1}});
    world.engine.runtime_config = tampered.as_object().cloned();
    world.settle();
    assert_eq!(world.reported("OutsideEdit"), 1);
    assert!(!world.engine.is_up());
    let approval = world.approval();
    assert_eq!(
        (approval.gate, approval.state),
        (Gate::Sluice, ApprovalState::Awaiting)
    );
    assert_eq!(approval.summary, "changes the runtime settings dev_tweaks");
    // What is down, by whom, and how to do without it.
    let (_, reason, message) = world.condition("Ready").unwrap();
    assert_eq!(reason, "AwaitingApproval");
    let says = "nothing runs: somebody changed this at the engine (to undo it, write what is right into spec.runtimeConfig.dev_tweaks";
    assert!(message.starts_with(says), "{message}");
    let id = approval.change_id;
    world.annotate(annotation::REJECT, &id);
    world.settle();
    let (_, _, message) = world.condition("Ready").unwrap();
    let says = "write what is right into spec.runtimeConfig.dev_tweaks, or put it back there";
    assert!(message.contains(says), "{message}");
    assert!(!world.engine.is_up());
    world.pipeline.metadata.annotations = None;
    world.annotate(annotation::RETRY, &id);
    world.settle();
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.engine.runtime_config, tampered.as_object().cloned());
    // What the spec names is put back, and nobody asked: that is what the checkpoint was made of.
    world.pass(3600);
    world.engine.stop_by_hand();
    world.engine.version += 1;
    let tampered = json!({"env": {"A": "1", "EVIL": "1"}, "dev_tweaks": {"evil": 1}});
    world.engine.runtime_config = tampered.as_object().cloned();
    world.settle();
    assert_eq!(world.reported("OutsideEdit"), 2);
    let back = json!({"env": {"A": "1"}, "max_rss_mb": 100, "dev_tweaks": {"evil": 1}});
    assert_eq!(world.engine.runtime_config, back.as_object().cloned());
}

#[test]
fn a_setting_that_was_given_and_is_taken_away_is_asked_about_and_goes() {
    let mut world = World::running("A");
    world.set(json!({"env": {"A": "1"}}));
    world.settle();
    world.approve_by_annotation();
    world.settle();
    world.spec(|spec| spec.runtime_config = None);
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    assert_eq!(
        world.engine.runtime_config.clone().unwrap_or_default(),
        serde_json::Map::new()
    );
    // It is done once.
    let done = updates(&world);
    world.settle();
    assert_eq!(updates(&world), done);
}

#[test]
fn a9_settings_that_somebody_changes_at_the_engine_are_told_and_not_started_unasked() {
    for settings in [json!({"storage": false}), json!({"env": {"EVIL": "1"}})] {
        let mut world = World::running("A");
        world.spec(|spec| spec.desired_state = DesiredState::Stopped);
        world.settle();
        world.engine.version += 1;
        world.engine.runtime_config = settings.as_object().cloned();
        world.settle();
        assert_eq!(world.reported("OutsideEdit"), 1, "{settings}");
        world.spec(|spec| spec.desired_state = DesiredState::Running);
        world.settle();
        assert!(!world.engine.is_up(), "{settings}");
        assert!(world.engine.losses.is_empty());
        assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
        // Rejected, the way back is shown: the spec has nothing of it that could be put back.
        let id = world.approval().change_id;
        world.annotate(annotation::REJECT, &id);
        world.settle();
        let (_, _, message) = world.condition("Ready").unwrap();
        assert!(
            message.contains("write what is right into spec.runtimeConfig"),
            "{message}"
        );
        // Who says what is right has it put back, and is asked nothing: that is what the checkpoint was made of.
        world.set(json!({}));
        world.settle();
        assert!(world.engine.is_up(), "{settings}");
        assert_eq!(world.engine.runtime_config, Some(serde_json::Map::new()));
        assert_eq!(world.phase(), "Running");
    }
}

#[test]
fn a9_what_the_engine_said_of_a_change_from_something_else_opens_no_gate() {
    // B is approved and runs, but no checkpoint of it comes about.
    let mut world = World::running("A");
    world.engine.loses_checkpoints = 100;
    world.edit("B");
    world.settle_briefly();
    world.approve_by_annotation();
    world.settle_briefly();
    assert_eq!(world.approval_state(), Some(ApprovalState::Applied));
    // The engine says that it would ask about A with other functions, since it holds B.
    world.spec(|spec| {
        spec.bootstrap_policy = BootstrapPolicy::Reject;
        let program = spec.program.get_or_insert_default();
        program.sql = Some("A".into());
        program.udf_rust = Some("+f".into());
    });
    world.settle_briefly();
    world.engine.fail("panic in B");
    world.settle_briefly();
    world.spec(|spec| spec.bootstrap_policy = BootstrapPolicy::AwaitApproval);
    world.settle();
    assert_ne!(world.engine.given(), "A+f");
    let approval = world.approval();
    assert_eq!(
        (approval.gate, approval.state),
        (Gate::Sluice, ApprovalState::Awaiting)
    );
    assert!(
        approval.summary.contains("user-defined functions"),
        "{}",
        approval.summary
    );
    assert_eq!(world.reported("OutsideApproval"), 0);
}

#[test]
fn a9_a_mark_that_says_something_else_than_the_engine_held_then_is_not_believed() {
    let mut world = World::running("A");
    world.spec(|spec| spec.desired_state = DesiredState::Stopped);
    world.settle();
    let mut settled = world.status().settled.unwrap();
    settled.target.udf_rust = "f".repeat(32);
    let id = world.engine.state().unwrap().id;
    world.make_again();
    let owners: Vec<String> = world
        .engine
        .tags
        .iter()
        .filter(|tag| {
            mark::of_settled(std::slice::from_ref(*tag))
                .next()
                .is_none()
        })
        .cloned()
        .collect();
    world.engine.tags = owners
        .into_iter()
        .chain(mark::settled_tags(Some(&settled), &id))
        .collect();
    world.settle();
    assert_eq!(world.reported("OriginUnknown"), 1);
    world.spec(|spec| spec.desired_state = DesiredState::Running);
    world.settle();
    assert!(!world.engine.is_up());
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
}

#[test]
fn a13_what_waits_already_when_a_pipeline_is_made_again_is_not_rejected_by_its_policy() {
    let mut world = World::waiting("A", "B");
    world.make_again();
    world.spec(|spec| spec.bootstrap_policy = BootstrapPolicy::Reject);
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
    assert_eq!(world.phase(), "AwaitingApproval");
}

#[test]
fn a19_an_adoption_that_was_asked_for_before_there_was_anything_to_adopt_is_spent() {
    let mut world = World::new("A");
    world.annotate(annotation::ADOPT, "orders");
    world.settle();
    assert_eq!(world.phase(), "Running");
    // Somebody else's, of the same name.
    world.engine.tags.clear();
    world.store(crate::crd::PipelineStatus {
        engine: None,
        ..world.status()
    });
    world.settle();
    assert_eq!(world.phase(), "NameTaken");
}

#[test]
fn a18_storage_that_is_turned_on_again_tells_what_is_lost_by_it() {
    let mut world = World::running("A");
    world.set(json!({"storage": false}));
    world.settle();
    world.approve_by_annotation();
    world.settle();
    world.spec(|spec| {
        spec.allow_state_loss = true;
        spec.runtime_config = json!({"storage": true}).as_object().cloned();
    });
    world.settle();
    let approval = world.approval();
    assert_eq!(approval.state, ApprovalState::Awaiting);
    let stake = approval.at_stake.unwrap();
    assert!(stake.state_lost);
    assert_eq!(stake.dropped_input, "unknown");
    assert!(
        stake.unknown[0].contains("checkpoint of before"),
        "{stake:?}"
    );
    // The decision to turn it off stays on record, although there was no checkpoint to seal it.
    let history = world.status().history;
    assert!(
        history
            .iter()
            .any(|record| record.summary.starts_with("turns storage off")
                && record.state == ApprovalState::Applied)
    );
}

/// Of how a program is compiled nobody is asked, so what others have set of it stays beside what the spec names.
#[test]
fn how_others_have_a_program_compiled_stays_and_what_was_given_once_goes() {
    let mut world = World::running("A");
    world.engine.stop_by_hand();
    world.engine.version += 1;
    world.engine.program_config = json!({"profile": "dev"}).as_object().cloned();
    world.settle();
    assert_eq!(world.reported("OutsideEdit"), 0);
    assert_eq!(world.reported("UnaskedChange"), 0);
    world.configure(Some(json!({"runtime_version": "v1", "cache": false})));
    world.settle();
    world.approve_by_annotation();
    world.settle();
    assert_eq!(
        json!(world.engine.program_config),
        json!({"runtime_version": "v1", "cache": false, "profile": "dev"})
    );
    world.configure(Some(json!({"runtime_version": "v1"})));
    world.settle();
    assert_eq!(
        json!(world.engine.program_config),
        json!({"runtime_version": "v1", "profile": "dev"})
    );
    // That somebody has it compiled otherwise is no edit, and nothing is stopped for it.
    let acts = world.acts.len();
    for profile in ["unoptimized", "dev", "optimized", "dev", "unoptimized"] {
        let config = json!({"runtime_version": "v1", "profile": profile});
        world.engine.program_config = config.as_object().cloned();
        world.engine.version += 1;
        world.settle();
    }
    assert_eq!(world.reported("OutsideEdit"), 0);
    assert_eq!(world.phase(), "Running");
    let changes = |act: &Act| matches!(act, Act::Update(_) | Act::Stop { .. });
    assert!(!world.acts[acts..].iter().any(changes));
    // An empty one says that nothing is to be left.
    world.configure(Some(json!({})));
    world.settle();
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(json!(world.engine.program_config), json!({}));
}

#[test]
fn a3_an_approved_change_beside_what_others_have_set_survives_a_crash_after_it_was_sent() {
    let mut world = World::running("A");
    world.engine.stop_by_hand();
    world.engine.version += 1;
    world.engine.runtime_config = json!({"dev_tweaks": {"x": 1}}).as_object().cloned();
    world.settle();
    world.approve_by_annotation();
    world.settle();
    world.set(json!({"env": {"A": "1"}}));
    world.settle();
    let id = world.approve_by_annotation();
    world.engine.fault_of_update = Some(super::model::Fault::AnswerLost);
    world.settle();
    assert_eq!(world.approval().change_id, id);
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    assert_eq!(world.phase(), "Running");
}

#[test]
fn what_somebody_adds_at_the_engine_and_takes_away_again_is_as_if_it_had_not_been() {
    // Settled from several hands, so that its name is that of no configuration.
    let mut world = World::running("A");
    world.engine.stop_by_hand();
    world.engine.version += 1;
    world.engine.runtime_config = json!({"dev_tweaks": {"x": 1}}).as_object().cloned();
    world.settle();
    world.approve_by_annotation();
    world.settle();
    world.set(json!({"env": {"A": "1"}}));
    world.settle();
    world.approve_by_annotation();
    world.settle();
    let both = json!({"env": {"A": "1"}, "dev_tweaks": {"x": 1}});
    assert_eq!(json!(world.engine.runtime_config), both);
    world.pass(3600);
    world.engine.stop_by_hand();
    let mut more = both.clone();
    more["init_containers"] = json!([{"name": "x"}]);
    for (config, reports) in [(more, 2), (both, 2)] {
        world.engine.version += 1;
        world.engine.runtime_config = config.as_object().cloned();
        world.settle();
        assert_eq!(world.reported("OutsideEdit"), reports, "{config}");
    }
    assert_eq!(world.phase(), "Running");
    assert!(world.engine.is_up());
}

#[test]
fn where_somebody_changed_what_the_spec_names_and_more_both_are_asked_about_and_said_so() {
    let mut world = World::running("A");
    world.set(json!({"env": {"A": "1"}}));
    world.settle();
    world.approve_by_annotation();
    world.settle();
    world.engine.stop_by_hand();
    world.engine.version += 1;
    let tampered = json!({"env": {"A": "2"}, "dev_tweaks": {"x": 1}});
    world.engine.runtime_config = tampered.as_object().cloned();
    world.settle();
    let note = world.note_of("OutsideEdit").unwrap();
    assert!(note.ends_with("what the spec says is put back, after approval where that is asked about, and what it doesn't name stays"), "{note}");
    assert!(!world.engine.is_up());
    assert_eq!(
        world.approval().summary,
        "changes the runtime settings dev_tweaks"
    );
    world.approve_by_annotation();
    world.settle();
    let both = json!({"env": {"A": "1"}, "dev_tweaks": {"x": 1}});
    assert_eq!(json!(world.engine.runtime_config), both);
}

/// Takes from the status what 0.1.0 didn't write.
fn as_0_1_0_wrote_it(world: &mut World) {
    let mut status = json!(world.status());
    let content = status["content"].as_object_mut().unwrap();
    for key in [
        "settings",
        "givenSettings",
        "exact",
        "sending",
        "configIsGiven",
        "runtimeConfigIsGiven",
    ] {
        content.remove(key);
    }
    for of in ["content", "settled", "run", "approval"] {
        let target = status.pointer_mut(&format!("/{of}/target"));
        if let Some(target) = target.and_then(|it| it.as_object_mut()) {
            target.remove("settings");
        }
    }
    status["settled"]
        .as_object_mut()
        .unwrap()
        .remove("settings");
    world.store(serde_json::from_value(status).unwrap());
}

/// An edit at the engine, or a crash of the old operator, comes between what 0.1.0 wrote down and the upgrade.
#[test]
fn what_moved_at_the_engine_before_an_upgrade_is_looked_at_once_and_not_started_unasked() {
    for (found, is_asked) in [
        (json!({"env": {"A": "1"}, "max_rss_mb": 7}), false),
        (json!({"env": {"A": "2"}, "max_rss_mb": 7}), true),
        (
            json!({"env": {"A": "1"}, "max_rss_mb": 7, "dev_tweaks": {"x": 1}}),
            true,
        ),
    ] {
        let mut world = World::running("A");
        world.set(json!({"env": {"A": "1"}, "max_rss_mb": 7}));
        world.settle();
        world.approve_by_annotation();
        world.settle();
        as_0_1_0_wrote_it(&mut world);
        world.engine.stop_by_hand();
        world.engine.version += 1;
        world.engine.runtime_config = found.as_object().cloned();
        world.settle();
        assert_eq!(
            world.reported("OutsideEdit"),
            usize::from(is_asked),
            "{found}"
        );
        let is_known = world.status().content.unwrap().given_settings.is_some();
        assert!(is_known, "{found}");
        if found["dev_tweaks"].is_null() {
            // As it was, or put back.
            assert_eq!(world.phase(), "Running", "{found}");
            let there = world.engine.runtime_config.clone().unwrap();
            assert_eq!(there["env"], json!({"A": "1"}), "{found}");
        } else {
            assert!(!world.engine.is_up(), "{found}");
            assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
        }
    }
}

#[test]
fn what_was_taken_from_the_spec_before_an_upgrade_is_asked_about_also_where_the_engine_moved() {
    for left in [json!(null), json!({"max_rss_mb": 7})] {
        let mut world = World::running("A");
        let given = json!({"env": {"A": "1"}, "max_rss_mb": 7});
        world.set(given.clone());
        world.settle();
        world.approve_by_annotation();
        world.settle();
        as_0_1_0_wrote_it(&mut world);
        world.engine.are_named(&left);
        world.pipeline.spec.runtime_config = left.as_object().cloned();
        world.engine.stop_by_hand();
        world.engine.version += 1;
        world.settle();
        assert!(!world.engine.is_up(), "{left}");
        assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
        assert_eq!(json!(world.engine.runtime_config), given, "{left}");
    }
}

/// A crash of the old operator comes between its update and what it writes down of it.
#[test]
fn a3_what_was_approved_before_an_upgrade_stays_so_where_the_engine_moved() {
    for (before, after, is_told) in [
        (json!({"env": {"A": "1"}}), json!({"env": {"A": "1"}}), true),
        // Nothing says then which settings there were, so it is asked about anew.
        (json!({"max_rss_mb": 7}), json!({"max_rss_mb": 8}), false),
    ] {
        let mut world = World::running("A");
        world.set(before);
        world.settle();
        if world.approval_state() == Some(ApprovalState::Awaiting) {
            world.approve_by_annotation();
            world.settle();
        }
        world.pipeline.spec.runtime_config = after.as_object().cloned();
        world.edit_functions("+f");
        world.settle();
        let id = world.approve_by_annotation();
        world.engine.fault_of_update = Some(super::model::Fault::AnswerLost);
        for _ in 0..100 {
            world.engine.tick();
            world.reconcile_until(1);
            if world.engine.udf_rust == "+f" {
                break;
            }
        }
        as_0_1_0_wrote_it(&mut world);
        world.settle();
        assert_eq!(world.approval().change_id == id, is_told, "{after}");
        assert_eq!(world.engine.is_up(), is_told, "{after}");
        let state = match is_told {
            true => ApprovalState::Sealed,
            false => ApprovalState::Awaiting,
        };
        assert_eq!(world.approval_state(), Some(state), "{after}");
    }
}

/// 0.1.0 had taken it away, and was killed before it wrote that down.
#[test]
fn a9_what_was_gone_from_the_engine_before_an_upgrade_is_asked_about() {
    for gone in [json!({"env": {"A": "1"}}), json!({"storage": false})] {
        let mut world = World::running("A");
        world.set(gone.clone());
        world.settle();
        world.approve_by_annotation();
        world.settle();
        as_0_1_0_wrote_it(&mut world);
        world.pipeline.spec.runtime_config = None;
        world.engine.stop_by_hand();
        world.engine.version += 1;
        world.engine.runtime_config = None;
        world.settle();
        assert!(!world.engine.is_up(), "{gone}");
        assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
    }
}

/// The same settings are the same change, whoever has set which of them, and whatever somebody does there meanwhile.
#[test]
fn a5_a_no_holds_also_where_somebody_changes_settings_at_the_engine() {
    let theirs = json!({"dev_tweaks": {"x": 1}});
    for (wanted, then) in [
        (
            json!({"env": {"A": "2"}}),
            json!({"env": {"A": "9"}, "dev_tweaks": {"x": 1}}),
        ),
        (
            json!({"env": {"A": "2"}, "dev_tweaks": {"x": 1}}),
            json!({"dev_tweaks": {"x": 9}}),
        ),
        (json!({"env": {"A": "2"}, "dev_tweaks": null}), json!({})),
        (
            json!({"env": {"A": "2"}}),
            json!({"env": {"A": "2"}, "dev_tweaks": {"x": 1}}),
        ),
    ] {
        let mut world = World::running("A");
        world.engine.stop_by_hand();
        world.engine.version += 1;
        world.engine.runtime_config = theirs.as_object().cloned();
        world.settle();
        world.approve_by_annotation();
        world.settle();
        world.set(wanted.clone());
        world.settle();
        let id = world.approval().change_id;
        world.annotate(annotation::REJECT, &id);
        world.settle();
        world.spec(|spec| spec.bootstrap_policy = BootstrapPolicy::Allow);
        world.settle();
        world.pass(3600);
        world.engine.stop_by_hand();
        world.engine.version += 1;
        world.engine.runtime_config = then.as_object().cloned();
        world.settle();
        assert_eq!(world.approval().change_id, id, "{wanted} {then}");
        assert_eq!(world.approval_state(), Some(ApprovalState::Rejected));
        assert!(!world.engine.is_up(), "{wanted} {then}");
        assert_eq!(json!(world.engine.runtime_config), then);
    }
}

/// A change that waits at Sluice's gate, beside what others have set, is still the one that 0.1.0 asked about.
#[test]
fn what_waits_beside_what_others_have_set_waits_on_after_an_upgrade() {
    let mut world = World::new("A");
    world.engine.exists = true;
    world.engine.version = 1;
    world.engine.sql = "A".into();
    world.engine.runtime_config = json!({"env": {"A": "1"}, "max_rss_mb": 7})
        .as_object()
        .cloned();
    world.pipeline.spec.runtime_config = json!({"max_rss_mb": 7}).as_object().cloned();
    world.engine.tick();
    world.annotate(annotation::ADOPT, "orders");
    world.settle();
    world.edit_functions("+f");
    world.settle();
    let id = world.approval().change_id;
    as_0_1_0_wrote_it(&mut world);
    world.settle();
    assert_eq!(world.approval().change_id, id);
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
    assert_eq!(
        json!(world.engine.runtime_config),
        json!({"env": {"A": "1"}, "max_rss_mb": 7})
    );
}

/// 0.1.0 wrote down no settings, and asked nobody about those that others had set.
#[test]
fn what_others_have_set_stays_also_where_an_older_release_wrote_down_what_is_held() {
    for (edit, given) in [
        (false, None),
        (true, None),
        (false, Some(json!({"http_workers": 4}))),
        (false, Some(json!({"dev_tweaks": {"x": 1}}))),
    ] {
        let mut world = World::new("A");
        world.engine.exists = true;
        world.engine.version = 1;
        world.engine.sql = "A".into();
        let mut there = json!({"env": {"A": "1"}});
        let of_spec = given.as_ref().and_then(|given| given.as_object()).cloned();
        there
            .as_object_mut()
            .unwrap()
            .extend(of_spec.clone().unwrap_or_default());
        world.engine.runtime_config = there.as_object().cloned();
        world.pipeline.spec.runtime_config = of_spec.clone();
        world.engine.tick();
        world.annotate(annotation::ADOPT, "orders");
        world.settle();
        as_0_1_0_wrote_it(&mut world);
        if !edit {
            world.settle();
        }
        let mut more = of_spec.unwrap_or_default();
        more.insert("max_rss_mb".into(), json!(200));
        world.set(json!(more));
        world.settle();
        assert_eq!(world.status().approval, None, "{given:?}");
        let mut both = there.clone();
        both["max_rss_mb"] = json!(200);
        assert_eq!(json!(world.engine.runtime_config), both, "{given:?}");
        // What is to go is asked about.
        more.insert("env".into(), json!({}));
        world.set(json!(more));
        world.settle();
        asks_about_settings(&world);
        assert_eq!(json!(world.engine.runtime_config), both);
    }
}

#[test]
fn a9_the_version_of_the_runtime_that_others_have_set_stays_until_the_spec_names_one() {
    let mut world = World::new("A");
    world.engine.exists = true;
    world.engine.version = 1;
    world.engine.sql = "A".into();
    world.engine.program_config = json!({"runtime_version": "v1"}).as_object().cloned();
    world.engine.tick();
    world.annotate(annotation::ADOPT, "orders");
    world.settle();
    assert_eq!(world.phase(), "Running");
    world.configure(Some(json!({"profile": "dev"})));
    world.settle();
    assert_eq!(world.status().approval, None);
    let both = json!({"profile": "dev", "runtime_version": "v1"});
    assert_eq!(json!(world.engine.program_config), both);
    // Changed by others it is told, and isn't started unasked.
    world.engine.stop_by_hand();
    world.engine.version += 1;
    let other = json!({"profile": "dev", "runtime_version": "v2"});
    world.engine.program_config = other.as_object().cloned();
    world.settle();
    assert_eq!(world.reported("OutsideEdit"), 1);
    assert!(!world.engine.is_up());
    assert_eq!(world.approval().changed, ["runtimeVersion"]);
    // Named once, it is the spec's: put back where that is what is settled, and gone once it isn't named any more.
    world.configure(Some(both.clone()));
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(json!(world.engine.program_config), both);
    world.configure(Some(json!({"profile": "dev"})));
    world.settle();
    assert_eq!(world.approval().changed, ["config", "runtimeVersion"]);
    world.approve_by_annotation();
    world.settle();
    assert_eq!(
        json!(world.engine.program_config),
        json!({"profile": "dev"})
    );
}

#[test]
fn a7_nobody_is_blamed_for_a_pipeline_that_is_taken_over_with_another_program_or_an_edited_mark() {
    let mut world = World::running("A");
    world.make_again();
    world.edit("B");
    world.annotate(annotation::ADOPT, "shop/orders");
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
    assert_eq!(world.approval().summary, "modifies view v");
    assert_eq!(world.reported("UnaskedChange"), 0);

    let mut world = World::running("A");
    for tag in &mut world.engine.tags {
        if mark::of_settled(std::slice::from_ref(tag)).next().is_some() {
            tag.push('x');
        }
    }
    world.settle();
    assert_eq!(world.reported("OriginUnknown"), 1);
    assert_eq!(world.reported("UnaskedChange"), 0);
}

#[test]
fn a_setting_that_is_taken_away_and_changed_at_the_engine_meanwhile_goes_once_that_is_approved() {
    for meanwhile in [
        json!({"env": {"A": "1"}, "max_rss_mb": 7}),
        json!({"env": {"EVIL": "1"}}),
    ] {
        for wanted in [DesiredState::Running, DesiredState::Stopped] {
            let mut world = World::running("A");
            world.set(json!({"env": {"A": "1"}}));
            world.settle();
            world.approve_by_annotation();
            world.settle();
            world.spec(|spec| {
                spec.runtime_config = None;
                spec.desired_state = wanted;
            });
            world.settle();
            world.engine.stop_by_hand();
            world.engine.version += 1;
            world.engine.runtime_config = meanwhile.as_object().cloned();
            world.spec(|spec| spec.desired_state = DesiredState::Running);
            world.settle();
            let id = world.approve_by_annotation();
            world.settle();
            assert_eq!(world.approval().change_id, id, "{meanwhile}");
            // What may change unasked and was never Sluice's is left as somebody has set it.
            let held = json!(world.engine.runtime_config.clone().unwrap_or_default());
            assert_eq!(held["env"], json!(null), "{meanwhile}");
            assert_eq!(held["max_rss_mb"], meanwhile["max_rss_mb"], "{meanwhile}");
            assert_eq!(world.phase(), "Running");
        }
    }
}

#[test]
fn a_setting_that_is_found_at_the_engine_as_the_spec_has_it_can_be_taken_away() {
    let mut world = World::running("A");
    world.set(json!({"env": {"A": "1"}}));
    world.settle();
    world.approve_by_annotation();
    world.settle();
    world.make_again();
    world.settle();
    world.spec(|spec| spec.runtime_config = None);
    world.settle();
    asks_about_settings(&world);
    world.approve_by_annotation();
    world.settle();
    let held = world.engine.runtime_config.clone().unwrap_or_default();
    assert_eq!(held, serde_json::Map::new());
}

#[test]
fn a9_what_another_pipeline_held_is_not_taken_for_what_an_adopted_one_holds() {
    let mut world = World::running("A");
    // Somebody deletes it, and makes another one under its name: versions begin anew.
    world.engine.stop_by_hand();
    world.engine.number = 2;
    world.engine.tags.clear();
    world.engine.checkpoints.clear();
    world.engine.sql = "Z".into();
    world.engine.runtime_config = json!({"env": {"THEIRS": "1"}}).as_object().cloned();
    world.settle();
    assert_eq!(world.phase(), "NameTaken");
    world.annotate(annotation::ADOPT, "orders");
    world.settle();
    assert_eq!(world.engine.sql, "A");
    let held = world.engine.runtime_config.clone().unwrap_or_default();
    assert_eq!(held["env"], json!({"THEIRS": "1"}));
}

#[test]
fn a9_what_runs_without_a_checkpoint_yet_is_not_stopped_to_ask_about_other_functions() {
    let mut world = World::new("A");
    world.engine.loses_checkpoints = 1;
    world.settle_briefly();
    assert!(world.engine.is_up());
    world.edit_functions("+f");
    world.settle_briefly();
    let stops = |world: &World| {
        let acts = world.acts.iter();
        acts.filter(|act| matches!(act, Act::Stop { .. })).count()
    };
    assert_eq!(stops(&world), 0);
    let (_, _, message) = world.condition("Ready").unwrap();
    assert!(
        message.contains("until a checkpoint of it exists"),
        "{message}"
    );
    // It is asked for again, and then the change can be named.
    world.pass(3600);
    world.settle();
    assert_eq!(stops(&world), 0);
    let approval = world.approval();
    assert_eq!(
        (approval.gate, approval.state),
        (Gate::Sluice, ApprovalState::Awaiting)
    );
}

#[test]
fn a19_an_adoption_that_was_refused_while_the_owner_lived_does_not_count_once_he_is_gone() {
    let mut world = World::running("A");
    world.make_again();
    world.edit("B");
    world.rival = Some("Pipeline shop/orders".into());
    world.engine.tags = mark::owner_tags(
        "uid-9",
        &mark::OwnerName {
            namespace: "shop".into(),
            name: "other".into(),
        },
    );
    world.annotate(annotation::ADOPT, "shop/other");
    world.settle();
    assert_eq!(world.phase(), "NameTaken");
    world.rival = None;
    world.settle();
    assert_eq!(world.phase(), "NameTaken");
    assert_eq!(world.reported("Adopted"), 0);
    let (_, _, message) = world.condition("Stalled").unwrap();
    assert!(message.contains("remove that annotation"), "{message}");
    // Written again, it counts.
    world.pipeline.metadata.annotations = None;
    world.settle();
    world.annotate(annotation::ADOPT, "shop/other");
    world.settle();
    assert_eq!(world.reported("Adopted"), 1);
}

/// What others had added was approved and has run, so whoever takes it away changes something.
#[test]
fn a7_what_ran_and_is_taken_away_at_the_engine_is_told() {
    let mut world = World::running("A");
    world.engine.stop_by_hand();
    world.engine.version += 1;
    world.engine.runtime_config = json!({"dev_tweaks": {"x": 1}}).as_object().cloned();
    world.settle();
    world.engine.loses_checkpoints = 100;
    world.approve_by_annotation();
    world.settle_briefly();
    assert!(world.engine.is_up());
    assert_ne!(world.approval_state(), Some(ApprovalState::Sealed));
    let before = world.reported("OutsideEdit");
    world.engine.stop_by_hand();
    world.engine.version += 1;
    world.engine.runtime_config = None;
    world.settle_briefly();
    assert_eq!(world.reported("OutsideEdit"), before + 1);
}

#[test]
fn what_sluice_has_brought_there_is_not_said_to_be_somebody_elses() {
    let mut world = World::running("A");
    world.set(json!({"env": {"A": "1"}}));
    world.settle();
    world.approve_by_annotation();
    world.settle();
    world.set(json!(null));
    world.settle();
    let id = world.approve_by_annotation();
    // Once it is brought there, no checkpoint of it comes about.
    for _ in 0..100 {
        world.engine.tick();
        world.reconcile_until(1);
        let there = world.engine.runtime_config.as_ref();
        if !there.is_some_and(|it| it.contains_key("env")) {
            break;
        }
    }
    world.engine.loses_checkpoints = 100;
    world.settle_briefly();
    world.engine.fail("panic");
    world.settle_briefly();
    world.pipeline.metadata.annotations = None;
    world.annotate(annotation::RETRY, &id);
    world.settle_briefly();
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
    let (_, _, message) = world.condition("Ready").unwrap();
    assert!(message.starts_with("nothing runs: change"), "{message}");
}

/// Nothing of it is somebody else's, so the change keeps its name.
#[test]
fn what_waits_where_the_engine_shows_a_setting_otherwise_waits_on_after_an_upgrade() {
    let mut world = World::running("A");
    world.engine.drops = Some("of_tomorrow");
    world.set(json!({"env": {"A": "1"}, "of_tomorrow": 1}));
    world.settle();
    world.approve_by_annotation();
    world.settle();
    world.edit_functions("+f");
    world.settle();
    let id = world.approval().change_id;
    as_0_1_0_wrote_it(&mut world);
    world.settle();
    assert_eq!(world.approval().change_id, id);
    assert_eq!(
        world.approval().summary,
        "changes user-defined functions (Rust)"
    );
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
}

/// The engine drops a setting without a word, and so never shows it; that isn't what somebody changed.
#[test]
fn what_the_engine_shows_otherwise_than_it_was_given_is_nobodys_edit() {
    let mut world = World::running("A");
    world.engine.drops = Some("of_tomorrow");
    world.set(json!({"env": {"A": "1"}, "of_tomorrow": 1}));
    world.settle();
    world.approve_by_annotation();
    world.settle();
    world.engine.stop_by_hand();
    world.engine.version += 1;
    world
        .engine
        .runtime_config
        .get_or_insert_default()
        .insert("max_rss_mb".into(), json!(7));
    world.settle();
    assert_eq!(world.reported("OutsideEdit"), 0);
    assert_eq!(world.phase(), "Running");
    assert!(world.engine.is_up());
}

/// What others have set stays, and what the engine makes of it is no other change.
#[test]
fn a3_an_approved_change_counts_also_where_the_engine_spells_what_stays_otherwise() {
    for drops in [None, Some("dev_tweaks")] {
        let mut world = World::running("A");
        world.engine.stop_by_hand();
        world.engine.version += 1;
        let theirs = json!({"clock_resolution_usecs": 7, "dev_tweaks": {"x": 1}});
        world.engine.runtime_config = theirs.as_object().cloned();
        world.settle();
        world.approve_by_annotation();
        world.settle();
        world.engine.spells_otherwise = true;
        world.engine.drops = drops;
        for functions in ["+f", "+g"] {
            world.edit_functions(functions);
            world.set(json!({"max_rss_mb": 7}));
            world.settle();
            let id = world.approve_by_annotation();
            world.settle();
            assert_eq!(world.approval().change_id, id, "{functions} {drops:?}");
            assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
            assert_eq!(
                world.approval().summary,
                "changes user-defined functions (Rust)"
            );
            let there = world.engine.runtime_config.clone().unwrap();
            assert_eq!(there["clock_resolution"], json!("7us"));
        }
        assert_eq!(world.reported("OutsideEdit"), 1);
    }
}
