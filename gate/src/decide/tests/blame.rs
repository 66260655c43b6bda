//! Nobody is blamed for what Sluice did itself, or for what the engine doesn't say.

use super::model::World;
use crate::crd::{BootstrapOptions, BootstrapPolicy};
use crate::decide::Act;

/// The operator goes on until it makes a call, and ends right after it, before anything is written down.
fn until_it_dies_after(world: &mut World, call: &str) {
    for _ in 0..60 {
        // What is to be called is written down first; an answer that is never written down is asked for again.
        world.reconcile_until(2);
        if world
            .acts
            .last()
            .is_some_and(|act| act.call().as_str() == call)
        {
            world.restart_operator();
            return;
        }
        world.engine.tick();
    }
    panic!("no {call}: {:?}", world.acts);
}

#[test]
fn a_crash_after_an_update_that_is_taken_back_by_then_is_nobodys_edit() {
    for back in ["A", "B", "C"] {
        let mut world = World::running("A");
        world.spec(|spec| spec.bootstrap_policy = BootstrapPolicy::Allow);
        world.edit("B");
        until_it_dies_after(&mut world, "update");
        assert_eq!(world.engine.sql, "B");
        world.edit(back);
        world.settle();
        assert_eq!(world.reported("OutsideEdit"), 0, "{back}");
        assert_eq!(world.status().interference, None, "{back}");
        assert_eq!(
            (world.phase().as_str(), world.engine.sql.as_str()),
            ("Running", back)
        );
        assert_eq!(world.status().content.unwrap().sending, None);
    }
}

#[test]
fn an_edit_at_the_engine_is_told_also_right_after_an_update_was_written_down() {
    let mut world = World::running("A");
    world.spec(|spec| spec.bootstrap_policy = BootstrapPolicy::Allow);
    world.edit("B");
    // It is written down, and comes to nothing.
    for _ in 0..40 {
        let is_down = world.engine.deployment.is_none();
        if world.status().content.unwrap().sending.is_some() {
            break;
        }
        world.reconcile_until(if is_down { 1 } else { 2 });
        world.engine.tick();
    }
    assert!(world.status().content.unwrap().sending.is_some());
    assert_eq!(world.engine.sql, "A");
    world.restart_operator();
    world.engine.version += 1;
    world.engine.sql = "X".into();
    world.settle();
    assert_eq!(world.reported("OutsideEdit"), 1);
    assert_eq!(world.engine.sql, "B");
}

/// What was about to be sent, and never was, and isn't asked for any more.
#[test]
fn what_the_engine_never_took_hides_no_edit_and_no_clear_of_anybody_else() {
    let mut world = World::running("A");
    world.spec(|spec| {
        spec.bootstrap_policy = BootstrapPolicy::Allow;
        spec.desired_state = crate::crd::DesiredState::Stopped;
    });
    world.settle();
    world.set(serde_json::json!({"env": {"A": "1"}}));
    for _ in 0..40 {
        if world.status().content.unwrap().sending.is_some() {
            break;
        }
        world.reconcile_until(1);
        world.engine.tick();
    }
    assert!(world.status().content.unwrap().sending.is_some());
    world.restart_operator();
    world.spec(|spec| spec.runtime_config = None);
    world.settle();
    assert_eq!(world.status().content.unwrap().sending, None);
    world.engine.version += 1;
    world.engine.runtime_config = serde_json::json!({"env": {"EVIL": "1"}})
        .as_object()
        .cloned();
    world.settle();
    assert_eq!(world.reported("OutsideEdit"), 1);

    let mut world = World::running("A");
    world.spec(|spec| spec.desired_state = crate::crd::DesiredState::Stopped);
    world.settle();
    world.spec(|spec| spec.clear_storage = Some("now".into()));
    for _ in 0..40 {
        if world.status().clearing.is_some() {
            break;
        }
        world.reconcile_until(1);
        world.engine.tick();
    }
    assert!(world.status().clearing.is_some() && !world.engine.cleared);
    world.restart_operator();
    world.spec(|spec| spec.clear_storage = None);
    world.settle();
    assert_eq!(world.status().clearing, None);
    world.engine.checkpoints.clear();
    world.engine.cleared = true;
    world.settle();
    assert_eq!(world.reported("OutsideClear"), 1);
}

