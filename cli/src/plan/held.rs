//! Why a file isn't applied, by what the operator says of the Pipeline as it is: only where that holds for the file,
//! too.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use sluice_gate::canonical;
use sluice_gate::change::Content;
use sluice_gate::crd::{
    BuildOutcome, Pipeline, PipelineStatus, Preview, PreviewOutcome, Target, annotation,
};
use sluice_gate::lineage;

use super::judge::Situation;

/// Of the words that the operator has for a Pipeline that was deleted and made again: its pipeline is taken over if
/// it has the program of the spec, so that a file with another program may do what the present one doesn't.
const WAS_OURS: &str = "the mark of an earlier Pipeline of this name";

/// What the operator leaves the pipeline alone for.
#[derive(Debug, PartialEq)]
pub enum LeftAlone {
    /// Whatever the file says.
    StillSo(String),
    /// Unless what the file changes does away with it.
    MayEnd(String),
}

/// Why the operator leaves the pipeline alone.
pub fn left_alone(file: &Pipeline, live: &Pipeline, same_content: bool) -> Option<LeftAlone> {
    let status = live.status.as_ref();
    let asks_anew = |key: &str, handled: fn(&PipelineStatus) -> &Option<String>| {
        let asked = file.annotation(key);
        let handled = status.and_then(|status| handled(status).as_deref());
        let is_handled = asked.is_some_and(|asked| canonical::is_remembered(asked, handled));
        asked.is_some() && asked != live.annotation(key) && !is_handled
    };
    let (message, may_end) = match (stalled(live, "NameTaken"), stalled(live, "FoughtOver")) {
        (Some(message), _) => {
            let adopts = asks_anew(annotation::ADOPT, |status| &status.handled_adopt);
            (
                message,
                adopts || message.contains(WAS_OURS) && !same_content,
            )
        }
        (None, Some(message)) => {
            let goes_on = asks_anew(annotation::RETRY, |status| &status.handled_retry);
            (message, goes_on)
        }
        (None, None) => return None,
    };
    Some(match may_end {
        true => LeftAlone::MayEnd(message.to_owned()),
        false => LeftAlone::StillSo(message.to_owned()),
    })
}

/// Why this content isn't brought to the engine.
pub fn by_its_content(
    situation: &Situation,
    content: &Content,
    status: &PipelineStatus,
) -> Option<String> {
    let file = situation.file;
    let retry = file.annotation(annotation::RETRY);
    let handled = status.handled_retry.as_deref();
    let is_tried_again = retry.is_some_and(|retry| !canonical::is_remembered(retry, handled));
    let is_held = status
        .content
        .as_ref()
        .is_some_and(|held| content.is(&held.digest, held.exact.as_deref()));
    if is_held {
        return None;
    }
    let refused = || {
        by_the_compiler(status, &content.target())
            .or_else(|| refused_before(situation.live, status, content))
    };
    let refused = if is_tried_again { None } else { refused() };
    refused.or_else(|| its_state_would_be_lost(situation, status))
}

fn by_the_compiler(status: &PipelineStatus, target: &Target) -> Option<String> {
    let asked = preview(status, target);
    let built = status.build.as_ref().filter(|build| {
        let failed = build.outcome == Some(BuildOutcome::Failed);
        failed && build.target == *target
    });
    let said = |it: &Option<String>| it.clone().unwrap_or_default();
    match asked {
        Some(Preview {
            outcome: PreviewOutcome::CompileError,
            message,
            ..
        }) => Some(format!("it doesn't compile: {}", said(message))),
        Some(Preview {
            outcome: PreviewOutcome::Refused,
            message,
            ..
        }) => Some(format!(
            "the engine can't bootstrap it from what runs: {}",
            said(message)
        )),
        _ => built.map(|build| format!("it doesn't compile: {}", said(&build.message))),
    }
}

/// What the engine answered when the operator asked it about just this change.
pub fn preview<'a>(status: &'a PipelineStatus, target: &Target) -> Option<&'a Preview> {
    let preview = status.preview.as_ref();
    preview.filter(|it| it.target == *target && it.parent == lineage::parent(status))
}

/// The engine's word on just this content.
fn refused_before(
    live: Option<&Pipeline>,
    status: &PipelineStatus,
    content: &Content,
) -> Option<String> {
    let refusal = status.refusal.as_ref()?;
    let is_it = content.is(&refusal.digest, refusal.exact.as_deref());
    // While it stalls the Pipeline, its storage wasn't cleared since.
    let shown = live.and_then(|live| {
        stalled(live, "ImmutableSetting").or_else(|| stalled(live, "EngineRefused"))
    });
    let shown = shown.filter(|shown| shown.contains(&refusal.message));
    match shown {
        Some(shown) if is_it => Some(shown.to_owned()),
        None if is_it && !refusal.only_with_storage => Some(refusal.message.clone()),
        _ => None,
    }
}

/// Why what runs isn't stopped for the file.
fn its_state_would_be_lost(situation: &Situation, status: &PipelineStatus) -> Option<String> {
    let engine = status.engine.as_ref()?.deployment_status.as_deref();
    let is_up = matches!(engine, Some("Running" | "Paused"));
    let held = status.content.as_ref();
    let without_storage = held.is_some_and(|held| held.target.without_storage);
    let is_lost = without_storage || !lineage::writes_checkpoints(status);
    if !is_up || !is_lost || situation.file.spec.allow_state_loss {
        return None;
    }
    let why = match without_storage {
        true => "without storage no checkpoints are written",
        false => "its engine writes no checkpoints",
    };
    Some(format!(
        "{why}, so stopping what runs would lose its state. Set spec.allowStateLoss: true to do it all the same"
    ))
}

/// What the operator says for now, which may be over before the file is applied.
pub fn for_now(live: &Pipeline) -> Option<String> {
    const PASSING: [&str; 3] = ["EngineNotFound", "EngineUnreachable", "EngineUnauthorized"];
    let ready = condition(live, "Ready")?;
    let holds = ready.status == "False" && PASSING.contains(&ready.reason.as_str());
    holds.then(|| {
        format!(
            "for now nothing of it is applied ({}): {}",
            ready.reason, ready.message
        )
    })
}

/// Why no approval counts for now.
pub fn no_approval_counts(live: &Pipeline) -> Option<String> {
    let condition = condition(live, "PoliciesNotInForce").filter(|it| it.status == "True")?;
    Some(format!("for now no approval counts: {}", condition.message))
}

/// Why nothing will happen to the Pipeline as it is, which the file doesn't change.
pub fn as_it_is(live: &Pipeline) -> Option<String> {
    let stalled = condition(live, "Stalled").filter(|it| it.status == "True")?;
    let is_current = stalled.observed_generation == live.metadata.generation;
    is_current.then(|| format!("the Pipeline is stalled as it is: {}", stalled.message))
}

fn stalled<'a>(live: &'a Pipeline, reason: &str) -> Option<&'a str> {
    let stalled = condition(live, "Stalled")?;
    (stalled.status == "True" && stalled.reason == reason).then_some(stalled.message.as_str())
}

fn condition<'a>(live: &'a Pipeline, type_: &str) -> Option<&'a Condition> {
    let mut conditions = live.status.as_ref()?.conditions.iter();
    conditions.find(|it| it.type_ == type_)
}
