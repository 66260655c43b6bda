//! Which settings of Feldera's `runtime_config` may change without a question.
//!
//! The engine's gate doesn't look at them (source: `PipelineDiff` of Feldera at 0.337), and they are passed on as they are,
//! whatever their names are. So those are listed that change how fast a pipeline runs and what it may use, and
//! everything else waits at Sluice's own gate (rule A9): a setting that nobody here knows may alter results, or
//! have the engine begin from nothing.

use serde_json::{Map, Value, json};

use crate::change::{exactly, short_digest};

/// The settings that may change unasked, and why. A dot leads into an object. Names of 0.337, and behind them
/// those of 0.366 and newer. What the engine doesn't change as long as there is a checkpoint (`workers`, `hosts`)
/// it refuses itself.
pub const UNASKED: [(&str, &str); 36] = [
    ("workers", "how many threads compute"),
    ("hosts", "how many hosts compute"),
    ("http_workers", "how many threads serve HTTP"),
    ("io_workers", "how many threads move data"),
    ("pin_cpus", "where threads run"),
    ("max_rss_mb", "a limit of memory"),
    ("max_rss", "a limit of memory"),
    ("datafusion_memory_mb", "a limit of memory, for queries"),
    ("datafusion_memory", "a limit of memory, for queries"),
    ("resources.cpu_cores_min", "what is reserved"),
    ("resources.cpu_cores_max", "a limit of processors"),
    ("resources.memory_mb_min", "what is reserved"),
    ("resources.memory_min", "what is reserved"),
    ("resources.memory_mb_max", "a limit of memory"),
    ("resources.memory_max", "a limit of memory"),
    ("resources.storage_mb_max", "a limit of storage"),
    ("resources.storage_max", "a limit of storage"),
    ("min_batch_size_records", "how input is cut into batches"),
    ("max_buffering_delay_usecs", "how long input is collected"),
    ("max_buffering_delay", "how long input is collected"),
    ("max_parallel_connector_init", "how connectors are opened"),
    ("provisioning_timeout_secs", "how long a start may take"),
    ("provisioning_timeout", "how long a start may take"),
    ("cpu_profiler", "what can be observed"),
    ("tracing", "what can be observed"),
    ("tracing_endpoint_jaeger", "what can be observed"),
    ("logging", "what can be observed"),
    ("storage.min_storage_bytes", "what is kept in memory"),
    ("storage.min_spill_size", "what is kept in memory"),
    ("storage.min_step_storage_bytes", "what is kept in memory"),
    ("storage.min_step_spill_size", "what is kept in memory"),
    ("storage.cache_mib", "what is kept in memory"),
    ("storage.cache_size", "what is kept in memory"),
    ("storage.compression", "how new files are written"),
    (
        "fault_tolerance.checkpoint_interval_secs",
        "how often what runs is kept",
    ),
    (
        "fault_tolerance.checkpoint_interval",
        "how often what runs is kept",
    ),
];

/// What of a configuration doesn't change unasked. What says nothing is left out: `null`, empty objects and lists,
/// and `storage: true`, which is what the engine does by itself. No storage is kept, as `false`.
pub fn asked_about(config: Option<&Map<String, Value>>) -> Map<String, Value> {
    let mut asked = config.cloned().unwrap_or_default();
    if storage_is_off(config) {
        asked.insert("storage".into(), json!(false));
    } else if asked.get("storage") == Some(&json!(true)) {
        asked.remove("storage");
    }
    for (path, _) in UNASKED {
        remove(&mut asked, path);
    }
    asked.retain(|_, value| !is_nothing(value));
    asked
}

/// The digest of what doesn't change unasked; empty if there is nothing of that kind.
pub fn digest(config: Option<&Map<String, Value>>) -> String {
    let asked = asked_about(config);
    if asked.is_empty() {
        String::new()
    } else {
        short_digest(&exactly(Value::Object(asked)))
    }
}

