//! The REST endpoint on a real API server: tokens, rights, policies and objects are real; only the
//! operator and the engine are not there, and the tests write what they would have written. In
//! `tools::judges` they are there too.

pub mod api_keys;
mod doors;

use std::{net::SocketAddr, time::Duration};

use control_plane::TemporaryNamespace;
use futures::future::join_all;
use k8s_openapi::ByteString;
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::ServiceAccount,
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use reqwest::{StatusCode, header::HeaderMap};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sluice::{
    api::{Config, Tenant},
    crd::{Pipeline, PipelineApproval},
};
use tokio::net::TcpListener;

use sluice_test_support::cluster::{Cluster, OPERATOR, eventually};
use sluice_test_support::port::Port;

const CHANGE: &str = "11111111111111111111111111111111";
const OTHER_CHANGE: &str = "22222222222222222222222222222222";

/// A namespace in which Alice may approve, Bob may edit and Carol may look.
struct Scene {
    namespace: TemporaryNamespace<'static>,
    admin: Client,
}

impl Scene {
    async fn empty() -> Self {
        let cluster = Cluster::shared().await;
        let namespace = cluster.plane().temporary_namespace("rest").unwrap();
        let admin = cluster.admin().await;
        let scene = Self { namespace, admin };
        for (user, role, verb) in [
            ("alice", "sluice-approver", "approve"),
            ("bob", "sluice-editor", "get"),
            ("carol", "sluice-viewer", "get"),
        ] {
            scene
                .bind(
                    user,
                    "ClusterRole",
                    role,
                    json!({"kind": "User", "name": user}),
                )
                .await;
            scene.wait_until_allowed(user, &[], verb, "orders").await;
        }
        scene
    }

    /// With a pipeline `orders`, of which a change waits.
    async fn with_a_change_that_waits() -> Self {
        let scene = Self::empty().await;
        scene.pipeline("orders", json!({})).await;
        scene.set_status("orders", waiting()).await;
        scene
    }

