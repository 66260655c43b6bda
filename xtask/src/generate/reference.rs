//! `docs/reference.md`: every field of every kind, from the definitions, and the annotations and
//! finalizers, from the constants in `gate/src/crd.rs`.

use std::fmt::Write as _;

use serde_json::Value;

use super::markdown::{cell, header};

/// The whole document. `constants` is the text of `gate/src/crd.rs`.
pub fn document(definitions: &[Value], constants: &str) -> String {
    let mut text = header("gate/src/crd/ and gate/src/crd.rs");
    text += "# Reference: kinds, fields, annotations\n\n\
        Group `sluice.dev`, version `v1alpha1`; every kind is namespaced and in the category `sluice`, so \
        `kubectl get sluice` lists them all. What the words mean is in [concepts.md](concepts.md), what the \
        status says in [status.md](status.md).\n\n\
        A field that is neither required nor has a default may be left out. What an enumeration doesn't \
        list, and what breaks a rule, is refused by the API server with the words given here. Values in a \
        status are open: a later version may have more of them.\n";
    for definition in definitions {
        kind(definition, &mut text);
    }
    annotations(constants, &mut text);
    text
}

fn kind(definition: &Value, text: &mut String) {
    let names = &definition["spec"]["names"];
    let name = string(&names["kind"]);
    let version = &definition["spec"]["versions"][0];
    let schema = &version["schema"]["openAPIV3Schema"];
    let _ = writeln!(text, "\n## {name}\n\n{}", string(&schema["description"]));
    let short = list(&names["shortNames"]).map(|name| format!("`{}`", string(name)));
    let short: Vec<String> = short.collect();
    let _ = write!(text, "\n`kubectl get {}`", string(&names["plural"]));
    if !short.is_empty() {
        let _ = write!(text, ", for short {}", short.join(", "));
    }
    text.push('\n');
    rules(schema, "of the whole object", text);
    for part in ["spec", "status"] {
        let part_of = &schema["properties"][part];
        if part_of.is_object() {
            let _ = writeln!(text, "\n### {name}: `{part}`");
            rules(part_of, &format!("of `{part}`"), text);
            text.push_str("\n| field | type | default | |\n| --- | --- | --- | --- |\n");
            fields(part_of, part, text);
        }
    }
    let _ = writeln!(
        text,
        "\n### {name}: columns of `kubectl get`\n\n| column | field | |\n| --- | --- | --- |"
    );
    for column in list(&version["additionalPrinterColumns"]) {
        let wide = column["priority"].as_i64().unwrap_or_default() > 0;
        let description = string(&column["description"]);
        let only_wide = if wide { "with `-o wide`" } else { "" };
        let both: Vec<&str> = [description, only_wide]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
        let path = string(&column["jsonPath"]);
        let _ = writeln!(
            text,
            "| {} | `{}` | {} |",
            string(&column["name"]),
            cell(path.trim_start_matches('.')),
            cell(&both.join("; "))
        );
    }
}

/// The rules of an object as a whole.
fn rules(schema: &Value, of_what: &str, text: &mut String) {
    let messages: Vec<&str> = messages(schema).collect();
    if messages.is_empty() {
        return;
    }
    let _ = writeln!(text, "\nRules {of_what}, in the words of the refusal:\n");
    for message in messages {
        let _ = writeln!(text, "- {message}");
    }
}

/// A row for each field below, each followed by those below it.
fn fields(schema: &Value, path: &str, text: &mut String) {
    let required: Vec<&str> = list(&schema["required"]).map(string).collect();
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    for (name, field) in properties {
        let path = format!("{path}.{name}");
        let items = &field["items"];
        let default = match field.get("default") {
            Some(default) => format!("`{default}`"),
            None if required.contains(&name.as_str()) => "required".to_owned(),
            None => String::new(),
        };
        let mut what = vec![string(&field["description"]).to_owned()];
        what.extend(messages(field).map(|message| format!("Rule: {message}")));
        let what: Vec<String> = what.iter().map(|part| cell(part)).collect();
        let what: Vec<&str> = what
            .iter()
            .map(String::as_str)
            .filter(|part| !part.is_empty())
            .collect();
        let _ = writeln!(
            text,
            "| `{path}` | {} | {} | {} |",
            cell(&type_of(field)),
            cell(&default),
            what.join("<br>")
        );
        if items.is_object() {
            fields(items, &format!("{path}[]"), text);
        } else {
            fields(field, &path, text);
        }
    }
}

