//! `cargo xtask licences`: whether everything that is linked into the programs may be.
//!
//! It asks `cargo metadata`, so it needs neither a network nor another tool. Security advisories can't be
//! checked in this way: their database is a Git repository that changes daily. `deny.toml` holds the same
//! list for `cargo deny check`, which does both where there is a network.

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};

use serde_json::Value;

use crate::say;

/// Licences that may be linked into a program that is under Apache-2.0, and why.
const ALLOWED: [(&str, &str); 13] = [
    ("Apache-2.0", "our own"),
    (
        "Apache-2.0 WITH LLVM-exception",
        "Apache-2.0 with more permissions",
    ),
    ("MIT", "permissive: keep the notice"),
    ("MIT-0", "permissive without conditions"),
    ("0BSD", "permissive without conditions"),
    ("BSD-1-Clause", "permissive: keep the notice"),
    ("BSD-2-Clause", "permissive: keep the notice"),
    ("BSD-3-Clause", "permissive: keep the notice"),
    ("ISC", "permissive: keep the notice"),
    ("Zlib", "permissive: keep the notice in the source"),
    ("BSL-1.0", "permissive: keep the notice in the source"),
    ("CC0-1.0", "public domain"),
    (
        "Unicode-3.0",
        "permissive: keep the notice; the tables of Unicode",
    ),
];

/// Licences of data or of single crates, each for the crates named only, and why.
const EXCEPTIONS: [(&str, &str, &str); 1] = [(
    "libbz2-rs-sys",
    "bzip2-1.0.6",
    "permissive, like BSD: keep the notice; a decoder that the stand-in engine's types bring along",
)];

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot run `cargo metadata`: {0}")]
    Cargo(String),
    #[error("licences that aren't on the list in xtask/src/licences.rs:\n{}", .0.join("\n"))]
    NotAllowed(Vec<String>),
}

/// Checks every package that is built on this platform, tools and test dependencies too.
///
/// # Errors
/// When a package has no licence, or one that isn't on the list.
pub fn check() -> Result<ExitCode, Error> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--filter-platform",
            &host()?,
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .map_err(|error| Error::Cargo(error.to_string()))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::Cargo(message));
    }
    let metadata: Value =
        serde_json::from_slice(&output.stdout).map_err(|error| Error::Cargo(error.to_string()))?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut refused = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let licence = package["license"].as_str().unwrap_or_default();
        if !is_allowed(name, licence) {
            refused.push(format!(
                "  {name} {}: {licence:?}",
                package["version"].as_str().unwrap_or_default()
            ));
        }
        *counts.entry(licence.to_owned()).or_default() += 1;
    }
    if !refused.is_empty() {
        return Err(Error::NotAllowed(refused));
    }
    let packages: usize = counts.values().sum();
    say::line(format!(
        "The licences of all {packages} packages are on the list ({} different terms).",
        counts.len()
    ));
    say::line(
        "Advisories aren't checked: their database isn't part of this repository. `cargo deny check` does it, with a network.",
    );
    Ok(ExitCode::SUCCESS)
}

/// This machine's platform. Without one, cargo would want the sources of other platforms' packages too.
fn host() -> Result<String, Error> {
    let output = Command::new("rustc")
        .arg("-vV")
        .output()
        .map_err(|error| Error::Cargo(format!("cannot ask rustc: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| Error::Cargo("`rustc -vV` names no host".into()))
}

fn is_allowed(name: &str, licence: &str) -> bool {
    let one = |id: &str| {
        ALLOWED.iter().any(|(allowed, _)| *allowed == id)
            || EXCEPTIONS
                .iter()
                .any(|(crate_, exception, _)| *crate_ == name && *exception == id)
    };
    // Older packages write `/` for `OR`.
    !licence.is_empty() && holds(&licence.replace('/', " OR "), &one)
}

/// Whether an SPDX expression can be met: `OR` binds weaker than `AND`, and there may be parentheses.
fn holds(expression: &str, one: &impl Fn(&str) -> bool) -> bool {
    split(expression, " OR ").iter().any(|all| {
        split(all, " AND ").iter().all(|part| {
            let part = part.trim();
            match part
                .strip_prefix('(')
                .and_then(|part| part.strip_suffix(')'))
            {
                Some(inner) => holds(inner, one),
                None => one(part),
            }
        })
    })
}

/// Splits at a word, outside of parentheses.
fn split<'a>(expression: &'a str, word: &str) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (position, character) in expression.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 && position >= start && expression[position..].starts_with(word) => {
                parts.push(&expression[start..position]);
                start = position + word.len();
            }
            _ => {}
        }
    }
    parts.push(&expression[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_holds_if_it_can_be_met() {
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0 OR MIT",
            "MIT/Apache-2.0",
            "(MIT OR GPL-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
            "(Apache-2.0 OR MIT) AND BSD-3-Clause",
        ] {
            assert!(is_allowed("any", good), "{good}");
        }
        for bad in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT OR Apache-2.0) AND GPL-2.0",
            "MITx",
        ] {
            assert!(!is_allowed("any", bad), "{bad}");
        }
    }
}
