//! Stories of one Pipeline: a real API server, a real operator, and a stand-in for the engine whose
//! log of calls says what was really done to it.
//!
//! Each story has a namespace, an engine and a log of its own. The operator is one for all of them,
//! except where it is to be killed, paused or doubled: those stories are on a second cluster, where each
//! has operators of its own that look after its namespace only.
//!
//! Nothing is waited for by time alone: `until…` wait for what is to come true, and what must not
//! happen is looked for in the log after something else that comes later. Only that nothing is written any more
//! can't be seen otherwise (`rests`).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};
use sluice::crd::{
    Approval, ApprovalState, DeletionPolicy, Engine, FINALIZER, Pipeline, PipelineApproval,
    PipelineStatus, annotation,
};
use sluice::gate::change::{self, Change, Content};
use tokio::sync::OnceCell;

use crate::cluster::{Cluster, Namespace, awaited, create, pipeline};
pub use crate::cluster::{PATIENCE, eventually};
use crate::operator::Operator;
use crate::programs::temporary;
pub use crate::recording::Recording;
use crate::stand_in::{Call, StandIn};

// Beside this file, whichever test program it is part of.

/// The name of the Pipeline that most stories are about.
pub const ORDERS: &str = "orders";

/// A program with a table that a connector fills, one that none does, and a sink.
pub const PROGRAM: &str = "CREATE TABLE orders (id INT NOT NULL PRIMARY KEY, amount INT) WITH ('materialized' = 'true', 'connectors' = '[{\"name\": \"gen\", \"transport\": {\"name\": \"datagen\", \"config\": {\"plan\": [{\"limit\": 50}]}}}]');
CREATE TABLE notes (id INT) WITH ('materialized' = 'true');
CREATE VIEW totals WITH ('connectors' = '[{\"name\": \"sink\", \"transport\": {\"name\": \"null_output\"}}]') AS SELECT id, amount FROM orders;
CREATE VIEW listed AS SELECT id FROM notes;
";

/// The same program with another text somewhere.
pub fn edited(from: &str, to: &str) -> String {
    assert!(PROGRAM.contains(from), "{from}");
    PROGRAM.replacen(from, to, 1)
}

/// The program, with a function that Rust code gives a body to.
pub fn with_functions() -> String {
    format!("CREATE FUNCTION twice(x INT) RETURNS INT;\n{PROGRAM}")
}

/// The body of that function, and another one.
pub const FUNCTIONS: &str = "pub fn twice(x: Option<i32>) -> Result<Option<i32>, Box<dyn std::error::Error>> { Ok(x.map(|x| x * 2)) }";
pub const OTHER_FUNCTIONS: &str = "pub fn twice(x: Option<i32>) -> Result<Option<i32>, Box<dyn std::error::Error>> { Ok(x.map(|x| x + x)) }";

/// The same program with one view changed: what the engine gates.
pub fn changed() -> String {
    edited(
        "SELECT id, amount FROM orders",
        "SELECT id, amount + 1 AS amount FROM orders",
    )
}

/// The same view changed in another way: the engine's diff is the same, the change is another.
pub fn changed_otherwise() -> String {
    edited(
        "SELECT id, amount FROM orders",
        "SELECT id, amount + 2 AS amount FROM orders",
    )
}

/// The same program with a further view.
pub fn extended() -> String {
    format!("{PROGRAM}CREATE VIEW extra AS SELECT amount FROM orders;\n")
}

fn log_path(name: &str) -> PathBuf {
    temporary().join(format!("{name}-{}.log", std::process::id()))
}

/// The cluster with one operator for all stories.
async fn shared() -> &'static (Cluster, Operator) {
    static SHARED: OnceCell<(Cluster, Operator)> = OnceCell::const_new();
    SHARED
        .get_or_init(|| async {
            let cluster = Cluster::own().await;
            let operator = Operator::start(&cluster, &log_path("operator"), &[]).await;
            (cluster, operator)
        })
        .await
}

/// The figures of the operator that all stories share.
pub async fn shared_figures() -> String {
    let (_, operator) = shared().await;
    let url = format!("{}/metrics", operator.admin_url().await);
    let answer = reqwest::get(url).await.expect("an answer");
    answer.text().await.expect("a text")
}

