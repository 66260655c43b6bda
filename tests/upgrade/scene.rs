//! A cluster with a release installed by Helm, and replicas as a node would run them: whatever the Deployment says
//! at the time.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use control_plane::releases::{Built, PREVIOUS};
use control_plane::{Progress, tools};
use serde_json::{Value, json};
use sluice::crd::{ApprovalState, Pipeline};

use sluice_test_support::cluster::{Cluster, OPERATOR, said, workspace};
use sluice_test_support::operator::{Operator, operators_kubeconfig};
use sluice_test_support::stand_in::Call;
use sluice_test_support::story::{Story, changed, eventually, id, is_at, is_current, is_in};

/// The namespace of the release.
pub const NAMESPACE: &str = "sluice-system";

/// The release before this one.
pub fn before() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        let built = PREVIOUS.build(&Progress::stderr());
        built.unwrap_or_else(|error| panic!("{error}"))
    })
}

/// A program of this release.
pub fn ours(name: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_sluice")).with_file_name(name);
    assert!(
        program.exists(),
        "{} isn't built: cargo build --workspace --all-targets",
        program.display()
    );
    program
}

/// A cluster of its own, an engine, and people's Pipelines in a namespace.
pub struct Scene {
    pub story: Story,
    pub cluster: &'static Cluster,
    helm: PathBuf,
    /// Those that run, the eldest first.
    replicas: Vec<Operator>,
}

impl Scene {
    /// Nothing is installed.
    pub async fn empty() -> Self {
        let cluster: &'static Cluster = Box::leak(Box::new(Cluster::bare().await));
        Self {
            story: Story::prepared_on(cluster, &[]).await,
            cluster,
            helm: tools::helm(&Progress::stderr()).unwrap_or_else(|error| panic!("{error}")),
            replicas: vec![],
        }
    }

    /// The release before is installed, and a replica of it acts.
    pub async fn of_the_release_before() -> Self {
        let mut scene = Self::empty().await;
        scene.install_the_release_before();
        scene.start_a_replica().await;
        scene.until_pipelines_are_taken().await;
        scene.story.engine_object(json!({})).await;
        scene
    }

    pub fn install_the_release_before(&self) {
        let chart = before().charts.join("sluice");
        self.helm(&format!(
            "install sluice {} -n {NAMESPACE} --create-namespace",
            chart.display()
        ));
        self.kubectl("wait --for=condition=Established --timeout=2m crd --all");
    }

    /// The chart of this release is put into force. Nothing is restarted by that alone.
    pub fn upgrade(&self) {
        self.helm(&format!(
            "upgrade sluice charts/sluice -n {NAMESPACE} --take-ownership"
        ));
    }

    /// The chart of the release before is put into force again.
    pub fn roll_back(&self) {
        self.helm(&format!("rollback sluice -n {NAMESPACE}"));
    }

    /// Where Helm is.
    pub fn helm_path(&self) -> &Path {
        &self.helm
    }

    /// Types a command line of Helm's.
    pub fn try_helm(&self, line: &str) -> Output {
        Command::new(&self.helm)
            .args(line.split_whitespace())
            .envs(self.cluster.plane().environment())
            .current_dir(workspace())
            .output()
            .expect("helm can be started")
    }

    /// The same where it has to succeed; returns what it said.
    pub fn helm(&self, line: &str) -> String {
        let output = self.try_helm(line);
        assert!(output.status.success(), "helm {line}: {}", said(&output));
        said(&output)
    }