    fn name(&self) -> &str {
        self.namespace.name()
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.admin.clone(), self.name())
    }

    async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
        K::DynamicType: Default,
    {
        let object = serde_json::from_value(object).unwrap();
        let (api, params) = (self.api::<K>(), PostParams::default());
        api.create(&params, &object).await.unwrap()
    }

    async fn bind(&self, name: &str, kind: &str, role: &str, mut subject: Value) {
        if subject["kind"] != "ServiceAccount" {
            subject["apiGroup"] = json!("rbac.authorization.k8s.io");
        }
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [subject],
        });
        self.create::<RoleBinding>(binding).await;
    }

    async fn wait_until_allowed(&self, user: &str, groups: &[&str], verb: &str, pipeline: &str) {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.to_owned()),
                groups: Some(groups.iter().map(|&group| group.to_owned()).collect()),
                resource_attributes: Some(ResourceAttributes {
                    group: Some("sluice.dev".to_owned()),
                    resource: Some("pipelines".to_owned()),
                    namespace: Some(self.name().to_owned()),
                    verb: Some(verb.to_owned()),
                    name: Some(pipeline.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api = Api::<SubjectAccessReview>::all(self.admin.clone());
        eventually(&format!("{user} may {verb}"), || async {
            let review = api.create(&PostParams::default(), &review).await.unwrap();
            let allowed = review.status.unwrap().allowed;
            allowed.then_some(()).ok_or("not yet")
        })
        .await;
    }

    async fn pipeline(&self, name: &str, more: Value) -> Pipeline {
        let mut spec = json!({"program": {"sql": "CREATE TABLE t (i INT);"}});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        self.create(json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Pipeline",
            "metadata": {"name": name}, "spec": spec,
        }))
        .await
    }

    /// What the operator would write, as a merge patch.
    async fn set_status(&self, name: &str, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        let own = Cluster::shared().await.client_for(OPERATOR).await;
        let api = Api::<Pipeline>::namespaced(own, self.name());
        api.patch_status(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    async fn votes(&self) -> Vec<PipelineApproval> {
        let votes = self.api::<PipelineApproval>();
        votes.list(&ListParams::default()).await.unwrap().items
    }

    /// A service account without any right, and its name among users.
    async fn account(&self, name: &str) -> String {
        let account = json!({"metadata": {"name": name}});
        self.create::<ServiceAccount>(account).await;
        format!("system:serviceaccount:{}:{name}", self.name())
    }

    /// A token of a service account of this namespace.
    async fn token(&self, account: &str, audiences: &[&str]) -> String {
        token(&self.api(), account, audiences).await
    }

    /// Serves the endpoint as it is installed: with Sluice's own account.
    async fn serve(&self) -> Rest {
        self.serve_with(|_| {}).await
    }

    async fn serve_with(&self, change: impl FnOnce(&mut Config)) -> Rest {
        let own = Cluster::shared().await.client_for(OPERATOR).await;
        self.serve_as(own, change).await
    }

    async fn serve_as(&self, client: Client, change: impl FnOnce(&mut Config)) -> Rest {
        let mut config = Config {
            default_namespace: Some(self.name().to_owned()),
            // Others may be building at the time.
            request_timeout: Duration::from_secs(60),
            ..Config::default()
        };
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(sluice::api::serve(
            config,
            client,
            tokio::sync::watch::channel(sluice::policies::Trust::unknown(false)).1,
            listener,
            std::future::pending(),
        ));
        Rest {
            address,
            http: reqwest::Client::new(),
        }
    }
}

async fn token(accounts: &Api<ServiceAccount>, account: &str, audiences: &[&str]) -> String {
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: audiences
                .iter()
                .map(|&audience| audience.to_owned())
                .collect(),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let params = PostParams::default();
    let answer = accounts.create_token_request(account, &params, &request);
    answer.await.unwrap().status.unwrap().token
}

/// The endpoint.
struct Rest {
    address: SocketAddr,
    http: reqwest::Client,
}

impl Rest {
    /// Approves as a user of the control plane.
    async fn approve(&self, path_and_query: &str, user: &str) -> Answer {
        let plane = Cluster::shared().await.plane();
        self.approve_with(path_and_query, plane.token(user).unwrap())
            .await
    }

    async fn approve_with(&self, path_and_query: &str, token: &str) -> Answer {
        let headers = [("authorization", format!("Bearer {token}"))];
        self.send(path_and_query, &headers).await
    }

    async fn send(&self, path_and_query: &str, headers: &[(&str, String)]) -> Answer {
        let (name, query) = path_and_query
            .split_once('?')
            .unwrap_or((path_and_query, ""));
        let url = format!(
            "http://{}/v0/pipelines/{name}/approve?{query}",
            self.address
        );
        let mut request = self.http.post(url);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = request.send().await.unwrap();
        Answer {
            status: response.status(),
            headers: response.headers().clone(),
            body: response.json().await.unwrap(),
        }
    }
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    #[track_caller]
    fn is_accepted(&self, number: i64) {
        assert_eq!(self.status, 202, "{self:?}");
        assert_eq!(self.body, json!({"checkpoint_sequence_number": number}));
    }

    #[track_caller]
    fn is_error(&self, status: u16, code: &str) -> &Value {
        assert_eq!(
            (self.status.as_u16(), &self.body["error_code"]),
            (status, &json!(code)),
            "{self:?}"
        );
        assert!(self.body["message"].is_string(), "{self:?}");
        assert!(self.body["details"].is_object(), "{self:?}");
        &self.body["details"]
    }

    fn message(&self) -> &str {
        self.body["message"].as_str().unwrap()
    }
}

/// The status of a pipeline of which a change waits at the engine's gate.
fn waiting() -> Value {
    json!({
        "phase": "AwaitingApproval",
        "engine": {"deploymentId": "d1", "deploymentStatus": "AwaitingApproval"},
        "approval": {
            "state": "Awaiting", "changeId": CHANGE, "shortId": "11111111", "parent": "root",
            "target": {"sql": "a", "udfRust": "b", "udfToml": "c", "config": "d"},
            "options": {"silent": false, "concurrent": false},
            "revision": 0, "since": "2026-01-01T00:00:00Z", "deploymentId": "d1",
            "summary": "one view changed", "diffDigest": "0".repeat(64),
            "base": {"uuid": "c1", "sequenceNumber": i64::MAX},
            "approveCommand": "kubectl …", "approvedFieldCounts": false,
        },
    })
}

/// The status of the same pipeline later.
fn now(state: &str) -> Value {
    json!({"engine": {"deploymentStatus": "Running"}, "approval": {"state": state}})
}

#[tokio::test]
async fn row_202_the_vote_is_stored() {
    let scene = Scene::with_a_change_that_waits().await;
    let rest = scene.serve().await;
    rest.approve("orders", "alice").await.is_accepted(i64::MAX);

    let votes = scene.votes().await;
    let [vote] = votes.as_slice() else {
        panic!("{votes:?}")
    };
    assert_eq!(vote.spec.pipeline_ref.name, "orders");
    assert_eq!(vote.spec.change_id, CHANGE);
    let voter = vote.spec.on_behalf_of.as_ref().unwrap();
    assert_eq!(voter.username, "alice");
    assert_eq!(voter.uid.as_deref(), Some("alice"));
    assert_eq!(voter.groups, ["approvers", "system:authenticated"]);
    let pipeline = scene.api::<Pipeline>().get("orders").await.unwrap();
    let owners = vote.metadata.owner_references.as_ref().unwrap();
    assert_eq!(Some(&owners[0].uid), pipeline.metadata.uid.as_ref());
    let managers = vote.metadata.managed_fields.as_ref().unwrap();
    assert_eq!(managers[0].manager.as_deref(), Some("sluice-rest"));
}

#[tokio::test]
async fn row_202_the_change_and_its_options_are_named() {
    let scene = Scene::with_a_change_that_waits().await;
    let rest = scene.serve().await;
    let query =
        format!("orders?change_id={CHANGE}&silent_bootstrap=false&concurrent_bootstrap=false");
    rest.approve(&query, "alice").await.is_accepted(i64::MAX);
    assert_eq!(scene.votes().await.len(), 1);
}

#[tokio::test]
async fn row_202_the_vote_was_stored_before() {
    let scene = Scene::with_a_change_that_waits().await;
    let rest = scene.serve().await;
    rest.approve("orders", "alice").await.is_accepted(i64::MAX);
    rest.approve("orders", "alice").await.is_accepted(i64::MAX);
    for state in ["Approved", "Applying", "Applied", "Sealed"] {
        scene.set_status("orders", now(state)).await;
        rest.approve("orders", "alice").await.is_accepted(i64::MAX);
        let named = format!("orders?change_id={CHANGE}");
        rest.approve(&named, "alice").await.is_accepted(i64::MAX);
    }
    assert_eq!(scene.votes().await.len(), 1);

    // And when the object is cleared away, its record in status does.
    let name = scene.votes().await[0].metadata.name.clone().unwrap();
    let votes = scene.api::<PipelineApproval>();
    votes.delete(&name, &DeleteParams::default()).await.unwrap();
    let record = json!([{"outcome": "Approved", "by": "alice", "verified": true, "via": "Rest"}]);
    scene
        .set_status("orders", json!({"approval": {"votes": record}}))
        .await;
    rest.approve("orders", "alice").await.is_accepted(i64::MAX);
}

#[tokio::test]
async fn row_202_many_same_calls_of_two_replicas_at_once() {
    let scene = Scene::with_a_change_that_waits().await;
    let replicas = [scene.serve().await, scene.serve().await];
    let calls = (0..16).map(|i| replicas[i % 2].approve("orders", "alice"));
    for answer in join_all(calls).await {
        answer.is_accepted(i64::MAX);
    }
    assert_eq!(scene.votes().await.len(), 1);
}

#[tokio::test]
async fn row_202_the_right_comes_by_a_group() {
    let scene = Scene::with_a_change_that_waits().await;
    let subject = json!({"kind": "Group", "name": "editors"});
    scene
        .bind("editors", "ClusterRole", "sluice-approver", subject)
        .await;
    scene
        .wait_until_allowed("x", &["editors"], "approve", "orders")
        .await;
    let rest = scene.serve().await;
    rest.approve("orders", "bob").await.is_accepted(i64::MAX);
}

#[tokio::test]
async fn row_202_the_right_is_on_one_pipeline_only() {
    let scene = Scene::with_a_change_that_waits().await;
    scene.pipeline("payments", json!({})).await;
    scene.set_status("payments", waiting()).await;
    let robot = scene.account("robot").await;
    scene
        .create::<Role>(json!({
            "metadata": {"name": "orders-only"},
            "rules": [{
                "apiGroups": ["sluice.dev"], "resources": ["pipelines"],
                "resourceNames": ["orders"], "verbs": ["approve"],
            }],
        }))
        .await;
    let subject = json!({"kind": "ServiceAccount", "name": "robot", "namespace": scene.name()});
    scene.bind("robot", "Role", "orders-only", subject).await;
    scene
        .wait_until_allowed(&robot, &[], "approve", "orders")
        .await;
    let rest = scene.serve().await;
    let token = scene.token("robot", &[]).await;
    rest.approve_with("orders", &token)
        .await
        .is_accepted(i64::MAX);
    rest.approve_with("payments", &token)
        .await
        .is_error(404, "UnknownPipelineName");
    let votes = scene.votes().await;
    assert_eq!(votes.len(), 1);
    assert_eq!(votes[0].spec.on_behalf_of.as_ref().unwrap().username, robot);
}

#[tokio::test]
async fn row_202_the_path_has_the_name_in_the_engine() {
    let scene = Scene::empty().await;
    scene
        .pipeline("orders", json!({"pipelineName": "Orders_2"}))
        .await;
    scene.set_status("orders", waiting()).await;
    let rest = scene.serve().await;
    rest.approve("orders", "alice")
        .await
        .is_error(404, "UnknownPipelineName");
    rest.approve("Orders_2", "alice")
        .await
        .is_accepted(i64::MAX);
    assert_eq!(scene.votes().await[0].spec.pipeline_ref.name, "orders");
}

#[tokio::test]
async fn row_202_the_tenant_is_a_namespace() {
    let scene = Scene::with_a_change_that_waits().await;
    let rest = scene
        .serve_with(|config| {
            config.default_namespace = Some("default".to_owned());
            config.tenants = vec![Tenant {
                name: "team".to_owned(),
                namespace: scene.name().to_owned(),
            }];
        })
        .await;
    let authorization = (
        "authorization",
        format!(
            "Bearer {}",
            Cluster::shared().await.plane().token("alice").unwrap()
        ),
    );
    for (tenant, expected) in [("team", 202), (scene.name(), 404), ("", 404)] {
        let headers = [authorization.clone(), ("feldera-tenant", tenant.to_owned())];
        let answer = rest.send("orders", &headers).await;
        assert_eq!(answer.status, expected, "{tenant}: {answer:?}");
    }
    let answer = rest.send("orders", &[authorization]).await;
    answer.is_error(404, "UnknownPipelineName");
}

#[tokio::test]
async fn row_400_both_options() {
    let scene = Scene::with_a_change_that_waits().await;
    let rest = scene.serve().await;
    let query = "orders?silent_bootstrap=true&concurrent_bootstrap=true";
    let answer = rest.approve(query, "alice").await;
    answer.is_error(400, "InvalidBootstrapConfig");
    assert_eq!(scene.votes().await, []);
}

#[tokio::test]
async fn row_400_a_malformed_change_id() {
    let scene = Scene::with_a_change_that_waits().await;
    let rest = scene.serve().await;
    for id in ["", "11111111", "latest"] {
        let answer = rest
            .approve(&format!("orders?change_id={id}"), "alice")
            .await;
        answer.is_error(400, "InvalidChangeIdParam");
    }
    assert_eq!(scene.votes().await, []);
}

#[tokio::test]
async fn row_401_no_valid_token() {
    let scene = Scene::with_a_change_that_waits().await;
    let rest = scene.serve().await;
    let answer = rest.send("orders", &[]).await;
    answer.is_error(401, "AuthenticationFailed");
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
    for token in ["made-up", "eyJhbGciOiJSUzI1NiJ9.e30.AAAA"] {
        let answer = rest.approve_with("orders", token).await;
        answer.is_error(401, "AuthenticationFailed");
    }
    // One that was valid: its account is gone.
    scene.account("gone").await;
    let token = scene.token("gone", &[]).await;
    rest.approve_with("orders", &token)
        .await
        .is_error(404, "UnknownPipelineName");
    let accounts = scene.api::<ServiceAccount>();
    accounts
        .delete("gone", &DeleteParams::default())
        .await
        .unwrap();
    // The API server remembers good tokens for some seconds.
    eventually("the token is refused", || async {
        let status = rest.approve_with("orders", &token).await.status;
        (status == 401).then_some(()).ok_or(status)
    })
    .await;
    assert_eq!(scene.votes().await, []);
}

/// A token of a service account that is over at this second, as the API server would sign it. It makes none
/// itself that is over within ten minutes.
async fn token_until(scene: &Scene, account: &str, second: i64) -> String {
    let plane = Cluster::shared().await.plane();
    let key = std::fs::read_to_string(plane.dir().join("pki/service-account.key")).unwrap();
    let issuer = "https://kubernetes.default.svc.cluster.local";
    let object = scene.api::<ServiceAccount>().get(account).await.unwrap();
    let claims = json!({
        "iss": issuer, "aud": [issuer], "exp": second, "iat": second - 600, "nbf": second - 600,
        "sub": format!("system:serviceaccount:{}:{account}", scene.name()),
        "kubernetes.io": {
            "namespace": scene.name(),
            "serviceaccount": {"name": account, "uid": object.metadata.uid},
        },
    });
    let base64 = |bytes: &[u8]| {
        let text = serde_json::to_value(ByteString(bytes.to_vec())).unwrap();
        let text = text.as_str().unwrap().replace('+', "-").replace('/', "_");
        text.trim_end_matches('=').to_owned()
    };
    let head = json!({"alg": "ES256", "typ": "JWT"}).to_string();
    let signed = [head, claims.to_string()]
        .map(|part| base64(part.as_bytes()))
        .join(".");
    let key = rcgen::KeyPair::from_pem(&key).unwrap();
    let der = rcgen::SigningKey::sign(&key, signed.as_bytes()).unwrap();
    // Two integers in ASN.1, of which a JWT has the plain 32 bytes.
    let mut rest = &der[2..];
    let mut signature = vec![];
    for _ in 0..2 {
        let (integer, further) = rest[2..].split_at(rest[1].into());
        let plain = &integer[integer.len().saturating_sub(32)..];
        signature.extend(std::iter::repeat_n(0, 32 - plain.len()));
        signature.extend(plain);
        rest = further;
    }
    format!("{signed}.{}", base64(&signature))
}

#[tokio::test]
async fn row_401_a_token_that_has_expired() {
    let scene = Scene::with_a_change_that_waits().await;
    let robot = scene.account("robot").await;
    let subject = json!({"kind": "ServiceAccount", "name": "robot", "namespace": scene.name()});
    scene
        .bind("robot", "ClusterRole", "sluice-approver", subject)
        .await;
    scene
        .wait_until_allowed(&robot, &[], "approve", "orders")
        .await;
    let rest = scene.serve().await;
    let now = jiff::Timestamp::now().as_second();
    let over = token_until(&scene, "robot", now - 300).await;
    rest.approve_with("orders", &over)
        .await
        .is_error(401, "AuthenticationFailed");
    assert_eq!(scene.votes().await, []);
    // The same token, but for its end, is a good one.
    let good = token_until(&scene, "robot", now + 300).await;
    rest.approve_with("orders", &good)
        .await
        .is_accepted(i64::MAX);
}

#[tokio::test]
async fn row_401_a_token_for_somebody_else() {
    let scene = Scene::with_a_change_that_waits().await;
    let robot = scene.account("robot").await;
    let subject = json!({"kind": "ServiceAccount", "name": "robot", "namespace": scene.name()});
    scene
        .bind("robot", "ClusterRole", "sluice-approver", subject)
        .await;
    scene
        .wait_until_allowed(&robot, &[], "approve", "orders")
        .await;
    let for_us = scene.token("robot", &["sluice"]).await;
    let for_all = scene.token("robot", &[]).await;

    let anybodys = scene.serve().await;
    let ours = scene
        .serve_with(|config| config.audiences = vec!["sluice".to_owned()])
        .await;
    for (rest, token) in [(&anybodys, &for_us), (&ours, &for_all)] {
        let answer = rest.approve_with("orders", token).await;
        answer.is_error(401, "AuthenticationFailed");
    }
    // A token that knows nothing of audiences is meant for the API server.
    ours.approve("orders", "alice")
        .await
        .is_error(401, "AuthenticationFailed");
    assert_eq!(scene.votes().await, []);
    for (rest, token) in [(&anybodys, &for_all), (&ours, &for_us)] {
        rest.approve_with("orders", token)
            .await
            .is_accepted(i64::MAX);
    }
}

#[tokio::test]
async fn row_403_may_see_but_not_approve() {
    let scene = Scene::with_a_change_that_waits().await;
    let rest = scene.serve().await;
    // Who may edit a pipeline may not approve its changes.
    for user in ["bob", "carol"] {
        let answer = rest.approve("orders", user).await;
        let details = answer.is_error(403, "InsufficientPermissions");
        assert_eq!(*details, json!({"pipeline_name": "orders"}));
    }
    assert_eq!(scene.votes().await, []);
}

#[tokio::test]
async fn row_404_no_such_pipeline_or_none_that_the_caller_may_know_of() {
    let scene = Scene::with_a_change_that_waits().await;
    scene.account("stranger").await;
    let stranger = scene.token("stranger", &[]).await;
    let rest = scene.serve().await;
    let unknown = rest.approve("orders-2", "alice").await;
    let details = unknown.is_error(404, "UnknownPipelineName");
    assert_eq!(*details, json!({"pipeline_name": "orders-2"}));

    let hidden = rest.approve_with("orders", &stranger).await;
    hidden.is_error(404, "UnknownPipelineName");
    let pipelines = scene.api::<Pipeline>();
    pipelines
        .delete("orders", &DeleteParams::default())
        .await
        .unwrap();
    eventually("orders is gone", || async {
        let left = pipelines.get_opt("orders").await.unwrap();
        left.is_none().then_some(()).ok_or(left)
    })
    .await;
    let absent = rest.approve_with("orders", &stranger).await;
    assert_eq!((absent.status, absent.body), (hidden.status, hidden.body));
    assert_eq!(scene.votes().await, []);
}

#[tokio::test]
async fn row_409_nothing_waits() {
    let scene = Scene::with_a_change_that_waits().await;
    let rest = scene.serve().await;
    for state in ["Applied", "Rejected", "Expired", "Superseded"] {
        scene.set_status("orders", now(state)).await;
        let answer = rest.approve("orders", "alice").await;
        let details = answer.is_error(409, "NoChangeAwaitingApproval");
        assert_eq!(details["last_change_id"], CHANGE);
        assert_eq!(details["last_change_state"], state);
    }
    assert_eq!(scene.votes().await, []);
}

#[tokio::test]
async fn row_409_the_change_was_rejected_after_the_vote() {
    let scene = Scene::with_a_change_that_waits().await;
    let rest = scene.serve().await;
    rest.approve("orders", "alice").await.is_accepted(i64::MAX);
    scene.set_status("orders", now("Rejected")).await;
    rest.approve("orders", "alice")
        .await
        .is_error(409, "NoChangeAwaitingApproval");
}

#[tokio::test]
async fn row_409_the_pipeline_is_not_deployed() {
    let scene = Scene::empty().await;
    scene.pipeline("orders", json!({})).await;
    let rest = scene.serve().await;
    rest.approve("orders", "alice")
        .await
        .is_error(409, "PipelineInteractionNotDeployed");
    scene.set_status("orders", waiting()).await;
    let stopped = json!({"engine": {"deploymentId": null, "deploymentStatus": "Stopped"}});
    scene.set_status("orders", stopped).await;
    let answer = rest.approve("orders", "alice").await;
    let details = answer.is_error(409, "PipelineInteractionNotDeployed");
    assert_eq!(details["status"], "Stopped");
    assert_eq!(scene.votes().await, []);
}

#[tokio::test]
async fn row_409_another_change_than_the_named_one_waits() {
    let scene = Scene::with_a_change_that_waits().await;
    let rest = scene.serve().await;
    let answer = rest
        .approve(&format!("orders?change_id={OTHER_CHANGE}"), "alice")
        .await;
    let details = answer.is_error(409, "OtherChangeAwaitingApproval");
    assert_eq!(details["change_id"], OTHER_CHANGE);
    assert_eq!(details["waiting_change_id"], CHANGE);
    assert_eq!(scene.votes().await, []);
}

#[tokio::test]
async fn row_409_other_options_than_the_published_ones() {
    let scene = Scene::with_a_change_that_waits().await;
    let rest = scene.serve().await;
    for option in ["silent_bootstrap", "concurrent_bootstrap"] {
        let answer = rest
            .approve(&format!("orders?{option}=true"), "alice")
            .await;
        let details = answer.is_error(409, "OtherBootstrapOptions");
        assert_eq!(details["requested"][option], true);
        assert_eq!(details["published"][option], false);
    }
    assert_eq!(scene.votes().await, []);
}

/// Puts an object that isn't the caller's vote where a repetition of his last one would look for it.
async fn squat(scene: &Scene, rest: &Rest) -> String {
    rest.approve("orders", "alice").await.is_accepted(i64::MAX);
    let name = scene.votes().await[0].metadata.name.clone().unwrap();
    let votes = scene.api::<PipelineApproval>();
    votes.delete(&name, &DeleteParams::default()).await.unwrap();
    // Dave may vote on another Pipeline only.
    scene.pipeline("payments", json!({})).await;
    scene
        .create::<Role>(json!({
            "metadata": {"name": "payments-only"},
            "rules": [
                {"apiGroups": ["sluice.dev"], "resources": ["pipelines"],
                 "resourceNames": ["payments"], "verbs": ["approve"]},
                {"apiGroups": ["sluice.dev"], "resources": ["pipelineapprovals"], "verbs": ["create"]},
            ],
        }))
        .await;
    let dave = json!({"kind": "User", "name": "dave"});
    scene.bind("dave", "Role", "payments-only", dave).await;
    scene
        .wait_until_allowed("dave", &[], "approve", "payments")
        .await;
    let client = Cluster::shared().await.client_for("dave").await;
    let votes = Api::<PipelineApproval>::namespaced(client, scene.name());
    eventually("dave's vote is stored", || async {
        let object = json!({
            "metadata": {"name": name},
            "spec": {"pipelineRef": {"name": "payments"}, "changeId": OTHER_CHANGE,
                     "decision": "Reject", "voter": "dave"},
        });
        let object = serde_json::from_value(object).unwrap();
        let stored = votes.create(&PostParams::default(), &object).await;
        stored.map_err(|error| error.to_string())
    })
    .await;
    name
}

#[tokio::test]
async fn a20_a_vote_under_the_name_of_a_colleagues_next_one_keeps_it_out_by_no_door() {
    let scene = Scene::with_a_change_that_waits().await;
    let replicas = [scene.serve().await, scene.serve().await];
    let taken = squat(&scene, &replicas[0]).await;
    // Repeated, and by replicas at once, it is stored once all the same.
    let calls = (0..16).map(|i| replicas[i % 2].approve("orders", "alice"));
    for answer in join_all(calls).await {
        answer.is_accepted(i64::MAX);
    }
    let votes = scene.votes().await;
    assert_eq!(votes.len(), 2, "{votes:?}");
    let hers = votes
        .iter()
        .find(|vote| vote.metadata.name.as_ref() != Some(&taken));
    let spec = &hers.unwrap().spec;
    assert_eq!(spec.on_behalf_of.as_ref().unwrap().username, "alice");
    assert_eq!(
        (spec.change_id.as_str(), spec.pipeline_ref.name.as_str()),
        (CHANGE, "orders")
    );
    for state in ["Approved", "Sealed"] {
        scene.set_status("orders", now(state)).await;
        replicas[1]
            .approve("orders", "alice")
            .await
            .is_accepted(i64::MAX);
    }
    assert_eq!(scene.votes().await.len(), 2);
}

#[tokio::test]
async fn a20_a_withdrawn_vote_that_somebody_holds_keeps_no_other_out() {
    let scene = Scene::with_a_change_that_waits().await;
    let rest = scene.serve().await;
    rest.approve("orders", "alice").await.is_accepted(i64::MAX);
    let votes = scene.api::<PipelineApproval>();
    let name = scene.votes().await[0].metadata.name.clone().unwrap();
    let hold = |finalizers: Value| Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    let params = PatchParams::default();
    let held = hold(json!(["example.com/hold"]));
    votes.patch(&name, &params, &held).await.unwrap();
    votes.delete(&name, &DeleteParams::default()).await.unwrap();
    for _ in 0..2 {
        rest.approve("orders", "alice").await.is_accepted(i64::MAX);
        assert_eq!(scene.votes().await.len(), 2);
    }
    votes
        .patch(&name, &params, &hold(Value::Null))
        .await
        .unwrap();
}

#[tokio::test]
async fn a20_a_pipeline_that_is_named_like_another_one_in_the_engine_does_not_hide_it() {
    let scene = Scene::empty().await;
    scene
        .pipeline("ours", json!({"pipelineName": "orders"}))
        .await;
    let mut has_it = waiting();
    has_it["engine"]["pipelineId"] = json!("p-1");
    scene.set_status("ours", has_it).await;
    let rest = scene.serve().await;
    rest.approve("orders", "alice").await.is_accepted(i64::MAX);

    scene.pipeline("orders", json!({})).await;
    let stalled = |type_: &str, status: &str| {
        json!({"type": type_, "status": status, "reason": "NameTaken", "message": "",
               "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    let conditions = json!([stalled("Ready", "False"), stalled("Stalled", "True")]);
    // Before it was looked at, and once it was.
    for status in [
        None,
        Some(json!({"phase": "Pending", "conditions": conditions})),
    ] {
        if let Some(status) = status {
            scene.set_status("orders", status).await;
        }
        rest.approve("orders", "alice").await.is_accepted(i64::MAX);
    }
    let votes = scene.votes().await;
    assert_eq!(votes.len(), 1);
    assert_eq!(votes[0].spec.pipeline_ref.name, "ours");
    // Selected by the name that it has in the engine.
    let selected = ListParams::default().fields("spec.pipelineName=orders");
    let selected = scene.api::<Pipeline>().list(&selected).await.unwrap();
    assert_eq!(selected.items.len(), 1);
}

#[tokio::test]
async fn row_500_the_checkpoint_is_unknown() {
    let scene = Scene::with_a_change_that_waits().await;
    scene
        .set_status("orders", json!({"approval": {"base": null}}))
        .await;
    let rest = scene.serve().await;
    let answer = rest.approve("orders", "alice").await;
    answer.is_error(500, "CheckpointUnknown");
    assert!(
        answer.message().contains("spec.approvedChange"),
        "{answer:?}"
    );
    assert_eq!(scene.votes().await, []);
}

#[tokio::test]
async fn row_500_our_account_lacks_a_right() {
    let scene = Scene::with_a_change_that_waits().await;
    scene.account("sluice").await;
    let token = scene.token("sluice", &[]).await;
    let rest = scene
        .serve_as(
            Cluster::shared().await.client_with_token(&token).await,
            |_| {},
        )
        .await;
    let answer = rest.approve("orders", "alice").await;
    answer.is_error(500, "MissingPermission");
    let needed = "create tokenreviews.authentication.k8s.io";
    assert!(answer.message().contains(needed), "{answer:?}");
}

#[tokio::test]
async fn row_500_our_account_is_not_the_one_that_may_name_voters() {
    let scene = Scene::with_a_change_that_waits().await;
    // An administrator has every right, and still may not vote in another's name.
    let rest = scene
        .serve_as(Cluster::shared().await.admin().await, |_| {})
        .await;
    let answer = rest.approve("orders", "alice").await;
    answer.is_error(500, "MissingPermission");
    assert!(
        answer.message().contains("names another voter"),
        "{answer:?}"
    );
    assert_eq!(scene.votes().await, []);
}

#[tokio::test]
async fn row_503_the_api_server_can_not_be_reached() {
    let scene = Scene::with_a_change_that_waits().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    // One that accepts connections and says nothing, and one where nobody listens.
    let silent = Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
    let rest = scene
        .serve_as(silent, |config| {
            config.request_timeout = Duration::from_millis(200)
        })
        .await;
    for _ in 0..2 {
        let answer = rest.approve("orders", "alice").await;
        answer.is_error(503, "ApiServerUnreachable");
        assert!(answer.headers.contains_key("retry-after"));
    }
    let gone = Port::held();
    let url = format!("http://{}", gone.address);
    let nowhere = Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
    let rest = scene.serve_as(nowhere, |_| {}).await;
    let answer = rest.approve("orders", "alice").await;
    answer.is_error(503, "ApiServerUnreachable");
    assert_eq!(scene.votes().await, []);
}