/// The cluster on which each story has operators of its own.
pub async fn second() -> &'static Cluster {
    static SECOND: OnceCell<Cluster> = OnceCell::const_new();
    SECOND.get_or_init(Cluster::own).await
}

/// A story: see the module.
pub struct Story {
    /// A client that may do anything.
    pub client: Client,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its engine.
    pub engine: StandIn,
    cluster: &'static Cluster,
    log: PathBuf,
    own_operator: Option<Operator>,
    operator_flags: Vec<String>,
}

impl Story {
    /// A story with a quick engine.
    pub async fn begin() -> Self {
        Self::with(&[]).await
    }

    /// A story with these further flags for the engine.
    pub async fn with(flags: &[&str]) -> Self {
        let (cluster, operator) = shared().await;
        let story = Self::set(cluster, StandIn::start(flags), operator.log.clone()).await;
        story.engine_object(json!({})).await;
        story
    }

    /// A story whose engine nobody has told the operator about yet.
    pub async fn without_engine() -> Self {
        let (cluster, operator) = shared().await;
        Self::set(cluster, StandIn::start(&[]), operator.log.clone()).await
    }

    /// The same, with an engine that asks for this key.
    pub async fn keyed(key: &str) -> Self {
        let (cluster, operator) = shared().await;
        Self::set(
            cluster,
            StandIn::start(&["--api-key", key]),
            operator.log.clone(),
        )
        .await
    }

    /// A story with an operator of its own, which can be killed and started.
    pub async fn with_own_operator(flags: &[&str]) -> Self {
        let mut story = Self::without_operator(flags).await;
        story.engine_object(json!({})).await;
        story.start_operator().await;
        story
    }

    /// A story whose own operator serves the story's namespace at its REST endpoint, with these further
    /// flags.
    pub async fn with_own_rest(flags: &[&str]) -> Self {
        let mut story = Self::without_operator(&[]).await;
        story.engine_object(json!({})).await;
        let namespace = story.namespace.to_string();
        let flags = [&["--api-namespace", &namespace], flags].concat();
        story.operator_flags = flags.into_iter().map(str::to_owned).collect();
        story.start_operator().await;
        story
    }

    /// A story for which no operator runs yet.
    pub async fn without_operator(flags: &[&str]) -> Self {
        Self::prepared_on(second().await, flags).await
    }

    /// A story on this cluster for which no operator runs yet, with these further flags for the engine.
    pub async fn prepared_on(cluster: &'static Cluster, flags: &[&str]) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let log = log_path(&format!("own-operator-{number}"));
        // One of an earlier process with this id.
        let _ = std::fs::remove_file(&log);
        Self::set(cluster, StandIn::start(flags), log).await
    }

    /// A story on this cluster, with an operator of its own that has these further flags and serves
    /// the story's namespace at its REST endpoint.
    pub async fn on(cluster: &'static Cluster, flags: &[&str]) -> Self {
        let mut story = Self::prepared_on(cluster, &[]).await;
        story.engine_object(json!({})).await;
        let namespace = story.namespace.to_string();
        let flags = [&["--api-namespace", &namespace], flags].concat();
        story.operator_flags = flags.into_iter().map(str::to_owned).collect();
        story.start_operator().await;
        story
    }

    /// Where the story's own operators write their log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits until nothing is under way any more: nothing is left that was compiled beforehand, nor to be written
    /// into the audit log, and what is stored has stayed the same for two seconds while the engine was asked.
    pub async fn rests(&self) {
        self.rests_for(Duration::from_secs(2)).await;
    }

