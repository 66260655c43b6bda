//! A case: what is expected of an engine, of which engines, and how it is looked at.

use std::time::Duration;

use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;

use crate::answer::Difference;
use crate::stage::Stage;

/// What was seen: as expected, or not.
pub type Outcome = Result<String, Difference>;

/// How a case is looked at.
pub type Look = for<'a> fn(&'a mut Stage) -> BoxFuture<'a, Outcome>;

/// An edition of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edition {
    /// Without checkpoints, so in practice without a gate.
    OpenSource,
    /// With both.
    Enterprise,
}

/// What an engine says of itself in `GET /v0/config`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Info {
    /// `Open source` or `Enterprise`, as it spells it.
    pub edition: String,
    /// Such as `0.337.0`.
    pub version: String,
}

impl Info {
    /// Reads the answer to `GET /v0/config`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(config: &Value) -> Result<Self, String> {
        let word = |field: &str| {
            config[field]
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| format!("it has no '{field}'"))
        };
        let info = Self {
            edition: word("edition")?,
            version: word("version")?,
        };
        if info.minor().is_none() {
            return Err(format!("its version '{}' isn't X.Y.Z", info.version));
        }
        Ok(info)
    }

    fn edition(&self) -> Edition {
        match self.edition.as_str() {
            "Open source" => Edition::OpenSource,
            _ => Edition::Enterprise,
        }
    }

    /// Whether it is version 0.`minor` or newer.
    pub fn is_since(&self, minor: u32) -> bool {
        self.minor().is_some_and(|own| own >= minor)
    }

    /// The second number of the version. From 1.0 on everything is newer than what is asked for.
    fn minor(&self) -> Option<u32> {
        let mut numbers = self.version.trim_start_matches('v').split('.');
        let major: u32 = numbers.next()?.parse().ok()?;
        let minor: u32 = numbers.next()?.parse().ok()?;
        Some(if major == 0 { minor } else { u32::MAX })
    }
}

/// A case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Chapter and name, such as `gate/waits`.
    pub name: &'static str,
    /// What is expected, in words.
    pub expected: &'static str,
    /// The edition that it is about; `None`: both.
    edition: Option<Edition>,
    /// The first 0.x that it is about.
    since: u32,
    /// Whether it makes sense only where keys are checked.
    with_key: bool,
    /// Whether the rest of the chapter makes no sense if it doesn't hold.
    pub carries: bool,
    /// How it is looked at.
    pub look: Look,
}

impl Case {
    /// A case for every engine.
    pub const fn new(name: &'static str, expected: &'static str, look: Look) -> Self {
        Self {
            name,
            expected,
            edition: None,
            since: 0,
            with_key: false,
            carries: false,
            look,
        }
    }

    /// Only for this edition.
    #[must_use]
    pub const fn only(mut self, edition: Edition) -> Self {
        self.edition = Some(edition);
        self
    }

    /// Only from version 0.`minor` on.
    #[must_use]
    pub const fn since(mut self, minor: u32) -> Self {
        self.since = minor;
        self
    }

    /// Only if a key was given.
    #[must_use]
    pub const fn with_key(mut self) -> Self {
        self.with_key = true;
        self
    }

    /// The rest of the chapter needs it.
    #[must_use]
    pub const fn carries(mut self) -> Self {
        self.carries = true;
        self
    }

    /// Why it isn't for this engine, if it isn't.
    pub fn why_not(&self, info: &Info, has_key: bool) -> Option<String> {
        if let Some(edition) = self.edition
            && edition != info.edition()
        {
            let needed = match edition {
                Edition::OpenSource => "Open source",
                Edition::Enterprise => "Enterprise",
            };
            return Some(format!(
                "only the edition {needed} does this; this one is {}",
                info.edition
            ));
        }
        if !info.is_since(self.since) {
            return Some(format!(
                "since 0.{}; this one is {}",
                self.since, info.version
            ));
        }
        (self.with_key && !has_key).then(|| "no --api-key was given".to_owned())
    }
}

/// What came of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// What was seen is what was expected.
    Holds,
    /// It isn't.
    Differs,
    /// The case isn't about this engine.
    Skipped,
    /// A case before it, which it needs, doesn't hold.
    NotTried,
}

impl Verdict {
    /// As it is printed.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Differs => "DIFFERS",
            Self::Skipped => "skipped",
            Self::NotTried => "not tried",
        }
    }
}

/// A case with what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The case's name.
    pub case: &'static str,
    /// What was expected.
    pub expected: &'static str,
    /// What was seen; of a case that wasn't tried, why.
    pub seen: String,
    /// Whether that is what was expected.
    pub verdict: Verdict,
    /// How long it took.
    #[serde(serialize_with = "seconds")]
    pub took: Duration,
}

fn seconds<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((took.as_secs_f64() * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn info(edition: &str, version: &str) -> Info {
        Info::read(&json!({"edition": edition, "version": version})).unwrap()
    }

    const CASE: Case = Case::new("a/b", "something", |_| {
        Box::pin(async { Ok(String::new()) })
    });

    #[test]
    fn what_an_engine_hasnt_is_skipped_and_says_why() {
        let gate = CASE.only(Edition::Enterprise).since(324);
        assert_eq!(gate.why_not(&info("Enterprise", "0.324.0"), false), None);
        assert_eq!(gate.why_not(&info("Enterprise", "v1.0.0"), false), None);
        for (engine, why) in [
            (
                info("Enterprise", "0.323.9"),
                "since 0.324; this one is 0.323.9",
            ),
            (info("Open source", "0.337.0"), "this one is Open source"),
        ] {
            let said = gate.why_not(&engine, false).unwrap();
            assert!(said.contains(why), "{said}");
        }
        let key = CASE.with_key();
        assert!(key.why_not(&info("Enterprise", "0.337.0"), false).is_some());
        assert!(key.why_not(&info("Enterprise", "0.337.0"), true).is_none());
    }

    #[test]
    fn an_engine_without_edition_or_version_is_none() {
        for config in [
            json!({}),
            json!({"edition": "Enterprise"}),
            json!({"edition": "Enterprise", "version": "new"}),
            json!([1]),
        ] {
            assert!(Info::read(&config).is_err(), "{config}");
        }
    }
}
