//! Reads a program's statements. Queries and expressions are `sqlparser`'s; the statements
//! around them are Feldera's own and read here, after Feldera's published grammar.

use sqlparser::ast::{Expr, Ident, Query};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

use super::dialect::FelderaDialect;
use super::message::SqlMessage;
use super::tokens::{canonical, dashed, is_word, rewrite};
use super::types::{SqlType, parse_general_type};

/// How deep expressions and queries may nest.
const NESTING: usize = 150;

/// An identifier: unquoted ones are lower case, quoted ones as written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The name that is compared.
    pub canonical: String,
    /// Was it written in quotes?
    pub quoted: bool,
}

impl Name {
    /// From a word and the quotes around it.
    pub fn from_word(value: &str, quote: Option<char>) -> Self {
        let quoted = quote.is_some();
        Self {
            canonical: if quoted {
                value.to_owned()
            } else {
                value.to_lowercase()
            },
            quoted,
        }
    }

    /// From a parsed identifier.
    pub fn from_ident(ident: &Ident) -> Self {
        Self::from_word(&ident.value, ident.quote_style)
    }
}

/// `'key' = 'value'` of a `WITH (…)`.
#[derive(Debug, Clone)]
pub struct Property {
    /// The key.
    pub key: String,
    /// Where it stands.
    pub key_span: Span,
    /// The value.
    pub value: String,
    /// Where it stands.
    pub value_span: Span,
}

/// A table's column.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name.
    pub name: Name,
    /// Where it is declared.
    pub span: Span,
    /// Its type.
    pub typ: SqlType,
    /// The text of its `LATENESS`.
    pub lateness: Option<String>,
    /// The text of its `WATERMARK`.
    pub watermark: Option<String>,
    /// The text of its `DEFAULT`.
    pub default: Option<String>,
    /// `PRIMARY KEY` written at the column.
    pub primary_key: bool,
    /// The table that its `FOREIGN KEY` refers to.
    pub references: Option<(Name, Span)>,
}

/// How a view is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewKind {
    /// `CREATE VIEW`
    Plain,
    /// `CREATE MATERIALIZED VIEW`
    Materialized,
    /// `CREATE LOCAL VIEW`
    Local,
}

/// What a statement declares.
#[derive(Debug, Clone)]
pub enum Kind {
    /// `CREATE TABLE`
    Table {
        /// Its columns.
        columns: Vec<Column>,
        /// Columns of `PRIMARY KEY (…)`.
        primary_key: Option<Vec<(Name, Span)>>,
        /// Tables that `FOREIGN KEY … REFERENCES` names.
        references: Vec<(Name, Span)>,
        /// Its `WITH (…)`.
        properties: Vec<Property>,
    },
    /// `CREATE VIEW`
    View {
        /// Plain, materialized or local.
        kind: ViewKind,
        /// The query.
        query: Box<Query>,
        /// Its `WITH (…)`.
        properties: Vec<Property>,
    },
    /// `DECLARE RECURSIVE VIEW`
    RecursiveView {
        /// Its columns.
        columns: Vec<(Name, SqlType)>,
    },
    /// `CREATE TYPE`
    Type {
        /// What it stands for.
        definition: SqlType,
    },
    /// `CREATE FUNCTION`
    Function {
        /// Types of arguments and result.
        types: Vec<SqlType>,
        /// The body; a Rust UDF has none.
        body: Option<Box<Expr>>,
    },
    /// `CREATE [LINEAR] AGGREGATE`
    Aggregate {
        /// Types of arguments and result.
        types: Vec<SqlType>,
    },
    /// `CREATE INDEX … ON view (…)`
    Index {
        /// The view.
        view: (Name, Span),
    },
    /// `LATENESS view.column expression`
    Lateness {
        /// The column.
        column: Name,
        /// The text of the expression.
        bound: String,
    },
    /// `SET option = value`
    Set,
}

/// A statement of a program.
#[derive(Debug, Clone)]
pub struct Statement {
    /// What it declares, or (for `LATENESS`) what it is about.
    pub name: Name,
    /// Where that name stands.
    pub span: Span,
    /// What it says.
    pub kind: Kind,
    /// Its tokens without whitespace, comments and `WITH (…)`, words in lower case: two
    /// statements that mean the same by spelling have the same.
    pub canonical: String,
    /// The unquoted and quoted identifiers in it.
    pub words: Vec<Name>,
}

