//! A real control plane with Sluice's definitions, roles and policies in it, shared by all tests of
//! this program. They are taken from `deploy/`, as people take them, so that what is tried here is
//! what is installed.
//!
//! Tests keep out of each other's way by namespaces: `cluster.namespace("name").await`.

use std::fmt::Debug;
use std::future::Future;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Output;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use control_plane::{ControlPlane, Options, TemporaryNamespace};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::runtime::wait::await_condition;
use kube::{Api, Client, Config, Resource};
use regex::Regex;
use serde_json::{Value, json};
use sluice::crd::{Pipeline, PipelineApproval};
use sluice::gate::policy_status::vouched_from;
use tokio::sync::OnceCell;

/// The account that the operator and the REST endpoint run under, as `deploy/sluice.yaml` has it.
pub const OPERATOR: &str = "system:serviceaccount:sluice-system:sluice";
/// Who may do anything.
pub const ADMIN: &str = "admin";

/// How long anything may take. It is for machines that build other things at the time.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The control plane that all tests share, with Sluice installed.
pub struct Cluster {
    plane: &'static ControlPlane,
}

impl Cluster {
    /// The cluster; the first who asks starts it and installs Sluice.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Cluster> = OnceCell::const_new();
        SHARED
            .get_or_init(|| async {
                // Starting blocks, and may take minutes where the programs have to be built.
                let plane = tokio::task::spawn_blocking(ControlPlane::shared)
                    .await
                    .expect("starting the control plane doesn't panic")
                    .unwrap_or_else(|error| panic!("{error}"));
                let cluster = Self { plane };
                cluster.install().await;
                cluster
            })
            .await
    }

    /// A cluster that nobody else uses, with Sluice installed: for tests that run an operator, which
    /// would meddle with what others write. It ends with this process.
    pub async fn own() -> Self {
        let cluster = Self::bare().await;
        cluster.install().await;
        cluster
    }

    /// The same with nothing installed.
    pub async fn bare() -> Self {
        Self::start(Options::default()).await
    }

    /// One whose API server goes by no validating admission policy, whatever is installed.
    pub async fn that_ignores_policies() -> Self {
        let flag = "--disable-admission-plugins=ValidatingAdmissionPolicy";
        let cluster = Self::start(Options {
            api_server_flags: vec![flag.to_owned()],
            ..Options::default()
        })
        .await;
        cluster.apply().await;
        // A definition may be established a moment before its objects are served.
        let pipelines: Api<Pipeline> = Api::namespaced(cluster.admin().await, "default");
        eventually("Pipelines are served", || async {
            answer(pipelines.list(&ListParams::default()).await)
        })
        .await;
        cluster
    }

    async fn start(options: Options) -> Self {
        let plane = tokio::task::spawn_blocking(|| ControlPlane::start(options))
            .await
            .expect("starting the control plane doesn't panic")
            .unwrap_or_else(|error| panic!("{error}"));
        Self {
            plane: Box::leak(Box::new(plane)),
        }
    }

    /// A client as this user: one that the control plane knows (admin, alice, bob, carol), a service
    /// account by its full name, or anybody else by impersonation.
    ///
    /// Each test makes its own, because a client ends with the runtime that it was made in.
    pub async fn client_for(&self, user: &str) -> Client {
        if self.plane.token(user).is_ok() {
            return client(self.config(user).await);
        }
        let mut config = self.config(ADMIN).await;
        match user
            .strip_prefix("system:serviceaccount:")
            .and_then(|account| account.split_once(':'))
        {
            Some((namespace, name)) => {
                let token = token(&client(config.clone()), namespace, name).await;
                config.auth_info.token = Some(token.into());
            }
            None => config.auth_info.impersonate = Some(user.to_owned()),
        }
        client(config)
    }

    /// A client with this token and nothing else.
    pub async fn client_with_token(&self, token: &str) -> Client {
        let mut config = self.config(ADMIN).await;
        config.auth_info = kube::config::AuthInfo {
            token: Some(token.to_owned().into()),
            ..kube::config::AuthInfo::default()
        };
        client(config)
    }

    /// A client that may do anything.
    pub async fn admin(&self) -> Client {
        self.client_for(ADMIN).await
    }

    /// How to connect as a user that the control plane knows.
    pub async fn config(&self, user: &str) -> Config {
        let kubeconfig = self.plane.kubeconfig_for(user).expect("a known user");
        let kubeconfig = Kubeconfig::from_yaml(&kubeconfig).expect("a readable kubeconfig");
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .expect("a usable kubeconfig")
    }

    /// A namespace of the test's own; it goes when it is dropped.
    pub async fn namespace(&self, prefix: &str) -> Namespace {
        let inner = self.plane.temporary_namespace(prefix);
        Namespace {
            inner: inner.unwrap_or_else(|error| panic!("{error}")),
        }
    }

    /// Binds a ClusterRole to a user in a namespace.
    pub async fn grant(&self, namespace: &str, user: &str, cluster_role: &str) {
        let bindings: Api<RoleBinding> = Api::namespaced(self.admin().await, namespace);
        let binding = json!({
            "metadata": {"generateName": "test-"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": cluster_role,
            },
            "subjects": [{
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "User",
                "name": user,
            }],
        });
        create(&bindings, binding).await.expect("the binding");
    }

    /// Runs kubectl as a user, and returns what it says.
    pub fn kubectl(&self, user: &str, arguments: &[&str]) -> Output {
        self.plane
            .kubectl(user)
            .expect("a known user")
            .args(arguments)
            .output()
            .expect("kubectl can be started")
    }

    /// The control plane itself.
    pub fn plane(&self) -> &'static ControlPlane {
        self.plane
    }

    /// Installs what `deploy/` holds. No node runs the Deployment in it, so tests start operators
    /// themselves.
    async fn install(&self) {
        self.apply().await;
        // A policy takes some seconds to become active, and nothing tells when.
        let votes: Api<PipelineApproval> = Api::namespaced(self.admin().await, "default");
        eventually("the admission policy is active", || async {
            let dry_run = PostParams {
                dry_run: true,
                ..PostParams::default()
            };
            let mut forged = vote("nobody", "forged");
            forged["spec"]["onBehalfOf"] = json!({"username": "nobody"});
            let forged = serde_json::from_value(forged).expect("a PipelineApproval");
            match votes.create(&dry_run, &forged).await {
                Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        self.until_names_are_written().await;
        self.until_the_policies_vouch().await;
    }

    /// Waits until a vote that is written now is old enough after the policies to count.
    pub async fn until_the_policies_vouch(&self) {
        fn written(metadata: &ObjectMeta) -> Option<Timestamp> {
            let fields = metadata.managed_fields.iter().flatten();
            let edits = fields.filter(|it| it.subresource.as_deref().unwrap_or("").is_empty());
            edits.filter_map(|it| it.time.as_ref()).map(|it| it.0).max()
        }
        let client = self.admin().await;
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client);
        eventually("votes count", || async {
            let all = ListParams::default();
            let policies = answer(policies.list(&all).await).map_err(|it| it.message)?;
            let bindings = answer(bindings.list(&all).await).map_err(|it| it.message)?;
            let policies = policies.items.iter().map(|it| written(&it.metadata));
            let bindings = bindings.items.iter().map(|it| written(&it.metadata));
            let newest = policies.chain(bindings).flatten().max();
            match newest.is_some_and(|newest| vouched_from(newest) <= Timestamp::now()) {
                true => Ok(()),
                false => Err(format!("{newest:?}")),
            }
        })
        .await;
    }

    /// Waits until the mutating policies are active.
    pub async fn until_names_are_written(&self) {
        let votes: Api<PipelineApproval> = Api::namespaced(self.admin().await, "default");
        eventually("the mutating policies are active", || async {
            let dry_run = PostParams {
                dry_run: true,
                ..PostParams::default()
            };
            let unnamed = serde_json::from_value(vote("nobody", "unnamed"));
            let unnamed: PipelineApproval = unnamed.expect("a PipelineApproval");
            let made = votes.create(&dry_run, &unnamed).await;
            match made.as_ref().map(|made| made.spec.voter.as_deref()) {
                Ok(Some(ADMIN)) => Ok(()),
                _ => Err(format!("{made:?}")),
            }
        })
        .await;
    }

    /// Applies what `deploy/` holds.
    pub async fn apply(&self) {
        for file in [
            "deploy/crds.yaml",
            "deploy/sluice.yaml",
            "deploy/write-names.yaml",
        ] {
            let path = workspace().join(file);
            let path = path.to_str().expect("a path in UTF-8");
            let output = self.kubectl(
                ADMIN,
                &["apply", "--server-side", "--force-conflicts", "-f", path],
            );
            assert!(output.status.success(), "{file}: {}", said(&output));
        }
        let output = self.kubectl(
            ADMIN,
            &[
                "wait",
                "--for=condition=Established",
                "--timeout=2m",
                "crd",
                "--all",
            ],
        );
        assert!(output.status.success(), "{}", said(&output));
    }
}

/// A namespace that is deleted when this is dropped.
pub struct Namespace {
    inner: TemporaryNamespace<'static>,
}

impl Namespace {
    /// It isn't deleted, and goes with the control plane: for who makes hundreds of them on one of his own, and leaves nobody there
    /// whom their objects keep busy.
    pub fn stays(&mut self) {
        self.inner.stays();
    }
}

impl Deref for Namespace {
    type Target = str;

    fn deref(&self) -> &str {
        self.inner.name()
    }
}

fn client(config: Config) -> Client {
    Client::try_from(config).expect("a client")
}

/// A token of a service account, as a pod would have it. A namespace's own account, `default`, is made by the
/// controllers a moment after the namespace: it is waited for.
pub async fn token(admin: &Client, namespace: &str, name: &str) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), namespace);
    let is_there = |account: Option<&ServiceAccount>| account.is_some();
    let made = awaited(&accounts, name, is_there).await;
    made.flatten().expect("the account");
    let request = TokenRequest::default();
    let response = accounts
        .create_token_request(name, &PostParams::default(), &request)
        .await
        .expect("a token of the service account");
    response.status.expect("a token").token
}

