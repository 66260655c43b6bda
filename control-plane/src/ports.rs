//! Free loopback ports.

use std::net::{Ipv4Addr, TcpListener};

use crate::error::{Error, Result};
use crate::random;

/// Where ports are looked for: below the range from which Linux (32768 and up) and macOS (49152 and up)
/// take the ports of outgoing connections.
///
/// With a port from that range, a client that keeps dialling while the API server is down can be given
/// the very port that it dials, connect to itself, and so keep the server from coming back.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// A TCP port of 127.0.0.1 on which nobody listens now. Someone may before the caller does, so the caller
/// must be ready to try another one.
///
/// # Errors
/// When every port that was tried is taken.
pub(crate) fn free() -> Result<u16> {
    let mut last = None;
    for _ in 0..100 {
        let port = FIRST + random::below(COUNT)?;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => last = Some(error),
        }
    }
    let source = last.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into());
    Err(Error::Io {
        doing: "find a free port on 127.0.0.1".into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_outside_of_the_range_of_outgoing_connections() {
        for _ in 0..20 {
            let port = free().unwrap();
            assert!((20_000..30_000).contains(&port), "{port}");
        }
    }
}
