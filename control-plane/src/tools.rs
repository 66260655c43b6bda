//! Programs beside the control plane.

use std::path::{Path, PathBuf};

use crate::binaries::Places;
use crate::cargo_install::CratesProgram;
use crate::error::Result;
use crate::finding::{self, Requirement};
use crate::go_build;
use crate::go_module::{ARGO_CD, CHECKS, FLUX, GoProgram, HELM, KSTATUS, PROMETHEUS, REDIS};
use crate::progress::Progress;
use crate::python;
use crate::version::Version;

/// The oldest Helm whose `helm template` renders our chart and whose `helm lint` knows its schema.
const OLDEST_HELM: Version = Version::new(3, 14, 0);

/// Helm: from the `PATH` if it is recent enough (v3.14), else from the cache, else built from source into
/// the cache, once per machine.
///
/// # Errors
/// When it has to be built and there is no Go, or the build fails.
pub fn helm(progress: &Progress) -> Result<PathBuf> {
    const PROGRAM: GoProgram = GoProgram {
        module: &HELM,
        name: "helm",
        package: "helm.sh/helm/v4/cmd/helm",
        source: "helm.sh/helm/v4",
        takes: "a minute and a half on two cores",
    };
    let places = Places::of_environment();
    let on_path = std::env::split_paths(&places.path).map(|dir| dir.join(PROGRAM.name));
    let cached = go_build::cached(&PROGRAM, &places.cache);
    let candidates = on_path.chain([cached.clone()]).map(|path| (path, None));
    let requirement = Requirement {
        version_args: &["version", "--short"],
        oldest: OLDEST_HELM,
    };
    if let Some((path, _)) = finding::first_usable(candidates, &cached, &requirement, progress) {
        return Ok(path);
    }
    go_build::build(
        &PROGRAM,
        &places.cache,
        "put Helm v3.14 or newer on the PATH",
        progress,
    )
}

/// kubeconform, which holds manifests to JSON schemas: from the cache, else built from source into the
/// cache, once per machine. So are the other programs below; what is on the `PATH` doesn't count, since
/// another version would judge by other rules.
///
/// # Errors
/// When it has to be built and there is no Go, or the build fails.
pub fn kubeconform(progress: &Progress) -> Result<PathBuf> {
    const PROGRAM: GoProgram = GoProgram {
        module: &CHECKS,
        name: "kubeconform",
        package: "github.com/yannh/kubeconform/cmd/kubeconform",
        source: "github.com/yannh/kubeconform",
        takes: "seconds",
    };
    pinned(&PROGRAM, progress)
}

/// kube-score, which holds manifests to what is good practice in Kubernetes.
///
/// # Errors
/// As [`kubeconform`].
pub fn kube_score(progress: &Progress) -> Result<PathBuf> {
    const PROGRAM: GoProgram = GoProgram {
        module: &CHECKS,
        name: "kube-score",
        package: "github.com/zegl/kube-score/cmd/kube-score",
        source: "github.com/zegl/kube-score",
        takes: "half a minute on two cores",
    };
    pinned(&PROGRAM, progress)
}

/// crane, which makes images, and pushes them, without a container engine.
///
/// # Errors
/// As [`kubeconform`].
pub fn crane(progress: &Progress) -> Result<PathBuf> {
    const PROGRAM: GoProgram = GoProgram {
        module: &CHECKS,
        name: "crane",
        package: "github.com/google/go-containerregistry/cmd/crane",
        source: "github.com/google/go-containerregistry",
        takes: "seconds",
    };
    pinned(&PROGRAM, progress)
}

/// The oldest promtool that knows everything that our alerts use.
const OLDEST_PROMTOOL: Version = Version::new(2, 40, 0);

