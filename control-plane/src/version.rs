//! Versions as programs print them.

use std::fmt;

/// A version of three numbers; what follows them (`-rc.1`, `+k3s1`) is left aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The third number, 0 where none is given.
    pub patch: u32,
}

impl Version {
    pub(crate) const fn new(major: u32, minor: u32, patch: u32) -> Version {
        Version {
            major,
            minor,
            patch,
        }
    }

    /// The first version in a text such as `Kubernetes v1.37.2` or `etcd Version: 3.7.0`.
    pub(crate) fn find_in(text: &str) -> Option<Version> {
        text.split(|c: char| c.is_whitespace() || matches!(c, '"' | ',' | '/'))
            .find_map(Version::parse)
    }

    /// The version that a word such as `v1.37.2`, `1.37.2-rc.1` or `go1.26` is.
    pub(crate) fn parse(word: &str) -> Option<Version> {
        let word = word
            .strip_prefix("go")
            .or(word.strip_prefix('v'))
            .unwrap_or(word);
        let numbers = word.split(['-', '+']).next()?;
        let mut numbers = numbers.split('.');
        let version = Version {
            major: numbers.next()?.parse().ok()?,
            minor: numbers.next()?.parse().ok()?,
            patch: numbers.next().map_or(Some(0), |patch| patch.parse().ok())?,
        };
        numbers.next().is_none().then_some(version)
    }

    /// Whether the minor versions are at most one apart.
    pub(crate) fn within_one_minor_of(self, other: Version) -> bool {
        self.major == other.major && self.minor.abs_diff(other.minor) <= 1
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "v{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        let cases = [
            ("Kubernetes v1.37.2", Version::new(1, 37, 2)),
            (
                "etcd Version: 3.7.0\nGit SHA: Not provided\nGo Version: go1.26.8",
                Version::new(3, 7, 0),
            ),
            (
                "Client Version: v1.32.4-dispatcher\nKustomize Version: v5.5.0",
                Version::new(1, 32, 4),
            ),
            ("v4.3.1+g5a1cd32", Version::new(4, 3, 1)),
            ("go version go1.26 linux/amd64", Version::new(1, 26, 0)),
            ("Kubernetes v1.34.0-rc.1", Version::new(1, 34, 0)),
        ];
        for (text, version) in cases {
            assert_eq!(Version::find_in(text), Some(version), "{text}");
        }
    }

    #[test]
    fn other_text_is_no_version() {
        for text in ["", "command not found", "1", "v1.x", "1.2.3.4", "127.0.0.1"] {
            assert_eq!(Version::find_in(text), None, "{text}");
        }
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert!(Version::new(1, 9, 0) < Version::new(1, 30, 0));
        assert!(Version::new(1, 36, 9).within_one_minor_of(Version::new(1, 37, 0)));
        assert!(!Version::new(1, 35, 0).within_one_minor_of(Version::new(1, 37, 0)));
    }
}
