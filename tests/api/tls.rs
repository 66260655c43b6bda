//! TLS: its files, which may change, and its connections.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    connections::{APPROVE, rest, send, serve},
    fake::{Fake, Fault},
    log::Log,
};

/// A Secret that is mounted as Kubernetes does it: the files are links into `..data`, which is a link
/// that is replaced.
struct Mounted {
    folder: TempDir,
    versions: u32,
}

impl Mounted {
    fn with(pair: &CertifiedKey<KeyPair>) -> Self {
        let mut mounted = Self {
            folder: tempfile::tempdir().unwrap(),
            versions: 0,
        };
        mounted.swap(&pair.cert.pem(), &pair.signing_key.serialize_pem());
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), mounted.path(name)).unwrap();
        }
        mounted
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn swap(&mut self, certificate: &str, key: &str) {
        self.versions += 1;
        let version = format!("..{}", self.versions);
        fs::create_dir(self.path(&version)).unwrap();
        fs::write(self.path(&version).join("tls.crt"), certificate).unwrap();
        fs::write(self.path(&version).join("tls.key"), key).unwrap();
        symlink(&version, self.path("..data_tmp")).unwrap();
        fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
    }

    fn fake(&self) -> Fake {
        Fake::with_a_change_that_waits().configured(|config| {
            config.tls_cert_file = Some(self.path("tls.crt"));
            config.tls_key_file = Some(self.path("tls.key"));
            config.request_timeout = Duration::from_secs(60);
            config.read_timeout = Duration::from_secs(20);
        })
    }
}

fn pair() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

/// Connects with trust in this certificate only.
async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

