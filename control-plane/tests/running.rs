//! What a running control plane can do. The tests share one.

use std::process::Command;
use std::time::{Duration, Instant};

use control_plane::{ControlPlane, TemporaryNamespace};

fn plane() -> &'static ControlPlane {
    ControlPlane::shared().unwrap_or_else(|error| panic!("{error}"))
}

fn namespace() -> TemporaryNamespace<'static> {
    plane().temporary_namespace("running").unwrap()
}

/// Runs kubectl as a user; its output if it succeeds, else its error output.
fn kubectl(user: &str, arguments: &[&str]) -> Result<String, String> {
    let output = plane()
        .kubectl(user)
        .unwrap()
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(text(output.stderr))
    }
}

fn apply(manifest: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, manifest).unwrap();
    kubectl("admin", &["apply", "-f", file.path().to_str().unwrap()]).unwrap();
}

#[track_caller]
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_api_server_is_ready_and_its_certificate_is_verified() {
    // One look at etcd that takes too long makes it say no, for a moment.
    eventually("it is ready", || {
        plane().is_ready() && kubectl("admin", &["get", "--raw", "/readyz"]).as_deref() == Ok("ok")
    });
    assert!(plane().url().starts_with("https://127.0.0.1:"));
    assert!(plane().ca_pem().starts_with("-----BEGIN CERTIFICATE-----"));

    // The same kubeconfig with another authority gets nowhere.
    let other = plane().kubeconfig_for("admin").unwrap();
    let mut other: serde_json::Value = serde_json::from_str(&other).unwrap();
    other["clusters"][0]["cluster"]
        .as_object_mut()
        .unwrap()
        .remove("certificate-authority-data");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, other.to_string()).unwrap();
    let output = Command::new(plane().kubectl_path())
        .args(["get", "--raw", "/readyz"])
        .env("KUBECONFIG", file.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("certificate"),
        "{output:?}"
    );
}

#[test]
fn users_are_who_they_are() {
    for (user, group) in [
        ("admin", "system:masters"),
        ("alice", "approvers"),
        ("bob", "editors"),
        ("carol", "viewers"),
    ] {
        // Answers a SelfSubjectReview.
        let who = kubectl(user, &["auth", "whoami", "-o", "json"]).unwrap();
        let who: serde_json::Value = serde_json::from_str(&who).unwrap();
        let info = &who["status"]["userInfo"];
        assert_eq!(info["username"], user);
        assert_eq!(
            info["groups"],
            serde_json::json!([group, "system:authenticated"])
        );
    }
    assert!(plane().kubectl("nobody").is_err());
    // The same people are contexts of the common kubeconfig.
    let contexts = Command::new(plane().kubectl_path())
        .args(["config", "get-contexts", "-o", "name"])
        .env("KUBECONFIG", plane().kubeconfig_path())
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(contexts.stdout).unwrap(),
        "admin\nalice\nbob\ncarol\n"
    );
}

#[test]
fn users_may_do_what_roles_say_and_no_more() {
    let namespace = namespace();
    let may = |user: &str| {
        kubectl(
            user,
            &[
                "auth",
                "can-i",
                "create",
                "configmaps",
                "-n",
                namespace.name(),
            ],
        )
        .is_ok()
    };
    assert!(may("admin"));
    assert!(!may("bob"));
    let group = "--group=editors";
    kubectl(
        "admin",
        &[
            "create",
            "rolebinding",
            "b",
            "--clusterrole=edit",
            group,
            "-n",
            namespace.name(),
        ],
    )
    .unwrap();
    eventually("bob may edit", || may("bob"));
    assert!(!may("carol"));
}

#[test]
fn a_validating_admission_policy_refuses_with_its_own_words() {
    let namespace = namespace();
    let name = namespace.name();
    apply(&format!(
        r#"{{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {{"name": "{name}"}}, "spec": {{
              "matchConstraints": {{"resourceRules": [{{"apiGroups": [""], "apiVersions": ["v1"],
                "operations": ["CREATE"], "resources": ["configmaps"]}}]}},
              "validations": [{{"expression": "object.metadata.name != 'refused'", "message": "not this one"}}]}}}}"#
    ));
    apply(&format!(
        r#"{{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {{"name": "{name}"}}, "spec": {{"policyName": "{name}", "validationActions": ["Deny"],
              "matchResources": {{"namespaceSelector": {{"matchLabels": {{"kubernetes.io/metadata.name": "{name}"}}}}}}}}}}"#
    ));
    eventually("the policy is in force", || {
        let outcome = kubectl(
            "admin",
            &[
                "create",
                "configmap",
                "refused",
                "-n",
                name,
                "--dry-run=server",
            ],
        );
        outcome.is_err_and(|error| error.contains("not this one"))
    });
    kubectl("admin", &["create", "configmap", "allowed", "-n", name]).unwrap();
    // Its status is written by a controller.
    eventually("the policy is checked", || {
        let path = "jsonpath={.status.observedGeneration}";
        kubectl(
            "admin",
            &["get", "validatingadmissionpolicy", name, "-o", path],
        )
        .is_ok_and(|text| text == "1")
    });
    kubectl(
        "admin",
        &[
            "delete",
            "validatingadmissionpolicy,validatingadmissionpolicybinding",
            name,
        ],
    )
    .unwrap();
}

#[test]
fn tokens_of_service_accounts_are_issued_and_reviewed() {
    let namespace = namespace();
    let name = namespace.name();
    let get_account = ["get", "serviceaccount", "default", "-n", name];
    eventually("the service account is made", || {
        kubectl("admin", &get_account).is_ok()
    });
    for (audience, audiences) in [(None, "[]"), (Some("--audience=sluice"), r#"["sluice"]"#)] {
        let mut create = vec!["create", "token", "default", "-n", name];
        create.extend(audience);
        let token = kubectl("admin", &create).unwrap();
        let review = tempfile::NamedTempFile::new().unwrap();
        let body = format!(
            r#"{{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
                "spec": {{"token": "{}", "audiences": {audiences}}}}}"#,
            token.trim()
        );
        std::fs::write(&review, body).unwrap();
        let path = review.path().to_str().unwrap();
        let answer = kubectl("admin", &["create", "-o", "json", "-f", path]).unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let expected = format!("system:serviceaccount:{name}:default");
        assert_eq!(answer["status"]["user"]["username"], expected, "{answer:#}");
    }
}

#[test]
fn what_is_owned_goes_with_its_owner() {
    let namespace = namespace();
    let name = namespace.name();
    kubectl("admin", &["create", "configmap", "owner", "-n", name]).unwrap();
    let uid = kubectl(
        "admin",
        &[
            "get",
            "configmap",
            "owner",
            "-n",
            name,
            "-o",
            "jsonpath={.metadata.uid}",
        ],
    )
    .unwrap();
    apply(&format!(
        r#"{{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"name": "owned", "namespace": "{name}",
            "ownerReferences": [{{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "{uid}"}}]}}}}"#
    ));
    kubectl("admin", &["delete", "configmap", "owner", "-n", name]).unwrap();
    eventually("the owned object is gone", || {
        kubectl("admin", &["get", "configmap", "owned", "-n", name]).is_err()
    });
}

#[test]
fn a_namespace_is_emptied_and_goes() {
    let namespace = namespace();
    let name = namespace.name().to_owned();
    kubectl("admin", &["create", "configmap", "content", "-n", &name]).unwrap();
    drop(namespace);
    eventually("the namespace is gone", || {
        kubectl("admin", &["get", "namespace", &name])
            .is_err_and(|error| error.contains("NotFound"))
    });
}
