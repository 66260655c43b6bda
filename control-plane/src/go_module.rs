//! The Go modules that the programs are built from: `go/` for Kubernetes and etcd, `go/helm/` for Helm,
//! `go/checks/` and `go/prometheus/` for what judges manifests, alerts, dashboards and images, `go/argocd/` for Argo CD,
//! `go/flux/` for Flux's controllers. `go/kstatus/` and `go/redis/` also hold programs of ours.
//!
//! They are part of this crate's code, so that it can build without its checkout being there.
//!
//! To take a newer Kubernetes, change its version in `go/go.mod` and that of each `replace` (v0.x for v1.x),
//! run `go mod tidy` there, and the tests of this crate. The programs are then built anew everywhere.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::version::Version;

/// Changes whenever programs built from the same modules would come out differently: see `go_build`.
const RECIPE: &str = "CGO_ENABLED=0 -trimpath -s -w 1";

/// A Go module whose only use is to pin what is built.
#[derive(Debug)]
pub(crate) struct GoModule {
    /// What its programs are called together.
    pub(crate) name: &'static str,
    pub(crate) go_mod: &'static str,
    pub(crate) go_sum: &'static str,
    /// What its programs are built with or without, as `go build -tags` has it.
    pub(crate) tags: Option<&'static str>,
    /// Our own program in it, where there is one.
    pub(crate) main_go: Option<&'static str>,
    /// The Go module whose version is the version of its programs.
    main: &'static str,
}

/// Kubernetes and etcd.
pub(crate) const KUBERNETES: GoModule = GoModule {
    name: "kubernetes",
    go_mod: include_str!("../go/go.mod"),
    go_sum: include_str!("../go/go.sum"),
    tags: None,
    main_go: None,
    main: "k8s.io/kubernetes",
};

/// Helm.
pub(crate) const HELM: GoModule = GoModule {
    name: "helm",
    go_mod: include_str!("../go/helm/go.mod"),
    go_sum: include_str!("../go/helm/go.sum"),
    tags: None,
    main_go: None,
    main: "helm.sh/helm/v4",
};

/// What judges manifests, and what makes images.
pub(crate) const CHECKS: GoModule = GoModule {
    name: "checks",
    go_mod: include_str!("../go/checks/go.mod"),
    go_sum: include_str!("../go/checks/go.sum"),
    tags: None,
    main_go: None,
    main: "github.com/yannh/kubeconform",
};

/// Prometheus, and its checker of rules.
pub(crate) const PROMETHEUS: GoModule = GoModule {
    name: "prometheus",
    go_mod: include_str!("../go/prometheus/go.mod"),
    go_sum: include_str!("../go/prometheus/go.sum"),
    // Without the clients of all the clouds in which it could look for what to ask: they take most of the time.
    tags: Some("remove_all_sd"),
    main_go: None,
    main: "github.com/prometheus/prometheus",
};

/// Argo CD, with the `replace` lines of its own module.
pub(crate) const ARGO_CD: GoModule = GoModule {
    name: "argocd",
    go_mod: include_str!("../go/argocd/go.mod"),
    go_sum: include_str!("../go/argocd/go.sum"),
    tags: None,
    main_go: None,
    main: "github.com/argoproj/argo-cd/v3",
};

/// A server that speaks Redis' protocol: a library with a program of ours around it.
pub(crate) const REDIS: GoModule = GoModule {
    name: "redis",
    go_mod: include_str!("../go/redis/go.mod"),
    go_sum: include_str!("../go/redis/go.sum"),
    tags: None,
    main_go: Some(include_str!("../go/redis/main.go")),
    main: "github.com/alicebob/miniredis/v2",
};

/// Flux's controllers: one module, since they share most of what takes time to build.
pub(crate) const FLUX: GoModule = GoModule {
    name: "flux",
    go_mod: include_str!("../go/flux/go.mod"),
    go_sum: include_str!("../go/flux/go.sum"),
    tags: None,
    main_go: None,
    main: "github.com/fluxcd/kustomize-controller",
};

/// The library by which Flux and Helm tell whether an object is ready, with a program of ours around it.
pub(crate) const KSTATUS: GoModule = GoModule {
    name: "kstatus",
    go_mod: include_str!("../go/kstatus/go.mod"),
    go_sum: include_str!("../go/kstatus/go.sum"),
    tags: None,
    main_go: Some(include_str!("../go/kstatus/main.go")),
    main: "github.com/fluxcd/cli-utils",
};

/// A program of a [`GoModule`].
#[derive(Debug)]
pub(crate) struct GoProgram {
    pub(crate) module: &'static GoModule,
    /// What the program is called.
    pub(crate) name: &'static str,
    /// Its main package.
    pub(crate) package: &'static str,
    /// The Go module that holds it, whose version it has.
    pub(crate) source: &'static str,
    /// How long a build takes on two cores, to be told before it begins.
    pub(crate) takes: &'static str,
}

