//! Runtime settings at Sluice's own gate. Rule A9.

use serde_json::json;

use super::model::World;
use crate::crd::{ApprovalState, BootstrapPolicy, Door, Gate, annotation};
use crate::decide::Act;

fn updates(world: &World) -> usize {
    let acts = world.acts.iter();
    acts.filter(|act| matches!(act, Act::Update(_))).count()
}

#[test]
fn a9_settings_that_change_only_how_it_runs_are_brought_there_unasked() {
    let mut world = World::running("A");
    world.set(json!({"max_rss_mb": 100, "resources": {"cpu_cores_max": 2}}));
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.status().approval, None);
    assert_eq!(updates(&world), 1);
}

#[test]
fn a9_other_settings_wait_while_the_old_ones_are_in_force() {
    for settings in [
        json!({"env": {"A": "1"}}),
        json!({"init_containers": [{"name": "x"}]}),
        json!({"storage": {"backend": {"name": "file", "config": {"sync": {"bucket": "b"}}}}}),
        json!({"pipeline_template_configmap": {"name": "x", "key": "y"}}),
        json!({"a_setting_of_tomorrow": true}),
    ] {
        let mut world = World::running("A");
        world.set(settings.clone());
        world.settle();
        assert_eq!(updates(&world), 0, "{settings}");
        assert!(world.engine.is_up());
        let approval = world.approval();
        assert_eq!(
            (approval.gate, approval.state),
            (Gate::Sluice, ApprovalState::Awaiting)
        );
        let key = settings.as_object().unwrap().keys().next().unwrap();
        assert_eq!(
            approval.summary,
            format!("changes the runtime settings {key}")
        );
        assert_eq!(approval.changed, ["settings"]);
        // The compiler has nothing to say of settings.
        let asked = |act: &Act| matches!(act, Act::Preview(_) | Act::Build { .. });
        assert!(!world.acts.iter().any(asked));
        world.approve_by_annotation();
        world.settle();
        assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
        assert_eq!(updates(&world), 1);
        // Taken back, they are asked about as well.
        world.set(json!({}));
        world.settle();
        assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
    }
}

#[test]
fn a9_settings_are_asked_about_before_the_engine_asks_about_the_program() {
    // They work from the start on: an init container has run by the time the engine would ask.
    let mut world = World::running("A");
    world.spec(|spec| {
        spec.runtime_config = json!({"init_containers": [{"name": "x"}]})
            .as_object()
            .cloned();
        spec.program.get_or_insert_default().sql = Some("B".into());
    });
    world.settle();
    assert_eq!(updates(&world), 0);
    let approval = world.approval();
    assert_eq!(approval.gate, Gate::Sluice);
    assert_eq!(
        approval.summary,
        "changes the runtime settings init_containers; modifies view v"
    );
    world.approve_by_annotation();
    world.settle();
    // Where the engine's diff is the one that was shown, nobody is asked twice; else once more.
    if world.phase() == "AwaitingApproval" {
        assert_eq!(world.approval().gate, Gate::Engine);
        world.approve_by_annotation();
        world.settle();
    }
    assert_eq!(world.engine.sql, "B");
    assert_eq!(world.approval_state(), Some(ApprovalState::Sealed));
}

#[test]
fn a9_storage_that_is_turned_off_is_shown_as_the_loss_of_everything() {
    for off in [json!({"storage": false}), json!({"storage": null})] {
        let mut world = World::running("A");
        world.edit("B");
        world.set(off.clone());
        world.settle();
        assert!(world.engine.is_up());
        assert!(world.engine.losses.is_empty(), "{off}");
        let approval = world.approval();
        assert_eq!(approval.gate, Gate::Sluice);
        assert!(
            approval.summary.starts_with("turns storage off"),
            "{approval:?}"
        );
        assert!(approval.at_stake.unwrap().state_lost);
        world.approve_by_annotation();
        world.settle();
        assert_eq!(world.phase(), "Running");
        assert_eq!(world.engine.losses.len(), 1);
        // Nobody is blamed, and there is nothing that could be sealed.
        for blamed in ["OutsideApproval", "UnaskedChange", "SealFailed"] {
            assert_eq!(world.reported(blamed), 0, "{blamed}");
        }
        assert_eq!(world.approval_state(), Some(ApprovalState::Applied));
        // From now on each stop loses everything, so none is made unasked.
        let stops = |world: &World| {
            let acts = world.acts.iter();
            acts.filter(|act| matches!(act, Act::Stop { .. })).count()
        };
        let before = stops(&world);
        world.edit("C");
        world.settle();
        assert_eq!(stops(&world), before);
        assert_eq!(world.condition("Ready").unwrap().1, "StateLossNotAllowed");
    }
}

#[test]
fn a9_the_policy_allow_loses_no_state_unless_that_is_allowed_too() {
    let mut world = World::running("A");
    world.spec(|spec| spec.bootstrap_policy = BootstrapPolicy::Allow);
    world.settle();
    world.set(json!({"storage": false}));
    world.settle();
    assert!(world.engine.losses.is_empty());
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
    world.spec(|spec| spec.allow_state_loss = true);
    world.settle();
    assert_eq!(world.engine.losses.len(), 1);
    assert_eq!(world.approval().decision.unwrap().via, Door::Policy);
    assert_eq!(world.reported("OutsideApproval"), 0);
}

#[test]
fn a9_storage_that_was_turned_off_by_hand_is_not_started_unasked() {
    let mut world = World::running("A");
    world.engine.stop_by_hand();
    world.engine.version += 1;
    world.engine.runtime_config = json!({"storage": false}).as_object().cloned();
    world.set(json!({"storage": false}));
    world.settle();
    assert!(!world.engine.is_up());
    assert!(world.engine.losses.is_empty());
    assert_eq!(world.approval_state(), Some(ApprovalState::Awaiting));
}

#[test]
fn a9_rejected_settings_are_not_brought_there() {
    let mut world = World::running("A");
    world.set(json!({"env": {"A": "1"}}));
    world.settle();
    let id = world.approval().change_id;
    world.annotate(annotation::REJECT, &id);
    world.settle();
    assert_eq!(world.approval_state(), Some(ApprovalState::Rejected));
    assert_eq!(updates(&world), 0);
    world.set(json!({}));
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.condition("Ready").unwrap().0, "True");
}
