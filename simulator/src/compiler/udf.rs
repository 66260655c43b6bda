//! What of the Rust side of a program can be judged without a Rust compiler.

use super::program::Program;

/// Why the Rust code of a program wouldn't compile, as `rustc` would print it.
///
/// Judged are: brackets and strings that don't close, `compile_error!`, and functions that the
/// program declares but `udf.rs` doesn't define. All else counts as correct.
pub fn rust_error(program: &Program, udf_rust: &str) -> Option<String> {
    let code = match strip(udf_rust) {
        Ok(code) => code,
        Err((line, what)) => return Some(located(line, what)),
    };
    if let Some(at) = code.find("compile_error!") {
        let line = 1 + code[..at].matches('\n').count();
        return Some(located(line, "compile_error! was called"));
    }
    if let Some((line, what)) = unbalanced(&code) {
        return Some(located(line, &what));
    }
    let missing = program
        .rust_functions
        .iter()
        .find(|name| !defines(&code, name))?;
    Some(format!(
        "error[E0425]: cannot find function `{missing}` in module `udf`\n --> src/udf.rs\n\
         help: the program declares it without a body, so udf.rs must define `pub fn {missing}(…)`\n"
    ))
}

fn located(line: usize, what: &str) -> String {
    format!("error: {what}\n --> src/udf.rs:{line}\n")
}

/// Aggregates are modules or types in `udf.rs`, functions are functions.
fn defines(code: &str, name: &str) -> bool {
    let words: Vec<&str> = code
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|w| !w.is_empty())
        .collect();
    words.windows(2).any(|pair| {
        pair[1].eq_ignore_ascii_case(name)
            || pair[1]
                .to_lowercase()
                .starts_with(&format!("{}_", name.to_lowercase()))
                && ["fn", "type", "struct", "mod"].contains(&pair[0])
    })
}

/// Blanks out comments, strings and character literals; lines stay where they are.
fn strip(code: &str) -> Result<String, (usize, &'static str)> {
    let chars: Vec<char> = code.chars().collect();
    let mut out = String::with_capacity(code.len());
    let mut line = 1;
    let mut i = 0;
    while i < chars.len() {
        let rest = &chars[i..];
        let (length, what) = match rest {
            ['/', '/', ..] => (until(rest, '\n'), None),
            ['/', '*', ..] => (block_comment(rest), Some("unterminated block comment")),
            ['"', ..] => (string(rest), Some("unterminated double quote string")),
            ['r', '"' | '#', ..]
                if !out.ends_with(|c: char| c.is_alphanumeric() || c == '_')
                    && raw(rest).is_some() =>
            {
                (raw(rest).flatten(), Some("unterminated raw string"))
            }
            ['\'', '\\', ..] => (
                rest.iter().skip(2).position(|c| *c == '\'').map(|n| n + 3),
                None,
            ),
            ['\'', _, '\'', ..] => (Some(3), None),
            _ => {
                line += usize::from(chars[i] == '\n');
                out.push(chars[i]);
                i += 1;
                continue;
            }
        };
        let length = match (length, what) {
            (Some(length), _) => length,
            (None, Some(what)) => return Err((line, what)),
            (None, None) => rest.len(),
        };
        for c in &rest[..length] {
            line += usize::from(*c == '\n');
            out.push(if *c == '\n' { '\n' } else { ' ' });
        }
        i += length;
    }
    Ok(out)
}

fn until(rest: &[char], end: char) -> Option<usize> {
    rest.iter().position(|c| *c == end)
}

fn block_comment(rest: &[char]) -> Option<usize> {
    let mut depth = 0;
    let mut i = 0;
    while i + 1 < rest.len() {
        match (rest[i], rest[i + 1]) {
            ('/', '*') => {
                depth += 1;
                i += 2;
            }
            ('*', '/') => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return Some(i);
                }
            }
            _ => i += 1,
        }
    }
    None
}

fn string(rest: &[char]) -> Option<usize> {
    let mut i = 1;
    while i < rest.len() {
        match rest[i] {
            '\\' => i += 2,
            '"' => return Some(i + 1),
            _ => i += 1,
        }
    }
    None
}

/// `None`: not a raw string. `Some(None)`: one that doesn't end.
fn raw(rest: &[char]) -> Option<Option<usize>> {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return None;
    }
    let mut end = vec!['"'];
    end.extend(std::iter::repeat_n('#', hashes));
    let start = 2 + hashes;
    Some(
        rest[start..]
            .windows(end.len())
            .position(|w| w == end)
            .map(|n| start + n + end.len()),
    )
}

fn unbalanced(code: &str) -> Option<(usize, String)> {
    let mut open: Vec<(char, usize)> = Vec::new();
    let mut line = 1;
    for c in code.chars() {
        match c {
            '\n' => line += 1,
            '(' | '[' | '{' => open.push((c, line)),
            ')' | ']' | '}' => {
                let expected = match c {
                    ')' => '(',
                    ']' => '[',
                    _ => '{',
                };
                match open.pop() {
                    Some((found, _)) if found == expected => {}
                    Some(_) => return Some((line, format!("mismatched closing delimiter: `{c}`"))),
                    None => return Some((line, format!("unexpected closing delimiter: `{c}`"))),
                }
            }
            _ => {}
        }
    }
    open.pop()
        .map(|(_, line)| (line, "this file contains an unclosed delimiter".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::compile;
    use super::*;

    #[test]
    fn only_code_that_clearly_does_not_compile_fails() {
        let sql = "CREATE FUNCTION twice(x INT) RETURNS INT;";
        let program = compile(sql).program.expect("the program is correct");
        let cases = [
            ("pub fn twice(x: Option<i32>) -> R<i32> { Ok(x) }", None),
            ("pub fn twice() { let s = \"}\"; let c = '{'; } // {", None),
            ("pub fn twice() { r#\"{\"# }\n/* { /* */ } */", None),
            ("fn twice<'a>(x: &'a str) {}", None),
            ("", Some("cannot find function `twice`")),
            ("pub fn other() {}", Some("cannot find function `twice`")),
            ("// fn twice()", Some("cannot find function `twice`")),
            ("pub fn twice() {\n", Some("unclosed delimiter")),
            (
                "pub fn twice() {\n}}",
                Some("unexpected closing delimiter: `}`\n --> src/udf.rs:2"),
            ),
            ("pub fn twice() { ) }", Some("mismatched closing delimiter")),
            ("pub fn twice() { \" }", Some("unterminated double quote")),
            (
                "pub fn twice() {}\ncompile_error!(\"no\");",
                Some("src/udf.rs:2"),
            ),
        ];
        for (code, expected) in cases {
            let found = rust_error(&program, code);
            match expected {
                None => assert_eq!(found, None, "{code}"),
                Some(text) => {
                    assert!(
                        found.as_deref().is_some_and(|f| f.contains(text)),
                        "{code}: {found:?}"
                    );
                }
            }
        }
    }
}
