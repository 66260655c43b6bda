use feldera_sqllib::*;
use std::error::Error;
use std::sync::OnceLock;

use regex::Regex;

/// Matches one `name=value` of a URL's query.
fn parameters() -> Result<&'static Regex, Box<dyn Error>> {
    static PATTERN: OnceLock<Regex> = OnceLock::new();
    match PATTERN.get() {
        Some(pattern) => Ok(pattern),
        None => {
            let pattern = Regex::new("[?&]([^=&]+)=([^&]*)")?;
            Ok(PATTERN.get_or_init(|| pattern))
        }
    }
}

/// The value of a parameter of a URL, or NULL if it has none of that name.
pub fn query_parameter(
    url: Option<SqlString>,
    name: Option<SqlString>,
) -> Result<Option<SqlString>, Box<dyn Error>> {
    let (Some(url), Some(name)) = (url, name) else {
        return Ok(None);
    };
    let found = parameters()?
        .captures_iter(url.str())
        .find(|captures| &captures[1] == name.str());
    Ok(found.map(|captures| SqlString::from_ref(&captures[2])))
}

/// The directory of a URL at a depth, counted from 1, or NULL if it isn't that deep.
pub fn directory(
    url: Option<SqlString>,
    depth: Option<i32>,
) -> Result<Option<SqlString>, Box<dyn Error>> {
    let (Some(url), Some(depth)) = (url, depth) else {
        return Ok(None);
    };
    // https: + empty + host come before the first directory.
    let position = usize::try_from(depth)? + 2;
    let found = url.str().split('/').nth(position);
    Ok(found.map(SqlString::from_ref))
}
