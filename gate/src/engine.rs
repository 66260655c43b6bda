//! What an engine shows of its pipelines, in Sluice's own words; knows nothing of Kubernetes.
//!
//! [`diff`] keeps what an engine says would change within bounds, [`elements`] cuts a long list into pieces.

pub mod diff;
pub mod elements;

use std::time::Duration;

use serde_json::{Map, Value};

use crate::change::Content;
use crate::crd::BootstrapOptions;

/// What an engine says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineInfo {
    /// `Open source` or `Enterprise`, as the engine spells it.
    pub edition: String,
    /// The engine's version.
    pub version: String,
}

impl EngineInfo {
    /// Whether the engine can write checkpoints, so whether a pipeline can be stopped without
    /// losing its state. Feldera's open-source edition answers 501 to that.
    pub fn has_checkpoints(&self) -> bool {
        self.edition != "Open source"
    }
}

/// The state of one pipeline, as one answer of the engine gave it.
///
/// Statuses stay the engine's own words, so that one that we don't know is kept and shown, and
/// matches none of the words that something is done for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PipelineState {
    /// The engine's id of the pipeline.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Counts the edits of everything but description and tags.
    pub version: i64,
    /// Counts the edits of the program.
    pub program_version: i64,
    /// `Pending`, `CompilingSql`, …, `Success`, `SqlError`, `RustError`, `SystemError`.
    pub program_status: String,
    /// `Cleared`, `InUse`, `Clearing`.
    pub storage_status: String,
    /// The checkpoints, oldest first.
    pub checkpoints: Vec<Checkpoint>,
    /// The id of the current deployment.
    pub deployment_id: Option<String>,
    /// `Stopped`, `Provisioning`, `AwaitingApproval`, `Running`, …
    pub deployment_status: String,
    /// Since when it is stopped, in the engine's own words; absent for what isn't. Whoever starts it and stops it again
    /// changes that.
    pub stopped_since: Option<String>,
    /// `Stopped`, `Running`, `Paused`, `Suspended`, …: what the engine is working towards.
    pub deployment_desired_status: String,
    /// Why the pipeline stopped by itself.
    pub deployment_error: Option<PipelineError>,
    /// The policy that the current deployment was started with.
    pub bootstrap_policy: Option<String>,
    /// The options that the current deployment was started with, as far as the engine says so.
    pub options: OptionsShown,
    /// The diff that waits for approval. `Value::Null` if the engine gave none.
    pub approval_diff: Value,
}

/// The options of a start as the engine gives them back: one that it doesn't know isn't there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionsShown {
    /// `silent_bootstrap`.
    pub silent: Option<bool>,
    /// `concurrent_bootstrap`.
    pub concurrent: Option<bool>,
}

impl OptionsShown {
    /// What is shown; and of what isn't, what was asked for: nothing says that it is otherwise.
    pub fn beside(self, asked: BootstrapOptions) -> BootstrapOptions {
        BootstrapOptions {
            silent: self.silent.unwrap_or(asked.silent),
            concurrent: self.concurrent.unwrap_or(asked.concurrent),
        }
    }

    /// The names of those that were asked for and aren't shown.
    pub fn missing(self, asked: BootstrapOptions) -> Vec<&'static str> {
        [
            ("silent_bootstrap", asked.silent && self.silent.is_none()),
            (
                "concurrent_bootstrap",
                asked.concurrent && self.concurrent.is_none(),
            ),
        ]
        .into_iter()
        .filter_map(|(name, is_missing)| is_missing.then_some(name))
        .collect()
    }
}

impl From<BootstrapOptions> for OptionsShown {
    fn from(options: BootstrapOptions) -> Self {
        Self {
            silent: Some(options.silent),
            concurrent: Some(options.concurrent),
        }
    }
}

/// A checkpoint of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The engine's id of it.
    pub uuid: String,
    /// The number of steps that the pipeline had made.
    pub steps: Option<i64>,
}

/// An error that the engine reports of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PipelineError {
    /// What happened, in words.
    pub message: String,
    /// The engine's code for it.
    pub code: String,
}

/// A pipeline with all that the engine holds of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FullPipeline {
    /// Its state.
    pub state: PipelineState,
    /// What it consists of, as the engine gives it back: with defaults filled in.
    pub content: Content,
    /// What the compiler said, if it failed.
    pub compile_error: Option<String>,
    /// The connectors, if the program is compiled.
    pub connectors: Option<Connectors>,
}

