//! Statuses that 0.1.0 has stored, which knew less of a content.

use serde_json::{Map, Value, json};

use super::model::World;
use crate::crd::PipelineStatus;
use crate::decide::Act;

/// A pipeline that runs with settings in which texts look like numbers.
fn running() -> World {
    let mut world = World::new("A");
    world.spec(|spec| {
        spec.program.get_or_insert_default().config =
            json!({"runtime_version": "1"}).as_object().cloned();
        spec.runtime_config = config(json!("1"));
    });
    world.settle();
    assert_eq!(world.phase(), "Running");
    world
}

fn config(records: Value) -> Option<Map<String, Value>> {
    json!({"workers": 4, "min_batch_size_records": records, "env": {"LEVEL": "1"}})
        .as_object()
        .cloned()
}

/// The status as 0.1.0 would have stored it.
fn as_released(world: &mut World, further: impl FnOnce(&mut PipelineStatus)) {
    let mut status = world.status();
    status.content.as_mut().unwrap().exact = None;
    further(&mut status);
    world.pipeline.status = Some(status);
    world.restart_operator();
    world.acts.clear();
    world.reports.clear();
}

fn done(world: &World) -> Vec<&'static str> {
    let acts = world.acts.iter().filter(|act| **act != Act::Look);
    acts.map(|act| act.call().as_str()).collect()
}

#[test]
fn what_runs_goes_on_through_the_upgrade_and_is_told_apart_from_then_on() {
    let mut world = running();
    let ids = world.status().settled;
    as_released(&mut world, |_| {});
    world.settle();
    assert_eq!(done(&world), [""; 0]);
    assert_eq!(
        (world.phase().as_str(), world.reports.len()),
        ("Running", 0)
    );
    assert_eq!(world.status().settled, ids);
    world.spec(|spec| spec.runtime_config = config(json!(1)));
    world.settle();
    assert!(done(&world).contains(&"update"), "{:?}", done(&world));
    let before = done(&world).len();
    world.spec(|spec| spec.runtime_config = config(json!(1e0)));
    world.settle();
    assert_eq!(
        done(&world).len(),
        before,
        "one number is one, however it is written"
    );
}

#[test]
fn a_refusal_from_before_the_upgrade_holds_and_what_corrects_it_is_tried() {
    let mut world = running();
    world.engine.refuses_updates = Some("InvalidRuntimeConfig");
    world.spec(|spec| spec.runtime_config = config(json!("7")));
    world.settle();
    assert!(done(&world).contains(&"update") && world.status().refusal.is_some());
    as_released(&mut world, |status| {
        status.refusal.as_mut().unwrap().exact = None;
    });
    world.settle();
    assert_eq!(done(&world), [""; 0], "it isn't stopped for it once more");
    world.engine.refuses_updates = None;
    world.spec(|spec| spec.runtime_config = config(json!(7)));
    world.settle();
    assert!(done(&world).contains(&"update"), "{:?}", done(&world));
    assert_eq!(world.condition("Ready").unwrap().1, "Running");
}
