//! Settings that the engine changes only once a pipeline's storage is cleared: refused before
//! anything is stopped for them.

use serde_json::{Map, Value, json};

use crate::change::Content;
use crate::decide::Reason;
use crate::decide::happened::sent::beside_what_others_set;
use crate::decide::holds::{Hold, Proposed};
use crate::engine::FullPipeline;

/// Source: Feldera's manager at 0.337, which refuses them with `EditRestrictedToClearedStorage`.
pub(crate) const IMMUTABLE: [&str; 7] = [
    "workers",
    "hosts",
    "fault_tolerance",
    "clock_timezone_offset",
    "resources.storage_mb_max",
    "resources.namespace",
    "resources.storage_class",
];

/// What the engine fills in where a configuration doesn't say it; nothing for the others. (Source: `RuntimeConfig` and
/// `FtConfig` of Feldera's types at 0.337.)
pub(crate) const DEFAULTS: [(&str, i64); 2] = [("workers", 8), ("hosts", 1)];

/// What of a content, as it is sent, could not be given to a pipeline that holds the other one, in words. A configuration
/// takes the place of the whole: what it leaves out goes back to the engine's default.
pub(crate) fn refused(sent: &Content, held: &Content) -> Option<String> {
    let nothing = Map::new();
    let given = match (&sent.sent.runtime_config, &sent.runtime_config) {
        (Some(config), _) | (None, Some(config)) => config,
        (None, None) if sent.kept.runtime_config.is_some() => return None,
        (None, None) => &nothing,
    };
    let changes: Vec<String> = IMMUTABLE
        .iter()
        .filter_map(|path| {
            let given = setting(Some(given), path);
            let old = completed(path, setting(held.runtime_config.as_ref(), path), None);
            let new = completed(path, given, Some(&old));
            let how = match given {
                Some(_) => "can't change",
                None => "can't be taken away: it would change",
            };
            let shown = given.unwrap_or(&new);
            (!is_in(&new, &old))
                .then(|| format!("runtimeConfig.{path} {how} from {old} to {shown}"))
        })
        .collect();
    (!changes.is_empty()).then(|| changes.join("; "))
}

/// A value with what the engine fills in, as far as another one that it has filled in shows that.
pub(crate) fn completed(path: &str, value: Option<&Value>, like: Option<&Value>) -> Value {
    let value = value.filter(|value| !value.is_null());
    if path == "fault_tolerance" {
        return completed_tolerance(value, like);
    }
    let default = DEFAULTS.iter().find(|(name, _)| *name == path);
    let default = default.map_or(Value::Null, |(_, default)| json!(default));
    value.cloned().unwrap_or(default)
}

pub(crate) fn completed_tolerance(value: Option<&Value>, like: Option<&Value>) -> Value {
    let mut all = match value {
        None => Map::from_iter([("model".to_owned(), json!("none"))]),
        Some(Value::Object(given)) => given.clone(),
        Some(other) => return other.clone(),
    };
    // An object without one, be it empty, turns it on.
    all.entry("model").or_insert_with(|| json!("exactly_once"));
    if like.is_some_and(|like| like.get("checkpoint_interval_secs").is_some()) {
        all.entry("checkpoint_interval_secs").or_insert(json!(60));
    }
    Value::Object(all)
}

/// Whether a value is what the engine holds, which completes what is given to it in part.
pub(crate) fn is_in(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            let held = |key| old.get(key).unwrap_or(&Value::Null);
            new.iter().all(|(key, value)| is_in(value, held(key)))
        }
        _ => new == old || new.as_f64().is_some_and(|n| old.as_f64() == Some(n)),
    }
}

pub(crate) fn setting<'a>(config: Option<&'a Map<String, Value>>, path: &str) -> Option<&'a Value> {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let value = config?.get(first)?;
    if rest.is_empty() {
        Some(value)
    } else {
        value.get(rest)
    }
}

/// Why the engine wouldn't take a content while there is storage, by what it shows.
pub(crate) fn forbids(proposed: &Proposed, there: &FullPipeline) -> Option<String> {
    let sent = beside_what_others_set(proposed.content, proposed.held, &there.content);
    refused(&sent, &there.content)
}

/// Why a setting stays as it is.
pub(crate) fn cannot_change(why: &str) -> Hold {
    Hold {
        reason: Reason::ImmutableSetting,
        message: format!(
            "{why}: the engine changes that only once the pipeline's storage is cleared, and the old content goes on. Put the setting back, or give spec.clearStorage a new value in the same change, which loses the pipeline's state"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::Target;

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
            let mut given = held.runtime_config.clone().unwrap();
            given.extend(wanted.as_object().cloned().unwrap());
            let given = Content {
                runtime_config: Some(given),
                ..Content::default()
            };
            let found = refused(&given, &held);
            assert_eq!(found.as_deref(), refusal, "{wanted}");
        }
        // What isn't sent stays.
        let mut keeps = Content::default();
        keeps.kept.runtime_config = Some(Target::default());
        assert_eq!(refused(&keeps, &held), None);
    }

    /// A PATCH takes the place of the whole, so that the engine would refuse these, too: with what runs stopped for it.
    #[test]
    fn what_is_given_up_goes_back_to_the_engines_default_and_is_refused_where_that_is_another() {
        let tolerance = |model: &str, secs: i64| json!({"fault_tolerance": {"model": model, "checkpoint_interval_secs": secs}});
        for (held, given, is_refused) in [
            (json!({"workers": 2}), json!({}), true),
            (json!({"workers": 2}), json!({"env": {"A": "1"}}), true),
            (json!({"workers": 8, "hosts": 1}), json!({}), false),
            (json!({"workers": null, "hosts": null}), json!({}), false),
            (tolerance("exactly_once", 60), json!({}), true),
            (tolerance("none", 60), json!({}), false),
            (tolerance("none", 60), json!({"fault_tolerance": {}}), true),
            (
                tolerance("exactly_once", 5),
                json!({"fault_tolerance": {}}),
                true,
            ),
            (
                tolerance("exactly_once", 60),
                json!({"fault_tolerance": {}}),
                false,
            ),
            (json!({"fault_tolerance": null}), json!({}), false),
            (json!({"resources": {"namespace": "n"}}), json!({}), true),
            (
                json!({"resources": {"namespace": "n"}}),
                json!({"resources": {}}),
                true,
            ),
            (json!({"clock_timezone_offset": 3}), json!({}), true),
        ] {
            let found = refused(&content(given.clone()), &content(held.clone()));
            assert_eq!(found.is_some(), is_refused, "{held} {given}: {found:?}");
        }
        let nothing = refused(&Content::default(), &content(json!({"workers": 2})));
        assert_eq!(
            nothing.as_deref(),
            Some("runtimeConfig.workers can't be taken away: it would change from 2 to 8")
        );
    }
}
