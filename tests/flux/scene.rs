//! A story whose Pipeline comes from a Git repository, by Flux, as `examples/flux/` shows it.

use std::fmt::Debug;

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::controllers::{CANCELS, Flux};
use super::git::Repository;
use sluice_test_support::cluster::{self, Namespace, pipeline, workspace};
use sluice_test_support::story::{ORDERS, PROGRAM, Story};

/// The namespace of Pipelines in the examples.
const SHOP: &str = "shop";
/// The namespace from which approvals are applied in the examples.
const APPROVALS: &str = "approvals";
/// The name of the Kustomization of Pipelines, of its source, and of the account that applies it.
pub const PIPELINES: &str = "pipelines";
/// Where the file of the Pipeline is.
const FILE: &str = "pipelines/orders.yaml";

/// How a Kustomization waits.
pub struct Wait<'a> {
    /// The file of the examples that has its health checks; without, it is kstatus alone that tells.
    pub checks: Option<&'a str>,
    /// When it gives up.
    pub timeout: &'a str,
    /// Whether a newer revision ends the wait.
    pub cancels: bool,
}

impl Default for Wait<'_> {
    /// As the example has it, and as Flux comes.
    fn default() -> Self {
        Self {
            checks: Some("pipelines.yaml"),
            timeout: "2m",
            cancels: false,
        }
    }
}

/// See the module.
pub struct Scene {
    /// The namespace, the engine and the operator.
    pub story: Story,
    /// What is committed.
    pub repository: Repository,
    /// The namespace from which approvals are applied.
    pub approvals: Namespace,
    flux: &'static Flux,
}

/// The objects of a file of the examples, with the namespaces of a story.
fn example(file: &str, replaced: &[(&str, &str)]) -> Vec<Value> {
    let path = workspace().join("examples").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut objects: Vec<Value> = serde_saphyr::from_multiple(&text).expect(file);
    for object in &mut objects {
        rename(object, replaced);
    }
    objects
}

/// Puts names in the place of others, wherever they stand as namespaces.
fn rename(value: &mut Value, replaced: &[(&str, &str)]) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let names = key == "namespace" || key == "targetNamespace";
                let other = replaced
                    .iter()
                    .find(|(from, _)| names && value.as_str() == Some(*from));
                match other {
                    Some((_, to)) => *value = (*to).into(),
                    None => rename(value, replaced),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, replaced)),
        _ => {}
    }
}

impl Scene {
    /// A repository with one Pipeline, and Flux that applies it, as the example has it.
    pub async fn begin() -> Self {
        Self::waiting(Wait::default()).await
    }

    /// The same, with other waiting.
    pub async fn waiting(wait: Wait<'_>) -> Self {
        let story = Story::begin().await;
        let flux = Flux::on(story.cluster()).await;
        let scene = Self {
            repository: Repository::new(&story.namespace),
            approvals: story.cluster().namespace("approvals").await,
            story,
            flux,
        };
        scene.commit_program(PROGRAM);
        scene.apply_example("flux/rbac.yaml", |_| {}).await;
        scene
            .apply_example("flux/pipelines.yaml", |object| {
                if object["kind"] == "Kustomization" {
                    scene.set_wait(object, &wait);
                }
            })
            .await;
        scene
    }

    fn set_wait(&self, kustomization: &mut Value, wait: &Wait<'_>) {
        let spec = &mut kustomization["spec"];
        spec["timeout"] = wait.timeout.into();
        spec["retryInterval"] = "1s".into();
        match wait.checks {
            Some(file) => {
                let objects = example(&format!("flux/{file}"), &[]);
                let mut others = objects.into_iter();
                let other = others.find(|object| object["kind"] == "Kustomization");
                spec["healthCheckExprs"] = other.expect(file)["spec"]["healthCheckExprs"].clone();
            }
            None => drop(
                spec.as_object_mut()
                    .expect("a spec")
                    .remove("healthCheckExprs"),
            ),
        }
        if wait.cancels {
            kustomization["metadata"]["labels"] = json!({CANCELS: ""});
        }
    }

