//! Which settings of Feldera's `runtime_config` may change without a question.
//!
//! The engine's gate doesn't look at them (source: `PipelineDiff` of Feldera at 0.337), and they are passed on as they are,
//! whatever their names are. So those are listed that change how fast a pipeline runs and what it may use, and
//! everything else waits at Sluice's own gate (rule A9): a setting that nobody here knows may alter results, or
//! have the engine begin from nothing.

use serde_json::{Map, Value, json};

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

/// What the engine fills in of the settings that may change unasked. Newer ones leave it out again. (Source: as above.)
fn unasked_defaults() -> [(&'static str, Value); 9] {
    [
        ("workers", json!(8)),
        ("hosts", json!(1)),
        ("cpu_profiler", json!(true)),
        ("tracing", json!(false)),
        ("tracing_endpoint_jaeger", json!("127.0.0.1:6831")),
        ("min_batch_size_records", json!(0)),
        ("max_buffering_delay_usecs", json!(0)),
        ("storage.compression", json!("default")),
        ("fault_tolerance.checkpoint_interval_secs", json!(60)),
    ]
}

/// Settings that have another name since 0.366: the engine takes both, and shows the new one.
const RENAMED: [(&str, &str); 12] = [
    ("max_rss_mb", "max_rss"),
    ("datafusion_memory_mb", "datafusion_memory"),
    ("resources.memory_mb_min", "resources.memory_min"),
    ("resources.memory_mb_max", "resources.memory_max"),
    ("resources.storage_mb_max", "resources.storage_max"),
    ("max_buffering_delay_usecs", "max_buffering_delay"),
    ("provisioning_timeout_secs", "provisioning_timeout"),
    ("clock_resolution_usecs", "clock_resolution"),
    ("storage.min_storage_bytes", "storage.min_spill_size"),
    (
        "storage.min_step_storage_bytes",
        "storage.min_step_spill_size",
    ),
    ("storage.cache_mib", "storage.cache_size"),
    (
        "fault_tolerance.checkpoint_interval_secs",
        "fault_tolerance.checkpoint_interval",
    ),
];

/// The other name of a setting, if it has one.
pub fn other_name(path: &str) -> Option<&'static str> {
    RENAMED.iter().find_map(|(old, new)| match () {
        () if *old == path => Some(*new),
        () if *new == path => Some(*old),
        () => None,
    })
}

/// How many settings are named that the engine doesn't show.
const MOST_NAMED: usize = 20;

/// The settings that were given and that the engine doesn't show in its answer, or shows with another value: it drops what it
/// doesn't know, without a word. A text may be written in another way there, so only that it is there is looked at; and
/// what is the engine's default anyway need not be there.
pub fn not_shown(
    given: Option<&Map<String, Value>>,
    shown: Option<&Map<String, Value>>,
) -> Vec<String> {
    let none = Map::new();
    let shown = shown.unwrap_or(&none);
    let mut missing = vec![];
    for (key, value) in given.into_iter().flatten() {
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                let of = shown.get(key);
                // Some parts may be given in short, and are completed.
                for (sub, value) in inner {
                    let path = format!("{key}.{sub}");
                    let is = of.and_then(|of| of.get(sub));
                    let is = is.or_else(|| at(shown, other_name(&path)?));
                    if !is_shown(&path, value, is) {
                        missing.push(path);
                    }
                }
            }
            _ => {
                let is = shown.get(key).or_else(|| at(shown, other_name(key)?));
                if !is_shown(key, value, is) {
                    missing.push(key.clone());
                }
            }
        }
    }
    missing.truncate(MOST_NAMED);
    missing
}

fn is_shown(path: &str, given: &Value, shown: Option<&Value>) -> bool {
    let is_default = |(of, default): &(&str, Value)| *of == path && given == default;
    match (given, shown.unwrap_or(&Value::Null)) {
        (given, _) if is_nothing(given) => true,
        (_, Value::Null) => {
            path == "storage"
                || defaults().iter().any(is_default)
                || unasked_defaults().iter().any(is_default)
        }
        (Value::Bool(given), Value::Bool(shown)) => given == shown,
        (Value::Number(given), Value::Number(shown)) => given.as_f64() == shown.as_f64(),
        _ => true,
    }
}

/// The settings that may change unasked and are given, by their paths.
pub fn unasked_in(config: Option<&Map<String, Value>>) -> Vec<String> {
    let paths = UNASKED.into_iter().map(|(path, _)| path);
    let given = paths.filter(|path| config.is_some_and(|config| at(config, path).is_some()));
    given.map(str::to_owned).collect()
}

/// Whether a configuration says something of the setting with this path, be it that there is nothing.
pub fn names(given: Option<&Map<String, Value>>, path: &str) -> bool {
    let (key, part) = parts(path);
    match (given.and_then(|given| given.get(key)), part) {
        (None, _) => false,
        (Some(Value::Object(inner)), Some(part)) => inner.is_empty() || inner.contains_key(part),
        (Some(_), _) => true,
    }
}

