//! Finds the programs of a control plane, or has them built.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::finding::{self, Requirement};
use crate::go_build;
use crate::go_module::{GoProgram, KUBERNETES, cache_home};
use crate::progress::Progress;
use crate::version::Version;

/// The programs of a control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// `etcd`, the store.
    pub etcd: PathBuf,
    /// `kube-apiserver`.
    pub kube_apiserver: PathBuf,
    /// `kube-controller-manager`.
    pub kube_controller_manager: PathBuf,
    /// `kubectl`.
    pub kubectl: PathBuf,
}

impl Binaries {
    /// Finds each program, in this order:
    ///
    /// 1. in the folder that `KUBEBUILDER_ASSETS` names, as other tests against a control plane do. The
    ///    usual archive has no kube-controller-manager: that one then comes from further down;
    /// 2. in the cache, `$XDG_CACHE_HOME/sluice` (`~/.cache/sluice`), where this function has built it;
    /// 3. on the `PATH`;
    ///
    /// and builds from source what is not found. A program that doesn't run or is too old is passed over,
    /// and `progress` is told why.
    ///
    /// # Errors
    /// When a program has to be built and there is no Go, or the build fails.
    pub fn prepare(progress: &Progress) -> Result<Binaries> {
        prepare(&Places::of_environment(), progress, &|program, cache| {
            let otherwise = "set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver, \
                             kube-controller-manager and kubectl (v1.30 or newer)";
            go_build::build(program, cache, otherwise, progress)
        })
    }
}

/// One of the programs, and what is asked of one that is found.
struct Wanted {
    program: GoProgram,
    requirement: Requirement,
}

/// The first Kubernetes in which ValidatingAdmissionPolicy is `v1`.
/// <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>
const OLDEST_KUBERNETES: Version = Version::new(1, 30, 0);
/// What the oldest Kubernetes that we take was released with.
const OLDEST_ETCD: Version = Version::new(3, 5, 0);

const ETCD: Wanted = Wanted {
    program: GoProgram {
        module: &KUBERNETES,
        name: "etcd",
        package: "go.etcd.io/etcd/server/v3",
        source: "go.etcd.io/etcd/server/v3",
        takes: "half a minute",
    },
    requirement: Requirement {
        version_args: &["--version"],
        oldest: OLDEST_ETCD,
    },
};

const fn of_kubernetes(name: &'static str, package: &'static str, takes: &'static str) -> Wanted {
    Wanted {
        program: GoProgram {
            module: &KUBERNETES,
            name,
            package,
            source: "k8s.io/kubernetes",
            takes,
        },
        requirement: Requirement {
            version_args: &["--version"],
            oldest: OLDEST_KUBERNETES,
        },
    }
}

const KUBE_APISERVER: Wanted = of_kubernetes(
    "kube-apiserver",
    "k8s.io/kubernetes/cmd/kube-apiserver",
    "4 minutes on two cores",
);
const KUBE_CONTROLLER_MANAGER: Wanted = of_kubernetes(
    "kube-controller-manager",
    "k8s.io/kubernetes/cmd/kube-controller-manager",
    "a minute and a half on two cores",
);
const KUBECTL: Wanted = Wanted {
    requirement: Requirement {
        version_args: &["version", "--client"],
        oldest: OLDEST_KUBERNETES,
    },
    ..of_kubernetes(
        "kubectl",
        "k8s.io/kubernetes/cmd/kubectl",
        "20 seconds on two cores",
    )
};

/// Where programs are looked for.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) assets: Option<PathBuf>,
    pub(crate) cache: PathBuf,
    pub(crate) path: OsString,
}

impl Places {
    pub(crate) fn of_environment() -> Places {
        Places {
            assets: std::env::var_os("KUBEBUILDER_ASSETS")
                .filter(|value| !value.is_empty())
                .map(PathBuf::from),
            cache: cache_home(),
            path: std::env::var_os("PATH").unwrap_or_default(),
        }
    }
}

type Build<'a> = &'a dyn Fn(&GoProgram, &Path) -> Result<PathBuf>;

fn prepare(places: &Places, progress: &Progress, build: Build<'_>) -> Result<Binaries> {
    let prepare_one =
        |wanted: &Wanted, api_server: Option<Version>| -> Result<(PathBuf, Version)> {
            if let Some(found) = find(wanted, places, api_server, progress) {
                return Ok(found);
            }
            Ok((
                build(&wanted.program, &places.cache)?,
                wanted.program.version(),
            ))
        };
    // The one that says something soonest comes first: whoever watches sees that it works.
    let (etcd, _) = prepare_one(&ETCD, None)?;
    let (kube_apiserver, version) = prepare_one(&KUBE_APISERVER, None)?;
    let (kube_controller_manager, _) = prepare_one(&KUBE_CONTROLLER_MANAGER, Some(version))?;
    let (kubectl, _) = prepare_one(&KUBECTL, Some(version))?;
    Ok(Binaries {
        etcd,
        kube_apiserver,
        kube_controller_manager,
        kubectl,
    })
}

