//! `sluice api-key`: makes an API key, and says how to store what is kept of it.

use std::fmt::Write as _;

use jiff::{SpanRelativeTo, Timestamp};
use k8s_openapi::ByteString;
use serde_json::json;

use super::entry::{Entry, Hash, generate};
use crate::api::config::object_name;

/// The arguments of `sluice api-key`.
#[derive(clap::Args, Clone, Debug)]
pub struct MakeApiKey {
    /// User that the key stands for
    #[arg(long, value_name = "USER")]
    user: String,

    /// Group that the user is in; repeat it for several
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,

    /// Name of the entry, which is shown with each approval by this key [default: the user's name
    /// and some letters]
    #[arg(long, value_name = "NAME", value_parser = entry_name)]
    name: Option<String>,

    /// When the key ends: a time such as 2027-01-31T12:00:00Z, or how long from now, such as 90d
    /// [default: never]
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    expires: Option<Timestamp>,

    /// Secret that holds the API keys
    #[arg(
        long,
        env = "SLUICE_API_KEYS_SECRET",
        value_name = "NAME",
        value_parser = object_name,
        default_value = "sluice-api-keys"
    )]
    secret: String,

    /// Namespace of that Secret, which is the operator's
    #[arg(
        long,
        short,
        value_name = "NAMESPACE",
        value_parser = object_name,
        default_value = "sluice-system"
    )]
    namespace: String,
}

/// A key that was made.
#[derive(Clone)]
pub struct MadeApiKey {
    /// The key. Nothing keeps it.
    pub key: String,
    /// A shell script that stores what is to be kept of it, and says what else to know.
    pub script: String,
}

impl MakeApiKey {
    /// Makes a key.
    ///
    /// # Errors
    /// If an API key can't stand for that user or one of the groups, in words.
    pub fn make(self) -> Result<MadeApiKey, String> {
        let key = generate();
        let Self {
            user,
            groups,
            name,
            expires,
            secret,
            namespace,
        } = self;
        let entry = Entry::new(Hash::of(&key), user, groups, expires).map_err(|e| e.to_string())?;
        if entry.is_over(Timestamp::now()) {
            return Err("--expires lies in the past".to_owned());
        }
        let name = name.unwrap_or_else(|| default_name(&entry.user));
        let document = entry.document().map_err(|error| error.to_string())?;
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": secret, "namespace": namespace},
            "data": {&name: ByteString(document.clone().into_bytes())},
        });
        let mut script = String::new();
        // Writing to a String can't fail. Each entry has a field manager of its own, so that
        // applying one leaves the others alone.
        let _ = write!(
            script,
            "\
# The key is shown this once and kept nowhere. This stores its hash, as entry {name}
#   {document}
# of Secret {secret}, which it makes if it isn't there:
kubectl apply --server-side --field-manager=sluice-api-key.{name} -f - <<'EOF'
{manifest}
EOF
# To revoke the key:
#   kubectl patch secret {secret} -n {namespace} --type=json -p '[{{\"op\": \"remove\", \"path\": \"/data/{name}\"}}]'
"
        );
        Ok(MadeApiKey { key, script })
    }
}

/// A name for the entry of a user: what a Secret's key may hold of the user's name, and some
/// letters, so that a second key of the same user gets another.
fn default_name(user: &str) -> String {
    let readable: String = user
        .chars()
        .map(|c| if fits_a_name(c) { c } else { '-' })
        .take(60)
        .collect();
    format!(
        "{}-{:08x}",
        readable.trim_matches(['.', '-']),
        rand::random::<u32>()
    )
}

/// Field managers have 128 letters at most, so a name has fewer.
fn entry_name(text: &str) -> Result<String, String> {
    let good =
        (1..=100).contains(&text.len()) && text.chars().all(fits_a_name) && !text.starts_with('.');
    good.then(|| text.to_owned()).ok_or_else(|| {
        "write up to 100 letters, digits, '-', '_' and '.', and no '.' at the start".to_owned()
    })
}

fn fits_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn expiry(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let from_now = text
        .parse::<jiff::Span>()
        .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
        .and_then(|duration| Timestamp::now().checked_add(duration));
    // Parts of seconds only make it harder to read.
    let whole = from_now.and_then(|time| Timestamp::from_second(time.as_second()));
    whole.map_err(|_| {
        "write a time such as 2027-01-31T12:00:00Z, or how long from now, such as 90d".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        make: MakeApiKey,
    }

    fn parse(arguments: &[&str]) -> Result<MakeApiKey, clap::Error> {
        let arguments = ["api-key"].iter().chain(arguments);
        Cli::try_parse_from(arguments).map(|cli| cli.make)
    }

    /// The entry that a script stores, and its name.
    fn stored(script: &str) -> (String, Entry) {
        let manifest = script.lines().find(|line| line.starts_with('{')).unwrap();
        let secret: k8s_openapi::api::core::v1::Secret = serde_json::from_str(manifest).unwrap();
        let data = secret.data.unwrap();
        assert_eq!(data.len(), 1);
        let (name, value) = data.into_iter().next().unwrap();
        (name, Entry::parse(&value.0).unwrap())
    }

    #[test]
    fn what_is_stored_fits_the_key_and_does_not_hold_it() {
        let made = parse(&["--user=alice", "--group=a", "--group=b", "--expires=90d"]).unwrap();
        let made = made.make().unwrap();
        let (name, entry) = stored(&made.script);
        assert!(name.starts_with("alice-"), "{name}");
        assert_eq!(entry.hash, Hash::of(&made.key));
        assert_eq!(entry.user, "alice");
        assert_eq!(entry.groups, ["a", "b"]);
        let left = entry.expires.unwrap().duration_since(Timestamp::now());
        assert!((89..=90).contains(&(left.as_hours() / 24)), "{left}");
        let secret = made.key.strip_prefix("apikey:").unwrap();
        assert!(!made.script.contains(secret));
        // Everything but the command is a comment.
        let lines = made.script.lines();
        let other: Vec<_> = lines.filter(|line| !line.starts_with('#')).collect();
        assert_eq!(other.len(), 3, "{}", made.script);
    }

    #[test]
    fn a_name_for_the_entry_is_found_for_every_user() {
        for user in ["alice", "a:b@example.com/ö", "...", &"x".repeat(1000)] {
            let name = default_name(user);
            assert_eq!(entry_name(&name).as_ref(), Ok(&name), "{user}");
        }
    }

    #[test]
    fn what_no_key_can_stand_for_is_refused() {
        for arguments in [
            ["--user=system:admin", "--group=a"],
            ["--user=alice", "--group=system:masters"],
            ["--user=", "--group=a"],
            ["--user=alice", "--expires=2020-01-01T00:00:00Z"],
        ] {
            assert!(parse(&arguments).unwrap().make().is_err(), "{arguments:?}");
        }
        for arguments in [
            ["--user=alice", "--name=a b"],
            ["--user=alice", "--name=../x"],
            ["--user=alice", "--secret=a/b"],
            ["--user=alice", "--namespace='; rm"],
            ["--user=alice", "--expires=soon"],
        ] {
            assert!(parse(&arguments).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn nothing_of_a_user_s_name_gets_loose_in_the_script() {
        let with_a_line = ["--user", "alice\nrm -rf / #"];
        assert!(parse(&with_a_line).unwrap().make().is_err());
        let made = parse(&["--user=o'Neill EOF"]).unwrap().make().unwrap();
        assert_eq!(stored(&made.script).1.user, "o'Neill EOF");
        let lines = made.script.lines();
        assert_eq!(lines.filter(|line| !line.starts_with('#')).count(), 3);
    }
}
