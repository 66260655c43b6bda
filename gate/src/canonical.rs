//! The canonical form of values, and their digests.

use serde::Serialize;
use serde_json::{Number, Value};
use sha2::{Digest, Sha256};

/// How many hex digits are enough for an id.
pub(crate) const ID_DIGITS: usize = 32;

/// SHA-256 over the canonical JSON of a value, in hex. Numbers go in as strings: RFC 8785 knows
/// only doubles, and how a number is kept in memory must not make a difference.
pub fn digest<T: Serialize>(value: &T) -> String {
    // What is digested here are JSON values and structs of strings: they always serialize.
    let value = serde_json::to_value(value).map(numbers_as_strings);
    let canonical =
        serde_json_canonicalizer::to_vec(&value.unwrap_or_default()).unwrap_or_default();
    Sha256::digest(canonical)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn numbers_as_strings(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::String(
            number
                .as_i64()
                .map(|n| n.to_string())
                .or_else(|| number.as_u64().map(|n| n.to_string()))
                .or_else(|| number.as_f64().map(|n| n.to_string()))
                .unwrap_or_else(|| number.to_string()),
        ),
        Value::Array(list) => list.into_iter().map(numbers_as_strings).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key, numbers_as_strings(value)))
            .collect(),
        other => other,
    }
}

/// Stands before what is a number, where a text may look like one.
const NUMBER: char = '\0';

/// A value in which people write what they like, with its numbers as texts that no text can be taken for:
/// equal values, and only these, become equal. Numbers are equal if their values are, however they are
/// written: `1`, `1.0` and `1e0`; `0` and `-0.0`.
pub fn exactly(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::String(format!("{NUMBER}{}", decimal(&number))),
        // No text that begins like a number is left.
        Value::String(text) if text.starts_with(NUMBER) => Value::String(format!("{NUMBER}{text}")),
        Value::Array(list) => list.into_iter().map(exactly).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key, exactly(value)))
            .collect(),
        other => other,
    }
}

/// A number in digits. There is one such text for each value.
fn decimal(number: &Number) -> String {
    if let Some(whole) = number.as_i64() {
        return whole.to_string();
    }
    if let Some(whole) = number.as_u64() {
        return whole.to_string();
    }
    let Some(float) = number.as_f64() else {
        return number.to_string();
    };
    // A float that is whole and no larger than a whole number can be is written like that one. It prints
    // as the shortest digits that lead back to it, which is another number.
    const END: f64 = 18_446_744_073_709_551_616.0;
    const BEGIN: f64 = -9_223_372_036_854_775_808.0;
    if float.fract() == 0.0 && (BEGIN..END).contains(&float) {
        // There are two zeros.
        let float = if float == 0.0 { 0.0 } else { float };
        return format!("{float:.0}");
    }
    float.to_string()
}

/// The longest text that is remembered as it is.
const MOST_REMEMBERED: usize = 128;

/// A text that people chose, as it is remembered where it only matters whether it is another one: itself, or its digest if
/// it is long. An annotation has up to 256 KiB.
pub fn remembered(text: &str) -> String {
    if text.len() <= MOST_REMEMBERED {
        return text.to_owned();
    }
    format!("sha256:{}", digest(&text))
}

/// Whether this is the text that is remembered. Older releases have remembered all of it.
pub fn is_remembered(text: &str, by: Option<&str>) -> bool {
    by.is_some_and(|by| by == text || by == remembered(text))
}

