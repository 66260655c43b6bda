//! Types of Feldera's SQL, and their form in a program's schema.

use serde_json::{Map, Value, json};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token};

use super::parse::{Name, eat_word, eat_words, peek_words};

/// A SQL type as written in a declaration.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlType {
    /// The schema's name of it (`VARCHAR`), or `None` for a type of the user's.
    pub base: Option<String>,
    /// Name and place of a type made by `CREATE TYPE`.
    pub user: Option<(Name, Location)>,
    /// Digits, length, or digits of a second.
    pub precision: Option<i64>,
    /// Digits after the point.
    pub scale: Option<i64>,
    /// Of an array: its elements.
    pub component: Option<Box<SqlType>>,
    /// Of a `ROW`: its fields.
    pub fields: Option<Vec<(Name, SqlType)>>,
    /// Of a `MAP`: keys and values.
    pub entries: Option<Box<(SqlType, SqlType)>>,
    /// May it be NULL?
    pub nullable: bool,
}

impl SqlType {
    fn base(name: &str) -> Self {
        Self {
            base: Some(name.to_owned()),
            user: None,
            precision: None,
            scale: None,
            component: None,
            fields: None,
            entries: None,
            nullable: true,
        }
    }

    /// All types of the user's in it.
    pub fn user_types<'a>(&'a self, found: &mut Vec<&'a (Name, Location)>) {
        found.extend(self.user.iter());
        if let Some(component) = &self.component {
            component.user_types(found);
        }
        for (_, field) in self.fields.iter().flatten() {
            field.user_types(found);
        }
        if let Some(entries) = &self.entries {
            entries.0.user_types(found);
            entries.1.user_types(found);
        }
    }

    /// The `columntype` object of Feldera's schema; `resolve` gives the definition of a type of
    /// the user's.
    pub fn to_schema(&self, resolve: &dyn Fn(&Name) -> Option<SqlType>) -> Value {
        if let Some((name, _)) = &self.user {
            return match resolve(name) {
                Some(mut definition) => {
                    definition.nullable = self.nullable;
                    definition.to_schema(resolve)
                }
                None => json!({"type": "VARIANT", "nullable": self.nullable}),
            };
        }
        let mut out = Map::new();
        out.insert("type".into(), json!(self.base));
        out.insert("nullable".into(), json!(self.nullable));
        if let Some(precision) = self.precision {
            out.insert("precision".into(), json!(precision));
        }
        if let Some(scale) = self.scale {
            out.insert("scale".into(), json!(scale));
        }
        if let Some(component) = &self.component {
            out.insert("component".into(), component.to_schema(resolve));
        }
        if let Some(fields) = &self.fields {
            let fields: Vec<Value> = fields
                .iter()
                .map(|(name, field)| {
                    json!({
                        "name": name.canonical,
                        "case_sensitive": name.quoted,
                        "columntype": field.to_schema(resolve),
                        "lateness": null, "default": null, "unused": false,
                    })
                })
                .collect();
            out.insert("fields".into(), Value::Array(fields));
        }
        if let Some(entries) = &self.entries {
            out.insert("key".into(), entries.0.to_schema(resolve));
            out.insert("value".into(), entries.1.to_schema(resolve));
        }
        Value::Object(out)
    }
}

/// Reads a type at the parser's position, with `ARRAY` and `MULTISET` after it but without
/// `NOT NULL`.
///
/// # Errors
/// What the parser expected instead, with line and column.
pub fn parse_type(parser: &mut Parser) -> Result<SqlType, ParserError> {
    balanced(parser, typ)
}

/// Reads a type of which no `>` may be left over: the tokenizer joins two into one.
fn balanced(
    parser: &mut Parser,
    read: fn(&mut Parser, &mut u32) -> Result<SqlType, ParserError>,
) -> Result<SqlType, ParserError> {
    let mut pending = 0;
    let found = read(parser, &mut pending)?;
    if pending > 0 {
        parser.prev_token();
        return parser.expected("as many '>' as '<'", parser.peek_token());
    }
    Ok(found)
}

/// A type and `[NOT] NULL` after it. Without it, it is nullable, as Feldera's columns are.
///
/// # Errors
/// What the parser expected instead, with line and column.
pub fn parse_general_type(parser: &mut Parser) -> Result<SqlType, ParserError> {
    balanced(parser, general)
}

fn general(parser: &mut Parser, pending: &mut u32) -> Result<SqlType, ParserError> {
    let mut found = typ(parser, pending)?;
    if eat_words(parser, &["NOT", "NULL"]) {
        found.nullable = false;
    } else {
        eat_word(parser, "NULL");
    }
    Ok(found)
}

