//! A namespace with a Pipeline of which a change waits, and people around it.

use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::Status;
use serde_json::{Value, json};
use sluice::crd::Pipeline;

use sluice_test_support::cluster::{
    Cluster, Namespace, OPERATOR, answer, create, eventually, pipeline, raw, write_approval,
};

/// The annotations that say who wrote the votes that a Pipeline carries.
pub const STAMPS: [&str; 6] = [
    "sluice.dev/approved-by",
    "sluice.dev/approved-for",
    "sluice.dev/approved-change-by",
    "sluice.dev/approve-by",
    "sluice.dev/reject-by",
    "sluice.dev/reason-for",
];

/// See the module. Alice and dave may edit and approve, bob may edit, and carol may look.
pub struct Scene {
    pub cluster: &'static Cluster,
    pub namespace: Namespace,
}

impl Scene {
    /// The scene; the Pipeline is there, and its change waits.
    pub async fn set() -> Self {
        let scene = Self::without_pipeline().await;
        scene.make("orders").await;
        write_approval(
            &scene.cluster.client_for(OPERATOR).await,
            &scene.namespace,
            "orders",
            "Awaiting",
        )
        .await;
        scene
    }

    /// The people alone.
    pub async fn without_pipeline() -> Self {
        let cluster = Cluster::shared().await;
        let namespace = cluster.namespace("attack").await;
        for (user, role) in [
            ("alice", "sluice-approver"),
            ("alice", "sluice-editor"),
            ("dave", "sluice-approver"),
            ("dave", "sluice-editor"),
            ("bob", "sluice-editor"),
            ("carol", "sluice-viewer"),
        ] {
            cluster.grant(&namespace, user, role).await;
        }
        let scene = Self { cluster, namespace };
        // The authorizer learns of bindings by a watch.
        for user in ["alice", "dave", "bob"] {
            let api = scene.pipelines(user).await;
            eventually("the bindings count", || async {
                let probe = pipeline("probe", json!({"program": {"sql": ""}}));
                let probe: DynamicObject = serde_json::from_value(probe).expect("an object");
                let params = kube::api::PostParams {
                    dry_run: true,
                    ..kube::api::PostParams::default()
                };
                answer(api.create(&params, &probe).await)
            })
            .await;
        }
        let by_carol = scene.pipelines("carol").await;
        eventually("carol may look", || async {
            answer(by_carol.list(&Default::default()).await)
        })
        .await;
        for user in ["alice", "dave"] {
            let api = scene.pipelines(user).await;
            eventually("the right to approve counts", || async {
                let probe = pipeline(
                    "probe",
                    json!({"program": {"sql": ""}, "deletionPolicy": "Delete"}),
                );
                let probe: DynamicObject = serde_json::from_value(probe).expect("an object");
                let params = kube::api::PostParams {
                    dry_run: true,
                    ..kube::api::PostParams::default()
                };
                answer(api.create(&params, &probe).await)
            })
            .await;
        }
        scene
    }

    /// Pipelines, as this user.
    pub async fn pipelines(&self, user: &str) -> Api<DynamicObject> {
        raw::<Pipeline>(&self.cluster.client_for(user).await, &self.namespace)
    }

    /// Makes a Pipeline, as an editor.
    pub async fn make(&self, name: &str) {
        let api = self.pipelines("bob").await;
        create(&api, pipeline(name, json!({"program": {"sql": ""}})))
            .await
            .expect("a Pipeline");
    }

    /// Patches orders, as this user.
    pub async fn patch(&self, user: &str, patch: Value) -> Result<DynamicObject, Box<Status>> {
        let api = self.pipelines(user).await;
        let patch = Patch::Merge(patch);
        answer(api.patch("orders", &PatchParams::default(), &patch).await)
    }

    /// Patches orders by a JSON patch, as this user.
    pub async fn json_patch(&self, user: &str, patch: Value) -> Result<DynamicObject, Box<Status>> {
        let namespace: &str = &self.namespace;
        let path = format!("/apis/sluice.dev/v1alpha1/namespaces/{namespace}/pipelines/orders");
        let request = http::Request::patch(path)
            .header("content-type", "application/json-patch+json")
            .body(patch.to_string().into_bytes())
            .expect("a request");
        answer(self.cluster.client_for(user).await.request(request).await)
    }

    /// Orders as it is.
    pub async fn orders(&self) -> DynamicObject {
        let api = self.pipelines("carol").await;
        api.get("orders").await.expect("the Pipeline")
    }

    /// What stands beside the votes of orders.
    pub async fn stamps(&self) -> Value {
        stamps(&self.orders().await)
    }
}

/// What stands beside the votes of a Pipeline, by the last part of the annotation's key.
pub fn stamps(object: &DynamicObject) -> Value {
    let annotations = object.metadata.annotations.clone().unwrap_or_default();
    let of_votes = STAMPS.iter().filter_map(|key| {
        let short = key.trim_start_matches("sluice.dev/").to_owned();
        Some((short, json!(annotations.get(*key)?)))
    });
    Value::Object(of_votes.collect())
}

/// A merge patch of annotations of ours.
pub fn annotations(pairs: Value) -> Value {
    let pairs = pairs.as_object().expect("pairs").iter();
    let named: serde_json::Map<_, _> = pairs
        .map(|(key, value)| (format!("sluice.dev/{key}"), value.clone()))
        .collect();
    json!({"metadata": {"annotations": named}})
}

/// Both patches in one.
pub fn both(mut one: Value, other: Value) -> Value {
    fn merge(into: &mut Value, from: Value) {
        match from {
            Value::Object(fields) if into.is_object() => {
                for (key, value) in fields {
                    merge(&mut into[&key], value);
                }
            }
            other => *into = other,
        }
    }
    merge(&mut one, other);
    one
}

/// Says that it was refused by one of Sluice's policies, with these words.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T, Box<Status>>, words: &str) -> String {
    let status = result.expect_err(words);
    assert_eq!(status.code, 403, "{}", status.message);
    assert!(
        status
            .message
            .contains("ValidatingAdmissionPolicy 'sluice-")
            && status.message.contains(words),
        "{words}: {}",
        status.message
    );
    status.message.clone()
}
