//! Starting, pausing, stopping, removing, and what is refused meanwhile. No change is made that
//! would have to be approved.

use reqwest::Method;
use serde_json::{Value, json};

use super::created_and_compiled;
use crate::answer::{Answer, Difference, ensure};
use crate::case::{Case, Edition, Outcome};
use crate::programs;
use crate::stage::Stage;

const AWAIT: &str = "?bootstrap_policy=await_approval";

/// The cases.
pub const CASES: &[Case] = &[
    Case::new(
        "life/created",
        "201, and program_status becomes Success",
        |stage| Box::pin(created(stage)),
    )
    .carries(),
    Case::new(
        "life/stats-stopped",
        "stats of a stopped one: 503 PipelineInteractionNotDeployed, Retry-After",
        |stage| Box::pin(stats_stopped(stage)),
    ),
    Case::new(
        "life/approve-stopped",
        "approve of a stopped one: 503 PipelineInteractionNotDeployed",
        |stage| Box::pin(approve_stopped(stage)),
    ),
    Case::new(
        "life/both-options",
        "start both silent and concurrent: 400 InvalidBootstrapConfig",
        |stage| Box::pin(both_options(stage)),
    )
    .since(325),
    Case::new("life/start", "start: 202", |stage| Box::pin(start(stage))).carries(),
    Case::new(
        "life/start-again",
        "start with the same parameters: 202",
        |stage| Box::pin(start(stage)),
    ),
    Case::new(
        "life/runs",
        "without a checkpoint no gate: Running, desired Running, a deployment_id",
        |stage| Box::pin(runs(stage)),
    )
    .carries(),
    Case::new(
        "life/policy-shown",
        "bootstrap_policy is await_approval, both options false",
        |stage| Box::pin(policy_shown(stage)),
    )
    .since(337),
    Case::new(
        "life/other-policy",
        "start with another policy: 400 BootstrapPolicyImmutableUnlessStopped",
        |stage| Box::pin(other_policy(stage)),
    ),
    Case::new(
        "life/other-initial",
        "start as paused: 400 InitialImmutableUnlessStopped",
        |stage| Box::pin(other_initial(stage)),
    ),
    Case::new(
        "life/patch-program",
        "PATCH of the program while running: 400 UpdateRestrictedToStopped",
        |stage| Box::pin(patch_program(stage)),
    ),
    Case::new(
        "life/patch-identical",
        "PATCH with identical content while running: 200, version unchanged",
        |stage| Box::pin(patch_identical(stage)),
    ),
    Case::new(
        "life/patch-tags",
        "PATCH of tags while running: 200",
        |stage| Box::pin(patch_tags(stage)),
    )
    .since(313),
    Case::new(
        "life/stats",
        "stats while running: 200 with global_metrics",
        |stage| Box::pin(stats(stage)),
    ),
    Case::new("life/pause", "pause: 202, then Paused", |stage| {
        Box::pin(pause(stage))
    }),
    Case::new("life/resume", "resume: 202, then Running", |stage| {
        Box::pin(resume(stage))
    }),
    Case::new(
        "life/delete-running",
        "DELETE while running: 400 DeleteRestrictedToFullyStopped",
        |stage| Box::pin(delete_running(stage)),
    ),
    Case::new(
        "life/clear-running",
        "clear while running: 400 StorageStatusImmutableUnlessStopped",
        |stage| Box::pin(clear_running(stage)),
    ),
    Case::new(
        "life/no-checkpoint",
        "checkpoint: 501 EnterpriseFeature",
        |stage| Box::pin(no_checkpoint(stage)),
    )
    .only(Edition::OpenSource),
    Case::new(
        "life/no-graceful-stop",
        "stop?force=false: 501 EnterpriseFeature, and it runs on",
        |stage| Box::pin(no_graceful_stop(stage)),
    )
    .only(Edition::OpenSource),
    Case::new(
        "life/stop",
        "stop?force=true: 202, then Stopped without deployment_id",
        |stage| Box::pin(stop(stage)),
    )
    .carries(),
    Case::new(
        "life/delete-with-storage",
        "DELETE with storage: 400 DeleteRestrictedToClearedStorage",
        |stage| Box::pin(delete_with_storage(stage)),
    ),
    Case::new(
        "life/edit-with-storage",
        "PATCH of workers with storage: 400 EditRestrictedToClearedStorage",
        |stage| Box::pin(edit_with_storage(stage)),
    ),
    Case::new(
        "life/dismiss-error",
        "dismiss_error of a stopped one: 200",
        |stage| Box::pin(dismiss_error(stage)),
    ),
    Case::new(
        "life/no-gate",
        "without checkpoints a changed program starts ungated",
        |stage| Box::pin(no_gate(stage)),
    )
    .only(Edition::OpenSource),
    Case::new("life/clear", "clear: 202, then Cleared", |stage| {
        Box::pin(clear(stage))
    })
    .carries(),
    Case::new(
        "life/delete",
        "DELETE: 200, then GET: 404 UnknownPipelineName",
        |stage| Box::pin(delete(stage)),
    ),
];