async fn approve(address: SocketAddr, trusted: &CertificateDer<'static>) -> io::Result<String> {
    let mut stream = connect(address, trusted).await?;
    let text = format!("{APPROVE}Connection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await?;
    Ok(rest(&mut stream).await)
}

/// Waits until this is true.
async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn requests_are_served_over_tls_and_not_without() {
    let pair = pair();
    let mounted = Mounted::with(&pair);
    let server = serve(&mounted.fake()).await;
    let answer = approve(server.address, pair.cert.der()).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 Accepted\r\n"), "{answer}");
    let mut plain = send(server.address, &format!("{APPROVE}\r\n")).await;
    let answer = rest(&mut plain).await;
    assert!(!answer.contains("HTTP/1.1"), "{answer}");
}

#[tokio::test]
async fn a_new_pair_is_taken_over_and_a_broken_one_is_not() {
    let (first, second, third) = (pair(), pair(), pair());
    let mut mounted = Mounted::with(&first);
    let (log, _guard) = Log::begin();
    let server = serve(&mounted.fake()).await;
    let is_served = async |pair: &CertifiedKey<KeyPair>| {
        let answer = approve(server.address, pair.cert.der()).await;
        answer.is_ok_and(|answer| answer.contains(" 202 "))
    };
    assert!(is_served(&first).await && !is_served(&second).await);
    // A connection that is open stays so.
    let mut open = connect(server.address, first.cert.der()).await.unwrap();

    mounted.swap(&second.cert.pem(), &second.signing_key.serialize_pem());
    eventually("the second is served", async || is_served(&second).await).await;
    assert!(!is_served(&first).await);
    let text = format!("{APPROVE}Connection: close\r\n\r\n");
    open.write_all(text.as_bytes()).await.unwrap();
    assert!(rest(&mut open).await.contains(" 202 "));

    let broken = third.signing_key.serialize_pem().replace('\n', "");
    for (certificate, key) in [
        (third.cert.pem(), second.signing_key.serialize_pem()),
        (third.cert.pem(), broken.clone()),
        (String::new(), third.signing_key.serialize_pem()),
    ] {
        let before = log.text().matches("stay in use").count();
        mounted.swap(&certificate, &key);
        eventually("it is logged", async || {
            log.text().matches("stay in use").count() > before
        })
        .await;
        assert!(is_served(&second).await);
    }
    mounted.swap(&third.cert.pem(), &third.signing_key.serialize_pem());
    eventually("the third is served", async || is_served(&third).await).await;
    // In a broken file, a line may be the whole key.
    let secret = broken.split("-----").find(|part| part.len() > 50).unwrap();
    assert!(!log.text().contains(&secret[..50]));
}

#[tokio::test]
async fn what_is_no_pair_at_the_start_is_an_error_that_names_the_file() {
    let (one, other) = (pair(), pair());
    let mut mounted = Mounted::with(&one);
    let begin = async |fake: &Fake| {
        let server = serve(fake).await;
        let ended = timeout(Duration::from_secs(20), server.ended).await;
        ended.unwrap().unwrap().unwrap_err().to_string()
    };
    let without_key = mounted
        .fake()
        .configured(|config| config.tls_key_file = None);
    begin(&without_key).await;
    mounted.swap(&one.cert.pem(), &other.signing_key.serialize_pem());
    assert!(begin(&mounted.fake()).await.contains("tls.key"));
    mounted.swap("nonsense", &one.signing_key.serialize_pem());
    assert!(begin(&mounted.fake()).await.contains("tls.crt"));
    fs::remove_file(mounted.path("tls.crt")).unwrap();
    assert!(begin(&mounted.fake()).await.contains("tls.crt"));
}

#[tokio::test]
async fn a_handshake_that_does_not_come_in_time_ends_the_connection() {
    let mounted = Mounted::with(&pair());
    let fake = mounted
        .fake()
        .configured(|config| config.read_timeout = Duration::from_millis(200));
    let server = serve(&fake).await;
    // An idle connection, and one that breaks off in its greeting.
    for text in ["", "\u{16}\u{3}\u{1}\u{2}"] {
        assert_eq!(rest(&mut send(server.address, text).await).await, "");
    }
}

#[tokio::test]
async fn a_handshake_takes_one_of_the_connections_and_gives_it_to_the_next() {
    let pair = pair();
    let mounted = Mounted::with(&pair);
    let fake = mounted
        .fake()
        .configured(|config| config.max_connections = 1);
    let server = serve(&fake).await;
    let mut first = send(server.address, "").await;
    let second = approve(server.address, pair.cert.der());
    let answer = timeout(Duration::from_secs(20), second).await.unwrap();
    assert!(answer.unwrap().contains(" 202 "));
    assert_eq!(rest(&mut first).await, "");
}

#[tokio::test]
async fn at_the_end_handshakes_are_given_up_and_requests_are_answered() {
    let pair = pair();
    let mounted = Mounted::with(&pair);
    let fake = mounted
        .fake()
        .configured(|config| config.read_timeout = Duration::from_secs(60));
    let gate = Arc::new(Semaphore::new(0));
    fake.fault("POST pipelineapprovals", Fault::Held(gate.clone()));
    let server = serve(&fake).await;
    let mut shaking = send(server.address, "").await;
    let mut idle = connect(server.address, pair.cert.der()).await.unwrap();
    let mut busy = connect(server.address, pair.cert.der()).await.unwrap();
    let text = format!("{APPROVE}\r\n");
    busy.write_all(text.as_bytes()).await.unwrap();
    while fake.calls_like("POST pipelineapprovals").is_empty() {
        tokio::task::yield_now().await;
    }
    server.stop.send(()).unwrap();
    assert_eq!(rest(&mut shaking).await, "");
    let ended = timeout(Duration::from_secs(20), idle.read_u8()).await;
    assert!(ended.unwrap().is_err());
    assert!(!server.ended.is_finished());
    gate.add_permits(1);
    assert!(rest(&mut busy).await.starts_with("HTTP/1.1 202 "));
    timeout(Duration::from_secs(20), server.ended)
        .await
        .expect("it doesn't end")
        .unwrap()
        .unwrap();
}
