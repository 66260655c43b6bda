//! Checkpoints and the gate: what a change meets on its way in, and on its way back.

use reqwest::Method;
use serde_json::{Value, json};

use super::{created_and_compiled, names_the_change};
use crate::answer::{Difference, ensure, shortened};
use crate::case::{Case, Edition, Outcome};
use crate::programs;
use crate::stage::{Stage, summary};

const AWAIT: &str = "?bootstrap_policy=await_approval";

/// A case of the edition that has a gate.
const fn case(name: &'static str, expected: &'static str, look: crate::case::Look) -> Case {
    Case::new(name, expected, look).only(Edition::Enterprise)
}

/// The cases.
pub const CASES: &[Case] = &[
    case(
        "gate/created",
        "201, and program_status becomes Success",
        |stage| Box::pin(created(stage)),
    )
    .carries(),
    case("gate/runs", "start: Running", |stage| Box::pin(runs(stage))).carries(),
    case(
        "gate/checkpoint",
        "checkpoint: 200 with a number, which checkpoint_status reaches",
        |stage| Box::pin(checkpoint(stage)),
    )
    .carries(),
    case(
        "gate/checkpoints",
        "checkpoints: 200, a list with uuid, fingerprint and steps",
        |stage| Box::pin(checkpoints(stage)),
    ),
    case(
        "gate/checkpoint-in-status",
        "selector=status shows it in storage_status_details",
        |stage| Box::pin(checkpoint_in_status(stage)),
    ),
    case(
        "gate/graceful-stop",
        "stop?force=false: 202, then Stopped",
        |stage| Box::pin(graceful_stop(stage)),
    )
    .carries(),
    case(
        "gate/unchanged",
        "the same program meets no gate: Running",
        |stage| Box::pin(unchanged(stage)),
    )
    .carries(),
    case(
        "gate/edited",
        "PATCH of the program: 200, version raised, Success",
        |stage| Box::pin(edited(stage)),
    )
    .carries(),
    case(
        "gate/waits",
        "a changed program waits: AwaitingApproval",
        |stage| Box::pin(waits(stage)),
    )
    .carries(),
    case(
        "gate/diff",
        "the diff names the changed and the new view, nothing else",
        |stage| Box::pin(diff(stage)),
    ),
    case(
        "gate/diff-as-previewed",
        "POST /diff had said the same",
        |stage| Box::pin(diff_as_previewed(stage)),
    )
    .since(324),
    case(
        "gate/stats",
        "stats while it waits: 503 Initializing",
        |stage| Box::pin(stats(stage)),
    ),
    case(
        "gate/checkpoint-refused",
        "checkpoint while it waits: 503 Initializing",
        |stage| Box::pin(checkpoint_refused(stage)),
    ),
    case(
        "gate/patch-program",
        "PATCH of the program while it waits: 400 UpdateRestrictedToStopped",
        |stage| Box::pin(patch_program(stage)),
    ),
    case(
        "gate/other-policy",
        "start with allow: 400 BootstrapPolicyImmutableUnlessStopped, it waits on",
        |stage| Box::pin(other_policy(stage)),
    ),
    case(
        "gate/both-options",
        "approve both silent and concurrent: 400 InvalidBootstrapConfig, it waits on",
        |stage| Box::pin(both_options(stage)),
    )
    .since(325),
    case(
        "gate/pause",
        "pause, then resume: 202, and it waits on",
        |stage| Box::pin(pause(stage)),
    ),
    case(
        "gate/force-stop",
        "stop?force=true: 202, then Stopped; the checkpoint stays",
        |stage| Box::pin(force_stop(stage)),
    )
    .carries(),
    case(
        "gate/old-again",
        "the old program meets no gate: Running",
        |stage| Box::pin(old_again(stage)),
    )
    .carries(),
    case(
        "gate/waits-again",
        "the change waits again, with the same diff, in another deployment",
        |stage| Box::pin(waits_again(stage)),
    )
    .carries(),
    case(
        "gate/approve",
        "approve: 200 with a string (before 0.313: 2xx)",
        |stage| Box::pin(approve(stage)),
    )
    .carries(),
    case(
        "gate/applied",
        "it leaves the gate, and becomes Running",
        |stage| Box::pin(applied(stage)),
    )
    .carries(),
    case(
        "gate/approve-nothing",
        "approve although nothing waits: 2xx all the same",
        |stage| Box::pin(approve_nothing(stage)),
    ),
    case(
        "gate/no-checkpoint",
        "the bootstrap wrote no checkpoint",
        |stage| Box::pin(no_checkpoint(stage)),
    ),
    case(
        "gate/asks-again",
        "without a new checkpoint a new start asks again, and can be approved",
        |stage| Box::pin(asks_again(stage)),
    )
    .carries(),
    case(
        "gate/sealed",
        "after a checkpoint a new start meets no gate: Running",
        |stage| Box::pin(sealed(stage)),
    )
    .carries(),
    case(
        "gate/rejected",
        "with policy reject a change fails: Stopped, deployment_error says so",
        |stage| Box::pin(rejected(stage)),
    )
    .carries(),
    case(
        "gate/undismissed",
        "start?dismiss_error=false: 400 CannotStartWithUndismissedError",
        |stage| Box::pin(undismissed(stage)),
    ),
    case(
        "gate/dismissed",
        "dismiss_error: 200, deployment_error is null",
        |stage| Box::pin(dismissed(stage)),
    ),
    case(
        "gate/allowed",
        "with policy allow a change meets no gate: Running",
        |stage| Box::pin(allowed(stage)),
    ),
];

