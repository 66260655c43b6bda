//! What the REST endpoint is told at its start.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use super::limits::Limit;

/// The settings of the REST endpoint.
#[derive(clap::Args, Clone, Debug)]
pub struct Config {
    /// Address that the REST endpoint listens on
    #[arg(
        long = "api-listen",
        env = "SLUICE_API_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "0.0.0.0:8080"
    )]
    pub listen: SocketAddr,

    /// Namespace of the Pipelines that REST calls without a `Feldera-Tenant` header mean
    /// [default: the client's own namespace]
    #[arg(
        long = "api-namespace",
        env = "SLUICE_API_NAMESPACE",
        value_name = "NAMESPACE"
    )]
    pub default_namespace: Option<String>,

    /// Namespace that a `Feldera-Tenant` header stands for; repeat it for several
    #[arg(
        long = "api-tenant",
        env = "SLUICE_API_TENANT",
        value_name = "NAME=NAMESPACE",
        value_delimiter = ','
    )]
    pub tenants: Vec<Tenant>,

    /// Audience that a token must be meant for; repeat it for several [default: the API server's
    /// own, so that everybody's token works]
    #[arg(
        long = "api-audience",
        env = "SLUICE_API_AUDIENCE",
        value_name = "AUDIENCE",
        value_delimiter = ','
    )]
    pub audiences: Vec<String>,

    /// Secret, in the operator's own namespace, that holds the API keys; `sluice api-key` makes them
    /// [default: there are no API keys]
    #[arg(
        long,
        env = "SLUICE_API_KEYS_SECRET",
        value_name = "NAME",
        value_parser = object_name
    )]
    pub api_keys_secret: Option<String>,

    /// File that holds the certificate, and those between it and the authority, in PEM; it may
    /// change at any time [default: plain HTTP]
    #[arg(
        long = "api-tls-cert-file",
        env = "SLUICE_API_TLS_CERT_FILE",
        value_name = "FILE",
        requires = "tls_key_file"
    )]
    pub tls_cert_file: Option<PathBuf>,

    /// File that holds the certificate's key, in PEM
    #[arg(
        long = "api-tls-key-file",
        env = "SLUICE_API_TLS_KEY_FILE",
        value_name = "FILE",
        requires = "tls_cert_file"
    )]
    pub tls_key_file: Option<PathBuf>,

    /// How many calls each user may make at once, and new ones per period; or off
    #[arg(
        long = "api-user-limit",
        env = "SLUICE_API_USER_LIMIT",
        value_name = "COUNT/PERIOD",
        default_value = "600/1m"
    )]
    pub user_limit: Limit,

    /// How many authentications may fail per address that calls come from, before tokens from there that
    /// nobody knows wait for their turn; or off. A proxy's clients share its address
    #[arg(
        long = "api-failure-limit",
        env = "SLUICE_API_FAILURE_LIMIT",
        value_name = "COUNT/PERIOD",
        default_value = "60/1m"
    )]
    pub failure_limit: Limit,

    /// How long one REST call may wait for the API server, all its calls together
    #[arg(
        long = "api-request-timeout",
        env = "SLUICE_API_REQUEST_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = duration
    )]
    pub request_timeout: Duration,

    /// How long a client may take for a TLS handshake, then for a call's headers, and again for its body
    #[arg(
        long = "api-read-timeout",
        env = "SLUICE_API_READ_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = duration
    )]
    pub read_timeout: Duration,

    /// How many connections are served at a time; for further ones those of the address that has the most give
    /// way, unless they are at work for somebody who is known
    #[arg(
        long = "api-max-connections",
        env = "SLUICE_API_MAX_CONNECTIONS",
        value_name = "NUMBER",
        default_value_t = 1024,
        value_parser = at_least_one
    )]
    pub max_connections: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            default_namespace: None,
            tenants: Vec::new(),
            audiences: Vec::new(),
            api_keys_secret: None,
            tls_cert_file: None,
            tls_key_file: None,
            user_limit: Limit::per_minute(600),
            failure_limit: Limit::per_minute(60),
            request_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(10),
            max_connections: 1024,
        }
    }
}

/// A Feldera tenant and the namespace that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// The value of the `Feldera-Tenant` header.
    pub name: String,
    /// The namespace.
    pub namespace: String,
}

impl FromStr for Tenant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, namespace)) if !name.is_empty() && !namespace.is_empty() => Ok(Self {
                name: name.to_owned(),
                namespace: namespace.to_owned(),
            }),
            _ => Err("write NAME=NAMESPACE, such as team-a=team-a-pipelines".to_owned()),
        }
    }
}

/// Above zero, because nothing is done in no time, and below what a clock can't add.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let duration = text
        .parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| !duration.is_zero() && *duration <= Duration::from_secs(3600));
    duration.ok_or_else(|| "write a duration above zero and up to 1h, such as 10s".to_owned())
}

/// A name that an object can have, and that so can stand in a URL.
pub(super) fn object_name(text: &str) -> Result<String, String> {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'.';
    let end = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let good = bytes.len() <= 253
        && bytes.iter().all(|c| allowed(*c))
        && end(bytes.first())
        && end(bytes.last());
    good.then(|| text.to_owned())
        .ok_or_else(|| "write the name of an object, such as sluice-api-keys".to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "write a whole number above zero".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        api: Config,
    }

    #[test]
    fn the_flags_defaults_are_those_of_the_type() {
        let parsed = Cli::try_parse_from(["sluice"]).unwrap().api;
        assert_eq!(format!("{parsed:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn tenants_and_audiences_may_be_repeated_or_joined() {
        let parsed = Cli::try_parse_from([
            "sluice",
            "--api-tenant=a=ns-a,b=ns-b",
            "--api-tenant",
            "c=ns-c",
            "--api-audience=x",
            "--api-audience=y",
            "--api-request-timeout=1m30s",
        ])
        .unwrap()
        .api;
        let tenants: Vec<_> = parsed
            .tenants
            .iter()
            .map(|tenant| (tenant.name.as_str(), tenant.namespace.as_str()))
            .collect();
        assert_eq!(tenants, [("a", "ns-a"), ("b", "ns-b"), ("c", "ns-c")]);
        assert_eq!(parsed.audiences, ["x", "y"]);
        assert_eq!(parsed.request_timeout, Duration::from_secs(90));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for flag in [
            "--api-tenant=a",
            "--api-tenant==ns",
            "--api-tenant=a=",
            "--api-request-timeout=0s",
            "--api-request-timeout=-1s",
            "--api-request-timeout=soon",
            "--api-request-timeout=2h",
            "--api-max-connections=0",
            "--api-listen=8080",
            "--api-keys-secret=a/b",
            "--api-keys-secret=",
            "--api-user-limit=60",
            "--api-failure-limit=0/1m",
            "--api-tls-cert-file=tls.crt",
            "--api-tls-key-file=tls.key",
        ] {
            assert!(Cli::try_parse_from(["sluice", flag]).is_err(), "{flag}");
        }
    }
}