/// The folder of the workspace.
pub fn workspace() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Everything that a program said, but for what Kubernetes' client library logs of its own doings. That goes to
/// standard error, which may be the same as standard output.
pub fn said(output: &Output) -> String {
    let texts = [&output.stdout, &output.stderr];
    texts
        .map(|text| without_client_log(&String::from_utf8_lossy(text)))
        .concat()
}

/// The text without lines of klog. Whether there are any depends on the moment: `kubectl wait`, for one, ends
/// the watch that it needs no longer, and logs that as an error of the watch where an event comes just then.
fn without_client_log(text: &str) -> String {
    static LINE: LazyLock<Regex> = LazyLock::new(|| {
        // The format is described in klog's `klog.go`, at `formatHeader`.
        let line = r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ [\w./-]+:\d+\] [^\n]*\n?";
        Regex::new(line).expect("a pattern")
    });
    LINE.replace_all(text, "").into_owned()
}

#[test]
fn what_a_client_logs_of_itself_is_not_what_a_program_says() {
    let text = "pipeline configured\n\
        I1128 02:35:06.364723   17336 reflector.go:664] \"Warning: watch ended with error\" err=\"canceled\"\n\
        W1128 02:35:06.364723       1 warnings.go:110] \"Warning: deprecated\"\n\
        condition met\n\
        {\"a\": 1}E1128 02:35:06.364723 1 memcache.go:287] \"Unhandled Error\"";
    let said = "pipeline configured\ncondition met\n{\"a\": 1}";
    assert_eq!(without_client_log(text), said);
    let others = "Warning: watch\nI1128 said\nE1128 02:35:06 main.rs:1\n";
    assert_eq!(without_client_log(others), others);
}

