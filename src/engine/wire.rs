//! The shapes of the JSON that the engine speaks: small and lenient, so that a field that is added,
//! left out or null breaks nothing. Shapes only; what they mean is in [`super`].
//!
//! Source: Feldera's REST API at 0.337.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    Checkpoint, Connectors, EngineInfo, FullPipeline, OptionsShown, PipelineError, PipelineState,
};
use crate::gate::change::{Content, Kept, Sent};
use crate::text::{self, word};

/// `GET /config`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Config {
    edition: String,
    version: String,
}

impl From<Config> for EngineInfo {
    fn from(config: Config) -> Self {
        Self {
            edition: word(&config.edition),
            version: word(&config.version),
        }
    }
}

/// A pipeline, in either selection of fields. Only what tells pipelines apart is demanded.
#[derive(Deserialize)]
pub struct Pipeline {
    id: String,
    name: String,
    version: i64,
    deployment_status: String,
    #[serde(default)]
    deployment_resources_status_since: Option<String>,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    program_version: i64,
    #[serde(default)]
    program_status: Value,
    #[serde(default)]
    storage_status: Option<String>,
    #[serde(default)]
    storage_status_details: Option<StorageStatusDetails>,
    #[serde(default)]
    deployment_id: Option<String>,
    #[serde(default)]
    deployment_desired_status: Option<String>,
    #[serde(default)]
    deployment_error: Option<ErrorBody>,
    #[serde(default)]
    deployment_runtime_status_details: Value,
    #[serde(default)]
    approval_diff: Value,
    #[serde(default)]
    bootstrap_policy: Option<String>,
    #[serde(default)]
    silent_bootstrap: Option<bool>,
    #[serde(default)]
    concurrent_bootstrap: Option<bool>,
    #[serde(default)]
    program_code: Option<String>,
    #[serde(default)]
    udf_rust: Option<String>,
    #[serde(default)]
    udf_toml: Option<String>,
    #[serde(default)]
    program_config: Option<Map<String, Value>>,
    #[serde(default)]
    runtime_config: Option<Map<String, Value>>,
    #[serde(default)]
    program_error: Value,
    #[serde(default)]
    program_info: Value,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct StorageStatusDetails {
    checkpoints: Vec<CheckpointBody>,
}

/// One of `GET …/checkpoints`.
#[derive(Deserialize)]
pub struct CheckpointBody {
    uuid: String,
    #[serde(default)]
    steps: Option<i64>,
}

impl From<CheckpointBody> for Checkpoint {
    fn from(body: CheckpointBody) -> Self {
        Self {
            uuid: word(&body.uuid),
            steps: body.steps,
        }
    }
}

/// The body of every error.
#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub struct ErrorBody {
    /// What happened, in words.
    pub message: String,
    /// The engine's code for it.
    pub error_code: String,
}

/// `POST …/checkpoint`.
#[derive(Deserialize)]
pub struct CheckpointStarted {
    /// The number to look for in [`CheckpointStatus`].
    pub checkpoint_sequence_number: i64,
    /// The process that counts so.
    #[serde(default)]
    pub incarnation_uuid: Option<String>,
}

/// `GET …/checkpoint_status`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct CheckpointStatus {
    /// The newest checkpoint that was completed.
    pub success: Option<i64>,
    /// The last one that failed.
    pub failure: Option<CheckpointFailure>,
}

/// A checkpoint that failed.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct CheckpointFailure {
    /// Which one.
    pub sequence_number: i64,
    /// Why.
    pub error: String,
}

impl From<Pipeline> for PipelineState {
    fn from(body: Pipeline) -> Self {
        FullPipeline::from(body).state
    }
}

impl From<Pipeline> for FullPipeline {
    fn from(body: Pipeline) -> Self {
        let mut details = body.deployment_runtime_status_details;
        let approval_diff = match details.get_mut("approval_diff").map(Value::take) {
            Some(diff) if !diff.is_null() => diff,
            // Managers before 0.322 put it one level higher.
            _ => body.approval_diff,
        };
        let state = PipelineState {
            id: word(&body.id),
            name: body.name,
            tags: body.tags.unwrap_or_default(),
            version: body.version,
            program_version: body.program_version,
            program_status: status_word(&body.program_status),
            storage_status: word(&body.storage_status.unwrap_or_default()),
            checkpoints: body
                .storage_status_details
                .unwrap_or_default()
                .checkpoints
                .into_iter()
                .map(Into::into)
                .collect(),
            deployment_id: body.deployment_id.map(|id| word(&id)),
            stopped_since: body
                .deployment_resources_status_since
                .filter(|_| body.deployment_status == "Stopped")
                .map(|since| word(&since)),
            deployment_status: word(&body.deployment_status),
            deployment_desired_status: word(&body.deployment_desired_status.unwrap_or_default()),
            deployment_error: body.deployment_error.map(|error| PipelineError {
                message: said(&error.message),
                code: word(&error.error_code),
            }),
            bootstrap_policy: body.bootstrap_policy.map(|policy| word(&policy)),
            options: OptionsShown {
                silent: body.silent_bootstrap,
                concurrent: body.concurrent_bootstrap,
            },
            approval_diff: super::diff::taken_in(approval_diff),
        };
        Self {
            compile_error: compile_error(&body.program_error),
            connectors: connectors(&body.program_info),
            content: Content {
                sql: body.program_code.unwrap_or_default(),
                udf_rust: body.udf_rust.unwrap_or_default(),
                udf_toml: body.udf_toml.unwrap_or_default(),
                program_config: body.program_config,
                runtime_config: body.runtime_config,
                kept: Kept::default(),
                sent: Sent::default(),
            },
            state,
        }
    }
}

