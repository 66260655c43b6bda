//! Who else has, or may have, a Pipeline's pipeline of the engine: by the cluster, and by the mark that the engine's pipeline
//! carries (rule A19). What becomes of a pipeline that nobody who lives owns is decided by `decide`.

use kube::ResourceExt;

use super::engines::EngineKey;
use super::{Context, Guarded, observe};
use crate::crd::{Pipeline, annotation};
use crate::gate::decide::{self, Observation};
use crate::mark::{self, Owner};

/// Who else has the same pipeline of the same engine.
pub(super) fn rival(
    pipeline: &Pipeline,
    view: &observe::View,
    context: &Context,
) -> Option<String> {
    // Which engines are the same isn't known before all of them were looked at.
    if view.engine.is_none() {
        context.claims.withdraw(pipeline);
        return None;
    }
    let (claims, existing) = (&context.claims, &context.pipelines);
    let older = claims.claim(pipeline, &context.engines, existing);
    let Observation::Answered {
        pipeline: Some(seen),
        ..
    } = &view.observation
    else {
        return older;
    };
    let state = seen.state();
    let owners = mark::read(&state.tags, &state.id).owners;
    // Whose name the mark bears was there before any that only waits for it, also if it was made again since.
    let bears_this_name = matches!(owners.as_slice(), [owner] if is_named(owner, pipeline));
    if let Some(older) = older.filter(|_| !bears_this_name) {
        return Some(older);
    }
    if owners.is_empty()
        && !state.id.is_empty()
        // Whom it is known to be of needs no word.
        && (pipeline.is_gate_only() || !decide::is_owned(state, pipeline))
        && let Some(guest) = claims.earlier_guest(pipeline, &state.id, existing)
    {
        return Some(guest);
    }
    let mut others = owners
        .iter()
        .filter(|owner| Some(&owner.uid) != pipeline.metadata.uid.as_ref());
    others.find_map(|owner| living(owner, pipeline, context))
}

/// Whether a mark bears the name of this Pipeline.
fn is_named(owner: &Owner, pipeline: &Pipeline) -> bool {
    owner.name.as_ref().is_some_and(|name| {
        Some(&name.namespace) == pipeline.metadata.namespace.as_ref()
            && Some(&name.name) == pipeline.metadata.name.as_ref()
    })
}

/// Whether the word of whoever may edit the Engine counts that the mark of a Pipeline that is gone doesn't: only of one
/// that can't be asked about otherwise, since it bears no name, or that of a namespace that isn't looked after here.
pub(super) fn mark_is_released(
    pipeline: &Pipeline,
    observation: &Observation,
    context: &Context,
) -> bool {
    let Observation::Answered {
        pipeline: Some(seen),
        ..
    } = observation
    else {
        return false;
    };
    let state = seen.state();
    let owners = mark::read(&state.tags, &state.id).owners;
    let can_be_asked_about = |owner: &Owner| {
        let name = owner.name.as_ref();
        name.is_some_and(|name| is_looked_after(&name.namespace, context))
    };
    !owners.iter().any(can_be_asked_about) && context.engines.releases(pipeline)
}

/// The Pipeline whose mark an engine's pipeline carries, if it lives, or may live where nobody here can see it.
fn living(owner: &Owner, pipeline: &Pipeline, context: &Context) -> Option<String> {
    let name = pipeline.engine_pipeline_name();
    let engine_of = |pipeline: &Pipeline| context.engines.identity(&EngineKey::of(pipeline));
    let engine = engine_of(pipeline);
    // One that was made again since is the same to those whom it was made by.
    let is_it = |object: &Guarded| {
        object.uid().as_deref() == Some(&owner.uid)
            || (object.0.as_ref()).is_ok_and(|it| {
                is_named(owner, it)
                    && it.engine_pipeline_name() == name
                    && engine_of(it) == engine
                    && it.uid() != pipeline.uid()
            })
    };
    if let Some(found) = context.pipelines.find(is_it) {
        let namespace = found.namespace().unwrap_or_default();
        return Some(format!("Pipeline {namespace}/{}", found.name_any()));
    }
    let may_be_elsewhere = match &owner.name {
        Some(name) => !is_looked_after(&name.namespace, context),
        None => context.settings.namespace.is_some(),
    };
    let may_live = may_be_elsewhere && !context.engines.releases(pipeline);
    may_live.then(|| match &owner.name {
        Some(name) => format!(
            "Pipeline {name}, in a namespace that this Sluice doesn't look after (if it is gone, somebody who may edit the Engine releases it with the annotation {}),",
            annotation::RELEASE
        ),
        None => format!(
            "a Pipeline whose name isn't known, perhaps in a namespace that this Sluice doesn't look after (if it is gone, somebody who may edit the Engine releases it with the annotation {}),",
            annotation::RELEASE
        ),
    })
}

/// Whether the Pipelines of a namespace are looked after here, so that it is known which of them are there.
fn is_looked_after(namespace: &str, context: &Context) -> bool {
    let only = context.settings.namespace.as_ref();
    only.is_none_or(|only| only == namespace)
}