/// A field's type in words: what it is, which values it may have, how long it may be.
fn type_of(field: &Value) -> String {
    let name = match string(&field["type"]) {
        "array" => format!("list of {}", type_of(&field["items"])),
        "string" if field["format"] == "date-time" => "time".to_owned(),
        "object" if field["x-kubernetes-preserve-unknown-fields"] == true => {
            "any object".to_owned()
        }
        name => name.to_owned(),
    };
    let values: Vec<String> = list(&field["enum"])
        .filter(|value| !value.is_null())
        .map(|value| format!("`{}`", string(value)))
        .collect();
    if !values.is_empty() {
        return values.join(" | ");
    }
    let length = |key| field[key].as_u64();
    match (length("minLength"), length("maxLength")) {
        (Some(least), Some(most)) => format!("{name}, {least} to {most} characters"),
        (None, Some(most)) => format!("{name}, at most {most} characters"),
        (Some(least), None) => format!("{name}, at least {least} characters"),
        (None, None) => name,
    }
}

fn messages(schema: &Value) -> impl Iterator<Item = &str> {
    list(&schema["x-kubernetes-validations"]).map(|rule| string(&rule["message"]))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A constant that is a name under the group, with what its comment says.
struct Constant {
    name: String,
    value: String,
    meaning: String,
}

fn annotations(source: &str, text: &mut String) {
    let constants = constants(source);
    let (finalizers, annotations): (Vec<&Constant>, Vec<&Constant>) = constants
        .iter()
        .partition(|constant| constant.meaning.starts_with("The finalizer"));
    for (title, intro, rows) in [
        (
            "Annotations",
            "All of them are a Pipeline's, but `sluice.dev/release`, which is an Engine's; `sluice.dev/traceparent` may also stand on a PipelineApproval. \
             Sluice reads them and never edits them; what it has acted on stands in the status.",
            annotations,
        ),
        (
            "Finalizers",
            "Sluice sets and removes them by itself.",
            finalizers,
        ),
    ] {
        let _ = writeln!(text, "\n## {title}\n\n{intro}\n\n| name | |\n| --- | --- |");
        for Constant { value, meaning, .. } in rows {
            let _ = writeln!(
                text,
                "| `{value}` | {} |",
                cell(&named(meaning, &constants))
            );
        }
    }
}

/// What a comment calls by a constant's name, by its value.
fn named(meaning: &str, constants: &[Constant]) -> String {
    constants
        .iter()
        .fold(meaning.to_owned(), |text, Constant { name, value, .. }| {
            text.replace(&format!("[`{name}`]"), &format!("`{value}`"))
        })
}

fn constants(source: &str) -> Vec<Constant> {
    let mut found = vec![];
    let mut comment: Vec<&str> = vec![];
    for line in source.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("///") {
            comment.push(words.trim());
            continue;
        }
        let constant = line
            .strip_prefix("pub const ")
            .and_then(|rest| rest.split_once(": &str = \""))
            .and_then(|(name, rest)| Some((name, rest.strip_suffix("\";")?)));
        if let Some((name, value)) = constant.filter(|(_, value)| value.contains('/')) {
            found.push(Constant {
                name: name.to_owned(),
                value: value.to_owned(),
                meaning: comment.join(" "),
            });
        }
        comment.clear();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_field_has_its_type_default_meaning_and_rule() {
        let schema = json!({"required": ["a"], "properties": {
            "a": {"type": "string", "minLength": 1, "maxLength": 9, "description": "First\nline | bar."},
            "b": {"type": "object", "properties": {"c": {
                "type": "string", "enum": ["x", "y", null], "default": "x",
                "x-kubernetes-validations": [{"message": "c is so"}],
            }}},
            "d": {"type": "array", "items": {"type": "object", "properties": {
                "at": {"type": "string", "format": "date-time"},
            }}},
        }});
        let mut text = String::new();
        fields(&schema, "spec", &mut text);
        let expected = [
            r"| `spec.a` | string, 1 to 9 characters | required | First line \| bar. |",
            r"| `spec.b` | object |  |  |",
            r#"| `spec.b.c` | `x` \| `y` | `"x"` | Rule: c is so |"#,
            r"| `spec.d` | list of object |  |  |",
            r"| `spec.d[].at` | time |  |  |",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn annotations_come_from_the_constants_and_their_comments() {
        let source = "/// Not one.\npub const GROUP: &str = \"g\";\n\n/// Says\n/// yes.\npub const YES: &str = \
            \"g/yes\";\n/// Why, for [`YES`].\npub const WHY: &str = \"g/why\";\n/// The finalizer of it.\n\
            pub const F: &str = \"g/f\";\n";
        let mut text = String::new();
        annotations(source, &mut text);
        assert!(text.contains("| `g/yes` | Says yes. |\n| `g/why` | Why, for `g/yes`. |\n"));
        assert!(text.ends_with("| `g/f` | The finalizer of it. |\n"));
        assert!(!text.contains("Not one"));
    }
}
