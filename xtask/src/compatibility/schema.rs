//! Whether a schema takes everything that another one took.

use serde_json::Value;

/// Bounds from above, and from below.
const AT_MOST: [&str; 4] = ["maximum", "maxLength", "maxItems", "maxProperties"];
const AT_LEAST: [&str; 4] = ["minimum", "minLength", "minItems", "minProperties"];

/// Tells each way in which `now` takes less than `before`, with its place.
pub fn narrower(before: &Value, now: &Value, place: &str, breaks: &mut Vec<String>) {
    let mut tell = |what: String| breaks.push(format!("{place}: {what}"));
    for field in ["type", "pattern", "format"] {
        let (before, now) = (&before[field], &now[field]);
        if before != now && !now.is_null() {
            tell(format!("{field} was {before} and is {now}"));
        }
    }
    if before["nullable"] == true && now["nullable"] != true {
        tell("null isn't taken any more".to_owned());
    }
    for (fields, narrower) in [
        (AT_MOST, f64::lt as fn(&f64, &f64) -> bool),
        (AT_LEAST, f64::gt),
    ] {
        for field in fields {
            let (before, now) = (before[field].as_f64(), now[field].as_f64());
            if let Some(now) = now
                && before.is_none_or(|before| narrower(&now, &before))
            {
                let before = before.map_or("none".to_owned(), |before| before.to_string());
                tell(format!("{field} was {before} and is {now}"));
            }
        }
    }
    if !now["enum"].is_null() {
        let taken: Vec<&Value> = list(&now["enum"]).collect();
        if before["enum"].is_null() {
            tell("only some values are taken now".to_owned());
        }
        for value in list(&before["enum"]).filter(|value| !taken.contains(value)) {
            tell(format!("the value {value} isn't taken any more"));
        }
    }
    if before["default"] != now["default"] {
        let (before, now) = (&before["default"], &now["default"]);
        tell(format!("the default was {before} and is {now}"));
    }
    if before["additionalProperties"] != false && now["additionalProperties"] == false {
        tell("only fields that are named are taken now".to_owned());
    }
    let required: Vec<&Value> = list(&before["required"]).collect();
    for field in list(&now["required"]).filter(|field| !required.contains(field)) {
        tell(format!("{field} is required now"));
    }
    let rules: Vec<&Value> = list(&before["x-kubernetes-validations"])
        .map(|rule| &rule["rule"])
        .collect();
    for rule in list(&now["x-kubernetes-validations"]).map(|rule| &rule["rule"]) {
        if !rules.contains(&rule) {
            tell(format!("there is a new rule, {rule}"));
        }
    }
    let open = "x-kubernetes-preserve-unknown-fields";
    if before[open] == true && now[open] != true {
        tell("fields that aren't named are dropped now".to_owned());
    }
    for (name, before) in before["properties"].as_object().into_iter().flatten() {
        let place = format!("{place} .{name}");
        match now["properties"].get(name) {
            Some(now) => narrower(before, now, &place, breaks),
            None if now[open] == true => {}
            None => breaks.push(format!("{place}: the field is gone")),
        }
    }
    for field in ["items", "additionalProperties"] {
        if before[field].is_object() {
            narrower(
                &before[field],
                &now[field],
                &format!("{place} {field}"),
                breaks,
            );
        }
    }
}

/// The schema with what it refers to in its own `definitions` put in.
pub fn resolved(schema: &Value) -> Value {
    put_in(schema, &schema["definitions"])
}

fn put_in(schema: &Value, definitions: &Value) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return put_in(&definitions[name], definitions);
    }
    match schema {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), put_in(value, definitions)))
            .collect(),
        Value::Array(values) => values
            .iter()
            .map(|value| put_in(value, definitions))
            .collect(),
        other => other.clone(),
    }
}

/// What is in an array; nothing if it is none.
pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
