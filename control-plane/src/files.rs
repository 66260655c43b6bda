//! Writing files the careful way.

use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::error::{Error, Result};

/// Makes a folder that only this user can enter, and those above it; one that exists stays as it is.
pub(crate) fn create_private_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::io(|| format!("make the folder {}", path.display())))
}

/// Writes a file that only this user can read, at once: a reader sees the old content or the new.
pub(crate) fn write_private(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(dir)?; // of mode 0600
        file.write_all(content.as_ref())?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(Error::io(|| format!("write {}", path.display())))
}

/// Removes a folder with all that is in it; that it is gone already is fine.
pub(crate) fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::Io {
            doing: format!("remove {}", path.display()),
            source: error,
        }),
        _ => Ok(()),
    }
}

/// Whether nothing is in a folder but perhaps the entry of this name.
pub(crate) fn is_empty_but_for(path: &Path, name: &str) -> Result<bool> {
    let mut entries =
        fs::read_dir(path).map_err(Error::io(|| format!("read the folder {}", path.display())))?;
    Ok(entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == name)))
}

/// Removes everything in a folder but the entry of this name; that the folder is gone already is fine.
pub(crate) fn remove_all_but_for(path: &Path, kept: &str) -> Result<()> {
    let Ok(entries) = fs::read_dir(path) else {
        return Ok(());
    };
    for entry in entries.flatten().filter(|entry| entry.file_name() != kept) {
        let path = entry.path();
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(Error::io(|| format!("remove {}", path.display())))?;
    }
    Ok(())
}

/// The last lines of a log, for an error text; what kept it from being read where it cannot be.
pub(crate) fn last_lines(path: &Path, count: usize) -> String {
    match fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(count)..].join("\n")
        }
        Err(error) => format!("(cannot read {}: {error})", path.display()),
    }
}
