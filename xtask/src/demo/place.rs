//! Where the demo keeps its files: `.demo` in the checkout.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::Error;

/// The demo's folder, and the checkout that it is in.
pub struct Place {
    pub checkout: PathBuf,
    dir: PathBuf,
}

impl Place {
    pub fn of_checkout() -> Place {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let checkout = manifest.parent().unwrap_or(manifest).to_owned();
        Place {
            dir: checkout.join(".demo"),
            checkout,
        }
    }

    /// The control plane's own folder. Not the one of `cargo xtask control-plane`, which is somebody's own.
    pub fn control_plane(&self) -> PathBuf {
        self.dir.join("cluster")
    }

    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// Programs to put on the `PATH`.
    pub fn bin(&self) -> PathBuf {
        self.dir.join("bin")
    }

    /// What the engine keeps.
    pub fn engine_state(&self) -> PathBuf {
        self.dir.join("engine")
    }

    pub fn engine_key(&self) -> PathBuf {
        self.dir.join("engine.key")
    }

    /// The engine's log of calls.
    pub fn calls(&self) -> PathBuf {
        self.dir.join("calls.jsonl")
    }

    /// What was started.
    pub fn processes(&self) -> PathBuf {
        self.dir.join("processes.json")
    }

    pub fn operator_kubeconfig(&self) -> PathBuf {
        self.dir.join("operator.kubeconfig")
    }

    pub fn kubeconfig_of(&self, person: &str) -> PathBuf {
        self.dir.join(format!("{person}.kubeconfig"))
    }

    /// What a shell sources to be this person.
    pub fn environment_of(&self, person: &str) -> PathBuf {
        self.dir.join(format!("{person}.sh"))
    }

    /// Where a program is edited.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn kubectl_cache(&self) -> PathBuf {
        self.dir.join("kubectl-cache")
    }

    /// A path as it is typed in the checkout.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.checkout)
            .unwrap_or(path)
            .display()
            .to_string()
    }

    /// Makes the folders.
    ///
    /// # Errors
    /// When that fails.
    pub fn make(&self) -> Result<(), Error> {
        for dir in [self.dir.clone(), self.logs(), self.bin()] {
            fs::create_dir_all(&dir).map_err(Error::io(format!("make {}", dir.display())))?;
        }
        Ok(())
    }

    /// Removes the demo's files, and the folder if nothing of anybody else's is in it.
    ///
    /// # Errors
    /// When something can't be removed.
    pub fn remove(&self) -> Result<(), Error> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(Error::io(format!("read {}", self.dir.display())))?,
        };
        for entry in entries.flatten() {
            // `cargo xtask control-plane up` keeps another control plane here.
            if entry
                .file_name()
                .to_string_lossy()
                .starts_with("control-plane")
            {
                continue;
            }
            let path = entry.path();
            let removed = match entry.file_type() {
                Ok(kind) if kind.is_dir() => fs::remove_dir_all(&path),
                _ => fs::remove_file(&path),
            };
            removed.map_err(Error::io(format!("remove {}", path.display())))?;
        }
        // Not empty: then it isn't ours alone.
        let _ = fs::remove_dir(&self.dir);
        Ok(())
    }
}

/// Writes a file that only this user can read: it may hold tokens.
///
/// # Errors
/// When it can't be written.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Error> {
    use std::io::Write;
    let write = || -> std::io::Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(content.as_ref())
    };
    write().map_err(Error::io(format!("write {}", path.display())))
}
