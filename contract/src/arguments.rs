//! Flags, and environment variables of the same names (`ENGINE_CONTRACT_URL`, …).

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Parser, ValueEnum};
use jiff::SignedDuration;

/// Holds an engine, the stand-in or a real Feldera, against what Sluice relies on.
///
/// Makes a few pipelines of its own, whose names begin with the prefix, and removes them in the end.
/// Exit status: 0 all that is about this engine holds, 1 something differs, 2 nothing could be run.
#[derive(Parser, Clone)]
#[command(name = "engine-contract", version)]
pub struct Arguments {
    /// Base URL of the engine, without /v0
    #[arg(long, env = "ENGINE_CONTRACT_URL", value_parser = url)]
    pub url: String,
    /// API key or JWT; better in the environment, where other users don't see it
    #[arg(long, env = "ENGINE_CONTRACT_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// Tenant, for a credential that may act in several
    #[arg(long, env = "ENGINE_CONTRACT_TENANT")]
    pub tenant: Option<String>,
    /// File with certificate authorities in PEM, besides the system's
    #[arg(long, env = "ENGINE_CONTRACT_CA")]
    pub ca: Option<PathBuf>,
    /// What the names of pipelines begin with [default: contract- and a new word each time]
    #[arg(long, env = "ENGINE_CONTRACT_PREFIX", value_parser = prefix)]
    pub prefix: Option<String>,
    /// How long a condition may take at most; a real engine compiles for minutes
    #[arg(long, env = "ENGINE_CONTRACT_PATIENCE", value_name = "DURATION", default_value = "15m", value_parser = duration)]
    pub patience: Duration,
    /// How the outcome is printed
    #[arg(long, env = "ENGINE_CONTRACT_FORMAT", value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// How the outcome is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line for each case, as it ends
    Table,
    /// One document in the end
    Json,
}

// By hand, so that a key never reaches a log.
impl std::fmt::Debug for Arguments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arguments")
            .field("url", &self.url)
            .field("prefix", &self.prefix)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

impl Arguments {
    /// The prefix that was given, or one that nobody has had before.
    pub fn prefix(&self) -> String {
        self.prefix.clone().unwrap_or_else(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            let word = since.map_or(0, |since| since.as_millis()) & 0xffff_ffff;
            format!("contract-{word:08x}")
        })
    }
}

fn url(text: &str) -> Result<String, String> {
    if text.starts_with("http://") || text.starts_with("https://") {
        Ok(text.to_owned())
    } else {
        Err("it must begin with http:// or https://, such as http://localhost:8080".to_owned())
    }
}

fn prefix(text: &str) -> Result<String, String> {
    let fits = (1..=40).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if fits {
        Ok(text.to_owned())
    } else {
        Err(
            "it must be 1 to 40 letters, digits, '-' or '_', the first a letter or digit"
                .to_owned(),
        )
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| format!("'{text}' isn't a duration, such as 90s or 15m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_explained() {
        for (flag, value, expected) in [
            ("--url", "localhost:8080", "http://localhost:8080"),
            ("--prefix", "-x", "the first a letter or digit"),
            ("--prefix", "a/b", "letters, digits"),
            ("--patience", "10", "such as 90s or 15m"),
            ("--patience", "0s", "such as 90s or 15m"),
        ] {
            let given = format!("{flag}={value}");
            let mut arguments = vec!["engine-contract", &given];
            if flag != "--url" {
                arguments.extend(["--url", "http://localhost"]);
            }
            let error = Arguments::try_parse_from(arguments)
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{flag} {value}: {error}");
        }
    }

    #[test]
    fn the_default_prefix_fits_and_keys_are_not_shown() {
        let arguments = Arguments::parse_from([
            "engine-contract",
            "--url=http://localhost",
            "--api-key=secret-one",
        ]);
        assert!(prefix(&arguments.prefix()).is_ok());
        assert_eq!(arguments.patience, Duration::from_secs(900));
        assert!(!format!("{arguments:?}").contains("secret-one"));
    }
}
