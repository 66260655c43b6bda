//! What was asked for: the query of an approval. Pure.

use url::form_urlencoded;
use utoipa::IntoParams;

use super::error::{Error, Options};

/// The query of an approval.
///
/// A parameter that isn't known, or is given twice, is refused: a mistyped `change_id` would
/// otherwise approve whatever waits.
#[derive(IntoParams, Clone, Debug, Default, PartialEq, Eq)]
#[into_params(parameter_in = Query)]
pub(super) struct Query {
    /// The change that is approved: `status.approval.changeId` of the Pipeline. If another one
    /// waits, nothing is approved. Without it, the change that waits is approved, whichever it is.
    #[param(
        pattern = "^[0-9a-f]{32}$",
        example = "0123456789abcdef0123456789abcdef"
    )]
    pub change_id: Option<String>,

    /// Whether the outputs of the bootstrap are kept from the sinks. The options are part of the
    /// change, so this can only confirm what the Pipeline's `spec.bootstrapOptions` says.
    pub silent_bootstrap: Option<bool>,

    /// Whether new and modified views are bootstrapped while the others go on. Excludes
    /// `silent_bootstrap`, and can only confirm what `spec.bootstrapOptions` says.
    pub concurrent_bootstrap: Option<bool>,
}

impl Query {
    /// Reads the query of a URL.
    pub fn parse(query: &str) -> Result<Self, Error> {
        let mut parsed = Self::default();
        for (param, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*param {
                "change_id" => once(&mut parsed.change_id, &param, &value, change_id(&value)?)?,
                "silent_bootstrap" => once(
                    &mut parsed.silent_bootstrap,
                    &param,
                    &value,
                    boolean(&param, &value)?,
                )?,
                "concurrent_bootstrap" => once(
                    &mut parsed.concurrent_bootstrap,
                    &param,
                    &value,
                    boolean(&param, &value)?,
                )?,
                _ => {
                    return Err(invalid(
                        &param,
                        &value,
                        "there is no such parameter; there are change_id, silent_bootstrap and concurrent_bootstrap",
                    ));
                }
            }
        }
        if parsed.silent_bootstrap == Some(true) && parsed.concurrent_bootstrap == Some(true) {
            return Err(Error::InvalidBootstrapConfig {
                reason: "silent_bootstrap and concurrent_bootstrap exclude each other: set one of them at most".to_owned(),
            });
        }
        Ok(parsed)
    }

    /// The options that were asked for.
    pub fn options(&self) -> Options {
        Options {
            silent_bootstrap: self.silent_bootstrap,
            concurrent_bootstrap: self.concurrent_bootstrap,
        }
    }
}

fn once<T>(slot: &mut Option<T>, param: &str, text: &str, value: T) -> Result<(), Error> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(invalid(param, text, "it is given twice; give it once")),
    }
}

fn change_id(value: &str) -> Result<String, Error> {
    let hex = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    if value.len() == 32 && value.bytes().all(hex) {
        Ok(value.to_owned())
    } else {
        Err(Error::InvalidChangeIdParam {
            value: value.to_owned(),
        })
    }
}

fn boolean(param: &str, value: &str) -> Result<bool, Error> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid(param, value, "write true or false")),
    }
}

fn invalid(param: &str, value: &str, error: &str) -> Error {
    Error::InvalidQueryParam {
        param: param.to_owned(),
        value: value.to_owned(),
        error: error.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn what_is_not_given_stays_open() {
        assert_eq!(Query::parse("").unwrap(), Query::default());
        assert_eq!(
            Query::parse(&format!("silent_bootstrap=false&change_id={ID}")).unwrap(),
            Query {
                change_id: Some(ID.to_owned()),
                silent_bootstrap: Some(false),
                concurrent_bootstrap: None,
            }
        );
    }

    #[test]
    fn a_query_that_could_be_misread_is_refused() {
        let twice = format!("change_id={ID}&change_id={ID}");
        let upper = format!("change_id={}", ID.to_uppercase());
        let prefix = format!("change_id={}", &ID[..8]);
        let longer = format!("change_id={ID}0");
        for (query, code) in [
            (
                "silent_bootstrap=true&concurrent_bootstrap=true",
                "InvalidBootstrapConfig",
            ),
            ("silent_bootstrap=yes", "InvalidQueryParam"),
            ("silent_bootstrap", "InvalidQueryParam"),
            ("concurrent_bootstrap=True", "InvalidQueryParam"),
            (
                "concurrent_bootstrap=false&concurrent_bootstrap=false",
                "InvalidQueryParam",
            ),
            ("changeid=x", "InvalidQueryParam"),
            ("%ff=%00", "InvalidQueryParam"),
            ("change_id=", "InvalidChangeIdParam"),
            ("change_id=%00", "InvalidChangeIdParam"),
            (&*twice, "InvalidQueryParam"),
            (&*upper, "InvalidChangeIdParam"),
            (&*prefix, "InvalidChangeIdParam"),
            (&*longer, "InvalidChangeIdParam"),
        ] {
            let error = Query::parse(query).unwrap_err();
            assert_eq!(error.code(), code, "{query}");
            assert_eq!(error.status(), 400, "{query}");
        }
    }
}
