//! Virtual environments of Python, for tests that let programs of others judge.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::files;
use crate::go_module::cache_home;
use crate::progress::Progress;

/// The Python of a virtual environment with exactly these packages: from the cache, else installed into
/// it, once per machine and content of `requirements`, a file that pins each package with its hashes.
///
/// It is made beside its place and moved there at the end, so that it is there whole or not at all.
///
/// # Errors
/// When there is no Python 3, or the packages can't be installed.
pub fn environment(name: &str, requirements: &Path, progress: &Progress) -> Result<PathBuf> {
    let content =
        fs::read(requirements).map_err(Error::io(|| format!("read {}", requirements.display())))?;
    let digest: String = Sha256::digest(&content)
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let cache = cache_home();
    let place = cache.join(format!("{name}-{digest}"));
    let python = place.join("bin/python");
    if python.exists() {
        return Ok(python);
    }
    progress.line(format!(
        "{name} isn't cached yet: installing it into {} (this takes a minute)",
        place.display()
    ));
    files::create_private_dir(&cache)?;
    let temporary = tempfile::tempdir_in(&cache).map_err(Error::io(|| {
        format!("make a folder in {}", cache.display())
    }))?;
    let fresh = temporary.path().join("venv");
    run(Command::new("python3").args(["-m", "venv"]).arg(&fresh))?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "-r",
    ];
    run(Command::new(fresh.join("bin/python"))
        .args(pip)
        .arg(requirements))?;
    match fs::rename(&fresh, &place) {
        // Somebody else was faster; theirs is as good.
        Err(_) if python.exists() => Ok(python),
        moved => moved
            .map(|()| python)
            .map_err(Error::io(|| format!("make {}", place.display()))),
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .map_err(Error::io(|| format!("run {command:?}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Python {
        command: format!("{command:?}"),
        status: output.status.to_string(),
        log: format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
    })
}
