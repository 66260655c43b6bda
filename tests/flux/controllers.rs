//! Flux's own controllers, as its installation runs them: source-controller, and kustomize-controller
//! twice, each for its share of the Kustomizations (Flux calls that sharding).

use std::path::{Path, PathBuf};

use control_plane::{Progress, tools};
use tokio::sync::OnceCell;

use sluice_test_support::cluster::{ADMIN, Cluster, said};
use sluice_test_support::port::Port;
use sluice_test_support::tied::Tied;

/// Kustomizations with this label, of any value, are looked after by the controller that gives up the
/// health check of a revision when there is a newer one.
pub const CANCELS: &str = "sluice.dev/cancels";

/// The running controllers, which end with this process.
pub struct Flux {
    _controllers: Vec<Tied>,
    /// Where artifacts are served.
    _port: Port,
    /// Where they log.
    pub log: PathBuf,
}

impl Flux {
    /// Flux on a cluster, of which there is one.
    pub async fn on(cluster: &'static Cluster) -> &'static Self {
        static FLUX: OnceCell<Flux> = OnceCell::const_new();
        FLUX.get_or_init(|| async {
            tokio::task::spawn_blocking(|| Self::start(cluster))
                .await
                .expect("it starts")
        })
        .await
    }

    fn start(cluster: &'static Cluster) -> Self {
        let progress = Progress::stderr();
        let get = |found: control_plane::Result<tools::FluxController>| {
            found.unwrap_or_else(|error| panic!("{error}"))
        };
        let sources = get(tools::source_controller(&progress));
        let kustomizations = get(tools::kustomize_controller(&progress));
        for folder in [&sources.definitions, &kustomizations.definitions] {
            let folder = folder.to_str().expect("UTF-8");
            // Server-side: they are too large for the annotation of the other way.
            let output = cluster.kubectl(ADMIN, &["apply", "--server-side", "-f", folder]);
            assert!(output.status.success(), "{}", said(&output));
        }
        let established = "wait --for=condition=Established --timeout=2m crd --all";
        let output = cluster.kubectl(ADMIN, &established.split(' ').collect::<Vec<_>>());
        assert!(output.status.success(), "{}", said(&output));

        let folder = tempfile::Builder::new()
            .prefix("flux-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        let folder = folder.expect("a folder").keep();
        let log = folder.join("log");
        let kubeconfig = cluster.plane().kubeconfig_path();
        let start = |program: &Path, further: &[String]| {
            let file = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(&log)
                .expect("a log");
            let nowhere = [
                "--metrics-addr=0",
                "--health-addr=0",
                "--log-encoding=console",
            ];
            let arguments: Vec<String> = nowhere
                .into_iter()
                .map(str::to_owned)
                .chain(further.iter().cloned())
                .collect();
            let environment = [
                ("KUBECONFIG", kubeconfig.as_path()),
                ("RUNTIME_NAMESPACE", Path::new("flux-system")),
                // It removes what it finds there of earlier ones.
                ("TMPDIR", folder.as_path()),
            ];
            Tied::start(program, &arguments, &environment, file.into())
        };
        let port = Port::held();
        let storage = port.address.to_string();
        let applies = |further: &[&str]| {
            // Each Kustomization that waits keeps one of its workers busy.
            let flags = ["--concurrent=32"].iter().chain(further);
            let arguments: Vec<String> = flags.map(|&flag| flag.to_owned()).collect();
            start(&kustomizations.program, &arguments)
        };
        let controllers = vec![
            start(
                &sources.program,
                &[
                    format!("--storage-path={}", folder.display()),
                    format!("--storage-addr={storage}"),
                    format!("--storage-adv-addr={storage}"),
                ],
            ),
            applies(&[&format!("--watch-label-selector=!{CANCELS}")]),
            applies(&[
                &format!("--watch-label-selector={CANCELS}"),
                "--feature-gates=CancelHealthCheckOnNewRevision=true",
            ]),
        ];
        Self {
            _controllers: controllers,
            _port: port,
            log,
        }
    }
}
