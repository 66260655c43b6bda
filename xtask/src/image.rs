//! `cargo xtask image`: the operator's image, as an OCI image layout, with no container engine.
//!
//! 1. `program` builds a static program for the image's platform;
//! 2. `sbom` lists what is linked into it;
//! 3. `layout` puts both, and the certificate authorities of this machine, into an image with one layer.
//!
//! The same sources give the same image: nothing in it says when or where it was made.

mod layout;
mod program;
mod sbom;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::say;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Where Linux distributions keep the certificate authorities.
const AUTHORITIES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

#[derive(Args)]
pub struct Image {
    /// Push it there as well, as registry.example.com/sluice:0.2.0, with the credentials of `docker login`
    #[arg(long, value_name = "REFERENCE")]
    push: Option<String>,
    /// That registry speaks plain HTTP
    #[arg(long, requires = "push")]
    insecure: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {doing}: {source}")]
    Io {
        doing: String,
        source: std::io::Error,
    },
    #[error("{0}")]
    Toolchain(String),
    #[error("{what} failed ({status}){output}")]
    Failed {
        what: &'static str,
        status: String,
        output: String,
    },
    #[error(
        "there are no certificate authorities at {}: install your distribution's ca-certificates",
        AUTHORITIES.join(" or ")
    )]
    NoAuthorities,
    #[error(transparent)]
    ControlPlane(#[from] control_plane::Error),
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Image {
    /// Makes it, and says where it is.
    pub fn run(self) -> Result<ExitCode, Error> {
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| Path::new(ROOT).join("target"), PathBuf::from);
        std::fs::create_dir_all(&target)
            .map_err(|source| io_error(&format!("create {}", target.display()), source))?;
        let target = std::fs::canonicalize(&target)
            .map_err(|source| io_error(&format!("find {}", target.display()), source))?;
        let folder = target.join("image");
        let oci = folder.join("oci");
        remove(&oci)?;

        say::heading("The program");
        let commit = program::commit()?;
        let program = program::build(&target, &commit)?;
        say::heading("What is linked into it");
        let sbom = sbom::write(&folder)?;
        say::heading("The image");
        let read = |path: &Path| {
            std::fs::read(path)
                .map_err(|source| io_error(&format!("read {}", path.display()), source))
        };
        let authorities = AUTHORITIES.iter().find_map(|path| std::fs::read(path).ok());
        let files = [
            layout::File::program("sluice", read(&program)?),
            layout::File::data(
                "etc/ssl/certs/ca-certificates.crt",
                authorities.ok_or(Error::NoAuthorities)?,
            ),
            layout::File::data("sluice.cdx.json", read(&sbom)?),
        ];
        let made = layout::write(&oci, &files, env!("CARGO_PKG_VERSION"), &commit)?;
        let size = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        say::line(format!("layout    {}", oci.display()));
        say::line(format!("digest    {}", made.digest));
        say::line(format!(
            "size      {} unpacked, {} to download",
            size(made.unpacked),
            size(made.packed)
        ));
        say::line(format!("SBOM      {}", sbom.display()));
        match &self.push {
            Some(reference) => self.push(&oci, reference)?,
            None => say::line(
                "To push it: `make image PUSH=registry.example.com/sluice:0.2.0`, or any tool that knows OCI layouts.",
            ),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn push(&self, oci: &Path, reference: &str) -> Result<(), Error> {
        let crane = control_plane::tools::crane(&control_plane::Progress::stderr())?;
        let mut command = std::process::Command::new(crane);
        command.arg("push").arg(oci).arg(reference);
        if self.insecure {
            command.arg("--insecure");
        }
        let status = command
            .status()
            .map_err(|source| io_error("run crane", source))?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Failed {
            what: "`crane push`",
            status: status.to_string(),
            output: String::new(),
        })
    }
}

fn io_error(doing: &str, source: std::io::Error) -> Error {
    Error::Io {
        doing: doing.to_owned(),
        source,
    }
}

/// Removes a folder, if it is there.
fn remove(folder: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(folder) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(io_error(&format!("remove {}", folder.display()), source))
        }
        _ => Ok(()),
    }
}