    /// Applies the objects of a file of the examples, in the namespaces of this scene, and from its
    /// repository, which is looked at all the time.
    pub async fn apply_example(&self, file: &str, change: impl Fn(&mut Value)) {
        let shop: &str = &self.story.namespace;
        for mut object in example(file, &[(SHOP, shop), (APPROVALS, &self.approvals)]) {
            if object["kind"] == "GitRepository" {
                object["spec"]["url"] = self.repository.url.clone().into();
                object["spec"]["interval"] = "1s".into();
            }
            change(&mut object);
            self.apply(&object).await;
        }
    }

    async fn apply(&self, object: &Value) {
        let dynamic: DynamicObject = serde_json::from_value(object.clone()).expect("an object");
        let types = dynamic.types.clone().expect("its kind");
        let kind = GroupVersionKind::try_from(&types).expect("its kind");
        let namespace = dynamic.namespace().expect("its namespace");
        let resource = ApiResource::from_gvk(&kind);
        let api =
            Api::<DynamicObject>::namespaced_with(self.story.client.clone(), &namespace, &resource);
        let params = PatchParams::apply("person").force();
        api.patch(&dynamic.name_any(), &params, &Patch::Apply(object))
            .await
            .unwrap_or_else(|error| panic!("{object}: {error}"));
    }

    /// Commits the Pipeline with this program.
    pub fn commit_program(&self, sql: &str) {
        self.commit_spec(json!({"program": {"sql": sql}}));
    }

    /// Commits the Pipeline with these fields in its spec.
    pub fn commit_spec(&self, further: Value) {
        self.commit_object(json!({"spec": further}));
    }

    /// Commits the Pipeline with these fields in it.
    pub fn commit_object(&self, further: Value) {
        let mut object = pipeline(ORDERS, json!({"engineRef": {"name": "engine"}}));
        sluice_test_support::story::merge(&mut object, &further);
        // JSON is YAML.
        self.repository.commit(&[(FILE, Some(&object.to_string()))]);
    }

    /// Commits the example of a program in a file of its own, in place of the Pipeline.
    pub fn commit_example_program(&self) {
        let names = ["kustomization.yaml", "names.yaml", "pipeline.yaml"];
        let files = names.map(|name| {
            let path = workspace().join("examples/flux/program").join(name);
            let text = std::fs::read_to_string(path).expect(name);
            (format!("pipelines/{name}"), text)
        });
        let mut all: Vec<(&str, Option<&str>)> = files
            .iter()
            .map(|(path, text)| (path.as_str(), Some(text.as_str())))
            .collect();
        all.extend([(FILE, None), ("pipelines/orders.sql", Some(PROGRAM))]);
        self.repository.commit(&all);
    }

    /// Commits that the Pipeline is no more.
    pub fn remove_pipeline(&self) {
        // A folder with nothing in it isn't kept by Git.
        self.repository
            .commit(&[(FILE, None), ("pipelines/README.md", Some("None.\n"))]);
    }

    /// Commits a vote into the folder of approvals.
    pub fn commit_vote(&self, name: &str, id: &str, decision: &str) {
        let vote = json!({
            "apiVersion": "sluice.dev/v1alpha1",
            "kind": "PipelineApproval",
            "metadata": {"name": name},
            "spec": {"pipelineRef": {"name": ORDERS}, "changeId": id, "decision": decision, "reason": "reviewed"},
        });
        let path = format!("approvals/{name}.yaml");
        self.repository.commit(&[(&path, Some(&vote.to_string()))]);
    }

    /// Applies what is committed into the folder of approvals, too.
    pub async fn apply_approvals(&self) {
        self.apply_example("approvals/rbac.yaml", |_| {}).await;
        self.apply_example("flux/approvals.yaml", |object| {
            let spec = &mut object["spec"];
            if spec["retryInterval"].is_string() {
                spec["retryInterval"] = "1s".into();
            }
        })
        .await;
    }

    /// A Kustomization.
    pub async fn kustomization(&self, namespace: &str, name: &str) -> DynamicObject {
        self.kustomizations(namespace)
            .get(name)
            .await
            .expect("the Kustomization")
    }

