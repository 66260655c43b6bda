//! Objects that the API server takes and no type of Sluice's does: each of them is left alone and told so, and nothing
//! else stops for it.

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, Resource};
use serde_json::{Value, json};
use sluice::crd::{ApprovalState, Engine, FINALIZER, Pipeline, PipelineApproval};
use tokio::sync::OnceCell;

use sluice_test_support::cluster::{Cluster, answer, create, pipeline, raw, vote};
use sluice_test_support::operator::Operator;
use sluice_test_support::story::{Story, changed, changed_otherwise, eventually, extended, id};

const STRICT: [&str; 2] = ["--require-policies", "true"];

/// Lists within lists, deeper than anybody reads.
fn deep() -> Value {
    (0..150).fold(json!([]), |inner, _| json!([inner]))
}

/// Objects within objects: so deep that the API server's notes on who set which field are, too.
fn deep_object() -> Value {
    (0..150).fold(json!({}), |inner, _| json!({"x": inner}))
}

/// Sends an object as text, since no client reads the answer, and returns what the API server said.
pub async fn send(client: &Client, method: http::Method, path: &str, body: &Value) -> String {
    let kind = match method {
        http::Method::PATCH => "application/merge-patch+json",
        _ => "application/json",
    };
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::CONTENT_TYPE, kind)
        .body(body.to_string().into_bytes())
        .expect("a request");
    let said = client.request_text(request).await;
    said.unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn path<K: Resource<DynamicType = ()>>(namespace: &str) -> String {
    K::url_path(&(), Some(namespace))
}

/// What was written when nobody here can read; a client may say so itself of its fields.
fn managed(version: &str) -> Value {
    json!([{
        "manager": "eve", "operation": "Update", "apiVersion": version,
        "time": "9999-12-31T23:59:59Z", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}},
    }])
}

/// Labels an object, and then says itself when and by whom that was set.
async fn note(client: &Client, path: &str) {
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    send(client, http::Method::PATCH, path, &label).await;
    let version = match path.starts_with("/api/v1/") {
        true => "v1",
        false => "sluice.dev/v1alpha1",
    };
    let noted = json!({"metadata": {"managedFields": managed(version)}});
    let said = send(client, http::Method::PATCH, path, &noted).await;
    assert!(said.contains("9999-12-31T23:59:59Z"), "{said}");
}

/// Fills a namespace with what nobody reads. Returns the names of the Pipelines among it.
async fn fill(admin: &Client, namespace: &str) -> Vec<&'static str> {
    let spec = |config: Value| json!({"program": {"sql": ""}, "runtimeConfig": {"x": config}});
    let mut held = pipeline("aaa-held", spec(deep()));
    held["metadata"]["finalizers"] = json!([FINALIZER]);
    let deep = pipeline("aab-deep", spec(deep()));
    let objects = pipeline("aac-objects", spec(deep_object()));
    let pipelines = path::<Pipeline>(namespace);
    for object in [held, deep, objects] {
        send(admin, http::Method::POST, &pipelines, &object).await;
    }
    // Nobody reads of these what every object has, so they can be read.
    let vote = vote("aab-deep", "aaa");
    let engine = json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Engine",
        "metadata": {"name": "aaa"}, "spec": {"url": "http://127.0.0.1:9"},
    });
    let plain = pipeline("aad-noted", json!({"program": {"sql": ""}}));
    let map = json!({"metadata": {"name": "aaa"}, "data": {"a": "b"}});
    create(&raw::<PipelineApproval>(admin, namespace), vote)
        .await
        .expect("a vote");
    create(&raw::<Engine>(admin, namespace), engine)
        .await
        .expect("an Engine");
    create(&raw::<Pipeline>(admin, namespace), plain)
        .await
        .expect("a Pipeline");
    let maps: Api<ConfigMap> = Api::namespaced(admin.clone(), namespace);
    create(&maps, map).await.expect("a ConfigMap");
    for (kind, name) in [
        (path::<PipelineApproval>(namespace), "aaa"),
        (path::<Engine>(namespace), "aaa"),
        (path::<Pipeline>(namespace), "aad-noted"),
        (path::<ConfigMap>(namespace), "aaa"),
    ] {
        note(admin, &format!("{kind}/{name}")).await;
    }
    vec!["aaa-held", "aab-deep", "aac-objects"]
}

/// Waits until each of these is told that it can't be read.
async fn are_told(admin: &Client, namespace: &str, names: &[&str]) {
    let events: Api<Event> = Api::namespaced(admin.clone(), namespace);
    eventually("each is told", || async {
        let all = answer(events.list(&ListParams::default()).await).expect("the Events");
        let told = |name: &&str| {
            let is_it = |event: &&Event| {
                let about = event
                    .regarding
                    .as_ref()
                    .and_then(|object| object.name.as_deref());
                event.reason.as_deref() == Some("Unreadable") && about == Some(name)
            };
            all.items.iter().any(|event| is_it(&event))
        };
        let untold: Vec<_> = names.iter().filter(|name| !told(name)).collect();
        untold.is_empty().then_some(()).ok_or(format!("{untold:?}"))
    })
    .await;
}

