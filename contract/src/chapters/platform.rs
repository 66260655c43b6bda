//! What needs no pipeline.

use reqwest::Method;
use serde_json::json;

use crate::answer::{Answer, Difference, ensure};
use crate::case::{Case, Info, Outcome};
use crate::stage::Stage;

/// The cases.
pub const CASES: &[Case] = &[
    Case::new(
        "platform/config",
        "GET /config: 200 with an edition and a version X.Y.Z",
        |stage| Box::pin(config(stage)),
    ),
    Case::new(
        "platform/wrong-key",
        "a key that isn't one: 401 or 403",
        |stage| Box::pin(wrong_key(stage)),
    )
    .with_key(),
    Case::new(
        "platform/unknown-name",
        "GET of no pipeline: 404 UnknownPipelineName, details.pipeline_name",
        |stage| Box::pin(unknown_name(stage)),
    ),
    Case::new(
        "platform/unknown-name-acts",
        "every act on no pipeline: 404 UnknownPipelineName",
        |stage| Box::pin(unknown_name_acts(stage)),
    ),
];

async fn config(stage: &mut Stage) -> Outcome {
    let answer = stage.engine.call(Method::GET, "/config", None).await?;
    let info = Info::read(answer.is(200)?.json()?).map_err(Difference)?;
    ensure(
        ["Open source", "Enterprise"].contains(&info.edition.as_str()),
        || format!("an edition '{}'", info.edition),
    )?;
    Ok(format!("{} {}", info.edition, info.version))
}

async fn wrong_key(stage: &mut Stage) -> Outcome {
    let path = "/pipelines?selector=status";
    let answer = stage.stranger.call(Method::GET, path, None).await?;
    ensure([401, 403].contains(&answer.status), || answer.seen())?;
    Ok(answer.seen())
}

fn is_unknown(answer: &Answer, name: &str) -> Result<(), Difference> {
    answer.is_error(404, "UnknownPipelineName")?;
    let named = answer.at("/details/pipeline_name");
    ensure(named == name, || {
        format!("{}: details.pipeline_name is {named}", answer.call)
    })
}

async fn unknown_name(stage: &mut Stage) -> Outcome {
    let answer = stage.get("").await?;
    is_unknown(&answer, &stage.name)?;
    Ok(answer.seen())
}

async fn unknown_name_acts(stage: &mut Stage) -> Outcome {
    let path = format!("/pipelines/{}", stage.name);
    let tags = json!({"description": "none"});
    for (method, act, body) in [
        (Method::PATCH, "", Some(&tags)),
        (Method::DELETE, "", None),
        (Method::POST, "/start", None),
        (Method::POST, "/stop?force=true", None),
        (Method::POST, "/clear", None),
        (Method::POST, "/dismiss_error", None),
        (Method::POST, "/pause", None),
        (Method::POST, "/resume", None),
        (Method::POST, "/approve", None),
    ] {
        let path = format!("{path}{act}");
        let answer = stage.engine.call(method, &path, body).await?;
        is_unknown(&answer, &stage.name)?;
    }
    Ok("404 UnknownPipelineName from 9 calls".to_owned())
}
