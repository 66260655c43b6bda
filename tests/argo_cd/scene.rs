//! A Pipeline in Git, an Application that brings it to the cluster, and what can be seen of both.

use std::time::{Duration, Instant};

use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use sluice::crd::{Door, Pipeline, Verdict};

use super::argo::Argo;
use super::git::Repository;
use sluice_test_support::story::{ORDERS, PATIENCE, PROGRAM, Story, approval, merge};

/// The annotation by which Argo CD is asked to look. It removes it when it has.
const REFRESH: &str = "argocd.argoproj.io/refresh";
/// After how long it must have overlooked it.
const OVERLOOKED: Duration = Duration::from_secs(5);

/// How Argo CD applies what is in Git.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Apply {
    /// As `kubectl apply` does, which is its default.
    ClientSide,
    /// As `kubectl apply --server-side` does, and the API server says what differs.
    ServerSide,
}

/// A Pipeline `orders` in a repository of its own, synced and healed by an Application.
pub struct Scene {
    pub story: Story,
    pub argo: &'static Argo,
    pub repository: Repository,
    applications: Api<DynamicObject>,
    apply: Apply,
    /// What stands in Git of the Pipeline.
    pipeline: Value,
}

impl Scene {
    /// The Pipeline runs, and is settled.
    pub async fn begin(argo: &'static Argo, apply: Apply) -> Self {
        Self::begin_with(argo, apply, json!({})).await
    }

    /// The same, with these further fields of the Pipeline.
    pub async fn begin_with(argo: &'static Argo, apply: Apply, further: Value) -> Self {
        let mut scene = Self::prepared(argo, apply).await;
        scene.commit(further).await;
        scene.application(&scene.name(), "pipelines").await;
        scene.story.until_settled_as("Running").await;
        scene.until_synced("Healthy").await;
        scene
    }

    /// Nothing is in Git yet, and there is no Application.
    pub async fn prepared(argo: &'static Argo, apply: Apply) -> Self {
        let story = Story::on(argo.cluster, &[]).await;
        Self {
            applications: kind("Application", &story, argo.namespace),
            argo,
            repository: Repository::new(),
            apply,
            pipeline: json!({
                "apiVersion": "sluice.dev/v1alpha1",
                "kind": "Pipeline",
                "metadata": {"name": ORDERS},
                "spec": {"engineRef": {"name": "engine"}, "program": {"sql": PROGRAM}},
            }),
            story,
        }
    }

    /// What the Application is called: as the story's namespace.
    pub fn name(&self) -> String {
        self.story.namespace.to_string()
    }

    /// Changes the Pipeline in Git, and has Argo CD look. Returns the commit.
    pub async fn commit(&mut self, change: Value) -> String {
        merge(&mut self.pipeline, &change);
        let text = format!("{:#}\n", self.pipeline);
        let commit = self.repository.commit("pipelines/orders.json", &text);
        self.look(&self.name()).await;
        commit
    }

    /// Has Argo CD look into Git, as a webhook of the Git server does; otherwise it does every 2 to 3 minutes.
    pub async fn look(&self, application: &str) {
        self.ask_to_look(application, "normal").await;
    }

