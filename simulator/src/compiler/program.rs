//! The program description that the engine compares: schema, connectors, and a dataflow graph
//! whose nodes have persistent ids.
//!
//! The real compiler hashes the operators that it generates. This one hashes what was written:
//! a relation's id covers its own definition and those of everything it is made from. So an
//! edit that the real compiler optimises away is a change here, and never the other way round.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use feldera_types::config::PipelineConfigProgramInfo;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlparser::ast::{Query, Visit};
use sqlparser::tokenizer::Span;

use super::connectors::{self, Endpoint};
use super::message::SqlMessage;
use super::parse::{Kind, Name, Property, Statement, ViewKind};
use super::relations::Relations;
use super::schema;
use super::types::SqlType;

/// A table, as far as running it goes.
#[derive(Debug, Clone)]
pub struct Table {
    /// Is its content kept? Only then can it be replayed into changed views.
    pub materialized: bool,
    /// Its input connectors.
    pub inputs: Vec<Endpoint>,
}

/// A view, as far as running it goes.
#[derive(Debug, Clone)]
pub struct View {
    /// How it was declared.
    pub kind: ViewKind,
    /// The tables and views that it reads.
    pub reads: BTreeSet<String>,
    /// The tables that it is made from, through however many views.
    pub tables: BTreeSet<String>,
    /// Its output connectors.
    pub outputs: Vec<Endpoint>,
}

/// A compiled program.
#[derive(Debug)]
pub struct Program {
    /// Its text.
    pub sql: Arc<str>,
    /// What Feldera's own diff compares.
    pub info: PipelineConfigProgramInfo,
    /// Feldera's schema of tables and views.
    pub schema: Value,
    /// Functions and aggregates that the UDF Rust code must define.
    pub rust_functions: Vec<String>,
    /// Tables by name.
    pub tables: BTreeMap<String, Table>,
    /// Views by name.
    pub views: BTreeMap<String, View>,
}

/// What a relation is made of, for its id.
#[derive(Default)]
struct Definition {
    text: String,
    words: Vec<Name>,
    reads: BTreeSet<String>,
}

#[derive(Default)]
struct Builder {
    sql: String,
    definitions: BTreeMap<String, Definition>,
    /// Types and functions with a body: their text and the words in it.
    helpers: BTreeMap<String, (String, Vec<Name>)>,
    types: BTreeMap<String, SqlType>,
    tables: BTreeMap<String, Table>,
    views: BTreeMap<String, View>,
    declared: BTreeMap<String, Span>,
    functions: BTreeSet<String>,
    rust_functions: Vec<String>,
    indexes: BTreeSet<String>,
    /// Schema entries in the order of declaration.
    inputs: Vec<Value>,
    outputs: Vec<Value>,
    input_configs: BTreeMap<String, Value>,
    output_configs: BTreeMap<String, Value>,
    warnings: Vec<SqlMessage>,
    foreign_keys: Vec<(Name, Span)>,
}

/// Makes the description of a parsed program, and the compiler's warnings.
///
/// # Errors
/// The first statement that makes no sense: a name that isn't there or is there twice, a
/// connector that can't be read.
pub fn describe(
    sql: &str,
    statements: &[Statement],
) -> Result<(Program, Vec<SqlMessage>), SqlMessage> {
    let mut builder = Builder {
        sql: sql.to_owned(),
        ..Builder::default()
    };
    for statement in statements {
        builder.add(statement)?;
    }
    builder.finish()
}

impl Builder {
    fn is_relation(&self, name: &str) -> bool {
        self.tables.contains_key(name)
            || self.views.contains_key(name)
            || self.declared.contains_key(name)
    }