/// Objects of a kind in a namespace, as JSON, so that tests can send what no type would let through.
pub fn raw<K>(client: &Client, namespace: &str) -> Api<DynamicObject>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let resource = kube::api::ApiResource::erase::<K>(&());
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// Creates an object from JSON; its `apiVersion` and `kind` may be left out.
pub async fn create<K>(api: &Api<K>, object: Value) -> Result<K, Box<Status>>
where
    K: Clone + Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let object = serde_json::from_value(object).expect("an object");
    answer(api.create(&PostParams::default(), &object).await)
}

/// What the API server answered; that it couldn't be asked ends the test.
pub fn answer<T>(result: kube::Result<T>) -> Result<T, Box<Status>> {
    match result {
        Ok(object) => Ok(object),
        Err(kube::Error::Api(status)) => Err(status),
        Err(error) => panic!("the API server can't be asked: {error}"),
    }
}

/// A Pipeline as JSON.
pub fn pipeline(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Pipeline",
        "metadata": {"name": name},
        "spec": spec,
    })
}

/// The status of an object that nobody has looked at, as the API server fills it in.
pub fn unobserved() -> Value {
    json!({"observedGeneration": -1})
}

/// The id of the change that tests vote on.
pub const CHANGE: &str = "0123456789abcdef0123456789abcdef";

