//! Definitions as the YAML that is applied.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// A definition as YAML.
///
/// # Errors
/// Only if it holds what YAML can't.
pub fn manifest(crd: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    let value = serde_json::to_value(crd).map_err(serde_saphyr::ser::Error::custom)?;
    serde_saphyr::to_string(&Plain(&value))
}

/// JSON whose numbers are numbers for everybody. With serde_json's feature `arbitrary_precision`, which any
/// dependency may switch on, others than its own serializer see an object with a string in it.
struct Plain<'a>(&'a Value);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => serializer.serialize_i64(whole),
                (None, Some(other)) => serializer.serialize_f64(other),
                (None, None) => Err(S::Error::custom(format!("{number} is no number of YAML"))),
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

    #[test]
    fn a_manifest_says_what_the_definition_says() {
        for crd in crate::crd::all() {
            let text = manifest(&crd).unwrap();
            let back: CustomResourceDefinition = serde_saphyr::from_str(&text).unwrap();
            assert_eq!(
                serde_json::to_string(&back).unwrap(),
                serde_json::to_string(&crd).unwrap()
            );
            assert!(!text.contains("$serde_json"));
        }
    }
}
