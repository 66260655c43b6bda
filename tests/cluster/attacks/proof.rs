//! What would keep the operator from seeing that the policies are in force: then no approval would count, anywhere.

use std::path::Path;

use kube::api::DeleteParams;
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};
use sluice::crd::Pipeline;
use sluice::guarded::Guarded;

use super::unfit::send;
use sluice_test_support::cluster::{Cluster, answer, create, eventually, pipeline, raw};
use sluice_test_support::operator::Operator;

/// The operator's own namespace.
const OWN: &str = "sluice-system";

const POLICIES: [&str; 6] = [
    "sluice-engines",
    "sluice-names",
    "sluice-operator",
    "sluice-pipelines",
    "sluice-status",
    "sluice-votes",
];

/// Starts an operator for all namespaces, and waits until it has seen each policy refuse what it must.
async fn sees_all_in_force(cluster: &Cluster, name: &str) {
    let log = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let log = log.join(format!("{name}-{}.log", std::process::id()));
    let operator = Operator::start(cluster, &log, &[]).await;
    let url = format!("{}/metrics", operator.admin_url().await);
    eventually("all policies are seen to be in force", || async {
        let answer = reqwest::get(&url).await.expect("an answer");
        let text = answer.text().await.expect("a text");
        let not_yet: Vec<_> = POLICIES
            .into_iter()
            .filter(|policy| {
                !text.contains(&format!(
                    "sluice_policy_in_force{{policy=\"{policy}\"}} 1\n"
                ))
            })
            .collect();
        not_yet.is_empty().then_some(()).ok_or(not_yet)
    })
    .await;
}

#[tokio::test]
async fn a13_nothing_that_stands_in_a_pipeline_keeps_the_policies_from_being_proven() {
    let cluster = Cluster::own().await;
    let admin = cluster.admin().await;
    // With no Pipeline at all.
    sees_all_in_force(&cluster, "proof-without").await;
    // They come first, by namespace and by name, or stand in Sluice's own namespace, and each would spoil it in
    // another way.
    let namespace = cluster.namespace("aaa").await;
    let leaving = cluster.namespace("aa").await;
    let program = json!({"program": {"sql": ""}});
    // All that an object may have of annotations: none can be added.
    let full = json!({"a": "x".repeat(262_144 - 1)});
    // What a forged write would bring stands there already.
    let mut forged = serde_json::Map::new();
    for text in ["forged, in a dry run", "forged-in-a-dry-run"] {
        for (name, annotations) in [
            ("aaa-full", full.clone()),
            (
                "aab-forged",
                json!({"sluice.dev/retry": text, "sluice.dev/proof": "sluice-pipelines"}),
            ),
        ] {
            forged.insert(format!("{name}-{}", text.len()), annotations);
        }
    }
    for (name, annotations) in forged {
        for namespace in [&*namespace, &*leaving, OWN] {
            let mut object = pipeline(&name, program.clone());
            object["metadata"]["annotations"] = annotations.clone();
            object["metadata"]["finalizers"] = json!(["example.com/stays"]);
            create(&raw::<Pipeline>(&admin, namespace), object)
                .await
                .expect("a Pipeline");
        }
    }
    // No type of ours has room for that year, nor for that depth.
    let mut late = pipeline("aaa", program.clone());
    late["spec"]["restartedAt"] = json!("9999-12-31T23:59:59Z");
    let mut deep = pipeline("aab", program);
    let lists = (0..150).fold(json!([]), |inner, _| json!([inner]));
    deep["spec"]["runtimeConfig"] = json!({"x": lists});
    for object in [late, deep] {
        for namespace in [&*namespace, OWN] {
            let pipelines = Pipeline::url_path(&(), Some(namespace));
            send(&admin, http::Method::POST, &pipelines, &object).await;
        }
    }
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(admin.clone());
    answer(namespaces.delete(&leaving, &DeleteParams::default()).await)
        .expect("it is on its way out");
    sees_all_in_force(&cluster, "proof-among").await;
    // So that the namespaces can go.
    let free = json!({"metadata": {"finalizers": Value::Null}});
    for namespace in [&*namespace, &*leaving] {
        let pipelines: Api<Guarded<Pipeline>> = Api::namespaced(admin.clone(), namespace);
        let all = pipelines.list(&Default::default()).await.expect("a list");
        for object in all.items {
            let path = Pipeline::url_path(&(), Some(namespace));
            let path = format!("{path}/{}", object.name_any());
            send(&admin, http::Method::PATCH, &path, &free).await;
        }
    }
}