    /// The same with this time. Who looks again at what is left until it is as it should be needs none: an operator
    /// that is slow to take in what it was answered may still write then.
    pub async fn rests_for(&self, time: Duration) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let before = self.api::<Pipeline>().get_opt(ORDERS).await;
            let before = before.expect("an answer");
            let since = Instant::now();
            self.engine.ticks(2).await;
            tokio::time::sleep(time.saturating_sub(since.elapsed())).await;
            let after = self.api::<Pipeline>().get_opt(ORDERS).await;
            let names = self.engine.names().await;
            let built = names.iter().any(|name| name.starts_with("sluice-build-"));
            let left = before.as_ref().is_some_and(|pipeline| {
                let status = status(pipeline);
                // One that failed stays, without anything at the engine.
                let builds = status.build.is_some_and(|build| build.pipeline.is_some());
                // What holds it for a compilation goes at the next look.
                let finalizers = pipeline.metadata.finalizers.iter().flatten();
                let held = finalizers.into_iter().any(|name| name == FINALIZER)
                    && pipeline.spec.deletion_policy == DeletionPolicy::Retain;
                builds || held || !status.audit_pending.is_empty()
            });
            if !built && !left && before == after.expect("an answer") {
                return;
            }
            assert!(Instant::now() < deadline, "{}", self.tell(before.as_ref()));
        }
    }

    async fn set(cluster: &'static Cluster, engine: StandIn, log: PathBuf) -> Self {
        Self {
            client: cluster.admin().await,
            namespace: cluster.namespace("story").await,
            engine,
            cluster,
            log,
            own_operator: None,
            operator_flags: vec![],
        }
    }

    /// The operator is killed, as by `kill -9`.
    pub fn kill_operator(&mut self) {
        self.own_operator.take().expect("an operator of its own");
    }

    /// An operator is started.
    pub async fn start_operator(&mut self) {
        let flags: Vec<&str> = self.operator_flags.iter().map(String::as_str).collect();
        self.own_operator = Some(self.another_operator(&flags).await);
    }

    /// One with these further flags is started.
    pub async fn start_operator_with(&mut self, flags: &[&str]) {
        self.own_operator = Some(self.another_operator(flags).await);
    }

    /// The most memory that the own operator ever held, in MiB.
    pub fn peak_memory(&self) -> u64 {
        let operator = self.own_operator.as_ref().expect("an operator of its own");
        operator.peak_memory()
    }

    /// The URL at which the own operator tells about itself.
    pub async fn admin_url(&self) -> String {
        let operator = self.own_operator.as_ref().expect("an operator of its own");
        operator.admin_url().await
    }

    /// The URL of the own operator's REST endpoint.
    pub async fn rest_url(&self) -> String {
        let operator = self.own_operator.as_ref().expect("an operator of its own");
        operator.rest_url().await
    }

    /// Posts to a URL of the REST endpoint, until rights that were just given have come into force and it is
    /// accepted.
    pub async fn rest_takes(&self, url: &str, token: &str, headers: &[(&str, &str)]) {
        let http = reqwest::Client::new();
        eventually("the endpoint takes it", || async {
            let call = http.post(url).bearer_auth(token);
            let call = headers
                .iter()
                .fold(call, |call, (name, value)| call.header(*name, *value));
            let answer = call.send().await.expect("an answer");
            let status = answer.status().as_u16();
            let text = answer.text().await.expect("a text");
            // No rights yet, or policies that aren't proven yet.
            let may_pass = [202, 403, 404, 503].contains(&status);
            assert!(may_pass, "{status} {text}");
            (status == 202).then_some(()).ok_or((status, text))
        })
        .await;
    }

    /// The cluster that it plays on.
    pub fn cluster(&self) -> &'static Cluster {
        self.cluster
    }

    /// An operator of the story's own, with these further flags.
    pub async fn another_operator(&self, flags: &[&str]) -> Operator {
        let namespace: &str = &self.namespace;
        let flags = [&["--watch-namespace", namespace], flags].concat();
        Operator::start(self.cluster, &self.log, &flags).await
    }

    /// Creates the Engine object, with these further fields in its spec.
    pub async fn engine_object(&self, further: Value) {
        let mut spec = json!({"url": self.engine.url});
        merge(&mut spec, &further);
        let engine = json!({"metadata": {"name": "engine"}, "spec": spec});
        create(&self.api::<Engine>(), engine)
            .await
            .expect("the Engine");
    }

    /// The objects of a kind in the story's namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The story's engine by two Engines with a key each, `engine` and `other`, which can't be known to be the same.
    pub async fn by_two_keys() -> Self {
        let story = Self::without_engine().await;
        for key in ["one", "two"] {
            story.secret(key, json!({"api-key": key})).await;
        }
        story
            .engine_object(json!({"credentialsSecretRef": {"name": "one", "key": "api-key"}}))
            .await;
        let other = json!({"metadata": {"name": "other"}, "spec": {
            "url": story.engine.url, "credentialsSecretRef": {"name": "two", "key": "api-key"},
        }});
        create(&story.api::<Engine>(), other)
            .await
            .expect("the Engine");
        story
    }

    /// Creates a Pipeline on the story's engine.
    pub async fn create(&self, name: &str, spec: Value) -> Pipeline {
        let mut whole = json!({"engineRef": {"name": "engine"}, "program": {"sql": PROGRAM}});
        merge(&mut whole, &spec);
        create(&self.api::<Pipeline>(), pipeline(name, whole))
            .await
            .expect("the Pipeline")
    }

    /// A Pipeline that runs, with all that it has done settled.
    pub async fn running(&self) -> Pipeline {
        self.running_with(json!({})).await
    }

    /// The same, with these further fields in its spec.
    pub async fn running_with(&self, spec: Value) -> Pipeline {
        self.create(ORDERS, spec).await;
        self.until_settled_as("Running").await
    }

    /// Waits until it is in this phase and what runs is settled.
    pub async fn until_settled_as(&self, phase: &str) -> Pipeline {
        self.until(&format!("it is {phase} and settled"), |p| {
            is_in(p, phase)
                && status(p).run.as_ref().is_some_and(|run| {
                    status(p)
                        .settled
                        .as_ref()
                        .is_some_and(|settled| settled.change_id == run.change_id)
                })
        })
        .await
    }

    /// A Pipeline without a program: the engine's pipeline is made, and started, by somebody else.
    pub async fn guest(&self) -> Pipeline {
        let theirs = json!({"name": ORDERS, "program_code": PROGRAM});
        self.engine.by_hand("POST", "/pipelines", theirs).await;
        self.theirs_starts("await_approval").await;
        self.create(ORDERS, json!({"program": null})).await;
        self.until_settled_as("Running").await
    }

    pub async fn theirs_starts(&self, policy: &str) {
        eventually("it is compiled", || async {
            let program = self.engine.pipeline(ORDERS).await["program_status"].clone();
            (program == "Success").then_some(()).ok_or(program)
        })
        .await;
        let start = format!("/pipelines/{ORDERS}/start?bootstrap_policy={policy}");
        self.engine.by_hand("POST", &start, Value::Null).await;
    }

    /// Whoever makes the pipeline stops it, changes it, and starts it.
    pub async fn theirs_changes_to(&self, sql: &str, policy: &str) {
        let path = format!("/pipelines/{ORDERS}");
        let stop = format!("{path}/stop?force=false");
        self.engine.by_hand("POST", &stop, Value::Null).await;
        eventually("it is stopped", || async {
            let status = self.engine.pipeline(ORDERS).await["deployment_status"].clone();
            (status == "Stopped").then_some(()).ok_or(status)
        })
        .await;
        let other = json!({"program_code": sql});
        self.engine.by_hand("PATCH", &path, other).await;
        self.theirs_starts(policy).await;
    }

    /// A Pipeline that runs with functions of its own.
    pub async fn running_with_functions(&self) -> Pipeline {
        let program = json!({"sql": with_functions(), "udfRust": FUNCTIONS});
        self.running_with(json!({"program": program})).await
    }

    /// A Pipeline that runs, and of which a change waits for approval.
    pub async fn waiting(&self) -> Pipeline {
        self.running().await;
        self.change_to(&changed()).await;
        self.until_waiting().await
    }

    /// Gives the Pipeline another program.
    pub async fn change_to(&self, sql: &str) -> Pipeline {
        self.patch(json!({"spec": {"program": {"sql": sql}}})).await
    }

    /// Changes the Pipeline.
    pub async fn patch(&self, patch: Value) -> Pipeline {
        self.patch_of(ORDERS, patch).await
    }

    /// Changes a Pipeline.
    pub async fn patch_of(&self, name: &str, patch: Value) -> Pipeline {
        let params = PatchParams {
            field_manager: Some("person".into()),
            ..PatchParams::default()
        };
        let api = self.api::<Pipeline>();
        api.patch(name, &params, &Patch::Merge(&patch))
            .await
            .expect("the change")
    }

    /// Sets an annotation of the Pipeline.
    pub async fn annotate(&self, key: &str, value: &str) -> Pipeline {
        self.patch(json!({"metadata": {"annotations": {key: value}}}))
            .await
    }

    /// Approves a change by annotation.
    pub async fn approve(&self, id: &str) {
        self.annotate(annotation::APPROVE, id).await;
    }

    /// Votes on a change by an object.
    pub async fn vote(&self, name: &str, id: &str, decision: &str) -> PipelineApproval {
        let object = json!({
            "metadata": {"name": name},
            "spec": {"pipelineRef": {"name": ORDERS}, "changeId": id, "decision": decision, "reason": "because"},
        });
        create(&self.api::<PipelineApproval>(), object)
            .await
            .expect("the vote")
    }

    /// The Pipeline as it is now.
    pub async fn now(&self) -> Pipeline {
        self.api::<Pipeline>()
            .get(ORDERS)
            .await
            .expect("the Pipeline")
    }

    /// Waits until something is true of the Pipeline.
    pub async fn until(&self, what: &str, condition: impl Fn(&Pipeline) -> bool) -> Pipeline {
        self.until_of(ORDERS, what, condition).await
    }

    /// Waits until something is true of a Pipeline.
    pub async fn until_of(
        &self,
        name: &str,
        what: &str,
        condition: impl Fn(&Pipeline) -> bool,
    ) -> Pipeline {
        let holds = |object: Option<&Pipeline>| object.is_some_and(&condition);
        match awaited(&self.api::<Pipeline>(), name, holds).await {
            Some(found) => found.expect("a Pipeline"),
            None => {
                let last = self.api::<Pipeline>().get_opt(name).await.ok().flatten();
                panic!("waited in vain until {what}\n{}", self.tell(last.as_ref()))
            }
        }
    }

    /// Waits until an object is gone.
    pub async fn until_gone(&self, name: &str) {
        let gone = |object: Option<&Pipeline>| object.is_none();
        if awaited(&self.api::<Pipeline>(), name, gone).await.is_none() {
            let last = self.api::<Pipeline>().get_opt(name).await.ok().flatten();
            panic!("{name} isn't gone\n{}", self.tell(last.as_ref()))
        }
    }

    /// Waits until the Engine's `Ready` condition is so.
    pub async fn until_engine(&self, ready: &str, reason: &str) {
        let holds = |object: Option<&Engine>| {
            let conditions = object
                .and_then(|engine| engine.status.as_ref())
                .map(|status| &status.conditions);
            conditions
                .into_iter()
                .flatten()
                .any(|c| c.type_ == "Ready" && c.status == ready && c.reason == reason)
        };
        let engines = self.api::<Engine>();
        if awaited(&engines, "engine", holds).await.is_none() {
            let last = self.api::<Engine>().get("engine").await;
            panic!("the Engine isn't {ready}, {reason}: {last:#?}")
        }
    }

    /// Waits until the operator knows that the policies vouch for the names in votes.
    pub async fn until_names_are_vouched_for(&self) -> Pipeline {
        self.until("the policies are in force", |p| {
            status(p).policies.is_some()
        })
        .await
    }

    /// Waits until it is in this phase.
    pub async fn until_phase(&self, phase: &str) -> Pipeline {
        self.until(&format!("it is {phase}"), |p| is_in(p, phase))
            .await
    }

    /// Waits until `Ready` is so, for this generation.
    pub async fn until_ready(&self, ready: &str, reason: &str) -> Pipeline {
        self.until(&format!("Ready is {ready}, {reason}"), |p| {
            is_current(p) && has(p, "Ready", ready, reason)
        })
        .await
    }

    /// Waits until a change waits for approval.
    pub async fn until_waiting(&self) -> Pipeline {
        self.until("a change waits", |p| {
            is_current(p) && is_in(p, "AwaitingApproval") && is_at(p, ApprovalState::Awaiting)
        })
        .await
    }

    /// Waits until the change at the gate is so.
    pub async fn until_state(&self, state: ApprovalState) -> Pipeline {
        self.until(&format!("the change is {state:?}"), |p| is_at(p, state))
            .await
    }

    /// Waits until an approved change is in force and kept.
    pub async fn until_sealed(&self) -> Pipeline {
        self.until("the change is sealed and runs", |p| {
            is_current(p) && is_at(p, ApprovalState::Sealed) && is_in(p, "Running")
        })
        .await
    }

    /// Waits until the change is rejected and what waited is stopped.
    pub async fn until_rejected(&self) -> Pipeline {
        self.until("it is rejected and stopped", |p| {
            let engine = status(p).engine.unwrap_or_default();
            is_current(p)
                && is_in(p, "Rejected")
                && is_at(p, ApprovalState::Rejected)
                && engine.deployment_status.as_deref() == Some("Stopped")
        })
        .await
    }

    /// The Events of the Pipeline with this reason.
    pub async fn events(&self, reason: &str) -> Vec<Event> {
        let all = self
            .api::<Event>()
            .list(&ListParams::default())
            .await
            .expect("the Events");
        let of_it = |event: &Event| {
            event.reason.as_deref() == Some(reason)
                && event.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(ORDERS)
        };
        all.items.into_iter().filter(of_it).collect()
    }

    /// Waits for an Event with this reason, and returns its note.
    pub async fn until_event(&self, reason: &str) -> String {
        let found = eventually(&format!("there is an Event {reason}"), || async move {
            self.events(reason).await.into_iter().next().ok_or("none")
        })
        .await;
        found.note.unwrap_or_default()
    }

    /// Watches the Pipeline from now on.
    pub async fn record(&self) -> Recording<Pipeline> {
        let params = ListParams::default().fields(&format!("metadata.name={ORDERS}"));
        Recording::of(self.api(), params).await
    }

    /// Creates or replaces a ConfigMap.
    pub async fn config_map(&self, name: &str, data: Value) {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
        let params = PatchParams::apply("person").force();
        let api = self.api::<ConfigMap>();
        api.patch(name, &params, &Patch::Apply(&object))
            .await
            .expect("the ConfigMap");
    }

    /// Creates or replaces a Secret.
    pub async fn secret(&self, name: &str, data: Value) {
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
        let params = PatchParams::apply("person").force();
        let api = self.api::<Secret>();
        api.patch(name, &params, &Patch::Apply(&object))
            .await
            .expect("the Secret");
    }

    /// Deletes a Pipeline.
    pub async fn delete(&self, name: &str) {
        let api = self.api::<Pipeline>();
        api.delete(name, &DeleteParams::default())
            .await
            .expect("it is deleted");
    }

    /// What there is to tell when something went wrong.
    fn tell(&self, pipeline: Option<&Pipeline>) -> String {
        let status = pipeline.map(|p| serde_json::to_string_pretty(&p.status).unwrap_or_default());
        let calls = self.engine.calls();
        let shown = |call: &Call| {
            format!(
                "{} {} {}?{} -> {:?}",
                call.time, call.method, call.path, call.query, call.status
            )
        };
        let calls: Vec<String> = calls
            .iter()
            .filter(|call| !call.is_tick())
            .map(shown)
            .collect();
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let namespace: &str = &self.namespace;
        let log: Vec<&str> = log
            .lines()
            // Also why a process ended that was to run.
            .filter(|line| line.contains(namespace) || line.starts_with("sluice: "))
            .collect();
        let last = |lines: &[String]| lines[lines.len().saturating_sub(40)..].join("\n");
        let log: Vec<String> = log.into_iter().map(str::to_owned).collect();
        format!(
            "status: {}\ncalls:\n{}\nlog:\n{}",
            status.unwrap_or_default(),
            last(&calls),
            last(&log)
        )
    }
}