async fn is_gone(admin: &Client, path: &str) {
    eventually("it is gone", || async {
        let request = http::Request::get(path).body(vec![]).expect("a request");
        match admin.request_text(request).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn what_fits_no_type_stops_nobody_else_is_told_so_and_can_be_deleted() {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    let cluster = CLUSTER.get_or_init(Cluster::own).await;
    let admin = cluster.admin().await;
    // It comes first, and is there before the operator is.
    let first = cluster.namespace("aaa").await;
    let unreadable = fill(&admin, &first).await;
    let story = Story::prepared_on(cluster, &[]).await;
    story.engine_object(json!({})).await;
    for role in ["sluice-approver", "sluice-editor"] {
        cluster.grant(&story.namespace, "alice", role).await;
    }
    // And some in the same namespace, one of which says that its name is that of another.
    let mut own = fill(&admin, &story.namespace).await;
    let claims = json!({
        "program": {"sql": ""}, "pipelineName": "orders", "runtimeConfig": {"x": deep()},
    });
    let named = pipeline("aae-named", claims);
    let pipelines = path::<Pipeline>(&story.namespace);
    send(&admin, http::Method::POST, &pipelines, &named).await;
    own.push("aae-named");

    // It looks after all namespaces.
    let start = async || {
        let serves = ["--api-namespace", &story.namespace];
        Operator::start(cluster, story.log(), &[STRICT, serves].concat()).await
    };
    let operator = start().await;

    // Others go on: an object votes, and the policies that it counts by are proven.
    story.running().await;
    story.change_to(&changed()).await;
    let waiting = story.until_waiting().await;
    story.vote("yes", &id(&waiting), "Approve").await;
    story.until_sealed().await;
    are_told(&admin, &first, &unreadable).await;
    are_told(&admin, &story.namespace, &own).await;

    // So they do after a restart, and by REST.
    drop(operator);
    let operator = start().await;
    story.change_to(&changed_otherwise()).await;
    story.until_waiting().await;
    let url = format!("{}/v0/pipelines/orders/approve", operator.rest_url().await);
    let token = cluster.plane().token("alice").expect("a known user");
    story.rest_takes(&url, token, &[]).await;
    story.until_sealed().await;

    // One becomes so while it runs, and while others are watched.
    let delete = json!({"program": {"sql": changed()}, "deletionPolicy": "Delete"});
    story.create("other", delete).await;
    story
        .until_of("other", "it runs and is held", |p| {
            sluice_test_support::story::is_in(p, "Running")
                && p.metadata
                    .finalizers
                    .as_ref()
                    .is_some_and(|held| held.iter().any(|name| name == FINALIZER))
        })
        .await;
    let other = format!("{pipelines}/other");
    let edit = json!({"spec": {"runtimeConfig": {"x": deep()}}});
    send(&admin, http::Method::PATCH, &other, &edit).await;
    are_told(&admin, &story.namespace, &["other"]).await;
    story.change_to(&extended()).await;
    let waiting = story.until_waiting().await;
    story.approve(&id(&waiting)).await;
    story.until_sealed().await;
    let metrics = format!("{}/metrics", operator.admin_url().await);
    let metrics = reqwest::get(metrics).await.expect("an answer");
    let metrics = metrics.text().await.expect("a text");
    let count = "sluice_pipelines{phase=\"Unreadable\"} 8\n";
    assert!(metrics.contains(count), "{metrics}");

    // A rejection stays one, whatever whoever may edit its metadata writes there.
    story.change_to(&changed()).await;
    let waiting = story.until_waiting().await;
    drop(operator);
    story.vote("no", &id(&waiting), "Reject").await;
    let no = format!("{}/no", path::<PipelineApproval>(&story.namespace));
    note(&admin, &no).await;
    story.approve(&id(&waiting)).await;
    let _operator = start().await;
    story.until_state(ApprovalState::Rejected).await;

    // And all of them can be deleted, whatever they are held by.
    for (namespace, name) in [
        (&*story.namespace, "other"),
        (&*story.namespace, "aaa-held"),
        (&*first, "aaa-held"),
        (&*first, "aab-deep"),
    ] {
        let object = format!("{}/{name}", path::<Pipeline>(namespace));
        send(&admin, http::Method::DELETE, &object, &json!({})).await;
        is_gone(&admin, &object).await;
    }
    // What it was can't be read, so nothing is done with what the engine has of it.
    assert!(story.engine.names().await.contains(&"other".to_owned()));
    let engines = raw::<Engine>(&admin, &first);
    answer(engines.delete("aaa", &DeleteParams::default()).await).expect("it goes");
    is_gone(&admin, &format!("{}/aaa", path::<Engine>(&first))).await;
}
