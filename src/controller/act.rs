//! Carries out one engine call: a live read, the guard, the call, another live read.

use tracing::{Instrument, info, info_span};

use super::observe::{self, View};
use super::{Context, Error};
use crate::crd::Pipeline;
use crate::engine::{self, Feldera};
use crate::gate::change::Content;
use crate::gate::decide::{
    Act, CallOutcome, EngineCall, Guard, Observation, build_tag, is_of, is_own_build,
};

/// Carries out an act if its guard holds in a read made just before, which may be in view already, and looks again afterwards.
/// `None` if there is nothing to be told of it but what is in view now.
///
/// # Errors
/// When this replica doesn't lead any more, and so nothing was called.
pub(super) async fn perform(
    act: &Act,
    guard: &Guard,
    is_in_view: bool,
    pipeline: &Pipeline,
    view: &mut View,
    context: &Context,
) -> Result<Option<CallOutcome>, Error> {
    let name = pipeline.engine_pipeline_name();
    let word = act.call();
    let failed = |error| Ok(Some(CallOutcome::Failed { act: word, error }));
    if *act == Act::Look {
        return match observe::look(name, view).await {
            Ok(_) => Ok(None),
            Err(error) => failed(error),
        };
    }
    if !guard.is_empty() {
        if !is_in_view && let Err(error) = observe::look(name, view).await {
            return failed(error);
        }
        if !guard.holds(view.state()) {
            info!(
                act = word.as_str(),
                "what the engine shows now is not what was decided on; nothing was called"
            );
            return Ok(Some(CallOutcome::GuardFailed));
        }
    }
    let Some(engine) = view.engine.clone() else {
        return Ok(None);
    };
    // What is stopped at once because it waits at the gate would lose what came in since it has left
    // it, and the manager's word on that may be seconds old.
    let stops_at_the_gate = *act == Act::Stop { force: true } && guard.is_of_the_gate();
    if stops_at_the_gate && engine.ask(|client| client.has_left_the_gate(name)).await {
        info!(
            act = word.as_str(),
            "the pipeline has left the gate by now; it isn't stopped"
        );
        return Ok(Some(CallOutcome::LeftTheGate));
    }
    // Last of all: a process that was paused may wake up here.
    if !context.leadership.holds() {
        return Err(Error::NotLeading);
    }
    // From here on it may arrive, whatever is heard of it.
    context.memories.of(pipeline, |memory| memory.tried(act));
    let span = info_span!("engine_call", call = word.as_str(), otel.kind = "client");
    let result = engine
        .ask(|client| call(act, name, pipeline, view, client))
        .instrument(span)
        .await;
    if let Act::Build { name, .. } | Act::DropBuild { name, .. } = act
        && result.is_ok()
    {
        view.build = observe::look_at_build(name, &engine).await;
    }
    context
        .metrics
        .engine_call(word.as_str(), result.as_ref().err());
    engine.poller.nudge();
    match result {
        Ok(outcome) => {
            info!(act = word.as_str(), "called the engine");
            // How the call ended shows in the next look; an error there doesn't undo it.
            let _ = observe::look(name, view).await;
            Ok(Some(outcome))
        }
        Err(error) => {
            info!(act = word.as_str(), %error, "a call to the engine failed");
            failed(error)
        }
    }
}