#[test]
fn a_storage_that_the_spec_had_cleared_is_cleared_by_nobody_else() {
    for wish in [None, Some("later".to_owned())] {
        let mut world = World::running("A");
        world.spec(|spec| spec.clear_storage = Some("now".into()));
        until_it_dies_after(&mut world, "clear");
        world.spec(|spec| {
            spec.clear_storage = wish.clone();
            spec.desired_state = crate::crd::DesiredState::Stopped;
        });
        world.settle();
        assert_eq!(world.reported("OutsideClear"), 0, "{wish:?}");
        assert_eq!(world.reported("StorageCleared"), 1, "{wish:?}");
        assert_eq!(world.status().interference, None);
        assert_eq!(world.status().clearing, None);
    }
}

#[test]
fn a_storage_that_was_to_be_cleared_and_was_not_can_be_cleared_by_others() {
    let mut world = World::running("A");
    world.spec(|spec| spec.clear_storage = Some("now".into()));
    for _ in 0..40 {
        if world.status().clearing.is_some() {
            break;
        }
        world.reconcile_until(1);
        world.engine.tick();
    }
    assert!(world.status().clearing.is_some() && !world.engine.cleared);
    world.restart_operator();
    world.spec(|spec| spec.clear_storage = None);
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.status().clearing),
        ("Running", None)
    );
    world.spec(|spec| spec.desired_state = crate::crd::DesiredState::Stopped);
    world.settle();
    world.engine.checkpoints.clear();
    world.engine.cleared = true;
    world.settle();
    assert_eq!(world.reported("OutsideClear"), 1);
}

/// An option that the engine doesn't know is no start by somebody else, and no reason to start again and again.
#[test]
fn an_option_that_the_engine_does_not_show_is_told_once_and_not_acted_on() {
    let mut world = World::running("A");
    world.engine.knows_no_concurrent_bootstrap = true;
    world.spec(|spec| {
        spec.bootstrap_options = BootstrapOptions {
            silent: false,
            concurrent: true,
        };
    });
    world.edit("B");
    world.settle();
    assert_eq!(world.phase(), "AwaitingApproval");
    let starts = |world: &World| {
        let acts = world.acts.iter();
        acts.filter(|act| matches!(act, Act::Start(_))).count()
    };
    let before = starts(&world);
    world.settle();
    assert_eq!(starts(&world), before);
    assert_eq!(world.reported("OutsideStart"), 0);
    assert_eq!(world.reported("OptionNotShown"), 1);
    world.approve_by_annotation();
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.reported("OptionNotShown"), 1);
    assert_eq!(world.reported("OutsideStart"), 0);
}

/// It drops what it doesn't know, without a word: that isn't in force, whatever it was sent.
#[test]
fn a_setting_that_the_engine_does_not_show_is_told_once_and_said_not_to_be_in_force() {
    for setting in ["max_rss_mb", "a_setting_of_tomorrow"] {
        let mut world = World::running("A");
        world.spec(|spec| spec.bootstrap_policy = BootstrapPolicy::Allow);
        world.engine.drops = Some(setting);
        world.set(serde_json::json!({setting: 100, "cpu_profiler": false}));
        world.settle();
        assert_eq!(world.phase(), "Running");
        assert_eq!(world.reported("SettingsNotShown"), 1);
        let (status, reason, message) = world.condition("SettingsNotShown").unwrap();
        assert_eq!(
            (status.as_str(), reason.as_str()),
            ("True", "NotInTheEnginesAnswer")
        );
        let name = format!("runtimeConfig.{setting}");
        assert!(
            message.contains(&name) && !message.contains("cpu_profiler"),
            "{message}"
        );
        let ready = world.condition("Ready").unwrap();
        assert!(
            ready.2.contains(&format!("not in force: {name}")),
            "{ready:?}"
        );
        // Nobody is blamed, and it isn't sent again and again.
        let acts = world.acts.len();
        world.settle();
        assert_eq!(world.acts.len(), acts);
        assert_eq!(world.reported("OutsideEdit"), 0);
        // An edit of something else sends it again, and tells nothing new.
        world.edit_functions("fn f() {}");
        world.settle();
        assert_eq!(world.reported("SettingsNotShown"), 1);
        // Once the engine shows it, or the spec has it no more, nothing is said of it.
        world.set(serde_json::json!({"cpu_profiler": false}));
        world.settle();
        assert_eq!(world.condition("SettingsNotShown"), None);
    }
}