    fn add(&mut self, statement: &Statement) -> Result<(), SqlMessage> {
        let name = statement.name.canonical.clone();
        let span = statement.span;
        match &statement.kind {
            Kind::Table {
                columns,
                primary_key,
                references,
                properties,
            } => {
                self.new_relation(&name, span)?;
                let mut seen = BTreeSet::new();
                for column in columns {
                    if !seen.insert(&column.name.canonical) {
                        return Err(SqlMessage::semantic(
                            column.span,
                            format!(
                                "Column with name '{}' already defined",
                                column.name.canonical
                            ),
                        ));
                    }
                    self.check_type(&column.typ)?;
                }
                let mut key: Vec<String> = Vec::new();
                for (column, at) in primary_key.iter().flatten() {
                    if !seen.contains(&column.canonical) {
                        return Err(SqlMessage::semantic(
                            *at,
                            format!(
                                "Column '{}' of the primary key isn't a column of table '{name}'",
                                column.canonical
                            ),
                        ));
                    }
                    key.push(column.canonical.clone());
                }
                for column in columns.iter().filter(|c| c.primary_key) {
                    key.push(column.name.canonical.clone());
                }
                for column in columns {
                    if key.contains(&column.name.canonical) && column.typ.nullable {
                        return Err(SqlMessage::semantic(
                            column.span,
                            format!(
                                "PRIMARY KEY cannot be nullable: declare column '{}' NOT NULL",
                                column.name.canonical
                            ),
                        ));
                    }
                }
                self.foreign_keys.extend(references.iter().cloned());
                let materialized = flag(properties, "materialized")? || !key.is_empty();
                let inputs = connectors::inputs(&statement.name, properties)?;
                for endpoint in &inputs {
                    self.input_configs
                        .insert(endpoint.name.clone(), endpoint.config.clone());
                }
                let types = self.types.clone();
                let resolve = |n: &Name| types.get(&n.canonical).cloned();
                let fields = columns.iter().map(|c| schema::field(c, &resolve)).collect();
                self.inputs.push(schema::relation(
                    &statement.name,
                    fields,
                    materialized,
                    properties,
                    (!key.is_empty()).then_some(key),
                ));
                self.define(statement, properties, BTreeSet::new());
                self.tables.insert(
                    name,
                    Table {
                        materialized,
                        inputs,
                    },
                );
            }
            Kind::View {
                kind,
                query,
                properties,
            } => {
                let reads = self.reads(query)?;
                if self.declared.remove(&name).is_none() {
                    self.new_relation(&name, span)?;
                }
                let outputs = connectors::outputs(&statement.name, properties)?;
                if *kind == ViewKind::Local && !outputs.is_empty() {
                    return Err(SqlMessage::connector(
                        properties.first().map_or(span, |p| p.key_span),
                        format!(
                            "LOCAL view '{name}' is no output and can have no connectors: declare it without LOCAL"
                        ),
                    ));
                }
                for endpoint in &outputs {
                    self.output_configs
                        .insert(endpoint.name.clone(), endpoint.config.clone());
                }
                if *kind != ViewKind::Local {
                    self.outputs.push(schema::relation(
                        &statement.name,
                        Vec::new(),
                        *kind == ViewKind::Materialized,
                        properties,
                        None,
                    ));
                }
                self.define(statement, properties, reads.clone());
                self.views.insert(
                    name,
                    View {
                        kind: *kind,
                        reads,
                        tables: BTreeSet::new(),
                        outputs,
                    },
                );
            }
            Kind::RecursiveView { columns } => {
                self.new_relation(&name, span)?;
                for (_, typ) in columns {
                    self.check_type(typ)?;
                }
                self.declared.insert(name.clone(), span);
                self.define(statement, &[], BTreeSet::new());
            }
            Kind::Type { definition } => {
                self.check_type(definition)?;
                if self
                    .types
                    .insert(name.clone(), definition.clone())
                    .is_some()
                {
                    return Err(SqlMessage::semantic(
                        span,
                        format!("Type '{name}' already defined"),
                    ));
                }
                self.helper(statement);
            }
            Kind::Function { types, body } => {
                self.new_function(&name, span, types)?;
                if let Some(body) = body {
                    let mut found = Relations::default();
                    let _ = Visit::visit(body.as_ref(), &mut found);
                    self.check_all(found.names)?;
                } else {
                    self.rust_functions.push(name.clone());
                }
                self.helper(statement);
            }
            Kind::Aggregate { types } => {
                self.new_function(&name, span, types)?;
                self.rust_functions.push(name.clone());
                self.helper(statement);
            }
            Kind::Index { view: (view, at) } => {
                if !self.views.contains_key(&view.canonical) {
                    return Err(not_found(&view.canonical, *at));
                }
                if !self.indexes.insert(name.clone()) {
                    return Err(SqlMessage::semantic(
                        span,
                        format!("Index '{name}' already defined"),
                    ));
                }
            }
            Kind::Lateness { column, bound } => {
                let Some(definition) = self.definitions.get_mut(&name) else {
                    return Err(not_found(&name, span));
                };
                if !self.views.contains_key(&name) {
                    return Err(SqlMessage::semantic(
                        span,
                        format!(
                            "'{name}' isn't a view: a table's LATENESS is written at its column"
                        ),
                    ));
                }
                definition.text.push_str(&statement.canonical);
                self.late_column(&name, column, bound);
            }
            Kind::Set => {}
        }
        Ok(())
    }

