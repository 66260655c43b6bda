//! The charts on a real API server, with the real Helm: installed, upgraded, tested and removed as people
//! do it. No node runs the Deployment, so what its containers would run is started here, under the
//! accounts that the chart makes.

use std::path::PathBuf;
use std::process::{Command, Output};

use control_plane::{Progress, tools};
use serde_json::Value;

use sluice_test_support::cluster::{ADMIN, Cluster, eventually, said, token, workspace};
use sluice_test_support::operator::{Operator, operators_kubeconfig};

const NAMESPACE: &str = "sluice-system";

/// A cluster in which nothing is installed.
struct Scene {
    cluster: Cluster,
    helm: PathBuf,
    files: tempfile::TempDir,
}

impl Scene {
    async fn begin() -> Self {
        let helm = tools::helm(&Progress::stderr()).unwrap_or_else(|error| panic!("{error}"));
        Self {
            cluster: Cluster::bare().await,
            helm,
            files: tempfile::tempdir().expect("a folder"),
        }
    }

    /// Types a command line of Helm's.
    fn try_helm(&self, line: &str) -> Output {
        Command::new(&self.helm)
            .args(line.split_whitespace())
            .envs(self.cluster.plane().environment())
            .current_dir(workspace())
            .output()
            .expect("helm can be started")
    }

    /// The same where it has to succeed; returns what it said.
    fn helm(&self, line: &str) -> String {
        let output = self.try_helm(line);
        assert!(output.status.success(), "helm {line}: {}", said(&output));
        said(&output)
    }

