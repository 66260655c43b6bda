//! The stage of a benchmark: a control plane with what `deploy/` holds, the stand-in engine, and the
//! operator under its own account. Everything ends with this process, in whatever way that ends.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use control_plane::{ControlPlane, Options};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sluice::crd::{Engine, PipelineApproval};

use crate::Error;
use crate::process::{Tied, Usage};

/// The account that the operator runs under, as `deploy/sluice.yaml` has it.
pub const OPERATOR: &str = "system:serviceaccount:sluice-system:sluice";

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The name of the Engine object.
pub const ENGINE: &str = "engine";

/// Everything that runs.
pub struct Stage {
    plane: ControlPlane,
    directory: tempfile::TempDir,
    operators_kubeconfig: PathBuf,
}

impl Stage {
    /// Starts a control plane and installs Sluice; with an audit log if asked for.
    pub async fn set(audit_log: bool) -> Result<Self, Error> {
        println!("Setting the stage: a control plane with Sluice installed.");
        let plane = tokio::task::spawn_blocking(move || {
            ControlPlane::start(Options {
                audit_log,
                ..Options::default()
            })
        })
        .await??;
        let directory =
            tempfile::tempdir().map_err(Error::io("make a folder for what is written"))?;
        let mut stage = Self {
            plane,
            operators_kubeconfig: directory.path().join("operator.kubeconfig"),
            directory,
        };
        stage.install().await?;
        stage.write_kubeconfig().await?;
        Ok(stage)
    }