    pub fn kubectl(&self, line: &str) -> String {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let output = self.cluster.kubectl("admin", &arguments);
        assert!(output.status.success(), "kubectl {line}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// An object's JSON.
    pub fn object(&self, which: &str) -> Value {
        serde_json::from_str(&self.kubectl(&format!("get {which} -o json"))).expect("JSON")
    }

    /// Has the plugin of a release approve a change, by an administrator.
    pub fn approve_by(&self, plugin: &Path, pipeline: &str, change: &str) {
        let namespace: &str = &self.story.namespace;
        let output = Command::new(plugin)
            .args(["approve", pipeline, "-n", namespace, "--change", change])
            .envs(self.cluster.plane().environment())
            .output()
            .expect("the plugin can be started");
        assert!(output.status.success(), "{}", said(&output));
    }

    /// The same, of this release, once a vote counts.
    pub async fn approve(&self, pipeline: &str, change: &str) {
        self.cluster.until_the_policies_vouch().await;
        self.approve_by(&ours("kubectl-sluice"), pipeline, change);
    }

    /// Has a change approved that is decided on, while the engine doesn't listen.
    pub async fn approve_unheard(&self, pipeline: &str, change: &str) {
        let fault = format!("503@/{pipeline}/approve");
        self.story.engine.fault("error", fault).await;
        self.approve(pipeline, change).await;
        let decided = |p: &Pipeline| sluice_test_support::story::approval(p).decision.is_some();
        self.story
            .until_of(pipeline, "it is decided on", decided)
            .await;
    }

    /// A replica is started as the Deployment says: that release's program, with the chart's arguments, but for where
    /// it listens and how often it asks.
    pub async fn start_a_replica(&mut self) {
        let operator = start_as_deployed(self.cluster, self.story.log()).await;
        let url = operator.admin_url().await;
        // Whoever doesn't lead is ready, too.
        eventually("the replica is ready", || async {
            let answer = reqwest::get(format!("{url}/readyz")).await;
            let ready = answer.is_ok_and(|answer| answer.status().is_success());
            ready.then_some(()).ok_or("it isn't")
        })
        .await;
        self.replicas.push(operator);
    }

    /// The eldest replica is told to end, as a node does, and does.
    pub async fn end_a_replica(&mut self) {
        let eldest = self.replicas.remove(0);
        eldest.signal("TERM");
        eventually("the replica ends", || async {
            (!eldest.runs()).then_some(()).ok_or("it runs")
        })
        .await;
    }

    /// All replicas are killed, as by `kill -9`.
    pub fn kill_all(&mut self) {
        self.replicas.clear();
        // Nobody is left who could act in its name, and nobody is to wait for its end.
        self.kubectl(&format!("delete lease sluice -n {NAMESPACE}"));
    }

    /// What a Deployment does after it was changed: a new replica first, then the old one goes.
    pub async fn roll_out(&mut self) {
        self.start_a_replica().await;
        self.end_a_replica().await;
        self.until_looked_at().await;
    }

    /// Waits until nothing more is done to the engine, and returns what was.
    pub async fn all_done(&self) -> Vec<String> {
        eventually("nothing is under way", || async {
            let before = self.story.engine.done();
            self.until_looked_at().await;
            let names = self.story.engine.names().await;
            let built = names.iter().any(|name| name.starts_with("sluice-build-"));
            let done = self.story.engine.done();
            let still = !built && before == done;
            still.then_some(done).ok_or(before)
        })
        .await
    }

    /// Waits until whoever leads now has asked the engine a few times.
    pub async fn until_looked_at(&self) {
        self.story.engine.ticks(3).await;
    }

    /// Where there are mutating admission policies, the API server takes no Pipeline before it has learned the kind.
    pub async fn until_pipelines_are_taken(&self) {
        let pipeline = workspace().join("examples/orders.yaml");
        let pipeline = pipeline.to_str().expect("UTF-8");
        eventually("Pipelines can be created", || async {
            let arguments = ["create", "--dry-run=server", "-f", pipeline];
            let output = self.cluster.kubectl("admin", &arguments);
            output.status.success().then_some(()).ok_or(said(&output))
        })
        .await;
    }

    /// Pipelines that run, with all that they did settled.
    pub async fn run(&self, names: &[&str]) {
        for name in names {
            self.story.create(name, json!({})).await;
        }
        for name in names {
            self.settled(name).await;
        }
    }

    /// Pipelines that ran, and of each of which a change waits: their ids.
    pub async fn wait_for_approval(&self, names: &[&str]) -> Vec<String> {
        self.run(names).await;
        let change = json!({"spec": {"program": {"sql": changed()}}});
        for name in names {
            self.story.patch_of(name, change.clone()).await;
        }
        let mut ids = vec![];
        for name in names {
            ids.push(id(&self.waiting(name).await));
        }
        ids
    }

    async fn settled(&self, name: &str) -> Pipeline {
        let settled = |p: &Pipeline| {
            let status = sluice_test_support::story::status(p);
            let run = status.run.map(|run| run.change_id);
            is_in(p, "Running")
                && run.is_some()
                && run == status.settled.map(|settled| settled.change_id)
        };
        let what = format!("{name} runs and is settled");
        self.story.until_of(name, &what, settled).await
    }

    /// Waits until a change waits.
    pub async fn waiting(&self, name: &str) -> Pipeline {
        let waits = |p: &Pipeline| {
            is_current(p) && is_in(p, "AwaitingApproval") && is_at(p, ApprovalState::Awaiting)
        };
        let what = format!("a change of {name} waits");
        self.story.until_of(name, &what, waits).await
    }

    /// Waits until a change is in force and kept, and holds it to having been applied once: of the calls that approve,
    /// the engine took one, and one bootstrap came of it.
    pub async fn sealed_once(&self, name: &str, change: &str) -> Pipeline {
        let is_sealed = |p: &Pipeline| {
            is_current(p)
                && is_at(p, ApprovalState::Sealed)
                && is_in(p, "Running")
                && id(p) == change
        };
        let what = format!("{change} of {name} is sealed and runs");
        let sealed = self.story.until_of(name, &what, is_sealed).await;
        self.until_looked_at().await;
        let taken: Vec<Call> = self.approve_calls(name);
        let taken = taken.iter().filter(|call| call.status != Some(503));
        assert_eq!(taken.count(), 1, "{name}: {:#?}", self.story.engine.done());
        let bootstraps = self.story.engine.bootstraps().await;
        let of_it = bootstraps.iter().filter(|one| one["pipeline"] == name);
        assert_eq!(of_it.count(), 1, "{name}: {bootstraps:#?}");
        sealed
    }

    /// The calls so far that approve at the engine what waits there.
    pub fn approve_calls(&self, name: &str) -> Vec<Call> {
        self.story.engine.calls_to(&format!("/{name}/approve"))
    }

    /// Holds a change to waiting still, under this id, and the engine to have been told nothing.
    pub async fn still_waits(&self, name: &str, change: &str) {
        self.until_looked_at().await;
        assert_eq!(id(&self.waiting(name).await), change, "{name}");
        assert_eq!(self.approve_calls(name), [], "{name}");
    }
}

/// Starts a replica as the Deployment says.
pub async fn start_as_deployed(cluster: &Cluster, log: &Path) -> Operator {
    let get = ["get", "deployment/sluice", "-n", NAMESPACE, "-o", "json"];
    let deployment = cluster.kubectl("admin", &get);
    let deployment: Value = serde_json::from_slice(&deployment.stdout).expect("a Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(
        format!(
            "system:serviceaccount:{NAMESPACE}:{}",
            pod["serviceAccountName"].as_str().unwrap_or_default()
        ),
        OPERATOR
    );
    let container = &pod["containers"][0];
    let image = container["image"].as_str().expect("an image");
    let program = if image.ends_with(&format!(":{}", PREVIOUS.version)) {
        before().sluice.clone()
    } else if image.ends_with(concat!(":", env!("CARGO_PKG_VERSION"))) {
        PathBuf::from(env!("CARGO_BIN_EXE_sluice"))
    } else {
        panic!("{image} is of neither release")
    };
    let ours = [
        ("--admin-listen", "127.0.0.1:0"),
        ("--api-listen", "127.0.0.1:0"),
        ("--poll-interval", "200ms"),
        ("--resend-after", "3s"),
        // In a cluster it is the Pod's.
        ("--lease-namespace", NAMESPACE),
        ("--lease-duration", "15s"),
    ];
    let arguments = container["args"].as_array().expect("arguments").iter();
    let kept = arguments
        .filter_map(Value::as_str)
        .filter(|argument| !ours.iter().any(|(flag, _)| argument.starts_with(flag)));
    let arguments: Vec<String> = kept
        .map(str::to_owned)
        .chain(ours.iter().map(|(flag, value)| format!("{flag}={value}")))
        .collect();
    assert_eq!(arguments[0], "run");
    let kubeconfig = operators_kubeconfig(cluster, None).await;
    Operator::of_program(&program, &arguments, &kubeconfig, log)
}
