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
    name_the_fault_tolerance(&mut asked);
    for (path, _) in UNASKED {
        remove(&mut asked, path);
    }
    for (path, default) in defaults() {
        if at(&asked, path) == Some(&default) {
            remove(&mut asked, path);
        }
    }
    drop_nothings(&mut asked);
    asked
}

fn drop_nothings(config: &mut Map<String, Value>) {
    config.retain(|_, value| {
        if let Value::Object(inner) = value {
            drop_nothings(inner);
        }
        !is_nothing(value)
    });
}

/// What the engine fills in where a configuration doesn't say it, as far as that isn't nothing: to say it changes nothing.
/// (Source: `RuntimeConfig::default` of Feldera's types at 0.337 and 0.349.)
fn defaults() -> [(&'static str, Value); 4] {
    [
        ("clock_resolution_usecs", json!(1_000_000)),
        // Has no effect any more.
        ("checkpoint_during_suspend", json!(true)),
        ("storage.backend", json!({"name": "default"})),
        ("fault_tolerance.model", json!("none")),
    ]
}

/// Says which model is meant where none is named: an object without one, be it empty, turns fault tolerance on.
/// (Source: `FtConfig` of Feldera's types at 0.337.)
fn name_the_fault_tolerance(config: &mut Map<String, Value>) {
    let model = || json!("exactly_once");
    match config.get_mut("fault_tolerance") {
        Some(Value::Object(given)) => {
            given.entry("model").or_insert_with(model);
        }
        Some(given @ Value::String(_)) => *given = json!({"model": model()}),
        _ => {}
    }
}

/// What a program configuration says, without what the engine fills in. (Source: `ProgramConfig` of Feldera at 0.337.)
pub fn said_of_the_program(config: Option<&Map<String, Value>>) -> Map<String, Value> {
    let mut said = config.cloned().unwrap_or_default();
    for (key, default) in [("cache", true), ("use_platform_compiler", false)] {
        if said.get(key) == Some(&json!(default)) {
            said.remove(key);
        }
    }
    said.retain(|_, value| !is_nothing(value));
    said
}

fn at<'a>(config: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut keys = path.split('.');
    let first = config.get(keys.next()?)?;
    keys.try_fold(first, |value, key| value.get(key))
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
                // An object without a model turns it on.
                Some(("fault_tolerance", rest)) => {
                    json!({"fault_tolerance": {"model": "none", rest: 7}})
                }
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
            json!({"fault_tolerance": {}}),
            json!({"fault_tolerance": {"checkpoint_interval_secs": 10}}),
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

    #[test]
    fn what_the_engine_fills_in_says_nothing() {
        let filled_in = json!({
            "workers": 8, "max_rss_mb": null, "datafusion_memory_mb": null, "hosts": 1,
            "storage": {"backend": {"name": "default"}, "min_storage_bytes": null,
                        "min_step_storage_bytes": null, "compression": "default", "cache_mib": null},
            "fault_tolerance": {"model": "none", "checkpoint_interval_secs": 60},
            "cpu_profiler": true, "tracing": false, "tracing_endpoint_jaeger": "127.0.0.1:6831",
            "min_batch_size_records": 0, "max_buffering_delay_usecs": 0,
            "resources": {"cpu_cores_min": null, "cpu_cores_max": null, "memory_mb_min": null,
                          "memory_mb_max": null, "storage_mb_max": null, "storage_class": null,
                          "service_account_name": null, "namespace": null},
            "clock_resolution_usecs": 1_000_000, "clock_timezone_offset": null, "pin_cpus": [],
            "provisioning_timeout_secs": null, "max_parallel_connector_init": null,
            "init_containers": null, "checkpoint_during_suspend": true, "io_workers": null,
            "http_workers": null, "env": {}, "dev_tweaks": {}, "logging": null,
            "pipeline_template_configmap": null,
        });
        assert_eq!(asked_about(filled_in.as_object()), Map::new());
        // Nested, too: what is given there is told from what is filled in beside it.
        let given = json!({"resources": {"storage_class": "fast"}});
        let held = json!({"resources": {"storage_class": "fast", "namespace": null, "cpu_cores_max": null}});
        assert_eq!(digest(given.as_object()), digest(held.as_object()));
        let program = json!({"profile": null, "cache": true, "runtime_version": null,
                             "use_platform_compiler": false});
        assert_eq!(said_of_the_program(program.as_object()), Map::new());
    }
}