/// Old managers gave some statuses as an object with one key.
fn status_word(status: &Value) -> String {
    match status {
        Value::String(status) => word(status),
        Value::Object(object) => object
            .keys()
            .next()
            .map(|key| word(key))
            .unwrap_or_default(),
        _ => String::new(),
    }
}

/// What an engine says in words. Nothing that it says goes on without end, or steers what shows it.
pub fn said(text: &str) -> String {
    text::foreign(text, text::SAID)
}

/// The first of the compiler's messages that are errors, with its place; else the Rust compiler's
/// output, else the system's.
fn compile_error(error: &Value) -> Option<String> {
    let sql = error
        .pointer("/sql_compilation/messages")
        .and_then(sql_error);
    let rust = error.get("rust_compilation").and_then(|rust| {
        let failed = rust.get("exit_code").and_then(Value::as_i64) != Some(0);
        let output = ["stderr", "stdout"]
            .iter()
            .filter_map(|key| rust.get(*key).and_then(Value::as_str))
            .find(|text| !text.trim().is_empty());
        output.filter(|_| failed).map(|text| said(text.trim()))
    });
    let system = error.get("system_error").and_then(Value::as_str).map(said);
    sql.or(rust).or(system)
}

/// The SQL compiler's first error in words: `line 3, column 7: …`.
pub fn sql_error(messages: &Value) -> Option<String> {
    let message = messages
        .as_array()?
        .iter()
        .find(|message| message.get("warning").and_then(Value::as_bool) != Some(true))?;
    let number = |key| message.get(key).and_then(Value::as_i64);
    let text = message.get("message").and_then(Value::as_str)?.trim();
    Some(
        match (number("start_line_number"), number("start_column")) {
            (Some(line), Some(column)) => said(&format!("line {line}, column {column}: {text}")),
            _ => said(text),
        },
    )
}

fn connectors(program_info: &Value) -> Option<Connectors> {
    let names = |key| {
        let connectors = program_info.get(key)?.as_object()?;
        Some(
            connectors
                .iter()
                .map(|(name, body)| {
                    let stream = body.get("stream").and_then(Value::as_str);
                    // A connector is named after its relation: `table.name`.
                    let relation = name.rsplit_once('.').map_or(name.as_str(), |(r, _)| r);
                    // As the names of a diff, with which they are compared.
                    (text::line(name), text::line(stream.unwrap_or(relation)))
                })
                .collect(),
        )
    };
    Some(Connectors {
        inputs: names("input_connectors")?,
        outputs: names("output_connectors")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(body: Value) -> FullPipeline {
        serde_json::from_value::<Pipeline>(body).unwrap().into()
    }

    fn minimal() -> Value {
        json!({"id": "1", "name": "p", "version": 3, "deployment_status": "AwaitingApproval"})
    }

    #[test]
    fn a_pipeline_with_nothing_but_its_identity_is_read() {
        let pipeline = parse(minimal());
        assert!(pipeline.state.awaits_approval());
        assert_eq!(pipeline.state.approval_diff, Value::Null);
        assert_eq!(pipeline.connectors, None);
    }

    #[test]
    fn the_diff_is_found_where_old_and_new_managers_put_it() {
        let diff = json!({"program_diff": {"added_views": ["v"]}});
        let mut new = minimal();
        new["deployment_runtime_status_details"] = json!({"approval_diff": diff});
        let mut old = minimal();
        old["approval_diff"] = diff.clone();
        for body in [new, old] {
            assert_eq!(parse(body).state.approval_diff, diff);
        }
    }

    #[test]
    fn a_compile_error_says_where() {
        let mut body = minimal();
        body["program_status"] = json!("SqlError");
        body["program_error"] = json!({"sql_compilation": {"exit_code": 1, "messages": [
            {"warning": true, "message": "unused", "start_line_number": 1, "start_column": 1},
            {"warning": false, "message": "Column 'x' not found", "start_line_number": 3, "start_column": 7}
        ]}});
        assert_eq!(
            parse(body).compile_error.as_deref(),
            Some("line 3, column 7: Column 'x' not found")
        );
    }

    #[test]
    fn connectors_are_read_with_their_relations() {
        let mut body = minimal();
        body["program_info"] = json!({
            "input_connectors": {"t.kafka": {"stream": "t"}},
            "output_connectors": {"v.sink": {}},
        });
        let connectors = parse(body).connectors.unwrap();
        assert_eq!(connectors.inputs, [("t.kafka".into(), "t".into())]);
        assert_eq!(connectors.outputs, [("v.sink".into(), "v".into())]);
    }
}
