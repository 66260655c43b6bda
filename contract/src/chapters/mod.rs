//! The chapters, in the order in which they are played.

pub mod broken;
pub mod gate;
pub mod life;
pub mod platform;
pub mod program;

use serde_json::{Value, json};

use crate::answer::{Difference, ensure};
use crate::case::{Case, Outcome};
use crate::stage::Stage;

/// The life of one pipeline.
#[derive(Clone, Copy, Debug)]
pub struct Chapter {
    /// Its name, which the names of its cases and of its pipeline contain.
    pub name: &'static str,
    /// Its cases, in order.
    pub cases: &'static [Case],
}

/// All of them: the quick ones first, so that what is plainly wrong shows soon.
pub const CHAPTERS: [Chapter; 5] = [
    Chapter {
        name: "platform",
        cases: platform::CASES,
    },
    Chapter {
        name: "broken",
        cases: broken::CASES,
    },
    Chapter {
        name: "program",
        cases: program::CASES,
    },
    Chapter {
        name: "life",
        cases: life::CASES,
    },
    Chapter {
        name: "gate",
        cases: gate::CASES,
    },
];

/// Makes the chapter's pipeline.
async fn created(stage: &mut Stage, program: &str) -> Outcome {
    let body = json!({"name": stage.name, "program_code": program});
    let answer = stage.create(&body).await?;
    let pipeline = answer.is(201)?.json()?;
    ensure(
        pipeline["name"] == stage.name && pipeline["program_code"] == program,
        || format!("another pipeline than what was sent: {}", answer.seen()),
    )?;
    ensure(pipeline["version"] == 1, || {
        format!("version {}", pipeline["version"])
    })?;
    Ok("201 with the pipeline, version 1".to_owned())
}

/// Makes the chapter's pipeline, and waits until it is compiled.
async fn created_and_compiled(stage: &mut Stage, program: &str) -> Outcome {
    let seen = created(stage, program).await?;
    stage.until_compiled().await?;
    Ok(format!("{seen}; Success"))
}

/// Tells whether these are the changed and the new views, and nothing else about the program.
fn names_the_change(diff: &Value) -> Result<(), Difference> {
    let expected = [
        ("added_tables", json!([])),
        ("removed_tables", json!([])),
        ("modified_tables", json!([])),
        ("added_views", json!(["large"])),
        ("removed_views", json!([])),
        ("modified_views", json!(["totals"])),
    ];
    ensure(diff["program_diff_error"].is_null(), || {
        format!("program_diff_error {}", diff["program_diff_error"])
    })?;
    for (field, value) in expected {
        let seen = &diff["program_diff"][field];
        ensure(*seen == value, || {
            format!("program_diff.{field} is {seen}, not {value}")
        })?;
    }
    names_no_connector(diff)
}

/// Tells whether all lists of connectors are there and empty.
fn names_no_connector(diff: &Value) -> Result<(), Difference> {
    for change in ["added", "modified", "removed"] {
        for direction in ["input", "output"] {
            let field = format!("{change}_{direction}_connectors");
            ensure(diff[&field] == json!([]), || {
                format!("{field} is {}, not []", diff[&field])
            })?;
        }
    }
    Ok(())
}
