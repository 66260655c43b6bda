//! Whether a policy and its binding are there, and are what they should be. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::DynamicObject;

use super::expected::{Expected, KINDS, difference, normalized};

/// A policy and its binding that are what they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sound {
    /// Which ones: changes with each replacement and each edit of what they say.
    pub(super) epoch: String,
    /// Since when they say what they say, at the latest.
    pub(super) since: Timestamp,
}

/// Looks at the policy of this name, as it was read. What is wrong with it comes back as a sentence that
/// stays the same while it is wrong.
pub(super) fn inspect(
    name: &str,
    policy: Option<&DynamicObject>,
    binding: Option<&DynamicObject>,
    expected: &Expected,
) -> Result<Sound, String> {
    let mut epochs = vec![];
    let mut since = Timestamp::MIN;
    for (kind, object) in KINDS.iter().zip([policy, binding]) {
        let object = object.ok_or_else(|| format!("there is no {kind} {name}"))?;
        if object.metadata.deletion_timestamp.is_some() {
            return Err(format!("{kind} {name} is being deleted"));
        }
        let found = normalized(&object.data["spec"]);
        if let Some(place) = difference(expected.spec(kind, name), &found, "spec") {
            return Err(format!(
                "{kind} {name} isn't that of this version of Sluice for the account {}: {place} differs",
                expected.user
            ));
        }
        let status = &object.data["status"];
        let current = status["observedGeneration"].as_i64() == object.metadata.generation;
        let warnings = status["typeChecking"]["expressionWarnings"].as_array();
        if current && warnings.is_some_and(|warnings| !warnings.is_empty()) {
            return Err(format!(
                "{kind} {name} has expressions that the API server warns about in its status.typeChecking"
            ));
        }
        epochs.push(format!(
            "{}.{}",
            object.metadata.uid.as_deref().unwrap_or_default(),
            object.metadata.generation.unwrap_or_default()
        ));
        since = since.max(says_it_since(&object.metadata));
    }
    Ok(Sound {
        epoch: epochs.join("+"),
        since,
    })
}

/// Since when an object says what it says: since its creation, or, if that was edited, since any edit.
fn says_it_since(metadata: &ObjectMeta) -> Timestamp {
    let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
    if metadata.generation.is_none_or(|generation| generation <= 1) {
        return created.unwrap_or(Timestamp::MAX);
    }
    let managers = metadata.managed_fields.iter().flatten();
    managers
        .filter(|entry| entry.subresource.as_deref().unwrap_or_default().is_empty())
        .filter_map(|entry| entry.time.as_ref().map(|time| time.0))
        .chain(created)
        .max()
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NAME: &str = "sluice-names";

    /// The policy and the binding as they would be stored.
    fn stored() -> [Value; 2] {
        let expected = Expected::of("me".to_owned());
        KINDS.map(|kind| {
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": kind,
                "metadata": {
                    "name": NAME,
                    "uid": kind,
                    "generation": 1,
                    "creationTimestamp": "2026-01-01T00:00:00Z",
                },
                "spec": expected.spec(kind, NAME),
            })
        })
    }

    fn look([policy, binding]: [Value; 2]) -> Result<Sound, String> {
        let object = |value| serde_json::from_value::<DynamicObject>(value).ok();
        inspect(
            NAME,
            object(policy).as_ref(),
            object(binding).as_ref(),
            &Expected::of("me".to_owned()),
        )
    }

    #[test]
    fn what_is_as_released_is_sound_since_it_was_made() {
        let sound = look(stored()).unwrap();
        assert_eq!(sound.since.to_string(), "2026-01-01T00:00:00Z");
    }

    #[test]
    fn what_is_missing_weakened_or_bound_to_less_is_named() {
        for (object, path, value, says) in [
            (
                0,
                "/spec/failurePolicy",
                json!("Ignore"),
                "spec.failurePolicy differs",
            ),
            (
                0,
                "/spec/validations/0/expression",
                json!("true"),
                "spec.validations[0].expression differs",
            ),
            (
                0,
                "/spec/matchConstraints/namespaceSelector",
                json!({"matchLabels": {"a": "b"}}),
                "spec.matchConstraints.namespaceSelector differs",
            ),
            (
                1,
                "/spec/validationActions",
                json!(["Audit"]),
                "spec.validationActions[0] differs",
            ),
            (
                1,
                "/spec/matchResources",
                json!({"namespaceSelector": {"matchLabels": {"a": "b"}}}),
                "spec.matchResources differs",
            ),
            (
                1,
                "/spec/policyName",
                json!("another"),
                "spec.policyName differs",
            ),
            (
                0,
                "/metadata/deletionTimestamp",
                json!("2026-01-01T00:00:00Z"),
                "is being deleted",
            ),
            (
                0,
                "/status",
                json!({"observedGeneration": 1, "typeChecking": {"expressionWarnings": [{}]}}),
                "warns about",
            ),
        ] {
            let mut objects = stored();
            let (parent, key) = path.rsplit_once('/').unwrap();
            objects[object].pointer_mut(parent).unwrap()[key] = value;
            let why = look(objects).unwrap_err();
            assert!(why.contains(says), "{path}: {why}");
        }
        let [policy, binding] = stored();
        let why = look([policy, Value::Null]).unwrap_err();
        assert_eq!(
            why,
            "there is no ValidatingAdmissionPolicyBinding sluice-names"
        );
        let why = look([Value::Null, binding]).unwrap_err();
        assert_eq!(why, "there is no ValidatingAdmissionPolicy sluice-names");
    }

    #[test]
    fn what_was_edited_or_replaced_is_another_epoch_and_says_it_since_then() {
        let before = look(stored()).unwrap();
        let mut objects = stored();
        objects[1]["metadata"]["generation"] = json!(3);
        objects[1]["metadata"]["managedFields"] = json!([
            {"manager": "helm", "time": "2026-02-01T00:00:00Z"},
            {"manager": "kube-controller-manager", "subresource": "status", "time": "2026-03-01T00:00:00Z"},
        ]);
        let edited = look(objects).unwrap();
        assert_ne!(edited.epoch, before.epoch);
        assert_eq!(edited.since.to_string(), "2026-02-01T00:00:00Z");
        let mut objects = stored();
        objects[0]["metadata"]["uid"] = json!("another");
        assert_ne!(look(objects).unwrap().epoch, before.epoch);
    }
}
