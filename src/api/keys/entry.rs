//! One API key, and what a Secret says of it. Pure.

use std::fmt;

use jiff::Timestamp;
use rand::distr::{Alphanumeric, SampleString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What every API key begins with, as Feldera's do. No token of Kubernetes does.
pub(in crate::api) const PREFIX: &str = "apikey:";

/// Letters and digits after the prefix: 256 bits and a little more, so that a plain digest of it
/// tells nothing, and no salt or slow hash is needed.
const LENGTH: usize = 43;

/// The longest name of a user that a vote can hold.
const MAX_USER: usize = 1024;

/// What Kubernetes names its own users and groups with. Whoever stood for one of them could be a
/// cluster's administrator.
const RESERVED: &str = "system:";

/// A fresh API key from the operating system's randomness.
pub(super) fn generate() -> String {
    PREFIX.to_owned() + &Alphanumeric.sample_string(&mut rand::rng(), LENGTH)
}

/// The digest of a key, which is all of it that is kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Hash([u8; 32]);

impl Hash {
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key).into())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    fn text(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// It shows nothing, so that no log can.
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(…)")
    }
}

/// What a key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub hash: Hash,
    pub user: String,
    pub groups: Vec<String>,
    /// When it stops to be good.
    pub expires: Option<Timestamp>,
}

/// An entry as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    hash: String,
    user: String,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

/// What is wrong with an entry. It repeats nothing of it: somebody may have pasted the key itself.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    #[error(
        "it must be a JSON or YAML document with the fields hash, user, groups and, if the key ends, expires, and with no others; `sluice api-key` prints one"
    )]
    Document,
    #[error("hash must be the 64 hex digits of the key's SHA-256")]
    Hash,
    #[error("user must be a name of up to 1024 characters")]
    User,
    #[error("groups must be names")]
    Group,
    #[error(
        "user and groups must not begin with system:, which names Kubernetes' own; use a service account's token instead"
    )]
    Reserved,
    #[error("expires must be a time such as 2027-01-31T12:00:00Z")]
    Expires,
}

impl Entry {
    /// Checks who the key is to stand for.
    pub fn new(
        hash: Hash,
        user: String,
        groups: Vec<String>,
        expires: Option<Timestamp>,
    ) -> Result<Self, Malformed> {
        let blank = |name: &str| name.trim().is_empty() || name.contains(char::is_control);
        if blank(&user) || user.chars().count() > MAX_USER {
            return Err(Malformed::User);
        }
        if groups.iter().any(|group| blank(group)) {
            return Err(Malformed::Group);
        }
        if user.starts_with(RESERVED) || groups.iter().any(|group| group.starts_with(RESERVED)) {
            return Err(Malformed::Reserved);
        }
        Ok(Self {
            hash,
            user,
            groups,
            expires,
        })
    }

