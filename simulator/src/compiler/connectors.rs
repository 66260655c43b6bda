//! Connectors from a relation's `WITH ('connectors' = '[…]')`, named as Feldera 0.337 names
//! them: `relation.name`, unnamed ones `relation.unnamed-0` and on.

use feldera_types::config::{ConnectorConfig, TransportConfig};
use serde_json::{Value, json};

use super::message::SqlMessage;
use super::parse::{Name, Property};

/// The property that holds them.
pub const PROPERTY: &str = "connectors";

/// Rows that a connector reads or replays if its configuration doesn't say how many.
pub const DEFAULT_ROWS: u64 = 1000;

/// The longest name of a connector.
const MAXIMUM_NAME: usize = 100;

/// A connector of a table or view.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// `relation.name`
    pub name: String,
    /// Its configuration with the stream, as the engine's diff takes it.
    pub config: Value,
    /// An input's rows, all told.
    pub rows: u64,
    /// Why it can't be opened: see [`unopenable`].
    pub fails: Option<String>,
    /// An output that asks for everything when it is added.
    pub send_snapshot: bool,
}

/// The input connectors of a table.
///
/// # Errors
/// What is wrong with the property, at its place in the program.
pub fn inputs(relation: &Name, properties: &[Property]) -> Result<Vec<Endpoint>, SqlMessage> {
    endpoints(relation, properties, true)
}

/// The output connectors of a view.
///
/// # Errors
/// What is wrong with the property, at its place in the program.
pub fn outputs(relation: &Name, properties: &[Property]) -> Result<Vec<Endpoint>, SqlMessage> {
    endpoints(relation, properties, false)
}

fn endpoints(
    relation: &Name,
    properties: &[Property],
    input: bool,
) -> Result<Vec<Endpoint>, SqlMessage> {
    let Some(property) = properties.iter().find(|p| p.key == PROPERTY) else {
        return Ok(Vec::new());
    };
    let table = &relation.canonical;
    let invalid = |reason: String| {
        SqlMessage::connector(
            property.value_span,
            format!("relation '{table}': property 'connectors' has an invalid value: {reason}"),
        )
    };
    let parsed: Vec<Value> = serde_json::from_str(&property.value).map_err(|e| {
        invalid(format!(
            "deserialization failed: {e} (position is within the string itself)"
        ))
    })?;
    let mut found: Vec<Endpoint> = Vec::new();
    for (index, mut value) in parsed.into_iter().enumerate() {
        let Some(object) = value.as_object_mut() else {
            return Err(invalid(format!(
                "deserialization failed: connector {index} isn't an object"
            )));
        };
        let name = match object.remove("name") {
            None | Some(Value::Null) => format!("unnamed-{index}"),
            Some(Value::String(name)) => {
                check_name(&name)
                    .map_err(|e| invalid(format!("connector name '{name}' is not valid: {e}")))?;
                name
            }
            Some(_) => {
                return Err(invalid(
                    "deserialization failed: a connector's name must be a string".to_owned(),
                ));
            }
        };
        let config: ConnectorConfig = serde_json::from_value(value)
            .map_err(|e| invalid(format!("deserialization failed: {e}")))?;
        if is_input(&config.transport) != Some(input) {
            let expected = if input { "input" } else { "output" };
            return Err(SqlMessage::connector(
                property.value_span,
                format!("relation '{table}': connector '{name}': expected an {expected} connector"),
            ));
        }
        let endpoint = format!("{table}.{name}");
        if found.iter().any(|e| e.name == endpoint) {
            return Err(SqlMessage::connector(
                property.value_span,
                format!(
                    "relation '{table}': two connectors are named '{name}': give each a name of its own"
                ),
            ));
        }
        let send_snapshot = config.send_snapshot;
        let mut config = serde_json::to_value(&config)
            .map_err(|e| invalid(format!("serialization failed: {e}")))?;
        let rows = if input { rows(&config) } else { 0 };
        let fails = unopenable(&config);
        config["stream"] = json!(if relation.quoted {
            format!("\"{table}\"")
        } else {
            table.clone()
        });
        found.push(Endpoint {
            name: endpoint,
            config,
            rows,
            fails,
            send_snapshot,
        });
    }
    Ok(found)
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > MAXIMUM_NAME {
        return Err(format!("it must have 1 to {MAXIMUM_NAME} characters"));
    }
    if !name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    {
        return Err("it may only contain letters, digits, '_' and '-'".to_owned());
    }
    Ok(())
}

/// `None` for transports that can't be written in SQL.
fn is_input(transport: &TransportConfig) -> Option<bool> {
    use TransportConfig as T;
    match transport {
        T::FileInput(_)
        | T::NatsInput(_)
        | T::KafkaInput(_)
        | T::PubSubInput(_)
        | T::UrlInput(_)
        | T::S3Input(_)
        | T::DeltaTableInput(_)
        | T::PostgresInput(_)
        | T::PostgresCdcInput(_)
        | T::IcebergInput(_)
        | T::Datagen(_)
        | T::Nexmark(_)
        | T::EmptyInput => Some(true),
        T::FileOutput(_)
        | T::PostgresOutput(_)
        | T::KafkaOutput(_)
        | T::DeltaTableOutput(_)
        | T::DynamoDBOutput(_)
        | T::RedisOutput(_)
        | T::NullOutput => Some(false),
        _ => None,
    }
}

/// A generator's limits added up; anything else has [`DEFAULT_ROWS`], and the empty input none.
fn rows(config: &Value) -> u64 {
    let transport = &config["transport"];
    match transport["name"].as_str() {
        Some("empty_input") => 0,
        Some("datagen") => match transport["config"]["plan"].as_array() {
            Some(plan) => plan
                .iter()
                .map(|step| step["limit"].as_u64().unwrap_or(DEFAULT_ROWS))
                .fold(0, u64::saturating_add),
            None => DEFAULT_ROWS,
        },
        Some("nexmark") => transport["config"]["events"]
            .as_u64()
            .unwrap_or(DEFAULT_ROWS),
        _ => DEFAULT_ROWS,
    }
}

/// The stand-in opens nothing. So that tests can have a connector that fails to open, one whose
/// path begins with `/nonexistent` does.
fn unopenable(config: &Value) -> Option<String> {
    let path = config["transport"]["config"]["path"].as_str()?;
    path.starts_with("/nonexistent")
        .then(|| format!("failed to open file '{path}': No such file or directory (os error 2)"))
}