    async fn install(&self) -> Result<(), Error> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for file in [
            "deploy/crds.yaml",
            "deploy/sluice.yaml",
            "deploy/write-names.yaml",
        ] {
            let file = workspace.join(file).display().to_string();
            self.kubectl(&["apply", "--server-side", "-f", &file])?;
        }
        self.kubectl(&["wait", "--for=condition=Established", "crd", "--all"])?;
        // A policy takes some seconds to become active, and nothing tells when.
        let votes: Api<PipelineApproval> = Api::namespaced(self.client("admin").await?, "default");
        let forged: PipelineApproval = serde_json::from_value(json!({
            "metadata": {"name": "forged"},
            "spec": {
                "pipelineRef": {"name": "nobody"},
                "changeId": "0".repeat(32),
                "decision": "Approve",
                "onBehalfOf": {"username": "nobody"},
            },
        }))?;
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        until("the admission policies are active", || async {
            match votes.create(&dry_run, &forged).await {
                Err(kube::Error::Api(status)) if status.code == 403 => Ok(Some(())),
                _ => Ok(None),
            }
        })
        .await
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<(), Error> {
        let output = self
            .plane
            .kubectl("admin")?
            .args(arguments)
            .output()
            .map_err(Error::io("start kubectl"))?;
        if output.status.success() {
            return Ok(());
        }
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Error::Unseen(format!("kubectl {arguments:?}: {errors}")))
    }

    /// Writes a kubeconfig for the account of the manifests.
    async fn write_kubeconfig(&mut self) -> Result<(), Error> {
        let (namespace, name) = OPERATOR
            .trim_start_matches("system:serviceaccount:")
            .split_once(':')
            .unwrap_or_default();
        let token = self.account_token(namespace, name).await?;
        let kubeconfig = self
            .plane
            .kubeconfig_for("admin")?
            .replace(self.plane.token("admin")?, &token);
        std::fs::write(&self.operators_kubeconfig, kubeconfig)
            .map_err(Error::io("write the operator's kubeconfig"))
    }

    /// A token of a service account.
    pub async fn account_token(&self, namespace: &str, name: &str) -> Result<String, Error> {
        let accounts: Api<ServiceAccount> = objects(&self.client("admin").await?, namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                // Longer than any benchmark.
                expiration_seconds: Some(12 * 3_600),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await?;
        Ok(answer.status.map(|status| status.token).unwrap_or_default())
    }

    /// A client as a user that the control plane knows.
    pub async fn client(&self, user: &str) -> Result<Client, Error> {
        self.client_of(&self.plane.kubeconfig_for(user)?).await
    }

    /// A client with the operator's own account.
    pub async fn operators_client(&self) -> Result<Client, Error> {
        let kubeconfig = std::fs::read_to_string(&self.operators_kubeconfig)
            .map_err(Error::io("read the operator's kubeconfig"))?;
        self.client_of(&kubeconfig).await
    }

    async fn client_of(&self, kubeconfig: &str) -> Result<Client, Error> {
        let kubeconfig = Kubeconfig::from_yaml(kubeconfig)?;
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(sluice::cluster::client(&config)?)
    }

    /// The token of a user that the control plane knows.
    pub fn token(&self, user: &str) -> Result<&str, Error> {
        Ok(self.plane.token(user)?)
    }

    /// The audit log, if there is one.
    pub fn audit_log(&self) -> Result<PathBuf, Error> {
        let path = self.plane.audit_log_path();
        path.ok_or_else(|| Error::Unseen("the control plane's audit log".into()))
    }

    /// Makes a namespace.
    pub async fn namespace(&self, name: &str) -> Result<(), Error> {
        let namespaces: Api<Namespace> = Api::all(self.client("admin").await?);
        create(&namespaces, json!({"metadata": {"name": name}})).await?;
        Ok(())
    }

    /// Starts a stand-in engine with these flags, and makes an Engine object for it in a namespace.
    pub async fn engine(&self, namespace: &str, flags: &[&str]) -> Result<StandIn, Error> {
        let path = |name: &str| self.directory.path().join(format!("{namespace}-{name}"));
        let calls = path("calls");
        let mut arguments: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        arguments.extend(["--listen".to_owned(), "127.0.0.1:0".to_owned()]);
        arguments.extend(["--call-log".to_owned(), calls.display().to_string()]);
        let program = program("feldera-sim")?;
        let process = Tied::start(&program, &arguments, &[], &path("engine.log"), true)?;
        let url = process
            .first_line()
            .strip_prefix("feldera-sim listening on ")
            .unwrap_or_default()
            .to_owned();
        let engines: Api<Engine> = Api::namespaced(self.client("admin").await?, namespace);
        create(
            &engines,
            json!({"metadata": {"name": ENGINE}, "spec": {"url": url}}),
        )
        .await?;
        // kube wants one process-wide provider of cryptography, too; whoever is first sets it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(StandIn {
            _process: process,
            url,
            calls,
            http: reqwest::Client::new(),
        })
    }

    /// Starts an operator with these flags beyond those for a loopback address, and waits until it
    /// listens.
    pub async fn operator(&self, flags: &[&str]) -> Result<Operator, Error> {
        let log = self.directory.path().join("operator.log");
        let before = std::fs::metadata(&log).map_or(0, |metadata| metadata.len());
        let mut arguments: Vec<String> = [
            "run",
            "--admin-listen",
            "127.0.0.1:0",
            "--api-listen",
            "127.0.0.1:0",
            "--leader-elect",
            "false",
        ]
        .iter()
        .chain(flags)
        .map(|&flag| flag.to_owned())
        .collect();
        // As the chart has it; and its addresses can be read from it.
        arguments.extend(["--log-format".to_owned(), "json".to_owned()]);
        let started = Instant::now();
        let process = Tied::start(
            &program("sluice")?,
            &arguments,
            &[("KUBECONFIG", &self.operators_kubeconfig)],
            &log,
            false,
        )?;
        let (admin, api) = until("the operator listens", || async {
            let text = std::fs::read(&log).map_err(Error::io("read the operator's log"))?;
            let own = String::from_utf8_lossy(&text[before as usize..]).into_owned();
            Ok(own.lines().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                let fields = if line["fields"].is_object() {
                    &line["fields"]
                } else {
                    &line
                };
                let address = |name: &str| Some(format!("http://{}", fields[name].as_str()?));
                Some((address("admin")?, address("api")?))
            }))
        })
        .await?;
        Ok(Operator {
            process,
            started,
            admin,
            api,
            http: reqwest::Client::new(),
        })
    }
}

