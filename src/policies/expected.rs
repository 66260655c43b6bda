//! What the policies of this version say, and whether those in the cluster say the same. Pure.
//!
//! The plain manifests are part of the program, so what is compared is what was released with it.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// The manifests, as they are released.
const MANIFESTS: &str = include_str!("../../deploy/sluice.yaml");

/// The account that they name as Sluice's own.
const RELEASED_USER: &str = "system:serviceaccount:sluice-system:sluice";

/// The policies, each with a binding of its own name.
pub(super) const POLICIES: [&str; 6] = [
    "sluice-pipelines",
    "sluice-names",
    "sluice-status",
    "sluice-votes",
    "sluice-engines",
    "sluice-operator",
];

/// The kinds of a policy and of what puts it in force.
pub(super) const KINDS: [&str; 2] = [
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

/// What the policies and their bindings have to say in one cluster. Made once: all the manifests are read
/// for it, and it is asked before each approval.
pub(super) struct Expected {
    /// Sluice's own account.
    pub(super) user: String,
    /// The `spec` of each, by kind and name.
    specs: HashMap<(String, String), Value>,
}

impl Expected {
    /// Where `user` is Sluice's own account.
    pub(super) fn of(user: String) -> Self {
        let manifests = MANIFESTS.replace(RELEASED_USER, &user);
        let object = |manifest: &str| serde_saphyr::from_str::<Value>(manifest).ok();
        let specs = manifests
            .split("\n---\n")
            .filter_map(object)
            .filter_map(|object| {
                let word = |value: &Value| value.as_str().map(str::to_owned);
                let key = (word(&object["kind"])?, word(&object["metadata"]["name"])?);
                let of_it = KINDS.contains(&key.0.as_str()) && POLICIES.contains(&key.1.as_str());
                of_it.then(|| (key, normalized(&object["spec"])))
            })
            .collect();
        Self { user, specs }
    }

    /// The `spec` of an object; null if there is none.
    pub(super) fn spec(&self, kind: &str, name: &str) -> &Value {
        let key = (kind.to_owned(), name.to_owned());
        self.specs.get(&key).unwrap_or(&Value::Null)
    }
}

/// Without what says the same as if it weren't there: the API server fills in defaults.
pub(super) fn normalized(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields
                .iter()
                .map(|(key, value)| (key.clone(), normalized(value)))
                .filter(|(key, value)| {
                    let is_default = match key.as_str() {
                        "matchPolicy" => value == "Equivalent",
                        "scope" => value == "*",
                        _ => false,
                    };
                    !is_default && !is_empty(value)
                });
            Value::Object(kept.collect::<Map<_, _>>())
        }
        Value::Array(all) => Value::Array(all.iter().map(normalized).collect()),
        other => other.clone(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(all) => all.is_empty(),
        _ => false,
    }
}

/// Where two values differ first: the path to it.
pub(super) fn difference(expected: &Value, found: &Value, at: &str) -> Option<String> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            let keys = expected.keys().chain(found.keys());
            keys.map(|key| {
                let of = |fields: &Map<String, Value>| fields.get(key).cloned().unwrap_or_default();
                difference(&of(expected), &of(found), &format!("{at}.{key}"))
            })
            .find_map(|differs| differs)
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => expected
            .iter()
            .zip(found)
            .enumerate()
            .find_map(|(i, (expected, found))| difference(expected, found, &format!("{at}[{i}]"))),
        _ => (expected != found).then(|| at.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::Engine;
    use kube::CustomResourceExt;
    use serde_json::json;

    #[test]
    fn every_policy_and_binding_is_among_the_manifests_with_the_own_account_in_it() {
        let expected = Expected::of("me".to_owned());
        for name in POLICIES {
            let policy = expected.spec(KINDS[0], name);
            assert_eq!(policy["failurePolicy"], "Fail", "{name}");
            let binding = expected.spec(KINDS[1], name);
            assert_eq!(
                *binding,
                json!({"policyName": name, "validationActions": ["Deny"]})
            );
        }
        let text = expected.spec(KINDS[0], "sluice-operator").to_string();
        assert!(text.contains("username == 'me'") && !text.contains(RELEASED_USER));
    }

    #[test]
    fn what_decides_where_a_credential_goes_is_all_of_an_engine_but_the_reference_to_it() {
        let expected = Expected::of("me".to_owned());
        let policy = expected.spec(KINDS[0], "sluice-engines");
        let variables = policy["variables"].as_array().unwrap();
        let address = variables
            .iter()
            .find(|variable| variable["name"] == "goesWhereItWent")
            .and_then(|variable| variable["expression"].as_str());
        let looked_at = |field: &String| {
            let compared = format!("variables.spec.{field} == variables.before.{field}");
            address.is_some_and(|expression| expression.contains(&compared))
        };
        let definition = serde_json::to_value(Engine::crd()).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let fields = schema["properties"]["spec"]["properties"].as_object();
        let others: Vec<_> = fields.unwrap().keys().filter(|f| !looked_at(f)).collect();
        // Whoever adds a field says in `sluice.engineAddress`, or here, whether it belongs to them.
        assert_eq!(others, ["credentialsSecretRef"]);
    }

    #[test]
    fn what_the_api_server_fills_in_is_no_difference_and_everything_else_is() {
        let expected = json!({"matchConstraints": {"resourceRules": [{"resources": ["pipelines"]}]}, "validations": [{"expression": "a"}]});
        let mut found = json!({
            "matchConstraints": {"matchPolicy": "Equivalent", "namespaceSelector": {}, "resourceRules": [{"resources": ["pipelines"], "scope": "*"}]},
            "validations": [{"expression": "a"}],
        });
        let differs =
            |found: &Value| difference(&normalized(&expected), &normalized(found), "spec");
        assert_eq!(differs(&found), None);
        found["matchConstraints"]["namespaceSelector"] = json!({"matchLabels": {"a": "b"}});
        assert_eq!(
            differs(&found).as_deref(),
            Some("spec.matchConstraints.namespaceSelector")
        );
        found["matchConstraints"]["namespaceSelector"] = json!({});
        found["validations"][0]["expression"] = json!("true");
        assert_eq!(
            differs(&found).as_deref(),
            Some("spec.validations[0].expression")
        );
        found["validations"] = json!([]);
        assert_eq!(differs(&found).as_deref(), Some("spec.validations"));
    }
}
