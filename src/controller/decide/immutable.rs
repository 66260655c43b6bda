//! Settings that the engine changes only once a pipeline's storage is cleared: refused before
//! anything is stopped for them.

use serde_json::{Map, Value};

use crate::gate::change::Content;

/// Source: Feldera's manager at 0.337, which refuses them with `EditRestrictedToClearedStorage`.
const IMMUTABLE: [&str; 7] = [
    "workers",
    "hosts",
    "fault_tolerance",
    "clock_timezone_offset",
    "resources.storage_mb_max",
    "resources.namespace",
    "resources.storage_class",
];

/// What of the wanted content could not be given to a pipeline that holds the other one, in words.
/// What the spec leaves out is left to the engine, whose defaults aren't known here.
pub(super) fn refused(wanted: &Content, held: &Content) -> Option<String> {
    let changes: Vec<String> = IMMUTABLE
        .iter()
        .filter_map(|path| {
            let new = setting(wanted.runtime_config.as_ref(), path)?;
            let old = setting(held.runtime_config.as_ref(), path).unwrap_or(&Value::Null);
            (!is_in(new, old))
                .then(|| format!("runtimeConfig.{path} can't change from {old} to {new}"))
        })
        .collect();
    (!changes.is_empty()).then(|| changes.join("; "))
}

/// Whether a value is what the engine holds, which completes what is given to it in part.
fn is_in(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            let held = |key| old.get(key).unwrap_or(&Value::Null);
            new.iter().all(|(key, value)| is_in(value, held(key)))
        }
        _ => new == old || new.as_f64().is_some_and(|n| old.as_f64() == Some(n)),
    }
}

fn setting<'a>(config: Option<&'a Map<String, Value>>, path: &str) -> Option<&'a Value> {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let value = config?.get(first)?;
    if rest.is_empty() {
        Some(value)
    } else {
        value.get(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn content(config: Value) -> Content {
        Content {
            runtime_config: config.as_object().cloned(),
            ..Content::default()
        }
    }

    #[test]
    fn only_other_values_of_what_cannot_change_are_refused() {
        let held = content(json!({
            "workers": 4, "max_rss_mb": null, "fault_tolerance": {"model": "at_least_once", "checkpoint_interval_secs": 60}, "resources": {"storage_class": null, "cpu_cores_max": 2},
        }));
        for (wanted, refusal) in [
            (json!({"workers": 4}), None),
            (json!({"workers": 4.0}), None),
            (json!({"max_rss_mb": 100}), None),
            (json!({"fault_tolerance": {"model": "at_least_once"}}), None),
            (
                json!({"fault_tolerance": {"model": "exactly_once"}}),
                Some(
                    "runtimeConfig.fault_tolerance can't change from {\"checkpoint_interval_secs\":60,\"model\":\"at_least_once\"} to {\"model\":\"exactly_once\"}",
                ),
            ),
            (json!({"resources": {"cpu_cores_max": 8}}), None),
            (
                json!({"workers": 8}),
                Some("runtimeConfig.workers can't change from 4 to 8"),
            ),
            (
                json!({"resources": {"storage_class": "fast"}}),
                Some("runtimeConfig.resources.storage_class can't change from null to \"fast\""),
            ),
        ] {
            let found = refused(&content(wanted.clone()), &held);
            assert_eq!(found.as_deref(), refusal, "{wanted}");
        }
        assert_eq!(refused(&Content::default(), &held), None);
    }
}