async fn created(stage: &mut Stage) -> Outcome {
    created_and_compiled(stage, &programs::old()).await
}

async fn runs(stage: &mut Stage) -> Outcome {
    stage.start(AWAIT, "Running").await?;
    Ok("Running".to_owned())
}

async fn checkpoint(stage: &mut Stage) -> Outcome {
    stage.checkpoint().await
}

async fn checkpoints(stage: &mut Stage) -> Outcome {
    let newest = stage.newest_checkpoint().await?;
    ensure(
        newest["uuid"].is_string() && newest["fingerprint"].is_u64() && newest["steps"].is_u64(),
        || format!("a checkpoint {newest}"),
    )?;
    Ok(format!("{}, steps {}", newest["uuid"], newest["steps"]))
}

/// The newest checkpoint that a status shows.
fn shown_checkpoint(status: &Value) -> Value {
    status
        .pointer("/storage_status_details/checkpoints")
        .and_then(Value::as_array)
        .and_then(|list| list.last())
        .map(|checkpoint| checkpoint["uuid"].clone())
        .unwrap_or_default()
}

async fn checkpoint_in_status(stage: &mut Stage) -> Outcome {
    let expected = stage.newest_checkpoint().await?["uuid"].clone();
    let good = |status: &Value| shown_checkpoint(status) == expected;
    stage
        .until("showing the checkpoint", good, |_| false)
        .await?;
    Ok(expected.to_string())
}

async fn graceful_stop(stage: &mut Stage) -> Outcome {
    let answer = stage.post("/stop?force=false").await?;
    answer.is(202)?;
    let status = stage.until_stopped().await?;
    ensure(status["deployment_error"].is_null(), || summary(&status))?;
    Ok("202, then Stopped".to_owned())
}

async fn unchanged(stage: &mut Stage) -> Outcome {
    stage.start(AWAIT, "Running").await?;
    Ok("Running".to_owned())
}

async fn edited(stage: &mut Stage) -> Outcome {
    // Asked while the old program is there to be compared with. Older engines have no such call.
    let path = format!("/pipelines/{}/diff", stage.name);
    let body = json!({"program_code": programs::new()});
    let preview = stage
        .engine
        .call_slowly(Method::POST, &path, Some(&body))
        .await?;
    stage.keep("preview", preview.json.unwrap_or_default());
    stage.stop().await?;
    let before = stage.status().await?["version"].as_i64();
    let after = stage.change(&programs::new()).await?["version"].as_i64();
    ensure(before < after, || {
        format!("version {before:?} became {after:?}")
    })?;
    Ok("200, version raised, Success".to_owned())
}