    fn kubectl(&self, line: &str) -> String {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let output = self.cluster.kubectl(ADMIN, &arguments);
        assert!(output.status.success(), "kubectl {line}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// An object's JSON.
    fn object(&self, which: &str) -> Value {
        serde_json::from_str(&self.kubectl(&format!("get {which} -o json"))).expect("JSON")
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.files.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path
    }

    /// `sluice check`, under the account that the chart makes for it.
    async fn check(&self, further: &[&str]) -> Output {
        let own = token(&self.cluster.admin().await, NAMESPACE, "sluice-check").await;
        let plane = self.cluster.plane();
        let kubeconfig = plane.kubeconfig_for(ADMIN).expect("a known user");
        let kubeconfig = kubeconfig.replace(plane.token(ADMIN).expect("a known user"), &own);
        Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args(["check", "--namespace", NAMESPACE])
            .args(further)
            .env("KUBECONFIG", self.file("check.kubeconfig", &kubeconfig))
            .output()
            .expect("sluice can be started")
    }
}

/// What the chart said of its definitions before they were templates: they came from crds/, which belongs
/// to no release.
fn install_definitions_as_helm_does_from_its_folder(scene: &Scene) {
    scene.kubectl(
        "create -f crds/engines.yaml -f crds/pipelines.yaml -f crds/pipelineapprovals.yaml",
    );
}

const PIPELINES: &str = "
engines:
  production: {url: http://127.0.0.1:9}
pipelines:
  orders:
    engineRef: {name: production}
    program: {sql: CREATE TABLE t (a INT)}
";

#[tokio::test]
async fn definitions_follow_the_release_and_outlive_it_with_all_pipelines() {
    let scene = Scene::begin().await;
    let values = scene.file("pipelines.yaml", PIPELINES);
    scene.helm("install sluice charts/sluice -n sluice-system --create-namespace");
    // Where there are mutating admission policies, the API server takes no Pipeline before it has learned
    // the kind for them.
    let pipeline = workspace().join("examples/orders.yaml");
    let pipeline = pipeline.to_str().expect("UTF-8");
    eventually("Pipelines can be created", || async {
        let arguments = ["create", "--dry-run=server", "-f", pipeline];
        let output = scene.cluster.kubectl(ADMIN, &arguments);
        output.status.success().then_some(()).ok_or(said(&output))
    })
    .await;
    scene.helm(&format!(
        "install orders charts/sluice-pipelines -n shop --create-namespace -f {}",
        values.display()
    ));
    let uid = scene.object("pipeline/orders -n shop")["metadata"]["uid"].clone();
    assert!(uid.is_string());

    // Somebody, or an older release, left another definition behind.
    scene.kubectl("patch crd pipelines.sluice.dev --type=json -p=[{\"op\":\"remove\",\"path\":\"/spec/versions/0/additionalPrinterColumns\"}]");
    scene.helm("upgrade sluice charts/sluice -n sluice-system --force-conflicts");
    let columns = &scene.object("crd/pipelines.sluice.dev")["spec"]["versions"][0]["additionalPrinterColumns"];
    assert!(
        columns.as_array().is_some_and(|columns| columns.len() > 3),
        "the definition follows the release: {columns}"
    );

    scene.helm("upgrade sluice charts/sluice -n sluice-system --set crds.install=false");
    scene.helm("upgrade sluice charts/sluice -n sluice-system --set crds.install=true");
    let removed = scene.helm("uninstall sluice -n sluice-system");
    assert!(removed.contains("pipelines.sluice.dev"), "{removed}");
    assert_eq!(
        scene.object("pipeline/orders -n shop")["metadata"]["uid"],
        uid
    );
    let left =
        scene.kubectl("get deployment,service,pdb,sa,role,rolebinding -n sluice-system -o name");
    let left: Vec<&str> = left
        .lines()
        .filter(|name| name.contains("sluice"))
        .collect();
    assert_eq!(left, Vec::<&str>::new(), "nothing else stays");
    let left = scene.kubectl(
        "get clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding,mutatingadmissionpolicy,mutatingadmissionpolicybinding -o name",
    );
    assert!(!left.contains("sluice"), "nothing else stays: {left}");

    // It comes back to what was there. Another release has to say that it means it.
    scene.helm("install sluice charts/sluice -n sluice-system");
    scene.helm("uninstall sluice -n sluice-system");
    let other = scene.try_helm("install other charts/sluice -n sluice-system");
    assert!(
        said(&other).contains("must equal \"other\""),
        "{}",
        said(&other)
    );
    scene.helm("install other charts/sluice -n sluice-system --take-ownership");
    assert_eq!(
        scene.object("pipeline/orders -n shop")["metadata"]["uid"],
        uid
    );
    // A release of Pipelines ends when it is removed.
    scene.helm("uninstall orders -n shop");
    assert_eq!(scene.kubectl("get pipelines,engines -n shop -o name"), "");
}

#[tokio::test]
async fn definitions_from_helms_own_folder_are_taken_over_when_it_is_said() {
    let scene = Scene::begin().await;
    install_definitions_as_helm_does_from_its_folder(&scene);
    let line = "install sluice charts/sluice -n sluice-system --create-namespace";
    let refused = scene.try_helm(line);
    assert!(
        said(&refused).contains("invalid ownership metadata"),
        "{}",
        said(&refused)
    );
    scene.helm(&format!("{line} --take-ownership"));
    let crd = scene.object("crd/pipelines.sluice.dev");
    assert_eq!(
        crd["metadata"]["annotations"]["helm.sh/resource-policy"],
        "keep"
    );
}

#[tokio::test]
async fn what_helm_test_runs_tells_a_good_installation_from_others() {
    let scene = Scene::begin().await;
    scene.helm("install sluice charts/sluice -n sluice-system --create-namespace");
    scene.kubectl("wait --for=condition=Established --timeout=2m crd --all");
    // Helm makes these just before the Pod.
    let hooks = scene.helm("get hooks sluice -n sluice-system");
    let rights: Vec<&str> = hooks
        .split("---\n")
        .filter(|hook| !hook.contains("kind: Pod"))
        .collect();
    let rights = scene.file("rights.yaml", &rights.join("---\n"));
    scene.kubectl(&format!("apply -f {}", rights.display()));

    // The rights that were just given count a moment later.
    eventually("the check misses an operator", || async {
        let nobody = scene.check(&["--timeout", "1s"]).await;
        let text = said(&nobody);
        let told = text.contains("FAILED: there is no Lease") && nobody.status.code() == Some(1);
        told.then_some(()).ok_or(text)
    })
    .await;

    let kubeconfig = operators_kubeconfig(&scene.cluster, None).await;
    let log = scene.files.path().join("operator.log");
    let lease = ["--lease-namespace", NAMESPACE];
    let operator = Operator::start_with(&kubeconfig, &log, &lease);
    let url = operator.rest_url().await;
    let good = scene.check(&["--api-url", &url]).await;
    assert!(good.status.success(), "{}", said(&good));
    let text = said(&good);
    assert_eq!(
        text.lines().filter(|line| line.starts_with("ok: ")).count(),
        5,
        "{text}"
    );

    // Another server than ours, a policy that refuses nothing, a definition of another version.
    let admin = operator.admin_url().await;
    scene.kubectl("patch validatingadmissionpolicybinding sluice-votes --type=merge -p={\"spec\":{\"validationActions\":[\"Audit\"]}}");
    scene.kubectl("patch crd engines.sluice.dev --type=json -p=[{\"op\":\"remove\",\"path\":\"/spec/versions/0/schema/openAPIV3Schema/description\"}]");
    eventually("the check sees all three", || async {
        let bad = scene.check(&["--timeout", "1s", "--api-url", &admin]).await;
        let text = said(&bad);
        let told = [
            "FAILED: the definition engines.sluice.dev isn't that of sluice",
            "FAILED: a vote in somebody else's name was taken",
            "FAILED: the REST endpoint can't be asked",
        ];
        let all = told.iter().all(|line| text.contains(line)) && bad.status.code() == Some(1);
        all.then_some(()).ok_or(text)
    })
    .await;
}

#[tokio::test]
async fn the_api_server_takes_everything_that_the_chart_and_the_plain_manifests_can_bring() {
    let scene = Scene::begin().await;
    for namespace in ["shop", NAMESPACE] {
        scene.kubectl(&format!("create namespace {namespace}"));
    }
    let rendered =
        scene.helm("template sluice charts/sluice -n sluice-system -f tests/chart/everything.yaml");
    // Of these kinds the cluster knows nothing: no other operator is installed.
    let foreign = [
        "monitoring.coreos.com/",
        "gateway.networking.k8s.io/",
        "cert-manager.io/",
    ];
    let is_foreign = |object: &&str| {
        let mut groups = foreign.iter();
        groups.any(|group| object.contains(&format!("apiVersion: {group}")))
    };
    let (foreign, own): (Vec<&str>, Vec<&str>) = rendered.split("---\n").partition(is_foreign);
    assert_eq!(
        foreign.len(),
        4,
        "ServiceMonitor, PrometheusRule, HTTPRoute, Certificate"
    );
    let everything = scene.file("everything.yaml", &own.join("---\n"));
    let taken = scene.kubectl(&format!("apply --server-side -f {}", everything.display()));
    for kind in [
        "networkpolicy",
        "ingress",
        "poddisruptionbudget",
        "pod/sluice-check",
        "configmap/sluice-dashboard",
    ] {
        assert!(taken.contains(kind), "{kind} is among them: {taken}");
    }

    let deployment = || scene.object("deployment/sluice -n sluice-system")["spec"].clone();
    for (folder, what) in [
        ("deploy", "two replicas"),
        ("overlays/high-availability", "three replicas"),
        ("overlays/one-namespace", "one namespace"),
    ] {
        scene.kubectl(&format!(
            "apply --server-side --force-conflicts -k {}",
            workspace().join(folder).display()
        ));
        let spec = deployment();
        let pod = &spec["template"]["spec"];
        let arguments = pod["containers"][0]["args"].to_string();
        match what {
            "three replicas" => {
                assert_eq!(spec["replicas"], 3);
                assert_eq!(
                    pod["topologySpreadConstraints"][0]["whenUnsatisfiable"],
                    "DoNotSchedule"
                );
            }
            "one namespace" => {
                assert!(arguments.contains("--watch-namespace=shop"), "{arguments}");
                let subjects = &scene.object("rolebinding/sluice-secrets -n shop")["subjects"];
                assert_eq!(subjects[0]["name"], "sluice");
            }
            _ => {
                assert_eq!(spec["replicas"], 2);
                assert!(!arguments.contains("--watch-namespace"), "{arguments}");
            }
        }
    }
    let overlay = scene.kubectl(&format!(
        "kustomize {}",
        workspace().join("overlays/one-namespace").display()
    ));
    let reads_all_secrets = |object: &str| {
        object.contains("kind: ClusterRoleBinding\n") && object.contains("name: sluice-secrets\n")
    };
    assert!(
        !overlay.split("---\n").any(reads_all_secrets),
        "no Secret of another namespace can be read"
    );
    let all = scene.kubectl(&format!(
        "kustomize {}",
        workspace().join("deploy").display()
    ));
    assert!(all.split("---\n").any(reads_all_secrets));
}