    /// Reads the value of a Secret's entry.
    pub fn parse(value: &[u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(value).map_err(|_| Malformed::Document)?;
        let document: Document = serde_saphyr::from_str(text).map_err(|_| Malformed::Document)?;
        let hash = Hash::parse(&document.hash).ok_or(Malformed::Hash)?;
        let expires = match document.expires {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| Malformed::Expires)?),
        };
        Self::new(hash, document.user, document.groups, expires)
    }

    /// The value of a Secret's entry, in one line.
    pub fn document(&self) -> serde_json::Result<String> {
        serde_json::to_string(&Document {
            hash: self.hash.text(),
            user: self.user.clone(),
            groups: self.groups.clone(),
            expires: self.expires.map(|time| time.to_string()),
        })
    }

    /// Whether it has ended by now.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn a_key_has_feldera_s_form_and_no_two_are_alike() {
        let (one, other) = (generate(), generate());
        assert_ne!(one, other);
        for key in [one, other] {
            let secret = key.strip_prefix("apikey:").unwrap();
            assert_eq!(secret.len(), 43);
            assert!(secret.bytes().all(|c| c.is_ascii_alphanumeric()), "{key}");
        }
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let whole = Entry::new(
            Hash::of("apikey:x"),
            "alice".into(),
            vec!["approvers".into(), "a b".into()],
            Some("2027-01-31T12:00:00Z".parse().unwrap()),
        )
        .unwrap();
        let bare = Entry::new(Hash::of("apikey:y"), "bob".into(), vec![], None).unwrap();
        for entry in [whole, bare] {
            let document = entry.document().unwrap();
            assert!(!document.contains('\n'), "{document}");
            assert_eq!(Entry::parse(document.as_bytes()), Ok(entry));
        }
    }

    #[test]
    fn an_entry_may_be_written_by_hand_as_yaml() {
        let text = format!(
            "hash: {HASH}\nuser: alice\ngroups:\n- approvers\nexpires: 2027-01-31T12:00:00+01:00\n"
        );
        let entry = Entry::parse(text.as_bytes()).unwrap();
        assert_eq!(entry.user, "alice");
        assert_eq!(entry.groups, ["approvers"]);
        assert_eq!(entry.hash.text(), HASH);
        assert_eq!(entry.expires, "2027-01-31T11:00:00Z".parse().ok());
    }

    #[test]
    fn what_could_be_misread_is_refused_and_not_repeated() {
        let secret = "apikey:s3cr3t";
        let with = |more: &str| format!("{{hash: {HASH:?}, user: alice, {more}}}");
        for (text, expected) in [
            (String::new(), Malformed::Document),
            (secret.to_owned(), Malformed::Document),
            (format!("{secret}: x"), Malformed::Document),
            ("[".to_owned(), Malformed::Document),
            (
                format!("{{user: alice, hash: {HASH:?}"),
                Malformed::Document,
            ),
            (format!("{{hash: {HASH:?}}}"), Malformed::Document),
            ("{user: alice}".to_owned(), Malformed::Document),
            // A mistyped field would make a key that never ends.
            (with("expire: 2027-01-31T12:00:00Z"), Malformed::Document),
            (with("groups: approvers"), Malformed::Document),
            (with("user: bob"), Malformed::Document),
            (with("expires: soon"), Malformed::Expires),
            (with("expires: 2027-01-31"), Malformed::Expires),
            (with("groups: ['']"), Malformed::Group),
            (with("groups: ['system:masters']"), Malformed::Reserved),
            (
                format!("{{hash: {secret:?}, user: alice}}"),
                Malformed::Hash,
            ),
            (
                format!("{{hash: {:?}, user: a}}", &HASH[1..]),
                Malformed::Hash,
            ),
            (
                format!("{{hash: {:?}, user: a}}", "é".repeat(32)),
                Malformed::Hash,
            ),
            (format!("{{hash: {HASH:?}, user: ''}}"), Malformed::User),
            (
                format!("{{hash: {HASH:?}, user: {:?}}}", "a".repeat(1025)),
                Malformed::User,
            ),
            (
                format!("{{hash: {HASH:?}, user: 'system:admin'}}"),
                Malformed::Reserved,
            ),
        ] {
            let error = Entry::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error, expected, "{text}");
            let said = format!("{error} {error:?}");
            assert!(!said.contains("s3cr3t") && !said.contains(HASH), "{said}");
        }
        assert_eq!(Entry::parse(b"\xff"), Err(Malformed::Document));
    }

    #[test]
    fn a_key_is_over_at_the_very_time() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let entry = |expires| Entry::new(Hash::of("x"), "a".into(), vec![], expires).unwrap();
        assert!(!entry(None).is_over(at(i64::from(u32::MAX))));
        assert!(!entry(Some(at(10))).is_over(at(9)));
        assert!(entry(Some(at(10))).is_over(at(10)));
    }

    #[test]
    fn a_digest_is_not_shown_by_chance() {
        let entry = Entry::new(Hash::of("x"), "a".into(), vec![], None).unwrap();
        let shown = format!("{entry:?}");
        assert!(!shown.contains(&entry.hash.text()[..8]), "{shown}");
        assert!(shown.contains("Hash(…)"), "{shown}");
    }
}
