//! The OpenAPI document.

use std::collections::BTreeSet;

use axum::body::Body;
use boon::{Compiler, Schemas};
use http::Request;
use serde_json::{Value, json};

use crate::fake::Fake;

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");

fn document() -> Value {
    serde_json::to_value(sluice::api::openapi()).unwrap()
}

/// All values under this key, wherever they stand.
fn all<'a>(value: &'a Value, key: &str) -> Vec<&'a Value> {
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(name, value)| {
                let own = (name == key).then_some(value);
                own.into_iter().chain(all(value, key))
            })
            .collect(),
        Value::Array(list) => list.iter().flat_map(|value| all(value, key)).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn the_committed_document_is_the_generated_one() {
    let generated = sluice::api::openapi().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(COMMITTED, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
    assert!(
        committed == generated,
        "docs/openapi.json is out of date: run 'UPDATE=1 cargo test -p sluice --test api committed' and commit it"
    );
}

#[test]
fn every_error_of_the_document_is_explained_to_people() {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rest.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let mut codes = BTreeSet::new();
    for answers in all(&document(), "responses") {
        let answers = answers.as_object().unwrap().iter();
        for (status, answer) in answers.filter(|(status, _)| status.as_str() >= "400") {
            let words = answer["description"].as_str().unwrap();
            let words = words.split(|c: char| !c.is_ascii_alphanumeric());
            // Only codes have capitals inside.
            let is_code = |word: &&str| {
                word.len() > 6 && word.bytes().skip(1).any(|c| c.is_ascii_uppercase())
            };
            codes.extend(words.filter(is_code).map(|word| format!("{status} {word}")));
        }
    }
    assert!(codes.len() > 15, "{codes:?}");
    for code in codes {
        let (status, word) = code.split_once(' ').unwrap();
        let row = guide
            .lines()
            .find(|line| line.starts_with("| ") && line.contains(&format!("`{word}`")));
        assert!(row.is_some_and(|row| row.contains(status)), "{code}");
    }
}

#[tokio::test]
async fn the_served_document_is_the_generated_one() {
    let request = Request::get("/openapi.json").body(Body::empty()).unwrap();
    let fake = Fake::empty();
    let answer = fake.send(request).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.body, document());
    assert_eq!(fake.calls(), [] as [&str; 0]);
}

#[test]
fn the_document_is_valid() {
    let schema: Value = serde_json::from_str(include_str!("openapi-3.1.schema.json")).unwrap();
    let mut compiler = Compiler::new();
    let mut schemas = Schemas::new();
    compiler.add_resource("openapi.json", schema).unwrap();
    let openapi = compiler.compile("openapi.json", &mut schemas).unwrap();
    if let Err(error) = schemas.validate(&document(), openapi) {
        panic!("{error:#}");
    }
    // The check is one: without a title there is no document.
    let mut broken = document();
    broken["info"] = json!({"version": "v0"});
    assert!(schemas.validate(&broken, openapi).is_err());
}

#[test]
fn the_schemas_in_the_document_are_valid_and_describe_the_answers() {
    let mut compiler = Compiler::new();
    let mut schemas = Schemas::new();
    // In OpenAPI 3.1 a schema is a JSON Schema of 2020-12. Compiling one checks it.
    compiler.add_resource("document.json", document()).unwrap();
    let mut schema = |name: &str| {
        let place = format!("document.json#/components/schemas/{name}");
        compiler.compile(&place, &mut schemas).unwrap()
    };
    let (accepted, error) = (schema("Accepted"), schema("ErrorResponse"));
    let an_error = json!({"message": "m", "error_code": "c", "details": {}});
    let a_number = json!({"checkpoint_sequence_number": 7});
    schemas.validate(&a_number, accepted).unwrap();
    schemas.validate(&an_error, error).unwrap();
    assert!(schemas.validate(&an_error, accepted).is_err());
    assert!(schemas.validate(&a_number, error).is_err());
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_has_a_name_of_its_own() {
    let document = document();
    let references = all(&document, "$ref");
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    let ids = all(&document, "operationId");
    let distinct: BTreeSet<_> = ids.iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(
        distinct.into_iter().collect::<Vec<_>>(),
        ["get_config", "get_openapi", "post_pipeline_approve"]
    );
    assert_eq!(ids.len(), 3);
}

#[test]
fn the_document_has_every_answer_and_every_parameter() {
    let document = document();
    let approve = &document["paths"]["/v0/pipelines/{pipeline_name}/approve"]["post"];
    let answers: Vec<_> = approve["responses"].as_object().unwrap().keys().collect();
    assert_eq!(
        answers,
        [
            "202", "400", "401", "403", "404", "408", "409", "413", "429", "500", "503"
        ]
    );
    for (status, answer) in approve["responses"].as_object().unwrap() {
        let schema = &answer["content"]["application/json"]["schema"]["$ref"];
        let expected = if status == "202" {
            "Accepted"
        } else {
            "ErrorResponse"
        };
        assert_eq!(
            *schema,
            format!("#/components/schemas/{expected}"),
            "{status}"
        );
    }
    let parameters: Vec<_> = approve["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| {
            [&p["in"], &p["name"], &p["required"]]
                .map(|v| v.to_string().replace('"', ""))
                .join(" ")
        })
        .collect();
    assert_eq!(
        parameters,
        [
            "path pipeline_name true",
            "query change_id false",
            "query silent_bootstrap false",
            "query concurrent_bootstrap false",
            "header Feldera-Tenant false",
        ]
    );
    assert_eq!(approve["security"], json!([{"bearer": []}]));
    let scheme = &document["components"]["securitySchemes"]["bearer"];
    assert_eq!(
        (&scheme["type"], &scheme["scheme"]),
        (&json!("http"), &json!("bearer"))
    );
    let number =
        &document["components"]["schemas"]["Accepted"]["properties"]["checkpoint_sequence_number"];
    assert_eq!(
        (&number["type"], &number["format"]),
        (&json!("integer"), &json!("int64"))
    );
}
