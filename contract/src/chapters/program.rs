//! A pipeline that isn't started: its fields, its edits, and previews of changes.

use reqwest::Method;
use serde_json::{Value, json};

use super::{created, names_no_connector, names_the_change};
use crate::answer::{Answer, Difference, ensure};
use crate::case::{Case, Outcome};
use crate::programs;
use crate::stage::Stage;

/// The cases.
pub const CASES: &[Case] = &[
    Case::new(
        "program/created",
        "POST /pipelines: 201 with the whole pipeline, version 1",
        |stage| Box::pin(made(stage)),
    )
    .carries(),
    Case::new(
        "program/duplicate-name",
        "the same name again: 409 DuplicateName",
        |stage| Box::pin(duplicate(stage)),
    ),
    Case::new(
        "program/bad-runtime-config",
        "settings that make no sense: 400 InvalidRuntimeConfig, details.error",
        |stage| Box::pin(bad_runtime_config(stage)),
    ),
    Case::new(
        "program/selector-all",
        "selector=all: every field that strict clients demand",
        |stage| Box::pin(selector_all(stage)),
    ),
    Case::new(
        "program/selector-status",
        "selector=status: every such field, but no program",
        |stage| Box::pin(selector_status(stage)),
    ),
    Case::new(
        "program/list",
        "GET /pipelines?selector=status: one entry, with the same fields",
        |stage| Box::pin(list(stage)),
    ),
    Case::new(
        "program/compiled",
        "program_status becomes Success",
        |stage| Box::pin(compiled(stage)),
    )
    .carries(),
    Case::new(
        "program/connectors",
        "program_info lists the input connector orders.made of orders",
        |stage| Box::pin(connectors(stage)),
    ),
    Case::new(
        "program/patch-identical",
        "PATCH with identical content: 200, versions unchanged, still Success",
        |stage| Box::pin(patch_identical(stage)),
    ),
    Case::new(
        "program/patch-tags",
        "PATCH of tags: 200 and shown, version unchanged",
        |stage| Box::pin(patch_tags(stage)),
    )
    .since(313),
    Case::new(
        "program/patch-runtime-config",
        "PATCH of runtime_config: replaced as a whole, version raised",
        |stage| Box::pin(patch_runtime_config(stage)),
    ),
    Case::new("program/put", "PUT: 200 with the same id", |stage| {
        Box::pin(put(stage))
    }),
    Case::new(
        "program/diff",
        "POST /diff: 200, names the changed and the new view, nothing else",
        |stage| Box::pin(diff(stage)),
    )
    .since(324),
    Case::new(
        "program/diff-nothing",
        "POST /diff of the same program: 200 with empty lists",
        |stage| Box::pin(diff_nothing(stage)),
    )
    .since(324),
    Case::new(
        "program/diff-broken",
        "POST /diff of what doesn't compile: 400 InvalidNewProgramSql",
        |stage| Box::pin(diff_broken(stage)),
    )
    .since(324),
    Case::new(
        "program/diff-refused",
        "POST /diff of a change with LATENESS: 400 BootstrapNotAllowed",
        |stage| Box::pin(diff_refused(stage)),
    )
    .since(324),
];

/// Demanded by `fda` in every selection (its generated client, 0.349), with the words that it
/// knows where it knows only some.
const IN_EVERY_SELECTION: [(&str, &[&str]); 18] = [
    ("id", &[]),
    ("name", &[]),
    ("created_at", &[]),
    ("version", &[]),
    ("platform_version", &[]),
    ("program_version", &[]),
    ("program_status", PROGRAM_STATUS),
    ("program_status_since", &[]),
    ("refresh_version", &[]),
    ("storage_status", &["Cleared", "InUse", "Clearing"]),
    ("deployment_status", DEPLOYMENT_STATUS),
    ("deployment_status_since", &[]),
    ("deployment_desired_status", DESIRED_STATUS),
    ("deployment_desired_status_since", &[]),
    ("deployment_resources_status", RESOURCES_STATUS),
    ("deployment_resources_status_since", &[]),
    (
        "deployment_resources_desired_status",
        &["Stopped", "Provisioned"],
    ),
    ("deployment_resources_desired_status_since", &[]),
];
const PROGRAM_STATUS: &[&str] = &[
    "Pending",
    "CompilingSql",
    "SqlCompiled",
    "CompilingRust",
    "Success",
    "SqlError",
    "RustError",
    "SystemError",
];
const DEPLOYMENT_STATUS: &[&str] = &[
    "Stopped",
    "Provisioning",
    "Unavailable",
    "Coordination",
    "Standby",
    "AwaitingApproval",
    "Initializing",
    "Bootstrapping",
    "ConcurrentBootstrapping",
    "Synchronizing",
    "Replaying",
    "Paused",
    "Running",
    "Suspended",
    "Stopping",
];
const DESIRED_STATUS: &[&str] = &[
    "Stopped",
    "Unavailable",
    "Standby",
    "Paused",
    "Running",
    "Suspended",
];
const RESOURCES_STATUS: &[&str] = &["Stopped", "Provisioning", "Provisioned", "Stopping"];
const IN_ALL: [&str; 6] = [
    "program_code",
    "udf_rust",
    "udf_toml",
    "program_config",
    "runtime_config",
    "program_error",
];