/// Whether a pipeline runs without storage: it writes no checkpoint then, and reads none, so that it begins
/// from nothing at each start. (Source: Feldera's adapter at 0.337, where `false` and `null` are the same.)
pub fn storage_is_off(config: Option<&Map<String, Value>>) -> bool {
    let storage = config.and_then(|config| config.get("storage"));
    storage.is_some_and(|storage| matches!(storage, Value::Null | Value::Bool(false)))
}

/// The settings in which two configurations differ, of those that don't change unasked.
pub fn differences(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<String> {
    let keys: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differ = |key: &&String| {
        let digest = |of: &Map<String, Value>| {
            of.get(*key)
                .cloned()
                .map(exactly)
                .as_ref()
                .map(short_digest)
        };
        digest(before) != digest(after)
    };
    keys.into_iter().filter(differ).cloned().collect()
}

fn remove(config: &mut Map<String, Value>, path: &str) {
    match path.split_once('.') {
        None => {
            config.remove(path);
        }
        Some((first, rest)) => {
            if let Some(Value::Object(inner)) = config.get_mut(first) {
                remove(inner, rest);
            }
        }
    }
}

/// Whether a setting says nothing, however deep.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.values().all(is_nothing),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(config: Value) -> String {
        digest(config.as_object())
    }

    #[test]
    fn a9_only_listed_settings_change_unasked() {
        let plain = of(json!({}));
        assert_eq!(plain, "");
        assert_eq!(digest(None), "");
        for (path, why) in UNASKED {
            assert!(!why.is_empty(), "{path}");
            let config = match path.split_once('.') {
                None => json!({path: 7}),
                Some((first, rest)) => json!({first: {rest: 7}}),
            };
            assert_eq!(of(config), plain, "{path}");
        }
        for asked in [
            json!({"storage": false}),
            json!({"storage": null}),
            json!({"storage": {"backend": {"name": "file", "config": {"sync": {"bucket": "b"}}}}}),
            json!({"env": {"A": "1"}}),
            json!({"init_containers": [{"name": "x"}]}),
            json!({"pipeline_template_configmap": {"name": "x", "key": "y"}}),
            json!({"dev_tweaks": {"x": 1}}),
            json!({"fault_tolerance": {"model": "exactly_once"}}),
            json!({"checkpoint_during_suspend": false}),
            json!({"resources": {"namespace": "other"}}),
            json!({"clock_resolution_usecs": 1}),
            json!({"a_setting_of_tomorrow": true}),
        ] {
            assert_ne!(of(asked.clone()), plain, "{asked}");
        }
    }

    #[test]
    fn a9_what_says_nothing_is_as_if_it_were_not_there() {
        for nothing in [
            json!({"storage": true}),
            json!({"storage": {}}),
            json!({"storage": {"backend": null}}),
            json!({"env": {}}),
            json!({"init_containers": null}),
            json!({"resources": {"namespace": null}}),
        ] {
            assert_eq!(of(nothing.clone()), "", "{nothing}");
        }
    }

    #[test]
    fn storage_is_off_where_it_is_false_or_null_and_on_where_it_is_left_out() {
        for (config, off) in [
            (json!({}), false),
            (json!({"storage": true}), false),
            (json!({"storage": {}}), false),
            (json!({"storage": false}), true),
            (json!({"storage": null}), true),
        ] {
            assert_eq!(storage_is_off(config.as_object()), off, "{config}");
        }
        assert!(!storage_is_off(None));
        assert_eq!(of(json!({"storage": null})), of(json!({"storage": false})));
    }

    #[test]
    fn settings_that_differ_are_named() {
        let of = |config: Value| asked_about(config.as_object());
        let before = of(json!({"env": {"A": "1"}, "workers": 4, "dev_tweaks": {"x": 1}}));
        let after =
            of(json!({"env": {"A": "2"}, "workers": 8, "storage": false, "dev_tweaks": {"x": 1}}));
        assert_eq!(differences(&before, &after), ["env", "storage"]);
        assert_eq!(differences(&before, &before), [""; 0]);
    }
}
