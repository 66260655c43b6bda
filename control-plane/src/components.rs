//! The programs of the control plane, and the arguments that each gets.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::binaries::Binaries;
use crate::process::Launch;

/// A program of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComponentName {
    /// The store.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// The controllers: see `CONTROLLERS` in this module's source for which.
    KubeControllerManager,
}

impl ComponentName {
    /// What the program is called.
    pub fn as_str(self) -> &'static str {
        match self {
            ComponentName::Etcd => "etcd",
            ComponentName::KubeApiserver => "kube-apiserver",
            ComponentName::KubeControllerManager => "kube-controller-manager",
        }
    }
}

impl fmt::Display for ComponentName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The controllers that run, and why. There are no nodes, so none that is about pods has anything to do;
/// each one that doesn't run saves watches and memory.
const CONTROLLERS: [&str; 6] = [
    // Empties and removes namespaces that are deleted: tests throw theirs away.
    "namespace-controller",
    // Removes what is owned by something that was deleted, and does foreground and orphan deletion.
    "garbage-collector-controller",
    // Makes the service account `default` of a namespace.
    "serviceaccount-controller",
    // Puts kube-root-ca.crt into each namespace, which pods mount and clients in them trust.
    "root-ca-certificate-publisher-controller",
    // Fills admin, edit and view with the rules of roles that are labelled for it, as our chart's are.
    "clusterrole-aggregation-controller",
    // Checks the types in the expressions of a ValidatingAdmissionPolicy and reports them in its status.
    "validatingadmissionpolicy-status-controller",
];

/// Where the files of a control plane are.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) dir: PathBuf,
}

impl Layout {
    /// What the processes work in, and etcd keeps its data and sockets in.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    pub(crate) fn log(&self, name: ComponentName) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    pub(crate) fn audit_log(&self) -> PathBuf {
        self.logs().join("audit.log")
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.dir.join("pki")
    }

    pub(crate) fn bin(&self) -> PathBuf {
        self.dir.join("bin")
    }

    /// The kubeconfig with a context for each user.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// The kubeconfig of one user.
    pub(crate) fn kubeconfig_of(&self, user: &str) -> PathBuf {
        self.dir
            .join("users")
            .join(format!("{}.kubeconfig", user.replace('/', "_")))
    }

    /// What kubectl remembers of the API. Its usual place is keyed by address, and addresses come again.
    pub(crate) fn kubectl_cache(&self) -> PathBuf {
        self.dir.join("kubectl-cache")
    }

    fn launch(&self, name: ComponentName, program: &Path, args: Vec<String>) -> Launch {
        Launch {
            program: program.into(),
            args,
            env: Vec::new(),
            dir: self.data(),
            log: self.log(name),
        }
    }
}

/// The audit policy: who did what to which object when, without the objects themselves.
pub(crate) const AUDIT_POLICY: &str = r#"{"apiVersion":"audit.k8s.io/v1","kind":"Policy","omitStages":["RequestReceived"],"rules":[{"level":"Metadata"}]}
"#;

/// Who issues the tokens of service accounts; also the audience of those that name no other.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// etcd, without the guarantees that only matter if the machine loses power.
pub(crate) fn etcd(layout: &Layout, binaries: &Binaries) -> Launch {
    // Sockets rather than ports: nothing to collide with, and the folder's mode says who may connect. They
    // are relative to the working folder, because the API server takes no absolute ones, and because the
    // path of a socket may only be 100 characters long.
    let args = [
        "--data-dir=etcd",
        "--unsafe-no-fsync",
        "--listen-client-urls=unix://client.sock",
        "--advertise-client-urls=unix://client.sock",
        "--listen-peer-urls=unix://peer.sock",
        "--initial-advertise-peer-urls=unix://peer.sock",
        "--initial-cluster=default=unix://peer.sock",
        "--log-level=warn",
    ];
    layout.launch(
        ComponentName::Etcd,
        &binaries.etcd,
        args.map(str::to_owned).into(),
    )
}

/// How far the API server's heap may grow before Go collects what is garbage, in percent of what isn't; 100 is usual. Whoever
/// sets it decides. By the usual one, collecting takes a third of the API server's processor time, and the API server takes more of
/// it than anything else in a run of the tests. There may be ten of them on a machine at a time, so it isn't more: by 300, the one
/// of all crash points was seen to hold 2.1 GiB.
const COLLECT: (&str, &str) = ("GOGC", "200");

/// The API server on this port.
pub(crate) fn kube_apiserver(
    layout: &Layout,
    binaries: &Binaries,
    port: u16,
    audit: bool,
    more: &[String],
) -> Launch {
    let pki = |name: &str| layout.pki().join(name).display().to_string();
    let mut args = vec![
        "--etcd-servers=unix://client.sock".to_owned(),
        "--bind-address=127.0.0.1".into(),
        "--advertise-address=127.0.0.1".into(),
        format!("--secure-port={port}"),
        // Nobody reaches it through the Service `kubernetes`, and it refuses to publish a loopback address.
        "--endpoint-reconciler-type=none".into(),
        format!("--tls-cert-file={}", pki("server.crt")),
        format!("--tls-private-key-file={}", pki("server.key")),
        format!("--token-auth-file={}", pki("tokens.csv")),
        "--anonymous-auth=false".into(),
        "--authorization-mode=RBAC".into(),
        format!("--service-account-issuer={ISSUER}"),
        format!("--api-audiences={ISSUER}"),
        format!("--service-account-key-file={}", pki("service-account.pub")),
        format!(
            "--service-account-signing-key-file={}",
            pki("service-account.key")
        ),
        "--service-cluster-ip-range=10.0.0.0/24".into(),
    ];
    if audit {
        args.push(format!("--audit-policy-file={}", pki("audit-policy.json")));
        args.push(format!("--audit-log-path={}", layout.audit_log().display()));
    }
    args.extend_from_slice(more);
    let mut launch = layout.launch(ComponentName::KubeApiserver, &binaries.kube_apiserver, args);
    if std::env::var_os(COLLECT.0).is_none() {
        launch
            .env
            .push((COLLECT.0.to_owned(), COLLECT.1.to_owned()));
    }
    launch
}

/// The controller manager.
pub(crate) fn kube_controller_manager(
    layout: &Layout,
    binaries: &Binaries,
    kubeconfig: &Path,
) -> Launch {
    let args = vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--controllers={}", CONTROLLERS.join(",")),
        format!("--root-ca-file={}", layout.pki().join("ca.crt").display()),
        "--leader-elect=false".into(),
        "--use-service-account-credentials=false".into(),
        // It serves nothing: no port to find.
        "--secure-port=0".into(),
        // The usual limits are for clusters that have others to serve; here they only make tests wait.
        "--kube-api-qps=500".into(),
        "--kube-api-burst=1000".into(),
    ];
    layout.launch(
        ComponentName::KubeControllerManager,
        &binaries.kube_controller_manager,
        args,
    )
}
