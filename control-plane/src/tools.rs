//! Programs beside the control plane.

use std::path::PathBuf;

use crate::binaries::Places;
use crate::error::Result;
use crate::finding::{self, Requirement};
use crate::go_build;
use crate::go_module::{GoProgram, HELM};
use crate::progress::Progress;
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