impl GoModule {
    /// The version of a module that this one requires, without the `v`.
    pub(crate) fn requires(&self, module: &str) -> Option<&'static str> {
        self.go_mod.lines().find_map(|line| {
            let mut words = line
                .trim()
                .trim_start_matches("require ")
                .split_whitespace();
            (words.next() == Some(module))
                .then(|| words.next())
                .flatten()?
                .strip_prefix('v')
        })
    }

    /// The oldest Go that builds it.
    pub(crate) fn go(&self) -> Version {
        let line = self
            .go_mod
            .lines()
            .find_map(|line| line.strip_prefix("go "));
        line.and_then(Version::parse)
            .unwrap_or(Version::new(1, 26, 0))
    }

    /// The folder of its programs below that of the cache. Its name changes with everything that the
    /// programs are made of.
    pub(crate) fn cache(&self, cache: &std::path::Path) -> PathBuf {
        let mut digest = Sha256::new();
        let parts = [
            self.go_mod,
            self.go_sum,
            RECIPE,
            std::env::consts::OS,
            std::env::consts::ARCH,
        ];
        for part in parts.into_iter().chain(self.main_go).chain(self.tags) {
            digest.update(part.as_bytes());
            digest.update([0]);
        }
        let digest: String = digest
            .finalize()
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let version = self.requires(self.main).unwrap_or("unknown");
        cache.join(format!("{}-{version}-{digest}", self.name))
    }

    /// What the linker writes into the programs, so that they know their versions: outside of their own
    /// repositories they would call themselves v0.0.0-master.
    pub(crate) fn linker_flags(&self) -> String {
        let mut flags = "-s -w".to_owned();
        let mut set =
            |variable: &str, value: &str| flags.push_str(&format!(" -X {variable}={value}"));
        let version = self.requires(self.main).unwrap_or("0.0.0");
        match self.name {
            "helm" => set(
                "helm.sh/helm/v4/internal/version.version",
                &format!("v{version}"),
            ),
            "kubernetes" => {
                for package in [
                    "k8s.io/component-base/version",
                    "k8s.io/client-go/pkg/version",
                ] {
                    set(&format!("{package}.gitVersion"), &format!("v{version}"));
                    set(&format!("{package}.gitTreeState"), "clean");
                }
                let mut numbers = version.split('.');
                set(
                    "k8s.io/component-base/version.gitMajor",
                    numbers.next().unwrap_or(""),
                );
                set(
                    "k8s.io/component-base/version.gitMinor",
                    numbers.next().unwrap_or(""),
                );
            }
            // Nothing asks them which version they are: the cache is named after it.
            _ => {}
        }
        flags
    }
}

impl GoProgram {
    /// Its version.
    pub(crate) fn version(&self) -> Version {
        self.module
            .requires(self.source)
            .and_then(Version::parse)
            .unwrap_or(Version::new(0, 0, 0))
    }
}

/// Where programs are kept: `$XDG_CACHE_HOME/sluice`, or `~/.cache/sluice`.
pub(crate) fn cache_home() -> PathBuf {
    let set = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(|| std::env::temp_dir().join("cache"))
        .join("sluice")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn versions_come_from_the_modules() {
        assert!(
            Version::parse(KUBERNETES.requires("k8s.io/kubernetes").unwrap())
                .unwrap()
                .minor
                >= 37
        );
        assert!(
            Version::parse(KUBERNETES.requires("go.etcd.io/etcd/server/v3").unwrap())
                .unwrap()
                .major
                == 3
        );
        assert!(
            Version::parse(HELM.requires("helm.sh/helm/v4").unwrap())
                .unwrap()
                .major
                == 4
        );
        assert!(KUBERNETES.go() >= Version::new(1, 26, 0));
        assert_eq!(KUBERNETES.requires("example.com/nothing"), None);
    }

    #[test]
    fn every_staging_module_is_of_the_release_that_is_built() {
        let version = KUBERNETES
            .requires("k8s.io/kubernetes")
            .unwrap()
            .strip_prefix("1.")
            .unwrap();
        let replaced: Vec<&str> = KUBERNETES
            .go_mod
            .lines()
            .filter(|line| line.contains(" => "))
            .collect();
        assert!(replaced.len() >= 33);
        for line in replaced {
            assert!(line.ends_with(&format!(" v0.{version}")), "{line}");
        }
    }

    #[test]
    fn the_cache_is_named_by_what_it_holds() {
        let dir = KUBERNETES.cache(Path::new("/cache"));
        assert!(
            dir.to_str().unwrap().starts_with("/cache/kubernetes-1."),
            "{}",
            dir.display()
        );
        let changed = GoModule {
            go_sum: "",
            ..KUBERNETES
        };
        assert_ne!(changed.cache(Path::new("/cache")), dir);
    }
}