impl Story {
    /// Gives the functions another body, and waits until that is asked about.
    pub async fn asked_about_functions(&self) -> sluice::crd::Pipeline {
        self.running_with_functions().await;
        self.give_other_functions().await;
        self.until_waiting().await
    }

    pub async fn give_other_functions(&self) {
        self.patch(json!({"spec": {"program": {"udfRust": OTHER_FUNCTIONS}}}))
            .await;
    }
}

impl Recording<Pipeline> {
    /// The phases so far, each once per time that it began.
    pub async fn phases(&self) -> Vec<String> {
        let mut phases: Vec<String> = self
            .complete()
            .await
            .iter()
            .map(|p| status(p).phase.unwrap_or_default())
            .collect();
        phases.dedup();
        phases
    }

    /// Phases and states of the change at the gate, with the versions of the object.
    pub fn states(&self) -> Vec<String> {
        let shown = |p: &Pipeline| {
            let status = status(p);
            let state = status
                .approval
                .map(|approval| (approval.state, approval.calls));
            format!(
                "{} {state:?} {}",
                status.phase.unwrap_or_default(),
                p.resource_version().unwrap_or_default()
            )
        };
        self.all().iter().map(shown).collect()
    }
}

/// A Pipeline's status.
pub fn status(pipeline: &Pipeline) -> PipelineStatus {
    pipeline.status.clone().unwrap_or_default()
}