/// The connectors of a compiled program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connectors {
    /// Name and table of each input connector.
    pub inputs: Vec<(String, String)>,
    /// Name and view of each output connector.
    pub outputs: Vec<(String, String)>,
}

/// How a pipeline is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartOptions {
    /// Whether it starts paused.
    pub paused: bool,
    /// Feldera's `bootstrap_policy`.
    pub bootstrap_policy: &'static str,
    /// How a bootstrap is done.
    pub bootstrap: BootstrapOptions,
}

/// The engine's answer about a program that it doesn't run yet.
#[derive(Clone, Debug, PartialEq)]
pub enum DiffAnswer {
    /// It compiles, and this would change.
    Diff(Value),
    /// It doesn't compile: the compiler's message.
    CompileError(String),
    /// It could never be bootstrapped from what runs: why.
    Refused(String),
    /// The engine can't tell: why.
    CantTell(String),
}

/// Why a call to the engine came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No answer: refused, reset, timed out, no such host, a certificate that doesn't fit.
    #[error("the engine can't be reached: {0}")]
    Unreachable(String),
    /// 503, 429 and their like: later.
    #[error("the engine is not available just now: {message}")]
    Unavailable {
        /// The engine's message.
        message: String,
        /// The engine's code.
        code: String,
        /// The engine's `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// 401 or 403.
    #[error("the engine refuses the credential ({status}): {message}")]
    Unauthorized {
        /// The HTTP status.
        status: u16,
        /// The engine's message.
        message: String,
    },
    /// 404 of a pipeline.
    #[error("the engine has no such pipeline")]
    NotFound,
    /// Any other refusal.
    #[error("the engine refuses ({status} {code}): {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The engine's code.
        code: String,
        /// The engine's message.
        message: String,
    },
    /// An answer that isn't what the engine's API promises.
    #[error("the engine's answer makes no sense: {0}")]
    Nonsense(String),
}

impl Error {
    /// Whether the engine has certainly not done what it was asked for.
    pub fn was_not_taken(&self) -> bool {
        matches!(
            self,
            Self::Unauthorized { .. } | Self::NotFound | Self::Refused { .. }
        )
    }

    /// The engine's code of a refusal.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// A short word for metrics and reasons.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreachable(_) => ErrorKind::Unreachable,
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Unauthorized { .. } => ErrorKind::Unauthorized,
            Self::NotFound => ErrorKind::NotFound,
            Self::Refused { .. } => ErrorKind::Refused,
            Self::Nonsense(_) => ErrorKind::InvalidAnswer,
        }
    }
}

/// The kinds of [`Error`], as conditions and metrics have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
pub enum ErrorKind {
    /// No answer came.
    Unreachable,
    /// It says to come later, or has an error of its own.
    Unavailable,
    /// It refuses the credential.
    Unauthorized,
    /// It has no such pipeline.
    NotFound,
    /// It refuses the call.
    Refused,
    /// It answers something that isn't Feldera's API.
    InvalidAnswer,
}

impl ErrorKind {
    /// As conditions and metrics have it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl PipelineState {
    /// About how many bytes of memory it takes.
    pub fn size(&self) -> usize {
        let texts = [
            &self.id,
            &self.name,
            &self.program_status,
            &self.storage_status,
            &self.deployment_status,
            &self.deployment_desired_status,
        ];
        let optional = [
            &self.deployment_id,
            &self.bootstrap_policy,
            &self.stopped_since,
        ];
        let error = self.deployment_error.as_ref();
        size_of::<Self>()
            + texts.into_iter().map(String::len).sum::<usize>()
            + optional
                .into_iter()
                .flatten()
                .map(String::len)
                .sum::<usize>()
            + self
                .tags
                .iter()
                .map(|tag| tag.len() + size_of::<String>())
                .sum::<usize>()
            + self.checkpoints.len() * (size_of::<Checkpoint>() + 36)
            + error.map_or(0, |error| error.message.len() + error.code.len())
            + size_of_value(&self.approval_diff)
    }

    /// Whether the pipeline waits at the engine's gate.
    pub fn awaits_approval(&self) -> bool {
        self.deployment_status == "AwaitingApproval"
    }

    /// Whether nothing of the pipeline is deployed.
    pub fn is_stopped(&self) -> bool {
        self.deployment_status == "Stopped"
    }

    /// Whether the engine is already working towards a stop.
    pub fn is_stopping(&self) -> bool {
        let towards = self.deployment_desired_status.as_str();
        !self.is_stopped()
            && (self.deployment_status == "Stopping"
                || towards == "Stopped"
                // A graceful stop at the gate parks the pipeline there for ever.
                || towards == "Suspended" && !self.awaits_approval())
    }