    fn new_relation(&self, name: &str, span: Span) -> Result<(), SqlMessage> {
        if self.is_relation(name) {
            return Err(SqlMessage::semantic(
                span,
                format!("Object '{name}' already exists: give one of the two another name"),
            ));
        }
        Ok(())
    }

    fn new_function(
        &mut self,
        name: &str,
        span: Span,
        types: &[SqlType],
    ) -> Result<(), SqlMessage> {
        for typ in types {
            self.check_type(typ)?;
        }
        if !self.functions.insert(name.to_owned()) {
            return Err(SqlMessage::semantic(
                span,
                format!("Function with name '{name}' already exists"),
            ));
        }
        Ok(())
    }

    fn check_type(&self, typ: &SqlType) -> Result<(), SqlMessage> {
        let mut found = Vec::new();
        typ.user_types(&mut found);
        match found
            .into_iter()
            .find(|(name, _)| !self.types.contains_key(&name.canonical))
        {
            Some((name, at)) => Err(SqlMessage::semantic(
                Span::new(*at, *at),
                format!("Unknown identifier '{}': no such type", name.canonical),
            )),
            None => Ok(()),
        }
    }

    fn check_all(&self, names: Vec<(String, Span)>) -> Result<BTreeSet<String>, SqlMessage> {
        let mut found = BTreeSet::new();
        for (name, span) in names {
            if !self.is_relation(&name) {
                return Err(not_found(&name, span));
            }
            found.insert(name);
        }
        Ok(found)
    }

    fn reads(&self, query: &Query) -> Result<BTreeSet<String>, SqlMessage> {
        let mut found = Relations::default();
        let _ = Visit::visit(query, &mut found);
        // A name that is both a common table expression and a relation may mean either: counting
        // it as read errs towards "changed".
        let names = found
            .names
            .into_iter()
            .filter(|(name, _)| self.is_relation(name) || !found.local.contains(name))
            .collect();
        self.check_all(names)
    }

    fn define(&mut self, statement: &Statement, properties: &[Property], reads: BTreeSet<String>) {
        let mut text = statement.canonical.clone();
        let sorted: BTreeMap<&str, &str> = properties
            .iter()
            .filter(|p| p.key != connectors::PROPERTY)
            .map(|p| (p.key.as_str(), p.value.as_str()))
            .collect();
        for (key, value) in sorted {
            text.push_str(&format!("\u{1e}{key}\u{1f}{value}"));
        }
        let entry = self
            .definitions
            .entry(statement.name.canonical.clone())
            .or_default();
        entry.text.push_str(&text);
        entry.words.extend(statement.words.iter().cloned());
        entry.reads.extend(reads);
    }

    fn helper(&mut self, statement: &Statement) {
        self.helpers.insert(
            statement.name.canonical.clone(),
            (statement.canonical.clone(), statement.words.clone()),
        );
    }

    fn late_column(&mut self, view: &str, column: &Name, bound: &str) {
        let output = self.outputs.iter_mut().find(|o| o["name"] == view);
        if let Some(Value::Array(fields)) = output.and_then(|o| o.get_mut("fields")) {
            fields.push(schema::late_field(column, bound));
        }
    }