/// `pending` counts closing brackets that the tokenizer joined into one `>>`.
fn typ(parser: &mut Parser, pending: &mut u32) -> Result<SqlType, ParserError> {
    let token = parser.next_token();
    let Token::Word(word) = &token.token else {
        return parser.expected("a type", token);
    };
    let name = Name::from_word(&word.value, word.quote_style);
    let at = token.span.start;
    let mut found = if name.quoted {
        user_type(name, at)
    } else {
        named(parser, pending, &word.value.to_ascii_uppercase(), name, at)?
    };
    loop {
        // Elements that can't be null: `VARCHAR NOT NULL ARRAY`.
        for suffix in ["ARRAY", "MULTISET"] {
            if peek_words(parser, &["NOT", "NULL", suffix]) {
                eat_words(parser, &["NOT", "NULL"]);
                found.nullable = false;
            }
        }
        let suffix = if eat_word(parser, "ARRAY") {
            "ARRAY"
        } else if eat_word(parser, "MULTISET") {
            "MULTISET"
        } else {
            return Ok(found);
        };
        let mut array = SqlType::base(suffix);
        array.component = Some(Box::new(found));
        found = array;
    }
}

fn user_type(name: Name, at: Location) -> SqlType {
    let mut found = SqlType::base("");
    found.base = None;
    found.user = Some((name, at));
    found
}

fn named(
    parser: &mut Parser,
    pending: &mut u32,
    upper: &str,
    name: Name,
    at: Location,
) -> Result<SqlType, ParserError> {
    let simple = |base: &str| Ok(SqlType::base(base));
    match upper {
        "BOOLEAN" | "BOOL" => simple("BOOLEAN"),
        "TINYINT" | "INT8" => integer(parser, "TINYINT"),
        "SMALLINT" | "INT2" => integer(parser, "SMALLINT"),
        "INTEGER" | "INT" | "INT4" | "SIGNED" => integer(parser, "INTEGER"),
        "BIGINT" | "INT64" => integer(parser, "BIGINT"),
        "UNSIGNED" => simple("UINTEGER"),
        "REAL" | "FLOAT4" | "FLOAT32" => simple("REAL"),
        "FLOAT" | "FLOAT8" | "FLOAT64" => simple("DOUBLE"),
        "DOUBLE" => {
            eat_word(parser, "PRECISION");
            simple("DOUBLE")
        }
        "DECIMAL" | "DEC" | "NUMERIC" | "NUMBER" => {
            let mut found = SqlType::base("DECIMAL");
            (found.precision, found.scale) = arguments(parser)?;
            Ok(found)
        }
        "CHAR" | "CHARACTER" => {
            let varying = eat_word(parser, "VARYING");
            let mut found = SqlType::base(if varying { "VARCHAR" } else { "CHAR" });
            found.precision = arguments(parser)?.0.or(Some(if varying { -1 } else { 1 }));
            Ok(found)
        }
        "VARCHAR" | "STRING" | "TEXT" => {
            let mut found = SqlType::base("VARCHAR");
            found.precision = arguments(parser)?.0.or(Some(-1));
            Ok(found)
        }
        "BINARY" | "VARBINARY" | "BYTEA" => {
            let varying = upper != "BINARY" || eat_word(parser, "VARYING");
            let mut found = SqlType::base(if varying { "VARBINARY" } else { "BINARY" });
            found.precision = arguments(parser)?.0.or(Some(if varying { -1 } else { 1 }));
            Ok(found)
        }
        "DATE" => simple("DATE"),
        "TIME" => {
            let mut found = SqlType::base("TIME");
            found.precision = arguments(parser)?.0.or(Some(9));
            Ok(found)
        }
        "TIMESTAMP" | "DATETIME" => {
            let precision = arguments(parser)?.0.or(Some(6));
            let zoned = eat_words(parser, &["WITH", "LOCAL", "TIME", "ZONE"])
                || eat_words(parser, &["WITH", "TIME", "ZONE"]);
            if !zoned {
                eat_words(parser, &["WITHOUT", "TIME", "ZONE"]);
            }
            let mut found = SqlType::base(if zoned { "TIMESTAMP_TZ" } else { "TIMESTAMP" });
            found.precision = precision;
            Ok(found)
        }
        "TIMESTAMPTZ" => simple("TIMESTAMP_TZ"),
        "VARIANT" => simple("VARIANT"),
        "UUID" => simple("UUID"),
        "INTERVAL" => interval(parser),
        "ROW" => row(parser, pending),
        "MAP" => {
            parser.expect_token(&Token::Lt)?;
            let key = general(parser, pending)?;
            parser.expect_token(&Token::Comma)?;
            let value = general(parser, pending)?;
            close_bracket(parser, pending)?;
            let mut found = SqlType::base("MAP");
            found.entries = Some(Box::new((key, value)));
            Ok(found)
        }
        "ARRAY" if parser.peek_token().token == Token::Lt => {
            parser.next_token();
            let component = general(parser, pending)?;
            close_bracket(parser, pending)?;
            let mut found = SqlType::base("ARRAY");
            found.component = Some(Box::new(component));
            Ok(found)
        }
        _ => Ok(user_type(name, at)),
    }
}

