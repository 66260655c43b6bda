//! A moment as whoever named it wrote it.

use std::borrow::Cow;

use k8s_openapi::jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A moment, in RFC 3339. It is kept as it was written, and only compared: what the API server takes as one may lie
/// where no type has room for it, and has fractions of any length.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(transparent)]
pub struct Moment(pub String);

impl Moment {
    /// Whether both are the same moment, however they are written. What only one of them says so that it can be
    /// computed with is another.
    pub fn is_same(&self, other: &Self) -> bool {
        let at = |moment: &Self| moment.0.parse::<Timestamp>().ok();
        self == other || at(self).is_some_and(|own| at(other) == Some(own))
    }
}

impl JsonSchema for Moment {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Moment".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_compared_however_they_are_written() {
        let same = |a: &str, b: &str| {
            let [a, b] = [a, b].map(|text| Moment(text.into()));
            assert!(a.is_same(&a) && b.is_same(&b));
            assert_eq!(a.is_same(&b), b.is_same(&a));
            a.is_same(&b)
        };
        // Releases up to 0.2 wrote down the first as the second.
        for (asked, handled) in [
            ("2026-01-01T02:00:00+02:00", "2026-01-01T00:00:00Z"),
            ("2026-01-01t00:00:00z", "2026-01-01T00:00:00Z"),
            ("2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
        ] {
            assert!(same(asked, handled), "{asked} {handled}");
        }
        for (one, another) in [
            ("2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00Z"),
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:58Z"),
            ("9999-12-31T23:59:59Z", "2026-01-01T00:00:00Z"),
        ] {
            assert!(!same(one, another), "{one} {another}");
        }
    }
}