fn has_every_field(pipeline: &Value) -> Result<(), Difference> {
    for (field, words) in IN_EVERY_SELECTION {
        let value = &pipeline[field];
        ensure(!value.is_null(), || format!("no {field}"))?;
        let known = words.is_empty() || value.as_str().is_some_and(|word| words.contains(&word));
        ensure(known, || format!("{field} is {value}"))?;
    }
    for number in ["version", "program_version", "refresh_version"] {
        ensure(pipeline[number].is_i64(), || {
            format!("{number} is {}", pipeline[number])
        })?;
    }
    Ok(())
}

async fn made(stage: &mut Stage) -> Outcome {
    created(stage, &programs::old()).await
}

async fn duplicate(stage: &mut Stage) -> Outcome {
    let body = json!({"name": stage.name, "program_code": programs::old()});
    let answer = stage.create(&body).await?;
    answer.is_error(409, "DuplicateName")?;
    Ok(answer.seen())
}

async fn bad_runtime_config(stage: &mut Stage) -> Outcome {
    let name = format!("{}-bad", stage.name);
    let body = json!({"name": name, "program_code": "", "runtime_config": {"workers": "many"}});
    let answer = stage.create(&body).await?;
    answer.is_error(400, "InvalidRuntimeConfig")?;
    ensure(answer.at("/details/error").is_string(), || {
        format!("details are {}", answer.at("/details"))
    })?;
    Ok(answer.seen())
}

async fn selector_all(stage: &mut Stage) -> Outcome {
    let answer = stage.get("?selector=all").await?;
    let pipeline = answer.is(200)?.json()?;
    has_every_field(pipeline)?;
    for field in IN_ALL {
        ensure(!pipeline[field].is_null(), || format!("no {field}"))?;
    }
    Ok("24 fields".to_owned())
}

async fn selector_status(stage: &mut Stage) -> Outcome {
    let pipeline = stage.status().await?;
    has_every_field(&pipeline)?;
    ensure(pipeline["program_code"].is_null(), || {
        "program_code is there".to_owned()
    })?;
    Ok("18 fields".to_owned())
}

async fn list(stage: &mut Stage) -> Outcome {
    let path = "/pipelines?selector=status";
    let answer = stage.engine.call(Method::GET, path, None).await?;
    let list = answer.is(200)?.json()?;
    let ours: Vec<&Value> = list
        .as_array()
        .into_iter()
        .flatten()
        .filter(|pipeline| pipeline["name"] == stage.name)
        .collect();
    let [pipeline] = ours.as_slice() else {
        return Err(Difference(format!("{} entries", ours.len())));
    };
    has_every_field(pipeline)?;
    ensure(pipeline["program_code"].is_null(), || {
        "program_code is there".to_owned()
    })?;
    Ok("one entry, 18 fields".to_owned())
}

async fn compiled(stage: &mut Stage) -> Outcome {
    stage.until_compiled().await?;
    Ok("Success".to_owned())
}

async fn connectors(stage: &mut Stage) -> Outcome {
    let answer = stage.get("?selector=all").await?;
    let info = answer.is(200)?.at("/program_info");
    let stream = &info["input_connectors"]["orders.made"]["stream"];
    ensure(stream == "orders", || {
        format!("input_connectors are {}", info["input_connectors"])
    })?;
    ensure(info["output_connectors"].is_object(), || {
        format!("output_connectors are {}", info["output_connectors"])
    })?;
    Ok(format!("orders.made of {stream}"))
}

