//! JSON that is kept as text. Of an object in memory most is not what it says: ten thousand Pipelines
//! with twenty records each would take hundreds of megabytes.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// A JSON object, kept as its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactObject(Box<str>);

impl CompactObject {
    /// How many bytes its text has.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// The object itself.
    pub fn to_map(&self) -> Map<String, Value> {
        // It was made from one.
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl From<&Map<String, Value>> for CompactObject {
    fn from(map: &Map<String, Value>) -> Self {
        // JSON values always serialize.
        Self(serde_json::to_string(map).unwrap_or_default().into())
    }
}

impl Serialize for CompactObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_map().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CompactObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::deserialize(deserializer).map(|map| Self::from(&map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_is_written_and_read_as_the_object_that_it_is() {
        let value = json!({"program_diff": {"added_views": ["v"]}, "x": null});
        let compact: CompactObject = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(&compact).unwrap(), value);
        assert_eq!(Some(&compact.to_map()), value.as_object());
        assert_eq!(compact.size(), value.to_string().len());
    }
}
