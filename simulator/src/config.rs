//! Flags, and environment variables of the same names (`FELDERA_SIM_LISTEN`, …).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::faults::Fault;
use crate::manager::{Edition, Settings};
use crate::process::Durations;

/// A stand-in for the REST API of a Feldera manager, for tests.
///
/// Durations are written as 50ms, 2.5s, 1m or 0.
#[derive(Parser, Clone)]
#[command(name = "feldera-sim", version)]
pub struct Config {
    /// Address to listen on; port 0 is any free one
    #[arg(long, env = "FELDERA_SIM_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Edition of the engine
    #[arg(long, env = "FELDERA_SIM_EDITION", value_enum, default_value_t = Edition::Enterprise)]
    pub edition: Edition,
    /// Version of the platform that is reported and that pipelines are compiled for
    #[arg(long, env = "FELDERA_SIM_VERSION_REPORTED", default_value = "0.337.0")]
    pub version_reported: String,
    /// Directory for state that survives a restart; without it state is in memory only
    #[arg(long, env = "FELDERA_SIM_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// API key that is accepted; may be repeated; without any, no key is asked for
    #[arg(
        long,
        env = "FELDERA_SIM_API_KEY",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub api_key: Vec<String>,
    /// File that gets a JSON line for every call
    #[arg(long, env = "FELDERA_SIM_CALL_LOG")]
    pub call_log: Option<PathBuf>,
    /// How stale the manager's view of a running pipeline may be; 0 means always live
    #[arg(long, env = "FELDERA_SIM_POLL_INTERVAL", default_value = "2.5s", value_parser = parse_duration)]
    pub poll_interval: Duration,
    /// How long new details (the list of checkpoints, too) may wait if the status stays the
    /// same; by default four times the poll interval, as in the engine
    #[arg(long, env = "FELDERA_SIM_DETAILS_INTERVAL", value_parser = parse_duration)]
    pub details_interval: Option<Duration>,
    /// How soon after a call to a pipeline the manager looks at it; by default it waits for the
    /// next poll, the worst that a client has to expect
    #[arg(long, env = "FELDERA_SIM_NOTIFY_DELAY", value_parser = parse_duration)]
    pub notify_delay: Option<Duration>,
    /// Time that a compilation takes
    #[arg(long, env = "FELDERA_SIM_COMPILE_TIME", default_value = "300ms", value_parser = parse_duration)]
    pub compile_time: Duration,
    /// Time that the compilation of a program takes that was compiled before, whichever pipeline it
    /// was for; by default a quarter of --compile-time
    #[arg(long, env = "FELDERA_SIM_RECOMPILE_TIME", value_parser = parse_duration)]
    pub recompile_time: Option<Duration>,
    /// Time until a deployment is provisioned
    #[arg(long, env = "FELDERA_SIM_PROVISION_TIME", default_value = "200ms", value_parser = parse_duration)]
    pub provision_time: Duration,
    /// Time that a process initializes
    #[arg(long, env = "FELDERA_SIM_INITIALIZE_TIME", default_value = "30ms", value_parser = parse_duration)]
    pub initialize_time: Duration,
    /// Time until a process that died is there again
    #[arg(long, env = "FELDERA_SIM_RESTART_TIME", default_value = "200ms", value_parser = parse_duration)]
    pub restart_time: Duration,
    /// Time that a bootstrap takes
    #[arg(long, env = "FELDERA_SIM_BOOTSTRAP_TIME", default_value = "300ms", value_parser = parse_duration)]
    pub bootstrap_time: Duration,
    /// Time that a checkpoint takes
    #[arg(long, env = "FELDERA_SIM_CHECKPOINT_TIME", default_value = "20ms", value_parser = parse_duration)]
    pub checkpoint_time: Duration,
    /// Time that a stop takes, and clearing storage
    #[arg(long, env = "FELDERA_SIM_STOP_TIME", default_value = "100ms", value_parser = parse_duration)]
    pub stop_time: Duration,
    /// Time from the answer to an approval until it survives a crash of the process
    #[arg(long, env = "FELDERA_SIM_DURABLE_TIME", default_value = "1ms", value_parser = parse_duration)]
    pub durable_time: Duration,
    /// Fault to switch on; may be repeated: approve-forgotten=N, latency=DURATION,
    /// error=STATUS[:N], hang=N, hang-after=N, nonsense=N, restart=N[:POLLS], stale=N,
    /// lie=FIELD=VALUE[:N]; with @PATH-SUFFIX only for such calls
    #[arg(long, env = "FELDERA_SIM_FAULT", value_delimiter = ',')]
    pub fault: Vec<Fault>,
}

// By hand, so that keys never reach a log.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("edition", &self.edition)
            .field("state_dir", &self.state_dir)
            .field("api_keys", &self.api_key.len())
            .finish_non_exhaustive()
    }
}

impl Config {
    /// What the flags mean for the manager.
    pub fn settings(&self) -> Settings {
        Settings {
            edition: self.edition,
            version: self.version_reported.clone(),
            poll: self.poll_interval,
            details: self.details_interval.unwrap_or(self.poll_interval * 4),
            notify: self.notify_delay.unwrap_or(Settings::default().notify),
            compile: self.compile_time,
            recompile: self.recompile_time.unwrap_or(self.compile_time / 4),
            provision: self.provision_time,
            stop: self.stop_time,
            process: Durations {
                initialize: self.initialize_time,
                restart: self.restart_time,
                bootstrap: self.bootstrap_time,
                checkpoint: self.checkpoint_time,
                durable: self.durable_time,
            },
        }
    }
}

/// Reads `50ms`, `2.5s`, `1m` or `0`.
///
/// # Errors
/// It isn't a duration.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let error = || format!("'{text}' isn't a duration, such as 50ms, 2.5s, 1m or 0");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .ok_or_else(error)?;
    let (number, unit) = text.split_at(split);
    let seconds_per_unit = match unit {
        "us" => 0.000_001,
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(error()),
    };
    let number: f64 = number.parse().map_err(|_| error())?;
    Duration::try_from_secs_f64(number * seconds_per_unit).map_err(|_| error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, expected) in [
            ("50ms", Duration::from_millis(50)),
            ("2.5s", Duration::from_millis(2500)),
            ("1m", Duration::from_secs(60)),
            ("0", Duration::ZERO),
        ] {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
        for text in ["5", "", "s", "-1s", "1d", "1.2.3s", "99999999999999999999h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_are_not_shown() {
        let config = Config::parse_from(["feldera-sim", "--api-key", "secret-one"]);
        assert!(!format!("{config:?}").contains("secret-one"));
    }
}