/// A PipelineApproval as JSON, for the change [`CHANGE`].
pub fn vote(pipeline: &str, name: &str) -> Value {
    json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "PipelineApproval",
        "metadata": {"name": name},
        "spec": {
            "pipelineRef": {"name": pipeline},
            "changeId": CHANGE,
            "decision": "Approve",
        },
    })
}

/// Writes the status that a Pipeline has while [`CHANGE`] waits, or is in another state. Only the
/// operator's account may.
pub async fn write_approval(client: &Client, namespace: &str, name: &str, state: &str) -> Pipeline {
    let pipelines: Api<Pipeline> = Api::namespaced(client.clone(), namespace);
    let status = json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Pipeline",
        "status": {
            "phase": "AwaitingApproval",
            "waitingSince": "2026-01-01T00:00:00Z",
            "approval": {
                "state": state,
                "changeId": CHANGE,
                "shortId": &CHANGE[..8],
                "parent": "root",
                "target": {"sql": "a", "udfRust": "b", "udfToml": "c", "config": "d"},
                "options": {"silent": false, "concurrent": false},
                "revision": 0,
                "since": "2026-01-01T00:00:00Z",
                "summary": "1 view added",
                "diff": {"program_diff": {"added_views": ["best_customers"]}},
                "diffDigest": "0".repeat(64),
                "approveCommand": "",
                "approvedFieldCounts": true,
            },
        },
    });
    let parameters = kube::api::PatchParams::apply("test").force();
    pipelines
        .patch_status(name, &parameters, &kube::api::Patch::Apply(status))
        .await
        .expect("the status")
}

/// The object once a condition holds of it, or nothing if that isn't in time. A watch that fails is begun anew.
pub async fn awaited<K>(
    api: &Api<K>,
    name: &str,
    condition: impl Fn(Option<&K>) -> bool,
) -> Option<Option<K>>
where
    K: Clone + Debug + Send + serde::de::DeserializeOwned + Resource + 'static,
{
    let holds = async {
        loop {
            match await_condition(api.clone(), name, &condition).await {
                Ok(found) => return found,
                Err(error) => eprintln!("the watch of {name} failed: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, holds).await.ok()
}

/// Tries until it works; fails with the last answer.
pub async fn eventually<T, E, F>(what: &str, mut attempt: impl FnMut() -> F) -> T
where
    E: Debug,
    F: Future<Output = Result<T, E>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) if Instant::now() > deadline => {
                panic!("waited in vain until {what}; the last time: {error:?}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