/// Whether the parts of a setting are settings of their own, as those of `storage` are. The names in `env` aren't: who says
/// what is in it says all of it.
pub fn has_parts(key: &str) -> bool {
    UNASKED
        .iter()
        .any(|(path, _)| parts(path).0 == key && *path != key)
}

/// The key of a setting, and which part of its value is meant, if not all of it.
fn parts(path: &str) -> (&str, Option<&str>) {
    path.split_once('.')
        .map_or((path, None), |(key, part)| (key, Some(part)))
}

/// A configuration beside what stays of the one that the engine holds: of the settings that may change unasked all that the
/// spec doesn't name and didn't name when it was `given_before`, since nobody would be asked, and nobody told, that they
/// go; and of the others those with the paths that are `staying`.
pub fn beside<'a>(
    given: Option<&Map<String, Value>>,
    given_before: &[String],
    staying: impl Iterator<Item = &'a String>,
    held: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let mut all = given.cloned().unwrap_or_default();
    let Some(held) = held else { return all };
    for path in staying {
        // A newer engine may show it by its other name.
        let names = [Some(path.as_str()), other_name(path)];
        let name = names
            .into_iter()
            .flatten()
            .find(|name| at(held, name).is_some());
        let (key, part) = parts(name.unwrap_or(path));
        let Some(value) = held.get(key) else { continue };
        let Some(part) = part else {
            all.insert(key.to_owned(), value.clone());
            continue;
        };
        let inner = all.entry(key).or_insert_with(|| json!({}));
        if let (Value::Object(inner), Some(of)) = (inner, value.get(part)) {
            inner.insert(part.to_owned(), of.clone());
            // Without one it would be turned on.
            if let Some(model) = value.get("model").filter(|_| key == "fault_tolerance") {
                inner.entry("model").or_insert_with(|| model.clone());
            }
        }
    }
    for (path, _) in UNASKED {
        let names = [Some(path), other_name(path)];
        let is_named = names.into_iter().flatten().any(|name| {
            at(&all, name).is_some() || given_before.iter().any(|before| before == name)
        });
        let Some(value) = at(held, path).filter(|value| !is_named && !is_nothing(value)) else {
            continue;
        };
        match path.split_once('.') {
            None => {
                all.insert(path.to_owned(), value.clone());
            }
            Some((first, rest)) => {
                // Where the whole is given otherwise, as `storage: false`, it has no parts. And an object without
                // a model turns fault tolerance on.
                let is_ours = all.get(first).is_some_and(Value::is_object);
                if is_ours || first != "fault_tolerance" && !all.contains_key(first) {
                    let inner = all.entry(first).or_insert_with(|| json!({}));
                    if let Value::Object(inner) = inner {
                        inner.insert(rest.to_owned(), value.clone());
                    }
                }
            }
        }
    }
    all
}

/// The settings of a program configuration. All but the version of the runtime change no result, only how the program is
/// compiled, and so change unasked. (Source: `ProgramConfig` of Feldera at 0.337.)
const OF_THE_PROGRAM: [&str; 4] = ["profile", "cache", "use_platform_compiler", RUNTIME_VERSION];

/// The setting of a program configuration that names the version of the runtime.
const RUNTIME_VERSION: &str = "runtime_version";

/// Whether an update leaves the version of the runtime as others have set it: the spec doesn't name it, and didn't when it
/// was `given_before`.
pub fn leaves_the_runtime_version(
    given: Option<&Map<String, Value>>,
    given_before: &[String],
) -> bool {
    // An empty one says that nothing is to be left.
    !given.is_some_and(Map::is_empty) && stays_in_the_program(RUNTIME_VERSION, given, given_before)
}

/// Whether a setting of a program configuration is named neither by the one that is given nor by any before it.
fn stays_in_the_program(
    key: &str,
    given: Option<&Map<String, Value>>,
    given_before: &[String],
) -> bool {
    !given.is_some_and(|given| given.contains_key(key))
        && !given_before.contains(&name_of_the_program(key))
}

/// How statuses name a setting of the program configuration.
fn name_of_the_program(key: &str) -> String {
    format!("program.config.{key}")
}

/// All settings of a program configuration, as statuses name them.
pub fn all_of_the_program() -> Vec<String> {
    OF_THE_PROGRAM
        .into_iter()
        .map(name_of_the_program)
        .collect()
}

/// The settings of a program configuration that are given, as statuses name them.
pub fn of_the_program_in(config: Option<&Map<String, Value>>) -> Vec<String> {
    let given = OF_THE_PROGRAM
        .into_iter()
        .filter(|key| config.is_some_and(|config| config.contains_key(*key)));
    given.map(name_of_the_program).collect()
}

/// The same as [`beside`] of a program configuration.
pub fn beside_in_the_program(
    given: Option<&Map<String, Value>>,
    given_before: &[String],
    held: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let mut all = given.cloned().unwrap_or_default();
    let held = said_of_the_program(held);
    for key in OF_THE_PROGRAM {
        if let Some(value) = held.get(key)
            && stays_in_the_program(key, given, given_before)
        {
            all.insert(key.to_owned(), value.clone());
        }
    }
    all
}

