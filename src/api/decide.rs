//! What is to be answered: from a Pipeline's live status, the query and the user. Pure.

use kube::ResourceExt;

use super::{
    error::{Error, Options},
    query::Query,
};
use crate::crd::{
    Approval, ApprovalState, Door, EngineView, Gate, Pipeline, Verdict, VoteDecision, annotation,
};
use crate::gate::votes::{Effect, effect};

/// What to do about a request for approval.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// Store the vote, then answer with the number.
    Store { change_id: String, number: i64 },
    /// The vote was stored before, and counted: answer with the number.
    Stored { change_id: String, number: i64 },
    /// Nothing can be voted on. But if this user's vote on this change is stored, this is its
    /// repetition, and the answer is the number; otherwise it is the error.
    Repeat {
        change_id: String,
        number: i64,
        otherwise: Error,
    },
    /// Answer with the error.
    Refuse(Error),
}

/// Decides what to answer to `user`, who may approve.
///
/// The last change that came to the gate stays in `status.approval` whatever becomes of it, so that
/// a call can be repeated after the change was applied.
pub(super) fn decide(pipeline: &Pipeline, query: &Query, user: &str) -> Answer {
    let status = pipeline.status.as_ref();
    let engine = status.and_then(|status| status.engine.as_ref());
    let Some(approval) = status.and_then(|status| status.approval.as_ref()) else {
        return Answer::Refuse(nothing_waits(pipeline, query, engine, None));
    };
    let effect = effect(approval.state, VoteDecision::Approve);
    let waits = effect == Effect::Counts && pipeline.metadata.deletion_timestamp.is_none();

    if let Some(change_id) = &query.change_id
        && *change_id != approval.change_id
    {
        return Answer::Refuse(if waits {
            Error::OtherChangeAwaitingApproval {
                pipeline_name: name(pipeline),
                change_id: change_id.clone(),
                waiting_change_id: approval.change_id.clone(),
            }
        } else {
            nothing_waits(pipeline, query, engine, Some(approval))
        });
    }
    let refusal = if !waits {
        Some(nothing_waits(pipeline, query, engine, Some(approval)))
    } else if !at_the_gate(approval, engine) {
        Some(not_deployed(pipeline, engine, Some(approval)))
    } else {
        None
    };
    if let Some(other) = other_options(pipeline, query, approval) {
        return Answer::Refuse(refusal.unwrap_or(other));
    }
    // Of a change that was rejected, that couldn't be applied, or whose place another one took, "accepted" would be
    // a lie, whoever voted for it.
    if let Some(refusal) = &refusal
        && effect == Effect::Nothing
    {
        return Answer::Refuse(refusal.clone());
    }
    let Some(number) = approval.base.as_ref().and_then(|base| base.sequence_number) else {
        return Answer::Refuse(refusal.unwrap_or_else(|| Error::CheckpointUnknown {
            pipeline_name: name(pipeline),
            change_id: approval.change_id.clone(),
        }));
    };
    let change_id = approval.change_id.clone();
    match refusal {
        None => Answer::Store { change_id, number },
        // The object may be gone by now: votes are cleared away after their change is settled.
        Some(_) if voted(approval, user) => Answer::Stored { change_id, number },
        Some(otherwise) => Answer::Repeat {
            change_id,
            number,
            otherwise,
        },
    }
}

/// Whether the deployment that the change was published for still waits in the engine. What waits at
/// Sluice's own gate isn't deployed yet.
fn at_the_gate(approval: &Approval, engine: Option<&EngineView>) -> bool {
    approval.gate == Gate::Sluice
        || engine.is_some_and(|engine| {
            approval.deployment_id.is_some()
                && approval.deployment_id == engine.deployment_id
                && engine.deployment_status.as_deref() == Some("AwaitingApproval")
        })
}

fn voted(approval: &Approval, user: &str) -> bool {
    approval
        .votes
        .iter()
        .any(|vote| vote.via == Door::Rest && vote.outcome == Verdict::Approved && vote.by == user)
}

fn other_options(pipeline: &Pipeline, query: &Query, approval: &Approval) -> Option<Error> {
    let differs =
        |asked: Option<bool>, published: bool| asked.is_some_and(|asked| asked != published);
    let published = approval.options;
    let other = differs(query.silent_bootstrap, published.silent)
        || differs(query.concurrent_bootstrap, published.concurrent);
    other.then(|| Error::OtherBootstrapOptions {
        pipeline_name: name(pipeline),
        change_id: approval.change_id.clone(),
        requested: query.options(),
        published: Options {
            silent_bootstrap: Some(published.silent),
            concurrent_bootstrap: Some(published.concurrent),
        },
    })
}

/// Nothing waits; if that is because nothing is deployed, that is what to say.
fn nothing_waits(
    pipeline: &Pipeline,
    query: &Query,
    engine: Option<&EngineView>,
    approval: Option<&Approval>,
) -> Error {
    let deployed = engine.is_some_and(|engine| engine.deployment_id.is_some());
    // A decision that was made says more than that the pipeline is stopped because of it.
    let decided = approval.is_some_and(|approval| approval.state != ApprovalState::Awaiting);
    if !deployed && !decided {
        return not_deployed(pipeline, engine, approval);
    }
    Error::NoChangeAwaitingApproval {
        pipeline_name: name(pipeline),
        change_id: query.change_id.clone(),
        waiting_change_id: None,
        last_change_id: approval.map(|approval| approval.change_id.clone()),
        last_change_state: approval.map(|approval| approval.state),
        instead: approval.and_then(instead),
    }
}

/// What to do where an approval is spent although it isn't in force.
fn instead(approval: &Approval) -> Option<String> {
    (approval.state == ApprovalState::ApplyFailed).then(|| {
        format!(
            ". It was approved and couldn't be applied, and no approval of it counts any more: correct the program, or have it asked about anew by the annotation {}: {}",
            annotation::RETRY,
            approval.change_id
        )
    })
}

fn not_deployed(
    pipeline: &Pipeline,
    engine: Option<&EngineView>,
    approval: Option<&Approval>,
) -> Error {
    Error::PipelineInteractionNotDeployed {
        pipeline_name: name(pipeline),
        status: engine.and_then(|engine| engine.deployment_status.clone()),
        change_id: approval.map(|approval| approval.change_id.clone()),
    }
}

fn name(pipeline: &Pipeline) -> String {
    match pipeline.engine_pipeline_name() {
        "" => pipeline.name_any(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
