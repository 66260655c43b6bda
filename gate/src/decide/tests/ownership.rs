//! Whose a pipeline is, and who may take it over. Rule A19.

use super::model::World;
use crate::crd::{ApprovalState, annotation};
use crate::decide::is_owned;
use crate::mark::{self, OwnerName};
use crate::policy_status::Standing;
use k8s_openapi::jiff::Timestamp;

/// Whose mark the engine's pipeline carries.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Marked {
    Nobody,
    /// By a release that wrote no names.
    Unnamed,
    /// An earlier Pipeline of the same namespace and name.
    SameName,
    /// Another Pipeline, which is gone.
    Other,
}

const ALL: [Marked; 4] = [
    Marked::Nobody,
    Marked::Unnamed,
    Marked::SameName,
    Marked::Other,
];

/// A pipeline that is there before the Pipeline `shop/orders` comes.
fn found(marked: Marked, same_content: bool) -> World {
    let name = |namespace: &str, name: &str| OwnerName {
        namespace: namespace.into(),
        name: name.into(),
    };
    let mut world = World::new("A");
    world.pipeline.spec.engine_ref = serde_json::from_str(r#"{"name": "engine"}"#).unwrap();
    world.engine.exists = true;
    world.engine.version = 1;
    world.engine.sql = if same_content { "A" } else { "Z" }.into();
    world.engine.tags = match marked {
        Marked::Nobody => vec!["team:billing".into()],
        Marked::Unnamed => vec![mark::owner_tag("gone")],
        Marked::SameName => mark::owner_tags("gone", &name("shop", "orders")),
        Marked::Other => mark::owner_tags("gone", &name("sandbox", "toy")),
    };
    world.engine.tick();
    world
}

fn is_taken(world: &World) -> bool {
    mark::uids(&world.engine.tags).eq(["uid-1"])
}

#[test]
fn a19_what_was_there_before_is_taken_over_only_if_the_right_owner_is_named() {
    for marked in ALL {
        for same_content in [true, false] {
            for released in [true, false] {
                for asked in [
                    None,
                    Some("orders"),
                    Some("shop/orders"),
                    Some("sandbox/toy"),
                    Some("x"),
                ] {
                    let mut world = found(marked, same_content);
                    world.mark_is_released = released;
                    let before = world.engine.tags.clone();
                    if let Some(asked) = asked {
                        world.annotate(annotation::ADOPT, asked);
                    }
                    world.settle();
                    let named = match marked {
                        Marked::Nobody => Some("orders"),
                        _ if released => Some("orders"),
                        Marked::Unnamed => None,
                        Marked::SameName => Some("shop/orders"),
                        Marked::Other => Some("sandbox/toy"),
                    };
                    let made_again = marked == Marked::SameName && same_content && !released;
                    let expected = asked.is_some() && asked == named || made_again;
                    let case = format!("{marked:?} {same_content} {released} {asked:?}");
                    assert_eq!(is_taken(&world), expected, "{case}");
                    if expected {
                        assert_ne!(world.phase(), "NameTaken", "{case}");
                        continue;
                    }
                    assert_eq!(world.engine.tags, before, "{case}");
                    assert_eq!(world.acts, [], "{case}");
                    assert_eq!(world.phase(), "NameTaken", "{case}");
                    assert_eq!(world.reported("NameTaken"), 1, "{case}");
                    let (_, reason, message) = world.condition("Stalled").unwrap();
                    assert_eq!(reason, "NameTaken");
                    match named {
                        Some(named) => assert!(
                            message.contains(&format!("sluice.dev/adopt={named}")),
                            "{case}: {message}"
                        ),
                        None => assert!(
                            message.contains("sluice.dev/release=orders"),
                            "{case}: {message}"
                        ),
                    }
                }
            }
        }
    }
}

#[test]
fn a19_nothing_beats_an_owner_that_lives() {
    for marked in ALL {
        for asked in ["orders", "shop/orders", "sandbox/toy"] {
            let mut world = found(marked, true);
            world.mark_is_released = true;
            world.rival = Some("Pipeline sandbox/toy".into());
            world.annotate(annotation::ADOPT, asked);
            world.settle();
            assert_eq!(world.acts, [], "{marked:?} {asked}");
            assert_eq!(world.phase(), "NameTaken");
            let (_, _, message) = world.condition("Stalled").unwrap();
            assert!(message.contains("Pipeline sandbox/toy"), "{message}");
        }
    }
}

#[test]
fn a19_who_loses_a_pipeline_says_so_and_its_question_is_void() {
    let mut world = World::waiting("A", "B");
    let id = world.approval().change_id;
    world.engine.tags = mark::owner_tags(
        "uid-9",
        &OwnerName {
            namespace: "shop".into(),
            name: "new".into(),
        },
    );
    world.rival = Some("Pipeline shop/new".into());
    world.settle();
    assert_eq!(world.phase(), "NameTaken");
    assert_eq!(world.reported("NameTaken"), 1);
    assert_eq!(world.approval_state(), Some(ApprovalState::Superseded));
    assert_eq!(world.status().waiting_since, None);
    world.annotate(annotation::APPROVE, &id);
    world.settle();
    assert_eq!(world.approve_calls(), 0);
    assert!(world.engine.bootstraps.is_empty());
}

/// In strict mode a right counts only while somebody has looked after it.
#[test]
fn a19_adopt_counts_only_if_the_policies_were_in_force_when_it_was_written() {
    let in_force = |epoch: &str, since: i64| Standing::InForce {
        epoch: epoch.into(),
        since: Timestamp::from_second(since).unwrap(),
    };
    let mut world = found(Marked::Nobody, true);
    world.trust.required = true;
    world.annotate(annotation::ADOPT, "orders");
    world.settle();
    assert!(!is_taken(&world));
    let (_, _, message) = world.condition("Stalled").unwrap();
    assert!(message.contains("policies"), "{message}");
    // What was written while there were none doesn't count when they come.
    world.trust.pipelines = in_force("e", 1_700_000_000);
    world.settle();
    assert!(!is_taken(&world));
    world.pipeline.metadata.annotations = None;
    world.settle();
    world.annotate(annotation::ADOPT, "orders");
    world.settle();
    assert!(is_taken(&world));
}

#[test]
fn a19_a_pipeline_of_the_last_release_gets_its_whole_mark_unasked() {
    let mut world = World::running("A");
    world.engine.tags = vec!["sluice:uid-1".into()];
    let mut status = world.status();
    status.mark = None;
    world.store(status);
    world.settle();
    let owners = mark::read(&world.engine.tags, "p-1").owners;
    assert_eq!(owners[0].name.as_ref().unwrap().to_string(), "shop/orders");
    assert_eq!(world.phase(), "Running");
}

#[test]
fn a19_a_copied_mark_makes_nobody_the_owner_who_does_not_know_the_pipeline() {
    let mut owner = World::running("A");
    owner.engine.tags.push(mark::owner_tag("uid-of-a-copy"));
    let state = owner.engine.state().unwrap();
    assert!(is_owned(&state, &owner.pipeline));
    let mut other = World::new("A");
    other.pipeline.metadata.uid = Some("uid-of-a-copy".into());
    assert!(!is_owned(&state, &other.pipeline));
}
