//! The text of a program before it is parsed: comments and forms that `sqlparser` doesn't know are
//! spelled otherwise, in the same places; and what of a statement counts for ids.

use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan};

use super::types::interval_unit;

/// Feldera also takes `//` for the beginning of a comment: write `--`, in the same place.
pub fn dashed(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(c) = rest.chars().next() {
        let end = match c {
            '\'' | '"' => rest[1..].find(c).map(|n| n + 2),
            '-' if rest.starts_with("--") => rest.find('\n'),
            '/' if rest.starts_with("/*") => rest[2..].find("*/").map(|n| n + 4),
            '/' if rest.starts_with("//") => {
                out.push_str("--");
                rest = &rest[2..];
                let end = rest.find('\n').unwrap_or(rest.len());
                out.push_str(&rest[..end]);
                rest = &rest[end..];
                continue;
            }
            _ => Some(c.len_utf8()),
        };
        // What doesn't end is the tokenizer's to complain about.
        let (done, next) = rest.split_at(end.unwrap_or(rest.len()));
        out.push_str(done);
        rest = next;
    }
    out
}

/// An open bracket: may the difference in it have a unit behind it?
struct Bracket {
    expression: bool,
    minus: bool,
}

/// Spells for `sqlparser` what it knows in another form: `LEFT ASOF JOIN` (the only ASOF join
/// of Feldera) as `ASOF JOIN`, and its `MATCH_CONDITION` in brackets; `(a - b) DAY` without the
/// unit. None of this is seen in ids, which are made from what was written.
pub fn rewrite(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let mut brackets: Vec<Bracket> = Vec::new();
    let mut difference = false;
    let mut skip = 0;
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 1);
    // Nesting since a match condition whose bracket is open.
    let mut condition: Option<u32> = None;
    for (index, token) in tokens.iter().enumerate() {
        if skip > 0 {
            skip -= 1;
            continue;
        }
        if difference && interval_unit(&token.token).is_some() {
            let after = |n: usize| tokens.get(index + n).map(|t| &t.token);
            if after(1).is_some_and(|t| is_word(t, "TO"))
                && after(2).is_some_and(|t| interval_unit(t).is_some())
            {
                skip = 2;
            }
            difference = false;
            continue;
        }
        difference = false;
        match &token.token {
            Token::LParen => brackets.push(Bracket {
                expression: out.last().is_none_or(|last| begins_expression(&last.token)),
                minus: false,
            }),
            Token::Minus => {
                if let Some(bracket) = brackets.last_mut() {
                    bracket.minus = true;
                }
            }
            Token::RParen => {
                difference = brackets.pop().is_some_and(|b| b.expression && b.minus);
            }
            _ => {}
        }
        let bracket = |t: Token| TokenWithSpan::new(t, token.span);
        match (&token.token, &mut condition) {
            (Token::LParen, Some(depth)) => *depth += 1,
            (Token::RParen, Some(depth)) => *depth = depth.saturating_sub(1),
            (word, Some(0)) if is_word(word, "ON") || is_word(word, "USING") => {
                out.push(bracket(Token::RParen));
                condition = None;
            }
            (word, _) if is_word(word, "ASOF") => {
                out.pop_if(|last| is_word(&last.token, "LEFT"));
            }
            (word, None) if is_word(word, "MATCH_CONDITION") => {
                out.push(token.clone());
                out.push(bracket(Token::LParen));
                condition = Some(0);
                continue;
            }
            _ => {}
        }
        out.push(token.clone());
    }
    let end = tokens.last().map_or(Location::new(1, 1), |t| t.span.end);
    out.push(TokenWithSpan::new(Token::EOF, Span::new(end, end)));
    out
}

/// Can an expression begin after this token? (A bracket after any other word is a call's, or
/// that of an INTERVAL.)
fn begins_expression(token: &Token) -> bool {
    match token {
        Token::Word(_) => [
            "SELECT", "WHERE", "AND", "OR", "ON", "WHEN", "THEN", "ELSE", "BY", "HAVING", "NOT",
        ]
        .iter()
        .any(|word| is_word(token, word)),
        Token::RParen | Token::RBracket | Token::Number(..) | Token::SingleQuotedString(_) => false,
        _ => true,
    }
}

/// The tokens as one text, words in lower case.
pub fn canonical(tokens: &[&TokenWithSpan]) -> String {
    let mut out = String::new();
    for token in tokens {
        match &token.token {
            Token::Word(word) if word.quote_style.is_none() => {
                out.push_str(&word.value.to_lowercase());
            }
            other => out.push_str(&other.to_string()),
        }
        out.push('\u{1f}');
    }
    out
}

/// Is it this unquoted word?
pub fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}
