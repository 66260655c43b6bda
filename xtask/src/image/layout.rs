//! An image with one layer, as an OCI image layout: blobs that are named by their digests, and an index.
//! See <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>.

use std::io::Write;
use std::path::Path;

use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Error, io_error};

/// A file of the image.
pub(super) struct File {
    path: &'static str,
    content: Vec<u8>,
    mode: u32,
}

impl File {
    /// One that can be run.
    pub(super) fn program(path: &'static str, content: Vec<u8>) -> Self {
        Self {
            path,
            content,
            mode: 0o755,
        }
    }

    /// One that is read.
    pub(super) fn data(path: &'static str, content: Vec<u8>) -> Self {
        Self {
            path,
            content,
            mode: 0o644,
        }
    }
}

/// An image that was written.
pub(super) struct Made {
    /// The manifest's digest, by which it is pulled.
    pub(super) digest: String,
    /// The size of its files, in bytes.
    pub(super) unpacked: u64,
    /// The size of what is downloaded, in bytes.
    pub(super) packed: u64,
}

/// Writes the layout into a folder that isn't there yet.
///
/// # Errors
/// When a file can't be written.
pub(super) fn write(
    folder: &Path,
    files: &[File],
    version: &str,
    commit: &str,
) -> Result<Made, Error> {
    let archive = archive(files).map_err(|source| io_error("make the layer", source))?;
    let layer = packed(&archive).map_err(|source| io_error("pack the layer", source))?;
    let config = serde_json::to_vec(&config(&digest(&archive), version, commit))?;
    let blob = |kind: &str, content: &[u8]| {
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": digest(content),
            "size": content.len(),
        })
    };
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("config.v1+json", &config),
        "layers": [blob("layer.v1.tar+gzip", &layer)],
    }))?;
    let mut described = blob("manifest.v1+json", &manifest);
    described["annotations"] = json!({"org.opencontainers.image.ref.name": version});
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [described]}))?;

    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs)
        .map_err(|source| io_error(&format!("create {}", blobs.display()), source))?;
    let store = |path: &Path, content: &[u8]| {
        std::fs::write(path, content)
            .map_err(|source| io_error(&format!("write {}", path.display()), source))
    };
    for content in [&layer, &config, &manifest] {
        store(&blobs.join(&digest(content)["sha256:".len()..]), content)?;
    }
    store(&folder.join("index.json"), &index)?;
    store(
        &folder.join("oci-layout"),
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    Ok(Made {
        digest: digest(&manifest),
        unpacked: files.iter().map(|file| file.content.len() as u64).sum(),
        packed: (layer.len() + config.len() + manifest.len()) as u64,
    })
}

/// How it is run: as in the chart, as nobody.
fn config(layer: &str, version: &str, commit: &str) -> Value {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "architecture": architecture,
        "os": "linux",
        "config": {
            "User": "65532:65532",
            "Entrypoint": ["/sluice"],
            "Cmd": ["run"],
            "ExposedPorts": {"8080/tcp": {}, "8081/tcp": {}},
            "Labels": {
                "org.opencontainers.image.title": "sluice",
                "org.opencontainers.image.description": "A Kubernetes operator for Feldera pipelines with a bootstrap approval gate",
                "org.opencontainers.image.licenses": "Apache-2.0",
                "org.opencontainers.image.version": version,
                "org.opencontainers.image.revision": commit,
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [layer]},
    })
}

/// The layer: files and the folders they are in, all of root's and of no time.
fn archive(files: &[File]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(vec![]);
    let mut folders = std::collections::BTreeSet::new();
    for file in files {
        let parents = Path::new(file.path).ancestors().skip(1);
        folders.extend(parents.filter(|folder| !folder.as_os_str().is_empty()));
    }
    for folder in folders {
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        archive.append_data(&mut header, folder, std::io::empty())?;
    }
    for file in files {
        let mut header = header(
            tar::EntryType::Regular,
            file.mode,
            file.content.len() as u64,
        );
        archive.append_data(&mut header, file.path, file.content.as_slice())?;
    }
    archive.into_inner()
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn packed(archive: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut packer = GzBuilder::new().mtime(0).write(vec![], Compression::best());
    packer.write_all(archive)?;
    packer.finish()
}

fn digest(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> [File; 2] {
        [
            File::program("sluice", b"a program".to_vec()),
            File::data("etc/ssl/certs/ca-certificates.crt", b"authorities".to_vec()),
        ]
    }

    #[test]
    fn the_same_files_make_the_same_image_and_every_digest_is_that_of_its_blob() {
        let place = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| {
            let made = write(&place.path().join(name), &files(), "1", "c").unwrap();
            assert_eq!(made.unpacked, 20);
            made.digest
        });
        assert_eq!(one, other);
        let blobs = place.path().join("one/blobs/sha256");
        let mut seen = 0;
        for entry in std::fs::read_dir(&blobs).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(
                digest(&std::fs::read(&path).unwrap()),
                format!("sha256:{name}")
            );
            seen += 1;
        }
        assert_eq!(seen, 3);
        let index = std::fs::read(place.path().join("one/index.json")).unwrap();
        let index: Value = serde_json::from_slice(&index).unwrap();
        assert_eq!(index["manifests"][0]["digest"], one);
    }

    #[test]
    fn files_are_roots_and_stand_in_folders_that_are_there() {
        let archive = archive(&files()).unwrap();
        let mut entries = tar::Archive::new(archive.as_slice());
        let entries: Vec<(String, u32, u64)> = entries
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let path = entry.path().unwrap().display().to_string();
                (path, header.mode().unwrap(), header.uid().unwrap())
            })
            .collect();
        let wanted = [
            ("etc", 0o755),
            ("etc/ssl", 0o755),
            ("etc/ssl/certs", 0o755),
            ("sluice", 0o755),
            ("etc/ssl/certs/ca-certificates.crt", 0o644),
        ];
        assert_eq!(
            entries,
            wanted.map(|(path, mode)| (path.to_owned(), mode, 0))
        );
    }
}
