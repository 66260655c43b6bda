//! A program that doesn't compile.

use reqwest::Method;
use serde_json::{Value, json};

use super::created;
use crate::answer::{Difference, ensure};
use crate::case::{Case, Outcome};
use crate::programs;
use crate::stage::Stage;

/// The cases.
pub const CASES: &[Case] = &[
    Case::new(
        "broken/created",
        "a program with an error is taken: 201",
        |stage| Box::pin(made(stage)),
    )
    .carries(),
    Case::new(
        "broken/sql-error",
        "its program_status becomes SqlError",
        |stage| Box::pin(sql_error(stage)),
    )
    .carries(),
    Case::new(
        "broken/line-and-column",
        "the compiler's first error has line 2, a column and a message",
        |stage| Box::pin(line_and_column(stage)),
    ),
    Case::new(
        "broken/start",
        "start: 400 CannotStartWithCompilationError",
        |stage| Box::pin(start(stage)),
    ),
    Case::new(
        "broken/diff",
        "POST /diff against what was never compiled: 404",
        |stage| Box::pin(diff(stage)),
    )
    .since(324),
];

async fn made(stage: &mut Stage) -> Outcome {
    created(stage, &programs::broken()).await
}

async fn sql_error(stage: &mut Stage) -> Outcome {
    stage
        .until(
            "SqlError",
            |status| status["program_status"] == "SqlError",
            |status| {
                ["Success", "SystemError"]
                    .iter()
                    .any(|s| status["program_status"] == *s)
            },
        )
        .await?;
    Ok("SqlError".to_owned())
}

async fn line_and_column(stage: &mut Stage) -> Outcome {
    let answer = stage.get("?selector=all").await?;
    let messages = answer
        .is(200)?
        .at("/program_error/sql_compilation/messages");
    let error = messages
        .as_array()
        .into_iter()
        .flatten()
        .find(|message| message["warning"] != json!(true))
        .ok_or_else(|| Difference(format!("no error among the messages {messages}")))?;
    let number = |field: &str| error[field].as_u64();
    let (line, column) = (number("start_line_number"), number("start_column"));
    let message = error["message"].as_str().unwrap_or_default();
    let seen = format!("line {line:?}, column {column:?}: {message}");
    ensure(
        line == Some(programs::BROKEN_LINE) && column.is_some() && !message.is_empty(),
        || seen.clone(),
    )?;
    Ok(format!(
        "line {}, column {}: {message}",
        line.unwrap_or_default(),
        column.unwrap_or_default()
    ))
}

async fn start(stage: &mut Stage) -> Outcome {
    let answer = stage.post("/start").await?;
    answer.is_error(400, "CannotStartWithCompilationError")?;
    Ok(answer.seen())
}

async fn diff(stage: &mut Stage) -> Outcome {
    let path = format!("/pipelines/{}/diff", stage.name);
    let body: Value = json!({"program_code": programs::old()});
    let answer = stage
        .engine
        .call_slowly(Method::POST, &path, Some(&body))
        .await?;
    answer.is(404)?;
    Ok(answer.seen())
}
