//! Connections: their limits and their end.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::{Builder, Runtime},
    sync::{Semaphore, oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use sluice::policies::Trust;

use sluice::api::Limit;

use crate::fake::{Fake, Fault};

pub const APPROVE: &str = "POST /v0/pipelines/orders/approve HTTP/1.1\r\nHost: sluice\r\nAuthorization: Bearer alice-token\r\n";

pub struct Server {
    pub address: SocketAddr,
    pub stop: oneshot::Sender<()>,
    pub ended: JoinHandle<std::io::Result<()>>,
}

pub async fn serve(fake: &Fake) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async {
        let _ = stopped.await;
    };
    let ended = tokio::spawn(sluice::api::serve(
        fake.config(),
        fake.client(),
        watch::channel(Trust::unknown(false)).1,
        listener,
        shutdown,
    ));
    Server {
        address,
        stop,
        ended,
    }
}

pub async fn send(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// All that comes until the connection is closed.
pub async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    // A reset is an end too.
    let _ = timeout(Duration::from_secs(60), read)
        .await
        .expect("the connection stays open");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_request_is_served_over_a_connection() {
    let server = serve(&Fake::with_a_change_that_waits()).await;
    let mut stream = send(
        server.address,
        &format!("{APPROVE}Connection: close\r\n\r\n"),
    )
    .await;
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 202 Accepted\r\n"), "{answer}");
    assert!(
        answer.ends_with(r#"{"checkpoint_sequence_number":7}"#),
        "{answer}"
    );
}

#[tokio::test]
async fn headers_that_do_not_come_in_time_end_the_connection() {
    let fake = Fake::with_a_change_that_waits()
        .configured(|config| config.read_timeout = Duration::from_millis(500));
    let server = serve(&fake).await;
    // An idle connection, one that breaks off in its headers, and one that goes idle after a call.
    for text in ["", APPROVE, &format!("{APPROVE}\r\n")] {
        rest(&mut send(server.address, text).await).await;
    }
}

#[tokio::test]
async fn headers_that_are_too_large_are_refused() {
    let server = serve(&Fake::with_a_change_that_waits()).await;
    let large = format!("{APPROVE}X: {}\r\n\r\n", "x".repeat(1_000_000));
    let many = format!("{APPROVE}{}\r\n", "X: x\r\n".repeat(200));
    for text in [large, many] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        // It may be cut off while it is being sent.
        let _ = stream.write_all(text.as_bytes()).await;
        let answer = rest(&mut stream).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_not_waited_for() {
    let server = serve(&Fake::with_a_change_that_waits()).await;
    let text = format!("{APPROVE}Content-Length: 65537\r\n\r\n");
    let answer = rest(&mut send(server.address, &text).await).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(
        answer.contains(r#""error_code":"BodyTooLarge""#),
        "{answer}"
    );
}

#[tokio::test]
async fn no_more_requests_are_at_work_than_configured() {
    let fake = Fake::with_a_change_that_waits().configured(|config| config.max_connections = 1);
    let gate = Arc::new(Semaphore::new(0));
    fake.fault("POST pipelineapprovals", Fault::Held(gate.clone()));
    let server = serve(&fake).await;
    let call = format!("{APPROVE}Connection: close\r\n\r\n");
    let mut first = send(server.address, &call).await;
    while fake.calls_like("POST pipelineapprovals").is_empty() {
        tokio::task::yield_now().await;
    }
    let mut second = send(server.address, &call).await;
    let early = timeout(Duration::from_millis(100), second.read_u8()).await;
    assert!(early.is_err(), "the second connection is served");
    gate.add_permits(1);
    for stream in [&mut first, &mut second] {
        let answer = rest(stream).await;
        assert!(answer.contains(" 202 "), "{answer}");
    }
}

/// Sends from an address, over a connection that may be closed already, for another one.
async fn send_from(from: &str, to: SocketAddr, text: &str) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(format!("{from}:0").parse().unwrap())?;
    let mut stream = socket.connect(to).await?;
    let _ = stream.write_all(text.as_bytes()).await;
    Ok(stream)
}

/// Connections from an address, with the beginning of a request each, that nobody completes.
async fn halves(server: &Server, address: &str, count: usize, text: &str) -> Vec<TcpStream> {
    let mut halves = vec![];
    for _ in 0..count {
        halves.push(send_from(address, server.address, text).await.unwrap());
    }
    halves
}

/// How long some calls take, one after the other, each over a connection of its own.
async fn calls(server: &Server) -> Duration {
    let begin = Instant::now();
    for _ in 0..30 {
        let text = format!("{APPROVE}Connection: close\r\n\r\n");
        let answer = rest(&mut send(server.address, &text).await).await;
        assert!(answer.contains(" 202 "), "{answer}");
    }
    begin.elapsed()
}

/// What begins a request and never ends: its head, its body, and an answer that isn't read.
const ENDLESS: [&str; 3] = [
    APPROVE,
    "POST /v0/pipelines/orders/approve HTTP/1.1\r\nHost: sluice\r\nContent-Length: 10\r\n\r\n",
    "GET /openapi.json HTTP/1.1\r\nHost: sluice\r\n\r\n",
];

#[tokio::test]
async fn a20_good_calls_are_as_fast_while_others_send_half_requests() {
    for text in ENDLESS {
        // Half a request may take as long as a test may.
        let fake =
            Fake::with_a_change_that_waits().configured(|config| config.max_connections = 50);
        let server = serve(&fake).await;
        let alone = calls(&server).await;
        // From another address, and from the same one, as behind a proxy.
        for address in ["127.0.0.2", "127.0.0.1"] {
            let attack = halves(&server, address, 200, text).await;
            let attacked = calls(&server).await;
            assert!(
                attacked < alone * 10 + Duration::from_secs(1),
                "{attacked:?} instead of {alone:?}, while there are many of {text:?} from {address}"
            );
            drop(attack);
        }
    }
}

#[tokio::test]
async fn a20_of_whoever_holds_the_most_connections_the_oldest_is_closed() {
    let fake = Fake::with_a_change_that_waits().configured(|config| config.max_connections = 10);
    let server = serve(&fake).await;
    let mut colleague = send(server.address, APPROVE).await;
    let mut attack = halves(&server, "127.0.0.2", 30, APPROVE).await;
    // Nine are left beside the colleague's, and these are the last ones.
    for stream in &mut attack[..20] {
        assert_eq!(rest(stream).await, "");
    }
    colleague
        .write_all(b"Connection: close\r\n\r\n")
        .await
        .unwrap();
    let answer = rest(&mut colleague).await;
    assert!(answer.contains(" 202 "), "{answer}");
    let last = attack.last_mut().unwrap();
    last.write_all(b"Connection: close\r\n\r\n").await.unwrap();
    let answer = rest(last).await;
    assert!(answer.contains(" 202 "), "{answer}");
}

/// A whole request with this token.
fn whole(token: &str) -> String {
    format!(
        "POST /v0/pipelines/orders/approve HTTP/1.1\r\nHost: sluice\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    )
}

/// The first line of an answer, or nothing if there is none.
fn status(answer: &str) -> String {
    answer.lines().next().unwrap_or_default().to_owned()
}

/// Clients that send whole requests from an address, each with a wrong token that was never sent before, and come again
/// as soon as they are answered or closed.
struct Flood {
    clients: JoinSet<()>,
    answers: Arc<Mutex<Vec<String>>>,
    /// A thread of their own, as others' machines are: so that they come in crowds whenever the server was at something else.
    runtime: Runtime,
}

impl Flood {
    /// Begins, and waits until more of it is there than there are places.
    async fn begin(server: &Server, from: &'static str, clients: usize) -> Self {
        let mut flood = Self {
            clients: JoinSet::new(),
            answers: Arc::default(),
            runtime: Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
        };
        let begun = Arc::new(Semaphore::new(0));
        for client in 0..clients {
            let (to, answers, begun) = (server.address, flood.answers.clone(), begun.clone());
            let their_thread = flood.runtime.handle();
            flood.clients.spawn_on(
                async move {
                    for round in 0.. {
                        let text = whole(&format!("made-up-{client}-{round}"));
                        // If there are no ports left for now, there is a flood already.
                        if let Ok(mut stream) = send_from(from, to, &text).await {
                            begun.add_permits(1);
                            let answer = status(&rest(&mut stream).await);
                            answers.lock().unwrap().push(answer);
                        }
                        tokio::task::yield_now().await;
                    }
                },
                their_thread,
            );
        }
        let all = u32::try_from(clients).unwrap();
        let all = timeout(Duration::from_secs(60), begun.acquire_many(all)).await;
        all.expect("the flood doesn't begin").unwrap().forget();
        flood
    }

    /// Ends it, and says what it was answered.
    async fn end(mut self) -> Vec<String> {
        self.clients.shutdown().await;
        self.runtime.shutdown_background();
        std::mem::take(&mut self.answers.lock().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_good_calls_pass_beside_a_flood_of_whole_requests_with_wrong_tokens() {
    // With fewer places than may wait for their turn, and with more.
    for (places, clients) in [(50, 100), (150, 220)] {
        let fake = Fake::with_a_change_that_waits().configured(|config| {
            config.max_connections = places;
            config.failure_limit = Limit::per_minute(10);
        });
        // The API server is as slow as can be for wrong tokens.
        fake.reviews_of_strangers_wait_for(Arc::new(Semaphore::new(0)));
        let server = serve(&fake).await;
        for address in ["127.0.0.2", "127.0.0.3"] {
            let stream = send_from(address, server.address, &whole("alice-token")).await;
            let answer = rest(&mut stream.unwrap()).await;
            assert!(answer.contains(" 202 "), "{answer}");
        }
        let flood = Flood::begin(&server, "127.0.0.2", clients).await;
        // From another address, and known from before or not; and known from before from the same one.
        fake.token(
            "new-token",
            serde_json::json!({"authenticated": true, "user": {"username": "alice"}}),
        );
        for round in 0..6 {
            for (address, token) in [
                ("127.0.0.3", "alice-token"),
                ("127.0.0.4", "new-token"),
                ("127.0.0.2", "alice-token"),
            ] {
                let stream = send_from(address, server.address, &whole(token)).await;
                let answer = rest(&mut stream.unwrap()).await;
                assert!(
                    answer.contains(" 202 "),
                    "{places} places, call {round} with {token} from {address}: {answer:?}"
                );
            }
        }
        // What loses its place is told so or nothing.
        for answer in flood.end().await {
            assert!(
                [
                    "",
                    "HTTP/1.1 401 Unauthorized",
                    "HTTP/1.1 429 Too Many Requests"
                ]
                .contains(&&*answer),
                "{answer}"
            );
        }
    }
}

#[tokio::test]
async fn a20_a_good_token_that_was_never_seen_is_told_to_come_again_and_passes_then() {
    let fake = Fake::with_a_change_that_waits()
        .configured(|config| config.failure_limit = Limit::per_minute(10));
    let gate = Arc::new(Semaphore::new(0));
    fake.reviews_of_strangers_wait_for(gate.clone());
    let server = serve(&fake).await;
    let flood = Flood::begin(&server, "127.0.0.2", 300).await;
    let good = async || {
        let stream = send_from("127.0.0.2", server.address, &whole("alice-token")).await;
        rest(&mut stream.unwrap()).await
    };
    // While no wrong token is answered, there is no turn to be had behind them.
    let answer = good().await;
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.contains("\r\nretry-after: 2\r\n"), "{answer}");
    assert!(
        answer.contains("Your token has not been looked at"),
        "{answer}"
    );
    // What they are told to do helps as soon as there are fewer of them.
    flood.end().await;
    gate.add_permits(1_000);
    let begin = Instant::now();
    loop {
        let answer = good().await;
        if answer.starts_with("HTTP/1.1 202 ") {
            break;
        }
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
        assert!(begin.elapsed() < Duration::from_secs(30), "{answer}");
    }
}

#[tokio::test]
async fn a20_a_request_that_gives_way_is_told_so() {
    let fake = Fake::with_a_change_that_waits().configured(|config| config.max_connections = 1);
    fake.reviews_of_strangers_wait_for(Arc::new(Semaphore::new(0)));
    let server = serve(&fake).await;
    // Its client would send more over the connection.
    let text = whole("made-up").replace("Connection: close\r\n", "");
    let mut first = send(server.address, &text).await;
    while fake.calls_like("who is it?").is_empty() {
        tokio::task::yield_now().await;
    }
    let mut second = send_from("127.0.0.2", server.address, &whole("alice-token")).await;
    let answer = rest(second.as_mut().unwrap()).await;
    assert!(answer.contains(" 202 "), "{answer}");
    let answer = rest(&mut first).await;
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    for part in [
        "\r\nretry-after: 5\r\n",
        "\r\nconnection: close\r\n",
        r#""error_code":"TooManyRequests""#,
        "gave way",
    ] {
        assert!(answer.contains(part), "{answer}");
    }
}

#[tokio::test]
async fn what_has_begun_is_answered_before_the_end() {
    // Its timeouts are so long that it isn't these that end the connections.
    let fake = Fake::with_a_change_that_waits();
    let gate = Arc::new(Semaphore::new(0));
    fake.fault("POST pipelineapprovals", Fault::Held(gate.clone()));
    let server = serve(&fake).await;
    let mut idle = send(server.address, "").await;
    let mut busy = send(server.address, &format!("{APPROVE}\r\n")).await;
    while fake.calls_like("POST pipelineapprovals").is_empty() {
        tokio::task::yield_now().await;
    }

    server.stop.send(()).unwrap();
    assert_eq!(rest(&mut idle).await, "");
    assert!(TcpStream::connect(server.address).await.is_err());
    assert!(!server.ended.is_finished());

    gate.add_permits(1);
    let answer = rest(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    timeout(Duration::from_secs(20), server.ended)
        .await
        .expect("it doesn't end")
        .unwrap()
        .unwrap();
}
