//! Entries of Feldera's schema of a program.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sqlparser::tokenizer::Span;

use super::parse::{Column, Name, Property};
use super::types::SqlType;

/// A table's column; `resolve` gives the definition of a type of the user's.
pub fn field(column: &Column, resolve: &dyn Fn(&Name) -> Option<SqlType>) -> Value {
    json!({
        "name": column.name.canonical,
        "case_sensitive": column.name.quoted,
        "columntype": column.typ.to_schema(resolve),
        "lateness": column.lateness,
        "default": column.default,
        "unused": false,
    })
}

/// A view's column of which only the lateness is known.
pub fn late_field(column: &Name, bound: &str) -> Value {
    json!({
        "name": column.canonical,
        "case_sensitive": column.quoted,
        "columntype": {"type": "VARIANT", "nullable": true},
        "lateness": bound,
        "default": null,
        "unused": false,
    })
}

/// A table or view.
pub fn relation(
    name: &Name,
    fields: Vec<Value>,
    materialized: bool,
    properties: &[Property],
    primary_key: Option<Vec<String>>,
) -> Value {
    let properties: BTreeMap<&str, Value> = properties
        .iter()
        .map(|p| {
            let value = json!({
                "value": p.value,
                "key_position": position(p.key_span),
                "value_position": position(p.value_span),
            });
            (p.key.as_str(), value)
        })
        .collect();
    json!({
        "name": name.canonical,
        "case_sensitive": name.quoted,
        "fields": fields,
        "materialized": materialized,
        "properties": properties,
        "primary_key": primary_key,
    })
}

fn position(span: Span) -> Value {
    json!({
        "start_line_number": span.start.line,
        "start_column": span.start.column,
        "end_line_number": span.end.line,
        "end_column": span.end.column,
    })
}
