//! What is kept in memory of the objects that are watched: what is read of them there. Pure.
//!
//! Whoever may write an object decides how large it is, and there may be many. So what nobody reads here is
//! dropped, and of what is large only what tells objects apart: such a Pipeline is read again from the API
//! server when it is looked at.

use kube::{Resource, ResourceExt};

use super::{Guarded, GuardedVote};
use crate::crd::{EngineView, FINALIZER, GROUP, Pipeline, PipelineStatus, annotation};

/// Up to how many bytes of JSON a Pipeline is kept as it is. With 10,000 of this size the store takes
/// some 100 MiB; a Pipeline with a program of a page takes a quarter of it.
const WHOLE: usize = 8 << 10;

/// On what is kept in part: how many bytes the whole has. On no object of the API server's: there it would
/// be dropped like any other that isn't known.
const IN_PART: &str = "sluice.dev/kept-in-part";

/// How many characters are kept of an annotation of a Pipeline that is kept in part.
const WORD: usize = 128;

/// Keeps of a Pipeline what is read in the store.
pub(super) fn pipeline(object: &mut Guarded) {
    metadata(object);
    if object.0.is_err() {
        name_only(object);
    }
    if let Ok(pipeline) = &mut object.0 {
        pipeline.annotations_mut().remove(IN_PART);
        let size = size(pipeline);
        if size > WHOLE {
            in_part(pipeline, size);
        }
    }
}

/// Of what doesn't fit its type it is kept which one it is, whether it is on its way out, and whether it is held.
fn name_only(object: &mut impl Resource) {
    let metadata = object.meta_mut();
    metadata.annotations = None;
    metadata.owner_references = None;
    if let Some(finalizers) = &mut metadata.finalizers {
        finalizers.retain(|name| name == FINALIZER);
    }
}

/// Keeps of another object what is read in the store: of votes, and of Engines, all that is their own.
pub(super) fn metadata(object: &mut impl Resource) {
    let metadata = object.meta_mut();
    // Who has set which field is often more than half of an object, and kubectl's own annotation is the
    // spec once more.
    metadata.managed_fields = None;
    metadata.labels = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|key, _| {
            key.strip_prefix(GROUP)
                .is_some_and(|rest| rest.starts_with('/'))
        });
    }
}

/// Keeps of a vote what is read in the store.
pub(super) fn vote(object: &mut GuardedVote) {
    metadata(object);
    if object.0.is_err() {
        name_only(object);
    }
    if let Ok(vote) = &mut object.0 {
        vote.metadata.owner_references = None;
        let annotations = vote.annotations_mut();
        annotations.retain(|key, value| key == annotation::TRACEPARENT && value.len() <= WORD);
    }
}

/// Whether a Pipeline from the store isn't whole; how many bytes the whole has.
pub(super) fn whole_size(pipeline: &Pipeline) -> Option<usize> {
    pipeline.annotations().get(IN_PART)?.parse().ok()
}

fn in_part(pipeline: &mut Pipeline, size: usize) {
    let metadata = &mut pipeline.metadata;
    metadata.owner_references = None;
    if let Some(finalizers) = &mut metadata.finalizers {
        finalizers.retain(|name| name == FINALIZER);
    }
    // Whether there are votes is asked in the store, and in which trace they were given.
    let read = [
        annotation::APPROVE,
        annotation::REJECT,
        annotation::TRACEPARENT,
    ];
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.retain(|key, _| read.contains(&key.as_str()));
    for value in annotations.values_mut() {
        *value = value.chars().take(WORD).collect();
    }
    annotations.insert(IN_PART.to_owned(), size.to_string());
    let spec = &mut pipeline.spec;
    spec.runtime_config = None;
    if let Some(program) = &mut spec.program {
        program.sql = None;
        program.udf_rust = None;
        program.udf_toml = None;
        program.config = None;
    }
    pipeline.status = pipeline.status.take().map(|status| PipelineStatus {
        observed_generation: status.observed_generation,
        phase: status.phase,
        waiting_since: status.waiting_since,
        pipeline_name: status.pipeline_name,
        engine: status.engine.map(|engine| EngineView {
            pipeline_id: engine.pipeline_id,
            ..EngineView::default()
        }),
        build: status.build.map(|mut build| {
            build.message = None;
            build
        }),
        approval: status.approval.map(|mut approval| {
            approval.summary.clear();
            approval.approve_command.clear();
            approval.changed.clear();
            approval.votes.clear();
            approval.diff = None;
            approval.at_stake = None;
            approval.decision = None;
            approval.failure = None;
            approval
        }),
        ..PipelineStatus::default()
    });
    // Then it is large in a way of which nobody has thought yet.
    if self::size(pipeline) > WHOLE {
        pipeline.status = None;
    }
}