/// The diff that waits. Managers before 0.322 put it one level higher.
fn waiting_diff(status: &Value) -> Value {
    let details = &status["deployment_runtime_status_details"]["approval_diff"];
    let diff = if details.is_null() {
        &status["approval_diff"]
    } else {
        details
    };
    diff.clone()
}

async fn waits(stage: &mut Stage) -> Outcome {
    let status = stage.start(AWAIT, "AwaitingApproval").await?;
    stage.keep("diff", waiting_diff(&status));
    stage.keep("deployment", status["deployment_id"].clone());
    Ok("AwaitingApproval".to_owned())
}

async fn diff(stage: &mut Stage) -> Outcome {
    names_the_change(&stage.kept("diff"))?;
    Ok("modified totals, added large".to_owned())
}

async fn diff_as_previewed(stage: &mut Stage) -> Outcome {
    let (preview, diff) = (stage.kept("preview"), stage.kept("diff"));
    ensure(preview == diff, || {
        format!("the preview was {}", shortened(&preview.to_string()))
    })?;
    Ok("the same".to_owned())
}

async fn stats(stage: &mut Stage) -> Outcome {
    let answer = stage.get("/stats").await?;
    answer.is_error(503, "Initializing")?;
    Ok(answer.seen())
}

/// It must still wait.
async fn waits_on(stage: &Stage) -> Result<(), Difference> {
    let status = stage.status().await?;
    ensure(status["deployment_status"] == "AwaitingApproval", || {
        summary(&status)
    })
}

async fn checkpoint_refused(stage: &mut Stage) -> Outcome {
    let answer = stage.post("/checkpoint").await?;
    answer.is_error(503, "Initializing")?;
    Ok(answer.seen())
}

async fn patch_program(stage: &mut Stage) -> Outcome {
    let answer = stage
        .patch(&json!({"program_code": programs::old()}))
        .await?;
    answer.is_error(400, "UpdateRestrictedToStopped")?;
    Ok(answer.seen())
}

async fn other_policy(stage: &mut Stage) -> Outcome {
    let answer = stage.post("/start?bootstrap_policy=allow").await?;
    answer.is_error(400, "BootstrapPolicyImmutableUnlessStopped")?;
    waits_on(stage).await?;
    Ok(format!("{}, waits", answer.seen()))
}

async fn both_options(stage: &mut Stage) -> Outcome {
    let query = "/approve?silent_bootstrap=true&concurrent_bootstrap=true";
    let answer = stage.post(query).await?;
    answer.is_error(400, "InvalidBootstrapConfig")?;
    waits_on(stage).await?;
    Ok(format!("{}, waits", answer.seen()))
}

async fn pause(stage: &mut Stage) -> Outcome {
    for (call, desired) in [("/pause", "Paused"), ("/resume", "Running")] {
        stage.post(call).await?.is(202)?;
        let good = |status: &Value| status["deployment_desired_status"] == desired;
        stage
            .until(&format!("desired {desired}"), good, |_| false)
            .await?;
        waits_on(stage).await?;
    }
    Ok("202, 202, waits".to_owned())
}

async fn force_stop(stage: &mut Stage) -> Outcome {
    let before = shown_checkpoint(&stage.status().await?);
    let status = stage.stop().await?;
    let after = shown_checkpoint(&status);
    ensure(after.is_string() && before == after, || {
        format!("the newest checkpoint was {before}, and is {after}")
    })?;
    Ok(format!("202, then Stopped with {after}"))
}

async fn old_again(stage: &mut Stage) -> Outcome {
    stage.change(&programs::old()).await?;
    stage.start(AWAIT, "Running").await?;
    stage.stop().await?;
    Ok("Running".to_owned())
}