    /// Whether the pipeline is up and past any bootstrap.
    pub fn is_up(&self) -> bool {
        matches!(self.deployment_status.as_str(), "Running" | "Paused")
    }

    /// Whether the program is compiled.
    pub fn is_compiled(&self) -> bool {
        self.program_status == "Success"
    }

    /// Whether the compiler has given up on the program.
    pub fn compile_failed(&self) -> bool {
        matches!(
            self.program_status.as_str(),
            "SqlError" | "RustError" | "SystemError"
        )
    }

    /// Whether the engine is still at something, so that it is worth asking often.
    pub fn is_moving(&self) -> bool {
        !(self.is_stopped() || self.is_up() || self.awaits_approval())
            || !(self.is_compiled() || self.compile_failed())
            || (self.is_stopped() && self.deployment_desired_status != "Stopped")
    }

    /// The newest checkpoint.
    pub fn newest_checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoints.last()
    }

    /// Whether the diff is one that can be read in full: there, and without an error in it.
    pub fn diff_is_known(diff: &Value) -> bool {
        diff.is_object()
            && diff.get("program_diff").is_some_and(Value::is_object)
            && diff.get("program_diff_error").is_none_or(Value::is_null)
    }
}

fn size_of_value(value: &Value) -> usize {
    /// What a map takes for each entry, beside key and value.
    const ENTRY: usize = 48;
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len(),
            Value::Array(list) => list.iter().map(size_of_value).sum(),
            Value::Object(map) => map
                .iter()
                .map(|(key, value)| ENTRY + key.len() + size_of_value(value))
                .sum(),
            _ => 0,
        }
}

/// Whether what the engine holds is what it was given: texts to the letter, and every setting that
/// was given, whatever defaults the engine added.
pub fn same_content(given: &Content, held: &Content) -> bool {
    given.sql == held.sql
        && given.udf_rust == held.udf_rust
        && given.udf_toml == held.udf_toml
        && settings_hold(given.program_config.as_ref(), held.program_config.as_ref())
        && settings_hold(given.runtime_config.as_ref(), held.runtime_config.as_ref())
}

fn settings_hold(given: Option<&Map<String, Value>>, held: Option<&Map<String, Value>>) -> bool {
    let Some(given) = given else { return true };
    let empty = Map::new();
    object_holds(given, held.unwrap_or(&empty))
}

fn object_holds(given: &Map<String, Value>, held: &Map<String, Value>) -> bool {
    given
        .iter()
        .all(|(key, value)| value_holds(value, held.get(key).unwrap_or(&Value::Null)))
}

fn value_holds(given: &Value, held: &Value) -> bool {
    match (given, held) {
        (Value::Object(given), Value::Object(held)) => object_holds(given, held),
        (Value::Number(given), Value::Number(held)) => given.as_f64() == held.as_f64(),
        _ => given == held,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn content(sql: &str, config: Value) -> Content {
        Content {
            sql: sql.to_owned(),
            runtime_config: config.as_object().cloned(),
            ..Content::default()
        }
    }

    #[test]
    fn defaults_that_the_engine_adds_make_no_difference_but_other_values_do() {
        let given = content("s", json!({"workers": 4, "resources": {"cpu": 1}}));
        let held = content(
            "s",
            json!({"workers": 4, "storage": true, "resources": {"cpu": 1, "memory": null}}),
        );
        assert!(same_content(&given, &held));
        let other = content("s", json!({"workers": 5, "resources": {"cpu": 1}}));
        assert!(!same_content(&given, &other));
        assert!(!same_content(&given, &content("t", json!({"workers": 4}))));
    }

    #[test]
    fn a_diff_with_an_error_or_without_a_program_part_is_not_known() {
        let good = json!({"program_diff": {}, "program_diff_error": null});
        assert!(PipelineState::diff_is_known(&good));
        for bad in [
            json!(null),
            json!({}),
            json!({"program_diff": null, "program_diff_error": "no program information"}),
            json!({"program_diff": {}, "program_diff_error": "half of it"}),
        ] {
            assert!(!PipelineState::diff_is_known(&bad), "{bad}");
        }
    }

    #[test]
    fn a_status_that_nobody_knows_is_neither_up_nor_stopped_nor_at_the_gate() {
        let state = PipelineState {
            deployment_status: "Levitating".into(),
            program_status: "Success".into(),
            ..PipelineState::default()
        };
        assert!(!state.is_up() && !state.is_stopped() && !state.awaits_approval());
        assert!(state.is_moving());
    }
}
