//! The SQL dialect: what Feldera's SQL has beyond what `sqlparser` reads by itself.
//!
//! Statements of Feldera's own (`LATENESS`, `DECLARE RECURSIVE VIEW`, …) are read in
//! [`super::parse`]; this file covers what may appear inside expressions.

use std::any::TypeId;

use sqlparser::ast::{CastKind, DataType, Expr, Ident, ObjectName};
use sqlparser::dialect::{Dialect, GenericDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::types::{parse_interval_unit, parse_type};

/// The prefix under which `TABLE name`, an argument of a table function such as `TUMBLE`,
/// appears in the syntax tree.
pub const TABLE_ARGUMENT: &str = "TABLE";

/// Feldera's SQL (Calcite's "babel" grammar with additions), as of Feldera 0.337.
#[derive(Debug, Default, Clone, Copy)]
pub struct FelderaDialect;

impl Dialect for FelderaDialect {
    /// `sqlparser` decides some syntax (UNNEST, ASOF) by the dialect's type: pass for the most
    /// permissive one.
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_within_after_array_aggregation(&self) -> bool {
        true
    }

    fn supports_subquery_as_function_arg(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_lambda_functions(&self) -> bool {
        true
    }

    fn supports_select_wildcard_except(&self) -> bool {
        true
    }

    fn supports_select_wildcard_exclude(&self) -> bool {
        true
    }

    fn supports_select_wildcard_replace(&self) -> bool {
        true
    }

    fn supports_values_as_table_factor(&self) -> bool {
        true
    }

    fn supports_parens_around_table_factor(&self) -> bool {
        true
    }

    fn supports_left_associative_joins_without_parens(&self) -> bool {
        true
    }

    fn supports_order_by_all(&self) -> bool {
        true
    }

    fn supports_limit_comma(&self) -> bool {
        true
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }

    fn supports_comma_separated_trim(&self) -> bool {
        true
    }

    fn supports_string_literal_concatenation_with_newline(&self) -> bool {
        true
    }

    fn supports_named_fn_args_with_rarrow_operator(&self) -> bool {
        true
    }

    fn supports_multiline_comment_hints(&self) -> bool {
        false
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn allow_extract_single_quotes(&self) -> bool {
        false
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        let next = parser.peek_token();
        let Token::Word(word) = &next.token else {
            return None;
        };
        if word.quote_style.is_some() {
            return None;
        }
        let after = parser.peek_nth_token(1).token;
        let upper = word.value.to_ascii_uppercase();
        match (upper.as_str(), &after) {
            ("CAST", Token::LParen) => Some(cast(parser, CastKind::Cast)),
            ("SAFE_CAST", Token::LParen) => Some(cast(parser, CastKind::SafeCast)),
            ("TRY_CAST", Token::LParen) => Some(cast(parser, CastKind::TryCast)),
            ("TABLE", Token::Word(_)) => Some(table_argument(parser, next.span)),
            ("INTERVAL", after) if *after != Token::Period => Some(interval(parser, next.span)),
            ("MAP", Token::LBracket) => {
                parser.next_token();
                Some(bracketed(parser, "MAP", next.span))
            }
            _ => None,
        }
    }

    fn parse_infix(
        &self,
        parser: &mut Parser,
        expr: &Expr,
        _precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        if parser.peek_token().token != Token::DoubleColon {
            return None;
        }
        parser.next_token();
        Some(parse_type(parser).map(|_| cast_expr(CastKind::DoubleColon, expr.clone())))
    }
}

/// `CAST(x AS type)` with Feldera's types, of which `sqlparser` knows only some.
fn cast(parser: &mut Parser, kind: CastKind) -> Result<Expr, ParserError> {
    parser.next_token();
    parser.expect_token(&Token::LParen)?;
    let expr = parser.parse_expr()?;
    parser.expect_keyword(Keyword::AS)?;
    parse_type(parser)?;
    parser.expect_token(&Token::RParen)?;
    Ok(cast_expr(kind, expr))
}

/// The type itself isn't kept: nothing here computes with it, and ids are made from tokens.
fn cast_expr(kind: CastKind, expr: Expr) -> Expr {
    Expr::Cast {
        kind,
        expr: Box::new(expr),
        data_type: DataType::Unspecified,
        format: None,
    }
}

/// `TABLE name`, as in `TUMBLE(TABLE bid, …)`.
fn table_argument(
    parser: &mut Parser,
    span: sqlparser::tokenizer::Span,
) -> Result<Expr, ParserError> {
    parser.next_token();
    let name: ObjectName = parser.parse_object_name(false)?;
    let idents: Vec<Ident> = name
        .0
        .iter()
        .filter_map(|part| part.as_ident().cloned())
        .collect();
    Ok(Expr::Prefixed {
        prefix: Ident::with_span(span, TABLE_ARGUMENT),
        value: Box::new(Expr::CompoundIdentifier(idents)),
    })
}

/// `INTERVAL value unit [TO unit]`; the value may be any name, not just a literal.
fn interval(parser: &mut Parser, span: sqlparser::tokenizer::Span) -> Result<Expr, ParserError> {
    parser.next_token();
    let binds = FelderaDialect.prec_value(Precedence::Period);
    let value = parser.parse_subexpr(binds)?;
    parse_interval_unit(parser)?;
    Ok(Expr::Prefixed {
        prefix: Ident::with_span(span, "INTERVAL"),
        value: Box::new(value),
    })
}

/// `[a, b, …]` after a word such as `MAP`.
fn bracketed(
    parser: &mut Parser,
    word: &str,
    span: sqlparser::tokenizer::Span,
) -> Result<Expr, ParserError> {
    parser.expect_token(&Token::LBracket)?;
    let items = if parser.consume_token(&Token::RBracket) {
        Vec::new()
    } else {
        let items = parser.parse_comma_separated(Parser::parse_expr)?;
        parser.expect_token(&Token::RBracket)?;
        items
    };
    Ok(Expr::Prefixed {
        prefix: Ident::with_span(span, word),
        value: Box::new(Expr::Tuple(items)),
    })
}