/// How many bytes of JSON an object has, without making them.
fn size(pipeline: &Pipeline) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, pipeline) {
        Ok(()) => count.0,
        // What has come as JSON can be written as JSON.
        Err(_) => usize::MAX,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(metadata: Value, spec: Value, status: Value) -> Guarded {
        let mut object = json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Pipeline",
            "metadata": metadata, "spec": spec, "status": status,
        });
        object["metadata"]["name"] = json!("orders");
        serde_json::from_value(object).unwrap()
    }

    fn kept(mut object: Guarded) -> Pipeline {
        pipeline(&mut object);
        object.0.unwrap()
    }

    #[test]
    fn what_others_write_beside_it_is_not_kept_and_what_is_asked_of_sluice_is() {
        let object = of(
            json!({
                "annotations": {
                    "sluice.dev/approve": "c", "sluice.dev.evil/x": "y", "example.com/notes": "n".repeat(200_000),
                },
                "labels": {"team": "shop"},
                "managedFields": [{"manager": "kubectl"}],
            }),
            json!({"program": {"sql": "SELECT 1"}}),
            json!({"phase": "Running"}),
        );
        let whole = kept(object);
        assert_eq!(whole_size(&whole), None);
        assert_eq!(
            whole.annotations().keys().collect::<Vec<_>>(),
            ["sluice.dev/approve"]
        );
        assert!(whole.metadata.labels.is_none() && whole.metadata.managed_fields.is_none());
        assert_eq!(whole.spec.program.unwrap().sql.unwrap(), "SELECT 1");
    }

    #[test]
    fn a20_of_a_large_one_only_what_tells_it_apart_is_kept_wherever_it_is_large() {
        let large = "x".repeat(200_000);
        let change = json!({
            "state": "Awaiting", "changeId": "c", "shortId": "c", "parent": "root",
            "target": {"sql": "", "udfRust": "", "udfToml": "", "config": "", "runtimeVersion": ""},
            "options": {}, "revision": 0, "since": "2026-01-01T00:00:00Z", "summary": large,
            "diffDigest": "", "approveCommand": large, "approvedFieldCounts": false,
        });
        let status = json!({"phase": "Running", "pipelineName": "p", "approval": change});
        let program = json!({"sql": "SELECT 1", "udfTomlFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}});
        let specs = [
            json!({"program": {"sql": large}, "approved": true}),
            json!({"program": {"sql": "", "config": {"x": large}}}),
            json!({"program": program, "runtimeConfig": {"x": large}}),
        ];
        let finalizers: Vec<String> = (0..9_000).map(|n| format!("example.com/{n}")).collect();
        let all = [
            of(json!({}), specs[0].clone(), status.clone()),
            of(json!({}), specs[1].clone(), json!({})),
            of(json!({}), specs[2].clone(), json!({})),
            of(json!({}), json!({}), status.clone()),
            of(
                json!({}),
                json!({}),
                json!({"engine": {"deploymentStatus": large}, "phase": "x"}),
            ),
            of(json!({}), json!({}), json!({"phase": large})),
            of(json!({"finalizers": finalizers}), json!({}), json!({})),
            of(
                json!({"annotations": {"sluice.dev/reject": "c", "sluice.dev/reason": large}}),
                json!({}),
                json!({}),
            ),
        ];
        for object in all {
            let before = object.0.clone().unwrap();
            let kept = kept(object);
            assert!(whole_size(&kept).unwrap() > WHOLE);
            assert!(size(&kept) < WHOLE / 2, "{kept:?}");
            // What is asked in the store is answered as before.
            assert_eq!(kept.name_any(), before.name_any());
            assert_eq!(kept.is_gate_only(), before.is_gate_only());
            assert_eq!(kept.engine_pipeline_name(), before.engine_pipeline_name());
            assert_eq!(
                crate::gate::decision::carries_votes(&kept),
                crate::gate::decision::carries_votes(&before)
            );
            assert_eq!(
                crate::gate::content::config_maps(kept.spec.program.as_ref()),
                crate::gate::content::config_maps(before.spec.program.as_ref())
            );
        }
        let kept = kept(of(json!({}), specs[0].clone(), status));
        let approval = kept.status.unwrap().approval.unwrap();
        assert_eq!(approval.change_id, "c");
    }

    #[test]
    fn nobody_can_say_of_a_whole_one_that_it_is_kept_in_part() {
        let object = of(
            json!({"annotations": {"sluice.dev/kept-in-part": "9"}}),
            json!({}),
            json!({}),
        );
        assert_eq!(whole_size(&kept(object)), None);
    }
}
