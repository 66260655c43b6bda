//! Connections: how many, how long they may take, and how they end.

use std::{io, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use kube::Client;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    config::Config,
    routes::{State, router},
};

/// The most that a request line and its headers may take together. Tokens with many groups take
/// a few KiB. It is checked between reads, so a single read may go beyond.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// The most headers.
const MAX_HEADERS: usize = 100;

/// Serves the REST endpoint until `shutdown` is done. Then no connection is accepted any more,
/// requests that have begun are answered, and it returns.
///
/// `axum::serve` sets no limits on the time and the size of headers, so this doesn't use it. A
/// request whose head exceeds them is answered by hyper, with a status and no body.
pub async fn serve(
    config: Config,
    client: Client,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let app = router(State::new(&config, client)?);
    let (stop, stopping) = watch::channel(false);
    let free = Arc::new(Semaphore::new(config.max_connections));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (slot, accepted) = accept(&free, &listener) => match accepted {
                Ok(stream) => {
                    let served = connection(stream, app.clone(), config.read_timeout, stopping.clone());
                    connections.spawn(async move {
                        served.await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "can't accept a connection");
                    // Most likely there are no file descriptors left; trying at once won't help.
                    sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
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

async fn accept(
    free: &Arc<Semaphore>,
    listener: &TcpListener,
) -> (Option<OwnedSemaphorePermit>, io::Result<TcpStream>) {
    // Fails only if the semaphore is closed, which nobody does.
    let slot = free.clone().acquire_owned().await.ok();
    let accepted = listener.accept().await.map(|(stream, _)| stream);
    (slot, accepted)
}

async fn connection(
    stream: TcpStream,
    app: Router,
    head_timeout: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    // Answers are small and complete, so there is nothing to wait for. If it can't be set, they
    // are a little slower.
    let _ = stream.set_nodelay(true);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        // What it returns holds a lock, which mustn't be held while we wait further.
        () = async { drop(stopping.wait_for(|stop| *stop).await) } => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
