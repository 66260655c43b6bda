//! The clusters that pages are typed on.

use std::path::PathBuf;

use control_plane::{Progress, tools};
use serde_json::{Value, json};

use crate::plugin::plugin;
use sluice_test_support::cluster::{ADMIN, Cluster, token};
use sluice_test_support::operator::{Operator, operators_kubeconfig};
use sluice_test_support::pages::page::{Page, Typed};
use sluice_test_support::pages::shell::Shell;
use sluice_test_support::stand_in::StandIn;
use sluice_test_support::story::{Story, eventually};

/// Where the engine is, on the pages.
const ENGINE: &str = "http://feldera-api-server.feldera:8080";
/// The namespace in which people work, on the pages.
pub const NAMESPACE: &str = "shop";

/// The programs that pages have: kubectl with the plugin, and Sluice's own.
async fn programs(cluster: &Cluster) -> Vec<PathBuf> {
    vec![
        cluster.plane().kubectl_path().to_owned(),
        plugin().await.clone(),
        PathBuf::from(env!("CARGO_BIN_EXE_sluice")),
    ]
}

/// A cluster in which nothing is installed, an engine, and a person who may do anything, in a checkout.
///
/// No node runs what is installed, so an operator is started whenever the manifests are there.
pub struct Empty {
    pub shell: Shell,
    cluster: Cluster,
    operator: Option<Operator>,
    /// The engine ends with this.
    _engine: StandIn,
}

impl Empty {
    /// One whose engine has these further flags.
    pub async fn with_engine(flags: &[&str]) -> Self {
        let cluster = Cluster::bare().await;
        let engine = StandIn::start(flags);
        let mut programs = programs(&cluster).await;
        for tool in [tools::helm, tools::kubeconform] {
            programs.push(tool(&Progress::stderr()).unwrap_or_else(|error| panic!("{error}")));
        }
        let mut shell = Shell::new(&programs, &cluster.plane().kubeconfig_path());
        for folder in ["charts", "deploy", "overlays", "schemas", "examples"] {
            shell.copy(folder, folder);
        }
        shell.calls(ENGINE, &engine.url);
        let values = "charts/sluice-pipelines/examples/shop.yaml";
        let text = std::fs::read_to_string(shell.file(values)).expect("the values");
        assert!(text.contains(ENGINE));
        shell.write(values, &text);
        Self {
            shell,
            cluster,
            operator: None,
            _engine: engine,
        }
    }

    /// Types all that is left of the page.
    pub async fn types(&mut self, page: &mut Page) {
        while let Some(typed) = page.next(&self.shell) {
            self.types_one(page, &typed).await;
        }
    }

    /// Types what comes next on the page.
    pub async fn types_one(&mut self, page: &mut Page, typed: &Typed) {
        let said = if typed.command.starts_with("helm test sluice ") {
            let (said, ()) = tokio::join!(self.shell.run(typed), self.run_the_check());
            said
        } else {
            self.shell.run(typed).await
        };
        page.saw(said);
        self.follow(&typed.command).await;
    }

    /// Whether an operator runs.
    pub fn is_installed(&self) -> bool {
        self.operator.is_some()
    }

    /// Does what a node would do with the Pod of `helm test`: runs what it says, under its account, and says
    /// how that ended.
    async fn run_the_check(&self) {
        let pod = "pod sluice-check -n sluice-system";
        let get = format!("kubectl get {pod} -o json");
        self.shell.until_it_succeeds(&get).await;
        let pod_now: Value = serde_json::from_str(&self.shell.succeeds(&get).await).expect("JSON");
        let rest = self.operator().rest_url().await;
        let arguments = pod_now["spec"]["containers"][0]["args"].as_array();
        let arguments = arguments.expect("arguments").iter();
        let arguments = arguments.filter_map(Value::as_str).map(|argument| {
            // The name of a Service means something in a Pod only.
            let is_url = argument.starts_with("--api-url=");
            if is_url {
                format!("--api-url={rest}")
            } else {
                argument.to_owned()
            }
        });
        let account = &pod_now["spec"]["serviceAccountName"];
        let account = account.as_str().expect("an account");
        let token = token(&self.cluster.admin().await, "sluice-system", account).await;
        let plane = self.cluster.plane();
        let kubeconfig = plane.kubeconfig_for(ADMIN).expect("a known user");
        let kubeconfig = kubeconfig.replace(plane.token(ADMIN).expect("a known user"), &token);
        std::fs::write(self.shell.file(".check"), kubeconfig).expect("a file");
        let arguments = arguments.collect::<Vec<_>>().join(" ");
        let said = self
            .shell
            .type_in(&format!("KUBECONFIG=.check sluice {arguments}"))
            .await;
        let phase = if said.success { "Succeeded" } else { "Failed" };
        eprintln!("helm test: {}", said.text);
        let status = json!({"status": {"phase": phase}});
        self.shell
            .succeeds(&format!(
                "kubectl patch {pod} --subresource=status --type=merge -p '{status}'"
            ))
            .await;
    }

