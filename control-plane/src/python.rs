//! Makes a Python environment in the cache, once per machine.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::making::{Wanted, Work};
use crate::progress::Progress;

/// The interpreter of an environment with the packages of a file of pinned requirements; see
/// [`crate::tools::python_environment`].
///
/// # Errors
/// When the file can't be read, there is no Python, or a package can't be had.
pub(crate) fn environment(
    requirements: &Path,
    cache: &Path,
    progress: &Progress,
) -> Result<PathBuf> {
    let name = requirements.file_stem().unwrap_or_default();
    let name = format!("python-{}", name.to_string_lossy());
    let content =
        fs::read(requirements).map_err(Error::io(|| format!("read {}", requirements.display())))?;
    let digest: String = Sha256::digest(&content)
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let home = cache.join(format!("{name}-{digest}"));
    let wanted = Wanted {
        what: &name,
        home: &home,
        target: home.join("venv"),
    };
    // Absolute, as it is read in another folder.
    let requirements = std::path::absolute(requirements)
        .map_err(Error::io(|| format!("find {}", requirements.display())))?;
    let venv = wanted.make_once(progress, |dir| {
        let words = [
            "sh",
            "-c",
            // The interpreter is there before its packages are: the last word tells that they are, too.
            r#"python3 -m venv venv &&
                venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
                    --require-hashes -r "$1" &&
                touch complete"#,
            "sh",
            &requirements.to_string_lossy(),
        ];
        let work = Work {
            what: &name,
            how: "from packages of PyPI",
            takes: "a minute",
            tool: "pip install",
            hint: "Packages are downloaded from PyPI, or the index that pip is set to.",
            command: words.map(str::to_owned).to_vec(),
            env: &[],
            dir,
            outcome: &dir.join("complete"),
        };
        work.run(progress)?;
        Ok(dir.join("venv"))
    })?;
    Ok(venv.join("bin/python"))
}