/// A stand-in for the engine.
pub struct StandIn {
    _process: Tied,
    /// Its address.
    pub url: String,
    calls: PathBuf,
    /// A bare client.
    pub http: reqwest::Client,
}

impl StandIn {
    /// A call to the engine, by the benchmark itself; the text of a good answer.
    pub async fn call(&self, method: &str, path: &str, body: Value) -> Result<String, Error> {
        let method = method.parse().unwrap_or(reqwest::Method::GET);
        let mut call = self.http.request(method, format!("{}{path}", self.url));
        if !body.is_null() {
            call = call.json(&body);
        }
        Ok(call.send().await?.error_for_status()?.text().await?)
    }

    /// How long its log of calls is by now.
    pub fn position(&self) -> Result<u64, Error> {
        let metadata =
            std::fs::metadata(&self.calls).map_err(Error::io("read the log of calls"))?;
        Ok(metadata.len())
    }

    /// The calls since then, each with its time, method and path.
    pub fn calls(&self, since: u64) -> Result<Vec<Call>, Error> {
        let reading = || "read the log of calls";
        let mut file = File::open(&self.calls).map_err(Error::io(reading()))?;
        file.seek(SeekFrom::Start(since))
            .map_err(Error::io(reading()))?;
        let mut new = String::new();
        file.read_to_string(&mut new)
            .map_err(Error::io(reading()))?;
        Ok(new
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    }
}

/// A call that the stand-in has heard.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Call {
    /// When it came in, to the microsecond.
    pub time: jiff::Timestamp,
    /// `GET`, …
    pub method: String,
    /// With `/v0`.
    pub path: String,
}

impl Call {
    /// Whether it asks for the list of all pipelines: the operator's tick.
    pub fn is_tick(&self) -> bool {
        self.method == "GET" && self.path == "/v0/pipelines"
    }

    /// Whether it could change something.
    pub fn changes(&self) -> bool {
        self.method != "GET" && !self.path.ends_with("/diff")
    }
}

/// A running operator.
pub struct Operator {
    process: Tied,
    /// When it was started.
    pub started: Instant,
    admin: String,
    /// Where its REST endpoint is.
    pub api: String,
    http: reqwest::Client,
}

impl Operator {
    /// What it uses.
    pub fn usage(&self) -> Result<Usage, Error> {
        self.process.usage()
    }

    /// One of its figures, all labels together.
    pub async fn figure(&self, name: &str) -> Result<f64, Error> {
        let answer = self.http.get(format!("{}/metrics", self.admin)).send();
        let text = answer.await?.text().await?;
        let values = text.lines().filter_map(|line| {
            let (label, value) = line.rsplit_once(' ')?;
            (label.split('{').next() == Some(name)).then(|| value.parse::<f64>().ok())?
        });
        Ok(values.sum())
    }
}

/// Creates an object from JSON; its `apiVersion` and `kind` may be left out.
pub async fn create<K>(api: &Api<K>, object: Value) -> Result<K, Error>
where
    K: Clone + std::fmt::Debug + serde::Serialize + DeserializeOwned,
{
    let object = serde_json::from_value(object)?;
    Ok(api.create(&PostParams::default(), &object).await?)
}

/// The objects of a kind in a namespace.
pub fn objects<K>(client: &Client, namespace: &str) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), namespace)
}

/// Tries until there is something.
pub async fn until<T, F>(what: &str, mut attempt: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<Option<T>, Error>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = attempt().await? {
            return Ok(value);
        }
        if Instant::now() > deadline {
            return Err(Error::Unseen(what.to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One of Sluice's programs, of the same build as this one.
fn program(name: &str) -> Result<PathBuf, Error> {
    let own = std::env::current_exe().map_err(Error::io("tell where this program is"))?;
    let path = own.with_file_name(name);
    if path.exists() {
        Ok(path)
    } else {
        Err(Error::Unseen(format!(
            "{} isn't built; `cargo xtask bench` builds it",
            path.display()
        )))
    }
}