    fn kustomizations(&self, namespace: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("kustomize.toolkit.fluxcd.io", "v1", "Kustomization");
        let resource = ApiResource::from_gvk(&kind);
        Api::namespaced_with(self.story.client.clone(), namespace, &resource)
    }

    /// Waits until a condition of the Kustomization of Pipelines is so, and returns its message. What is
    /// seen is about the newest commit.
    pub async fn until(&self, type_: &str, status: &str, reason: &str) -> String {
        self.until_of(&self.story.namespace, PIPELINES, (type_, status, reason))
            .await
    }

    /// The same, once all these parts are in its message.
    pub async fn until_told(&self, condition: (&str, &str, &str), parts: &[&str]) {
        let told = |message: &str| parts.iter().all(|part| message.contains(part));
        self.until_says(&self.story.namespace, PIPELINES, condition, told)
            .await;
    }

    /// The same of another Kustomization.
    pub async fn until_of(
        &self,
        namespace: &str,
        name: &str,
        condition: (&str, &str, &str),
    ) -> String {
        self.until_says(namespace, name, condition, |_| true).await
    }

    async fn until_says(
        &self,
        namespace: &str,
        name: &str,
        (type_, status, reason): (&str, &str, &str),
        told: impl Fn(&str) -> bool,
    ) -> String {
        let head = self.repository.head();
        self.eventually(
            &format!("{type_} of {name} is {status}, {reason}, for {head}"),
            || async {
                let found = self.kustomization(namespace, name).await;
                let attempted = found.data["status"]["lastAttemptedRevision"].clone();
                let conditions = found.data["status"]["conditions"].as_array().cloned();
                let condition = conditions
                    .unwrap_or_default()
                    .into_iter()
                    .find(|condition| {
                        condition["type"] == type_
                            && condition["status"] == status
                            && condition["reason"] == reason
                            && told(condition["message"].as_str().unwrap_or_default())
                    });
                let is_newest = attempted.as_str().is_some_and(|it| it.contains(&head));
                match condition.filter(|_| is_newest) {
                    Some(condition) => {
                        Ok(condition["message"].as_str().unwrap_or_default().to_owned())
                    }
                    None => Err(found.data["status"].clone()),
                }
            },
        )
        .await
    }

    /// Waits until everything that is committed is applied, and ready.
    pub async fn until_ready(&self) -> String {
        self.until("Ready", "True", "ReconciliationSucceeded").await
    }

    /// Has Flux apply everything again, as `flux reconcile` does, and waits until that is done.
    pub async fn reconcile_again(&self) {
        static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let token = format!("again-{number}");
        let asks = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": token}}});
        let api = self.kustomizations(&self.story.namespace);
        let params = PatchParams::default();
        api.patch(PIPELINES, &params, &Patch::Merge(&asks))
            .await
            .expect("it is asked for");
        self.eventually("it has reconciled again", || async {
            let status = self.kustomization(&self.story.namespace, PIPELINES).await;
            let status = status.data["status"].clone();
            let handled = status["lastHandledReconcileAt"] == token.as_str();
            handled.then_some(()).ok_or(status)
        })
        .await;
    }

    /// Tries until it works; fails with the last answer, and with what Flux has logged of it.
    async fn eventually<T, E, F>(&self, what: &str, attempt: impl FnMut() -> F) -> T
    where
        E: Debug,
        F: Future<Output = Result<T, E>>,
    {
        let shown = ShownOnPanic(self);
        let found = cluster::eventually(what, attempt).await;
        std::mem::forget(shown);
        found
    }
}

/// Shows what Flux has logged of a scene, if the test fails meanwhile.
struct ShownOnPanic<'a>(&'a Scene);

impl Drop for ShownOnPanic<'_> {
    fn drop(&mut self) {
        let log = std::fs::read_to_string(&self.0.flux.log).unwrap_or_default();
        let namespace: &str = &self.0.story.namespace;
        let of_it: Vec<&str> = log
            .lines()
            .filter(|line| line.contains(namespace))
            .collect();
        let last = &of_it[of_it.len().saturating_sub(30)..];
        println!("Flux's log:\n{}", last.join("\n"));
    }
}