/// Reads a whole program.
///
/// # Errors
/// The first thing that can't be read, with line and column.
pub fn parse_program(sql: &str) -> Result<Vec<Statement>, SqlMessage> {
    let dialect = FelderaDialect;
    let sql = dashed(sql);
    let tokens = Tokenizer::new(&dialect, &sql)
        .tokenize_with_location()
        .map_err(|e| SqlMessage::syntax(e.location, e.message))?;
    let mut statements = Vec::new();
    for chunk in tokens.split(|t| t.token == Token::SemiColon) {
        let tokens: Vec<TokenWithSpan> = chunk
            .iter()
            .filter(|t| !matches!(t.token, Token::Whitespace(_)))
            .cloned()
            .collect();
        if let Some(first) = tokens.first() {
            let at = first.span.start;
            statements.push(statement(&dialect, tokens).map_err(|e| from_parser(e, at))?);
        }
    }
    Ok(statements)
}

fn from_parser(error: ParserError, at: Location) -> SqlMessage {
    match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
            SqlMessage::from_parser(&message, at)
        }
        ParserError::RecursionLimitExceeded => SqlMessage::syntax(
            at,
            format!(
                "this statement nests deeper than {NESTING} levels: split it into several views"
            ),
        ),
    }
}

fn statement(
    dialect: &FelderaDialect,
    tokens: Vec<TokenWithSpan>,
) -> Result<Statement, ParserError> {
    let mut parser = Parser::new(dialect)
        .with_recursion_limit(NESTING)
        .with_tokens_with_locations(rewrite(&tokens));
    let mut skip = None;
    let (name, span, kind) = body(&mut parser, &mut skip)?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        return parser.expected("';' or the end of the program", rest);
    }
    let kept: Vec<&TokenWithSpan> = tokens
        .iter()
        .filter(|t| skip.is_none_or(|s: Span| t.span.end < s.start || t.span.start > s.end))
        .collect();
    Ok(Statement {
        name,
        span,
        kind,
        canonical: canonical(&kept),
        words: kept
            .iter()
            .filter_map(|t| match &t.token {
                Token::Word(w) => Some(Name::from_word(&w.value, w.quote_style)),
                _ => None,
            })
            .collect(),
    })
}

/// Takes the next token if it is this unquoted word.
pub fn eat_word(parser: &mut Parser, word: &str) -> bool {
    let found = is_word(&parser.peek_token().token, word);
    if found {
        parser.next_token();
    }
    found
}

/// Are the next tokens these unquoted words?
pub fn peek_words(parser: &Parser, words: &[&str]) -> bool {
    words
        .iter()
        .enumerate()
        .all(|(n, word)| is_word(&parser.peek_nth_token(n).token, word))
}

/// Takes the next tokens if they are these unquoted words.
pub fn eat_words(parser: &mut Parser, words: &[&str]) -> bool {
    let found = peek_words(parser, words);
    if found {
        for _ in words {
            parser.next_token();
        }
    }
    found
}

fn expect_word(parser: &mut Parser, word: &str) -> Result<(), ParserError> {
    if eat_word(parser, word) {
        Ok(())
    } else {
        parser.expected(word, parser.peek_token())
    }
}

fn name(parser: &mut Parser) -> Result<(Name, Span), ParserError> {
    let token = parser.peek_token();
    let ident = parser.parse_identifier()?;
    if ident.quote_style == Some('\'') {
        return parser.expected("a name (in double quotes, if any)", token);
    }
    Ok((Name::from_ident(&ident), token.span))
}

fn names(parser: &mut Parser) -> Result<Vec<(Name, Span)>, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let found = parser.parse_comma_separated(name)?;
    parser.expect_token(&Token::RParen)?;
    Ok(found)
}

type Body = (Name, Span, Kind);