    fn finish(mut self) -> Result<(Program, Vec<SqlMessage>), SqlMessage> {
        if let Some((name, span)) = self.declared.iter().next() {
            return Err(SqlMessage::semantic(
                *span,
                format!(
                    "Recursive view '{name}' is declared but never defined: add CREATE VIEW {name} AS …"
                ),
            ));
        }
        for (name, span) in &self.foreign_keys {
            if !self.tables.contains_key(&name.canonical) {
                let mut warning = SqlMessage::semantic(
                    *span,
                    format!(
                        "Table '{}', referenced in a foreign key, does not exist",
                        name.canonical
                    ),
                );
                warning.warning = true;
                self.warnings.push(warning);
            }
        }
        let reach: BTreeMap<String, BTreeSet<String>> = self
            .definitions
            .keys()
            .map(|name| (name.clone(), self.reachable(name)))
            .collect();
        for (name, view) in &mut self.views {
            view.tables = reach[name]
                .iter()
                .filter(|n| self.tables.contains_key(*n))
                .cloned()
                .collect();
        }
        let mut mir = serde_json::Map::new();
        let numbers: BTreeMap<&String, usize> = self
            .definitions
            .keys()
            .enumerate()
            .map(|(n, k)| (k, n))
            .collect();
        for (name, definition) in &self.definitions {
            let id = self.persistent_id(name, &reach[name]);
            let table = self.tables.contains_key(name);
            let inputs: Vec<Value> = definition
                .reads
                .iter()
                .map(|read| json!({"node": format!("s{}", numbers[read]), "output": 0}))
                .collect();
            mir.insert(
                format!("s{}", numbers[name]),
                json!({
                    "operation": if table { "inputmap" } else { "view" },
                    "table": table.then_some(name),
                    "view": (!table).then_some(name),
                    "inputs": inputs,
                    "persistent_id": id,
                }),
            );
        }
        let schema = json!({"inputs": self.inputs, "outputs": self.outputs});
        let info = json!({
            "inputs": self.input_configs,
            "outputs": self.output_configs,
            "program_ir": {"mir": mir, "program_schema": schema},
        });
        let info = serde_json::from_value(info).map_err(|e| {
            SqlMessage::semantic(
                Span::empty(),
                format!("the stand-in made a program description that Feldera's types can't read (a defect of the stand-in): {e}"),
            )
        })?;
        Ok((
            Program {
                sql: Arc::from(self.sql.as_str()),
                info,
                schema,
                rust_functions: self.rust_functions,
                tables: self.tables,
                views: self.views,
            },
            self.warnings,
        ))
    }

    /// Everything that a relation is made from, itself included.
    fn reachable(&self, name: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut next = vec![name.to_owned()];
        while let Some(name) = next.pop() {
            if let Some(definition) = self.definitions.get(&name) {
                next.extend(
                    definition
                        .reads
                        .iter()
                        .filter(|r| !found.contains(*r))
                        .cloned(),
                );
            }
            found.insert(name);
        }
        found
    }

    fn persistent_id(&self, name: &str, reach: &BTreeSet<String>) -> String {
        let mut hash = Sha256::new();
        hash.update(name.as_bytes());
        let mut helpers = BTreeSet::new();
        for relation in reach {
            let definition = &self.definitions[relation];
            hash.update([0]);
            hash.update(definition.text.as_bytes());
            self.helpers_in(&definition.words, &mut helpers);
        }
        for helper in &helpers {
            hash.update([1]);
            hash.update(self.helpers[*helper].0.as_bytes());
        }
        hash.finalize()[..16]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect()
    }

    fn helpers_in<'a>(&'a self, words: &'a [Name], found: &mut BTreeSet<&'a str>) {
        for word in words {
            if let Some((name, (_, inner))) = self.helpers.get_key_value(&word.canonical)
                && found.insert(name)
            {
                self.helpers_in(inner, found);
            }
        }
    }
}

fn not_found(name: &str, span: Span) -> SqlMessage {
    SqlMessage::semantic(span, format!("Object '{name}' not found"))
}

fn flag(properties: &[Property], key: &str) -> Result<bool, SqlMessage> {
    match properties.iter().find(|p| p.key == key) {
        None => Ok(false),
        Some(p) => match p.value.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(SqlMessage::semantic(
                p.value_span,
                format!(
                    "Expected a boolean value for property '{key}', got '{other}': write 'true' or 'false'"
                ),
            )),
        },
    }
}