async fn created(stage: &mut Stage) -> Outcome {
    created_and_compiled(stage, &programs::old()).await
}

/// A POST that must be refused so.
async fn refused(stage: &Stage, rest: &str, status: u16, code: &str) -> Outcome {
    let answer = stage.post(rest).await?;
    answer.is_error(status, code)?;
    Ok(answer.seen())
}

async fn stats_stopped(stage: &mut Stage) -> Outcome {
    let answer = stage.get("/stats").await?;
    answer.is_error(503, "PipelineInteractionNotDeployed")?;
    let retry_after = answer.retry_after.as_deref().unwrap_or_default();
    ensure(retry_after.parse::<u64>().is_ok(), || {
        format!("Retry-After is '{retry_after}'")
    })?;
    Ok(format!("{}, Retry-After {retry_after}", answer.seen()))
}

async fn approve_stopped(stage: &mut Stage) -> Outcome {
    refused(stage, "/approve", 503, "PipelineInteractionNotDeployed").await
}

async fn both_options(stage: &mut Stage) -> Outcome {
    let query = "/start?silent_bootstrap=true&concurrent_bootstrap=true";
    refused(stage, query, 400, "InvalidBootstrapConfig").await
}

async fn start(stage: &mut Stage) -> Outcome {
    let answer = stage.post(&format!("/start{AWAIT}")).await?;
    answer.is(202)?;
    Ok(answer.seen())
}

async fn runs(stage: &mut Stage) -> Outcome {
    let status = stage.until_up("Running").await?;
    let desired = &status["deployment_desired_status"];
    let id = &status["deployment_id"];
    ensure(desired == "Running" && id.is_string(), || {
        format!("desired {desired}, deployment_id {id}")
    })?;
    Ok("Running".to_owned())
}

async fn policy_shown(stage: &mut Stage) -> Outcome {
    let status = stage.status().await?;
    let fields = [
        ("bootstrap_policy", json!("await_approval")),
        ("silent_bootstrap", json!(false)),
        ("concurrent_bootstrap", json!(false)),
    ];
    for (field, value) in fields {
        ensure(status[field] == value, || {
            format!("{field} is {}", status[field])
        })?;
    }
    Ok("await_approval, false, false".to_owned())
}

async fn other_policy(stage: &mut Stage) -> Outcome {
    let code = "BootstrapPolicyImmutableUnlessStopped";
    refused(stage, "/start?bootstrap_policy=allow", 400, code).await
}

async fn other_initial(stage: &mut Stage) -> Outcome {
    let query = "/start?bootstrap_policy=await_approval&initial=paused";
    refused(stage, query, 400, "InitialImmutableUnlessStopped").await
}

async fn patch_program(stage: &mut Stage) -> Outcome {
    let answer = stage
        .patch(&json!({"program_code": programs::new()}))
        .await?;
    answer.is_error(400, "UpdateRestrictedToStopped")?;
    Ok(answer.seen())
}

async fn patch_identical(stage: &mut Stage) -> Outcome {
    let before = stage.status().await?["version"].clone();
    let answer = stage
        .patch(&json!({"program_code": programs::old()}))
        .await?;
    let after = answer.is(200)?.at("/version");
    ensure(*after == before, || {
        format!("version {before} became {after}")
    })?;
    Ok(format!("200, version {after}"))
}

