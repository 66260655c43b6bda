//! `cargo xtask compatibility`: whether the definitions still take what those of the last release took.
//!
//! Pipelines outlive releases: a schema that refuses what is stored makes them impossible to edit, and one
//! that no longer knows a field drops it at the next write. The last release is the newest tag `v…`.

use std::process::{Command, ExitCode};

use control_plane::releases::PREVIOUS;
use serde_json::Value;

use crate::say;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Breaks that are meant, by the place that is told, and why they hurt nobody.
const MEANT: [(&str, &str); 0] = [];

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot run git: {0}")]
    Git(std::io::Error),
    #[error("cannot read {what}: {reason}")]
    Unreadable { what: String, reason: String },
    #[error(
        "these definitions don't take what those of {release} took:\n{}\nKeep what was, or make a new version of the kind.",
        .breaks.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
    )]
    Broken {
        release: String,
        breaks: Vec<String>,
    },
}

/// Compares with the last release, if this checkout has it.
pub fn check() -> Result<ExitCode, Error> {
    if let Some(missing) = PREVIOUS.missing() {
        say::line(format!(
            "The definitions aren't compared with those of the last release: {missing}."
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let (release, commit) = (PREVIOUS.version, PREVIOUS.commit);
    let mut breaks = vec![];
    let files = git(&["ls-tree", "--name-only", commit, "crds/"])?;
    for file in files.lines() {
        let unreadable = |reason: String| Error::Unreadable {
            what: format!("{file} of {release}"),
            reason,
        };
        let text = git(&["show", &format!("{commit}:{file}")])?;
        let before: Value =
            serde_saphyr::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
        let name = &before["metadata"]["name"];
        let now = sluice::crd::all()
            .iter()
            .filter_map(|crd| serde_json::to_value(crd).ok())
            .find(|crd| crd["metadata"]["name"] == *name);
        match now {
            Some(now) => breaks.extend(breaks_between(&before, &now)),
            None => breaks.push(format!("{name}: the kind is gone")),
        }
    }
    breaks.retain(|line| !MEANT.iter().any(|(place, _)| line.starts_with(place)));
    if breaks.is_empty() {
        say::line(format!(
            "The definitions take all that those of {release} took."
        ));
        return Ok(ExitCode::SUCCESS);
    }
    Err(Error::Broken {
        release: release.to_owned(),
        breaks,
    })
}

fn git(arguments: &[&str]) -> Result<String, Error> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(ROOT)
        .output()
        .map_err(Error::Git)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Unreadable {
        what: format!("`git {}`", arguments.join(" ")),
        reason: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// What a definition no longer takes, each with its place.
fn breaks_between(before: &Value, now: &Value) -> Vec<String> {
    let kind = before["spec"]["names"]["kind"].as_str().unwrap_or("?");
    let mut breaks = vec![];
    for field in ["group", "scope"] {
        if before["spec"][field] != now["spec"][field] {
            breaks.push(format!("{kind}: {field} is another"));
        }
    }
    for version in list(&before["spec"]["versions"]) {
        let name = &version["name"];
        let place = format!("{kind} {}", name.as_str().unwrap_or("?"));
        let mut versions = list(&now["spec"]["versions"]);
        match versions.find(|now| now["name"] == *name && now["served"] == true) {
            Some(now) => schema(
                &version["schema"]["openAPIV3Schema"],
                &now["schema"]["openAPIV3Schema"],
                &place,
                &mut breaks,
            ),
            None => breaks.push(format!("{place}: the version isn't served any more")),
        }
    }
    breaks
}

/// Bounds from above, and from below.
const AT_MOST: [&str; 4] = ["maximum", "maxLength", "maxItems", "maxProperties"];
const AT_LEAST: [&str; 4] = ["minimum", "minLength", "minItems", "minProperties"];

fn schema(before: &Value, now: &Value, place: &str, breaks: &mut Vec<String>) {
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
            Some(now) => schema(before, now, &place, breaks),
            None if now[open] == true => {}
            None => breaks.push(format!("{place}: the field is gone")),
        }
    }
    for field in ["items", "additionalProperties"] {
        if before[field].is_object() {
            schema(
                &before[field],
                &now[field],
                &format!("{place} {field}"),
                breaks,
            );
        }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition() -> Value {
        json!({
            "metadata": {"name": "things.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced", "names": {"kind": "Thing"}, "versions": [{
                "name": "v1", "served": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {
                    "type": "object",
                    "required": ["a"],
                    "properties": {
                        "a": {"type": "string", "maxLength": 10, "nullable": true},
                        "b": {"type": "string", "enum": ["x", "y"]},
                        "c": {"type": "array", "items": {"type": "integer", "minimum": 1}},
                    },
                }}}},
            }]},
        })
    }

    #[test]
    fn what_takes_more_than_before_breaks_nothing() {
        let before = definition();
        let mut now = definition();
        assert_eq!(breaks_between(&before, &now), Vec::<String>::new());
        let spec =
            &mut now["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        spec["required"] = json!([]);
        spec["properties"]["a"]["maxLength"] = json!(20);
        spec["properties"]["b"]["enum"] = json!(["x", "y", "z"]);
        spec["properties"]["c"]["items"]["minimum"] = json!(0);
        spec["properties"]["d"] = json!({"type": "string"});
        assert_eq!(breaks_between(&before, &now), Vec::<String>::new());
    }

    #[test]
    fn each_way_to_take_less_is_told_with_its_place() {
        let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
        for (place, value, told) in [
            (
                "/required",
                json!(["a", "b"]),
                "Thing v1 .spec: \"b\" is required now",
            ),
            (
                "/properties/a/maxLength",
                json!(5),
                "Thing v1 .spec .a: maxLength was 10 and is 5",
            ),
            (
                "/properties/a/nullable",
                json!(false),
                "Thing v1 .spec .a: null isn't taken any more",
            ),
            (
                "/properties/a/type",
                json!("integer"),
                "Thing v1 .spec .a: type was \"string\" and is \"integer\"",
            ),
            (
                "/properties/b/enum",
                json!(["x"]),
                "Thing v1 .spec .b: the value \"y\" isn't taken any more",
            ),
            (
                "/properties/c/items/minimum",
                json!(2),
                "Thing v1 .spec .c items: minimum was 1 and is 2",
            ),
            (
                "/properties",
                json!({"a": {"type": "string", "maxLength": 10, "nullable": true}, "b": {"type": "string", "enum": ["x", "y"]}}),
                "Thing v1 .spec .c: the field is gone",
            ),
        ] {
            let mut now = definition();
            *now.pointer_mut(&format!("{path}{place}")).unwrap() = value;
            assert_eq!(breaks_between(&definition(), &now), [told]);
        }
        let mut now = definition();
        now["spec"]["versions"][0]["served"] = json!(false);
        assert_eq!(
            breaks_between(&definition(), &now),
            ["Thing v1: the version isn't served any more"]
        );
        let mut now = definition();
        now.pointer_mut(path).unwrap()["x-kubernetes-validations"] = json!([{"rule": "false"}]);
        assert_eq!(
            breaks_between(&definition(), &now),
            ["Thing v1 .spec: there is a new rule, \"false\""]
        );
    }
}