/// promtool, which checks and tries out Prometheus' alerts: from the `PATH` if it is recent enough (2.40),
/// else from the cache, else built from source into the cache, once per machine.
///
/// # Errors
/// As [`kubeconform`].
pub fn promtool(progress: &Progress) -> Result<PathBuf> {
    const PROGRAM: GoProgram = GoProgram {
        module: &PROMETHEUS,
        name: "promtool",
        package: "github.com/prometheus/prometheus/cmd/promtool",
        source: "github.com/prometheus/prometheus",
        takes: "a minute on two cores",
    };
    let places = Places::of_environment();
    let on_path = std::env::split_paths(&places.path).map(|dir| dir.join(PROGRAM.name));
    let requirement = Requirement {
        version_args: &["--version"],
        oldest: OLDEST_PROMTOOL,
    };
    let candidates = on_path.map(|path| (path, None));
    let cached = go_build::cached(&PROGRAM, &places.cache);
    match finding::first_usable(candidates, &cached, &requirement, progress) {
        Some((path, _)) => Ok(path),
        None => pinned(&PROGRAM, progress),
    }
}

/// Prometheus itself, which reads the operator's metrics and answers the dashboard's queries.
///
/// # Errors
/// As [`kubeconform`].
pub fn prometheus(progress: &Progress) -> Result<PathBuf> {
    const PROGRAM: GoProgram = GoProgram {
        module: &PROMETHEUS,
        name: "prometheus",
        package: "github.com/prometheus/prometheus/cmd/prometheus",
        source: "github.com/prometheus/prometheus",
        takes: "a minute on two cores",
    };
    pinned(&PROGRAM, progress)
}

/// Argo CD: one program that plays all of its parts, with what is installed beside it.
#[derive(Clone, Debug)]
pub struct ArgoCd {
    /// The program. Which part it plays it takes from its name, or from `ARGOCD_BINARY_NAME`, such as
    /// `argocd-repo-server`; as `argocd` it is the command line.
    pub program: PathBuf,
    /// What installs it, as people apply it: definitions, accounts and their rights, ConfigMaps, and Deployments.
    pub manifests: PathBuf,
}

/// Argo CD, in the one version that the shipped integration is tried with.
///
/// # Errors
/// As [`kubeconform`].
pub fn argo_cd(progress: &Progress) -> Result<ArgoCd> {
    const PROGRAM: GoProgram = GoProgram {
        module: &ARGO_CD,
        name: "argocd",
        package: "github.com/argoproj/argo-cd/v3/cmd",
        source: "github.com/argoproj/argo-cd/v3",
        takes: "3 minutes on two cores",
    };
    let cache = Places::of_environment().cache;
    let file = "manifests/install.yaml";
    Ok(ArgoCd {
        program: pinned(&PROGRAM, progress)?,
        manifests: go_build::files_of(&PROGRAM, file, "manifests", &cache, progress)?
            .join("install.yaml"),
    })
}

/// A server that speaks Redis' protocol, as Argo CD needs one: `go/redis/main.go`. It is given the address to
/// listen at.
///
/// # Errors
/// As [`kubeconform`].
pub fn redis(progress: &Progress) -> Result<PathBuf> {
    const PROGRAM: GoProgram = GoProgram {
        module: &REDIS,
        name: "redis",
        package: ".",
        source: "github.com/alicebob/miniredis/v2",
        takes: "seconds",
    };
    pinned(&PROGRAM, progress)
}

/// The program `go/kstatus/main.go`, which says how far objects are by the rules of kstatus.
///
/// # Errors
/// As [`kubeconform`].
pub fn kstatus(progress: &Progress) -> Result<PathBuf> {
    const PROGRAM: GoProgram = GoProgram {
        module: &KSTATUS,
        name: "kstatus",
        package: ".",
        source: "github.com/fluxcd/cli-utils",
        takes: "a minute on two cores",
    };
    pinned(&PROGRAM, progress)
}

/// A controller of Flux's, with the definitions of the kinds that it looks after.
#[derive(Clone, Debug)]
pub struct FluxController {
    /// The program.
    pub program: PathBuf,
    /// A folder with the definitions, and nothing else.
    pub definitions: PathBuf,
}