/// The versions that an edit may raise.
async fn versions(stage: &Stage) -> Result<(Value, Value), Difference> {
    let status = stage.status().await?;
    Ok((status["version"].clone(), status["program_version"].clone()))
}

async fn patch_identical(stage: &mut Stage) -> Outcome {
    let before = versions(stage).await?;
    let body = json!({"program_code": programs::old(), "udf_rust": "", "udf_toml": ""});
    stage.patch(&body).await?.is(200)?;
    let after = versions(stage).await?;
    ensure(before == after, || {
        format!("versions {before:?} became {after:?}")
    })?;
    let status = &stage.status().await?["program_status"];
    ensure(status == "Success", || format!("program_status {status}"))?;
    Ok(format!("200, version {}, {status}", after.0))
}

async fn patch_tags(stage: &mut Stage) -> Outcome {
    let before = versions(stage).await?;
    let tags = json!(["contract", "a=b"]);
    stage.patch(&json!({"tags": tags})).await?.is(200)?;
    let status = stage.status().await?;
    let mut shown: Vec<&str> = status["tags"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    shown.sort_unstable();
    ensure(shown == ["a=b", "contract"], || {
        format!("tags are {}", status["tags"])
    })?;
    let after = versions(stage).await?;
    ensure(before == after, || {
        format!("versions {before:?} became {after:?}")
    })?;
    Ok(format!("200, {}", status["tags"]))
}

async fn patch_runtime_config(stage: &mut Stage) -> Outcome {
    let settings = |config: Value| json!({"runtime_config": config});
    let both = settings(json!({"workers": 3, "min_batch_size_records": 7}));
    let first = stage.patch(&both).await?;
    let one = settings(json!({"workers": 2}));
    let second = stage.patch(&one).await?;
    let config = second.is(200)?.at("/runtime_config");
    ensure(
        config["workers"] == 2 && config["min_batch_size_records"] != 7,
        || format!("runtime_config is {config}"),
    )?;
    let version = |answer: &Answer| answer.at("/version").as_i64();
    let (first, second) = (version(first.is(200)?), version(&second));
    ensure(first < second, || {
        format!("version {first:?} became {second:?}")
    })?;
    Ok("200, workers 2, the rest as by default".to_owned())
}

async fn put(stage: &mut Stage) -> Outcome {
    let id = stage.status().await?["id"].clone();
    let path = format!("/pipelines/{}", stage.name);
    let body = json!({"name": stage.name, "program_code": programs::old()});
    let answer = stage.engine.call(Method::PUT, &path, Some(&body)).await?;
    let now = answer.is(200)?.at("/id");
    ensure(*now == id, || format!("id {id} became {now}"))?;
    // It may compile again, and what follows needs it compiled.
    stage.until_compiled().await?;
    Ok("200, the same id".to_owned())
}

async fn previewed(stage: &Stage, program: &str) -> Result<Answer, Difference> {
    let path = format!("/pipelines/{}/diff", stage.name);
    let body = json!({"program_code": program});
    stage
        .engine
        .call_slowly(Method::POST, &path, Some(&body))
        .await
}

async fn diff(stage: &mut Stage) -> Outcome {
    let answer = previewed(stage, &programs::new()).await?;
    names_the_change(answer.is(200)?.json()?)?;
    Ok("200, modified totals, added large".to_owned())
}

async fn diff_nothing(stage: &mut Stage) -> Outcome {
    let answer = previewed(stage, &programs::old()).await?;
    let diff = answer.is(200)?.json()?;
    let lists = diff["program_diff"].as_object();
    let empty = |lists: &serde_json::Map<String, Value>| lists.values().all(|l| *l == json!([]));
    ensure(lists.is_some_and(empty), || {
        format!("program_diff is {}", diff["program_diff"])
    })?;
    names_no_connector(diff)?;
    Ok("200, empty lists".to_owned())
}

async fn diff_broken(stage: &mut Stage) -> Outcome {
    let answer = previewed(stage, &programs::broken()).await?;
    answer.is_error(400, "InvalidNewProgramSql")?;
    Ok(answer.seen())
}

async fn diff_refused(stage: &mut Stage) -> Outcome {
    let answer = previewed(stage, &programs::with_lateness()).await?;
    answer.is_error(400, "BootstrapNotAllowed")?;
    Ok(answer.seen())
}