fn body(parser: &mut Parser, skip: &mut Option<Span>) -> Result<Body, ParserError> {
    let first = parser.peek_token();
    if eat_word(parser, "CREATE") {
        return create(parser, skip);
    }
    if eat_words(parser, &["DECLARE", "RECURSIVE", "VIEW"]) {
        let (name, span) = name(parser)?;
        let columns = declarations(parser)?;
        return Ok((name, span, Kind::RecursiveView { columns }));
    }
    if eat_word(parser, "LATENESS") {
        let (view, span) = name(parser)?;
        parser.expect_token(&Token::Period)?;
        let column = name(parser)?.0;
        let bound = parser.parse_expr()?.to_string();
        return Ok((view, span, Kind::Lateness { column, bound }));
    }
    if eat_word(parser, "SET") {
        let (name, span) = name(parser)?;
        parser.expect_token(&Token::Eq)?;
        parser.parse_expr()?;
        return Ok((name, span, Kind::Set));
    }
    parser.expected(
        "CREATE TABLE, CREATE VIEW, CREATE TYPE, CREATE FUNCTION, CREATE AGGREGATE, \
         CREATE INDEX, DECLARE RECURSIVE VIEW, LATENESS or SET",
        first,
    )
}

fn create(parser: &mut Parser, skip: &mut Option<Span>) -> Result<Body, ParserError> {
    if eat_word(parser, "TABLE") {
        return table(parser, skip);
    }
    for (words, kind) in [
        (["VIEW", ""], ViewKind::Plain),
        (["LOCAL", "VIEW"], ViewKind::Local),
        (["MATERIALIZED", "VIEW"], ViewKind::Materialized),
    ] {
        let words: Vec<&str> = words.into_iter().filter(|w| !w.is_empty()).collect();
        if eat_words(parser, &words) {
            return view(parser, kind, skip);
        }
    }
    if eat_word(parser, "TYPE") {
        let (name, span) = name(parser)?;
        expect_word(parser, "AS")?;
        let definition = if parser.peek_token().token == Token::LParen {
            let fields = declarations(parser)?;
            SqlType {
                base: Some("STRUCT".to_owned()),
                user: None,
                precision: None,
                scale: None,
                component: None,
                fields: Some(fields),
                entries: None,
                nullable: true,
            }
        } else {
            parse_general_type(parser)?
        };
        return Ok((name, span, Kind::Type { definition }));
    }
    if eat_word(parser, "FUNCTION") {
        let (name, span) = name(parser)?;
        let types = signature(parser)?;
        let body = if eat_word(parser, "AS") {
            Some(Box::new(parser.parse_expr()?))
        } else {
            None
        };
        return Ok((name, span, Kind::Function { types, body }));
    }
    if eat_word(parser, "AGGREGATE") || eat_words(parser, &["LINEAR", "AGGREGATE"]) {
        let (name, span) = name(parser)?;
        let types = signature(parser)?;
        return Ok((name, span, Kind::Aggregate { types }));
    }
    if eat_word(parser, "INDEX") {
        let (index, span) = name(parser)?;
        expect_word(parser, "ON")?;
        let view = name(parser)?;
        names(parser)?;
        return Ok((index, span, Kind::Index { view }));
    }
    parser.expected(
        "TABLE, VIEW, LOCAL VIEW, MATERIALIZED VIEW, TYPE, FUNCTION, AGGREGATE or INDEX",
        parser.peek_token(),
    )
}

/// `(name type, …)`
fn declarations(parser: &mut Parser) -> Result<Vec<(Name, SqlType)>, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let mut found = Vec::new();
    if parser.consume_token(&Token::RParen) {
        return Ok(found);
    }
    loop {
        let column = name(parser)?.0;
        found.push((column, parse_general_type(parser)?));
        if !parser.consume_token(&Token::Comma) {
            parser.expect_token(&Token::RParen)?;
            return Ok(found);
        }
    }
}

/// `(name type, …) RETURNS type`
fn signature(parser: &mut Parser) -> Result<Vec<SqlType>, ParserError> {
    let mut types: Vec<SqlType> = declarations(parser)?.into_iter().map(|(_, t)| t).collect();
    expect_word(parser, "RETURNS")?;
    types.push(parse_general_type(parser)?);
    Ok(types)
}

