//! Definitions as the YAML that is applied.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::ser::Error as _;

use crate::yaml;

/// A definition as YAML.
///
/// # Errors
/// Only if it holds what YAML can't.
pub fn manifest(crd: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    let value = serde_json::to_value(crd).map_err(serde_saphyr::ser::Error::custom)?;
    yaml::to_string(&value)
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
