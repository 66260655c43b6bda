//! Once nothing disturbs any more, a Pipeline is where its spec wants it, or its status says what holds it.

use serde_json::Value;
use sluice::crd::{ApprovalState, DesiredState, Pipeline};

use crate::happenings::History;
use sluice_test_support::story::{ORDERS, eventually, is_current, status};

/// What may hold a Pipeline for as long as nobody acts or decides: reasons of `Ready`, which say so.
const HOLDS: [&str; 12] = [
    "AwaitingApproval",
    "Rejected",
    "ApplyFailed",
    "BootstrapRefused",
    "ChangeRefused",
    "CompileFailed",
    "Failed",
    "FoughtOver",
    "ImmutableSetting",
    "NameTaken",
    "PipelineLost",
    "StateLossNotAllowed",
];

/// For how long nothing is written where nothing moves.
const QUIET: std::time::Duration = std::time::Duration::from_secs(2);

/// Where a Pipeline has come to rest: the reason of its `Ready`.
pub async fn place(history: &History) -> String {
    let (story, seed) = (&history.story, history.seed);
    let place = eventually(
        "it rests where its spec wants it, or says what holds it",
        || async {
            let pipeline = story.now().await;
            let engine = shown_by_the_engine(history).await;
            let place = is_explained(&pipeline, &engine);
            let moves = || "it is written still".to_owned();
            let place = place.map(|place| async move {
                story.engine.ticks(2).await;
                tokio::time::sleep(QUIET).await;
                let after = story.now().await.metadata.resource_version;
                let is_quiet = after == pipeline.metadata.resource_version;
                is_quiet.then_some(place).ok_or_else(moves)
            });
            let place = match place {
                Ok(rests) => rests.await,
                Err(problem) => Err(problem),
            };
            place.map_err(|problem| {
                format!(
                    "SLUICE_HISTORY_SEED={seed}: {problem}; what happened:\n{}\nseen:\n{}",
                    history.log.join("\n"),
                    history.recording.states().join("\n"),
                )
            })
        },
    )
    .await;
    // What waits for its approval, or for a checkpoint before it is asked about, is kept compiled; and of everything else
    // nothing is left at the engine.
    let names = story.engine.names().await;
    let built = names.iter().any(|name| name.starts_with("sluice-build-"));
    let waits = place == "AwaitingApproval";
    assert!(
        waits || !built,
        "SLUICE_HISTORY_SEED={seed}: {place}, and {names:?}"
    );
    place
}

/// What the engine says that its pipeline does.
async fn shown_by_the_engine(history: &History) -> String {
    let engine = &history.story.engine;
    let all = engine.by_hand("GET", "/pipelines", Value::Null).await;
    let mut pipelines = all.as_array().into_iter().flatten();
    let orders = pipelines.find(|it| it["name"] == ORDERS);
    let status = orders.and_then(|it| it["deployment_status"].as_str());
    status.unwrap_or("gone").to_owned()
}

fn is_explained(pipeline: &Pipeline, engine: &str) -> Result<String, String> {
    let status = status(pipeline);
    let condition = |type_: &str| status.conditions.iter().find(|it| it.type_ == type_);
    let ready = condition("Ready").ok_or("nothing is said of whether it is ready")?;
    let said = format!(
        "{}={} {}: {}",
        ready.type_, ready.status, ready.reason, ready.message
    );
    if !is_current(pipeline) {
        return Err(format!("the status speaks of an older spec; {said}"));
    }
    if condition("Reconciling").is_some_and(|it| it.status == "True") {
        return Err(format!("something is still under way; {said}"));
    }
    let wanted = match pipeline.spec.desired_state {
        DesiredState::Running => "Running",
        DesiredState::Paused => "Paused",
        DesiredState::Stopped => "Stopped",
    };
    let waits = status
        .approval
        .as_ref()
        .filter(|it| it.state == ApprovalState::Awaiting);
    let decided_against = status.approval.as_ref();
    let decided_against = decided_against.filter(|it| it.state == ApprovalState::Rejected);
    let place = match (ready.status.as_str(), waits, decided_against) {
        // What is asked about before anything is stopped runs meanwhile, and says so.
        ("True", Some(_), _) => "AwaitingApproval",
        ("True", _, Some(_)) => "Rejected",
        ("True", _, _) => ready.reason.as_str(),
        (_, _, _) if HOLDS.contains(&ready.reason.as_str()) => return Ok(ready.reason.clone()),
        _ => return Err(format!("that isn't what holds a Pipeline; {said}")),
    };
    if engine != wanted {
        return Err(format!(
            "the spec wants {wanted}, and the engine shows {engine}; {said}"
        ));
    }
    Ok(place.to_owned())
}