fn table(parser: &mut Parser, skip: &mut Option<Span>) -> Result<Body, ParserError> {
    let (table, span) = name(parser)?;
    parser.expect_token(&Token::LParen)?;
    let mut columns = Vec::new();
    let mut primary_key = None;
    let mut references = Vec::new();
    loop {
        if eat_word(parser, "CONSTRAINT") {
            name(parser)?;
        }
        if eat_words(parser, &["PRIMARY", "KEY"]) {
            if primary_key.is_some() {
                return parser.expected("one PRIMARY KEY only", parser.peek_token());
            }
            primary_key = Some(names(parser)?);
        } else if eat_words(parser, &["FOREIGN", "KEY"]) {
            names(parser)?;
            expect_word(parser, "REFERENCES")?;
            references.push(name(parser)?);
            names(parser)?;
        } else {
            columns.push(column(parser)?);
        }
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    parser.expect_token(&Token::RParen)?;
    references.extend(columns.iter().filter_map(|c: &Column| c.references.clone()));
    let properties = properties(parser, skip)?;
    Ok((
        table,
        span,
        Kind::Table {
            columns,
            primary_key,
            references,
            properties,
        },
    ))
}

fn column(parser: &mut Parser) -> Result<Column, ParserError> {
    let (name_, span) = name(parser)?;
    let mut column = Column {
        name: name_,
        span,
        typ: parse_general_type(parser)?,
        lateness: None,
        watermark: None,
        default: None,
        primary_key: false,
        references: None,
    };
    loop {
        if eat_words(parser, &["NOT", "NULL"]) {
            column.typ.nullable = false;
        } else if eat_words(parser, &["PRIMARY", "KEY"]) {
            column.primary_key = true;
        } else if eat_words(parser, &["FOREIGN", "KEY", "REFERENCES"])
            || eat_word(parser, "REFERENCES")
        {
            column.references = Some(name(parser)?);
            names(parser)?;
        } else if eat_word(parser, "LATENESS") {
            column.lateness = Some(parser.parse_expr()?.to_string());
        } else if eat_word(parser, "WATERMARK") {
            column.watermark = Some(parser.parse_expr()?.to_string());
        } else if eat_word(parser, "DEFAULT") {
            column.default = Some(parser.parse_expr()?.to_string());
        } else if eat_word(parser, "NULL") || eat_word(parser, "INTERNED") {
            // Nullable is what a column is anyway; INTERNED is a hint only.
        } else {
            return Ok(column);
        }
    }
}

fn view(parser: &mut Parser, kind: ViewKind, skip: &mut Option<Span>) -> Result<Body, ParserError> {
    let (view, span) = name(parser)?;
    if parser.peek_token().token == Token::LParen {
        names(parser)?;
    }
    let properties = properties(parser, skip)?;
    parser.expect_keyword(Keyword::AS)?;
    let query = parser.parse_query()?;
    Ok((
        view,
        span,
        Kind::View {
            kind,
            query,
            properties,
        },
    ))
}

/// `[WITH ('key' = 'value', …)]`; remembers its place in `skip`.
fn properties(parser: &mut Parser, skip: &mut Option<Span>) -> Result<Vec<Property>, ParserError> {
    let start = parser.peek_token().span.start;
    let mut found: Vec<Property> = Vec::new();
    if !eat_word(parser, "WITH") {
        return Ok(found);
    }
    parser.expect_token(&Token::LParen)?;
    loop {
        let (key, key_span) = string(parser)?;
        parser.expect_token(&Token::Eq)?;
        let (value, value_span) = string(parser)?;
        if found.iter().any(|p| p.key == key) {
            return parser.expected(
                &format!("each property once, but '{key}' is there twice"),
                TokenWithSpan::new(Token::SingleQuotedString(key), key_span),
            );
        }
        found.push(Property {
            key,
            key_span,
            value,
            value_span,
        });
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    let end = parser.expect_token(&Token::RParen)?.span.end;
    *skip = Some(Span::new(start, end));
    Ok(found)
}

fn string(parser: &mut Parser) -> Result<(String, Span), ParserError> {
    let token = parser.next_token();
    match token.token {
        Token::SingleQuotedString(text) => Ok((text, token.span)),
        _ => parser.expected("a string in single quotes", token),
    }
}
