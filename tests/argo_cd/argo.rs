//! Argo CD itself: its manifests applied as people apply them, and, since no node runs what is in them, its
//! parts as processes, each under the service account that its Deployment has.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use control_plane::Progress;
use control_plane::tools::{self, ArgoCd};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell};

use sluice_test_support::cluster::{ADMIN, Cluster, said, token, workspace};
use sluice_test_support::port::Port;
use sluice_test_support::story::eventually;
use sluice_test_support::tied::Tied;

/// The accounts of Argo CD's parts, where it is installed as its documentation says.
pub const CONTROLLER: &str = "system:serviceaccount:argocd:argocd-application-controller";
pub const SERVER: &str = "system:serviceaccount:argocd:argocd-server";
/// The password of every user of Argo CD here.
const PASSWORD: &str = "not-a-secret";
/// Its bcrypt hash, as Argo CD stores it.
const HASH: &str = "$2a$10$aQ0lKVeO4fJSnMX3T8i0TOb9yrtlucKtt17AiDFuZxbdFUsdZbvwK";

/// A running Argo CD.
pub struct Argo {
    /// The cluster that it runs on, and looks after.
    pub cluster: &'static Cluster,
    /// The namespace of its Applications.
    pub namespace: &'static str,
    tool: ArgoCd,
    /// Where its API server listens: `127.0.0.1:…`.
    server: String,
    home: tempfile::TempDir,
    /// The users whose configuration is written; each is written once, for many read it.
    logged_in: Mutex<BTreeSet<String>>,
    _ports: [Port; 5],
    _parts: Vec<Tied>,
}

async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    CLUSTER.get_or_init(Cluster::own).await
}

/// One as its documentation installs it, where what waits is Suspended.
pub async fn argo() -> &'static Argo {
    static SHARED: OnceCell<Argo> = OnceCell::const_new();
    let start = || Argo::start("argocd", "argocd/suspended.yaml", json!({}));
    SHARED.get_or_init(start).await
}

/// One where what waits is Healthy, and that syncs each project under an account of the project's own.
pub async fn careful_argo() -> &'static Argo {
    static SHARED: OnceCell<Argo> = OnceCell::const_new();
    let settings = json!({"application.sync.impersonation.enabled": "true"});
    let start = || Argo::start("careful-argocd", "argocd/healthy.yaml", settings);
    SHARED.get_or_init(start).await
}

/// The programs, built if need be.
pub fn tool() -> ArgoCd {
    tools::argo_cd(&Progress::stderr()).unwrap_or_else(|error| panic!("{error}"))
}