    async fn ask_to_look(&self, application: &str, how: &str) {
        let patch = json!({"metadata": {"annotations": {REFRESH: how}}});
        let patch = Patch::Merge(patch);
        let params = PatchParams::default();
        match self.applications.patch(application, &params, &patch).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            other => drop(other.expect("the Application")),
        }
    }

    /// Creates an Application for a folder of the repository.
    pub async fn application(&self, name: &str, folder: &str) {
        let mut options = vec![];
        let mut annotations = json!({});
        if self.apply == Apply::ServerSide {
            options.push("ServerSideApply=true");
            annotations = json!({"argocd.argoproj.io/compare-options": "ServerSideDiff=true"});
        }
        let application = json!({
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Application",
            "metadata": {"name": name, "annotations": annotations},
            "spec": {
                "project": "default",
                "source": {
                    "repoURL": self.repository.url(),
                    "targetRevision": "main",
                    "path": folder,
                },
                "destination": {
                    "server": "https://kubernetes.default.svc",
                    "namespace": self.name(),
                },
                "syncPolicy": {
                    "automated": {"selfHeal": true, "prune": true},
                    "syncOptions": options,
                    // Otherwise a commit that corrects another one waits until all attempts at that are over.
                    "retry": {
                        "limit": 5,
                        "refresh": true,
                        "backoff": {"duration": "2s", "factor": 1, "maxDuration": "2s"},
                    },
                },
            },
        });
        let application = serde_json::from_value(application).expect("an object");
        let params = PostParams::default();
        let made = self.applications.create(&params, &application).await;
        made.expect("the Application");
    }

    /// An Application as it is now.
    pub async fn of(&self, application: &str) -> Value {
        let found = self.applications.get(application).await;
        serde_json::to_value(found.expect("the Application")).expect("JSON")
    }

    /// The Application as it is now.
    pub async fn now(&self) -> Value {
        self.of(&self.name()).await
    }

    /// Waits until something is true of the Application.
    pub async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.until_of(&self.name(), what, holds).await
    }

    /// Waits until something is true of an Application.
    pub async fn until_of(
        &self,
        application: &str,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut asked = Instant::now();
        loop {
            let now = self.of(application).await;
            if holds(&now) {
                return now;
            }
            // It overlooks one now and then that is asked for while it is busy with the last, and then sees no
            // difference in the same word said again.
            let open = now["metadata"]["annotations"][REFRESH].as_str();
            if let Some(open) = open.filter(|_| asked.elapsed() > OVERLOOKED) {
                let other = if open == "normal" { "hard" } else { "normal" };
                self.ask_to_look(application, other).await;
                asked = Instant::now();
            }
            if Instant::now() > deadline {
                let logged = self
                    .argo
                    .logged("argocd-application-controller", application);
                panic!("waited in vain until {what}\n{:#}\n{logged}", now["status"]);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until what is in Git is in the cluster, nothing is under way, and the health is so.
    pub async fn until_synced(&self, health: &str) -> Value {
        let head = self.repository.head();
        self.until(&format!("it is synced, and {health}"), |application| {
            let status = &application["status"];
            status["sync"]["status"] == "Synced"
                && status["sync"]["revision"] == head.as_str()
                && status["operationState"]["phase"] == "Succeeded"
                && application["operation"].is_null()
                && status["health"]["status"] == health
        })
        .await
    }

    /// Waits until a change waits, and the Application says so. Returns the Pipeline.
    pub async fn until_waiting(&self, health: &str) -> Pipeline {
        let waiting = self.story.until_waiting().await;
        let id = sluice_test_support::story::id(&waiting);
        self.until(&format!("it is {health} because of {id}"), |application| {
            let of_it = health_of(application);
            of_it["status"] == health && words(&of_it).contains(&id)
        })
        .await;
        waiting
    }

    /// Commits another program, and waits until that is synced and waits for a decision. Returns the Pipeline.
    pub async fn brings(&mut self, sql: &str, health: &str) -> Pipeline {
        self.commit(json!({"spec": {"program": {"sql": sql}}}))
            .await;
        let waiting = self.until_waiting(health).await;
        self.until_synced(health).await;
        waiting
    }

    /// Holds it to be at rest: Argo CD, though it looks again, and the operator, though it asks again, write
    /// nothing, and nothing drifts.
    pub async fn rests(&self) {
        self.story.rests().await;
        let before = (self.story.now().await, self.syncs().await);
        for _ in 0..2 {
            self.look(&self.name()).await;
            let now = self
                .until("Argo CD has looked", |application| {
                    let annotations = &application["metadata"]["annotations"];
                    annotations[REFRESH].is_null()
                })
                .await;
            assert_eq!(now["status"]["sync"]["status"], "Synced", "{now:#}");
        }
        self.story.engine.ticks(2).await;
        let after = (self.story.now().await, self.syncs().await);
        assert_eq!(before, after, "something was written");
    }

    /// How many syncs there were, and when the last one began.
    pub async fn syncs(&self) -> (usize, Value) {
        let now = self.now().await;
        let history = now["status"]["history"].as_array().map_or(0, Vec::len);
        (
            history,
            now["status"]["operationState"]["startedAt"].clone(),
        )
    }

    /// The Applications' Events about actions.
    pub async fn actions(&self) -> Vec<String> {
        let client = self.argo.cluster.admin().await;
        let events: Api<k8s_openapi::api::core::v1::Event> =
            Api::namespaced(client, self.argo.namespace);
        let all = events.list(&ListParams::default()).await.expect("Events");
        let of_it = all.items.into_iter().filter(|event| {
            event.involved_object.name.as_deref() == Some(&self.name())
                && event.reason.as_deref() == Some("ResourceActionRan")
        });
        of_it.filter_map(|event| event.message).collect()
    }

    /// What was decided about the last change, by whom, and through which door.
    pub async fn decision(&self) -> (Verdict, Door, String) {
        let pipeline = self.story.now().await;
        let decision = approval(&pipeline).decision.expect("a decision");
        assert!(decision.verified, "{decision:?}");
        (decision.outcome, decision.via, decision.by)
    }
}

/// The health of the Pipeline, as the Application tells it.
pub fn health_of(application: &Value) -> Value {
    let resources = application["status"]["resources"].as_array();
    let pipeline = resources
        .into_iter()
        .flatten()
        .find(|resource| resource["kind"] == "Pipeline");
    pipeline.map_or(Value::Null, |pipeline| pipeline["health"].clone())
}

/// What a health says.
pub fn words(health: &Value) -> String {
    health["message"].as_str().unwrap_or_default().to_owned()
}

fn kind(kind: &str, story: &Story, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("argoproj.io", "v1alpha1", kind);
    let resource = ApiResource::from_gvk(&kind);
    Api::namespaced_with(story.client.clone(), namespace, &resource)
}
