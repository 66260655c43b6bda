//! State on disk that survives `kill -9`: a file per pipeline, replaced as a whole.
//!
//! It isn't flushed to the device: it survives the end of the stand-in, not that of the machine.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::process::BootstrapRecord;

/// What went wrong, and where.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file doesn't hold what it should.
    #[error("{}: {source}; remove the file, or give another --state-dir", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// A directory of state.
#[derive(Debug)]
pub struct Store {
    pipelines: PathBuf,
    bootstraps: PathBuf,
}

impl Store {
    /// Makes the directory if it isn't there.
    ///
    /// # Errors
    /// It can't be made.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let pipelines = directory.join("pipelines");
        fs::create_dir_all(&pipelines).map_err(|e| io_error(&pipelines, e))?;
        Ok(Self {
            pipelines,
            bootstraps: directory.join("bootstraps.jsonl"),
        })
    }

    /// All pipelines. Files that were being written when the stand-in ended are removed.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn load_pipelines<T: DeserializeOwned>(&self) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        let entries = fs::read_dir(&self.pipelines).map_err(|e| io_error(&self.pipelines, e))?;
        for entry in entries {
            let path = entry.map_err(|e| io_error(&self.pipelines, e))?.path();
            if path.extension().is_none_or(|e| e != "json") {
                fs::remove_file(&path).map_err(|e| io_error(&path, e))?;
                continue;
            }
            let bytes = fs::read(&path).map_err(|e| io_error(&path, e))?;
            let value =
                serde_json::from_slice(&bytes).map_err(|source| Error::Json { path, source })?;
            found.push(value);
        }
        Ok(found)
    }

    /// Replaces the file of a pipeline: a reader sees the old or the new one, whole.
    ///
    /// # Errors
    /// It can't be written.
    pub fn save(&self, id: Uuid, value: &impl Serialize) -> Result<(), Error> {
        let path = self.pipelines.join(format!("{id}.json"));
        let temporary = self.pipelines.join(format!("{id}.tmp"));
        let bytes = serde_json::to_vec(value).map_err(|source| Error::Json {
            path: path.clone(),
            source,
        })?;
        fs::write(&temporary, bytes).map_err(|e| io_error(&temporary, e))?;
        fs::rename(&temporary, &path).map_err(|e| io_error(&path, e))
    }

    /// Removes the file of a pipeline.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn remove(&self, id: Uuid) -> Result<(), Error> {
        let path = self.pipelines.join(format!("{id}.json"));
        fs::remove_file(&path).map_err(|e| io_error(&path, e))
    }

    /// All bootstraps begun. A last line that was cut off is left out.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn load_bootstraps(&self) -> Result<Vec<BootstrapRecord>, Error> {
        match fs::read_to_string(&self.bootstraps) {
            Ok(text) => Ok(text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(io_error(&self.bootstraps, e)),
        }
    }

    /// Notes a bootstrap.
    ///
    /// # Errors
    /// It can't be written.
    pub fn append_bootstrap(&self, record: &BootstrapRecord) -> Result<(), Error> {
        let path = &self.bootstraps;
        let mut line = serde_json::to_vec(record).map_err(|source| Error::Json {
            path: path.clone(),
            source,
        })?;
        line.push(b'\n');
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(&line))
            .map_err(|e| io_error(path, e))
    }
}

fn io_error(path: &Path, source: io::Error) -> Error {
    Error::Io {
        path: path.to_owned(),
        source,
    }
}