impl Argo {
    async fn start(namespace: &'static str, patch: &str, settings: Value) -> Self {
        let tool = tokio::task::spawn_blocking(tool).await.expect("no panic");
        let cluster = cluster().await;
        let home = tempfile::tempdir().expect("a folder");
        install(cluster, &tool, namespace, patch, settings).await;

        let redis = tools::redis(&Progress::stderr()).unwrap_or_else(|error| panic!("{error}"));
        let log = |name: &str| {
            let path = home.path().join(format!("{name}.log"));
            Stdio::from(std::fs::File::create(path).expect("a log"))
        };
        let address = ["127.0.0.1:0".to_owned()];
        let mut redis = Tied::start(&redis, &address, &[], log("redis"));
        let line = redis.first_line();
        let redis_at = line.strip_prefix("redis listening on ");
        let redis_at = redis_at
            .unwrap_or_else(|| panic!("redis says {line:?}"))
            .to_owned();

        let ports: [Port; 5] = std::array::from_fn(|_| Port::held());
        let [repositories, port, metrics @ ..] = ports.each_ref().map(|port| port.address.port());
        let repositories_at = format!("127.0.0.1:{repositories}");
        let parts = [
            (
                "argocd-repo-server",
                None,
                vec![
                    "--address=127.0.0.1".to_owned(),
                    format!("--port={repositories}"),
                    "--metrics-address=127.0.0.1".to_owned(),
                    format!("--metrics-port={}", metrics[0]),
                    "--disable-tls".to_owned(),
                ],
            ),
            (
                "argocd-application-controller",
                Some("argocd-application-controller"),
                vec![
                    format!("--namespace={namespace}"),
                    format!("--repo-server={repositories_at}"),
                    "--repo-server-plaintext".to_owned(),
                    format!("--metrics-port={}", metrics[1]),
                    // Otherwise it is read from the resource tree, through the API server of Argo CD.
                    "--persist-resource-health".to_owned(),
                ],
            ),
            (
                "argocd-server",
                Some("argocd-server"),
                vec![
                    format!("--namespace={namespace}"),
                    "--address=127.0.0.1".to_owned(),
                    format!("--port={port}"),
                    "--metrics-address=127.0.0.1".to_owned(),
                    format!("--metrics-port={}", metrics[2]),
                    "--insecure".to_owned(),
                    format!("--repo-server={repositories_at}"),
                    "--repo-server-plaintext".to_owned(),
                ],
            ),
        ];
        let mut running = vec![redis];
        for (name, account, mut arguments) in parts {
            arguments.push(format!("--redis={redis_at}"));
            let scratch = home.path().join(name);
            std::fs::create_dir(&scratch).expect("a folder");
            let mut environment = vec![
                ("ARGOCD_BINARY_NAME", Path::new(name)),
                // In its own cluster it would find its account in its Pod.
                ("ARGOCD_FAKE_IN_CLUSTER", Path::new("true")),
                ("ARGOCD_GPG_ENABLED", Path::new("false")),
                ("TMPDIR", &scratch),
                ("HOME", &scratch),
                ("ARGOCD_TLS_DATA_PATH", &scratch),
                ("ARGOCD_SSH_DATA_PATH", &scratch),
            ];
            let kubeconfig = match account {
                Some(account) => Some(kubeconfig(cluster, namespace, account).await),
                None => None,
            };
            if let Some(kubeconfig) = &kubeconfig {
                environment.push(("KUBECONFIG", kubeconfig));
            }
            let part = Tied::start(&tool.program, &arguments, &environment, log(name));
            running.push(part);
        }
        let argo = Self {
            cluster,
            namespace,
            tool,
            server: format!("127.0.0.1:{port}"),
            home,
            logged_in: Mutex::default(),
            _ports: ports,
            _parts: running,
        };
        argo.logs_in("admin").await;
        // Where each project has an account, the default one has the controller's own.
        let account = json!({"spec": {"destinationServiceAccounts": [{
            "server": "*",
            "namespace": "*",
            "defaultServiceAccount": format!("{namespace}:argocd-application-controller"),
        }]}});
        let account = format!("--patch={account}");
        let patch = [
            "patch",
            "appproject",
            "default",
            "-n",
            namespace,
            "--type=merge",
            &account,
        ];
        eventually("there is the default project", || async {
            let output = argo.cluster.kubectl(ADMIN, &patch);
            output.status.success().then_some(()).ok_or(said(&output))
        })
        .await;
        argo
    }

    /// Logs a user of Argo CD in, once its API server answers.
    pub async fn logs_in(&self, user: &str) {
        let mut logged_in = self.logged_in.lock().await;
        if logged_in.contains(user) {
            return;
        }
        let arguments = [
            "login",
            &self.server,
            "--plaintext",
            "--username",
            user,
            "--password",
            PASSWORD,
            "--name",
            user,
        ];
        eventually("Argo CD's API server lets people in", || async {
            let output = self.argocd(user, &arguments);
            output.status.success().then_some(()).ok_or_else(|| {
                let log = std::fs::read_to_string(self.home.path().join("argocd-server.log"));
                let log = log.unwrap_or_default();
                let end: Vec<&str> = log.lines().rev().take(5).collect();
                format!("{}\n{}", said(&output), end.join("\n"))
            })
        })
        .await;
        logged_in.insert(user.to_owned());
    }

    /// The command line of Argo CD, as one of its users types it.
    pub fn argocd(&self, user: &str, arguments: &[&str]) -> Output {
        let config = self.home.path().join(format!("{user}.config"));
        Command::new(&self.tool.program)
            .args(arguments)
            .arg("--config")
            .arg(config)
            .env("ARGOCD_BINARY_NAME", "argocd")
            .env("HOME", self.home.path())
            .output()
            .expect("argocd can be started")
    }