/// The program of the first place that has a usable one.
fn find(
    wanted: &Wanted,
    places: &Places,
    api_server: Option<Version>,
    progress: &Progress,
) -> Option<(PathBuf, Version)> {
    let name = wanted.program.name;
    let in_assets = places.assets.iter().map(|dir| dir.join(name));
    let cached = go_build::cached(&wanted.program, &places.cache);
    let on_path = std::env::split_paths(&places.path).map(|dir| dir.join(name));
    // Folders of assets and of the cache hold sets that belong together. What is on the PATH may be there
    // for another cluster, so it has to keep to what Kubernetes supports.
    // https://kubernetes.io/releases/version-skew-policy/
    let chosen_together = in_assets.chain([cached.clone()]).map(|path| (path, None));
    let chosen_apart = on_path.map(|path| (path, api_server));
    let candidates = chosen_together.chain(chosen_apart);
    finding::first_usable(candidates, &cached, &wanted.requirement, progress)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Folders with programs that only print a version.
    struct Fake {
        dir: tempfile::TempDir,
        lines: Arc<Mutex<Vec<String>>>,
    }

    impl Fake {
        fn new() -> Fake {
            Fake {
                dir: tempfile::tempdir().unwrap(),
                lines: Arc::default(),
            }
        }

        fn places(&self) -> Places {
            Places {
                assets: Some(self.dir.path().join("assets")),
                cache: self.dir.path().join("cache"),
                path: self.dir.path().join("path").into(),
            }
        }

        fn put(&self, path: &Path, prints: &str) -> PathBuf {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("#!/bin/sh\necho '{prints}'\n")).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
            path.to_owned()
        }

        fn asset(&self, name: &str, prints: &str) -> PathBuf {
            self.put(&self.dir.path().join("assets").join(name), prints)
        }

        fn on_path(&self, name: &str, prints: &str) -> PathBuf {
            self.put(&self.dir.path().join("path").join(name), prints)
        }

        fn cached(&self, wanted: &Wanted, prints: &str) -> PathBuf {
            self.put(
                &go_build::cached(&wanted.program, &self.places().cache),
                prints,
            )
        }

        /// Finds the programs; "builds" are paths below /built.
        fn prepare(&self) -> Binaries {
            let lines = self.lines.clone();
            let progress = Progress::new(move |line| lines.lock().unwrap().push(line.into()));
            prepare(&self.places(), &progress, &|program, _| {
                Ok(Path::new("/built").join(program.name))
            })
            .unwrap()
        }

        fn said(&self) -> String {
            self.lines.lock().unwrap().join("\n")
        }
    }

    #[test]
    fn assets_come_first_then_the_cache_then_the_path() {
        let fake = Fake::new();
        let etcd = fake.asset("etcd", "etcd Version: 3.6.1");
        fake.on_path("etcd", "etcd Version: 3.7.0");
        let api_server = fake.cached(&KUBE_APISERVER, "Kubernetes v1.37.2");
        fake.on_path("kube-apiserver", "Kubernetes v1.37.2");
        let manager = fake.on_path("kube-controller-manager", "Kubernetes v1.36.0");
        assert_eq!(
            fake.prepare(),
            Binaries {
                etcd,
                kube_apiserver: api_server,
                kube_controller_manager: manager,
                kubectl: "/built/kubectl".into(),
            }
        );
        assert_eq!(fake.said(), "");
    }

    #[test]
    fn only_the_controller_manager_is_built_beside_the_usual_assets() {
        let fake = Fake::new();
        let etcd = fake.asset("etcd", "etcd Version: 3.5.21");
        let kube_apiserver = fake.asset("kube-apiserver", "Kubernetes v1.33.0");
        let kubectl = fake.asset("kubectl", "Client Version: v1.33.0");
        let kube_controller_manager = "/built/kube-controller-manager".into();
        assert_eq!(
            fake.prepare(),
            Binaries {
                etcd,
                kube_apiserver,
                kube_controller_manager,
                kubectl
            }
        );
    }

    #[test]
    fn what_is_too_old_or_broken_is_passed_over_and_said() {
        let fake = Fake::new();
        fake.asset("kube-apiserver", "Kubernetes v1.29.9");
        fake.asset("etcd", "no version here");
        fake.on_path("kubectl", "Client Version: v1.32.4-dispatcher");
        let unreadable = fake.on_path("kube-controller-manager", "Kubernetes v1.37.0");
        fs::set_permissions(&unreadable, fs::Permissions::from_mode(0o644)).unwrap();
        let binaries = fake.prepare();
        for path in [
            &binaries.etcd,
            &binaries.kube_apiserver,
            &binaries.kube_controller_manager,
            &binaries.kubectl,
        ] {
            assert!(path.starts_with("/built"), "{}", path.display());
        }
        let said = fake.said();
        for reason in [
            "assets/kube-apiserver: it is v1.29.9, and v1.30.0 is the oldest that will do",
            "assets/etcd: it does not print a version",
            "path/kubectl: it is v1.32.4, more than one minor version from kube-apiserver v1.37.",
            "path/kube-controller-manager: it does not run (Permission denied",
        ] {
            assert!(said.contains(reason), "{reason} not in:\n{said}");
        }
    }

    #[test]
    fn a_broken_program_in_the_cache_is_built_again() {
        let fake = Fake::new();
        let cached = fake.cached(&ETCD, "no version here");
        assert_eq!(fake.prepare().etcd, Path::new("/built/etcd"));
        assert!(!cached.exists());
    }

    #[test]
    fn a_kubectl_that_fits_the_api_server_is_taken_from_the_path() {
        let fake = Fake::new();
        fake.asset("kube-apiserver", "Kubernetes v1.33.1");
        let kubectl = fake.on_path("kubectl", "Client Version: v1.32.4-dispatcher");
        assert_eq!(fake.prepare().kubectl, kubectl);
    }
}