async fn waits_again(stage: &mut Stage) -> Outcome {
    stage.change(&programs::new()).await?;
    let status = stage.start(AWAIT, "AwaitingApproval").await?;
    let (before, now) = (stage.kept("diff"), waiting_diff(&status));
    ensure(before == now, || {
        format!("the diff is {}", shortened(&now.to_string()))
    })?;
    let (before, now) = (stage.kept("deployment"), &status["deployment_id"]);
    ensure(before != *now && now.is_string(), || {
        format!("deployment_id {now}, before {before}")
    })?;
    stage.keep("checkpoint", shown_checkpoint(&status));
    Ok("AwaitingApproval, the same diff".to_owned())
}

async fn approve(stage: &mut Stage) -> Outcome {
    let answer = stage.post("/approve").await?;
    answer.is_good()?;
    if stage.info.is_since(313) {
        ensure(answer.is(200)?.json()?.is_string(), || {
            format!("{}, which isn't a string", answer.seen())
        })?;
    }
    Ok(answer.seen())
}

async fn applied(stage: &mut Stage) -> Outcome {
    // What a GET tells may be as old as the manager's last poll: still waiting is no failure.
    let good = |status: &Value| status["deployment_status"] == "Running";
    let hopeless = |status: &Value| status["deployment_status"] == "Stopped";
    stage.until("Running", good, hopeless).await?;
    Ok("Running".to_owned())
}

async fn approve_nothing(stage: &mut Stage) -> Outcome {
    let answer = stage.post("/approve").await?;
    answer.is_good()?;
    Ok(answer.seen())
}

async fn no_checkpoint(stage: &mut Stage) -> Outcome {
    let newest = stage.newest_checkpoint().await?["uuid"].clone();
    let before = stage.kept("checkpoint");
    ensure(newest == before, || {
        format!("the newest is {newest}; before the bootstrap it was {before}")
    })?;
    Ok("the same as before".to_owned())
}

async fn asks_again(stage: &mut Stage) -> Outcome {
    stage.stop().await?;
    stage.start(AWAIT, "AwaitingApproval").await?;
    approve(stage).await?;
    applied(stage).await?;
    Ok("AwaitingApproval, then Running".to_owned())
}

async fn sealed(stage: &mut Stage) -> Outcome {
    stage.checkpoint().await?;
    stage.stop().await?;
    stage.start(AWAIT, "Running").await?;
    Ok("Running".to_owned())
}

async fn rejected(stage: &mut Stage) -> Outcome {
    stage.stop().await?;
    stage.change(&programs::old()).await?;
    stage
        .post("/start?bootstrap_policy=reject")
        .await?
        .is(202)?;
    let good = |status: &Value| {
        status["deployment_status"] == "Stopped" && !status["deployment_error"].is_null()
    };
    let hopeless = |status: &Value| {
        ["Running", "AwaitingApproval"]
            .iter()
            .any(|s| status["deployment_status"] == *s)
    };
    let status = stage.until("Stopped with an error", good, hopeless).await?;
    let message = status["deployment_error"]["message"]
        .as_str()
        .unwrap_or_default();
    ensure(message.contains("rejected"), || {
        format!("the error says: {}", shortened(message))
    })?;
    Ok(format!("Stopped: {}", shortened(message)))
}

async fn undismissed(stage: &mut Stage) -> Outcome {
    let answer = stage
        .post("/start?bootstrap_policy=allow&dismiss_error=false")
        .await?;
    answer.is_error(400, "CannotStartWithUndismissedError")?;
    Ok(answer.seen())
}

async fn dismissed(stage: &mut Stage) -> Outcome {
    let answer = stage.post("/dismiss_error").await?;
    answer.is(200)?;
    let status = stage.status().await?;
    ensure(status["deployment_error"].is_null(), || summary(&status))?;
    Ok(answer.seen())
}

async fn allowed(stage: &mut Stage) -> Outcome {
    stage.start("?bootstrap_policy=allow", "Running").await?;
    Ok("Running".to_owned())
}