    /// The operator, from now on with these further flags.
    pub async fn operate_with(&mut self, flags: &[&str]) {
        if let Some(before) = self.operator.take() {
            // Whoever is told to end gives up its Lease.
            before.signal("TERM");
            eventually("the operator ends", || async {
                (!before.runs()).then_some(()).ok_or("it runs")
            })
            .await;
        }
        let kubeconfig = operators_kubeconfig(&self.cluster, None).await;
        let mut own: Value =
            serde_json::from_slice(&std::fs::read(&kubeconfig).expect("a file")).expect("JSON");
        for context in own["contexts"].as_array_mut().expect("contexts") {
            context["context"]["namespace"] = json!("sluice-system");
        }
        std::fs::write(&kubeconfig, own.to_string()).expect("a file");
        let log = self.shell.file(".operator.log");
        let flags = [&["--lease-namespace", "sluice-system"], flags].concat();
        self.operator = Some(Operator::start_with(&kubeconfig, &log, &flags));
    }

    /// The operator that runs.
    pub fn operator(&self) -> &Operator {
        self.operator.as_ref().expect("an operator")
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Does what a node would do after this command.
    pub async fn follow(&mut self, command: &str) {
        let installs = [
            "helm install sluice ",
            "kubectl apply --server-side -k deploy",
        ];
        if installs.iter().any(|begin| command.starts_with(begin)) {
            self.operate_with(&[]).await;
        }
        let removes = ["helm uninstall sluice ", "kubectl delete -k deploy"];
        if removes.iter().any(|begin| command.starts_with(begin)) {
            self.operator = None;
        }
    }
}

/// A cluster with Sluice, in which people work in a namespace of the test's own, with the examples.
///
/// A context for each: alice, who edits and approves; bob, who edits; carol, who looks; admin.
pub struct Installed {
    pub shell: Shell,
    pub story: Story,
}

impl Installed {
    /// One with an operator that has these further flags, beside those that make the engine the default
    /// one. The current context is alice's.
    pub async fn with(flags: &[&str]) -> Self {
        Self::with_engine(&[], flags).await
    }

    /// The same, with further flags for the engine.
    pub async fn with_engine(engine: &[&str], flags: &[&str]) -> Self {
        let mut story = Story::without_operator(engine).await;
        let (url, namespace) = (story.engine.url.clone(), story.namespace.to_string());
        let own = ["--engine-url", &url, "--engine-namespace", &namespace];
        let rest = ["--api-namespace", &namespace];
        story
            .start_operator_with(&[&own[..], &rest, flags].concat())
            .await;
        let cluster = story.cluster();
        for (user, role) in [
            ("alice", "sluice-editor"),
            ("alice", "sluice-approver"),
            ("bob", "sluice-editor"),
            ("carol", "sluice-viewer"),
        ] {
            cluster.grant(&namespace, user, role).await;
        }
        let kubeconfig = cluster.plane().kubeconfig_path();
        let mut shell = Shell::new(&programs(cluster).await, &kubeconfig);
        shell.copy("examples", ".");
        shell.calls(NAMESPACE, &namespace);
        shell.calls(ENGINE, &url);
        for user in [ADMIN, "bob", "carol", "alice"] {
            let context = format!(
                "kubectl config use-context {user} && kubectl config set-context --current --namespace {namespace}"
            );
            shell.succeeds(&context).await;
            shell
                .until_it_succeeds("kubectl get pipelines,engines,pipelineapprovals")
                .await;
        }
        // The rights that come last.
        shell
            .until_it_succeeds("kubectl auth can-i approve pipelines && kubectl --context bob auth can-i patch pipelines")
            .await;
        Self { shell, story }
    }

    /// The page, typed from its begin to its end.
    pub async fn types(&self, page: &'static str) {
        Page::of(page).typed_in(&self.shell).await;
    }
}
