//! Rule A20: no namespace, engine or Pipeline holds up another's, by slowness, number or size.

use futures::future::join_all;
use serde_json::json;
use sluice::crd::Engine;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::story::{PROGRAM, Story, changed, eventually, id, is_current, shared_figures};
use super::support::create;

/// How many Pipelines are on the slow engine.
const MANY: usize = 100;

/// How many of its calls are heard by the time that others are served. All have a place at once that can: see
/// `LIMITS` in the controller. Each is given up after 15 s, and where others had to wait for that, several times,
/// many more would be heard.
const FEW: usize = 60;

#[tokio::test]
async fn a20_an_engine_that_hangs_keeps_no_edit_and_no_approval_elsewhere_from_being_looked_at() {
    let (slow, story) = (Story::begin().await, Story::begin().await);
    let waiting = story.waiting().await;
    // What its manager lists is there at once; about one pipeline it answers nothing.
    slow.engine.fault("hang", "100000@slow").await;
    let names: Vec<String> = (0..MANY).map(|number| format!("p{number}-slow")).collect();
    join_all(names.iter().map(|name| slow.create(name, json!({})))).await;
    let heard = || {
        let calls = slow.engine.calls();
        calls.iter().filter(|call| !call.is_tick()).count()
    };
    eventually("the engine is being waited for", || async {
        let heard = heard();
        (heard >= 10).then_some(()).ok_or(heard)
    })
    .await;

    // An approval, and then an edit, its rejection, and one more edit.
    story.approve(&id(&waiting)).await;
    story.until_sealed().await;
    story.change_to(PROGRAM).await;
    let again = story.until_waiting().await;
    story.vote("no", &id(&again), "Reject").await;
    story.until_rejected().await;
    story.change_to(&changed()).await;
    story.until("the last edit is looked at", is_current).await;
    let heard_by_then = heard();
    assert!(heard_by_then < FEW, "{heard_by_then} calls were waited for");

    // And whose turn doesn't come for long is seen.
    let engine = format!("{}/engine", &*slow.namespace);
    eventually("the age of what waits is told", || async {
        let figures = shared_figures().await;
        let line = format!("sluice_oldest_unobserved_seconds{{engine=\"{engine}\"}} ");
        let age = figures.lines().find_map(|l| l.strip_prefix(&line));
        let age = age.and_then(|age| age.parse::<u64>().ok());
        (age > Some(0)).then_some(()).ok_or(figures)
    })
    .await;
    slow.engine.no_faults().await;
}

/// A program of more than what is kept of a Pipeline in memory.
fn large(program: &str) -> String {
    let remark = format!("-- {}\n", "x".repeat(97));
    format!("{program}{}", remark.repeat(2_000))
}

#[tokio::test]
async fn a20_a_pipeline_that_is_kept_in_part_because_it_is_large_lives_as_any_other() {
    let story = Story::begin().await;
    let spec = json!({"program": {"sql": large(PROGRAM)}});
    story.running_with(spec).await;
    story.change_to(&large(&changed())).await;
    let waiting = story.until_waiting().await;
    story.approve(&id(&waiting)).await;
    story.until_sealed().await;
    let held = story.engine.pipeline("orders").await;
    assert_eq!(held["program_code"], json!(large(&changed())));
    story
        .patch(json!({"spec": {"desiredState": "paused"}}))
        .await;
    story.until_settled_as("Paused").await;
    let spec = json!({"spec": {"deletionPolicy": "Delete"}});
    story.patch(spec).await;
    story
        .until("it is held", |p| {
            is_current(p) && p.metadata.finalizers.is_some()
        })
        .await;
    story.delete("orders").await;
    story.until_gone("orders").await;
    eventually("it is gone from the engine", || async {
        let names = story.engine.names().await;
        names.is_empty().then_some(()).ok_or(names)
    })
    .await;
}

/// An engine that says who it is, and whose list of pipelines begins with a name that never ends. Returns its URL.
async fn endless_engine() -> String {
    async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
        let mut head = vec![0; 4_096];
        let read = stream.read(&mut head).await?;
        let begin =
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
        stream.write_all(begin.as_bytes()).await?;
        if head[..read].starts_with(b"GET /v0/config ") {
            let config = r#"{"edition": "Enterprise", "version": "0.337.0"}"#;
            return stream.write_all(config.as_bytes()).await;
        }
        stream.write_all(br#"[{"name": ""#).await?;
        loop {
            stream.write_all(&[b'x'; 64 << 10]).await?;
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn a20_engines_that_answer_without_end_fill_no_memory() {
    let story = Story::with_own_operator(&[]).await;
    story.running().await;
    let before = story.peak_memory();
    for number in 0..6 {
        let object = json!({
            "metadata": {"name": format!("endless-{number}")},
            "spec": {"url": endless_engine().await},
        });
        let engines = story.api::<Engine>();
        create(&engines, object).await.expect("the Engine");
    }
    for number in 0..6 {
        let name = format!("endless-{number}");
        eventually("what the engine answers is refused", || async {
            let engine = story.api::<Engine>().get(&name).await;
            let engine = engine.expect("the Engine");
            let conditions = engine.status.map(|status| status.conditions);
            let refused = conditions.iter().flatten().any(|condition| {
                condition.reason == "InvalidAnswer" && condition.message.contains("no end")
            });
            refused.then_some(()).ok_or(conditions)
        })
        .await;
    }
    let more = story.peak_memory() - before;
    // Each of them was read up to 16 MiB, and 2 MiB of that were held.
    assert!(more < 60, "{more} MiB more than {before} MiB");
    story.change_to(&changed()).await;
    story.until_waiting().await;
}
