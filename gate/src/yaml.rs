//! Values as YAML.

use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// A value as YAML whose numbers are numbers for everybody.
///
/// With serde_json's feature `arbitrary_precision`, which any dependency may switch on, other serializers
/// than its own see an object with a string in it instead of a number.
///
/// # Errors
/// Only if the value holds what YAML can't.
pub fn to_string(value: &Value) -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(&Plain(value))
}

struct Plain<'a>(&'a Value);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(whole), _, _) => serializer.serialize_i64(whole),
                (None, Some(whole), _) => serializer.serialize_u64(whole),
                (None, None, Some(other)) => serializer.serialize_f64(other),
                (None, None, None) => {
                    Err(S::Error::custom(format!("{number} is no number of YAML")))
                }
            },
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Plain(item))?;
                }
                list.end()
            }
            Value::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (key, value) in fields {
                    map.serialize_entry(key, &Plain(value))?;
                }
                map.end()
            }
            other => other.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_stay_numbers_at_any_depth() {
        let text = to_string(&json!({"a": [{"b": -1, "c": u64::MAX, "d": 0.5}]})).unwrap();
        assert!(!text.contains("serde_json"), "{text}");
        let back: Value = serde_saphyr::from_str(&text).unwrap();
        let item = &back["a"][0];
        assert_eq!(
            (item["b"].as_i64(), item["c"].as_u64(), item["d"].as_f64()),
            (Some(-1), Some(u64::MAX), Some(0.5))
        );
    }
}