/// The engine replaces its runtime configuration as a whole.
#[test]
fn a_setting_that_others_set_stays_and_one_that_sluice_sent_goes_with_the_spec() {
    let mut world = World::running("A");
    world.set(serde_json::json!({"max_rss_mb": 100}));
    world.settle();
    world.engine.stop_by_hand();
    world.engine.version += 1;
    let theirs = serde_json::json!({"memory_mb_max": 5});
    let there = serde_json::json!({"max_rss_mb": 100, "resources": theirs});
    world.engine.runtime_config = there.as_object().cloned();
    world.settle();
    for (spec, then) in [
        (
            serde_json::json!({"max_rss_mb": 200}),
            serde_json::json!({"max_rss_mb": 200, "resources": theirs}),
        ),
        (
            serde_json::json!({"cpu_profiler": false, "resources": {"cpu_cores_max": 2}}),
            serde_json::json!({"cpu_profiler": false, "resources": {"cpu_cores_max": 2, "memory_mb_max": 5}}),
        ),
        (
            serde_json::Value::Null,
            serde_json::json!({"resources": theirs}),
        ),
        // By what it is called since: what the spec names is the spec's.
        (
            serde_json::json!({"resources": {"memory_max": "6G"}}),
            serde_json::json!({"resources": {"memory_max": "6G"}}),
        ),
        (serde_json::json!({}), serde_json::json!({})),
    ] {
        world.set(spec.clone());
        world.settle();
        assert_eq!(world.phase(), "Running", "{spec}");
        let held = world.engine.runtime_config.clone().unwrap_or_default();
        assert_eq!(serde_json::Value::Object(held), then, "{spec}");
    }
    assert_eq!(world.reported("OutsideEdit"), 0);
    assert_eq!(world.status().approval, None);
}

#[test]
fn a_pipeline_that_is_adopted_keeps_the_limits_that_the_spec_does_not_name() {
    let mut world = World::running("A");
    let theirs = serde_json::json!({"max_rss_mb": 100, "resources": {"memory_mb_max": 5}});
    world.set(theirs.clone());
    world.settle();
    world.make_again();
    world.engine.tags.clear();
    world.set(serde_json::json!({"max_rss_mb": 100}));
    world.adopt();
    world.settle();
    world.set(serde_json::json!({"max_rss_mb": 300}));
    world.settle();
    assert_eq!(world.phase(), "Running", "{:?}", world.condition("Ready"));
    let held = world.engine.runtime_config.clone().unwrap();
    assert_eq!(held["max_rss_mb"], 300);
    assert_eq!(held["resources"], theirs["resources"]);
}

#[test]
fn what_was_sent_before_a_crash_is_sluices_and_goes_with_the_spec() {
    let mut world = World::running("A");
    world.set(serde_json::json!({"max_rss_mb": 100}));
    until_it_dies_after(&mut world, "update");
    assert!(world.engine.runtime_config.is_some());
    world.set(serde_json::json!({"cpu_profiler": false}));
    world.settle();
    let held = world.engine.runtime_config.clone().unwrap();
    assert_eq!(
        serde_json::Value::Object(held),
        serde_json::json!({"cpu_profiler": false})
    );
}
