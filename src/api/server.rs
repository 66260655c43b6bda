//! Connections: how many, how long they may take, and how they end.

use std::{
    io,
    net::IpAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use kube::Client;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinSet, yield_now},
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    config::Config,
    room::{NoRoom, Place, Room},
    routes::{Peer, State, router},
    tls::Tls,
};
use crate::policies::Trust;

/// The most that a request line and its headers may take together. Tokens with many groups take
/// a few KiB. It is checked between reads, so a single read may go beyond.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// The most headers.
const MAX_HEADERS: usize = 100;

/// How long a connection that has lost its place may take for the answer that says so. It is a few hundred bytes, and a
/// client that doesn't read it has no claim to more.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves the REST endpoint until `shutdown` is done. Then no connection is accepted any more,
/// requests that have begun are answered, and it returns.
///
/// `axum::serve` sets no limits on the time and the size of headers, so this doesn't use it. A
/// request whose head exceeds them is answered by hyper, with a status and no body.
pub async fn serve(
    config: Config,
    client: Client,
    trust: watch::Receiver<Trust>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let app = router(State::new(&config, client)?.with_policies(trust));
    let tls = match (&config.tls_cert_file, &config.tls_key_file) {
        (Some(certificate), Some(key)) => Some(Arc::new(Tls::load(certificate, key)?)),
        (None, None) => None,
        _ => {
            let message = "a TLS certificate needs its key, and a key its certificate";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    };
    let follow = |tls: &Arc<Tls>| AbortOnDropHandle::new(tokio::spawn(tls.clone().follow()));
    let _follower = tls.as_ref().map(follow);
    let (stop, stopping) = watch::channel(false);
    let room = Room::new(config.max_connections);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    // What is accepted and has no place yet, because all are taken for certain.
    let mut waiting: Option<(TcpStream, IpAddr)> = None;
    loop {
        if let Some((stream, peer)) = waiting.take() {
            match room.enter(peer, Instant::now()) {
                Err(NoRoom::Yet) => waiting = Some((stream, peer)),
                // It doesn't wait, for others would have to wait behind it.
                Err(NoRoom::ForThem) => {
                    tracing::debug!(address = %peer, "a connection is refused: its address has too many");
                }
                Ok(place) => {
                    let connection = Connection {
                        app: app.clone(),
                        peer,
                        place,
                        patience: config.read_timeout,
                        stopping: stopping.clone(),
                    };
                    connections.spawn(connection.serve(stream, tls.clone()));
                    // A crowd that has come meanwhile would take its place again before it was read once: so it is read
                    // before the next one comes in.
                    yield_now().await;
                }
            }
        }
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            () = room.changed(), if waiting.is_some() => {}
            accepted = listener.accept(), if waiting.is_none() => match accepted {
                Ok((stream, peer)) => waiting = Some((stream, peer.ip())),
                Err(error) => {
                    tracing::warn!(%error, "can't accept a connection");
                    // Most likely there are no file descriptors left; trying at once won't help.
                    sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(waiting);
    drop(listener);
    stop.send_replace(true);
    // Longer than any request takes: its body, then its calls to the API server.
    let patience = config.read_timeout + config.request_timeout + Duration::from_secs(1);
    let all_done = async { while connections.join_next().await.is_some() {} };
    if timeout(patience, all_done).await.is_err() {
        tracing::warn!("some REST connections didn't end, and are cut");
    }
    Ok(())
}

struct Connection {
    app: Router,
    peer: IpAddr,
    place: Arc<Place>,
    /// How long a handshake may take, and how long the head of each request.
    patience: Duration,
    stopping: watch::Receiver<bool>,
}

impl Connection {
    /// Serves it for as long as it has its place.
    async fn serve(self, stream: TcpStream, tls: Option<Arc<Tls>>) {
        let (closed, gives_way) = (self.place.closed.clone(), self.place.gives_way.clone());
        let told = async {
            gives_way.cancelled().await;
            sleep(LAST_WORDS).await;
        };
        tokio::select! {
            biased;
            () = closed.cancelled() => {}
            () = told => {}
            () = self.talk(stream, tls) => {}
        }
    }

    async fn talk(self, stream: TcpStream, tls: Option<Arc<Tls>>) {
        // Answers are small and complete, so there is nothing to wait for. If it can't be set, they
        // are a little slower.
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else {
            return self.http(stream).await;
        };
        let mut stopping = self.stopping.clone();
        let shaken = tokio::select! {
            shaken = timeout(self.patience, tls.acceptor().accept(stream)) => shaken,
            // No request has begun, so nobody waits for an answer.
            () = told(&mut stopping) => return,
        };
        match shaken {
            Ok(Ok(stream)) => self.http(stream).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn http(mut self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static) {
        let app = TowerToHyperService::new(self.app);
        let (peer, place) = (Peer(self.peer), self.place);
        let app = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(place.clone());
            hyper::service::Service::call(&app, request)
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience)
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), app);
        let mut served = pin!(served);
        let ended = tokio::select! {
            ended = served.as_mut() => ended,
            () = told(&mut self.stopping) => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// Waits until it is told to stop.
async fn told(stopping: &mut watch::Receiver<bool>) {
    // What it returns holds a lock, which mustn't be held while we wait further.
    drop(stopping.wait_for(|stop| *stop).await);
}