fn integer(parser: &mut Parser, base: &str) -> Result<SqlType, ParserError> {
    Ok(if eat_word(parser, "UNSIGNED") {
        SqlType::base(&format!("U{base}"))
    } else {
        SqlType::base(base)
    })
}

fn row(parser: &mut Parser, pending: &mut u32) -> Result<SqlType, ParserError> {
    let mut found = SqlType::base("STRUCT");
    parser.expect_token(&Token::LParen)?;
    let mut fields = Vec::new();
    loop {
        let name = Name::from_ident(&parser.parse_identifier()?);
        fields.push((name, general(parser, pending)?));
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    parser.expect_token(&Token::RParen)?;
    found.fields = Some(fields);
    Ok(found)
}

fn interval(parser: &mut Parser) -> Result<SqlType, ParserError> {
    let unit = parse_interval_unit(parser)?;
    Ok(SqlType::base(&format!("INTERVAL_{unit}")))
}

/// Reads `DAY`, `DAYS(3)`, `DAY TO SECOND(6)` and so on; gives `DAY`, `DAY_SECOND`.
///
/// # Errors
/// What the parser expected instead, with line and column.
pub fn parse_interval_unit(parser: &mut Parser) -> Result<String, ParserError> {
    let token = parser.next_token();
    let Some(first) = interval_unit(&token.token) else {
        return parser.expected(UNITS, token);
    };
    arguments(parser)?;
    if !eat_word(parser, "TO") {
        return Ok(first.to_owned());
    }
    let token = parser.next_token();
    let Some(second) = interval_unit(&token.token) else {
        return parser.expected(UNITS, token);
    };
    arguments(parser)?;
    Ok(format!("{first}_{second}"))
}

const UNITS: &str = "YEAR, MONTH, DAY, HOUR, MINUTE, SECOND, WEEK or QUARTER";

/// The unit of an interval that a word names, in the singular.
pub fn interval_unit(token: &Token) -> Option<&'static str> {
    let Token::Word(word) = token else {
        return None;
    };
    let upper = word.value.to_ascii_uppercase();
    let singular = upper.strip_suffix('S').unwrap_or(&upper);
    [
        "YEAR",
        "MONTH",
        "DAY",
        "HOUR",
        "MINUTE",
        "SECOND",
        "WEEK",
        "QUARTER",
        "MILLISECOND",
        "MICROSECOND",
    ]
    .into_iter()
    .find(|unit| word.quote_style.is_none() && *unit == singular)
}

/// `(a)` or `(a, b)`, if present.
fn arguments(parser: &mut Parser) -> Result<(Option<i64>, Option<i64>), ParserError> {
    if !parser.consume_token(&Token::LParen) {
        return Ok((None, None));
    }
    let first = number(parser)?;
    let second = if parser.consume_token(&Token::Comma) {
        Some(number(parser)?)
    } else {
        None
    };
    parser.expect_token(&Token::RParen)?;
    Ok((Some(first), second))
}

fn number(parser: &mut Parser) -> Result<i64, ParserError> {
    let token = parser.next_token();
    if let Token::Number(digits, _) = &token.token
        && let Ok(number) = digits.parse()
    {
        return Ok(number);
    }
    parser.expected("a whole number", token)
}

fn close_bracket(parser: &mut Parser, pending: &mut u32) -> Result<(), ParserError> {
    if *pending > 0 {
        *pending -= 1;
        return Ok(());
    }
    let token = parser.next_token();
    match token.token {
        Token::Gt => Ok(()),
        Token::ShiftRight => {
            *pending += 1;
            Ok(())
        }
        _ => parser.expected("'>'", token),
    }
}
