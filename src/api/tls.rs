//! TLS from two files, which may change at any time.
//!
//! Kubernetes mounts a Secret as links into a folder that it swaps as a whole, so there is no write
//! to be told of and the two files may be read from before and after a swap. So they are looked at
//! regularly, and a pair that doesn't fit is left alone until it does.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use sha2::{Digest, Sha256};
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// A certificate and its key, the newest that fit together.
pub(super) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<ServerConfig>>,
}

/// What was read of the files: their content, by its digest, or why they can't be read.
#[derive(PartialEq, Eq)]
enum FilesSeen {
    Content([u8; 32]),
    Nothing(String),
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// If they can't be read, or aren't a certificate and its key in PEM.
    pub fn load(certificate: &Path, key: &Path) -> io::Result<Self> {
        let pair = read(certificate, key)?;
        let config = pair.config(certificate, key)?;
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current: RwLock::new(Arc::new(config)),
        })
    }

    /// Accepts connections with the newest pair.
    pub fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(current.clone())
    }

    /// Follows the files, without end.
    pub async fn follow(self: Arc<Self>) {
        let mut seen = None;
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let tls = self.clone();
            // Reading files blocks. It fails only if it panics; then the next one tries again.
            let Ok(now) = tokio::task::spawn_blocking(move || tls.look(seen)).await else {
                seen = None;
                continue;
            };
            let (now, news) = now;
            match news {
                None => {}
                Some(Ok(())) => tracing::info!(
                    certificate = %self.certificate.display(),
                    "the TLS certificate was reloaded"
                ),
                Some(Err(error)) => tracing::error!(
                    %error,
                    "the TLS certificate and key aren't usable; the last good ones stay in use"
                ),
            }
            seen = Some(now);
        }
    }

    /// Takes the files' content over if it isn't what was seen before. Returns what is seen now, and
    /// what became of it if it is new.
    fn look(&self, before: Option<FilesSeen>) -> (FilesSeen, Option<io::Result<()>>) {
        let pair = read(&self.certificate, &self.key);
        let now = match &pair {
            Ok(pair) => FilesSeen::Content(pair.digest()),
            Err(error) => FilesSeen::Nothing(error.to_string()),
        };
        if before.as_ref() == Some(&now) {
            return (now, None);
        }
        let taken = pair.and_then(|pair| {
            let config = pair.config(&self.certificate, &self.key)?;
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
            Ok(())
        });
        // The first look finds what was loaded at the start, which is no news.
        let news = (before.is_some() || taken.is_err()).then_some(taken);
        (now, news)
    }
}

/// The content of both files.
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

fn read(certificate: &Path, key: &Path) -> io::Result<Pair> {
    let content = |path: &Path| {
        std::fs::read(path).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("can't read {}: {error}", path.display()),
            )
        })
    };
    Ok(Pair {
        certificate: content(certificate)?,
        key: content(key)?,
    })
}

impl Pair {
    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.certificate.len().to_be_bytes());
        digest.update(&self.certificate);
        digest.update(&self.key);
        digest.finalize().into()
    }

    /// No error repeats anything of the files: in a broken PEM file, a line may be the whole key.
    fn config(&self, certificate: &Path, key: &Path) -> io::Result<ServerConfig> {
        let invalid = |path: &Path, what: &str| {
            let text = format!("{} {what}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .ok()
            .filter(|chain| !chain.is_empty())
            .ok_or_else(|| invalid(certificate, "holds no certificates in PEM"))?;
        let private = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| invalid(key, "holds no private key in PEM"))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(|_| {
                let of = format!(
                    "isn't the key of the certificate in {}, or is of no known kind",
                    certificate.display()
                );
                invalid(key, &of)
            })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}