    /// A folder with a command `argocd` that speaks to it as one of its users, made in another folder.
    pub async fn command_line(&self, folder: &Path, user: &str) -> PathBuf {
        self.logs_in(user).await;
        let bin = folder.join("bin");
        std::fs::create_dir(&bin).expect("a folder");
        let command = bin.join("argocd");
        let script = format!(
            "#!/bin/sh\nARGOCD_BINARY_NAME=argocd HOME='{home}' exec '{program}' \"$@\" --config '{home}/{user}.config'\n",
            home = self.home.path().display(),
            program = self.tool.program.display(),
        );
        std::fs::write(&command, script).expect("a file");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&command, executable).expect("it can be executed");
        bin
    }

    /// The last that a part has logged about something.
    pub fn logged(&self, part: &str, about: &str) -> String {
        let log = std::fs::read_to_string(self.home.path().join(format!("{part}.log")));
        let log = log.unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(about)).collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// A kubeconfig of one of Argo CD's service accounts.
async fn kubeconfig(cluster: &Cluster, namespace: &str, account: &str) -> PathBuf {
    let plane = cluster.plane();
    let own = token(&cluster.admin().await, namespace, account).await;
    let admin = plane.token(ADMIN).expect("a known user");
    let kubeconfig = plane.kubeconfig_for(ADMIN).expect("a known user");
    let path = plane
        .dir()
        .join(format!("{namespace}-{account}.kubeconfig"));
    std::fs::write(&path, kubeconfig.replace(admin, &own)).expect("a file");
    path
}

/// Installs Argo CD as its documentation says, then the shipped integration, with users and their rights.
async fn install(cluster: &Cluster, tool: &ArgoCd, namespace: &str, patch: &str, settings: Value) {
    let kubectl = |arguments: &[&str]| {
        let output = cluster.kubectl(ADMIN, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    };
    let manifests = tool.manifests.to_str().expect("a path in UTF-8");
    kubectl(&["create", "namespace", namespace]);
    kubectl(&["apply", "-n", namespace, "--server-side", "-f", manifests]);
    // The manifests bind the rights in the whole cluster to the accounts of the usual namespace.
    for part in ["argocd-application-controller", "argocd-server"] {
        let role = format!("--clusterrole={part}");
        let account = format!("--serviceaccount={namespace}:{part}");
        let name = format!("{namespace}-{part}");
        kubectl(&["create", "clusterrolebinding", &name, &role, &account]);
    }
    let patch = workspace().join(patch);
    let patch = format!("--patch-file={}", patch.display());
    kubectl(&["patch", "configmap", "argocd-cm", "-n", namespace, &patch]);

    let params = PatchParams::default();
    let data = |data: Value| Patch::Merge(json!({ "data": data }));
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.admin().await, namespace);
    let users = json!({"accounts.alice": "login", "accounts.bob": "login"});
    for settings in [users, settings] {
        let settings = data(settings);
        let made = config_maps.patch("argocd-cm", &params, &settings).await;
        made.expect("the ConfigMap");
    }
    let rights = data(json!({
        "policy.default": "role:readonly",
        "policy.csv": "p, role:approver, applications, action/sluice.dev/Pipeline/*, */*, allow\n\
                       g, alice, role:approver\n",
    }));
    let made = config_maps.patch("argocd-rbac-cm", &params, &rights).await;
    made.expect("the ConfigMap");
    let mut passwords = json!({});
    for user in ["admin", "accounts.alice", "accounts.bob"] {
        passwords[format!("{user}.password")] = json!(HASH);
        passwords[format!("{user}.passwordMtime")] = json!("2026-01-01T00:00:00Z");
    }
    let passwords = Patch::Merge(json!({ "stringData": passwords }));
    let secrets: Api<Secret> = Api::namespaced(cluster.admin().await, namespace);
    let made = secrets.patch("argocd-secret", &params, &passwords).await;
    made.expect("the Secret");
}