/// The change at the gate.
pub fn approval(pipeline: &Pipeline) -> Approval {
    status(pipeline).approval.expect("a change at the gate")
}

/// Its id.
pub fn id(pipeline: &Pipeline) -> String {
    approval(pipeline).change_id
}

/// Whether it is in this phase.
pub fn is_in(pipeline: &Pipeline, phase: &str) -> bool {
    pipeline
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        == Some(phase)
}

/// Whether the change at the gate is so.
pub fn is_at(pipeline: &Pipeline, state: ApprovalState) -> bool {
    let status = pipeline.status.as_ref();
    status
        .and_then(|status| status.approval.as_ref())
        .is_some_and(|approval| approval.state == state)
}

/// Whether status speaks of the present spec.
pub fn is_current(pipeline: &Pipeline) -> bool {
    status(pipeline).observed_generation == pipeline.metadata.generation
}

/// Whether it has this condition.
pub fn has(pipeline: &Pipeline, type_: &str, value: &str, reason: &str) -> bool {
    condition(pipeline, type_).is_some_and(|(status, found, _)| status == value && found == reason)
}

/// Whether it has a condition of this type.
pub fn has_type(pipeline: &Pipeline, type_: &str) -> bool {
    condition(pipeline, type_).is_some()
}

/// The message of a condition.
pub fn message(pipeline: &Pipeline, type_: &str) -> String {
    condition(pipeline, type_)
        .map(|(_, _, message)| message)
        .unwrap_or_default()
}

