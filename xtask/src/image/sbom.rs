//! The software bill of materials of the operator's program, as CycloneDX: every crate that is linked into
//! it, with version, licence and checksum.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use control_plane::{Progress, tools};

use super::program::target;
use super::{Error, ROOT, io_error, remove};

/// What cargo-cyclonedx calls it: after the program.
const NAME: &str = "sluice_bin.cdx.json";

/// Writes it, and returns where it is.
pub(super) fn write(folder: &Path) -> Result<PathBuf, Error> {
    let program = tools::cargo_cyclonedx(&Progress::stderr())?;
    // It writes beside each Cargo.toml, so it gets a copy of the sources.
    let sources = folder.join("sources");
    remove(&sources)?;
    std::fs::create_dir_all(&sources)
        .map_err(|source| io_error(&format!("create {}", sources.display()), source))?;
    let archive = folder.join("sources.tar");
    run(
        "`git archive`",
        Command::new("git")
            .args(["archive", "--output"])
            .args([&archive])
            .arg("HEAD")
            .current_dir(ROOT),
    )?;
    run(
        "`tar`",
        Command::new("tar")
            .arg("-xf")
            .arg(&archive)
            .arg("-C")
            .arg(&sources),
    )?;
    run(
        "`cargo cyclonedx`",
        Command::new(program)
            .args(["cyclonedx", "--format", "json", "--describe", "binaries"])
            .args(["--target", &target(), "--manifest-path"])
            .arg(sources.join("Cargo.toml"))
            // Its time stamp, so that the same sources have the same.
            .env("SOURCE_DATE_EPOCH", "0")
            .current_dir(&sources),
    )?;
    let sbom = folder.join("sluice.cdx.json");
    let text = std::fs::read_to_string(sources.join(NAME))
        .map_err(|source| io_error(&format!("read {NAME}"), source))?;
    // It names the folder in which it was made.
    let text = text.replace(&sources.display().to_string(), "/sluice");
    std::fs::write(&sbom, text).map_err(|source| io_error("write the SBOM", source))?;
    remove(&sources)?;
    std::fs::remove_file(&archive).map_err(|source| io_error("remove sources.tar", source))?;
    Ok(sbom)
}

fn run(what: &'static str, command: &mut Command) -> Result<(), Error> {
    let output: Output = command
        .output()
        .map_err(|source| io_error(&format!("run {what}"), source))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Failed {
        what,
        status: output.status.to_string(),
        output: format!(":\n{}", String::from_utf8_lossy(&output.stderr)),
    })
}
