//! The operator's program, static, so that an image needs nothing beside it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Error, ROOT, io_error};

/// With musl instead of glibc a program is whole in itself, name resolution included.
pub(super) fn target() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

/// The commit that is built, and whether files differ from it.
pub(super) fn commit() -> Result<String, Error> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(ROOT)
            .output()
            .map_err(|source| io_error("run git", source))?;
        Ok::<_, Error>(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain"])?;
    Ok(match changed.as_str() {
        "" => commit,
        _ => format!("{commit}-dirty"),
    })
}

/// Builds it, and returns where it is.
pub(super) fn build(folder: &Path, commit: &str) -> Result<PathBuf, Error> {
    let target = target();
    require(&target)?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--locked", "-p", "sluice"])
        .args(["--bin", "sluice", "--target", &target])
        .env("RUSTFLAGS", no_paths_of_this_machine())
        .env("SLUICE_COMMIT", commit)
        .current_dir(ROOT)
        .status()
        .map_err(|source| io_error("run cargo", source))?;
    if !status.success() {
        return Err(Error::Failed {
            what: "`cargo build`",
            status: status.to_string(),
            output: String::new(),
        });
    }
    Ok(folder.join(&target).join("release/sluice"))
}

/// The same sources are to give the same program, wherever they and cargo's are.
fn no_paths_of_this_machine() -> String {
    let sources = std::fs::canonicalize(ROOT).unwrap_or_else(|_| ROOT.into());
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let mut flags = format!("--remap-path-prefix={}=/sluice", sources.display());
    if let Some(cargo) = cargo {
        flags += &format!(" --remap-path-prefix={}=/cargo", cargo.display());
    }
    flags
}

/// Says what is missing for that target, and how to get it.
fn require(target: &str) -> Result<(), Error> {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .current_dir(ROOT)
        .output()
        .map_err(|source| io_error("run rustc", source))?;
    let libraries = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if !libraries.is_dir() {
        return Err(Error::Toolchain(format!(
            "Rust's standard library for {target} is missing: `rustup target add {target}` installs it"
        )));
    }
    let compiler = Command::new("musl-gcc").arg("--version").output();
    let is_told = std::env::var_os(format!("CC_{}", target.replace('-', "_"))).is_some();
    if compiler.is_err() && !is_told {
        return Err(Error::Toolchain(format!(
            "a C compiler for {target} is missing: on Debian and Ubuntu, `apt-get install musl-tools`; \
             or name one in CC_{}",
            target.replace('-', "_")
        )));
    }
    Ok(())
}