fn condition(pipeline: &Pipeline, type_: &str) -> Option<(String, String, String)> {
    let conditions = status(pipeline).conditions;
    let found = conditions
        .into_iter()
        .find(|condition| condition.type_ == type_)?;
    Some((found.status, found.reason, found.message))
}

/// The id of the change to a program, as a tool would compute it before anything is applied.
pub fn id_of_change_to(pipeline: &Pipeline, sql: &str) -> String {
    let content = Content {
        sql: sql.to_owned(),
        ..Content::default()
    };
    let parent = status(pipeline)
        .settled
        .map_or(change::ROOT.to_owned(), |settled| settled.change_id);
    Change {
        uid: &pipeline.uid().expect("a uid"),
        parent: &parent,
        target: &content.target(),
        options: pipeline.spec.bootstrap_options,
        revision: 0,
    }
    .id()
}

/// Waits until whatever is made from now on is younger than this object: the API server's times are in whole seconds.
pub async fn until_older<K: Resource>(object: &K) {
    let made = object.creation_timestamp().expect("when it was made").0;
    eventually("its second is over", || async {
        let now = Timestamp::now();
        (now.as_second() > made.as_second())
            .then_some(())
            .ok_or(now)
    })
    .await;
}

/// Puts the fields of one object into another, as a merge patch does.
pub fn merge(into: &mut Value, from: &Value) {
    match (into.as_object_mut(), from.as_object()) {
        (Some(into), Some(from)) => {
            for (key, value) in from {
                match value {
                    Value::Null => drop(into.remove(key)),
                    _ => merge(into.entry(key).or_insert(Value::Null), value),
                }
            }
        }
        _ => *into = from.clone(),
    }
}