/// What a program configuration holds without that which others have set beside the wanted one.
pub fn without_what_others_set(
    held: &Map<String, Value>,
    wanted: &Map<String, Value>,
    given: &[String],
) -> Map<String, Value> {
    let mut ours = held.clone();
    ours.retain(|key, _| {
        let is_known = OF_THE_PROGRAM.contains(&key.as_str());
        !is_known || wanted.contains_key(key) || given.contains(&name_of_the_program(key))
    });
    ours
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

/// Whether a pipeline runs without storage: it writes no checkpoint then, and reads none, so that it begins
/// from nothing at each start. (Source: Feldera's adapter at 0.337, where `false` and `null` are the same.)
pub fn storage_is_off(config: Option<&Map<String, Value>>) -> bool {
    let storage = config.and_then(|config| config.get("storage"));
    storage.is_some_and(|storage| matches!(storage, Value::Null | Value::Bool(false)))
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
    use crate::held_settings::name as digest;

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

    fn missing(given: Value, shown: Value) -> Vec<String> {
        not_shown(given.as_object(), shown.as_object())
    }

    #[test]
    fn a_setting_that_is_dropped_or_has_another_value_is_not_in_force() {
        let given =
            json!({"workers": 4, "env": {"A": "1", "B": "2"}, "of_tomorrow": true, "x": {"y": 1}});
        let shown = json!({"workers": 8, "env": {"A": "1"}, "hosts": 1});
        assert_eq!(
            missing(given, shown),
            ["env.B", "of_tomorrow", "workers", "x.y"]
        );
    }

    #[test]
    fn a_setting_that_the_engine_spells_otherwise_or_has_as_its_default_is_in_force() {
        for (given, shown) in [
            (json!({"max_rss_mb": 100}), json!({"max_rss": "100M"})),
            (
                json!({"resources": {"memory_mb_max": 5}}),
                json!({"resources": {"memory_max": "5M"}}),
            ),
            (
                json!({"checkpoint_interval": "60s"}),
                json!({"checkpoint_interval": "1m"}),
            ),
            (
                json!({"workers": 8, "hosts": 1, "tracing": false, "checkpoint_during_suspend": true}),
                json!({}),
            ),
            (
                json!({"storage": true}),
                json!({"storage": {"backend": {"name": "default"}}}),
            ),
            (json!({"storage": false}), json!({"storage": null})),
            (
                json!({"fault_tolerance": "exactly_once"}),
                json!({"fault_tolerance": {"model": "exactly_once"}}),
            ),
            (
                json!({"env": {}, "logging": null, "pin_cpus": []}),
                json!({}),
            ),
            (json!({"workers": 4}), json!({"workers": 4.0})),
        ] {
            assert_eq!(missing(given.clone(), shown), [""; 0], "{given}");
        }
    }

    #[test]
    fn what_stays_is_sent_by_the_name_that_the_engine_shows_and_turns_nothing_on() {
        let held = json!({"clock_resolution": "5s", "env": {"A": "1"},
                          "fault_tolerance": {"model": "none", "of_tomorrow": 1},
                          "storage": {"backend": {"name": "file"}, "of_tomorrow": 1}});
        let staying = [
            "clock_resolution_usecs",
            "fault_tolerance.of_tomorrow",
            "storage.backend",
        ]
        .map(str::to_owned);
        let given = json!({"workers": 4});
        let all = beside(given.as_object(), &[], staying.iter(), held.as_object());
        assert_eq!(
            Value::Object(all),
            json!({"workers": 4, "clock_resolution": "5s",
                   "fault_tolerance": {"model": "none", "of_tomorrow": 1},
                   "storage": {"backend": {"name": "file"}}})
        );
    }

    #[test]
    fn what_stays_beside_a_part_that_is_given_otherwise_is_no_part_of_it() {
        let held = json!({"storage": {"cache_mib": 5, "backend": {"name": "file"}},
                          "fault_tolerance": {"model": "at_least_once", "checkpoint_interval_secs": 10}});
        for (given, all) in [
            (json!({"storage": false}), json!({"storage": false})),
            (
                json!({"storage": {"cache_size": "1M"}}),
                json!({"storage": {"cache_size": "1M"}}),
            ),
            (
                json!({"workers": 2}),
                json!({"workers": 2, "storage": {"cache_mib": 5}}),
            ),
            (
                json!({"fault_tolerance": {"model": "none"}, "storage": null}),
                json!({"fault_tolerance": {"model": "none", "checkpoint_interval_secs": 10}, "storage": null}),
            ),
        ] {
            let found = beside(given.as_object(), &[], [].iter(), held.as_object());
            assert_eq!(Value::Object(found), all, "{given}");
            // It changes nothing of what is asked about.
            assert_eq!(digest(all.as_object()), digest(given.as_object()));
        }
    }
}