/// Flux's kustomize-controller, which applies what a source holds.
///
/// # Errors
/// As [`kubeconform`].
pub fn kustomize_controller(progress: &Progress) -> Result<FluxController> {
    const PROGRAM: GoProgram = GoProgram {
        module: &FLUX,
        name: "kustomize-controller",
        package: "github.com/fluxcd/kustomize-controller",
        source: "github.com/fluxcd/kustomize-controller",
        takes: "2 minutes on two cores",
    };
    flux_controller(&PROGRAM, progress)
}

/// Flux's source-controller, which fetches what is to be applied, from Git for one.
///
/// # Errors
/// As [`kubeconform`].
pub fn source_controller(progress: &Progress) -> Result<FluxController> {
    const PROGRAM: GoProgram = GoProgram {
        module: &FLUX,
        name: "source-controller",
        package: "github.com/fluxcd/source-controller",
        source: "github.com/fluxcd/source-controller",
        takes: "2 minutes on two cores",
    };
    flux_controller(&PROGRAM, progress)
}

fn flux_controller(program: &GoProgram, progress: &Progress) -> Result<FluxController> {
    let cache = Places::of_environment().cache;
    let what = format!("definitions-of-{}", program.name);
    Ok(FluxController {
        program: pinned(program, progress)?,
        definitions: go_build::files_of(program, "config/crd/bases", &what, &cache, progress)?,
    })
}

/// A program in the one version that its module pins.
fn pinned(program: &GoProgram, progress: &Progress) -> Result<PathBuf> {
    let cache = Places::of_environment().cache;
    let cached = go_build::cached(program, &cache);
    if cached.is_file() {
        return Ok(cached);
    }
    go_build::build(program, &cache, "install Go", progress)
}

/// Feldera's command-line client `fda`, in the one version that the stand-in engine is judged by: from the
/// cache, else built from its crate into the cache, once per machine. What is on the `PATH` doesn't count:
/// another version would judge by other rules.
///
/// # Errors
/// When the build fails.
pub fn fda(progress: &Progress) -> Result<PathBuf> {
    const PROGRAM: CratesProgram = CratesProgram {
        name: "fda",
        version: "0.349.0",
        takes: "2 to 4 minutes on two cores",
    };
    let cache = Places::of_environment().cache;
    let cached = PROGRAM.cached(&cache);
    let requirement = Requirement {
        version_args: &["--version"],
        oldest: Version::parse(PROGRAM.version).unwrap_or(Version::new(0, 0, 0)),
    };
    let candidates = [(cached.clone(), None)].into_iter();
    match finding::first_usable(candidates, &cached, &requirement, progress) {
        Some((path, _)) => Ok(path),
        None => PROGRAM.build(&cache, progress),
    }
}

/// cargo-cyclonedx, which lists what is linked into a program: from the cache, else built from its crate
/// into the cache, once per machine.
///
/// # Errors
/// When the build fails.
pub fn cargo_cyclonedx(progress: &Progress) -> Result<PathBuf> {
    const PROGRAM: CratesProgram = CratesProgram {
        name: "cargo-cyclonedx",
        version: "0.5.9",
        takes: "a minute on two cores",
    };
    let cache = Places::of_environment().cache;
    let cached = PROGRAM.cached(&cache);
    if cached.is_file() {
        return Ok(cached);
    }
    PROGRAM.build(&cache, progress)
}

/// The interpreter of a Python environment that holds exactly the packages of a file of requirements, which
/// must all be pinned with hashes: from the cache, else made there, once per machine and content of the
/// file. Its folder is named after the file.
///
/// # Errors
/// When the file can't be read, there is no Python, or a package can't be had.
pub fn python_environment(requirements: &Path, progress: &Progress) -> Result<PathBuf> {
    let cache = Places::of_environment().cache;
    python::environment(requirements, &cache, progress)
}
