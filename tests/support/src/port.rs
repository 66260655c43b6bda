//! Ports that stay free until the program listens that they are meant for.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// A port of 127.0.0.1 that is given to nobody who asks for any, nor to a connection that goes out, until this is
/// dropped. A program that asks for this very port gets it, as servers ask (with `SO_REUSEADDR`).
#[derive(Debug)]
pub struct Port {
    /// `127.0.0.1:…`
    pub address: SocketAddr,
    // Bound, and never listening.
    _socket: TcpSocket,
}

impl Port {
    /// One that nobody has.
    pub fn held() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("it can be shared");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(any).expect("a port");
        let address = socket.local_addr().expect("an address");
        Self {
            address,
            _socket: socket,
        }
    }
}

#[tokio::test]
async fn a_port_that_is_held_refuses_connections_and_is_there_for_who_asks_for_it() {
    use tokio::net::{TcpListener, TcpStream};

    let port = Port::held();
    let refused = TcpStream::connect(port.address).await;
    assert_eq!(
        refused.expect_err("nobody listens").kind(),
        std::io::ErrorKind::ConnectionRefused
    );
    for _ in 0..2 {
        let listener = TcpListener::bind(port.address).await.expect("the port");
        TcpStream::connect(port.address)
            .await
            .expect("somebody listens");
        drop(listener);
    }
}