async fn patch_tags(stage: &mut Stage) -> Outcome {
    let answer = stage.patch(&json!({"tags": ["contract"]})).await?;
    let tags = answer.is(200)?.at("/tags");
    ensure(*tags == json!(["contract"]), || format!("tags are {tags}"))?;
    Ok(format!("200, {tags}"))
}

async fn stats(stage: &mut Stage) -> Outcome {
    let answer = stage.get("/stats").await?;
    let metrics = answer.is(200)?.at("/global_metrics");
    ensure(metrics.is_object(), || answer.seen())?;
    Ok("200 with global_metrics".to_owned())
}

async fn pause(stage: &mut Stage) -> Outcome {
    turned(stage, "/pause", "Paused").await
}

async fn resume(stage: &mut Stage) -> Outcome {
    turned(stage, "/resume", "Running").await
}

async fn turned(stage: &Stage, rest: &str, wanted: &str) -> Outcome {
    let answer = stage.post(rest).await?;
    answer.is(202)?;
    let good = |status: &Value| status["deployment_status"] == wanted;
    stage.until(wanted, good, |_| false).await?;
    Ok(format!("202, then {wanted}"))
}

async fn deleted(stage: &Stage) -> Result<Answer, Difference> {
    let path = format!("/pipelines/{}", stage.name);
    stage.engine.call(Method::DELETE, &path, None).await
}

async fn delete_running(stage: &mut Stage) -> Outcome {
    let answer = deleted(stage).await?;
    answer.is_error(400, "DeleteRestrictedToFullyStopped")?;
    Ok(answer.seen())
}

async fn clear_running(stage: &mut Stage) -> Outcome {
    let code = "StorageStatusImmutableUnlessStopped";
    refused(stage, "/clear", 400, code).await
}

async fn no_checkpoint(stage: &mut Stage) -> Outcome {
    refused(stage, "/checkpoint", 501, "EnterpriseFeature").await
}

async fn no_graceful_stop(stage: &mut Stage) -> Outcome {
    let seen = refused(stage, "/stop?force=false", 501, "EnterpriseFeature").await?;
    let status = stage.until_up("Running").await?;
    let desired = &status["deployment_desired_status"];
    ensure(desired == "Running", || {
        format!("{seen}, desired {desired}")
    })?;
    Ok(format!("{seen}, still Running"))
}

async fn stop(stage: &mut Stage) -> Outcome {
    let status = stage.stop().await?;
    let id = &status["deployment_id"];
    ensure(id.is_null(), || format!("deployment_id is {id}"))?;
    Ok("202, then Stopped".to_owned())
}

async fn delete_with_storage(stage: &mut Stage) -> Outcome {
    let answer = deleted(stage).await?;
    answer.is_error(400, "DeleteRestrictedToClearedStorage")?;
    Ok(answer.seen())
}

async fn edit_with_storage(stage: &mut Stage) -> Outcome {
    let answer = stage
        .patch(&json!({"runtime_config": {"workers": 3}}))
        .await?;
    answer.is_error(400, "EditRestrictedToClearedStorage")?;
    Ok(answer.seen())
}

async fn dismiss_error(stage: &mut Stage) -> Outcome {
    let answer = stage.post("/dismiss_error").await?;
    answer.is(200)?;
    Ok(answer.seen())
}

async fn no_gate(stage: &mut Stage) -> Outcome {
    stage.change(&programs::new()).await?;
    stage.start(AWAIT, "Running").await?;
    stage.stop().await?;
    Ok("Running".to_owned())
}

async fn clear(stage: &mut Stage) -> Outcome {
    stage.clear().await?;
    Ok("202, then Cleared".to_owned())
}

async fn delete(stage: &mut Stage) -> Outcome {
    let answer = deleted(stage).await?;
    answer.is(200)?;
    let gone = stage.get("").await?;
    gone.is_error(404, "UnknownPipelineName")?;
    Ok("200, then 404 UnknownPipelineName".to_owned())
}
