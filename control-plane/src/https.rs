//! The few requests that this crate itself makes to the API server.
//!
//! HTTP/1.0 over rustls: one request per connection, and the answer ends where the connection does. Whoever
//! does more than wait for readiness has a Kubernetes client, and should use that.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, IpAddr, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::error::{Error, Result};

/// How long one request may take: long against what any takes, also where others keep the machine busy.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A client of one API server as one user.
#[derive(Debug)]
pub(crate) struct Client {
    port: u16,
    token: String,
    tls: Arc<ClientConfig>,
}

/// An answer: the status code and the body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Client {
    /// A client that trusts this authority and nothing else.
    ///
    /// # Errors
    /// When the certificate is none.
    pub(crate) fn new(port: u16, ca_pem: &str, token: &str) -> Result<Client> {
        let bad = |error: &dyn std::fmt::Display| Error::Certificates(error.to_string());
        let mut roots = RootCertStore::empty();
        let certificate =
            CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(|error| bad(&error))?;
        roots.add(certificate).map_err(|error| bad(&error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| bad(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Client {
            port,
            token: token.into(),
            tls: Arc::new(tls),
        })
    }

    /// The port of the API server.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on, the API server is on this port.
    pub(crate) fn set_port(&mut self, port: u16) {
        self.port = port;
    }

    /// Makes one request.
    ///
    /// # Errors
    /// When the API server can't be reached, isn't the one that it should be, or doesn't answer in time.
    pub(crate) fn request(&self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let tcp = TcpStream::connect_timeout(&address, TIMEOUT)?;
        tcp.set_read_timeout(Some(TIMEOUT))?;
        tcp.set_write_timeout(Some(TIMEOUT))?;
        let name = ServerName::IpAddress(IpAddr::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST)));
        let tls = ClientConnection::new(self.tls.clone(), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(tls, tcp);
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\n\
             Accept: application/json\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        )?;
        stream.flush()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        parse(&String::from_utf8_lossy(&answer))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
    }
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head
        .strip_prefix("HTTP/")?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    Some(Answer {
        status,
        body: body.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_its_body() {
        let answer = parse("HTTP/1.0 403 Forbidden\r\nContent-Type: a\r\n\r\n{}\r\n\r\n").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (403, "{}\r\n\r\n"));
        assert!(parse("hello").is_none());
    }
}
