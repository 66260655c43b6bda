//! The custom resource definitions.
//!
//! Pipelines outlive releases: a schema that refuses what is stored makes them impossible to edit, and one
//! that no longer knows a field drops it at the next write.

use serde_json::Value;

use super::schema::{list, narrower};

/// What a definition no longer takes, each with its place.
pub fn breaks_between(before: &Value, now: &Value) -> Vec<String> {
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
            Some(now) => narrower(
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
                        "a": {"type": "string", "maxLength": 10, "nullable": true, "default": "y"},
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
                "/properties/a/default",
                json!("x"),
                "Thing v1 .spec .a: the default was \"y\" and is \"x\"",
            ),
            (
                "/properties/c/items/minimum",
                json!(2),
                "Thing v1 .spec .c items: minimum was 1 and is 2",
            ),
            (
                "/properties",
                json!({"a": {"type": "string", "maxLength": 10, "nullable": true, "default": "y"}, "b": {"type": "string", "enum": ["x", "y"]}}),
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
