//! The operator, as a process of its own under the account of the manifests.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::cluster::{Cluster, OPERATOR, token};
use crate::programs::program;
use crate::story::eventually;
use crate::tied::Tied;

/// How often the operator asks an engine in which something moves; five times that when nothing moves.
const POLL: &str = "200ms";

/// A running operator.
pub struct Operator {
    process: Tied,
    /// Where it logs.
    pub log: PathBuf,
    /// Where in the log it begins; those before it may have written to it too.
    log_start: u64,
}

impl Operator {
    /// Starts one under the account of the manifests, with the rights that these give it.
    pub async fn start(cluster: &Cluster, log: &Path, further: &[&str]) -> Self {
        let kubeconfig = operators_kubeconfig(cluster, None).await;
        Self::start_with(&kubeconfig, log, further)
    }

    /// Starts one that reaches its cluster as this kubeconfig says.
    pub fn start_with(kubeconfig: &Path, log: &Path, further: &[&str]) -> Self {
        let arguments = [
            "run",
            "--admin-listen",
            "127.0.0.1:0",
            "--poll-interval",
            POLL,
        ];
        // The stand-in is quick, except where a story is about one that isn't.
        let waits = further.contains(&"--resend-after");
        let quick: &[&str] = if waits {
            &[]
        } else {
            &["--resend-after", "3s"]
        };
        let listens = further.contains(&"--api-listen");
        let anywhere: &[&str] = if listens {
            &[]
        } else {
            &["--api-listen", "127.0.0.1:0"]
        };
        let elects = further.iter().any(|flag| flag.starts_with("--lease"));
        let alone: &[&str] = if elects {
            &[]
        } else {
            &["--leader-elect", "false"]
        };
        // As the chart has it.
        let lax = further.contains(&"--require-policies");
        let strict: &[&str] = if lax {
            &[]
        } else {
            &["--require-policies", "true"]
        };
        let arguments: Vec<String> = [&arguments, quick, anywhere, alone, strict, further]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect();
        let program = &program("sluice");
        Self::of_program(program, &arguments, kubeconfig, log)
    }

    /// Starts this program with just these arguments: it may be of another release.
    pub fn of_program(program: &Path, arguments: &[String], kubeconfig: &Path, log: &Path) -> Self {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .expect("a log");
        let log_start = file.metadata().expect("a file").len();
        let process = Tied::start(
            program,
            arguments,
            &[("KUBECONFIG", kubeconfig)],
            file.into(),
        );
        Self {
            process,
            log: log.to_owned(),
            log_start,
        }
    }

    /// Where its REST endpoint listens, as it says in its log.
    pub async fn rest_url(&self) -> String {
        self.url_of("api").await
    }

    /// Where it tells about itself.
    pub async fn admin_url(&self) -> String {
        self.url_of("admin").await
    }

    async fn url_of(&self, endpoint: &str) -> String {
        eventually("the operator listens", || async {
            self.listens_at(endpoint).ok_or_else(|| self.own_log())
        })
        .await
    }

    /// Where one of its endpoints (`api`, `admin`) listens, once it says so in its log.
    pub fn listens_at(&self, endpoint: &str) -> Option<String> {
        let own = self.own_log();
        let line = own.lines().find(|line| line.contains("listening"))?;
        // In either form of the log.
        let in_json = line.split_once(&format!("\"{endpoint}\":\""));
        let in_text = line.split_once(&format!(" {endpoint}="));
        let (_, rest) = in_text.or(in_json)?;
        let address = rest.split([' ', '"']).next()?.trim();
        Some(format!("http://{address}"))
    }

    fn own_log(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let start = usize::try_from(self.log_start).expect("a length in memory");
        String::from_utf8_lossy(&log[start.min(log.len())..]).into_owned()
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("/bin/kill")
            .args([format!("-{signal}"), self.process.child().to_string()])
            .status()
            .expect("kill can be started");
        assert!(status.success(), "SIG{signal} can be sent");
    }

    /// The most memory that it ever held, in MiB.
    pub fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.child());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kibibytes.expect("a number") / 1_024
    }

    /// Whether it still runs.
    pub fn runs(&self) -> bool {
        Path::new(&format!("/proc/{}", self.process.child())).exists()
    }
}

/// A kubeconfig for the account of the manifests, by which the API server may seem to be elsewhere.
pub async fn operators_kubeconfig(cluster: &Cluster, server: Option<&str>) -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let plane = cluster.plane();
    let (namespace, name) = OPERATOR
        .trim_start_matches("system:serviceaccount:")
        .split_once(':')
        .expect("a service account");
    let own = token(&cluster.admin().await, namespace, name).await;
    let admin = plane.token("admin").expect("a known user");
    let kubeconfig = plane
        .kubeconfig_for("admin")
        .expect("a known user")
        .replace(admin, &own);
    let mut kubeconfig: Value = serde_json::from_str(&kubeconfig).expect("JSON");
    if let Some(server) = server {
        // The certificates stay, as a pod has some: without, each client would read all those of the machine.
        kubeconfig["clusters"][0]["cluster"]["server"] = json!(server);
    }
    let kubeconfig = kubeconfig.to_string();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = plane.dir().join(format!(
        "operator-{}-{number}.kubeconfig",
        std::process::id()
    ));
    std::fs::File::create(&path)
        .and_then(|mut file| file.write_all(kubeconfig.as_bytes()))
        .expect("a file");
    path
}