/// The first half of [`digest`], which is long enough for an id.
pub fn short_digest<T: Serialize>(value: &T) -> String {
    let mut digest = digest(value);
    digest.truncate(ID_DIGITS);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// Any JSON, with much in it that could be taken for something else.
    fn values() -> impl Strategy<Value = Value> {
        let numbers = prop_oneof![
            (-3..4i64).prop_map(|n| json!(n)),
            (-3..4i32).prop_map(|n| json!(f64::from(n))),
            (-3..4i32).prop_map(|n| json!(f64::from(n) / 4.0)),
            any::<i64>().prop_map(|n| json!(n)),
            any::<u64>().prop_map(|n| json!(n)),
            any::<u64>().prop_map(|n| json!(n as f64)),
            any::<f64>().prop_map(|n| json!(n)),
            Just(json!(-0.0)),
        ];
        let texts = prop_oneof![
            numbers.clone().prop_map(|n| json!(n.to_string())),
            numbers.clone().prop_map(|n| json!(format!("\0{n}"))),
            "\0{0,3}[0-9.-]{0,3}".prop_map(|text| json!(text)),
            Just(json!("null")),
            Just(json!("true")),
        ];
        let leaf = prop_oneof![
            numbers,
            texts,
            Just(Value::Null),
            any::<bool>().prop_map(|b| json!(b)),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                proptest::collection::btree_map("[ab]", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// The same value, with its numbers by their values.
    fn same(one: &Value, other: &Value) -> bool {
        match (one, other) {
            (Value::Number(one), Value::Number(other)) => {
                // Exactly: every number that JSON can be read into is a whole one or a double.
                let whole = |n: &Number| n.as_i64().map(i128::from).or(n.as_u64().map(i128::from));
                match (whole(one), whole(other)) {
                    (Some(one), Some(other)) => one == other,
                    (None, None) => one.as_f64() == other.as_f64(),
                    (Some(whole), None) | (None, Some(whole)) => {
                        let float = [one, other].into_iter().find(|n| n.is_f64());
                        let float = float.and_then(Number::as_f64).unwrap();
                        // A cast of what lies outside gives the end of the range, which no double is.
                        float.fract() == 0.0 && float as i128 == whole
                    }
                }
            }
            (Value::Array(one), Value::Array(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(a, b)| same(a, b))
            }
            (Value::Object(one), Value::Object(other)) => {
                one.len() == other.len()
                    && one
                        .iter()
                        .all(|(key, a)| other.get(key).is_some_and(|b| same(a, b)))
            }
            _ => one == other,
        }
    }

    /// A value that says the same: its numbers are written in other ways, where that can be.
    fn rewritten(value: &Value) -> Value {
        match value {
            Value::Number(n) => match (n.as_i64(), n.as_f64()) {
                (Some(whole), Some(float)) if float as i128 == i128::from(whole) => json!(float),
                (None, Some(float)) if float.fract() == 0.0 && float.abs() < 1e15 => {
                    json!(float as i64)
                }
                _ => value.clone(),
            },
            Value::Array(list) => list.iter().map(rewritten).collect(),
            Value::Object(map) => map
                .iter()
                .map(|(key, value)| (key.clone(), rewritten(value)))
                .collect(),
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn configurations_have_one_digest_if_and_only_if_they_are_equal(
            one in values(), other in values(),
        ) {
            let digest = |value: &Value| short_digest(&exactly(value.clone()));
            prop_assert_eq!(digest(&one) == digest(&other), same(&one, &other));
            prop_assert!(same(&one, &rewritten(&one)), "{} {}", one, rewritten(&one));
            prop_assert_eq!(digest(&one), digest(&rewritten(&one)));
        }

        /// What the definition of a Pipeline keeps is read, written and read again.
        #[test]
        fn a_configuration_that_is_stored_and_read_again_has_the_same_digest(value in values()) {
            let again: Value = serde_json::from_str(&value.to_string()).unwrap();
            prop_assert_eq!(
                short_digest(&exactly(value)), short_digest(&exactly(again)));
        }

        #[test]
        fn the_digest_does_not_depend_on_the_order_of_keys(a in 0i32..100, b in 0i32..100) {
            let one: Value = serde_json::from_str(&format!(r#"{{"x":{a},"y":{b}}}"#)).unwrap();
            let two: Value = serde_json::from_str(&format!(r#"{{"y":{b},"x":{a}}}"#)).unwrap();
            prop_assert_eq!(digest(&one), digest(&two));
        }
    }
}