async fn call(
    act: &Act,
    name: &str,
    pipeline: &Pipeline,
    view: &View,
    engine: &Feldera,
) -> Result<CallOutcome, engine::Error> {
    let word = act.call();
    match act {
        Act::Look => {}
        Act::Create { tags, content } => {
            let created = engine.create(name, tags, content).await?;
            return Ok(CallOutcome::Updated {
                not_shown: content.not_shown_by(&created.content),
                settings: content.settings_answered_by(&created.content),
                id: created.state.id,
                version: created.state.version,
                content: content.clone(),
            });
        }
        Act::Adopt { tags } => {
            engine.set_tags(name, tags).await?;
            if let Observation::Answered {
                pipeline: Some(seen),
                ..
            } = &view.observation
            {
                return Ok(CallOutcome::Owned(seen.state().id.clone()));
            }
        }
        Act::Mark { tags, digest } => {
            engine.set_tags(name, tags).await?;
            return Ok(CallOutcome::Marked(digest.clone()));
        }
        Act::Preview(content) => {
            return Ok(CallOutcome::Previewed {
                target: content.target(),
                answer: engine.diff(name, content).await?,
            });
        }
        Act::Update(content) => {
            let updated = engine.update(name, content).await?;
            return Ok(CallOutcome::Updated {
                not_shown: content.not_shown_by(&updated.content),
                settings: content.settings_answered_by(&updated.content),
                id: updated.state.id,
                version: updated.state.version,
                content: content.clone(),
            });
        }
        Act::Recompile(content) => {
            let tags = tags(view);
            engine.recompile(name, &tags, content).await?;
        }
        Act::DismissError => engine.dismiss_error(name).await?,
        Act::Start(options) => engine.start(name, options).await?,
        Act::Stop { force: true } => engine.stop(name, true).await?,
        Act::Stop { force: false } => {
            // What it can't say for now, the manager's list has to.
            let newest = engine.checkpoints(name).await.ok();
            engine.stop(name, false).await?;
            let newest = newest.and_then(|mut all| all.pop());
            return Ok(CallOutcome::Stopping { newest });
        }
        Act::Pause => engine.pause(name).await?,
        Act::Resume => engine.resume(name).await?,
        Act::Approve(options) => {
            let change = pipeline
                .status
                .as_ref()
                .and_then(|status| status.approval.as_ref());
            info!(
                change = change.map(|change| change.change_id.as_str()),
                "telling the engine to go on"
            );
            engine.approve(name, *options).await?;
            return Ok(CallOutcome::ApproveCalled);
        }
        Act::Clear => engine.clear(name).await?,
        Act::Build { name, tag, content } => return build(name, tag, content, engine).await,
        Act::LookAtBuild { name, id, content } => {
            let Some(full) = engine.get(name).await? else {
                return Ok(CallOutcome::Done(word));
            };
            if full.state.id != *id || !is_of(content, &full) {
                return Ok(CallOutcome::BuildNameTaken(full.state.id));
            }
            return Ok(match full.state.program_status.as_str() {
                _ if !full.state.compile_failed() => CallOutcome::Done(word),
                // A fault of the compiler itself says nothing of the program.
                "SystemError" => CallOutcome::BuildFailed(None),
                status => CallOutcome::BuildFailed(Some(format!(
                    "{status}: {}",
                    full.compile_error.as_deref().unwrap_or_default()
                ))),
            });
        }
        Act::DropBuild { name, id } => drop_build(name, id.as_deref(), pipeline, engine).await?,
        Act::Checkpoint => {
            let started = engine.checkpoint(name).await?;
            return Ok(CallOutcome::CheckpointRequested {
                number: started.checkpoint_sequence_number,
                incarnation: started.incarnation_uuid,
            });
        }
    }
    Ok(CallOutcome::Done(word))
}

async fn build(
    name: &str,
    tag: &str,
    content: &Content,
    engine: &Feldera,
) -> Result<CallOutcome, engine::Error> {
    match engine.create(name, &[tag.to_owned()], content).await {
        Ok(created) => return Ok(CallOutcome::BuildIsThere(created.state.id)),
        Err(engine::Error::Refused { code, .. }) if code == "DuplicateName" => {}
        Err(error) => return Err(error),
    }
    // It was made before a crash, or by a call that came through although it wasn't answered; or it is
    // somebody else's.
    Ok(match engine.get(name).await? {
        None => CallOutcome::Done(EngineCall::Build),
        Some(found) if is_own_build(&found, tag, content) => {
            CallOutcome::BuildIsThere(found.state.id)
        }
        Some(found) => CallOutcome::BuildNameTaken(found.state.id),
    })
}

/// Removes what was compiled beforehand, if it is that and was never started.
async fn drop_build(
    name: &str,
    id: Option<&str>,
    pipeline: &Pipeline,
    engine: &Feldera,
) -> Result<(), engine::Error> {
    let Some(found) = engine.get(name).await? else {
        return Ok(());
    };
    let tag = build_tag(pipeline.metadata.uid.as_deref().unwrap_or_default());
    let is_ours = match id {
        Some(id) => found.state.id == id,
        // Made just before a crash, so that its id was never written down.
        None => found.state.tags.contains(&tag),
    };
    if is_ours && found.state.is_stopped() {
        match engine.delete(name).await {
            Err(engine::Error::NotFound) => {}
            result => result?,
        }
    }
    Ok(())
}

fn tags(view: &View) -> Vec<String> {
    match &view.observation {
        Observation::Answered {
            pipeline: Some(seen),
            ..
        } => seen.state().tags.clone(),
        _ => vec![],
    }
}
